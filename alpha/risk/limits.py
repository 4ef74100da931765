"""Limits as data. Floor 5."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from alpha.errors import AlphaError


@dataclass(frozen=True)
class RiskLimits:
    """Every limit is inclusive; None means that there is none.

    ``order_qty``, ``order_notional``: of one order. ``position``: absolute quantity per instrument, pending orders
    included. ``orders_per_s``: approvals within any second. ``daily_loss``: equity below the day's first; from then on
    only orders that reduce risk pass. ``model_exposure``: gross notional per model id including pending orders; the key
    ``*`` is for every model that is not named. ``gross``, ``net``: notional of the whole account including pending.
    """

    order_qty: float | None = None
    order_notional: float | None = None
    position: float | None = None
    orders_per_s: int | None = None
    daily_loss: float | None = None
    model_exposure: Mapping[str, float] = field(default_factory=dict)
    gross: float | None = None
    net: float | None = None

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            named = value.items() if isinstance(value, Mapping) else [(f.name, value)]
            for name, limit in named:
                if limit is not None and not (math.isfinite(limit) and limit >= 0):
                    raise AlphaError(f"limit {f.name} ({name}) must be a number of 0 or more, not {limit!r}")

    def exposure_of(self, model: str) -> float | None:
        """``max_model_exposure`` of a model id."""
        return self.model_exposure.get(model, self.model_exposure.get("*"))
