"""The ring against a classic two-index ring: two threads, checksummed payload, five rounds."""

from __future__ import annotations

import ctypes

import numpy as np

from bench.measure import Result, result
from bench.native import library

ROUNDS, SLICES, SLICE = 5, 10, 500_000  # 5 million events through each ring in a round


def measure() -> list[Result]:
    """Throughput of both in alternating slices. A virtual machine moves its two CPUs nearer together or further apart
    for seconds at a time, which changes both rings threefold: a ratio is formed only within a pair of neighbouring
    slices, and the median pair is judged. The best of each side could come from different placements."""
    lib = library("ring")
    for f in (lib.ring_ours, lib.ring_classic):
        f.restype, f.argtypes = ctypes.c_double, [ctypes.c_int64]
    ns = np.empty((ROUNDS * SLICES, 2))
    for i in range(len(ns)):
        for k in (i % 2, 1 - i % 2):
            ns[i, k] = (lib.ring_ours, lib.ring_classic)[k](SLICE)
    if ns.min() < 0:
        raise AssertionError("a ring lost or altered an event: its checksum is wrong")
    best = ns.reshape(ROUNDS, SLICES, 2).mean(axis=1).min(axis=0)
    reference = "classic two-index ring with cached indices"
    return [
        result("ring", float(np.median(ns[:, 0])), reference=reference, ratio=float(np.median(ns[:, 0] / ns[:, 1]))),
        result("ring_best_of_5", float(best[0]), float(best[1]), reference),
    ]
