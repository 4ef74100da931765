"""The definition files of feature sets and the composite features they are made of."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from oracles import composites
from oracles.bars import bar_events, one_instrument, random_bars, real_bars

from alpha.data import open_events
from alpha.data.simulate import simulate
from alpha.features import batch, parity
from alpha.features.feature_set import FeatureSet
from alpha.features.language import canonical, parse, walk
from alpha.features.macros import builtin_macros
from alpha.features.native import native_rows
from alpha.instruments import Instruments

CATALOGS = Path(batch.__file__).parent / "catalogs"
FILES = sorted(CATALOGS.glob("*.toml"))
H, L, C, V = (f'bar("1m").{name}' for name in ("high", "low", "close", "volume"))
MACROS_OF_BARS = {
    **dict.fromkeys(("macd", "macd_signal", "macd_hist"), C),
    **dict.fromkeys(("bollinger_upper", "bollinger_lower", "bollinger_width", "bollinger_percent_b"), C),
    **dict.fromkeys(("typical_price", "true_range", "atr", "plus_di", "minus_di", "cci"), f"{H}, {L}, {C}"),
    **dict.fromkeys(("stochastic_k", "stochastic_d", "williams_r"), f"{H}, {L}, {C}"),
    **dict.fromkeys(("dx", "adx"), f"{H}, {L}"),
    "obv": f"{C}, {V}",
    "mfi": f"{H}, {L}, {C}, {V}",
    "realized_vol": f"{C}, 30",
}
MACROS_OF_TRADES = ("signed_volume", "trade_imbalance", "vwap", "kyle_lambda", "roll_spread", "amihud")


class Values(NamedTuple):
    """Rows of one twin and the relative error that its number format allows."""

    values: np.ndarray
    ready: np.ndarray
    rtol: float


def of_batch(fs: FeatureSet, events: np.ndarray, instruments: Instruments) -> Values:
    detail = batch.compute_detail(fs, events, instruments, parity.guard(fs, events, instruments) == 0)
    return Values(detail.exact, detail.ready, 1e-9)


def of_native(fs: FeatureSet, events: np.ndarray, instruments: Instruments) -> Values:
    rows = native_rows(fs, events, instruments)
    return Values(rows["values"].astype(np.float64), rows["ready"], 1e-6)


Twin = Callable[[FeatureSet, np.ndarray, Instruments], Values]
both_twins = pytest.mark.parametrize("twin", [of_batch, of_native], ids=["batch", "native"])


@cache
def catalogue(name: str) -> FeatureSet:
    return FeatureSet.from_toml(CATALOGS / f"{name}.toml")


def compare(result: Values, names: tuple[str, ...], expected: dict[str, pd.Series], atol: float = 1e-9) -> None:
    """Ready from the oracle's first value on, and equal from there."""
    assert set(names) == set(expected)
    for j, name in enumerate(names):
        wanted = np.asarray(expected[name], np.float64)
        first = int(np.argmax(np.isfinite(wanted)))
        assert result.ready[:, j].tolist() == [False] * first + [True] * (len(wanted) - first), name
        np.testing.assert_allclose(result.values[first:, j], wanted[first:], rtol=result.rtol, atol=atol, err_msg=name)


# Files


