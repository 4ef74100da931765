"""Expressions as immutable trees, checked when they are built, with one spelling. Floor 2.

``canonical(e)`` is the spelling that the definition hash covers; ``alpha/features/language.py`` reads it back.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from alpha.errors import DefinitionError
from alpha.features.operators import BAR_FIELDS, BAR_SOURCES, CLOCK_BARS, FEED_FIELDS, OPERATORS, Operator, Param

_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
_LABEL = re.compile(r'[^\s"\\\x00-\x1f\x7f]{1,64}')  # of symbols and series: stands between quotes as it is
_DURATION = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*(ns|us|ms|s|m|h|d)\s*$")
_COMPARE = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}
_BINARY = {"add": "+", "sub": "-", "mul": "*", "div": "/"} | _COMPARE
POINTWISE_NAME = {"min": "least", "max": "greatest"}  # min(x, y) of two expressions; min(x, 20) is a window


@dataclass(frozen=True, slots=True)
class Duration:
    """A positive span of time in whole nanoseconds."""

    ns: int

    def __str__(self) -> str:
        unit = next(u for u in reversed(_UNITS) if self.ns % _UNITS[u] == 0)
        return f"{self.ns // _UNITS[unit]}{unit}"


def duration(text: str) -> Duration:
    """Read ``"250ms"``, ``"1s"``, ``"5m"``, ``"1.5h"``; DefinitionError if it is no positive whole ns."""
    match = _DURATION.match(text)
    if not match:
        raise DefinitionError(
            f'{text!r} is not a duration: write a number and one of {", ".join(_UNITS)}, e.g. "250ms"'
        )
    whole, _, part = match[1].partition(".")
    scaled = int(whole + part) * _UNITS[match[2]]
    ns, rest = divmod(scaled, 10 ** len(part))
    if rest or not 0 < ns < 2**62:
        raise DefinitionError(f"duration {text!r} is not a positive whole number of nanoseconds below 2**62")
    return Duration(ns)


@dataclass(frozen=True, slots=True)
class BarClock:
    """How much closes a bar that does not end by time: ``tick_bar`` so many trades, ``volume_bar`` a quantity,
    ``dollar_bar`` an amount of price times quantity."""

    kind: str
    size: float

    def __str__(self) -> str:
        return f"{self.kind}({int(self.size) if self.kind == 'tick_bar' else _number(self.size)})"


def bar_clock(kind: str, size: object) -> BarClock:
    """``tick_bar(100)`` and its like after checking the size."""
    if isinstance(size, bool) or not isinstance(size, (int, float)) or not 0 < size < 2**53:
        raise DefinitionError(f"{kind}() closes after so many {CLOCK_BARS[kind]}: a number above 0, not {size!r}")
    if kind == "tick_bar" and size != int(size):
        raise DefinitionError(f"tick_bar() counts whole trades, not {size!r}")
    return BarClock(kind, float(size))


ParamValue = int | float | str | Duration | BarClock


@dataclass(frozen=True, slots=True, eq=True)
class Expr:
    """A node: ``op`` is a name of the operator table, ``"const"`` (``params = (value,)``), or
    ``"bar"`` (``params = (Duration or BarClock, source, field)``). ``params`` follow the table's order;
    an absent optional parameter is ``None``. ``==`` compares trees; the operators are ``f.eq`` and ``f.ne``.
    """

    op: str
    args: tuple[Expr, ...] = ()
    params: tuple[ParamValue | None, ...] = ()

    def __add__(self, other: Expr | float) -> Expr:
        return Expr("add", (self, lift(other)))

    def __radd__(self, other: float) -> Expr:
        return Expr("add", (lift(other), self))

    def __sub__(self, other: Expr | float) -> Expr:
        return Expr("sub", (self, lift(other)))

    def __rsub__(self, other: float) -> Expr:
        return Expr("sub", (lift(other), self))

    def __mul__(self, other: Expr | float) -> Expr:
        return Expr("mul", (self, lift(other)))

    def __rmul__(self, other: float) -> Expr:
        return Expr("mul", (lift(other), self))

    def __truediv__(self, other: Expr | float) -> Expr:
        return Expr("div", (self, lift(other)))

    def __rtruediv__(self, other: float) -> Expr:
        return Expr("div", (lift(other), self))

    def __gt__(self, other: Expr | float) -> Expr:
        return Expr("gt", (self, lift(other)))

    def __ge__(self, other: Expr | float) -> Expr:
        return Expr("ge", (self, lift(other)))

    def __lt__(self, other: Expr | float) -> Expr:
        return Expr("lt", (self, lift(other)))

    def __le__(self, other: Expr | float) -> Expr:
        return Expr("le", (self, lift(other)))

    def __neg__(self) -> Expr:
        return Expr("neg", (self,))

    def __abs__(self) -> Expr:
        return Expr("abs", (self,))

    def __str__(self) -> str:
        return canonical(self)

    def param(self, name: str) -> ParamValue | None:
        """Value of the named parameter (``None`` where an optional one is absent)."""
        names = [p.name for p in OPERATORS[self.op].params]
        return self.params[names.index(name)]


def lift(value: Expr | float) -> Expr:
    """An Expr as it is; a finite number as a constant."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DefinitionError(f"{value!r} cannot stand in an expression: use a feature or a finite number")
    return Expr("const", (), (float(value),))


