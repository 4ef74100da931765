"""Another version takes over while events come in: nothing is lost, nothing is mixed, and what is bad stays out."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import alpha
from alpha.audit import AuditLog, verify
from alpha.audit.frames import Frame
from alpha.audit.read import open_all
from alpha.data.simulate import simulate
from alpha.errors import AlphaError, StateError
from alpha.events import Reason
from alpha.models import metadata
from alpha.registry import load, promote, register, rollback
from alpha.replay import replay

SIM = simulate(30_000, seed=12)
URI = "models:/demo@production"
COMMIT = "a" * 40


def publish(file: Path, version: int, source: str, change: Any = None) -> None:
    """Another version of demo, made of a committed artifact and registered as a candidate."""
    old = file.parent / "artifacts" / source / "v1"
    folder = file.parent / "artifacts" / "demo" / f"v{version}"
    shutil.copytree(old, folder)
    meta = metadata.decode((old / "metadata.json").read_bytes())
    meta = msgspec.structs.replace(meta, model_id="demo", version=version)
    if change is not None:
        meta = change(folder, meta)
    (folder / "metadata.json").write_bytes(metadata.encode(meta))
    entry = load(file).resolve(f"models:/{source}/1")
    register(
        file,
        msgspec.structs.replace(
            entry,
            id="demo",
            version=version,
            status="candidate",
            approved_by=[],
            path=f"artifacts/demo/v{version}/model.onnx",
            sha256=meta.sha256["model.onnx"],
            metadata_sha256=hashlib.sha256((folder / "metadata.json").read_bytes()).hexdigest(),
        ),
    )


@pytest.fixture
def file(tmp_path: Path, project_root: Path) -> Path:
    """demo v1 serves; v2 has the weights of demo_mlp."""
    shutil.copy(project_root / "registry.json", tmp_path)
    shutil.copytree(project_root / "artifacts", tmp_path / "artifacts")
    publish(tmp_path / "registry.json", 2, "demo_mlp")
    return tmp_path / "registry.json"


def runtime(file: Path, **more: Any) -> alpha.Runtime:
    return alpha.Runtime.from_registry(file, URI, instruments=SIM.instruments, **{"reload": "explicit", **more})


def comparable(signals: Any) -> list[tuple[int, bytes]]:
    """What a model said, by time."""
    return [(int(s["ts_recv_ns"]), s["scores"].tobytes()) for s in signals if s["n_scores"]]


def test_the_new_version_runs_silently_until_it_is_warm_then_takes_over_between_two_events(file: Path) -> None:
    events = SIM.events
    with runtime(file) as rt:
        first = rt.run(events[:10_000])
        promote(file, "models:/demo/2", approver="Ada")
        assert rt.reload() == {"status": "offered", "why": "", "model": "demo/2"}
        assert rt.reload()["status"] == "busy" and rt.stats()["reload"]["pending"] == "demo/2"
        assert rt.bundle.name == "demo/1"
        second = rt.run(events[10_000:])
        assert rt.bundle.name == "demo/2" and rt.stats()["reload"]["swaps"] == 1
        assert rt.reload()["status"] == "unchanged"
        assert rt.stats()["events"] == len(events)
    signals = np.concatenate([first, second])
    old, new = (bytes.fromhex(load(file).resolve(f"models:/demo/{v}").sha256)[:16] for v in (1, 2))
    is_new = np.array([s.tobytes() == new for s in signals["model_hash"]])
    assert all(s.tobytes() in (old, new) for s in signals["model_hash"])
    at = int(np.flatnonzero(is_new)[0])
    assert is_new[at:].all() and at > len(first)
    assert not (signals["reason"][len(first) :] == Reason.NOT_WARM).any()  # no decision was lost to the change
    # before: what v1 alone says; after: what v2 alone says that has seen the events since it was offered
    with alpha.Runtime.from_registry(file, "models:/demo/1", instruments=SIM.instruments, backtest=True) as alone:
        assert comparable(alone.run(events))[: len(comparable(signals[:at]))] == comparable(signals[:at])
    with alpha.Runtime.from_registry(file, "models:/demo/2", instruments=SIM.instruments) as alone:
        want = dict(comparable(alone.run(events[10_000:])))
        assert all(want[t] == scores for t, scores in comparable(signals[at:]))
    assert (np.diff(signals["event_index"].astype(np.int64)) > 0).all()  # one count of events


@pytest.mark.filterwarnings("ignore::alpha.AlphaWarning")  # strange instruments
def test_many_instruments_change_over_like_one(file: Path) -> None:
    """Their blocks lie side by side in memory that changes hands with them."""
    promote(file, "models:/demo/2", approver="Ada")
    said = []
    for others in (0, 2_500):
        table = alpha.Instruments.of(*SIM.instruments.symbols, *(f"I{k}" for k in range(others)))
        with alpha.Runtime.from_registry(file, "models:/demo/1", instruments=table, reload="explicit") as rt:
            first = rt.run(SIM.events[:10_000])
            assert rt.reload("models:/demo/2")["status"] == "offered"
            second = rt.run(SIM.events[10_000:20_000])
            assert rt.bundle.name == "demo/2"
            rt.load_state(rt.save_state())
            said.append(first.tobytes() + second.tobytes() + rt.run(SIM.events[20_000:]).tobytes())
    assert said[0] == said[1]


def test_rollback_by_command_and_by_registry(file: Path) -> None:
    with runtime(file) as rt:
        rt.run(SIM.events[:5000])
        assert rt.rollback()["status"] == "failed"
        promote(file, "models:/demo/2", approver="Ada")
        rt.reload()
        rt.run(SIM.events[5000:12_000])
        assert rt.bundle.name == "demo/2"
        assert rt.rollback()["status"] == "offered"
        rt.run(SIM.events[12_000:20_000])
        assert rt.bundle.name == "demo/1"
        rt.reload()  # the registry still says 2
        rt.run(SIM.events[20_000:27_000])
        assert rt.bundle.name == "demo/2"
        rollback(file, "demo", approver="Ada")
        rt.reload()
        rt.run(SIM.events[27_000:])
        assert rt.stats()["reload"]["swaps"] >= 3


def not_finite(folder: Path, meta: metadata.Metadata) -> metadata.Metadata:
    """Probes on which no model gives finite outputs."""
    np.save(folder / "probes.npy", np.full((4, len(meta.feature_names)), np.nan, np.float32))
    sha = hashlib.sha256((folder / "probes.npy").read_bytes()).hexdigest()
    return msgspec.structs.replace(meta, sha256={**meta.sha256, "probes.npy": sha})


def no_model(folder: Path, meta: metadata.Metadata) -> metadata.Metadata:
    """Bytes that only look like a model."""
    (folder / "model.onnx").write_bytes(b"no model at all")
    sha = hashlib.sha256(b"no model at all").hexdigest()
    return msgspec.structs.replace(meta, sha256={**meta.sha256, "model.onnx": sha})


def test_case_23_and_30_a_bad_version_keeps_the_old_one_and_says_why(file: Path) -> None:
    publish(file, 3, "demo_mlp", not_finite)
    publish(file, 4, "demo_mlp", no_model)
    with runtime(file) as rt:
        rt.run(SIM.events[:5000])
        for uri, why in (
            ("models:/demo/3", "finite float32 rows are expected"),
            ("models:/demo/4", "model"),
            ("models:/demo/9", "no version 9"),
        ):
            answer = rt.reload(uri)
            assert answer["status"] == "failed" and why in answer["why"] and answer["model"] == "demo/1"
            assert rt.stats()["reload"]["failed"] == answer["why"]
        path = file.parent / "artifacts/demo/v2/model.onnx"
        data = bytearray(path.read_bytes())
        data[100] ^= 1
        path.write_bytes(data)
        assert "was altered" in rt.reload("models:/demo/2")["why"]
        file.write_bytes(file.read_bytes()[:-50])
        assert "is not valid JSON" in rt.reload()["why"]
        signals = rt.run(SIM.events[5000:8000])
        assert (signals["reason"] != Reason.NO_MODEL).all() and signals["action"].any()
        assert rt.stats()["reload"]["swaps"] == 0


def test_without_reload_nothing_changes(file: Path) -> None:
    with (
        alpha.Runtime.from_registry(file, URI, instruments=SIM.instruments) as rt,
        pytest.raises(StateError, match="does not reload"),
    ):
        rt.reload()
    with pytest.raises(AlphaError, match="reload must be"):
        runtime(file, reload="often")


def test_a_version_that_never_becomes_warm_is_withdrawn(file: Path, tmp_path: Path) -> None:
    """HybridPPO waits for one-minute bars, of which a stream of quotes has none."""
    log = AuditLog(tmp_path / "log", policy="wait")
    with runtime(file, audit=log) as rt:
        assert rt.withdraw() == {"status": "unchanged", "why": "nothing is warming up", "model": "demo/1"}
        rt.run(SIM.events[:2_000])  # while nothing is warm, anything may take over
        assert rt.reload("models:/HybridPPO/1")["status"] == "offered"
        rt.run(SIM.events[2_000:3_000])
        answer = rt.reload("models:/demo/2")
        assert answer["status"] == "busy" and "withdraw()" in answer["why"]
        assert rt.withdraw()["status"] == "withdrawn"
        rt.run(SIM.events[3_000:3_001])
        assert rt.reload("models:/demo/2")["status"] == "offered"
        assert rt.withdraw()["status"] == "withdrawn"  # also before it has seen an event
        rt.run(SIM.events[3_001:3_002])
        assert rt.reload("models:/demo/2")["status"] == "offered"
        rt.run(SIM.events[3_002:])
        assert rt.bundle.name == "demo/2" and rt.stats()["reload"]["swaps"] == 1
    found = replay(tmp_path / "log")
    assert found.passed, found.shown


def test_own_features_change_at_once(file: Path) -> None:
    with runtime(file) as rt:
        x = np.zeros(10, np.float32)
        a = rt.on_features(rt.instruments.symbols[0], 10**18, x)
        rt.reload("models:/demo/2")
        b = rt.on_features(rt.instruments.symbols[0], 10**18 + 1, x)
        assert bytes(a)[64:80] != bytes(b)[64:80] and rt.bundle.name == "demo/2"


def test_swaps_kills_and_halts_replay_byte_for_byte(file: Path, tmp_path: Path) -> None:
    with runtime(file, audit=AuditLog(tmp_path / "log", policy="wait")) as rt:
        for k, at in enumerate(range(0, 30_000, 3000)):
            if k % 2 == 1:
                rt.reload(f"models:/demo/{2 if rt.bundle.name == 'demo/1' else 1}")
                with pytest.raises(StateError, match="warming up"):
                    rt.rotate_audit()
            if k == 4:
                rt.kill("drill")
            rt.run(SIM.events[at : at + 3000])
            rt.revive()
            if k == 6:
                rt.rotate_audit()
        assert rt.stats()["reload"]["swaps"] == 5
    (one, two) = open_all(tmp_path / "log")
    assert len(one.of_type(Frame.RELOAD)) + len(two.of_type(Frame.RELOAD)) == 10
    assert verify(tmp_path / "log").problems == []
    for _ in range(2):
        found = replay(tmp_path / "log")
        assert found.passed and found.decisions > 10_000, found.shown


class Seen:
    """What came out, looked at piece by piece: a thousand reloads make more Signals than fit into memory."""

    def __init__(self) -> None:
        self.hashes: set[bytes] = set()
        self.last_index, self.signals, self.decided = -1, 0, 0

    def add(self, signals: Any) -> None:
        if not len(signals):
            return
        self.hashes |= {h.tobytes() for h in np.unique(signals["model_hash"], axis=0)}
        index = signals["event_index"].astype(np.int64)
        assert index[0] > self.last_index and (np.diff(index) > 0).all()
        assert np.isfinite(signals["scores"]).all()
        self.last_index = int(index[-1])
        self.signals += len(signals)
        self.decided += int((signals["reason"] == Reason.MODEL).sum())


def under_load(file: Path, times: int) -> None:
    """A worker under full load while versions change; every second offer is bad."""
    publish(file, 3, "demo_mlp", not_finite)
    hashes = {bytes.fromhex(load(file).resolve(f"models:/demo/{v}").sha256)[:16] for v in (1, 2)}
    done, seen, pushed, failed = threading.Event(), Seen(), 0, []
    stream = simulate(20_000, seed=13, levels=1)
    span = int(stream.events["ts_recv_ns"][-1] - stream.events["ts_recv_ns"][0]) + 10**9
    pages, descriptors = [], set()
    with runtime(file) as rt, rt.start(overrun="refuse") as worker:

        def feed() -> None:
            nonlocal pushed
            events = stream.events.copy()
            try:
                while not done.is_set():
                    at = 0
                    while at < len(events):
                        at += worker.push_many(events[at : at + 2000])
                        seen.add(worker.poll_many())
                    pushed += at
                    events["ts_recv_ns"] += span
                    events["ts_event_ns"] += span
            except BaseException as exc:
                failed.append(exc)

        thread = threading.Thread(target=feed)
        thread.start()
        good = bad = 0
        while good + bad < times and not failed:
            if (good + bad) % 2:
                status = rt.reload("models:/demo/3")["status"]
                assert status in ("failed", "busy")
                bad += status == "failed"
                continue
            answer = rt.reload(f"models:/demo/{2 if rt.bundle.name == 'demo/1' else 1}")
            if answer["status"] == "offered":
                good += 1
                pages.append(int(Path("/proc/self/statm").read_text().split()[1]))
                descriptors.add(len(os.listdir("/proc/self/fd")))
        done.set()
        thread.join()
        assert not failed, failed
        worker.stop()
        seen.add(worker.poll_many())
        stats = rt.stats()
    assert stats["events"] == pushed and stats["lost"] == 0 and stats["decisions"] == seen.signals
    assert good - 1 <= stats["reload"]["swaps"] <= good
    assert seen.hashes == hashes and seen.decided > 0
    assert len(descriptors) == 1
    if len(pages) > 100:  # flat: nothing is kept of what served before the last one
        assert np.median(pages[-20:]) - np.median(pages[20:40]) < 8192, pages[::20]


def test_reloads_under_load(file: Path) -> None:
    under_load(file, 24)


@pytest.mark.slow
def test_a_thousand_reloads_under_full_load_half_of_them_bad(file: Path) -> None:
    under_load(file, 1000)


def test_polling_takes_up_a_promotion(file: Path) -> None:
    with runtime(file, reload="poll", every_s=0.01) as rt, rt.start(overrun="refuse") as worker:
        worker.push_many(SIM.events[:5000])
        promote(file, "models:/demo/2", approver="Ada")
        at = 5000
        while rt.bundle.name == "demo/1":
            e = SIM.events[at : at + 200]
            if len(e) == 0:  # the watcher has all the time it wants, and so has the worker
                if worker.processed < at or not rt.stats()["reload"]["pending"]:
                    continue
                raise AssertionError("it did not take over within the stream")
            if rt.stats()["reload"]["pending"]:
                at += worker.push_many(e)
            worker.poll_many()
        assert rt.bundle.name == "demo/2"
