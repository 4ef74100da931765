"""The operator table: every name an expression may use, its operands, parameters and version. Floor 2.

This table is the only thing the two twins share. ``alpha/features/batch.py`` implements each
entry vectorised, ``alpha/_core`` implements it incrementally; the language, the definition hash
and the documentation read it. Meanings are fixed by the numbered numerics rules quoted in
``docs/numerics.md``; changing one means a new version, which changes every definition hash
that uses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ParamType = Literal["count", "duration", "window", "number"]
Group = Literal["quote", "trade", "depth", "bar", "none"]


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of an operator.

    ``count`` is a whole number of updates >= 1; ``duration`` a positive time such as ``"250ms"``
    (held as int ns); ``window`` either of the two; ``number`` a finite float.
    ``default=None`` together with ``required=False`` means "absent".
    """

    name: str
    type: ParamType
    required: bool = True
    default: float | int | None = None
    minimum: float | None = None


@dataclass(frozen=True, slots=True)
class Operator:
    """One row of the table.

    ``kind``: ``source`` reads the event itself (its ``group`` says which events update it),
    ``pointwise`` is a function of the operands' present values, ``stateful`` remembers.
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


def _src(name: str, group: Group, meaning: str, needs_qty: bool = False) -> Operator:
    return Operator(
        name,
        "source",
        meaning,
        "ready at its first update since reset (and since a GAP)",
        group=group,
        needs_qty=needs_qty,
        example=name,
    )


_WINDOW = Param("window", "window")
_DDOF = Param("ddof", "count", required=False, default=0, minimum=0)
_LAGGED = "count: n + 1 updates; time: t - t_first >= w"
_ROLLED = "count: n updates; time: t - t_first >= w and enough samples in the window"


def _rolling(name: str, meaning: str, params: tuple[Param, ...] = (_WINDOW,)) -> Operator:
    return Operator(name, "stateful", meaning, _ROLLED, 1, params, example=f'{name}(mid, "5s")')


OPERATORS: dict[str, Operator] = {
    op.name: op
    for op in (
        # sources (rule 36)
        _src("bid_px", "quote", "best bid price"),
        _src("ask_px", "quote", "best ask price"),
        _src("bid_qty", "quote", "size at the best bid", needs_qty=True),
        _src("ask_qty", "quote", "size at the best ask", needs_qty=True),
        _src("mid", "quote", "0.5*(bid_px + ask_px)"),
        _src("spread", "quote", "ask_px - bid_px"),
        _src("microprice", "quote", "(bid_px*ask_qty + ask_px*bid_qty)/(bid_qty + ask_qty)", needs_qty=True),
        _src("imbalance", "quote", "(bid_qty - ask_qty)/(bid_qty + ask_qty)", needs_qty=True),
        _src("px", "trade", "price of the last trade"),
        _src("qty", "trade", "size of the last trade", needs_qty=True),
        _src("side", "trade", "aggressor as the feed gave it: +1 buyer, -1 seller, 0 unknown"),
        # pointwise
        Operator("add", "pointwise", "x + y", operands=2, example="bid_px + ask_px"),
        Operator("sub", "pointwise", "x - y", operands=2, example="mid - microprice"),
        Operator("mul", "pointwise", "x * y", operands=2, example="px * qty"),
        Operator("div", "pointwise", "x / y; a / 0 = NaN (rule 14)", operands=2, example="spread / mid"),
        Operator("neg", "pointwise", "-x", operands=1, example="-spread"),
        Operator("abs", "pointwise", "|x|", operands=1, example="abs(spread)"),
        Operator("log", "pointwise", "natural logarithm, rule 42; x <= 0 = NaN", operands=1, example="log(mid)"),
        # lags (rules 7, 40)
        Operator("lag", "stateful", "x n updates ago, or at t - w", _LAGGED, 1, (_WINDOW,), example="lag(mid, 5)"),
        Operator("diff", "stateful", "x - lag(x)", _LAGGED, 1, (_WINDOW,), example="diff(mid, 5)"),
        Operator("ret", "stateful", "x/lag(x) - 1", _LAGGED, 1, (_WINDOW,), example="ret(mid, 5)"),
        Operator("logret", "stateful", "log(x/lag(x)), rule 18", _LAGGED, 1, (_WINDOW,), example="logret(mid, 5)"),
        Operator(
            "velocity",
            "stateful",
            "(x - lag(x, w)) / w in seconds, w nominal (rule 7)",
            "t - t_first >= w",
            1,
            (Param("window", "duration"),),
            example='velocity(mid, "1s")',
        ),
        # rolling moments (rules 4 to 6, 9 to 12, 14, 15, 41)
        _rolling("count", "number of finite updates in the window"),
        _rolling("sum", "exact sum, rounded once"),
        _rolling("mean", "exact sum / n"),
        _rolling("var", "variance from exact sums", (_WINDOW, _DDOF)),
        _rolling("std", "sqrt(var)", (_WINDOW, _DDOF)),
        _rolling("zscore", "(x - mean)/std of the newest x; 0 without dispersion", (_WINDOW, _DDOF)),
        # exponential (rules 16 to 18)
        Operator(
            "ema",
            "stateful",
            "exponential moving average by span (in updates) or half_life (in time)",
            "span updates; half_life: t - t_first >= h",
            1,
            (
                Param("span", "count", required=False),
                Param("half_life", "duration", required=False),
            ),
            one_of=("span", "half_life"),
            example="ema(mid, span=20)",
        ),
        # Wilder (rules 20, 40)
        Operator(
            "rsi",
            "stateful",
            "100 g/(g + l), Wilder averages of gains and losses",
            "n + 1 updates",
            1,
            (Param("n", "count"),),
            example="rsi(mid, 14)",
        ),
    )
}

BAR_FIELDS = ("open", "high", "low", "close", "volume")
"""Fields of ``bar(interval, source)``."""

BAR_SOURCES = ("feed", "trade", "mid")
"""``feed``: BAR events of the stream itself; ``trade``, ``mid``: time bars built from them (rule 24)."""

BAR_VERSION = 1
"""Version of the bar construction; part of the definition hash of every set that uses a bar."""
