"""What a strategy asks for, and what the market answers. Floor 5. Nothing here sends anything."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from alpha.errors import AlphaError


@dataclass(frozen=True, slots=True)
class Order:
    """``side`` +1 buy, -1 sell; ``qty`` above zero; ``px``: limit price, None for a market order.

    ``models``: model id to its share of the order, shares above zero with the sum 1 (one model: ``{"m": 1.0}``; an
    ensemble names its members). AlphaError for anything else.
    """

    order_id: str
    instrument: str
    side: int
    qty: float
    px: float | None = None
    models: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.side not in (-1, 1):
            raise AlphaError(f"order {self.order_id}: side is +1 (buy) or -1 (sell), not {self.side!r}")
        if not (math.isfinite(self.qty) and self.qty > 0):
            raise AlphaError(f"order {self.order_id}: qty must be above zero, not {self.qty!r}")
        if self.px is not None and not (math.isfinite(self.px) and self.px > 0):
            raise AlphaError(f"order {self.order_id}: px must be above zero or None, not {self.px!r}")
        shares = list(self.models.values())
        if shares != [1.0] and (not shares or any(not s > 0 for s in shares) or abs(sum(shares) - 1) > 1e-9):
            raise AlphaError(f"order {self.order_id}: models must map ids to shares above zero with the sum 1")


@dataclass(frozen=True, slots=True)
class Fill:
    """Part of an order was done: ``qty`` above zero at ``px``; ``fee`` in the instrument's currency."""

    order_id: str
    qty: float
    px: float
    fee: float = 0.0

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.qty, self.px, self.fee))) or self.qty <= 0 or self.px <= 0:
            raise AlphaError(f"fill of {self.order_id}: qty and px must be above zero, fee finite")
