"""The composite features of ``macros.toml`` in pandas, from their textbook definitions: one row per bar or trade."""

from __future__ import annotations

import numpy as np
import pandas as pd


def ema(x: pd.Series, span: int) -> pd.Series:
    """From the first value that there is; shown from the ``span``-th on."""
    seen = x.dropna()
    return seen.ewm(span=span, adjust=False, min_periods=span).mean().reindex(x.index)


def wilder(x: pd.Series, n: int) -> pd.Series:
    """Mean of the first n, then (a (n - 1) + x)/n. A missing value in between is no value at all."""
    seen = x.dropna()
    start = pd.concat([pd.Series([seen.iloc[:n].mean()], index=[seen.index[n - 1]]), seen.iloc[n:]])
    return start.ewm(alpha=1 / n, adjust=False).mean().reindex(x.index).ffill()


def bars(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Every macro of bars under its default parameters."""
    h, low, c, v = (table[n] for n in ("high", "low", "close", "volume"))
    last = c.shift(1)
    macd = ema(c, 12) - ema(c, 26)
    mean, std = c.rolling(20).mean(), c.rolling(20).std(ddof=0)
    std = std.mask(c.rolling(20).max() == c.rolling(20).min(), 0.0)
    true_range = pd.concat([h - low, (h - last).abs(), (low - last).abs()], axis=1).max(axis=1, skipna=False)
    top, bottom = h.rolling(14).max(), low.rolling(14).min()
    k = (100 * (c - bottom) / (top - bottom)).mask(top == bottom, 50.0)
    up, down = h - h.shift(1), low.shift(1) - low
    plus = up.where((up > down) & (up > 0), 0.0).where(up.notna())
    minus = down.where((down > up) & (down > 0), 0.0).where(down.notna())
    atr, plus_dm, minus_dm = wilder(true_range, 14), wilder(plus, 14), wilder(minus, 14)
    dx = 100 * (plus_dm - minus_dm).abs() / (plus_dm + minus_dm)
    typical = (h + low + c) / 3
    spread = typical.rolling(20).apply(lambda x: np.abs(x - x.mean()).mean(), raw=True)
    change = typical - typical.shift(1)
    stays = change.abs() <= 1e-12 * typical
    flow = (typical * v).where(~stays, 0.0).where(change.notna())
    flows = flow.rolling(14).sum()
    direction = np.sign(c - last)
    return {
        "macd": macd,
        "macd_signal": ema(macd, 9),
        "macd_hist": macd - ema(macd, 9),
        "bollinger_upper": mean + 2 * std,
        "bollinger_lower": mean - 2 * std,
        "bollinger_width": 4 * std / mean,
        "bollinger_percent_b": (0.5 + (c - mean) / (4 * std)).mask(std == 0, 0.5),
        "typical_price": typical,
        "true_range": true_range,
        "atr": atr,
        "stochastic_k": k,
        "stochastic_d": k.rolling(3).mean(),
        "williams_r": k - 100,
        "cci": ((typical - typical.rolling(20).mean()) / (0.015 * spread)).mask(spread < 1e-12 * typical, 0.0),
        "plus_di": 100 * plus_dm / atr,
        "minus_di": 100 * minus_dm / atr,
        "dx": dx,
        "adx": wilder(dx, 14),
        "obv": (direction * v).cumsum(),
        "mfi": 100 * flow.where(change > 0, 0.0).where(flow.notna()).rolling(14).sum() / flows,
        "realized_vol": (np.log(c / last) ** 2).rolling(30).sum() ** 0.5,
    }


def trades(px: np.ndarray, qty: np.ndarray, sign: np.ndarray, n: int) -> dict[str, np.ndarray]:
    """Every macro of trades over windows of the last n, by an index loop; NaN before the window is full."""
    count = len(px)
    names = ("signed_volume", "trade_imbalance", "vwap", "kyle_lambda", "roll_spread", "amihud")
    out = {name: np.full(count, np.nan) for name in names}
    change = np.diff(px, prepend=np.nan)
    for i in range(n - 1, count):
        p, q, s, d = (x[i - n + 1 : i + 1] for x in (px, qty, sign, change))
        out["signed_volume"][i] = (s * q).sum()
        out["trade_imbalance"][i] = (s * q).sum() / q.sum()
        out["vwap"][i] = (p * q).sum() / q.sum()
        if i >= n:
            flow = s * q - (s * q).mean()
            out["kyle_lambda"][i] = (d * flow).sum() / (flow**2).sum()
            out["amihud"][i] = (np.abs(p / px[i - n : i] - 1) / (p * q)).mean()
        if i >= n + 1:
            before = change[i - n : i]
            bounce = ((d - d.mean()) * (before - before.mean())).mean()
            out["roll_spread"][i] = 2 * np.sqrt(max(-bounce, 0.0))
    return out
