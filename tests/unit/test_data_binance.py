"""The book builder's sequence rules, the raw Binance stream and the table of depth changes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from alpha.data import book as book_module
from alpha.data import open_events
from alpha.data.book import BookBuilder, LevelWriter
from alpha.errors import DataError
from alpha.events import Flag, Kind

LAST, NO_TS, SNAPSHOT, GAP = int(Flag.LAST), int(Flag.NO_TS_EVENT), int(Flag.SNAPSHOT), int(Flag.GAP)


def ready_book(**keywords: Any) -> BookBuilder:
    book = BookBuilder(**keywords)
    book.snapshot(100, [(10.0, 1.0), (9.0, 2.0)], [(11.0, 3.0), (12.0, 4.0)])
    return book


def test_top_levels_best_first() -> None:
    book = ready_book()
    assert book.top(3) == [(10.0, 11.0, 1.0, 3.0), (9.0, 12.0, 2.0, 4.0)]
    assert book.update(101, 103, [(10.0, 0.0), (9.5, 5.0)], [(11.0, 7.0), (99.0, 0.0)])
    assert book.top(2) == [(9.5, 11.0, 5.0, 7.0), (9.0, 12.0, 2.0, 4.0)]
    assert book.update(104, 104, [(9.5, 0.0), (9.0, 0.0)], [])
    assert book.top(2) == [(0.0, 11.0, 0.0, 7.0), (0.0, 12.0, 0.0, 4.0)]
    assert not book.take_gap()


def test_spot_duplicates_are_dropped_and_a_hole_lasts_until_a_snapshot() -> None:
    book = ready_book()
    assert not book.update(90, 100, [(10.0, 9.0)], [])  # older than the snapshot
    assert book.update(99, 101, [(10.0, 5.0)], [])  # reaches over it
    assert not book.update(99, 101, [(10.0, 6.0)], [])
    assert (book.duplicates, book.top(1)[0][2]) == (2, 5.0)
    assert book.update(102, 102, [], [])
    assert not book.take_gap()
    assert book.update(104, 104, [], [])  # 103 is missing
    assert book.take_gap()
    assert book.update(105, 105, [], [])
    assert book.take_gap()
    assert book.snapshot(200, [(10.0, 1.0)], [(11.0, 1.0)])
    assert book.take_gap()  # the jump
    assert book.update(201, 201, [], [])
    assert not book.take_gap()


def test_futures_updates_name_their_predecessor() -> None:
    book = ready_book()
    assert book.update(95, 110, [], [], 90)  # the first one after the snapshot
    assert book.update(150, 160, [], [], 110)  # ids may jump
    assert not book.take_gap()
    assert book.update(170, 180, [], [], 165)
    assert book.take_gap()


def test_futures_hole_between_snapshot_and_first_update() -> None:
    book = ready_book()
    assert book.update(120, 130, [], [], 119)
    assert book.take_gap()


def test_updates_that_came_before_the_snapshot_are_applied_after_it() -> None:
    book = BookBuilder()
    assert not book.update(95, 98, [(9.5, 9.0)], [])
    assert not book.update(99, 101, [(9.75, 8.0)], [])
    assert book.before_snapshot == 2
    book.snapshot(100, [(9.0, 1.0)], [(11.0, 1.0)])
    assert book.top(2) == [(9.75, 11.0, 8.0, 1.0), (9.0, 0.0, 1.0, 0.0)]
    assert book.before_snapshot == 0
    assert book.update(102, 102, [], [])
    assert not book.take_gap()


def test_waiting_updates_are_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "MAX_EARLY", 3)
    book = BookBuilder()
    for i in range(1, 8):
        book.update(i, i, [(float(i), 1.0)], [])
    assert book.before_snapshot == 7
    book.snapshot(4, [(1.0, 1.0)], [(90.0, 1.0)])
    assert [level[0] for level in book.top(9)] == [7.0, 6.0, 5.0, 1.0]  # the newest three were kept
    assert book.before_snapshot == 4


def test_an_old_snapshot_does_not_set_a_sound_book_back() -> None:
    book = ready_book()
    assert book.update(101, 105, [(10.0, 7.0)], [])
    assert not book.snapshot(103, [(1.0, 1.0)], [(2.0, 1.0)])
    assert book.top(1)[0][0] == 10.0
    assert book.update(106, 106, [], [])
    assert not book.take_gap()


def test_level_writer_tells_changes_deepest_first() -> None:
    writer = LevelWriter(3)
    a, b, c = (10.0, 11.0, 1.0, 1.0), (9.0, 12.0, 1.0, 1.0), (8.0, 13.0, 1.0, 1.0)
    assert writer.changes([a, b]) == [(1, b), (0, a)]
    assert writer.changes([a, b]) == []
    assert writer.changes([a, b, c]) == [(2, c)]
    assert writer.changes([b, c]) == [(2, (0.0, 0.0, 0.0, 0.0)), (1, c), (0, b)]


def line(recv: int, stream: str, **data: Any) -> str:
    return f"{recv} " + json.dumps({"stream": f"btcusdt@{stream}", "data": {"s": "BTCUSDT", **data}})


RAW = [
    line(1, "depth@100ms", e="depthUpdate", E=5, U=99, u=101, b=[["9.00", "2.0"]], a=[]),
    line(2, "bookTicker", u=7, b="10.00", B="1.0", a="10.01", A="2.5"),
    line(3, "trade", e="trade", E=9, T=8, t=70, p="10.01", q="0.5", m=False),
    line(4, "trade", e="trade", E=9, T=8, t=71, p="10.00", q="0.25", m=True),
    '5 {"lastUpdateId": 100, "bids": [["10.00", "1.0"]], "asks": [["10.01", "2.5"], ["10.05", "4.0"]]}',
    line(6, "depth@100ms", e="depthUpdate", E=11, U=102, u=102, b=[["9.00", "3.0"]], a=[["10.05", "0.0"]]),
    line(7, "depth@100ms", e="depthUpdate", E=12, U=105, u=106, b=[["9.00", "4.0"]], a=[]),
]
L1 = [
    (2, 2, Kind.QUOTE, 0, LAST | NO_TS, [10.0, 10.01, 1.0, 2.5, 7.0]),
    (8_000_000, 3, Kind.TRADE, 0, LAST, [10.01, 0.5, 1.0, 0.0, 70.0]),
    (8_000_000, 4, Kind.TRADE, 0, LAST, [10.0, 0.25, -1.0, 0.0, 71.0]),
]
DEEP = [
    *L1,
    (5, 5, Kind.DEPTH, 1, LAST | NO_TS | SNAPSHOT, [9.0, 10.05, 2.0, 4.0, 0.0]),
    (11_000_000, 6, Kind.DEPTH, 1, LAST, [9.0, 0.0, 3.0, 0.0, 0.0]),
    (12_000_000, 7, Kind.DEPTH, 1, LAST | GAP, [9.0, 0.0, 4.0, 0.0, 0.0]),
]


def raw_file(folder: Path, lines: list[str]) -> Path:
    path = folder / "spot.gz"
    path.write_bytes(gzip.compress("".join(text + "\n" for text in lines).encode()))
    return path


def rows(events: np.ndarray) -> list[tuple[Any, ...]]:
    return [
        (
            int(e["ts_event_ns"]),
            int(e["ts_recv_ns"]),
            Kind(int(e["kind"])),
            int(e["level"]),
            int(e["flags"]),
            e["v"].tolist(),
        )
        for e in events
    ]


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_raw_stream(tmp_path: Path, chunk: int) -> None:
    path = raw_file(tmp_path, RAW)
    shallow = open_events(path, chunk_events=chunk)
    assert rows(shallow.read_all()) == L1
    assert (shallow.bad_rows, shallow.rows_read, shallow.event_rows) == ({}, 7, 3)
    assert shallow.ignored_rows == {"depth_not_asked_for": 4}
    deep = open_events(path, levels=2, chunk_events=chunk)
    assert rows(deep.read_all()) == DEEP
    assert deep.bad_rows == {}
    assert (deep.rows_read, deep.event_rows, deep.ignored_rows) == (7, 6, {"merged_into_snapshot": 1})


def test_raw_lines_that_cannot_be_read(tmp_path: Path) -> None:
    ethereum = '9 {"stream":"ethusdt@bookTicker","data":{"u":1,"s":"ETHUSDT","b":"1","B":"1","a":"2","A":"1"}}'
    lines = [
        *RAW[1:3],
        ethereum,
        "noon {}",
        RAW[2][:-5],
        '9 {"u": 1}',
        line(9, "trade", e="trade", T=1, t=1, p="ten", q="1", m=True),
        line(9, "kline", e="kline"),
    ]
    path = raw_file(tmp_path, lines)
    source = open_events(path)
    assert rows(source.read_all()) == L1[:2]
    assert source.bad_rows == {"other_symbol": 1, "unparsable": 3, "unknown_message": 2}
    with pytest.raises(DataError, match=r"spot\.gz:3: bad row: other symbol: '9 {\"stream\":"):
        open_events(path, strict=True).read_all()


def test_a_cut_gzip_file_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = raw_file(tmp_path, RAW)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match=r"spot\.gz:\d+: not a readable gzip file"):
        open_events(path).read_all()


def depth_table(updates: list[tuple[Any, ...]]) -> pl.DataFrame:
    names = ["ts", "ts_exch", "seq", "snapshot", "first_u", "last_u", "side", "px", "qty"]
    return pl.DataFrame(updates, schema=names, orient="row")


def test_depth_table(tmp_path: Path) -> None:
    path = tmp_path / "depth.parquet"
    frame = depth_table(
        [
            (1, 10**6, 1, 0, 99, 101, 1, 9.0, 2.0),
            (2, None, 2, 1, 100, 100, 1, 10.0, 1.0),
            (2, None, 2, 1, 100, 100, -1, 11.0, 1.5),
            (3, 3 * 10**6, 3, 0, 102, 103, -1, 11.0, 0.0),
            (3, 3 * 10**6, 3, 0, 102, 103, -1, 12.0, 1.0),
            (4, 4 * 10**6, 4, 0, 104, 104, 1, 1.0, 1.0),
            (5, 5 * 10**6, 5, 0, 105, 105, 1, 9.0, 0.0),
        ]
    )
    frame.write_parquet(path)
    for chunk in (1, 2, 100):
        source = open_events(path, levels=2, chunk_events=chunk)
        assert rows(source.read_all()) == [
            (2, 2, Kind.DEPTH, 1, NO_TS | SNAPSHOT, [9.0, 0.0, 2.0, 0.0, 0.0]),
            (2, 2, Kind.QUOTE, 0, LAST | NO_TS | SNAPSHOT, [10.0, 11.0, 1.0, 1.5, 0.0]),
            (3 * 10**6, 3, Kind.QUOTE, 0, LAST, [10.0, 12.0, 1.0, 1.0, 0.0]),
            (5 * 10**6, 5, Kind.DEPTH, 1, LAST, [1.0, 0.0, 1.0, 0.0, 0.0]),
        ], chunk
        assert source.bad_rows == {}
        assert (source.rows_read, source.event_rows) == (7, 5)
        assert source.ignored_rows == {"merged_into_snapshot": 1, "no_change_in_these_levels": 1}
