"""``docs/reasons.md`` is what the table of reasons says, and the table names every reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alpha.cli.main import main
from alpha.events import Reason
from alpha.reasons import COMMAND, REASONS, page


def test_every_reason_is_told_in_the_order_of_its_number() -> None:
    assert list(REASONS) == sorted(Reason)
    for reason, told in REASONS.items():
        assert len(told.meaning) > 10 and len(told.remedy) > 10, reason.name
    assert len({told.meaning for told in REASONS.values()}) == len(REASONS)


def test_the_numbers_are_those_of_the_header(project_root: Path) -> None:
    text = (project_root / "alpha/_core/include/alpha_types.h").read_text()
    found = re.search(r"enum alpha_reason \{(.*?)\};", text, re.S)
    assert found is not None
    numbers = {int(n) for name, n in re.findall(r"ALPHA_(\w+) = (\d+)", found[1]) if name != "REASONS"}
    assert numbers == {int(r) for r in Reason}


def test_the_committed_page_is_up_to_date(project_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    committed = (project_root / "docs" / "reasons.md").read_text(encoding="utf-8")
    assert committed == page(), f"docs/reasons.md is out of date: {COMMAND}"
    assert main(COMMAND.split(" > ")[0].split()[1:]) == 0
    assert capsys.readouterr().out == page()
    for name in ("README.md", "docs/operations.md"):
        assert "reasons.md" in (project_root / name).read_text(encoding="utf-8"), name


def test_reasons_stand_alone_and_explain_needs_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "models:/demo/1", "--reasons"]) == 2
    assert "stands alone" in capsys.readouterr().err
    assert main(["explain"]) == 2
    assert "name the data" in capsys.readouterr().err
