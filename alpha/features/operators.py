"""The operator table: every name an expression may use, its operands, parameters and version. Floor 2.

This table is the only thing the two twins share. ``alpha/features/batch.py`` implements each
entry vectorised, ``alpha/_core`` implements it incrementally; the language, the definition hash
and the documentation read it. Meanings are fixed by the numbered numerics rules quoted in
``docs/numerics.md``; changing one means a new version, which changes every definition hash
that uses it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

ParamType = Literal["count", "duration", "window", "number", "choice", "name"]
Group = Literal["quote", "trade", "depth", "bar", "input", "time", "none"]
Unit = Literal["px", "qty", "side", "ratio", "px*qty", "same", "square", "count", "product", "slope", "beta", "any"]


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of an operator.

    ``count`` is a whole number of updates >= ``minimum`` (1 unless said); ``duration`` a positive time such
    as ``"250ms"`` (held as int ns); ``window`` either of the two; ``number`` a finite float from ``minimum``
    to ``maximum``; ``choice`` one of ``choices``; ``name`` a short text, such as a symbol.
    ``default=None`` together with ``required=False`` means "absent".
    """

    name: str
    type: ParamType
    required: bool = True
    default: float | int | str | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operator:
    """One row of the table.

    ``kind``: ``source`` reads the event itself (its ``group`` says which events update it; ``time``: none
    does, it is a function of the present time), ``pointwise`` is a function of the operands' present values,
    ``stateful`` remembers. Every stateful operator takes ``reset``, see :data:`RESET`.
    """

    name: str
    kind: Literal["source", "pointwise", "stateful"]
    meaning: str
    warm_up: str = "none"
    operands: int = 0
    params: tuple[Param, ...] = ()
    group: Group = "none"
    version: int = 1
    one_of: tuple[str, ...] = ()  # exactly one of these optional parameters must be given
    needs_qty: bool = False  # a source that has no value on a NO_QTY event
    example: str = ""
    unit: Unit = "same"  # of the result; "same", "square": from the first operand
    alike: tuple[int, ...] = ()  # operands that must have the same unit
    samples: int = 0  # updates a time window must hold; -1: ddof + 1
    source: str = ""  # where the formula comes from
    cost: str = "O(1)"


def _src(
    name: str, group: Group, meaning: str, unit: Unit, needs_qty: bool = False, warm_up: str = "", source: str = ""
) -> Operator:
    return Operator(
        name,
        "source",
        meaning,
        warm_up or "ready at its first update since reset (and since a GAP)",
        group=group,
        needs_qty=needs_qty,
        example=name,
        unit=unit,
        source=source,
    )


RESET = Param("reset", "choice", required=False, choices=("session", "never"))
"""What a session break does to a stateful operator: ``session`` starts it again, ``never`` lets it run through.
Absent: ``session`` if an operand starts again (quotes, trades and levels do, bars and inputs do not)."""

_WINDOW = Param("window", "window")
_DDOF = Param("ddof", "count", required=False, default=0, minimum=0)
_LAGGED = "count: n + 1 updates; time: t - t_first >= w"
_ROLLED = "count: n updates; time: t - t_first >= w and enough samples in the window"


def _level(name: str, meaning: str, unit: Unit, warm_up: str = "") -> Operator:
    """``name(level)``: a source of one level of the book below the best."""
    return Operator(
        f"{name}_at",
        "source",
        meaning,
        warm_up or "ready at its first update since reset (and since a GAP)",
        params=(Param("level", "count", minimum=1, maximum=MAX_LEVEL),),
        group="depth",
        needs_qty=True,
        example=f"{name}(2)",
        unit=unit,
    )


MAX_LEVEL = 9
"""Deepest level that an expression may name; level 0 is the quote."""


def _point(
    name: str, meaning: str, operands: int, example: str, unit: Unit = "same", alike: tuple[int, ...] = ()
) -> Operator:
    return Operator(name, "pointwise", meaning, operands=operands, example=example, unit=unit, alike=alike)


def _rolling(
    name: str,
    meaning: str,
    params: tuple[Param, ...] = (_WINDOW,),
    *,
    operands: int = 1,
    unit: Unit = "same",
    samples: int = 1,
    cost: str = "O(1)",
    source: str = "",
) -> Operator:
    x = "mid" if operands == 1 else "mid, px"
    more = ", q=0.9" if any(p.name == "q" for p in params) else ""
    example = f'{name}({x}, "5s"{more})'
    return Operator(
        name,
        "stateful",
        meaning,
        _ROLLED,
        operands,
        params,
        example=example,
        unit=unit,
        samples=samples,
        cost=cost,
        source=source,
    )


