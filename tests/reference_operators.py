"""What each operator is, for the oracle: one small function of everything it has seen.

``POINTWISE`` takes present values, ``LAGGED`` the newest value and the lagged one, ``RECURSIVE`` all updates since
the start; windows are in ``reference_windows.py``. docs/numerics.md read aloud; nothing is carried from call to call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from reference_math import NAN, SCALE, divide, exp, exp2n, log, rounded, sqrt, whole

Params = dict[str, Any]


# Pointwise


def _known(f: Callable[..., float]) -> Callable[..., float]:
    """NaN if an operand is NaN."""
    return lambda *values, **params: NAN if any(math.isnan(v) for v in values) else f(*values, **params)


def _where(c: float, x: float, y: float) -> float:
    if math.isnan(c):
        return NAN
    return x if c != 0.0 else y


def _clip(x: float, lo: float, hi: float) -> float:
    return lo if x < lo else hi if x > hi else x


POINTWISE: dict[str, Callable[..., float]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": divide,
    "neg": lambda x: -x,
    "abs": abs,
    "sign": _known(lambda x: float((x > 0.0) - (x < 0.0))),
    "log": log,
    "exp": exp,
    "sqrt": sqrt,
    "least": _known(lambda x, y: x if x < y else y),
    "greatest": _known(lambda x, y: x if x > y else y),
    "gt": _known(lambda x, y: float(x > y)),
    "ge": _known(lambda x, y: float(x >= y)),
    "lt": _known(lambda x, y: float(x < y)),
    "le": _known(lambda x, y: float(x <= y)),
    "eq": _known(lambda x, y: float(x == y)),
    "ne": _known(lambda x, y: float(x != y)),
    "where": _where,
    "clip": _known(_clip),
}

# Lags: x is the newest value, y the lagged one, seconds the nominal span

LAGGED: dict[str, Callable[[float, float, float], float]] = {
    "lag": lambda x, y, seconds: y,
    "diff": lambda x, y, seconds: x - y,
    "ret": lambda x, y, seconds: divide(x, y) - 1.0,
    "logret": lambda x, y, seconds: log(divide(x, y)),
    "velocity": lambda x, y, seconds: (x - y) / seconds,
}

# Recursive: all (time, x) since the start, and a value once there are enough

Updates = list[tuple[int, float]]


def _ema(updates: Updates, p: Params) -> float:
    if p["span"] is None:
        return _ema_half_life(updates, p["half_life"].ns)
    span, alpha = p["span"], 2.0 / (p["span"] + 1)
    values = [x for _, x in updates[p["skip"] :]]
    if p["seed"] == "sma":
        y, rest = plain_sum(values[:span]) / span, values[span:]
    else:
        y, rest = values[0], values[1:]
    for x in rest:
        y = y + alpha * (x - y)
    return y


def _ema_half_life(updates: Updates, h: int) -> float:
    (before, y), d = updates[0], 1.0
    for t, x in updates[1:]:
        d = 1.0 + exp2n(-float(t - before) / float(h)) * d
        y = y + (x - y) / d
        before = t
    return y


def _ewm_std(updates: Updates, p: Params) -> float:
    alpha = 2.0 / (p["span"] + 1)
    m, v = updates[0][1], 0.0
    for _, x in updates[1:]:
        delta = x - m
        a = alpha * delta
        m = m + a
        v = (1.0 - alpha) * (v + a * delta)
    return math.sqrt(v)


def plain_sum(values: list[float]) -> float:
    """Added in order, rounded every time."""
    total = 0.0
    for x in values:
        total += x
    return total


def wilder_average(values: list[float], n: int) -> float:
    a = plain_sum(values[:n]) / n
    for x in values[n:]:
        a = (a * (n - 1) + x) / n
    return a


def _wilder_sum(updates: Updates, p: Params) -> float:
    n, values = p["n"], [x for _, x in updates]
    s = plain_sum(values[: n - 1])
    for x in values[n - 1 :]:
        s = (s - s / n) + x
    return s


def gain_and_loss(updates: Updates, n: int) -> tuple[float, float]:
    changes = [b - a for (_, a), (_, b) in pairwise(updates)]
    return wilder_average([max(c, 0.0) for c in changes], n), wilder_average([max(-c, 0.0) for c in changes], n)


def _rsi(updates: Updates, p: Params) -> float:
    g, loss = gain_and_loss(updates, p["n"])
    return 100.0 if loss == 0.0 else (100.0 * g) / (g + loss)


def _talib_rsi(updates: Updates, p: Params) -> float:
    g, loss = gain_and_loss(updates, p["n"])
    return 0.0 if g + loss == 0.0 else _rsi(updates, p)


RECURSIVE: dict[str, Callable[[Updates, Params], float]] = {
    "ema": _ema,
    "ewm_std": _ewm_std,
    "wilder": lambda updates, p: wilder_average([x for _, x in updates], p["n"]),
    "wilder_sum": _wilder_sum,
    "rsi": _rsi,
    "talib.rsi": _talib_rsi,
    "cumsum": lambda updates, p: rounded(sum(whole(x) for _, x in updates), SCALE),
    "first": lambda updates, p: updates[0][1],
}


def needed(op: str, p: Params) -> int:
    """Updates before an operator that counts them is ready."""
    if op in ("lag", "diff", "ret", "logret"):
        return int(p["window"]) + 1
    if op in ("rsi", "talib.rsi"):
        return int(p["n"]) + 1
    if op == "ema":
        return int(p["skip"] + p["span"])
    if op in ("cumsum", "first"):
        return 1
    return int(p.get("window") or p.get("span") or p["n"])
