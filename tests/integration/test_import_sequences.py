"""Models over windows and with carried state come in, and their signals are ONNX Runtime's, row after row by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest
from imports import ACTIONS, NAMES, adopt, bring, features, rows_of
from onnx import helper
from onnx_models import model, value

import alpha
from alpha.data.simulate import simulate
from alpha.errors import ModelError
from alpha.models.adopt import Declared, Scaler
from alpha.models.metadata import decode
from alpha.models.score import scores
from alpha.models.trial import trial

F, T, H = len(NAMES), 9, 7
SAID = ["--features", "f.toml", "--kind", "probabilities", "--actions", ACTIONS]
CARRY = "h=h_out,c=c_out"


def net(kind: str, rows: Any = None, batch: Any = 1, unit: Any = H) -> bytes:
    """An LSTM and a softmax: ``step`` with state in and out, or over a ``window`` of rows."""
    rng = np.random.default_rng(9)
    f32 = np.float32
    weights = {
        "w": (rng.standard_normal((1, 4 * H, F)) * 0.6).astype(f32),
        "r": (rng.standard_normal((1, 4 * H, H)) * 0.6).astype(f32),
        "b": (rng.standard_normal((1, 8 * H)) * 0.2).astype(f32),
        "v": (rng.standard_normal((H, 3)) * 2).astype(f32),
        "to": np.array([-1, 1, F], np.int64),
        "flat": np.array([1, H], np.int64),
    }
    state = ["h", "c"] if kind == "step" else []
    nodes = [
        helper.make_node("Reshape", ["x", "to"], ["seq"]),
        helper.make_node("LSTM", ["seq", "w", "r", "b", "", *state], ["", "h_out", "c_out"], hidden_size=H),
        helper.make_node("Reshape", ["h_out", "flat"], ["last"]),
        helper.make_node("MatMul", ["last", "v"], ["s"]),
        helper.make_node("Softmax", ["s"], ["p"], axis=1),
    ]
    x = value("x", batch, F) if kind == "step" else value("x", batch, T if rows is None else rows, F)
    out = [value(f"{n}_out", 1, 1, H) for n in state]
    return model(nodes, [x, *(value(n, 1, batch, unit) for n in state)], [value("p", 1, 3), *out], weights)


def by_hand(data: bytes, z: Any) -> Any:
    """Scores of rows [N, F] with onnxruntime's own module: of each window, or one step after the other."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    if len(session.get_inputs()) == 1:
        return np.concatenate([session.run(["p"], {"x": z[None, i : i + T]})[0] for i in range(len(z) - T + 1)])
    state, out = {n: np.zeros((1, 1, H), np.float32) for n in ("h", "c")}, []
    for row in z:
        p, state["h"], state["c"] = session.run(["p", "h_out", "c_out"], {"x": row[None], **state})
        out.append(p)
    return np.concatenate(out)


@pytest.mark.parametrize("kind", ["step", "window"])
def test_it_comes_in_and_decides_row_after_row(place: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    fs, data = features(), net(kind, batch="N")
    stream = simulate(3_000, seed=5, levels=1)
    index, x = rows_of(fs, stream.events, stream.instruments)
    mean, std = x.mean(axis=0).astype(float), x.std(axis=0).astype(float)
    scaler = Scaler(mean.tolist(), std.tolist(), (-4.0, 4.0))
    (place / "seq.onnx").write_bytes(data)
    (place / "s.json").write_text(json.dumps({"mean": scaler.mean, "std": scaler.std, "clip": [-4.0, 4.0]}))
    pl.DataFrame({n: x[:, j] for j, n in enumerate(NAMES)}).write_parquet(place / "sample.parquet")
    more = ["--carry", CARRY] if kind == "step" else []
    code, told, err = bring(capsys, "seq.onnx", *SAID, "--scaler", "s.json", "--sample", "sample.parquet", *more)
    assert code == 0, err
    assert told["input"] == ([1, F] if kind == "step" else [1, T, F]) and told["sample_rows"] == len(x)
    uses = {p["name"]: p["use"] for p in told["ports"]}
    assert uses["p"] == "the scores" and (kind == "window" or (uses["h"], uses["c_out"]) == ("state", "the next state"))
    folder = Path(told["artifact"])
    meta = decode((folder / "metadata.json").read_bytes())
    assert [(c.input, c.output, c.shape) for c in meta.carry] == (
        [("h", "h_out", (1, 1, H)), ("c", "c_out", (1, 1, H))] if kind == "step" else []
    )
    probes = np.load(folder / "probes.npy")
    assert np.array_equal(probes, scaler.apply(x)[: len(probes)])  # one after the other, as they came
    expected = by_hand(data, scaler.apply(x))
    for engine in ("plan", "ort"):
        with alpha.Runtime.from_artifact(folder, instruments=stream.instruments, engine=engine) as rt:
            signals = rt.run(stream.events)
        of_row = {int(e): i for i, e in enumerate(index.tolist())}
        got = np.array([s["scores"][:3] for s in signals if int(s["event_index"]) in of_row])
        skipped = T - 1 if kind == "window" else 0
        assert len(got) == len(index) > 1_000
        assert not got[:skipped].any()  # the window is not full
        np.testing.assert_allclose(got[skipped:], expected, atol=2e-6)


def test_its_own_metadata_says_all_of_it_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "seq.onnx").write_bytes(net("step"))
    code, first, _ = bring(capsys, "seq.onnx", *SAID, "--carry", CARRY)
    assert code == 0
    full = Path(first["artifact"]) / "metadata.json"
    again = ["seq.onnx", "--features", "f.toml", "--metadata", str(full), "--id", "twin"]
    code, told, err = bring(capsys, *again)
    assert code == 0 and told["carry"] == ["h=h_out", "c=c_out"], err
    code, told, _ = bring(capsys, *again, "--version", 2, "--carry", "c=c_out,h=h_out")
    assert code == 2 and "--carry c=c_out,h=h_out differs from the metadata's: h=h_out,c=c_out" in told["error"]
    changed = {**json.loads(full.read_text()), "input": [1, 4, F]}
    full.write_text(json.dumps(changed))
    code, told, _ = bring(capsys, *again, "--version", 3)
    assert code == 2 and "the metadata says that the model takes [1, 4, 6], but input 'x' is [1, 6]" in told["error"]


