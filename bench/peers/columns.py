"""The twenty features of ``twenty`` as one would write them in polars, pandas and numba. Their rolling sums are plain
running sums: fast, and not exact; bench/stage_batch.py counts where they differ."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl

Floats = npt.NDArray[np.float64]
NS = 1_000_000_000


def polars_twenty(frame: pl.DataFrame) -> pl.DataFrame:
    """``frame``: t (ns), bid_px, ask_px, bid_qty, ask_qty of every quote."""
    bid, ask, bid_qty, ask_qty = (pl.col(n) for n in ("bid_px", "ask_px", "bid_qty", "ask_qty"))
    mid = pl.col("mid")
    change = mid.diff(1)
    gain = change.clip(lower_bound=0.0).ewm_mean(alpha=1 / 14, adjust=False, ignore_nulls=True)
    loss = (-change).clip(lower_bound=0.0).ewm_mean(alpha=1 / 14, adjust=False, ignore_nulls=True)
    first = frame.lazy().with_columns(
        mid=0.5 * (bid + ask),
        spread=ask - bid,
        microprice=(bid * ask_qty + ask * bid_qty) / (bid_qty + ask_qty),
        imbalance=(bid_qty - ask_qty) / (bid_qty + ask_qty),
    )
    before = frame.lazy().select(at="t", old=0.5 * (bid + ask)).group_by("at", maintain_order=True).last()
    lagged = (
        first.select(at=pl.col("t") - NS)
        .join_asof(before, on="at", strategy="backward", check_sortedness=False)
        .select("old")
    )
    out = pl.concat([first, lagged], how="horizontal").select(
        "spread",
        "mid",
        "microprice",
        "imbalance",
        "bid_px",
        "ask_qty",
        micro_dev=pl.col("microprice") - mid,
        spread_bp=1e4 * pl.col("spread") / mid,
        diff_1=change,
        ret_1=mid / mid.shift(1) - 1.0,
        ret_5=mid / mid.shift(5) - 1.0,
        ret_20=mid / mid.shift(20) - 1.0,
        lag_10=mid.shift(10),
        velocity_1s=mid - pl.col("old"),
        ema_10=mid.ewm_mean(span=10, adjust=False),
        ema_50=mid.ewm_mean(span=50, adjust=False),
        imbalance_ema=pl.col("imbalance").ewm_mean(span=20, adjust=False),
        std_50=mid.rolling_std(50, ddof=0),
        std_5s=mid.rolling_std_by("t", window_size="5000000000i", ddof=0),
        rsi_14=100.0 * gain / (gain + loss),
    )
    return out.cast(pl.Float32).collect()


def pandas_twenty(frame: pd.DataFrame) -> pd.DataFrame:
    """The same columns, indexed by time."""
    bid, ask, bid_qty, ask_qty = (frame[n] for n in ("bid_px", "ask_px", "bid_qty", "ask_qty"))
    mid = 0.5 * (bid + ask)
    microprice = (bid * ask_qty + ask * bid_qty) / (bid_qty + ask_qty)
    imbalance = (bid_qty - ask_qty) / (bid_qty + ask_qty)
    change = mid.diff(1)
    gain = change.clip(lower=0.0).ewm(alpha=1 / 14, adjust=False).mean()
    loss = (-change).clip(lower=0.0).ewm(alpha=1 / 14, adjust=False).mean()
    t = frame.index.to_numpy()
    at = np.searchsorted(t, t - np.timedelta64(1, "s"), side="right") - 1
    values = mid.to_numpy()
    out = {
        "spread": ask - bid,
        "mid": mid,
        "microprice": microprice,
        "imbalance": imbalance,
        "bid_px": bid,
        "ask_qty": ask_qty,
        "micro_dev": microprice - mid,
        "spread_bp": 1e4 * (ask - bid) / mid,
        "diff_1": change,
        "ret_1": mid / mid.shift(1) - 1.0,
        "ret_5": mid / mid.shift(5) - 1.0,
        "ret_20": mid / mid.shift(20) - 1.0,
        "lag_10": mid.shift(10),
        "velocity_1s": values - np.where(at >= 0, values[at], np.nan),
        "ema_10": mid.ewm(span=10, adjust=False).mean(),
        "ema_50": mid.ewm(span=50, adjust=False).mean(),
        "imbalance_ema": imbalance.ewm(span=20, adjust=False).mean(),
        "std_50": mid.rolling(50).std(ddof=0),
        "std_5s": mid.rolling("5s").std(ddof=0),
        "rsi_14": 100.0 * gain / (gain + loss),
    }
    return pd.DataFrame(out, index=frame.index).astype(np.float32)


@numba.njit(cache=False, nogil=True)
def _naive(t: Any, v: Floats, out: Any) -> None:
    n = len(t)
    mid = np.empty(n)
    s50 = q50 = s5 = q5 = 0.0
    old = tail = 0
    e10 = e50 = ei = gain = loss = 0.0
    for i in range(n):
        b, a, p, q = v[i, 0], v[i, 1], v[i, 2], v[i, 3]
        m = 0.5 * (b + a)
        mid[i] = m
        micro, imb = (b * q + a * p) / (p + q), (p - q) / (p + q)
        while old + 1 <= i and t[old + 1] <= t[i] - NS:
            old += 1
        s50, q50, s5, q5 = s50 + m, q50 + m * m, s5 + m, q5 + m * m
        if i >= 50:
            s50, q50 = s50 - mid[i - 50], q50 - mid[i - 50] * mid[i - 50]
        while t[tail] <= t[i] - 5 * NS:
            s5, q5 = s5 - mid[tail], q5 - mid[tail] * mid[tail]
            tail += 1
        k = i - tail + 1
        if i == 0:
            e10 = e50 = m
            ei = imb
        else:
            e10, e50, ei = e10 + 2 / 11 * (m - e10), e50 + 2 / 51 * (m - e50), ei + 2 / 21 * (imb - ei)
            d = m - mid[i - 1]
            up, down = max(d, 0.0), max(-d, 0.0)
            gain, loss = (up, down) if i == 1 else (gain + (up - gain) / 14, loss + (down - loss) / 14)
        out[i, 0], out[i, 1], out[i, 2], out[i, 3], out[i, 4], out[i, 5] = a - b, m, micro, imb, b, q
        out[i, 6], out[i, 7] = micro - m, 1e4 * (a - b) / m
        out[i, 8] = m - mid[i - 1] if i >= 1 else np.nan
        out[i, 9] = m / mid[i - 1] - 1.0 if i >= 1 else np.nan
        out[i, 10] = m / mid[i - 5] - 1.0 if i >= 5 else np.nan
        out[i, 11] = m / mid[i - 20] - 1.0 if i >= 20 else np.nan
        out[i, 12] = mid[i - 10] if i >= 10 else np.nan
        out[i, 13] = m - mid[old]
        out[i, 14], out[i, 15], out[i, 16] = e10, e50, ei
        out[i, 17] = np.sqrt(max(q50 / 50 - (s50 / 50) ** 2, 0.0)) if i >= 49 else np.nan
        out[i, 18] = np.sqrt(max(q5 / k - (s5 / k) ** 2, 0.0))
        out[i, 19] = 100.0 * gain / (gain + loss) if gain + loss > 0.0 else 100.0


def numba_twenty(t: npt.NDArray[np.int64], v: Floats) -> npt.NDArray[np.float32]:
    """One pass with running sums. ``v``: bid_px, ask_px, bid_qty, ask_qty a row."""
    out = np.empty((len(t), 20), np.float32)
    _naive(t, v, out)
    return out
