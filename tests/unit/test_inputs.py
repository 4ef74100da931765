"""External series: into a stream, into a runtime, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from made import quote, stream, timer

import alpha
from alpha.cli.main import main
from alpha.data import with_inputs
from alpha.data.inputs import input_events, parse_option, read_series
from alpha.errors import DataError, InstrumentError, StateError
from alpha.events import ALL_INSTRUMENTS, Kind
from alpha.features.feature_set import FeatureSet
from alpha.features.native import native_rows
from alpha.instruments import Instruments

S = 10**9
FS = FeatureSet.from_dict(
    {
        "features": {
            "x": 'mid * input("rate")',
            "n": 'cumsum(input("news", max_age="3s"))',
            "b": 'of("B", input("rate"))',
        }
    }
)
TABLE = Instruments.of("A", "B")
MARKET = stream(*(quote(k * S, 1.0 + k, who=k % 2) for k in range(1, 12)))
SERIES = {"rate": (np.array([2, 5, 5]) * S, [0.5, 0.25, 2.0]), "news": (np.array([5, 1]) * S, [1.0, 3.0])}


def test_the_order_is_by_time_market_first_then_the_order_of_the_arguments() -> None:
    e = with_inputs(MARKET, FS, SERIES)
    assert len(e) == len(MARKET) + 5 and np.array_equal(e[e["kind"] == Kind.QUOTE], MARKET)
    assert (np.diff(e["ts_event_ns"]) >= 0).all()
    at_5 = e[e["ts_event_ns"] == 5 * S]
    assert at_5["kind"].tolist() == [Kind.QUOTE, Kind.INPUT, Kind.INPUT, Kind.INPUT]
    # "news" is 0 and "rate" 1, alphabetically; the arguments named rate first
    assert at_5["v"][1:, :2].tolist() == [[1.0, 0.25], [1.0, 2.0], [0.0, 1.0]]
    assert (e["instrument_id"][e["kind"] == Kind.INPUT] == ALL_INSTRUMENTS).all() and not e["flags"][
        e["kind"] == Kind.INPUT
    ].any()


def test_for_one_instrument_only() -> None:
    e = input_events(FS, SERIES, symbol="B", instruments=TABLE)
    assert (e["instrument_id"] == 1).all() and len(e) == 5
    with pytest.raises(InstrumentError, match="unknown instrument 'C'"):
        input_events(FS, SERIES, symbol="C", instruments=TABLE)
    with pytest.raises(DataError, match="go together"):
        input_events(FS, SERIES, symbol="B")


@pytest.mark.parametrize(
    ("series", "said"),
    [
        ({"funding": ([1], [1.0])}, r"reads no external series 'funding'; it reads: news, rate"),
        ({"rate": ([1.5], [1.0])}, "whole ns"),
        ({"rate": ([1, 2], [1.0])}, "as many values"),
    ],
)
def test_what_cannot_be_a_series(series: dict, said: str) -> None:
    with pytest.raises(DataError, match=said):
        with_inputs(MARKET, FS, series)


def test_in_the_stream_or_by_hand_is_the_same() -> None:
    whole, by_hand = (alpha.Runtime.from_features(FS, instruments=TABLE) for _ in range(2))
    e = with_inputs(MARKET, FS, SERIES)
    expected = whole.run(e)
    made = []
    for one in e:
        if one["kind"] == Kind.INPUT:
            name = FS.inputs[int(one["v"][0])]
            assert by_hand.set_input(name, float(one["v"][1]), int(one["ts_event_ns"])) == []
        else:
            made.append(by_hand.run(np.atleast_1d(one)))
    assert np.concatenate(made).tobytes() == expected.tobytes()
    assert by_hand.save_state() == whole.save_state()
    a = by_hand.feature_vector("A")
    assert a is not None and a.tolist() == [22.0, 4.0, 2.0]  # mid 11 x rate 2; 3 + 1; B's rate


def test_a_worker_takes_the_same_event_from_its_ring() -> None:
    inline, rt = (alpha.Runtime.from_features(FS, instruments=TABLE) for _ in range(2))
    for r in (inline,):
        r.run(MARKET[:5])
        r.set_input("rate", 3.0, 6 * S, symbol="B")
        r.run(MARKET[5:])
    with rt.start(overrun="refuse") as worker:
        for part in (MARKET[:5], rt.input_event("rate", 3.0, 6 * S, symbol="B"), MARKET[5:]):
            assert worker.push_many(part) == len(part)
        with pytest.raises(StateError, match="a worker owns"):
            rt.set_input("rate", 1.0, 20 * S)
    assert rt.save_state() == inline.save_state()


def test_set_input_tells_what_it_makes_and_what_is_wrong() -> None:
    fs = FeatureSet.from_dict({"features": {"x": 'input("rate")'}, "trigger": 'every("10s")'})
    with alpha.Runtime.from_features(fs, instruments=TABLE) as rt:
        assert rt.set_input("rate", 1.0, 1 * S) == []
        made = rt.set_input("rate", 2.0, 15 * S)  # both instruments pass 10 s
        assert [s.instrument_id for s in made] == [0, 1] and rt.feature_vector("A").tolist() == [1.0]  # type: ignore[union-attr]
        with pytest.raises(DataError, match=r"no external series 'x'; it reads: rate"):
            rt.set_input("x", 1.0, 16 * S)
        with pytest.raises(InstrumentError, match="unknown instrument 'C'"):
            rt.set_input("rate", 1.0, 16 * S, symbol="C")
        rt.set_input("rate", float("nan"), 17 * S, symbol="A")
        assert rt.stats()["rejected_by"] == {"NON_FINITE": 1}


def test_a_series_older_than_the_instrument_happens_at_its_own_time() -> None:
    fs = FeatureSet.from_dict({"features": {"x": 'input("r", max_age="1s")'}})
    late = stream(quote(10 * S, 1.0), input_events(fs, {"r": ([2 * S], [5.0])}), quote(11 * S, 1.0), quote(12 * S, 1.0))
    made = native_rows(fs, late, Instruments.of("A"))
    assert np.array_equal(made["values"][:, 0], [np.nan, 5.0, np.nan], equal_nan=True)
    assert made["ready"][:, 0].tolist() == [False, True, True]
    timers = native_rows(FeatureSet.from_dict({"features": {"x": "mid"}}), stream(quote(1, 1.0), timer(2)), TABLE)
    assert len(timers["ts_ns"]) == 1


def test_reading_tables(tmp_path: Path) -> None:
    t = [1_700_000_000 * S, 1_700_000_008 * S, 1_700_000_016 * S]
    frame = pl.DataFrame({"ts": t, "rate": [0.1, None, 0.3], "mark": [1.0, 2.0, 3.0]})
    frame.write_parquet(tmp_path / "r.parquet")
    frame.select("ts", "rate").write_csv(tmp_path / "r.csv")
    for file, column in (("r.parquet", "rate"), ("r.csv", None)):
        times, values = read_series(tmp_path / file, column)
        assert times.tolist() == [t[0], t[2]] and values.tolist() == [0.1, 0.3]
    with pytest.raises(DataError, match="there is no column 'z'; it has: rate, mark"):
        read_series(tmp_path / "r.parquet", "z")
    seconds = tmp_path / "s.csv"
    seconds.write_text("time;value\n2023-11-14T22:13:20;1\n")
    assert read_series(seconds, tz="UTC")[0].tolist() == [t[0]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ts,rate,mark\n1,2,3\n", "say which column is the value"),
        ("when,rate\n1,2\n", "one column must be the time"),
        ("ts,rate\n1700000000000000000,abc\n", "'abc', which is no number"),
        ("ts,rate\n,5\n", "missing or unreadable"),
    ],
)
def test_tables_that_are_no_series(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "x.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=said):
        read_series(file)
    with pytest.raises(DataError, match="does not exist"):
        read_series(tmp_path / "no.csv")


def test_the_option(tmp_path: Path) -> None:
    odd = tmp_path / "a:b.csv"
    odd.write_text("ts,x\n1,1\n")
    assert parse_option(f"rate={odd}") == ("rate", str(odd), None)
    assert parse_option("rate=f.csv:close") == ("rate", "f.csv", "close") and parse_option("r=f.csv")[2] is None
    for text in ("rate", "=f.csv", "rate="):
        with pytest.raises(DataError, match="--input takes NAME=FILE"):
            parse_option(text)


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Look-ahead of the native twin: the series arrives, and a series the set does not read is refused."""
    t0 = 1_700_000_000 * S
    t = t0 + np.arange(300) * S
    pl.DataFrame(
        {"ts": t, "bid_px": np.arange(300) + 1.0, "ask_px": np.arange(300) + 2.0, "bid_qty": 1.0, "ask_qty": 1.0}
    ).write_csv(tmp_path / "q.csv")
    pl.DataFrame({"ts": t[::50], "rate": np.arange(6.0)}).write_csv(tmp_path / "rate.csv")
    (tmp_path / "set.toml").write_text("[features]\nx = 'mid * input(\"rate\")'\n")
    args = ["--features", str(tmp_path / "set.toml"), "--data", str(tmp_path / "q.csv"), "--json"]
    assert (
        main(["lookahead", *args, "--cuts", "3", "--twin", "native", "--input", f"rate={tmp_path / 'rate.csv'}"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["compared"] > 100
    assert main(["lookahead", *args, "--input", f"other={tmp_path / 'rate.csv'}"]) == 2
    assert "reads no external series 'other'; it reads: rate" in capsys.readouterr().err
