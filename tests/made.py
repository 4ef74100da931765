"""Single events by hand, for tests whose numbers are worked out on paper."""

from __future__ import annotations

import numpy as np

from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, Flag, Kind, Status

LAST = int(Flag.LAST)


def event(kind: Kind, t: int, *v: float, who: int = 0, flags: int = LAST) -> np.ndarray:
    """One event at ``t`` ns, EVENT_DTYPE [1]."""
    e = np.zeros(1, EVENT_DTYPE)
    e["ts_event_ns"], e["kind"], e["instrument_id"], e["flags"] = t, kind, who, flags
    e["v"][0, : len(v)] = v
    return e


def quote(t: int, mid: float, *, who: int = 0, flags: int = LAST) -> np.ndarray:
    return event(Kind.QUOTE, t, mid, mid, 1.0, 1.0, who=who, flags=flags)


def trade(t: int, px: float, qty: float = 1.0, side: float = 0.0, *, who: int = 0, flags: int = LAST) -> np.ndarray:
    return event(Kind.TRADE, t, px, qty, side, who=who, flags=flags)


def status(t: int, code: Status, who: int = ALL_INSTRUMENTS) -> np.ndarray:
    return event(Kind.STATUS, t, float(code), who=who, flags=0)


def timer(t: int, who: int = ALL_INSTRUMENTS) -> np.ndarray:
    return event(Kind.TIMER, t, who=who, flags=0)


def put(t: int, series: int, value: float, who: int = ALL_INSTRUMENTS) -> np.ndarray:
    """An INPUT event."""
    return event(Kind.INPUT, t, float(series), value, who=who, flags=0)


def stream(*events: np.ndarray) -> np.ndarray:
    return np.concatenate(events)
