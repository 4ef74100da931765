"""Nodes of a program to be: every distinct subexpression once, operands before their readers. Floor 2.

Rolling operators that share an operand share its history, and mean, std, zscore… over one window share its running
sums.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from alpha._core import program as native
from alpha.errors import DefinitionError
from alpha.features.language import BarClock, BarRef, Duration, Expr, ParamValue, resets
from alpha.features.operators import BAR_FIELDS, MAX_LEVEL, OPERATORS

OP = native.OPCODES
NAMES = {code: name for name, code in OP.items()}
NO_SLOT = 0xFFFF
MAX_BARS = 32
_CHUNK = native.CHUNK
TIME_RING = 64  # first capacity of a history that time windows read; it grows when needed

_QUOTE_FIELDS = {"bid_px": 0, "ask_px": 1, "bid_qty": 2, "ask_qty": 3}
_TRADE_FIELDS = {"px": 0, "qty": 1, "side": 2}
_FORMULAS = ("mid", "spread", "microprice", "imbalance", "ofi")
POINTWISE = (
    *("add", "sub", "mul", "div", "neg", "abs", "log", "exp", "sqrt", "sign"),
    *("least", "greatest", "gt", "ge", "lt", "le", "eq", "ne"),
)
_LAGS = {"lag": "LAG", "diff": "DIFF", "ret": "RET", "logret": "LOGRET", "velocity": "VELOCITY"}
_READERS = ("count", "sum", "mean", "mad", "var", "std", "zscore")
_HAS_DDOF = {"var", "std", "zscore", "cov"}
_ORDERS = ("min", "max", "argmin", "argmax", "rank", "quantile", "median")
_PAIRED = ("cov", "corr", "beta", "qlib.corr")
_REGRESSED = ("slope", "rsquare", "resid", "qlib.rsquare")
TIMES = ("seconds_since_open", "minutes_to_close", "is_rth", "sin_day", "cos_day")
_COUNTED = ("wilder", "wilder_sum", "rsi", "talib.rsi")
# kinds of events, each with its list of instructions
EVENTS = ("quote", "trade", "bar", "close", "none", *(f"depth_{n}" for n in range(1, MAX_LEVEL + 1)), "input")
EVERY = frozenset(EVENTS)
LISTS = (*EVENTS, "again")  # the last: arithmetic to do once more after a gap or a session break


@dataclass(slots=True)
class Node:
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


def power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


@dataclass(slots=True)
class Nodes:
    session: bool  # the stream's sessions break state
    symbols: tuple[str, ...]
    inputs: tuple[str, ...]
    nodes: list[Node] = field(default_factory=list)  # operands always before their readers
    slots: int = 0
    known: dict[Expr, int] = field(default_factory=dict)
    resets: bool = False  # what the expression that is being built does at a session break
    kept: dict[int, int] = field(default_factory=dict)  # node -> its KEEP
    histories: dict[tuple[tuple[int, ...], bool], int] = field(default_factory=dict)  # (operands, resets) -> node
    windows: dict[tuple[str, int, int, bool], int] = field(default_factory=dict)  # (what, history, n, timed) -> sums
    bars: dict[tuple[str, float, str], tuple[int, int]] = field(default_factory=dict)  # -> (index, node that fills it)
    bar_slots: list[list[int]] = field(default_factory=list)

    def add(self, node: Node, slot: bool = True) -> int:
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
        if all(self.nodes[o].op == OP["CONST"] or self.nodes[o].groups == EVERY for o in operands):
            groups = EVERY  # of constants only: nothing moves it, so it is computed wherever it may be read
        timed = bool(fields.pop("timed", False))
        node = Node(OP[op], operands=operands, groups=groups, timed=timed)
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
            return self.add(Node(OP["CONST"], k=_float(e.params[0])))
        if e.op == "bar":
            return self.bar_leaf(e)
        if e.op == "of":
            return self.of(e)
        if e.op == "input":
            return self.input(e)
        if e.op in TIMES:
            return self.add(Node(OP[e.op.upper()], timed=True))
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
        if e.op not in POINTWISE and e.op != "where":
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
            sign = self.add(Node(OP["TRADE_SIGN"], groups=frozenset({"trade"})))
            self.add(Node(OP["SIGN_QUOTE"], shares=sign, groups=frozenset({"quote"})), slot=False)
            return sign
        code = name.upper() if name in _FORMULAS else "FIELD_QTY" if op.needs_qty else "FIELD"
        return self.add(Node(OP[code], n=fields.get(name, 0), groups=frozenset({op.group})))

    def level(self, e: Expr) -> int:
        """A source of one level of the book below the best."""
        name = e.op.removesuffix("_at")
        code = "OFI" if name == "ofi" else "LEVEL_PX" if name.endswith("px") else "FIELD_QTY"
        groups = frozenset({f"depth_{_int(e.param('level'))}"})
        return self.add(Node(OP[code], n=_QUOTE_FIELDS.get(name, 0), groups=groups))

    def of(self, e: Expr) -> int:
        """What another instrument keeps of an expression: every instrument keeps it, and any may look."""
        x = self.expr(e.args[0])
        if x not in self.kept:
            self.kept[x] = self.derived("KEEP", (x,), resets=self.session and resets(e.args[0]))
        keep = self.kept[x]
        # it reads a slot of another block: the operand only says that its own block's KEEP comes first
        return self.add(Node(OP["OF"], operands=(keep,), n=self.symbols.index(str(e.param("symbol"))), timed=True))

    def input(self, e: Expr) -> int:
        """An external series; with an age limit a second node looks at how old its value is."""
        max_age = e.param("max_age")
        if max_age is None:
            series = self.inputs.index(str(e.param("name")))
            return self.add(Node(OP["INPUT"], n=series, groups=frozenset({"input"})))
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
            take = self.add(Node(OP[code], n=index, groups=frozenset({group})), slot=False)
            self.bars[key] = index, take
        return self.bars[key]

    def bar_leaf(self, e: Expr) -> int:
        interval, source, name = e.params
        assert isinstance(interval, (Duration, BarClock)) and isinstance(source, str) and isinstance(name, str)
        index = BAR_FIELDS.index(name)
        if source == "feed":
            # the feed decides what a bar is: the interval is part of the definition, not of the event
            code = "FIELD_QTY" if name == "volume" else "FIELD"
            return self.add(Node(OP[code], n=index, groups=frozenset({"bar"})))
        spec, take = self.bar_spec(BarRef(interval, source))
        if isinstance(interval, BarClock):  # in the pass of the trade that closes the bar
            leaf = self.add(Node(OP["CLOSE_LEAF"], operands=(take,), groups=frozenset({"trade"})))
        else:
            leaf = self.add(Node(OP["CLOSE_LEAF"], groups=frozenset({"close"})))
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
            size = _CHUNK if timed or n >= _CHUNK else power_of_two(n + 1)
            room = 1 if timed or n < _CHUNK else 4 * n // _CHUNK + 4
            storage = 8 * room * (2 + size)
        elif e.op != "skew":
            room = TIME_RING if timed else power_of_two(n + 1)
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
