"""How much: a share of equity within leverage, less a reserve, in whole lots. Floor 7."""

from __future__ import annotations

import math
from collections import Counter

import msgspec

from alpha.errors import StrategyError


class Sizing(msgspec.Struct, frozen=True, kw_only=True):
    """``share``: of equity in one position; ``leverage``: gross exposure over equity; ``reserve``: share of equity that is
    never at work; ``min_notional``: money below which no position is opened; ``qty``: a fixed quantity in place of a share.
    """

    share: float = 0.25
    leverage: float = 2.0
    reserve: float = 0.05
    min_notional: float = 100.0
    qty: float | None = None

    def __post_init__(self) -> None:
        for name, low, high in (("share", 0.0, 2.0), ("leverage", 0.0, 10.0), ("reserve", 0.0, 0.99)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise StrategyError(f"sizing: {name} must be from {low:g} to {high:g}, not {value}")
        if not (math.isfinite(self.min_notional) and self.min_notional >= 0.0):
            raise StrategyError(f"sizing: min_notional must be 0 or more, not {self.min_notional}")
        if self.qty is not None and not (math.isfinite(self.qty) and self.qty > 0.0):
            raise StrategyError(f"sizing: qty must be above 0, not {self.qty}")


class Sizer:
    """Quantities by one :class:`Sizing`; what came out as nothing is counted by reason."""

    def __init__(self, sizing: Sizing) -> None:
        self.sizing = sizing
        self.nothing: Counter[str] = Counter()

    def quantity(
        self, equity: float, other_exposure: float, px: float, *, multiplier: float = 1.0, lot: float | None = None
    ) -> float:
        """Units to hold, 0 or more. ``other_exposure``: gross money in what stays open beside it."""
        s = self.sizing
        lot = lot or 1e-8
        unit = px * multiplier
        room = s.leverage * (1.0 - s.reserve) * equity - other_exposure
        if s.qty is not None:
            wanted = s.qty * unit
        else:
            wanted = s.share * equity
        if equity <= 0.0 or room <= 0.0:
            self.nothing["no_room"] += 1
            return 0.0
        if s.qty is not None and wanted > room:
            self.nothing["no_room"] += 1
            return 0.0
        lots = math.floor(min(wanted, room) / unit / lot * (1.0 + 1e-12))
        qty = lots * lot
        if qty <= 0.0 or qty * unit < s.min_notional:
            self.nothing["below_min_notional"] += 1
            return 0.0
        return qty
