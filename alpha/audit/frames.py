"""What stands in a log: frame types and their payloads as numpy dtypes. Floor 5.

The layouts are those of ``_core/include/alpha_log.h`` and ``alpha_sink.h``; numbers are append-only.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

import numpy as np

from alpha._core.log import FRAME_DTYPE
from alpha.events import SIGNAL_DTYPE

FORMAT = 1
FRAME_BYTES = FRAME_DTYPE.itemsize
GENESIS = bytes(32)
"""What the first block of a folder is chained to."""


class Frame(IntEnum):
    """Types of frames. 64 and up are written by the trading side."""

    HEADER = 1  # JSON: format, run, number of the file, chain, build, ISA, ONNX Runtime, instruments
    BUNDLE = 2  # JSON: model, hashes, feature set, thresholds
    STATE = 3  # length u64, then what Runtime.save_state() gave, then zeros
    EVENT = 4  # EVENT_DTYPE
    DECISION = 5  # DECISION_DTYPE, x32 float32 [n_x], outputs float32 [n_out]
    CONTROL = 6  # CONTROL_DTYPE: a kill byte had changed before the next event
    BLOCK = 7  # BLOCK_DTYPE: end of a block, with the chain
    FEATURES = 8  # FEATURES_DTYPE, x32 float32 [n]: the caller's own features
    RELOAD = 9  # RELOAD_DTYPE: a Bundle begins to run silently, or takes over
    ORDER = 64
    FILL = 65
    SNAPSHOT = 66
    METRIC = 67


class FrameFlag(IntFlag):
    """Bits of a frame's flags."""

    DROPPED = 1  # frames before this one were lost (policy count_drops)


KILL_SEAT_SHIFT = 16
"""A CONTROL record's ``killed``: 0 or 1 below this bit; above it 0, or 1 + the model_slot that it speaks of."""

STREAM = (Frame.EVENT, Frame.FEATURES, Frame.CONTROL, Frame.RELOAD, Frame.DECISION)
"""What a replay reproduces."""

DECISION_DTYPE = np.dtype([("signal", SIGNAL_DTYPE), ("latency_ns", "<i8"), ("n_x", "<u4"), ("n_out", "<u4")])
CONTROL_DTYPE = np.dtype([("event_index", "<u8"), ("instrument_id", "<u4"), ("killed", "<u4")])
FEATURES_DTYPE = np.dtype([("ts_ns", "<i8"), ("instrument_id", "<u4"), ("n", "<u4")])
RELOAD_WITHDRAWN = 2
"""``serves`` of a RELOAD: 0 it was taken in, 1 it serves, 2 it was withdrawn before it served."""
RELOAD_DTYPE = np.dtype([("event_index", "<u8"), ("serves", "<u4"), ("only_seats", "<u4"), ("sha256", "u1", (32,))])
BLOCK_DTYPE = np.dtype([("first_seq", "<u8"), ("frames", "<u8"), ("dropped", "<u8"), ("sha256", "u1", (32,))])


def padded(data: bytes) -> bytes:
    """Zeros up to a multiple of 8."""
    return data + bytes(-len(data) % 8)


def state_payload(blob: bytes) -> bytes:
    """A STATE frame's payload."""
    return padded(len(blob).to_bytes(8, "little") + blob)


def state_blob(payload: bytes) -> bytes:
    """The state in a STATE frame's payload."""
    return payload[8 : 8 + int.from_bytes(payload[:8], "little")]
