"""Traps of the libraries that training stands on. Each test fails if somebody steps into one again."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from alpha.models.score import scores as served
from alpha_training import export, fit
from alpha_training.fit import calibrate
from alpha_training.fit.task import float32_below
from alpha_training.recipe import Model
from alpha_training.split import purged_k_fold

N, F = 1_200, 4
FAST = ("logistic", "ridge", "mlp", "forest", "xgboost", "lightgbm")
NEURAL = ("torch_mlp", "lstm", "lstm_window", "gru", "cnn", "deeplob")
SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"max_iter": 3, "hidden_layer_sizes": [8]},
    "forest": {"n_estimators": 8},
    "xgboost": {"n_estimators": 8},
    "lightgbm": {"n_estimators": 8},
    "deeplob": {"epochs": 1, "channels": 4, "hidden": 4},
}


def ticks(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows on a grid of ticks, as prices and sizes are: values stand exactly on a tree's thresholds."""
    rng = np.random.default_rng(seed)
    x = (np.round(rng.normal(100.0, 0.05, (N, F)), 2)).astype(np.float32)
    wide = x.astype(np.float64) - 100.0
    return x, np.digitize(wide[:, 0] + 0.5 * wide[:, 1] + rng.normal(0, 0.02, N), [-0.03, 0.03])


