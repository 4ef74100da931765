"""Events and Signals as numpy dtypes, and the numbers that name their parts. Floor 1.

The layouts are those of ``_core/include/alpha_types.h``; ``tests/unit/test_layout.py``
compares the two byte by byte. Numbers are append-only because files carry them.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

import numpy as np


class Kind(IntEnum):
    """What happened. ``v`` holds, in this order: see each member's comment."""

    EMPTY = 0  # a free ring slot; never a real event
    QUOTE = 1  # bid_px ask_px bid_qty ask_qty venue_seq
    TRADE = 2  # px qty side(+1 buyer, -1 seller, 0 unknown) - venue_seq
    BAR = 3  # open high low close volume; time = the bar's close
    DEPTH = 4  # bid_px ask_px bid_qty ask_qty of `level` (>= 1; level 0 is the QUOTE)
    STATUS = 5  # code, see Status
    TIMER = 6  # time passes, nothing else
    CONTROL = 7  # code, argument, see Control
    INPUT = 8  # series id, value


class Flag(IntFlag):
    """Bits of ``flags`` in an event's header."""

    LAST = 1 << 0  # last event of one atomic update: decide now
    SNAPSHOT = 1 << 1
    GAP = 1 << 2  # events were lost before this one
    NO_QTY = 1 << 3  # the source has no sizes
    NO_TS_EVENT = 1 << 4  # ts_event_ns repeats the receive time
    AUCTION = 1 << 5
    CROSSED = 1 << 6
    LOCKED = 1 << 7


class SignalFlag(IntFlag):
    """Bits of a Signal's ``flags`` above those it has of its event."""

    SHADOW = 1 << 16  # computed and logged, never emitted


class Status(IntEnum):
    """Codes of a STATUS event."""

    OPEN = 1
    CLOSE = 2
    HALT = 3
    RESUME = 4
    AUCTION = 5
    LOST = 6


class Control(IntEnum):
    """Codes of a CONTROL event."""

    KILL = 1
    REVIVE = 2
    HALT = 3
    RESUME = 4
    SWAP = 5
    BREAKER = 6  # argument: 0 reset, 1 errors, 2 latency
    THRESHOLD = 7  # argument: the threshold, NaN for the declared one


class Action(IntEnum):
    """What a Signal advises."""

    SELL = -1
    HOLD = 0
    BUY = 1


class Reason(IntEnum):
    """Why a Signal says what it says. 1 to 20 in the order in which the gate checks; 32 up: the guard."""

    UNSET = 0
    MODEL = 1
    KILLED = 2
    HALTED = 3
    OUT_OF_SESSION = 4
    STALE = 5
    NOT_WARM = 6
    NON_FINITE_FEATURE = 7
    OUT_OF_DISTRIBUTION = 8
    MODEL_INACTIVE = 9
    MODEL_EXPIRED = 10
    DEFINITION_CHANGED = 11
    NO_MODEL = 12
    NO_ORT = 13
    MODEL_ERROR = 14
    NON_FINITE_OUTPUT = 15
    BELOW_THRESHOLD = 16
    COOLDOWN = 17
    DUPLICATE_BAR = 18
    AUDIT_BLOCKED = 19
    BREAKER = 20
    NON_FINITE = 32
    PRICE = 33
    CROSSED = 34
    BACKWARDS = 35
    FUTURE = 36
    DUPLICATE = 37
    OUTLIER = 38
    INSTRUMENT = 39
    KIND = 40


ALL_INSTRUMENTS = 0xFFFFFFFF
"""Instrument id with which TIMER, STATUS, INPUT and CONTROL events address every instrument."""

EVENT_DTYPE = np.dtype(
    [
        ("ts_event_ns", "<i8"),
        ("ts_recv_ns", "<i8"),  # 0 = the source has no receipt time
        ("instrument_id", "<u4"),
        ("kind", "u1"),
        ("level", "u1"),
        ("flags", "<u2"),
        ("v", "<f8", (5,)),
    ]
)
"""One market event, 64 bytes (one cache line)."""

SIGNAL_DTYPE = np.dtype(
    [
        ("event_index", "<u8"),
        ("ts_event_ns", "<i8"),
        ("ts_recv_ns", "<i8"),
        ("instrument_id", "<u4"),
        ("model_slot", "<u2"),
        ("action", "i1"),
        ("reason", "u1"),
        ("confidence", "<f4"),
        ("value", "<f4"),
        ("scores", "<f4", (8,)),
        ("model_hash", "u1", (16,)),
        ("definition_hash", "u1", (16,)),
        ("ref_px", "<f8"),
        ("bundle_revision", "<u8"),
        ("flags", "<u4"),
        ("n_scores", "<u4"),
    ]
)
"""One decision, 128 bytes (two cache lines)."""


def stream_time(events: np.ndarray, clock: str) -> np.ndarray:
    """Time by which a stream is ordered: int64 ns, shape ``[len(events)]``.

    ``clock="recv"`` takes the receipt time where there is one, else the exchange time;
    ``clock="event"`` always takes the exchange time.
    """
    if clock == "event":
        return np.asarray(events["ts_event_ns"])
    recv = events["ts_recv_ns"]
    return np.where(recv != 0, recv, events["ts_event_ns"])
