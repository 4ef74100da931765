"""Moving sums of products for the batch twin: pairs, third moments, distances from the mean. Floor 2.

As in ``rolling_sums``: what enters a window and what leaves it are the same double-double numbers, taken
from anchors that stay put, so a value that has left leaves nothing behind but what the sums could not hold.
That is added up into a bound; where the bound could be seen in a result the window is summed anew from
anchors at its means, which loses 2**-100 of the largest term and no more, however long the stream.
"""

# mypy: disable-error-code="untyped-decorator,no-any-return"

from __future__ import annotations

import math

import numpy as np

from alpha.features._batch_kernels import HUGE, add, compiled, exact_sum, gather, settled, two_product, two_sum

_HUGE_CUBE = 1e90  # n^2 sums of larger values' cubes may not fit into float64
_X, _Y, _XX, _YY, _XY = 0, 1, 2, 3, 4  # rows of the sums of a pair
_GOOD = 2.0**-54  # of the result: far below what float32 shows
_NOTHING = 2.0**-90  # of sqrt(Vx Vy): far below what is rounded to zero


@compiled("always")
def _product(u: float, u_lo: float, v: float, v_lo: float) -> tuple[float, float]:
    """(u + u_lo)*(v + v_lo) as a pair, to 2**-103 of itself."""
    p, e = two_product(u, v)
    return p, e + (u * v_lo + u_lo * v)


@compiled()
def _take_pair(sums: np.ndarray, sign: float, x: float, x_lo: float, from_x: float, y: float, from_y: float) -> None:
    """Let one sample enter (sign 1) or leave (sign -1)."""
    u, u_lo = two_sum(x, -from_x)
    u, u_lo = two_sum(u, u_lo + x_lo)
    v, v_lo = two_sum(y, -from_y)
    gather(sums, _X, sign, u, u_lo)
    gather(sums, _Y, sign, v, v_lo)
    p, e = _product(u, u_lo, u, u_lo)
    gather(sums, _XX, sign, p, e)
    p, e = _product(v, v_lo, v, v_lo)
    gather(sums, _YY, sign, p, e)
    p, e = _product(u, u_lo, v, v_lo)
    gather(sums, _XY, sign, p, e)


@compiled()
def _cross(n: float, sums: np.ndarray, q: int, i: int, j: int, size: float) -> tuple[float, float, float]:
    """n*sums[q] - sums[i]*sums[j] as a pair, and a bound of its error; ``size``: of the sum of the products' absolute values."""
    p, e = two_product(sums[q, 0], n)
    e += sums[q, 1] * n
    r, g = two_product(sums[i, 0], sums[j, 0])
    g += sums[i, 0] * sums[j, 1] + sums[i, 1] * sums[j, 0]
    hi, low, lost = add(p, e, -r, -g)
    bound = lost + n * sums[q, 2] + abs(sums[i, 0]) * sums[j, 2] + abs(sums[j, 0]) * sums[i, 2]
    return hi, low, bound + (n * size + abs(r)) * 2.0**-102


@compiled()
def _joint(n: float, sums: np.ndarray) -> tuple[float, float, float, bool]:
    """C, Vx, Vy of the sums, and whether they are as good as exact."""
    vx, _, lost_x = _cross(n, sums, _XX, _X, _X, abs(sums[_XX, 0]))
    vy, _, lost_y = _cross(n, sums, _YY, _Y, _Y, abs(sums[_YY, 0]))
    size = math.sqrt(abs(sums[_XX, 0])) * math.sqrt(abs(sums[_YY, 0]))
    c, _, lost = _cross(n, sums, _XY, _X, _Y, size)
    good = lost_x <= vx * _GOOD and lost_y <= vy * _GOOD
    good = good and (lost <= abs(c) * _GOOD or lost <= math.sqrt(vx) * math.sqrt(vy) * _NOTHING)
    return c, vx, vy, good


@compiled()
def _middle(x: np.ndarray, a: int, b: int) -> float:
    """About the mean of x[a:b]: an anchor need not be exact."""
    total = 0.0
    for j in range(a, b):
        total += x[j] - x[a]
    return x[a] + total / (b - a)


