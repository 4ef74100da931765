"""Alpha158 of both twins against an oracle in pandas, which was written from Qlib's definitions alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from oracles.alpha158 import WINDOWS, alpha158
from oracles.bars import bar_events, one_instrument, random_bars, real_bars

from alpha.features import batch, parity
from alpha.features.feature_set import FeatureSet
from alpha.features.native import native_rows
from alpha.instruments import Instruments

FIRST = 60  # from this row on every window is full
CATALOGS = Path(batch.__file__).parent / "catalogs"
Twin = Callable[[FeatureSet, np.ndarray, Instruments], tuple[np.ndarray, np.ndarray]]


@cache
def definition() -> FeatureSet:
    return FeatureSet.from_toml(CATALOGS / "alpha158.toml")


def of_batch(fs: FeatureSet, events: np.ndarray, instruments: Instruments) -> tuple[np.ndarray, np.ndarray]:
    detail = batch.compute_detail(fs, events, instruments, parity.guard(fs, events, instruments) == 0)
    return detail.rows.values, detail.ready


def of_native(fs: FeatureSet, events: np.ndarray, instruments: Instruments) -> tuple[np.ndarray, np.ndarray]:
    rows = native_rows(fs, events, instruments)
    return rows["values"], rows["ready"]


both_twins = pytest.mark.parametrize("twin", [of_batch, of_native], ids=["batch", "native"])


def agree(twin: Twin, bars: pd.DataFrame, events: np.ndarray, instruments: Instruments) -> pd.DataFrame:
    """Every value behind the first 60 rows to 1e-6 of its size, NaN at the same places. Returns the oracle's table."""
    bars = bars[parity.guard(definition(), events, instruments) == 0]  # it doubts the first bar after a leap of months
    expected = alpha158(bars)
    values, ready = twin(definition(), events, instruments)
    assert len(values) == len(bars)
    assert ready[FIRST:].all()
    for j, name in enumerate(definition().names):
        actual, wanted = values[FIRST:, j].astype(np.float64), expected[name].to_numpy()[FIRST:]
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(wanted), err_msg=name)
        # 1e-12: where the exact value is 0 the oracle's two passes leave a rounding error
        np.testing.assert_allclose(actual, wanted, rtol=1e-6, atol=1e-12, err_msg=name)
    return expected


def test_names_and_order() -> None:
    """Qlib's 158 names in Qlib's order: 9 of the bar, 4 prices, 29 families over five windows."""
    names = definition().names
    assert len(names) == 158
    assert names == tuple(alpha158(random_bars(1, 70)).columns)
    assert names[:9] == ("KMID", "KLEN", "KMID2", "KUP", "KUP2", "KLOW", "KLOW2", "KSFT", "KSFT2")
    assert names[9:13] == ("OPEN0", "HIGH0", "LOW0", "VWAP0")
    assert str(definition().trigger) == 'bar("1m", "feed")'


@both_twins
@pytest.mark.parametrize(("seed", "tick", "start"), [(1, 0.01, 100.0), (2, 0.5, 60_000.0), (3, 1e-5, 1.1)])
def test_random_bars(twin: Twin, seed: int, tick: float, start: float) -> None:
    bars = random_bars(seed, 1_200, tick, start)
    agree(twin, bars, bar_events(bars), one_instrument())


@both_twins
def test_a_market_that_stands_still(twin: Twin) -> None:
    """Price and volume stop for longer than the longest window: no dispersion, NaN in CORR, CORD and RSQR only."""
    bars = random_bars(4, 500)
    bars.loc[200:330, ["open", "high", "low", "close"]] = bars.loc[200, "close"]
    bars.loc[360:440, "volume"] = 1_000.0
    expected = agree(twin, bars, bar_events(bars), one_instrument())
    empty = {name for name in expected if expected[name][FIRST:].isna().any()}
    assert {name[:4] for name in empty} == {"CORR", "CORD", "RSQR"}
    assert {name[4:] for name in empty} == {str(d) for d in WINDOWS}


def test_the_oracle_is_pandas_rolling() -> None:
    """Where nothing cancels, the oracle's two passes give what pandas' own rolling functions give, as Qlib calls them."""
    bars = random_bars(5, 800)
    c, v = bars["close"], bars["volume"]
    table = alpha158(bars)
    for d in WINDOWS:
        position = np.arange(1, d + 1)
        plain = {
            f"STD{d}": c.rolling(d).std() / c,
            f"CORR{d}": c.rolling(d).corr(np.log(v + 1)),
            f"CORD{d}": (c / c.shift(1)).rolling(d).corr(np.log(v / v.shift(1) + 1)),
            f"QTLU{d}": c.rolling(d).quantile(0.8) / c,
            f"IMAX{d}": bars["high"].rolling(d).apply(lambda x: x.argmax() + 1, raw=True) / d,
            f"IMIN{d}": bars["low"].rolling(d).apply(lambda x: x.argmin() + 1, raw=True) / d,
            f"VSTD{d}": v.rolling(d).std() / (v + 1e-12),
            f"BETA{d}": c.rolling(d).apply(lambda x, p=position: np.polyfit(p, x, 1)[0], raw=True) / c,
            f"RSQR{d}": c.rolling(d).corr(pd.Series(np.arange(len(c)), dtype=float)) ** 2,
        }
        for name, wanted in plain.items():
            rows = slice(FIRST, None)
            compared = table[name][rows].notna()  # the oracle drops what has no dispersion
            assert compared.mean() > 0.9
            np.testing.assert_allclose(
                table[name][rows][compared], wanted[rows][compared], rtol=1e-6, atol=1e-9, err_msg=name
            )


@pytest.mark.real_data
@both_twins
@pytest.mark.parametrize("name", ["QQQ_1m_2022_2023", "BTC-PERP_1m"])
def test_real_bars(twin: Twin, name: str, data_dir: Path) -> None:
    agree(twin, *real_bars(data_dir, name, 50_000))
