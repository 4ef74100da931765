"""A hftbacktest loop, compiled by numba, that asks the runtime at every feed event and could send its orders there.

    .venv-engines/bin/python examples/engines/hftbacktest_loop.py        (./dev engines makes that environment)

Empty: the same loop reads the same book and asks nobody. Exit code 1 if any byte of any Signal differs from rt.run's.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numba
from against import Replay, main
from hftbacktest import BUY_EVENT, SELL_EVENT
from hftbacktest_ask import functions
from hftbacktest_events import market_of

import alpha


@numba.njit(error_model="numpy", boundscheck=True)
def loop(hbt: Any, per_unit: int, received_ns: Any, ask: bool, on_quote: Any, on_trade: Any) -> int:
    acts = step = 0
    while step < len(received_ns) and hbt.wait_next_feed(False, 1 << 60) == 2:  # rows of one local_ts come at once
        times, trades = hbt.feed_latency(0), hbt.last_trades(0)
        exch_ns, _local_ns = (0, 0) if times is None else times  # live: the local time is that of receipt
        recv_ns, step = received_ns[step], step + 1
        for t in trades:
            side = 1.0 if t.ev & BUY_EVENT == BUY_EVENT else -1.0 if t.ev & SELL_EVENT == SELL_EVENT else 0.0
            if ask:
                acts += on_trade(t.exch_ts, recv_ns, t.px, t.qty, side) != 0
        if len(trades) == 0:  # prices from whole ticks: tick * tick_size is often one bit off
            book = hbt.depth(0)
            bid, offer = book.best_bid_tick / per_unit, book.best_ask_tick / per_unit
            if ask:
                acts += on_quote(exch_ns, recv_ns, bid, offer, book.best_bid_qty, book.best_ask_qty) != 0
        hbt.clear_last_trades(0)
    hbt.close()  # it is no object of Python: its memory is given back here
    return acts


def run(replay: Replay, rt: alpha.Runtime | None) -> tuple[bytes, int]:
    signals: list[alpha.Signal] = []
    asked = functions(None if rt is None else rt.instrument(replay.symbol), signals.append)
    received_ns = replay.events["ts_recv_ns"].copy()
    hbt, per_unit, _alive = market_of(replay)
    loop(hbt, per_unit, received_ns, False, *asked)  # compiles
    hbt, per_unit, _alive = market_of(replay)
    start = time.thread_time_ns()
    loop(hbt, per_unit, received_ns, rt is not None, *asked)
    spent = time.thread_time_ns() - start
    return b"".join(map(bytes, signals)), spent


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
