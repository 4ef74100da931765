"""Sequential kernels of the batch twin, compiled by numba. Floor 2.

Written from ``docs/numerics.md`` without the native code: agreement between the two is evidence
only as long as neither was copied from the other.
"""

# mypy: disable-error-code="untyped-decorator,no-any-return"

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit

from alpha.features.coefficients import EXP2

_EXP2 = np.array(EXP2)
PARTS = 64  # 2098 bits of float64's range / 53 bits a part: 40 suffice
HUGE = 1e140  # n squares of larger values may not fit into float64
_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(inline: str = "never") -> Callable[[_F], _F]:
    """numba's njit as the kernels want it, typed: no fused or reordered arithmetic, no GIL, cached on disk.

    The cache looks at a kernel's own file only: after a change of a helper here, touch the files that use it.
    """

    def decorate(function: _F) -> _F:
        options = {"inline": inline, "nogil": True, "fastmath": False, "error_model": "numpy"}
        try:
            compiled: _F = njit(cache=True, **options)(function)
        except RuntimeError:  # neither this folder, NUMBA_CACHE_DIR nor the home can be written: compile each time
            compiled = njit(cache=False, **options)(function)
        return compiled

    return decorate


@compiled("always")
def two_sum(a: float, b: float) -> tuple[float, float]:
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


