"""The batch twin: a feature set over whole arrays of events. Floor 2.

Vectorised with numpy, sequential parts by numba; none of the native code. Each instrument's
accepted events become a timeline of *steps*: a READ at a boundary of ``every(d)``, a CLOSE
where built bars end, and the event's OWN update, in this order. Every expression node is a
column over the steps: its value, whether it passes an update on, whether it is ready.

    >>> rows = compute(feature_set, events, instruments)   # doctest: +SKIP
    >>> rows.values.shape, rows.ready.shape                # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from alpha.errors import DefinitionError, need
from alpha.events import ALL_INSTRUMENTS, Flag, Kind, Status, stream_time
from alpha.features.coefficients import LN2_HI, LN2_LO, LOG, SQRT_HALF
from alpha.features.feature_set import FeatureSet
from alpha.features.language import BarRef, Duration, Expr, walk
from alpha.features.operators import BAR_FIELDS, OPERATORS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
TINY = 2.0**-30  # rule 15
UNKNOWN_LOT = 1e-8


class InstrumentTable(Protocol):
    """What this module needs of :class:`alpha.Instruments`."""

    def __len__(self) -> int: ...

    def lots(self) -> Floats: ...


class Rows(NamedTuple):
    """Feature rows: ``row_index`` int64 [N] into the events, ``values`` float32 [N, F], ``ready`` bool [N]."""

    row_index: Ints
    values: npt.NDArray[np.float32]
    ready: Bools


@dataclass(frozen=True, slots=True)
class Detail:
    """Rows with what parity needs: readiness per feature [N, F], decision times [N], instruments [N], and
    ``scale`` [N, F], the largest direct operand of each feature's root operator so far (rule 48);
    ``exact`` [N, F]: the float64 values before rounding, for labels and prices."""

    rows: Rows
    ready: Bools
    ts_ns: Ints
    instrument_id: npt.NDArray[np.uint32]
    scale: Floats | None
    exact: Floats


@dataclass(frozen=True, slots=True)
class _Column:
    value: Floats
    update: Bools
    ready: Bools


@dataclass(frozen=True, slots=True)
class _Updates:
    """The finite updates of a column, and where each step stands among them."""

    x: Floats  # [m] values
    t: Ints  # [m] times
    moved: Bools  # [S] an update happened at this step
    seen: Ints  # [S] updates up to and including this step
    gap_seen: Ints  # [S] updates with a ready operand since the last gap
    gap_first: Ints  # [S] time of the first of those (undefined where gap_seen is 0)


def compute(
    fs: FeatureSet, events: npt.NDArray[Any], instruments: InstrumentTable | None, accepted: Bools | None = None
) -> Rows:
    """Rows of a feature set over guarded events.

    ``events``: EVENT_DTYPE array in arrival order; ``accepted``: bool [len(events)], the guard's verdict
    (all if None); ``instruments``: table with lot sizes (None: as many as the ids show, lots unknown).
    """
    return compute_detail(fs, events, instruments, accepted).rows


def compute_detail(
    fs: FeatureSet,
    events: npt.NDArray[Any],
    instruments: InstrumentTable | None,
    accepted: Bools | None = None,
    with_scale: bool = False,
) -> Detail:
    """Like :func:`compute`, with readiness per feature, decision times and operand scales."""
    ids = events["instrument_id"]
    own = ids[ids != ALL_INSTRUMENTS]
    n = len(instruments) if instruments is not None else int(own.max(initial=-1)) + 1
    lots = instruments.lots() if instruments is not None else np.full(n, np.nan)
    parts = []
    for i in range(n):
        timeline = _Timeline.build(fs, events, i, float(lots[i]), accepted)
        parts.append(_evaluate(fs, timeline, i, with_scale))
    f = len(fs.features)
    if not parts:
        empty = Rows(np.zeros(0, np.int64), np.zeros((0, f), np.float32), np.zeros(0, np.bool_))
        return Detail(
            empty, np.zeros((0, f), np.bool_), np.zeros(0, np.int64), np.zeros(0, np.uint32), None, np.zeros((0, f))
        )
    index = np.concatenate([p.rows.row_index for p in parts])
    who = np.concatenate([p.instrument_id for p in parts])
    order = np.lexsort((who, index))
    ready = np.concatenate([p.ready for p in parts])[order]
    values = np.concatenate([p.rows.values for p in parts])[order]
    scales = [p.scale for p in parts if p.scale is not None]
    return Detail(
        Rows(index[order], values, np.asarray(ready.all(axis=1))),
        ready,
        np.concatenate([p.ts_ns for p in parts])[order],
        who[order],
        np.concatenate(scales)[order] if scales else None,
        np.concatenate([p.exact for p in parts])[order],
    )


def _evaluate(fs: FeatureSet, line: _Timeline, instrument: int, with_scale: bool) -> Detail:
    columns = _Columns(line)
    pick = line.rows
    n, f = len(pick), len(fs.features)
    exact = np.empty((n, f))
    ready = np.empty((n, f), np.bool_)
    scale = np.zeros((n, f)) if with_scale else None
    with np.errstate(all="ignore"):
        for j, e in enumerate(fs.features.values()):
            column = columns.of(e)
            exact[:, j] = column.value[pick]
            ready[:, j] = column.ready[pick]
            if scale is not None:
                for a in e.args or (e,):
                    operand = np.abs(columns.of(a).value)
                    largest = np.maximum.accumulate(np.where(np.isfinite(operand), operand, 0.0))
                    scale[:, j] = np.maximum(scale[:, j], largest[pick])
        values = exact.astype(np.float32)
    rows = Rows(line.event_of[pick], values, np.asarray(ready.all(axis=1)))
    return Detail(rows, ready, line.t[pick], np.full(n, instrument, np.uint32), scale, exact)


@dataclass(slots=True)
class _Timeline:
    """Steps of one instrument, in order."""

    events: npt.NDArray[Any]  # accepted events of this instrument, one row per event
    t: Ints  # [S] time of each step
    event_of: Ints  # [S] index of the step's event in the caller's array
    own: Ints  # [E] step at which event e updates its own leaves
    gap_from: Ints  # [S] first step since the last gap
    closes: dict[tuple[int, str], tuple[Ints, Ints]]  # bar spec -> (closing step, bar number)
    bars: dict[tuple[int, str], dict[str, Floats]]
    rows: Ints  # steps that make a row

    @classmethod
    def build(
        cls, fs: FeatureSet, events: npt.NDArray[Any], instrument: int, lot: float, accepted: Bools | None
    ) -> _Timeline:
        kind, ids = events["kind"], events["instrument_id"]
        mine = ids == instrument
        mine |= (ids == ALL_INSTRUMENTS) & ((kind == Kind.TIMER) | (kind == Kind.STATUS))
        mine &= kind != Kind.CONTROL
        if accepted is not None:
            mine &= accepted
        index = np.flatnonzero(mine)
        t = stream_time(events[index], fs.stream.clock).astype(np.int64)
        latest = np.maximum.accumulate(t) if len(t) else t
        # a time for all that this instrument is already past: a TIMER says nothing, a STATUS happens now
        keep = (t >= latest) | (kind[index] != Kind.TIMER)
        index, t = index[keep], latest[keep]
        e = events[index]
        specs = _bar_specs(fs)
        bars = {spec: _bars(e, t, spec, lot) for spec in specs}
        closing = {spec: np.searchsorted(t, b["end"], side="left") for spec, b in bars.items()}
        reads, boundary = _boundaries(fs, t)
        closes = np.zeros(len(t), np.bool_)
        for at in closing.values():
            closes[at[at < len(t)]] = True
        last = np.cumsum(reads.astype(np.int64) + closes + 1) - 1  # each event's own step comes last
        steps = int(last[-1]) + 1 if len(t) else 0
        step_t, event_of = np.empty(steps, np.int64), np.empty(steps, np.int64)
        first = last - closes - reads
        for at, times in ((last, t), ((last - 1)[closes], t[closes]), (first[reads], boundary[reads])):
            step_t[at] = times
        for at, which in ((last, index), ((last - 1)[closes], index[closes]), (first[reads], index[reads])):
            event_of[at] = which
        gaps = (e["flags"] & Flag.GAP) != 0
        gaps |= (e["kind"] == Kind.STATUS) & (e["v"][:, 0] == Status.LOST)
        gap_from = np.zeros(steps, np.int64)
        gap_from[first[gaps]] = first[gaps]
        gap_from = np.maximum.accumulate(gap_from) if steps else gap_from
        close_steps = {}
        for spec, at in closing.items():
            number = np.flatnonzero(at < len(t))
            close_steps[spec] = (last[at[number]] - 1, number)
        line = cls(e, step_t, event_of, last, gap_from, close_steps, bars, np.zeros(0, np.int64))
        line.rows = line._rows(fs, first[reads])
        return line

    def _rows(self, fs: FeatureSet, reads: Ints) -> Ints:
        kind, trigger = self.events["kind"], fs.trigger
        if trigger.kind == "every":
            return reads
        if trigger.kind == "bar":
            assert trigger.bar is not None
            if trigger.bar.source != "feed":
                return self.closes[(trigger.bar.interval.ns, trigger.bar.source)][0]
            return np.asarray(self.own[kind == Kind.BAR])
        if trigger.kind == "last":
            data = (kind == Kind.QUOTE) | (kind == Kind.TRADE) | (kind == Kind.DEPTH) | (kind == Kind.BAR)
            return np.asarray(self.own[data & ((self.events["flags"] & Flag.LAST) != 0)])
        return np.asarray(self.own[kind == (Kind.QUOTE if trigger.kind == "quote" else Kind.TRADE)])


def _bar_specs(fs: FeatureSet) -> list[tuple[int, str]]:
    specs: dict[tuple[int, str], None] = {}
    for e in fs.features.values():
        for node in walk(e):
            if node.op == "bar":
                interval, source, _ = node.params
                assert isinstance(interval, Duration) and isinstance(source, str)
                specs[(interval.ns, source)] = None
    if isinstance(fs.trigger.bar, BarRef):
        specs[(fs.trigger.bar.interval.ns, fs.trigger.bar.source)] = None
    return [s for s in specs if s[1] != "feed"]


def _bars(e: npt.NDArray[Any], t: Ints, spec: tuple[int, str], lot: float) -> dict[str, Floats]:
    """Time bars (rule 24): their exclusive end and their fields, in order."""
    width, source = spec
    chosen = np.flatnonzero(e["kind"] == (Kind.QUOTE if source == "mid" else Kind.TRADE))
    v = e["v"][chosen]
    bucket = t[chosen] // width
    start = np.flatnonzero(np.diff(bucket, prepend=np.int64(-(2**62)))) if len(chosen) else np.zeros(0, np.int64)
    x = 0.5 * (v[:, 0] + v[:, 1]) if source == "mid" else v[:, 0]
    out: dict[str, Any] = {"end": (bucket[start] + 1) * width}
    if not len(start):
        return {**out, **{name: np.zeros(0) for name in BAR_FIELDS}}
    stop = np.append(start[1:], len(chosen)) - 1
    out["open"], out["close"] = x[start], x[stop]
    out["high"], out["low"] = np.maximum.reduceat(x, start), np.minimum.reduceat(x, start)
    out["volume"] = np.full(len(start), np.nan)
    if source == "trade":
        size = lot if lot > 0 else UNKNOWN_LOT
        missing = (e["flags"][chosen] & Flag.NO_QTY) != 0
        with np.errstate(all="ignore"):
            lots = np.rint(v[:, 1] / size)
        missing |= ~(lots < 2.0**62)
        whole = np.add.reduceat(np.where(missing, 0.0, lots).astype(np.int64), start)
        known = np.add.reduceat(missing.astype(np.int64), start) == 0
        out["volume"] = np.where(known, whole.astype(np.float64) * size, np.nan)
    return out


def _boundaries(fs: FeatureSet, t: Ints) -> tuple[Bools, Ints]:
    """Which events come at or after a boundary of every(d) since the previous event, and that boundary."""
    reads, boundary = np.zeros(len(t), np.bool_), np.zeros(len(t), np.int64)
    if fs.trigger.every is not None and len(t) > 1:
        d = fs.trigger.every.ns
        boundary[1:] = (t[:-1] // d + 1) * d
        reads[1:] = t[1:] >= boundary[1:]
    return reads, boundary


class _Columns:
    """Columns of expressions over one timeline; each distinct expression is evaluated once."""

    def __init__(self, line: _Timeline) -> None:
        self.line = line
        self.kernels = need("alpha.features._batch_kernels", "data")
        self.known: dict[Expr, _Column] = {}
        self.updates_of: dict[Expr, _Updates] = {}

    def of(self, e: Expr) -> _Column:
        if e not in self.known:
            self.known[e] = self._build(e)
        return self.known[e]

    def _build(self, e: Expr) -> _Column:
        steps = len(self.line.t)
        if e.op == "const":
            value = e.params[0]
            assert isinstance(value, float)
            return _Column(np.full(steps, value), np.zeros(steps, np.bool_), np.ones(steps, np.bool_))
        if e.op == "bar":
            return self._bar(e)
        if OPERATORS[e.op].kind == "source":
            return self._source(e.op)
        if OPERATORS[e.op].kind == "pointwise":
            return self._pointwise(e)
        return _STATEFUL[e.op](self, e)

    def _held(self, at: Ints, values: Floats) -> _Column:
        """A column that takes ``values`` at steps ``at`` and keeps them."""
        steps = np.arange(len(self.line.t))
        update = np.zeros(len(steps), np.bool_)
        update[at] = True
        number = np.cumsum(update) - 1
        padded = np.append(values, np.nan)
        last = np.append(at, -1)[number]
        return _Column(padded[number], update, last >= self.line.gap_from)

    def _source(self, name: str) -> _Column:
        op, e = OPERATORS[name], self.line.events
        chosen = e["kind"] == (Kind.QUOTE if op.group == "quote" else Kind.TRADE)
        if op.needs_qty:
            chosen &= (e["flags"] & Flag.NO_QTY) == 0
        v = e["v"][chosen]
        return self._held(self.line.own[chosen], _SOURCES[name](v))

    def _bar(self, e: Expr) -> _Column:
        interval, source, field = e.params
        assert isinstance(interval, Duration) and isinstance(source, str) and isinstance(field, str)
        if source == "feed":
            events = self.line.events
            chosen = events["kind"] == Kind.BAR
            if field == "volume":
                chosen &= (events["flags"] & Flag.NO_QTY) == 0
            return self._held(self.line.own[chosen], events["v"][chosen][:, BAR_FIELDS.index(field)])
        at, number = self.line.closes[(interval.ns, source)]
        values = self.line.bars[(interval.ns, source)][field][number]
        known = ~np.isnan(values) if field == "volume" else np.ones(len(values), np.bool_)
        return self._held(at[known], values[known])

    def _pointwise(self, e: Expr) -> _Column:
        operands = [self.of(a) for a in e.args]
        update, ready = operands[0].update, operands[0].ready
        for other in operands[1:]:
            update, ready = update | other.update, ready & other.ready
        return _Column(_POINTWISE[e.op](*(o.value for o in operands)), update, ready)

    def updates(self, e: Expr) -> _Updates:
        """Finite updates of the operand of a stateful node."""
        if e not in self.updates_of:
            column, line = self.of(e), self.line
            moved = column.update & np.isfinite(column.value)
            at = np.flatnonzero(moved)
            ready_at = at[column.ready[at]]
            first = np.searchsorted(ready_at, line.gap_from, side="left")
            count = np.searchsorted(ready_at, np.arange(len(line.t)), side="right") - first
            times = np.append(line.t[ready_at], np.int64(0))
            self.updates_of[e] = _Updates(
                column.value[at],
                line.t[at],
                moved,
                np.cumsum(moved),
                np.maximum(count, 0),
                times[np.minimum(first, len(ready_at))],
            )
        return self.updates_of[e]

    def counted(self, u: _Updates, results: Floats, needed: int) -> _Column:
        """Results per update, warm after ``needed`` updates."""
        warm = u.seen >= needed
        value = np.where(warm, np.append(results, np.nan)[u.seen - 1], np.nan)
        return _Column(value, u.moved & warm, u.gap_seen >= needed)

    def timed(self, u: _Updates, results: Floats, w: int, enough: Bools | None = None) -> _Column:
        """Results per step, warm when ``w`` ns have passed since the first update and samples suffice."""
        t = self.line.t
        begin = u.t[0] if len(u.t) else np.int64(2**62)
        warm = (u.seen > 0) & (t - w >= begin)
        ready = (u.gap_seen > 0) & (t - w >= u.gap_first)
        if enough is not None:
            warm, ready = warm & enough, ready & enough
        return _Column(np.where(warm, results, np.nan), u.moved & warm, ready)

    def lag(self, e: Expr) -> _Column:
        u, window = self.updates(e.args[0]), e.param("window")
        if isinstance(window, Duration):
            at = np.searchsorted(u.t, self.line.t - window.ns, side="right") - 1
            padded = np.append(u.x, np.nan)
            newest, old = padded[u.seen - 1], np.where(at >= 0, padded[at], np.nan)
            return self.timed(u, _lagged(e.op, newest, old, window.ns), window.ns)
        assert isinstance(window, int)
        old = np.full(len(u.x), np.nan)
        old[window:] = u.x[: max(len(u.x) - window, 0)]
        return self.counted(u, _lagged(e.op, u.x, old, 0), window + 1)

    def rolling(self, e: Expr) -> _Column:
        u, window = self.updates(e.args[0]), e.param("window")
        squares = e.op in ("var", "std", "zscore")
        ddof = e.param("ddof") if squares else 0
        assert isinstance(ddof, int)
        samples = {"count": 0, "sum": 0, "mean": 1}.get(e.op, ddof + 1)
        if isinstance(window, Duration):
            hi = u.seen.astype(np.int64)
            lo = np.minimum(np.searchsorted(u.t, self.line.t - window.ns, side="right"), hi)
        else:
            assert isinstance(window, int)
            hi = np.arange(1, len(u.x) + 1)
            lo = np.maximum(hi - window, 0)
        newest = np.append(u.x, np.nan)[hi - 1]
        n = (hi - lo).astype(np.float64)
        if e.op == "count":
            results = n
        else:
            total, spread, flat = self.kernels.rolling_sums(u.x, lo.astype(np.int64), hi.astype(np.int64), squares)
            results = _statistic(e.op, n, total, spread, flat.astype(np.bool_), newest, ddof)
        if isinstance(window, Duration):
            return self.timed(u, results, window.ns, hi - lo >= samples)
        return self.counted(u, results, window)

    def ema(self, e: Expr) -> _Column:
        u, span, half_life = self.updates(e.args[0]), e.param("span"), e.param("half_life")
        if isinstance(half_life, Duration):
            y = self.kernels.ema_half_life(u.x, u.t, float(half_life.ns))
            return self.timed(u, np.append(y, np.nan)[u.seen - 1], half_life.ns)
        assert isinstance(span, int)
        return self.counted(u, self.kernels.ema_span(u.x, 2.0 / (span + 1)), span)

    def rsi(self, e: Expr) -> _Column:
        u, n = self.updates(e.args[0]), e.param("n")
        assert isinstance(n, int)
        return self.counted(u, self.kernels.rsi(u.x, n), n + 1)


def _statistic(op: str, n: Floats, total: Floats, spread: Floats, flat: Bools, newest: Floats, ddof: int) -> Floats:
    """Rules 10 to 15 and 41 from exact sums."""
    if op == "sum":
        return total + 0.0
    mean = np.where(flat, newest, total / n) + 0.0
    if op == "mean":
        return mean
    var = np.where(flat, 0.0, spread / (n * (n - ddof)))
    var = np.where(var < 0.0, 0.0, var)
    if op == "var":
        return var
    std = np.sqrt(var)
    if op == "std":
        return std
    z = np.where(std == 0.0, 0.0, (newest - mean) / std)
    return np.where(np.abs(z) < TINY, 0.0, z) + 0.0


def _lagged(op: str, x: Floats, y: Floats, w_ns: int) -> Floats:
    if op == "lag":
        return y
    if op == "diff":
        return (x - y) + 0.0
    if op == "velocity":
        return (x - y) / (w_ns / 1e9) + 0.0
    ratio = _divide(x, y)
    return (ratio - 1.0 if op == "ret" else log(ratio)) + 0.0


def _divide(x: Floats, y: Floats) -> Floats:
    return np.where(y == 0.0, np.nan, x / y)


def log(x: Floats) -> Floats:
    """Natural logarithm by one fixed algorithm, < 1 ulp (rule 42); NaN for x <= 0."""
    x = np.asarray(x, dtype=np.float64)
    with np.errstate(all="ignore"):
        m, k = np.frexp(np.where((x > 0) & (x < np.inf), x, 1.0))
        low = m < SQRT_HALF
        m, k = np.where(low, m * 2.0, m), (k - low).astype(np.float64)
        f = m - 1.0
        s = f / (2.0 + f)
        z = s * s
        r = np.full_like(z, LOG[-1])
        for c in LOG[-2::-1]:
            r = c + z * r
        r = z * r
        h = (0.5 * f) * f
        y = k * LN2_HI - ((h - (s * (h + r) + k * LN2_LO)) - f)
    return np.where(x > 0, np.where(x == np.inf, np.inf, y), np.nan)


_SOURCES: dict[str, Callable[[Floats], Floats]] = {
    "bid_px": lambda v: v[:, 0],
    "ask_px": lambda v: v[:, 1],
    "bid_qty": lambda v: v[:, 2],
    "ask_qty": lambda v: v[:, 3],
    "mid": lambda v: 0.5 * (v[:, 0] + v[:, 1]),
    "spread": lambda v: v[:, 1] - v[:, 0],
    "microprice": lambda v: _divide(v[:, 0] * v[:, 3] + v[:, 1] * v[:, 2], v[:, 2] + v[:, 3]),
    "imbalance": lambda v: _divide(v[:, 2] - v[:, 3], v[:, 2] + v[:, 3]),
    "px": lambda v: v[:, 0],
    "qty": lambda v: v[:, 1],
    "side": lambda v: v[:, 2],
}

_POINTWISE: dict[str, Callable[..., Floats]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": _divide,
    "neg": lambda x: -x,
    "abs": np.abs,
    "log": log,
}

_STATEFUL: dict[str, Callable[[_Columns, Expr], _Column]] = {
    **dict.fromkeys(("lag", "diff", "ret", "logret", "velocity"), _Columns.lag),
    **dict.fromkeys(("count", "sum", "mean", "var", "std", "zscore"), _Columns.rolling),
    "ema": _Columns.ema,
    "rsi": _Columns.rsi,
}

_missing = {n for n, o in OPERATORS.items() if o.kind != "source"} - set(_POINTWISE) - set(_STATEFUL)
_missing |= {n for n, o in OPERATORS.items() if o.kind == "source"} - set(_SOURCES)
if _missing:
    raise DefinitionError(f"the batch twin lacks operators of the table: {sorted(_missing)}")
