"""Cash and positions marked to market. Floor 7.

``equity = cash + sum of position * mark * multiplier``: every fill moves cash by what it really cost, so that
realised and unrealised profit always add up to the change of equity. Sums are exact (``math.fsum`` over what they are
folded into): a million fills later the equity is still the correctly rounded one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from alpha.errors import DataError


class ExactSum:
    """A running sum without rounding; ``value`` rounds once."""

    __slots__ = ("_parts",)

    def __init__(self, start: float = 0.0) -> None:
        self._parts = [start] if start else []

    def add(self, x: float) -> None:
        """Add a finite number."""
        parts = self._parts
        parts.append(x)
        if len(parts) >= _WAITING:
            self._fold()

    def _fold(self) -> None:
        """The same sum in as few numbers as it takes: what rounding left of it, again and again, until nothing is left."""
        parts, folded = self._parts, []
        while rounded := math.fsum(parts):
            folded.append(rounded)
            if not math.isfinite(rounded):
                break
            parts.append(-rounded)
        self._parts = folded

    def add_product(self, a: float, b: float) -> None:
        """Add a*b exactly (Dekker's product; its operands must not be astronomically large)."""
        product = a * b
        self.add(product)
        error = _product_error(a, b, product)
        if error:
            self.add(error)

    @property
    def value(self) -> float:
        """The sum, rounded once."""
        return math.fsum(self._parts)


_WAITING = 32  # numbers that are kept as they came before they are folded
_SPLIT = 134_217_729.0  # 2**27 + 1


def _product_error(a: float, b: float, product: float) -> float:
    c = _SPLIT * a
    a_high = c - (c - a)
    c = _SPLIT * b
    b_high = c - (c - b)
    a_low, b_low = a - a_high, b - b_high
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


@dataclass(slots=True)
class Holding:
    """One instrument: signed ``qty``, ``entry_px`` (average of what is open), last ``mark_px``, ``realised`` money of what
    was closed before fees, ``multiplier`` money per unit and point."""

    qty: float = 0.0
    entry_px: float = 0.0
    mark_px: float = math.nan
    realised: float = 0.0
    multiplier: float = 1.0

    @property
    def unrealised(self) -> float:
        """What closing at the mark would add to ``realised``."""
        return 0.0 if self.qty == 0.0 else self.qty * (self.mark_px - self.entry_px) * self.multiplier


class Account:
    """Cash, positions and fees of one book.

    Buy 10 at 30, sell 10 at 31.5, a fee of 0.1 each:

    >>> account = Account(1000.0)
    >>> account.fill(0, +10, 30.0, fee=0.1); account.fill(0, -10, 31.5, fee=0.1)
    >>> round(account.equity - 1000.0, 9)
    14.8
    """

    __slots__ = ("_cash", "_fees", "_turnover", "fills", "holdings", "initial_cash")

    def __init__(self, initial_cash: float = 0.0) -> None:
        if not math.isfinite(initial_cash):
            raise DataError(f"an account starts with a finite amount, not {initial_cash}")
        self.initial_cash = float(initial_cash)
        self._cash = ExactSum(self.initial_cash)
        self._fees = ExactSum()
        self._turnover = ExactSum()
        self.fills = 0
        self.holdings: dict[int, Holding] = {}

    @property
    def cash(self) -> float:
        """Money that is in no position."""
        return self._cash.value

    @property
    def fees(self) -> float:
        """All fees paid so far."""
        return self._fees.value

    @property
    def turnover(self) -> float:
        """Money traded so far, both sides."""
        return self._turnover.value

    def declare(self, instrument: int, multiplier: float = 1.0) -> Holding:
        """The holding of an instrument, made flat if it is new. DataError for a multiplier that is not positive."""
        held = self.holdings.get(instrument)
        if held is None:
            if not (math.isfinite(multiplier) and multiplier > 0.0):
                raise DataError(f"the multiplier of instrument {instrument} must be above 0, it is {multiplier}")
            held = self.holdings[instrument] = Holding(multiplier=multiplier)
        return held

    def fill(self, instrument: int, qty: float, px: float, fee: float = 0.0) -> None:
        """An executed order: signed ``qty`` at ``px``, ``fee`` in money. The price becomes the mark."""
        if not (math.isfinite(qty) and math.isfinite(px) and math.isfinite(fee)):
            raise DataError(f"a fill needs finite numbers, not qty {qty}, px {px}, fee {fee}")
        if qty == 0.0:
            raise DataError(f"a fill of nothing on instrument {instrument}: leave it away")
        held = self.declare(instrument)
        self._cash.add_product(-qty * held.multiplier, px)
        self._cash.add(-fee)
        self._fees.add(fee)
        self._turnover.add_product(abs(qty) * held.multiplier, px)
        self.fills += 1
        before, after = held.qty, held.qty + qty
        if before == 0.0 or (before > 0.0) == (qty > 0.0):  # opens or adds
            held.entry_px = px if before == 0.0 else (before * held.entry_px + qty * px) / after
        else:
            closed = min(abs(qty), abs(before)) * (1.0 if before > 0.0 else -1.0)
            held.realised += closed * (px - held.entry_px) * held.multiplier
            if after == 0.0:
                held.entry_px = 0.0
            elif (after > 0.0) != (before > 0.0):  # flipped: the rest opens here
                held.entry_px = px
        held.qty, held.mark_px = after, px

    def mark(self, instrument: int, px: float) -> None:
        """The instrument's price now. A price that is no number changes nothing: the older mark stands."""
        if math.isfinite(px):
            self.declare(instrument).mark_px = px

    @property
    def equity(self) -> float:
        """Cash and all positions at their marks."""
        total = ExactSum(self.cash)
        for held in self.holdings.values():
            if held.qty != 0.0:
                total.add_product(held.qty * held.multiplier, held.mark_px)
        return total.value

    @property
    def profit(self) -> float:
        """Change of equity since the start, after fees."""
        return self.equity - self.initial_cash

    def exposure(self) -> float:
        """Gross money at the marks."""
        return math.fsum(abs(h.qty * h.mark_px * h.multiplier) for h in self.holdings.values() if h.qty != 0.0)
