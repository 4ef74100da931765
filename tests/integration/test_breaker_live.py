"""The registry's word and the breaker where they live: in a runtime, through reloads, and replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from gated import MIDS, RAW, artifact, quotes, reasons
from registries import WHEN

import alpha
from alpha.audit import AuditLog
from alpha.audit.frames import Frame
from alpha.audit.read import open_all
from alpha.data.simulate import simulate
from alpha.errors import AlphaError, DataError
from alpha.events import Action, Reason
from alpha.models import metadata
from alpha.models.limits import (
    BreakerLimits,
    Distance,
    Limits,
    Shift,
    edges_of,
    shares_of,
)
from alpha.registry import Entry, archive, promote, register
from alpha.replay import explained_at, replay

SIM = simulate(12_000, seed=61, levels=1)
SECOND = 10**9


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
