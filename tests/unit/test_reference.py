"""The oracle's own values, against numpy, scipy and numbers worked out by hand."""

from __future__ import annotations

import decimal
import math
from decimal import Decimal

import numpy as np
import pytest
from reference_math import exp
from reference_operators import POINTWISE, RECURSIVE, needed
from reference_windows import WINDOWED, Window
from scipy import stats

from alpha.features.operators import OPERATORS

WIDE = decimal.Context(prec=60, Emin=-2000, Emax=2000)
S = 10**9
NAN = math.nan


def test_every_operator_has_a_meaning() -> None:
    known = {*POINTWISE, *WINDOWED, *RECURSIVE, "lag", "diff", "ret", "logret", "velocity", "of", "vpin"}
    assert known == {op.name for op in OPERATORS.values() if op.kind != "source"}


def _window(x: np.ndarray, y: np.ndarray | None = None, times: np.ndarray | None = None, **params: float) -> Window:
    at = list(range(len(x))) if times is None else [int(t) for t in times]
    ys = [] if y is None else y.tolist()
    return Window(at, x.tolist(), ys, {"ddof": 0, **params}, 0 if times is None else 60 * S)


@pytest.mark.parametrize("seed", range(5))
def test_windows_agree_with_numpy_and_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 40))
    x, y = 100.0 + rng.normal(size=n), rng.normal(size=n)
    x[n // 2] = x[-1] = x[0]  # ties
    w = _window(x, y, ddof=1, q=0.3)
    line = stats.linregress(np.arange(n), x)
    fitted = line.intercept + line.slope * np.arange(n)
    expected = {
        "sum": x.sum(),
        "mean": x.mean(),
        "var": x.var(ddof=1),
        "std": x.std(ddof=1),
        "zscore": (x[-1] - x.mean()) / x.std(ddof=1),
        "skew": stats.skew(x),
        "mad": np.abs(x - x.mean()).mean(),
        "argmin": 1 + np.argmin(x),
        "argmax": 1 + np.argmax(x),
        "rank": (stats.rankdata(x)[-1]) / n,
        "quantile": np.quantile(x, 0.3),
        "median": np.median(x),
        "cov": np.cov(x, y)[0, 1],
        "corr": np.corrcoef(x, y)[0, 1],
        "qlib.corr": np.corrcoef(x, y)[0, 1],
        "beta": np.cov(x, y)[0, 1] / y.var(ddof=1),
        "slope": line.slope,
        "rsquare": line.rvalue**2,
        "qlib.rsquare": line.rvalue**2,
        "resid": (x - fitted)[-1],
    }
    for name, value in expected.items():
        assert WINDOWED[name](w) == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_time_windows_regress_on_seconds() -> None:
    rng = np.random.default_rng(9)
    times = 1_700_000_000 * S + np.cumsum(rng.integers(1, 3 * S, 12))
    x = rng.normal(size=12)
    seconds = (times - times[0]) / S
    line = stats.linregress(seconds, x)
    w = _window(x, times=times)
    assert WINDOWED["slope"](w) == pytest.approx(line.slope, rel=1e-9)
    assert WINDOWED["rsquare"](w) == pytest.approx(line.rvalue**2, rel=1e-9)
    assert WINDOWED["resid"](w) == pytest.approx(x[-1] - line.intercept - line.slope * seconds[-1], rel=1e-9)
    same = _window(x, times=np.full(12, times[0]))
    assert [WINDOWED[op](same) for op in ("slope", "rsquare", "resid")] == [0.0, 0.0, 0.0]


def test_without_dispersion_nothing_is_explained() -> None:
    w = _window(np.full(5, 0.1), np.arange(5.0))
    for op in ("var", "std", "zscore", "skew", "mad", "cov", "corr", "beta", "slope", "rsquare", "resid"):
        assert WINDOWED[op](w) == 0.0, op
    assert math.isnan(WINDOWED["qlib.corr"](w)) and math.isnan(WINDOWED["qlib.rsquare"](w))
    line = _window(1e5 + 0.25 * np.arange(7.0))
    assert WINDOWED["resid"](line) == 0.0 and WINDOWED["slope"](line) == 0.25 and WINDOWED["skew"](line) == 0.0


def test_pointwise_at_its_edges() -> None:
    nan_out = ["sign", "exp", "sqrt", "log"]
    assert all(math.isnan(POINTWISE[op](NAN)) for op in nan_out)
    assert all(math.isnan(POINTWISE[op](1.0, NAN)) for op in ("least", "greatest", "gt", "ge", "lt", "le", "eq", "ne"))
    assert [POINTWISE["sign"](x) for x in (2.0, 0.0, -0.0, -3.0)] == [1.0, 0.0, 0.0, -1.0]
    assert math.isnan(POINTWISE["where"](NAN, 1.0, 2.0)) and POINTWISE["where"](0.0, NAN, 2.0) == 2.0
    assert math.isnan(POINTWISE["clip"](NAN, lo=0.0, hi=1.0)) and POINTWISE["clip"](7.0, lo=0.0, hi=1.0) == 1.0
    assert math.isnan(POINTWISE["sqrt"](-1.0)) and POINTWISE["sqrt"](math.inf) == math.inf
    assert exp(709.8) == math.inf and exp(-746.0) == 0.0 and exp(-745.0) == 5e-324 and exp(0.0) == 1.0


def test_exp_is_within_five_quarters_of_an_ulp() -> None:
    x = np.concatenate([np.random.default_rng(3).uniform(-708, 709, 2000), [1e-300, -1e-18, 1.0, -1.0]])
    for v in x.tolist():
        exact = WIDE.exp(Decimal(v))
        assert abs(WIDE.subtract(Decimal(exp(v)), exact)) < Decimal(1.25 * math.ulp(float(exact))), v


def test_recursive_by_hand() -> None:
    updates = [(k * S, x) for k, x in enumerate([1.0, 2.0, 6.0, 3.0])]
    ema = {"span": 2, "half_life": None, "seed": "first", "skip": 0}
    assert RECURSIVE["ema"](updates[:2], ema) == 1.0 + 2.0 / 3.0 * 1.0
    assert RECURSIVE["ema"](updates[:2], ema | {"seed": "sma"}) == 1.5
    assert RECURSIVE["ema"](updates[:3], ema | {"skip": 1, "seed": "sma"}) == 4.0
    assert needed("ema", ema | {"skip": 1}) == 3
    assert RECURSIVE["wilder"](updates, {"n": 3}) == (3.0 * 2 + 3.0) / 3
    assert RECURSIVE["wilder_sum"](updates[:3], {"n": 3}) == (3.0 - 1.0) + 6.0
    assert RECURSIVE["ewm_std"](updates[:2], {"span": 3}) == math.sqrt(0.5 * 0.5)
    assert RECURSIVE["rsi"](updates, {"n": 3}) == 100.0 * (5.0 / 3) / (5.0 / 3 + 1.0)
    flat = [(k, 4.0) for k in range(4)]
    assert (RECURSIVE["rsi"](flat, {"n": 3}), RECURSIVE["talib.rsi"](flat, {"n": 3})) == (100.0, 0.0)
    assert RECURSIVE["cumsum"]([(0, 1e16), (1, 1.0), (2, -1e16)], {}) == 1.0
    assert RECURSIVE["first"](updates, {}) == 1.0
