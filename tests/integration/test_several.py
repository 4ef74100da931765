"""Several models in one runtime: shadows, splits, ensembles, kills, the log, states, reloads, workers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from seated import comparable, inputs_for, quiet, random_models

import alpha
from alpha import Desk, Ensemble, Model, Split
from alpha._core.seats import EnsembleKernel
from alpha.audit import AuditLog, verify
from alpha.audit.explain import explain
from alpha.audit.frames import Frame
from alpha.audit.read import open_all
from alpha.data.simulate import simulate
from alpha.errors import AlphaError, StateError
from alpha.events import SIGNAL_DTYPE, Action, Reason, SignalFlag
from alpha.registry import promote
from alpha.replay import replay, what_if

SIM = simulate(12_000, seed=21, n_instruments=2)
SHADOW = np.uint32(SignalFlag.SHADOW)


@pytest.fixture(autouse=True)
def _untrained_instruments_are_fine() -> Iterator[None]:
    with quiet():
        yield


@pytest.fixture
def file(tmp_path: Path, project_root: Path) -> Path:
    shutil.copy(project_root / "registry.json", tmp_path)
    shutil.copytree(project_root / "artifacts", tmp_path / "artifacts")
    return tmp_path / "registry.json"


A, B = "models:/demo/1", "models:/demo_mlp/1"


def runtime(file: Path, desk: Any, **more: Any) -> alpha.Runtime:
    return alpha.Runtime.from_registry(file, desk, instruments=SIM.instruments, **more)


def decisions(folder: Path) -> npt.NDArray[Any]:
    """Every decision of a log, shadows too."""
    return np.concatenate([f.decisions()["signal"] for f in open_all(folder)])


def whole(
    file: Path, folder: Path, desk: Any, events: npt.NDArray[Any] = SIM.events
) -> tuple[Any, Any, dict[str, Any]]:
    """(what was emitted, what was logged, stats)."""
    with runtime(file, desk, audit=AuditLog(folder, policy="wait")) as rt:
        emitted = rt.run(events)
        stats = rt.stats()
    return emitted, decisions(folder), stats


# -- modes


def test_a_shadow_is_computed_and_logged_and_never_emitted(file: Path, tmp_path: Path) -> None:
    alone = runtime(file, B).run(SIM.events)
    with runtime(file, {"main": A, "next": Model(B, "shadow")}, audit=AuditLog(tmp_path / "log", policy="wait")) as rt:
        emitted = rt.run(SIM.events)
        assert (emitted["model_slot"] == 0).all() and not (emitted["flags"] & SHADOW).any()
        assert emitted.tobytes() == runtime(file, A).run(SIM.events).tobytes()
        for symbol in rt.instruments.symbols:
            last, shadow = rt.latest(symbol), rt.latest_of(symbol, "next")
            assert last is not None and last.model_slot == 0 and not last.shadow
            assert shadow is not None and shadow.shadow and shadow.model_slot == 1
            assert rt.latest_of(symbol, "main") == last and shadow.event_index == last.event_index
        stats = rt.stats()
        assert stats["decisions"] == len(emitted)
        told = stats["models"]
        assert told["next"]["decisions"] == len(alone) and told["next"]["emitted"] == 0
        assert told["main"]["emitted"] == told["main"]["decisions"] == len(emitted)
        assert told["main"]["model"] == "demo/1" and told["next"]["mode"] == "shadow"
    logged = decisions(tmp_path / "log")
    shadows = logged[logged["model_slot"] == 1]
    assert (shadows["flags"] & SHADOW).all() and comparable(shadows) == comparable(alone)


def test_only_shadows_emit_nothing(file: Path) -> None:
    with runtime(file, {"main": Model(A, "shadow")}) as rt:
        assert len(rt.run(SIM.events[:4000])) == 0
        symbol = rt.instruments.symbols[0]
        assert rt.latest(symbol) is None and rt.latest_of(symbol, "main") is not None
        quote = SIM.events[SIM.events["kind"] == 1][-1:]
        assert rt.on_event(quote) is None and rt.signals() == []
        assert rt.stats()["decisions"] == 0 < rt.stats()["models"]["main"]["decisions"]
        with rt.start() as worker:
            worker.push_many(SIM.events[4000:5000])
            worker.stop()
            assert worker.poll() is None


@pytest.mark.parametrize(("by", "every"), [("instrument", ""), ("time", "20s"), ("both", "20s")])
def test_exactly_one_arm_is_emitted(file: Path, tmp_path: Path, by: Any, every: str) -> None:
    desk = Desk({"a": A, "b": B}, splits=[Split({"a": 1.0, "b": 1.0}, f"salt {by}", by, every)])
    emitted, logged, stats = whole(file, tmp_path / "log", desk)
    seen = logged.reshape(-1, 2)  # slots 0 and 1 of each row
    assert (seen["model_slot"] == [0, 1]).all() and (seen["event_index"][:, 0] == seen["event_index"][:, 1]).all()
    shadow = (seen["flags"] & SHADOW) != 0
    assert (shadow.sum(axis=1) == 1).all()
    assert emitted.tobytes() == seen[~shadow].tobytes()
    assert [stats["models"][n]["emitted"] for n in "ab"] == [int((emitted["model_slot"] == k).sum()) for k in (0, 1)]
    slot = emitted["model_slot"]
    per_instrument = [set(slot[emitted["instrument_id"] == i].tolist()) for i in (0, 1)]
    if by == "instrument":
        assert all(len(s) == 1 for s in per_instrument)
    else:
        assert all(len(s) == 2 for s in per_instrument)
        bucket = emitted["ts_recv_ns"] // (20 * 10**9)
        for i in (0, 1):
            own = emitted["instrument_id"] == i
            assert all(len(set(slot[own & (bucket == b)].tolist())) == 1 for b in set(bucket[own].tolist()))
    if by == "time":
        assert all(len(set(slot[bucket == b].tolist())) == 1 for b in set(bucket.tolist()))
    again, _, _ = whole(file, tmp_path / "again", desk)
    assert again.tobytes() == emitted.tobytes()


def test_weights_of_a_split_over_many_pieces_of_time(file: Path, tmp_path: Path) -> None:
    desk = Desk({"a": A, "b": B}, splits=[Split({"a": 4.0, "b": 1.0}, "w", "both", "10ms")])
    _, logged, stats = whole(file, tmp_path / "log", desk)
    share = stats["models"]["b"]["emitted"] / stats["models"]["b"]["decisions"]
    assert len(logged) > 10_000 and abs(share - 0.2) < 0.03


ENSEMBLE = Desk(
    {"a": Model(A, "shadow"), "b": Model(B, "shadow")},
    {
        "both": Ensemble({"a": 2.0, "b": 1.0}, threshold=0.4, cooldown="100ms"),
        "vote": Ensemble({"a": 2.0, "b": 1.0}, "vote", mode="shadow"),
        "careful": Ensemble({"a": 1.0, "b": 1.0}, "veto", may_veto=["b"], mode="shadow"),
        "bold": Ensemble({"a": 1.0, "b": 1.0}, on_fault="skip", mode="shadow"),
    },
)


def test_an_ensemble_decides_by_its_members(file: Path, tmp_path: Path) -> None:
    """What was logged of it follows from what was logged of them."""
    emitted, _, stats = whole(file, tmp_path / "log", ENSEMBLE)
    assert (emitted["model_slot"] == 2).all() and stats["models"]["both"]["emitted"] == len(emitted)
    kernels = {
        2: EnsembleKernel("mean", [2.0, 1.0], [False, False]),
        3: EnsembleKernel("vote", [2.0, 1.0], [False, False]),
        4: EnsembleKernel("veto", [1.0, 1.0], [False, True]),
        5: EnsembleKernel("mean", [1.0, 1.0], [False, False]),
    }
    decided = 0
    for f in open_all(tmp_path / "log"):
        at = f.of_type(Frame.DECISION)
        cooled: dict[int, int] = {}
        for k in range(0, len(at), 6):
            rows = [f.decision(int(i)) for i in at[k : k + 6]]
            said = [r["signal"] for r in rows]
            assert [int(s["model_slot"]) for s in said] == list(range(6))
            fault = next((int(s["reason"]) for s in said[:2] if s["n_scores"] == 0), 0)
            for slot, kernel in kernels.items():
                s = said[slot]
                if fault and s["n_scores"] == 0:
                    assert int(s["reason"]) == fault and s["action"] == 0
                    continue
                want = np.concatenate([m["scores"][:3] if m["n_scores"] else np.zeros(3, np.float32) for m in said[:2]])
                if int(s["reason"]) < 32:
                    assert rows[slot]["x"].tobytes() == want.tobytes()
                assert s["scores"][:3].tobytes() == kernel.run(want[None])[0].tobytes()
                decided += 1
            s = said[2]
            now, i = int(s["ts_recv_ns"]), int(s["instrument_id"])
            if s["n_scores"]:
                p = s["scores"][:3]
                best = int(p.argmax())
                if p[best] < np.float32(0.4):
                    assert s["reason"] == Reason.BELOW_THRESHOLD
                elif best != 1 and now - cooled.get(i, -(10**18)) < 10**8:
                    assert s["reason"] == Reason.COOLDOWN
                else:
                    assert s["reason"] == Reason.MODEL and s["action"] == best - 1
                    if best != 1:
                        cooled[i] = now
    assert decided > 10_000
    reasons = stats["models"]["both"]["reasons"]
    assert reasons["MODEL"] > 100 and reasons["COOLDOWN"] > 10 and stats["models"]["both"]["actions"]["BUY"] > 0


def test_a_member_without_an_answer(file: Path) -> None:
    with runtime(file, ENSEMBLE) as rt:
        rt.run(SIM.events[:6000])
        rt.kill("drill", model="b")
        held = rt.run(SIM.events[6000:7000])
        assert set(held["reason"].tolist()) <= {Reason.KILLED, *range(32, 41)}
        symbol = rt.instruments.symbols[0]
        told = rt.explain(symbol, "both")
        assert told["reason"] == "KILLED" and [m["absent"] for m in told["members"]] == [False, True]
        bold = rt.latest_of(symbol, "bold")
        assert bold is not None and bold.reason in (Reason.MODEL, Reason.BELOW_THRESHOLD)
        rt.kill("drill", model="a")
        rt.run(SIM.events[7000:8000])
        bold = rt.latest_of(symbol, "bold")
        assert bold is not None and bold.reason == Reason.KILLED and bold.action == Action.HOLD
        rt.revive(model="a")
        rt.revive(model="b")
        assert (rt.run(SIM.events[8000:])["reason"] == Reason.MODEL).any()


def test_an_ensembles_explanation_names_each_share(file: Path, tmp_path: Path) -> None:
    with runtime(file, ENSEMBLE, audit=AuditLog(tmp_path / "log", policy="wait")) as rt:
        rt.run(SIM.events)
        symbol = rt.instruments.symbols[0]
        told = rt.explain(symbol)
        assert told["seat"] == "both" and told["scores"].keys() == {"SELL", "HOLD", "BUY"}
        assert sum(m["share"] for m in told["members"]) == pytest.approx(1.0)
        assert told["models"]["both"]["emitted"] and not told["models"]["a"]["emitted"]
        a = rt.explain(symbol, "a")
        assert a["model"] == "demo/1" and len(a["features"]) == 10 and a["mode"] == "shadow"
        last = rt.latest(symbol)
        assert last is not None
    (f,) = open_all(tmp_path / "log")
    at = f.of_type(Frame.DECISION)
    signals = [f.decision(int(i))["signal"] for i in at[-30:]]
    found = next(k for k, s in enumerate(signals) if s["model_slot"] == 2 and int(s["event_index"]) == last.event_index)
    logged = explain(tmp_path / "log", int(f.headers["seq"][at[-30 + found]]))
    assert logged["seat"] == "both" and logged["members"] == told["members"]
    assert logged["scores"] == pytest.approx(told["scores"])
    member = explain(tmp_path / "log", int(f.headers["seq"][at[-30 + found - 2]]))
    assert member["seat"] == "a" and member["model"] == "demo/1" and len(member["features"]) == 10


def test_values_cannot_be_members(tmp_path: Path) -> None:
    folders, _, table, _ = random_models(tmp_path, 3, 1, kinds=("value",))
    desk = Desk({"a": str(folders["m0"])}, {"e": Ensemble({"a": 1.0})})
    with pytest.raises(AlphaError, match="gives a value, not probabilities"):
        alpha.Runtime.from_artifact(desk, instruments=table)


# -- kills


def test_one_model_is_killed_from_here_and_by_the_latch(file: Path, tmp_path: Path) -> None:
    latch = alpha.KillLatch(tmp_path / "kill")
    with runtime(file, {"a": A, "b": B}, kill_file=tmp_path / "kill") as rt:
        rt.run(SIM.events[:5000])
        at = 5000

        def reasons() -> list[bool]:
            nonlocal at
            part = rt.run(SIM.events[at : at + 500])
            at += 500
            return [bool((part["reason"][part["model_slot"] == k] == Reason.KILLED).all()) for k in (0, 1)]

        assert reasons() == [False, False]
        rt.kill("drill", model="b")
        assert reasons() == [False, True] and rt.stats()["models"]["b"]["killed"] and not rt.stats()["killed"]
        symbol = rt.instruments.symbols[0]
        assert rt.latest_of(symbol, "b").reason == Reason.KILLED  # type: ignore[union-attr]
        rt.revive(model="b")
        latch.kill(model="demo")
        assert reasons() == [True, False]
        latch.revive(model="demo")
        assert reasons() == [False, False]
        rt.kill("all")
        assert reasons() == [True, True]
        rt.revive()
        latch.kill(instrument=symbol)
        part = rt.run(SIM.events[at : at + 500])
        own = part["instrument_id"] == rt.instruments.id(symbol)
        assert (part["reason"][own] == Reason.KILLED).all() and (part["reason"][~own] != Reason.KILLED).any()
        with pytest.raises(AlphaError, match="no model 'c' here"):
            rt.kill("x", model="c")
    with runtime(file, A) as rt, pytest.raises(AlphaError, match="serves one model"):
        rt.kill("x", model="a")


def test_a_killed_model_is_silent_at_the_poll(file: Path) -> None:
    with runtime(file, {"a": A, "b": B}) as rt, rt.start(overrun="refuse") as worker:
        at = 0
        while at < 4000:
            at += worker.push_many(SIM.events[at:4000])
        worker.stop()
        rt.kill("drill", model="b")
        seen = list(iter(worker.poll, None))
    assert {s.model_slot for s in seen} == {0, 1} and len(seen) == 2 * sum(s.model_slot == 0 for s in seen)
    assert all(s.reason == Reason.KILLED for s in seen if s.model_slot == 1)
    assert any(s.reason == Reason.MODEL for s in seen if s.model_slot == 0)


# -- log, replay, state


MIXED = Desk(  # the order of names is not that of the alphabet
    {"z": A, "b": B, "lazy": Model(A, "shadow", lazy=True)},
    {"both": Ensemble({"z": 1, "b": 3}, threshold=0.4)},
    [Split({"z": 1, "both": 1}, "salt", "both", "5s")],
)


def test_replay_is_byte_identical_inline_and_worker(file: Path, tmp_path: Path) -> None:
    with runtime(file, MIXED, audit=AuditLog(tmp_path / "inline", policy="wait")) as rt:
        for k, at in enumerate(range(0, len(SIM.events), 2000)):
            if k == 1:
                rt.kill("one", model="b")
            if k == 2:
                rt.kill("all")
            if k == 3:
                rt.revive()
                rt.rotate_audit()
            if k == 4:
                rt.revive(model="b")
            rt.run(SIM.events[at : at + 2000])
    with (
        runtime(file, MIXED, audit=AuditLog(tmp_path / "worker", policy="wait")) as rt,
        rt.start(overrun="refuse") as worker,
    ):
        at = 0
        while at < len(SIM.events):
            at += worker.push_many(SIM.events[at : at + 1000])
            worker.poll_many()
    for name in ("inline", "worker"):
        assert verify(tmp_path / name).problems == []
        found = replay(tmp_path / name)
        assert found.passed and found.events == len(SIM.events) and found.decisions > 20_000, found.shown
    logged = decisions(tmp_path / "inline")
    for slot in range(4):
        assert (logged["model_slot"] == slot).sum() == len(logged) // 4
    assert Reason.KILLED in logged["reason"][logged["model_slot"] == 1]
    with quiet():
        other = what_if(tmp_path / "inline", alpha.bundle.governed(file, A))  # type: ignore[attr-defined]
    assert other["decisions"] > 1000


def test_the_bundle_frame_describes_every_model(file: Path, tmp_path: Path) -> None:
    with runtime(file, {"a": A, "b": Model(B, "shadow")}, audit=AuditLog(tmp_path / "log", policy="wait")) as rt:
        rt.run(SIM.events[:3000])
    (f,) = open_all(tmp_path / "log")
    told = dict(f.json(Frame.BUNDLE))
    assert [s["seat"] for s in told["seats"]] == ["a", "b"] and told["desk"]["models"][1][1]["mode"] == "shadow"
    bundle = alpha.recording.bundle_of(tmp_path / "log", told)  # type: ignore[attr-defined]
    with alpha.Runtime(bundle, SIM.instruments) as rt:
        rt.run(SIM.events[:3000])
        assert rt.stats()["models"]["b"]["decisions"] > 0
    told["model_sha256"] = "0" * 64
    with pytest.raises(AlphaError, match="put together in another way"):
        alpha.recording.bundle_of(tmp_path / "log", told)  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", [1, 5, 8])
def test_a_state_goes_on_as_if_it_had_never_stopped(tmp_path: Path, seed: int) -> None:
    folders, _, table, events = random_models(tmp_path, seed, 3, kinds=("rows", "window", "step"))
    desk = Desk(
        {n: Model(str(p), "shadow" if n == "m1" else "live") for n, p in folders.items()},
        {"e": Ensemble(dict.fromkeys(folders, 1.0), on_fault="skip")},
    )
    half = len(events) // 2
    with alpha.Runtime.from_artifact(desk, instruments=table) as rt:
        rt.run(events[:half])
        blob = rt.save_state()
        assert blob == rt.save_state()
        want, end = rt.run(events[half:]), rt.save_state()
        stats = rt.stats()
    with alpha.Runtime.from_artifact(desk, instruments=table) as rt:
        rt.run(events[: half // 3])
        rt.load_state(blob)
        assert rt.save_state() == blob
        assert rt.run(events[half:]).tobytes() == want.tobytes()
        assert rt.save_state() == end and rt.stats()["models"] == stats["models"]
        for bad in (blob[:-40], blob + b"\0", b"x" + blob[1:]):
            with pytest.raises(StateError):
                rt.load_state(bad)
        assert rt.save_state() == end
    other = Desk({n: str(p) for n, p in folders.items()})
    with alpha.Runtime.from_artifact(other, instruments=table) as rt, pytest.raises(StateError, match="another model"):
        rt.load_state(blob)


# -- reload


def test_a_group_and_one_of_it_are_reloaded(file: Path, tmp_path: Path) -> None:
    from test_reload import publish

    publish(file, 2, "demo_mlp")
    desk = {"main": "models:/demo@production", "other": Model(B, "shadow")}
    with runtime(file, desk, reload="explicit", audit=AuditLog(tmp_path / "log", policy="wait")) as rt:
        first = rt.run(SIM.events[:4000])
        rt.kill("drill", model="other")
        assert rt.reload()["status"] == "unchanged"
        promote(file, "models:/demo/2", approver="Ada")
        assert rt.reload()["status"] == "offered" and rt.reload()["status"] == "busy"
        second = rt.run(SIM.events[4000:8000])
        assert rt.bundle.name == "main=demo/2,other=demo_mlp/1"
        assert rt.stats()["models"]["other"]["killed"] and rt.stats()["reload"]["swaps"] == 1
        told = rt.stats()["models"]
        assert told["main"]["emitted"] == len(first) + len(second)
        rt.revive(model="other")
        assert rt.reload("models:/demo/1", model="other")["status"] == "offered"
        third = rt.run(SIM.events[8000:])
        assert rt.bundle.name == "main=demo/2,other=demo/1"
        answer = rt.reload("models:/demo/9", model="other")
        assert answer["status"] == "failed" and "no version 9" in answer["why"]
        with pytest.raises(StateError, match="which of main, other"):
            rt._serving._fresh(file, Desk.of(desk), "models:/demo/1", None)
        assert rt.rollback()["status"] == "offered"
    signals = np.concatenate([first, second, third])
    assert len({s.tobytes() for s in signals["model_hash"]}) == 2
    warm = np.flatnonzero(first["reason"] == Reason.MODEL)[0]
    assert not (signals["reason"][warm + 500 :] == Reason.NOT_WARM).any()  # nothing was lost to the change
    found = replay(tmp_path / "log")
    assert found.passed and found.decisions > 10_000, found.shown


def test_a_lazy_model_is_loaded_when_it_is_asked_for(file: Path) -> None:
    with runtime(file, {"main": A, "next": Model(B, lazy=True)}) as rt:
        rt.run(SIM.events[:3000])
        told = rt.stats()["models"]["next"]
        assert not told["loaded"] and told["engine"] == "none" and "load()" in told["why"]
        assert told["reasons"]["NO_MODEL"] > 100 and "MODEL" not in told["reasons"]
        assert rt.load("main")["status"] == "unchanged"
        assert rt.load("next")["status"] == "offered"
        late = rt.run(SIM.events[3000:])
        assert rt.stats()["models"]["next"]["loaded"] and rt.load("next")["status"] == "unchanged"
        own = late[late["model_slot"] == 1]
        first = int(np.flatnonzero(own["reason"] != Reason.NO_MODEL)[0])
        assert not (own["reason"][first:] == Reason.NO_MODEL).any()
        with pytest.raises(AlphaError, match="no model 'c' here"):
            rt.load("c")
    with runtime(file, A) as rt, pytest.raises(StateError, match="serves one model"):
        rt.load("main")


def test_missing_models_hold_and_the_others_go_on(file: Path) -> None:
    desk = {"main": A, "gone": "models:/gone@production"}
    with pytest.raises(AlphaError, match="model 'gone'"):
        runtime(file, desk)
    with runtime(file, desk, missing="hold") as rt:
        signals = rt.run(SIM.events[:5000])
        gone = signals[signals["model_slot"] == 1]
        assert set(gone["reason"].tolist()) <= {Reason.NO_MODEL, *range(32, 41)}
        assert (signals["reason"] == Reason.MODEL).any() and "gone" in rt.why
        assert rt.explain(rt.instruments.symbols[0], "gone")["reason"] == "NO_MODEL"
    with runtime(file, {"gone": "models:/gone@production"}, missing="hold") as rt:
        signals = rt.run(SIM.events[:1000])
        assert len(signals) > 100 and not signals["action"].any()


def test_another_model_brings_its_own_latch(file: Path, tmp_path: Path) -> None:
    latch = alpha.KillLatch(tmp_path / "kill")
    with runtime(file, {"a": A, "b": B}, kill_file=tmp_path / "kill", reload="explicit") as rt:
        rt.run(SIM.events[:5000])
        assert rt.reload(A, model="b")["status"] == "offered"
        rt.run(SIM.events[5000:9000])
        assert rt.stats()["models"]["b"]["model"] == "demo/1"
        latch.kill(model="demo_mlp")
        part = rt.run(SIM.events[9000:9500])
        assert not (part["reason"] == Reason.KILLED).any()
        latch.kill(model="demo")
        part = rt.run(SIM.events[9500:10_000])
        assert set(part["reason"][part["reason"] < 32].tolist()) == {Reason.KILLED}


# -- own features


def test_own_features_go_to_every_model(file: Path) -> None:
    with runtime(file, {"a": A, "b": B}) as rt, runtime(file, A) as alone:
        x = np.linspace(-1, 1, len(rt.feature_names)).astype(np.float32)
        own = [rt.feature_names.index(n) for n in alone.feature_names]
        symbol = rt.instruments.symbols[0]
        signal = rt.on_features(symbol, 10**18, x)
        assert signal is not None and [s.model_slot for s in rt.signals()] == [0, 1] and rt.signals()[0] == signal
        assert bytes(signal) == bytes(alone.on_features(symbol, 10**18, x[own]))
        late = rt.on_features(symbol, 10**18 - 1, x)
        assert late is not None and late.reason == Reason.BACKWARDS
        assert [s.reason for s in rt.signals()] == [Reason.BACKWARDS] * 2


def test_buffers_hold_what_all_models_may_say(file: Path) -> None:
    with runtime(file, {"a": A, "b": B, "c": A}) as rt:
        part = SIM.events[:1000]
        with pytest.raises(AlphaError, match="these events may produce 3000"):
            rt._pipeline.run(part, np.zeros(2999, SIGNAL_DTYPE))
        out = rt._pipeline.run(part, np.zeros(3000, SIGNAL_DTYPE))
        assert len(out) == 3 * (out["model_slot"] == 0).sum() > 0
        index = out["event_index"].astype(np.int64)
        assert (np.diff(index) >= 0).all()


@pytest.mark.parametrize("seed", [2, 9])
def test_shadows_and_ensembles_of_random_models_are_what_they_are_alone(tmp_path: Path, seed: int) -> None:
    """Other modes do not touch the models: what a shadow says equals what it says alone."""
    folders, sets, table, events = random_models(tmp_path, seed, 3, kinds=("rows", "logits", "step"))
    desk = Desk(
        {n: Model(str(p), "shadow" if n == "m2" else "live") for n, p in folders.items()},
        {"e": Ensemble(dict.fromkeys(folders, 1.0))},
        [Split({"m0": 1.0, "m1": 2.0}, "s", "both", "1s")],
    )
    with alpha.Runtime.from_artifact(desk, instruments=table, audit=AuditLog(tmp_path / "log", policy="wait")) as rt:
        union = rt.bundle.feature_set
        rt.run(events)
    logged = decisions(tmp_path / "log")
    for slot, (name, folder) in enumerate(folders.items()):
        with alpha.Runtime.from_artifact(folder, instruments=table) as alone:
            want = alone.run(inputs_for(events, union, sets[name]))
        assert comparable(logged[logged["model_slot"] == slot]) == comparable(want)
    assert replay(tmp_path / "log").passed


@pytest.mark.parametrize("seed", [3, 6])
def test_one_model_changes_at_once_where_the_features_go_on(tmp_path: Path, seed: int) -> None:
    """The others do not notice, also those that remember; the new one says what it would have said all along."""
    folders, sets, table, events = random_models(tmp_path, seed, 3, kinds=("window", "step"))
    more, more_sets, _, _ = random_models(tmp_path / "more", seed, 1, kinds=("rows",))
    desk = Desk({**{n: str(p) for n, p in folders.items()}, "late": Model(str(more["m0"]), lazy=True)})
    half = len(events) // 2
    with alpha.Runtime.from_artifact(desk, instruments=table, audit=AuditLog(tmp_path / "log", policy="wait")) as rt:
        union, program = rt.bundle.feature_set, rt.bundle.program
        first = rt.run(events[:half])
        rt.kill("drill", model="m0")
        rt.revive(model="m0")
        assert rt.load("late")["status"] == "offered"
        second = rt.run(events[half:])
        assert rt.bundle.program is program and rt.stats()["reload"]["swaps"] == 1
        assert rt.rollback()["status"] == "unchanged"  # what is loaded stays loaded
    together = np.concatenate([first, second])
    for slot, name in enumerate([*folders, "late"]):
        folder, fs = (more["m0"], more_sets["m0"]) if name == "late" else (folders[name], sets[name])
        with alpha.Runtime.from_artifact(folder, instruments=table) as alone:
            want = alone.run(inputs_for(events, union, fs))
        own = together[together["model_slot"] == slot]
        if name == "late":
            n = int((first["model_slot"] == slot).sum())
            own, want = own[n:], want[n:]
            same = own["reason"] == want["reason"]  # a cooldown that ran before it was there may differ
            assert (same | (want["reason"] == Reason.COOLDOWN)).all() and len(own) > 20
        else:
            assert comparable(own) == comparable(want)
    assert replay(tmp_path / "log").passed
