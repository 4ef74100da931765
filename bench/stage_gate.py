"""What the gate costs with every check on, and what the first events after a swap cost."""

from __future__ import annotations

import ctypes
import math
import warnings
from typing import Any

import numpy as np

import alpha
from alpha.events import Reason
from alpha.models.limits import BINS, SMALLEST_SHARE, edges_of, shares_of
from bench.measure import Result, quietest, result
from bench.native import library
from bench.workloads import INSTRUMENTS, mixed, warm_up

FEATURES, PADDED, WINDOW = 20, 24, 1024
ROWS, N_BLOCKS, WARM_BLOCKS, PASSES = 4096, 40, 4, 7
SWAPS = 24


def measure() -> list[Result]:
    """``gate_twenty``: ns a row of twenty features from the row that is made to the Signal that says why, without
    normalising and without the model: kill, halt, session, three ages, ranges, distance, PSI over 1,024 rows, status,
    validity, finite output, threshold, cooldown, bar, breaker (its clock is off). Rows are drawn like the training rows;
    scores move slowly, as they do from tick to tick; in each block some decisions act, some are below the threshold, some
    cool down. Least of several passes over each block."""
    rng = np.random.default_rng(20)
    train = rng.normal(size=(5000, FEATURES)).astype(np.float32)
    edges, lib = edges_of(train), library("gate")
    shares = np.maximum(shares_of(train, edges), SMALLEST_SHARE).astype(np.float32)
    by_edge = np.full((BINS - 1, PADDED), np.finfo(np.float32).max, np.float32)
    by_edge[:, :FEATURES] = edges.T
    far = np.full(PADDED, 1e6, np.float32)
    arrays = [
        -far,
        far,
        by_edge,
        shares,
        np.log(shares.astype(np.float64)).astype(np.float32),
        np.array([math.log(max(c, 0.5) / WINDOW) for c in range(WINDOW + 1)], np.float32),
    ]
    total = ROWS * (N_BLOCKS + WARM_BLOCKS)
    begin, end = 10**9, 10**9 + total * 1000
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in arrays]
    lib.gate_psi.restype = ctypes.c_float
    x = np.zeros((total, PADDED), np.float32)
    x[:, :FEATURES] = rng.normal(size=(total, FEATURES))
    logits = np.zeros((total, 3))
    for i, step in enumerate(rng.normal(scale=0.3, size=(total, 3))):
        logits[i] = 0.98 * logits[i - 1] + step
    y = np.exp(logits)
    y = (y / y.sum(axis=1, keepdims=True)).astype(np.float32)
    t = begin + np.arange(total, dtype=np.int64) * 400

    def arm(name: str, said: Any) -> Any:
        call = getattr(lib, name)

        def run(i: int) -> None:
            at = slice(i * ROWS, (i + 1) * ROWS)
            rows = [a[at].ctypes.data_as(ctypes.c_void_p) for a in (x, x, y, t)]
            call(*rows, ctypes.c_int64(ROWS), said.ctypes.data_as(ctypes.c_void_p))

        return run

    said, ignored = np.zeros(ROWS, np.uint8), np.zeros(ROWS, np.uint8)
    seen: set[int] = set()

    def afresh() -> Any:
        if lib.gate_open(FEATURES, WINDOW, *pointers, ctypes.c_int64(begin), ctypes.c_int64(end)):
            raise MemoryError
        return arm("gate_run", said)

    nothing, whole = quietest([lambda: arm("gate_empty", ignored), afresh], N_BLOCKS, ROWS, PASSES, WARM_BLOCKS)
    for i in range(N_BLOCKS):
        arm("gate_run", said)(i)
        seen.update(np.unique(said).tolist())
    if seen != {Reason.MODEL, Reason.BELOW_THRESHOLD, Reason.COOLDOWN} or lib.gate_psi() <= 0.0:
        raise AssertionError(f"the gate did not look at everything: {seen}, PSI {lib.gate_psi()}")
    return [result("gate_twenty", float(np.median(whole - nothing))), *_after_swaps()]


def _after_swaps() -> list[Result]:
    """``after_swap``: median of the first 100 events after a takeover, against that of events long after one; the median
    of 24 swaps between two models. ``after_swap_worst``: of those 100 the slowest, the takeover itself included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", alpha.AlphaWarning)
        rt = alpha.Runtime.from_registry(None, "models:/demo/1", instruments=INSTRUMENTS, reload="explicit")
    rt.run(warm_up())
    first, worst, later = [], [], []
    for i in range(SWAPS):
        name = "demo_mlp" if rt.bundle.name.startswith("demo/") else "demo"
        if rt.reload(f"models:/{name}/1")["status"] != "offered":
            raise AssertionError(rt.stats()["reload"])
        events = mixed(i)
        rt.run(events[:2048])
        after = rt.stats()["reload"]["after_swap"]
        if after["events"] != 100 or not rt.bundle.name.startswith(f"{name}/"):
            raise AssertionError(f"swap {i}: {after}")
        first.append(after["p50_ns"])
        worst.append(after["max_ns"])
        rt.measure_latency()
        rt.run(events[2048:])
        later.append(rt.stats()["latency_ns"]["p50"])
    return [
        result("after_swap", float(np.median(first)), float(np.median(later)), "events long after"),
        result("after_swap_worst", float(np.median(worst))),
    ]
