"""Seeded random streams for tests: gaps, ties, bursts, halts, sessions' ends, empty sides, timers, inputs, huge trades,
several instruments. Random expressions come from ``expressions.py``, whole programs from ``programs.py``.
"""

from __future__ import annotations

import numpy as np
from calendars import MADE, T0, S
from expressions import SERIES, TRIGGERS, expression, operators_of

from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, Flag, Kind, Status

__all__ = ["SHAPES", "T0", "TRIGGERS", "S", "expression", "operators_of", "quotes", "stream"]


def stream(seed: int, n: int = 600, instruments: int = 2, faults: bool = False) -> np.ndarray:
    """``n`` events of a random tick stream. ``faults`` adds what a guard must reject."""
    rng = np.random.default_rng(seed)
    e = np.zeros(n, EVENT_DTYPE)
    steps = rng.choice(
        [0, 1, 10**6, 10**7, 10**8, 3 * 10**8, 10**9, 20 * 10**9], n, p=[0.2, 0.05, 0.2, 0.2, 0.2, 0.1, 0.04, 0.01]
    )
    e["ts_event_ns"] = T0 + np.cumsum(steps * rng.integers(1, 4, n))
    if rng.random() < 0.5:
        e["ts_recv_ns"] = e["ts_event_ns"]
        e["ts_event_ns"] += rng.integers(-(10**6), 10**6, n)
    e["instrument_id"] = rng.integers(0, instruments, n)
    weights = np.array([0.45, 0.24, 0.08, 0.11, 0.02, 0.06, 0.04])
    e["kind"] = rng.choice([1, 2, 3, 4, 5, 6, 8], n, p=weights)
    e["flags"] = rng.choice([0, 1], n, p=[0.3, 0.7])
    tick = float(rng.choice([0.01, 0.5, 1e-5, 1.0]))
    base = float(rng.choice([1.0, 100.0, 60_000.0, 1e5]))
    path = np.cumsum(rng.integers(-2, 3, n) * (rng.random(n) < rng.choice([0.05, 0.5, 1.0]))) * tick
    mid = np.round((base + np.abs(path - path.min(initial=0.0))) / tick) * tick
    v = e["v"]
    for kind in Kind:
        at = e["kind"] == kind
        k, m = int(at.sum()), mid[at]
        if kind == Kind.QUOTE:
            v[at, 0], v[at, 1] = m, m + tick * rng.integers(0, 4, k)
            v[at, 2:4] = rng.integers(0, 4, (k, 2)) * rng.choice([1.0, 0.001])
        elif kind == Kind.DEPTH:
            v[at, 0], v[at, 1] = m - tick, m + 5 * tick
            v[at, 0] = np.maximum(v[at, 0], tick)
            v[at, 2:4] = 1.0
        elif kind == Kind.TRADE:
            v[at, 0], v[at, 1], v[at, 2] = m, rng.integers(0, 50, k) * 0.01, rng.integers(-1, 2, k)
        elif kind == Kind.BAR:
            v[at, 0] = v[at, 3] = m
            v[at, 1], v[at, 2] = m + tick, np.maximum(m - tick, tick / 2)
            v[at, 4] = rng.integers(0, 100, k)
        elif kind == Kind.STATUS:
            v[at, 0] = rng.integers(1, 6, k)
        elif kind == Kind.INPUT:  # one number more than there are series, and some that are none
            v[at, 0] = rng.choice([*range(len(SERIES) + 1), 0, 0, 1, 0.5, -1.0], k)
            v[at, 1] = np.round(rng.normal(size=k), 3) * rng.choice([0.0, 1.0, 1e-4, 1e6], k)
    _huge(rng, e, mid, tick)
    depth = e["kind"] == Kind.DEPTH
    e["level"][depth] = rng.integers(1, 4, int(depth.sum()))
    for side in (2, 3):
        v[depth & (rng.random(n) < 0.1), side] = 0.0
    e["flags"][rng.random(n) < 0.005] |= np.uint16(Flag.GAP)
    market = (e["kind"] == Kind.QUOTE) | (e["kind"] == Kind.TRADE) | (e["kind"] == Kind.BAR)
    if rng.random() < 0.3:
        e["flags"][market & (rng.random(n) < 0.2)] |= np.uint16(Flag.NO_QTY)
    v[(e["flags"] & Flag.NO_QTY) != 0, 4] = 0.0
    to_all = np.isin(e["kind"], (Kind.TIMER, Kind.STATUS, Kind.INPUT)) & (rng.random(n) < 0.5)
    e["instrument_id"][to_all] = ALL_INSTRUMENTS
    lost = (e["kind"] == Kind.STATUS) & (rng.random(n) < 0.2)
    v[lost, 0] = Status.LOST
    _stretches(rng, e)
    _at_the_bell(rng, e)
    if faults:
        bad = rng.random(n) < 0.05
        what = rng.integers(0, 8, n)
        v[bad & (what == 0), 0] = np.nan
        v[bad & (what == 1), 0] = -1.0
        e["ts_event_ns"][bad & (what == 2)] -= 10**12
        e["instrument_id"][bad & (what == 3)] = 999
        e["kind"][bad & (what == 4)] = 77
        v[bad & (what == 5), 1] = np.inf
        v[bad & (what == 6), 2] = np.nan
        v[bad & (what == 7), 3] = -1.0
    return e


