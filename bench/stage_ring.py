"""The ring against a classic two-index ring: two threads, checksummed payload, best of five each."""

from __future__ import annotations

import ctypes

from bench.measure import Result, result
from bench.native import library

N = 2_000_000


def measure() -> list[Result]:
    """Throughput of both, runs interleaved. The best run is compared: on a shared machine the others measure neighbours."""
    lib = library("ring")
    for f in (lib.ring_ours, lib.ring_classic):
        f.restype, f.argtypes = ctypes.c_double, [ctypes.c_int64]
    ours, classic = [], []
    for _ in range(5):
        ours.append(lib.ring_ours(N))
        classic.append(lib.ring_classic(N))
    if min(ours + classic) < 0:
        raise AssertionError("a ring lost or altered an event: its checksum is wrong")
    return [result("ring", min(ours), min(classic), "classic two-index ring with cached indices")]
