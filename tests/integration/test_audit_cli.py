"""``alpha run --audit``, ``audit``, ``replay`` and ``kill`` through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alpha.audit.frames import Frame
from alpha.audit.read import LogFile, files_of
from alpha.cli.main import main
from alpha.data.simulate import simulate


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any], str]:
    """Exit code, the JSON object (empty without one) and stderr."""
    code = main(list(map(str, words)))
    out, err = capsys.readouterr()
    return code, json.loads(out) if out.startswith("{") else {}, err


@pytest.fixture
def ticks(tmp_path: Path) -> Path:
    """Simulated quotes and trades in the common Parquet form."""
    e = simulate(9000, seed=6, levels=1).events
    quote = e["kind"] == 1
    columns: dict[str, Any] = {"ts": e["ts_recv_ns"], "kind": e["kind"]}
    for j, name in enumerate(("bid", "ask", "bid_size", "ask_size")):
        columns[name] = pa.array(e["v"][:, j], mask=~quote)
    for j, name in enumerate(("last", "last_size", "side")):
        columns[name] = pa.array(e["v"][:, j], mask=quote)
    path = tmp_path / "SIM0.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str], ticks: Path, tmp_path: Path, project_root: Path) -> Path:
    """The audit log of a run."""
    log = tmp_path / "log"
    run = ("run", "--model", "models:/demo/1", "--registry", project_root / "registry.json", "--data", ticks)
    code, plain, _ = call(capsys, *run, "--json")
    assert code == 0
    code, done, err = call(capsys, *run, "--audit", log, "--json")
    assert code == 0, err
    assert done["signals_sha256"] == plain["signals_sha256"] and done["decisions"] > 1000
    assert done["audit"]["dropped"] == 0 and not done["audit"]["blocked"]
    return log


def test_verify_tail_and_explain(capsys: pytest.CaptureFixture[str], logged: Path) -> None:
    code, done, _ = call(capsys, "audit", "verify", logged, "--json")
    assert (code, done["pass"], done["problems"], done["unsealed"]) == (0, True, [], 0)
    code, done, _ = call(capsys, "audit", "tail", logged, "-n", 200, "--json")
    assert len(done["decisions"]) == 200
    acted = [d for d in done["decisions"] if d["action"] != "HOLD"]
    assert acted and all(d["reason"] == "MODEL" and d["instrument"] == "SIM0" for d in acted)
    code, one, _ = call(capsys, "audit", "explain", logged, acted[-1]["seq"], "--json")
    assert code == 0 and one["action"] == acted[-1]["action"] and len(one["features"]) == 10
    assert all({"raw", "normalised", "training_range", "shift"} <= f.keys() for f in one["features"])
    assert max(abs(f["shift"]) for f in one["features"]) > 0.01
    threshold = next(g for g in one["gates"] if g["gate"] == "threshold")
    assert threshold["passed"] and ">=" in threshold["text"] and one["replayed"] == ""
    assert [g["gate"] for g in one["gates"]][:2] == ["killed", "halted"] and "remedy" in one
    file = LogFile.open(files_of(logged)[0])
    event = int(file.headers["seq"][file.of_type(Frame.EVENT)[0]])
    code, _, err = call(capsys, "audit", "explain", logged, event)
    assert code == 2 and "is EVENT, no decision" in err
    code, _, err = call(capsys, "audit", "explain", logged, 10**9)
    assert code == 2 and "has no frame" in err
    for words in (("tail", logged), ("verify", logged), ("explain", logged, acted[-1]["seq"])):
        assert call(capsys, "audit", *words)[0] == 0  # for a person


def test_export_is_the_log_as_tables(capsys: pytest.CaptureFixture[str], logged: Path, tmp_path: Path) -> None:
    code, done, _ = call(capsys, "audit", "export", logged, "--parquet", tmp_path / "out", "--json")
    assert code == 0
    file = LogFile.open(files_of(logged)[0])
    decisions, events = (pq.read_table(tmp_path / "out" / f"{n}.parquet") for n in ("decisions", "events"))
    assert (
        (len(events), len(decisions))
        == (done["events"], done["decisions"])
        == (len(file.of_type(Frame.EVENT)), len(file.of_type(Frame.DECISION)))
    )
    at = len(decisions) // 2
    frame = int(file.of_type(Frame.DECISION)[at])
    want = file.decision(frame)
    row = decisions.slice(at, 1).to_pylist()[0]
    assert row["seq"] == int(file.headers["seq"][frame]) and row["confidence"] == float(want["signal"]["confidence"])
    names = [n for n in decisions.column_names if n.startswith("x_")]
    assert [row[n] for n in names] == [float(v) for v in want["x"]]


def test_damage_is_exit_1_and_replay_refuses(capsys: pytest.CaptureFixture[str], logged: Path) -> None:
    code, done, _ = call(capsys, "replay", logged, "--json")
    assert (code, done["pass"], done["differences"]) == (0, True, 0) and done["events"] > 8000
    path = files_of(logged)[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    code, done, _ = call(capsys, "audit", "verify", logged, "--json")
    assert code == 1 and not done["pass"] and "is damaged" in done["problems"][0]
    code, _, err = call(capsys, "replay", logged)
    assert code == 2 and "alpha audit verify" in err


def test_damage_in_the_middle_is_said_by_tail_and_export(
    capsys: pytest.CaptureFixture[str], logged: Path, tmp_path: Path
) -> None:
    (file,) = files_of(logged)
    whole = file.read_bytes()
    data = bytearray(whole)
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    code, told, err = call(capsys, "audit", "export", logged, "--parquet", tmp_path / "out", "--json")
    assert code == 1 and told["decisions"] > 0 and "damaged and were not read" in err
    code, _, err = call(capsys, "audit", "tail", logged, "--json")
    assert code == 1 and "damaged and were not read" in err
    file.write_bytes(whole[: len(whole) - 7])  # the last frame is still being written
    assert call(capsys, "audit", "tail", logged, "--json")[0] == 0
    assert call(capsys, "audit", "export", logged, "--parquet", tmp_path / "out", "--json")[0] == 1


def test_what_if(capsys: pytest.CaptureFixture[str], logged: Path, project_root: Path) -> None:
    registry = project_root / "registry.json"
    code, done, _ = call(capsys, "replay", logged, "--what-if", "models:/demo_mlp/1", "--registry", registry, "--json")
    assert code == 0 and done["model"] == "demo_mlp/1" and done["compared"] > 1000
    assert main(["replay", str(logged), "--what-if", "models:/HybridPPO/1", "--registry", str(registry)]) == 0
    assert "must be the same kind of event" in capsys.readouterr().out  # it decides on bars


def test_kill_lists_sets_and_takes_back(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALPHA_KILL", raising=False)
    code, _, err = call(capsys, "kill")
    assert code == 2 and "which latch?" in err
    monkeypatch.setenv("ALPHA_KILL", str(tmp_path / "kill"))
    assert call(capsys, "kill", "--model", "demo", "--json")[1]["killed"] == ["model demo"]
    assert call(capsys, "kill", "--json")[1]["killed"] == ["all", "model demo"]
    assert call(capsys, "kill", "--revive", "--json")[1]["killed"] == ["model demo"]
    assert call(capsys, "kill", "--list", "--json")[1]["killed"] == ["model demo"]
