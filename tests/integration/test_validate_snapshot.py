"""alpha validate over a snapshot that training wrote: all of its rows, and no snapshot that is not what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from alpha.cli.main import main
from alpha.data.simulate import simulate
from alpha.models.load import load_artifact
from alpha_training import store

DEMO = Path(__file__).parents[2] / "artifacts" / "demo_mlp" / "v1"


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    made = simulate(6_000, seed=5, n_instruments=2)
    fs = load_artifact(DEMO).feature_set
    lineage = store.Lineage("00" * 32, True, "")
    store.build(fs, lambda: [made.events], made.instruments, lineage, tmp_path / "s", twin="native")
    return tmp_path / "s"


def call(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, dict[str, Any]]:
    code = main(["validate", str(DEMO), *map(str, args), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_every_row_is_judged(snapshot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = json.loads((snapshot / "manifest.json").read_text())
    code, result = call(capsys, "--snapshot", snapshot)
    assert code == 0 and result["pass"] and result["engine"] == "plan" and result["worst"] <= 1e-6
    own = call(capsys, "--data", *_ticks(snapshot.parent))[1]["rows"]
    assert result["rows"] - manifest["rows"] == own - _ready(snapshot.parent) > 0  # beside the artifact's own rows


def _ticks(folder: Path) -> list[Path]:
    e = simulate(700, seed=3, levels=1).events
    quote, v = e["kind"] == 1, e["v"]
    columns = {"bid": 0, "ask": 1, "bid_size": 2, "ask_size": 3}
    table = {"ts": e["ts_event_ns"], "kind": e["kind"], "side": np.where(quote, 0, v[:, 2]).astype(np.int8)}
    table |= {name: np.where(quote, v[:, k], np.nan) for name, k in columns.items()}
    table |= {name: np.where(quote, np.nan, v[:, k]) for name, k in {"last": 0, "last_size": 1}.items()}
    frame = pl.DataFrame(table).with_columns(pl.col(*columns, "last", "last_size").fill_nan(None))
    frame.write_parquet(folder / "ticks.parquet")
    return [folder / "ticks.parquet"]


def _ready(folder: Path) -> int:
    from alpha.data import open_events
    from alpha.features.native import row_maker

    source = open_events(folder / "ticks.parquet")
    rows = row_maker(load_artifact(DEMO).feature_set, source.instruments).rows(source.read_all())
    return int((rows["ready"].all(axis=1) & np.isfinite(rows["values"]).all(axis=1)).sum())


def test_what_is_no_snapshot_of_these_features(snapshot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = json.loads((snapshot / "manifest.json").read_text())
    name = min(manifest["partitions"])
    for change, message in (
        ({"complete": False}, "is not complete"),
        ({"definition_hash": "ab" * 32}, "was made with the definition abab"),
        ({"partitions": {}}, "has no rows"),
        ({"partitions": {"../x.parquet": {"sha256": ""}}}, "lies outside of it"),
        ({"partitions": {"gone.parquet": {"sha256": ""}}}, "partition 'gone.parquet' cannot be read"),
        ({"partitions": {name: {"sha256": "00"}}}, "was altered: its sha256 is not the manifest's"),
        ({"partitions": [name]}, "partitions"),
    ):
        (snapshot / "manifest.json").write_text(json.dumps({**manifest, **change}))
        code, result = call(capsys, "--snapshot", snapshot)
        assert code == 2 and message in result["error"], result
    code, result = call(capsys, "--snapshot", snapshot / "nowhere")
    assert code == 2 and "is no snapshot" in result["error"]
    for more in ([], ["--snapshot", snapshot, "--data", "x.parquet"]):
        code, result = call(capsys, *more)
        assert code == 2 and "either --data FILE or --snapshot DIR" in result["error"]
