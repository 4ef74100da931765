"""Which instrument carries a suggestion: the underlying, a leveraged fund or an inverse one. Floor 7.

A family is declared with its underlying in instruments.toml:
``family = { leveraged = "TQQQ", inverse = "PSQ", inverse_leveraged = "SQQQ" }``. Inverse funds are bought, never sold
short, for shorting an inverse fund is being long the market. One leg is held at a time; the others are flattened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from alpha.errors import InstrumentError
from alpha.instruments import Instrument
from alpha.strategies.base import Grade

_KEYS = ("direct", "leveraged", "inverse", "inverse_leveraged")


@dataclass(frozen=True)
class Family:
    """Symbols of the legs; ``direct`` alone: SELL is short in it."""

    direct: str
    leveraged: str | None = None
    inverse: str | None = None
    inverse_leveraged: str | None = None

    @classmethod
    def of(cls, instrument: Instrument) -> Family:
        """What the instrument declares; InstrumentError for another key, or a leg that stands twice."""
        told = instrument.family or {}
        for key, leg in told.items():
            if key not in _KEYS:
                raise InstrumentError(f"family of {instrument.symbol}: unknown key {key!r}; known: {', '.join(_KEYS)}")
            if not (isinstance(leg, str) and leg):
                raise InstrumentError(f"family of {instrument.symbol}: {key} must be a symbol, not {leg!r}")
        family = cls(**{"direct": instrument.symbol, **told})
        if len(set(family.legs)) != len(family.legs):
            raise InstrumentError(f"family of {instrument.symbol}: a symbol stands in two places")
        return family

    @property
    def legs(self) -> tuple[str, ...]:
        """All symbols that there are."""
        return tuple(s for s in (self.direct, self.leveraged, self.inverse, self.inverse_leveraged) if s)

    @property
    def has_inverse(self) -> bool:
        """Whether a view downwards has a fund of its own."""
        return bool(self.inverse or self.inverse_leveraged)


@dataclass(frozen=True, slots=True)
class Route:
    """``leg`` to hold on ``side`` (+1 long, -1 short); None: hold nothing of the family. ``why`` it fell back, if it did."""

    leg: str | None
    side: int
    why: str = ""


class Router:
    """``has_price``: whether a leg has a present price; ``short``: SELL without inverse funds is short, else flat."""

    def __init__(self, has_price: Callable[[str], bool], *, short: bool = True) -> None:
        self._has_price = has_price
        self._short = short
        self.fallbacks: Counter[str] = Counter()

    def route(self, family: Family, grade: Grade) -> Route:
        """The leg for a grade other than HOLD. Fallbacks are counted: up to the direct leg, down to nothing held."""
        if grade > 0:
            wanted = (family.leveraged if grade == Grade.STRONG_BUY else None) or family.direct
            if wanted == family.direct or self._has_price(wanted):
                return Route(wanted, 1)
            return self._fell_back(Route(family.direct, 1, f"{wanted} has no price"), "up_to_direct")
        if not family.has_inverse:
            return Route(family.direct, -1) if self._short else Route(None, 0)
        strong, plain = family.inverse_leveraged, family.inverse
        leg = (strong or plain) if grade == Grade.STRONG_SELL else (plain or strong)
        if leg and self._has_price(leg):
            return Route(leg, 1)
        return self._fell_back(Route(None, 0, f"{leg} has no price"), "down_to_flat")

    def _fell_back(self, route: Route, name: str) -> Route:
        self.fallbacks[name] += 1
        return route
