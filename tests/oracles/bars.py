"""Bars for the tests of the catalogues: seeded random ones and real ones, as a table and as events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alpha.data import open_events
from alpha.events import EVENT_DTYPE, Flag, Kind
from alpha.instruments import Instrument, Instruments

MINUTE = 60 * 10**9
T0 = 1_700_000_000 // 60 * 60 * 10**9
FIELDS = ("open", "high", "low", "close", "volume")


def random_bars(seed: int, n: int, tick: float = 0.01, start: float = 100.0) -> pd.DataFrame:
    """``n`` bars of a walk on a tick grid, with ties, gaps between bars and bars of one price."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(-4, 5, (n, 8)) * (rng.random((n, 8)) < 0.6)
    jumps = rng.integers(-6, 7, n) * (rng.random(n) < 0.1)
    quiet = rng.random(n) < 0.03
    steps[quiet] = 0
    path = np.cumsum(np.concatenate([jumps[:, None], steps], axis=1).ravel()).reshape(n, 9)
    ticks = round(start / tick) + path
    ticks += max(0, 1 - int(ticks.min()))
    volume = np.ceil(rng.lognormal(8.0, 1.2, n))
    prices = {"open": ticks[:, 0], "high": ticks.max(axis=1), "low": ticks.min(axis=1), "close": ticks[:, -1]}
    return pd.DataFrame({name: np.round(p * tick, 10) for name, p in prices.items()} | {"volume": volume})


def bar_events(bars: pd.DataFrame) -> np.ndarray:
    """One feed bar of a minute per row."""
    events = np.zeros(len(bars), EVENT_DTYPE)
    events["kind"] = Kind.BAR
    events["flags"] = Flag.LAST
    events["ts_event_ns"] = T0 + MINUTE * np.arange(1, len(bars) + 1)
    events["v"] = bars[list(FIELDS)].to_numpy()
    return events


def one_instrument() -> Instruments:
    return Instruments([Instrument(symbol="TEST", lot_size=1.0)])


def real_bars(data_dir: Path, name: str, n: int) -> tuple[pd.DataFrame, np.ndarray, Instruments]:
    """The first ``n`` bars of a real file; the test is skipped where the file is absent."""
    file = data_dir / "bars" / f"{name}.parquet"
    if not file.exists():
        pytest.skip(f"{file} is not there")
    source = open_events(file, bar_stamp="start")
    events = source.read_all()[:n]
    return pd.DataFrame(events["v"], columns=list(FIELDS)), events, source.instruments
