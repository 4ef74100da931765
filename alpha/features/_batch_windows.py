"""Operators over a window of updates or of time, as columns of the batch twin. Floor 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from alpha.features import _batch_formulas as formulas
from alpha.features._batch_columns import Column, Columns, Updates
from alpha.features._batch_timeline import Floats, Ints
from alpha.features.language import Duration, Expr, ParamValue
from alpha.features.operators import OPERATORS


class Windows(NamedTuple):
    """Windows [lo, hi) of the updates: one per update for counts, one per step for times."""

    lo: Ints
    hi: Ints
    n: Floats  # how many updates each holds


def _windows(c: Columns, u: Updates, window: ParamValue | None) -> Windows:
    if isinstance(window, Duration):
        hi = u.seen
        lo = np.minimum(c.kernels.steps.until(u.t, c.line.t, window.ns), hi)
        lo = np.maximum(lo, u.base)
    else:
        assert isinstance(window, int)
        hi = np.arange(1, len(u.x) + 1)
        lo = np.maximum(hi - window, u.begun)
    return Windows(lo, hi, (hi - lo).astype(np.float64))


def rolling(c: Columns, e: Expr) -> Column:
    """Every operator over a window of updates or of time."""
    u, window = c.updates(e), e.param("window")
    w = _windows(c, u, window)
    results = _OVER_WINDOWS[e.op](c, e, u, w)
    if isinstance(window, Duration):
        samples = OPERATORS[e.op].samples
        return c.timed(u, results, window.ns, w.hi - w.lo >= (samples if samples >= 0 else _ddof(e) + 1))
    assert isinstance(window, int)
    return c.counted(u, results, window)


def _moments(c: Columns, e: Expr, u: Updates, w: Windows) -> Floats:
    if e.op == "count":
        return w.n
    total, same = c.kernels.moments.rolling_sums(u.x, w.lo, w.hi)
    if e.op == "sum":
        return np.asarray(total + 0.0)
    flat, newest = same.astype(np.bool_), _newest(u.x, w)
    mean = np.where(flat, newest, total / w.n) + 0.0
    return mean if e.op == "mean" else formulas.zscore(newest, mean, _dispersion(c, e, u)[0])


def _dispersion(c: Columns, e: Expr, u: Updates) -> tuple[Floats, Ints]:
    """Variance or deviation, and for windows by time how many updates each holds."""
    window, ddof, root = e.param("window"), _ddof(e), e.op != "var"
    kernel, line, timed = c.kernels.spread.rolling_dispersion, c.line, isinstance(window, Duration)
    span, begun = (window.ns, u.base) if isinstance(window, Duration) else (window, u.begun)
    found: tuple[Floats, Ints] = c.shared(
        e,
        f"dispersion {ddof} {root}",
        lambda: kernel(u.x, u.t, line.t, u.seen, begun, span, timed, ddof, root),
    )
    return found


def dispersion(c: Columns, e: Expr) -> Column:
    u, window = c.updates(e), e.param("window")
    results, size = _dispersion(c, e, u)
    if isinstance(window, Duration):
        return c.timed(u, results, window.ns, size > _ddof(e))
    assert isinstance(window, int)
    return c.counted(u, results, window)


def _mad(c: Columns, e: Expr, u: Updates, w: Windows) -> Floats:
    total, same = c.kernels.moments.rolling_sums(u.x, w.lo, w.hi)
    flat = same.astype(np.bool_)
    center = np.where(flat, _newest(u.x, w), total / w.n)  # the rounded mean
    return np.where(flat, 0.0, c.kernels.sums.rolling_distances(u.x, w.lo, w.hi, center) / w.n)


def _skew(c: Columns, e: Expr, u: Updates, w: Windows) -> Floats:
    flat = formulas.all_equal(u.x, w.lo, w.hi)
    third, second = c.kernels.sums.rolling_cubes(u.x, w.lo, w.hi, flat)
    return formulas.skewness(w.n, third, second, flat)


def _extreme(c: Columns, e: Expr, u: Updates, w: Windows) -> Floats:
    lowest = e.op in ("min", "argmin")
    at: Ints = c.kernels.orders.rolling_lowest(u.x if lowest else -u.x, w.lo, w.hi)
    if e.op in ("min", "max"):
        return np.asarray(np.append(u.x, np.nan)[at] + 0.0)
    return np.where(at < 0, np.nan, (at - w.lo + 1).astype(np.float64))


def _order(c: Columns, e: Expr, u: Updates, w: Windows) -> Floats:
    values, places = np.unique(u.x, return_inverse=True)
    places = places.astype(np.int64)
    if e.op == "rank":
        less, equal = c.kernels.orders.rolling_rank(places, len(values), w.lo, w.hi)
        return np.asarray((less + (equal + 1) / 2.0) / w.n)
    q = 0.5 if e.op == "median" else e.param("q")
    assert isinstance(q, float)
    p = q * np.maximum(w.n - 1.0, 0.0)
    below = np.floor(p).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(w.hi - w.lo - 1, 0))
    first, second = c.kernels.orders.rolling_nth(places, len(values), w.lo, w.hi, below, above)
    padded = np.append(values, np.nan)
    a: Floats = padded[first]
    b: Floats = padded[second]
    if e.op == "median":
        return np.asarray(np.where(p == below, a, 0.5 * (a + b)) + 0.0)
    return np.asarray(a + (b - a) * (p - below) + 0.0)


def _pair(c: Columns, e: Expr, u: Updates, w: Windows) -> Floats:
    x, y = (u.y, u.x) if e.op == "beta" else (u.x, u.y)  # the regressor is beta's second operand
    flat = formulas.all_equal(x, w.lo, w.hi) | formulas.all_equal(y, w.lo, w.hi)
    sums = c.kernels.sums.rolling_pairs
    what = "regressed" if e.op == "beta" else "pair"
    xy, vx, vy, _ = c.shared(e, what, lambda: sums(x, np.zeros_like(x), y, w.lo, w.hi, flat))
    return formulas.joint(e.op, w.n, xy, vx, vy, flat, _ddof(e))


def _regression(c: Columns, e: Expr, u: Updates, w: Windows) -> Floats:
    window = e.param("window")
    timed = isinstance(window, Duration)
    when = u.t - u.t[:1] if timed else np.arange(len(u.x), dtype=np.int64)
    p = when.astype(np.float64)
    rest = (when - p.astype(np.int64)).astype(np.float64)
    flat = formulas.all_equal(when, w.lo, w.hi), formulas.all_equal(u.x, w.lo, w.hi)
    sums = c.kernels.sums.rolling_pairs
    # where all p are equal Vx still counts: qlib.rsquare asks for it
    px, vp, vx, resid = c.shared(e, "line", lambda: sums(p, rest, u.x, w.lo, w.hi, flat[1]))
    width = float(window.ns) if isinstance(window, Duration) else w.n
    result = formulas.regression(e.op, w.n, (px, vp, vx), resid, flat, width)
    return result * 1e9 if timed and e.op == "slope" else result


def _ddof(e: Expr) -> int:
    names = [p.name for p in OPERATORS[e.op].params]
    ddof = e.param("ddof") if "ddof" in names else 0
    assert isinstance(ddof, int)
    return ddof


def _newest(x: Floats, w: Windows) -> Floats:
    return np.append(x, np.nan)[w.hi - 1]


_OVER_WINDOWS: dict[str, Callable[[Columns, Expr, Updates, Windows], Floats]] = {
    **dict.fromkeys(("count", "sum", "mean", "zscore"), _moments),
    **dict.fromkeys(("min", "max", "argmin", "argmax"), _extreme),
    **dict.fromkeys(("rank", "quantile", "median"), _order),
    **dict.fromkeys(("cov", "corr", "beta", "qlib.corr"), _pair),
    **dict.fromkeys(("slope", "rsquare", "resid", "qlib.rsquare"), _regression),
    "skew": _skew,
    "mad": _mad,
}

WINDOWED: dict[str, Callable[[Columns, Expr], Column]] = {
    **dict.fromkeys(_OVER_WINDOWS, rolling),
    **dict.fromkeys(("var", "std"), dispersion),
}
