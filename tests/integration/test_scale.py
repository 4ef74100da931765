"""Backtests, snapshots, walk-forward and validation over two real worker processes: equal to one process, bit for bit."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import clusters
import numpy as np
import pytest
from clusters import tick_file

from alpha.backtest.job import Job
from alpha.backtest.sweep import sweep
from alpha.backtest.walkforward import walk_forward
from alpha.cli.main import main
from alpha.distribution import Cluster, connected
from alpha.engine import validate
from alpha.features import catalog, days
from alpha.features.feature_set import FeatureSet
from alpha.instruments import Instrument
from alpha.models.load import load_artifact
from alpha_training import recipe, snapshot, spread, store
from alpha_training.walkforward import walk

pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::alpha.errors.AlphaWarning")


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    with connected("local:2") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    file = tick_file(tmp_path_factory.mktemp("ticks") / "SIM0.parquet", 6_000, days=6)
    return Job(("SIM0",), "random", {"every": "5s"}, (Instrument(symbol="SIM0", source="inferred"),), ((str(file),),))


TRIED = [{"seed": "1"}, {"seed": "2"}, {"seed": "3"}]


def test_a_sweep_by_workers_is_the_sweep(job: Job, pair: Cluster) -> None:
    alone = sweep(job, TRIED, processes=1)
    ticks: list[int] = []
    assert sweep(job, TRIED, cluster=pair, progress=ticks.append) == alone and sum(ticks) == 3
    assert len({r["equity_end"] for r in alone}) == 3 and all(r["fills"] for r in alone)


def test_walking_forward_by_workers_chooses_and_earns_the_same(job: Job, pair: Cluster) -> None:
    alone = walk_forward(job, TRIED[:2], 2, processes=1)
    assert walk_forward(job, TRIED[:2], 2, cluster=pair) == alone
    assert len(alone["folds"]) == 2 and alone["performance"]["sharpe"] is not None


def test_the_command_line_says_what_a_worker_says(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["backtest", "SIM0", "--data", job.files[0][0], "--strategy", "random", "--json", "--scheduler"]
    assert main([*args, "local:2"]) == 2
    assert "a single one is one task" in json.loads(capsys.readouterr().out)["error"]
    assert main([*args, "http://there", "--sweep", "seed=1:2"]) == 2
    assert "tcp://HOST:PORT" in json.loads(capsys.readouterr().out)["error"]


RECIPE = """
features = "demo"
assumptions = ["a test"]
data = {{ simulate = {{ n_events = {n}, n_instruments = 3, seed = 5 }} }}
labels = {{ horizon = "1s" }}
[[models]]
id = "m"
kind = "logistic"
"""


def spread_over(pair: Cluster, fs: FeatureSet, folder: Path, n: int) -> tuple[snapshot.Source, spread.Spread]:
    (folder / "r.toml").write_text(RECIPE.format(n=n))
    made = recipe.load(folder / "r.toml")
    source = snapshot.read(made, folder)
    return source, spread.Spread(pair, spread.Reading.of(made, folder, source), fs, source)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


PEERS = FeatureSet.from_dict(
    {
        "trigger": "quote",
        "features": {
            "far": 'of("SIM1", mid) / mid',
            "trend": "ema(mid, span=200) - mid",
            "place": "rank(mid, 60)",
            "slow": 'mean(spread, "5s")',
        },
    }
)


SESSIONS = FeatureSet.from_dict(
    {
        "trigger": "quote",
        "stream": {"session_break": "session", "calendar": "24/7", "guard": {"outlier": 1.5}},
        "features": {"trend": "ema(mid, span=200) - mid", "place": "rank(mid, 60)", "flow": "cumsum(ofi)"},
    }
)


@pytest.mark.parametrize("fs", [catalog.get("demo"), PEERS, SESSIONS], ids=["demo", "peers", "sessions"])
def test_a_snapshot_by_workers_is_the_same_files(
    fs: FeatureSet, pair: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CHUNK_EVENTS", 1_000)  # three steps of each chain
    source, workers = spread_over(pair, fs, tmp_path, 10_000)
    lineage = store.Lineage(source.sha256, True, "")
    manifests = [
        store.build(
            fs,
            lambda: [source.events],
            source.instruments,
            lineage,
            tmp_path / name,
            segment_events=4_000,
            workers=by,
        )
        for name, by in (("here", None), ("there", workers))
    ]
    assert manifests[0] == manifests[1] and manifests[0]["rows"] > 1_000
    assert tree(tmp_path / "here") == tree(tmp_path / "there")
    assert len(workers._groups()) == (1 if fs is PEERS else 3)
    assert days.divides(fs, source.events) == (fs is SESSIONS)


def test_a_worker_killed_midway_changes_no_byte(pair: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHUNK_EVENTS", 1_000)
    fs = catalog.get("spec")
    source, workers = spread_over(pair, fs, tmp_path, 24_000)
    lineage, killed = store.Lineage(source.sha256, True, ""), []

    def say(text: str) -> None:
        """After the second segment of the certificate, and once more among the rows, somebody dies."""
        if text == "certificate: 4,000 events compared" or (text.startswith("snapshot") and len(killed) == 1):
            victim = next(pair.map(clusters.pid, [len(killed)]))
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

    for name, by in (("here", None), ("there", workers)):
        store.build(
            fs,
            lambda: [source.events],
            source.instruments,
            lineage,
            tmp_path / name,
            segment_events=2_000,
            workers=by,
            say=(lambda text: None) if by is None else say,
        )
    assert len(killed) == 2 and killed[0] != killed[1]
    assert tree(tmp_path / "here") == tree(tmp_path / "there")


def test_a_verdict_by_workers_is_the_verdict(pair: Cluster) -> None:
    loaded = load_artifact(Path(__file__).parents[2] / "artifacts" / "demo_mlp" / "v1")
    rng = np.random.default_rng(3)
    parts = [rng.standard_normal((n, 10)).astype(np.float32) for n in (500, 1, 3_000, 0, 250)]
    alone = validate(loaded, parts)
    assert validate(loaded, parts, cluster=pair) == alone
    assert alone.verdict.good and alone.verdict.rows > 3_751 and alone.verdict.worst > 0.0


@pytest.mark.slow
def test_a_walk_forward_by_workers_is_the_same_file(pair: Cluster, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(RECIPE.format(n=16_000) + "[split]\nfolds = 3\n")
    for name, by in (("here", None), ("there", pair)):
        walk(tmp_path / "r.toml", run_dir=tmp_path / name, cluster=by)
    here, there = (tree(tmp_path / n) for n in ("here", "there"))
    assert here["walkforward.json"] == there["walkforward.json"] and b"net_sharpe" in here["walkforward.json"]
    assert {k: v for k, v in there.items() if k != "prepared.npz"} == here
