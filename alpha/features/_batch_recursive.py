"""Kernels of the batch twin whose state runs on from update to update. Floor 2.

Written from ``docs/numerics.md`` without the native code. Each takes the finite updates of its operand
and gives one value per update, NaN before the first.
"""

# mypy: disable-error-code="untyped-decorator,no-any-return"

from __future__ import annotations

import math

import numpy as np

from alpha.features._batch_kernels import PARTS, compiled, grow, rounded


@compiled()
def ema_seeded(x: np.ndarray, span: int, skip: int, sma: bool) -> np.ndarray:
    """Rule 16 from update ``skip`` on; ``sma``: the first value is the plain mean of the first ``span``."""
    out = np.full(len(x), np.nan)
    alpha = 2.0 / (span + 1)
    value = 0.0
    for i in range(skip, len(x)):
        k = i - skip
        if sma and k < span:
            value += x[i]
            if k < span - 1:
                continue
            value /= span
        elif k == 0:
            value = x[i]
        else:
            value = value + alpha * (x[i] - value)
        out[i] = value
    return out


@compiled()
def ewm_std(x: np.ndarray, span: int) -> np.ndarray:
    """Rule 19, in exactly this order of operations."""
    out = np.empty(len(x))
    alpha = 2.0 / (span + 1)
    m = v = 0.0
    for i in range(len(x)):
        if i == 0:
            m = x[0]
        else:
            delta = x[i] - m
            a = alpha * delta
            m = m + a
            v = (1.0 - alpha) * (v + a * delta)
        out[i] = math.sqrt(v)
    return out


@compiled()
def wilder(x: np.ndarray, n: int) -> np.ndarray:
    """Rule 20: the plain mean of the first n, then (a (n - 1) + x)/n."""
    out = np.full(len(x), np.nan)
    a = 0.0
    for i in range(len(x)):
        if i < n:
            a += x[i]
            if i == n - 1:
                a /= n
        else:
            a = (a * (n - 1) + x[i]) / n
        if i >= n - 1:
            out[i] = a
    return out


@compiled()
def wilder_sum(x: np.ndarray, n: int) -> np.ndarray:
    """The plain sum of the first n - 1, then s - s/n + x."""
    out = np.full(len(x), np.nan)
    s = 0.0
    for i in range(len(x)):
        if i < n - 1:
            s += x[i]
        else:
            s = (s - s / n) + x[i]
            out[i] = s
    return out


@compiled()
def rsi(x: np.ndarray, n: int, idle: float) -> np.ndarray:
    """Rule 20: Wilder averages of gains and losses; ``idle`` where there was neither."""
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
                out[i] = idle
            else:
                out[i] = 100.0 if down == 0.0 else (100.0 * up) / (up + down)
    return out


@compiled()
def cumulative(x: np.ndarray) -> np.ndarray:
    """Exact sum of everything so far, rounded once per update: no error to grow."""
    out = np.empty(len(x))
    parts = np.zeros(PARTS)
    n = 0
    for i in range(len(x)):
        n = grow(parts, n, x[i])
        out[i] = rounded(parts, n)
    return out
