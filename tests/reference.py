"""The oracle of both feature twins: numerics.md read aloud, one event after another, in plain Python.

Slow on purpose. Every window is looked up in the full history and summed with whole numbers, so nothing
here can drift, cancel or be optimised wrongly. It shares no code with either twin.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from alpha.events import ALL_INSTRUMENTS, Flag, Kind, Status, stream_time
from alpha.features.feature_set import FeatureSet
from alpha.features.language import Duration, Expr

NAN = math.nan
SCALE = 1 << 1074  # every finite float64 times this is a whole number


@dataclass(frozen=True)
class Row:
    """One feature row: the event that made it, when it stands, and each feature in float64."""

    index: int
    instrument: int
    ts_ns: int
    values: tuple[float, ...]
    ready: tuple[bool, ...]
    scale: tuple[float, ...]


def reference_rows(
    fs: FeatureSet, events: np.ndarray, lots: Sequence[float], accepted: Sequence[bool] | None = None
) -> list[Row]:
    """Rows of ``fs`` over guarded events; ``lots`` has one entry per instrument, NaN = unknown."""
    times = [int(t) for t in stream_time(events, fs.stream.clock)]
    machines = [_Machine(fs, i, lot) for i, lot in enumerate(lots)]
    rows: list[Row] = []
    for index, event in enumerate(events):
        kind = int(event["kind"])
        if kind == Kind.CONTROL or (accepted is not None and not accepted[index]):
            continue
        whom = int(event["instrument_id"])
        if whom != ALL_INSTRUMENTS:
            rows += machines[whom].event(index, times[index], event)
        elif kind in (Kind.TIMER, Kind.STATUS):
            for machine in machines:
                late = machine.previous is not None and times[index] < machine.previous
                if kind == Kind.STATUS or not late:  # a late STATUS happens at the instrument's own time
                    rows += machine.event(index, machine.previous if late else times[index], event)
    return rows


@dataclass
class _Node:
    """State of one expression: its present value and whether this pass moved it."""

    value: float = NAN
    passes: bool = False
    ready: bool = False
    history: list[tuple[int, float, int]] = field(default_factory=list)  # (time, x, x as a whole number)
    ready_times: list[int] = field(default_factory=list)  # of updates with a ready operand since the gap
    memory: dict[str, float] = field(default_factory=dict)


@dataclass
class _Bar:
    number: int
    prices: list[float]
    lots: int = 0
    sizes_known: bool = True


class _Machine:
    """One instrument."""

    def __init__(self, fs: FeatureSet, instrument: int, lot: float) -> None:
        self.fs = fs
        self.instrument = instrument
        self.lot = lot if lot > 0 else 1e-8
        self.nodes: dict[Expr, _Node] = {}
        for e in fs.features.values():
            self._collect(e)
        specs = {(e.params[0], e.params[1]) for e in self.nodes if e.op == "bar"}
        if fs.trigger.bar is not None:
            specs.add((fs.trigger.bar.interval, fs.trigger.bar.source))
        self.open_bars: dict[tuple[Any, Any], _Bar | None] = {s: None for s in specs if s[1] != "feed"}
        self.previous: int | None = None
        self.largest = [0.0] * len(fs.features)

    def _collect(self, e: Expr) -> None:
        for operand in e.args:
            self._collect(operand)
        self.nodes.setdefault(e, _Node())

    def event(self, index: int, t: int, event: Any) -> list[Row]:
        """S2: everything one accepted event does."""
        kind, flags, v = int(event["kind"]), int(event["flags"]), [float(x) for x in event["v"]]
        trigger, rows = self.fs.trigger, []
        if flags & Flag.GAP or (kind == Kind.STATUS and v[0] == Status.LOST):
            for e, node in self.nodes.items():
                node.ready_times.clear()
                node.ready = e.op == "const"
        if trigger.every is not None and self.previous is not None:
            d = trigger.every.ns
            boundary = (self.previous // d + 1) * d
            if t >= boundary:
                self._pass(boundary, {})
                rows.append(self._row(index, boundary))
        closed = [spec for spec, bar in self.open_bars.items() if bar and (bar.number + 1) * spec[0].ns <= t]
        if closed:
            self._pass(t, self._close(closed))
            if trigger.bar is not None and (trigger.bar.interval, trigger.bar.source) in closed:
                rows.append(self._row(index, t))
        self._pass(t, self._leaves(kind, flags, v))
        self._build(kind, flags, v, t)
        if self._triggers(kind, flags):
            rows.append(self._row(index, t))
        self.previous = t
        return rows

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

    def _leaves(self, kind: int, flags: int, v: list[float]) -> dict[str, float]:
        """Rule 36: the sources that this event updates, ``feed.close`` and the like for bars."""
        sized = not flags & Flag.NO_QTY
        if kind == Kind.QUOTE:
            bid, ask, bid_qty, ask_qty = v[:4]
            leaves = {"bid_px": bid, "ask_px": ask, "mid": 0.5 * (bid + ask), "spread": ask - bid}
            if sized:
                leaves |= {"bid_qty": bid_qty, "ask_qty": ask_qty}
                leaves["microprice"] = _divide(bid * ask_qty + ask * bid_qty, bid_qty + ask_qty)
                leaves["imbalance"] = _divide(bid_qty - ask_qty, bid_qty + ask_qty)
            return leaves
        if kind == Kind.TRADE:
            return {"px": v[0], "side": v[2]} | ({"qty": v[1]} if sized else {})
        if kind == Kind.BAR:
            leaves = {"feed.open": v[0], "feed.high": v[1], "feed.low": v[2], "feed.close": v[3]}
            return leaves | ({"feed.volume": v[4]} if sized else {})
        return {}

    def _build(self, kind: int, flags: int, v: list[float], t: int) -> None:
        """S2 (d): bars under construction take the event in."""
        for (interval, source), bar in self.open_bars.items():
            if kind != (Kind.TRADE if source == "trade" else Kind.QUOTE):
                continue
            if bar is None:
                bar = self.open_bars[interval, source] = _Bar(t // interval.ns, [])
            if source == "mid":
                bar.prices.append(0.5 * (v[0] + v[1]))
                continue
            bar.prices.append(v[0])
            if flags & Flag.NO_QTY:
                bar.sizes_known = False
            else:
                bar.lots += round(v[1] / self.lot)

    def _close(self, specs: list[tuple[Any, Any]]) -> dict[str, float]:
        leaves: dict[str, float] = {}
        for interval, source in specs:
            bar = self.open_bars[interval, source]
            assert bar is not None
            name = f"{source}.{interval}."
            leaves[name + "open"], leaves[name + "close"] = bar.prices[0], bar.prices[-1]
            leaves[name + "high"], leaves[name + "low"] = max(bar.prices), min(bar.prices)
            if source == "trade" and bar.sizes_known:
                leaves[name + "volume"] = float(bar.lots) * self.lot
            self.open_bars[interval, source] = None
        return leaves

    def _pass(self, t: int, leaves: dict[str, float]) -> None:
        """S3: every node once, operands first."""
        for e, node in self.nodes.items():
            operands = [self.nodes[a] for a in e.args]
            if e.op == "const":
                node.value, node.ready = float(e.params[0]), True  # type: ignore[arg-type]
            elif not e.args:
                name = e.op
                if e.op == "bar":
                    interval, source, fieldname = e.params
                    name = f"feed.{fieldname}" if source == "feed" else f"{source}.{interval}.{fieldname}"
                node.passes = name in leaves
                if node.passes:
                    node.value, node.ready = leaves[name], True
            elif e.op in _POINTWISE:
                node.value = _POINTWISE[e.op](*(o.value for o in operands))
                node.passes = any(o.passes for o in operands)
                node.ready = all(o.ready for o in operands)
            else:
                self._stateful(e, node, operands[0], t)
        for j, e in enumerate(self.fs.features.values()):  # rule 48
            for seen in e.args or (e,):
                x = abs(self.nodes[seen].value)
                self.largest[j] = max(self.largest[j], x if math.isfinite(x) else 0.0)

    def _stateful(self, e: Expr, node: _Node, operand: _Node, t: int) -> None:
        updated = operand.passes and math.isfinite(operand.value)
        if updated:
            x = operand.value
            above, below = x.as_integer_ratio()
            node.history.append((t, x, above * (SCALE // below)))
            if operand.ready:
                node.ready_times.append(t)
        p = {name: value for name, value in zip(_PARAMETERS[e.op], e.params, strict=True) if value is not None}
        window = p.get("window", p.get("half_life"))
        if isinstance(window, Duration):
            w = window.ns
            inside = [h for h in node.history if h[0] > t - w] if "half_life" not in p else []
            enough = len(inside) >= _samples(e.op, p)
            warm = bool(node.history) and t - node.history[0][0] >= w and enough
            node.ready = bool(node.ready_times) and t - node.ready_times[0] >= w and enough
            before = [h[1] for h in node.history if h[0] <= t - w]
            lagged = before[-1] if before else NAN
        else:
            n = int(p.get("window", p.get("span", p.get("n", 0))))  # type: ignore[call-overload]
            needed = n + 1 if e.op in ("lag", "diff", "ret", "logret", "rsi") else n
            inside, w = node.history[-n:], 0
            warm, node.ready = len(node.history) >= needed, len(node.ready_times) >= needed
            lagged = node.history[-n - 1][1] if len(node.history) > n else NAN
        if e.op in ("ema", "rsi") and updated:
            _recursive(e.op, p, node)
        node.passes = updated and warm
        node.value = NAN
        if warm:
            newest = node.history[-1][1]
            if e.op in ("lag", "diff", "ret", "logret", "velocity"):
                node.value = _lagged(e.op, newest, lagged, w)
            elif e.op in ("ema", "rsi"):
                node.value = node.memory["value"]
            else:
                node.value = _moments(e.op, [(x, whole) for _, x, whole in inside], newest, int(p.get("ddof", 0)))  # type: ignore[call-overload]

    def _row(self, index: int, t: int) -> Row:
        roots = [self.nodes[e] for e in self.fs.features.values()]
        values, ready = tuple(r.value for r in roots), tuple(r.ready for r in roots)
        return Row(index, self.instrument, t, values, ready, tuple(self.largest))


_PARAMETERS = {
    **dict.fromkeys(("lag", "diff", "ret", "logret", "velocity", "count", "sum", "mean"), ("window",)),
    **dict.fromkeys(("var", "std", "zscore"), ("window", "ddof")),
    "ema": ("span", "half_life", "seed", "skip"),
    "rsi": ("n",),
}


def _samples(op: str, p: dict[str, Any]) -> int:
    """Updates that a time window must hold."""
    if op in ("var", "std", "zscore"):
        return int(p["ddof"]) + 1
    return 1 if op == "mean" else 0


def _divide(x: float, y: float) -> float:
    return NAN if y == 0.0 else x / y


def _lagged(op: str, x: float, y: float, w: int) -> float:
    match op:
        case "lag":
            return y
        case "diff":
            return (x - y) + 0.0
        case "velocity":
            return (x - y) / (w / 1e9) + 0.0
        case "ret":
            return (_divide(x, y) - 1.0) + 0.0
    return log(_divide(x, y)) + 0.0


def _rounded(above: int, below: int) -> float:
    """The quotient of two whole numbers, rounded once."""
    try:
        return above / below
    except OverflowError:
        return math.copysign(math.inf, above)


def _moments(op: str, window: list[tuple[float, int]], newest: float, ddof: int) -> float:
    """S6 with exact sums."""
    n = len(window)
    if op == "count":
        return float(n)
    total = sum(whole for _, whole in window)
    rounded = _rounded(total, SCALE)
    if op == "sum":
        return rounded + 0.0
    flat = all(x == newest for x, _ in window)
    mean = (newest if flat else rounded / n) + 0.0
    if op == "mean":
        return mean
    if flat:
        var = 0.0
    else:
        numerator = n * sum(whole * whole for _, whole in window) - total * total
        var = _rounded(numerator, SCALE * SCALE) / (n * (n - ddof))
    if op == "var":
        return var
    std = math.sqrt(var)
    if op == "std":
        return std
    z = 0.0 if std == 0.0 else (newest - mean) / std
    return 0.0 if abs(z) < 2.0**-30 else z + 0.0


def _recursive(op: str, p: dict[str, Any], node: _Node) -> None:
    """S7, one update: the newest of the history moves the memory."""
    memory, (t, x, _) = node.memory, node.history[-1]
    if op == "rsi":
        n = p["n"]
        if len(node.history) == 1:
            return
        change = x - node.history[-2][1]
        for name, move in (("gain", max(change, 0.0)), ("loss", max(-change, 0.0))):
            changes = len(node.history) - 1
            if changes <= n:
                memory[name] = memory.get(name, 0.0) + move
                if changes == n:
                    memory[name] /= n
            else:
                memory[name] = (memory[name] * (n - 1) + move) / n
        g, loss = memory["gain"], memory["loss"]
        memory["value"] = 100.0 if loss == 0.0 else (100.0 * g) / (g + loss)
    elif len(node.history) == 1:
        memory["value"], memory["d"] = x, 1.0
    elif "span" in p:
        memory["value"] += 2.0 / (p["span"] + 1) * (x - memory["value"])
    else:
        dt = t - node.history[-2][0]
        memory["d"] = 1.0 + exp2n(-float(dt) / float(p["half_life"].ns)) * memory["d"]
        memory["value"] += (x - memory["value"]) / memory["d"]


def _ln2_power(k: int) -> float:
    """ln2**k / k! rounded to float64; ln2 as a rational number good to 2**-300."""
    ln2 = sum(Fraction(1, j * 2**j) for j in range(1, 300))
    return float(ln2**k / math.factorial(k))


EXP2 = [_ln2_power(k) for k in range(14)]
LOG = [2.0 / (2 * j + 1) for j in range(1, 12)]


def exp2n(t: float) -> float:
    """S8."""
    if t < -1100.0:
        return 0.0
    k = round(t)  # ties to even
    f = t - k
    p = EXP2[13]
    for c in reversed(EXP2[:13]):
        p = c + f * p
    return math.ldexp(p, k)


def log(x: float) -> float:
    """S8."""
    if math.isnan(x) or x <= 0.0:
        return NAN
    if math.isinf(x):
        return x
    bits = 0
    if x < 2.0**-1022:
        x, bits = x * 2.0**54, -54
    (raw,) = struct.unpack("<q", struct.pack("<d", x))
    k = (raw >> 52) - 1023
    m = x / 2.0**k  # in [1, 2)
    if m >= 2.0 * float.fromhex("0x1.6a09e667f3bcdp-1"):
        m, k = m / 2.0, k + 1
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    r = LOG[10]
    for c in reversed(LOG[:10]):
        r = c + z * r
    r = z * r
    h = (0.5 * f) * f
    k_ = float(k + bits)
    ln2_hi, ln2_lo = float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33")
    return k_ * ln2_hi - ((h - (s * (h + r) + k_ * ln2_lo)) - f)


_POINTWISE = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": _divide,
    "neg": lambda x: -x,
    "abs": abs,
    "log": log,
}
