"""Every file of the market data folder can be read, and forms of the same data agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alpha.data import open_events
from alpha.events import EVENT_DTYPE, Flag, Kind, stream_time

pytestmark = pytest.mark.real_data

AMZN = "lobster/AMZN_20120621_L5.parquet"
SPOT = "binance/spot_btcusdt_20240808"
# file -> (quotes, trades, bars), tick, lot
COUNTS = {
    AMZN: ((153491, 11419, 0), 0.01, 1.0),
    "lobster/LOBSTER_SampleFile_AMZN_2012-06-21_5.zip": ((153491, 11419, 0), 0.01, 1.0),
    f"{SPOT}.gz": ((28040, 9757, 0), 0.01, 1e-5),
    f"{SPOT}_l1.parquet": ((28040, 9757, 0), 0.01, 1e-5),
    "binance/spot_btcusdt_20240809_l1.parquet": ((45134, 10147, 0), 0.01, 1e-5),
    "binance/usdm_btcusdt_20240808_l1.parquet": ((66089, 21313, 0), 0.1, 1e-3),
    "fx/FXCM_EURUSD_20140506.parquet": ((102682, 0, 0), 1e-5, None),
    "fx/OANDA_EURUSD_20140501.parquet": ((24179, 0, 0), 1e-5, None),
    "fx/OANDA_EURUSD_20140502.parquet": ((49341, 0, 0), 1e-5, None),
    "fx/OANDA_EURUSD_20140505.parquet": ((25177, 0, 0), 1e-5, None),
    "fx/OANDA_EURUSD_20140506.parquet": ((44864, 0, 0), 1e-5, None),
    "fx/OANDA_EURUSD_20140507.parquet": ((41367, 0, 0), 1e-5, None),
    "fx/OANDA_EURUSD_20140508.parquet": ((87833, 0, 0), 1e-5, None),
    "fx/OANDA_EURUSD_20140509.parquet": ((47634, 0, 0), 1e-5, None),
    "bars/QQQ_1m_2022_2023.parquet": ((0, 0, 20000), 1e-4, 1.0),
    "bars/SPY_1m_2022_2023.parquet": ((0, 0, 20000), 1e-4, 1.0),
    "bars/TQQQ_1m_2025Q2.parquet": ((0, 0, 24242), 1e-6, 1.0),
    "bars/BTC-PERP_1m.parquet": ((0, 0, 45031), 0.001, 1e-4),
    "bars/6EH4_1m.parquet": ((0, 0, 29996), 1e-5, 1.0),
}


@pytest.mark.parametrize("name", COUNTS)
def test_every_row_becomes_an_event(data_dir: Path, name: str) -> None:
    bars = name.startswith("bars/")
    source = open_events(data_dir / name, bar_stamp="start" if bars else None)
    events = source.read_all()
    kinds = np.bincount(events["kind"], minlength=9)
    assert tuple(kinds[[Kind.QUOTE, Kind.TRADE, Kind.BAR]].tolist()) == COUNTS[name][0]
    assert source.bad_rows == {}
    assert source.rows_read == source.event_rows + sum(source.ignored_rows.values())
    assert source.ignored_rows == ({"depth_not_asked_for": 3452} if name.endswith(".gz") else {})
    assert (source.instruments[0].tick_size, source.instruments[0].lot_size) == COUNTS[name][1:]
    assert (np.diff(stream_time(events, "recv")) >= 0).all()
    assert bool((events["flags"] & int(Flag.NO_QTY)).any()) == name.startswith("fx/")
    years = events["ts_event_ns"].astype("datetime64[ns]").astype("datetime64[Y]").astype(int) + 1970
    assert set(years.tolist()) <= {2012, 2014, 2021, 2022, 2023, 2024, 2025}


def test_no_file_of_the_folder_is_forgotten(data_dir: Path) -> None:
    found = {str(p.relative_to(data_dir)) for p in data_dir.rglob("*.*") if p.suffix in (".parquet", ".gz", ".zip")}
    assert {name for name in found if "_depth" not in name} == set(COUNTS)


@pytest.mark.parametrize("levels", [1, 5])
def test_lobster_zip_equals_parquet(data_dir: Path, levels: int) -> None:
    archive = open_events(data_dir / "lobster/LOBSTER_SampleFile_AMZN_2012-06-21_5.zip", levels=levels).read_all()
    table = open_events(data_dir / AMZN, levels=levels, chunk_events=50_000).read_all()
    assert archive.tobytes() == table.tobytes()


def test_lobster_levels_rebuild_the_book(data_dir: Path) -> None:
    """Applying the events one after the other gives every row's book again."""
    pl = pytest.importorskip("polars")
    frame = pl.read_parquet(data_dir / AMZN)
    events = open_events(data_dir / AMZN, levels=5).read_all()
    sides = ("bid_px", "ask_px", "bid_sz", "ask_sz")
    books = np.stack([frame.select([f"{s}_{i}" for s in sides]).to_numpy().astype(float) for i in range(5)], axis=1)
    ends = np.flatnonzero(events["flags"] & int(Flag.LAST))
    assert len(ends) == len(books)  # one atomic update a row
    positions = np.arange(len(events))
    for level in range(5):
        told = (events["kind"] == (Kind.DEPTH if level else Kind.QUOTE)) & (events["level"] == level)
        newest = np.maximum.accumulate(np.where(told, positions, -1))[ends]
        np.testing.assert_array_equal(events["v"][newest, :4], books[:, level])


