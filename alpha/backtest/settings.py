"""What a backtest is told beside its strategy and its data. Floor 7."""

from __future__ import annotations

from dataclasses import dataclass, field

from alpha.backtest.costs import Costs
from alpha.backtest.latency import LatencySpec
from alpha.errors import DataError
from alpha.risk.limits import RiskLimits
from alpha.strategies.sizer import Sizing

MINUTE_NS = 60 * 10**9
FOREVER = 2**62  # ns; later than any event


@dataclass(frozen=True)
class Settings:
    """``cash``: money at the start. ``wait_ns``: an order that meets no price for so long after it reached the market is
    cancelled; ``max_age_ns``: an older price is none. ``short``: SELL without an inverse fund is short, else flat.
    ``start_ns``, ``stop_ns``: decisions from and events up to these times (what lies before ``start_ns`` warms up).
    ``horizon_ns``: when a decision is judged (None: 15 bars, or 10 s). ``family``: route to the legs that the
    instruments declare. ``seed``: of latency draws. ``carry``: hold positions across sessions that the data lack; by default
    they end at the last price before, with its costs, for what happened in between was not seen.
    """

    cash: float = 100_000.0
    costs: Costs = field(default_factory=Costs)
    sizing: Sizing = field(default_factory=Sizing)
    limits: RiskLimits = field(default_factory=RiskLimits)
    latency: LatencySpec = field(default_factory=LatencySpec)
    wait_ns: int = 5 * MINUTE_NS
    max_age_ns: int = 5 * MINUTE_NS
    short: bool = True
    family: bool = False
    start_ns: int = -FOREVER
    stop_ns: int = FOREVER
    horizon_ns: int | None = None
    seed: int = 0
    carry: bool = False

    def __post_init__(self) -> None:
        if not self.cash > 0.0:
            raise DataError(f"a backtest starts with money above 0, not {self.cash}")
        if self.start_ns >= self.stop_ns:
            raise DataError("the backtest ends before it begins: --from must lie before --to")
        for name in ("wait_ns", "max_age_ns"):
            if getattr(self, name) <= 0:
                raise DataError(f"{name} must be above 0, not {getattr(self, name)}")
