"""A stream whose features start again at each session break, cut there: an instrument's session can be computed alone. Floor 2.

What outlives a break is the guard's memory of the instrument, which goes with it. The event that ends a session
is computed with it, for the boundary of ``every(d)`` behind the event before, and once more as the first of the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha._core.guard import guard_memory
from alpha.events import ALL_INSTRUMENTS, stream_time
from alpha.features._batch_sessions import breaks
from alpha.features.feature_set import FeatureSet
from alpha.features.frames import starts_again
from alpha.features.native import Rows, next_rows, row_maker
from alpha.features.parity import guard
from alpha.instruments import Instrument, Instruments
from alpha.sessions import INSTRUMENT, session_table

Events = npt.NDArray[Any]


@dataclass(frozen=True)
class Session:
    """Events ``first`` to ``last`` of instrument ``who``, both included; ``remembered``: its guard before the first.
    ``ends``: whether the last event begins the next session."""

    who: int
    first: int
    last: int
    remembered: bytes
    ends: bool


def divides(fs: FeatureSet, events: Events) -> bool:
    """Whether each session of each instrument can be computed alone: nothing else outlives a break, and no event
    addresses all instruments."""
    return starts_again(fs) and not (events["instrument_id"] == ALL_INSTRUMENTS).any()


def sessions_of(fs: FeatureSet, events: Events, instruments: Instruments) -> list[Session]:
    """All of them, by their first event."""
    n = len(instruments)
    accepted = np.flatnonzero(guard(fs, events, instruments, guard_memory(n)) == 0)
    who = events["instrument_id"][accepted]
    starts: list[tuple[int, int]] = []  # place, instrument
    ends: dict[tuple[int, int], tuple[int, bool]] = {}
    for i in np.unique(who).tolist():
        own = accepted[who == i]
        calendar = instruments[i].calendar if fs.stream.calendar == INSTRUMENT else fs.stream.calendar
        e = events[own]
        broken = breaks(e, stream_time(e, fs.stream.clock), session_table(calendar), fs.trigger.kind == "bar")
        cuts = [0, *(c for c in np.flatnonzero(broken).tolist() if c > 0)]
        places = [int(own[c]) for c in cuts]
        starts += [(p, i) for p in places]
        for p, following in zip(places, [*places[1:], None], strict=True):
            ends[p, i] = (len(events) - 1, False) if following is None else (following, True)
    out = []
    memory, at = guard_memory(n), 0
    size = len(memory) // max(n, 1)
    for p, i in sorted(starts):
        guard(fs, events[at:p], instruments, memory)
        at = p
        last, more = ends[p, i]
        out.append(Session(i, p, last, memory[i * size : (i + 1) * size].tobytes(), more))
    return out


def session_rows(fs: FeatureSet, instrument: Instrument, events: Events, session: Session) -> Rows:
    """The native rows of one session; ``events``: of the whole stream, from ``session.first`` to ``session.last``."""
    maker = row_maker(fs, Instruments((instrument,)))
    cold = maker.save_state()
    maker.load_state(session.remembered + cold[len(session.remembered) :])
    at = np.flatnonzero(events["instrument_id"] == session.who)
    own = events[at]
    own["instrument_id"] = 0
    index, ts, _, values, ready = next_rows(maker, own)
    place = at[index] + session.first
    ids = np.full(len(place), session.who, np.uint32)
    if session.ends and fs.trigger.every is None:  # that row is the next session's
        kept = place < session.last
        return place[kept], ts[kept], ids[kept], values[kept], ready[kept]
    return place, ts, ids, values, ready


def in_chunks(
    sessions: Iterable[Session], rows: Iterator[Rows], events: int, chunk: int, features: int
) -> Iterator[Rows]:
    """Rows of each ``chunk`` of the stream, by event, from those of the sessions in their order."""
    held = (
        np.zeros(0, np.int64),
        np.zeros(0, np.int64),
        np.zeros(0, np.uint32),
        np.zeros((0, features), np.float32),
        np.zeros(0, np.bool_),
    )
    coming = iter([s.first for s in sessions])
    following = next(coming, None)
    for a in range(0, events, chunk):
        parts = [held]
        while following is not None and following < a + chunk:
            parts.append(next(rows))
            following = next(coming, None)
        place, ts, who, values, ready = (np.concatenate(c) for c in zip(*parts, strict=True))
        order = np.lexsort((who, place))
        cut = int(np.searchsorted(place[order], a + chunk))
        now, later = order[:cut], order[cut:]
        yield place[now], ts[now], who[now], values[now], ready[now]
        held = (place[later], ts[later], who[later], values[later], ready[later])