def test_the_files() -> None:
    sizes = {name: len(catalogue(name).names) for name in ("alpha158", "book", "hybrid_ppo", "micro", "talib")}
    assert sizes == {"alpha158": 158, "book": 64, "hybrid_ppo": 7, "micro": 26, "talib": 61}
    assert set(sizes) <= {file.stem for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_survives_its_own_text(file: Path) -> None:
    """Macros expanded, canonical text read again: the same definition. No two features of a set are the same."""
    fs = catalogue(file.stem)
    again = FeatureSet.from_dict(fs.definition(), name=fs.name)
    assert again.definition_hash == fs.definition_hash
    assert again.names == fs.names
    texts = [canonical(e) for e in fs.features.values()]
    double = {t for t in texts if texts.count(t) > 1}
    # TA-Lib's middle band is a plain mean, STOCH's first smoothing is STOCHF's second line
    assert len(double) == (2 if file.stem == "talib" else 0), double


def test_book_is_what_its_name_promises() -> None:
    """64 features: at least 24 windows beside 8 exponential averages, 8 standard deviations, five levels."""
    fs = catalogue("book")
    ops = {name: [n.op for n in walk(e)] for name, e in fs.features.items()}
    windows = {"mean", "sum", "count", "std", "min", "max", "slope"}
    assert sum("std" in used for used in ops.values()) == 8
    assert sum("ema" in used for used in ops.values()) == 8
    assert sum(bool(windows & set(used)) and "ema" not in used for used in ops.values()) >= 24
    for source in ("bid_px", "ask_px", "bid_qty", "ask_qty", "ofi"):
        nodes = [n for e in fs.features.values() for n in walk(e)]
        assert {n.params[0] for n in nodes if n.op == f"{source}_at"} == {1, 2, 3, 4}
        assert any(n.op == source for n in nodes)
    assert str(fs.trigger) == "quote"


# Values of the catalogues


@pytest.mark.parametrize("name", ["book", "micro"])
def test_simulated_market(name: str) -> None:
    """Every feature gets ready, stays finite and is not constant."""
    stream = simulate(12_000, seed=6)
    fs = catalogue(name)
    rows = native_rows(fs, stream.events, stream.instruments)
    assert rows["ready"][-1].all()
    ready = rows["ready"].all(axis=1)
    assert np.count_nonzero(ready) > 0.5 * len(ready)
    assert np.isfinite(rows["values"][ready]).all()
    assert (rows["values"][ready].std(axis=0) > 0).all()


@pytest.mark.parametrize("name", ["book", "micro"])
def test_the_twins_agree(name: str) -> None:
    stream = simulate(12_000, seed=8, n_instruments=3)
    result = parity.check(catalogue(name), stream.events, stream.instruments)
    assert result["pass"], (result["worst"], [f for f in result["features"] if not f["pass"]])


@pytest.mark.parametrize("name", ["book", "micro"])
def test_prices_and_sizes_have_no_scale(name: str) -> None:
    """Prices times 256 and sizes times 8 (exact in binary): the same model reads a stock and a coin."""
    fs = catalogue(name)
    stream = simulate(6_000, seed=7)
    scaled = stream.events.copy()
    prices, sizes = scaled["v"][:, :2], scaled["v"][:, 2:4]
    trade = scaled["kind"] == 2
    prices[~trade] *= 256.0
    sizes[~trade] *= 8.0
    scaled["v"][trade, 0] *= 256.0
    scaled["v"][trade, 1] *= 8.0
    first = native_rows(fs, stream.events, stream.instruments)
    second = native_rows(fs, scaled, stream.instruments)
    assert np.array_equal(first["ready"], second["ready"])
    in_logarithms = [j for j, n in enumerate(fs.names) if n in ("log_bid_depth", "log_ask_depth")]
    keep = np.delete(np.arange(len(fs.names)), in_logarithms)
    for j in keep:
        ready = first["ready"][:, j]
        np.testing.assert_allclose(
            first["values"][ready, j], second["values"][ready, j], rtol=1e-5, atol=1e-6, err_msg=fs.names[j]
        )


REAL = [
    ("book", "lobster/AMZN_20120621_L5.parquet"),
    ("micro", "lobster/AMZN_20120621_L5.parquet"),
    ("micro", "binance/spot_btcusdt_20240808_l1.parquet"),
    ("micro", "binance/usdm_btcusdt_20240808_l1.parquet"),
]


def real_market(data_dir: Path, name: str, file: str) -> tuple[np.ndarray, Instruments]:
    if not (data_dir / file).exists():
        pytest.skip(f"{file} is not in the data folder")
    source = open_events(data_dir / file, levels=5) if name == "book" else open_events(data_dir / file)
    return source.read_all()[:60_000], source.instruments


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "file"), REAL)
def test_real_markets_are_finite(name: str, file: str, data_dir: Path) -> None:
    events, instruments = real_market(data_dir, name, file)
    rows = native_rows(catalogue(name), events, instruments)
    ready = rows["ready"].all(axis=1)
    assert np.count_nonzero(ready) > 0.9 * len(ready)
    assert np.isfinite(rows["values"][ready]).all()


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "file"), REAL)
def test_the_twins_agree_on_real_markets(name: str, file: str, data_dir: Path) -> None:
    result = parity.check(catalogue(name), *real_market(data_dir, name, file))
    assert result["pass"], (result["worst"], [f for f in result["features"] if not f["pass"]])


def hybrid_ppo(bars: pd.DataFrame) -> dict[str, pd.Series]:
    """The seven features from the specification's words."""
    h, low, c = bars["high"], bars["low"], bars["close"]
    change = c.diff()
    gain, loss = (composites.wilder(x, 14) for x in (change.clip(lower=0), (-change).clip(lower=0)))
    return {
        "ret_1m": c / c.shift(1) - 1,
        "ret_5m": c / c.shift(5) - 1,
        "rsi_14": (100 * gain / (gain + loss)).where(loss != 0, 100.0).where(gain.notna()),
        "sma_10": c.rolling(10).mean(),
        "sma_30": c.rolling(30).mean(),
        "vol_1m": (c / c.shift(1) - 1).rolling(20).std(ddof=0),
        "spread_bp": 0.1 * 1e4 * (h - low) / ((h + low) / 2),
    }


