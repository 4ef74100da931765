"""The catalogue ``talib`` against TA-Lib itself: the same first bar, the same values to 1e-9."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from oracles.bars import bar_events, one_instrument, random_bars, real_bars

from alpha.features import batch, parity
from alpha.features.feature_set import FeatureSet
from alpha.features.language import parse
from alpha.features.native import native_rows
from alpha.instruments import Instruments

talib = pytest.importorskip("talib", reason="TA-Lib is not installed: pip install TA-Lib")

CATALOGS = Path(batch.__file__).parent / "catalogs"
EMA = 1  # TA-Lib's number of a moving average's kind


class Bars:
    """Columns as TA-Lib takes them."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.o, self.h, self.l, self.c, self.v = (
            np.ascontiguousarray(table[n], np.float64) for n in ("open", "high", "low", "close", "volume")
        )
        self.hlc = self.h, self.l, self.c


@dataclass(frozen=True)
class Case:
    """What TA-Lib computes, and how close: |ours - theirs| <= rtol |theirs| + atol.

    ``atol`` is 0 but where TA-Lib's own rounding shows: it keeps running sums, so an exact 0 of ours is a residue
    there, and what is a small difference of large sums has lost digits. ``late``: bars by which ours starts later.
    """

    theirs: Callable[[Bars], np.ndarray]
    atol: float | Callable[[Bars], float] = 0.0
    rtol: float = 1e-9
    late: int = 0


def percent(theirs: Callable[[Bars], np.ndarray]) -> Case:
    """An index from 0 to 100: 1e-11 of its range."""
    return Case(theirs, atol=1e-9)