@compiled("always")
def two_product(a: float, b: float) -> tuple[float, float]:
    p = a * b
    c = 134217729.0 * a
    a_hi = c - (c - a)
    a_lo = a - a_hi
    c = 134217729.0 * b
    b_hi = c - (c - b)
    b_lo = b - b_hi
    return p, ((a_hi * b_hi - p) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo


@compiled("always")
def add(hi: float, lo: float, y_hi: float, y_lo: float) -> tuple[float, float, float]:
    """(hi + lo) + (y_hi + y_lo) as a pair, and a bound of what the pair could not hold (0 = nothing lost)."""
    s, e = two_sum(hi, y_hi)
    t, f = two_sum(lo, y_lo)
    e, lost_1 = two_sum(e, t)
    s, e = two_sum(s, e)
    e, lost_2 = two_sum(e, f)
    s, e = two_sum(s, e)
    return s, e, abs(lost_1) + abs(lost_2)


@compiled("always")
def _square_from(x: float, anchor: float) -> tuple[float, float, float, float]:
    """x - anchor exactly as a pair, and its square as a pair to 2**-104 of itself."""
    d_hi, d_lo = two_sum(x, -anchor)
    p, e = two_product(d_hi, d_hi)
    return d_hi, d_lo, p, e + 2.0 * d_hi * d_lo


@compiled("always")
def settled(hi: float, lo: float, lost: float) -> bool:
    """Whether everything within ``lost`` of hi + lo rounds to hi; False when not finite."""
    reach = lost + abs(lo) * 2.0**-50
    return hi + (lo + reach) == hi and hi + (lo - reach) == hi


@compiled()
def gather(sums: np.ndarray, k: int, sign: float, hi: float, lo: float) -> None:
    """Add sign*(hi + lo) to row k of ``sums``: high part, low part, bound of everything it ever lost."""
    s, e, lost = add(sums[k, 0], sums[k, 1], sign * hi, sign * lo)
    sums[k, 0], sums[k, 1] = s, e
    sums[k, 2] += lost


@compiled()
def grow(parts: np.ndarray, n: int, v: float) -> int:
    """Add v exactly to a sum held as n parts that do not overlap (Shewchuk); the new number of parts."""
    kept = 0
    for k in range(n):
        v, e = two_sum(parts[k], v)
        if e != 0.0:
            parts[kept] = e
            kept += 1
    parts[kept] = v
    return kept + 1


@compiled()
def rounded(parts: np.ndarray, n: int) -> float:
    """The sum that n parts hold, rounded once."""
    if n == 0:
        return 0.0
    n -= 1
    s: float = parts[n]
    e = 0.0
    while n > 0:
        n -= 1
        s, e = two_sum(s, parts[n])
        if e != 0.0:
            break
    # halfway cases look at the sign of the next part
    if n > 0 and ((e < 0.0 and parts[n - 1] < 0.0) or (e > 0.0 and parts[n - 1] > 0.0)):
        twice = e * 2.0
        up = s + twice
        if up - s == twice:
            s = up
    return s


@compiled()
def exact_sum(x: np.ndarray, a: int, b: int) -> float:
    """Sum of x[a:b] rounded once, as math.fsum."""
    parts = np.zeros(PARTS)
    n = 0
    for j in range(a, b):
        n = grow(parts, n, x[j])
    return rounded(parts, n)


@compiled("always")
def _spread(
    n: float, d_hi: float, d_lo: float, d_lost: float, q_hi: float, q_lo: float, q_lost: float
) -> tuple[float, float]:
    """n*q - d*d, and a bound of its error before the last rounding."""
    p, e = two_product(q_hi, n)
    e += q_lo * n
    r, g = two_product(d_hi, d_hi)
    g += 2.0 * d_hi * d_lo
    hi, _, lost = add(p, e, -r, -g)
    return hi, lost + n * q_lost + 2.0 * abs(d_hi) * d_lost + (p + r) * 2.0**-103


@compiled()
def rolling_sums(
    x: np.ndarray, lo: np.ndarray, hi: np.ndarray, squares: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per window [lo_i, hi_i) of ``x``: the sum, and n*sum(x^2) - sum(x)^2, each rounded once; flat flags.
    ``squares``: 0 for the sum alone, 2 for the second alone (the first is then left at 0), 1 for both.

    Bounds never decrease. Sums are double-double and carry a bound of everything they ever lost; where
    the bound could reach a result's last bits the window is summed anew, so that neither a long stream nor
    a value long gone shows. The second result is computed from distances to an anchor inside the window
    (any shift leaves it unchanged), NaN where a value above 1e140 would overflow it. The third is 1 where
    all values of the window are equal.
    """
    m = len(lo)
    total = np.zeros(m)
    spread = np.zeros(m)
    flat = np.zeros(m, dtype=np.uint8)
    a = b = 0
    s_hi = s_lo = s_lost = 0.0  # sum of x
    d_hi = d_lo = d_lost = 0.0  # sum of x - anchor
    q_hi = q_lo = q_lost = 0.0  # sum of (x - anchor)^2
    anchor = 0.0
    huge = 0  # values of the window that are left out of d and q
    run_start = 0  # first index of the run of equal values that ends at b - 1
    for i in range(m):
        while b < hi[i]:
            if b == 0 or x[b] != x[b - 1]:
                run_start = b
            if squares != 2:
                s_hi, s_lo, lost = add(s_hi, s_lo, x[b], 0.0)
                s_lost += lost
            if squares != 0:
                if abs(x[b]) > HUGE:
                    huge += 1
                else:
                    if a == b:
                        anchor = x[b]
                    u, v, p, e = _square_from(x[b], anchor)
                    d_hi, d_lo, lost = add(d_hi, d_lo, u, v)
                    d_lost += lost
                    q_hi, q_lo, lost = add(q_hi, q_lo, p, e)
                    q_lost += lost
            b += 1
        while a < lo[i]:
            if squares != 2:
                s_hi, s_lo, lost = add(s_hi, s_lo, -x[a], 0.0)
                s_lost += lost
            if squares != 0:
                if abs(x[a]) > HUGE:
                    huge -= 1
                else:
                    u, v, p, e = _square_from(x[a], anchor)
                    d_hi, d_lo, lost = add(d_hi, d_lo, -u, -v)
                    d_lost += lost
                    q_hi, q_lo, lost = add(q_hi, q_lo, -p, -e)
                    q_lost += lost
            a += 1
        n = b - a
        if n == 0:
            s_hi = s_lo = s_lost = d_hi = d_lo = d_lost = q_hi = q_lo = q_lost = 0.0
            continue
        flat[i] = run_start <= a
        total[i] = s_hi
        if s_lost != 0.0 and not settled(s_hi, s_lo, s_lost):
            s_hi = s_lo = s_lost = 0.0
            for j in range(a, b):
                s_hi, s_lo, lost = add(s_hi, s_lo, x[j], 0.0)
                s_lost += lost
            total[i] = s_hi if s_lost == 0.0 or settled(s_hi, s_lo, s_lost) else exact_sum(x, a, b)
        if squares == 0 or flat[i]:
            continue
        if huge > 0:
            spread[i] = np.nan
            continue
        spread[i], bound = _spread(float(n), d_hi, d_lo, d_lost, q_hi, q_lo, q_lost)
        if not bound <= spread[i] * 2.0**-56:
            anchor = 0.0  # any near the mean will do
            for j in range(a, b):
                anchor += (x[j] - x[a]) / n
            anchor += x[a]
            d_hi = d_lo = d_lost = q_hi = q_lo = q_lost = 0.0
            for j in range(a, b):
                u, v, p, e = _square_from(x[j], anchor)
                d_hi, d_lo, lost = add(d_hi, d_lo, u, v)
                d_lost += lost
                q_hi, q_lo, lost = add(q_hi, q_lo, p, e)
                q_lost += lost
            spread[i], bound = _spread(float(n), d_hi, d_lo, d_lost, q_hi, q_lo, q_lost)
    return total, spread, flat


@compiled()
def ema_span(x: np.ndarray, alpha: float) -> np.ndarray:
    """Rule 16: y0 = x0, y = y + alpha*(x - y)."""
    y = np.empty(len(x))
    value = 0.0
    for i in range(len(x)):
        value = x[i] if i == 0 else value + alpha * (x[i] - value)
        y[i] = value
    return y


@compiled()
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


@compiled()
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