@both_twins
def test_hybrid_ppo(twin: Twin) -> None:
    bars = random_bars(21, 900)
    fs = catalogue("hybrid_ppo")
    result = twin(fs, bar_events(bars), one_instrument())
    compare(result, fs.names, hybrid_ppo(bars), atol=1e-12)
    assert result.ready.all(axis=1).tolist() == [False] * 29 + [True] * 871


@pytest.mark.real_data
@both_twins
def test_hybrid_ppo_on_real_bars(twin: Twin, data_dir: Path) -> None:
    table, events, instruments = real_bars(data_dir, "BTC-PERP_1m", 20_000)
    fs = catalogue("hybrid_ppo")
    compare(twin(fs, events, instruments), fs.names, hybrid_ppo(table), atol=1e-12)


# Macros


def test_the_macros_that_are_promised() -> None:
    promised = {*MACROS_OF_BARS, *MACROS_OF_TRADES}
    variants = {"macd", "macd_signal", "macd_hist", "ema", "stochf_k", "stochf_d", "stoch_k", "stoch_d", "williams_r"}
    variants |= {"cci", "plus_di", "minus_di", "dx", "adx", "obv", "mfi"}
    helpers = {"plus_dm", "minus_dm", "money_flow"}
    assert set(builtin_macros()) == promised | {f"talib_{name}" for name in variants} | helpers


def test_every_macro_says_what_it_is() -> None:
    tables = tomllib.loads((CATALOGS.parent / "macros.toml").read_text(encoding="utf-8"))["macros"]
    for name, table in tables.items():
        assert table["doc"] and not table["doc"].endswith("."), name
        assert set(table) <= {"params", "expr", "doc", "source"}, name


@pytest.mark.parametrize("name", builtin_macros())
def test_every_macro_expands(name: str) -> None:
    """On bars and with its defaults; what it expands to is text that reads back to the same."""
    values = {"high": H, "low": L, "close": C, "volume": V, "x": C, "window": '"10s"'}
    required = [p for p, default in builtin_macros()[name].params if default is None]
    e = parse(f"{name}({', '.join(values[p] for p in required)})")
    assert parse(canonical(e)) == e


@both_twins
@pytest.mark.parametrize("seed", [31, 32])
def test_macros_of_bars(twin: Twin, seed: int) -> None:
    bars = random_bars(seed, 700)
    features = {name: f"{name}({arguments})" for name, arguments in MACROS_OF_BARS.items()}
    fs = FeatureSet.from_dict({"trigger": 'bar("1m")', "features": features})
    compare(twin(fs, bar_events(bars), one_instrument()), fs.names, composites.bars(bars), atol=1e-8)


@both_twins
def test_macros_of_trades(twin: Twin) -> None:
    """Windows of 40 trades; the sides are those of the feed."""
    stream = simulate(5_000, seed=33)
    trades = stream.events[stream.events["kind"] == 2]
    px, qty, side = (np.ascontiguousarray(trades["v"][:, i]) for i in range(3))
    fs = FeatureSet.from_dict({"trigger": "trade", "features": {n: f"{n}(40)" for n in MACROS_OF_TRADES}})
    result = twin(fs, trades, stream.instruments)
    expected = composites.trades(px, qty, side, 40)
    compare(result, fs.names, {name: pd.Series(x) for name, x in expected.items()}, atol=1e-12)


def test_parameters_of_macros() -> None:
    """Other lengths, durations and operands reach the operators inside."""
    assert parse(f"macd({C}, fast=5, slow=9)") == parse(f"ema({C}, 5) - ema({C}, 9)")
    assert parse(f"talib_macd({C}, 5, 9)") == parse(f'ema({C}, 5, seed="sma", skip=4) - ema({C}, 9, seed="sma")')
    assert parse('trade_imbalance("5s")') == parse('sum(trade_sign*qty, "5s")/sum(qty, "5s")')
    assert parse(f"vwap(20, typical_price({H}, {L}, {C}), {V})") == parse(
        f"sum(({H} + {L} + {C})/3*{V}, 20)/sum({V}, 20)"
    )
    assert parse('kyle_lambda("1m", price=mid)') == parse('beta(diff(mid, 1), trade_sign*qty, "1m")')
