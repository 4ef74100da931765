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
from alpha.features._batch_values import (
    POINTWISE,
    SOURCES,
    TINY,
    joint_value,
    lagged,
    line_value,
    order_flow,
    prevailing,
    samples_of,
    statistic,
    trade_signs,
)
from alpha.features.feature_set import FeatureSet
from alpha.features.language import Duration, Expr
from alpha.features.operators import BAR_FIELDS, OPERATORS


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

    x: Floats  # [m] values of the first operand
    y: Floats  # [m] values of the last operand
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
        self.sums = importlib.import_module("alpha.features._batch_kernels")
        self.windows = importlib.import_module("alpha.features._batch_windows")
        self.orders = importlib.import_module("alpha.features._batch_orders")
        self.recursive = importlib.import_module("alpha.features._batch_recursive")
        self.known: dict[Expr, _Column] = {}
        self.updates_of: dict[tuple[Expr, ...], _Updates] = {}

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
            return self._level(e) if e.params else self._source(e.op)
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
        at = self.line.own[chosen]
        if name == "ofi":
            return self._flow(at, v)
        if name == "trade_sign":
            quotes = e["kind"] == Kind.QUOTE
            mid = prevailing(SOURCES["mid"](e["v"][quotes]), self.line.own[quotes], at)
            return self._held(at, trade_signs(v[:, 0], v[:, 2], mid))
        return self._held(at, SOURCES[name](v))

    def _flow(self, at: Ints, v: Floats) -> _Column:
        """Order flow of books at steps ``at``: the first has none; ready when the one before it is after the gap."""
        column = self._held(at[1:], order_flow(v[:, 0], v[:, 1], v[:, 2], v[:, 3]))
        before = np.append(at, -1)[np.cumsum(column.update) - 1]
        return _Column(column.value, column.update, column.ready & (before >= self.line.gap_from))

    def _level(self, e: Expr) -> _Column:
        """A source of one level of the book below the best."""
        events, name = self.line.events, e.op.removesuffix("_at")
        chosen = (events["kind"] == Kind.DEPTH) & (events["level"] == e.param("level"))
        sized = (events["flags"] & Flag.NO_QTY) == 0
        if not name.endswith("px"):
            chosen &= sized
        v, at = events["v"][chosen].copy(), self.line.own[chosen]
        for side in (0, 1):  # an empty side has no price
            v[sized[chosen] & (v[:, 2 + side] == 0.0), side] = np.nan
        if name == "ofi":
            return self._flow(at, events["v"][chosen])
        return self._held(at, SOURCES[name](v))

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
        values = [o.value for o in operands]
        if e.op == "clip":
            lo, hi = e.param("lo"), e.param("hi")
            assert isinstance(lo, float) and isinstance(hi, float)
            return _Column(np.where(values[0] < lo, lo, np.where(values[0] > hi, hi, values[0])), update, ready)
        if e.op not in POINTWISE:
            raise DefinitionError(f"operator {e.op!r} has no implementation in the batch twin")
        return _Column(POINTWISE[e.op](*values), update, ready)

    def updates(self, *operands: Expr) -> _Updates:
        """Finite updates of the operand of a stateful node; of two operands, samples of both together (rule 37)."""
        if operands not in self.updates_of:
            columns, line = [self.of(e) for e in operands], self.line
            moved, ready = columns[0].update, columns[0].ready
            for other in columns[1:]:
                moved, ready = moved | other.update, ready & other.ready
            for column in columns:
                moved = moved & np.isfinite(column.value)
            at = np.flatnonzero(moved)
            ready_at = at[ready[at]]
            first = np.searchsorted(ready_at, line.gap_from, side="left")
            count = np.cumsum(moved & ready) - first
            times = np.append(line.t[ready_at], np.int64(0))
            self.updates_of[operands] = _Updates(
                columns[0].value[at],
                columns[-1].value[at],
                line.t[at],
                moved,
                np.cumsum(moved),
                np.maximum(count, 0),
                times[np.minimum(first, len(ready_at))],
            )
        return self.updates_of[operands]

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
            return self.timed(u, lagged(e.op, newest, old, window.ns), window.ns)
        assert isinstance(window, int)
        old = np.full(len(u.x), np.nan)
        old[window:] = u.x[: max(len(u.x) - window, 0)]
        return self.counted(u, lagged(e.op, u.x, old, 0), window + 1)

    def window(self, u: _Updates, window: object) -> tuple[Ints, Ints]:
        """Bounds [lo, hi) among the updates: per update for a count, per step for a time."""
        if isinstance(window, Duration):
            hi = u.seen.astype(np.int64)
            return np.minimum(np.searchsorted(u.t, self.line.t - window.ns, side="right"), hi).astype(np.int64), hi
        assert isinstance(window, int)
        hi = np.arange(1, len(u.x) + 1)
        return np.maximum(hi - window, 0), hi

    def windowed(self, u: _Updates, e: Expr, results: Floats, n: Floats) -> _Column:
        window = e.param("window")
        if isinstance(window, Duration):
            return self.timed(u, results, window.ns, n >= samples_of(e))
        assert isinstance(window, int)
        return self.counted(u, results, window)

    def rolling(self, e: Expr) -> _Column:
        u = self.updates(e.args[0])
        lo, hi = self.window(u, e.param("window"))
        n = (hi - lo).astype(np.float64)
        if e.op == "count":
            return self.windowed(u, e, n, n)
        ddof = e.param("ddof") if e.op in ("var", "std", "zscore") else 0
        assert isinstance(ddof, int)
        newest = np.append(u.x, np.nan)[hi - 1]
        total, spread, flat = self.sums.rolling_sums(u.x, lo, hi, e.op in ("var", "std", "zscore"))
        if e.op == "mad":
            mean = statistic("mean", n, total, spread, flat.astype(np.bool_), newest, 0)
            results = np.where(flat, 0.0, self.windows.deviation(u.x, mean, lo, hi) / n)
        else:
            results = statistic(e.op, n, total, spread, flat.astype(np.bool_), newest, ddof)
        return self.windowed(u, e, results, n)

    def ordered(self, e: Expr) -> _Column:
        u = self.updates(e.args[0])
        lo, hi = self.window(u, e.param("window"))
        n = (hi - lo).astype(np.float64)
        if e.op in ("rank", "quantile", "median"):
            q = e.param("q") if e.op == "quantile" else 0.0
            results = self.orders.orders(u.x, lo, hi, ("rank", "quantile", "median").index(e.op), q)
        else:
            at = self.orders.extremes(u.x, lo, hi, e.op.endswith("max"))
            results = (at - lo + 1).astype(np.float64) if e.op.startswith("arg") else np.append(u.x, np.nan)[at]
            results = np.where(at >= 0, results, np.nan)
        return self.windowed(u, e, results + 0.0, n)

    def skew(self, e: Expr) -> _Column:
        u = self.updates(e.args[0])
        lo, hi = self.window(u, e.param("window"))
        g = np.where(self.flat(u.x, lo, hi), 0.0, self.windows.skewness(u.x, lo, hi))
        return self.windowed(u, e, np.where(np.abs(g) < TINY, 0.0, g) + 0.0, (hi - lo).astype(np.float64))

    def flat(self, x: Floats, lo: Ints, hi: Ints) -> Bools:
        """All values of a window equal; True where it is empty."""
        return np.asarray(np.append(self.windows.run_starts(x), 0)[hi - 1] <= lo)

    def joint(self, e: Expr) -> _Column:
        u = self.updates(*e.args)
        lo, hi = self.window(u, e.param("window"))
        n = (hi - lo).astype(np.float64)
        still = self.flat(u.x, lo, hi) | self.flat(u.y, lo, hi)
        co, vx, vy, _ = self.windows.joint(u.x, u.t, False, u.y, lo, hi)
        return self.windowed(u, e, joint_value(e, n, co, vx, vy, still), n)

    def regression(self, e: Expr) -> _Column:
        u, window = self.updates(*e.args), e.param("window")
        lo, hi = self.window(u, window)
        n = (hi - lo).astype(np.float64)
        timed = isinstance(window, Duration)
        place = u.t if timed else np.arange(len(u.x))
        co, vx, vy, rest = self.windows.joint(u.x, place, True, u.x, lo, hi)
        seconds = window.ns / 1e9 if isinstance(window, Duration) else 0.0
        still = self.flat(u.x, lo, hi) | ~(vx > 0.0)
        return self.windowed(u, e, line_value(e.op, n, seconds, co, vx, vy, rest, still), n)

    def ema(self, e: Expr) -> _Column:
        u, span, half_life = self.updates(e.args[0]), e.param("span"), e.param("half_life")
        if isinstance(half_life, Duration):
            y = self.recursive.ema_half_life(u.x, u.t, float(half_life.ns))
            return self.timed(u, np.append(y, np.nan)[u.seen - 1], half_life.ns)
        skip = e.param("skip")
        assert isinstance(span, int) and isinstance(skip, int)
        if skip or e.param("seed") == "sma":
            y = self.recursive.ema_seeded(u.x, 2.0 / (span + 1), span, skip, e.param("seed") == "sma")
            return self.counted(u, y, span + skip)
        return self.counted(u, self.recursive.ema_span(u.x, 2.0 / (span + 1)), span)

    def recursion(self, e: Expr) -> _Column:
        u = self.updates(e.args[0])
        n = e.params[0] if e.params else 1
        assert isinstance(n, int)
        match e.op:
            case "ewm_std":
                return self.counted(u, self.recursive.ewm_std(u.x, 2.0 / (n + 1)), n)
            case "wilder":
                return self.counted(u, self.recursive.wilder(u.x, n), n)
            case "wilder_sum":
                return self.counted(u, self.recursive.wilder_sum(u.x, n), n)
            case "cumsum":
                return self.counted(u, self.recursive.cumulative(u.x), 1)
            case "first":
                return self.counted(u, np.full(len(u.x), u.x[0] if len(u.x) else np.nan), 1)
        return self.counted(u, self.recursive.rsi(u.x, n, 0.0 if e.op == "talib.rsi" else 100.0), n + 1)


_STATEFUL: dict[str, Callable[[_Columns, Expr], _Column]] = {
    **dict.fromkeys(("lag", "diff", "ret", "logret", "velocity"), _Columns.lag),
    **dict.fromkeys(("count", "sum", "mean", "mad", "var", "std", "zscore"), _Columns.rolling),
    **dict.fromkeys(("min", "max", "argmin", "argmax", "rank", "quantile", "median"), _Columns.ordered),
    **dict.fromkeys(("cov", "corr", "beta", "qlib.corr"), _Columns.joint),
    **dict.fromkeys(("slope", "rsquare", "resid", "qlib.rsquare"), _Columns.regression),
    **dict.fromkeys(("ewm_std", "wilder", "wilder_sum", "rsi", "talib.rsi", "cumsum", "first"), _Columns.recursion),
    "skew": _Columns.skew,
    "ema": _Columns.ema,
}
