"""How everything is measured: interleaved blocks in one process, net of an empty block, medians."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

GATE = Path(__file__).parent / "gate.toml"


@dataclass(frozen=True)
class Result:
    """One measured name. ``median_ns``: per item; ``ratio``: ours / reference, smaller is better (None without one);
    ``bar``: the limit of gate.toml on the ratio, or on median_ns where there is no reference."""

    name: str
    median_ns: float
    ratio: float | None
    reference: str
    bar: float | None
    passed: bool | None

    def as_dict(self) -> dict[str, Any]:
        """The keys of the design's bench JSON."""
        return {
            "median_ns": self.median_ns,
            "ratio": self.ratio,
            "reference": self.reference,
            "bar": self.bar,
            "pass": self.passed,
        }


def result(
    name: str, ours_ns: float, reference_ns: float | None = None, reference: str = "", *, ratio: float | None = None
) -> Result:
    """Judge one name against its bar. ``ratio``: where it was formed otherwise than from the two medians."""
    bar = tomllib.loads(GATE.read_text())["bars"].get(name)
    if ratio is None and reference_ns is not None:
        ratio = ours_ns / reference_ns
    judged = ratio if ratio is not None else ours_ns
    return Result(name, ours_ns, ratio, reference, bar, None if bar is None else judged <= bar)


def blocks(
    arms: Sequence[Callable[[int], Any]],
    n_blocks: int,
    items: int,
    warm: int = 2,
    check: Callable[[int], None] | None = None,
) -> list[np.ndarray]:
    """ns per item of every arm, shape [n_blocks] each. Block ``i`` runs all arms in turn, on the same input number,
    starting with another arm each time, so that no arm always meets the caches of the same predecessor.
    ``check`` sees what the arms of a block left behind, outside the time."""
    out = [np.empty(n_blocks) for _ in arms]
    for i in range(-warm, n_blocks):
        for k in range(len(arms)):
            a = (i + k) % len(arms)
            start = time.perf_counter_ns()
            arms[a](i + warm)
            spent = time.perf_counter_ns() - start
            if i >= 0:
                out[a][i] = spent / items
        if check is not None:
            check(i + warm)
    return out


def quietest(
    make: Sequence[Callable[[], Callable[[int], Any]]], n_blocks: int, items: int, passes: int, warm: int = 0
) -> list[np.ndarray]:
    """ns per item of every arm and block, the least of several passes over the same inputs: what remains when the
    neighbours are quiet. ``make`` gives each pass arms that start afresh; they run in turn block by block."""
    best = [np.full(n_blocks, np.inf) for _ in make]
    for _ in range(passes):
        times = blocks([m() for m in make], n_blocks, items, warm)
        best = [np.minimum(b, t) for b, t in zip(best, times, strict=True)]
    return best
