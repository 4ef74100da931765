"""Every relative link and anchor of every Markdown file leads somewhere; every page is in the navigation."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parent.parent.parent
FILES = sorted(
    [
        PROJECT / "README.md",
        PROJECT / "CHANGELOG.md",
        *(PROJECT / "docs").rglob("*.md"),
        *(PROJECT / "examples").rglob("*.md"),
    ]
)
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)(?:\s+\"[^\"]*\")?\)")


def prose(text: str) -> str:
    """Without code: what looks like a link there is none."""
    text = re.sub(r"^ *```.*?^ *```\s*$", "", text, flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", lambda m: "`" + "x" * (len(m[0]) - 2) + "`", text)


def anchors(path: Path) -> set[str]:
    """Of each heading, as GitHub and mkdocs make them for the headings that this project writes."""
    text = re.sub(r"^ *```.*?^ *```\s*$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    found: Counter[str] = Counter()
    out = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text, re.M):
        plain = re.sub(r"[`*\\]|\]\([^)]*\)|\[", "", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        out.add(slug if not found[slug] else f"{slug}-{found[slug]}")
        found[slug] += 1
    return out


def broken(path: Path) -> list[str]:
    out = []
    for target in _LINK.findall(prose(path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists():
            out.append(f"{path.relative_to(PROJECT)}: {target}: there is no such file")
        elif anchor and there.suffix == ".md" and anchor not in anchors(there):
            out.append(f"{path.relative_to(PROJECT)}: {target}: no heading there is called #{anchor}")
    return out


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PROJECT)))
def test_links_lead_somewhere(path: Path) -> None:
    assert broken(path) == []


def test_a_broken_link_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.PROJECT", tmp_path)
    (tmp_path / "b.md").write_text("# A `heading`, of two\n\n```sh\n# none\n```\n")
    page = tmp_path / "a.md"
    page.write_text("[x](b.md) [y](b.md#a-heading-of-two) [z](b.md#none) [v](c.md) `[w](d.md)` [u](#here)\n")
    assert [text.split(": ")[1] for text in broken(page)] == ["b.md#none", "c.md", "#here"]


def test_pages_named_in_code_are_there() -> None:
    """Messages and docstrings say docs/reasons.md: it must not move away from under them."""
    named = set()
    for folder, kinds in (
        ("alpha", ("*.py", "*.pyx", "*.h")),
        ("training", ("*.py", "*.toml")),
        ("examples", ("*.py", "*.toml")),
    ):
        for kind in kinds:
            for file in (PROJECT / folder).rglob(kind):
                named |= set(re.findall(r"\bdocs/[\w/-]+\.(?:md|json)", file.read_text(encoding="utf-8")))
    assert len(named) >= 4
    assert {name for name in named if not (PROJECT / name).is_file()} == set()


def _navigation(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    if isinstance(entry, dict):
        return [page for value in entry.values() for page in _navigation(value)]
    assert isinstance(entry, list)
    return [page for value in entry for page in _navigation(value)]


def test_every_page_is_in_the_navigation() -> None:
    site = yaml.safe_load((PROJECT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = _navigation(site["nav"])
    assert max(Counter(listed).values()) == 1
    found = {str(p.relative_to(PROJECT / "docs")) for p in (PROJECT / "docs").rglob("*.md")}
    pages = {p for p in found if not re.match(r"decisions/\d", p)}  # those are in an index of their own
    assert pages - set(listed) == set(), "these pages are not in the nav of mkdocs.yml"


def test_architecture_names_every_room() -> None:
    """What tests/layers/house.py lists, where it is there: packages, modules and headers by their own names."""
    sys.path.insert(0, str(PROJECT / "tests" / "layers"))
    import house

    page = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    there = {house.module_name(PROJECT, file) for file in house.sources(PROJECT, "alpha")}
    missing = []
    for _, rooms in house.FLOORS:
        for room in rooms:
            name = room if room.endswith((".h", ".c")) else room.rpartition(".")[2]
            exists = room in there
            if exists and not name.startswith(("_batch_", "__")) and not re.search(rf"\b{re.escape(name)}\b", page):
                missing.append(room)
    assert not missing, f"docs/architecture.md does not name {missing}"
