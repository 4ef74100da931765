"""Random expressions from the operator table: whatever the table gains is generated at once. Units in order."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from alpha.errors import DefinitionError
from alpha.features.expression import call
from alpha.features.feature_set import FeatureSet
from alpha.features.language import BarClock, Expr, canonical, f, moves, walk
from alpha.features.operators import CLOCK_BARS, FEED_FIELDS, OPERATORS, Operator, Param
from alpha.features.units import unit_of

COUNTS = (1, 2, 3, 7, 20)
DURATIONS = ("1ns", "50ms", "300ms", "1s", "7s", "7s", "1m")
NUMBERS = (-1.0, -0.5, 0.0, 0.5, 1.0, 100.0, 60_000.0)
VOLUMES = (1e-9, 0.01, 0.37, 2.0, 2.0, 100.0)
SYMBOLS = ("A", "B")
SERIES = ("funding", "basis", "vix", "Übung")


def _fields(bar: object, fields: tuple[str, ...]) -> tuple[Expr, ...]:
    return tuple(getattr(bar, name) for name in fields)


_TIMED = [f.bar(w, s) for w in ("1s", "300ms") for s in ("trade", "mid")]
# What bars there are, by the name of the feature that a twin must have
BARS: dict[str, tuple[Expr, ...]] = {
    "bar": tuple(e for bar in (*_TIMED, f.bar("1s", "feed")) for e in _fields(bar, FEED_FIELDS)),
    "bar.vwap": tuple(bar.vwap for bar in _TIMED),
    "bar.count": tuple(bar.count for bar in _TIMED),
    **{
        name: tuple(e for size in sizes for e in _fields(getattr(f, name)(size), (*FEED_FIELDS, "vwap", "count")))
        for name, sizes in {
            "tick_bar": (1, 3, 17),
            "volume_bar": (1e-9, 0.37, 2.0, 100.0),
            "dollar_bar": (1e-6, 25.0, 1e4, 1e6),
        }.items()
    },
}
ALL = frozenset({*OPERATORS, *BARS})
SIZED = frozenset({"vpin", "volume_bar", "dollar_bar"})  # must know an instrument's lot and tick
HERE = ALL - {"of"}  # what an instrument can say about itself

TRIGGERS = (
    "quote",
    "trade",
    "last",
    'bar("1s", "feed")',
    'bar("1s", "trade")',
    'bar("300ms", "mid")',
    'every("100ms")',
    'every("1s")',
    "tick_bar(3)",
)
SIZED_TRIGGERS = ("volume_bar(0.37)", "dollar_bar(25)")


def expression(
    rng: np.random.Generator,
    depth: int = 3,
    operators: Collection[str] = ALL,
    root: str | None = None,
    symbols: tuple[str, ...] = SYMBOLS,
) -> str:
    """A random expression of these operators, at most ``depth`` of them deep.

    ``root``: the operator on top. Below the top, ``exp`` gets an operand that keeps squares of its result finite.
    ``symbols``: instruments that ``of`` may name.
    """
    return canonical(_Maker(rng, operators, symbols).tree(depth, root))


def operators_of(compute: Callable[[FeatureSet], object]) -> frozenset[str]:
    """Operators and bars that a twin has: ``compute`` takes the example of each."""
    known = set()
    examples = {op.name: op.example for op in OPERATORS.values()} | {name: str(e[-1]) for name, e in BARS.items()}
    for name, example in examples.items():
        try:
            compute(FeatureSet.from_dict({"features": {"x": example}}))
        except DefinitionError:
            continue
        known.add(name)
    return frozenset(known)


def needs_sizes(fs: FeatureSet) -> bool:
    """Whether every instrument's lot and tick must be known."""
    clocks = [fs.trigger.bar.interval] if fs.trigger.bar is not None else []
    for e in fs.features.values():
        for node in walk(e):
            if node.op == "vpin":
                return True
            clocks += [p for p in node.params if isinstance(p, BarClock)]
    return any(isinstance(c, BarClock) and c.kind in SIZED for c in clocks)


