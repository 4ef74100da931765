"""What the market looked like, chunk by chunk: which events count, prices as of a time, sessions and days. Floor 7.

Only events that the guard accepts are a price: a bad print fills nobody and values nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha._core.guard import guard_events, guard_memory
from alpha.events import ALL_INSTRUMENTS, Flag, Kind, Reason, stream_time
from alpha.features.feature_set import StreamSpec
from alpha.instruments import Instruments
from alpha.sessions import ALWAYS, SessionTable, session_table

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class Prices:
    """Prices of one instrument in a chunk, in order. ``at``: positions in the chunk; ``ts``: when each was known;
    ``open_ts``: when it could be traded (a bar: its open, else ``ts``); ``bid``, ``ask``: what a fill pays before costs;
    ``mid``: what a position is worth when it is known; ``bid_qty``, ``ask_qty``: displayed, NaN where unknown; ``trades``:
    whether orders can be filled at it (in session)."""

    at: Ints
    ts: Ints
    open_ts: Ints
    bid: Floats
    ask: Floats
    mid: Floats
    bid_qty: Floats
    ask_qty: Floats
    trades: npt.NDArray[np.bool_]

    def behind(self, at: int) -> int:
        """How many prices there are up to a position, itself included."""
        rows = self.at
        if at < len(rows) and rows[at] == at:  # every event so far is one: positions increase, from 0 up
            return at + 1
        return int(rows.searchsorted(at, "right"))

    def first(self, k: int) -> Prices:
        """The first ``k`` of them."""
        return Prices(*(getattr(self, f.name)[:k] for f in fields(self)))


@dataclass(slots=True)
class Chunk:
    """``ts``: stream time [n], never decreasing; ``accepted`` [n]; ``open`` [n]: in its instrument's session; ``day`` [n]:
    session of the primary instrument; ``start``: index of the first event in the stream; ``before``: (time, mid) of each
    instrument's last price before the chunk."""

    events: Array
    start: int
    ts: Ints
    accepted: npt.NDArray[np.bool_]
    open: npt.NDArray[np.bool_]
    day: Ints
    prices: dict[int, Prices]
    before: dict[int, tuple[int, float]]

    def mid_as_of(self, i: int, at: Ints) -> Floats:
        """What instrument ``i`` is worth after the event at each position; NaN before its first price."""
        earlier = self.before[i][1] if i in self.before else math.nan
        p = self.prices.get(i)
        if p is None:
            return np.full(len(at), earlier)
        k = np.searchsorted(p.at, at, side="right") - 1
        return np.where(k >= 0, p.mid[np.maximum(k, 0)], earlier)

    def last_price(self, i: int, at: int) -> tuple[int, float] | None:
        """(when it was known, mid) of the last price at or before a position; None before the first."""
        p = self.prices.get(i)
        k = -1 if p is None or at < 0 else p.behind(at) - 1
        if p is None or k < 0:
            return self.before.get(i)
        return int(p.ts[k]), float(p.mid[k])

    def first(self, n: int) -> Chunk:
        """Its first ``n`` events."""
        there = {i: p.behind(n - 1) for i, p in self.prices.items()}
        prices = {i: self.prices[i].first(k) for i, k in there.items() if k}
        return replace(
            self,
            events=self.events[:n],
            ts=self.ts[:n],
            accepted=self.accepted[:n],
            open=self.open[:n],
            day=self.day[:n],
            prices=prices,
        )


