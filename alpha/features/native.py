"""Rows of the native twin over whole arrays, for parity and snapshots. Floor 2.

The steps of the native program alone: guard and features, no model. The live pipeline runs the
same two functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from alpha._core.rows import RowMaker
from alpha.features.compile import compile_program
from alpha.features.feature_set import FeatureSet
from alpha.instruments import Instruments


def row_maker(fs: FeatureSet, instruments: Instruments) -> RowMaker:
    """The native twin with its state: feed it chunk after chunk."""
    g = fs.stream.guard
    return RowMaker(
        compile_program(fs),
        lots=instruments.lots(),
        clock_offsets_ns=instruments.clock_offsets_ns(),
        guard={
            "clock": fs.stream.clock,
            "crossed": g.crossed,
            "future_tolerance_ns": g.future_tolerance.ns,
            "duplicates": g.duplicates,
        },
    )


def native_rows(fs: FeatureSet, events: npt.NDArray[Any], instruments: Instruments) -> dict[str, npt.NDArray[Any]]:
    """Rows of an EVENT_DTYPE array: ``row_index`` int64 [N], ``values`` float32 [N, F], ``ready`` bool [N, F],
    ``ts_ns`` int64 [N], ``instrument_id`` uint32 [N]."""
    rows: dict[str, npt.NDArray[Any]] = row_maker(fs, instruments).rows(events)
    rows["row_index"] = np.asarray(rows["row_index"])
    return rows
