"""Operators that look back by one lag or carry a state from update to update, as columns of the batch twin. Floor 2."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from alpha.features import _batch_formulas as formulas
from alpha.features._batch_columns import Column, Columns
from alpha.features.language import Duration, Expr


def lag(c: Columns, e: Expr) -> Column:
    u, window = c.updates(e), e.param("window")
    if isinstance(window, Duration):
        newest = u.x if u.seen is c.numbers else np.append(u.x, np.nan)[u.seen - 1]
        old = c.kernels.steps.before(u.x, u.t, c.line.t, window.ns, u.base)
        return c.timed(u, formulas.lagged(e.op, newest, old, window.ns), window.ns)
    assert isinstance(window, int)
    old = np.full(len(u.x), np.nan)
    old[window:] = u.x[: max(len(u.x) - window, 0)]
    if c.line.breaks:
        old[np.arange(len(old)) - window < u.begun] = np.nan
    return c.counted(u, formulas.lagged(e.op, u.x, old, 0), window + 1)


def ema(c: Columns, e: Expr) -> Column:
    u, span, half_life, kernels = c.updates(e), e.param("span"), e.param("half_life"), c.kernels
    if isinstance(half_life, Duration):
        h = float(half_life.ns)
        y = u.each(lambda r: kernels.moments.ema_half_life(u.x[r], u.t[r], h))
        return c.timed(u, np.append(y, np.nan)[u.seen - 1], half_life.ns)
    skip, sma = e.param("skip"), e.param("seed") == "sma"
    assert isinstance(span, int) and isinstance(skip, int)
    if skip or sma:
        return c.counted(u, u.each(lambda r: kernels.recursive.ema_seeded(u.x[r], span, skip, sma)), skip + span)
    alpha = 2.0 / (span + 1)
    return c.counted(u, u.each(lambda r: kernels.moments.ema_span(u.x[r], alpha)), span)


def ewm_std(c: Columns, e: Expr) -> Column:
    u, span = c.updates(e), e.param("span")
    assert isinstance(span, int)
    return c.counted(u, u.each(lambda r: c.kernels.recursive.ewm_std(u.x[r], span)), span)


def wilder(c: Columns, e: Expr) -> Column:
    u, n, kernels = c.updates(e), e.param("n"), c.kernels.recursive
    assert isinstance(n, int)
    if e.op in ("wilder", "wilder_sum"):
        kernel = kernels.wilder if e.op == "wilder" else kernels.wilder_sum
        return c.counted(u, u.each(lambda r: kernel(u.x[r], n)), n)
    idle = 0.0 if e.op == "talib.rsi" else 100.0
    return c.counted(u, u.each(lambda r: kernels.rsi(u.x[r], n, idle)), n + 1)


def since_reset(c: Columns, e: Expr) -> Column:
    u = c.updates(e)
    if e.op == "first":
        return c.counted(u, u.each(lambda r: np.repeat(u.x[r][:1], len(u.x[r]))), 1)
    return c.counted(u, u.each(lambda r: c.kernels.recursive.cumulative(u.x[r])) + 0.0, 1)


RUNNING: dict[str, Callable[[Columns, Expr], Column]] = {
    **dict.fromkeys(("lag", "diff", "ret", "logret", "velocity"), lag),
    **dict.fromkeys(("wilder", "wilder_sum", "rsi", "talib.rsi"), wilder),
    **dict.fromkeys(("cumsum", "first"), since_reset),
    "ema": ema,
    "ewm_std": ewm_std,
}