class Market:
    """Reads chunks in order. ``primary``: the instrument whose sessions are the days. ``trades``: whether an instrument
    without quotes and bars so far takes its trades for prices; false where quotes are known to come."""

    def __init__(self, instruments: Instruments, stream: StreamSpec, primary: int, *, trades: bool = True) -> None:
        self._candidates = (Kind.QUOTE, Kind.BAR, Kind.TRADE) if trades else (Kind.QUOTE, Kind.BAR)
        self.instruments, self.stream, self.primary = instruments, stream, primary
        self.calendars = [session_table(i.calendar) for i in instruments]
        self._memory = guard_memory(len(instruments))
        self._last_ns = -(2**62)
        self._read = 0
        self._kinds: dict[int, Kind] = {}
        self.rejected: Counter[str] = Counter()
        self._last: dict[int, tuple[int, float]] = {}  # instrument -> (ts, mid)
        self.bars = False

    def read(self, events: Array) -> Chunk:
        """The next chunk; its ids are this table's."""
        n = len(events)
        reasons = guard_events(
            events,
            len(self.instruments),
            clock=self.stream.clock,
            crossed=self.stream.guard.crossed,
            future_tolerance_ns=self.stream.guard.future_tolerance.ns,
            duplicates=self.stream.guard.duplicates,
            outlier=self.stream.guard.outlier,
            clock_offset_ns=self.instruments.clock_offsets_ns(),
            memory=self._memory,
        )
        accepted = reasons == 0
        if not accepted.all():
            for reason, count in enumerate(np.bincount(reasons)):
                if reason and count:
                    self.rejected[Reason(reason).name] += int(count)
        raw = np.where(accepted, stream_time(events, self.stream.clock), np.iinfo(np.int64).min)
        ts = np.maximum(np.maximum.accumulate(raw), self._last_ns)
        if n:
            self._last_ns = int(ts[-1])
        ids, kinds = events["instrument_id"], events["kind"]
        is_open, day = self._sessions(ts, ids, kinds)
        prices: dict[int, Prices] = {}
        several = len(self.instruments) > 1
        for i in range(len(self.instruments)):
            own = accepted & (ids == i) if several else accepted & (ids != ALL_INSTRUMENTS)
            found = self._prices(i, events, own, ts, is_open)
            if found is not None:
                prices[i] = found
        chunk = Chunk(events, self._read, ts, accepted, is_open, day, prices, dict(self._last))
        self._read += n
        for i, p in prices.items():
            self._last[i] = int(p.ts[-1]), float(p.mid[-1])
        return chunk

    def _sessions(self, ts: Ints, ids: Array, kinds: Array) -> tuple[npt.NDArray[np.bool_], Ints]:
        table = self.calendars[self.primary]
        bar = kinds == Kind.BAR
        day = _by_kind(lambda t, by_close=False: _index_in_order(table, t, by_close), ts, bar)
        if all(t.name == ALWAYS for t in self.calendars):
            return np.ones(len(ts), bool), day
        is_open = np.ones(len(ts), bool)
        by_name: dict[str, tuple[SessionTable, list[int]]] = {}
        for i, t in enumerate(self.calendars):
            by_name.setdefault(t.name, (t, []))[1].append(i)
        for name, (t, members) in by_name.items():
            if name == ALWAYS:
                continue
            rows = slice(None) if len(by_name) == 1 else np.flatnonzero(np.isin(ids, members))
            is_open[rows] = _by_kind(t.is_open, ts[rows], bar[rows])
        return is_open, day

    def _prices(self, i: int, events: Array, own: Array, ts: Ints, is_open: Array) -> Prices | None:
        kind = self._kinds.get(i)
        if kind is None:
            have = np.bincount(events["kind"][own], minlength=4)
            kind = next((k for k in self._candidates if have[k]), None)
            if kind is None:
                return None
            if kind != Kind.TRADE:  # a stream may begin with trades and have quotes
                self._kinds[i] = kind
        at = np.flatnonzero(own & (events["kind"] == kind))
        if not len(at):
            return None
        v = events["v"][at]
        if kind == Kind.QUOTE:
            bid, ask = v[:, 0], v[:, 1]
            good = (bid > 0.0) & (bid <= ask)
            mid = 0.5 * (bid + ask)
            sized = (events["flags"][at] & np.uint16(Flag.NO_QTY)) == 0
            bid_qty, ask_qty = np.where(sized, v[:, 2], math.nan), np.where(sized, v[:, 3], math.nan)
            open_ts = known = ts[at]
        else:
            first = v[:, 0]
            bid = ask = first
            mid = v[:, 3] if kind == Kind.BAR else first
            good = (first > 0.0) & (mid > 0.0)
            bid_qty = ask_qty = np.full(len(at), math.nan)
            known = ts[at]
            open_ts = known - self.instruments[i].bar_ns if kind == Kind.BAR else known
            self.bars = self.bars or kind == Kind.BAR
        trades = is_open[at]
        if not good.all():
            at, known, open_ts, bid, ask, mid, bid_qty, ask_qty, trades = (
                c[good] for c in (at, known, open_ts, bid, ask, mid, bid_qty, ask_qty, trades)
            )
            if not len(at):
                return None
        return Prices(at, known, open_ts, bid, ask, mid, bid_qty, ask_qty, trades)

    def is_bar(self, i: int) -> bool:
        """Whether the instrument's prices are bars."""
        return self._kinds.get(i) == Kind.BAR

    def without_quotes(self, i: int) -> bool:
        """Whether a fill pays the costs' spread, because there is no quote to cross."""
        return self._kinds.get(i, Kind.TRADE) != Kind.QUOTE


def _by_kind(of: Any, ts: Ints, bar: Array) -> Any:
    """A function of times where bars are stamped by their close."""
    if not bar.any():
        return of(ts)
    if bar.all():
        return of(ts, True)
    return np.where(bar, of(ts, True), of(ts))


def _index_in_order(table: SessionTable, ts: Ints, by_close: bool) -> Ints:
    """``table.index`` of times that never decrease: by the few sessions that open among them."""
    if not len(ts):
        return np.zeros(0, np.int64)
    first, last = (int(k) for k in table.index(ts[[0, -1]], by_close))
    opens = table.opens[first + 1 : last + 1]
    edges = np.searchsorted(ts, opens, side="right" if by_close else "left")
    return np.repeat(np.arange(first, last + 1), np.diff(edges, prepend=0, append=len(ts)))