def bar_field(interval: Duration | BarClock, source: str, field: str) -> Expr:
    """``bar(interval, source).field`` after checking the names."""
    if source not in BAR_SOURCES:
        raise DefinitionError(f"bar source {source!r} is unknown: use one of {', '.join(BAR_SOURCES)}")
    fields, what = (FEED_FIELDS, "bar of the feed") if source == "feed" else (BAR_FIELDS, "bar")
    if field not in fields:
        raise DefinitionError(f"a {what} has no field {field!r}: use one of {', '.join(fields)}")
    return Expr("bar", (), (interval, source, field))


@dataclass(frozen=True, slots=True)
class BarRef:
    """``bar("1m", "trade")`` or ``tick_bar(100)`` before a field is taken; also a trigger."""

    interval: Duration | BarClock
    source: str = "feed"

    def __getattr__(self, field: str) -> Expr:
        if field.startswith("__"):
            raise AttributeError(field)
        return bar_field(self.interval, self.source, field)

    def __str__(self) -> str:
        if isinstance(self.interval, BarClock):
            return str(self.interval)
        return f'bar("{self.interval}", "{self.source}")'


def bar(interval: str, source: str = "feed") -> BarRef:
    """Time bars aligned to UTC (rule 24), from the feed's own BAR events, from trades or from the mid."""
    if source not in BAR_SOURCES:
        raise DefinitionError(f"bar source {source!r} is unknown: use one of {', '.join(BAR_SOURCES)}")
    return BarRef(duration(interval), source)


def _check_param(op: Operator, param: Param, value: object) -> ParamValue:
    """``value`` in the type the table wants, or DefinitionError naming operator and parameter."""
    where = f"{op.name}(): parameter {param.name!r}"
    if param.type == "choice":
        if value not in param.choices:
            raise DefinitionError(f"{where} must be one of {', '.join(param.choices)}, not {value!r}")
        return str(value)
    if param.type == "name":
        if not isinstance(value, str) or not _LABEL.fullmatch(value):
            raise DefinitionError(f"{where} is a name in quotes of 1 to 64 printable characters, not {value!r}")
        return value
    if isinstance(value, str):
        value = duration(value)
    if isinstance(value, Duration):
        if param.type in ("duration", "window"):
            return value
        raise DefinitionError(f"{where} takes a {param.type}, not a duration ({value})")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise DefinitionError(f"{where} cannot be {value!r}")
    if param.type == "number":
        if not math.isfinite(value):
            raise DefinitionError(f"{where} must be finite, not {value!r}")
        low = -math.inf if param.minimum is None else param.minimum
        high = math.inf if param.maximum is None else param.maximum
        if not low <= value <= high:
            raise DefinitionError(f"{where} must lie from {low:g} to {high:g}, not {value!r}")
        return float(value) + 0.0
    if param.type == "duration":
        raise DefinitionError(f'{where} takes a duration such as "1s", not {value!r}')
    low = 1 if param.minimum is None else param.minimum
    high = 2**24 - 1 if param.maximum is None else param.maximum
    if not low <= value <= high or value != int(value):
        raise DefinitionError(f"{where} must be a whole number from {int(low)} to {int(high)}, not {value!r}")
    return int(value)


def _accepts(param: Param, value: object) -> bool:
    if param.type == "choice":
        return value in param.choices
    if isinstance(value, (str, Duration)):
        return param.type in ("duration", "window") or (param.type == "name" and isinstance(value, str))
    return param.type not in ("duration", "name")


def nearest(name: str, known: Iterable[str]) -> str:
    """What follows the name of an operator that there is not: up to three that are spelled like it, and where all are."""
    near = difflib.get_close_matches(name, sorted(n for n in known if not n.endswith("_at") and n != name), 3)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return f"; {meant}`alpha features --operators` and docs/operators.md list all"


