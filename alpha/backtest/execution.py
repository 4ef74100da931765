"""What the market answers to an order: where it is filled or cancelled, at which price, with which costs. Floor 7.

Prices and costs only; books, risk and the log are the desk's.
"""

from __future__ import annotations

from dataclasses import dataclass

from alpha.backtest.costs import Costs
from alpha.backtest.ledger import FillRecord
from alpha.backtest.market import Chunk, Prices
from alpha.instruments import Instrument
from alpha.risk import Order


@dataclass(slots=True)
class Flying:
    """An approved order on its way. ``decided_at``: index in the stream."""

    order: Order
    instrument: int
    underlying: int
    decided_at: int
    decided_ns: int
    arrives_ns: int
    decision_mid: float
    closing: bool
    sequence: int


def meeting(chunk: Chunk, f: Flying, bar_ns: int, wait_ns: int) -> tuple[int, str] | None:
    """Where in this chunk the order is filled, or cancelled for want of a price; None: not in this chunk.

    ``bar_ns``: length of the bars that are its prices, 0 of quotes and trades.
    """
    earliest = f.arrives_ns if f.arrives_ns - f.decided_ns >= bar_ns else f.decided_ns
    expires = max(f.arrives_ns, earliest) + max(wait_ns, 2 * bar_ns)
    p = chunk.prices.get(f.instrument)
    if p is not None:
        decided, n = f.decided_at - chunk.start, len(p.at)
        k = 0 if decided < 0 else p.behind(decided)
        if k < n and p.open_ts[k] < earliest:
            k = max(int(p.open_ts.searchsorted(earliest, "left")), k)
        while k < n and not p.trades[k] and p.open_ts[k] <= expires:
            k += 1
        if k < n and p.open_ts[k] <= expires:
            return int(p.at[k]), "fill"
    end = int(chunk.ts.searchsorted(expires + bar_ns, "right"))
    return (end, "cancel") if end < len(chunk.ts) else None


def filled(
    chunk: Chunk, p: Prices, k: int, f: Flying, item: Instrument, costs: Costs, without_quotes: bool
) -> tuple[FillRecord, bool]:
    """The fill at price number ``k``, and whether it takes more than was displayed there."""
    order, filled_ns = f.order, int(p.open_ts[k])
    qty = order.side * order.qty
    bid, ask = float(p.bid[k]), float(p.ask[k])
    mid = 0.5 * (bid + ask)
    if without_quotes:
        half = 0.5e-4 * costs.spread_bp * mid
        bid, ask = mid - half, mid + half
    px = costs.price(qty, bid, ask)
    far = ask if qty > 0 else bid
    money = qty * item.multiplier
    fill = FillRecord(
        order.order_id,
        order.instrument,
        f.decided_at,
        chunk.start + int(p.at[k]),
        f.decided_ns,
        f.arrives_ns,
        filled_ns,
        qty,
        px,
        mid,
        f.decision_mid,
        costs.fees.fee(filled_ns, qty, px, item.multiplier),
        money * (far - mid),
        money * (px - far),
        money * (mid - f.decision_mid),
        f.closing,
    )
    return fill, order.qty > float(p.ask_qty[k] if qty > 0 else p.bid_qty[k])


def ended(order: Order, index: int, ts_ns: int, mid: float, item: Instrument, costs: Costs) -> FillRecord:
    """The end of a position at its last price, spread and fee paid: no decision and no trade. ``index``: in the stream."""
    qty = order.side * order.qty
    px = costs.price_without_quotes(qty, mid)
    return FillRecord(
        order.order_id,
        order.instrument,
        index,
        index,
        ts_ns,
        ts_ns,
        ts_ns,
        qty,
        px,
        mid,
        mid,
        costs.fees.fee(ts_ns, qty, px, item.multiplier),
        qty * item.multiplier * (px - mid),
        0.0,
        0.0,
        True,
    )
