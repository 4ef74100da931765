"""``docs/operators.md`` is what the operator table says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alpha.cli.main import main
from alpha.features.handbook import COMMAND, FIELD_MEANINGS, page, signature
from alpha.features.language import f, parse
from alpha.features.macros import builtin_macros
from alpha.features.operators import BAR_FIELDS, BAR_SOURCES, CLOCK_BARS, OPERATORS
from alpha.features.units import text, unit_of

LINES = page().splitlines()


def test_the_committed_page_is_up_to_date(project_root: Path) -> None:
    committed = (project_root / "docs" / "operators.md").read_text(encoding="utf-8")
    assert committed == page(), f"docs/operators.md is out of date: {COMMAND}"


def test_the_command_prints_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(COMMAND.split(" > ")[0].split()[1:]) == 0
    assert capsys.readouterr().out == page()
    for wrong in (["features", "--markdown"], ["features", "--operators", "--markdown", "--json"]):
        assert main(wrong) == 2
        assert "--markdown goes with --operators alone" in capsys.readouterr().err


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_has_one_line(name: str) -> None:
    op = OPERATORS[name]
    (line,) = [x for x in LINES if x.startswith(f"| `{signature(op)}` |")]
    cells = re.split(r"(?<!\\)\|", line)[1:-1]
    assert len(cells) == 7 and op.cost in cells[4] and op.source in cells[6]
    assert cells[1].strip().replace("\\|", "|").startswith(op.meaning)
    missing = [p.name for p in op.params if p.name not in cells[0] and p.name != "reset"]
    assert not missing


def test_every_macro_and_every_bar_is_there() -> None:
    whole = page()
    for macro in builtin_macros().values():
        assert f"| `{macro.signature()}` | {macro.doc} |" in whole, macro.name
    assert list(FIELD_MEANINGS) == list(BAR_FIELDS)
    for field, (_, unit) in FIELD_MEANINGS.items():
        of_table = text(unit_of(getattr(f.tick_bar(5), field)))
        assert of_table == {"ratio": "a number"}.get(unit, unit), field
        assert f"| `.{field}` |" in whole
    for name in (*CLOCK_BARS, *(f'bar(interval, "{s}")' for s in BAR_SOURCES)):
        assert f"`{name}" in whole


def test_no_line_of_a_table_is_broken() -> None:
    columns = 0
    for line in LINES:
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not columns or cells in (0, columns), line
        columns = cells


def test_its_examples_are_expressions() -> None:
    for line in LINES:
        cells = re.split(r"(?<!\\)\|", line)[1:-1]
        if len(cells) == 7 and cells[5].strip().startswith("`"):
            parse(cells[5].strip().strip("`"))
