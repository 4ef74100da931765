"""From a FeatureSet to the flat instructions of the native twin. Floor 2.

The tree becomes a graph with every common subexpression once. Rolling operators that share an
operand share its history, and mean, std, zscore… over one window share its running sums. For each
kind of event the program holds the instructions to run (everything downstream of that event's
sources, operands first) and the ones to *refresh* before a row is read: time windows and lags
that this event did not touch, whose value changes because time passed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np

from alpha._core import program as native
from alpha.errors import DefinitionError
from alpha.features import lanes
from alpha.features.feature_set import FeatureSet, Trigger
from alpha.features.language import BarClock, BarRef, Duration, Expr, ParamValue, resets
from alpha.features.operators import BAR_FIELDS, MAX_LEVEL, OPERATORS

OP = native.OPCODES
NO_SLOT = 0xFFFF
MAX_BARS = 32
_CHUNK = native.CHUNK
_TIME_RING = 64  # first capacity of a history that time windows read; it grows when needed

INSTR_DTYPE = np.dtype(
    [
        ("place", "<u8"),  # filled in by the kernels that will run it
        ("op", "<u2"),
        ("dst", "<u2"),
        ("a", "<u2"),
        ("b", "<u2"),
        ("state", "<u4"),
        ("history", "<u4"),
        ("n", "<i8"),
        ("k", "<f8"),
        ("ddof", "<u4"),
        ("mode", "<u4"),
    ]
)

_QUOTE_FIELDS = {"bid_px": 0, "ask_px": 1, "bid_qty": 2, "ask_qty": 3}
_TRADE_FIELDS = {"px": 0, "qty": 1, "side": 2}
_FORMULAS = ("mid", "spread", "microprice", "imbalance", "ofi")
_POINTWISE = (
    *("add", "sub", "mul", "div", "neg", "abs", "log", "exp", "sqrt", "sign"),
    *("least", "greatest", "gt", "ge", "lt", "le", "eq", "ne"),
)
_LAGS = {"lag": "LAG", "diff": "DIFF", "ret": "RET", "logret": "LOGRET", "velocity": "VELOCITY"}
_READERS = ("count", "sum", "mean", "mad", "var", "std", "zscore")
_HAS_DDOF = {"var", "std", "zscore", "cov"}
_ORDERS = ("min", "max", "argmin", "argmax", "rank", "quantile", "median")
_PAIRED = ("cov", "corr", "beta", "qlib.corr")
_REGRESSED = ("slope", "rsquare", "resid", "qlib.rsquare")
_TIMES = ("seconds_since_open", "minutes_to_close", "is_rth", "sin_day", "cos_day")
_COUNTED = ("wilder", "wilder_sum", "rsi", "talib.rsi")
_LATENCY = {
    **dict.fromkeys(("READ_STD", "READ_ZSCORE", "SKEW", "READ_MAD"), 3),
    **dict.fromkeys(("READ_VAR", "READ_COV", "READ_CORR", "READ_BETA", "READ_SLOPE", "READ_RSQUARE", "READ_RESID"), 3),
    **dict.fromkeys(("RSI", "EMA_HALF_LIFE", "VELOCITY_TIME", "LOGRET_COUNT", "LOGRET_TIME", "LOG", "EXP"), 2),
    **dict.fromkeys(("WINDOW_COUNT", "WINDOW_TIME", "RET_COUNT", "RET_TIME", "DIV"), 1),
}
_EVENTS = ("quote", "trade", "bar", "close", "none", *(f"depth_{n}" for n in range(1, MAX_LEVEL + 1)), "input")
_LISTS = (*_EVENTS, "again")  # the last: arithmetic to do once more after a gap or a session break
# operations without a state of their own that has to see every update; LAG_TIME and its like only move on
_LOOKS = {
    *(name.upper() for name in (*_POINTWISE, "where", "clip", *_TIMES)),
    *("AGED", "OF"),
    *(name for name in OP if name.startswith(("READ_", "LAG_", "DIFF_", "RET_", "LOGRET_", "VELOCITY_"))),
}
_IN_LANES = {name: OP[f"LANES_{name}"] for name in OP if f"LANES_{name}" in OP}
_WIDE = {OP[name[:-5]]: (OP[name], int(name[-1])) for name in OP if name[:-1].endswith("_BY_")}
_AGAIN = {OP[name.upper()] for name in (*_POINTWISE, "where", "clip")}
_STATELESS = _AGAIN | set(_IN_LANES.values())  # whatever a session break does, they keep nothing
_EVERY = frozenset(_EVENTS)
_CLOCKS = {"time": 0, "tick_bar": 1, "volume_bar": 2, "dollar_bar": 3}
_TRIGGERS = {"quote": 0, "trade": 1, "last": 2, "every": 5}


@dataclass(slots=True)
class _Node:
    """One instruction to be: what it runs, what it reads, which events move it."""

    op: int
    dst: int = NO_SLOT
    operands: tuple[int, ...] = ()  # nodes whose result it reads
    a: int = 0
    b: int = 0
    state: int = 0
    history: int = 0
    n: int = 0
    k: float = 0.0
    ddof: int = 0
    mode: int = 0
    storage: int = 0  # bytes right behind the state
    shares: int = -1  # node whose state it uses
    groups: frozenset[str] = frozenset()  # lists whose events can update it
    timed: bool = False  # its value changes when only time passes
    resets: bool = False  # a session break starts its state again

    def record(self) -> tuple[int | float, ...]:
        return (0, self.op, self.dst, self.a, self.b, self.state, self.history, self.n, self.k, self.ddof, self.mode)


@dataclass(slots=True)
class _Builder:
    session: bool  # the stream's sessions break state
    symbols: tuple[str, ...]
    inputs: tuple[str, ...]
    nodes: list[_Node] = field(default_factory=list)  # operands always before their readers
    slots: int = 0
    known: dict[Expr, int] = field(default_factory=dict)
    resets: bool = False  # what the expression that is being built does at a session break
    kept: dict[int, int] = field(default_factory=dict)  # node -> its KEEP
    histories: dict[tuple[tuple[int, ...], bool], int] = field(default_factory=dict)  # (operands, resets) -> node
    windows: dict[tuple[str, int, int, bool], int] = field(default_factory=dict)  # (what, history, n, timed) -> sums
    bars: dict[tuple[str, float, str], tuple[int, int]] = field(default_factory=dict)  # -> (index, node that fills it)
    bar_slots: list[list[int]] = field(default_factory=list)

    def add(self, node: _Node, slot: bool = True) -> int:
        node.resets = node.resets or self.resets
        if slot:
            node.dst = self.slots
            self.slots += 1
            if self.slots >= NO_SLOT:
                raise DefinitionError(f"a feature set may have at most {NO_SLOT - 1} distinct subexpressions")
        self.nodes.append(node)
        return len(self.nodes) - 1

    def derived(self, op: str, operands: tuple[int, ...], slot: bool = True, **fields: int | float | bool) -> int:
        """A node that moves whenever one of its operands does."""
        groups = frozenset[str]().union(*(self.nodes[o].groups for o in operands))
        if all(self.nodes[o].op == OP["CONST"] or self.nodes[o].groups == _EVERY for o in operands):
            groups = _EVERY  # of constants only: nothing moves it, so it is computed wherever it may be read
        timed = bool(fields.pop("timed", False))
        node = _Node(OP[op], operands=operands, groups=groups, timed=timed)
        for name, value in fields.items():
            setattr(node, name, value)
        return self.add(node, slot)

    def expr(self, e: Expr) -> int:
        """Node that holds the value of ``e``; the same expression gives the same node."""
        if e not in self.known:
            outer, self.resets = self.resets, self.session and resets(e)
            self.known[e] = self.build(e)
            self.resets = outer
        return self.known[e]

    def build(self, e: Expr) -> int:
        if e.op == "const":
            return self.add(_Node(OP["CONST"], k=_float(e.params[0])))
        if e.op == "bar":
            return self.bar_leaf(e)
        if e.op == "of":
            return self.of(e)
        if e.op == "input":
            return self.input(e)
        if e.op in _TIMES:
            return self.add(_Node(OP[e.op.upper()], timed=True))
        if e.op == "vpin":
            return self.vpin(e)
        if OPERATORS[e.op].kind == "source":
            return self.level(e) if e.params else self.source(e.op)
        operands = tuple(self.expr(a) for a in e.args)
        code = e.op.upper().replace(".", "_")
        if OPERATORS[e.op].kind == "pointwise":
            return self.pointwise(e, code, operands)
        if e.op in _LAGS:
            return self.lag(e, operands)
        if e.op in _READERS:
            return self.reader(e, operands, "WINDOW")
        if e.op in _PAIRED:
            return self.reader(e, operands, "JOINT")
        if e.op in _REGRESSED:
            return self.reader(e, operands, "LINE")
        if e.op in _ORDERS or e.op == "skew":
            return self.order(e, code, operands)
        if e.op == "ema":
            return self.ema(e, operands)
        if e.op == "ewm_std":
            span = _int(e.param("span"))
            return self.derived(code, operands, n=span, k=2.0 / (span + 1))
        if e.op in _COUNTED:
            return self.derived(code, operands, n=_int(e.param("n")))
        if e.op in ("cumsum", "first"):
            return self.derived(code, operands)
        raise DefinitionError(f"operator {e.op!r} has no native implementation")

    def pointwise(self, e: Expr, code: str, operands: tuple[int, ...]) -> int:
        timed = any(self.nodes[o].timed for o in operands)
        if e.op == "clip":
            hi = struct.unpack("<q", struct.pack("<d", _float(e.param("hi"))))[0]
            return self.derived(code, operands, timed=timed, k=_float(e.param("lo")), n=hi)
        if e.op not in _POINTWISE and e.op != "where":
            raise DefinitionError(f"operator {e.op!r} has no native implementation")
        return self.derived(code, operands, timed=timed)

    def ema(self, e: Expr, operands: tuple[int, ...]) -> int:
        span, half_life = e.param("span"), e.param("half_life")
        if isinstance(half_life, Duration):
            return self.derived("EMA_HALF_LIFE", operands, n=half_life.ns, k=float(half_life.ns), timed=True)
        n, skip, sma = _int(span), _int(e.param("skip")), e.param("seed") == "sma"
        if skip or sma:
            return self.derived("EMA_SMA", operands, n=n, k=2.0 / (n + 1), ddof=skip, mode=int(sma))
        return self.derived("EMA_SPAN", operands, n=n, k=2.0 / (n + 1))

    def source(self, name: str) -> int:
        op = OPERATORS[name]
        fields = {**_QUOTE_FIELDS, **_TRADE_FIELDS}
        if name == "trade_sign":
            sign = self.add(_Node(OP["TRADE_SIGN"], groups=frozenset({"trade"})))
            self.add(_Node(OP["SIGN_QUOTE"], shares=sign, groups=frozenset({"quote"})), slot=False)
            return sign
        code = name.upper() if name in _FORMULAS else "FIELD_QTY" if op.needs_qty else "FIELD"
        return self.add(_Node(OP[code], n=fields.get(name, 0), groups=frozenset({op.group})))

    def level(self, e: Expr) -> int:
        """A source of one level of the book below the best."""
        name = e.op.removesuffix("_at")
        code = "OFI" if name == "ofi" else "LEVEL_PX" if name.endswith("px") else "FIELD_QTY"
        groups = frozenset({f"depth_{_int(e.param('level'))}"})
        return self.add(_Node(OP[code], n=_QUOTE_FIELDS.get(name, 0), groups=groups))

    def of(self, e: Expr) -> int:
        """What another instrument keeps of an expression: every instrument keeps it, and any may look."""
        x = self.expr(e.args[0])
        if x not in self.kept:
            self.kept[x] = self.derived("KEEP", (x,), resets=self.session and resets(e.args[0]))
        keep = self.kept[x]
        # it reads a slot of another block: the operand only says that its own block's KEEP comes first
        return self.add(_Node(OP["OF"], operands=(keep,), n=self.symbols.index(str(e.param("symbol"))), timed=True))

    def input(self, e: Expr) -> int:
        """An external series; with an age limit a second node looks at how old its value is."""
        max_age = e.param("max_age")
        if max_age is None:
            series = self.inputs.index(str(e.param("name")))
            return self.add(_Node(OP["INPUT"], n=series, groups=frozenset({"input"})))
        assert isinstance(max_age, Duration)
        raw = self.expr(Expr("input", (), (e.param("name"), None)))
        return self.derived("AGED", (raw,), n=max_age.ns, shares=raw, timed=True)

    def vpin(self, e: Expr) -> int:
        n = _int(e.param("n"))
        sign = self.expr(Expr("trade_sign"))
        return self.derived("VPIN", (sign,), n=n, k=_float(e.param("volume")), storage=8 * n)

    def bar_spec(self, ref: BarRef) -> tuple[int, int]:
        """(index, node) of the builder of such bars; its instruction takes in quotes or trades."""
        clock = ref.interval
        key = (clock.kind, clock.size, "trade") if isinstance(clock, BarClock) else ("time", clock.ns, ref.source)
        if key not in self.bars:
            index = len(self.bars)
            if index == MAX_BARS:
                raise DefinitionError(f"a feature set may build at most {MAX_BARS} kinds of bars")
            self.bar_slots.append([NO_SLOT] * len(BAR_FIELDS))
            group = "quote" if ref.source == "mid" else "trade"
            code = "BAR_TAKE" if key[0] == "time" else "CLOCK_TAKE"
            take = self.add(_Node(OP[code], n=index, groups=frozenset({group})), slot=False)
            self.bars[key] = index, take
        return self.bars[key]

    def bar_leaf(self, e: Expr) -> int:
        interval, source, name = e.params
        assert isinstance(interval, (Duration, BarClock)) and isinstance(source, str) and isinstance(name, str)
        index = BAR_FIELDS.index(name)
        if source == "feed":
            # the feed decides what a bar is: the interval is part of the definition, not of the event
            code = "FIELD_QTY" if name == "volume" else "FIELD"
            return self.add(_Node(OP[code], n=index, groups=frozenset({"bar"})))
        spec, take = self.bar_spec(BarRef(interval, source))
        if isinstance(interval, BarClock):  # in the pass of the trade that closes the bar
            leaf = self.add(_Node(OP["CLOSE_LEAF"], operands=(take,), groups=frozenset({"trade"})))
        else:
            leaf = self.add(_Node(OP["CLOSE_LEAF"], groups=frozenset({"close"})))
        self.bar_slots[spec][index] = self.nodes[leaf].dst
        return leaf

    def history(self, operands: tuple[int, ...], window: ParamValue | None) -> int:
        """Node that keeps what a window of these operands needs."""
        key = (operands, self.resets)
        if key not in self.histories:
            name = "HISTORY" if len(operands) == 1 else "PAIRS"
            self.histories[key] = self.derived(name, operands, slot=False)
        node = self.nodes[self.histories[key]]
        if isinstance(window, Duration):
            node.ddof = 1  # keeps times
        else:
            node.n = max(node.n, _int(window))
        return self.histories[key]

    def lag(self, e: Expr, operands: tuple[int, ...]) -> int:
        window, name = e.param("window"), _LAGS[e.op]
        h = self.history(operands, window)
        if isinstance(window, Duration):
            return self.derived(f"{name}_TIME", (h,), n=window.ns, k=window.ns / 1e9, timed=True)
        return self.derived(f"{name}_COUNT", (h,), n=_int(window))

    def order(self, e: Expr, code: str, operands: tuple[int, ...]) -> int:
        """An operator with a state of its own over a window; orders keep values or indices behind it."""
        window = e.param("window")
        h = self.history(operands, window)
        timed = isinstance(window, Duration)
        n = window.ns if isinstance(window, Duration) else _int(window)
        room, storage = 0, 0
        if e.op in ("rank", "quantile", "median"):  # chunks of sorted values, see alpha_orders.h
            size = _CHUNK if timed or n >= _CHUNK else _power_of_two(n + 1)
            room = 1 if timed or n < _CHUNK else 4 * n // _CHUNK + 4
            storage = 8 * room * (2 + size)
        elif e.op != "skew":
            room = _TIME_RING if timed else _power_of_two(n + 1)
            storage = 8 * room
        q = _float(e.param("q")) if e.op == "quantile" else 0.0
        return self.derived(code, (h,), n=n, k=q, ddof=room, mode=int(timed), storage=storage, timed=timed)

    def reader(self, e: Expr, operands: tuple[int, ...], what: str) -> int:
        """A statistic of sums that all readers of one window share."""
        window = e.param("window")
        h = self.history(operands, window)
        timed = isinstance(window, Duration)
        n = window.ns if isinstance(window, Duration) else _int(window)
        seconds = n / 1e9 if timed else 0.0
        key = (what, h, n, timed)
        if key not in self.windows:
            name = what if what != "WINDOW" else "WINDOW_TIME" if timed else "WINDOW_COUNT"
            self.windows[key] = self.derived(name, (h,), slot=False, n=n, mode=int(timed), timed=timed)
        ddof = _int(e.param("ddof")) if e.op in _HAS_DDOF else 0
        code = f"READ_{e.op.upper().replace('.', '_')}"
        return self.derived(code, (self.windows[key],), k=seconds, ddof=ddof, mode=int(timed), timed=timed)


def _float(value: object) -> float:
    assert isinstance(value, float)
    return value


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _row_only(b: _Builder) -> set[int]:
    """What nothing that remembers depends on: it is evaluated when a row is read."""
    names = {code: name for name, code in OP.items()}
    remembers = {i for i, node in enumerate(b.nodes) if names[node.op] not in _LOOKS}
    return set(range(len(b.nodes))) - remembers - _ancestors(b, remembers)


def _into_lanes(b: _Builder, row_only: set[int]) -> set[int]:
    """Turn row-only arithmetic into operations of lanes where that is possible; which nodes those are."""
    names = {code: name for name, code in OP.items()}
    readers: dict[int, list[int]] = {}
    for i, node in enumerate(b.nodes):
        for operand in node.operands:
            readers.setdefault(operand, []).append(i)
    chosen = lanes.choose({i for i in row_only if names[b.nodes[i].op] in _IN_LANES}, readers)
    for i in chosen:
        b.nodes[i].op = _IN_LANES[names[b.nodes[i].op]]
    return chosen


def _number_slots(b: _Builder, features: list[int], in_lanes: set[int]) -> int:
    """Features first and in order, so that a row is read straight through (two equal features share a slot); behind
    them what enters the lanes: the marks of these slots tell whether a row is ready. How many they are."""
    order = list(dict.fromkeys(features))
    entering = sorted({o for i in in_lanes for o in b.nodes[i].operands} - in_lanes - set(order))
    order += [i for i in entering if b.nodes[i].op != OP["CONST"]]
    watched = len(order)
    done = set(order)
    order += [i for i, node in enumerate(b.nodes) if node.dst != NO_SLOT and i not in done]
    new = {b.nodes[i].dst: at for at, i in enumerate(order)}
    for i, node in enumerate(b.nodes):
        node.dst = new.get(node.dst, NO_SLOT)
        # operands stand before their readers: their slots are numbered already
        slots = [b.nodes[o].dst % NO_SLOT for o in node.operands]
        if i in in_lanes:
            node.a, node.b, node.mode, *_ = [*slots, slots[0], slots[0]]
            continue
        node.a, node.b, third, *_ = [*slots, 0, 0, 0]
        if node.op == OP["WHERE"]:
            node.mode = third
    b.bar_slots = [[new.get(s, NO_SLOT) for s in spec] for spec in b.bar_slots]
    return watched


def _layout(b: _Builder, looks_out: bool) -> tuple[int, list[int], int]:
    """Give every state and ring its byte offset in the block: (size, offsets of the bar states, offset of what it
    knows of its surroundings or 0)."""
    sizes = native.STATE_BYTES
    offset = native.BLOCK_BYTES + b.slots * native.SLOT_BYTES

    def take(size: int) -> int:
        nonlocal offset
        offset = (offset + 15) // 16 * 16
        start = offset
        offset += size
        return start

    names = {code: name for name, code in OP.items()}
    for node in b.nodes:
        size = sizes[names[node.op]] + node.storage
        if size:
            node.state = take(size)
        if node.shares >= 0:
            node.state = b.nodes[node.shares].state
    bar_states = [take(native.BAR_BYTES) for _ in b.bars]
    present = take(native.PRESENT_BYTES) if looks_out else 0
    for node in b.nodes:  # readers and lags address the state and history they read
        if node.op in (OP["HISTORY"], OP["PAIRS"]):
            node.mode = max(_power_of_two(node.n + 1), _TIME_RING if node.ddof else 1)
            rings = (1 if node.op == OP["HISTORY"] else 2) + bool(node.ddof)
            node.history = take(node.mode * 8 * rings)
        for operand in node.operands:
            source = b.nodes[operand]
            if source.op in (OP["HISTORY"], OP["PAIRS"]):
                node.history = source.state
            elif source.dst == NO_SLOT and node.op != OP["CLOSE_LEAF"]:  # a window
                node.state = source.state
                node.history = source.history
    if offset >= 2**31:
        raise DefinitionError("the windows of this feature set need more than 2 GiB per instrument")
    return offset, bar_states, present


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


def _ancestors(b: _Builder, start: Iterable[int]) -> set[int]:
    seen: set[int] = set()
    stack = list(start)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            if b.nodes[node].op != OP["OF"]:  # what it looks at is brought up to date where it happens
                stack.extend(b.nodes[node].operands)
    return seen


def _scheduled(b: _Builder, chosen: set[int]) -> list[int]:
    """Operands before their readers, and operations of one kind behind one another as far as that allows: the
    processor then stays in the same code. Next is the kind of which nothing is still missing, else the one with the
    longest way to go."""
    names = {code: name for name, code in OP.items()}
    inside = {i: {o for o in b.nodes[i].operands if o in chosen} for i in chosen}
    readers: dict[int, list[int]] = {i: [] for i in chosen}
    for i, needs in inside.items():
        for o in needs:
            readers[o].append(i)
    height: dict[int, int] = {}
    for i in sorted(chosen, reverse=True):
        height[i] = 1 + _LATENCY.get(names[b.nodes[i].op], 0) + max((height[r] for r in readers[i]), default=0)
    left: dict[int, set[int]] = {}
    for i in chosen:
        left.setdefault(b.nodes[i].op, set()).add(i)
    waiting = {i: len(needs) for i, needs in inside.items()}
    out: list[int] = []
    while left:
        ready = {op: [i for i in nodes if not waiting[i]] for op, nodes in left.items()}
        op = max(
            (op for op in ready if ready[op]),
            key=lambda op: (len(ready[op]) == len(left[op]), max(height[i] for i in ready[op]), len(ready[op]), -op),
        )
        for i in sorted(ready[op], key=lambda i: (-height[i], i)):
            out.append(i)
            left[op].discard(i)
            for r in readers[i]:
                waiting[r] -= 1
        if not left[op]:
            del left[op]
    return out


def _lists(b: _Builder, trigger: Trigger, row_only: set[int]) -> list[tuple[set[int], set[int]]]:
    """For each kind of event the nodes to bring up to date when it comes, and those that only a row asks for.

    What remembers must see every update; what only looks (arithmetic, readers of windows, lags) is evaluated when a
    row is read, unless something that remembers looks at it.
    """
    every = set(range(len(b.nodes)))
    needed = every - row_only
    timed = {i for i in every if b.nodes[i].timed}
    feed = trigger.bar is not None and trigger.bar.source == "feed"
    always = "bar" if feed else trigger.kind  # every such event makes a row
    makes_rows = {
        "every": {"none"},
        "bar": {"bar" if feed else "trade" if trigger.bar and isinstance(trigger.bar.interval, BarClock) else "close"},
        "last": set(_EVENTS) - {"close", "input"},
    }.get(trigger.kind, {trigger.kind})
    lists = []
    for name in _EVENTS:
        moved = {i for i in needed if name in b.nodes[i].groups}
        at_once = moved | (timed & _ancestors(b, moved))
        for_a_row = (timed | (every - needed)) - at_once if name in makes_rows else set()
        lists.append((at_once | for_a_row, set()) if name == always else (at_once, for_a_row))
    again = {i for i in needed if b.nodes[i].op in _AGAIN and not b.nodes[i].timed}
    return [*lists, (again if b.session or b.inputs else set(), set())]


def _lanes(b: _Builder, in_lanes: set[int]) -> tuple[list[_Node], np.ndarray]:
    """The instructions that evaluate the lanes, and the slots of their quads: uint16 [quads, (a, b, c, dst), 4]."""
    names = {code: name for name, code in OP.items()}
    steps, quads = lanes.order({i: names[b.nodes[i].op] for i in in_lanes}, {i: b.nodes[i].operands for i in in_lanes})
    slots = [[[getattr(b.nodes[i], part) for i in quad] for part in ("a", "b", "mode", "dst")] for quad in quads]
    return [_Node(OP[s.name], n=s.quads, history=s.first) for s in steps], np.array(slots, dtype=np.uint16)


def _widened(nodes: list[_Node]) -> list[_Node]:
    """The first of so many alike becomes the instruction that does them all."""
    out: list[_Node] = []
    for op, same in groupby(nodes, key=lambda n: n.op):
        run = list(same)
        wide, width = _WIDE.get(op, (op, 1))
        for at in range(0, len(run) - width + 1, width):
            run[at] = replace(run[at], op=wide)
        out += run
    return out


def _records(b: _Builder, chosen: set[int], in_lanes: set[int], steps: list[_Node]) -> np.ndarray:
    """The instructions of these nodes, closed by an END; empty if there is nothing to do."""
    passive = (OP["CONST"], OP["CLOSE_LEAF"])
    nodes = [b.nodes[i] for i in _scheduled(b, chosen - in_lanes) if b.nodes[i].op not in passive]
    nodes = _widened(nodes)
    nodes += steps if chosen & in_lanes else []  # a row asks for all of them
    return np.array([n.record() for n in nodes and [*nodes, _Node(OP["END"])]], dtype=INSTR_DTYPE)


def compile_program(fs: FeatureSet) -> native.Program:
    """The native program of a feature set; :class:`DefinitionError` if it cannot be one."""
    session = fs.stream.session_break == "session"
    b = _Builder(session, fs.symbols, fs.inputs)
    features = [b.expr(e) for e in fs.features.values()]
    trigger, trigger_bar = _TRIGGERS.get(fs.trigger.kind, -1), -1
    if fs.trigger.kind == "bar":
        assert fs.trigger.bar is not None
        if fs.trigger.bar.source == "feed":
            trigger = 3
        else:
            trigger = 6 if isinstance(fs.trigger.bar.interval, BarClock) else 4
            trigger_bar, _ = b.bar_spec(fs.trigger.bar)
    row_only = _row_only(b)
    in_lanes = _into_lanes(b, row_only)
    watched = _number_slots(b, features, in_lanes)
    size, bar_states, present = _layout(b, looks_out=fs.needs_sessions or bool(fs.symbols))
    steps, quads = _lanes(b, in_lanes)
    run, refresh = [], []
    for at_once, for_a_row in _lists(b, fs.trigger, row_only):
        run.append(_records(b, at_once, in_lanes, steps))
        refresh.append(_records(b, for_a_row, in_lanes, steps))
    every = fs.trigger.every
    return native.Program(
        run=run,
        refresh=refresh,
        all=np.array([n.record() for n in b.nodes], dtype=INSTR_DTYPE),
        quads=quads,
        resets=np.array([n.resets and n.op not in _STATELESS for n in b.nodes], np.uint8) if session else None,
        bars=[
            (_CLOCKS[kind], size, state, int(source == "mid"), slots)
            for ((kind, size, source), state, slots) in zip(b.bars, bar_states, b.bar_slots, strict=True)
        ],
        features=[b.nodes[i].dst for i in features],
        n_watched=watched,
        n_slots=b.slots,
        block_bytes=size,
        trigger=trigger,
        trigger_bar=trigger_bar,
        every_ns=every.ns if every else 0,
        present=present,
        by_close=fs.trigger.kind == "bar",
        n_peers=len(fs.symbols),
        needs_sessions=fs.needs_sessions,
    )
