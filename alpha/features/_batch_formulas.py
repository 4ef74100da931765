"""Formulas of the batch twin over whole arrays: sources, pointwise operators, statistics of sums. Floor 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from alpha.features._batch_timeline import Bools, Floats, Ints
from alpha.features.coefficients import EXP, LN2_HI, LN2_LO, LOG, LOG2_E, SQRT_HALF

TINY = 2.0**-30  # rule 15
_QLIB = 2e-5  # standard deviations below it are noise to Qlib


def divide(x: Floats, y: Floats) -> Floats:
    quotient = np.asarray(x / y)
    if not y.all():
        quotient[y == 0.0] = np.nan
    return quotient


def _weighted(v: Floats) -> Floats:
    """Each price by the size of the other side."""
    total: Floats = v[:, 0] * v[:, 3]
    total += v[:, 1] * v[:, 2]
    return total


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
    """e**x by one fixed algorithm (rule 42)."""
    x = np.asarray(x, dtype=np.float64)
    with np.errstate(all="ignore"):
        inside = (x >= -745.2) & (x <= 709.79)
        v = np.where(inside, x, 0.0)
        k = np.rint(v * LOG2_E)
        r = (v - k * LN2_HI) - k * LN2_LO
        p = np.full_like(r, EXP[-1])
        for c in EXP[-2::-1]:
            p = c + r * p
        y = np.ldexp(p, k.astype(np.int32))
    return np.where(inside, y, np.where(x > 0, np.inf, np.where(x < 0, 0.0, np.nan)))


def order_flow(v: Floats) -> Floats:
    """Order flow imbalance of rows (bid, ask, bid size, ask size) against the row before; one fewer than rows."""
    (b0, a0, q0, r0), (b, a, q, r) = v[:-1, :4].T, v[1:, :4].T
    flow = np.where(b >= b0, q, 0.0) - np.where(b <= b0, q0, 0.0)
    return (flow - np.where(a <= a0, r, 0.0)) + np.where(a >= a0, r0, 0.0)


def trade_signs(px: Floats, side: Floats, mid: Floats, first: Bools) -> Floats:
    """Rule 27; ``mid``: of the newest quote before each trade, NaN without one; ``first``: no trade before it counts."""
    against_mid = np.where(np.isnan(mid), 0.0, np.sign(px - mid))
    moves = np.where(first, 0.0, np.append(0.0, np.sign(np.diff(px)))[: len(px)])
    last = np.maximum.accumulate(np.where((moves != 0.0) | first, np.arange(len(px)), 0))
    tick = moves[last]
    return np.where(side != 0.0, side, np.where(against_mid != 0.0, against_mid, tick)) + 0.0


def _sign(x: Floats) -> Floats:
    return np.where(np.isnan(x), np.nan, (x > 0.0).astype(np.float64) - (x < 0.0))


def _known(x: Floats, y: Floats, result: Any) -> Floats:
    """The result where neither operand is NaN."""
    return np.where(np.isnan(x) | np.isnan(y), np.nan, result)


def _where(c: Floats, x: Floats, y: Floats) -> Floats:
    return np.where(np.isnan(c), np.nan, np.where(c != 0.0, x, y))


def clip(x: Floats, lo: float, hi: float) -> Floats:
    return np.where(x < lo, lo, np.where(x > hi, hi, x))  # NaN is neither below nor above


def zscore(newest: Floats, mean: Floats, std: Floats) -> Floats:
    z = np.where(std == 0.0, 0.0, (newest - mean) / std)
    return np.where(np.abs(z) < TINY, 0.0, z) + 0.0


def skewness(n: Floats, third: Floats, second: Floats, flat: Bools) -> Floats:
    """From n^2 M3 and n M2."""
    m2 = second / (n * n)
    skew = (third / (n * n * n)) / (m2 * np.sqrt(m2))
    return np.where(flat | (np.abs(skew) < TINY), 0.0, skew) + 0.0


def _correlation(c: Floats, vx: Floats, vy: Floats) -> Floats:
    return np.clip(c / np.sqrt(vx) / np.sqrt(vy), -1.0, 1.0)


def _small_for_qlib(n: Floats, v: Floats) -> Bools:
    return np.asarray(np.sqrt(v / (n * (n - 1.0))) < _QLIB)


def joint(op: str, n: Floats, c: Floats, vx: Floats, vy: Floats, flat: Bools, ddof: int) -> Floats:
    """cov, corr, beta on x, qlib.corr, from n Σxy - Σx Σy and its kin; ``flat``: x or y is all equal."""
    if op == "cov":
        result = c / (n * (n - ddof))
    elif op == "beta":
        result = c / vx
    else:
        result = _correlation(c, vx, vy)
    result = np.where(flat | (np.abs(c) < TINY * np.sqrt(vx) * np.sqrt(vy)), 0.0, result) + 0.0
    if op == "qlib.corr":
        return np.where(flat | _small_for_qlib(n, vx) | _small_for_qlib(n, vy), np.nan, result)
    return result


def regression(
    op: str,
    n: Floats,
    joint_sums: tuple[Floats, Floats, Floats],
    resid: Floats,
    flat: tuple[Bools, Bools],
    width: Floats | float,
) -> Floats:
    """slope, rsquare, resid, qlib.rsquare.

    ``joint_sums``: C, Vp, Vx; ``flat``: p, x all equal; ``width``: of the window in the unit of p.
    """
    c, vp, vx = joint_sums
    dead = flat[0] | flat[1]
    slope, std = c / vp, np.sqrt(vx) / n
    if op == "slope":
        return np.where(dead | (np.abs(slope) * width / std < TINY), 0.0, slope) + 0.0
    if op == "resid":
        return np.where(dead | (np.abs(resid) / std < TINY), 0.0, resid) + 0.0
    r = _correlation(c, vp, vx)
    square = np.where(dead | (np.abs(r) < TINY), 0.0, r * r)
    if op == "qlib.rsquare":
        return np.where(flat[1] | _small_for_qlib(n, vx), np.nan, square)
    return square


def lagged(op: str, x: Floats, y: Floats, w_ns: int) -> Floats:
    if op == "lag":
        return y
    if op in ("diff", "velocity"):
        result: Floats = x - y
        if op == "velocity":
            result /= w_ns / 1e9
    else:
        result = divide(x, y)
        if op == "ret":
            result -= 1.0
        else:
            result = log(result)
    result += 0.0
    return result


def all_equal(x: Floats | Ints, lo: Ints, hi: Ints) -> Bools:
    """Which windows [lo, hi) of x hold one value only, by ``==``."""
    new = np.append(True, x[1:] != x[:-1])[: len(x)]
    run = np.maximum.accumulate(np.where(new, np.arange(len(x)), 0))
    return np.asarray((hi > lo) & (np.append(run, 0)[hi - 1] <= lo))


SOURCES: dict[str, Callable[[Floats], Floats]] = {
    "bid_px": lambda v: v[:, 0],
    "ask_px": lambda v: v[:, 1],
    "bid_qty": lambda v: v[:, 2],
    "ask_qty": lambda v: v[:, 3],
    "mid": lambda v: 0.5 * (v[:, 0] + v[:, 1]),
    "spread": lambda v: v[:, 1] - v[:, 0],
    "microprice": lambda v: divide(_weighted(v), v[:, 2] + v[:, 3]),
    "imbalance": lambda v: divide(v[:, 2] - v[:, 3], v[:, 2] + v[:, 3]),
    "px": lambda v: v[:, 0],
    "qty": lambda v: v[:, 1],
    "side": lambda v: v[:, 2],
}

POINTWISE: dict[str, Callable[..., Floats]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": divide,
    "neg": lambda x: -x,
    "abs": np.abs,
    "sign": _sign,
    "log": log,
    "exp": exp,
    "sqrt": np.sqrt,
    "least": lambda x, y: _known(x, y, np.where(x < y, x, y)),
    "greatest": lambda x, y: _known(x, y, np.where(x > y, x, y)),
    "gt": lambda x, y: _known(x, y, x > y),
    "ge": lambda x, y: _known(x, y, x >= y),
    "lt": lambda x, y: _known(x, y, x < y),
    "le": lambda x, y: _known(x, y, x <= y),
    "eq": lambda x, y: _known(x, y, x == y),
    "ne": lambda x, y: _known(x, y, x != y),
    "where": _where,
    "clip": clip,
}
