"""Damaged, empty and misnamed files are one sentence with the file's name; a source is read once."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from alpha.data import open_events
from alpha.errors import AlphaError, DataError
from alpha.events import Kind

MESSAGE = "34200.5,1,1,5,1000000,1\n"
BOOK = "1000200,7,1000000,5\n"


def lobster(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("T_2012-06-21_1_2_message_1.csv", MESSAGE * 40)
        file.writestr("T_2012-06-21_1_2_orderbook_1.csv", BOOK * 40)
    return path


def parquet(path: Path) -> Path:
    ts = np.arange(60) + 1723161254000000000
    pl.DataFrame({"ts": ts, "px": np.arange(60) / 7 + 1, "side": ["BUY"] * 60}).write_parquet(path)
    return path


@pytest.mark.parametrize(("name", "seed"), [("a.zip", 1), ("a.parquet", 2), ("a.csv.gz", 3), ("a.csv", 4)])
def test_no_flipped_byte_is_more_than_one_sentence(tmp_path: Path, name: str, seed: int) -> None:
    path = tmp_path / name
    text = "ts,px,qty\n" + "".join(f'{1723161254000000000 + i},1.5,"2"\n' for i in range(20))
    if name.endswith("zip"):
        lobster(path)
    elif name.endswith("parquet"):
        parquet(path)
    else:
        path.write_bytes(gzip.compress(text.encode(), mtime=0) if name.endswith("gz") else text.encode())
    sound = path.read_bytes()
    rng = np.random.default_rng(seed)
    refused = 0
    for at in rng.permutation(len(sound))[:150]:
        data = bytearray(sound)
        data[at] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            open_events(path).read_all()
        except AlphaError as exc:
            refused += 1
            assert str(path) in str(exc) and "\n" not in str(exc)
    assert refused > 5


def test_a_checksum_that_does_not_hold_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("T_2012-06-21_1_2_message_1.csv", MESSAGE)
        file.writestr("T_2012-06-21_1_2_orderbook_1.csv", BOOK)
    path.write_bytes(path.read_bytes().replace(b"34200.5", b"34201.5"))
    with pytest.raises(DataError, match=r"a\.zip:T_2012-06-21_1_2_message_1\.csv: cannot be decompressed: Bad CRC"):
        open_events(path).read_all()


@pytest.mark.parametrize(("make", "what", "flag"), [(parquet, "Parquet", "parquet"), (lobster, "zip", "lobster-zip")])
def test_a_name_that_says_csv_and_content_that_does_not(tmp_path: Path, make: object, what: str, flag: str) -> None:
    path = tmp_path / "fake.csv"
    make(path)  # type: ignore[operator]
    with pytest.raises(DataError, match=rf"fake\.csv is a {what} file by its first bytes, .*--format {flag} "):
        open_events(path)
    assert len(open_events(path, format=flag).read_all()) > 0


@pytest.mark.parametrize("text", ["ts,p\rx\n1,2\n", "\0\0,\0\n", 'ts,px\n1,"2\r3"\n'])
def test_text_that_is_no_table(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode())
    try:
        source = open_events(path, ts_unit="s")
        assert len(source.read_all()) == 0 and sum(source.bad_rows.values()) == 1
    except DataError as exc:
        assert f"{path}:1: the first line" in str(exc)


def test_a_time_beyond_any_event_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    line = '{} {{"data": {{"s": "A", "u": 1, "b": "1", "B": "1", "a": "2", "A": "1", "T": {}}}}}\n'
    path.write_bytes(gzip.compress((line.format(10**30, 1) + line.format(5, 10**16) + line.format(5, 1)).encode()))
    source = open_events(path)
    assert (len(source.read_all()), source.bad_rows) == (1, {"unparsable": 2})


def test_tables_of_depth_and_lobster_as_text(tmp_path: Path) -> None:
    depth = tmp_path / "d.csv"
    depth.write_text(
        "ts,ts_exch,seq,snapshot,first_u,last_u,side,px,qty\n1,,1,1,1,1,1,9.5,1\n1,,1,1,1,1,-1,10.5,2\nx,,2,0,2,2,1,9,1\n"
    )
    source = open_events(depth)
    assert source.read_all()["v"][0, :4].tolist() == [9.5, 10.5, 1.0, 2.0]
    assert (source.bad_rows, source.rows_read, source.event_rows) == ({"unparsable": 1}, 3, 2)
    with pytest.raises(DataError, match=r"d\.csv:4: bad row: unparsable: column 'ts' holds 'x'"):
        open_events(depth, strict=True).read_all()
    book = tmp_path / "l.csv"
    book.write_text("ts,event_type,last,last_size,side,bid_px_0,bid_sz_0,ask_px_0,ask_sz_0\n5,1,,,,1.5,2,1.75,3\n")
    assert open_events(book).read_all()["v"][0, :4].tolist() == [1.5, 1.75, 2.0, 3.0]


def test_a_source_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("ts,px\n1,2\n2,3\n")
    frame = pl.DataFrame({"ts": [10**18], "px": [1.0]})
    for source in (open_events(path, ts_unit="s"), open_events(frame)):
        assert len(source.read_all()) > 0
        with pytest.raises(DataError, match=r"were read already: .*open it again with alpha\.open_events"):
            source.read_all()
        with pytest.raises(DataError, match="were read already"):
            next(iter(source))


def test_a_source_without_events_says_so_and_why(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("ts,px\nx,1\n\n1\n")
    source = open_events(path, ts_unit="s")
    assert source.empty
    assert source.why_empty().endswith(
        "a.csv: no events: 3 rows read: 2 bad (wrong number of columns 1, bad time 1), 1 ignored (empty line 1)"
    )
    path.write_text("ts,px\n1,1\n")
    assert not open_events(path, ts_unit="s").empty


def test_kinds_and_missing_sizes_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("ts,bid,ask,price,size\n1,1,2,,\n2,,,3,1\n3,,,3,\n")
    source = open_events(path, ts_unit="s")
    assert source.first_kinds == {Kind.QUOTE, Kind.TRADE}
    source.read_all()
    assert dict(source.kinds) == {Kind.QUOTE: 1, Kind.TRADE: 2}
    assert dict(source.unsized) == {Kind.QUOTE: 1, Kind.TRADE: 1}


def test_an_empty_name_is_not_the_present_folder() -> None:
    with pytest.raises(DataError, match="the name of a data file is empty"):
        open_events("")
