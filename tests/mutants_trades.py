"""Wrong readings of rules 53 and 54: bars by trades and buckets of volume."""

from __future__ import annotations

import math

import reference
from mutants_sessions import on_market
from reference import Machine
from reference_trades import Bar, Buckets, ClockBars, whole_lots

# Bars by trades

_true_clock, _true_leaves = ClockBars.trade, Bar.leaves


def _begins_anew(self: ClockBars, px: float, qty: float | None, tick: float, lot: float) -> Bar | None:
    """C starts from 0 with each bar."""
    closed = _true_clock(self, px, qty, tick, lot)
    if closed is not None:
        self.total = 0
    return closed


def _closer_opens(self: ClockBars, px: float, qty: float | None, tick: float, lot: float) -> Bar | None:
    """The trade that closes is the first of the next bar."""
    before = self.bar
    kept = None if before is None else Bar(0, list(before.prices), before.lots, before.ticks_lots, before.sizes_known)
    closed = _true_clock(self, px, qty, tick, lot)
    if closed is not None:
        self.bar = Bar()
        self.bar.take(px, qty, tick, lot)
        return kept
    return None


def _bar_after_bar(self: ClockBars, px: float, qty: float | None, tick: float, lot: float) -> Bar | None:
    """What a big trade filled closes one bar each with the trades that follow."""
    if (owed := self.__dict__.get("owed", 0)) > 0:
        bar = self.bar or Bar()
        self.bar = None
        lots, ticks_lots = bar.take(px, qty, tick, lot)
        before = self.total
        self.total += {"tick_bar": 1, "volume_bar": lots, "dollar_bar": ticks_lots}[self.kind]
        self.__dict__["owed"] = owed - 1 + self.total // self.size - before // self.size
        return bar
    before = self.total
    closed = _true_clock(self, px, qty, tick, lot)
    self.__dict__["owed"] = max(0, self.total // self.size - before // self.size - 1)
    return closed


def _sized_only(self: ClockBars, px: float, qty: float | None, tick: float, lot: float) -> Bar | None:
    return None if qty is None else _true_clock(self, px, qty, tick, lot)


def _of_floats(self: Bar, name: str, tick: float, lot: float, of_trades: bool) -> dict[str, float]:
    """The mean of the prices, not weighed."""
    out = _true_leaves(self, name, tick, lot, of_trades)
    if f"{name}.vwap" in out:
        out[f"{name}.vwap"] = sum(self.prices) / len(self.prices)
    return out


def _missing_is_none(self: Bar, name: str, tick: float, lot: float, of_trades: bool) -> dict[str, float]:
    """Trades without sizes are left out of volume and vwap."""
    return _true_leaves(Bar(0, self.prices, self.lots, self.ticks_lots, True), name, tick, lot, of_trades)


def _vwap_off_grid(self: Bar, px: float, qty: float | None, tick: float, lot: float) -> tuple[int, int]:
    """Prices as they are, in float64."""
    counted = _true_take(self, px, qty, tick, lot)
    if qty is not None:
        self.ticks_lots += px / tick * whole_lots(qty, lot) - counted[1]  # type: ignore[assignment]
    return counted


def _half_up(kind: str, size: float, tick: float, lot: float) -> int:
    return max(1, math.floor(size / lot + 0.5))


_true_take = Bar.take
_BARS = (
    on_market("C starts again with each bar", "volume_bar(5).volume", (ClockBars, "trade", _begins_anew)),
    on_market("the closing trade opens the next bar", "volume_bar(5).close", (ClockBars, "trade", _closer_opens)),
    on_market("a big trade closes several bars", "volume_bar(5).count", (ClockBars, "trade", _bar_after_bar)),
    on_market("tick bars count trades with sizes", "tick_bar(5).open", (ClockBars, "trade", _sized_only)),
    on_market("vwap not weighed", "dollar_bar(500).vwap", (Bar, "leaves", _of_floats)),
    on_market("vwap of prices off the grid", 'bar("1s", "trade").vwap', (Bar, "take", _vwap_off_grid)),
    on_market("trades without sizes are left out of vwap", "tick_bar(10).vwap", (Bar, "leaves", _missing_is_none)),
    on_market("V rounded up at one half", "volume_bar(2.5).close", (reference, "size_of_bars", _half_up)),
)  # fmt: skip

# Buckets

_true_fill, _true_gap = Buckets.trade, Machine.gap


def _whole(self: Buckets, k: int) -> int:
    """A trade belongs to the bucket that it begins in."""
    net, at = 0.0, 0
    for lots, sign in self.trades:
        net += sign * lots if at // self.size == k else 0.0
        at += lots
    return int(net)


def _every_trade(self: Buckets, lots: int, sign: float) -> bool:
    _true_fill(self, lots, sign)
    return True


def _gap_keeps_buckets(self: Machine) -> None:
    counted = {e: b.filled_since_gap for e, b in self.buckets.items()}
    _true_gap(self)
    for e, n in counted.items():
        self.buckets[e].filled_since_gap = n


def _of_the_sum(self: Buckets) -> float:
    """Buys and sells of different buckets cancel."""
    nets = [self.net(k) for k in range(self.filled - self.n, self.filled)]
    return abs(float(sum(nets))) / (self.n * self.size)


_VPIN = (
    on_market("trades are not split", "vpin(1, 5)", (Buckets, "net", _whole)),
    on_market("vpin of every trade", "count(vpin(20, 2), 2)", (Buckets, "trade", _every_trade)),
    on_market("vpin ready at once after a gap", "vpin(2, 7)", (Machine, "gap", _gap_keeps_buckets)),
    on_market("vpin by the feed's side only", "vpin(2, 5)", (Machine, "sign", lambda self, px, side: side)),
    on_market("vpin of the sum", "vpin(2, 5)", (Buckets, "value", _of_the_sum)),
)  # fmt: skip

TRADES = (*_BARS, *_VPIN)