@compiled()
def _ahead(n: float, u: float, u_lo: float, sums: np.ndarray, k: int) -> tuple[float, float]:
    """n times a value (as its distance from the anchor) minus the sum in row k, as a pair."""
    p, e = two_product(u, n)
    hi, lo, _ = add(p, e + u_lo * n, -sums[k, 0], -sums[k, 1])
    return hi, lo


@compiled()
def _residual(n: float, sums: np.ndarray, u: float, u_lo: float, v: float, v_lo: float) -> float:
    """y minus the line's value at x, both as distances from their anchors; 0 where all x are equal.

    (n v - Sy)/n - C/Vx (n u - Sx)/n as one quotient of pairs: prices on a grid give residuals that
    lie exactly between two float32 values, and there the last bit of a float64 decides.
    """
    vx, vx_lo, _ = _cross(n, sums, _XX, _X, _X, 0.0)
    c, c_lo, _ = _cross(n, sums, _XY, _X, _Y, 0.0)
    y, y_lo = _ahead(n, v, v_lo, sums, _Y)
    x, x_lo = _ahead(n, u, u_lo, sums, _X)
    p, e = _product(y, y_lo, vx, vx_lo)
    r, g = _product(-c, -c_lo, x, x_lo)
    above, above_lo, _ = add(p, e, r, g)
    below, below_lo = _product(vx, vx_lo, n, 0.0)
    if below == 0.0:
        return 0.0
    q = above / below
    p, e = _product(q, 0.0, below, below_lo)
    rest, _, _ = add(above, above_lo, -p, -e)
    return q + rest / below


