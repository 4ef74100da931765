"""Values of the batch twin that need no memory: sources, arithmetic, lags. Floor 2. Plain numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from alpha.features._batch_timeline import Bools, Floats, Ints
from alpha.features.coefficients import EXP, LN2_HI, LN2_LO, LOG, LOG2_E, SQRT_HALF
from alpha.features.language import Expr
from alpha.features.operators import OPERATORS

TINY = 2.0**-30  # rule 15


def statistic(op: str, n: Floats, total: Floats, spread: Floats, flat: Bools, newest: Floats, ddof: int) -> Floats:
    """Rules 10 to 15 and 41 from exact sums."""
    if op == "sum":
        return total + 0.0
    mean = np.where(flat, newest, total / n) + 0.0
    if op == "mean":
        return mean
    var = np.where(flat, 0.0, spread / (n * (n - ddof)))
    var = np.where(var < 0.0, 0.0, var)
    if op == "var":
        return var
    std = np.sqrt(var)
    if op == "std":
        return std
    z = np.where(std == 0.0, 0.0, (newest - mean) / std)
    return np.where(np.abs(z) < TINY, 0.0, z) + 0.0


def samples_of(e: Expr) -> int:
    """Updates that a time window of this operator must hold."""
    needed = OPERATORS[e.op].samples
    ddof = e.param("ddof") if needed < 0 else None
    return ddof + 1 if isinstance(ddof, int) else needed


def _correlation(co: Floats, root_x: Floats, root_y: Floats) -> Floats:
    return np.clip(co / root_x / root_y, -1.0, 1.0)


def joint_value(e: Expr, n: Floats, co: Floats, vx: Floats, vy: Floats, still: Bools) -> Floats:
    """cov, corr and beta from n sum(xy) - sum(x) sum(y) and its like; ``still``: x or y does not move."""
    root_x, root_y = np.sqrt(np.maximum(vx, 0.0)), np.sqrt(np.maximum(vy, 0.0))
    still = still | ~(vx > 0.0) | ~(vy > 0.0) | (np.abs(co) < TINY * root_x * root_y)
    if e.op == "cov":
        ddof = e.param("ddof")
        assert isinstance(ddof, int)
        result = co / (n * (n - ddof))
    elif e.op == "beta":
        result = co / vy
    else:
        result = _correlation(co, root_x, root_y)
    result = np.where(still, 0.0, result) + 0.0
    if e.op == "qlib.corr":
        small = (root_x / np.sqrt(n * (n - 1.0)) < 2e-5) | (root_y / np.sqrt(n * (n - 1.0)) < 2e-5)
        return np.where(small, np.nan, result)
    return result


def line_value(
    op: str, n: Floats, seconds: float, co: Floats, vx: Floats, vy: Floats, rest: Floats, still: Bools
) -> Floats:
    """slope, rsquare and resid; ``seconds``: the window's, 0 for counts; ``rest``: the newest value's residual."""
    root_x, root_y = np.sqrt(np.maximum(vx, 0.0)), np.sqrt(np.maximum(vy, 0.0))
    still = still | ~(vy > 0.0)
    if op == "slope":
        result = co / vx * 1e9 if seconds else co / vx
        still = still | (np.abs(result) * (seconds or n) / (root_y / n) < TINY)
    elif op == "resid":
        result = rest
        still = still | (np.abs(result) / (root_y / n) < TINY)
    else:
        r = _correlation(co, root_x, root_y)
        result = r * r
        still = still | (np.abs(co) < TINY * root_x * root_y)
    result = np.where(still, 0.0, result) + 0.0
    if op == "qlib.rsquare":
        return np.where(root_y / np.sqrt(n * (n - 1.0)) < 2e-5, np.nan, result)
    return result


def lagged(op: str, x: Floats, y: Floats, w_ns: int) -> Floats:
    if op == "lag":
        return y
    if op == "diff":
        return (x - y) + 0.0
    if op == "velocity":
        return (x - y) / (w_ns / 1e9) + 0.0
    ratio = _divide(x, y)
    return (ratio - 1.0 if op == "ret" else log(ratio)) + 0.0


def _divide(x: Floats, y: Floats) -> Floats:
    return np.where(y == 0.0, np.nan, x / y)


def log(x: Floats) -> Floats:
    """Natural logarithm by one fixed algorithm, < 1 ulp (rule 42); NaN for x <= 0."""
    x = np.asarray(x, dtype=np.float64)
    with np.errstate(all="ignore"):
        m, k = np.frexp(np.where((x > 0) & (x < np.inf), x, 1.0))
        low = m < SQRT_HALF
        m, k = np.where(low, m * 2.0, m), (k - low).astype(np.float64)
        f = m - 1.0
        s = f / (2.0 + f)
        z = s * s
        r = np.full_like(z, LOG[-1])
        for c in LOG[-2::-1]:
            r = c + z * r
        r = z * r
        h = (0.5 * f) * f
        y = k * LN2_HI - ((h - (s * (h + r) + k * LN2_LO)) - f)
    return np.where(x > 0, np.where(x == np.inf, np.inf, y), np.nan)


def exp(x: Floats) -> Floats:
    """e**x by one fixed algorithm, about 1 ulp (rule 42)."""
    x = np.asarray(x, dtype=np.float64)
    inside = np.where((x <= 709.79) & (x >= -745.2), x, 0.0)
    k = np.rint(inside * LOG2_E)
    r = (inside - k * LN2_HI) - k * LN2_LO
    p = np.full_like(r, EXP[-1])
    for c in EXP[-2::-1]:
        p = c + r * p
    with np.errstate(all="ignore"):
        y = np.ldexp(p, k.astype(np.int64))
    return np.where(np.isnan(x), np.nan, np.where(x > 709.79, np.inf, np.where(x < -745.2, 0.0, y)))


def _known(x: Floats, y: Floats, value: Any) -> Floats:
    """NaN if either operand is."""
    return np.where(np.isnan(x) | np.isnan(y), np.nan, value)


def order_flow(bid: Floats, ask: Floats, bid_qty: Floats, ask_qty: Floats) -> Floats:
    """Cont, Kukanov, Stoikov: each row but the first against the row before it."""
    b, a, qb, qa = bid[1:], ask[1:], bid_qty[1:], ask_qty[1:]
    b0, a0, qb0, qa0 = bid[:-1], ask[:-1], bid_qty[:-1], ask_qty[:-1]
    flow = np.where(b >= b0, qb, 0.0) - np.where(b <= b0, qb0, 0.0)
    flow = flow - np.where(a <= a0, qa, 0.0)
    return flow + np.where(a >= a0, qa0, 0.0) + 0.0


def trade_signs(px: Floats, side: Floats, mid: Floats) -> Floats:
    """Rule 27: the feed's side, else the side of the prevailing mid (NaN: none), else the tick rule."""
    move = np.zeros(len(px))
    move[1:] = np.sign(np.diff(px))
    at = np.where(move != 0.0, np.arange(len(px)), -1)
    last = np.maximum.accumulate(at) if len(at) else at
    tick = np.where(last >= 0, move[last], 0.0)
    against = np.where(px > mid, 1.0, np.where(px < mid, -1.0, tick))
    return np.where(side != 0.0, side, against)


