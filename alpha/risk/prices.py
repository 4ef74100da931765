"""The last price of each instrument, as of a time, never older than agreed and never from the future. Floor 5."""

from __future__ import annotations

import math

from alpha.errors import AlphaError


class PriceBook:
    """``max_age_ns``: a price older than this is none."""

    def __init__(self, max_age_ns: int) -> None:
        if max_age_ns <= 0:
            raise AlphaError(f"max_age_ns must be above zero, not {max_age_ns}")
        self.max_age_ns = max_age_ns
        self._last: dict[str, tuple[int, float]] = {}

    def update(self, instrument: str, ts_ns: int, px: float) -> None:
        """A price that was seen at ``ts_ns``. One that is earlier than the last, or no price at all, changes nothing."""
        if not (math.isfinite(px) and px > 0):
            return
        if ts_ns >= self._last.get(instrument, (ts_ns, 0.0))[0]:
            self._last[instrument] = ts_ns, px

    def price(self, instrument: str, now_ns: int) -> float | None:
        """The price as of ``now_ns``; None if there is none, it is too old, or it is from the future."""
        seen = self._last.get(instrument)
        if seen is None or not 0 <= now_ns - seen[0] <= self.max_age_ns:
            return None
        return seen[1]

    def last(self, instrument: str) -> float | None:
        """The last price whatever its age: for valuing what is held."""
        seen = self._last.get(instrument)
        return None if seen is None else seen[1]
