"""Models that remember: windows of rows and recurrent states live where training would have them."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
from onnx import helper
from onnx_models import model, value

import alpha
from alpha.data.simulate import simulate
from alpha.events import ALL_INSTRUMENTS, Control, Flag, Kind, Reason
from alpha.features.feature_set import FeatureSet
from alpha.features.native import native_rows

T, HIDDEN = 7, 5
STREAM = simulate(4_000, seed=4, n_instruments=2)
SET = FeatureSet.from_dict(
    {"features": {"imbalance": "imbalance", "fast": "ema(imbalance, span=5)", "ret": "1e4*ret(mid, 3)"}}
)
F = len(SET.names)
Floats = npt.NDArray[np.float32]


@pytest.fixture(autouse=True)
def _untrained_instruments_are_fine() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", alpha.AlphaWarning)
        yield


@cache
def graph(kind: str) -> bytes:
    """``step``: one row and a state in, scores and state out; ``window``: T rows in, scores out. The same weights."""
    if kind == "explode":  # its state is not finite after three steps
        nodes = [
            helper.make_node("Mul", ["h", "big"], ["grown"]),
            helper.make_node("Add", ["grown", "x"], ["h_out"]),
            helper.make_node("Softmax", ["x"], ["p"], axis=1),
        ]
        initial = {"big": np.full((1,), 1e25, np.float32)}
        return model(nodes, [value("x", 1, F), value("h", 1, F)], [value("p", 1, 3), value("h_out", 1, F)], initial)
    rng = np.random.default_rng(9)
    weights = {
        "w": rng.standard_normal((1, 4 * HIDDEN, F)) * 0.6,
        "r": rng.standard_normal((1, 4 * HIDDEN, HIDDEN)) * 0.6,
        "b": rng.standard_normal((1, 8 * HIDDEN)) * 0.2,
        "v": rng.standard_normal((HIDDEN, 3)) * 2,
    }
    rows = 1 if kind == "step" else T
    initial = {
        **{n: a.astype(np.float32) for n, a in weights.items()},
        "sequence": np.array([rows, 1, F], np.int64),
        "flat": np.array([1, HIDDEN], np.int64),
    }
    inputs = ["seq", "w", "r", "b", ""] + (["h", "c"] if kind == "step" else [])
    nodes = [
        helper.make_node("Reshape", ["x", "sequence"], ["seq"]),
        helper.make_node("LSTM", inputs, ["", "h_out", "c_out"], hidden_size=HIDDEN),
        helper.make_node("Reshape", ["h_out", "flat"], ["last"]),
        helper.make_node("MatMul", ["last", "v"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["p"], axis=1),
    ]
    state = [value(n, 1, 1, HIDDEN) for n in ("h", "c")] if kind == "step" else []
    out = [value(n, 1, 1, HIDDEN) for n in ("h_out", "c_out")] if kind == "step" else []
    x = value("x", 1, F) if kind == "step" else value("x", 1, T, F)
    return model(nodes, [x, *state], [value("p", 1, 3), *out], initial)


@pytest.fixture
def artifact(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    kind, data = request.param, graph(request.param)
    (tmp_path / "model.onnx").write_bytes(data)
    states = {"step": {"h": [1, 1, HIDDEN], "c": [1, 1, HIDDEN]}, "explode": {"h": [1, F]}}.get(kind, {})
    carry = [{"in": n, "out": f"{n}_out", "shape": shape} for n, shape in states.items()]
    (tmp_path / "metadata.json").write_text(
        json.dumps(
            {
                "model_id": "seq",
                "version": 1,
                "feature_set": {"name": SET.name, **SET.definition()},
                "definition_hash": SET.definition_hash,
                "feature_names": list(SET.names),
                "mean": [0.1, 0.0, 0.5],
                "std": [0.5, 0.4, 2.0],
                "input": [1, T, F] if kind == "window" else [1, F],
                "carry": carry,
                "outputs": [{"name": "p", "kind": "probabilities"}],
                "output_schema": ["a", "b", "c"],
                "actions": ["SELL", "HOLD", "BUY"],
                "decision": {"rule": "argmax", "threshold": 0.4},
                "sha256": {"model.onnx": hashlib.sha256(data).hexdigest()},
            }
        )
    )
    (tmp_path / "kind").write_text(kind)
    return tmp_path


both = pytest.mark.parametrize("artifact", ["step", "window"], indirect=True)
engines = pytest.mark.parametrize("engine", ["plan", "ort"])


def runtime(artifact: Path, engine: str = "auto") -> alpha.Runtime:
    return alpha.Runtime.from_artifact(artifact, instruments=STREAM.instruments, engine=engine)


def by_hand(artifact: Path, events: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8], Floats]:
    """(instrument, reason, scores) of every row, with ONNX Runtime from Python and the rows of the native twin."""
    session = ort.InferenceSession((artifact / "model.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    step = (artifact / "kind").read_text() == "step"
    rows = native_rows(SET, events, STREAM.instruments)
    mean, std = np.array([0.1, 0.0, 0.5]), np.array([0.5, 0.4, 2.0])
    zero = {n: np.zeros((1, 1, HIDDEN), np.float32) for n in ("h", "c")}
    states: dict[int, dict[str, Floats]] = {}
    history: dict[int, list[Floats]] = {}
    lost = {int(i): np.flatnonzero((events["instrument_id"] == i) & (events["flags"] & Flag.GAP > 0)) for i in (0, 1)}
    stale, passed = set(), {0: -1, 1: -1}
    reasons, scores = [], []
    for x, ready, who, at in zip(rows["values"], rows["ready"], rows["instrument_id"], rows["row_index"], strict=True):
        if ((lost[int(who)] > passed[int(who)]) & (lost[int(who)] <= at)).any():
            stale.add(int(who))
        passed[int(who)] = int(at)
        p = np.zeros(3, np.float32)
        reason = Reason.MODEL
        if not ready.all() or not np.isfinite(x).all():
            states.pop(int(who), None)
            history.pop(int(who), None)
            reason = Reason.NON_FINITE_FEATURE if ready.all() else Reason.NOT_WARM
        else:
            z = np.clip(((x.astype(np.float64) - mean) / std).astype(np.float32), -5, 5).astype(np.float32)
            if step:
                state = states.setdefault(int(who), dict(zero))
                out, h, c = session.run(["p", "h_out", "c_out"], {"x": z[None], **state})
                states[int(who)] = {"h": h, "c": c}
                p = out[0]
            else:
                kept = history.setdefault(int(who), [])
                kept.append(z)
                del kept[:-T]
                if len(kept) < T:
                    reason = Reason.NOT_WARM
                else:
                    p = session.run(["p"], {"x": np.array(kept, np.float32)[None]})[0][0]
            if reason is Reason.MODEL and p.max() < np.float32(0.4):
                reason = Reason.BELOW_THRESHOLD
        if reason is not Reason.NOT_WARM:
            stale.discard(int(who))
        elif int(who) in stale:  # events were lost, and it has not been warm since
            reason = Reason.STALE
        reasons.append(int(reason))
        scores.append(p)
    return rows["instrument_id"].astype(np.int64), np.array(reasons, np.uint8), np.array(scores)


def with_gaps(events: npt.NDArray[Any]) -> npt.NDArray[Any]:
    out = events.copy()
    out["flags"][[900, 901, 2_500]] |= np.uint16(Flag.GAP)
    return out


@both
@engines
def test_signals_are_those_of_the_rows_in_sequence(artifact: Path, engine: str) -> None:
    events = with_gaps(STREAM.events)
    signals = runtime(artifact, engine).run(events)
    who, reasons, scores = by_hand(artifact, events)
    assert np.array_equal(signals["instrument_id"], who)
    assert np.array_equal(signals["reason"], reasons)
    assert {Reason.MODEL, Reason.NOT_WARM, Reason.STALE} <= set(reasons.tolist())
    np.testing.assert_allclose(signals["scores"][:, :3], scores, atol=2e-6)
    assert np.ptp(scores[reasons == Reason.MODEL], axis=0).min() > 0.05  # it does look at what it reads


@both
def test_a_kill_or_halt_does_not_stop_the_sequence(artifact: Path) -> None:
    events = STREAM.events
    control = np.zeros(4, alpha.EVENT_DTYPE)
    control["kind"], control["instrument_id"] = Kind.CONTROL, ALL_INSTRUMENTS
    control["v"][:, 0] = [Control.KILL, Control.REVIVE, Control.HALT, Control.RESUME]
    parts = np.split(events, [1000, 1500, 2000, 2600])
    mixed = np.concatenate([p for k in range(4) for p in (parts[k], control[k : k + 1])] + [parts[4]])
    plain, held = runtime(artifact).run(events), runtime(artifact).run(mixed)
    silent = np.isin(held["reason"], [Reason.KILLED, Reason.HALTED])
    assert silent.sum() > 500
    assert np.array_equal(held["scores"][~silent], plain["scores"][~silent])
    assert not held["scores"][silent].any() and not held["action"][silent].any()


@both
@pytest.mark.parametrize("cut", [3, 700, 905, 3_100])
def test_saved_state_holds_the_sequence(artifact: Path, cut: int) -> None:
    events = with_gaps(STREAM.events)
    whole = runtime(artifact)
    expected = whole.run(events)
    first, second = runtime(artifact), runtime(artifact)
    begun = first.run(events[:cut])
    blob = first.save_state()
    second.run(events[:200])
    second.load_state(blob)
    assert second.save_state() == blob
    assert begun.tobytes() + second.run(events[cut:]).tobytes() == expected.tobytes()
    assert second.save_state() == whole.save_state()


@both
def test_inline_calls_and_warming_equal_run(artifact: Path) -> None:
    events = STREAM.events
    one, two = runtime(artifact), runtime(artifact)
    expected = one.run(events)
    two.warm(events[:2_000])
    got = [s for e in events[2_000:] if (s := two.on_event(e)) is not None]
    assert np.array_equal(np.array([s.confidence for s in got], np.float32), expected["confidence"][-len(got) :])
    assert [s.action for s in got] == expected["action"][-len(got) :].tolist()


@both
def test_own_features_go_through_the_sequence(artifact: Path) -> None:
    rows = native_rows(SET, STREAM.events, STREAM.instruments)
    mine = rows["instrument_id"] == 0
    usable = rows["ready"][mine].all(axis=1)
    expected = runtime(artifact).run(STREAM.events)
    expected = expected[expected["instrument_id"] == 0][usable]
    rt, symbol = runtime(artifact), STREAM.instruments.symbols[0]
    times = rows["ts_ns"][mine][usable]
    got = [
        rt.on_features(symbol, int(t), x).confidence for t, x in zip(times, rows["values"][mine][usable], strict=True)
    ]
    assert np.array_equal(np.array(got, np.float32), expected["confidence"])


@pytest.mark.parametrize("artifact", ["explode"], indirect=True)
@engines
def test_a_state_that_is_not_finite_holds_once_and_starts_anew(artifact: Path, engine: str) -> None:
    events = STREAM.events[STREAM.events["instrument_id"] == 0]
    signals = runtime(artifact, "ort" if engine == "ort" else "auto").run(events)
    decided = signals["reason"][signals["reason"] != Reason.NOT_WARM]
    broken = np.flatnonzero(decided == Reason.NON_FINITE_OUTPUT)
    assert len(broken) > 100 and np.diff(broken).min() >= 2  # never twice in a row: the state was dropped
    assert not signals["action"][signals["reason"] == Reason.NON_FINITE_OUTPUT].any()
