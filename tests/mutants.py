"""Wrong readings of numerics.md: each is the oracle with one thing changed, and an expression that shows it.

A certificate is worth what it would catch. ``tests/parity/test_mutants.py`` puts every one of these beside the native
twin and demands that the comparison fails. Here: windows and recursions; ``mutants_machine.py`` has time, gaps and
sources, ``mutants_sessions.py`` rules 49 to 52, ``mutants_trades.py`` bars by trades and vpin.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from mutants_machine import MACHINE, SIMPLE, Mutant
from mutants_machine import STREAMS as PLAIN
from mutants_sessions import SESSIONS, market
from mutants_trades import TRADES
from reference_math import NAN, SCALE, divide, rounded, whole
from reference_operators import RECURSIVE, gain_and_loss, plain_sum, wilder_average
from reference_windows import WINDOWED, Window, abscissas, correlation, flat, line

__all__ = ["MUTANTS", "STREAMS", "Mutant"]

X = "(bid_qty - ask_qty)"  # what the size streams carry

# Windows


def _window(op: str, expression: str, name: str, f: Callable[[Window], float], stream: str = "grid") -> Mutant:
    return Mutant(name, expression, ((WINDOWED, op, f),), stream=stream)


class _Running:
    """A sum that is added to and subtracted from, as one would write it first."""

    def __init__(self) -> None:
        self.held: list[float] = []
        self.total = 0.0

    def __call__(self, w: Window) -> float:
        gone = next(k for k in range(len(self.held) + 1) if self.held[k:] == w.x[: len(self.held) - k])
        for x in w.x[len(self.held) - gone :]:
            self.total += x
        for x in self.held[:gone]:
            self.total -= x
        self.held = list(w.x)
        return self.total / w.n


def _naive_std(w: Window) -> float:
    return math.sqrt(max(0.0, sum(x * x for x in w.x) / w.n - (sum(w.x) / w.n) ** 2))


def _sample_var(w: Window) -> float:
    mean = sum(w.x) / w.n
    return sum((x - mean) ** 2 for x in w.x) / (w.n - 1) if w.n > 1 else NAN


def _zscore_of(std: Callable[[Window], float]) -> Callable[[Window], float]:
    return lambda w: divide(w.x[-1] - WINDOWED["mean"](w), std(w)) if std(w) else 0.0


def _corr_of_floats(w: Window) -> float:
    """Centred at the rounded means, without a word on equal values."""
    mx, my = sum(w.x) / w.n, sum(w.y) / w.n
    c = sum((x - mx) * (y - my) for x, y in zip(w.x, w.y, strict=True))
    vx, vy = sum((x - mx) ** 2 for x in w.x), sum((y - my) ** 2 for y in w.y)
    return correlation(c, vx, vy)


def _rank_without_ties(w: Window) -> float:
    return (sum(x < w.x[-1] for x in w.x) + 1) / w.n


def _last_place(pick: Callable[[list[float]], float]) -> Callable[[Window], float]:
    return lambda w: float(max(i + 1 for i, x in enumerate(w.x) if x == pick(w.x)))


def _slope_by(p: Callable[[Window], list[int]]) -> Callable[[Window], float]:
    """The slope against other abscissas."""

    def slope(w: Window) -> float:
        if flat(w.x) or len(set(p(w))) == 1:
            return 0.0
        return float(np.polyfit(np.array(p(w), np.float64), np.array(w.x) - w.x[0], 1)[0])

    return slope


def _slope_wrong_denominator(w: Window) -> float:
    """n Σp² on 1 … n, without (Σp)²."""
    fit = line(w)
    return 0.0 if fit is None else rounded(fit.c, SCALE) / (w.n * sum((p + 1) ** 2 for p in fit.p))


def _old_resid(w: Window) -> float:
    fit = line(w)
    return 0.0 if fit is None else (w.x[0] - sum(w.x) / w.n) - rounded(fit.c, SCALE * fit.v_p) * (0 - sum(fit.p) / w.n)


def _skew_sample(w: Window) -> float:
    return _true_skew(w) * (math.sqrt(w.n * (w.n - 1)) / (w.n - 2))


_true_skew, _true_corr, _true_var = WINDOWED["skew"], WINDOWED["corr"], WINDOWED["var"]

_WINDOWS = (
    _window("mean", f"{X} - mean({X}, 5)", "mean by a running sum", _Running(), "spikes"),
    _window("mean", f"{X} - mean({X}, 3)", "equal values are summed like others", lambda w: sum(w.x) / w.n, "steps"),
    _window("sum", f"sum({X}, 20)", "sum rounded at every step", lambda w: plain_sum(w.x), "cancelling"),
    _window("var", "var(mid, 20)", "var of a sample", _sample_var),
    _window("var", "var(mid, 20, ddof=1)", "var of a population", lambda w: _true_var(Window(w.times, w.x, w.y, {"ddof": 0}, w.w_ns))),
    _window("std", f"std({X}, 20)", "std by a naive sum of squares", _naive_std, "near constant"),
    _window("zscore", "zscore(mid, 20)", "zscore by the sample's std", _zscore_of(lambda w: math.sqrt(_sample_var(w)))),
    _window("zscore", "zscore(mid, 3)", "zscore without dispersion is NaN", lambda w: NAN if flat(w.x) else _zscore_of(WINDOWED["std"])(w)),
    _window("skew", "skew(mid, 20)", "skew corrected for bias", _skew_sample),
    _window("mad", "mad(mid, 20)", "mad about the median", lambda w: float(np.mean(np.abs(np.array(w.x) - np.median(w.x))))),
    _window("min", "min(mid, 7)", "min of what was before", lambda w: min(w.x[:-1])),
    _window("argmin", "argmin(mid, 7)", "argmin: the newest wins ties", _last_place(min)),
    _window("argmax", "argmax(mid, 7)", "argmax: the newest wins ties", _last_place(max)),
    _window("argmax", "argmax(px, 7)", "argmax from zero", lambda w: float(w.x.index(max(w.x)))),
    _window("rank", "rank(mid, 20)", "rank without ties", _rank_without_ties),
    _window("rank", "rank(mid, 20)", "rank without itself", lambda w: sum(x < w.x[-1] for x in w.x) / (w.n - 1)),
    _window("quantile", "quantile(mid, 20, 0.3)", "quantile to the nearest", lambda w: sorted(w.x)[round(w.params["q"] * (w.n - 1))]),
    _window("quantile", "quantile(mid, 20, 0.3)", "quantile at q n", lambda w: float(np.quantile(w.x, w.params["q"], method="weibull"))),
    _window("median", "median(mid, 20)", "median: the lower of two", lambda w: sorted(w.x)[(w.n - 1) // 2]),
    _window("cov", "cov(mid, px, 20)", "cov of a sample", lambda w: float(np.cov(w.x, w.y)[0, 1])),
    _window("corr", "corr(mid, px, 3)", "corr of floats, no rule for equal values", _corr_of_floats),
    _window("beta", "beta(mid, px, 20)", "beta with the operands exchanged", lambda w: 0.0 if flat(w.x) or flat(w.y) else float(np.cov(w.x, w.y)[0, 1] / np.var(w.x, ddof=1))),
    _window("qlib.corr", "qlib.corr(mid, px, 3)", "qlib.corr of equal values is 0", _true_corr),
    _window("slope", "slope(mid, 20)", "slope with a wrong denominator", _slope_wrong_denominator),
    _window("slope", 'slope(mid, "7s")', "slope on positions in a time window", _slope_by(lambda w: list(range(w.n)))),
    _window("slope", 'slope(mid, "7s")', "slope per nanosecond", _slope_by(abscissas)),
    _window("resid", "resid(mid, 20)", "resid of the oldest", _old_resid),
    _window("rsquare", "rsquare(mid, 20)", "rsquare not squared", lambda w: abs(fit.corr) if (fit := line(w)) else 0.0),
    _window("qlib.rsquare", "qlib.rsquare(mid, 3)", "qlib.rsquare of equal values is 0", WINDOWED["rsquare"]),
)  # fmt: skip

# Recursive


def _recursive(op: str, expression: str, name: str, f: Callable[..., float], stream: str = "grid") -> Mutant:
    return Mutant(name, expression, ((RECURSIVE, op, f),), stream=stream)


def _ema_like(first: Callable[[float, float], float], step: Callable[[float, float, float], float], n: int = 1) -> Any:
    """An average by span from ``first(alpha, x)`` on, ``step(y, x, alpha)``, alpha = 2/(span + n)."""

    def ema(updates: list[tuple[int, float]], p: dict[str, Any]) -> float:
        alpha = 2.0 / (p["span"] + n)
        y = first(alpha, updates[0][1])
        for _, x in updates[1:]:
            y = step(y, x, alpha)
        return y

    return ema


def _half_life(decay: Callable[[float], float]) -> Any:
    def ema(updates: list[tuple[int, float]], p: dict[str, Any]) -> float:
        (before, y), d = updates[0], 1.0
        for t, x in updates[1:]:
            d = 1.0 + decay((t - before) / p["half_life"].ns) * d
            y, before = y + (x - y) / d, t
        return y

    return ema


def _unadjusted(updates: list[tuple[int, float]], p: dict[str, Any]) -> float:
    before, y = updates[0]
    for t, x in updates[1:]:
        y, before = y + (1.0 - 2.0 ** -((t - before) / p["half_life"].ns)) * (x - y), t
    return y


def _ewm_std_plain(updates: list[tuple[int, float]], p: dict[str, Any]) -> float:
    """δ² about the old mean, without the part that moved it."""
    alpha, m, v = 2.0 / (p["span"] + 1), updates[0][1], 0.0
    for _, x in updates[1:]:
        delta = x - m
        m, v = m + alpha * delta, (1.0 - alpha) * v + alpha * delta * delta
    return math.sqrt(v)


def _wilder_from_first(updates: list[tuple[int, float]], p: dict[str, Any]) -> float:
    return wilder_average([updates[0][1]] * p["n"] + [x for _, x in updates[1:]], p["n"])


def _wilder_sum_of_n(updates: list[tuple[int, float]], p: dict[str, Any]) -> float:
    s = plain_sum([x for _, x in updates[: p["n"]]])
    for _, x in updates[p["n"] :]:
        s = (s - s / p["n"]) + x
    return s


def _rsi_flat(value: float) -> Any:
    def rsi(updates: list[tuple[int, float]], p: dict[str, Any]) -> float:
        g, loss = gain_and_loss(updates, p["n"])
        return value if g + loss == 0.0 else 100.0 * g / (g + loss)

    return rsi


def _rsi_cutler(updates: list[tuple[int, float]], p: dict[str, Any]) -> float:
    """Plain averages of the last n changes."""
    return _true_talib_rsi(updates[-p["n"] - 1 :], p)


_true_ema, _true_talib_rsi = RECURSIVE["ema"], RECURSIVE["talib.rsi"]

_RECURSIVE = (
    _recursive("ema", "ema(mid, span=20)", "ema from alpha x0", _ema_like(lambda a, x: a * x, lambda y, x, a: y + a * (x - y))),
    _recursive("ema", "ema(mid, span=20)", "ema with alpha 2/(span + 2)", _ema_like(lambda a, x: x, lambda y, x, a: y + a * (x - y), 2)),
    _recursive("ema", "ema(mid, span=12) - ema(mid, span=26)", "ema as alpha x + (1 - alpha) y", _ema_like(lambda a, x: x, lambda y, x, a: a * x + (1.0 - a) * y), "big price"),
    _recursive("ema", 'ema(mid, span=9, seed="sma")', "ema seeded with the first value", lambda u, p: _true_ema(u, p | {"seed": "first"})),
    _recursive("ema", "ema(mid, span=9, skip=3)", "ema that skips nothing", lambda u, p: _true_ema(u, p | {"skip": 0})),
    _recursive("ema", 'ema(mid, half_life="1s")', "ema by half-life decays by e", _half_life(lambda t: math.exp(-t))),
    _recursive("ema", 'ema(mid, half_life="1s")', "ema by half-life leaves equal times out", _half_life(lambda t: 2.0**-t if t else 0.0)),
    _recursive("ema", 'ema(mid, half_life="7s")', "ema by half-life without its weights", _unadjusted),
    _recursive("ewm_std", "ewm_std(mid, 20)", "ewm_std about the old mean", _ewm_std_plain),
    _recursive("wilder", "wilder(mid, 14)", "wilder seeded with the first value", _wilder_from_first),
    _recursive("wilder", "wilder(mid, 14)", "wilder as an ema of 2/(n + 1)", lambda u, p: _true_ema(u, {"span": p["n"], "seed": "sma", "skip": 0})),
    _recursive("wilder_sum", "wilder_sum(mid, 14)", "wilder_sum seeded with n", _wilder_sum_of_n),
    _recursive("rsi", f"rsi({X}, 3)", "rsi of nothing is 50", _rsi_flat(50.0), "steps"),
    _recursive("rsi", "rsi(mid, 5)", "rsi of plain averages", _rsi_cutler),
    _recursive("talib.rsi", "talib.rsi(mid, 1)", "talib.rsi of nothing is 100", _rsi_flat(100.0)),
    _recursive("cumsum", f"cumsum({X})", "cumsum rounded at every step", lambda u, p: plain_sum([x for _, x in u]), "cancelling"),
    _recursive("cumsum", f"cumsum({X})", "cumsum without the newest", lambda u, p: rounded(sum(whole(x) for _, x in u[:-1]), SCALE), "steps"),
    _recursive("first", "first(mid)", "first is the newest", lambda u, p: u[-1][1]),
)  # fmt: skip

MUTANTS = {m.name: m for m in (*MACHINE, *SIMPLE, *_WINDOWS, *_RECURSIVE, *SESSIONS, *TRADES)}
STREAMS = PLAIN | {"market": market}