# A line that TA-Lib holds back until the next one is there (MACD for its signal line) is taken with a next one of 1.
CASES = {
    "sma_20": Case(lambda b: talib.SMA(b.c, 20)),
    "ema_20": Case(lambda b: talib.EMA(b.c, 20)),
    "wma_20": Case(lambda b: talib.WMA(b.c, 20)),
    "dema_30": Case(lambda b: talib.DEMA(b.c, 30)),
    "tema_30": Case(lambda b: talib.TEMA(b.c, 30)),
    "trima_20": Case(lambda b: talib.TRIMA(b.c, 20)),
    "trima_21": Case(lambda b: talib.TRIMA(b.c, 21)),
    "t3_5": Case(lambda b: talib.T3(b.c, 5, 0.7)),
    "midpoint_14": Case(lambda b: talib.MIDPOINT(b.c, 14)),
    "midprice_14": Case(lambda b: talib.MIDPRICE(b.h, b.l, 14)),
    "bollinger_upper": Case(lambda b: talib.BBANDS(b.c, 20, 2, 2)[0]),
    "bollinger_middle": Case(lambda b: talib.BBANDS(b.c, 20, 2, 2)[1]),
    "bollinger_lower": Case(lambda b: talib.BBANDS(b.c, 20, 2, 2)[2]),
    "stddev_20": Case(lambda b: talib.STDDEV(b.c, 20)),
    "var_20": Case(lambda b: talib.VAR(b.c, 20), rtol=1e-8),
    "avgdev_14": Case(lambda b: talib.AVGDEV(b.c, 14)),
    "macd": Case(lambda b: talib.MACD(b.c, 12, 26, 1)[0]),
    "macd_signal": Case(lambda b: talib.MACD(b.c, 12, 26, 9)[1]),
    "macd_hist": Case(lambda b: talib.MACD(b.c, 12, 26, 9)[2]),
    "apo": Case(lambda b: talib.APO(b.c, 12, 26, EMA)),
    "ppo": Case(lambda b: talib.PPO(b.c, 12, 26, EMA)),
    "rsi_14": Case(lambda b: talib.RSI(b.c, 14)),
    "cmo_14": Case(lambda b: talib.CMO(b.c, 14)),
    "mom_10": Case(lambda b: talib.MOM(b.c, 10)),
    "roc_10": Case(lambda b: talib.ROC(b.c, 10)),
    "rocp_10": Case(lambda b: talib.ROCP(b.c, 10)),
    "rocr_10": Case(lambda b: talib.ROCR(b.c, 10)),
    "trix_30": Case(lambda b: talib.TRIX(b.c, 30)),
    "stochf_k": percent(lambda b: talib.STOCHF(*b.hlc, 5, 1)[0]),
    "stochf_d": percent(lambda b: talib.STOCHF(*b.hlc, 5, 3)[1]),
    "stoch_k": percent(lambda b: talib.STOCH(*b.hlc, 5, 3, 0, 1, 0)[0]),
    "stoch_d": percent(lambda b: talib.STOCH(*b.hlc, 5, 3, 0, 3, 0)[1]),
    "stochrsi_k": percent(lambda b: talib.STOCHRSI(b.c, 14, 5, 1)[0]),
    "williams_r_14": percent(lambda b: talib.WILLR(*b.hlc, 14)),
    "cci_14": percent(lambda b: talib.CCI(*b.hlc, 14)),
    "ultosc": percent(lambda b: talib.ULTOSC(*b.hlc, 7, 14, 28)),
    "bop": Case(lambda b: talib.BOP(b.o, *b.hlc)),
    "mfi_14": percent(lambda b: talib.MFI(*b.hlc, b.v, 14)),
    "obv": Case(lambda b: talib.OBV(b.c, b.v), late=1),
    "ad": Case(lambda b: talib.AD(*b.hlc, b.v)),
    "adosc": Case(lambda b: talib.ADOSC(*b.hlc, b.v, 3, 10), atol=lambda b: 1e-14 * np.ptp(talib.AD(*b.hlc, b.v))),
    "trange": Case(lambda b: talib.TRANGE(*b.hlc)),
    "atr_14": Case(lambda b: talib.ATR(*b.hlc, 14)),
    "natr_14": Case(lambda b: talib.NATR(*b.hlc, 14)),
    "plus_di_14": Case(lambda b: talib.PLUS_DI(*b.hlc, 14)),
    "minus_di_14": Case(lambda b: talib.MINUS_DI(*b.hlc, 14)),
    "dx_14": Case(lambda b: talib.DX(*b.hlc, 14)),
    "adx_14": Case(lambda b: talib.ADX(*b.hlc, 14)),
    "medprice": Case(lambda b: talib.MEDPRICE(b.h, b.l)),
    "typprice": Case(lambda b: talib.TYPPRICE(*b.hlc)),
    "wclprice": Case(lambda b: talib.WCLPRICE(*b.hlc)),
    "avgprice": Case(lambda b: talib.AVGPRICE(b.o, *b.hlc)),
    "linearreg_14": Case(lambda b: talib.LINEARREG(b.c, 14)),
    "linearreg_slope_14": Case(
        lambda b: talib.LINEARREG_SLOPE(b.c, 14), rtol=1e-7, atol=lambda b: 1e-13 * float(b.c.max())
    ),
    "linearreg_intercept_14": Case(lambda b: talib.LINEARREG_INTERCEPT(b.c, 14)),
    "tsf_14": Case(lambda b: talib.TSF(b.c, 14)),
    "correl_30": Case(lambda b: talib.CORREL(b.h, b.l, 30), rtol=1e-8),
    "beta_5": Case(lambda b: talib.BETA(b.h, b.l, 5), rtol=1e-7, atol=1e-8),
    "max_30": Case(lambda b: talib.MAX(b.c, 30)),
    "min_30": Case(lambda b: talib.MIN(b.c, 30)),
    "sum_30": Case(lambda b: talib.SUM(b.c, 30)),
}


@cache
def definition() -> FeatureSet:
    return FeatureSet.from_toml(CATALOGS / "talib.toml")


def test_every_feature_is_compared() -> None:
    assert definition().names == tuple(CASES)
    assert str(definition().trigger) == 'bar("1m", "feed")'


def accepted(bars: pd.DataFrame, events: np.ndarray, instruments: Instruments) -> tuple[np.ndarray, pd.DataFrame]:
    """The guard doubts the first bar after a leap of months."""
    mask = parity.guard(definition(), events, instruments) == 0
    return mask, bars[mask]


def noise(name: str, b: Bars) -> np.ndarray:
    """Rows where TA-Lib divides rounding errors by rounding errors: what it divides by has no dispersion."""
    if name == "stochrsi_k":
        window = pd.Series(talib.RSI(b.c, 14)).rolling(5)
        return np.asarray(window.max() - window.min() <= 1e-8)
    if name == "beta_5":
        window = pd.Series(talib.ROCP(b.h, 1)).rolling(5)
        return np.asarray(window.max() - window.min() <= 1e-8)
    return np.zeros(len(b.c), np.bool_)


