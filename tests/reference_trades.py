"""Trades in bars and buckets for the oracle (rules 53 and 54): whole lots, whole ticks, one trade after another."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

from reference_math import NAN

LIMIT = 2**62


def whole_lots(qty: float, lot: float) -> int:
    return round(qty / lot)  # ties to even


def size_of_bars(kind: str, size: float, tick: float, lot: float) -> int:
    """V of a bar clock in what its C counts."""
    if kind == "tick_bar":
        return int(size)
    return max(1, round(size / (lot if kind == "volume_bar" else tick * lot)))


@dataclass
class Bar:
    """A bar under construction. ``number``: of its interval, for time bars."""

    number: int = 0
    prices: list[float] = field(default_factory=list)
    lots: int = 0
    ticks_lots: int = 0
    sizes_known: bool = True

    def leaves(self, name: str, tick: float, lot: float, of_trades: bool) -> dict[str, float]:
        """Values of the fields that there are; what is missing does not update. ``lot`` 0: unknown."""
        out = {
            "open": self.prices[0],
            "high": max(self.prices),
            "low": min(self.prices),
            "close": self.prices[-1],
            "count": float(len(self.prices)),
        }
        if of_trades and self.sizes_known and self.lots < LIMIT:
            out["volume"] = float(self.lots) * (lot if lot > 0.0 else 1e-8)
            if tick > 0.0 and lot > 0.0 and self.ticks_lots < LIMIT:
                out["vwap"] = float(self.ticks_lots) / float(self.lots) * tick if self.lots else NAN
        return {f"{name}.{field_name}": value for field_name, value in out.items()}

    def take(self, px: float, qty: float | None, tick: float, lot: float) -> tuple[int, int]:
        """One trade more; the lots and ticks times lots that count. ``qty`` None: without a size."""
        self.prices.append(px)
        counted = counts(px, qty, tick, lot)
        if counted is None:
            self.sizes_known = False
            return 0, 0
        self.lots += counted[0]
        self.ticks_lots += counted[1]
        return counted


def counts(px: float, qty: float | None, tick: float, lot: float) -> tuple[int, int] | None:
    """Lots and ticks times lots of a trade (0 where one is unknown); None without a size or beyond all measure."""
    if qty is None:
        return None
    lots = whole_lots(qty, lot if lot > 0.0 else 1e-8)
    ticks_lots = round(px / tick) * lots if tick > 0.0 and lot > 0.0 else 0
    return None if lots >= LIMIT or ticks_lots >= LIMIT else (lots, ticks_lots)


@dataclass
class ClockBars:
    """Bars of one ``tick_bar``, ``volume_bar`` or ``dollar_bar``: C runs over the whole stream."""

    kind: str
    size: int
    total: int = 0
    bar: Bar | None = None

    def trade(self, px: float, qty: float | None, tick: float, lot: float) -> Bar | None:
        """The bar that this trade closes."""
        if self.bar is None:
            self.bar = Bar()
        lots, ticks_lots = self.bar.take(px, qty, tick, lot)
        before = self.total
        self.total += {"tick_bar": 1, "volume_bar": lots, "dollar_bar": ticks_lots}[self.kind]
        if self.total // self.size == before // self.size:
            return None
        closed, self.bar = self.bar, None
        return closed


@dataclass
class Buckets:
    """VPIN: all trades since the start, cut into buckets of ``size`` lots."""

    size: int
    n: int
    trades: list[tuple[int, float]] = field(default_factory=list)  # lots and sign
    lots: int = 0
    filled_since_gap: int = 0

    @property
    def filled(self) -> int:
        return self.lots // self.size

    def trade(self, lots: int, sign: float) -> bool:
        """Takes one trade in; whether it filled a bucket."""
        before = self.filled
        self.trades.append((lots, sign))
        self.lots += lots
        self.filled_since_gap += self.filled - before
        return self.filled > before

    def value(self) -> float:
        """Mean of |net| / size over the last n full buckets."""
        if self.filled < self.n:
            return NAN
        away = sum(abs(self.net(k)) for k in range(self.filled - self.n, self.filled))
        assert away.denominator == 1
        return float(int(away)) / float(self.n * self.size)

    def net(self, k: int) -> Fraction:
        """Sum of sign times lots of the trades' parts inside of bucket k."""
        first, last = k * self.size, (k + 1) * self.size
        net, at = Fraction(0), 0
        for lots, sign in self.trades:
            net += Fraction(sign) * max(0, min(at + lots, last) - max(at, first))
            at += lots
        return net


def known(size: float) -> float:
    """A tick or lot; 0 if unknown."""
    return size if math.isfinite(size) and size > 0.0 else 0.0