def _time(name: str, meaning: str, unit: Unit) -> Operator:
    return Operator(name, "source", meaning, "none", group="time", example=name, unit=unit)


_N = Param("n", "count")
_LOG_N = "O(log n)"
_LINEAR = "O(n)"

OPERATORS: dict[str, Operator] = {
    op.name: replace(op, params=(*op.params, RESET)) if op.kind == "stateful" else op
    for op in (
        # sources (rule 36)
        _src("bid_px", "quote", "best bid price", "px"),
        _src("ask_px", "quote", "best ask price", "px"),
        _src("bid_qty", "quote", "size at the best bid", "qty", needs_qty=True),
        _src("ask_qty", "quote", "size at the best ask", "qty", needs_qty=True),
        _src("mid", "quote", "0.5*(bid_px + ask_px)", "px"),
        _src("spread", "quote", "ask_px - bid_px", "px"),
        _src("microprice", "quote", "(bid_px*ask_qty + ask_px*bid_qty)/(bid_qty + ask_qty)", "px", needs_qty=True),
        _src("imbalance", "quote", "(bid_qty - ask_qty)/(bid_qty + ask_qty)", "ratio", needs_qty=True),
        _src(
            "ofi",
            "quote",
            "order flow imbalance of this quote against the one before it at the best level",
            "qty",
            needs_qty=True,
            warm_up="second quote with sizes since reset",
            source="Cont, Kukanov, Stoikov 2014, eq. (4)",
        ),
        _src("px", "trade", "price of the last trade", "px"),
        _src("qty", "trade", "size of the last trade", "qty", needs_qty=True),
        _src("side", "trade", "aggressor as the feed gave it: +1 buyer, -1 seller, 0 unknown", "ratio"),
        _src(
            "trade_sign",
            "trade",
            "aggressor: the feed's side; if unknown the side of the prevailing mid, then the tick rule, else 0 (rule 27)",
            "ratio",
            source="Lee, Ready 1991",
        ),
        # functions of the present time and the stream's calendar (rules 49, 50); nothing updates them
        _time("seconds_since_open", "seconds since the session opened; NaN outside of a session", "any"),
        _time("minutes_to_close", "minutes until the session closes; NaN outside of a session", "any"),
        _time("is_rth", "1 inside a regular session and outside of its break, else 0", "ratio"),
        _time("sin_day", "sine of the time of day, one turn from midnight to midnight UTC", "ratio"),
        _time("cos_day", "cosine of the time of day, one turn from midnight to midnight UTC", "ratio"),
        # what comes from elsewhere (rules 28, 51, 52)
        Operator(
            "input",
            "source",
            "last value of an external series, as of its arrival; NaN when it is older than max_age",
            "its first value",
            params=(Param("name", "name"), Param("max_age", "duration", required=False)),
            group="input",
            example='input("funding_rate", max_age="8h")',
            unit="any",
        ),
        Operator(
            "of",
            "pointwise",
            "another instrument's expression: its value when it last passed an update on",
            "that expression's own",
            operands=1,
            params=(Param("symbol", "name"),),
            example='of("ES", mid)',
        ),
        # deeper levels of the book; an empty side (size 0) has no price: NaN
        _level("bid_px", "bid price of that level", "px"),
        _level("ask_px", "ask price of that level", "px"),
        _level("bid_qty", "size at that level's bid", "qty"),
        _level("ask_qty", "size at that level's ask", "qty"),
        _level("ofi", "order flow imbalance of that level", "qty", "second update of that level since reset"),
        # pointwise
        _point("add", "x + y", 2, "bid_px + ask_px", alike=(0, 1)),
        _point("sub", "x - y", 2, "mid - microprice", alike=(0, 1)),
        _point("mul", "x * y", 2, "px * qty", "product"),
        _point("div", "x / y; a / 0 = NaN (rule 14)", 2, "spread / mid", "beta"),
        _point("neg", "-x", 1, "-spread"),
        _point("abs", "|x|", 1, "abs(spread)"),
        _point("sign", "1, 0 or -1 as x is above, at or below 0", 1, "sign(mid - px)", "ratio"),
        _point("log", "natural logarithm, rule 42; x <= 0 = NaN", 1, "log(mid)", "ratio"),
        _point("exp", "e**x by the fixed algorithm of rule 42", 1, "exp(imbalance)", "ratio"),
        _point("sqrt", "square root, IEEE; x < 0 = NaN", 1, "sqrt(qty)", "any"),
        _point("least", "x if x < y else y; also written min(x, y)", 2, "min(bid_px, px)", alike=(0, 1)),
        _point("greatest", "x if x > y else y; also written max(x, y)", 2, "max(ask_px, px)", alike=(0, 1)),
        _point("gt", "1 if x > y else 0", 2, "px > mid", "ratio", (0, 1)),
        _point("ge", "1 if x >= y else 0", 2, "px >= ask_px", "ratio", (0, 1)),
        _point("lt", "1 if x < y else 0", 2, "px < mid", "ratio", (0, 1)),
        _point("le", "1 if x <= y else 0", 2, "px <= bid_px", "ratio", (0, 1)),
        _point("eq", "1 if x == y else 0", 2, "px == ask_px", "ratio", (0, 1)),
        _point("ne", "1 if x != y else 0", 2, "px != ask_px", "ratio", (0, 1)),
        _point("where", "x if c is not 0 else y; NaN if c is NaN", 3, "where(px > mid, qty, -qty)", "any", (1, 2)),
        Operator(
            "clip",
            "pointwise",
            "x held between lo and hi",
            operands=1,
            params=(Param("lo", "number"), Param("hi", "number")),
            example="clip(imbalance, -0.5, 0.5)",
        ),
        # lags (rules 7, 40)
        Operator("lag", "stateful", "x n updates ago, or at t - w", _LAGGED, 1, (_WINDOW,), example="lag(mid, 5)"),
        Operator("diff", "stateful", "x - lag(x)", _LAGGED, 1, (_WINDOW,), example="diff(mid, 5)"),
        Operator("ret", "stateful", "x/lag(x) - 1", _LAGGED, 1, (_WINDOW,), example="ret(mid, 5)", unit="ratio"),
        Operator(
            "logret",
            "stateful",
            "log(x/lag(x)), rule 18",
            _LAGGED,
            1,
            (_WINDOW,),
            example="logret(mid, 5)",
            unit="ratio",
        ),
        Operator(
            "velocity",
            "stateful",
            "(x - lag(x, w)) / w in seconds, w nominal (rule 7)",
            "t - t_first >= w",
            1,
            (Param("window", "duration"),),
            example='velocity(mid, "1s")',
            unit="any",
        ),
        # rolling moments (rules 4 to 6, 9 to 15, 41)
        _rolling("count", "number of finite updates in the window", unit="count", samples=0),
        _rolling("sum", "exact sum, rounded once", samples=0),
        _rolling("mean", "exact sum / n"),
        _rolling("var", "variance from exact sums", (_WINDOW, _DDOF), unit="square", samples=-1),
        _rolling("std", "sqrt(var)", (_WINDOW, _DDOF), samples=-1),
        _rolling(
            "zscore",
            "(x - mean)/std of the newest x; 0 without dispersion",
            (_WINDOW, _DDOF),
            unit="ratio",
            samples=-1,
        ),
        _rolling("skew", "population skewness g1 from exact central sums", unit="ratio", samples=3),
        _rolling("mad", "mean of |x - mean|: mean absolute deviation", cost=_LINEAR),
        # order statistics (rules 21 to 23)
        _rolling("min", "smallest value in the window"),
        _rolling("max", "largest value in the window"),
        _rolling("argmin", "place of the smallest value, the oldest is 1 and wins ties", unit="count"),
        _rolling("argmax", "place of the largest value, the oldest is 1 and wins ties", unit="count"),
        _rolling("rank", "(less + (equal + 1)/2)/n of the newest value, itself included", unit="ratio", cost=_LOG_N),
        _rolling(
            "quantile",
            "A + (B - A)*(p - floor(p)) at p = q (n - 1) of the sorted values",
            (_WINDOW, Param("q", "number", minimum=0.0, maximum=1.0)),
            cost=_LOG_N,
        ),
        _rolling("median", "middle value; of an even number 0.5*(A + B)", cost=_LOG_N),
        # pairs (rules 12, 14, 15, 37, 43)
        _rolling("cov", "covariance from exact sums", (_WINDOW, _DDOF), operands=2, unit="product", samples=-1),
        _rolling("corr", "Pearson's correlation, within [-1, 1]", operands=2, unit="ratio", samples=2),
        _rolling("beta", "cov(y, x)/var(x): the second operand is the regressor", operands=2, unit="beta", samples=2),
        _rolling(
            "qlib.corr",
            "corr, but NaN where a standard deviation is below 2e-5 (Qlib's Corr)",
            operands=2,
            unit="ratio",
            samples=2,
            source="Microsoft Qlib, Alpha158",
        ),
        # regression on position 0..n-1, or on seconds in time windows (rules 13 to 15, 43)
        _rolling("slope", "slope of the regression of x on position or seconds", unit="slope", samples=2),
        _rolling("rsquare", "its coefficient of determination", unit="ratio", samples=2),
        _rolling("resid", "newest x minus the regression's value there", samples=2),
        _rolling(
            "qlib.rsquare",
            "rsquare, but NaN where std of x is below 2e-5 (Qlib's Rsquare)",
            unit="ratio",
            samples=2,
            source="Microsoft Qlib, Alpha158",
        ),
        # exponential (rules 16 to 19)
        Operator(
            "ema",
            "stateful",
            "exponential moving average by span (in updates) or half_life (in time); seed sma: the first value is "
            "the mean of the first span updates; skip: so many first updates are left out",
            "skip + span updates; half_life: t - t_first >= h",
            1,
            (
                Param("span", "count", required=False),
                Param("half_life", "duration", required=False),
                Param("seed", "choice", required=False, default="first", choices=("first", "sma")),
                Param("skip", "count", required=False, default=0, minimum=0),
            ),
            one_of=("span", "half_life"),
            example="ema(mid, span=20)",
        ),
        Operator(
            "ewm_std",
            "stateful",
            "exponentially weighted standard deviation, alpha = 2/(span + 1) (rule 19)",
            "span updates",
            1,
            (Param("span", "count"),),
            example="ewm_std(mid, 20)",
            source="West 1979",
        ),
        # Wilder (rules 20, 40)
        Operator(
            "wilder",
            "stateful",
            "Wilder's average: mean of the first n, then (a (n - 1) + x)/n",
            "n updates",
            1,
            (_N,),
            example="wilder(spread, 14)",
            source="Wilder 1978",
        ),
        Operator(
            "wilder_sum",
            "stateful",
            "Wilder's sum as TA-Lib seeds it: sum of the first n - 1, then s - s/n + x",
            "n updates",
            1,
            (_N,),
            example="wilder_sum(spread, 14)",
            source="TA-Lib, PLUS_DM",
        ),
        Operator(
            "rsi",
            "stateful",
            "100 g/(g + l), Wilder averages of gains and losses",
            "n + 1 updates",
            1,
            (_N,),
            example="rsi(mid, 14)",
            unit="ratio",
            source="Wilder 1978",
        ),
        Operator(
            "talib.rsi",
            "stateful",
            "rsi, but 0 where there was neither gain nor loss",
            "n + 1 updates",
            1,
            (_N,),
            example="talib.rsi(mid, 14)",
            unit="ratio",
            source="TA-Lib, RSI",
        ),
        # since reset
        Operator(
            "cumsum",
            "stateful",
            "exact sum of all updates since reset, rounded once",
            "1 update",
            1,
            example="cumsum(ofi)",
        ),
        Operator("first", "stateful", "the first update since reset", "1 update", 1, example="first(mid)"),
        # trades in buckets of equal volume (rules 26, 54)
        Operator(
            "vpin",
            "stateful",
            "volume-synchronised probability of informed trading: mean |bought - sold| / volume over n full buckets",
            "n full buckets",
            params=(Param("volume", "number", minimum=0.0), _N),
            group="trade",
            needs_qty=True,
            example="vpin(5000, 50)",
            unit="ratio",
            source="Easley, Lopez de Prado, O'Hara 2012",
        ),
    )
}

BAR_FIELDS = ("open", "high", "low", "close", "volume", "vwap", "count")
"""Fields of a bar; the last two only of bars that are built here."""

FEED_FIELDS = BAR_FIELDS[:5]
"""What a BAR event carries."""

BAR_SOURCES = ("feed", "trade", "mid")
"""``feed``: BAR events of the stream itself; ``trade``, ``mid``: time bars built from them (rule 24)."""

CLOCK_BARS = {"tick_bar": "trades", "volume_bar": "quantity", "dollar_bar": "price times quantity"}
"""Bars of trades that close after so much of something instead of after a time (rules 25, 53)."""

BAR_VERSION = 1
"""Version of the bar construction; part of the definition hash of every set that uses a bar."""
