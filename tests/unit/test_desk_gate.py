"""What the gate asks, asked of each of several models: thresholds, breakers, status, limits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from programs import program, table_for
from seated import artifact, quiet, subset
from streams import stream

import alpha
from alpha.events import Reason


def made(folder: Path, seed: int = 3) -> tuple[alpha.Runtime, np.ndarray]:
    """Two row models over one stream, and events that give both of them rows."""
    rng = np.random.default_rng(seed)
    fs = program(rng, 4)
    table = table_for(fs, rng)
    paths = {n: str(artifact(folder / n, subset(fs, rng, n), rng, "rows", limits={})) for n in ("a", "b")}
    with quiet():
        rt = alpha.Runtime.from_artifact(paths, instruments=table)
    return rt, stream(seed, 900, len(table), faults=False)


def answers(signals: np.ndarray, slot: int) -> np.ndarray:
    own = signals[signals["model_slot"] == slot]
    return own[np.isin(own["reason"], [int(Reason.MODEL), int(Reason.BELOW_THRESHOLD), int(Reason.BREAKER)])]


@pytest.fixture(params=range(3))
def served(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[alpha.Runtime, np.ndarray]:
    for seed in range(request.param * 50, request.param * 50 + 50):
        folder = tmp_path / str(seed)
        rt, events = made(folder, seed)
        signals = rt.run(events)
        if min(len(answers(signals, 0)), len(answers(signals, 1))) > 20:
            rt.close()
            shutil.rmtree(folder)
            return made(folder, seed)
        rt.close()
    raise AssertionError("no seed gives both models rows")


def test_a_threshold_is_one_models_own(served: tuple[alpha.Runtime, np.ndarray]) -> None:
    rt, events = served
    with rt:
        with pytest.raises(alpha.AlphaError, match="of which of a, b"):
            rt.set_threshold(0.9)
        with pytest.raises(alpha.AlphaError, match="raised, not lowered"):
            rt.set_threshold(0.0, model="a")
        rt.set_threshold(1.5, model="b")
        signals = rt.run(events)
        told = rt.stats()["models"]
    assert told["b"]["threshold"]["in_force"] == 1.5 and not told["b"]["threshold"]["lowered"]
    assert told["a"]["threshold"]["in_force"] == told["a"]["threshold"]["declared"]
    assert (answers(signals, 1)["reason"] == int(Reason.BELOW_THRESHOLD)).all()
    assert (answers(signals, 0)["reason"] == int(Reason.MODEL)).any()


def test_a_control_event_trips_one_breaker_or_all(served: tuple[alpha.Runtime, np.ndarray]) -> None:
    rt, events = served
    trip = rt.threshold_event(None, model="b")
    trip["v"][0, :2] = float(alpha.events.Control.BREAKER), 1.0
    with rt:
        rt.on_event(trip)
        signals = rt.run(events)
        told = rt.stats()["models"]
        assert told["b"]["breaker"] == {"tripped": "errors", "trips": 1}
        assert told["a"]["breaker"] == {"tripped": "", "trips": 0}
        assert not (signals[signals["model_slot"] == 0]["reason"] == int(Reason.BREAKER)).any()
        b = answers(signals, 1)
        assert not (b["reason"] == int(Reason.MODEL)).any() and (b["reason"] == int(Reason.BREAKER)).any()
        assert not b["action"].any()
        blob = rt.save_state()
        rt.reset_breaker()
        after = np.zeros(1, alpha.events.EVENT_DTYPE)
        after["kind"], after["instrument_id"] = alpha.events.Kind.CONTROL, alpha.events.ALL_INSTRUMENTS
        after["v"][0, 0] = float(alpha.events.Control.REVIVE)
        rt.on_event(after)
        assert rt.stats()["models"]["b"]["breaker"]["tripped"] == ""
        rt.load_state(blob)  # and it belongs to the state
        assert rt.stats()["models"]["b"]["breaker"] == {"tripped": "errors", "trips": 1}
        assert rt.explain(rt.instruments.symbols[0], model="b")["gates"][-1]["value"] == "errors"
