"""Rolling variance and standard deviation of the batch twin, in one pass over the updates. Floor 2.

Written from ``docs/numerics.md`` without the native code.
"""

# mypy: disable-error-code="untyped-decorator,no-any-return"

from __future__ import annotations

import numpy as np

from alpha.features._batch_kernels import HUGE, add, compiled, two_product, two_sum

_LOST = 2.0**-102  # of all that ever passed through a sum, at most


@compiled("always")
def _square_from(x: float, anchor: float) -> tuple[float, float, float, float]:
    """x - anchor exactly as a pair, and its square as a pair to 2**-104 of itself."""
    d_hi, d_lo = two_sum(x, -anchor)
    p, e = two_product(d_hi, d_hi)
    return d_hi, d_lo, p, e + 2.0 * d_hi * d_lo


@compiled("always")
def _more(hi: float, lo: float, y_hi: float, y_lo: float) -> tuple[float, float]:
    """(hi + lo) + (y_hi + y_lo) as a pair; off by less than 2**-103 (abs(hi) + abs(y_hi)), with a third of the work of
    an addition that measures what it loses."""
    s, e = two_sum(hi, y_hi)
    e += lo + y_lo
    r = s + e
    return r, e - (r - s)


@compiled("always")
def _spread(
    n: float, d_hi: float, d_lo: float, d_reach: float, q_hi: float, q_lo: float, q_reach: float
) -> tuple[float, float]:
    """n*q - d*d, and a bound of its error before the last rounding."""
    p, e = two_product(q_hi, n)
    r, g = two_product(d_hi, d_hi)
    s, f = two_sum(p, -r)
    f += (e + q_lo * n) - (g + 2.0 * d_hi * d_lo)
    return s + f, ((p + r) + (n * q_reach + 2.0 * abs(d_hi) * d_reach)) * _LOST


@compiled()
def rolling_dispersion(
    x: np.ndarray,
    times: np.ndarray,
    now: np.ndarray,
    seen: np.ndarray,
    begun: np.ndarray,
    window: int,
    timed: bool,
    ddof: int,
    root: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Variance (``root``: its square root) of windows of the updates ``x``, 0 where all values are equal (rules 10 to
    12), and how many updates each holds (empty unless ``timed``).

    ``timed``: one result per step, over the first ``seen[i]`` updates as far as they are later than ``now[i] -
    window``; else one per update over the newest ``window``. None reaches back before ``begun``, [1] or one each.

    The sums of x - anchor and of its square are double-double; what passed through them since they were last summed
    bounds what they can have lost. What enters a window and what leaves it is one change, so that the sums wait for one
    addition a result. Any anchor gives the same variance; it lies inside of the window when that begins. Where the
    bound could reach a result's last bits everything is summed anew. NaN where a value above 1e140 would overflow, and
    for empty windows.
    """
    m, always = len(now) if timed else len(x), len(begun) == 1
    out = np.empty(m)
    size = np.empty(m if timed else 0, np.int64)
    a = b = low = 0
    d_hi = d_lo = d_reach = 0.0  # sum of x - anchor, and of all magnitudes that passed through it
    q_hi = q_lo = q_reach = 0.0  # sum of (x - anchor)^2
    anchor = 0.0
    huge = 0  # values of the window that are left out of both
    run_start = 0  # first index of the run of equal values that ends at b - 1
    for i in range(m):
        top = seen[i] if timed else i + 1
        if timed:
            edge = now[i] - window
            while low < top and times[low] <= edge:
                low += 1
        else:
            low = max(low, top - window)
        low = max(low, begun[0 if always else i])
        if timed:
            size[i] = top - low
        if top == b and low == a and i > 0:
            out[i] = out[i - 1]
            continue
        u_hi = u_lo = s_hi = s_lo = 0.0
        while b < top:
            if b == 0 or x[b] != x[b - 1]:
                run_start = b
            if abs(x[b]) > HUGE:
                huge += 1
            else:
                if a == b:
                    anchor = x[b]
                u, v, p, e = _square_from(x[b], anchor)
                u_hi, u_lo = _more(u, v, u_hi, u_lo)
                s_hi, s_lo = _more(p, e, s_hi, s_lo)
                d_reach += abs(u)
                q_reach += p
            b += 1
        while a < low:
            if abs(x[a]) > HUGE:
                huge -= 1
            else:
                u, v, p, e = _square_from(x[a], anchor)
                u_hi, u_lo = _more(u_hi, u_lo, -u, -v)
                s_hi, s_lo = _more(s_hi, s_lo, -p, -e)
                d_reach += abs(u)
                q_reach += p
            a += 1
        if a == b:
            d_hi = d_lo = d_reach = q_hi = q_lo = q_reach = 0.0
            out[i] = np.nan
            continue
        d_reach += abs(d_hi)
        q_reach += abs(q_hi)
        d_hi, d_lo = _more(d_hi, d_lo, u_hi, u_lo)
        q_hi, q_lo = _more(q_hi, q_lo, s_hi, s_lo)
        n = float(b - a)
        if run_start <= a:
            out[i] = 0.0
            continue
        if huge > 0:
            out[i] = np.nan
            continue
        spread, bound = _spread(n, d_hi, d_lo, d_reach, q_hi, q_lo, q_reach)
        if not bound <= spread * 2.0**-56:
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
            d_reach, q_reach = d_lost / _LOST, q_lost / _LOST
            spread, _ = _spread(n, d_hi, d_lo, d_reach, q_hi, q_lo, q_reach)
        var = spread / (n * (n - ddof))
        var = 0.0 if var < 0.0 else var
        out[i] = np.sqrt(var) if root else var
    return out, size
