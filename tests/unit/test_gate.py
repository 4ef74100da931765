"""The gate: from scores to action, with a model that hands its features through."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from alpha._core.ort import OrtModel
from alpha._core.pipeline import Pipeline
from alpha.events import Action, Reason
from alpha.features.compile import compile_program
from alpha.features.feature_set import FeatureSet


def identity(width: int) -> OrtModel:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, width])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return OrtModel(bytes(model.SerializeToString()))


def pipeline(actions: list[int], kind: str = "probabilities", **more: Any) -> Pipeline:
    n = len(actions)
    fs = FeatureSet.from_dict({"features": {f"f{i}": f"mid * {i + 1}.0" for i in range(n)}})
    gate = {"output_kind": kind, "rule": "sign" if kind == "value" else "argmax", "actions": actions}
    return Pipeline(
        compile_program(fs),
        lots=[1.0],
        clock_offsets_ns=[0],
        guard={"clock": "recv", "crossed": "reject", "future_tolerance_ns": 10**10, "duplicates": "reject"},
        mean=np.zeros(n),
        std=np.ones(n),
        clip=(-1000.0, 1000.0),
        gate={**gate, "threshold": 0.0, "cooldown_ns": 0, **more},
        model=identity(n).kernel(),
    )


S, H, B = -1, 0, 1


@pytest.mark.parametrize(
    ("scores", "threshold", "action", "reason"),
    [
        ([0.2, 0.2, 0.6], 0.5, Action.BUY, Reason.MODEL),
        ([0.6, 0.2, 0.2], 0.5, Action.SELL, Reason.MODEL),
        ([0.2, 0.6, 0.2], 0.5, Action.HOLD, Reason.MODEL),
        ([0.2, 0.2, 0.6], 0.6, Action.BUY, Reason.MODEL),  # inclusive
        ([0.2, 0.2, 0.6], 0.61, Action.HOLD, Reason.BELOW_THRESHOLD),
        ([0.4, 0.2, 0.4], 0.0, Action.SELL, Reason.MODEL),  # the first of equals
        ([0.0, 0.0, 1.5], 0.5, Action.BUY, Reason.MODEL),
    ],
)
def test_argmax(scores: list[float], threshold: float, action: Action, reason: Reason) -> None:
    signal = pipeline([S, H, B], threshold=np.float32(threshold)).on_features(0, 1, scores)
    assert (signal.action, signal.reason) == (action, reason)
    assert signal.scores == tuple(np.float32(scores).tolist())
    assert signal.confidence == min(float(np.float32(max(scores))), 1.0)


def test_value_is_up_minus_down() -> None:
    assert pipeline([S, H, B]).on_features(0, 1, [0.1, 0.2, 0.7]).value == np.float32(0.7) - np.float32(0.1)
    assert pipeline([B, S]).on_features(0, 1, [0.9, 0.1]).action == Action.BUY  # the specification's order


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_logits_become_probabilities(scale: float) -> None:
    logits = np.array([0.3, -1.2, 0.9]) * scale
    signal = pipeline([S, H, B], "logits", threshold=0.1).on_features(0, 1, logits)
    e = np.exp(np.float32(logits).astype(np.float64) - np.float32(logits).max())
    assert signal.scores == tuple((e / e.sum()).astype(np.float32).tolist())
    assert signal.action == Action.BUY


@pytest.mark.parametrize(
    ("value", "action", "reason", "confidence"),
    [
        (0.4, Action.BUY, Reason.MODEL, 0.4),
        (-0.4, Action.SELL, Reason.MODEL, 0.4),
        (0.1, Action.HOLD, Reason.BELOW_THRESHOLD, 0.1),
        (-7.0, Action.SELL, Reason.MODEL, 1.0),
    ],
)
def test_sign(value: float, action: Action, reason: Reason, confidence: float) -> None:
    signal = pipeline([H], "value", threshold=0.25).on_features(0, 1, [value])
    assert (signal.action, signal.reason) == (action, reason)
    assert signal.value == np.float32(value) and signal.confidence == np.float32(confidence)


def test_cooldown_is_stream_time_and_starts_with_an_action() -> None:
    p = pipeline([S, H, B], cooldown_ns=100)
    buy, hold = [0.1, 0.1, 0.8], [0.1, 0.8, 0.1]
    seen = [
        (t, p.on_features(0, t, x).reason)
        for t, x in ((0, buy), (50, buy), (60, hold), (99, buy), (100, buy), (150, buy))
    ]
    expected = [Reason.MODEL, Reason.COOLDOWN, Reason.MODEL, Reason.COOLDOWN, Reason.MODEL, Reason.COOLDOWN]
    assert [r for _, r in seen] == expected


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_features_never_reach_the_model(bad: float) -> None:
    signal = pipeline([S, H, B]).on_features(0, 1, [0.0, bad, 1.0])
    assert (signal.action, signal.reason) == (Action.HOLD, Reason.NON_FINITE_FEATURE)
    assert signal.scores == ()


def test_non_finite_output_holds() -> None:
    node = helper.make_node("Log", ["x"], ["y"])  # the logarithm of a negative feature
    graph = helper.make_graph(
        [node],
        "log",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    fs = FeatureSet.from_dict({"features": {"a": "mid", "b": "-mid"}})
    p = Pipeline(
        compile_program(fs),
        lots=[1.0],
        clock_offsets_ns=[0],
        guard={"clock": "recv", "crossed": "reject", "future_tolerance_ns": 10**10, "duplicates": "reject"},
        mean=np.zeros(2),
        std=np.ones(2),
        clip=(-1000.0, 1000.0),
        gate={"output_kind": "probabilities", "rule": "argmax", "actions": [S, B], "threshold": 0.0, "cooldown_ns": 0},
        model=OrtModel(bytes(model.SerializeToString())).kernel(),
    )
    signal = p.on_features(0, 1, [1.0, -1.0])
    assert (signal.action, signal.reason) == (Action.HOLD, Reason.NON_FINITE_OUTPUT)


def test_normalise_and_clip() -> None:
    n = 3
    fs = FeatureSet.from_dict({"features": {f"f{i}": "mid" for i in range(n)}})
    p = Pipeline(
        compile_program(fs),
        lots=[1.0],
        clock_offsets_ns=[0],
        guard={"clock": "recv", "crossed": "reject", "future_tolerance_ns": 10**10, "duplicates": "reject"},
        mean=[1.0, 2.0, 3.0],
        std=[0.5, 0.0, 1e-9],
        clip=(-5.0, 5.0),
        gate={
            "output_kind": "probabilities",
            "rule": "argmax",
            "actions": [S, H, B],
            "threshold": 0.0,
            "cooldown_ns": 0,
        },
        model=identity(n).kernel(),
    )
    assert p.on_features(0, 1, [1.7, 4.0, 4.0]).scores == (
        np.float32((np.float64(np.float32(1.7)) - 1.0) / 0.5),
        2.0,
        5.0,
    )
