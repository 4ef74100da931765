"""Sequential kernels of the batch twin, compiled by numba. Floor 2.

Written from ``docs/numerics.md`` without the native code: agreement between the two is evidence
only as long as neither was copied from the other.
"""

# mypy: disable-error-code="untyped-decorator,no-any-return"

from __future__ import annotations

import math

import numpy as np
from numba import njit

from alpha.features.coefficients import EXP2

_EXP2 = np.array(EXP2)
_OPTIONS = {"cache": True, "nogil": True, "fastmath": False, "error_model": "numpy"}


@njit(inline="always", **_OPTIONS)
def _two_sum(a: float, b: float) -> tuple[float, float]:
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


@njit(inline="always", **_OPTIONS)
def _two_product(a: float, b: float) -> tuple[float, float]:
    p = a * b
    c = 134217729.0 * a
    a_hi = c - (c - a)
    a_lo = a - a_hi
    c = 134217729.0 * b
    b_hi = c - (c - b)
    b_lo = b - b_hi
    return p, ((a_hi * b_hi - p) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo


@njit(inline="always", **_OPTIONS)
def _add(hi: float, lo: float, y_hi: float, y_lo: float) -> tuple[float, float]:
    """(hi + lo) + (y_hi + y_lo), to about 2**-104 of the larger operand."""
    s, e = _two_sum(hi, y_hi)
    t, f = _two_sum(lo, y_lo)
    s, e = _two_sum(s, e + t)
    return _two_sum(s, e + f)


@njit(**_OPTIONS)
def rolling_sums(
    x: np.ndarray, lo: np.ndarray, hi: np.ndarray, squares: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per window [lo_i, hi_i) of ``x``: the sum rounded once, and n*sum(x^2) - sum(x)^2 rounded once.

    Bounds never decrease. Sums are rebuilt from the window whenever as many values were removed as it
    holds, so that errors neither grow with the stream nor outlive a huge value. The third result is 1
    where all values of the window are equal.
    """
    m = len(lo)
    total = np.zeros(m)
    spread = np.zeros(m)
    flat = np.zeros(m, dtype=np.uint8)
    a = b = 0
    s_hi = s_lo = q_hi = q_lo = 0.0
    removed = 0
    run_start = 0  # first index of the run of equal values that ends at b - 1
    for i in range(m):
        rebuild = False
        while b < hi[i]:
            if b == 0 or x[b] != x[b - 1]:
                run_start = b
            s_hi, s_lo = _add(s_hi, s_lo, x[b], 0.0)
            if squares:
                p, e = _two_product(x[b], x[b])
                q_hi, q_lo = _add(q_hi, q_lo, p, e)
            b += 1
        while a < lo[i]:
            s_hi, s_lo = _add(s_hi, s_lo, -x[a], 0.0)
            if squares:
                p, e = _two_product(x[a], x[a])
                q_hi, q_lo = _add(q_hi, q_lo, -p, -e)
            a += 1
            removed += 1
        n = b - a
        if removed >= n or not math.isfinite(s_hi) or not math.isfinite(q_hi):
            rebuild = removed > 0
        if rebuild:
            removed = 0
            s_hi = s_lo = q_hi = q_lo = 0.0
            for j in range(a, b):
                s_hi, s_lo = _add(s_hi, s_lo, x[j], 0.0)
                if squares:
                    p, e = _two_product(x[j], x[j])
                    q_hi, q_lo = _add(q_hi, q_lo, p, e)
        total[i] = s_hi
        flat[i] = n > 0 and run_start <= a
        if squares:
            p, e = _two_product(q_hi, float(n))
            e += q_lo * n
            r, g = _two_product(s_hi, s_hi)
            g += 2.0 * s_hi * s_lo
            d_hi, d_lo = _add(p, e, -r, -g)
            spread[i] = d_hi + d_lo
            if n > 0 and spread[i] < p * (2.0**-44 if n <= 64 else 2.0**-60):
                # the values lie within a few ulp of one another: their exact differences carry the variance
                s2 = t2 = q2 = r2 = 0.0
                for j in range(a, b):
                    d = x[j] - x[b - 1]
                    s2, t2 = _add(s2, t2, d, 0.0)
                    u, v = _two_product(d, d)
                    q2, r2 = _add(q2, r2, u, v)
                u, v = _two_product(q2, float(n))
                v += r2 * n
                r, g = _two_product(s2, s2)
                g += 2.0 * s2 * t2
                d_hi, d_lo = _add(u, v, -r, -g)
                spread[i] = d_hi + d_lo
    return total, spread, flat


@njit(**_OPTIONS)
def ema_span(x: np.ndarray, alpha: float) -> np.ndarray:
    """Rule 16: y0 = x0, y = y + alpha*(x - y)."""
    y = np.empty(len(x))
    value = 0.0
    for i in range(len(x)):
        value = x[i] if i == 0 else value + alpha * (x[i] - value)
        y[i] = value
    return y


@njit(**_OPTIONS)
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


@njit(**_OPTIONS)
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


@njit(**_OPTIONS)
def rsi(x: np.ndarray, n: int) -> np.ndarray:
    """Rule 20: Wilder averages seeded with the mean of the first n changes; NaN before."""
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
            out[i] = 100.0 if down == 0.0 else (100.0 * up) / (up + down)
    return out