def fitted(kind: str, x: np.ndarray, y: np.ndarray, **named: Any) -> tuple[fit.Fitted, fit.Inputs]:
    family = fit.FAMILIES[kind]
    params = SMALL.get(kind, {"epochs": 1} if family.module == "neural" else {})
    inputs = fit.Inputs(x, None, 1 if family.shape == "row" else 6)
    rows = np.arange(len(x))
    task = fit.Task(inputs, y, y - 1.0, rows[: N * 3 // 4], rows[N * 3 // 4 :], 3)
    return fit.fit(Model(id="m", kind=kind, params=params, **named), task), inputs  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [*FAST, *(pytest.param(k, marks=pytest.mark.slow) for k in NEURAL)])
def test_versions_outputs_weights_and_paths(kind: str) -> None:
    """Traps 1, 2, 3, 6: IR and opsets that the runtime reads, a tensor instead of a list of maps, converters that know the
    boosters, weights inside the file, and nothing in it about the machine that made it. Twice gives the same bytes."""
    x, y = ticks()
    scaled = (x - 100.0) * 20 if fit.FAMILIES[kind].scaled else x
    model, inputs = fitted(kind, scaled.astype(np.float32), y)
    if kind == "xgboost":
        model.model.get_booster().feature_names = ["bid", "ask", "spread", "mid"]  # type: ignore[attr-defined]
    data = model.to_onnx("m")
    again, _ = fitted(kind, scaled.astype(np.float32), y)
    assert data == model.to_onnx("m") == again.to_onnx("m")
    proto = onnx.load_from_string(data)
    assert proto.ir_version == 10
    assert {o.domain: o.version for o in proto.opset_import} | {"ai.onnx.ml": 3} == {"": 18, "ai.onnx.ml": 3}
    wanted = "value" if kind == "ridge" else "probabilities"
    assert [o.name for o in proto.graph.output] == [wanted, *(c.output for c in model.carry)]
    assert all(o.type.WhichOneof("value") == "tensor_type" for o in proto.graph.output)
    assert all(t.data_location == onnx.TensorProto.DEFAULT and not t.external_data for t in proto.graph.initializer)
    assert not proto.metadata_props and not any(n.metadata_props or n.doc_string for n in proto.graph.node)
    text = data.decode("latin1")
    assert not re.search(r"site-packages|/home/|/root/|/work|/tmp/|\.py\b", text)
    rows = np.arange(20, 40)
    own = model.scores(inputs, rows)
    if model.shape == "row":
        assert np.abs(served(data, wanted, inputs.rows(rows)) - own).max() < 1e-5
    elif model.shape == "window":
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        got = np.concatenate([session.run([wanted], {"features": w[None]})[0] for w in inputs.windows(rows)])
        assert np.abs(got - own).max() < 1e-5


def test_the_default_of_the_onnx_package_is_not_what_we_write() -> None:
    """Trap 1: what make_model writes by itself is newer than IR 10; exports go through finish(), which sets it."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["features"], ["value"])],
        "g",
        [value("features", 1, [1, 2])],
        [value("value", 1, [1, 2])],
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    assert proto.ir_version > export.IR_VERSION
    assert onnx.load_from_string(export.finish(proto, "g", ["value"])).ir_version == export.IR_VERSION


@pytest.mark.parametrize("kind", ["forest", "xgboost", "lightgbm"])
def test_trees_see_what_they_were_cut_by(kind: str) -> None:
    """Trap 4: the family is unscaled, so no decision of the export differs on tick-grid rows; a
    rounding of a scaled value would stand on the wrong side of a threshold that is a tick itself."""
    assert not fit.FAMILIES[kind].scaled
    x, y = ticks()
    model, inputs = fitted(kind, x, y)
    rows = np.arange(N)
    identity = fit.Scaler.identity(F)
    assert np.array_equal(identity.apply(x).view(np.uint32), x.view(np.uint32))
    got = served(model.to_onnx("m"), "probabilities", x)
    assert np.array_equal(got.argmax(axis=1), model.scores(inputs, rows).argmax(axis=1))
    assert np.abs(got - model.scores(inputs, rows)).max() < 1e-5


@pytest.mark.parametrize("kind", ["forest", "xgboost", "lightgbm"])
def test_neighbouring_floats_fall_on_the_same_side(kind: str) -> None:
    """Values one float32 apart: a threshold between two of them has no float32 of its own. Rounded to the nearest, half of
    these would move a row to the other side."""
    rng = np.random.default_rng(8)
    steps = np.nextafter(np.float32(16.0), np.float32(17.0)) - np.float32(16.0)
    grid = (np.float32(16.0) + np.arange(40, dtype=np.float32) * steps).astype(np.float32)
    at = rng.integers(0, 40, (N, F))
    x, y = grid[at], (at[:, 0] * 3 // 40 + (rng.random(N) < 0.1)).clip(0, 2)
    model, inputs = fitted(kind, x, y)
    own = model.scores(inputs, np.arange(N))
    assert (own.argmax(axis=1) == y).mean() > 0.8  # it did find the thresholds
    assert np.abs(served(model.to_onnx("m"), "probabilities", x) - own).max() < 1e-5


def test_the_float32_below() -> None:
    rng = np.random.default_rng(9)
    t = np.concatenate([rng.normal(0, 100, 2_000), [0.0, 1e-35, -1e-35, 1.0, -1.0]])
    low = float32_below(t)
    assert (low <= t).all() and np.array_equal(low, low.astype(np.float32).astype(np.float64))
    assert (np.nextafter(low.astype(np.float32), np.float32(np.inf)).astype(np.float64) > t).all()


@pytest.mark.parametrize("kind", ["logistic", "forest"])
def test_calibration_is_appended_and_exports_right(kind: str) -> None:
    """Trap 5: the map is four plain nodes behind the raw probabilities; the served numbers are the fitted ones, and they are
    better calibrated than the raw ones were."""
    x, y = ticks()
    z = ((x - 100.0) * 20).astype(np.float32)
    # balanced weights on unbalanced classes make the raw probabilities wrong
    y = np.where((y == 2) & (np.random.default_rng(1).random(N) < 0.7), 1, y)
    raw, inputs = fitted(kind, z, y, class_weight="balanced")
    model, _ = fitted(kind, z, y, class_weight="balanced", calibrate=True)
    assert isinstance(model, calibrate.Calibrated)
    data = model.to_onnx("m")
    nodes = export.operators(data)
    assert {"Max", "Log", "Gemm", "Softmax"} <= set(nodes) and "ZipMap" not in nodes
    rows = np.arange(N)
    got = served(data, "probabilities", z)
    assert np.abs(got - model.scores(inputs, rows)).max() < 1e-5
    held = rows[N * 3 // 4 :]

    def loss(p: np.ndarray) -> float:
        return float(-np.log(np.maximum(p[np.arange(len(held)), y[held]], 1e-12)).mean())

    assert loss(model.scores(inputs, held)) < loss(raw.scores(inputs, held)) - 0.01


def test_no_wrapper_that_converts_silently_wrong(project_root: Path) -> None:
    """Traps 5 and 7: neither CalibratedClassifierCV nor HistGradientBoosting is used anywhere."""
    for file in (project_root / "training").rglob("*.py"):
        text = file.read_text()
        assert not re.search(r"CalibratedClassifierCV\(|\.CalibratedClassifierCV|HistGradientBoosting", text), file
    assert not any("hist" in kind for kind in fit.FAMILIES)


def test_nanoseconds_stay_nanoseconds() -> None:
    """Trap 8: labels that overlap by one nanosecond are purged, labels that touch by less are not cut to microseconds."""
    ts = 1_700_000_000_000_000_000 + np.arange(30, dtype=np.int64) * 10
    known = np.ones(30, np.bool_)
    (first, *_) = purged_k_fold(ts, ts + 9, known, folds=3, embargo_ns=0)
    assert first.train.tolist() == list(range(10, 30))  # ends 1 ns before the next row begins
    (first, *_) = purged_k_fold(ts, ts + 10, known, folds=3, embargo_ns=0)
    assert first.train.tolist() == list(range(11, 30))  # touches it


def test_what_is_installed_and_what_is_not(project_root: Path) -> None:
    """Traps 6, 7, 9, 12 and the table: the CPU file of torch, the CPU package of xgboost, protobuf below 7, and none of the
    libraries that leak, or bring a hundred others."""
    extras = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    every = [r for e in extras.values() for r in e]
    assert "torch~=2.13.0" in extras["torch"] and "protobuf>=6.31.1,<7" in extras["train"]
    names = {re.split(r"[\s\[<>=!~;]", r, maxsplit=1)[0] for r in every}
    assert "xgboost-cpu" in names and "purgedcv" in names
    assert not names & {"xgboost", "timeseriescv", "quantstats", "evidently", "mlflow"}


def test_benchmarks_run_apart_and_wheels_are_per_version(project_root: Path) -> None:
    """Traps 10 and 11: xdist switches pytest-benchmark off, and abi3 makes calls slower."""
    assert "-p no:xdist bench --benchmark-only" in (project_root / "dev").read_text()
    assert "py_limited_api" not in (project_root / "setup.py").read_text()
