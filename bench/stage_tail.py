"""The tail: how far p99 lies from p50, and whether outliers are ours or the machine's.

Slices of the path alternate with slices of an empty loop whose pieces last as long as the path's median; both time every
piece with the same clock into the same kind of histogram. Takes two minutes and more: run it by name,
``alpha bench tail``.
"""

from __future__ import annotations

import ctypes
import os
import time
import warnings

import numpy as np
import numpy.typing as npt

import alpha
from alpha.events import SIGNAL_DTYPE
from alpha.latency import bin_upper_ns, percentiles
from bench.measure import Result, result
from bench.native import library
from bench.workloads import BLOCK, INSTRUMENTS, quotes, warm_up

SECONDS = float(os.environ.get("ALPHA_BENCH_TAIL_S", "60"))  # of each arm
SLICE_NS = 20_000_000
LONG_NS = 10_000
_BINS = 60 * 32


class _Histogram(ctypes.Structure):
    _fields_ = [("count", ctypes.c_uint64 * _BINS), ("n", ctypes.c_uint64), ("max_ns", ctypes.c_int64)]


def _long(counts: npt.NDArray[np.uint64]) -> int:
    return int(counts[bin_upper_ns(_BINS) > LONG_NS].sum())


def measure() -> list[Result]:
    """``tail_p99``: p99 / p50 of event to Signal inside the native path, with the demo model. ``tail_outliers``: pieces
    over 10 us per second of the path against those of the empty loop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", alpha.AlphaWarning)

        def fresh() -> alpha.Runtime:
            rt = alpha.Runtime.from_registry(None, "models:/demo/1", instruments=INSTRUMENTS)
            rt.run(warm_up())
            rt.measure_latency()
            return rt

        rt = fresh()
        lib, idle = library("tail"), _Histogram()
        lib.tail_idle.restype = ctypes.c_uint64
        signals, events = np.zeros(BLOCK, SIGNAL_DTYPE), quotes()
        ours = np.zeros(_BINS, np.uint64)
        at, piece, spent = 0, 100, 0.0
        largest, slices = 0, 0
        while spent < SECONDS:
            start = time.perf_counter_ns()
            while time.perf_counter_ns() - start < SLICE_NS:
                if at + BLOCK > len(events):  # time must not go back in one runtime
                    counts, top = rt.latency_counts()
                    ours += counts if counts is not None else 0
                    largest = max(largest, top)
                    rt, at = fresh(), 0
                    start = time.perf_counter_ns()
                rt._pipeline.run(events[at : at + BLOCK], signals)
                at += BLOCK
            spent += (time.perf_counter_ns() - start) / 1e9
            lib.tail_idle(ctypes.byref(idle), ctypes.c_int64(SLICE_NS), ctypes.c_uint32(piece))
            slices += 1
            if slices <= 5:  # make the pieces as long as the path
                counts, _ = rt.latency_counts()
                wanted = percentiles(counts, 1 << 62)["p50"] if counts is not None and counts.sum() else None
                found = percentiles(np.ctypeslib.as_array(idle.count), 1 << 62)["p50"]
                if wanted and found:
                    piece = max(1, round(piece * wanted / found))
                    ctypes.memset(ctypes.byref(idle), 0, ctypes.sizeof(idle))
        counts, top = rt.latency_counts()
        ours += counts if counts is not None else 0
    empty = np.ctypeslib.as_array(idle.count)
    path, floor = percentiles(ours, max(largest, top)), percentiles(empty, idle.max_ns)
    # per second of work in each arm, for the arms differ in how long they really ran
    seconds = [float((c * bin_upper_ns(_BINS)).sum()) / 1e9 for c in (ours, empty)]
    rates = [_long(c) / s for c, s in zip((ours, empty), seconds, strict=True)]
    return [
        result("tail_p50", path["p50"], floor["p50"], "empty loop"),
        result("tail_p99", path["p99"], path["p50"], f"its p50 (empty loop: {floor['p99'] / floor['p50']:.2f})"),
        result("tail_outliers", rates[0], rates[1], f"empty loop, {LONG_NS / 1e3:.0f} us and more a second"),
    ]