def test_raw_stream_equals_its_table(data_dir: Path) -> None:
    raw = open_events(data_dir / f"{SPOT}.gz").read_all()
    table = open_events(data_dir / f"{SPOT}_l1.parquet").read_all()
    assert raw.tobytes() == table.tobytes()


def test_depth_of_raw_stream_equals_its_table(data_dir: Path) -> None:
    raw = open_events(data_dir / f"{SPOT}.gz", levels=5).read_all()
    table = open_events(data_dir / f"{SPOT}_depth.parquet", levels=5).read_all()
    deep, other = raw[raw["kind"] == Kind.DEPTH], table[table["kind"] == Kind.DEPTH]
    for field in ("ts_event_ns", "ts_recv_ns", "level", "v"):
        np.testing.assert_array_equal(deep[field], other[field])


def test_book_from_depth_agrees_with_the_book_ticker(data_dir: Path) -> None:
    """At most instants the best levels of the built book are those of the ticker seen last before."""
    table = open_events(data_dir / f"{SPOT}_depth.parquet").read_all()
    ticker = open_events(data_dir / f"{SPOT}_l1.parquet").read_all()
    ticker = ticker[ticker["kind"] == Kind.QUOTE]
    assert (table["v"][:, 0] < table["v"][:, 1]).all()
    before = np.searchsorted(ticker["ts_recv_ns"], table["ts_recv_ns"], side="right") - 1
    same = (table["v"][:, :2] == ticker["v"][np.maximum(before, 0), :2]).all(axis=1)
    assert same.mean() > 0.8


@pytest.mark.parametrize("name", ["spot_btcusdt_20240809_depth", "usdm_btcusdt_20240808_depth"])
def test_depth_tables(data_dir: Path, name: str) -> None:
    source = open_events(data_dir / f"binance/{name}.parquet", levels=5)
    events = source.read_all()
    assert source.rows_read == source.event_rows + sum(source.ignored_rows.values())
    quotes = events[events["kind"] == Kind.QUOTE]["v"]
    assert len(quotes) > 2_000
    assert (quotes[10:, 0] < quotes[10:, 1]).all()
    gaps = np.flatnonzero(events["flags"] & int(Flag.GAP))
    if name.startswith("spot"):  # it starts without a snapshot
        assert 0 < len(gaps) <= 5
        assert gaps[-1] == len(gaps) - 1
    else:
        assert len(gaps) == 0


@pytest.mark.parametrize(
    ("name", "levels"), [(AMZN, 5), (f"{SPOT}.gz", 3), (f"{SPOT}_depth.parquet", 3), (f"{SPOT}_l1.parquet", 1)]
)
def test_chunks_change_nothing(data_dir: Path, name: str, levels: int) -> None:
    whole = open_events(data_dir / name, levels=levels)
    cut = open_events(data_dir / name, levels=levels, chunk_events=7_001)
    assert cut.instruments == whole.instruments
    assert cut.read_all().tobytes() == whole.read_all().tobytes()


def test_merged_files_keep_their_own_order(data_dir: Path) -> None:
    paths = [data_dir / f"{SPOT}_l1.parquet", data_dir / "binance/usdm_btcusdt_20240808_l1.parquet"]
    source = open_events(paths, chunk_events=9_999)
    events = source.read_all()
    assert events.dtype == EVENT_DTYPE
    assert source.instruments.symbols == ("spot_btcusdt_20240808_l1", "usdm_btcusdt_20240808_l1")
    assert (np.diff(stream_time(events, "recv")) >= 0).all()
    for position, path in enumerate(paths):
        alone = open_events(path).read_all()
        alone["instrument_id"] = position
        assert events[events["instrument_id"] == position].tobytes() == alone.tobytes()
