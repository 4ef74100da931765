"""What a look tells of a runtime is what the runtime says of itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from watched import demo_with_limits, scraped, served, status

import alpha
from alpha.cli import run as stream
from alpha.cli.top import address, alarms, tables
from alpha.data.simulate import simulate
from alpha.errors import AlphaError
from alpha.events import Action, Control, Kind, Reason
from alpha.latency import bin_upper_ns
from alpha.registry import archive
from alpha.watch import serve
from alpha.watch.look import LATENCY_NS, Looker

pytestmark = pytest.mark.filterwarnings("ignore::alpha.errors.AlphaWarning")
SIM = simulate(6_000, seed=17)
KEEP = 5


def test_the_document_is_what_the_runtime_says() -> None:
    with served(instruments=SIM.instruments) as rt:
        rt.measure_latency()
        signals = rt.run(SIM.events)
        told, stats = Looker(rt).look(), rt.stats()
        assert told["counters"]["events"] == stats["events"] == len(SIM.events)
        assert {r["name"]: r["count"] for r in told["reasons"]} == stats["reasons"]
        assert told["counters"]["actions"] == stats["actions"]
        (model,) = told["models"]
        assert (model["seat"], model["name"], model["sha256"]) == ("demo", "demo/1", rt.model_sha256)
        assert model["decisions"] == len(signals) and model["engine"] == stats["engine"]
        last = told["instruments"][0]["latest"]
        assert last["event_index"] == int(signals[-1]["event_index"])
        assert np.float32(last["confidence"]) == signals[-1]["confidence"]
        assert told["mode"] == "inline" and not told["kill"]["killed"]
    assert Looker(rt).look()["mode"] == "closed"


def test_features_stand_beside_their_training_ranges(tmp_path: Path) -> None:
    with alpha.Runtime.from_artifact(demo_with_limits(tmp_path), instruments=SIM.instruments) as rt:
        looker = Looker(rt)
        assert looker.look()["features"] == {} and "no row" in looker.look()["features_why"]
        rt.run(SIM.events)
        told = looker.look()
        shown, row = told["features"]["demo"], rt.feature_vector("SIM0")
        reference = rt.bundle.metadata.reference  # type: ignore[union-attr]
        assert row is not None and [f["raw"] for f in shown] == row.tolist()
        for f, low, high, value in zip(shown, reference.min, reference.max, row.tolist(), strict=True):
            assert (f["low"], f["high"], f["ready"]) == (low, high, True)
            assert f["outside"] == (value < low or value > high)
        # a row far away from training, and one that is no number
        names = list(rt.feature_names)
        far = row.copy()
        far[names.index("zscore_50")], far[0] = 1e6, np.nan
        rt.on_features("SIM0", int(SIM.events["ts_event_ns"][-1]) + 10**9, far)
        by_name = {f["name"]: f for f in looker.look()["features"]["demo"]}
        assert by_name["zscore_50"]["outside"] and by_name[names[0]]["outside"]
        checks = told["instruments"][0]["checks"]["demo"]
        seen = rt._pipeline.watched(0)
        assert checks["distance"] == seen["distance"] and checks["psi"] == seen["psi"]
        assert checks["psi_feature"] == names[seen["psi_feature"]] and checks["psi"] > 0
        text = json.dumps(tables(told))
        assert "zscore_50" in text and "features of demo on SIM0" in text


@pytest.mark.parametrize("own", [False, True])
def test_a_look_is_the_row_itself(own: bool) -> None:
    with served(instruments=SIM.instruments) as rt:
        before = rt.look("SIM0")
        assert before is not None and before["features"] is None and before["rows"] == 0
        for e in SIM.events[:150]:
            rt.on_event(e)
        if own:
            rt.on_features("SIM0", int(SIM.events["ts_event_ns"][150]), np.arange(10, dtype=np.float32))
        row, seen = rt._pipeline.features(0), rt.look("SIM0")
        assert row is not None and seen is not None
        assert np.array_equal(seen["features"], row[0], equal_nan=True) and np.array_equal(seen["ready"], row[1])
        assert seen["ready"].all() == own  # 150 events do not warm the slow features
        assert seen["row_ts_ns"] == row[2] and seen["rows"] == rt.stats()["rows"]
        with pytest.raises(AlphaError, match="unknown"):
            rt.look("NOBODY")


def test_a_worker_that_waits_shows_its_row() -> None:
    with served(instruments=SIM.instruments) as rt:
        rt.run(SIM.events)
        expected = rt.feature_vector("SIM0")
    with served(instruments=SIM.instruments) as rt, rt.start(overrun="refuse") as worker:
        at = 0
        while at < len(SIM.events):
            at += worker.push_many(SIM.events[at : at + 1000])
            worker.poll_many()
        while worker.processed < len(SIM.events):
            pass
        seen = rt.look("SIM0", wait_s=60)
        assert seen is not None and np.array_equal(seen["features"], expected)
        told = Looker(rt).look()
        assert told["mode"] == "worker" and told["worker"]["processed"] == len(SIM.events)


def test_several_models_each_by_its_place() -> None:
    desk = {"main": "models:/demo/1", "quiet": alpha.Model("models:/demo/1", mode="shadow")}
    two = simulate(6_000, seed=18, n_instruments=2)
    with served(desk, instruments=two.instruments) as rt:
        rt.run(two.events)
        rt.kill("quiet only", model="quiet")
        told, stats = Looker(rt).look("SIM1"), rt.stats()
        assert [m["seat"] for m in told["models"]] == ["main", "quiet"]
        assert [m["killed"] for m in told["models"]] == [False, True] and told["kill"]["models"] == ["quiet"]
        for m in told["models"]:
            assert m["decisions"] == stats["models"][m["seat"]]["decisions"]
            assert [f["raw"] for f in told["features"][m["seat"]]] == rt.feature_vector("SIM1").tolist()  # type: ignore[union-attr]
        assert told["models"][1]["emitted"] == 0
        assert set(told["instruments"][1]["models"]) == {"main", "quiet"}
        assert "killed: quiet" in alarms(told)


def test_halts_kills_and_a_closed_runtime_are_told() -> None:
    with served(instruments=SIM.instruments) as rt:
        rt.run(SIM.events[:2_000])
        halt = SIM.events[1_999:2_000].copy()
        halt["kind"], halt["v"] = Kind.CONTROL, 0.0
        halt["v"][0, 0] = Control.HALT
        rt.run(halt)
        rt.kill("by hand")
        looker = Looker(rt)
        told = looker.look()
        assert told["kill"]["halted"] == ["SIM0"] and told["kill"]["why"] == "by hand"
        assert told["instruments"][0]["latest"]["reason"] == "KILLED"
        assert alarms(told)[:2] == ["KILLED by hand", "halted: SIM0"]
    assert "closed" in alarms(looker.look())


def test_signals_are_kept_as_they_were_made() -> None:
    with served(instruments=SIM.instruments) as rt, serve(rt, 0, keep=KEEP) as server:
        signals = rt.run(SIM.events)
        for part in np.array_split(signals, 7):
            server.note(part)
        told = status(server)
        newest = signals[::-1][:KEEP]
        assert told["signals_complete"]
        assert [s["event_index"] for s in told["signals"]] == newest["event_index"].tolist()
        assert [s["reason"] for s in told["signals"]] == [Reason(int(r)).name for r in newest["reason"]]
        acted = signals[signals["action"] != Action.HOLD][::-1][:KEEP]
        assert [s["event_index"] for s in told["acted"]] == acted["event_index"].tolist()
        assert {s["action"] for s in told["acted"]} <= {"BUY", "SELL"}


def test_without_being_handed_over_signals_are_what_each_look_found() -> None:
    with served(instruments=SIM.instruments) as rt:
        looker, seen = Looker(rt, keep=KEEP), []
        for part in np.array_split(SIM.events[3_000:], 8):
            seen.append(int(rt.run(part)[-1]["event_index"]))
            told = looker.look()
        assert [s["event_index"] for s in told["signals"]] == seen[::-1][:KEEP] and not told["signals_complete"]


def test_latency_buckets_are_counted_and_not_estimated() -> None:
    with served(instruments=SIM.instruments) as rt:
        assert Looker(rt).look()["latency"] == {"measured": False}
        rt.measure_latency()
        signals = rt.run(SIM.events)
        counts, _ = rt.latency_counts()
        told = Looker(rt).look()["latency"]
    assert counts is not None
    upper = bin_upper_ns(len(counts))
    assert set(LATENCY_NS) <= set(upper.tolist())
    assert told["buckets"] == [int(counts[upper <= ns].sum()) for ns in LATENCY_NS]
    assert told["count"] == len(signals)
    lowest = float((counts * np.concatenate([[0], upper[:-1] + 1])).sum())
    assert lowest <= told["sum_ns"] <= float((counts * upper).sum())


def test_the_registry_is_read_and_a_newer_production_named(tmp_path: Path, project_root: Path) -> None:
    import shutil

    shutil.copy(project_root / "registry.json", tmp_path)
    shutil.copytree(project_root / "artifacts/demo", tmp_path / "artifacts/demo")
    file = tmp_path / "registry.json"
    with alpha.Runtime.from_registry(file, "models:/demo/1", instruments=["SIM0"]) as rt:
        looker = Looker(rt, registry=file)
        told = looker.look()
        assert (told["models"][0]["status"], told["models"][0]["production"]) == ("production", "demo/1")
        revision = told["registry"]["revision"]
        archive(file, "models:/demo/1", by="somebody")
        told = looker.look()
        assert told["models"][0]["status"] == "archived" and told["registry"]["revision"] == revision + 1
        file.write_text("{")
        told = looker.look()
        assert told["registry"]["revision"] is None and "registry.json" in told["registry"]["why"]


def test_looking_leaves_every_byte_as_it_is() -> None:
    def state_after(looks: bool) -> tuple[bytes, bytes]:
        with served(instruments=SIM.instruments) as rt:
            looker, parts = Looker(rt), []
            for part in np.array_split(SIM.events, 40):
                parts.append(rt.run(part).tobytes())
                if looks:
                    looker.look()
            return b"".join(parts), rt.save_state()

    assert state_after(True) == state_after(False)


def test_a_look_does_not_roll_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(instruments=SIM.instruments) as rt:
        asked: list[Any] = []
        monkeypatch.setattr(rt._serving, "tend", asked.append)
        Looker(rt).look()
        assert asked == []
        rt.stats()
        assert len(asked) == 1


@pytest.mark.parametrize(
    ("wrong", "match"),
    [({"keep": 0}, "1 to 1000"), ({"instruments": 0}, "1 to 4096")],
)
def test_what_cannot_be_kept_is_refused(wrong: dict[str, int], match: str) -> None:
    with served(instruments=["SIM0"]) as rt, pytest.raises(AlphaError, match=match):
        Looker(rt, **wrong)


def test_more_instruments_than_are_shown() -> None:
    many = simulate(2_000, seed=2, n_instruments=5)
    with served(instruments=many.instruments) as rt:
        looker = Looker(rt, instruments=2)
        told = looker.look()
        assert [i["symbol"] for i in told["instruments"]] == ["SIM0", "SIM1"] and told["instruments_not_shown"] == 3
        with pytest.raises(AlphaError, match="SIM4"):
            looker.look("SIM4")


def test_the_package_imports_no_server_and_no_client_library() -> None:
    code = (
        "import alpha, sys; print([m for m in sys.modules if m.startswith(('prometheus', 'alpha.watch', 'wsgiref'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_stream_is_paced_by_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(stream.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(stream.time, "sleep", lambda s: now.__setitem__(0, now[0] + s))
    events = SIM.events[:2_000].copy()
    events["ts_recv_ns"] = 0
    events["ts_event_ns"] = np.arange(2_000) * 10**7  # 20 s in all
    events["ts_event_ns"][1_000:] += 3_600 * 10**9  # and an hour of nothing
    parts = list(stream.paced(np.array_split(events, 3), 2.0))
    assert np.concatenate(parts).tobytes() == events.tobytes()
    assert len(parts) > 50 and 20 / 2.0 <= now[0] - 100.0 <= 20 / 2.0 + 1.5  # of the hour one second


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("9464", "http://127.0.0.1:9464/"),
        ("box:1", "http://box:1/"),
        ("http://a/b", "http://a/b/"),
        ("https://[::1]:9/", "https://[::1]:9/"),
    ],
)
def test_addresses(text: str, url: str) -> None:
    assert address(text) == url


@pytest.mark.parametrize("text", ["ftp://x/", "http://", "x:99999", "http://[", ""])
def test_no_addresses(text: str) -> None:
    with pytest.raises(AlphaError, match="is no address"):
        address(text)


def test_an_ensemble_has_a_place_and_no_model_of_its_own() -> None:
    desk = alpha.Desk(
        {"a": "models:/demo/1", "b": "models:/demo/1"},
        {"both": alpha.Ensemble({"a": 1.0, "b": 1.0}, "mean", threshold=0.6)},
    )
    with served(desk, instruments=SIM.instruments) as rt, serve(rt, 0) as server:
        rt.run(SIM.events)
        told = status(server)
        assert [m["seat"] for m in told["models"]] == ["a", "b", "both"]
        both = told["models"][2]
        assert (both["ensemble"], both["sha256"], both["engine"]) == ("mean", "", "ensemble")
        assert both["decisions"] == rt.stats()["models"]["both"]["decisions"] > 0
        assert set(told["features"]) == {"a", "b"}
        assert {s["slot"] for s in told["signals"]} <= {0, 1, 2}
        assert scraped(server)["alpha_model_emitted_total", (("model", "both"),)] == both["emitted"]
        assert [row[0] for row in tables(told)[1][2]] == ["a", "b", "both"]