@dataclass(frozen=True)
class _Maker:
    rng: np.random.Generator
    operators: Collection[str]
    symbols: tuple[str, ...]

    def tree(self, depth: int, root: str | None = None) -> Expr:
        if root is None and (depth == 0 or self.rng.random() < 0.12):
            return self.leaf()
        op = OPERATORS[root or str(self.rng.choice([n for n in self.deep if n in self.operators]))]
        if op.kind == "source":
            return self.call(op, ())
        if op.name == "of":
            return self.call(op, (self.elsewhere(depth - 1),))
        args = [self.tree(depth - 1) for _ in range(min(op.operands, 1))]
        while len(args) < op.operands:  # only one operand is deep, so that the tree stays small
            below = min(depth - 1, 1)
            first = next((args[i] for i in op.alike if i < len(args)), None) if len(args) in op.alike else None
            args.append(self.tree(below) if first is None else self.like(first, below))
        if op.kind == "pointwise" and op.operands > 1 and self.rng.random() < 0.15:
            at = -1 if op.operands > 2 or self.rng.random() < 0.6 else 0
            args[at] = Expr("const", (), (float(self.rng.choice(NUMBERS)),))
        if op.kind == "stateful" and args and not any(moves(a) for a in args):
            args[0] = self.moving_leaf()
        if op.name == "exp" and root is None:
            args = [Expr("clip", (args[0],), (-20.0, 20.0))] if "clip" in self.operators else [f.imbalance]
        return self.call(op, tuple(args))

    @property
    def deep(self) -> list[str]:
        return [n for n, op in OPERATORS.items() if op.kind != "source"]

    def elsewhere(self, depth: int) -> Expr:
        """Something that ``of`` may look at."""
        other = _Maker(self.rng, set(self.operators) - {"of"}, self.symbols)
        e = other.tree(max(depth, 0))
        return e if moves(e) else other.moving_leaf()

    def moving_leaf(self) -> Expr:
        while not moves(e := self.leaf()):
            pass
        return e

    def leaf(self) -> Expr:
        bars = [name for name in BARS if name in self.operators]
        if bars and self.rng.random() < 0.25:
            several = BARS[str(self.rng.choice(bars))]
            return several[self.rng.integers(0, len(several))]
        sources = [op for op in OPERATORS.values() if op.kind == "source" and op.name in self.operators]
        return self.call(sources[self.rng.integers(0, len(sources))], ())

    def like(self, x: Expr, depth: int) -> Expr:
        """Another expression of the unit of ``x``; at worst ``x`` a little earlier, or as it is."""
        unit = unit_of(x)
        for _ in range(8):
            y = self.tree(depth)
            if unit is None or unit_of(y) in (None, unit):
                return y
        return self.call(OPERATORS["lag"], (x,)) if moves(x) else x

    def call(self, op: Operator, args: tuple[Expr, ...]) -> Expr:
        """With random parameters; again if they do not go together."""
        if not args and not op.params:
            return Expr(op.name)
        for _ in range(200):
            one = str(self.rng.choice(op.one_of)) if op.one_of else None
            named = {
                p.name: self.value(op, p)
                for p in op.params
                if p.required or p.name == one or (p.name not in op.one_of and self.rng.random() < 0.4)
            }
            try:
                return call(op.name, args, (), named)
            except DefinitionError as exc:
                problem = exc
        raise problem

    def value(self, op: Operator, p: Param) -> object:
        rng = self.rng
        if p.type == "choice":
            return str(rng.choice(p.choices))
        if p.type == "name":
            return str(rng.choice(self.symbols if p.name == "symbol" else SERIES))
        if p.type == "number":
            low, high = p.minimum, p.maximum
            if p.name == "volume":
                return float(rng.choice(VOLUMES))
            if low is None or high is None:
                return float(rng.choice(NUMBERS))
            return float(rng.choice([low, high, 0.5 * (low + high), rng.uniform(low, high)]))
        if p.type == "duration" or (p.type == "window" and rng.random() < 0.45):
            return str(rng.choice(DURATIONS))
        low = 1 if p.minimum is None else int(p.minimum)
        if not p.required:  # small: it stands beside a window
            return low + int(rng.integers(0, 3))
        high = COUNTS[-1] if p.maximum is None else int(p.maximum)
        return int(rng.choice([n for n in COUNTS if low <= n <= high]))


assert set(CLOCK_BARS) <= ALL  # a new clock must be generated too