@pytest.mark.parametrize(
    ("data", "carry", "message"),
    [
        (net("step"), None, r"has 3 inputs \(x, h, c\) for features.*--carry h0=hn"),
        (net("step"), "h=h_out", r"has 2 inputs \(x, c\)"),
        (net("step"), "h=h_out,c=gone", r"state c=gone: the model has no output 'gone'; it has p, h_out, c_out"),
        (net("step"), "h=h_out,q=c_out", r"the model has no input 'q'; it has x, h, c"),
        (net("step"), "h=h_out,c=h_out", "output 'h_out' is declared as two states"),
        (net("step"), "h=h_out,h=c_out", "input 'h' is declared as two states"),
        (net("step", unit="K"), "h=h_out,c=c_out", "must have a fixed number of units as its last dimension"),
        (net("step"), "h=h_out,c=p", r"output 'c_out' has shape \[1, 1, 7\]"),
        (net("window"), "x=p", r"has 0 inputs \(none\)"),
        (net("window", rows="T"), None, r"does not say how many rows its window has: export it with a fixed length"),
        (net("window", batch=4), None, "takes 4 windows at once"),
    ],
)
def test_sequences_that_do_not_fit(place: Path, data: bytes, carry: str | None, message: str) -> None:
    pairs = None if carry is None else tuple((a, b) for a, b in (p.split("=") for p in carry.split(",")))
    said = Declared(actions=("SELL", "HOLD", "BUY"), kind="probabilities", carry=pairs)
    with pytest.raises(ModelError, match=message):
        adopt(data, features(), said)


def test_a_state_is_no_score_and_is_written_as_pairs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "seq.onnx").write_bytes(net("step"))
    for carry, message in (("h", "write each state as input=output"), ("h=h_out=c", "write each state"), ("", "write")):
        code, told, _ = bring(capsys, "seq.onnx", *SAID, "--carry", carry)
        assert code == 2 and message in told["error"]
    code, told, _ = bring(capsys, "seq.onnx", *SAID, "--carry", CARRY, "--output", "h_out")
    assert code == 2 and "output 'h_out' is declared as a state" in told["error"]


def test_samples_of_windows(place: Path) -> None:
    said = Declared(actions=("SELL", "HOLD", "BUY"), kind="probabilities")
    x = np.random.default_rng(0).normal(size=(T - 1, F)).astype(np.float32)
    with pytest.raises(ModelError, match=f"the sample has {T - 1} rows, but the model looks at windows of {T}"):
        adopt(net("window"), features(), said, rows=x)
    made = adopt(net("window"), features(), said, rows=np.concatenate([x, x]))
    assert len(made.scores) == 2 * (T - 1) - T + 1 and made.sampled == 2 * (T - 1) and len(made.probes) == 2 * (T - 1)
    assert "windows" not in " ".join(made.notes)


@pytest.mark.parametrize("kind", ["step", "window"])
def test_the_trial_is_told_of_states(kind: str) -> None:
    carry = [("h", "h_out"), ("c", "c_out")] if kind == "step" else []
    z = np.random.default_rng(1).normal(size=(30, F)).astype(np.float32)
    got = trial(net(kind), "p", z, carry)
    assert got.tobytes() == scores(net(kind), "p", z, carry).tobytes()
    np.testing.assert_allclose(got, by_hand(net(kind), z), atol=1e-6)
