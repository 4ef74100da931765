"""Signals as a table. Floor 7."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import need
from alpha.events import SIGNAL_DTYPE, Action, Reason
from alpha.instruments import Instruments


def write_signals(path: str | Path, parts: Sequence[npt.NDArray[Any]], instruments: Instruments) -> int:
    """Write SIGNAL_DTYPE arrays to a Parquet file (zstd), names instead of numbers; returns the number of rows."""
    pa, pq = need("pyarrow", "data"), need("pyarrow.parquet", "data")
    s = np.concatenate(list(parts)) if parts else np.zeros(0, dtype=SIGNAL_DTYPE)

    def names(values: npt.NDArray[Any], of: dict[int, str]) -> Any:
        codes = np.zeros(256, dtype=np.int32)
        codes[[code % 256 for code in of]] = np.arange(len(of))
        return pa.DictionaryArray.from_arrays(codes[values.astype(np.uint8)], list(of.values()))

    columns: dict[str, Any] = {
        "event_index": s["event_index"],
        "ts_event_ns": s["ts_event_ns"],
        "ts_recv_ns": s["ts_recv_ns"],
        "instrument": pa.DictionaryArray.from_arrays(s["instrument_id"].astype(np.int32), list(instruments.symbols)),
        "action": names(s["action"], {int(a): a.name for a in Action}),
        "reason": names(s["reason"], {int(r): r.name for r in Reason}),
        "confidence": s["confidence"],
        "value": s["value"],
        "ref_px": s["ref_px"],
        "model_slot": s["model_slot"],
        "scores": pa.FixedSizeListArray.from_arrays(np.ascontiguousarray(s["scores"]).reshape(-1), 8),
    }
    pq.write_table(pa.table(columns), path, compression="zstd")
    return len(s)
