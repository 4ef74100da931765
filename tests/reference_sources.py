"""Sources for the oracle: what an event says, order flow against the book before, the sign of a trade."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reference_math import NAN, divide
from reference_trades import LIMIT, Bar, Buckets, ClockBars, whole_lots

from alpha.events import Flag, Kind
from alpha.features.language import BarClock, Expr


@dataclass
class Book:
    """One side against the other at one level, as order flow imbalance remembers it."""

    before: tuple[float, ...] | None = None
    since_gap: int = 0  # updates with sizes


class Sources:
    """What one instrument remembers of quotes and trades; the machine sets it up."""

    inputs: tuple[str, ...]  # series of the set, in alphabetical order
    lot: float
    tick_size: float
    books: dict[str, Book]
    buckets: dict[Expr, Buckets]
    clock_bars: dict[BarClock, ClockBars]
    mid: float
    last_px: float
    tick: float  # of the tick rule

    def leaves(self, kind: int, flags: int, v: list[float], level: int) -> dict[str, float]:
        """The sources that this event updates; ``feed.close`` and the like for bars, ``ofi_at.2`` for levels."""
        sized = not flags & Flag.NO_QTY
        if kind == Kind.QUOTE:
            bid, ask, bid_qty, ask_qty = v[:4]
            self.mid = 0.5 * (bid + ask)
            leaves = {"bid_px": bid, "ask_px": ask, "mid": self.mid, "spread": ask - bid}
            if sized:
                leaves |= {"bid_qty": bid_qty, "ask_qty": ask_qty}
                leaves["microprice"] = divide(bid * ask_qty + ask * bid_qty, bid_qty + ask_qty)
                leaves["imbalance"] = divide(bid_qty - ask_qty, bid_qty + ask_qty)
                leaves |= self.order_flow("ofi", bid, bid_qty, ask, ask_qty)
            return leaves
        if kind == Kind.DEPTH:
            bid, ask, bid_qty, ask_qty = v[:4]
            if not sized:
                return {f"bid_px_at.{level}": bid, f"ask_px_at.{level}": ask}
            bid, ask = bid if bid_qty != 0.0 else NAN, ask if ask_qty != 0.0 else NAN  # an empty side has no price
            leaves = {
                f"bid_px_at.{level}": bid,
                f"ask_px_at.{level}": ask,
                f"bid_qty_at.{level}": bid_qty,
                f"ask_qty_at.{level}": ask_qty,
            }
            return leaves | self.order_flow(f"ofi_at.{level}", bid, bid_qty, ask, ask_qty)
        if kind == Kind.TRADE:
            sign = self.sign(v[0], v[2])
            leaves = {"px": v[0], "side": v[2], "trade_sign": sign}
            return leaves | ({"qty": v[1]} | self.fill(v[1], sign) if sized else {})
        if kind == Kind.BAR:
            leaves = {"feed.open": v[0], "feed.high": v[1], "feed.low": v[2], "feed.close": v[3]}
            return leaves | ({"feed.volume": v[4]} if sized else {})
        if kind == Kind.INPUT:
            return {f"input.{name}": v[1] for place, name in enumerate(self.inputs) if v[0] == place}
        return {}

    def fill(self, qty: float, sign: float) -> dict[str, float]:
        """A trade runs into the buckets of every ``vpin`` (rule 54)."""
        leaves = {}
        for e, buckets in self.buckets.items():
            lots = whole_lots(qty, self.lot)
            if lots < LIMIT and buckets.trade(lots, sign) and buckets.filled >= buckets.n:
                leaves[str(e)] = buckets.value()
        return leaves

    def trades_bars(self, px: float, qty: float | None) -> dict[BarClock, Bar]:
        """The bars by trades that this trade closes (rule 53)."""
        closed = {clock: bars.trade(px, qty, self.tick_size, self.lot) for clock, bars in self.clock_bars.items()}
        return {clock: bar for clock, bar in closed.items() if bar is not None}

    def order_flow(self, name: str, bid: float, bid_qty: float, ask: float, ask_qty: float) -> dict[str, float]:
        """Against the book before, which only a book with sizes can be."""
        book = self.books.setdefault(name, Book())
        before, book.before = book.before, (bid, bid_qty, ask, ask_qty)
        book.since_gap += 1
        if before is None:
            return {}
        old_bid, old_bid_qty, old_ask, old_ask_qty = before
        flow = bid_qty if bid >= old_bid else 0.0
        flow -= old_bid_qty if bid <= old_bid else 0.0
        flow -= ask_qty if ask <= old_ask else 0.0
        flow += old_ask_qty if ask >= old_ask else 0.0
        return {name: flow}

    def sign(self, px: float, side: float) -> float:
        """The feed's side, else the mid's, else the tick rule's, whose state moves with every trade."""
        if px != self.last_px and not math.isnan(self.last_px):
            self.tick = 1.0 if px > self.last_px else -1.0
        self.last_px = px
        if side != 0.0:
            return side
        if px != self.mid and not math.isnan(self.mid):
            return 1.0 if px > self.mid else -1.0
        return self.tick
