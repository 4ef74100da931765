"""Columns of the batch twin: every expression node over the steps of one timeline. Floor 2.

A column is a node's value at each step, whether it passes an update on, and whether it is ready.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from threading import RLock
from typing import Any, NamedTuple

import numpy as np

from alpha.errors import DefinitionError
from alpha.events import Flag, Kind
from alpha.features import _batch_formulas as formulas
from alpha.features._batch_bars import counted_trades, whole_size
from alpha.features._batch_sessions import Seen, time_of_day
from alpha.features._batch_timeline import Bools, Floats, Ints, Timeline
from alpha.features.language import BarClock, Duration, Expr, ParamValue, resets
from alpha.features.operators import FEED_FIELDS, OPERATORS


class Kernels(NamedTuple):
    """The compiled modules; whoever computes loads them, because numba takes its time to."""

    moments: Any  # _batch_kernels
    recursive: Any
    orders: Any
    sums: Any
    clocks: Any
    steps: Any


@dataclass(frozen=True, slots=True)
class Column:
    value: Floats
    update: Bools
    ready: Bools


@dataclass(frozen=True, slots=True)
class _Updates:
    """The finite updates of a stateful node's operand, or samples of its two, and where each step stands."""

    x: Floats  # [m] values
    y: Floats  # [m] values of the second operand; x where there is one
    t: Ints  # [m] times
    moved: Bools  # [S] an update happened at this step
    seen: Ints  # [S] updates up to and including this step
    base: Ints  # [S] how many of them were before the last break, [1] (0) for what never starts again
    begun: Ints  # [m] for each update the first one since the last break, [1] (0) for what never starts again
    gap_seen: Ints  # [S] updates with ready operands since the last gap, or break
    gap_first: Ints  # [S] time of the first of those (undefined where gap_seen is 0)

    def runs(self) -> list[slice]:
        """The stretches of updates between breaks."""
        if len(self.begun) != len(self.x):
            return [slice(0, len(self.x))]
        edges = [*np.unique(self.begun).tolist(), len(self.x)]
        return [slice(a, b) for a, b in pairwise(edges)]

    def each(self, kernel: Callable[[slice], Floats]) -> Floats:
        """One result per update by a kernel that starts again at every break."""
        runs = self.runs()
        return kernel(runs[0]) if len(runs) == 1 else np.concatenate([np.zeros(0), *(kernel(r) for r in runs)])


class _Windows(NamedTuple):
    """Windows [lo, hi) of the updates: one per update for counts, one per step for times."""

    lo: Ints
    hi: Ints
    n: Floats  # how many updates each holds


