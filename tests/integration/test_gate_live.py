"""The gate's checks and its threshold where they live: in a runtime, and replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gated import MIDS, RAW, artifact, quotes, reasons, served

import alpha
from alpha.audit import AuditLog
from alpha.data.simulate import simulate
from alpha.errors import AlphaError, ModelError
from alpha.events import EVENT_DTYPE, Kind
from alpha.instruments import Instrument, Instruments
from alpha.models import metadata
from alpha.models.limits import (
    Distance,
    Limits,
    Ranges,
    Shift,
    edges_of,
    shares_of,
)
from alpha.replay import replay
from alpha.sessions import session_table

SIM = simulate(12_000, seed=61, levels=1)
SECOND = 10**9


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
