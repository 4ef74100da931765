"""Backtests by hand: streams, bundles that decide by rows or by a planted value, and scripted strategies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_models
from onnx import helper

from alpha.backtest.costs import Costs
from alpha.backtest.engine import Backtest, Finished
from alpha.backtest.serving import Served
from alpha.backtest.settings import Settings
from alpha.bundle import Bundle
from alpha.events import EVENT_DTYPE, Flag, Kind
from alpha.features.feature_set import FeatureSet, parse_trigger
from alpha.features.language import parse
from alpha.instruments import Instrument, Instruments
from alpha.models import metadata
from alpha.models.load import load_artifact
from alpha.strategies.base import Output, Strategy

FREE = Costs()
MINUTE = 60 * 10**9


def quotes(ts: Any, bid: Any, ask: Any, who: Any = 0, qty: Any = 100.0) -> np.ndarray:
    """QUOTE events; ``qty``: both sides, or [N]."""
    n = len(ts)
    e = np.zeros(n, EVENT_DTYPE)
    e["ts_event_ns"], e["kind"], e["instrument_id"], e["flags"] = ts, Kind.QUOTE, who, Flag.LAST
    e["v"][:, 0], e["v"][:, 1], e["v"][:, 2], e["v"][:, 3] = bid, ask, qty, qty
    return e


def bars(close_ts: Any, opens: Any, closes: Any, who: Any = 0, volume: Any = 1000.0) -> np.ndarray:
    """BAR events."""
    e = np.zeros(len(close_ts), EVENT_DTYPE)
    e["ts_event_ns"], e["kind"], e["instrument_id"], e["flags"] = close_ts, Kind.BAR, who, Flag.LAST
    e["v"][:, 0], e["v"][:, 3], e["v"][:, 4] = opens, closes, volume
    e["v"][:, 1] = np.maximum(opens, closes)
    e["v"][:, 2] = np.minimum(opens, closes)
    return e


def rows(trigger: str = "quote") -> Served:
    """A row at each trigger, without a model."""
    value = f"{trigger}.close" if trigger.startswith("bar") else "mid"
    return Served(Bundle.from_features(FeatureSet("rows", {"price": parse(value)}, parse_trigger(trigger))))


def served(
    folder: Path, fs: FeatureSet, model: bytes, output: str, kind: str, mean: Sequence[float], std: Sequence[float]
) -> Served:
    """An artifact around a model; probabilities and logits are of SELL, HOLD, BUY."""
    folder.mkdir(parents=True, exist_ok=True)
    value = kind == "value"
    meta = metadata.Metadata(
        model_id=fs.name,
        version=1,
        feature_set={"name": fs.name, **fs.definition()},
        definition_hash=fs.definition_hash,
        feature_names=list(fs.names),
        mean=list(mean),
        std=list(std),
        input=[1, len(fs.names)],
        outputs=[metadata.Output(name=output, kind=kind)],  # type: ignore[arg-type]
        output_schema=["value"] if value else ["down", "flat", "up"],
        actions=["HOLD"] if value else ["SELL", "HOLD", "BUY"],
        decision=metadata.Decision(rule="sign" if value else "argmax"),
        sha256={"model.onnx": hashlib.sha256(model).hexdigest()},
    )
    (folder / "model.onnx").write_bytes(model)
    (folder / "metadata.json").write_bytes(metadata.encode(meta))
    return Served(Bundle.from_model(load_artifact(folder), name=f"{fs.name}/1", governed=False))


def planted(folder: Path, trigger: str = "quote", mean: float = 1000.0, std: float = 100.0) -> Served:
    """A model whose value is (size - mean) / std: of the bid, or of a bar's volume."""
    expression = "bid_qty" if trigger == "quote" else f"{trigger}.volume"
    fs = FeatureSet("planted", {"x": parse(expression)}, parse_trigger(trigger))
    model = onnx_models.model(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
        [onnx_models.value("x", "N", 1)],
        [onnx_models.value("y", "N", 1)],
        {"w": np.ones((1, 1), np.float32), "b": np.zeros(1, np.float32)},
    )
    return served(folder, fs, model, "y", "value", [mean], [std])


class Scripted(Strategy):
    """Grades by the time of the row: ``script`` maps ns to a grade."""

    name = "scripted"

    def __init__(self, script: dict[int, int], who: dict[int, dict[int, int]] | None = None) -> None:
        super().__init__()
        self.script, self.who = script, who or {}

    def map_output(self, outputs: Sequence[Output]) -> Any:
        s = outputs[0].signals
        grades = [
            self.who.get(int(i), self.script).get(int(t), 0)
            for t, i in zip(s["ts_event_ns"], s["instrument_id"], strict=True)
        ]
        return np.array(grades, np.int8), np.ones(len(s), np.float32)


def table(n: int = 1, **more: Any) -> Instruments:
    """A, B, … with a tick of 0.01 and a lot of 1."""
    return Instruments.of(*(Instrument(symbol=chr(65 + i), tick_size=0.01, lot_size=1.0, **more) for i in range(n)))


def run(
    strategy: Strategy,
    models: Served | Sequence[Served],
    events: np.ndarray,
    *,
    instruments: Instruments | None = None,
    symbols: Sequence[str] = ("A",),
    settings: Settings | None = None,
    cuts: Sequence[int] = (),
    **more: Any,
) -> Finished:
    """The events through a backtest, cut into chunks at ``cuts``."""
    all_served = [models] if isinstance(models, Served) else list(models)
    settings = settings or Settings(costs=FREE)
    backtest = Backtest(strategy, all_served, instruments or table(), list(symbols), settings, **more)
    done = backtest.run(np.split(events, list(cuts)))
    backtest.finish_audit({})
    return done
