"""Every block of code in README.md and docs/ does what its page says.

The pages are run one by one, each in a folder of its own that looks like a clone; ``pages.py`` tells how a page says what
it needs. What is left out is listed here by name, so that nothing is left out in silence:

    python tests/docs/test_blocks.py              # the blocks that are not run, with their reasons
    python tests/docs/test_blocks.py docs/x.md    # what each block of a page prints, for whoever writes it
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from pages import Block, PageError, difference, folder, read, says
from stage import BlockError, Stage, clone, market_data

PROJECT = Path(__file__).resolve().parent.parent.parent

# page -> how many of its blocks carry no-run. A new one is a line here, so that somebody has looked at its reason.
LEFT_OUT = {
    "README.md": 1,
    "docs/tutorial.md": 1,
    "docs/results.md": 4,
    "docs/scale.md": 1,
    "docs/mlflow.md": 1,
}


def pages() -> dict[str, Path]:
    """Name as a reader says it -> file: README.md and everything below docs/ that is written in Markdown."""
    found = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
    return {str(p.relative_to(PROJECT)): p for p in found}


def _with_blocks() -> list[object]:
    out: list[object] = []
    for name, path in pages().items():
        if any(f"```{language}" in path.read_text(encoding="utf-8") for language in ("python", "sh")):
            marks = [pytest.mark.slow] if "slow" in says(path) else []
            out.append(pytest.param(name, id=name, marks=marks))
    return out


def blocks(name: str) -> list[Block]:
    return read(pages()[name], name)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone(PROJECT, tmp_path_factory.mktemp("docs") / "template")


@pytest.mark.parametrize("page", _with_blocks())
def test_a_page_does_what_it_says(page: str, template: Path, tmp_path: Path) -> None:
    with Stage(template, tmp_path, folder(pages()[page])) as stage:
        for block in blocks(page):
            if _to_be_played(block):
                stage.play(block)


def _to_be_played(block: Block) -> bool:
    if "real-data" in block.marks and market_data() is None:
        return False
    return block.runs or "file" in block.marks


def test_what_is_left_out_is_listed() -> None:
    found = Counter(b.page for name in pages() for b in blocks(name) if "no-run" in b.marks)
    assert dict(found) == LEFT_OUT, (
        "LEFT_OUT in tests/docs/test_blocks.py says how many blocks of which page are not run"
    )


def test_most_of_it_is_run() -> None:
    """Also where there is no market data."""
    everything = [b for name in pages() for b in blocks(name) if b.language in ("python", "sh")]
    run = [b for b in everything if (b.runs or "file" in b.marks) and "real-data" not in b.marks]
    assert len(everything) > 50 and len(run) >= 0.85 * len(everything)


# -- the reader and the stage are shown to see


def _page(folder: Path, text: str) -> list[Block]:
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    return read(path, "page.md")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("```python\nx = 1\n", "page.md:1: this fence is not closed"),
        ("<!-- norun: too long -->\n```sh\ntrue\n```\n", "page.md:1: unknown mark 'norun'"),
        ("<!-- no-run: long -->\n```sh\ntrue\n```\n", "page.md:3: no-run needs its reason in words"),
        ("<!-- exit: 1 -->\nwords\n```sh\ntrue\n```\n", "page.md:2: a code block must follow the mark exit"),
        ("<!-- exit: 1 -->\n", "a code block must follow the mark exit"),
        ("```bash\ntrue\n```\n", "page.md:2: language 'bash'"),
        ("<!-- exit: 1 -->\n```toml\nx = 1\n```\n", "page.md:3: a toml block is not run"),
    ],
)
def test_a_page_that_cannot_be_read_says_where(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(PageError) as error:
        _page(tmp_path, text)
    assert told in str(error.value)


def test_blocks_have_their_marks_and_what_they_print(tmp_path: Path) -> None:
    text = "1. In a list:\n\n   <!-- exit: 1 -->\n   ```sh\n   echo a; false\n   ```\n\n   ```text\n   a\n   ```\n\n```text\nb\n```\n"
    first, shown, alone = _page(tmp_path, text)
    assert (first.code, first.marks, first.expected, first.line) == ("echo a; false\n", {"exit": "1"}, "a\n", 5)
    assert shown.language == alone.language == "text" and not shown.runs


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\nb", "a\nb\n", True),
        ("a\nb", "a\nc\n", False),
        ("a", "a\nb\n", False),
        ("a\nb", "a\n", False),
        ("took … s", "took 12 s", True),
        ("took … s", "took 12 ms", False),
        ("a\n…\nz", "a\nm\nn\nz\n", True),
        ("a\n…\nz", "a\nm\nn\n", False),
        ("…\nz\n…\nz", "x\nz\n", False),
        ("x   y\n─────", "x y\n───────────", True),
    ],
)
def test_what_is_printed_is_compared(shown: str, printed: str, same: bool) -> None:
    assert (difference(shown, printed) == "") is same


def test_a_page_shares_its_state(template: Path, tmp_path: Path) -> None:
    text = (
        "```sh\nmkdir x; cd x; export WHO='you and\nme'\n```\n```python\nimport os\ny = os.environ['WHO']\nprint(os.getcwd()[-2:])\n```\n"
        "```text\n/x\n```\n```sh\npwd | tail -c 3\n```\n```text\n/x\n```\n<!-- before: y += '!' -->\n```python\nprint(y)\n```\n```text\nyou and\nme!\n```\n"
    )
    with Stage(template, tmp_path / "stage") as stage:
        for block in _page(tmp_path, text):
            if block.runs:
                stage.play(block)


def test_a_page_finds_the_environment(template: Path, tmp_path: Path) -> None:
    text = "```sh\n.venv/bin/alpha --version\n.venv/bin/python -c 'import sys; print(sys.prefix)'\n. .venv/bin/activate\nalpha --version\n```\n"
    (block,) = _page(tmp_path, text)
    with Stage(template, tmp_path / "stage") as stage:
        first, prefix, second = stage.play(block).splitlines()
    assert first == second and first.startswith("alpha ") and prefix == sys.prefix


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("```sh\nfalse\n```\n", "page.md:2: exit 1, not 0"),
        ("```sh\nfalse; true\n```\n", "page.md:2: exit 1, not 0"),
        ("<!-- exit: 1 -->\n```sh\ntrue\n```\n", "page.md:3: exit 0, not 1"),
        ("```sh\necho a\n```\n```text\nb\n```\n", "page.md:2: the page shows from here on: 'b'"),
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("<!-- raises: KeyError -->\n```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("<!-- raises: KeyError -->\n```python\n1\n```\n", "it must raise KeyError"),
        ("```python\nimport os\nos._exit(3)\n```\n", "Python died"),
    ],
)
def test_a_block_that_does_something_else_fails(template: Path, tmp_path: Path, text: str, told: str) -> None:
    (block, *_) = _page(tmp_path, text)
    with Stage(template, tmp_path / "stage") as stage, pytest.raises(BlockError) as error:
        stage.play(block)
    assert told in str(error.value)


def show(name: str) -> None:
    """Run one page and print what each block prints, for whoever writes it."""
    with tempfile.TemporaryDirectory() as place:
        template = clone(PROJECT, Path(place) / "template" / "alpha")
        with Stage(template, Path(place) / "stage", folder(pages()[name])) as stage:
            for block in blocks(name):
                if _to_be_played(block):
                    block.expected = None
                    print(f"==== {block.where}\n{block.code}----\n{stage.play(block)}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.path.insert(0, str(PROJECT / "tests"))
        show(sys.argv[1])
    else:
        for name in pages():
            for block in blocks(name):
                for word in ("no-run", "real-data"):
                    if word in block.marks:
                        print(f"{block.where}: {word}: {block.marks[word]}")
