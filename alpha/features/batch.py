"""The batch twin: a feature set over whole arrays of events. Floor 2.

Vectorised with numpy, sequential parts by numba; none of the native code. Each instrument's
accepted events become a timeline of *steps*: a READ at a boundary of ``every(d)``, a CLOSE
where built bars end, and the event's OWN update, in this order. Every expression node is a
column over the steps: its value, whether it passes an update on, whether it is ready.

    >>> rows = compute(feature_set, events, instruments)   # doctest: +SKIP
    >>> rows.values.shape, rows.ready.shape                # doctest: +SKIP
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError, DefinitionError, need
from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, Flag, Kind
from alpha.features._batch_timeline import Bools, Floats, Ints, Timeline
from alpha.features.coefficients import LN2_HI, LN2_LO, LOG, SQRT_HALF
from alpha.features.feature_set import FeatureSet
from alpha.features.language import Duration, Expr
from alpha.features.operators import BAR_FIELDS, OPERATORS

TINY = 2.0**-30  # rule 15


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
    seen = _of_interest(events, accepted)
    ids = events["instrument_id"][seen].astype(np.int64)
    n = len(instruments) if instruments is not None else int(ids[ids != ALL_INSTRUMENTS].max(initial=-1)) + 1
    lots = instruments.lots() if instruments is not None else np.full(n, np.nan)
    order = np.argsort(ids, kind="stable")
    first = np.searchsorted(ids[order], np.arange(n + 1))
    to_all = seen[order[np.searchsorted(ids[order], ALL_INSTRUMENTS) :]]

    def part(i: int) -> Detail | None:
        own = seen[order[first[i] : first[i + 1]]]
        if not len(own) and not len(to_all):
            return None
        mine = np.sort(np.concatenate([own, to_all])) if len(to_all) else own
        return _evaluate(fs, Timeline.build(fs, events, mine, float(lots[i])), i, with_scale)

    with ThreadPoolExecutor(max(1, min(n, os.cpu_count() or 1))) as pool:  # numpy and the kernels drop the GIL
        parts = [p for p in pool.map(part, range(n)) if p is not None]
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


def _of_interest(events: npt.NDArray[Any], accepted: Bools | None) -> Ints:
    """Indices of the events that features see; DataError where the arrays are not what they should be."""
    if getattr(events, "dtype", None) != EVENT_DTYPE or events.ndim != 1:
        raise DataError("events must be a one-dimensional array of EVENT_DTYPE: read them with alpha.data")
    kind = events["kind"]
    seen = kind != Kind.CONTROL
    seen &= (events["instrument_id"] != ALL_INSTRUMENTS) | (kind == Kind.TIMER) | (kind == Kind.STATUS)
    if accepted is not None:
        verdict = np.asarray(accepted)
        if verdict.dtype != np.bool_ or verdict.shape != events.shape:
            found = f"{verdict.dtype} {list(verdict.shape)}"
            raise DataError(f"accepted must be bool [{len(events)}], one verdict per event, not {found}")
        seen &= verdict
    return np.flatnonzero(seen)


def _evaluate(fs: FeatureSet, line: Timeline, instrument: int, with_scale: bool) -> Detail:
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


class _Columns:
    """Columns of expressions over one timeline; each distinct expression is evaluated once."""

    def __init__(self, line: Timeline) -> None:
        self.line = line
        need("numba", "data")
        self.kernels = importlib.import_module("alpha.features._batch_kernels")
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
        if e.op not in _STATEFUL:
            raise DefinitionError(f"operator {e.op!r} has no implementation in the batch twin")
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
            count = np.cumsum(moved & column.ready) - first
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
