"""A desk of several models through the command line."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from test_audit_cli import call, ticks

from alpha.cli.main import main

__all__ = ["ticks"]  # a fixture


def test_the_command_line_serves_a_desk(
    ticks: Path,
    tmp_path: Path,
    project_root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    desk, log = tmp_path / "desk.toml", tmp_path / "log"
    desk.write_text(
        """
[models]
a = { uri = "models:/demo/1", mode = "shadow" }
b = { uri = "models:/demo_mlp/1", mode = "shadow" }
[ensembles.both]
members = { a = 1, b = 1 }
"""
    )
    data = ("--data", ticks, "--registry", project_root / "registry.json", "--json")
    code, result, err = call(capsys, "run", "--desk", desk, "--audit", log, "--signals", tmp_path / "s.parquet", *data)
    assert code == 0, err
    told = result["models"]
    assert result["decisions"] == told["both"]["emitted"] > 1000 and told["a"]["emitted"] == 0
    assert set(pq.read_table(tmp_path / "s.parquet")["model_slot"].to_pylist()) == {2}

    code, whole, _ = call(capsys, "explain", "--desk", desk, *data)
    assert code == 0 and [m["model"] for m in whole["members"]] == ["a", "b"]
    code, one, _ = call(capsys, "explain", "--desk", desk, "--seat", "a", *data)
    assert code == 0 and one["model"] == "demo/1"
    code, refused, _ = call(capsys, "explain", "--seat", "a", *data)
    assert code == 2 and "by its URI" in str(refused)

    code, found, _ = call(capsys, "replay", log, "--json")
    assert code == 0 and found["pass"]
    code, tail, _ = call(capsys, "audit", "tail", log, "-n", 3, "--json")
    assert [(r["model_slot"], r["emitted"]) for r in tail["decisions"]] == [(0, False), (1, False), (2, True)]
    code, taken, _ = call(capsys, "audit", "explain", log, tail["decisions"][2]["seq"], "--json")
    assert code == 0 and taken["seat"] == "both" and taken["emitted"]
    code, _, err = call(capsys, "audit", "export", log, "--parquet", tmp_path / "out", "--json")
    assert code == 0, err
    table = pq.read_table(tmp_path / "out" / "decisions.parquet")
    assert set(table["model"].to_pylist()) == {"demo/1", "demo_mlp/1", "both"}
    assert "x_both.a.BUY" in table.column_names and sum(table["emitted"].to_pylist()) == result["decisions"]
    main(["run", "--desk", str(desk), "--data", str(ticks), "--registry", str(project_root / "registry.json")])
    assert "both" in capsys.readouterr().out
