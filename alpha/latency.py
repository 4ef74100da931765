"""Percentiles of the native latency histogram. Floor 1.

Bins as in ``_core/include/alpha_latency.h``: one ns wide below 32, then 32 per power of two (under 3.2 %).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_STEPS = 32


def bin_upper_ns(n_bins: int) -> npt.NDArray[np.int64]:
    """Largest value of each bin, int64 ``[n_bins]``."""
    i = np.arange(n_bins)
    octave = i // _STEPS + 4
    width = np.int64(1) << np.maximum(octave - 5, 0)
    upper = (np.int64(32) + i % _STEPS + 1) * width - 1
    return np.where(i < _STEPS, i, upper)


def percentiles(counts: npt.NDArray[np.uint64] | None, max_ns: int) -> Mapping[str, Any]:
    """p50, p99, p999 and max in ns (upper edge of the bin, never above max); None where nothing was measured."""
    names = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    total = 0 if counts is None else int(counts.sum())
    if counts is None or total == 0:
        return {**dict.fromkeys(names), "max": None}
    edges = bin_upper_ns(len(counts))
    running = np.cumsum(counts)
    out: dict[str, Any] = {}
    for name, q in names.items():
        at = int(np.searchsorted(running, np.ceil(q * total)))
        out[name] = min(int(edges[at]), max_ns)
    return {**out, "max": max_ns}
