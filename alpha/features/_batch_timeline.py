"""The timeline of the batch twin: the steps of one instrument. Floor 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.events import Flag, Kind, Status, stream_time
from alpha.features._batch_bars import Bars, BarSpec, Bools, Floats, Ints, Market, bar_specs, build_bars
from alpha.features._batch_sessions import breaks
from alpha.features.feature_set import FeatureSet

__all__ = ["Bools", "Floats", "Ints", "Timeline"]


@dataclass(slots=True)
class Timeline:
    """Steps of one instrument, in order."""

    events: npt.NDArray[Any]  # accepted events of this instrument, one row per event
    t: Ints  # [S] time of each step
    event_of: Ints  # [S] index of the step's event in the caller's array
    own: Ints  # [E] step at which event e updates its own leaves
    gap_from: Ints  # [S] first step since the last gap
    break_from: Ints  # [S] first step since the last session break
    breaks: bool  # whether there is one
    closes: dict[BarSpec, tuple[Ints, Ints]]  # (closing step, bar number)
    bars: dict[BarSpec, Bars]
    market: Market
    by_close: bool  # sessions are looked up as a bar does that is stamped with its close
    inputs: tuple[str, ...]  # names of the external series
    rows: Ints  # steps that make a row

    @classmethod
    def build(
        cls, fs: FeatureSet, events: npt.NDArray[Any], index: Ints, market: Market, clock_kernels: Any
    ) -> Timeline:
        """``index``: the events of one instrument, those to all instruments included."""
        e = events if len(index) == len(events) else events[index]  # the index ascends
        t = stream_time(e, fs.stream.clock)
        latest = np.maximum.accumulate(t) if len(t) else t
        # a time for all that this instrument is already past: a TIMER says nothing, a STATUS happens now
        late = np.flatnonzero(t < latest)
        t = latest
        if len(late) and (e["kind"][late] == Kind.TIMER).any():
            keep = np.ones(len(t), np.bool_)
            keep[late] = e["kind"][late] != Kind.TIMER
            e, index, t = e[keep], index[keep], latest[keep]
        bars = {spec: build_bars(e, t, spec, market, clock_kernels) for spec in bar_specs(fs, market.symbol)}
        closing = {spec: np.searchsorted(t, b.end, side="left") for spec, b in bars.items() if b.end is not None}
        reads, boundary = _boundaries(fs, t)
        closes = np.zeros(len(t), np.bool_)
        for at in closing.values():
            closes[at[at < len(t)]] = True
        if reads.any() or closes.any():
            last = np.cumsum(reads.astype(np.int64) + closes + 1) - 1  # each event's own step comes last
            steps = int(last[-1]) + 1
            step_t, event_of = np.empty(steps, np.int64), np.empty(steps, np.int64)
            first = last - closes - reads
            for at, times in ((last, t), ((last - 1)[closes], t[closes]), (first[reads], boundary[reads])):
                step_t[at] = times
            for at, which in ((last, index), ((last - 1)[closes], index[closes]), (first[reads], index[reads])):
                event_of[at] = which
        else:  # nothing but the events' own
            steps, step_t, event_of = len(t), t, index
            first = last = np.arange(steps)
        gaps = (e["flags"] & Flag.GAP) != 0
        status = np.flatnonzero(e["kind"] == Kind.STATUS)
        gaps[status[e["v"][status, 0] == Status.LOST]] = True
        gap_from = _since(first[gaps], steps)
        by_close = fs.trigger.kind == "bar"
        broken = np.zeros(len(t), np.bool_)
        if fs.stream.session_break == "session" and len(t):
            assert market.sessions is not None
            broken = breaks(e, t, market.sessions, by_close)
        break_from = _since((last - closes)[broken], steps)
        close_steps = {spec: (last[b.closed], np.arange(len(b.closed))) for spec, b in bars.items() if b.end is None}
        for spec, at in closing.items():
            number = np.flatnonzero(at < len(t))
            close_steps[spec] = (last[at[number]] - 1, number)
        line = cls(
            events=e,
            t=step_t,
            event_of=event_of,
            own=last,
            gap_from=gap_from,
            break_from=break_from,
            breaks=bool(broken.any()),
            closes=close_steps,
            bars=bars,
            market=market,
            by_close=by_close,
            inputs=fs.inputs,
            rows=np.zeros(0, np.int64),
        )
        line.rows = line._rows(fs, first[reads])
        return line

    def _rows(self, fs: FeatureSet, reads: Ints) -> Ints:
        kind, trigger = self.events["kind"], fs.trigger
        if trigger.kind == "every":
            return reads
        if trigger.kind == "bar":
            assert trigger.bar is not None
            if trigger.bar.source != "feed":
                return self.closes[(trigger.bar.interval, trigger.bar.source)][0]
            return np.asarray(self.own[kind == Kind.BAR])
        if trigger.kind == "last":
            data = (kind == Kind.QUOTE) | (kind == Kind.TRADE) | (kind == Kind.DEPTH) | (kind == Kind.BAR)
            return np.asarray(self.own[data & ((self.events["flags"] & Flag.LAST) != 0)])
        return np.asarray(self.own[kind == (Kind.QUOTE if trigger.kind == "quote" else Kind.TRADE)])


def _since(begins: Ints, steps: int) -> Ints:
    """At each of so many steps the newest of these that has begun, 0 before the first."""
    out = np.zeros(steps, np.int64)
    out[begins] = begins
    return np.maximum.accumulate(out) if len(begins) else out


def _boundaries(fs: FeatureSet, t: Ints) -> tuple[Bools, Ints]:
    """Which events come at or after a boundary of every(d) since the previous event, and that boundary."""
    reads, boundary = np.zeros(len(t), np.bool_), np.zeros(len(t), np.int64)
    if fs.trigger.every is not None and len(t) > 1:
        d = fs.trigger.every.ns
        boundary[1:] = (t[:-1] // d + 1) * d
        reads[1:] = t[1:] >= boundary[1:]
    return reads, boundary
