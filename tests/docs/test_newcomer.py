"""Two places where somebody new stumbled while following the tutorial: the message says what to do."""

from __future__ import annotations

from pathlib import Path

import given
import pytest

from alpha.cli.main import main
from alpha_training.cli import complaints


def test_a_table_that_nobody_named_is_named_by_the_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given.make("trades.csv", tmp_path)
    (tmp_path / "instruments.toml").write_text('[[instrument]]\nsymbol = "QQQ"\n[[instrument]]\nsymbol = "SPY"\n')
    how = ["--column", "ts=time", "--ts-unit", "ms"]
    assert main(["data", str(tmp_path / "trades.csv"), *how]) == 2
    told = capsys.readouterr().err
    assert "unknown instrument 'trades'; known: QQQ, SPY; these are declared in " in told
    assert f"{tmp_path / 'instruments.toml'}, which lies beside the data" in told and "--instrument" in told
    assert main(["data", str(tmp_path / "trades.csv"), *how, "--instrument", "QQQ"]) == 0
    capsys.readouterr()
    # a table that was named needs no explanation
    table = ["--instruments", str(tmp_path / "instruments.toml")]
    assert main(["data", str(tmp_path / "trades.csv"), *how, *table]) == 2
    assert "lies beside" not in capsys.readouterr().err


def test_an_uncommitted_definition_says_what_to_do() -> None:
    check = {"name": "definition_committed", "value": 0.0, "limit": 1.0, "passed": False, "waived": False}
    (told,) = complaints("mine", 1, [check])
    assert "git status" in told and "commit or ignore" in told
    assert told.endswith("it is registered as a candidate and cannot be promoted")
    (other,) = complaints("mine", 1, [{**check, "name": "auc", "value": 0.4}])
    assert "git" not in other
