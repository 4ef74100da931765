"""Sliding sums of the batch twin for skewness, pairs and regressions, compiled by numba. Floor 2.

A window is kept as two stacks: sums from its oldest value up to a middle, prepared once for every possible beginning,
and a running sum from the middle to its newest. Nothing is ever subtracted, so nothing has to be forgotten again.
All values are taken less an anchor of the window, as unevaluated pairs of float64.
"""

from __future__ import annotations

import numpy as np

from alpha.features._batch_kernels import _add, _compiled, _two_product, _two_sum


@_compiled("always")
def _mul(a_hi: float, a_lo: float, b_hi: float, b_lo: float) -> tuple[float, float]:
    p, e = _two_product(a_hi, b_hi)
    return _two_sum(p, e + (a_hi * b_lo + a_lo * b_hi))


@_compiled("always")
def _minus(a_hi: float, a_lo: float, b_hi: float, b_lo: float) -> tuple[float, float]:
    hi, lo, _ = _add(a_hi, a_lo, -b_hi, -b_lo)
    return hi, lo


@_compiled("always")
def _push(sums: np.ndarray, k: int, hi: float, lo: float) -> None:
    """Add to sum k, which stands in sums[2k] and sums[2k + 1]."""
    sums[2 * k], sums[2 * k + 1], _ = _add(sums[2 * k], sums[2 * k + 1], hi, lo)


@_compiled("always")
def _push_cube(sums: np.ndarray, x: float, anchor: float) -> None:
    d_hi, d_lo = _two_sum(x, -anchor)
    s_hi, s_lo = _mul(d_hi, d_lo, d_hi, d_lo)
    c_hi, c_lo = _mul(s_hi, s_lo, d_hi, d_lo)
    _push(sums, 0, d_hi, d_lo)
    _push(sums, 1, s_hi, s_lo)
    _push(sums, 2, c_hi, c_lo)


@_compiled("always")
def _push_pair(sums: np.ndarray, x_hi: float, x_lo: float, y_hi: float, y_lo: float) -> None:
    _push(sums, 0, x_hi, x_lo)
    _push(sums, 1, y_hi, y_lo)
    hi, lo = _mul(x_hi, x_lo, x_hi, x_lo)
    _push(sums, 2, hi, lo)
    hi, lo = _mul(y_hi, y_lo, y_hi, y_lo)
    _push(sums, 3, hi, lo)
    hi, lo = _mul(x_hi, x_lo, y_hi, y_lo)
    _push(sums, 4, hi, lo)


