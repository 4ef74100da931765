"""Windows for the oracle: what each rolling operator makes of the samples inside, in whole numbers where that matters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reference_math import NAN, SCALE, divide, rounded, whole

Params = dict[str, Any]
TINY = 2.0**-30  # T of numerics.md


@dataclass(frozen=True)
class Window:
    """Samples inside a window, oldest first; ``w_ns`` is 0 for a count window."""

    times: list[int]
    x: list[float]
    y: list[float]  # second operands, or empty
    params: Params
    w_ns: int

    @property
    def n(self) -> int:
        return len(self.x)


# Moments


def flat(values: list[float]) -> bool:
    """All values equal."""
    return all(v == values[-1] for v in values)


def _sum(w: Window) -> float:
    return rounded(sum(map(whole, w.x)), SCALE)


def _mean(w: Window) -> float:
    return w.x[-1] if flat(w.x) else _sum(w) / w.n


def _spread(x: list[float], y: list[float]) -> float:
    """n Σxy − ΣxΣy, rounded once; of x with itself it belongs to the variance."""
    a, b = [whole(v) for v in x], [whole(v) for v in y]
    return rounded(len(x) * sum(p * q for p, q in zip(a, b, strict=True)) - sum(a) * sum(b), SCALE * SCALE)


def _var(w: Window) -> float:
    return 0.0 if flat(w.x) else _spread(w.x, w.x) / (w.n * (w.n - w.params.get("ddof", 0)))


def _std(w: Window) -> float:
    return math.sqrt(_var(w))


def _zscore(w: Window) -> float:
    std = _std(w)
    z = 0.0 if std == 0.0 else (w.x[-1] - _mean(w)) / std
    return 0.0 if abs(z) < TINY else z


def _skew(w: Window) -> float:
    if flat(w.x):
        return 0.0
    total = sum(map(whole, w.x))
    away = [w.n * whole(v) - total for v in w.x]  # n (x − μ), whole numbers of 1/SCALE
    m2 = rounded(sum(d**2 for d in away), w.n**2 * SCALE**2) / w.n
    m3 = rounded(sum(d**3 for d in away), w.n**3 * SCALE**3) / w.n
    skew = divide(m3, m2 * math.sqrt(m2))
    return 0.0 if abs(skew) < TINY else skew


def _mad(w: Window) -> float:
    m = _mean(w)
    return rounded(sum(whole(abs(v - m)) for v in w.x), SCALE) / w.n


# Order


def _rank(w: Window) -> float:
    less = sum(v < w.x[-1] for v in w.x)
    equal = sum(v == w.x[-1] for v in w.x)
    return (less + (equal + 1) / 2) / w.n


def _quantile(w: Window) -> float:
    p = w.params["q"] * (w.n - 1)
    low = math.floor(p)
    ordered = sorted(w.x)
    a, b = ordered[low], ordered[min(low + 1, w.n - 1)]
    return a + (b - a) * (p - low)


def _median(w: Window) -> float:
    ordered = sorted(w.x)
    if w.n % 2:
        return ordered[w.n // 2]
    return 0.5 * (ordered[w.n // 2 - 1] + ordered[w.n // 2])


# Pairs


def _cov(w: Window) -> float:
    if flat(w.x) or flat(w.y):
        return 0.0
    c, root_x, root_y = _spread(w.x, w.y), math.sqrt(_spread(w.x, w.x)), math.sqrt(_spread(w.y, w.y))
    return 0.0 if abs(c) < TINY * root_x * root_y else c / (w.n * (w.n - w.params["ddof"]))


def correlation(c: float, v_x: float, v_y: float) -> float:
    return max(-1.0, min(1.0, divide(divide(c, math.sqrt(v_x)), math.sqrt(v_y))))


def _corr(w: Window) -> float:
    if flat(w.x) or flat(w.y):
        return 0.0
    c, v_x, v_y = _spread(w.x, w.y), _spread(w.x, w.x), _spread(w.y, w.y)
    return 0.0 if abs(c) < TINY * math.sqrt(v_x) * math.sqrt(v_y) else correlation(c, v_x, v_y)


def _beta(w: Window) -> float:
    """The first operand against the second."""
    if flat(w.x) or flat(w.y):
        return 0.0
    c, v_x, v_y = _spread(w.x, w.y), _spread(w.x, w.x), _spread(w.y, w.y)
    return 0.0 if abs(c) < TINY * math.sqrt(v_x) * math.sqrt(v_y) else divide(c, v_y)


def _still(values: list[float]) -> bool:
    """Qlib's limit on the sample standard deviation."""
    n = len(values)
    return math.sqrt(_spread(values, values) / (n * (n - 1))) < 2e-5


