"""What was logged is decided again, byte for byte: inline and in a worker, with kills and timers inside."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import alpha
from alpha._core.log import records
from alpha.audit import AuditLog, verify
from alpha.audit.frames import DECISION_DTYPE, STREAM, Frame
from alpha.audit.read import LogFile, files_of, open_all
from alpha.bundle import governed
from alpha.data.simulate import simulate
from alpha.errors import DataError
from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, Control, Kind, Reason, Status
from alpha.replay import replay, what_if

SIM = simulate(24_000, seed=8)
URI = "models:/demo@production"


@pytest.fixture
def registry(project_root: Path) -> Path:
    return project_root / "registry.json"


def odd(ts_ns: int, kind: Kind, code: float, instrument: int = ALL_INSTRUMENTS) -> npt.NDArray[Any]:
    e = np.zeros(1, EVENT_DTYPE)
    e["ts_event_ns"], e["kind"], e["instrument_id"], e["v"][0, 0] = ts_ns, kind, instrument, code
    return e


def spiced(events: npt.NDArray[Any], every: int = 3000) -> npt.NDArray[Any]:
    """Timers, halts, kills and nonsense between the events, in stream order."""
    out = []
    for k, at in enumerate(range(0, len(events), every)):
        part = events[at : at + every]
        now = int(max(part["ts_recv_ns"][-1], part["ts_event_ns"][-1]))
        out += [part, odd(now, Kind.TIMER, 0.0)]
        code = (Control.KILL, Control.REVIVE, Control.HALT, Control.RESUME)[k % 4]
        out.append(odd(now, Kind.CONTROL, float(code)))
        if k % 5 == 2:
            out += [odd(now, Kind.STATUS, float(Status.HALT), 0), odd(now, Kind.STATUS, float(Status.RESUME), 0)]
        if k % 5 == 3:
            out += [odd(now, Kind.CONTROL, 77.0), odd(now, Kind.QUOTE, -1.0, 0), odd(now, Kind.TRADE, 1.0, 999_999)]
    return np.concatenate(out)


def stream_bytes(folder: Path) -> bytes:
    """Every record that a replay must reproduce."""
    return b"".join(records(f.data, f.offsets, STREAM) for f in open_all(folder))


def inline(registry: Path, folder: Path, events: npt.NDArray[Any], instruments: Any, kill: bool = True) -> None:
    with alpha.Runtime.from_registry(
        registry, URI, instruments=instruments, audit=AuditLog(folder, policy="wait")
    ) as rt:
        rt.measure_latency()
        for k, at in enumerate(range(0, len(events), 5000)):
            if kill and k == 1:
                rt.kill("between two events")
            rt.run(events[at : at + 5000])
            if k == 1:
                rt.revive()


def test_the_same_bytes_inline_worker_and_twice(registry: Path, tmp_path: Path) -> None:
    events = spiced(SIM.events)
    inline(registry, tmp_path / "inline", events, SIM.instruments, kill=False)
    with (
        alpha.Runtime.from_registry(
            registry, URI, instruments=SIM.instruments, audit=AuditLog(tmp_path / "worker", policy="wait")
        ) as rt,
        rt.start(overrun="refuse") as worker,
    ):
        at = 0
        while at < len(events):
            at += worker.push_many(events[at : at + 1000])
            worker.poll_many()
        worker.stop()
    assert stream_bytes(tmp_path / "inline") == stream_bytes(tmp_path / "worker")
    for _ in range(2):
        for name in ("inline", "worker"):
            found = replay(tmp_path / name)
            assert found.passed and found.differences == 0 and found.events == len(events), found.shown
            assert found.decisions > 10_000 and found.unlogged == 0
            assert verify(tmp_path / name).problems == []
    reasons = {r for f in open_all(tmp_path / "inline") for r in f.decisions()["signal"]["reason"].tolist()}
    assert {Reason.MODEL, Reason.KILLED, Reason.HALTED, Reason.NOT_WARM, Reason.PRICE} <= reasons


def test_a_kill_from_another_thread_is_logged_in_its_place(registry: Path, tmp_path: Path) -> None:
    """Nobody knows before which event the worker sees it; the log does."""
    latch = alpha.KillLatch(tmp_path / "kill")
    with (
        alpha.Runtime.from_registry(
            registry,
            URI,
            instruments=SIM.instruments,
            audit=AuditLog(tmp_path / "log", policy="wait"),
            kill_file=tmp_path / "kill",
        ) as rt,
        rt.start(overrun="refuse") as worker,
    ):
        at = 0
        while at < len(SIM.events):
            at += worker.push_many(SIM.events[at : at + 500])
            while worker.processed < at:  # it has seen what came before the next change
                worker.poll_many()
            for after, work in (
                (6000, lambda: rt.kill("drill")),
                (8000, rt.revive),
                (10_000, lambda: latch.kill(model="demo")),
                (13_000, lambda: latch.revive(model="demo")),
                (15_000, lambda: latch.kill(instrument=SIM.instruments.symbols[0])),
            ):
                if at - 500 < after <= at:
                    other = threading.Thread(target=work)
                    other.start()
                    other.join()
        worker.stop()
    (file,) = open_all(tmp_path / "log")
    seen = file.gather(file.of_type(Frame.CONTROL), np.dtype([("at", "<u8"), ("id", "<u4"), ("killed", "<u4")]))
    assert seen["killed"].tolist() == [1, 0, 1, 0, 1]
    found = replay(tmp_path / "log")
    assert found.passed, found.shown


def test_own_features_rotation_and_state_replay(registry: Path, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "log", policy="wait", rotate_bytes=200_000)
    with alpha.Runtime.from_registry(registry, URI, instruments=SIM.instruments, audit=log) as rt:
        for at in range(0, 12_000, 1000):
            rt.run(SIM.events[at : at + 1000])
            rt.on_features(rt.instruments.symbols[0], int(SIM.events["ts_recv_ns"][at + 999]), np.zeros(10, np.float32))
        saved = rt.save_state()
        rt.run(SIM.events[12_000:13_000])
        rt.load_state(saved)  # a jump that does not follow from the events: it begins a file
        rt.run(SIM.events[12_000:14_000])
        on_time = rt.on_time(int(SIM.events["ts_recv_ns"][13_999]) + 1)
        assert on_time == []
    assert len(files_of(tmp_path / "log")) > 4
    found = replay(tmp_path / "log")
    assert found.passed and found.files > 4 and found.events == 12_000 + 3000 + 1, found.shown
    # any file can be replayed by itself
    alone = tmp_path / "alone"
    shutil.copytree(tmp_path / "log" / "models", alone / "models")
    shutil.copy(files_of(tmp_path / "log")[3], alone)
    assert replay(alone).passed


def test_a_feature_set_without_a_model_replays(tmp_path: Path) -> None:
    from alpha.features import catalog

    with alpha.Runtime.from_features(
        catalog.get("spec"), instruments=SIM.instruments, audit=AuditLog(tmp_path, policy="wait")
    ) as rt:
        rt.run(SIM.events[:3000])
    assert replay(tmp_path).passed


def altered(folder: Path, to: Path, change: Any) -> Path:
    """A copy of a log whose records were changed and sealed anew by our own writer: only a replay can tell."""
    file = LogFile.open(files_of(folder)[0])
    log = AuditLog(to, policy="wait", capacity=1 << 22)
    head = {k: v for k, v in file.json(Frame.HEADER).items() if k not in ("format", "run", "number", "chain", "tail")}
    log.begin(head, file.json(Frame.BUNDLE), file.state())
    for i, kind in enumerate(file.headers["type"].tolist()):
        if kind in STREAM:
            payload = change(i, kind, np.frombuffer(file.payload(i), np.uint8).copy())
            if payload is not None:
                log.log.append(kind, payload)
    log.finish(closed=True)
    shutil.copytree(folder / "models", to / "models", dirs_exist_ok=True)
    return to


def test_a_forged_decision_is_found(registry: Path, tmp_path: Path) -> None:
    inline(registry, tmp_path / "log", SIM.events[:6000], SIM.instruments)
    file = LogFile.open(files_of(tmp_path / "log")[0])
    frames = file.of_type(Frame.DECISION)
    target = int(frames[2000])

    def action(i: int, kind: int, payload: npt.NDArray[Any]) -> Any:
        if i == target:
            payload[:128].view(alpha.SIGNAL_DTYPE)["action"] ^= 1
        return payload

    found = replay(altered(tmp_path / "log", tmp_path / "action", action))
    assert found.differences == 1 and not found.passed and "replayed" in found.shown[0]

    def feature(i: int, kind: int, payload: npt.NDArray[Any]) -> Any:
        if i == target:
            payload[DECISION_DTYPE.itemsize] ^= 1  # the last bit of the first feature
        return payload

    assert replay(altered(tmp_path / "log", tmp_path / "feature", feature)).differences == 1

    def omitted(i: int, kind: int, payload: npt.NDArray[Any]) -> Any:
        return None if i == target else payload

    assert not replay(altered(tmp_path / "log", tmp_path / "omitted", omitted)).passed

    def latency(i: int, kind: int, payload: npt.NDArray[Any]) -> Any:
        if kind == Frame.DECISION:
            payload[128:136] = 1
        return payload

    assert replay(altered(tmp_path / "log", tmp_path / "latency", latency)).passed  # no part of the comparison


def test_another_build_is_refused_or_reported(registry: Path, tmp_path: Path) -> None:
    inline(registry, tmp_path / "log", SIM.events[:6000], SIM.instruments)
    file = LogFile.open(files_of(tmp_path / "log")[0])
    log = AuditLog(tmp_path / "other", policy="wait", capacity=1 << 22)
    head = {k: v for k, v in file.json(Frame.HEADER).items() if k not in ("format", "run", "number", "chain", "tail")}
    log.begin({**head, "ort": "1.0.0"}, file.json(Frame.BUNDLE), file.state())
    for i in np.flatnonzero(np.isin(file.headers["type"], STREAM)):
        log.log.append(int(file.headers["type"][i]), file.payload(int(i)))
    log.finish()
    shutil.copytree(tmp_path / "log" / "models", tmp_path / "other" / "models", dirs_exist_ok=True)
    with pytest.raises(DataError, match=r"written by another ort \(1\.0\.0, here"):
        replay(tmp_path / "other")
    found = replay(tmp_path / "other", tolerant=True)
    assert found.passed and set(found.identity) == {"ort"}


def test_what_is_damaged_or_dropped_is_not_replayed(registry: Path, tmp_path: Path) -> None:
    inline(registry, tmp_path / "log", SIM.events[:3000], SIM.instruments)
    path = files_of(tmp_path / "log")[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="is damaged from byte"):
        replay(tmp_path / "log")
    for model in (tmp_path / "log" / "models").glob("*.onnx"):
        model.write_bytes(b"other")
    with pytest.raises(alpha.AlphaError, match="is not what its name says"):
        replay(tmp_path / "log")


def test_what_if_another_model_had_decided(registry: Path, tmp_path: Path) -> None:
    inline(registry, tmp_path / "log", SIM.events, SIM.instruments, kill=False)
    same = what_if(tmp_path / "log", governed(registry, URI))
    assert same["changed"] == 0 and same["compared"] == same["decisions"] > 10_000
    other = what_if(tmp_path / "log", governed(registry, "models:/demo_mlp/1"))
    assert other["compared"] == same["compared"] and other["changed"] > 0
    assert other["changed"] == sum(other["changes"].values())


@pytest.mark.parametrize("policy", ["block_signals", "count_drops"])
def test_case_28_signals_stop_when_the_log_cannot_be_written(registry: Path, tmp_path: Path, policy: str) -> None:
    """AUDIT_BLOCKED from the failure on, or advice that goes on uncounted; a new file takes it back."""
    log = AuditLog(tmp_path / "log", policy=policy)
    with alpha.Runtime.from_registry(registry, URI, instruments=SIM.instruments, audit=log) as rt:
        state = rt.save_state()
        log.begin({"instruments": []}, {}, state, fail_write_at=10_000)
        rt._pipeline.attach_log(log.log)
        rt.run(SIM.events[:12_000])
        while not log.log.failed:
            pass
        signals = rt.run(SIM.events[12_000:16_000])
        if policy == "count_drops":
            assert not (signals["reason"] == Reason.AUDIT_BLOCKED).any() and signals["action"].any()
            assert rt.stats()["audit"]["dropped"] > 4000
            return
        assert (signals["reason"] == Reason.AUDIT_BLOCKED).all() and not signals["action"].any()
        assert "No space left" in rt.stats()["audit"]["failed"]
        rt.rotate_audit()
        assert rt.run(SIM.events[16_000:])["action"].any()


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::alpha.AlphaWarning")
def test_a_million_real_events_replay_byte_for_byte(registry: Path, tmp_path: Path, data_dir: Path) -> None:
    """A day of AMZN with five levels, EURUSD from two sources, BTCUSDT spot and perpetual: twice, inline and worker."""
    files = [
        ("lobster/AMZN_20120621_L5.parquet", "AMZN", 5),
        *((f"fx/{p.name}", p.name.partition("_")[0], 1) for p in sorted((data_dir / "fx").glob("*_EURUSD_*.parquet"))),
        ("binance/spot_btcusdt_20240808_l1.parquet", "SPOT", 1),
        ("binance/spot_btcusdt_20240809_l1.parquet", "SPOT", 1),
        ("binance/usdm_btcusdt_20240808_l1.parquet", "PERP", 1),
        ("binance/spot_btcusdt_20240808.gz", "RAW", 10),
    ]
    instruments = list(dict.fromkeys(symbol for _, symbol, _ in files))
    parts = []
    for name, symbol, levels in files:
        for chunk in alpha.open_events(data_dir / name, instrument=symbol, levels=levels):
            own = chunk.copy()
            own["instrument_id"] = instruments.index(symbol)
            parts.append(own)
    events = spiced(np.concatenate(parts), 50_000)
    assert len(events) >= 1_000_000
    inline(registry, tmp_path / "inline", events, instruments, kill=False)
    with (
        alpha.Runtime.from_registry(
            registry, URI, instruments=instruments, audit=AuditLog(tmp_path / "worker", policy="wait")
        ) as rt,
        rt.start(overrun="refuse") as worker,
    ):
        at = 0
        while at < len(events):
            at += worker.push_many(events[at : at + 4000])
            worker.poll_many()
        worker.stop()
    assert stream_bytes(tmp_path / "inline") == stream_bytes(tmp_path / "worker")
    for _ in range(2):
        found = replay(tmp_path / "inline")
        assert found.passed and found.events >= 1_000_000 and found.decisions > 500_000, found.shown
    by_reason = np.bincount(np.concatenate([f.decisions()["signal"]["reason"] for f in open_all(tmp_path / "inline")]))
    assert by_reason[Reason.MODEL] > 10_000 and by_reason[Reason.KILLED] > 10_000
    assert verify(tmp_path / "inline").problems == []
