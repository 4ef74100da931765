"""Small audit logs for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.audit.frames import DECISION_DTYPE, Frame
from alpha.audit.write import AuditLog
from alpha.events import EVENT_DTYPE

HEADER = {"build": "b", "isa": "portable", "layout": "l", "ort": "o", "instruments": [{"symbol": "A"}]}
BUNDLE = {"name": "m/1", "features": ["f", "g"]}


def event(i: int) -> npt.NDArray[Any]:
    """The payload of EVENT frame ``i``."""
    e = np.zeros(1, EVENT_DTYPE)
    e["ts_event_ns"], e["kind"], e["v"] = i, 1, i + np.arange(5)
    return e.view(np.uint8)


def decision(i: int) -> npt.NDArray[Any]:
    """The payload of a DECISION frame with two features and one output."""
    d = np.zeros(1, DECISION_DTYPE)
    d["signal"]["event_index"], d["n_x"], d["n_out"] = i, 2, 1
    return np.concatenate([d.view(np.uint8), np.array([i, -i, 0.5, 0], np.float32).view(np.uint8)])


def put(log: AuditLog, numbers: range) -> list[bool]:
    """An event and a decision for each number; whether each was kept."""
    kept = []
    for i in numbers:
        kept += [log.log.append(Frame.EVENT, event(i)), log.log.append(Frame.DECISION, decision(i))]
    return kept


def make(folder: Path, *pieces: range, **settings: Any) -> AuditLog:
    """A log of one file per piece, finished."""
    log = AuditLog(folder, **{"policy": "wait", "capacity": 1 << 14, **settings})
    for piece in pieces:
        log.begin(HEADER, BUNDLE, b"a state of this length")
        put(log, piece)
    log.finish(closed=True)
    return log


def numbers(folder: Path) -> list[int]:
    """The event numbers that can be read back, in order."""
    from alpha.audit.read import open_all

    return [int(t) for file in open_all(folder) for t in file.events()["ts_event_ns"]]
