"""The timeline of the batch twin: the steps of one instrument, and its time bars. Floor 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.events import Flag, Kind, Status, stream_time
from alpha.features.feature_set import FeatureSet
from alpha.features.language import BarRef, Duration, walk
from alpha.features.operators import BAR_FIELDS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
UNKNOWN_LOT = 1e-8


@dataclass(slots=True)
class Timeline:
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
    def build(cls, fs: FeatureSet, events: npt.NDArray[Any], index: Ints, lot: float) -> Timeline:
        """``index``: the events of one instrument, those to all instruments included."""
        e = events[index]
        t = stream_time(e, fs.stream.clock).astype(np.int64)
        latest = np.maximum.accumulate(t) if len(t) else t
        # a time for all that this instrument is already past: a TIMER says nothing, a STATUS happens now
        keep = (t >= latest) | (e["kind"] != Kind.TIMER)
        e, index, t = e[keep], index[keep], latest[keep]
        specs = bar_specs(fs)
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


def bar_specs(fs: FeatureSet) -> list[tuple[int, str]]:
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
