"""The runtime: one native path behind inline calls, run and worker; HOLD for everything that goes wrong."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import alpha
from alpha.data.simulate import simulate
from alpha.errors import AlphaError, InstrumentError, ModelError, RegistryError, StateError
from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, SIGNAL_DTYPE, Action, Flag, Kind, Reason
from alpha.features import catalog
from alpha.features.native import native_rows

STREAM = simulate(12_000, seed=21, n_instruments=2)


@pytest.fixture(autouse=True)
def _untrained_instruments_are_fine() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", alpha.AlphaWarning)
        yield


def demo(**more: object) -> alpha.Runtime:
    return alpha.Runtime.from_registry(None, "models:/demo/1", instruments=STREAM.instruments, **more)  # type: ignore[arg-type]


def inline(rt: alpha.Runtime, events: np.ndarray) -> np.ndarray:
    """The stream through on_quote, on_trade and on_depth, as SIGNAL_DTYPE records."""
    handles = [rt.instrument(s) for s in rt.instruments.symbols]
    out = []
    for e in events:
        h, v = handles[e["instrument_id"]], [float(x) for x in e["v"]]
        ts, recv, flags = int(e["ts_event_ns"]), int(e["ts_recv_ns"]), int(e["flags"])
        if e["kind"] == Kind.QUOTE:
            signal = h.on_quote(ts, *v[:4], recv, v[4], flags)
        elif e["kind"] == Kind.TRADE:
            signal = h.on_trade(ts, *v[:3], recv, v[4], flags)
        else:
            signal = h.on_depth(ts, int(e["level"]), *v[:4], recv, flags)
        if signal is not None:
            out.append(bytes(signal))
    return np.frombuffer(b"".join(out), SIGNAL_DTYPE)


def test_inline_run_and_worker_give_the_same_bytes() -> None:
    with demo() as rt:
        ran = rt.run(STREAM.events)
    with demo() as rt:
        assert inline(rt, STREAM.events).tobytes() == ran.tobytes()
    with demo() as rt, rt.start(overrun="refuse") as worker:
        at, parts = 0, []
        while at < len(STREAM.events):
            at += worker.push_many(STREAM.events[at : at + 1000])
            parts.append(worker.poll_many())
        worker.stop()
        parts.append(worker.poll_many())
        assert np.concatenate(parts).tobytes() == ran.tobytes()
        assert worker.lost_signals == 0 and worker.processed == len(STREAM.events)
    assert {int(r) for r in np.unique(ran["reason"])} == {Reason.MODEL, Reason.NOT_WARM, Reason.BELOW_THRESHOLD}
    assert (ran["action"] != 0).sum() > 100


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_chunks_change_nothing(size: int) -> None:
    events = STREAM.events[:3000]
    with demo() as rt, demo() as other:
        whole = rt.run(events)
        parts = other.run(events[i : i + size] for i in range(0, len(events), size))
    assert whole.tobytes() == parts.tobytes()


def test_a_million_events_twice_are_the_same_bytes() -> None:
    events = simulate(1_000_000, seed=2, levels=1).events
    runs = []
    for _ in range(2):
        with alpha.Runtime.from_features(catalog.get("twenty"), instruments=["SIM0"]) as rt:
            runs.append(rt.run(events))
    assert runs[0].tobytes() == runs[1].tobytes() and len(runs[0]) > 600_000


def test_interleaving_another_instrument_changes_nothing() -> None:
    with demo() as both, demo() as one:
        all_signals = both.run(STREAM.events)
        mine = one.run(STREAM.events[STREAM.events["instrument_id"] == 0])
    a, b = all_signals[all_signals["instrument_id"] == 0].copy(), mine.copy()
    a["event_index"] = b["event_index"] = 0
    assert a.tobytes() == b.tobytes()


def test_rejected_events_leave_no_trace() -> None:
    events = STREAM.events[STREAM.events["instrument_id"] == 0][:4000]
    bad = np.zeros(5, EVENT_DTYPE)
    bad["kind"], bad["flags"] = Kind.QUOTE, Flag.LAST
    bad["v"] = [[np.nan, 1, 1, 1, 0], [2, 1, 1, 1, 0], [-1, 1, 1, 1, 0], [1, 2, 1, 1, 0], [1, 2, np.inf, 1, 0]]
    mixed = []
    for i, e in enumerate(events):
        mixed.append(e[None])
        if i % 97 == 0:
            fault = bad[(i // 97) % 5 : (i // 97) % 5 + 1].copy()
            fault["ts_event_ns"], fault["ts_recv_ns"] = e["ts_event_ns"] - (10**12 if i % 2 else 0), e["ts_recv_ns"]
            if fault["v"][0, 0] == 1 and np.isfinite(fault["v"]).all():
                fault["ts_recv_ns"] -= 10**12  # only its time is wrong
            mixed.append(fault)
    with demo() as rt, demo() as clean:
        dirty, pure = rt.run(np.concatenate(mixed)), clean.run(events)
        stats = rt.stats()
    rejected = dirty["reason"] >= 32
    assert rejected.sum() == len(mixed) - len(events) == sum(stats["rejected_by"].values())
    assert (dirty["action"][rejected] == 0).all()
    assert set(stats["rejected_by"]) == {"NON_FINITE", "CROSSED", "PRICE", "BACKWARDS"}
    kept = dirty[~rejected].copy()
    kept["event_index"] = pure["event_index"]
    assert kept.tobytes() == pure.tobytes()


def test_rows_of_the_pipeline_are_those_of_the_native_twin() -> None:
    fs = catalog.get("demo")
    rows = native_rows(fs, STREAM.events[:500], STREAM.instruments)
    with demo() as rt:
        rt.run(STREAM.events[:500])
        last = int(np.flatnonzero(rows["instrument_id"] == 1)[-1])
        assert np.array_equal(rt.feature_vector("SIM1"), rows["values"][last], equal_nan=True)
        out = np.zeros(len(fs.names), np.float32)
        assert rt.feature_vector("SIM1", out) is out


def test_without_onnx_runtime_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHA_NO_ORT", "1")
    with demo() as rt:
        signals = rt.run(STREAM.events)
        assert "ALPHA_NO_ORT" in rt.why
    assert set(np.unique(signals["reason"])) == {Reason.NOT_WARM, Reason.NO_ORT} and not signals["action"].any()


def test_missing_model_may_hold_instead_of_raising(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="does not exist"):
        alpha.Runtime.from_registry(tmp_path / "r.json", "models:/x/1", instruments=["A"])
    with alpha.Runtime.from_registry(tmp_path / "r.json", "models:/x/1", instruments=["A"], missing="hold") as rt:
        signal = rt.on_quote("A", 1, 1.0, 2.0, 1.0, 1.0)
        assert signal is not None and (signal.action, signal.reason) == (Action.HOLD, Reason.NO_MODEL)
        assert "does not exist" in rt.why


@pytest.mark.parametrize("name", ["model.onnx", "metadata.json"])
def test_any_altered_byte_is_refused(tmp_path: Path, project_root: Path, name: str) -> None:
    shutil.copytree(project_root / "artifacts/demo/v1", tmp_path / "v1")
    shutil.copy(project_root / "registry.json", tmp_path)
    (tmp_path / "artifacts/demo").mkdir(parents=True)
    shutil.move(tmp_path / "v1", tmp_path / "artifacts/demo/v1")
    file = tmp_path / "artifacts/demo/v1" / name
    data = file.read_bytes()
    for at in range(0, len(data), max(1, len(data) // 9)):
        file.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(ModelError, match="altered"):
            alpha.Runtime.from_registry(tmp_path / "registry.json", "models:/demo/1", instruments=["A"])


@pytest.mark.parametrize("data", [b"", b"\x80\x04K\x01.", b"not a model at all", bytes(1000)])
def test_bytes_that_are_no_model(data: bytes) -> None:
    from alpha._core.ort import OrtModel

    with pytest.raises(ModelError):
        OrtModel(data)


def test_unknown_instrument_and_wrong_arrays() -> None:
    with demo() as rt:
        with pytest.raises(InstrumentError, match="known: SIM0, SIM1"):
            rt.instrument("XYZ")
        with pytest.raises(AlphaError, match="EVENT_DTYPE"):
            rt.run(np.zeros(3))
        with pytest.raises(AlphaError, match="one-dimensional"):
            rt.run(np.zeros((2, 2), EVENT_DTYPE))
        with pytest.raises(AlphaError, match="EVENT_DTYPE"):
            rt.run([1, 2])
        rt.run(STREAM.events[:50])
        for out in (np.zeros(3, np.float32), np.zeros(10), np.zeros(20, np.float32)[::2]):
            with pytest.raises(AlphaError, match="float32 array of 10 values"):
                rt.feature_vector("SIM0", out)
        with pytest.raises(AlphaError, match="10 features"):
            rt.on_features("SIM0", 1, [1.0])


def test_own_features_go_through_model_and_gate() -> None:
    with demo() as rt:
        rt.run(STREAM.events[:2000])
        for signal in (rt.latest("SIM0"), rt.latest("SIM1")):
            assert signal is not None
            symbol = rt.instruments.symbol(signal.instrument_id)
            x = rt.feature_vector(symbol)
            assert x is not None
            again = rt.on_features(symbol, int(STREAM.events["ts_recv_ns"][1999]), x)
            assert again.scores == signal.scores and again.reason == signal.reason
        later = int(STREAM.events["ts_recv_ns"].max())
        assert rt.on_features("SIM0", later, x).scores
        for ts, why in ((later - 1, "BACKWARDS"), (-5, "BACKWARDS"), (2**63 - 1, "FUTURE"), (later * 2, "FUTURE")):
            late = rt.on_features("SIM0", ts, x)
            assert (late.reason.name, late.action, late.scores) == (why, Action.HOLD, ())
        x[0] = np.nan
        assert rt.on_features("SIM0", later + 6, x).reason == Reason.NON_FINITE_FEATURE


def test_kill_is_immediate_and_taken_back() -> None:
    with demo() as rt:
        signals = rt.run(STREAM.events[:3000])
        at = np.flatnonzero((signals["action"] != 0) & (signals["instrument_id"] == 0))[-1]
    with demo() as rt:
        rt.run(STREAM.events[: int(signals["event_index"][at]) + 1])
        before = rt.latest("SIM0")
        assert before is not None and before.action != Action.HOLD
        rt.kill("drill")
        after = rt.latest("SIM0")  # decided before the kill: no longer advice
        assert after is not None and (after.action, after.reason) == (Action.HOLD, Reason.KILLED)
        assert rt.explain("SIM0")["action"] == "HOLD"
        killed = rt.run(STREAM.events[3000:4000])
        assert set(killed["reason"]) == {Reason.KILLED} and rt.stats()["kill_reason"] == "drill"
        rt.revive()
        assert Reason.MODEL in set(rt.run(STREAM.events[4000:6000])["reason"])


def test_case_06_a_gap_is_stale_until_warm_again() -> None:
    events = STREAM.events[STREAM.events["instrument_id"] == 0][:3000].copy()
    events["flags"][2000] |= np.uint16(Flag.GAP)
    with demo() as rt:
        signals = rt.run(events)
    cold = signals[(signals["event_index"] >= 2000) & (signals["reason"] == Reason.STALE)]
    assert 50 <= len(cold) < 900 and cold["event_index"].max() < 2999


def test_time_closes_bars_and_makes_rows() -> None:
    fs = alpha.FeatureSet.from_dict({"trigger": 'bar("1s", "mid")', "features": {"c": 'bar("1s", "mid").close'}})
    with alpha.Runtime.from_features(fs, instruments=["A", "B"]) as rt:
        assert rt.on_quote("A", 10**9, 1.0, 3.0, 1.0, 1.0) is None
        assert rt.on_time(2 * 10**9 - 1) == []
        signals = rt.on_time(2 * 10**9)
        assert [s.instrument_id for s in signals] == [0]
        assert rt.feature_vector("A") == np.float32(2.0)
        assert rt.feature_vector("B") is None


def test_nobody_else_may_call_while_a_worker_runs() -> None:
    with demo() as rt:
        btc = rt.instrument("SIM0")
        with rt.start() as worker:
            for call in (
                lambda: btc.on_quote(1, 1.0, 2.0, 1.0, 1.0),
                lambda: rt.run(STREAM.events[:1]),
                lambda: rt.start(),
                lambda: rt.feature_vector("SIM0"),
                lambda: rt.on_time(5),
            ):
                with pytest.raises(StateError):
                    call()
            worker.push_many(STREAM.events[:10])
            rt.kill("beside the worker")
        assert rt.stats()["events"] == 10
        with pytest.raises(StateError, match="stopped"):
            worker.push_many(STREAM.events[:1])
        rt.revive()
        assert rt.run(STREAM.events[10:20]) is not None


def test_an_old_signal_comes_as_hold_stale() -> None:
    with demo() as rt, rt.start() as worker:
        worker.push_many(STREAM.events[:4000])
        worker.stop()
        signals = []
        while (signal := worker.poll(max_age_ns=1)) is not None:
            signals.append(signal)
        assert len(signals) > 1000 and {s.reason for s in signals} == {Reason.STALE}
        assert {s.action for s in signals} == {Action.HOLD} and worker.stale_signals == len(signals)


def test_what_a_worker_decided_before_a_kill_is_polled_as_hold() -> None:
    with demo() as rt, rt.start() as worker:
        worker.push_many(STREAM.events[:4000])
        worker.stop()
        rt.kill("drill")
        first = worker.poll()
        assert first is not None and (first.action, first.reason) == (Action.HOLD, Reason.KILLED)
        rt.revive()
        assert Reason.MODEL in {s["reason"] for s in worker.poll_many()}


def test_a_ring_of_the_callers_is_used_even_when_it_is_empty() -> None:
    ring = alpha.Ring(8192, overrun="refuse")
    with demo() as rt, rt.start(ring=ring) as worker:
        assert ring.push_many(STREAM.events[:3000]) == 3000 and worker.ring is ring
        with demo() as other, pytest.raises(StateError, match="another worker takes"):
            other.start(ring=ring)
        with pytest.raises(StateError, match="a worker takes"):
            ring.pop_many(1)
        worker.stop()
        assert worker.processed == 3000 and len(ring) == 0
        assert ring.push_many(STREAM.events[:3]) == 3 and len(ring.pop_many(9)) == 3
        with pytest.raises(AlphaError, match=r"must be an alpha\.Ring"):
            rt.start(ring=5)  # type: ignore[arg-type]


def test_a_closed_runtime_decides_nothing() -> None:
    with demo() as rt:
        btc = rt.instrument("SIM0")
    for call in (
        lambda: btc.on_quote(10, 1.0, 2.0, 1.0, 1.0),
        lambda: rt.run(STREAM.events[:10]),
        lambda: rt.on_time(5),
        rt.start,
    ):
        with pytest.raises(StateError, match="closed"):
            call()


@pytest.mark.parametrize("kind", [Kind.STATUS, Kind.CONTROL])
@pytest.mark.parametrize("to_all", [False, True])
def test_a_halt_holds_until_it_is_lifted(kind: Kind, to_all: bool) -> None:
    events = STREAM.events[:6000]
    halt = np.zeros(1, EVENT_DTYPE)
    halt["kind"], halt["instrument_id"] = kind, ALL_INSTRUMENTS if to_all else 0
    with demo() as rt:
        rt.run(events[:4000])
        for code, expected in ((3, {Reason.HALTED}), (4, {Reason.MODEL, Reason.BELOW_THRESHOLD})):
            halt["v"][0, 0] = code
            halt["ts_event_ns"] = halt["ts_recv_ns"] = events["ts_recv_ns"][3999 if code == 3 else 4999]
            rt.run(halt)
            signals = rt.run(events[4000:5000] if code == 3 else events[5000:])
            assert set(signals["reason"][signals["instrument_id"] == 0]) <= expected
            assert (Reason.HALTED in signals["reason"][signals["instrument_id"] == 1]) == (to_all and code == 3)


def test_a_control_without_meaning_is_counted() -> None:
    event = np.zeros(1, EVENT_DTYPE)
    event["kind"] = Kind.CONTROL
    event["v"][0, 0] = np.nan
    with demo() as rt:
        rt.run(event)
        assert rt.stats()["rejected_by"] == {"KIND": 1}


def test_one_wrong_timestamp_is_not_believed() -> None:
    events = STREAM.events[STREAM.events["instrument_id"] == 0][:3000].copy()
    with demo() as rt:
        clean = rt.run(events)
    wild = np.insert(events, 2000, events[2000])
    for name in ("ts_event_ns", "ts_recv_ns"):
        wild[name][2000] += 10**18
    with demo() as rt:
        signals = rt.run(wild)
        assert rt.stats()["rejected_by"] == {"FUTURE": 1}
    bad = signals["event_index"] == 2000
    assert set(signals["reason"][bad]) <= {Reason.FUTURE} and set(signals["action"][bad]) <= {0}
    assert signals["scores"][~bad].tobytes() == clean["scores"].tobytes()


def test_signals_before_an_error_are_not_lost() -> None:
    good, bad = STREAM.events[:3000], np.zeros(3)
    with demo() as rt, pytest.raises(AlphaError) as caught:
        rt.run([good, bad])
    with demo() as rt:
        assert caught.value.signals.tobytes() == rt.run(good).tobytes()


def test_bad_rows_of_a_file_are_in_the_stats(tmp_path: Path) -> None:
    file = tmp_path / "SIM0.csv"
    file.write_text("ts,bid_px,ask_px,bid_qty,ask_qty\n1000,1,2,1,1\nnever,1,2,1,1\n3000,1,2,1,1\n")
    with demo() as rt:
        rt.run(alpha.open_events(file, instrument="SIM0", ts_unit="ns"))
        assert sum(rt.stats()["bad_rows"].values()) == 1


def test_instruments_may_be_one_name() -> None:
    with alpha.Runtime.from_registry(None, "models:/demo/1", instruments="BTCUSDT") as rt:
        assert rt.instruments.symbols == ("BTCUSDT",)
    with pytest.raises(AlphaError, match="needs its instruments"):
        alpha.Runtime.from_registry(None, "models:/demo/1", instruments=None)  # type: ignore[arg-type]


def test_production_without_approval_or_with_a_failed_check_does_not_serve(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    shutil.copytree(root / "artifacts", tmp_path / "artifacts")
    for change, words in (({"approved_by": []}, "nobody approved"), ({"checks": None}, "failed check")):
        doc = json.loads((root / "registry.json").read_text())
        entry = next(e for e in doc["models"] if e["status"] == "production")
        if "checks" in change:
            entry["checks"][0]["passed"] = False
        else:
            entry |= change
        (tmp_path / "registry.json").write_text(json.dumps(doc))
        with pytest.raises(RegistryError, match=words):
            alpha.Runtime.from_registry(tmp_path / "registry.json", "models:/demo/1", instruments=["X"])


def test_a_dropped_worker_stops_its_thread() -> None:
    rt = demo()
    worker = rt.start()
    rt.close()
    del worker, rt


def test_signals_are_values() -> None:
    with demo() as rt:
        a = rt.on_quote("SIM0", 10, 1.0, 2.0, 1.0, 1.0)
        b = rt.on_quote("SIM0", 11, 1.0, 2.0, 1.0, 1.0)
        assert a is not None and b is not None and a != b and a == a and len({a, b}) == 2
        assert len(bytes(a)) == 128 and "NOT_WARM" in repr(a)
        with pytest.raises(AttributeError):
            a.action = Action.BUY  # type: ignore[misc]
        with pytest.raises(TypeError):
            alpha.Signal()


def test_a_float_timestamp_is_truncated_and_text_raises() -> None:
    with demo() as rt:
        signal = rt.on_quote("SIM0", 1.5e18 + 256.0, 1.0, 2.0, 1.0, 1.0)  # type: ignore[arg-type]
        assert signal is not None and signal.ts_event_ns == 1_500_000_000_000_000_256
        later = rt.on_quote("SIM0", 1.5e18 + 1024.0, 1.0, 2.0, 1.0, 1.0)  # type: ignore[arg-type]
        assert later is not None and later.ts_event_ns == 1_500_000_000_000_001_024
        with pytest.raises(TypeError):
            rt.on_quote("SIM0", "1.5e18", 1.0, 2.0, 1.0, 1.0)  # type: ignore[arg-type]


def test_huge_values_pass_and_leave_nothing_behind() -> None:
    fs = alpha.FeatureSet.from_dict({"features": {"s": "std(mid, 5)", "t": 'std(mid, "3s")', "m": "mean(mid, 5)"}})
    e = np.zeros(40, EVENT_DTYPE)
    e["kind"], e["ts_event_ns"] = Kind.QUOTE, np.arange(40) * 10**9 + 10**9
    e["v"][:, 0] = 100.0 + np.arange(40) % 3
    e["v"][:, 1] = e["v"][:, 0] + 0.5
    clean = native_rows(fs, e, alpha.Instruments.of("A"))["values"]
    e["v"][10, :2] = 1e300, 1.1e300
    rows = native_rows(fs, e, alpha.Instruments.of("A"))["values"]
    assert not np.isfinite(rows[10:12]).all()
    assert rows[20:].tobytes() == clean[20:].tobytes()


def test_untrained_instruments_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", alpha.AlphaWarning)
        alpha.Runtime.from_registry(None, "models:/demo/1", instruments=["SIM0"])
        with pytest.raises(alpha.AlphaWarning, match=r"simulated data \(SIM0\) and now serves BTC"):
            alpha.Runtime.from_registry(None, "models:/demo/1", instruments=["BTC"])
