"""Instrument tables: ids are positions, and every mistake is one clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alpha.errors import InstrumentError
from alpha.instruments import Instrument, Instruments, duration_ns

TOML = """
[[instrument]]
symbol = "BTCUSDT"
path = "binance/spot_btcusdt_*.parquet"
tick_size = 0.01
lot_size = 1e-5
clock_offset_ns = 1_200_000_000

[[instrument]]
symbol = "QQQ"
bar_stamp = "start"
bar = "5m"
family = {root = "QQQ"}
"""


def load(tmp_path: Path, text: str) -> Instruments:
    path = tmp_path / "instruments.toml"
    path.write_text(text)
    return Instruments.load(path)


def test_toml_rows_become_ids_by_position(tmp_path: Path) -> None:
    table = load(tmp_path, TOML)
    assert table.symbols == ("BTCUSDT", "QQQ")
    assert (table.id("QQQ"), table.symbol(0), len(table)) == (1, "BTCUSDT", 2)
    qqq = table["QQQ"]
    assert (qqq.bar_stamp, qqq.bar_ns, qqq.tick_size, qqq.multiplier) == ("start", 300 * 10**9, None, 1.0)
    assert qqq.family == {"root": "QQQ"}
    assert table[0].source == "declared"
    assert [row.symbol for row in table] == ["BTCUSDT", "QQQ"]


def test_ticks_and_lots_are_nan_where_unknown(tmp_path: Path) -> None:
    table = load(tmp_path, TOML)
    np.testing.assert_array_equal(table.ticks(), [0.01, np.nan])
    np.testing.assert_array_equal(table.lots([1, 0, 0]), [np.nan, 1e-5, 1e-5])


def test_unknown_symbol_names_the_known_ones() -> None:
    with pytest.raises(InstrumentError, match=r"unknown instrument 'X'; known: A, B"):
        Instruments.of("A", "B").id("X")
    with pytest.raises(InstrumentError, match="outside the table of 2"):
        Instruments.of("A", "B").symbol(2)
    with pytest.raises(InstrumentError, match="outside the table of 2"):
        Instruments.of("A", "B").symbol(-1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[instrument]]\nsymbol = "A"\ntick = 1', r"instrument 1: unknown key 'tick'.*tick_size"),
        ("[[instrument]]\ntick_size = 1.0", "'symbol' is missing"),
        ('[[instrument]]\nsymbol = "A"\n[[instrument]]\nsymbol = "A"', r"'A' is declared twice \(positions 0 and 1\)"),
        ('[[instrument]]\nsymbol = "A"\ntick_size = 0.0', "tick_size of A must be a finite number above 0"),
        ('[[instrument]]\nsymbol = "A"\nlot_size = nan', "lot_size of A must be"),
        ('[[instrument]]\nsymbol = "A"\nbar_stamp = "end"', "bar_stamp"),
        ('[[instrument]]\nsymbol = "A"\nbar = "1 minute"', "bar of A: '1 minute' is not a duration"),
        ('[[instrument]]\nsymbol = "A"\nbar = "99999999d"', "bar of A: the duration '99999999d' is too long"),
        (
            '[[instrument]]\nsymbol = "A"\nclock_offset_ns = 99999999999999999999',
            "clock_offset_ns of A must lie within",
        ),
        ('[[instrument]]\nsymbol = "A"\nsource = "inferred"', "unknown key 'source'"),
        ('[[instrument]]\nsymbol = " A"', "padded with blanks"),
        (
            '[[instrument]]\nsymbol = "\\u001b[31mRED"',
            r"must not hold control or invisible characters, found '\\x1b\[31mRED'",
        ),
        ('[[instrument]]\nsymbol = "A\\u202eB"', r"must not hold control or invisible characters, found 'A\\u202eB'"),
        ('[instrument]\nsymbol = "A"', "double brackets"),
        ('[[instruments]]\nsymbol = "A"', "unknown key 'instruments'"),
        ("symbol =", "not valid TOML"),
    ],
)
def test_mistakes_in_the_file_name_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InstrumentError, match=message) as caught:
        load(tmp_path, text)
    assert str(tmp_path / "instruments.toml") in str(caught.value)


def test_missing_file_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(InstrumentError, match=r"none\.toml: the instruments cannot be read: no such file") as caught:
        Instruments.load(tmp_path / "none.toml")
    assert "Errno" not in str(caught.value)


@pytest.mark.parametrize("name", ["\x1b[31mRED", "a\nb", "\x9b1m", "a\u200bb", "a\ud800"])
def test_no_table_holds_a_symbol_that_steers_a_terminal(name: str) -> None:
    for made in (
        lambda: Instruments.of(name),
        lambda: Instruments([Instrument(symbol=name)]),
        lambda: Instruments.of("A").with_instrument(name),
        lambda: Instruments.from_dicts([{"symbol": name}]),
    ):
        with pytest.raises(InstrumentError, match="must not hold control or invisible characters") as caught:
            made()
        assert str(caught.value).isprintable()
    assert Instruments.of("BRK B", "Ä-1", "日経").symbols == ("BRK B", "Ä-1", "日経")


def test_a_table_travels_as_plain_rows(tmp_path: Path) -> None:
    table = load(tmp_path, TOML).with_instrument(Instrument(symbol="NEW", tick_size=0.5, source="inferred"))
    assert Instruments.from_dicts(table.as_dicts()) == table
    assert table.as_dicts()[2]["source"] == "inferred"


def test_with_instrument_replaces_in_place_and_leaves_the_old_table() -> None:
    old = Instruments.of("A", "B")
    new = old.with_instrument(Instrument(symbol="A", tick_size=0.25)).with_instrument("C")
    assert new.symbols == ("A", "B", "C")
    assert new["A"].tick_size == 0.25
    assert old.symbols == ("A", "B")
    assert old["A"].tick_size is None


def test_inferred_sizes_never_replace_declared_ones() -> None:
    table = Instruments.of(Instrument(symbol="A", tick_size=0.25)).with_sizes("A", 0.01, 1.0)
    assert (table["A"].tick_size, table["A"].lot_size) == (0.25, 1.0)


def test_path_patterns_compare_from_the_right(tmp_path: Path) -> None:
    table = load(tmp_path, TOML)
    owner = table.for_file("/any/where/binance/spot_btcusdt_20240808.parquet")
    assert owner is not None
    assert owner.symbol == "BTCUSDT"
    assert table.for_file("/any/where/other/spot_btcusdt_20240808.parquet") is None
    twice = table.with_instrument(Instrument(symbol="B2", path="*.parquet"))
    with pytest.raises(InstrumentError, match="several instruments name this file: BTCUSDT, B2"):
        twice.for_file("binance/spot_btcusdt_1.parquet")


@pytest.mark.parametrize(
    ("text", "ns"), [("1m", 60 * 10**9), ("250ms", 250 * 10**6), ("2h", 7_200 * 10**9), ("7ns", 7)]
)
def test_durations(text: str, ns: int) -> None:
    assert duration_ns(text) == ns


@pytest.mark.parametrize("text", ["", "0s", "1.5s", "-1s", "1", "s", "1w", "1m1s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InstrumentError, match="is not a duration"):
        duration_ns(text)