class Columns:
    """Columns of expressions over one timeline; each distinct expression is evaluated once."""

    def __init__(self, line: Timeline, kernels: Kernels, seen: Mapping[Expr, Seen]) -> None:
        self.line = line
        self.kernels = kernels
        self.seen = seen  # what each of(...) looks at
        self.known: dict[Expr, Column] = {}
        self.updates_of: dict[tuple[tuple[Expr, ...], bool], _Updates] = {}
        self.sums_of: dict[tuple[object, ...], Any] = {}
        self.events_of: dict[tuple[int, bool], tuple[Ints, Floats]] = {}
        self.locks: dict[object, RLock] = {}
        self.always = np.ones(len(line.t), np.bool_)  # by identity: so nobody needs to look
        self.later: dict[int, Bools] = {}  # from so many steps on
        self.numbers = np.arange(1, len(line.t) + 1)

    def once(self, known: dict[Any, Any], key: Any, build: Callable[[], Any]) -> Any:
        """``known[key]``, made by the first thread that asks; expressions have no circles, so nobody waits in one."""
        if key not in known:
            with self.locks.setdefault((id(known), key), RLock()):
                if key not in known:
                    known[key] = build()
        return known[key]

    def of(self, e: Expr) -> Column:
        column: Column = self.once(self.known, e, lambda: self._build(e))
        return column

    def _build(self, e: Expr) -> Column:
        steps = len(self.line.t)
        if e.op == "const":
            value = e.params[0]
            assert isinstance(value, float)
            return Column(np.full(steps, value), np.zeros(steps, np.bool_), np.ones(steps, np.bool_))
        if e.op == "bar":
            return self._bar(e)
        if e.op == "of":
            found, ready = self.seen[e].at(self.line, self.line.market.instrument)
            return Column(found, np.zeros(steps, np.bool_), ready)
        if e.op == "input":
            return self._input(e)
        if OPERATORS[e.op].group == "time":
            now = time_of_day(e.op, self.line.t, self.line.market.sessions, self.line.by_close)
            return Column(now, np.zeros(steps, np.bool_), np.ones(steps, np.bool_))
        if OPERATORS[e.op].kind == "source":
            return self._level(e) if e.params else self._source(e.op)
        if OPERATORS[e.op].kind == "pointwise":
            return self._pointwise(e)
        if e.op not in _STATEFUL:
            raise DefinitionError(f"operator {e.op!r} has no implementation in the batch twin")
        return _STATEFUL[e.op](self, e)

    def _held(self, at: Ints, values: Floats, since: Ints | None = None, again: bool = True) -> Column:
        """A column that takes ``values`` at steps ``at`` and keeps them; ``since``: the first step that each needs;
        ``again``: a session break takes them away."""
        since = at if since is None else since
        gone = again and self.line.breaks
        if len(at) == len(self.line.t) and since is at and not gone:  # it moves at every step
            return Column(values, self.always, self.always)
        return Column(*self.kernels.steps.held(at, values, since, self.line.gap_from, self.line.break_from, gone))

    def _first_since_break(self, at: Ints) -> Bools:
        """Which of the updates at these steps have none before them since the last break."""
        return np.asarray(np.append(-1, at[:-1])[: len(at)] < self.line.break_from[at])

    def _events(self, kind: int, sized: bool) -> Any:
        """Steps and values of the events of one kind, ``sized``: those with sizes; each field in one piece."""
        chosen = self.line.events["kind"] == kind
        if sized:
            has = (self.line.events["flags"] & Flag.NO_QTY) == 0
            if has.all():
                return self.once(self.events_of, (kind, False), lambda: self._events(kind, False))
            chosen &= has
        if chosen.all():
            return self.line.own, np.asfortranarray(self.line.events["v"])
        return self.line.own[chosen], np.asfortranarray(self.line.events["v"][chosen])

    def _source(self, name: str) -> Column:
        op, e = OPERATORS[name], self.line.events
        kind = Kind.QUOTE if op.group == "quote" else Kind.TRADE
        if name == "ofi":
            return self._flow((e["kind"] == kind) & ((e["flags"] & Flag.NO_QTY) == 0))
        at, v = self.once(self.events_of, (kind, op.needs_qty), lambda: self._events(kind, op.needs_qty))
        if name == "trade_sign":
            quotes = e["kind"] == Kind.QUOTE
            mids = np.append(formulas.SOURCES["mid"](e["v"][quotes]), np.nan)
            before = np.cumsum(quotes)[e["kind"] == kind] - 1  # -1, the NaN at the end, where there was none
            before[np.append(self.line.own[quotes], -1)[before] < self.line.break_from[at]] = -1
            return self._held(at, formulas.trade_signs(v[:, 0], v[:, 2], mids[before], self._first_since_break(at)))
        return self._held(at, formulas.SOURCES[name](v))

    def _flow(self, chosen: Bools) -> Column:
        """Each of these events against the one before, which must be later than a gap to make it ready."""
        at = self.line.own[chosen]
        v = self.line.events["v"][chosen].copy()
        deep = self.line.events["kind"][chosen] == Kind.DEPTH
        v[:, :2][deep[:, None] & (v[:, 2:4] == 0.0)] = np.nan  # an empty side has no price
        pair = ~self._first_since_break(at)[1:]
        return self._held(at[1:][pair], formulas.order_flow(v)[pair], at[:-1][pair])

    def _level(self, e: Expr) -> Column:
        """A source of one level of the book below the best."""
        name, events = e.op.removesuffix("_at"), self.line.events
        chosen = (events["kind"] == Kind.DEPTH) & (events["level"] == e.param("level"))
        sized = (events["flags"] & Flag.NO_QTY) == 0
        if name == "ofi":
            return self._flow(chosen & sized)
        if name.endswith("qty"):
            chosen &= sized
        v = events["v"][chosen]
        values = formulas.SOURCES[name](v)
        if name.endswith("px"):  # the size says whether there is a price, where there are sizes
            empty = sized[chosen] & (formulas.SOURCES[name.replace("px", "qty")](v) == 0.0)
            values = np.where(empty, np.nan, values)
        return self._held(self.line.own[chosen], values)

    def _bar(self, e: Expr) -> Column:
        interval, source, field = e.params
        assert isinstance(interval, (Duration, BarClock)) and isinstance(source, str) and isinstance(field, str)
        if source == "feed":
            events = self.line.events
            chosen = events["kind"] == Kind.BAR
            if field == "volume":
                chosen &= (events["flags"] & Flag.NO_QTY) == 0
            return self._held(self.line.own[chosen], events["v"][chosen][:, FEED_FIELDS.index(field)], again=False)
        at, number = self.line.closes[(interval, source)]
        bars = self.line.bars[(interval, source)]
        values = bars.fields[field][number]
        known = bars.known[field][number] if field in bars.known else np.ones(len(values), np.bool_)
        return self._held(at[known], values[known], again=False)

    def _input(self, e: Expr) -> Column:
        """An external series, NaN once it is older than ``max_age``."""
        line, age = self.line, e.param("max_age")
        v = line.events["v"]
        chosen = (line.events["kind"] == Kind.INPUT) & (v[:, 0] == line.inputs.index(str(e.param("name"))))
        at = line.own[chosen]
        held = self._held(at, v[chosen][:, 1], again=False)
        number = np.cumsum(held.update) - 1
        value = held.value
        if isinstance(age, Duration):
            since = np.append(line.t[at], 0)[number]
            value = np.where(line.t - since > age.ns, np.nan, value)
        return Column(value, held.update, number >= 0)

    def vpin(self, e: Expr) -> Column:
        line, volume, n = self.line, e.param("volume"), e.param("n")
        assert isinstance(volume, float) and isinstance(n, int)
        chosen = line.events["kind"] == Kind.TRADE
        v, flags = line.events["v"][chosen], line.events["flags"][chosen]
        trades = counted_trades(v, flags, line.market, self.kernels.clocks, cash=False)
        at = line.own[chosen][~trades.missing]
        sign = self.of(Expr("trade_sign")).value[at].astype(np.int64)
        again = resets(e)
        first = self._first_since_break(at) if again else np.arange(len(at)) == 0
        bucket = whole_size(volume, line.market.lot)
        assert bucket is not None  # check_sizes has seen to it
        values, filled = self.kernels.clocks.vpin(
            trades.lots[~trades.missing], sign, first, bucket, n, float(n * bucket)
        )
        passed = ~np.isnan(values)
        held = self._held(at[passed], values[passed], again=again)
        buckets = np.zeros(len(line.t) + 1, np.int64)
        buckets[at + 1] = filled
        buckets = np.cumsum(buckets)
        since = np.maximum(line.gap_from, line.break_from) if again else line.gap_from
        return Column(held.value, held.update, buckets[1:] - buckets[since] >= n)

    def _pointwise(self, e: Expr) -> Column:
        operands = [self.of(a) for a in e.args]
        update, ready = operands[0].update, operands[0].ready
        for other in operands[1:]:
            if other.update is not update:
                update = self.always if self.always is other.update else update | other.update
            if other.ready is not ready:
                ready = (
                    other.ready
                    if ready is self.always
                    else ready
                    if other.ready is self.always
                    else ready & other.ready
                )
        value = formulas.POINTWISE[e.op](*(o.value for o in operands), *e.params)
        return Column(value, update, ready)

    def updates(self, e: Expr) -> _Updates:
        """Finite updates of a stateful node's operand; of two, a sample wherever either passes an update and both
        are finite."""
        again = self.line.breaks and resets(e)
        key = e.args, again
        updates: _Updates = self.once(self.updates_of, key, lambda: self._updates(e, again))
        return updates

    def _updates(self, e: Expr, again: bool) -> _Updates:
        columns, line = [self.of(a) for a in e.args], self.line
        first, last = columns[0], columns[-1]
        since = np.maximum(line.gap_from, line.break_from) if again else line.gap_from
        each = all(c.update is self.always and c.ready is self.always for c in columns) and not since.any()
        if each and all(np.isfinite(c.value).all() for c in columns):  # one at every step
            n, zero = self.numbers, np.zeros(1, np.int64)
            begun = np.broadcast_to(line.t[:1], n.shape)
            return _Updates(first.value, last.value, line.t, self.always, n, zero, zero, n, begun)
        at, x, y, t, moved, seen, gap_seen, gap_first = self.kernels.steps.taken(
            first.value, last.value, first.update, last.update, first.ready, last.ready, line.t, since
        )
        base = np.searchsorted(at, line.break_from, side="left") if again else np.zeros(1, np.int64)
        return _Updates(x, y, t, moved, seen, base, base[at] if again else base, gap_seen, gap_first)

    def counted(self, u: _Updates, results: Floats, needed: int) -> Column:
        """Results per update, warm after ``needed`` updates."""
        if u.seen is self.numbers:  # one at every step
            value, after = results.copy(), self.once(self.later, needed, lambda: self.numbers >= needed)
            value[: needed - 1] = np.nan
            return Column(value, after, after)
        return Column(*self.kernels.steps.counted(results, u.seen, u.base, u.moved, u.gap_seen, needed))

    def timed(self, u: _Updates, results: Floats, w: int, enough: Bools | None = None) -> Column:
        """Results per step, warm when ``w`` ns have passed since the first update and samples suffice."""
        enough = np.zeros(0, np.bool_) if enough is None else enough
        times = np.append(u.t, np.int64(2**62))
        return Column(
            *self.kernels.steps.timed(
                results, enough, self.line.t, times, u.seen, u.base, u.moved, u.gap_seen, u.gap_first, w
            )
        )

    def lag(self, e: Expr) -> Column:
        u, window = self.updates(e), e.param("window")
        if isinstance(window, Duration):
            at = self.kernels.steps.until(u.t, self.line.t, window.ns) - 1
            newest = u.x if u.seen is self.numbers else np.append(u.x, np.nan)[u.seen - 1]
            old = self.kernels.steps.picked(u.x, at, u.base)
            return self.timed(u, formulas.lagged(e.op, newest, old, window.ns), window.ns)
        assert isinstance(window, int)
        old = np.full(len(u.x), np.nan)
        old[window:] = u.x[: max(len(u.x) - window, 0)]
        if self.line.breaks:
            old[np.arange(len(old)) - window < u.begun] = np.nan
        return self.counted(u, formulas.lagged(e.op, u.x, old, 0), window + 1)

    def windows(self, u: _Updates, window: ParamValue | None) -> _Windows:
        if isinstance(window, Duration):
            hi = u.seen
            lo = np.minimum(self.kernels.steps.until(u.t, self.line.t, window.ns), hi)
            lo = np.maximum(lo, u.base)
        else:
            assert isinstance(window, int)
            hi = np.arange(1, len(u.x) + 1)
            lo = np.maximum(hi - window, u.begun)
        return _Windows(lo, hi, (hi - lo).astype(np.float64))

    def rolling(self, e: Expr) -> Column:
        """Every operator over a window of updates or of time."""
        u, window = self.updates(e), e.param("window")
        w = self.windows(u, window)
        results = _ROLLING[e.op](self, e, u, w)
        if isinstance(window, Duration):
            samples = OPERATORS[e.op].samples
            return self.timed(u, results, window.ns, w.hi - w.lo >= (samples if samples >= 0 else _ddof(e) + 1))
        assert isinstance(window, int)
        return self.counted(u, results, window)

    def shared(self, e: Expr, what: str, compute: Callable[[], Any]) -> Any:
        """Sums that several operators over the same window of the same operands read."""
        key = (what, e.args, e.param("window"), self.line.breaks and resets(e))
        return self.once(self.sums_of, key, compute)

    def moments(self, e: Expr, u: _Updates, w: _Windows) -> Floats:
        if e.op == "count":
            return w.n
        squares = 2 if e.op in ("var", "std") else int(e.op == "zscore")
        total, spread, flat = self.kernels.moments.rolling_sums(u.x, w.lo, w.hi, squares)
        if squares == 2:
            return self.kernels.steps.dispersion(spread, w.n, flat, _ddof(e), e.op == "std")  # type: ignore[no-any-return]
        return formulas.statistic(e.op, w.n, total, spread, flat.astype(np.bool_), _newest(u.x, w), _ddof(e))

    def mad(self, e: Expr, u: _Updates, w: _Windows) -> Floats:
        total, _, same = self.kernels.moments.rolling_sums(u.x, w.lo, w.hi, 0)
        flat = same.astype(np.bool_)
        center = np.where(flat, _newest(u.x, w), total / w.n)  # the rounded mean
        return np.where(flat, 0.0, self.kernels.sums.rolling_distances(u.x, w.lo, w.hi, center) / w.n)

    def skew(self, e: Expr, u: _Updates, w: _Windows) -> Floats:
        flat = formulas.all_equal(u.x, w.lo, w.hi)
        third, second = self.kernels.sums.rolling_cubes(u.x, w.lo, w.hi, flat)
        return formulas.skewness(w.n, third, second, flat)

    def extreme(self, e: Expr, u: _Updates, w: _Windows) -> Floats:
        lowest = e.op in ("min", "argmin")
        at: Ints = self.kernels.orders.rolling_lowest(u.x if lowest else -u.x, w.lo, w.hi)
        if e.op in ("min", "max"):
            return np.asarray(np.append(u.x, np.nan)[at] + 0.0)
        return np.where(at < 0, np.nan, (at - w.lo + 1).astype(np.float64))

    def order(self, e: Expr, u: _Updates, w: _Windows) -> Floats:
        values, places = np.unique(u.x, return_inverse=True)
        places = places.astype(np.int64)
        if e.op == "rank":
            less, equal = self.kernels.orders.rolling_rank(places, len(values), w.lo, w.hi)
            return np.asarray((less + (equal + 1) / 2.0) / w.n)
        q = 0.5 if e.op == "median" else e.param("q")
        assert isinstance(q, float)
        p = q * np.maximum(w.n - 1.0, 0.0)
        below = np.floor(p).astype(np.int64)
        above = np.minimum(below + 1, np.maximum(w.hi - w.lo - 1, 0))
        first, second = self.kernels.orders.rolling_nth(places, len(values), w.lo, w.hi, below, above)
        padded = np.append(values, np.nan)
        a: Floats = padded[first]
        b: Floats = padded[second]
        if e.op == "median":
            return np.asarray(np.where(p == below, a, 0.5 * (a + b)) + 0.0)
        return np.asarray(a + (b - a) * (p - below) + 0.0)

    def pair(self, e: Expr, u: _Updates, w: _Windows) -> Floats:
        x, y = (u.y, u.x) if e.op == "beta" else (u.x, u.y)  # the regressor is beta's second operand
        flat = formulas.all_equal(x, w.lo, w.hi) | formulas.all_equal(y, w.lo, w.hi)
        sums = self.kernels.sums.rolling_pairs
        what = "regressed" if e.op == "beta" else "pair"
        c, vx, vy, _ = self.shared(e, what, lambda: sums(x, np.zeros_like(x), y, w.lo, w.hi, flat))
        return formulas.joint(e.op, w.n, c, vx, vy, flat, _ddof(e))

    def regression(self, e: Expr, u: _Updates, w: _Windows) -> Floats:
        window = e.param("window")
        timed = isinstance(window, Duration)
        when = u.t - u.t[:1] if timed else np.arange(len(u.x), dtype=np.int64)
        p = when.astype(np.float64)
        rest = (when - p.astype(np.int64)).astype(np.float64)
        flat = formulas.all_equal(when, w.lo, w.hi), formulas.all_equal(u.x, w.lo, w.hi)
        sums = self.kernels.sums.rolling_pairs
        # where all p are equal Vx still counts: qlib.rsquare asks for it
        c, vp, vx, resid = self.shared(e, "line", lambda: sums(p, rest, u.x, w.lo, w.hi, flat[1]))
        width = float(window.ns) if isinstance(window, Duration) else w.n
        result = formulas.regression(e.op, w.n, (c, vp, vx), resid, flat, width)
        return result * 1e9 if timed and e.op == "slope" else result

    def ema(self, e: Expr) -> Column:
        u, span, half_life, kernels = self.updates(e), e.param("span"), e.param("half_life"), self.kernels
        if isinstance(half_life, Duration):
            h = float(half_life.ns)
            y = u.each(lambda r: kernels.moments.ema_half_life(u.x[r], u.t[r], h))
            return self.timed(u, np.append(y, np.nan)[u.seen - 1], half_life.ns)
        skip, sma = e.param("skip"), e.param("seed") == "sma"
        assert isinstance(span, int) and isinstance(skip, int)
        if skip or sma:
            return self.counted(u, u.each(lambda r: kernels.recursive.ema_seeded(u.x[r], span, skip, sma)), skip + span)
        alpha = 2.0 / (span + 1)
        return self.counted(u, u.each(lambda r: kernels.moments.ema_span(u.x[r], alpha)), span)

    def ewm_std(self, e: Expr) -> Column:
        u, span = self.updates(e), e.param("span")
        assert isinstance(span, int)
        return self.counted(u, u.each(lambda r: self.kernels.recursive.ewm_std(u.x[r], span)), span)

    def wilder(self, e: Expr) -> Column:
        u, n, kernels = self.updates(e), e.param("n"), self.kernels.recursive
        assert isinstance(n, int)
        if e.op in ("wilder", "wilder_sum"):
            kernel = kernels.wilder if e.op == "wilder" else kernels.wilder_sum
            return self.counted(u, u.each(lambda r: kernel(u.x[r], n)), n)
        idle = 0.0 if e.op == "talib.rsi" else 100.0
        return self.counted(u, u.each(lambda r: kernels.rsi(u.x[r], n, idle)), n + 1)

    def since_reset(self, e: Expr) -> Column:
        u = self.updates(e)
        if e.op == "first":
            return self.counted(u, u.each(lambda r: np.repeat(u.x[r][:1], len(u.x[r]))), 1)
        return self.counted(u, u.each(lambda r: self.kernels.recursive.cumulative(u.x[r])) + 0.0, 1)


