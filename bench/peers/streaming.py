"""The common indicators, one bar after the other, by talipp and by river: what each computes, and ours beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

C, H, L = 'bar("1m").close', 'bar("1m").high', 'bar("1m").low'
_RANGE = f"greatest(greatest({H} - {L}, abs({H} - lag({C}, 1))), abs({L} - lag({C}, 1)))"
_K = f"100*({C} - min({L}, 14))/(max({H}, 14) - min({L}, 14))"

Bars = npt.NDArray[np.float64]  # [n, 5]: open high low close volume
Run = Callable[[Bars], dict[str, Any]]


def _macd(seed: str) -> dict[str, str]:
    line = f'ema({C}, 12, seed="{seed}") - ema({C}, 26, seed="{seed}")'
    return {"macd": line, "macd_signal": f'ema({line}, 9, seed="{seed}")'}


_BANDS = {
    "bollinger_upper": f"mean({C}, 20) + 2*std({C}, 20)",
    "bollinger_lower": f"mean({C}, 20) - 2*std({C}, 20)",
}

TALIPP = {
    "sma": f"mean({C}, 20)",
    "ema": f'ema({C}, 20, seed="sma")',
    "std": f"std({C}, 20)",
    "rsi": f"rsi({C}, 14)",
    **_macd("sma"),
    **_BANDS,
    "atr": f"wilder({_RANGE}, 14)",
    "stoch_k": _K,
    "stoch_d": f"mean({_K}, 3)",
    "roc": f"100*ret({C}, 9)",
}
"""Ours for each of talipp's outputs. Its ATR takes the first bar's range in, ours begins with the second bar's true
range: they differ until that is forgotten."""

RIVER = {
    "sma": f"mean({C}, 20)",
    "ema": f"ema({C}, 20)",
    "std": f"std({C}, 20)",
    **_macd("first"),
    **_BANDS,
    "stoch_k": _K,
    "stoch_d": f"mean({_K}, 3)",
    "lowest": f"min({L}, 14)",
    "highest": f"max({H}, 14)",
    "median": f"median({C}, 20)",
}
"""Ours for what river's statistics give. River has no Wilder averages, so neither RSI nor ATR."""


def talipp_indicators(bars: Bars) -> dict[str, Any]:
    """Every bar into every indicator; the last outputs."""
    from talipp.indicators import ATR, BB, EMA, MACD, ROC, RSI, SMA, StdDev, Stoch
    from talipp.ohlcv import OHLCV

    closes = SMA(20), EMA(20), StdDev(20), RSI(14), MACD(12, 26, 9), BB(20, 2), ROC(9)
    whole = ATR(14), Stoch(14, 3)
    for o, h, low, c, v in bars.tolist():
        for indicator in closes:
            indicator.add(c)
        bar = OHLCV(o, h, low, c, v)
        for indicator in whole:
            indicator.add(bar)
    sma, ema, std, rsi, macd, bands, roc = (i[-1] for i in closes)
    atr, stoch = (i[-1] for i in whole)
    return {
        "sma": sma,
        "ema": ema,
        "std": std,
        "rsi": rsi,
        "macd": macd.macd,
        "macd_signal": macd.signal,
        "bollinger_upper": bands.ub,
        "bollinger_lower": bands.lb,
        "atr": atr,
        "stoch_k": stoch.k,
        "stoch_d": stoch.d,
        "roc": roc,
    }


def river_statistics(bars: Bars) -> dict[str, Any]:
    """The same from river's rolling and exponential statistics."""
    from river import stats, utils

    mean, var = utils.Rolling(stats.Mean(), 20), utils.Rolling(stats.Var(ddof=0), 20)
    ema, fast, slow, signal = (stats.EWMean(2 / (n + 1)) for n in (20, 12, 26, 9))
    lowest, highest, median = stats.RollingMin(14), stats.RollingMax(14), stats.RollingQuantile(0.5, 20)
    k3 = utils.Rolling(stats.Mean(), 3)
    k = 0.0
    for _, h, low, c, _ in bars.tolist():
        for s in (mean, var, ema, fast, slow, median):
            s.update(c)
        signal.update(fast.get() - slow.get())
        lowest.update(low)
        highest.update(h)
        k = 100.0 * (c - lowest.get()) / (highest.get() - lowest.get())
        k3.update(k)
    std = var.get() ** 0.5
    return {
        "sma": mean.get(),
        "ema": ema.get(),
        "std": std,
        "macd": fast.get() - slow.get(),
        "macd_signal": signal.get(),
        "bollinger_upper": mean.get() + 2 * std,
        "bollinger_lower": mean.get() - 2 * std,
        "stoch_k": k,
        "stoch_d": k3.get(),
        "lowest": lowest.get(),
        "highest": highest.get(),
        "median": median.get(),
    }
