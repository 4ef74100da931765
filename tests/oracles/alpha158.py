"""Alpha158 in pandas, from Qlib's published definitions: nothing of the expression language is used.

The definitions are those of ``Alpha158DL.get_feature_config`` and of the operators in ``qlib/data/ops.py``. Windows
are looked at whole and in two passes, where Qlib keeps running sums, so the oracle holds no drift of its own. Qlib's
first rows come from shorter windows (``min_periods=1``); here they are NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

WINDOWS = (5, 10, 20, 30, 60)
TOLERANCE = 2e-5  # np.isclose(std, 0, atol=2e-5) in Qlib's Corr and Rsquare


def alpha158(bars: pd.DataFrame) -> pd.DataFrame:
    """The 158 columns over ``bars`` (open, high, low, close, volume, and vwap if there is one)."""
    o, h, low, c, v = (bars[name].astype(np.float64) for name in ("open", "high", "low", "close", "volume"))
    vwap = bars["vwap"].astype(np.float64) if "vwap" in bars else (h + low + c) / 3
    top, bottom, height = np.maximum(o, c), np.minimum(o, c), h - low + 1e-12
    out = {
        "KMID": (c - o) / o,
        "KLEN": (h - low) / o,
        "KMID2": (c - o) / height,
        "KUP": (h - top) / o,
        "KUP2": (h - top) / height,
        "KLOW": (bottom - low) / o,
        "KLOW2": (bottom - low) / height,
        "KSFT": (2 * c - h - low) / o,
        "KSFT2": (2 * c - h - low) / height,
        "OPEN0": o / c,
        "HIGH0": h / c,
        "LOW0": low / c,
        "VWAP0": vwap / c,
    }
    last, last_volume = c.shift(1), v.shift(1)
    price_ratio, volume_ratio = c / last, np.log(v / last_volume + 1)
    volume_log = np.log(v + 1)
    moved = (c / last - 1).abs() * v
    # a comparison with the missing first row is False in pandas; the first full window that counts starts behind it
    up, down = (c > last).astype(np.float64), (c < last).astype(np.float64)
    families: dict[str, Callable[[int], pd.Series]] = {
        "ROC": lambda d: c.shift(d) / c,
        "MA": lambda d: mean(c, d) / c,
        "STD": lambda d: std(c, d) / c,
        "BETA": lambda d: regression(c, d)[0] / c,
        "RSQR": lambda d: rsquare(c, d),
        "RESI": lambda d: regression(c, d)[1] / c,
        "MAX": lambda d: rolled(h, d, lambda w: w.max(axis=1)) / c,
        "MIN": lambda d: rolled(low, d, lambda w: w.min(axis=1)) / c,
        "QTLU": lambda d: rolled(c, d, lambda w: np.quantile(w, 0.8, axis=1)) / c,
        "QTLD": lambda d: rolled(c, d, lambda w: np.quantile(w, 0.2, axis=1)) / c,
        "RANK": lambda d: c.rolling(d).rank(pct=True),
        "RSV": lambda d: (
            (c - rolled(low, d, lambda w: w.min(axis=1)))
            / (rolled(h, d, lambda w: w.max(axis=1)) - rolled(low, d, lambda w: w.min(axis=1)) + 1e-12)
        ),
        "IMAX": lambda d: place(h, d, np.argmax) / d,
        "IMIN": lambda d: place(low, d, np.argmin) / d,
        "IMXD": lambda d: (place(h, d, np.argmax) - place(low, d, np.argmin)) / d,
        "CORR": lambda d: corr(c, volume_log, d),
        "CORD": lambda d: corr(price_ratio, volume_ratio, d),
        "CNTP": lambda d: mean(up, d),
        "CNTN": lambda d: mean(down, d),
        "CNTD": lambda d: mean(up, d) - mean(down, d),
        "SUMP": lambda d: share(c, d)[0],
        "SUMN": lambda d: share(c, d)[1],
        "SUMD": lambda d: share(c, d)[2],
        "VMA": lambda d: mean(v, d) / (v + 1e-12),
        "VSTD": lambda d: std(v, d) / (v + 1e-12),
        "WVMA": lambda d: std(moved, d) / (mean(moved, d) + 1e-12),
        "VSUMP": lambda d: share(v, d)[0],
        "VSUMN": lambda d: share(v, d)[1],
        "VSUMD": lambda d: share(v, d)[2],
    }
    for name, family in families.items():
        for d in WINDOWS:
            out[f"{name}{d}"] = family(d)
    return pd.DataFrame(out, index=bars.index)


def rolled(x: pd.Series, d: int, statistic: Callable[[np.ndarray], np.ndarray]) -> pd.Series:
    """``statistic`` over every full window of ``d`` rows; NaN before the first."""
    out = np.full(len(x), np.nan)
    if len(x) >= d:
        out[d - 1 :] = statistic(sliding_window_view(x.to_numpy(), d))
    return pd.Series(out, index=x.index)


def mean(x: pd.Series, d: int) -> pd.Series:
    return rolled(x, d, lambda w: w.mean(axis=1))


def std(x: pd.Series, d: int) -> pd.Series:
    """Sample standard deviation, pandas' default."""
    return rolled(x, d, lambda w: w.std(axis=1, ddof=1))


def place(x: pd.Series, d: int, where: Callable[..., np.ndarray]) -> pd.Series:
    """IdxMax and IdxMin: 1 is the oldest row, which wins ties."""
    return rolled(x, d, lambda w: where(w, axis=1) + 1.0)


def regression(x: pd.Series, d: int) -> tuple[pd.Series, pd.Series]:
    """Slope of x on 1..d and the newest row's residual."""
    position = np.arange(1, d + 1) - (d + 1) / 2

    def slope(w: np.ndarray) -> np.ndarray:
        return (w - w.mean(axis=1, keepdims=True)) @ position / (position @ position)

    b = rolled(x, d, slope)
    return b, x - mean(x, d) - b * position[-1]


def rsquare(x: pd.Series, d: int) -> pd.Series:
    position = np.arange(1, d + 1) - (d + 1) / 2

    def share_explained(w: np.ndarray) -> np.ndarray:
        deviation = w - w.mean(axis=1, keepdims=True)
        total = (deviation**2).sum(axis=1) * (position @ position)
        return np.divide((deviation @ position) ** 2, total, out=np.full(len(w), np.nan), where=total > 0)

    return rolled(x, d, share_explained).mask(std(x, d) <= TOLERANCE)


def corr(x: pd.Series, y: pd.Series, d: int) -> pd.Series:
    out = np.full(len(x), np.nan)
    a, b = (sliding_window_view(z.to_numpy(), d) for z in (x, y))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    size = np.sqrt((a**2).sum(axis=1)) * np.sqrt((b**2).sum(axis=1))
    out[d - 1 :] = np.divide((a * b).sum(axis=1), size, out=np.full(len(size), np.nan), where=size > 0)
    return pd.Series(out, index=x.index).mask((std(x, d) <= TOLERANCE) | (std(y, d) <= TOLERANCE))


def share(x: pd.Series, d: int) -> tuple[pd.Series, pd.Series, pd.Series]:
    """SUMP, SUMN and SUMD: gains, losses and their difference over the sum of all moves."""
    change = x - x.shift(1)

    def total(z: pd.Series) -> pd.Series:
        return rolled(z, d, lambda w: w.sum(axis=1))

    gains, losses, moves = total(change.clip(lower=0)), total((-change).clip(lower=0)), total(change.abs()) + 1e-12
    return gains / moves, losses / moves, (gains - losses) / moves
