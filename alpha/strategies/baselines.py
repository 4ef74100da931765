"""What every strategy has to beat: holding, and chance. Floor 7."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alpha.errors import InstrumentError, StrategyError
from alpha.instruments import duration_ns
from alpha.strategies.base import Floats, Grade, Grades, Output, Strategy
from alpha.strategies.parameters import Parameter
from alpha.strategies.registration import register

EVERY = Parameter("every", str, "1m", help="how often it is asked on ticks (on bars: at each)")


class _Baseline(Strategy):
    def __init__(self, **given: object) -> None:
        super().__init__(**given)
        try:
            duration_ns(self.params["every"])
        except InstrumentError as exc:
            raise StrategyError(f"strategy {self.name}: every: {exc}") from None
        self.rhythm = self.params["every"]


@register("buy_and_hold")
class BuyAndHold(_Baseline):
    """Buys at the first price and keeps it."""

    parameters = (EVERY,)

    def map_output(self, outputs: Sequence[Output]) -> tuple[Grades, Floats]:
        n = len(outputs[0].signals)
        return np.full(n, Grade.BUY, np.int8), np.ones(n, np.float32)


@register("random")
class Random(_Baseline):
    """Buys or sells by chance: the same for the same seed, time and instrument, however the stream is cut."""

    parameters = (
        EVERY,
        Parameter("seed", int, 0, 0, 2**31 - 1),
        Parameter("share", float, 0.2, 0.0, 1.0, help="share of the rows at which it acts"),
    )

    def map_output(self, outputs: Sequence[Output]) -> tuple[Grades, Floats]:
        s = outputs[0].signals
        key = s["ts_event_ns"].astype(np.uint64) ^ (s["instrument_id"].astype(np.uint64) << np.uint64(40))
        draw = _mixed(key + _mixed(np.full(1, self.params["seed"], np.uint64)))
        u = (draw >> np.uint64(11)).astype(np.float64) * 2.0**-53
        acts = u < self.params["share"]
        side = np.where(draw & np.uint64(1), np.int8(1), np.int8(-1))
        return np.where(acts, side, np.int8(0)), np.where(acts, np.float32(1.0), np.float32(0.0))


def _mixed(x: np.ndarray) -> np.ndarray:
    """splitmix64 (Steele, Lea, Flood 2014): every bit of the result depends on every bit of ``x``."""
    with np.errstate(over="ignore"):
        z = x + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))