def _qlib_corr(w: Window) -> float:
    return NAN if _still(w.x) or _still(w.y) else _corr(w)


# Regression


@dataclass(frozen=True)
class Line:
    """Sums of a regression in whole numbers: of 1/SCALE for x, of positions or ns since the oldest sample for p."""

    p: list[int]
    x: list[int]
    c: int
    v_p: int
    v_x: int

    @property
    def std(self) -> float:
        return math.sqrt(rounded(self.v_x, SCALE**2)) / len(self.x)

    @property
    def corr(self) -> float:
        return correlation(rounded(self.c, SCALE), rounded(self.v_p, 1), rounded(self.v_x, SCALE**2))


def abscissas(w: Window) -> list[int]:
    return [t - w.times[0] for t in w.times] if w.w_ns else list(range(w.n))


def line(w: Window) -> Line | None:
    """None if x is all equal, or all abscissas are."""
    p, x = abscissas(w), [whole(v) for v in w.x]
    if flat(w.x) or p[0] == p[-1]:
        return None
    c = w.n * sum(i * v for i, v in zip(p, x, strict=True)) - sum(p) * sum(x)
    v_p = w.n * sum(i * i for i in p) - sum(p) ** 2
    return Line(p, x, c, v_p, w.n * sum(v * v for v in x) - sum(x) ** 2)


def _slope(w: Window) -> float:
    fit = line(w)
    if fit is None:
        return 0.0
    slope = rounded(fit.c, SCALE) / rounded(fit.v_p, 1) * (1e9 if w.w_ns else 1.0)
    span = w.w_ns / 1e9 if w.w_ns else float(w.n)
    return 0.0 if divide(abs(slope) * span, fit.std) < TINY else slope


def _rsquare(w: Window) -> float:
    fit = line(w)
    return 0.0 if fit is None or abs(fit.corr) < TINY else fit.corr * fit.corr


def _qlib_rsquare(w: Window) -> float:
    return NAN if _still(w.x) else _rsquare(w)


def _resid(w: Window) -> float:
    """(x − μ) − slope (p − μ_p) of the newest, exact until it is rounded: near a line its parts cancel."""
    fit = line(w)
    if fit is None:
        return 0.0
    above = (w.n * fit.x[-1] - sum(fit.x)) * fit.v_p - fit.c * (w.n * fit.p[-1] - sum(fit.p))
    resid = rounded(above, w.n * fit.v_p * SCALE)
    return 0.0 if divide(abs(resid), fit.std) < TINY else resid


WINDOWED: dict[str, Callable[[Window], float]] = {
    "count": lambda w: float(w.n),
    "sum": _sum,
    "mean": _mean,
    "var": _var,
    "std": _std,
    "zscore": _zscore,
    "skew": _skew,
    "mad": _mad,
    "min": lambda w: min(w.x),
    "max": lambda w: max(w.x),
    "argmin": lambda w: 1.0 + w.x.index(min(w.x)),
    "argmax": lambda w: 1.0 + w.x.index(max(w.x)),
    "rank": _rank,
    "quantile": _quantile,
    "median": _median,
    "cov": _cov,
    "corr": _corr,
    "beta": _beta,
    "qlib.corr": _qlib_corr,
    "slope": _slope,
    "rsquare": _rsquare,
    "resid": _resid,
    "qlib.rsquare": _qlib_rsquare,
}


def samples(op: str, p: Params) -> int:
    """Updates that a time window must hold."""
    if op in ("var", "std", "zscore", "cov"):
        return int(p["ddof"]) + 1
    if op in ("count", "sum"):
        return 0
    if op == "skew":
        return 3
    return 2 if op in ("corr", "beta", "qlib.corr", "slope", "rsquare", "resid", "qlib.rsquare") else 1
