"""Reads the fenced code blocks of a Markdown page, with the marks that stand above them in HTML comments.

A ``python`` or ``sh`` block is run, in the order of the page. What a reader need not see stands in a comment above it:

* ``<!-- files: day.parquet -->``: these files are made first (the table in ``given.py`` says how);
* ``<!-- before: CODE -->``: code of the block's language that is run first, over as many lines as it needs;
* ``<!-- exit: 1 -->``: how an ``sh`` block ends, if not with 0; ``<!-- raises: DataError -->`` for ``python``;
* ``<!-- real-data: WHAT -->``: run only where ALPHA_DATA points at market data;
* ``<!-- no-run: WHY -->``: not run. The reason is listed and counted by ``test_blocks.py``.

``<!-- file: my.toml -->`` above a block of any language writes it to that file instead of running it. A ``text`` block
directly below a block that ran is what it prints: ``…`` stands for anything within a line, alone on a line for any lines.
``<!-- page: slow -->`` anywhere leaves the page out of the default run; ``<!-- page: in ../mine -->`` starts it in that
folder, which is made, instead of the clone's root.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

RUN = ("python", "sh")
PROSE = ("", "text", "toml", "json", "ini", "yaml")  # shown, never run; any other language is a mistake
MARKS = ("files", "before", "exit", "raises", "real-data", "no-run", "file")

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w+-]*) *$")
_COMMENT = re.compile(r"<!--\s*(?P<word>[a-z-]+):(?P<text>.*?)-->", re.S)


class PageError(AssertionError):
    """A page that cannot be read as it was meant: where, and what to write."""


@dataclass
class Block:
    """One fenced block. ``line``: of its first line of code; ``expected``: what it prints, None if the page does not say."""

    page: str
    line: int
    language: str
    code: str
    marks: dict[str, str] = field(default_factory=dict)
    expected: str | None = None

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether it is run where there is market data."""
        return self.language in RUN and "no-run" not in self.marks and "file" not in self.marks


def read(path: Path, name: str) -> list[Block]:
    """Every fenced block of a page, in order. PageError for an unknown mark, a mark of no block, an open fence."""
    blocks: list[Block] = []
    marks: dict[str, str] = {}
    after_block = False  # nothing but blank lines since the last fence
    lines = path.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        fence = _FENCE.match(line)
        if fence:
            end = next((k for k in range(at + 1, len(lines)) if lines[k].strip() == "```"), None)
            if end is None:
                raise PageError(f"{name}:{at + 1}: this fence is not closed")
            code = textwrap.dedent("\n".join(lines[at + 1 : end])) + "\n"
            block = Block(name, at + 2, fence["language"], code, marks)
            _check(block)
            if block.language == "text" and not marks and after_block and blocks and blocks[-1].runs:
                blocks[-1].expected = code
            blocks.append(block)
            marks, after_block, at = {}, True, end + 1
        elif line.lstrip().startswith("<!--"):
            end = next((k for k in range(at, len(lines)) if "-->" in lines[k]), None)
            if end is None:
                raise PageError(f"{name}:{at + 1}: this comment is not closed")
            for found in _COMMENT.finditer("\n".join(lines[at : end + 1])):
                if found["word"] in MARKS:
                    if found["word"] in marks:
                        raise PageError(f"{name}:{at + 1}: the mark {found['word']} stands here twice")
                    marks[found["word"]] = textwrap.dedent(found["text"].strip("\n")).strip()
                elif found["word"] not in ("page", "peers"):
                    raise PageError(f"{name}:{at + 1}: unknown mark {found['word']!r}; known: {', '.join(MARKS)}")
            at = end + 1
        else:
            if line.strip():
                if marks:
                    raise PageError(
                        f"{name}:{at + 1}: a code block must follow the mark {', '.join(marks)} above this line"
                    )
                after_block = False
            at += 1
    if marks:
        raise PageError(f"{name}: a code block must follow the mark {', '.join(marks)} at its end")
    return blocks


def says(path: Path) -> list[str]:
    """What a page says of itself: ``slow``, ``in FOLDER``. PageError for anything else."""
    told = re.findall(r"<!--\s*page:\s*(.*?)\s*-->", path.read_text(encoding="utf-8"))
    for text in told:
        if text != "slow" and not text.startswith("in "):
            raise PageError(f"{path.name}: a page is 'slow' or 'in FOLDER', not {text!r}")
    return told


def folder(path: Path) -> str:
    """Where a page's first block starts, from the clone's root."""
    return next((text.removeprefix("in ") for text in says(path) if text.startswith("in ")), ".")


def _check(block: Block) -> None:
    if block.language not in (*RUN, *PROSE):
        raise PageError(
            f"{block.where}: language {block.language!r}; a block is {', '.join(RUN)} (run) or toml, json, text"
        )
    for word in ("no-run", "real-data"):
        if word in block.marks and len(block.marks[word].split()) < 2:
            raise PageError(f"{block.where}: {word} needs its reason in words")
    if block.language not in RUN and set(block.marks) - {"file", "files"}:
        raise PageError(
            f"{block.where}: a {block.language or 'plain'} block is not run: only the marks file and files may stand above it"
        )


def difference(expected: str, printed: str) -> str:
    """Empty if ``printed`` is what the page shows, else where it stops being it. Blanks and rules may be longer or shorter."""
    wanted, got = _lines(expected), _lines(printed)
    reached = _match(wanted, got)
    if reached is None:
        return ""
    shown = wanted[reached] if reached < len(wanted) else "nothing more"
    return f"the page shows from here on: {shown!r}\nbut it printed:\n{printed}"


def _lines(text: str) -> list[str]:
    out = []
    for line in text.strip("\n").splitlines():
        line = re.sub(r"([─━═=_-])\1{2,}", r"\1\1\1", line)
        out.append(re.sub(r"\s+", " ", line).strip())
    return out


def _match(wanted: list[str], got: list[str]) -> int | None:
    """None if all lines match; else the number of the wanted line that could not be found."""
    furthest = 0
    places = {0}  # how many printed lines may be used up before this wanted line
    for number, line in enumerate(wanted):
        furthest = number
        if line == "…":
            places = set(range(min(places), len(got) + 1))
            continue
        pattern = re.compile(".*?".join(re.escape(part) for part in line.split("…")))
        places = {p + 1 for p in places if p < len(got) and pattern.fullmatch(got[p])}
        if not places:
            return furthest
    return None if len(got) in places else len(wanted)
