"""Artifacts of random models over one random stream, for tests of several models in one runtime."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper
from onnx_models import model, value
from programs import program, table_for
from streams import stream

import alpha
from alpha.events import Control, Kind, SignalFlag
from alpha.features.feature_set import FeatureSet
from alpha.instruments import Instruments

ACTIONS = (["SELL", "HOLD", "BUY"], ["BUY", "SELL"], ["HOLD", "BUY"], ["HOLD", "BUY", "SELL"])
KINDS = ("rows", "window", "step", "logits", "value")


def graph(rng: np.random.Generator, kind: str, n: int, outputs: int, window: int) -> bytes:
    """``rows``, ``logits``, ``value``: of one row; ``window``: of several; ``step``: with a state."""
    f = np.float32
    last = "s" if kind in ("logits", "value") else "p"
    head = [] if last == "s" else [helper.make_node("Softmax", ["s"], ["p"], axis=1)]
    b = rng.normal(size=outputs).astype(f)
    if kind == "step":
        w, r = rng.normal(size=(n, 3)).astype(f), rng.normal(size=(3, 3)).astype(f) * 0.5
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["a"]),
            helper.make_node("MatMul", ["h", "r"], ["c"]),
            helper.make_node("Add", ["a", "c"], ["d"]),
            helper.make_node("Tanh", ["d"], ["h_out"]),
            helper.make_node("Gemm", ["h_out", "v", "b"], ["s"]),
        ]
        initial = {"w": w, "r": r, "v": rng.normal(size=(3, outputs)).astype(f), "b": b}
        out = [value(last, 1, outputs), value("h_out", 1, 3)]
        return model([*nodes, *head], [value("x", 1, n), value("h", 1, 3)], out, initial)
    if kind == "window":
        initial = {
            "w": rng.normal(size=(n * window, outputs)).astype(f),
            "b": b,
            "flat": np.array([1, n * window], np.int64),
        }
        nodes = [
            helper.make_node("Reshape", ["x", "flat"], ["y"]),
            helper.make_node("Gemm", ["y", "w", "b"], ["s"]),
        ]
        return model([*nodes, *head], [value("x", 1, window, n)], [value("p", 1, outputs)], initial)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["s"])]
    initial = {"w": rng.normal(size=(n, outputs)).astype(f), "b": b}
    return model([*nodes, *head], [value("x", 1, n)], [value(last, 1, outputs)], initial)


def demands(rng: np.random.Generator, n: int) -> dict[str, Any]:
    """Random limits on a row and the training figures that they need; of every other model none."""
    if rng.random() < 0.5:
        return {}
    low = rng.normal(size=n)
    modes = [str(m) for m in rng.choice(["off", "count", "hold"], 3)]
    return {
        "limits": {
            "max_age_ns": int(rng.choice([10**8, 10**10])),
            "max_age_peers_ns": int(rng.choice([10**9, 2**61])),
            "max_age_inputs_ns": int(rng.choice([10**9, 2**61])),
            "ranges": {"mode": modes[0], "margin": float(rng.choice([0.0, 50.0]))},
            "distance": {"mode": modes[1], "limit": float(rng.uniform(1.0, 9.0))},
            "psi": {"mode": modes[2], "limit": float(rng.uniform(0.5, 8.0)), "window": 16},
        },
        "reference": {
            "min": low.tolist(),
            "max": (low + rng.exponential(size=n)).tolist(),
            "edges": np.sort(rng.normal(size=(n, 9)), axis=1).tolist(),
            "shares": np.full((n, 10), 0.1).tolist(),
        },
    }


def artifact(folder: Path, fs: FeatureSet, rng: np.random.Generator, kind: str = "rows", **more: Any) -> Path:
    """A random model of this kind over these features, as an artifact folder."""
    n, window = len(fs.names), int(rng.integers(2, 5))
    actions = ["BUY"] if kind == "value" else list(ACTIONS[int(rng.integers(len(ACTIONS)))])
    data = graph(rng, kind, n, len(actions), window)
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(data)
    meta = {
        "model_id": folder.name,
        "version": 1,
        "feature_set": {"name": fs.name, **fs.definition()},
        "definition_hash": fs.definition_hash,
        "feature_names": list(fs.names),
        "mean": rng.normal(size=n).tolist(),
        "std": rng.uniform(0.5, 3.0, n).tolist(),
        "input": [1, window, n] if kind == "window" else [1, n],
        "carry": [{"in": "h", "out": "h_out", "shape": [1, 3]}] if kind == "step" else [],
        "outputs": [
            {
                "name": "s" if kind in ("logits", "value") else "p",
                "kind": kind if kind in ("logits", "value") else "probabilities",
            }
        ],
        "output_schema": [f"o{i}" for i in range(len(actions))],
        "actions": actions,
        "decision": {
            "rule": "sign" if kind == "value" else "argmax",
            "threshold": round(float(rng.uniform(0.3, 0.7)), 3),
            "cooldown_ns": int(rng.choice([0, 10**9])),
        },
        "sha256": {"model.onnx": hashlib.sha256(data).hexdigest()},
        **demands(rng, n),
        **more,
    }
    (folder / "metadata.json").write_text(json.dumps(meta))
    return folder


def subset(fs: FeatureSet, rng: np.random.Generator, name: str) -> FeatureSet:
    """Some of the features in another order, some under other names, some twice."""
    labels = list(rng.permutation(fs.names))[: int(rng.integers(1, len(fs.names) + 1))]
    features = {}
    for label in labels:
        features[str(label) if rng.random() < 0.7 else f"own_{label}"] = fs.features[str(label)]
    if rng.random() < 0.3:
        features["again"] = fs.features[str(labels[0])]
    return FeatureSet(name, features, fs.trigger, fs.stream)


def random_models(
    folder: Path, seed: int, count: int, kinds: tuple[str, ...] = KINDS
) -> tuple[dict[str, Path], dict[str, FeatureSet], Instruments, npt.NDArray[Any]]:
    """(artifact folders, their feature sets, instruments, a stream of events with faults, kills and halts)."""
    rng = np.random.default_rng(seed)
    fs = program(rng, 6)
    table = table_for(fs, rng)
    folders, sets = {}, {}
    for k in range(count):
        name = f"m{k}"
        sets[name] = subset(fs, rng, name)
        folders[name] = artifact(folder / name, sets[name], rng, str(rng.choice(kinds)))
    events = stream(seed, 500, len(table), faults=True)
    events["v"][events["kind"] == Kind.INPUT, 0] = np.where(
        np.isin(events["v"][events["kind"] == Kind.INPUT, 0], range(8)),
        events["v"][events["kind"] == Kind.INPUT, 0],
        99.0,
    )
    return folders, sets, table, with_controls(events, rng)


def with_controls(events: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
    """Kills and halts between the events, each taken back a little later."""
    pieces, begin = [], 0
    for at in sorted(rng.choice(len(events) - 60, 3, replace=False)):
        first, second = (Control.KILL, Control.REVIVE) if rng.random() < 0.5 else (Control.HALT, Control.RESUME)
        for where, code in ((int(at), first), (int(at) + int(rng.integers(1, 60)), second)):
            if where < begin:
                continue
            control = events[where : where + 1].copy()
            control["kind"], control["v"] = Kind.CONTROL, 0.0
            control["v"][0, 0] = float(code)
            pieces += [events[begin:where], control]
            begin = where
    return np.concatenate([*pieces, events[begin:]])


def inputs_for(events: npt.NDArray[Any], union: FeatureSet, fs: FeatureSet) -> npt.NDArray[Any]:
    """The union's events as a runtime of ``fs`` alone numbers their series; foreign ones belong to nobody there."""
    own = events.copy()
    for i in np.flatnonzero(events["kind"] == Kind.INPUT):
        number = events["v"][i, 0]
        known = number in range(len(union.inputs))
        name = union.inputs[int(number)] if known else None
        own["v"][i, 0] = fs.inputs.index(name) if name in fs.inputs else 99.0
    return own


def comparable(signals: npt.NDArray[Any]) -> bytes:
    """Signals without what only says where they stood."""
    own = signals.copy()
    own["model_slot"] = 0
    own["flags"] &= ~np.uint32(SignalFlag.SHADOW)
    return own.tobytes()


def alone(folder: Path, table: Instruments, events: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """What a runtime says that serves this model only."""
    with quiet(), alpha.Runtime.from_artifact(folder, instruments=table) as rt:
        return rt.run(events)


def quiet() -> warnings.catch_warnings[Any]:
    """Without warnings about strange instruments."""
    return warnings.catch_warnings(action="ignore", category=alpha.AlphaWarning)
