"""Small made-up calendars: half days, breaks, sessions that touch, gaps between them, an end in the stream.

Importing this makes them known by name to :mod:`alpha.sessions`, in this process. Files of ``$ALPHA_CALENDARS`` hold
whole minutes; these end on any nanosecond.
"""

from __future__ import annotations

import math

from reference import Listing
from reference_sessions import Session

from alpha import sessions
from alpha.features.feature_set import FeatureSet
from alpha.instruments import Instruments
from alpha.sessions import SessionTable

S = 10**9
T0 = 1_700_000_000 * S  # where random streams start

MADE = {
    table.name: table
    for table in (
        # before the first event, with a break, with a break that ends with the session, later ones short
        SessionTable.of(
            "days",
            [
                (T0 - 90 * S, T0 - 30 * S),
                (T0 + 5 * S, T0 + 15 * S, T0 + 20 * S, T0 + 40 * S),
                (T0 + 45 * S, T0 + 60 * S, T0 + 70 * S, T0 + 70 * S),
                (T0 + 90 * S, T0 + 95 * S + 1),
                (T0 + 700 * S, T0 + 900 * S),
            ],
        ),
        # closes are the next opens, on multiples of what windows and bars end on; some last a single nanosecond
        SessionTable.of(
            "touching",
            [(T0 + k * 7 * S, T0 + (k + 1) * 7 * S) for k in range(-3, 40)]
            + [(T0 + 280 * S + k, T0 + 280 * S + k + 1) for k in range(3)],
        ),
        # ends before most streams do
        SessionTable.of("over", [(T0 - 10 * S, T0 - 5 * S), (T0 + S, T0 + 4 * S), (T0 + 10 * S, T0 + 11 * S)]),
        # everything is one long session
        SessionTable.of("one", [(T0 - 10**6 * S, T0 + 10**6 * S)]),
    )
}

_shipped = sessions._found
sessions._found = lambda name, folder: MADE[name] if name in MADE else _shipped(name, folder)  # type: ignore[assignment]


def plain(table: SessionTable) -> list[Session]:
    """A table as the oracle reads it."""
    columns = (table.opens, table.closes, table.break_starts, table.break_ends)
    return [
        Session(opens, closes, (start, end) if start < end else None)
        for opens, closes, start, end in zip(*(c.tolist() for c in columns), strict=True)
    ]


def listings(fs: FeatureSet, instruments: Instruments) -> list[Listing]:
    """What the oracle must know about the instruments of a stream."""
    names = [i.calendar if fs.stream.calendar == "instrument" else fs.stream.calendar for i in instruments]
    tables = {name: plain(sessions.session_table(name)) if fs.needs_sessions else [] for name in set(names)}
    return [
        Listing(
            lot=math.nan if i.lot_size is None else i.lot_size,
            tick=math.nan if i.tick_size is None else i.tick_size,
            symbol=i.symbol,
            sessions=tables[name],
        )
        for i, name in zip(instruments, names, strict=True)
    ]
