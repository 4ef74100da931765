"""What tests of ``alpha import`` share: six features, the command, and ONNX Runtime by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from alpha.cli.main import main
from alpha.events import Reason
from alpha.features import batch
from alpha.features.feature_set import FeatureSet
from alpha.instruments import Instruments
from alpha.models import adopt as adoption
from alpha.models.adopt import Declared
from alpha.models.score import scores

NAMES = ("spread_bp", "imbalance", "fast", "slow", "zscore", "rsi")
TOML = """trigger = "quote"
[features]
spread_bp = "1e4 * spread / mid"
imbalance = "imbalance"
fast = "ema(imbalance, span=10)"
slow = "ema(imbalance, span=50)"
zscore = "zscore(mid, 50)"
rsi = "rsi(mid, 14)"
"""
ACTIONS = "SELL,HOLD,BUY"


def adopt(data: bytes, fs: FeatureSet, said: Declared, **more: Any) -> adoption.Adoption:
    """In this process: one of its own for each call would take a second."""
    return adoption.adopt(data, fs, said, run=scores, **more)


def features() -> FeatureSet:
    return FeatureSet.from_toml("f.toml")


def bring(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, dict[str, Any], str]:
    """(exit code, the JSON object, stderr) of ``alpha import``."""
    code = main(["import", *map(str, args), "--json"])
    out, err = capsys.readouterr()
    assert out.count("\n") == 1  # exactly one object
    return code, json.loads(out), err


def rows_of(fs: FeatureSet, events: Any, instruments: Instruments) -> tuple[Any, Any]:
    index, x, ready = batch.compute(fs, events, instruments)
    return index[ready], x[ready]


def by_hand(model: bytes, output: str, z: Any) -> Any:
    """Scores by onnxruntime's own Python module, row by row."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run([output], {name: row[None]})[0] for row in z])


def check_signals(signals: Any, index: Any, scores: Any, threshold: float) -> None:
    """Each ready row is a decision whose scores, action and reason follow from ORT's numbers."""
    of_row = dict(zip(index.tolist(), range(len(index)), strict=True))
    decided = [s for s in signals if int(s["event_index"]) in of_row]
    assert len(decided) == len(index) > 1_000
    acted = 0
    for s in decided:
        p = scores[of_row[int(s["event_index"])]]
        assert s["scores"][:3].tobytes() == p.astype(np.float32).tobytes()
        best = int(p.argmax())
        sure = p[best] >= np.float32(threshold)
        assert s["action"] == ((-1, 0, 1)[best] if sure else 0)
        assert s["reason"] == (Reason.MODEL if sure else Reason.BELOW_THRESHOLD)
        assert s["confidence"] == p[best]
        acted += int(s["action"]) != 0
    assert 0 < acted < len(decided)


def metadata_short(**changes: Any) -> dict[str, Any]:
    return {
        "model_id": "HybridPPO",
        "version": "v2",
        "feature_names": list(NAMES),
        "mean": [0.5] * 6,
        "std": [2.0] * 6,
        "actions": ACTIONS.split(","),
        **changes,
    }