def _ddof(e: Expr) -> int:
    names = [p.name for p in OPERATORS[e.op].params]
    ddof = e.param("ddof") if "ddof" in names else 0
    assert isinstance(ddof, int)
    return ddof


def _newest(x: Floats, w: _Windows) -> Floats:
    return np.append(x, np.nan)[w.hi - 1]


_ROLLING: dict[str, Callable[[Columns, Expr, _Updates, _Windows], Floats]] = {
    **dict.fromkeys(("count", "sum", "mean", "var", "std", "zscore"), Columns.moments),
    **dict.fromkeys(("min", "max", "argmin", "argmax"), Columns.extreme),
    **dict.fromkeys(("rank", "quantile", "median"), Columns.order),
    **dict.fromkeys(("cov", "corr", "beta", "qlib.corr"), Columns.pair),
    **dict.fromkeys(("slope", "rsquare", "resid", "qlib.rsquare"), Columns.regression),
    "skew": Columns.skew,
    "mad": Columns.mad,
}

_STATEFUL: dict[str, Callable[[Columns, Expr], Column]] = {
    **dict.fromkeys(("lag", "diff", "ret", "logret", "velocity"), Columns.lag),
    **dict.fromkeys(_ROLLING, Columns.rolling),
    **dict.fromkeys(("wilder", "wilder_sum", "rsi", "talib.rsi"), Columns.wilder),
    **dict.fromkeys(("cumsum", "first"), Columns.since_reset),
    "ema": Columns.ema,
    "ewm_std": Columns.ewm_std,
    "vpin": Columns.vpin,
}
