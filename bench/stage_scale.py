"""How cost grows: with the length of a window, with the number of instruments, and for the set ``book``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.data.simulate import simulate
from alpha.events import EVENT_DTYPE, Kind
from alpha.features import catalog
from alpha.features.feature_set import FeatureSet
from alpha.features.native import row_maker
from alpha.instruments import Instruments
from bench.measure import Result, blocks, result
from bench.workloads import BLOCK, block

N_BLOCKS = 30
LONG = 100_000


def _warm_quotes(n: int) -> npt.NDArray[Any]:
    """Quotes before those of :func:`bench.workloads.block`, so that every window is full when it is measured."""
    rng = np.random.default_rng(9)
    e = np.zeros(n, EVENT_DTYPE)
    e["kind"], e["flags"] = Kind.QUOTE, 1
    e["ts_event_ns"] = block(0)["ts_event_ns"][0] - np.arange(n, 0, -1) * 10**6
    mid = 100.0 + np.cumsum(rng.integers(-1, 2, n)) * 0.01
    e["v"][:, 0], e["v"][:, 1], e["v"][:, 2:4] = mid, mid + 0.01, rng.integers(1, 50, (n, 2))
    return e


def _pair(short: dict[str, str], long: dict[str, str]) -> tuple[float, float]:
    """Median ns an event of two sets, in interleaved blocks, both warm."""
    instruments = Instruments.of("SIM0")
    warm = _warm_quotes(LONG + 10)
    arms = []
    for features in (short, long):
        maker = row_maker(FeatureSet.from_dict({"features": features}), instruments)
        for at in range(0, len(warm), BLOCK):
            maker.rows(warm[at : at + BLOCK])
        buffers = maker.buffers(BLOCK + 1)
        arms.append(lambda i, maker=maker, buffers=buffers: maker.rows(block(i), buffers))
    a, b = blocks(arms, N_BLOCKS, BLOCK)
    return float(np.median(a)), float(np.median(b))


def _zipf(n: int, events: int) -> npt.NDArray[Any]:
    """Quotes of ``n`` instruments, the k-th as often as 1/k."""
    rng = np.random.default_rng(3)
    weight = 1.0 / np.arange(1, n + 1)
    e = _warm_quotes(events)
    e["instrument_id"] = rng.choice(n, events, p=weight / weight.sum())
    e["ts_event_ns"] += 10**15
    return e


def _instruments(n: int) -> float:
    fs, events = catalog.get("twenty"), _zipf(n, (N_BLOCKS + 2) * BLOCK)
    maker = row_maker(fs, Instruments.of(*(f"I{k}" for k in range(n))))
    buffers = maker.buffers(BLOCK + 1)
    parts = [np.ascontiguousarray(events[at : at + BLOCK]) for at in range(0, len(events), BLOCK)]
    return float(np.median(blocks([lambda i: maker.rows(parts[i], buffers)], N_BLOCKS, BLOCK)[0]))


def _book() -> float:
    """ns a feature and event of the 64 features on a simulated book of five levels."""
    fs, stream = catalog.get("book"), simulate((N_BLOCKS + 3) * BLOCK, seed=11, levels=5)
    maker = row_maker(fs, stream.instruments)
    buffers = maker.buffers(BLOCK + 1)
    parts = [np.ascontiguousarray(stream.events[at : at + BLOCK]) for at in range(0, len(stream.events) - BLOCK, BLOCK)]
    return float(np.median(blocks([lambda i: maker.rows(parts[i], buffers)], N_BLOCKS - 1, BLOCK)[0])) / len(fs.names)


def measure() -> list[Result]:
    """Windows of 10 against 100,000 updates with shared and with own rings, orders likewise; 1 against 10,000
    instruments with Zipf arrivals; ``book`` in ns a feature and event."""
    keep = {"keep": f"lag(mid, {LONG})"}  # the ring is as long in both arms
    shared = _pair({**keep, "s": "std(mid, 10)"}, {**keep, "s": f"std(mid, {LONG})"})
    own = _pair({"s": "std(mid, 10)"}, {"s": f"std(mid, {LONG})"})
    order = _pair({"m": "median(mid, 10)"}, {"m": f"median(mid, {LONG})"})
    one, many = _instruments(1), _instruments(10_000)
    return [
        result("window_shared_ring", shared[1], shared[0], "the same with a window of 10"),
        result("window_own_ring", own[1], own[0], "the same with a window of 10"),
        result("order_window", order[1], order[0], "the same with a window of 10"),
        result("instruments", many, one, "one instrument"),
        result("book", _book(), None),
    ]
