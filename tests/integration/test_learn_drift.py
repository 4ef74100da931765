"""The whole story on the simulator, over several seeds: a model is trained and promoted, the market turns, the log teaches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import learned
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import alpha
from alpha.audit import AuditLog
from alpha.cli.main import main
from alpha.data.simulate import simulate
from alpha.events import Kind
from alpha.registry import load, promote, verify
from alpha_training.learn.learn import learn
from alpha_training.train import train

pytestmark = pytest.mark.slow

TRAIN, LOG, JUDGE = 46_000, 46_000, 40_000
RECIPE = """
seed = {seed}
features = "demo"
assumptions = ["the market is simulated"]
[data]
simulate = {{ n_events = {n}, turn = "{turn}" }}
max_events = {train}
[labels]
horizon = "2s"
[costs]
spread_share = 0.1
fee_bp = 0.05
[gates]
lookahead_cuts = 1
[[models]]
id = "m"
kind = "{kind}"
owner = "alpha"
"""


def files_of(events: npt.NDArray[Any], folder: Path) -> list[str]:
    """Trades and quotes as Parquet."""
    out = []
    for name, kind, columns in (
        ("trades", Kind.TRADE, ("px", "qty", "side")),
        ("quotes", Kind.QUOTE, ("bid_px", "ask_px", "bid_qty", "ask_qty")),
    ):
        own = events[events["kind"] == kind]
        table = {"ts": own["ts_event_ns"], "ts_recv": own["ts_recv_ns"]}
        table |= {c: own["v"][:, j] for j, c in enumerate(columns)}
        out.append(str(folder / f"{name}.parquet"))
        pq.write_table(pa.table({n: pa.array(v) for n, v in table.items()}), out[-1])
    return out


@pytest.mark.parametrize(
    ("seed", "kind", "mode"),
    [(1, "logistic", "head"), (2, "mlp", "head"), (3, "logistic", "refit"), (5, "forest", "head")],
)
def test_the_candidate_beats_the_stale_production_model(
    seed: int, kind: str, mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    n = TRAIN + LOG + JUDGE
    turn = f"{TRAIN // 1.6 * 0.04:.0f}s"  # 1.6 events a step of 40 ms: where training ends
    (tmp_path / "registry.toml").write_text('[policy]\ndefinition_commit = "optional"\n')
    recipe, file = tmp_path / "m.toml", tmp_path / "registry.json"
    recipe.write_text(RECIPE.format(seed=seed, n=n, turn=turn, train=TRAIN, kind=kind))
    (made,) = train(recipe, file, run_dir=tmp_path / "train").models
    promote(
        file,
        "models:/m/1",
        approver="Ada",
        waive={c["name"]: "a test" for c in made.checks if not c["passed"]},
    )
    stream = simulate(n, seed, turn=turn)
    table, events = stream.instruments, stream.events
    log = AuditLog(tmp_path / "log", policy="wait")
    with alpha.Runtime.from_registry(file, "models:/m@production", instruments=table, audit=log) as rt:
        rt.run(events[TRAIN : TRAIN + LOG])
    entry = load(file).resolve("models:/m@production")
    folder = load(file).artifact_dir(entry)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    words = ["learn", str(tmp_path / "log"), "--recipe", str(recipe), "--registry", str(file), "--mode", mode]
    words += ["--run-dir", str(tmp_path / "run"), "--judge", *files_of(events[TRAIN + LOG :], tmp_path), "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)["comparison"]
    assert told["loss"]["low"] > 0 and told["net_bp"]["low"] > 0 and told["verdict"] == "better"
    assert told["models"]["candidate"]["log_loss"] < told["models"]["production"]["log_loss"]
    assert told["rows"] > 20_000
    after = load(file)
    assert after.resolve("models:/m@production") == entry
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert after.resolve("models:/m/2").status == "candidate" and verify(file)[1] == []


@pytest.mark.parametrize("mode", ["head", "refit"])
def test_without_a_drift_no_candidate_is_called_better(mode: str, project_root: Path, tmp_path: Path) -> None:
    """demo was trained on many times as many rows as a log of 40 minutes holds: nothing is to be gained."""
    for seed in (11, 12, 14):
        folder = tmp_path / str(seed)
        file = learned.registry(folder, project_root)
        log = learned.served(file, learned.a_day_later(simulate(60_000, seed)), folder / "log")
        recipe = project_root / "training" / "recipes" / "demo.toml"
        done = learn([log], recipe, file, model=learned.URI, mode=mode, run_dir=folder / "run")
        assert done.comparison.verdict != "better", seed


def test_the_same_log_gives_the_same_bytes(project_root: Path, tmp_path: Path) -> None:
    file = learned.registry(tmp_path, project_root)
    log = learned.served(file, learned.a_day_later(simulate(36_000, 11, turn="1s")), tmp_path / "log")
    recipe = project_root / "training" / "recipes" / "demo.toml"
    for mode in ("head", "refit"):
        made = [
            learn([log], recipe, file, model=learned.URI, mode=mode, run_dir=tmp_path / "run").trained.artifact
            for _ in range(2)
        ]
        for name in ("model.onnx", "probes.npy", "lineage.json", "scores.png"):
            assert (made[0] / name).read_bytes() == (made[1] / name).read_bytes(), name


def test_killed_midway_it_leaves_production_alone(project_root: Path, tmp_path: Path) -> None:
    file = learned.registry(tmp_path, project_root)
    log = learned.served(file, learned.a_day_later(simulate(36_000, 11, turn="1s")), tmp_path / "log")
    before = learned.production_of(file)
    words = ["learn", str(log), "--recipe", str(project_root / "training/recipes/demo.toml"), "--model", learned.URI]
    words += ["--registry", str(file), "--run-dir", str(tmp_path / "run"), "--set", "gates.lookahead_cuts=1"]
    for stage in ("rows of", "auditing", "comparing with production", "registering the candidate"):
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; from alpha.cli.main import main; sys.exit(main(sys.argv[1:]))", *words],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert child.stderr is not None
        seen = []
        for text in child.stderr:
            if stage in text:
                seen.append(text)
                child.send_signal(signal.SIGKILL)
                break
        child.stderr.close()
        assert seen and child.wait() == -signal.SIGKILL
        assert learned.production_of(file) == before
        assert verify(file)[1] == []
        assert {e.status for e in load(file).document.models if e.id == "demo" and e.number > 1} <= {"candidate"}
    assert main(words) == 0  # and it can be done again
    assert learned.production_of(file) == before
