"""LOBSTER rows against events written out by hand; the zip and the Parquet form must agree."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from alpha.data import open_events
from alpha.errors import DataError
from alpha.events import Flag, Kind, Status

LAST = int(Flag.LAST)
MIDNIGHT_NS = 1340251200 * 10**9  # 2012-06-21 in New York (UTC - 4 h)
NAME = "TEST_2012-06-21_34200000_57600000_{}_2.csv"
NONE_BID, NONE_ASK = "-9999999999,0", "9999999999,0"
MESSAGES = [
    "34200.017459617,1,1,5,1000000,1",
    "34200.5,4,2,3,1000200,-1",  # a resting sell order is bought
    "34201,5,0,2,1000050,1",  # hidden, the book stays
    "34202.000000001,3,4,5,990000,1",  # level 1 of the bids empties
    "34203,7,0,0,-1,-1",
    "34204,7,0,0,0,-1",
    "34205,7,0,0,1,-1",
    "34206,3,4,5,1000000,1",  # no bid is left
    "34207,1,5,6,999900,1",
]
BOOKS = [
    "1000200,7,1000000,5,1000300,8,990000,6",
    "1000200,4,1000000,5,1000300,8,990000,6",
    "1000200,4,1000000,5,1000300,8,990000,6",
    "1000200,4,1000000,5,1000300,8," + NONE_BID,
    "1000200,4,1000000,5,1000300,8," + NONE_BID,
    "1000200,4,1000000,5,1000300,8," + NONE_BID,
    "1000200,4,1000000,5,1000300,8," + NONE_BID,
    f"1000200,4,{NONE_BID},{NONE_ASK},{NONE_BID}",
    f"1000200,4,999900,6,{NONE_ASK},{NONE_BID}",
]


def at(seconds: int, ns: int = 0) -> int:
    return MIDNIGHT_NS + seconds * 10**9 + ns


EXPECTED = [
    (at(34200, 17459617), Kind.DEPTH, 1, 0, [99.0, 100.03, 6.0, 8.0, 0.0]),
    (at(34200, 17459617), Kind.QUOTE, 0, LAST, [100.0, 100.02, 5.0, 7.0, 0.0]),
    (at(34200, 500000000), Kind.TRADE, 0, 0, [100.02, 3.0, 1.0, 0.0, 0.0]),
    (at(34200, 500000000), Kind.QUOTE, 0, LAST, [100.0, 100.02, 5.0, 4.0, 0.0]),
    (at(34201), Kind.TRADE, 0, LAST, [100.005, 2.0, -1.0, 0.0, 0.0]),
    (at(34202, 1), Kind.DEPTH, 1, 0, [0.0, 100.03, 0.0, 8.0, 0.0]),
    (at(34202, 1), Kind.QUOTE, 0, LAST, [100.0, 100.02, 5.0, 4.0, 0.0]),
    (at(34203), Kind.STATUS, 0, LAST, [float(Status.HALT), 0.0, 0.0, 0.0, 0.0]),
    (at(34204), Kind.STATUS, 0, LAST, [float(Status.AUCTION), 0.0, 0.0, 0.0, 0.0]),
    (at(34205), Kind.STATUS, 0, LAST, [float(Status.RESUME), 0.0, 0.0, 0.0, 0.0]),
    # the row without a bid is a bad row; what it changed at level 1 is told by the next one
    (at(34207), Kind.DEPTH, 1, 0, [0.0, 0.0, 0.0, 0.0, 0.0]),
    (at(34207), Kind.QUOTE, 0, LAST, [99.99, 100.02, 6.0, 4.0, 0.0]),
]


def archive(folder: Path, messages: list[str], books: list[str], name: str = "lobster.zip") -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(NAME.format("message"), "".join(line + "\n" for line in messages))
        file.writestr(NAME.format("orderbook"), "\n".join(books))
    return path


def rows(events: np.ndarray) -> list[tuple[Any, ...]]:
    return [
        (int(e["ts_event_ns"]), Kind(int(e["kind"])), int(e["level"]), int(e["flags"]), e["v"].tolist()) for e in events
    ]


def test_every_kind_of_row(tmp_path: Path) -> None:
    source = open_events(archive(tmp_path, MESSAGES, BOOKS), levels=2)
    events = source.read_all()
    assert rows(events) == EXPECTED
    assert source.bad_rows == {"empty_side": 1}
    assert not events["ts_recv_ns"].any()


def test_one_level_is_quotes_and_trades_only(tmp_path: Path) -> None:
    events = open_events(archive(tmp_path, MESSAGES, BOOKS), levels=1).read_all()
    assert rows(events) == [row for row in EXPECTED if row[1] != Kind.DEPTH]


def test_deeper_than_the_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 2 levels, 3 were asked for"):
        open_events(archive(tmp_path, MESSAGES, BOOKS), levels=3).read_all()


def test_parquet_form_gives_the_same_events(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {name: [] for name in ("ts", "kind", "event_type", "last", "last_size", "side")}
    columns |= {f"{side}_{what}_{i}": [] for i in (0, 1) for side in ("bid", "ask") for what in ("px", "sz")}
    for message, book in zip(MESSAGES, BOOKS, strict=True):
        seconds, what, _, size, px, direction = message.split(",")
        whole, _, fraction = seconds.partition(".")
        traded = what in "45"
        columns["ts"].append(at(int(whole), int(fraction.ljust(9, "0"))))
        columns["kind"].append(2 if traded else 1)
        columns["event_type"].append(int(what))
        columns["last"].append(int(px) / 1e4)
        columns["last_size"].append(float(size))
        columns["side"].append(-int(direction))
        values = [int(x) for x in book.split(",")]
        for i in (0, 1):
            for j, name in enumerate((f"ask_px_{i}", f"ask_sz_{i}", f"bid_px_{i}", f"bid_sz_{i}")):
                value = values[4 * i + j]
                columns[name].append(value / 1e4 if "px" in name else value)
    path = tmp_path / "lobster.parquet"
    pl.DataFrame(columns).write_parquet(path)
    source = open_events(path, levels=2)
    assert rows(source.read_all()) == EXPECTED
    assert source.bad_rows == {"empty_side": 1}


@pytest.mark.parametrize(
    ("seconds", "ns"),
    [("34200.0000000004", 0), ("34200.0000000005", 1), ("34200.189607669999", 189607670), ("34200.", 0)],
)
def test_times_are_read_digit_by_digit(tmp_path: Path, seconds: str, ns: int) -> None:
    path = archive(tmp_path, [f"{seconds},1,1,5,1000000,1"], BOOKS[:1])
    assert open_events(path).read_all()["ts_event_ns"].tolist() == [at(34200, ns)]


def test_lines_that_cannot_be_read_are_counted_and_found(tmp_path: Path) -> None:
    messages, books = MESSAGES[:4], BOOKS[:4]
    messages[1] = "half past nine,4,2,3,1000200,-1"
    messages[2] = "34201,5,0,2"
    books[3] = books[3].replace("5", "x")
    path = archive(tmp_path, messages, books)
    source = open_events(path)
    assert len(source.read_all()) == 1
    assert source.bad_rows == {"unparsable": 3}
    assert (source.rows_read, source.event_rows) == (4, 1)
    with pytest.raises(
        DataError, match=r"lobster\.zip:2: bad row: unparsable: time is 'half past nine', which is no number"
    ):
        open_events(path, strict=True).read_all()


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="message file goes on after line 2"):
        open_events(archive(tmp_path, MESSAGES, BOOKS[:2])).read_all()
    with pytest.raises(DataError, match="order book file goes on after line 3"):
        open_events(archive(tmp_path, MESSAGES[:3], BOOKS)).read_all()
    path = tmp_path / "half.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(NAME.format("message"), "")
    with pytest.raises(DataError, match=r"without its TEST_2012-06-21_.*orderbook_2"):
        open_events(path).read_all()
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("notes.txt", "")
    with pytest.raises(DataError, match=r"must hold one LOBSTER message file.*it holds notes\.txt"):
        open_events(path).read_all()
