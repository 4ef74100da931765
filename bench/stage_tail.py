"""The tail: how far p99 lies from p50, and whether it and the outliers are ours or the machine's.

Slices of a path alternate with slices of an empty loop whose pieces last as long as the path's median; both time every
piece with the same clock into the same kind of histogram. p99 / p50 is formed slice by slice (20 ms, tens of thousands
of pieces), so that a clock rate that changes between slices does not count as a tail, and once more divided by that of
the empty slice that follows: what is left is the path's own. Two paths: the demo model's, and the same features with a
model of 30,000 weights. Takes four minutes and more: run it by name, ``alpha bench tail``.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

import alpha
from alpha.events import SIGNAL_DTYPE
from alpha.latency import bin_upper_ns, percentiles
from alpha.models.load import load_artifact
from alpha.models.metadata import Output, encode
from alpha.registry.store import find, load
from bench import plan_models
from bench.measure import Result, result
from bench.native import library
from bench.workloads import BLOCK, INSTRUMENTS, quotes, warm_up

SECONDS = float(os.environ.get("ALPHA_BENCH_TAIL_S", "60"))  # of each arm
SLICE_NS = 20_000_000
LONG_NS = 10_000
HIDDEN = 160
PIECES = 5_000  # of a slice, at least
_BINS = 60 * 32
Counts = npt.NDArray[np.uint64]


class _Histogram(ctypes.Structure):
    _fields_ = [("count", ctypes.c_uint64 * _BINS), ("n", ctypes.c_uint64), ("max_ns", ctypes.c_int64)]


class _Path:
    """A runtime over quotes that never end: a fresh one where they do, for time must not go back in one."""

    def __init__(self, make: Callable[[], alpha.Runtime]) -> None:
        self.make, self.signals, self.events = make, np.zeros(BLOCK, SIGNAL_DTYPE), quotes()
        self._begin()

    def _begin(self) -> None:
        self.rt, self.at = self.make(), 0
        self.rt.run(warm_up())
        self.rt.measure_latency()
        self.before = np.zeros(_BINS, np.uint64)

    def slice(self) -> tuple[Counts, int]:
        """(histogram of one slice, its longest piece)."""
        if self.at + BLOCK > len(self.events):
            self._begin()
        start = time.perf_counter_ns()
        while time.perf_counter_ns() - start < SLICE_NS and self.at + BLOCK <= len(self.events):
            self.rt._pipeline.run(self.events[self.at : self.at + BLOCK], self.signals)
            self.at += BLOCK
        counts, top = self.rt.latency_counts()
        assert counts is not None
        part, self.before = counts - self.before, counts.copy()
        return part, top


class _Idle:
    """The empty loop."""

    def __init__(self) -> None:
        self.lib, self.piece, self.sum = library("tail"), 100, _Histogram()
        self.lib.tail_idle.restype = ctypes.c_uint64

    def slice(self) -> tuple[Counts, int]:
        ctypes.memset(ctypes.byref(self.sum), 0, ctypes.sizeof(self.sum))
        self.lib.tail_idle(ctypes.byref(self.sum), ctypes.c_int64(SLICE_NS), ctypes.c_uint32(self.piece))
        return np.ctypeslib.as_array(self.sum.count).copy(), int(self.sum.max_ns)


def _long(counts: Counts) -> int:
    return int(counts[bin_upper_ns(_BINS) > LONG_NS].sum())


def _measured(name: str, path: _Path, idle: _Idle) -> list[Result]:
    for _ in range(5):  # make the pieces as long as the path
        wanted, found = (percentiles(arm.slice()[0], 1 << 62)["p50"] for arm in (path, idle))
        idle.piece = max(1, round(idle.piece * wanted / found))
    sums, tops = [np.zeros(_BINS, np.uint64) for _ in range(2)], [0, 0]
    ratios: list[list[float]] = [[], []]
    spent = 0.0
    while spent < SECONDS:
        start = time.perf_counter_ns()
        pair = [arm.slice() for arm in (path, idle)]
        if min(int(counts.sum()) for counts, _ in pair) < PIECES:  # the rest of the events: too few for a p99
            continue
        for k, (counts, top) in enumerate(pair):
            found = percentiles(counts, 1 << 62)
            ratios[k].append(found["p99"] / found["p50"])
            sums[k] += counts
            tops[k] = max(tops[k], top)
        spent += (time.perf_counter_ns() - start) / 2e9
    ours, floor = (percentiles(c, t) for c, t in zip(sums, tops, strict=True))
    own, empty = (float(np.median(r)) for r in ratios)
    net = float(np.median(np.array(ratios[0]) / np.array(ratios[1])))
    # per second of work in each arm, for the arms differ in how long they really ran
    seconds = [float((c * bin_upper_ns(_BINS)).sum()) / 1e9 for c in sums]
    rates = [_long(c) / s for c, s in zip(sums, seconds, strict=True)]
    whole = f"over the whole run {ours['p99'] / ours['p50']:.2f} and {floor['p99'] / floor['p50']:.2f}"
    return [
        result(f"{name}_p50", ours["p50"], floor["p50"], "empty loop"),
        result(f"{name}_p99", ours["p99"], ours["p50"], f"its p50 (empty loop: {empty:.2f}; {whole})", ratio=own),
        result(f"{name}_p99_net", ours["p99"], floor["p99"], "p99 / p50 over the empty loop's, slice by slice", ratio=net),
        result(f"{name}_outliers", rates[0], rates[1], f"empty loop, {LONG_NS / 1e3:.0f} us and more a second"),
    ]  # fmt: skip


def _wider(folder: Path) -> None:
    """The demo model's artifact with a larger model in it."""
    meta = load(find(None)).load_model("models:/demo/1")[1].metadata
    data = plan_models.mlp((len(meta.feature_names), HIDDEN, HIDDEN, len(meta.actions)))
    digest = {"model.onnx": hashlib.sha256(data).hexdigest()}
    (folder / "model.onnx").write_bytes(data)
    made = msgspec.structs.replace(meta, outputs=[Output("p", "probabilities")], sha256=digest)
    (folder / "metadata.json").write_bytes(encode(made))
    load_artifact(folder)


def measure() -> list[Result]:
    """``tail`` and ``tail_wide``: p50, p99 / p50 of event to Signal inside the native path, the same net of the empty
    loop's, and pieces over 10 us per second against those of the empty loop."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as name:
        warnings.simplefilter("ignore", alpha.AlphaWarning)
        folder = Path(name)
        _wider(folder)
        paths = {
            "tail": lambda: alpha.Runtime.from_registry(None, "models:/demo/1", instruments=INSTRUMENTS),
            "tail_wide": lambda: alpha.Runtime.from_artifact(folder, instruments=INSTRUMENTS, engine="plan"),
        }
        return [r for name, make in paths.items() for r in _measured(name, _Path(make), _Idle())]
