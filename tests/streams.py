"""Seeded random streams and expressions for tests.

Streams: gaps, ties, bursts, halts, empty sides, timers, several instruments. Expressions are made from the operator
table: whatever the table gains is generated at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from alpha.errors import DefinitionError
from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, Flag, Kind, Status
from alpha.features.expression import call
from alpha.features.feature_set import FeatureSet
from alpha.features.language import Expr, canonical, f
from alpha.features.operators import OPERATORS, Operator, Param
from alpha.features.units import unit_of

T0 = 1_700_000_000 * 10**9


def stream(seed: int, n: int = 600, instruments: int = 2, faults: bool = False) -> np.ndarray:
    """``n`` events of a random tick stream. ``faults`` adds what a guard must reject."""
    rng = np.random.default_rng(seed)
    e = np.zeros(n, EVENT_DTYPE)
    steps = rng.choice(
        [0, 1, 10**6, 10**7, 10**8, 3 * 10**8, 10**9, 20 * 10**9], n, p=[0.2, 0.05, 0.2, 0.2, 0.2, 0.1, 0.04, 0.01]
    )
    e["ts_event_ns"] = T0 + np.cumsum(steps * rng.integers(1, 4, n))
    if rng.random() < 0.5:
        e["ts_recv_ns"] = e["ts_event_ns"]
        e["ts_event_ns"] += rng.integers(-(10**6), 10**6, n)
    e["instrument_id"] = rng.integers(0, instruments, n)
    weights = np.array([0.47, 0.24, 0.08, 0.11, 0.02, 0.06, 0.02])
    e["kind"] = rng.choice([1, 2, 3, 4, 5, 6, 8], n, p=weights)
    e["flags"] = rng.choice([0, 1], n, p=[0.3, 0.7])
    tick = float(rng.choice([0.01, 0.5, 1e-5, 1.0]))
    base = float(rng.choice([1.0, 100.0, 60_000.0, 1e5]))
    path = np.cumsum(rng.integers(-2, 3, n) * (rng.random(n) < rng.choice([0.05, 0.5, 1.0]))) * tick
    mid = np.round((base + np.abs(path - path.min(initial=0.0))) / tick) * tick
    v = e["v"]
    for kind in Kind:
        at = e["kind"] == kind
        k, m = int(at.sum()), mid[at]
        if kind == Kind.QUOTE:
            v[at, 0], v[at, 1] = m, m + tick * rng.integers(0, 4, k)
            v[at, 2:4] = rng.integers(0, 4, (k, 2)) * rng.choice([1.0, 0.001])
        elif kind == Kind.DEPTH:
            v[at, 0], v[at, 1] = m - tick, m + 5 * tick
            v[at, 0] = np.maximum(v[at, 0], tick)
            v[at, 2:4] = 1.0
        elif kind == Kind.TRADE:
            v[at, 0], v[at, 1], v[at, 2] = m, rng.integers(0, 50, k) * 0.01, rng.integers(-1, 2, k)
        elif kind == Kind.BAR:
            v[at, 0] = v[at, 3] = m
            v[at, 1], v[at, 2] = m + tick, np.maximum(m - tick, tick / 2)
            v[at, 4] = rng.integers(0, 100, k)
        elif kind == Kind.STATUS:
            v[at, 0] = rng.integers(1, 6, k)
    depth = e["kind"] == Kind.DEPTH
    e["level"][depth] = rng.integers(1, 4, int(depth.sum()))
    for side in (2, 3):
        v[depth & (rng.random(n) < 0.1), side] = 0.0
    e["flags"][rng.random(n) < 0.005] |= np.uint16(Flag.GAP)
    market = (e["kind"] == Kind.QUOTE) | (e["kind"] == Kind.TRADE) | (e["kind"] == Kind.BAR)
    if rng.random() < 0.3:
        e["flags"][market & (rng.random(n) < 0.2)] |= np.uint16(Flag.NO_QTY)
    v[(e["flags"] & Flag.NO_QTY) != 0, 4] = 0.0
    to_all = ((e["kind"] == Kind.TIMER) | (e["kind"] == Kind.STATUS)) & (rng.random(n) < 0.5)
    e["instrument_id"][to_all] = ALL_INSTRUMENTS
    lost = (e["kind"] == Kind.STATUS) & (rng.random(n) < 0.2)
    v[lost, 0] = Status.LOST
    _stretches(rng, e)
    if faults:
        bad = rng.random(n) < 0.05
        what = rng.integers(0, 8, n)
        v[bad & (what == 0), 0] = np.nan
        v[bad & (what == 1), 0] = -1.0
        e["ts_event_ns"][bad & (what == 2)] -= 10**12
        e["instrument_id"][bad & (what == 3)] = 999
        e["kind"][bad & (what == 4)] = 77
        v[bad & (what == 5), 1] = np.inf
        v[bad & (what == 6), 2] = np.nan
        v[bad & (what == 7), 3] = -1.0
    return e


def _stretches(rng: np.random.Generator, e: np.ndarray) -> None:
    """Bursts of one timestamp, quotes with an empty side or two, halts with ten minutes of silence."""
    n = len(e)
    quotes = e["kind"] == Kind.QUOTE
    for what in rng.choice(["burst", "bid", "ask", "both", "halt"], int(rng.integers(0, 5))):
        length = int(rng.integers(2, 10 + n // 8))
        first = int(rng.integers(0, n + 1))
        at = slice(first, min(first + length, n))
        if at.stop - at.start < 2:
            continue
        sides = {"bid": slice(2, 3), "ask": slice(3, 4), "both": slice(2, 4)}
        if what == "burst":
            for clock in ("ts_event_ns", "ts_recv_ns"):
                e[clock][at] = e[clock][at.start]
        elif what in sides:
            e["v"][at, sides[what]][quotes[at]] = 0.0
        else:
            e["kind"][at], e["v"][at], e["level"][at] = Kind.TIMER, 0.0, 0
            e["kind"][[at.start, at.stop - 1]] = Kind.STATUS
            e["v"][[at.start, at.stop - 1], 0] = Status.HALT, Status.RESUME
            for clock in ("ts_event_ns", "ts_recv_ns"):
                e[clock][at.stop - 1 :] += np.int64(600 * 10**9) * (e[clock][-1] != 0)
            quotes = e["kind"] == Kind.QUOTE


COUNTS = (1, 2, 3, 7, 20)
DURATIONS = ("1ns", "50ms", "300ms", "1s", "7s", "7s", "1m")
NUMBERS = (-1.0, -0.5, 0.0, 0.5, 1.0, 100.0, 60_000.0)
BARS = tuple(
    f.bar(w, s).__getattr__(field)
    for w in ("1s", "300ms")
    for s in ("trade", "mid", "feed")
    for field in ("open", "high", "low", "close", "volume")
)
ALL = frozenset(OPERATORS)


def expression(
    rng: np.random.Generator, depth: int = 3, operators: Collection[str] = ALL, root: str | None = None
) -> str:
    """A random expression of these operators, at most ``depth`` of them deep, its units in order.

    ``root``: the operator on top. Below the top, ``exp`` gets an operand that keeps squares of its result finite.
    """
    return canonical(_tree(rng, depth, operators, root))


def operators_of(compute: Callable[[FeatureSet], object]) -> frozenset[str]:
    """Operators that a twin has: ``compute`` takes the example of the table."""
    known = set()
    for op in OPERATORS.values():
        try:
            compute(FeatureSet.from_dict({"features": {"x": op.example}}))
        except DefinitionError:
            continue
        known.add(op.name)
    return frozenset(known)


def _tree(rng: np.random.Generator, depth: int, operators: Collection[str], root: str | None = None) -> Expr:
    if root is None and (depth == 0 or rng.random() < 0.12):
        return _leaf(rng, operators)
    names = [n for n, op in OPERATORS.items() if n in operators and op.kind != "source"]
    op = OPERATORS[root or str(rng.choice(names))]
    if op.kind == "source":
        return _call(rng, op, ())
    args = [_tree(rng, depth - 1, operators) for _ in range(min(op.operands, 1))]
    while len(args) < op.operands:  # only one operand is deep, so that the tree stays small
        below = min(depth - 1, 1)
        first = next((args[i] for i in op.alike if i < len(args)), None) if len(args) in op.alike else None
        args.append(_tree(rng, below, operators) if first is None else _like(rng, first, below, operators))
    if op.kind == "pointwise" and op.operands > 1 and rng.random() < 0.15:
        at = -1 if op.operands > 2 or rng.random() < 0.6 else 0
        args[at] = Expr("const", (), (float(rng.choice(NUMBERS)),))
    if op.name == "exp" and root is None:
        args = [Expr("clip", (args[0],), (-20.0, 20.0))] if "clip" in operators else [f.imbalance]
    return _call(rng, op, tuple(args))


def _leaf(rng: np.random.Generator, operators: Collection[str]) -> Expr:
    if rng.random() < 0.2:
        return BARS[rng.integers(0, len(BARS))]
    sources = [op for op in OPERATORS.values() if op.kind == "source" and op.name in operators]
    return _call(rng, sources[rng.integers(0, len(sources))], ())


def _like(rng: np.random.Generator, x: Expr, depth: int, operators: Collection[str]) -> Expr:
    """Another expression of the unit of ``x``; at worst ``x`` a little earlier."""
    unit = unit_of(x)
    for _ in range(8):
        y = _tree(rng, depth, operators)
        if unit is None or unit_of(y) in (None, unit):
            return y
    return _call(rng, OPERATORS["lag"], (x,))


def _call(rng: np.random.Generator, op: Operator, args: tuple[Expr, ...]) -> Expr:
    """With random parameters; again if they do not go together."""
    if not args and not op.params:
        return Expr(op.name)
    for _ in range(200):
        one = str(rng.choice(op.one_of)) if op.one_of else None
        named = {
            p.name: _value(rng, p)
            for p in op.params
            if p.required or p.name == one or (p.name not in op.one_of and rng.random() < 0.4)
        }
        try:
            return call(op.name, args, (), named)
        except DefinitionError as exc:
            problem = exc
    raise problem


def _value(rng: np.random.Generator, p: Param) -> object:
    if p.type == "choice":
        return str(rng.choice(p.choices))
    if p.type == "number":
        low, high = p.minimum, p.maximum
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


TRIGGERS = (
    "quote",
    "trade",
    "last",
    'bar("1m", "feed")',
    'bar("1s", "trade")',
    'bar("300ms", "mid")',
    'every("100ms")',
    'every("1s")',
)


def quotes(mids: np.ndarray, step_ns: np.ndarray) -> np.ndarray:
    """QUOTE events without a spread."""
    events = np.zeros(len(mids), EVENT_DTYPE)
    events["ts_event_ns"] = T0 + np.cumsum(step_ns)
    events["kind"], events["flags"] = Kind.QUOTE, Flag.LAST
    events["v"][:, 0] = events["v"][:, 1] = mids
    events["v"][:, 2:4] = 1.0
    return events


# Numbers that sums are bad at
SHAPES = {
    "offset": lambda rng, n: 1e5 + 1e-3 * rng.normal(size=n),
    "offset, few ulp": lambda rng, n: 1e5 + np.round(2 * rng.normal(size=n)) * 2.0**-36,
    "returns": lambda rng, n: 1e-4 * rng.normal(size=n),
    "ticks": lambda rng, n: 60_000 + 0.01 * np.cumsum(rng.integers(-2, 3, n)),
    "flat then moving": lambda rng, n: 0.1 + 0.01 * np.cumsum(rng.random(n) < 0.05),
    "levels": lambda rng, n: 10.0 ** rng.integers(-12, 13, n // 25 + 1).repeat(25)[:n] + 1e-3 * rng.normal(size=n),
    "spikes": lambda rng, n: np.where(rng.random(n) < 0.02, 10.0 ** rng.integers(5, 60, n), 1e-3 * rng.normal(size=n)),
    "both signs, all sizes": lambda rng, n: rng.choice([-1.0, 1.0], n) * 10.0 ** rng.uniform(-30, 30, n),
}
