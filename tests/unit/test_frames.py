"""``features_of``: what goes in comes out, and a stream that is cut anywhere gives the same bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from byhand import S, made_calendars
from streams import stream

import alpha
from alpha._core.guard import guard_events, guard_memory
from alpha.errors import AlphaError, DataError
from alpha.features import batch, frames, parity
from alpha.features.feature_set import FeatureSet
from alpha.features.frames import features_of, starts_again

BASE = 1_700_000_000 * S
NAMES = ["a", "b", "c"]


def _set(features: dict[str, str], trigger: str = "quote", **settings: str) -> FeatureSet:
    return FeatureSet.from_dict({"features": features, "trigger": trigger, "stream": settings})


SIMPLE = _set({"m": "mean(mid, 3)", "s": "spread / mid"})
SESSIONS = {"session_break": "session", "calendar": "MADE"}
RICH = {
    "e": "ema(mid, span=5)",
    "s": 'std(mid, "20s")',
    "o": "cumsum(ofi)",
    "t": "mean(trade_sign, 3)",
    "d": "seconds_since_open",
    "n": "mid * sin_day + 1",
}


def _quotes(n: int = 40) -> pl.DataFrame:
    rng = np.random.default_rng(n)
    bid = 100.0 + 0.5 * rng.integers(0, 9, n)
    ts = pl.Series(BASE + np.cumsum(rng.integers(1, 9, n)) * S).cast(pl.Datetime("ns", "UTC"))
    return pl.DataFrame(
        {"ts": ts, "bid_px": bid, "ask_px": bid + 0.5, "bid_qty": bid * 0 + 1.0, "ask_qty": bid * 0 + 2.0}
    )


def _expected(fs: FeatureSet, frame: pl.DataFrame) -> tuple[batch.Detail, list[str]]:
    source = alpha.open_events(frame, clock=fs.stream.clock, bar_stamp="close")
    events = source.read_all()
    accepted = parity.guard(fs, events, source.instruments) == 0
    return batch.compute_detail(fs, events, source.instruments, accepted), list(source.instruments.symbols)


def _check(out: pl.DataFrame, fs: FeatureSet, frame: pl.DataFrame, time: str = "ts", symbol: str | None = None) -> None:
    d, symbols = _expected(fs, frame)
    assert out.columns == [time, *([symbol] if symbol else []), *fs.names, "ready"]
    assert out[time].dt.epoch("ns").to_list() == d.ts_ns.tolist()
    assert out.select(fs.names).to_numpy().tobytes() == d.rows.values.tobytes()
    assert out["ready"].to_list() == d.rows.ready.tolist() and d.rows.ready.any()
    if symbol:
        assert out[symbol].to_list() == [symbols[i] for i in d.instrument_id]


def test_polars_in_polars_out() -> None:
    frame = _quotes()
    out = features_of(SIMPLE, frame)
    _check(out, SIMPLE, frame)
    assert out.schema == {"ts": pl.Datetime("ns", "UTC"), "m": pl.Float32, "s": pl.Float32, "ready": pl.Boolean}
    york = frame.with_columns(pl.col("ts").dt.convert_time_zone("America/New_York")).rename({"ts": "when"})
    out = features_of(SIMPLE, york, columns={"ts": "when", "bid_px": "bid_px", "ask_px": "ask_px"})
    assert out["when"].dtype == pl.Datetime("ns", "America/New_York")
    assert out["when"].to_list() == york["when"].to_list()


def test_pandas_in_pandas_out() -> None:
    frame = _quotes()
    table = frame.to_pandas().set_index("ts").tz_convert("Europe/Berlin")
    table.index.name = "when"
    out = features_of(SIMPLE, table)
    assert isinstance(out, pd.DataFrame) and list(out.columns) == ["m", "s", "ready"]
    assert out.index.equals(table.index.astype(out.index.dtype)) and out.index.name == "when"
    d, _ = _expected(SIMPLE, frame)
    assert out[["m", "s"]].to_numpy(np.float32).tobytes() == d.rows.values.tobytes()
    assert out["m"].dtype == np.float32 and out["ready"].tolist() == d.rows.ready.tolist()
    plain = features_of(SIMPLE, frame.to_pandas())
    assert list(plain.columns) == ["ts", "m", "s", "ready"] and plain["ts"].tolist() == frame.to_pandas()["ts"].tolist()
    east = table.tz_convert("+02:00")  # a zone without a name
    assert str(features_of(SIMPLE, east).index.tz) == str(east.index.tz)


def test_a_pandas_frame_of_several_instruments() -> None:
    one, two = _quotes(30).to_pandas(), _quotes(20).to_pandas()
    table = pd.concat({"ES": one.set_index("ts"), "NQ": two.set_index("ts")}, names=["instrument", "datetime"])
    table = table.swaplevel()
    out = features_of(_set({"x": 'mid - of("ES", mid)'}), table)
    assert out.index.names == ["datetime", "instrument"] and len(out) == 50
    assert out.index.get_level_values(0).is_monotonic_increasing
    alone = out.xs("NQ", level=1)
    assert alone.index.tolist() == two["ts"].tolist()
    es = one.set_index("ts")["bid_px"].reindex(alone.index, method="ffill")
    assert alone["x"].tolist()[1:] == (two.set_index("ts")["bid_px"] - es).astype(np.float32).tolist()[1:]


def test_lazy_over_parquet(tmp_path: Path) -> None:
    frame = _quotes(500)
    frame.write_parquet(tmp_path / "q.parquet", row_group_size=64)
    for source in (tmp_path / "q.parquet", str(tmp_path / "q.parquet"), pl.scan_parquet(tmp_path / "q.parquet")):
        lazy = features_of(SIMPLE, source, chunk_events=37)
        assert isinstance(lazy, pl.LazyFrame)
        _check(lazy.collect(), SIMPLE, frame)
        _check(lazy.collect(), SIMPLE, frame)  # again: nothing is used up
    assert lazy.filter(pl.col("ready")).select("s").collect().shape == (498, 1)
    assert lazy.head(3).collect()["ts"].to_list() == frame["ts"][:3].to_list()
    lazy.sink_parquet(tmp_path / "f.parquet")
    _check(pl.read_parquet(tmp_path / "f.parquet"), SIMPLE, frame)
    frame.head(100).write_parquet(tmp_path / "r.parquet")
    both = features_of(SIMPLE, [tmp_path / "q.parquet", tmp_path / "r.parquet"]).collect()
    assert both["symbol"].value_counts().sort("symbol").rows() == [("q", 500), ("r", 100)]


def test_only_what_is_asked_for_is_computed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _quotes(50).write_parquet(tmp_path / "q.parquet")
    asked: list[tuple[str, ...]] = []
    compute = batch.compute_detail

    def noted(fs: FeatureSet, *rest: object, **more: object) -> batch.Detail:
        asked.append(fs.names)
        return compute(fs, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(batch, "compute_detail", noted)
    lazy = features_of(SIMPLE, tmp_path / "q.parquet")
    assert not asked
    assert lazy.select("s").collect().columns == ["s"]
    assert lazy.select("ready").collect().height == 50
    assert asked == [("s",), ("m", "s")]


def _random(seed: int, n: int, tick: float = 0.5) -> pl.DataFrame:
    """Quotes, trades and bars of three instruments, some of them wrong or late."""
    rng = np.random.default_rng(seed)
    t = BASE + np.cumsum(rng.choice([0, 1, 3, 40], n, p=[0.3, 0.4, 0.25, 0.05])) * S
    t -= (rng.random(n) < 0.03) * 15 * S  # late: the guard rejects it
    kind = rng.choice(["quote", "trade", "bar"], n, p=[0.6, 0.3, 0.1])
    bid = np.round(100.0 + tick * rng.integers(0, 9, n), 3)
    return pl.DataFrame(
        {
            "ts": pl.Series(t).cast(pl.Datetime("ns", "UTC")),
            "symbol": rng.choice(NAMES, n, p=[0.6, 0.3, 0.1]),
            "kind": kind,
            "bid_px": bid,
            "ask_px": bid + tick * rng.integers(-1, 4, n),
            "bid_qty": rng.integers(0, 9, n).astype(float),
            "ask_qty": rng.integers(0, 9, n).astype(float),
            "px": bid,
            "qty": rng.integers(1, 9, n).astype(float),
            "side": rng.integers(-1, 2, n).astype(float),
            "open": bid, "high": bid, "low": bid, "close": bid, "volume": bid,
        }
    )  # fmt: skip


@pytest.mark.parametrize("trigger", ["quote", "trade", "last", 'bar("1m")', 'every("7s")'])
@pytest.mark.parametrize("calendar", ["24/7", "MADE"])
def test_sessions_computed_alone_are_the_same(trigger: str, calendar: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opens = range(BASE // S, BASE // S + 8000, 120)
    made_calendars(monkeypatch, MADE=[(o, o + 100) for o in opens])
    fs = _set(RICH, trigger, session_break="session", calendar=calendar)
    assert starts_again(fs)
    monkeypatch.setattr(frames, "_ROWS", 50)
    for seed, chunk in ((1, 1), (2, 13), (3, 400), (4, 10_000)):
        frame = _random(seed, 60 if chunk == 1 else 900)
        lazy = features_of(fs, frame.lazy(), chunk_events=chunk, bar_stamp="close")
        pieces = list(lazy.collect_batches())
        _check(pl.concat(pieces), fs, frame, symbol="symbol")
        if chunk == 13 and fs.trigger.kind in ("quote", "last") and calendar == "MADE":
            assert len(pieces) > 3


def test_what_runs_on_is_held_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    made_calendars(monkeypatch, MADE=[(o, o + 100) for o in range(BASE // S, BASE // S + 8000, 120)])
    for feature in (
        'mean(mid, 3, reset="never")',
        'bar("10s", "trade").close',
        'of("a", mid)',
        'bar("1m").close',
        'mid * input("x")',
    ):
        assert not starts_again(_set({"x": feature}, **SESSIONS))
    assert not starts_again(_set({"x": "mid"}, "tick_bar(5)", **SESSIONS))
    assert not starts_again(SIMPLE) and starts_again(_set({"x": "mid"}, 'bar("1m")', **SESSIONS))
    fs = _set({"x": 'mean(mid, 3, reset="never")', "y": 'of("a", mid)'}, **SESSIONS)
    frame = _random(5, 700)
    monkeypatch.setattr(frames, "_ROWS", 50)
    _check(features_of(fs, frame.lazy(), chunk_events=31, bar_stamp="close").collect(), fs, frame, symbol="symbol")


def test_events_of_past_sessions_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    made_calendars(monkeypatch, MADE=[(o, o + 100) for o in range(BASE // S, BASE // S + 100_000, 120)])
    longest: list[int] = []
    compute = batch.compute_detail

    def noted(fs: FeatureSet, events: np.ndarray, *rest: object, **more: object) -> batch.Detail:
        longest.append(len(events))
        return compute(fs, events, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(batch, "compute_detail", noted)
    fs = _set({"m": "ema(mid, span=3)"}, **SESSIONS)
    assert features_of(fs, _quotes(3000).lazy(), chunk_events=100).collect().height == 3000
    assert len(longest) > 50 and max(longest) < 150


@pytest.mark.real_data
@pytest.mark.parametrize("file", ["binance/spot_btcusdt_20240809_l1.parquet", "fx/OANDA_EURUSD_20140506.parquet"])
def test_real_files_in_every_form(file: str, data_dir: Path) -> None:
    path = data_dir / file
    features = {"e": "ema(mid, span=20)", "s": 'std(mid, "10s")', "v": "diff(mid, 1)"}
    for settings in ({}, {"session_break": "session"}):
        fs = _set(features, "quote", **settings)
        source = alpha.open_events(path)
        events = source.read_all()
        d = batch.compute_detail(fs, events, source.instruments, parity.guard(fs, events, source.instruments) == 0)
        lazy = features_of(fs, path, chunk_events=5000).collect()
        eager = features_of(fs, pl.read_parquet(path))
        table = features_of(fs, pd.read_parquet(path))
        assert len(d.ts_ns) > 1000 and lazy["ready"].any()
        for out in (lazy, eager, table):
            values = np.stack([np.asarray(out[name]) for name in fs.names], axis=1)
            assert values.tobytes() == d.rows.values.tobytes()
            assert np.asarray(out["ready"]).tolist() == d.rows.ready.tolist()


def test_wrong_calls() -> None:
    frame = _quotes()
    with pytest.raises(DataError, match="a feature is called 'ready'"):
        features_of(_set({"ready": "mid"}), frame)
    with pytest.raises(DataError, match="a feature is called 'ts'"):
        features_of(_set({"ts": "mid"}), frame.lazy())
    with pytest.raises(DataError, match="cannot read events from dict"):
        features_of(SIMPLE, {"ts": 1})
    with pytest.raises(DataError, match="no time zone"):
        features_of(SIMPLE, frame.to_pandas().set_index("ts").tz_localize(None))
    with pytest.raises(DataError, match="not understood"):
        features_of(SIMPLE, pl.LazyFrame({"x": [1]}))
    empty = features_of(SIMPLE, frame.head(0))
    assert empty.height == 0 and empty.columns == ["ts", "m", "s", "ready"]


def test_a_lazy_frame_is_a_source_of_events() -> None:
    frame = _quotes(100)
    source = alpha.open_events(frame.lazy(), chunk_events=9)
    with pytest.raises(DataError, match="once all of it has been read"):
        source.data_sha256()
    eager = alpha.open_events(frame)
    assert source.read_all().tobytes() == eager.read_all().tobytes()
    assert source.data_sha256() == eager.data_sha256()


def test_the_guard_remembers_from_chunk_to_chunk() -> None:
    events = stream(8, n=2000, instruments=3, faults=True)
    whole = guard_events(events, 3)
    assert len(np.unique(whole)) > 3
    memory = guard_memory(3)
    parts = [guard_events(events[a : a + 7], 3, memory=memory) for a in range(0, 2000, 7)]
    assert np.concatenate(parts).tolist() == whole.tolist()
    # an instrument that appears later
    own = events[events["instrument_id"] < 2]
    first = int(np.argmax(own["instrument_id"] == 1))
    memory = guard_memory(1)
    start = guard_events(own[:first], 1, memory=memory)
    memory = guard_memory(2, memory)
    rest = guard_events(own[first:], 2, memory=memory)
    assert [*start, *rest] == guard_events(own, 2).tolist() and first > 0
    with pytest.raises(AlphaError, match="not that of 3 instruments"):
        guard_events(events, 3, memory=memory)