@_compiled("always")
def _union(into: np.ndarray, front: np.ndarray, back: np.ndarray) -> None:
    for k in range(len(into) // 2):
        into[2 * k], into[2 * k + 1], _ = _add(front[2 * k], front[2 * k + 1], back[2 * k], back[2 * k + 1])


@_compiled("always")
def _skewness(s: np.ndarray, n: float) -> float:
    """(M3/n)/((M2/n) sqrt(M2/n)) from sums about an anchor."""
    q_hi, q_lo = _mul(s[2], s[3], n, 0.0)
    sq_hi, sq_lo = _mul(s[0], s[1], s[0], s[1])
    m2, _ = _minus(q_hi, q_lo, sq_hi, sq_lo)
    a_hi, a_lo = _mul(s[4], s[5], n, 0.0)
    b_hi, b_lo = _mul(s[0], s[1], s[2], s[3])
    b_hi, b_lo = _mul(b_hi, b_lo, 3.0, 0.0)
    c_hi, c_lo = _minus(a_hi, a_lo, b_hi, b_lo)
    c_hi, c_lo = _mul(c_hi, c_lo, n, 0.0)
    d_hi, d_lo = _mul(sq_hi, sq_lo, s[0], s[1])
    m3, _, _ = _add(c_hi, c_lo, 2.0 * d_hi, 2.0 * d_lo)
    v = m2 / (n * n)
    if not v > 0.0:
        return 0.0
    g: float = m3 / (n * n * n) / (v * np.sqrt(v))
    return g


@_compiled()
def skewness(x: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """Population skewness of each window [lo_i, hi_i); bounds never decrease."""
    out = np.zeros(len(lo))
    widest = 1
    for i in range(len(lo)):
        widest = max(widest, hi[i] - lo[i])
    front = np.zeros((widest + 1, 6))
    back, both, none = np.zeros(6), np.zeros(6), np.zeros(6)
    b = middle = base = 0
    anchor = 0.0
    for i in range(len(lo)):
        a = lo[i]
        while b < hi[i]:
            if middle == b and a >= b:
                anchor = x[b]
            _push_cube(back, x[b], anchor)
            b += 1
        if a >= middle:
            middle, base = b, a
            back[:] = 0.0
            if b > a:
                anchor = x[b - 1]
                front[b - a, :] = 0.0
                for j in range(b - 1, a - 1, -1):
                    front[j - a, :] = front[j - a + 1, :]
                    _push_cube(front[j - a], x[j], anchor)
        _union(both, front[a - base] if a < middle else none, back)
        if b > a:
            out[i] = _skewness(both, float(b - a))
    return out


@_compiled("always")
def _co(ab_hi: float, ab_lo: float, a: np.ndarray, b: np.ndarray, n: float) -> tuple[float, float]:
    """n sum(ab) - sum(a) sum(b)"""
    hi, lo = _mul(ab_hi, ab_lo, n, 0.0)
    p_hi, p_lo = _mul(a[0], a[1], b[0], b[1])
    return _minus(hi, lo, p_hi, p_lo)


@_compiled("always")
def _difference(x: np.ndarray, place: np.ndarray, placed: bool, j: int, anchor: int) -> tuple[float, float]:
    if placed:
        return float(place[j] - place[anchor]), 0.0
    return _two_sum(x[j], -x[anchor])


@_compiled()
def joint(
    x: np.ndarray, place: np.ndarray, placed: bool, y: np.ndarray, lo: np.ndarray, hi: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Per window: n sum(xy) - sum(x) sum(y), the same of x with itself and of y, and the residual of the newest y
    against the line through the window. ``placed``: x is ``place``, whole numbers."""
    m = len(lo)
    co, vx, vy, rest = np.zeros(m), np.zeros(m), np.zeros(m), np.zeros(m)
    widest = 1
    for i in range(m):
        widest = max(widest, hi[i] - lo[i])
    front = np.zeros((widest + 1, 10))
    back, both, none = np.zeros(10), np.zeros(10), np.zeros(10)
    b = middle = base = anchor = 0
    for i in range(m):
        a = lo[i]
        while b < hi[i]:
            if middle == b and a >= b:
                anchor = b
            x_hi, x_lo = _difference(x, place, placed, b, anchor)
            y_hi, y_lo = _two_sum(y[b], -y[anchor])
            _push_pair(back, x_hi, x_lo, y_hi, y_lo)
            b += 1
        if a >= middle:
            middle, base = b, a
            back[:] = 0.0
            if b > a:
                anchor = b - 1
                front[b - a, :] = 0.0
                for j in range(b - 1, a - 1, -1):
                    front[j - a, :] = front[j - a + 1, :]
                    x_hi, x_lo = _difference(x, place, placed, j, anchor)
                    y_hi, y_lo = _two_sum(y[j], -y[anchor])
                    _push_pair(front[j - a], x_hi, x_lo, y_hi, y_lo)
        if b == a:
            continue
        _union(both, front[a - base] if a < middle else none, back)
        n = float(b - a)
        c_hi, c_lo = _co(both[8], both[9], both[0:2], both[2:4], n)
        v_hi, v_lo = _co(both[4], both[5], both[0:2], both[0:2], n)
        w_hi, _ = _co(both[6], both[7], both[2:4], both[2:4], n)
        co[i], vx[i], vy[i] = c_hi, v_hi, w_hi
        if placed and v_hi > 0.0:
            x_hi, x_lo = _difference(x, place, placed, b - 1, anchor)
            y_hi, y_lo = _two_sum(y[b - 1], -y[anchor])
            x_hi, x_lo = _mul(x_hi, x_lo, n, 0.0)
            y_hi, y_lo = _mul(y_hi, y_lo, n, 0.0)
            x_hi, x_lo = _minus(x_hi, x_lo, both[0], both[1])
            y_hi, y_lo = _minus(y_hi, y_lo, both[2], both[3])
            x_hi, x_lo = _mul(x_hi, x_lo, c_hi, c_lo)
            y_hi, y_lo = _mul(y_hi, y_lo, v_hi, v_lo)
            top, _ = _minus(y_hi, y_lo, x_hi, x_lo)
            rest[i] = top / v_hi / n
    return co, vx, vy, rest


@_compiled()
def deviation(x: np.ndarray, mean: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """Sum of |x - mean_i| over each window."""
    out = np.zeros(len(lo))
    for i in range(len(lo)):
        s = e = 0.0
        for j in range(lo[i], hi[i]):
            s, e, _ = _add(s, e, abs(x[j] - mean[i]), 0.0)
        out[i] = s
    return out


@_compiled()
def run_starts(x: np.ndarray) -> np.ndarray:
    """First index of the run of equal values that ends at each place."""
    out = np.zeros(len(x), dtype=np.int64)
    for j in range(1, len(x)):
        out[j] = out[j - 1] if x[j] == x[j - 1] else j
    return out
