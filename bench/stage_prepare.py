"""A recurrent step from event to Signal: as it comes, and with what follows from the state alone computed before."""

from __future__ import annotations

import hashlib
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np

import alpha
from alpha.data.simulate import simulate
from alpha.features.feature_set import FeatureSet
from bench import plan_models
from bench.measure import Result, result

FEATURES, UNITS = 16, 64
EVENTS, BLOCK, WARM = 60_000, 500, 4


def _artifact(folder: Path, fs: FeatureSet, data: bytes, prepare: bool) -> Path:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(data)
    meta = {
        "model_id": "lstm64",
        "version": 1,
        "feature_set": {"name": fs.name, **fs.definition()},
        "definition_hash": fs.definition_hash,
        "feature_names": list(fs.names),
        "mean": [0.0] * FEATURES,
        "std": [1.0] * FEATURES,
        "input": [1, FEATURES],
        "carry": [{"in": f"{s}0", "out": f"{s}n0", "shape": [1, 1, UNITS]} for s in "hc"],
        "prepare": prepare,
        "outputs": [{"name": "p", "kind": "probabilities"}],
        "output_schema": ["p0", "p1", "p2"],
        "actions": ["SELL", "HOLD", "BUY"],
        "sha256": {"model.onnx": hashlib.sha256(data).hexdigest()},
    }
    (folder / "metadata.json").write_text(json.dumps(meta))
    return folder


def _run(rt: alpha.Runtime, block: np.ndarray, signals: list[bytes]) -> None:
    """Inline calls as a trading loop makes them; ``prepare`` once the Signal has been used."""
    for event in block:
        signal = rt.on_event(event)
        if signal is not None:
            signals.append(bytes(signal))
            rt.prepare()


def measure() -> list[Result]:
    """p50 in ns from event to Signal inside inline calls (the runtime's own histogram, which the clock makes some 40 ns longer),
    LSTM-64 on 16 features, float32 and bfloat16, blocks of both arms in turn; the Signals must be equal."""
    names = [f"ema(imbalance, span={3 + k})" for k in range(FEATURES)]
    fs = FeatureSet.from_dict({"features": {f"f{k}": text for k, text in enumerate(names)}})
    stream, data = simulate(EVENTS, seed=6), plan_models.lstm(FEATURES, UNITS, head=True)
    results = []
    with tempfile.TemporaryDirectory() as at, warnings.catch_warnings():
        warnings.simplefilter("ignore", alpha.AlphaWarning)
        folders = [_artifact(Path(at) / str(on), fs, data, on) for on in (False, True)]
        for precision, name in (("float32", ""), ("bf16", "_bf16")):
            arms = [
                alpha.Runtime.from_artifact(f, instruments=stream.instruments, engine="plan", precision=precision)
                for f in folders
            ]
            said: list[list[bytes]] = [[], []]
            for k, begin in enumerate(range(0, EVENTS, BLOCK)):
                for arm in (0, 1) if k % 2 else (1, 0):
                    if k == WARM:
                        arms[arm].measure_latency()
                    _run(arms[arm], stream.events[begin : begin + BLOCK], said[arm])
            if said[0] != said[1] or arms[1].stats()["prepared"] == 0:
                raise RuntimeError("prepared steps decide otherwise, or none was prepared")
            step, prepared = (float(rt.stats()["latency_ns"]["p50"]) for rt in arms)
            results.append(result(f"path_lstm64{name}_step", step))
            results.append(result(f"path_lstm64{name}_prepared", prepared, step, "the step as it comes"))
    return results
