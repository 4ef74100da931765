"""Strategies around models: one per kind of output, and an ensemble. Floor 7."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from alpha.errors import StrategyError
from alpha.strategies.base import Floats, Grades, ModelRequest, Output, Strategy, graded
from alpha.strategies.parameters import Parameter
from alpha.strategies.registration import register

FLOOR = Parameter("conf_floor", float, None, 0.0, 1.0, help="minimum confidence, in place of the model's own threshold")
STRONG = Parameter("strong", float, 0.8, 0.0, 1.0, help="confidence from which an action is STRONG")


def _model(default: str | None) -> Parameter:
    text = "a model: models:/ID/3, models:/ID@production, or an id (its production version, else the newest)"
    return Parameter("model", str, default, required=default is None, help=text)


class _OfOneModel(Strategy):
    """Serves the model of its parameter, at its floor if it has one."""

    def requests(self) -> Sequence[ModelRequest]:
        return (ModelRequest(self.params["model"], self.params.get("conf_floor")),)

    def map_output(self, outputs: Sequence[Output]) -> tuple[Grades, Floats]:
        """The gate's own action, STRONG from a confidence on."""
        s = outputs[0].signals
        action = np.where(outputs[0].decided, s["action"], 0)
        return graded(action, s["confidence"], self.params["strong"]), s["confidence"]


@register("hybrid_ppo")
class HybridPPO(_OfOneModel):
    """The specification's strategy: the policy's SELL, HOLD or BUY, graded by its probability."""

    parameters = (_model("HybridPPO"), FLOOR, STRONG)


@register("tree_proba")
class TreeProba(_OfOneModel):
    """Class probabilities against a level per side: trees are often sure of HOLD, and right about the rest."""

    parameters = (
        _model(None),
        Parameter("buy", float, 0.5, 0.0, 1.0, help="probability of up from which to buy"),
        Parameter("sell", float, 0.5, 0.0, 1.0, help="probability of down from which to sell"),
        STRONG,
    )

    def map_output(self, outputs: Sequence[Output]) -> tuple[Grades, Floats]:
        out = outputs[0]
        up, down = out.sides()
        buy = (up >= np.float32(self.params["buy"])) & (up > down)
        sell = (down >= np.float32(self.params["sell"])) & (down > up)
        side = np.where(out.decided, buy.astype(np.int8) - sell.astype(np.int8), 0)
        confidence = np.clip(np.maximum(up, down), 0.0, 1.0)
        return graded(side, confidence, self.params["strong"]), confidence


@register("threshold")
class Threshold(_OfOneModel):
    """A signed value against two levels: of a regression, or probability of up less that of down."""

    parameters = (
        _model(None),
        Parameter("buy", float, 0.1, 0.0, 1e9, help="value from which to buy"),
        Parameter("sell", float, -0.1, -1e9, 0.0, help="value down to which to sell"),
        Parameter("strong", float, 0.5, 0.0, 1e9, help="absolute value from which an action is STRONG"),
    )

    def map_output(self, outputs: Sequence[Output]) -> tuple[Grades, Floats]:
        out = outputs[0]
        v = out.signals["value"]
        buy, sell = v >= np.float32(self.params["buy"]), v <= np.float32(self.params["sell"])
        side = np.where(out.decided & (v != 0), buy.astype(np.int8) - sell.astype(np.int8), 0)
        size = np.abs(v)
        return graded(side, size, self.params["strong"]), np.minimum(size, np.float32(1.0))


@register("lstm_sequence")
class LstmSequence(_OfOneModel):
    """A model over time: acts once its last ``agree`` decisions of an instrument say the same."""

    parameters = (
        _model(None),
        FLOOR,
        STRONG,
        Parameter("agree", int, 2, 1, 1000, help="decisions in a row that must agree"),
    )

    def __init__(self, **given: object) -> None:
        super().__init__(**given)
        self._runs: dict[int, tuple[int, int]] = {}  # instrument -> (action, how often in a row)

    def map_output(self, outputs: Sequence[Output]) -> tuple[Grades, Floats]:
        s = outputs[0].signals
        action = np.where(outputs[0].decided, s["action"], 0).astype(np.int64)
        agreed = np.zeros(len(s), bool)
        for instrument in np.unique(s["instrument_id"]).tolist():
            rows = np.flatnonzero(s["instrument_id"] == instrument)
            a = action[rows]
            before, count = self._runs.get(instrument, (0, 0))
            changed = np.diff(a, prepend=before) != 0
            at = np.arange(len(a))
            start = np.maximum.accumulate(np.where(changed, at, -count))  # where the present run began
            length = at - start + 1
            agreed[rows] = length >= self.params["agree"]
            self._runs[instrument] = int(a[-1]), int(length[-1])
        return graded(np.where(agreed, action, 0), s["confidence"], self.params["strong"]), s["confidence"]

    def on_save(self) -> bytes:
        return json.dumps(sorted([k, *v] for k, v in self._runs.items())).encode()

    def on_load(self, blob: bytes) -> None:
        try:
            self._runs = {int(k): (int(a), int(n)) for k, a, n in json.loads(blob)}
        except (ValueError, TypeError):
            raise StrategyError("strategy lstm_sequence: this is no state that its on_save gave") from None


@register("ensemble")
class Ensemble(Strategy):
    """The mean signed value of several models against a level; a row counts only where every model decided."""

    parameters = (
        Parameter("models", str, None, required=True, help="two or more models joined by +, as in demo+demo_mlp"),
        Parameter("level", float, 0.1, 0.0, 1.0, help="mean value from which to act"),
        STRONG,
    )

    def __init__(self, **given: object) -> None:
        super().__init__(**given)
        self._members = [m.strip() for m in self.params["models"].split("+")]
        if len(self._members) < 2 or not all(self._members) or len(set(self._members)) != len(self._members):
            raise StrategyError(
                f"strategy ensemble: models must be two or more different ones joined by +, not {self.params['models']!r}"
            )

    def requests(self) -> Sequence[ModelRequest]:
        return tuple(ModelRequest(m) for m in self._members)

    def map_output(self, outputs: Sequence[Output]) -> tuple[Grades, Floats]:
        value = np.mean([np.clip(o.signals["value"], -1.0, 1.0) for o in outputs], axis=0, dtype=np.float64)
        decided = np.all([o.decided for o in outputs], axis=0)
        size = np.abs(value).astype(np.float32)
        side = np.where(decided & (size >= np.float32(self.params["level"])) & (value != 0), np.sign(value), 0)
        return graded(side, size, self.params["strong"]), size
