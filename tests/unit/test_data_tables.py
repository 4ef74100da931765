"""CSV, Parquet and frames against events written out by hand."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from alpha.data import open_events
from alpha.errors import AlphaError, DataError, InstrumentError
from alpha.events import Flag, Kind
from alpha.instruments import Instrument, Instruments

NAN = float("nan")
S = 10**9
LAST, NO_QTY, NO_TS = int(Flag.LAST), int(Flag.NO_QTY), int(Flag.NO_TS_EVENT)
QUOTES = "ts,bid_px,ask_px,bid_qty,ask_qty\n"
L1 = "ts,kind,bid,ask,bid_size,ask_size,last,last_size,side\n"


def rows(events: np.ndarray) -> list[tuple[Any, ...]]:
    """(ts_event, ts_recv, instrument, kind, flags, v), NaN as None so that == works."""
    return [
        (
            int(e["ts_event_ns"]),
            int(e["ts_recv_ns"]),
            int(e["instrument_id"]),
            Kind(int(e["kind"])),
            int(e["flags"]),
            [None if np.isnan(x) else float(x) for x in e["v"]],
        )
        for e in events
    ]


def write(tmp_path: Path, text: str, name: str = "data.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_generic_quotes_and_trades(tmp_path: Path) -> None:
    text = (
        "ts,bid_px,ask_px,bid_qty,ask_qty,px,qty,side,seq\n10,1.5,1.75,3,4,,,,7\n11,,,,,1.75,2,1,8\n12,,,,,1.5,,-1,\n"
    )
    source = open_events(write(tmp_path, text), ts_unit="s")
    assert rows(source.read_all()) == [
        (10 * S, 0, 0, Kind.QUOTE, LAST, [1.5, 1.75, 3.0, 4.0, 7.0]),
        (11 * S, 0, 0, Kind.TRADE, LAST, [1.75, 2.0, 1.0, 0.0, 8.0]),
        (12 * S, 0, 0, Kind.TRADE, LAST | NO_QTY, [1.5, None, -1.0, 0.0, 0.0]),
    ]
    assert source.instruments.symbols == ("data",)
    assert (source.rows_read, source.bad_rows) == (3, {})


@pytest.mark.parametrize(
    ("name", "separator", "zipped"),
    [("a.csv", ",", False), ("a.csv", ";", False), ("a.tsv", "\t", False), ("a.csv.gz", ",", True)],
)
def test_text_dialects_mean_the_same(tmp_path: Path, name: str, separator: str, zipped: bool) -> None:
    text = (QUOTES + '10,1,2,3,4\r\n\r\n"11","1","2",3,4').replace(",", separator)
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    events = open_events(path, ts_unit="s").read_all()
    assert [(r[0], r[5]) for r in rows(events)] == [(t * S, [1.0, 2.0, 3.0, 4.0, 0.0]) for t in (10, 11)]


def test_column_mapping(tmp_path: Path) -> None:
    path = write(tmp_path, "when,b,a,ts\n10,1,2,junk\n")
    mapping = {"ts": "when", "bid_px": "b", "ask_px": "a"}
    events = open_events(path, columns=mapping, ts_unit="ms").read_all()
    assert rows(events) == [(10**7, 0, 0, Kind.QUOTE, LAST | NO_QTY, [1.0, 2.0, None, None, 0.0])]


def test_l1_without_exchange_time(tmp_path: Path) -> None:
    text = L1 + "1723161254000000001,1,1.5,1.75,2,3,,,\n1723161254000000002,2,,,,,1.5,7,-1\n"
    assert rows(open_events(write(tmp_path, text)).read_all()) == [
        (1723161254000000001, 0, 0, Kind.QUOTE, LAST, [1.5, 1.75, 2.0, 3.0, 0.0]),
        (1723161254000000002, 0, 0, Kind.TRADE, LAST, [1.5, 7.0, -1.0, 0.0, 0.0]),
    ]


def test_l1_with_exchange_time_and_ids(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pl.DataFrame(
        {
            "ts": [1723161254000000005, 1723161254000000006],
            "ts_exch": [None, 1723161255000000000],
            "seq": [1, 2],
            "kind": [1, 2],
            "bid": [1.5, None],
            "ask": [1.75, None],
            "bid_size": [2.0, None],
            "ask_size": [3.0, None],
            "last": [None, 1.5],
            "last_size": [None, 7.0],
            "side": [None, 0],
            "id": [90, 91],
        },
        schema_overrides={"kind": pl.UInt8, "side": pl.Int8},
    ).write_parquet(path)
    assert rows(open_events(path).read_all()) == [
        (1723161254000000005, 1723161254000000005, 0, Kind.QUOTE, LAST | NO_TS, [1.5, 1.75, 2.0, 3.0, 90.0]),
        (1723161255000000000, 1723161254000000006, 0, Kind.TRADE, LAST, [1.5, 7.0, 0.0, 0.0, 91.0]),
    ]


def test_declared_unit_holds_for_l1_too(tmp_path: Path) -> None:
    path = write(tmp_path, L1 + "1723161254000,1,1,2,3,4,,,\n")
    assert int(open_events(path, ts_unit="ms").read_all()["ts_event_ns"][0]) == 1723161254 * S


@pytest.mark.parametrize(
    ("text", "unit", "tz", "ns"),
    [
        ("1723161254.087891268", "s", None, 1723161254087891268),  # a float64 would be 188 ns off
        ("1723161254087891268", None, None, 1723161254087891268),
        ("1723161254087.891268", "ms", None, 1723161254087891268),
        ("2024-01-02T09:30:00Z", None, None, 1704187800 * S),
        ("2024-01-02 09:30:00.123456789+01:00", None, None, 1704184200 * S + 123456789),
        ("2024-01-02T09:30:00.5-0530", None, None, 1704207600 * S + S // 2),
        ("2024-01-02 09:30:00", None, "America/New_York", 1704205800 * S),
        ("2024-07-02 09:30", None, "America/New_York", 1719927000 * S),
    ],
)
def test_times(tmp_path: Path, text: str, unit: str | None, tz: str | None, ns: int) -> None:
    path = write(tmp_path, f"{QUOTES}{text},1,2,3,4\n")
    assert open_events(path, ts_unit=unit, tz=tz).read_all()["ts_event_ns"].tolist() == [ns]


def test_numbers_need_a_unit(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"data\.csv: column 'ts' holds numbers: say their unit with --ts-unit, one of ns, us, ms, s"
    ):
        open_events(write(tmp_path, QUOTES + "1723161254,1,2,3,4\n"))


def test_naive_times_offer_a_zone(tmp_path: Path) -> None:
    path = write(tmp_path, QUOTES + "2024-01-02 09:30:00,1,2,3,4\n")
    with pytest.raises(DataError, match=r"without a zone.*tz='UTC'"):
        open_events(path)
    with pytest.raises(DataError, match="'Mars/X' is unknown"):
        open_events(path, tz="Mars/X")
    frame = pd.DataFrame({"px": [1.0]}, index=pd.to_datetime(["2024-01-02 09:30"]))
    with pytest.raises(DataError, match=r"no time zone.*tz="):
        open_events(frame)
    with pytest.raises(DataError, match="without a zone"):
        open_events(pl.DataFrame({"ts": frame.index.to_list(), "px": [1.0]}))


def test_times_that_daylight_saving_skips_or_repeats_are_bad_rows(tmp_path: Path) -> None:
    text = QUOTES + "2024-03-10 02:30:00,1,2,3,4\n2024-11-03 01:30:00,1,2,3,4\n2024-03-10 03:30:00,1,2,3,4\n"
    source = open_events(write(tmp_path, text), tz="America/New_York")
    assert source.read_all()["ts_event_ns"].tolist() == [1710055800 * S]
    assert source.bad_rows == {"bad_time": 2}


BAD = (
    QUOTES
    + "10,1,2,3,4\n"  # line 2
    + "11,1,2,3\n"  # 3: a field is missing
    + "\n"  # 4: no row
    + "12,x,2,3,4\n"  # 5: no number
    + "later,1,2,3,4\n"  # 6: no time
    + "13,1,2,3,4,5\n"  # 7: a field too many
    + "14,1,2,3,4\n"
)


def test_bad_rows_are_counted_by_reason(tmp_path: Path) -> None:
    source = open_events(write(tmp_path, BAD), ts_unit="s")
    assert [r[0] for r in rows(source.read_all())] == [10 * S, 14 * S]
    assert source.bad_rows == {"wrong_number_of_columns": 2, "unparsable": 1, "bad_time": 1}
    assert (source.rows_read, source.event_rows, source.ignored_rows) == (7, 2, {"empty_line": 1})


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (BAD, r"data\.csv:3: bad row: wrong number of columns: 4 instead of 5 in '11,1,2,3'"),
        (
            BAD.replace("11,1,2,3\n", ""),
            r"data\.csv:4: bad row: unparsable: column 'bid_px' holds 'x', which is no number",
        ),
        (
            QUOTES + "10,1,2,3,4\n1e400,1,2,3,4\n",
            r"data\.csv:3: bad row: bad time: column 'ts' holds '1e400', which is no time",
        ),
        (
            L1 + "1723161254000000001,1,1,2,3,4,,,\n1723161254000000001,9,1,2,3,4,,,\n",
            r"data\.csv:3: bad row: unknown kind: column 'kind' holds '9'",
        ),
    ],
)
def test_strict_stops_at_the_first_with_file_and_line(tmp_path: Path, text: str, place: str) -> None:
    path = write(tmp_path, text)
    unit = "s" if text.startswith(QUOTES) else None
    with pytest.raises(DataError, match=place):
        open_events(path, ts_unit=unit, strict=True, chunk_events=1).read_all()


def test_missing_prices_become_events_that_the_guard_rejects(tmp_path: Path) -> None:
    text = L1 + "1723161254000000001,1,,2,3,4,,,\n1723161254000000002,2,,,,,nan,7,1\n"
    source = open_events(write(tmp_path, text))
    assert [r[5][0] for r in rows(source.read_all())] == [None, None]
    assert source.bad_rows == {}


BARS = "ts,open,high,low,close,volume\n2024-01-02T14:30:00Z,1,4,0.5,2,10\n2024-01-02T14:31:00Z,2,3,1.5,3,\n"
BAR0 = 1704205800 * S


@pytest.mark.parametrize(
    ("stamp", "bar", "close"), [("close", None, BAR0), ("start", None, BAR0 + 60 * S), ("start", "5m", BAR0 + 300 * S)]
)
def test_bars_carry_their_close_time(tmp_path: Path, stamp: str, bar: str | None, close: int) -> None:
    events = open_events(write(tmp_path, BARS), bar_stamp=stamp, bar=bar).read_all()
    assert rows(events) == [
        (close, 0, 0, Kind.BAR, LAST, [1.0, 4.0, 0.5, 2.0, 10.0]),
        (close + 60 * S, 0, 0, Kind.BAR, LAST | NO_QTY, [2.0, 3.0, 1.5, 3.0, None]),
    ]


def test_bars_ask_for_their_stamp_or_take_the_instrument_s(tmp_path: Path) -> None:
    path = write(tmp_path, BARS)
    with pytest.raises(DataError, match=r"data\.csv: say whether.*bar_stamp='start' or 'close'"):
        open_events(path)
    table = Instruments.of(Instrument(symbol="QQQ", path="data.csv", bar_stamp="start", bar="5m"))
    source = open_events(path, instruments=table)
    assert int(source.read_all()["ts_event_ns"][0]) == BAR0 + 300 * S
    assert source.instruments.symbols == ("QQQ",)


def test_a_pandas_frame_with_missing_values_is_one_event_a_row() -> None:
    index = pd.to_datetime(["2024-01-02 09:30", "2024-01-02 09:31"]).tz_localize("America/New_York")
    frame = pd.DataFrame({"bid_px": [1.0, NAN], "ask_px": [2.0, NAN], "px": [NAN, 1.5], "qty": [NAN, 2.0]}, index=index)
    assert rows(open_events(frame, instrument="A").read_all()) == [
        (1704205800 * S, 0, 0, Kind.QUOTE, LAST | NO_QTY, [1.0, 2.0, None, None, 0.0]),
        (1704205860 * S, 0, 0, Kind.TRADE, LAST, [1.5, 2.0, 0.0, 0.0, 0.0]),
    ]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_the_resolution_of_a_pandas_index_does_not_matter(unit: str) -> None:
    index = pd.to_datetime(["2024-01-02 09:30"]).tz_localize("UTC").as_unit(unit)
    events = open_events(pd.DataFrame({"px": [1.5]}, index=index)).read_all()
    assert events["ts_event_ns"].tolist() == [1704187800 * S]


def test_a_frame_of_several_instruments_is_a_stream_by_time() -> None:
    times = pd.to_datetime(["2024-01-02 09:30", "2024-01-02 09:31"]).tz_localize("UTC")
    index = pd.MultiIndex.from_product([["B", "A"], times]).swaplevel()
    frame = pd.DataFrame({name: [1.0, 2.0, 3.0, 4.0] for name in ("open", "high", "low", "close")}, index=index)
    source = open_events(frame, bar_stamp="close")
    found = [(r[0] // S - 1704187800, source.instruments.symbol(r[2]), r[5][3]) for r in rows(source.read_all())]
    assert found == [(0, "B", 1.0), (0, "A", 3.0), (60, "B", 2.0), (60, "A", 4.0)]


def test_polars_frames_convert_their_zone() -> None:
    ts = pl.Series([pd.Timestamp("2024-01-02 09:30")]).dt.replace_time_zone("America/New_York")
    events = open_events(pl.DataFrame({"ts": ts, "px": [1.5], "symbol": ["ES"]})).read_all()
    assert events["ts_event_ns"].tolist() == [1704205800 * S]


def test_symbols_in_the_data_get_the_ids_of_the_table(tmp_path: Path) -> None:
    path = write(tmp_path, "ts,px,symbol\n10,1,B\n11,2,A\n12,3,B\n")
    assert open_events(path, ts_unit="s").read_all()["instrument_id"].tolist() == [0, 1, 0]
    declared = open_events(path, ts_unit="s", instruments=Instruments.of("A", "B"))
    assert declared.read_all()["instrument_id"].tolist() == [1, 0, 1]
    with pytest.raises(InstrumentError, match="unknown instrument 'B'; known: A"):
        open_events(path, ts_unit="s", instruments=Instruments.of("A"))


def test_tick_and_lot_are_inferred_where_not_declared(tmp_path: Path) -> None:
    text = "ts,bid_px,ask_px,bid_qty,ask_qty,px,qty\n10,1.25,1.5,300,0.5,,\n11,,,,,1.375,7\n"
    path = write(tmp_path, text)
    source = open_events(path, ts_unit="s")
    # the trade between two points of the grid does not refine it
    assert (source.instruments[0].tick_size, source.instruments[0].lot_size) == (0.01, 0.1)
    assert "inferred" in source.describe()
    declared = open_events(path, ts_unit="s", instruments=Instruments.of(Instrument(symbol="data", tick_size=0.25)))
    assert declared.instruments[0].tick_size == 0.25


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])
def test_chunks_change_nothing(tmp_path: Path, chunk: int) -> None:
    rng = np.random.default_rng(5)
    lines = [f"{i + 1},{rng.integers(100, 200) / 100},2.5,{rng.integers(1, 9)},4" for i in range(60)]
    lines[17], lines[33] = "broken", "33,x,2,3,4"
    path = write(tmp_path, QUOTES + "\n".join(lines) + "\n")
    whole = open_events(path, ts_unit="s")
    cut = open_events(path, ts_unit="s", chunk_events=chunk)
    assert cut.instruments == whole.instruments
    pieces = list(cut)
    assert max(map(len, pieces)) <= chunk
    assert np.concatenate(pieces).tobytes() == whole.read_all().tobytes()
    assert cut.bad_rows == whole.bad_rows == {"wrong_number_of_columns": 1, "unparsable": 1}


def merged(tmp_path: Path, files: list[list[int]], **keywords: Any) -> list[int]:
    """Positions (100 × file + row) in merged order; each file is a list of times in s."""
    paths = []
    for number, times in enumerate(files):
        body = "".join(f"{t},{100 * number + row + 1}\n" for row, t in enumerate(times))
        paths.append(write(tmp_path, "ts,px\n" + body, f"f{number}.csv"))
    events = open_events(paths, ts_unit="s", **keywords).read_all()
    return [int(px) - 1 for px in events["v"][:, 0]]


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_files_merge_by_time_then_argument_then_row(tmp_path: Path, chunk: int) -> None:
    assert merged(tmp_path, [[1, 3, 3, 9], [1, 2, 3, 3]], chunk_events=chunk) == [0, 100, 101, 1, 2, 102, 103, 3]
    # a time that steps back stays where it arrived
    assert merged(tmp_path, [[5, 2, 6], [1, 5, 6]], chunk_events=chunk) == [100, 0, 1, 101, 2, 102]
    assert merged(tmp_path, [[], [2], [1, 3]], chunk_events=chunk) == [200, 100, 201]


@pytest.mark.parametrize("seed", range(5))
def test_merge_equals_a_stable_sort_by_running_time(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    files = [np.sort(rng.integers(1, 30, rng.integers(1, 40))).tolist() for _ in range(3)]
    order = sorted((t, n, i) for n, times in enumerate(files) for i, t in enumerate(times))
    assert merged(tmp_path, files, chunk_events=int(rng.integers(1, 9))) == [100 * n + i for _, n, i in order]


@pytest.mark.parametrize(
    ("name", "text", "keywords", "message"),
    [
        ("none.csv", None, {}, r"none\.csv does not exist"),
        ("a.csv", "a,b,c\n1,2,3\n", {}, r"a\.csv: these columns are not understood: a, b, c\. Expected ts"),
        ("a.csv", "", {}, r"a\.csv:1: the first line must name"),
        ("a.csv", "1,2\n3,4\n", {}, r"a\.csv:1: the first line holds numbers"),
        ("a.csv", "ts,px,px\n", {}, r"each once"),
        ("a.xyz", "ts,px\n", {}, r"a\.xyz: cannot tell its format.*format="),
        ("a.parquet", "ts,px\n", {}, r"a\.parquet is not a readable Parquet file"),
        ("a.zip", "ts,px\n", {}, r"a\.zip is not a readable zip file"),
        ("a.csv.gz", "ts,px\n", {}, r"a\.csv\.gz: cannot be decompressed"),
        (
            "a.csv",
            "t,p\n1,2\n",
            {"columns": {"ts": "when", "px": "p"}},
            "column 'when' is not in the data; it has: t, p",
        ),
        ("a.csv", "t,p\n1,2\n", {"columns": {"ts": "t", "bid": "p"}}, "unknown name 'bid'; names are: ts, ts_recv"),
        ("a.csv", "ts,px\n1,2\n", {"ts_unit": "min"}, "ts_unit must be one of ns, us, ms, s"),
        ("a.csv", "ts,px\n1,2\n", {"format": "xml"}, "format 'xml' is unknown"),
        ("a.csv", "ts,px\n1,2\n", {"levels": 11}, "levels must be from 1 to 10"),
        ("a.csv", "ts,px\n1,2\n", {"clock": "wall"}, "clock must be"),
        ("a.csv", "ts,px\n1,2\n", {"chunk_events": 0}, "chunk_events must be at least 1"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    tmp_path: Path, name: str, text: str | None, keywords: dict[str, Any], message: str
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(AlphaError, match=message) as caught:
        open_events(path, **keywords).read_all()
    assert "\n" not in str(caught.value)


def test_other_objects_are_refused() -> None:
    with pytest.raises(DataError, match="cannot read events from int"):
        open_events(42)


def test_the_data_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = write(tmp_path, QUOTES + "10,1,2,3,4\n")
    assert open_events(path, ts_unit="s").data_sha256() == hashlib.sha256(path.read_bytes()).hexdigest()
