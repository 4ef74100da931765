"""Recursive operators of the batch twin, compiled by numba: averages, Wilder, sums since reset. Floor 2."""

from __future__ import annotations

import math

import numpy as np

from alpha.features._batch_kernels import _add, _compiled
from alpha.features.coefficients import EXP2

_EXP2 = np.array(EXP2)


@_compiled()
def ema_span(x: np.ndarray, alpha: float) -> np.ndarray:
    """Rule 16: y0 = x0, y = y + alpha*(x - y)."""
    y = np.empty(len(x))
    value = 0.0
    for i in range(len(x)):
        value = x[i] if i == 0 else value + alpha * (x[i] - value)
        y[i] = value
    return y


@_compiled()
def exp2n(t: float) -> float:
    """Rule 18: 2**t for t <= 0."""
    if t < -1100.0:
        return 0.0
    k = np.rint(t)
    f = t - k
    p = _EXP2[13]
    for j in range(12, -1, -1):
        p = _EXP2[j] + f * p
    return math.ldexp(p, int(k))


@_compiled()
def ema_half_life(x: np.ndarray, t_ns: np.ndarray, h_ns: float) -> np.ndarray:
    """Rule 17: weights halve every h, equal timestamps count."""
    y = np.empty(len(x))
    value = 0.0
    weight = 1.0
    for i in range(len(x)):
        if i == 0:
            value = x[0]
        else:
            weight = 1.0 + exp2n(-float(t_ns[i] - t_ns[i - 1]) / h_ns) * weight
            value = value + (x[i] - value) / weight
        y[i] = value
    return y


@_compiled()
def rsi(x: np.ndarray, n: int, flat: float) -> np.ndarray:
    """Rule 20: Wilder averages seeded with the mean of the first n changes; NaN before. ``flat``: without any move."""
    out = np.full(len(x), np.nan)
    up = down = 0.0
    for i in range(1, len(x)):
        change = x[i] - x[i - 1]
        gain = max(change, 0.0)
        loss = max(-change, 0.0)
        if i <= n:
            up += gain
            down += loss
            if i == n:
                up /= n
                down /= n
        else:
            up = (up * (n - 1) + gain) / n
            down = (down * (n - 1) + loss) / n
        if i >= n:
            if up + down == 0.0:
                out[i] = flat
            else:
                out[i] = 100.0 if down == 0.0 else (100.0 * up) / (up + down)
    return out


@_compiled()
def ema_seeded(x: np.ndarray, alpha: float, span: int, skip: int, sma: bool) -> np.ndarray:
    """``ema`` that leaves out ``skip`` updates and may begin with the mean of ``span``; NaN before it is warm."""
    out = np.full(len(x), np.nan)
    value = 0.0
    for i in range(skip, len(x)):
        k = i - skip
        if sma and k < span:
            value += x[i]
            if k == span - 1:
                value /= span
        else:
            value = x[i] if k == 0 else value + alpha * (x[i] - value)
        if k >= span - 1:
            out[i] = value
    return out


@_compiled()
def ewm_std(x: np.ndarray, alpha: float) -> np.ndarray:
    """Rule 19."""
    out = np.zeros(len(x))
    if len(x) == 0:
        return out
    mean = x[0]
    var = 0.0
    for i in range(1, len(x)):
        delta = x[i] - mean
        step = alpha * delta
        mean += step
        var = (1.0 - alpha) * (var + step * delta)
        out[i] = math.sqrt(var)
    return out


@_compiled()
def wilder(x: np.ndarray, n: int) -> np.ndarray:
    """Mean of the first n, then (a (n - 1) + x)/n."""
    out = np.full(len(x), np.nan)
    value = 0.0
    for i in range(len(x)):
        if i < n:
            value += x[i]
            if i == n - 1:
                value /= n
        else:
            value = (value * (n - 1) + x[i]) / n
        if i >= n - 1:
            out[i] = value
    return out


@_compiled()
def wilder_sum(x: np.ndarray, n: int) -> np.ndarray:
    """Sum of the first n - 1, then s - s/n + x."""
    out = np.full(len(x), np.nan)
    value = 0.0
    for i in range(len(x)):
        if i < n - 1:
            value += x[i]
        else:
            value = (value - value / n) + x[i]
            out[i] = value
    return out


@_compiled()
def cumulative(x: np.ndarray) -> np.ndarray:
    """Running sum in double-double."""
    out = np.zeros(len(x))
    s = e = 0.0
    for i in range(len(x)):
        s, e, _ = _add(s, e, x[i], 0.0)
        out[i] = s + 0.0
    return out
