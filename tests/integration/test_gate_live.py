"""Checks, breaker, threshold and registry status where they live: in a runtime, through reloads, and replayed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx_models
import pytest
from registries import COMMIT, GOOD, WHEN

import alpha
from alpha.audit import AuditLog
from alpha.audit.frames import Frame
from alpha.audit.read import open_all
from alpha.data.simulate import simulate
from alpha.errors import AlphaError, DataError, ModelError
from alpha.events import EVENT_DTYPE, Action, Kind, Reason
from alpha.features.feature_set import FeatureSet
from alpha.instruments import Instrument, Instruments
from alpha.models import metadata
from alpha.models.limits import (
    BreakerLimits,
    Distance,
    Limits,
    Ranges,
    Shift,
    edges_of,
    shares_of,
)
from alpha.registry import Entry, FeatureDefinition, archive, promote, register
from alpha.replay import explained_at, replay
from alpha.sessions import session_table

SIM = simulate(12_000, seed=61, levels=1)
SECOND = 10**9


def artifact(
    root: Path, number: int, definition: dict[str, Any], *, scores: bytes | None = None, model: str = "m", **more: Any
) -> Entry:
    """A folder with a model that answers with the roots of its first three normalised features."""
    fs = FeatureSet.from_dict({"name": "t", **definition})
    n = len(fs.names)
    data = scores or onnx_models.square_roots(n, 3)
    fields: dict[str, Any] = {
        "mean": [0.0] * n,
        "std": [1.0] * n,
        "clip": (-1e9, 1e9),
        "outputs": [metadata.Output(name="y", kind="logits")],
        **more,
    }
    meta = metadata.Metadata(
        model_id=model,
        version=number,
        feature_set={"name": fs.name, **fs.definition()},
        definition_hash=fs.definition_hash,
        feature_names=list(fs.names),
        input=[1, n],
        output_schema=["down", "flat", "up"],
        actions=["SELL", "HOLD", "BUY"],
        sha256={"model.onnx": hashlib.sha256(data).hexdigest()},
        **fields,
    )
    folder = root / "artifacts" / model / f"v{number}"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(data)
    (folder / "metadata.json").write_bytes(metadata.encode(meta))
    return Entry(
        id=model,
        version=number,
        status="candidate",
        path=f"artifacts/{model}/v{number}/model.onnx",
        sha256=meta.sha256["model.onnx"],
        input_features=meta.feature_names,
        output_schema=meta.output_schema,
        created_at=WHEN,
        feature_definition=FeatureDefinition(commit=COMMIT, hash=meta.definition_hash),
        metadata_sha256=hashlib.sha256((folder / "metadata.json").read_bytes()).hexdigest(),
        checks=[GOOD],
    )


RAW = [metadata.Output(name="y", kind="probabilities")]
MIDS = {"features": {"a": "mid", "b": "mid * 2.0", "c": "mid * 3.0"}}


def served(root: Path, definition: dict[str, Any], **more: Any) -> alpha.Runtime:
    """Straight from the folder, for one instrument unless more are named."""
    instruments = more.pop("instruments", ["X"])
    options = {k: more.pop(k) for k in ("audit", "engine") if k in more}
    artifact(root, 1, definition, **more)
    return alpha.Runtime.from_artifact(root / "artifacts/m/v1", instruments=instruments, **options)


def reasons(signals: Any) -> list[str]:
    return [Reason(int(r)).name for r in signals["reason"]]


def quotes(times: list[int], *, px: float = 100.0) -> Any:
    events = np.zeros(len(times), EVENT_DTYPE)
    events["ts_event_ns"], events["kind"], events["flags"] = times, Kind.QUOTE, 1
    events["v"][:, :4] = px - 0.01, px + 0.01, 5.0, 5.0
    return events


# -- sessions


def test_out_of_session_by_the_models_word_and_by_the_instruments(tmp_path: Path) -> None:
    table = session_table("XNYS")
    k = int(table.index(np.int64(1_767_800_000 * 10**9)))
    first, last = int(table.opens[k]), int(table.closes[k])
    times = [
        first - 1,
        first,
        (first + last) // 2,
        last - 1,
        last,
        int(table.opens[k + 1]),
        int(table.closes[-1]) + SECOND,
    ]
    want = ["OUT_OF_SESSION", "MODEL", "MODEL", "MODEL", "OUT_OF_SESSION", "MODEL"]
    stream = {"stream": {"calendar": "XNYS"}}
    with served(tmp_path / "a", {**MIDS, **stream}, limits=Limits(sessions="regular")) as rt:
        assert reasons(rt.run(quotes(times[:-1]))) == want
        past = quotes(times[-1:])  # beyond the table's end, and a leap: said twice
        assert reasons(rt.run(np.concatenate([past, past]))) == ["FUTURE", "OUT_OF_SESSION"]
        assert next(g for g in rt.explain("X")["gates"] if g["gate"] == "session")["passed"] is False
    with served(tmp_path / "b", {**MIDS, **stream}) as rt:
        assert set(reasons(rt.run(quotes(times[:-1])))) == {"MODEL"}
    own = Instruments.of(Instrument(symbol="X", calendar="XNYS", sessions="regular"))
    with served(tmp_path / "c", MIDS, instruments=own) as rt:
        assert reasons(rt.run(quotes(times[:-1]))) == want


def test_bars_belong_to_the_session_they_end_in(tmp_path: Path) -> None:
    table = session_table("XNYS")
    k = int(table.index(np.int64(1_767_800_000 * 10**9)))
    closes = [
        int(table.opens[k]),
        int(table.opens[k]) + 60 * SECOND,
        int(table.closes[k]),
        int(table.closes[k]) + 60 * SECOND,
    ]
    definition = {
        "trigger": 'bar("1m")',
        "stream": {"calendar": "XNYS"},
        "features": {name: f'bar("1m").{name}' for name in ("open", "high", "low")},
    }
    events = np.zeros(len(closes), EVENT_DTYPE)
    events["ts_event_ns"], events["kind"], events["flags"] = closes, Kind.BAR, 1
    events["v"] = 100.0, 101.0, 99.0, 100.0, 10.0
    with served(tmp_path, definition, limits=Limits(sessions="regular")) as rt:
        assert reasons(rt.run(events)) == ["OUT_OF_SESSION", "MODEL", "MODEL", "OUT_OF_SESSION"]


# -- age


def test_case_11_a_silent_feed_is_stale(tmp_path: Path) -> None:
    definition = {"trigger": 'every("1s")', **MIDS}
    with served(tmp_path, definition, limits=Limits(max_age_ns=3 * SECOND)) as rt:
        rt.run(quotes([10 * SECOND]))
        said = [rt.on_time(t * SECOND)[0].reason.name for t in (11, 12, 13, 14, 60)]
        assert said == ["MODEL", "MODEL", "MODEL", "STALE", "STALE"]
        gate = next(g for g in rt.explain("X")["gates"] if g["gate"] == "age of the data, ns")
        assert (gate["value"], gate["limit"], gate["passed"]) == (
            5 * SECOND,
            3 * SECOND,
            False,
        )  # at the first boundary
        assert reasons(rt.run(quotes([61 * SECOND]))) == ["STALE"]  # a row of the boundary, before this very quote
        assert [s.reason.name for s in rt.on_time(62 * SECOND)] == ["MODEL"]
        assert rt.stats()["reasons"]["STALE"] == 3


def test_old_data_of_another_instrument_and_of_an_input(tmp_path: Path) -> None:
    definition = {"features": {"a": "mid", "b": 'of("Y", mid)', "c": 'input("funding") + 1.0'}}
    limits = Limits(max_age_peers_ns=2 * SECOND, max_age_inputs_ns=5 * SECOND)
    with served(tmp_path, definition, instruments=["X", "Y"], limits=limits) as rt:
        x, y = rt.instrument("X"), rt.instrument("Y")

        def quote(handle: Any, t: int) -> str:
            signal = handle.on_quote(t * SECOND, 99.0, 101.0, 1.0, 1.0)
            return str(signal.reason.name)

        rt.set_input("funding", 0.5, 1 * SECOND)
        quote(y, 1)
        assert quote(x, 2) == "MODEL" and quote(x, 3) == "MODEL" and quote(x, 4) == "STALE"
        quote(y, 5)
        assert quote(x, 5) == "MODEL" and quote(x, 6) == "MODEL"
        quote(y, 7)
        assert quote(x, 7) == "STALE"  # the input's turn
        rt.set_input("funding", 0.5, 7 * SECOND)
        assert quote(x, 7) == "MODEL"


# -- bars


def test_one_decision_a_bar(tmp_path: Path) -> None:
    definition = {"trigger": 'bar("1m")', "features": {name: f'bar("1m").{name}' for name in ("open", "high", "low")}}
    minute = 60 * SECOND
    events = np.zeros(4, EVENT_DTYPE)
    events["ts_event_ns"], events["kind"], events["flags"] = [minute, minute, 2 * minute, 2 * minute], Kind.BAR, 1
    events["v"] = 100.0, 101.0, 99.0, 100.0, 10.0
    with served(tmp_path, definition) as rt:
        assert reasons(rt.run(events)) == ["MODEL", "DUPLICATE_BAR", "MODEL", "DUPLICATE_BAR"]
    with served(tmp_path / "quotes", MIDS) as rt:  # quotes may share a time
        assert reasons(rt.run(quotes([minute, minute]))) == ["MODEL", "MODEL"]


# -- likeness


def test_ranges_distance_and_psi_count_or_hold(tmp_path: Path) -> None:
    train = np.random.default_rng(5).normal(100.0, 1.0, (2000, 3)).astype(np.float32)
    edges = edges_of(train)
    reference = metadata.Reference(
        min=train.min(0).tolist(),
        max=train.max(0).tolist(),
        edges=edges.tolist(),
        shares=shares_of(train, edges).tolist(),
    )
    same = {"mean": [100.0] * 3, "std": [1.0] * 3, "clip": (-5.0, 5.0), "reference": reference}

    def run(name: str, limits: Limits, rows: Any) -> tuple[list[str], dict[str, int], dict[str, Any]]:
        with served(tmp_path / name, MIDS, limits=limits, **same) as rt:
            said = [rt.on_features("X", t, row).reason.name for t, row in enumerate(rows)]
            return said, rt.stats()["unlike"], rt.explain("X")

    odd = np.array([[101.0, 101.0, 101.0], [101.0, 101.0, 120.0]])
    said, unlike, told = run("r1", Limits(ranges=Ranges("hold", 0.1)), odd)
    assert said == ["MODEL", "OUT_OF_DISTRIBUTION"] and unlike == {"range": 1}
    gate = next(g for g in told["gates"] if g["gate"] == "features out of range")
    assert gate["value"] == 1 and gate["text"].startswith("feature 2: 120") and not gate["passed"]
    assert told["reason"] == "OUT_OF_DISTRIBUTION" and "limits" in told["remedy"]
    said, unlike, _ = run("r2", Limits(ranges=Ranges("count", 0.1)), odd)
    assert said == ["MODEL", "MODEL"] and unlike == {"range": 1}
    said, unlike, told = run("d", Limits(distance=Distance("hold", 4.0)), [[101.0] * 3, [103.0] * 3])
    assert said == ["MODEL", "OUT_OF_DISTRIBUTION"] and unlike == {"distance": 1}
    assert next(g for g in told["gates"] if g["gate"] == "distance")["value"] == 9.0
    rng = np.random.default_rng(6)
    rows = np.concatenate([rng.normal(101.5, 0.2, (320, 3)), rng.normal(101.5, 0.2, (10, 3))])
    said, unlike, told = run("p", Limits(psi=Shift("hold", 0.25, 320)), rows)
    assert set(said[:319]) <= {"MODEL"} and set(said[319:]) == {"OUT_OF_DISTRIBUTION"} and unlike == {"psi": 11}
    assert next(g for g in told["gates"] if g["gate"] == "psi")["value"] > 0.25
    with pytest.raises(ModelError, match=r"reference\.edges and reference\.shares are missing"):
        artifact(tmp_path / "n", 1, MIDS, limits=Limits(psi=Shift("hold")))


def test_attribution_puts_each_feature_at_its_training_mean(tmp_path: Path) -> None:
    with served(tmp_path, MIDS, mean=[1.0, 1.0, 1.0], outputs=RAW) as rt:
        rt.on_features("X", 1, [1.04, 1.09, 1.64])
        told = rt.explain("X")
        shifts = [f["shift"] for f in told["features"]]
        assert shifts[:2] == [0.0, 0.0] and shifts[2] == pytest.approx(0.8, abs=1e-4)
        names = [g["gate"] for g in told["gates"]]
        assert names == [
            "killed", "halted", "session", "age of the data, ns", "gap in the data", "warm features", "finite features",
            "active", "valid until, ns", "model", "finite output", "threshold", "bar decided once", "breaker",
        ]  # fmt: skip
        assert all(g["passed"] for g in told["gates"]) and told["remedy"].startswith("nothing")


# -- threshold


def test_a_live_threshold_may_only_rise_and_replays(tmp_path: Path, project_root: Path) -> None:
    registry = project_root / "registry.json"

    def runtime(**more: Any) -> alpha.Runtime:
        return alpha.Runtime.from_registry(registry, "models:/demo@production", instruments=SIM.instruments, **more)

    with runtime(audit=AuditLog(tmp_path / "log", policy="wait")) as rt:
        declared = rt.stats()["threshold"]["declared"]
        before = rt.run(SIM.events[:4000])
        with pytest.raises(AlphaError, match="live it may be raised, not lowered"):
            rt.set_threshold(declared - 0.05)
        rt.set_threshold(0.95)
        assert rt.stats()["threshold"] == {"in_force": np.float32(0.95), "declared": declared, "lowered": False}
        raised = rt.run(SIM.events[4000:8000])
        rt.rotate_audit()  # the next file begins with it in force
        more = rt.run(SIM.events[8000:10_000])
        rt.set_threshold(None)
        after = rt.run(SIM.events[10_000:])
    assert before["action"].any() and after["action"].any()
    assert not raised["action"].any() and not more["action"].any()
    assert replay(tmp_path / "log").passed
    with pytest.raises(AlphaError, match="a backtest may"):
        runtime(threshold=0.01)
    with runtime(threshold=0.01, backtest=True) as rt:
        lowered = rt.run(SIM.events[:4000])
        assert rt.stats()["threshold"]["lowered"] and "BELOW_THRESHOLD" not in reasons(lowered)


# -- the registry's word


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "registry.json"
    for number in (1, 2):
        register(path, artifact(tmp_path, number, MIDS), at=WHEN)
    promote(path, "models:/m/1", approver="Ada", at=WHEN)
    return path


def governed(file: Path, uri: str = "models:/m@production", **more: Any) -> alpha.Runtime:
    return alpha.Runtime.from_registry(file, uri, instruments=["X"], **{"reload": "explicit", **more})


def test_an_archived_version_stops_at_once(file: Path, tmp_path: Path) -> None:
    with governed(file, audit=AuditLog(tmp_path / "log", policy="wait")) as rt:
        assert reasons(rt.run(quotes([1, 2]))) == ["MODEL", "MODEL"]
        archive(file, "models:/m/1", by="Ada")
        assert rt.reload()["status"] == "offered"
        assert reasons(rt.run(quotes([3, 4]))) == ["MODEL_INACTIVE", "MODEL_INACTIVE"]
        assert "archived" in rt.stats()["inactive"]
        assert next(g for g in rt.explain("X")["gates"] if g["gate"] == "active")["passed"] is False
        promote(file, "models:/m/2", approver="Ada", at=WHEN)
        assert rt.reload()["status"] == "offered"
        said = reasons(rt.run(quotes(list(range(5, 205)))))
        assert said[0] == "MODEL_INACTIVE" and said[-1] == "MODEL"
    assert replay(tmp_path / "log").passed
    with governed(file, "models:/m/1") as rt:
        assert reasons(rt.run(quotes([1]))) == ["MODEL_INACTIVE"]
    with governed(file, "models:/m/1", backtest=True) as rt:
        assert reasons(rt.run(quotes([1]))) == ["MODEL"]


def test_candidates_decide_unless_the_policy_says_otherwise(file: Path) -> None:
    with governed(file, "models:/m/2") as rt:
        assert reasons(rt.run(quotes([1]))) == ["MODEL"]
    file.with_name("registry.toml").write_text('[policy]\ninactive = ["archived", "candidate"]\n')
    with governed(file, "models:/m/2") as rt:
        assert reasons(rt.run(quotes([1]))) == ["MODEL_INACTIVE"]


def test_what_cannot_be_loaded_is_no_withdrawal(file: Path) -> None:
    with governed(file) as rt:
        promote(file, "models:/m/2", approver="Ada", at=WHEN)  # archives v1
        (file.parent / "artifacts/m/v2/model.onnx").write_bytes(b"damaged")
        assert rt.reload()["status"] == "failed"
        assert reasons(rt.run(quotes([1, 2]))) == ["MODEL", "MODEL"]


# -- the breaker


def wrong(at: int, n: int = 1) -> Any:
    """Quotes whose mid is below the training mean: the model gives NaN."""
    return quotes(list(range(at, at + n)), px=50.0)


def breaking(root: Path, number: int, **more: Any) -> Entry:
    limits = Limits(breaker=BreakerLimits(errors=3, window=8, **more))
    return artifact(root, number, MIDS, mean=[80.0] * 3, limits=limits)


def test_case_18_nan_outputs_trip_the_breaker_until_it_is_reset(tmp_path: Path) -> None:
    breaking(tmp_path, 1)
    log = AuditLog(tmp_path / "log", policy="wait")
    with alpha.Runtime.from_artifact(tmp_path / "artifacts/m/v1", instruments=["X"], audit=log) as rt:
        assert reasons(rt.run(quotes([1]))) == ["MODEL"]
        said = reasons(rt.run(np.concatenate([wrong(2, 3), quotes(list(range(10, 20)))])))
        assert said == ["NON_FINITE_OUTPUT"] * 3 + ["BREAKER"] * 10
        assert rt.stats()["breaker"] == {"tripped": "errors", "trips": 1}
        assert rt.stats()["events"] == 15  # the breaker's own event is one of them
        rt.rotate_audit()  # the next file begins with the breaker open
        assert reasons(rt.run(quotes([20]))) == ["BREAKER"]
        assert rt.latest("X").action == Action.HOLD  # type: ignore[union-attr]
        rt.reset_breaker()
        assert reasons(rt.run(quotes([21]))) == ["MODEL"]
        assert rt.on_features("X", 22, [10.0, 90.0, 90.0]).reason == Reason.NON_FINITE_OUTPUT
    for _ in range(2):
        found = replay(tmp_path / "log")
        assert found.passed and found.files == 2, found.shown


def test_a_desk_holds_back_the_model_that_fails_and_no_other(tmp_path: Path) -> None:
    breaking(tmp_path, 1)
    artifact(tmp_path / "other", 1, MIDS, mean=[0.0] * 3)
    both = {"bad": str(tmp_path / "artifacts/m/v1"), "good": str(tmp_path / "other/artifacts/m/v1")}
    log = AuditLog(tmp_path / "log", policy="wait")
    with alpha.Runtime.from_artifact(both, instruments=["X"], audit=log) as rt:
        said = rt.run(np.concatenate([wrong(2, 3), quotes(list(range(10, 20)))]))
        assert reasons(said[said["model_slot"] == 0]) == ["NON_FINITE_OUTPUT"] * 3 + ["BREAKER"] * 10
        assert set(reasons(said[said["model_slot"] == 1])) == {"MODEL"}
        told = rt.stats()["models"]
        assert told["bad"]["breaker"] == {"tripped": "errors", "trips": 1} and not told["good"]["breaker"]["tripped"]
        rt.rotate_audit()  # the next file begins with the breaker open
        assert "BREAKER" in reasons(rt.run(quotes([20])))
        rt.reset_breaker()
        assert set(reasons(rt.run(quotes([21])))) == {"MODEL"}
    for _ in range(2):
        found = replay(tmp_path / "log")
        assert found.passed and found.files == 2, found.shown


def test_a_desk_stops_a_model_that_the_registry_withdraws(file: Path) -> None:
    desk = {"a": "models:/m@production", "b": "models:/m/2"}
    with alpha.Runtime.from_registry(file, desk, instruments=["X"], reload="explicit") as rt:
        assert set(reasons(rt.run(quotes([1])))) == {"MODEL"}
        archive(file, "models:/m/1", by="Ada")
        assert rt.reload()["status"] == "offered"
        rt.run(quotes(list(range(2, 200))))
        said = rt.run(quotes([300]))
        assert reasons(said[said["model_slot"] == 0]) == ["MODEL_INACTIVE"]
        assert reasons(said[said["model_slot"] == 1]) == ["MODEL"]
        assert rt.stats()["models"]["a"]["inactive"]


def test_latency_trips_it_and_replays_though_it_never_repeats(tmp_path: Path) -> None:
    breaking(tmp_path, 1, latency_ns=1, in_a_row=5)  # everything takes longer than a nanosecond
    log = AuditLog(tmp_path / "log", policy="wait")
    with alpha.Runtime.from_artifact(tmp_path / "artifacts/m/v1", instruments=["X"], audit=log) as rt:
        said = reasons(rt.run(quotes(list(range(1, 11)))))
        assert said == ["MODEL"] * 5 + ["BREAKER"] * 5 and rt.stats()["breaker"]["tripped"] == "latency"
    assert replay(tmp_path / "log").passed
    breaking(tmp_path / "never", 1, latency_ns=10**15, in_a_row=1)
    with alpha.Runtime.from_artifact(tmp_path / "never/artifacts/m/v1", instruments=["X"]) as rt:
        assert set(reasons(rt.run(quotes(list(range(1, 300)))))) == {"MODEL"}


def test_it_rolls_back_to_the_version_before(tmp_path: Path) -> None:
    file = tmp_path / "registry.json"
    register(file, artifact(tmp_path, 1, MIDS), at=WHEN)
    register(file, breaking(tmp_path, 2), at=WHEN)
    promote(file, "models:/m/1", approver="Ada", at=WHEN)
    with governed(file, audit=AuditLog(tmp_path / "log", policy="wait")) as rt:
        rt.run(quotes([1, 2]))
        promote(file, "models:/m/2", approver="Ada", at=WHEN)
        rt.reload()
        rt.run(quotes(list(range(3, 203))))
        assert rt.bundle.name == "m/2"
        rt.run(wrong(300, 3))
        assert reasons(rt.run(quotes([310]))) == ["BREAKER"]  # and this offered the one before
        said = reasons(rt.run(quotes(list(range(311, 511)))))
        assert said[0] == "BREAKER" and said[-1] == "MODEL" and rt.bundle.name == "m/1"
        stats = rt.stats()
        assert stats["breaker"] == {"tripped": "", "trips": 1} and "rolled m/2 back" in stats["reload"]["failed"]
        assert rt.reload()["why"].startswith("the breaker rolled m/2 back")
        assert rt.rollback()["status"] == "failed"  # the broken one is not kept
        rt.reset_breaker()
        assert rt.reload()["status"] == "offered"
    assert replay(tmp_path / "log").passed


def test_a_logged_decision_is_explained_as_it_was_made(file: Path, tmp_path: Path) -> None:
    """Also behind a takeover and with the breaker open: what the log does not hold is there again."""
    register(file, breaking(tmp_path, 3), at=WHEN)
    log = tmp_path / "log"
    with governed(file, audit=AuditLog(log, policy="wait")) as rt:
        rt.run(quotes([1, 2]))
        rt.reload("models:/m/3")
        rt.run(quotes(list(range(3, 203))))
        rt.run(np.concatenate([wrong(300, 3), quotes([310, 311])]))
        live = rt.explain("X")
        assert (live["model"], live["reason"]) == ("m/3", "BREAKER")
    (part,) = open_all(log)
    frames = part.of_type(Frame.DECISION)
    told = explained_at(log, int(part.headers["seq"][frames[-1]]))
    assert told == live
    first = explained_at(log, int(part.headers["seq"][frames[0]]))
    assert (first["model"], first["reason"]) == ("m/1", "MODEL")
    assert next(g for g in first["gates"] if g["gate"] == "breaker")["passed"]
    with pytest.raises(DataError, match="has no frame"):
        explained_at(log, 10**9)


def test_the_polling_thread_rolls_back_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "registry.json"
    register(file, artifact(tmp_path, 1, MIDS), at=WHEN)
    register(file, breaking(tmp_path, 2), at=WHEN)
    promote(file, "models:/m/1", approver="Ada", at=WHEN)
    with governed(file, reload="poll", every_s=0.01) as rt:
        quote, t = rt.instrument("X").on_quote, 1
        promote(file, "models:/m/2", approver="Ada", at=WHEN)
        while rt.bundle.name != "m/2":  # the watcher has all the time it wants
            quote(t, 99.0, 101.0, 1.0, 1.0)
            t += 1
        for _ in range(3):
            quote(t, 49.0, 51.0, 1.0, 1.0)
            t += 1
        assert quote(t, 99.0, 101.0, 1.0, 1.0).reason == Reason.BREAKER  # type: ignore[union-attr]
        while rt.bundle.name != "m/1":
            t += 1
            quote(t, 99.0, 101.0, 1.0, 1.0)
        signal = quote(t + 1, 99.0, 101.0, 1.0, 1.0)
        assert signal is not None and signal.reason == Reason.MODEL


def test_the_first_hundred_events_after_a_swap_are_kept(file: Path) -> None:
    with governed(file) as rt:
        rt.run(quotes([1, 2]))
        assert rt.stats()["reload"]["after_swap"] == {"events": 0, "signals": 0, "p50_ns": None, "max_ns": None}
        rt.reload("models:/m/2")
        rt.run(quotes(list(range(3, 3 + 64 + 41))))
        some = rt.stats()["reload"]["after_swap"]
        assert 0 < some["events"] < 100 and some["signals"] == some["events"]
        rt.run(quotes(list(range(300, 500))))
        after = rt.stats()["reload"]["after_swap"]
        assert after["events"] == 100 and 0 < after["p50_ns"] <= after["max_ns"] < 60 * SECOND


def test_a_state_goes_on_with_its_windows(tmp_path: Path) -> None:
    """PSI counters, cooldown, threshold and the open breaker are part of a saved state."""
    train = np.random.default_rng(5).normal(100.0, 1.0, (500, 3)).astype(np.float32)
    edges = edges_of(train)
    reference = metadata.Reference(edges=edges.tolist(), shares=shares_of(train, edges).tolist())
    limits = Limits(psi=Shift("hold", 0.3, 32), breaker=BreakerLimits(errors=2, window=4))
    artifact(tmp_path, 1, MIDS, limits=limits, reference=reference, mean=[98.0] * 3, outputs=RAW)
    folder = tmp_path / "artifacts/m/v1"
    rows = np.random.default_rng(7).normal(100.0, 1.2, (300, 3))

    def feed(rt: alpha.Runtime, begin: int, end: int) -> list[bytes]:
        return [bytes(rt.on_features("X", t, rows[t])) for t in range(begin, end)]

    with alpha.Runtime.from_artifact(folder, instruments=["X"]) as whole:
        whole.set_threshold(0.7)
        want = feed(whole, 0, 300)
    with alpha.Runtime.from_artifact(folder, instruments=["X"]) as rt:
        rt.set_threshold(0.7)
        feed(rt, 0, 137)
        blob = rt.save_state()
    with alpha.Runtime.from_artifact(folder, instruments=["X"]) as rt:
        rt.load_state(blob)
        assert rt.save_state() == blob
        assert feed(rt, 137, 300) == want[137:]
    other = msgspec.structs.replace(limits, distance=Distance("hold", 1.0))
    artifact(tmp_path / "other", 1, MIDS, limits=other, reference=reference, mean=[98.0] * 3, outputs=RAW)
    with (
        alpha.Runtime.from_artifact(tmp_path / "other/artifacts/m/v1", instruments=["X"]) as rt,
        pytest.raises(AlphaError, match="another limits"),
    ):
        rt.load_state(blob)
