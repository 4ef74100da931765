"""Events as hftbacktest's event arrays, and the proof that its book can show every one of them."""

from typing import Any

import numpy as np
from against import Replay, decimals
from hftbacktest import (
    BUY_EVENT,
    DEPTH_EVENT,
    EXCH_EVENT,
    LOCAL_EVENT,
    SELL_EVENT,
    TRADE_EVENT,
    BacktestAsset,
    HashMapMarketDepthBacktest,
)
from hftbacktest.types import event_dtype

import alpha

SIDES = {1.0: BUY_EVENT, -1.0: SELL_EVENT, 0.0: 0}


def rows_of(events: Any, local_ns: Any) -> Any:
    """A quote is what leaves the book and what enters it, a trade one row; the last row only ends the data: with 1, or with
    2 if the exchange's rows go on."""
    out, best = [], {BUY_EVENT: 0.0, SELL_EVENT: 0.0}
    for e, local in zip(events, local_ns.tolist(), strict=True):
        t, v = int(e["ts_event_ns"]), e["v"].tolist()
        if e["kind"] == alpha.Kind.TRADE:
            out.append((TRADE_EVENT | SIDES[v[2]], t, local, v[0], v[1], 0, 0, 0.0))
            continue
        new = {BUY_EVENT: (v[0], v[2]), SELL_EVENT: (v[1], v[3])}
        left = [(side, px) for side, px in best.items() if px and px != new[side][0]]
        out += [(DEPTH_EVENT | side, t, local, px, 0.0, 0, 0, 0.0) for side, px in left]
        out += [(DEPTH_EVENT | side, t, local, px, qty, 0, 0, 0.0) for side, (px, qty) in new.items()]
        best = {side: px for side, (px, _) in new.items()}
    out.append((TRADE_EVENT, out[-1][1], out[-1][2] + 1, v[0], 0.0, 0, 0, 0.0))
    rows = np.array(out, event_dtype)
    rows["ev"] |= np.uint64(EXCH_EVENT | LOCAL_EVENT)
    return rows


def market_of(replay: Replay) -> tuple[Any, int, Any]:
    """(its backtest, ticks in one unit of price, what must stay alive while it runs: it reads the rows where they lie)."""
    e = replay.events
    quotes = e["v"][e["kind"] == alpha.Kind.QUOTE]
    if (quotes[:, 0] >= quotes[:, 1]).any() or (quotes[:, 2:4] <= 0).any():
        raise alpha.AlphaError("a locked or crossed quote, or one without a size, cannot stand in hftbacktest's book")
    # an instant of its own for each event, for what happens at once is shown at once; the runtime is told the true times
    count = np.arange(len(e))
    local_ns = np.maximum.accumulate(alpha.events.stream_time(e, "recv") - count) + count
    per_unit, rows = 10 ** decimals(quotes[:, :2]), rows_of(e, local_ns)
    asset = BacktestAsset().data(rows).linear_asset(1.0).constant_order_latency(0, 0).risk_adverse_queue_model()
    asset = asset.no_partial_fill_exchange().trading_value_fee_model(0.0, 0.0).last_trades_capacity(64)
    asset = asset.tick_size(1 / per_unit).lot_size(10.0 ** -decimals(quotes[:, 2:4]))
    return HashMapMarketDepthBacktest([asset]), per_unit, (rows, asset)
