"""What events show, as columns of the batch twin: quotes, trades, levels, bars, external series, VPIN. Floor 2."""

from __future__ import annotations

from typing import Any

import numpy as np

from alpha.events import Flag, Kind
from alpha.features import _batch_formulas as formulas
from alpha.features._batch_bars import counted_trades, whole_size
from alpha.features._batch_columns import Column, Columns
from alpha.features._batch_timeline import Bools
from alpha.features.language import BarClock, Duration, Expr, resets
from alpha.features.operators import FEED_FIELDS, OPERATORS


def _events(c: Columns, kind: int, sized: bool) -> Any:
    """Steps and values of the events of one kind, ``sized``: those with sizes; each field in one piece."""
    chosen = c.line.events["kind"] == kind
    if sized:
        has = (c.line.events["flags"] & Flag.NO_QTY) == 0
        if has.all():
            return c.once(c.events_of, (kind, False), lambda: _events(c, kind, False))
        chosen &= has
    v = c.line.events["v"][:, :4]  # all that a quote or a trade has
    if chosen.all():
        return c.line.own, np.asfortranarray(v)
    return c.line.own[chosen], np.asfortranarray(v[chosen])


def source(c: Columns, name: str) -> Column:
    op, e = OPERATORS[name], c.line.events
    kind = Kind.QUOTE if op.group == "quote" else Kind.TRADE
    if name == "ofi":
        return _flow(c, (e["kind"] == kind) & ((e["flags"] & Flag.NO_QTY) == 0))
    at, v = c.once(c.events_of, (kind, op.needs_qty), lambda: _events(c, kind, op.needs_qty))
    if name == "trade_sign":
        quotes = e["kind"] == Kind.QUOTE
        mids = np.append(formulas.SOURCES["mid"](e["v"][quotes]), np.nan)
        before = np.cumsum(quotes)[e["kind"] == kind] - 1  # -1, the NaN at the end, where there was none
        before[np.append(c.line.own[quotes], -1)[before] < c.line.break_from[at]] = -1
        return c.held(at, formulas.trade_signs(v[:, 0], v[:, 2], mids[before], c.first_since_break(at)))
    return c.held(at, formulas.SOURCES[name](v))


def _flow(c: Columns, chosen: Bools) -> Column:
    """Each of these events against the one before, which must be later than a gap to make it ready."""
    at = c.line.own[chosen]
    v = c.line.events["v"][chosen].copy()
    deep = c.line.events["kind"][chosen] == Kind.DEPTH
    v[:, :2][deep[:, None] & (v[:, 2:4] == 0.0)] = np.nan  # an empty side has no price
    pair = ~c.first_since_break(at)[1:]
    return c.held(at[1:][pair], formulas.order_flow(v)[pair], at[:-1][pair])


def level(c: Columns, e: Expr) -> Column:
    """A source of one level of the book below the best."""
    name, events = e.op.removesuffix("_at"), c.line.events
    chosen = (events["kind"] == Kind.DEPTH) & (events["level"] == e.param("level"))
    sized = (events["flags"] & Flag.NO_QTY) == 0
    if name == "ofi":
        return _flow(c, chosen & sized)
    if name.endswith("qty"):
        chosen &= sized
    v = events["v"][chosen]
    values = formulas.SOURCES[name](v)
    if name.endswith("px"):  # the size says whether there is a price, where there are sizes
        empty = sized[chosen] & (formulas.SOURCES[name.replace("px", "qty")](v) == 0.0)
        values = np.where(empty, np.nan, values)
    return c.held(c.line.own[chosen], values)


def bar(c: Columns, e: Expr) -> Column:
    interval, source, field = e.params
    assert isinstance(interval, (Duration, BarClock)) and isinstance(source, str) and isinstance(field, str)
    if source == "feed":
        events = c.line.events
        chosen = events["kind"] == Kind.BAR
        if field == "volume":
            chosen &= (events["flags"] & Flag.NO_QTY) == 0
        return c.held(c.line.own[chosen], events["v"][chosen][:, FEED_FIELDS.index(field)], again=False)
    at, number = c.line.closes[(interval, source)]
    bars = c.line.bars[(interval, source)]
    values = bars.fields[field][number]
    known = bars.known[field][number] if field in bars.known else np.ones(len(values), np.bool_)
    return c.held(at[known], values[known], again=False)


def series(c: Columns, e: Expr) -> Column:
    """An external series, NaN once it is older than ``max_age``."""
    line, age = c.line, e.param("max_age")
    v = line.events["v"]
    chosen = (line.events["kind"] == Kind.INPUT) & (v[:, 0] == line.inputs.index(str(e.param("name"))))
    at = line.own[chosen]
    held = c.held(at, v[chosen][:, 1], again=False)
    number = np.cumsum(held.update) - 1
    value = held.value
    if isinstance(age, Duration):
        since = np.append(line.t[at], 0)[number]
        value = np.where(line.t - since > age.ns, np.nan, value)
    return Column(value, held.update, number >= 0)


def vpin(c: Columns, e: Expr) -> Column:
    line, volume, n = c.line, e.param("volume"), e.param("n")
    assert isinstance(volume, float) and isinstance(n, int)
    chosen = line.events["kind"] == Kind.TRADE
    v, flags = line.events["v"][chosen], line.events["flags"][chosen]
    trades = counted_trades(v, flags, line.market, c.kernels.clocks, cash=False)
    at = line.own[chosen][~trades.missing]
    sign = c.of(Expr("trade_sign")).value[at].astype(np.int64)
    again = resets(e)
    first = c.first_since_break(at) if again else np.arange(len(at)) == 0
    bucket = whole_size(volume, line.market.lot)
    assert bucket is not None  # check_sizes has seen to it
    values, filled = c.kernels.clocks.vpin(trades.lots[~trades.missing], sign, first, bucket, n, float(n * bucket))
    passed = ~np.isnan(values)
    held = c.held(at[passed], values[passed], again=again)
    buckets = np.zeros(len(line.t) + 1, np.int64)
    buckets[at + 1] = filled
    buckets = np.cumsum(buckets)
    since = np.maximum(line.gap_from, line.break_from) if again else line.gap_from
    return Column(held.value, held.update, buckets[1:] - buckets[since] >= n)