@compiled()
def rolling_pairs(
    x: np.ndarray, x_lo: np.ndarray, y: np.ndarray, lo: np.ndarray, hi: np.ndarray, flat: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Per window of the samples (x + x_lo, y): C, Vx, Vy, and the newest y minus the regression's value there.

    ``x_lo`` holds what times in nanoseconds need beyond 53 bits. Windows flagged ``flat`` are left at 0;
    those with a value above 1e140 are NaN.
    """
    m = len(lo)
    c, vx, vy, resid = np.zeros(m), np.zeros(m), np.zeros(m), np.zeros(m)
    sums = np.zeros((5, 3))
    a = b = huge = 0
    from_x = from_y = 0.0
    for i in range(m):
        while b < hi[i]:
            if abs(x[b]) > HUGE or abs(y[b]) > HUGE:
                huge += 1
            else:
                if a == b:
                    sums[:] = 0.0
                    from_x, from_y = x[b], y[b]
                _take_pair(sums, 1.0, x[b], x_lo[b], from_x, y[b], from_y)
            b += 1
        while a < lo[i]:
            if abs(x[a]) > HUGE or abs(y[a]) > HUGE:
                huge -= 1
            else:
                _take_pair(sums, -1.0, x[a], x_lo[a], from_x, y[a], from_y)
            a += 1
        if a == b or flat[i]:
            continue
        if huge > 0:
            c[i] = vx[i] = vy[i] = resid[i] = np.nan
            continue
        n = float(b - a)
        c[i], vx[i], vy[i], good = _joint(n, sums)
        if not good:
            sums[:] = 0.0
            from_x, from_y = _middle(x, a, b), _middle(y, a, b)
            for j in range(a, b):
                _take_pair(sums, 1.0, x[j], x_lo[j], from_x, y[j], from_y)
            c[i], vx[i], vy[i], _ = _joint(n, sums)
        u, u_lo = two_sum(x[b - 1], -from_x)
        u, u_lo = two_sum(u, u_lo + x_lo[b - 1])
        v, v_lo = two_sum(y[b - 1], -from_y)
        resid[i] = _residual(n, sums, u, u_lo, v, v_lo)
    return c, vx, vy, resid


@compiled()
def _take_cube(sums: np.ndarray, sign: float, x: float, anchor: float) -> None:
    u, u_lo = two_sum(x, -anchor)
    gather(sums, 0, sign, u, u_lo)
    p, e = _product(u, u_lo, u, u_lo)
    p, e = two_sum(p, e)
    gather(sums, 1, sign, p, e)
    p, e = _product(p, e, u, u_lo)
    gather(sums, 2, sign, p, e)


@compiled()
def _third(n: float, sums: np.ndarray) -> tuple[float, float, bool]:
    """n^2 M3 and n M2 about the mean, and whether they are as good as exact.

    With S_k the sum of k-th powers from the anchor, n^2 M3 = n^2 S3 - 3 n S1 S2 + 2 S1^3.
    """
    v, _, lost_v = _cross(n, sums, 1, 0, 0, abs(sums[1, 0]))
    s1, s1_lo, s2, s2_lo = sums[0, 0], sums[0, 1], sums[1, 0], sums[1, 1]
    p, e = two_product(sums[2, 0], n)
    e += sums[2, 1] * n
    p, e = two_sum(p, e)
    p, e = _product(p, e, n, 0.0)
    r, g = _product(s1, s1_lo, s2, s2_lo)
    r, g = two_sum(r, g)
    r, g = _product(r, g, -3.0 * n, 0.0)
    t, h = _product(s1, s1_lo, s1, s1_lo)
    t, h = two_sum(t, h)
    t, h = _product(t, h, 2.0 * s1, 2.0 * s1_lo)
    p, e, lost_1 = add(p, e, r, g)
    p, e, lost_2 = add(p, e, t, h)
    size = abs(s2) * math.sqrt(abs(s2))  # never less than the sum of |x - anchor|^3
    bound = lost_1 + lost_2 + n * n * sums[2, 2]
    bound += 3.0 * n * (abs(s1) * sums[1, 2] + abs(s2) * sums[0, 2]) + 6.0 * s1 * s1 * sums[0, 2]
    bound += (8.0 * n * n * size) * 2.0**-102
    good = lost_v <= v * _GOOD
    return p, v, good and (bound <= abs(p) * _GOOD or bound <= v * math.sqrt(v) * 2.0**-84)


@compiled()
def rolling_cubes(x: np.ndarray, lo: np.ndarray, hi: np.ndarray, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per window: n^2 sum((x - mean)^3) and n sum((x - mean)^2), means exact.

    Windows flagged ``flat`` are left at 0; those with a value above 1e90 are NaN.
    """
    m = len(lo)
    third, second = np.zeros(m), np.zeros(m)
    sums = np.zeros((3, 3))
    a = b = huge = 0
    anchor = 0.0
    for i in range(m):
        while b < hi[i]:
            if abs(x[b]) > _HUGE_CUBE:
                huge += 1
            else:
                if a == b:
                    sums[:] = 0.0
                    anchor = x[b]
                _take_cube(sums, 1.0, x[b], anchor)
            b += 1
        while a < lo[i]:
            if abs(x[a]) > _HUGE_CUBE:
                huge -= 1
            else:
                _take_cube(sums, -1.0, x[a], anchor)
            a += 1
        if a == b or flat[i]:
            continue
        if huge > 0:
            third[i] = second[i] = np.nan
            continue
        n = float(b - a)
        third[i], second[i], good = _third(n, sums)
        if not good:
            sums[:] = 0.0
            anchor = _middle(x, a, b)
            for j in range(a, b):
                _take_cube(sums, 1.0, x[j], anchor)
            third[i], second[i], _ = _third(n, sums)
    return third, second


@compiled()
def rolling_distances(x: np.ndarray, lo: np.ndarray, hi: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Per window: the sum of the float64 values |x - center_i|, rounded once."""
    out = np.zeros(len(lo))
    for i in range(len(lo)):
        a, b = lo[i], hi[i]
        s = rest = 0.0
        for j in range(a, b):
            s, e = two_sum(s, abs(x[j] - center[i]))
            rest += e
        n = float(b - a)
        s, rest = two_sum(s, rest)
        if settled(s, rest, n * n * s * 2.0**-104):
            out[i] = s
        else:
            out[i] = exact_sum(np.abs(x[a:b] - center[i]), 0, b - a)
    return out
