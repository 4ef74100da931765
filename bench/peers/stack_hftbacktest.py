"""hftbacktest's way: a numba loop over its replay of event arrays, here with the features and the MLP of
:mod:`bench.peers.stack_numba` in the loop. It never leaves compiled code, so it is seen by numba, not by Python; a live
bot of it runs the same loop. Matching engine and latency model run beside it, without orders."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.native import library
from bench.peers.arms import Arm, Ns
from bench.peers.stack_numba import compiled

STEP = 1000  # ns between two quotes: their own times do not matter to these features
TICKS = 100  # a dollar; prices are ticks / TICKS, as exact as the file has them
Quote = tuple[int, float, float, float, float]


def events(quotes: Sequence[Quote]) -> npt.NDArray[Any]:
    """Quotes as its depth events: a level that is no longer the best goes, the new best comes."""
    from hftbacktest import BUY_EVENT, DEPTH_EVENT, EXCH_EVENT, LOCAL_EVENT, SELL_EVENT
    from hftbacktest.types import event_dtype

    flags = DEPTH_EVENT | EXCH_EVENT | LOCAL_EVENT
    out: list[tuple[Any, ...]] = []
    best: dict[int, float | None] = {BUY_EVENT: None, SELL_EVENT: None}
    # its clock begins with the first event, so one comes before the first quote
    for i, (_, bid, ask, bid_qty, ask_qty) in enumerate([quotes[0], *quotes]):
        t = i * STEP + 1
        sides = ((BUY_EVENT, bid, bid_qty), (SELL_EVENT, ask, ask_qty))
        for side, px, _ in sides:
            old = best[side]
            if old is not None and old != px:
                out.append((flags | side, t, t, old, 0.0, 0, 0, 0.0))
        for side, px, qty in sides:
            out.append((flags | side, t, t, px, qty, 0, 0, 0.0))
            best[side] = px
    return np.array(out, event_dtype)


def loops() -> tuple[Any, Any, tuple[Any, ...]]:
    """Compiled ``(hbt, n, out, state)``, the same with the ns of each quote, and the state."""
    import numba

    step, state = compiled()
    now = library("engines").now_ns
    now.restype, now.argtypes = ctypes.c_int64, []

    @numba.njit(error_model="numpy")
    def run(hbt: Any, n: int, out: Any, state: Any) -> int:
        for i in range(n):
            if hbt.elapse(STEP) != 0:
                return i
            depth = hbt.depth(0)
            bid, ask = depth.best_bid_tick / TICKS, depth.best_ask_tick / TICKS
            out[i] = step(*state, bid, ask, depth.best_bid_qty, depth.best_ask_qty)
        return n

    @numba.njit(error_model="numpy")
    def clocked(hbt: Any, n: int, out: Any, state: Any, ns: Any) -> int:
        for i in range(n):
            start = now()
            if hbt.elapse(STEP) != 0:
                return i
            depth = hbt.depth(0)
            bid, ask = depth.best_bid_tick / TICKS, depth.best_ask_tick / TICKS
            out[i] = step(*state, bid, ask, depth.best_bid_qty, depth.best_ask_qty)
            ns[i] = now() - start
        return n

    return run, clocked, state


def arm(quotes: Sequence[Quote], warm: int, items: int) -> Arm:
    """Goes through ``warm`` quotes at once; then ``items`` a block, in order."""
    from hftbacktest import BacktestAsset, HashMapMarketDepthBacktest

    data = events(quotes)
    asset = (
        BacktestAsset()
        .data(data)
        .linear_asset(1.0)
        .constant_order_latency(0, 0)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0.0, 0.0)
        .tick_size(1 / TICKS)
        .lot_size(1.0)
    )
    hbt = HashMapMarketDepthBacktest([asset])
    run, clock, state = loops()
    out, ns = np.zeros(items, np.int64), np.zeros(items, np.int64)

    def advance(n: int, into: npt.NDArray[np.int64]) -> None:
        if run(hbt, n, into, state) != n:
            raise AssertionError("hftbacktest: its data ended early")

    def clocked(i: int) -> Ns:
        if clock(hbt, items, out, state, ns) != items:
            raise AssertionError("hftbacktest: its data ended early")
        return ns.copy()

    advance(warm, np.zeros(warm, np.int64))
    keep = (data, asset)  # it reads the events where they lie, and does not hold them
    outputs = lambda: (keep, out.tolist())[1]  # noqa: E731
    return Arm("hftbacktest's numba loop", lambda i: advance(items, out), clocked, outputs, "", "numba", items)
