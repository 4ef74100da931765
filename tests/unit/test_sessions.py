"""Session tables: known days, the edges of a session, files, and what happens beyond the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alpha.errors import DataError
from alpha.instruments import Instrument, Instruments
from alpha.sessions import SessionTable, file_name, make, session_table, shipped, tables_for


def ns(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64))


def test_known_days_of_new_york() -> None:
    table = session_table("XNYS")
    k = int(table.index(ns("2022-11-25T16:00")))
    assert (table.opens[k], table.closes[k]) == (ns("2022-11-25T14:30"), ns("2022-11-25T18:00"))  # a half day
    assert int(table.index(ns("2022-11-24T16:00"))) == k - 1  # Thanksgiving: still Wednesday's
    assert not table.is_open(ns("2022-11-24T16:00"))
    summer = int(table.index(ns("2022-07-05T18:00")))
    assert table.opens[summer] == ns("2022-07-05T13:30")  # daylight saving
    assert session_table("XNAS") is table


def test_edges_for_ticks_and_for_bars() -> None:
    table = SessionTable.of("made", [(100, 200), (300, 340, 360, 400)])
    times = [99, 100, 199, 200, 300, 339, 340, 359, 360, 400, 401]
    assert table.is_open(times).tolist() == [
        *(False, True, True, False),
        *(True, True, False, False, True, False, False),
    ]
    assert table.is_open(times, by_close=True).tolist() == [
        *(False, False, True, True),
        *(False, True, True, False, False, True, False),
    ]
    assert table.index([99, 100, 299, 300]).tolist() == [-1, 0, 0, 1]
    assert table.index([99, 100, 299, 300], by_close=True).tolist() == [-1, -1, 0, 0]


def test_days_of_utc() -> None:
    table = session_table("24/7")
    assert table.is_open([0, ns("2026-11-26T23:59:59.999999999"), ns("2026-11-27")]).all()
    assert table.opens[table.index(ns("2026-11-27"))] == ns("2026-11-27")


def test_a_break_at_noon() -> None:
    table = session_table("XHKG")
    assert table.is_open([ns("2024-03-05T03:59"), ns("2024-03-05T04:30"), ns("2024-03-05T05:00")]).tolist() == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("name", shipped())
def test_what_is_shipped_equals_what_the_library_says(name: str) -> None:
    pytest.importorskip("exchange_calendars")
    here, there = session_table(name), make(name, start="2015-01-01", end="2024-12-31")
    a, b = np.searchsorted(here.opens, [there.opens[0], there.opens[-1]])
    assert np.array_equal(here.opens[a : b + 1], there.opens)
    assert np.array_equal(here.closes[a : b + 1], there.closes)
    assert np.array_equal(here.break_starts[a : b + 1], there.break_starts)
    assert np.array_equal(here.break_ends[a : b + 1], there.break_ends)


def test_a_file_is_read_back_and_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minute = 60 * 10**9
    table = SessionTable.of("MINE", [(0, 10 * minute), (20 * minute, 24 * minute, 26 * minute, 30 * minute)])
    (tmp_path / file_name("MINE")).write_bytes(table.to_bytes())
    monkeypatch.setenv("ALPHA_CALENDARS", str(tmp_path))
    assert session_table("MINE").sha256 == table.sha256


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", session_table("XLON").to_bytes()[:-40]])
def test_a_damaged_file(data: bytes) -> None:
    with pytest.raises(DataError, match="damaged"):
        SessionTable.from_bytes("XLON", data)


@pytest.mark.parametrize(
    "sessions", [[], [(100, 100)], [(100, 200), (150, 300)], [(100, 90)], [(100, 250, 240, 200)], [(300, 400), (1, 2)]]
)
def test_sessions_that_cannot_be(sessions: list[tuple[int, int]]) -> None:
    with pytest.raises(DataError, match="made"):
        SessionTable.of("made", sessions)


def test_an_unknown_calendar_lists_the_known() -> None:
    with pytest.raises(DataError, match=r"NOWHERE.*XNYS"):
        session_table("NOWHERE")


def test_each_instrument_its_own() -> None:
    table = Instruments.of(Instrument(symbol="A", calendar="XNYS"), Instrument(symbol="B"))
    assert [t.name for t in tables_for("instrument", table)] == ["XNYS", "24/7"]
    assert [t.name for t in tables_for("XLON", table)] == ["XLON", "XLON"]
