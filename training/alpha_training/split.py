"""Time-ordered train, validation and test, with nothing known twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError


@dataclass(frozen=True)
class Parts:
    """Row numbers of the three parts, each in time order."""

    train: npt.NDArray[np.int64]
    valid: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


def time_ordered(
    ts_ns: npt.NDArray[np.int64],
    end_ns: npt.NDArray[np.int64],
    known: npt.NDArray[np.bool_],
    *,
    train: float,
    valid: float,
    embargo_ns: int,
) -> Parts:
    """Cut by share of labelled rows in time order.

    A row whose label ends (plus the embargo) at or after the start of the next part is purged from its own:
    no label reaches into data that a later part starts from. DataError if a part would be empty.
    """
    if not (0 < train < 1 and 0 < valid < 1 and train + valid < 1):
        raise DataError(f"split: train {train} and valid {valid} must be shares that leave room for a test part")
    rows = np.flatnonzero(known)
    rows = rows[np.argsort(ts_ns[rows], kind="stable")]
    if len(rows) < 10:
        raise DataError(f"only {len(rows)} labelled rows: the data is too short for this horizon")
    t = ts_ns[rows]
    starts = t[int(len(rows) * train)], t[int(len(rows) * (train + valid))]
    ends = end_ns[rows] + embargo_ns
    parts = Parts(
        rows[(t < starts[0]) & (ends < starts[0])],
        rows[(t >= starts[0]) & (t < starts[1]) & (ends < starts[1])],
        rows[t >= starts[1]],
    )
    for name, part in (("train", parts.train), ("valid", parts.valid), ("test", parts.test)):
        if len(part) == 0:
            raise DataError(f"the {name} part is empty: the data is too short for this split, horizon and embargo")
    return parts