def _stretches(rng: np.random.Generator, e: np.ndarray) -> None:
    """Bursts of one timestamp, quotes with an empty side or two, halts with ten minutes of silence."""
    n = len(e)
    quotes = e["kind"] == Kind.QUOTE
    for what in rng.choice(["burst", "bid", "ask", "both", "halt"], int(rng.integers(0, 5))):
        length = int(rng.integers(2, 10 + n // 8))
        first = int(rng.integers(0, n + 1))
        at = slice(first, min(first + length, n))
        if at.stop - at.start < 2:
            continue
        sides = {"bid": slice(2, 3), "ask": slice(3, 4), "both": slice(2, 4)}
        if what == "burst":
            for clock in ("ts_event_ns", "ts_recv_ns"):
                e[clock][at] = e[clock][at.start]
        elif what in sides:
            e["v"][at, sides[what]][quotes[at]] = 0.0
        else:
            e["kind"][at], e["v"][at], e["level"][at] = Kind.TIMER, 0.0, 0
            e["kind"][[at.start, at.stop - 1]] = Kind.STATUS
            e["v"][[at.start, at.stop - 1], 0] = Status.HALT, Status.RESUME
            for clock in ("ts_event_ns", "ts_recv_ns"):
                e[clock][at.stop - 1 :] += np.int64(600 * 10**9) * (e[clock][-1] != 0)
            quotes = e["kind"] == Kind.QUOTE


def _huge(rng: np.random.Generator, e: np.ndarray, mid: np.ndarray, tick: float) -> None:
    """Trades that fill several buckets at once; in some streams also trades beyond all counting."""
    trades = np.flatnonzero(e["kind"] == Kind.TRADE)
    big = trades[rng.random(len(trades)) < 0.04]
    e["v"][big, 1] *= rng.choice([20.0, 1e3, 1e6], len(big))
    if rng.random() < 0.15:
        beyond = trades[rng.random(len(trades)) < 0.03]
        e["v"][beyond, 1] = rng.choice([2.0**62 * 0.01, 2.0**61, 1e12, 1e40], len(beyond))


def _at_the_bell(rng: np.random.Generator, e: np.ndarray) -> None:
    """Moves some events to the very nanosecond of a session's open, break or close, or the one beside it."""
    if rng.random() < 0.3 or not len(e):
        return
    table = MADE[str(rng.choice(list(MADE)))]
    t = np.where(e["ts_recv_ns"] != 0, e["ts_recv_ns"], e["ts_event_ns"])
    for bell in np.unique([table.opens, table.break_starts, table.break_ends, table.closes]).tolist():
        at = int(np.searchsorted(t, bell))
        when = bell + int(rng.integers(-1, 2))
        if at < len(e) and (at == 0 or t[at - 1] <= when) and rng.random() < 0.7:
            when = min(when, int(t[at]))
            for clock in ("ts_event_ns", "ts_recv_ns"):
                e[clock][at] = when * (e[clock][at] != 0)
            t[at] = when


def quotes(mids: np.ndarray, step_ns: np.ndarray) -> np.ndarray:
    """QUOTE events without a spread."""
    events = np.zeros(len(mids), EVENT_DTYPE)
    events["ts_event_ns"] = T0 + np.cumsum(step_ns)
    events["kind"], events["flags"] = Kind.QUOTE, Flag.LAST
    events["v"][:, 0] = events["v"][:, 1] = mids
    events["v"][:, 2:4] = 1.0
    return events


# Numbers that sums are bad at
SHAPES = {
    "offset": lambda rng, n: 1e5 + 1e-3 * rng.normal(size=n),
    "offset, few ulp": lambda rng, n: 1e5 + np.round(2 * rng.normal(size=n)) * 2.0**-36,
    "returns": lambda rng, n: 1e-4 * rng.normal(size=n),
    "ticks": lambda rng, n: 60_000 + 0.01 * np.cumsum(rng.integers(-2, 3, n)),
    "flat then moving": lambda rng, n: 0.1 + 0.01 * np.cumsum(rng.random(n) < 0.05),
    "levels": lambda rng, n: 10.0 ** rng.integers(-12, 13, n // 25 + 1).repeat(25)[:n] + 1e-3 * rng.normal(size=n),
    "spikes": lambda rng, n: np.where(rng.random(n) < 0.02, 10.0 ** rng.integers(5, 60, n), 1e-3 * rng.normal(size=n)),
    "both signs, all sizes": lambda rng, n: rng.choice([-1.0, 1.0], n) * 10.0 ** rng.uniform(-30, 30, n),
}
