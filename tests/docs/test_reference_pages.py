"""docs/reference/ is what its program writes, and the examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent
PROGRAM = PROJECT / "docs" / "reference" / "generate.py"
WRITTEN = {path.name: path.read_text(encoding="utf-8") for path in PROGRAM.parent.glob("*.md")}


def test_the_committed_pages_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, str(PROGRAM), "--check"], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}: python docs/reference/generate.py"


def test_a_changed_page_is_found(tmp_path: Path) -> None:
    program = runpy.run_path(str(PROGRAM))
    made = program["pages"]()
    assert {name for name in made if "/" not in name} == set(WRITTEN)
    for folder in ("reference", "decisions"):
        (tmp_path / folder).mkdir()
    program["main"].__globals__["HERE"] = tmp_path / "reference"
    assert program["main"](False) == 0 and program["main"](True) == 0
    page = tmp_path / "reference" / "risk.md"
    page.write_text(page.read_text().replace("Fill", "Filled", 1))
    assert program["main"](True) == 1


@pytest.mark.parametrize(
    "module", ["alpha", "alpha.strategies", "alpha.risk", "alpha.audit", "alpha.registry", "alpha.data"]
)
def test_every_public_name_has_its_place(module: str) -> None:
    page = WRITTEN[f"{module.rpartition('.')[2]}.md"]
    for name in importlib.import_module(module).__all__:
        heading = f"## {name}".replace("__", r"\_\_") if name.startswith("__") else f"## {name}"
        assert f"\n{heading}\n" in page, f"{module}.{name}"


def test_every_verb_and_option_has_its_place() -> None:
    page = WRITTEN["cli.md"]
    from alpha.cli import main

    for verb in (*main.VERBS, *main.TRAINING_VERBS):
        assert f"\n## alpha {verb}\n" in page, verb
    told = subprocess.run([sys.executable, "-m", "alpha", "run", "--help"], capture_output=True, text=True, check=True)
    options = {word.strip(",[]:;.") for word in told.stdout.split() if word.startswith(("--", "[--"))} - {"--help"}
    section = page.split("\n## alpha run\n")[1].split("\n## ")[0]
    assert len(options) > 15
    for option in options:
        assert f"`{option}" in section or f", {option}" in section, option


def test_everything_listed_is_described() -> None:
    """A heading with nothing below it but its signature has no docstring."""
    bare = []
    for name, text in WRITTEN.items():
        for part in text.split("\n##")[1:]:
            heading, _, rest = part.partition("\n")
            body = "".join(rest.split("```")[::2]).strip()  # without the fences
            if not body and "\n##" not in rest:
                bare.append(f"{name}: {heading.strip('# ')}")
    assert not bare, bare


@pytest.mark.parametrize("module", ["alpha.instruments:Instruments", "alpha.features.language", "alpha.desk"])
def test_examples_in_docstrings_are_true(module: str) -> None:
    place, _, name = module.partition(":")
    holder = importlib.import_module(place)
    text = (getattr(holder, name) if name else holder).__doc__
    example = doctest.DocTestParser().get_doctest(text, dict(vars(holder)), module, None, 0)
    assert example.examples
    failed, tried = doctest.DocTestRunner().run(example)
    assert tried and not failed