def check(values: np.ndarray, ready: np.ndarray, bars: pd.DataFrame, rtol: float = 0.0) -> None:
    """``rtol`` is added to each case's own."""
    b = Bars(bars)
    assert len(values) == len(bars)
    for j, (name, case) in enumerate(CASES.items()):
        theirs = case.theirs(b)
        first = int(np.argmax(np.isfinite(theirs))) + case.late
        assert ready[:, j].tolist() == [False] * first + [True] * (len(bars) - first), name
        atol = case.atol(b) if callable(case.atol) else case.atol
        rows = np.flatnonzero(~noise(name, b))
        rows = rows[rows >= first]
        np.testing.assert_allclose(
            values[rows, j], theirs[rows], rtol=case.rtol + rtol, atol=atol + rtol * 1e-6, err_msg=name
        )


def check_batch(bars: pd.DataFrame, events: np.ndarray, instruments: Instruments) -> None:
    mask, bars = accepted(bars, events, instruments)
    detail = batch.compute_detail(definition(), events, instruments, mask)
    check(detail.exact, detail.ready, bars)


def check_native(bars: pd.DataFrame, events: np.ndarray, instruments: Instruments) -> None:
    """float32: each value rounded once."""
    _, bars = accepted(bars, events, instruments)
    rows = native_rows(definition(), events, instruments)
    check(rows["values"].astype(np.float64), rows["ready"], bars, rtol=1e-7)


both_twins = pytest.mark.parametrize("check_twin", [check_batch, check_native], ids=["batch", "native"])
Check = Callable[[pd.DataFrame, np.ndarray, Instruments], None]


@both_twins
@pytest.mark.parametrize(("seed", "tick", "start"), [(11, 0.01, 100.0), (12, 0.5, 60_000.0), (13, 1e-5, 1.1)])
def test_random_bars(check_twin: Check, seed: int, tick: float, start: float) -> None:
    bars = random_bars(seed, 1_500, tick, start)
    check_twin(bars, bar_events(bars), one_instrument())


@pytest.mark.real_data
@both_twins
@pytest.mark.parametrize("name", ["QQQ_1m_2022_2023", "BTC-PERP_1m", "6EH4_1m"])
def test_real_bars(check_twin: Check, name: str, data_dir: Path) -> None:
    check_twin(*real_bars(data_dir, name, 50_000))


H, L, C, V = (f'bar("1m").{n}' for n in ("high", "low", "close", "volume"))
MACROS = {
    "ema_20": f"talib_ema({C}, 20)",
    "bollinger_upper": f"bollinger_upper({C})",
    "bollinger_lower": f"bollinger_lower({C})",
    "macd": f"talib_macd({C})",
    "macd_signal": f"talib_macd_signal({C})",
    "macd_hist": f"talib_macd_hist({C})",
    "stochf_k": f"talib_stochf_k({H}, {L}, {C})",
    "stochf_d": f"talib_stochf_d({H}, {L}, {C})",
    "stoch_k": f"talib_stoch_k({H}, {L}, {C})",
    "stoch_d": f"talib_stoch_d({H}, {L}, {C})",
    "williams_r_14": f"talib_williams_r({H}, {L}, {C})",
    "cci_14": f"talib_cci({H}, {L}, {C})",
    "mfi_14": f"talib_mfi({H}, {L}, {C}, {V})",
    "obv": f"talib_obv({C}, {V})",
    "trange": f"true_range({H}, {L}, {C})",
    "atr_14": f"atr({H}, {L}, {C})",
    "plus_di_14": f"talib_plus_di({H}, {L}, {C})",
    "minus_di_14": f"talib_minus_di({H}, {L}, {C})",
    "dx_14": f"talib_dx({H}, {L})",
    "adx_14": f"talib_adx({H}, {L})",
    "typprice": f"typical_price({H}, {L}, {C})",
}


@pytest.mark.parametrize("name", MACROS)
def test_the_macro_is_the_same_expression(name: str) -> None:
    assert parse(MACROS[name]) == definition().features[name]
