"""Feature expressions as text and from Python. Floor 2.

The text is Python's expression syntax, read by its parser and never evaluated::

    >>> e = parse('1e4 * spread / mid')
    >>> canonical(e)
    '((10000.0 * spread) / mid)'
    >>> canonical(f.velocity(f.mid, "1000ms"))
    'velocity(mid, "1s")'
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from alpha.errors import DefinitionError
from alpha.features.expression import (
    POINTWISE_NAME,
    BarClock,
    BarRef,
    Duration,
    Expr,
    ParamValue,
    bar,
    bar_clock,
    bar_field,
    call,
    canonical,
    duration,
    lift,
    moves,
    nearest,
    resets,
    walk,
)
from alpha.features.macros import Macro, builtin_macros
from alpha.features.operators import BAR_FIELDS, CLOCK_BARS, OPERATORS

__all__ = [
    "BarClock",
    "BarRef",
    "Duration",
    "Expr",
    "ParamValue",
    "bar",
    "canonical",
    "duration",
    "f",
    "moves",
    "parse",
    "parse_bar",
    "resets",
    "walk",
]

_AST_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}
_AST_COMPARE = {ast.Gt: "gt", ast.GtE: "ge", ast.Lt: "lt", ast.LtE: "le", ast.Eq: "eq", ast.NotEq: "ne"}
MAX_TEXT = 4096
MAX_DEPTH = 64
T = TypeVar("T")


class _Builders:
    """``f.mid``, ``f.ema(f.mid, span=20)``, ``f.bar("1m", "trade").close``: expressions from Python."""

    bar = staticmethod(bar)

    def __getattr__(self, name: str) -> Any:  # an Expr for a source, else a function that makes one
        if name in _NAMESPACES:
            return _Namespace(name)
        if name in CLOCK_BARS:
            return lambda size: BarRef(bar_clock(name, size), "trade")
        op = OPERATORS.get(name)
        if op is None and name not in builtin_macros():
            raise DefinitionError(f"unknown operator {name!r}{nearest(name, _known())}")
        return Expr(name) if op is not None and op.kind == "source" and not op.params else _Build(name)

    @staticmethod
    def of(symbol: str, x: Expr) -> Expr:
        """``f.of("ES", f.mid)``: an expression of another instrument."""
        return _of(x, symbol)

    def level(self, name: str, level: int) -> Expr:
        """``f.level("bid_px", 2)``: a source of a deeper level of the book."""
        return call(name, (), (level,), {})


def _of(x: Expr, symbol: object) -> Expr:
    """``of(symbol, x)`` after checking that there is something of another instrument to look at."""
    if any(node.op == "of" for node in walk(x)):
        raise DefinitionError("of() cannot stand inside of of(): name each instrument where it is used")
    if not moves(x):
        raise DefinitionError(
            f"of() of {canonical(x)} never changes: it needs a quote, trade, bar or input of {symbol}"
        )
    return call("of", (x,), (symbol,), {})


def _known() -> list[str]:
    return [*OPERATORS, *builtin_macros(), "bar", *CLOCK_BARS]


_NAMESPACES = {name.split(".")[0] for name in OPERATORS if "." in name}


@dataclass(frozen=True, slots=True)
class _Namespace:
    """``f.talib.rsi``, ``f.qlib.corr``: operators that follow another library's convention."""

    name: str

    def __getattr__(self, rest: str) -> Any:
        return getattr(f, f"{self.name}.{rest}")


@dataclass(frozen=True, slots=True)
class _Build:
    name: str

    def __call__(self, *args: object, **named: object) -> Expr:
        if self.name in builtin_macros():
            return _from_macro(builtin_macros()[self.name], args, named)
        if self.name in POINTWISE_NAME and len(args) == 2 and not named and isinstance(args[1], (Expr, float)):
            return _Build(POINTWISE_NAME[self.name])(*args)
        n = OPERATORS[self.name].operands
        operands = tuple(lift(a) for a in args[:n])  # type: ignore[arg-type]
        return call(self.name, operands, args[n:], named)


f = _Builders()


def _from_macro(macro: Macro, args: tuple[object, ...], named: dict[str, object]) -> Expr:
    """A macro called from Python: its call as text, so that there is one way to expand it."""

    def text(value: object) -> str:
        if isinstance(value, str):
            return f'"{value}"'
        return str(value)

    parts = [text(a) for a in args] + [f"{k}={text(v)}" for k, v in named.items()]
    return parse(f"{macro.name}({', '.join(parts)})")


