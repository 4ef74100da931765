"""Names that come from files are shown, not obeyed."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from alpha.cli import main as command
from alpha.cli import show
from alpha.errors import AlphaError, printable


def test_what_steers_a_terminal_is_escaped_and_what_people_write_stays() -> None:
    assert printable("\x1b[2J\x07\r\n\t\x00\x9b") == r"\x1b[2J\x07\r\n\t\x00\x9b"
    assert printable("a\u202eb\u2028c\u200b\ud800") == r"a\u202eb\u2028c\u200b\ud800"
    for text in ("", "EUR/USD [1, T]", "größe", "価格", "1\u00a0000", "back\\slash", "…"):
        assert printable(text) == text
    assert printable("a\nb\x1bc", keep="\n") == "a\nb\\x1bc"


def test_no_character_that_is_left_steers_and_twice_is_once() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        text = "".join(map(chr, [*rng.integers(0, 0x100, 20), *rng.integers(0, 0x3000, 20)]))
        shown = printable(text)
        assert printable(shown) == shown
        assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def test_errors_and_tables_show_escaped_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> int:
        raise AlphaError("output '\x1b[2Jp' is one thing,\nand here is the place")

    monkeypatch.setattr(command, "_dispatch", fails)
    assert command.main(["import"]) == 2
    assert capsys.readouterr().err == "alpha import: output '\\x1b[2Jp' is one thing,\nand here is the place\n"
    show.table("ti\x1btle", ("name", "value"), [("x\ny\x1b]0;z\x07", 1.5), ("[red]z", 2)])
    assert capsys.readouterr().out.splitlines() == [
        "ti\\x1btle",
        "  name              value",
        "  x\\ny\\x1b]0;z\\x07  1.5",
        "  [red]z            2",
    ]
