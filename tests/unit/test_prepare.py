"""Steps prepared between two triggers: whenever that happens, and if it never does, the bits are the same."""

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
import pytest
from onnx import helper
from onnx_models import model, value

import alpha
from alpha._core.pipeline import Pipeline
from alpha.audit import AuditLog
from alpha.bundle import ungoverned
from alpha.data.simulate import simulate
from alpha.errors import ModelError
from alpha.events import ALL_INSTRUMENTS, Control, Flag, Kind, Reason
from alpha.features.feature_set import FeatureSet
from alpha.models import metadata
from alpha.models.adopt import Declared, adopt
from alpha.replay import replay

HIDDEN = 11
STREAM = simulate(2_000, seed=8, n_instruments=2)
SET = FeatureSet.from_dict({"features": {"imbalance": "imbalance", "ret": "1e4*ret(mid, 3)"}})
Events = npt.NDArray[Any]


@pytest.fixture(autouse=True)
def _untrained_instruments_are_fine() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", alpha.AlphaWarning)
        yield


@cache
def graph(kind: str) -> bytes:
    """A step of one LSTM or GRU layer, its states in and out."""
    rng, gates = np.random.default_rng(3), {"LSTM": 4, "GRU": 3}[kind]
    initial: dict[str, Any] = {
        "w": rng.standard_normal((1, gates * HIDDEN, 2)).astype(np.float32),
        "r": (rng.standard_normal((1, gates * HIDDEN, HIDDEN)) * 0.5).astype(np.float32),
        "b": (rng.standard_normal((1, 2 * gates * HIDDEN)) * 0.2).astype(np.float32),
        "v": rng.standard_normal((HIDDEN, 3)).astype(np.float32),
        "sequence": np.array([1, 1, 2], np.int64),
        "flat": np.array([1, HIDDEN], np.int64),
    }
    states = ["h", "c"] if kind == "LSTM" else ["h"]
    more = {"linear_before_reset": 1} if kind == "GRU" else {}
    nodes = [
        helper.make_node("Reshape", ["x", "sequence"], ["seq"]),
        helper.make_node(
            kind, ["seq", "w", "r", "b", "", *states], ["", *(f"{s}_out" for s in states)], hidden_size=HIDDEN, **more
        ),
        helper.make_node("Reshape", ["h_out", "flat"], ["last"]),
        helper.make_node("MatMul", ["last", "v"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["p"], axis=1),
    ]
    inputs = [value("x", 1, 2), *(value(s, 1, 1, HIDDEN) for s in states)]
    return model(nodes, inputs, [value("p", 1, 3), *(value(f"{s}_out", 1, 1, HIDDEN) for s in states)], initial)


def artifact(folder: Path, kind: str = "LSTM", *, prepare: bool, mean: float = 0.0) -> Path:
    """A folder that ``from_artifact`` serves."""
    data = graph(kind)
    folder.mkdir()
    (folder / "model.onnx").write_bytes(data)
    meta = {
        "model_id": "step",
        "version": 1,
        "feature_set": {"name": SET.name, **SET.definition()},
        "definition_hash": SET.definition_hash,
        "feature_names": list(SET.names),
        "mean": [mean, 0.0],
        "std": [0.5, 2.0],
        "input": [1, 2],
        "carry": [
            {"in": s, "out": f"{s}_out", "shape": [1, 1, HIDDEN]} for s in (["h", "c"] if kind == "LSTM" else ["h"])
        ],
        "outputs": [{"name": "p", "kind": "probabilities"}],
        "output_schema": ["a", "b", "c"],
        "actions": ["SELL", "HOLD", "BUY"],
        "sha256": {"model.onnx": hashlib.sha256(data).hexdigest()},
        **({"prepare": True} if prepare else {}),
    }
    (folder / "metadata.json").write_text(json.dumps(meta))
    return folder


def eventful() -> Events:
    """The stream with gaps (sequences end), a kill, a halt and what ends them."""
    events = STREAM.events.copy()
    events["flags"][[400, 401, 1_500]] |= np.uint16(Flag.GAP)
    control = np.zeros(4, alpha.EVENT_DTYPE)
    control["kind"], control["instrument_id"] = Kind.CONTROL, ALL_INSTRUMENTS
    control["v"][:, 0] = [Control.KILL, Control.REVIVE, Control.HALT, Control.RESUME]
    parts = np.split(events, [500, 700, 1_000, 1_200])
    return np.concatenate([p for k in range(4) for p in (parts[k], control[k : k + 1])] + [parts[4]])


def one_by_one(p: Any, events: Events, seed: int) -> bytes:
    """Inline calls with ``prepare`` after some of them, more than once after others."""
    rng, out = np.random.default_rng(seed), []
    for e in events:
        if (s := p.on_event(e)) is not None:
            out.append(bytes(s))
        for _ in range(int(rng.integers(3))):
            p.prepare()
    return b"".join(out)


def runtime(folder: Path, **more: Any) -> alpha.Runtime:
    return alpha.Runtime.from_artifact(folder, instruments=STREAM.instruments, engine="plan", **more)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_prepared_steps_decide_the_same_through_kills_gaps_and_saved_states(tmp_path: Path, kind: str) -> None:
    events = eventful()
    plain = runtime(artifact(tmp_path / "plain", kind, prepare=False))
    expected = plain.run(events)
    assert {Reason.MODEL, Reason.KILLED, Reason.HALTED, Reason.NOT_WARM} <= set(expected["reason"].tolist())
    folder = artifact(tmp_path / "prepared", kind, prepare=True)
    got, blob = b"", None
    for k, part in enumerate(np.array_split(events, 5)):
        rt = runtime(folder)
        if blob is not None:  # into an arena in which another state was prepared
            one_by_one(rt, events[:100], k)
            rt.load_state(blob)
            rt.prepare()
        got += one_by_one(rt, part, k)
        blob = rt.save_state()
        assert rt.stats()["prepared"] > 100
    assert got == expected.tobytes()
    plain.prepare()
    assert plain.stats()["prepared"] == 0
    assert plain.run(events[:0]).size == 0


def test_a_worker_prepares_when_no_event_waits(tmp_path: Path) -> None:
    events = eventful()
    expected = runtime(artifact(tmp_path / "plain", prepare=False)).run(events)
    rt = runtime(artifact(tmp_path / "prepared", prepare=True))
    with rt.start(overrun="refuse") as worker:
        for part in np.array_split(events, 50):
            assert worker.push_many(part) == len(part)
            while worker.backlog:
                pass
        worker.stop()
        got = worker.poll_many()
    assert got.tobytes() == expected.tobytes()
    assert rt.stats()["prepared"] > 0


def test_of_several_models_each_prepares_as_it_declares(tmp_path: Path) -> None:
    events = eventful()
    folders = {
        n: artifact(tmp_path / n, kind, prepare=on, mean=mean)
        for n, kind, on, mean in (
            ("a", "LSTM", False, 0.0),
            ("b", "GRU", False, 0.1),
            ("a2", "LSTM", True, 0.0),
            ("b2", "GRU", False, 0.1),
        )
    }
    one, two = (
        alpha.Runtime.from_artifact(
            {"a": str(folders[a]), "b": str(folders[b])}, instruments=STREAM.instruments, engine="plan"
        )
        for a, b in (("a", "b"), ("a2", "b2"))
    )
    expected = one.run(events)
    rng, got = np.random.default_rng(0), []
    for e in events:
        two.on_event(e)
        got += two.signals()
        if rng.random() < 0.5:
            two.prepare()
    assert len(got) == len(expected) > 2_000
    assert b"".join(map(bytes, got)) == expected.tobytes()
    models = two.stats()["models"]
    assert models["a"]["prepared"] > 500 and models["b"]["prepared"] == 0


@pytest.mark.parametrize("order", [(True, True), (True, False), (False, True)])
def test_what_was_prepared_does_not_outlive_a_swap(tmp_path: Path, order: tuple[bool, bool]) -> None:
    def swapped(name: str, prepares: tuple[bool, bool], drive: Any) -> tuple[bytes, Pipeline]:
        first, second = (
            ungoverned(artifact(tmp_path / f"{name}{k}", prepare=on, mean=0.2 * k), "plan").pipeline(STREAM.instruments)
            for k, on in enumerate(prepares)
        )
        begun = drive(first, STREAM.events[:600])
        first.offer(second, bytes(32))
        out = begun + drive(first, STREAM.events[600:])
        first.settle()
        assert first.swaps == 1
        return out, first

    expected, _ = swapped("plain", (False, False), lambda p, e: p.run(e).tobytes())
    got, p = swapped("prepared", order, lambda p, e: one_by_one(p, e, 5))
    assert got == expected
    assert p.prepared > 100


def test_a_log_of_prepared_steps_replays_byte_for_byte(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "prepared", prepare=True)
    with runtime(folder, audit=AuditLog(tmp_path / "log", policy="wait")) as rt:
        one_by_one(rt, eventful(), 2)
    found = replay(tmp_path / "log")
    assert found.passed and found.decisions > 1_000, found.shown


def test_it_is_declared_by_metadata_and_import(tmp_path: Path) -> None:
    said = Declared(
        actions=("SELL", "HOLD", "BUY"), output="p", kind="probabilities", carry=(("h", "h_out"), ("c", "c_out"))
    )
    for on in (False, True):
        told = Declared(**{**{n: getattr(said, n) for n in Declared.__slots__}, "prepare": on})
        meta = adopt(graph("LSTM"), SET, told, spec=None, rows=None, fallback_id="m").metadata
        assert meta.prepare is on
        again = adopt(graph("LSTM"), SET, said, spec=metadata.encode(meta), rows=None, fallback_id="m").metadata
        assert again.prepare is on
    raw = json.loads((artifact(tmp_path / "x", prepare=True) / "metadata.json").read_text())
    with pytest.raises(ModelError, match="prepare is for a model with a recurrent state"):
        metadata.decode(json.dumps({**raw, "carry": []}).encode())