def parse(text: str, macros: Mapping[str, Macro] | None = None) -> Expr:
    """Read an expression. DefinitionError says what is wrong and marks the place with a caret.

    ``macros``: composite features beside the built-in ones, see :mod:`alpha.features.macros`.
    """
    if len(text) > MAX_TEXT:
        raise DefinitionError(f"an expression of {len(text)} characters is too long (limit {MAX_TEXT})")
    text = text.strip()
    if not text:
        raise DefinitionError("not an expression: there is nothing in it")
    try:
        tree = _python(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        why = exc.msg if isinstance(exc, SyntaxError) else str(exc)
        if "\n" in text:
            why += "; what goes on in the next line stands in brackets"
        line, column = getattr(exc, "lineno", None) or 1, getattr(exc, "offset", None) or 1
        raise DefinitionError(_marked(f"not an expression: {why}", text, line, column - 1)) from None
    return _Reader(text, {**builtin_macros(), **(macros or {})}).read(tree, 0)


def _python(text: str) -> ast.expr:
    """The syntax tree, never evaluated; what Python would warn of is an error of ours, or none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text, mode="eval").body


def parse_bar(text: str) -> BarRef:
    """Read ``bar("1m", "trade")`` without a field: the form of a bar trigger."""
    try:
        tree = _python(text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise DefinitionError(f'{text!r} is not a bar: write bar("1m", "trade") or tick_bar(100)') from None
    return _Reader(text.strip(), {}).bar_ref(tree)


def _tree(text: str, macro: Macro) -> ast.expr:
    try:
        return _python(text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        why = exc.msg if isinstance(exc, SyntaxError) else exc
        raise DefinitionError(f"macro {macro.name!r} is no expression: {why}") from None


def _marked(message: str, text: str, line: int, column: int) -> str:
    lines = text.split("\n")
    return f"{message}\n  {lines[min(line, len(lines)) - 1]}\n  {' ' * max(column, 0)}^"


def _number(value: int | float) -> float:
    """As float64, infinite where a whole number is too large for it."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


class _Reader:
    """Turns Python's syntax tree (never evaluated) into an Expr, pointing errors at their column."""

    def __init__(
        self,
        text: str,
        macros: Mapping[str, Macro],
        bound: Mapping[str, tuple[_Reader, ast.expr]] | None = None,
        within: tuple[str, ...] = (),
    ) -> None:
        self.text = text
        self.macros = macros
        self.bound = bound or {}  # inside a macro: each parameter's argument, and who can read it
        self.within = within  # macros that are being expanded

    def fail(self, node: ast.AST, message: str) -> DefinitionError:
        return DefinitionError(_marked(message, self.text, getattr(node, "lineno", 1), getattr(node, "col_offset", 0)))

    def read(self, node: ast.expr, depth: int) -> Expr:
        if depth > MAX_DEPTH:
            raise self.fail(node, f"expression nested deeper than {MAX_DEPTH}")
        match node:
            case ast.Constant(value=bool()):
                raise self.fail(node, f"{node.value!r} is not a number")
            case ast.Constant(value=int() | float() as value):
                return self.constant(node, _number(value))
            case ast.Name(id=name) if name in self.bound:
                reader, argument = self.bound[name]
                return reader.read(argument, depth + 1)
            case ast.Name(id=name):
                op = OPERATORS.get(name)
                if op is None or op.kind != "source" or op.params:
                    sources = ", ".join(n for n, o in OPERATORS.items() if o.kind == "source" and not o.params)
                    raise self.fail(node, f"unknown name {name!r}; sources are: {sources}")
                return Expr(name)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)) if not isinstance(
                value, bool
            ):
                return self.constant(node, -_number(value))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return Expr("neg", (self.read(operand, depth + 1),))
            case ast.BinOp(left=left, op=op_node, right=right) if type(op_node) in _AST_BINARY:
                name = _AST_BINARY[type(op_node)]
                return Expr(name, (self.read(left, depth + 1), self.read(right, depth + 1)))
            case ast.Attribute(value=inner, attr=field):
                ref = self.bar_ref(inner)
                return self.guarded(node, lambda: bar_field(ref.interval, ref.source, field))
            case ast.Call(func=ast.Name(id=name)) if name == "bar" or name in CLOCK_BARS:
                raise self.fail(node, f"take a field of the bar: one of {', '.join(BAR_FIELDS)}")
            case ast.Call(func=ast.Name(id="of"), args=[symbol, operand], keywords=[]):
                x, label = self.read(operand, depth + 1), self.literal(symbol)
                return self.guarded(node, lambda: _of(x, label))
            case ast.Call(func=ast.Name(id="of")):
                raise self.fail(node, 'write of("ES", x): a symbol and an expression of that instrument')
            case ast.Call(func=ast.Name(id=name)):
                return self.call(node, name, depth)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=space), attr=name)) if space in _NAMESPACES:
                return self.call(node, f"{space}.{name}", depth)
            case ast.Compare(left=left, ops=[op_node], comparators=[right]) if type(op_node) in _AST_COMPARE:
                name = _AST_COMPARE[type(op_node)]
                return Expr(name, (self.read(left, depth + 1), self.read(right, depth + 1)))
            case ast.Compare():
                raise self.fail(node, "compare two things at a time: where(a < b, where(b < c, 1, 0), 0)")
        raise self.fail(node, "this has no meaning in a feature expression")

    def guarded(self, node: ast.AST, build: Callable[[], T]) -> T:
        try:
            return build()
        except DefinitionError as exc:
            raise self.fail(node, str(exc)) from None

    def constant(self, node: ast.expr, value: float) -> Expr:
        if not math.isfinite(value):
            raise self.fail(node, "a constant must be finite")
        return lift(value)

    def literal(self, node: ast.expr) -> object:
        match node:
            case ast.Constant(value=str() as text):
                return text
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return value if abs(value) < 2**63 else _number(value)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value if abs(value) < 2**63 else -_number(value)
            case ast.Name(id=name) if name in self.bound:
                reader, argument = self.bound[name]
                return reader.literal(argument)
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() as op, right=right) if self.bound:
                a, b = self.literal(left), self.literal(right)
                if isinstance(a, (int, float)) and isinstance(b, (int, float)):
                    return a + b if isinstance(op, ast.Add) else a - b if isinstance(op, ast.Sub) else a * b
        raise self.fail(node, "a parameter is a number or a duration in quotes")

    def call(self, node: ast.Call, name: str, depth: int) -> Expr:
        if name in self.macros:
            return self.expand(node, self.macros[name], depth)
        op = OPERATORS.get(name)
        if op is not None and op.kind == "source" and f"{name}_at" in OPERATORS and not node.keywords:
            level = tuple(self.literal(a) for a in node.args)
            return self.guarded(node, lambda: call(name, (), level, {}))
        if op is None or (op.kind == "source" and op.group != "input"):
            what = "is not a function" if op else "is unknown"
            raise self.fail(node, f"operator {name!r} {what}{nearest(name, _known())}")
        if name in POINTWISE_NAME and len(node.args) == 2 and not node.keywords and not self.is_window(node.args[1]):
            name = POINTWISE_NAME[name]
            op = OPERATORS[name]
        n = op.operands
        operands = tuple(self.read(a, depth + 1) for a in node.args[:n])
        positional = tuple(self.literal(a) for a in node.args[n:])
        named: dict[str, object] = {}
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg in named:
                raise self.fail(node, "parameters are written name=value, each once")
            named[keyword.arg] = self.literal(keyword.value)
        return self.guarded(node, lambda: call(name, operands, positional, named))

    def expand(self, node: ast.Call, macro: Macro, depth: int) -> Expr:
        """The macro's own expression with this call's arguments in the places of its parameters."""
        within = (*self.within, macro.name)
        if macro.name in self.within:
            raise self.fail(node, f"macros go in a circle: {' -> '.join(within)}")
        names = [p for p, _ in macro.params]
        if len(node.args) > len(names):
            raise self.fail(node, f"{macro.signature()} takes at most {len(names)} arguments, not {len(node.args)}")
        bound = {p: (self, a) for p, a in zip(names, node.args, strict=False)}
        for keyword in node.keywords:
            if keyword.arg not in names or keyword.arg in bound:
                raise self.fail(node, f"{macro.signature()} has no free parameter {keyword.arg!r}")
            bound[keyword.arg] = (self, keyword.value)
        own = _Reader(macro.expr, self.macros, bound, within)
        for p, default in macro.params:
            if p not in bound:
                if default is None:
                    raise self.fail(node, f"{macro.signature()} needs its parameter {p!r}")
                bound[p] = (_Reader(default, self.macros, {}, within), _tree(default, macro))
        try:
            return own.read(_tree(macro.expr, macro), depth + 1)
        except DefinitionError as exc:
            raise self.fail(node, f"in {macro.signature()}: {exc}") from None

    def is_window(self, node: ast.expr) -> bool:
        """A whole number or a duration: ``min(x, 20)`` is rolling, ``min(x, 0.0)`` and ``min(x, y)`` are pointwise."""
        if isinstance(node, ast.Name) and node.id in self.bound:
            reader, argument = self.bound[node.id]
            return reader.is_window(argument)
        return (isinstance(node, ast.Constant) and isinstance(node.value, (int, str))) or (
            isinstance(node, ast.UnaryOp)
            and isinstance(node.operand, ast.Constant)
            and isinstance(node.operand.value, int)
        )

    def bar_ref(self, node: ast.expr) -> BarRef:
        match node:
            case ast.Name(id=name) if name in self.bound:
                reader, argument = self.bound[name]
                return reader.bar_ref(argument)
            case ast.Call(func=ast.Name(id="bar"), args=args, keywords=keywords):
                values = [self.literal(a) for a in args] + [
                    self.literal(k.value) for k in keywords if k.arg == "source"
                ]
                texts = [v for v in values if isinstance(v, str)]
                if 1 <= len(values) <= 2 and len(texts) == len(values):
                    return self.guarded(node, lambda: bar(*texts))
            case ast.Call(func=ast.Name(id=name), args=[size], keywords=[]) if name in CLOCK_BARS:
                return self.guarded(node, lambda: BarRef(bar_clock(name, self.literal(size)), "trade"))
        raise self.fail(
            node, 'only a bar has fields: bar("1m", "trade"), tick_bar(100), volume_bar(5000), dollar_bar(1e6)'
        )
