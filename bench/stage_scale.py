"""How cost grows: with the length of a window, with the number of instruments, and for the set ``book``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.data import open_events
from alpha.data.simulate import simulate
from alpha.events import EVENT_DTYPE, Kind
from alpha.features import catalog
from alpha.features.feature_set import FeatureSet
from alpha.features.native import row_maker
from alpha.instruments import Instruments
from bench.measure import Result, quietest, result
from bench.workloads import BLOCK, block

N_BLOCKS, PASSES = 30, 5
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
    """ns an event of two sets, in interleaved blocks, both warm."""
    warm = _warm_quotes(LONG + 10)

    def arm(features: dict[str, str]) -> Callable[[], Callable[[int], Any]]:
        fs = FeatureSet.from_dict({"features": features})

        def fresh() -> Callable[[int], Any]:
            maker = row_maker(fs, Instruments.of("SIM0"))
            for at in range(0, len(warm), BLOCK):
                maker.rows(warm[at : at + BLOCK])
            buffers = maker.buffers(BLOCK + 1)
            return lambda i: maker.rows(block(i), buffers)

        return fresh

    a, b = quietest([arm(short), arm(long)], N_BLOCKS, BLOCK, PASSES)
    return float(np.median(a)), float(np.median(b))


def _zipf(n: int, events: int) -> npt.NDArray[Any]:
    """Quotes of ``n`` instruments, the k-th as often as 1/k."""
    rng = np.random.default_rng(3)
    weight = 1.0 / np.arange(1, n + 1)
    e = _warm_quotes(events)
    e["instrument_id"] = rng.choice(n, events, p=weight / weight.sum())
    e["ts_event_ns"] += 10**15
    return e


def _over(fs: FeatureSet, instruments: Instruments, events: npt.NDArray[Any]) -> float:
    """ns an event, over these events from the beginning; the first blocks warm up."""
    parts = [np.ascontiguousarray(events[at : at + BLOCK]) for at in range(0, len(events) - BLOCK + 1, BLOCK)]

    def fresh() -> Callable[[int], Any]:
        maker = row_maker(fs, instruments)
        buffers = maker.buffers(BLOCK + 1)
        return lambda i: maker.rows(parts[i], buffers)

    return float(np.mean(quietest([fresh], len(parts) - 3, BLOCK, PASSES, warm=3)[0]))


def _instruments(n: int) -> float:
    named = Instruments.of(*(f"I{k}" for k in range(n)))
    return _over(catalog.get("twenty"), named, _zipf(n, (N_BLOCKS + 3) * BLOCK))


def _book() -> list[Result]:
    """ns a feature and event of the 64 features: on a simulated book of five levels, and on AMZN where it is there."""
    fs, stream = catalog.get("book"), simulate((N_BLOCKS + 3) * BLOCK, seed=11, levels=5)
    out = [result("book_simulated", _over(fs, stream.instruments, stream.events) / len(fs.names))]
    file = Path(os.environ.get("ALPHA_DATA", "")) / "lobster" / "AMZN_20120621_L5.parquet"
    if file.is_file():
        source = open_events(file, levels=5)
        out.append(result("book", _over(fs, source.instruments, source.read_all()) / len(fs.names)))
    return out


def measure() -> list[Result]:
    """Windows of 10 against 100,000 updates with shared and with own rings, orders likewise; 1 against 10,000
    instruments with Zipf arrivals; ``book``, ``book_simulated`` in ns a feature and event."""
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
        *_book(),
    ]
