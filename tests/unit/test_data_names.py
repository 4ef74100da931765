"""Columns under other people's names, words for sides, and messages that name the user's own columns."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from alpha.data import open_events
from alpha.data.columns import layout
from alpha.errors import DataError
from alpha.events import Kind


def write(tmp_path: Path, text: str, name: str = "data.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("header", "row", "kind", "values"),
    [
        ("ts,bid,ask,bid_size,ask_size", "10,1,2,3,4", Kind.QUOTE, [1.0, 2.0, 3.0, 4.0, 0.0]),
        ("Timestamp,Bid Price,Ask Price,Bid Size,Ask Size", "10,1,2,3,4", Kind.QUOTE, [1.0, 2.0, 3.0, 4.0, 0.0]),
        ("time,price,size,side", "10,1,2,-1", Kind.TRADE, [1.0, 2.0, -1.0, 0.0, 0.0]),
        ("ts,price,volume", "10,1,2", Kind.TRADE, [1.0, 2.0, 0.0, 0.0, 0.0]),
        ("Datetime,Open,High,Low,Close,Volume", "10,1,3,0.5,2,7", Kind.BAR, [1.0, 3.0, 0.5, 2.0, 7.0]),
        ("ts,open,high,low,close,volume,price", "10,1,3,0.5,2,7,9", Kind.BAR, [1.0, 3.0, 0.5, 2.0, 7.0]),
        ("ts,bid,ask,last,volume", "10,1,2,1.5,9", Kind.QUOTE, [1.0, 2.0, None, None, 0.0]),
        ("ts,bid,ask,price,size", "10,,,1.5,9", Kind.TRADE, [1.5, 9.0, 0.0, 0.0, 0.0]),
        ("ts,bid_px,ask_px,bid,size", "10,1,2,9,9", Kind.QUOTE, [1.0, 2.0, None, None, 0.0]),
    ],
)
def test_usual_names_are_understood(
    tmp_path: Path, header: str, row: str, kind: Kind, values: list[float | None]
) -> None:
    source = open_events(write(tmp_path, f"{header}\n{row}\n"), ts_unit="s", bar_stamp="close")
    (event,) = source.read_all()
    assert (int(event["ts_event_ns"]), event["kind"]) == (10 * 10**9, kind)
    assert [None if v != v else float(v) for v in event["v"]] == values


def test_what_was_declared_comes_before_other_names() -> None:
    found = layout(["when", "time", "price", "p"], {"ts": "when", "px": "p"}).columns
    assert found == {"ts": "when", "px": "p"}


def test_two_columns_for_one_meaning_are_refused_and_the_flag_is_shown(tmp_path: Path) -> None:
    path = write(tmp_path, "time,timestamp,price\n1,1,1\n")
    with pytest.raises(
        DataError, match=r"columns time and timestamp could each be ts: .*--column ts=time \(Python: col"
    ):
        open_events(path, ts_unit="s")
    assert len(open_events(path, ts_unit="s", columns={"ts": "time"}).read_all()) == 1


def test_only_what_is_not_understood_is_listed_with_both_remedies(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_events(write(tmp_path, "ts,geld,brief\n1,2,3\n"))
    text = str(caught.value)
    assert "data.csv: these columns are not understood: geld, brief. Expected ts and" in text
    assert "--column bid_px=geld (Python: columns={'bid_px': 'geld'})" in text


@pytest.mark.parametrize(
    ("word", "side"),
    [
        *((word, 1) for word in ("BUY", "buy", " b ", "Buyer", "1", "+1")),
        *((word, -1) for word in ("SELL", "s", "seller", "-1.0")),
        *((word, 0) for word in ("", "0", "unknown")),
    ],
)
def test_words_for_the_aggressor(tmp_path: Path, word: str, side: int) -> None:
    source = open_events(write(tmp_path, f"ts,px,qty,side\n10,1.5,2,{word}\n"), ts_unit="s")
    assert source.read_all()["v"][:, 2].tolist() == [side]
    assert source.bad_rows == {}


def test_a_categorical_side_of_a_frame_and_a_word_that_is_none(tmp_path: Path) -> None:
    times = pd.to_datetime(["2024-01-02 09:30", "2024-01-02 09:31"]).tz_localize("UTC")
    frame = pl.DataFrame({"ts": times, "px": [1.0, 2.0], "side": pl.Series(["Sell", "Buy"], dtype=pl.Categorical)})
    assert open_events(frame).read_all()["v"][:, 2].tolist() == [-1.0, 1.0]
    path = write(tmp_path, "ts,px,side\n10,1,BUY\n11,1,sideways\n")
    source = open_events(path, ts_unit="s")
    assert (len(source.read_all()), source.bad_rows) == (1, {"unparsable": 1})
    with pytest.raises(DataError, match=r"data\.csv:3: .*column 'side' holds 'sideways', which is no side"):
        open_events(path, ts_unit="s", strict=True).read_all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ts,ts_exch,kind,bid,ask\n5,6,1,1,2\n", ["column 'ts_exch' holds numbers", "--ts-unit", "ts_unit='ms'"]),
        ("Time,price\n5,1\n", ["column 'Time' holds numbers", "--ts-unit"]),
        (
            "local_time,price\n2024-01-02 09:30,1\n",
            ["column 'local_time' holds times without a zone", "--tz", "tz='UTC'"],
        ),
    ],
)
def test_time_messages_name_file_column_and_flag(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        open_events(write(tmp_path, text))
    for word in ["data.csv: ", *words]:
        assert word in str(caught.value)


def test_strict_names_the_user_s_own_column(tmp_path: Path) -> None:
    path = write(tmp_path, "Time,Price,Size\n5,1,x\n")
    with pytest.raises(
        DataError, match=r"data\.csv:2: bad row: unparsable: column 'Size' holds 'x', which is no number"
    ):
        open_events(path, ts_unit="s", strict=True)


def test_a_wrong_zone_is_refused_where_none_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="time zone 'Nope' is unknown"):
        open_events(write(tmp_path, "ts,px\n5,1\n"), ts_unit="s", tz="Nope")


def test_a_link_of_the_system_is_no_zone(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="time zone 'Factory' is unknown"):
        open_events(write(tmp_path, "ts,px\n2024-01-02 09:30,1\n"), tz="Factory")
