"""How long a decision takes to reach the market: fixed, or drawn from what was measured. Floor 7.

A measured histogram is a file; its sha256 stands in the report, so that the same file and seed give the same run.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.documents import read_json
from alpha.errors import DataError, InstrumentError
from alpha.instruments import duration_ns
from alpha.latency import bin_upper_ns

SCHEMA = "alpha/latency/1"


@dataclass(frozen=True)
class Histogram:
    """Counts per bin of :mod:`alpha.latency`, uint64 [n], and the largest value in ns."""

    counts: npt.NDArray[np.uint64]
    max_ns: int

    def to_bytes(self) -> bytes:
        """The canonical file: bins that hold something, in order."""
        seen = {str(i): int(self.counts[i]) for i in np.flatnonzero(self.counts).tolist()}
        whole = {"schema": SCHEMA, "bins": len(self.counts), "max_ns": self.max_ns, "counts": seen}
        return (json.dumps(whole, separators=(",", ":")) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, what: str) -> Histogram:
        """Inverse of :meth:`to_bytes`; DataError for anything else."""
        told: Any = read_json(data, what, DataError)
        try:
            if told["schema"] != SCHEMA or not 32 <= int(told["bins"]) <= 4096:
                raise ValueError
            counts = np.zeros(int(told["bins"]), np.uint64)
            for i, n in told["counts"].items():
                counts[int(i)] = int(n)
            out = cls(counts, int(told["max_ns"]))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
            raise DataError(
                f"{what} is no latency histogram: make one with  alpha backtest --latency measured"
            ) from None
        if not out.counts.any():
            raise DataError(f"{what}: the latency histogram holds nothing")
        return out

    @property
    def sha256(self) -> str:
        """Of the canonical file."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


class Latency:
    """``fixed_ns`` plus, with a histogram, a draw from it: the upper edge of a bin, so never less than was measured."""

    def __init__(self, fixed_ns: int = 0, histogram: Histogram | None = None, seed: int = 0) -> None:
        if not 0 <= fixed_ns < 2**61:
            raise DataError(f"a latency must be from 0 ns up, not {fixed_ns}")
        self.fixed_ns, self.histogram, self.seed = fixed_ns, histogram, seed
        self._rng = np.random.default_rng(seed)
        self.drawn = 0
        self.largest_ns = 0
        if histogram is not None:
            running = np.cumsum(histogram.counts.astype(np.float64))
            self._share = running / running[-1]
            self._edges = np.minimum(bin_upper_ns(len(running)), histogram.max_ns)

    def draw(self) -> int:
        """ns from a decision to the market, for the next order."""
        ns = self.fixed_ns
        if self.histogram is not None:
            ns += int(self._edges[int(np.searchsorted(self._share, self._rng.random(), side="right"))])
        self.drawn += 1
        self.largest_ns = max(self.largest_ns, ns)
        return ns

    def describe(self) -> dict[str, Any]:
        """What stands in the report."""
        return {
            "fixed_ns": self.fixed_ns,
            "histogram_sha256": None if self.histogram is None else self.histogram.sha256,
            "seed": None if self.histogram is None else self.seed,
            "draws": self.drawn,
            "largest_ns": self.largest_ns,
        }


@dataclass(frozen=True)
class LatencySpec:
    """What ``--latency`` says: a fixed part, and a measured one by file or ``measured`` (of this run's model, now)."""

    fixed_ns: int = 0
    measured: bool = False
    file: str | None = None

    @classmethod
    def parse(cls, text: str) -> LatencySpec:
        """``500us``, ``measured``, a histogram's file, or two joined by +, as in ``measured+300us``; DataError else."""
        fixed, measured, file = 0, False, None
        for part in text.split("+"):
            word = part.strip()
            if word == "measured":
                measured = True
            elif word == "0":
                pass
            elif word and Path(word).is_file():
                file = word
            else:
                try:
                    fixed += duration_ns(word)
                except InstrumentError:
                    raise DataError(
                        f"--latency takes a duration such as 500us, the word measured, or the file of a histogram, "
                        f"also joined by +, not {word!r}"
                    ) from None
        if measured and file is not None:
            raise DataError("--latency takes either measured or a file, not both")
        return cls(fixed, measured, file)

    def build(self, seed: int, measured: Histogram | None = None) -> Latency:
        """The model; ``measured``: the histogram of this run's model, where that was asked for."""
        histogram = measured if self.measured else None
        if self.file is not None:
            try:
                histogram = Histogram.from_bytes(Path(self.file).read_bytes(), self.file)
            except OSError as exc:
                raise DataError(
                    f"latency file {self.file} cannot be read: {(exc.strerror or str(exc)).lower()}"
                ) from None
        return Latency(self.fixed_ns, histogram, seed)
