"""The oracle of both feature twins: numerics.md read aloud, one event after another, in plain Python.

Slow on purpose. Every window is looked up in the full history and summed with whole numbers, so nothing
here can drift, cancel or be optimised wrongly. It shares no code with either twin. This file is the machine:
events, sources, updates, readiness, breaks. What an operator computes is in ``reference_operators.py`` and
``reference_windows.py``, sessions are in ``reference_sessions.py``, bars and buckets in ``reference_trades.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from reference_math import NAN, exp, exp2n, log
from reference_operators import LAGGED, POINTWISE, RECURSIVE, needed
from reference_sessions import TIMES, Session, opened
from reference_sources import Book, Sources
from reference_trades import LIMIT, Bar, Buckets, ClockBars, known, size_of_bars, whole_lots
from reference_windows import WINDOWED, Window, samples

from alpha.errors import DefinitionError, InstrumentError
from alpha.events import ALL_INSTRUMENTS, Flag, Kind, Status, stream_time
from alpha.features.feature_set import FeatureSet
from alpha.features.language import BarClock, Duration, Expr
from alpha.features.operators import OPERATORS

__all__ = ["Listing", "Row", "exp", "exp2n", "log", "reference_rows"]


@dataclass(frozen=True)
class Row:
    """One feature row: the event that made it, when it stands, and each feature in float64."""

    index: int
    instrument: int
    ts_ns: int
    values: tuple[float, ...]
    ready: tuple[bool, ...]
    scale: tuple[float, ...]


@dataclass(frozen=True)
class Listing:
    """What the oracle knows about an instrument; NaN: unknown."""

    lot: float = NAN
    tick: float = NAN
    symbol: str = ""
    sessions: Sequence[Session] = ()


def reference_rows(
    fs: FeatureSet,
    events: np.ndarray,
    listings: Sequence[Listing] | Sequence[float],
    accepted: Sequence[bool] | None = None,
) -> list[Row]:
    """Rows of ``fs`` over guarded events; one entry of ``listings`` per instrument, a number is its lot size."""
    times = [int(t) for t in stream_time(events, fs.stream.clock)]
    known_as = [x if isinstance(x, Listing) else Listing(lot=x) for x in listings]
    machines = [Machine(fs, i, listing) for i, listing in enumerate(known_as)]
    by_symbol = {m.listing.symbol: m for m in machines}
    for machine in machines:
        machine.peers = by_symbol
    if unknown := set(fs.symbols) - by_symbol.keys():
        raise DefinitionError(f"no instrument is called {min(unknown)}")
    rows: list[Row] = []
    for index, event in enumerate(events):
        kind = int(event["kind"])
        if kind == Kind.CONTROL or (accepted is not None and not accepted[index]):
            continue
        whom = int(event["instrument_id"])
        if whom != ALL_INSTRUMENTS:
            rows += machines[whom].event(index, times[index], event)
        elif kind in (Kind.TIMER, Kind.STATUS, Kind.INPUT):
            for machine in machines:
                late = machine.previous is not None and times[index] < machine.previous
                if kind != Kind.TIMER or not late:  # else it happens at the instrument's own time
                    rows += machine.event(index, machine.previous if late else times[index], event)
    return rows


@dataclass
class Node:
    """State of one expression: its present value and whether this pass moved it."""

    value: float = NAN
    passes: bool = False
    ready: bool = False
    history: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)  # all updates: time, operands
    ready_times: list[int] = field(default_factory=list)  # of updates with ready operands since the gap
    computed: tuple[int, int] | None = None  # updates seen, and how many the window held, when ``found`` was computed
    found: float = NAN
    newest: tuple[int, float] | None = None  # of an input: its last update


class Machine(Sources):
    """One instrument."""

    def __init__(self, fs: FeatureSet, instrument: int, listing: Listing) -> None:
        self.fs = fs
        self.instrument = instrument
        self.listing = listing
        self.inputs = fs.inputs
        self.lot, self.tick_size = known(listing.lot), known(listing.tick)
        self.peers: dict[str, Machine] = {}
        self.nodes: dict[Expr, Node] = {}
        for e in fs.features.values():
            self._collect(e)
        mine = [e for e in self.nodes if e.op == "of" and e.params[0] == listing.symbol]
        self.shown = {e.args[0]: Node() for e in mine}  # as everybody sees them (rule 51)
        specs = {(e.params[0], e.params[1]) for e in self.nodes if e.op == "bar"}
        if fs.trigger.bar is not None:
            specs.add((fs.trigger.bar.interval, fs.trigger.bar.source))
        self.open_bars: dict[tuple[Any, Any], Bar | None] = {
            s: None for s in specs if s[1] != "feed" and isinstance(s[0], Duration)
        }
        self.clock_bars = {s[0]: self._bars_by(s[0]) for s in specs if isinstance(s[0], BarClock)}
        self.buckets = {e: self._buckets_of(e) for e in self.nodes if e.op == "vpin"}
        self.books: dict[str, Book] = {}
        self.mid = NAN
        self.last_px = NAN
        self.tick = 0.0
        self.previous: int | None = None
        self.largest = [0.0] * len(fs.features)

    def _bars_by(self, clock: BarClock) -> ClockBars:
        self._must_know(str(clock), lot=clock.kind != "tick_bar", tick=clock.kind == "dollar_bar")
        return ClockBars(clock.kind, self._measured(size_of_bars(clock.kind, clock.size, self.tick_size, self.lot)))

    def _buckets_of(self, e: Expr) -> Buckets:
        self._must_know(str(e), lot=True)
        p = _named(e)
        return Buckets(self._measured(max(1, whole_lots(p["volume"], self.lot))), p["n"])

    def _must_know(self, what: str, lot: bool, tick: bool = False) -> None:
        if (lot and not self.lot) or (tick and not self.tick_size):
            raise InstrumentError(f"{what} needs the lot size or tick size of {self.listing.symbol}")

    def _measured(self, size: int) -> int:
        if size >= LIMIT:
            raise InstrumentError(f"{size} lots are more than anybody trades")
        return size

    def _collect(self, e: Expr) -> None:
        for operand in e.args if e.op != "of" or e.params[0] == self.listing.symbol else ():
            self._collect(operand)
        self.nodes.setdefault(e, Node())

    def event(self, index: int, t: int, event: Any) -> list[Row]:
        """Everything one accepted event does, in the order of numerics.md."""
        kind, flags, v = int(event["kind"]), int(event["flags"]), [float(x) for x in event["v"]]
        trigger, rows = self.fs.trigger, []
        if flags & Flag.GAP or (kind == Kind.STATUS and v[0] == Status.LOST):
            self.gap()
        if trigger.every is not None and self.previous is not None:
            d = trigger.every.ns
            boundary = (self.previous // d + 1) * d
            if t >= boundary:
                self._pass(boundary, {})
                rows.append(self._row(index, boundary))
        if self.is_break(kind, v[0], t):
            self.reset()
        closed = [spec for spec, bar in self.open_bars.items() if bar and self.is_over(bar, spec[0].ns, t)]
        if closed:
            self._pass(t, self._close(closed))
            if trigger.bar is not None and (trigger.bar.interval, trigger.bar.source) in closed:
                rows.append(self._row(index, t))
        leaves = self.leaves(kind, flags, v, int(event["level"]))
        full = self.trades_bars(v[0], None if flags & Flag.NO_QTY else v[1]) if kind == Kind.TRADE else {}
        for clock, bar in full.items():
            leaves |= bar.leaves(f"trade.{clock}", self.tick_size, self.lot, True)
        self._pass(t, leaves)
        self._build(kind, flags, v, t)
        if self._triggers(kind, flags) or (trigger.bar is not None and trigger.bar.interval in full):
            rows.append(self._row(index, t))
        self.previous = t
        return rows

    def gap(self) -> None:
        """Readiness starts again; values, windows and the flow of updates stay."""
        for e, node in self.nodes.items():
            node.ready_times.clear()
            node.ready = always_ready(e) or (e.op == "input" and node.ready)
        for shown in self.shown.values():
            shown.ready = False
        for book in self.books.values():
            book.since_gap = 0
        for buckets in self.buckets.values():
            buckets.filled_since_gap = 0

    @property
    def at_close(self) -> bool:
        """Rows of bars are stamped with the close and belong to what it closed."""
        return self.fs.trigger.kind == "bar"

    def is_break(self, kind: int, code: float, t: int) -> bool:
        """Rule 49: a session opened since the previous event, or trading opens or resumes."""
        if self.fs.stream.session_break == "none":
            return False
        if kind == Kind.STATUS and code in (Status.OPEN, Status.RESUME):
            return True
        return self.previous is not None and self.opened(t) > self.opened(self.previous)

    def opened(self, t: int) -> int:
        return opened(self.listing.sessions, t, self.at_close)

    def reset(self) -> None:
        """What resets is again what it was before the first event."""
        for e in self.nodes:
            if resets(e):
                self.nodes[e] = Node()
                if e in self.buckets:
                    self.buckets[e] = self._buckets_of(e)
        for e in self.shown:
            if resets(e):
                self.shown[e] = Node()
        self.books.clear()
        self.mid = self.last_px = NAN
        self.tick = 0.0

    def _triggers(self, kind: int, flags: int) -> bool:
        match self.fs.trigger.kind:
            case "quote":
                return kind == Kind.QUOTE
            case "trade":
                return kind == Kind.TRADE
            case "last":
                return kind in (Kind.QUOTE, Kind.TRADE, Kind.DEPTH, Kind.BAR) and bool(flags & Flag.LAST)
            case "bar":
                assert self.fs.trigger.bar is not None
                return self.fs.trigger.bar.source == "feed" and kind == Kind.BAR
        return False

    def is_over(self, bar: Bar, interval: int, t: int) -> bool:
        return (bar.number + 1) * interval <= t

    def _build(self, kind: int, flags: int, v: list[float], t: int) -> None:
        """Bars under construction take the event in."""
        for (interval, source), bar in self.open_bars.items():
            if kind != (Kind.TRADE if source == "trade" else Kind.QUOTE):
                continue
            if bar is None:
                bar = self.open_bars[interval, source] = Bar(t // interval.ns)
            if source == "mid":
                bar.prices.append(0.5 * (v[0] + v[1]))
            else:
                bar.take(v[0], None if flags & Flag.NO_QTY else v[1], self.tick_size, self.lot)

    def _close(self, specs: list[tuple[Any, Any]]) -> dict[str, float]:
        leaves: dict[str, float] = {}
        for interval, source in specs:
            bar = self.open_bars[interval, source]
            assert bar is not None
            leaves |= bar.leaves(f"{source}.{interval}", self.tick_size, self.lot, source == "trade")
            self.open_bars[interval, source] = None
        return leaves

    def _pass(self, t: int, leaves: dict[str, float]) -> None:
        """Every node once, operands first."""
        for e, node in self.nodes.items():
            operands = [self.nodes[a] for a in e.args] if e.op != "of" else []
            if e.op == "const":
                node.value, node.ready = float(e.params[0]), True  # type: ignore[arg-type]
            elif e.op in TIMES:
                node.value, node.ready = TIMES[e.op](self.listing.sessions, t, self.at_close), True
            elif e.op == "of":
                node.value, node.ready = self.elsewhere(str(e.params[0]), e.args[0], t)
            elif not e.args:
                self._source(e, node, leaves, t)
            elif e.op in POINTWISE:
                node.value = POINTWISE[e.op](*(o.value for o in operands), **_named(e))
                node.passes = any(o.passes for o in operands)
                node.ready = all(o.ready for o in operands)
            else:
                self._stateful(e, node, operands, t)
            if e in self.shown and node.passes:
                self.show(e, node, t)
        for j, e in enumerate(self.fs.features.values()):  # rule 48
            for seen in e.args if e.args and e.op != "of" else (e,):
                x = abs(self.nodes[seen].value)
                self.largest[j] = max(self.largest[j], x if math.isfinite(x) else 0.0)

    def show(self, e: Expr, node: Node, t: int) -> None:
        """What others see of ``e`` from now on, whatever their time."""
        self.shown[e].value, self.shown[e].ready = node.value, node.ready

    def elsewhere(self, symbol: str, e: Expr, t: int) -> tuple[float, bool]:
        """``e`` as it last passed an update on over there, whatever the time."""
        shown = self.peers[symbol].shown[e]
        return shown.value, shown.ready

    def _source(self, e: Expr, node: Node, leaves: dict[str, float], t: int) -> None:
        name = e.op
        if e.op == "bar":
            interval, source, fieldname = e.params
            name = f"feed.{fieldname}" if source == "feed" else f"{source}.{interval}.{fieldname}"
        elif e.op == "vpin":
            name = str(e)
        elif e.params:
            name = f"{e.op}.{e.params[0]}"
        node.passes = name in leaves
        if node.passes:
            node.value = leaves[name]
            # the first order flow after a gap compares across it
            node.ready = name not in self.books or self.books[name].since_gap >= 2
            if e.op == "vpin":
                node.ready = self.buckets[e].filled_since_gap >= self.buckets[e].n
        if e.op == "input":
            self._aged(e, node, t)

    def _aged(self, e: Expr, node: Node, t: int) -> None:
        """An input too old to be read."""
        if node.passes:
            node.newest = t, node.value
        if node.newest is not None and (limit := _named(e)["max_age"]) is not None:
            node.value = NAN if self.too_old(t - node.newest[0], limit.ns) else node.newest[1]

    @staticmethod
    def too_old(age: int, limit: int) -> bool:
        return age > limit

    def _stateful(self, e: Expr, node: Node, operands: list[Node], t: int) -> None:
        values = tuple(o.value for o in operands)
        updated = self.comes(operands) and all(math.isfinite(x) for x in values)
        if updated:
            node.history.append((t, values))
            if all(o.ready for o in operands):
                node.ready_times.append(t)
        p = _named(e)
        spans = p.get("window") or p.get("half_life")
        timed = isinstance(spans, Duration)
        w = spans.ns if isinstance(spans, Duration) else 0
        inside = self.inside(node.history, t, w, p["window"]) if e.op in WINDOWED else []
        if timed:
            enough = e.op not in WINDOWED or len(inside) >= samples(e.op, p)
            warm = bool(node.history) and t - node.history[0][0] >= w and enough
            node.ready = bool(node.ready_times) and t - node.ready_times[0] >= w and enough
        else:
            n = needed(e.op, p)
            warm, node.ready = len(node.history) >= n, len(node.ready_times) >= n
        node.passes = updated and warm
        node.value = self._value(e, node, inside, t, w) if warm else NAN

    @staticmethod
    def comes(operands: list[Node]) -> bool:
        """Whether an operand passes an update."""
        return any(o.passes for o in operands)

    @staticmethod
    def inside(history: list[tuple[int, Any]], t: int, w: int, n: Any) -> list[tuple[int, Any]]:
        """The samples in the time window (t − w, t]; without a time, the last n."""
        return [h for h in history if h[0] > t - w] if w else history[-n:]

    def _value(self, e: Expr, node: Node, inside: list[tuple[int, tuple[float, ...]]], t: int, w: int) -> float:
        p, newest = _named(e), node.history[-1][1][0]
        if e.op in LAGGED:
            lagged = self.lagged([(then, x[0]) for then, x in node.history], t, w, p["window"])
            return LAGGED[e.op](newest, lagged, w / 1e9) + 0.0
        if node.computed != (len(node.history), len(inside)):  # else nothing came and nothing left
            node.computed = len(node.history), len(inside)
            if e.op in RECURSIVE:
                node.found = RECURSIVE[e.op]([(then, x[0]) for then, x in node.history], p)
            else:
                y = [x[1] for _, x in inside] if len(e.args) == 2 else []
                node.found = WINDOWED[e.op](Window([h[0] for h in inside], [x[0] for _, x in inside], y, p, w))
            node.found += 0.0
        return node.found

    @staticmethod
    def lagged(history: list[tuple[int, float]], t: int, w: int, n: Any) -> float:
        """The last update at or before t − w; without a time, the n-th before the newest."""
        if not w:
            return history[-n - 1][1]
        return [x for then, x in history if then <= t - w][-1]

    def _row(self, index: int, t: int) -> Row:
        roots = [self.nodes[e] for e in self.fs.features.values()]
        values, ready = tuple(r.value for r in roots), tuple(r.ready for r in roots)
        return Row(index, self.instrument, t, values, ready, tuple(self.largest))


def _named(e: Expr) -> dict[str, Any]:
    return {param.name: value for param, value in zip(OPERATORS[e.op].params, e.params, strict=True)}


def always_ready(e: Expr) -> bool:
    return e.op == "const" or e.op in TIMES


def resets(e: Expr) -> bool:
    """Whether a session break starts ``e`` again (rule 49), where there are breaks."""
    if e.op in ("const", "bar", "of", "input") or e.op in TIMES:
        return False
    given = _named(e).get("reset")
    if given is not None:
        return bool(given == "session")
    return not e.args or any(resets(a) for a in e.args)