def call(name: str, operands: tuple[Expr, ...], positional: tuple[object, ...], named: dict[str, object]) -> Expr:
    """Build ``name(*operands, *positional, **named)``, checked against the operator table."""
    if name + "_at" in OPERATORS and not operands:  # bid_px(2): a level of the book; level 0 is the quote's own
        if positional == (0,) and not named:
            return Expr(name)
        name += "_at"
    op = OPERATORS.get(name)
    if op is None:
        raise DefinitionError(f"unknown operator {name!r}{nearest(name, OPERATORS)}")
    if len(operands) != op.operands:
        raise DefinitionError(f"{name}() takes {op.operands} operand(s), not {len(operands)}")
    values: dict[str, ParamValue] = {}
    for value in positional:
        # a positional value goes to the first free parameter of its type: ema(x, 20), ema(x, "5s")
        free = [p for p in op.params if p.name not in values and p.name not in named and _accepts(p, value)]
        if not free:
            raise DefinitionError(f"{name}() has no parameter left for {value!r}")
        values[free[0].name] = _check_param(op, free[0], value)
    for key, value in named.items():
        if value is None:  # as if it were not written
            continue
        param = next((p for p in op.params if p.name == key), None)
        if param is None:
            known = ", ".join(p.name for p in op.params) or "none"
            raise DefinitionError(f"{name}() has no parameter {key!r}; it has: {known}")
        values[key] = _check_param(op, param, value)
    for param in op.params:
        if param.required and param.name not in values:
            raise DefinitionError(f"{name}() needs its parameter {param.name!r}, e.g. {op.example}")
    if op.one_of and sum(n in values for n in op.one_of) != 1:
        raise DefinitionError(f"{name}() takes exactly one of {', '.join(op.one_of)}, e.g. {op.example}")
    _check_values(op, values)
    return Expr(name, operands, tuple(values.get(p.name, p.default) for p in op.params))


def _check_values(op: Operator, values: dict[str, ParamValue]) -> None:
    """What holds between the parameters of one call."""
    window, ddof = values.get("window"), values.get("ddof", 0)
    if isinstance(window, int) and isinstance(ddof, int):
        if window <= ddof:
            raise DefinitionError(
                f"{op.name}() over {window} update(s) with ddof={ddof} divides by zero: widen the window"
            )
        if window < op.samples:
            raise DefinitionError(f"{op.name}() needs a window of at least {op.samples} updates, not {window}")
    lo, hi = values.get("lo"), values.get("hi")
    if isinstance(lo, float) and isinstance(hi, float) and lo > hi:
        raise DefinitionError(f"{op.name}() has lo={lo:g} above hi={hi:g}")
    if op.name == "vpin" and values["volume"] == 0.0:
        raise DefinitionError("vpin() needs buckets of a volume above 0")
    if op.name == "wilder_sum" and values.get("n") == 1:
        raise DefinitionError("wilder_sum() needs n >= 2")
    if "half_life" in values and (values.get("seed", "first") != "first" or values.get("skip", 0) != 0):
        raise DefinitionError(f"{op.name}(): seed and skip go with span, not with half_life")


def _number(value: float) -> str:
    return repr(float(value))


def _param_text(value: ParamValue) -> str:
    if isinstance(value, (Duration, str)):
        return f'"{value}"'
    return _number(value) if isinstance(value, float) else str(value)


def canonical(e: Expr) -> str:
    """The one spelling of an expression; ``parse(canonical(e)) == e``."""
    if e.op == "const":
        value = e.params[0]
        assert isinstance(value, float)
        return _number(value) if math.copysign(1.0, value) > 0 else f"({_number(value)})"
    if e.op == "bar":
        if isinstance(e.params[0], BarClock):
            return f"{e.params[0]}.{e.params[2]}"
        return f'bar("{e.params[0]}", "{e.params[1]}").{e.params[2]}'
    if e.op == "of":
        return f'of("{e.params[0]}", {canonical(e.args[0])})'
    if e.op in _BINARY:
        return f"({canonical(e.args[0])} {_BINARY[e.op]} {canonical(e.args[1])})"
    op = OPERATORS[e.op]
    if op.kind == "source" and (not e.params or op.group == "depth"):
        return f"{e.op.removesuffix('_at')}({e.params[0]})" if e.params else e.op
    parts = [canonical(a) for a in e.args]
    for param, value in zip(op.params, e.params, strict=True):
        if value is None or (not param.required and value == param.default):
            continue
        text = _param_text(value)
        parts.append(text if param.required else f"{param.name}={text}")
    return f"{e.op}({', '.join(parts)})"


def walk(e: Expr) -> Iterator[Expr]:
    """Every node of the tree, operands before the nodes that use them."""
    for a in e.args:
        yield from walk(a)
    yield e


def resets(e: Expr) -> bool:
    """Whether a session break starts ``e`` again, where the stream has such breaks (rule 49).

    Quotes, trades and levels do; bars, inputs, constants, time and other instruments do not; what is computed at
    once does if an operand does; a stateful operator as its ``reset`` says, else like what is computed at once.
    """
    if e.op in ("const", "bar", "of"):
        return False
    op = OPERATORS[e.op]
    if op.kind == "source":
        return op.group in ("quote", "trade", "depth")
    given = e.param("reset") if op.kind == "stateful" else None
    if given is not None:
        return given == "session"
    return op.group == "trade" or any(resets(a) for a in e.args)


def moves(e: Expr) -> bool:
    """Whether any event can update ``e``: constants, time and other instruments' values are only looked at."""
    if e.op == "bar":
        return True
    if e.op in ("const", "of"):
        return False
    op = OPERATORS[e.op]
    if op.kind == "source":
        return op.group != "time"
    return op.group == "trade" or any(moves(a) for a in e.args)