def prevailing(values: Floats, at: Ints, when: Ints) -> Floats:
    """The value of the latest of ``at`` before each of ``when``; NaN before the first."""
    number = np.searchsorted(at, when, side="left") - 1
    return np.append(values, np.nan)[number]


SOURCES: dict[str, Callable[[Floats], Floats]] = {
    "bid_px": lambda v: v[:, 0],
    "ask_px": lambda v: v[:, 1],
    "bid_qty": lambda v: v[:, 2],
    "ask_qty": lambda v: v[:, 3],
    "mid": lambda v: 0.5 * (v[:, 0] + v[:, 1]),
    "spread": lambda v: v[:, 1] - v[:, 0],
    "microprice": lambda v: _divide(v[:, 0] * v[:, 3] + v[:, 1] * v[:, 2], v[:, 2] + v[:, 3]),
    "imbalance": lambda v: _divide(v[:, 2] - v[:, 3], v[:, 2] + v[:, 3]),
    "px": lambda v: v[:, 0],
    "qty": lambda v: v[:, 1],
    "side": lambda v: v[:, 2],
}

POINTWISE: dict[str, Callable[..., Floats]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": _divide,
    "neg": lambda x: -x,
    "abs": np.abs,
    "log": log,
    "exp": exp,
    "sqrt": np.sqrt,
    "sign": np.sign,
    "least": lambda x, y: _known(x, y, np.where(x < y, x, y)),
    "greatest": lambda x, y: _known(x, y, np.where(x > y, x, y)),
    "gt": lambda x, y: _known(x, y, (x > y).astype(np.float64)),
    "ge": lambda x, y: _known(x, y, (x >= y).astype(np.float64)),
    "lt": lambda x, y: _known(x, y, (x < y).astype(np.float64)),
    "le": lambda x, y: _known(x, y, (x <= y).astype(np.float64)),
    "eq": lambda x, y: _known(x, y, (x == y).astype(np.float64)),
    "ne": lambda x, y: _known(x, y, (x != y).astype(np.float64)),
    "where": lambda c, x, y: np.where(np.isnan(c), np.nan, np.where(c != 0.0, x, y)),
}
