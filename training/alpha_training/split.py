"""Time-ordered parts and folds, with nothing known twice: what overlaps in time is purged, an embargo follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError, need

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Parts:
    """Row numbers of the three parts, each in time order."""

    train: Ints
    valid: Ints
    test: Ints


@dataclass(frozen=True)
class Fold:
    """Row numbers of one fold, each in time order."""

    train: Ints
    test: Ints


def time_ordered(ts_ns: Ints, end_ns: Ints, known: Bools, *, train: float, valid: float, embargo_ns: int) -> Parts:
    """Cut by share of labelled rows in time order.

    A row whose label ends (plus the embargo) at or after the start of the next part is purged from its own:
    no label reaches into data that a later part starts from. DataError if a part would be empty.
    """
    if not (0 < train < 1 and 0 < valid < 1 and train + valid < 1):
        raise DataError(f"split: train {train} and valid {valid} must be shares that leave room for a test part")
    rows = _labelled(ts_ns, known)
    if len(ts_ns) < 10:
        raise DataError(
            f"data: only {len(ts_ns)} rows are warm and finite, hence only {len(rows)} labelled rows, and three parts "
            "need at least 10: take more of the data (data.files, data.max_events)"
        )
    if len(rows) < 10:
        raise DataError(
            f"labels.horizon: only {len(rows)} labelled rows of {len(ts_ns):,}: the data is too short for this horizon"
        )
    t = ts_ns[rows]
    starts = t[int(len(rows) * train)], t[int(len(rows) * (train + valid))]
    return _cut(ts_ns, end_ns, rows, starts[0], starts[1], None, embargo_ns)


def at_times(
    ts_ns: Ints, end_ns: Ints, known: Bools, *, begin: int, valid_from: int, test_from: int, embargo_ns: int
) -> Parts:
    """Cut at given times, from ``begin`` (inclusive) on; purged and embargoed like :func:`time_ordered`. A part may be empty."""
    rows = _labelled(ts_ns, known)
    rows = rows[ts_ns[rows] >= begin]
    return _purged(ts_ns, end_ns, rows, valid_from, test_from, None, embargo_ns)


def walk_forward(
    ts_ns: Ints,
    end_ns: Ints,
    known: Bools,
    *,
    folds: int,
    train: float,
    valid: float,
    embargo_ns: int,
    window: str = "expanding",
) -> list[Parts]:
    """``folds`` consecutive test parts after the first ``train + valid`` share of rows; each is preceded by its own
    training and validation rows: all earlier ones (``expanding``) or as many as the first fold had (``sliding``).

    Purged and embargoed like :func:`time_ordered`. DataError if a part would be empty.
    """
    rows = _labelled(ts_ns, known)
    n = len(rows)
    first = int(n * (train + valid))
    edges = np.linspace(first, n, folds + 1).astype(np.int64)
    if n < 10 or len(np.unique(edges)) != folds + 1:
        raise DataError(f"split.folds = {folds}: {n} labelled rows are too few for that many folds")
    t = ts_ns[rows]
    out = []
    for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        begin = a - first if window == "sliding" else 0
        cut = begin + int((a - begin) * train / (train + valid))
        stop = t[b] if b < n else None
        out.append(_cut(ts_ns, end_ns, rows[begin:], t[cut], t[a], stop, embargo_ns))
    return out


def purged_k_fold(ts_ns: Ints, end_ns: Ints, known: Bools, *, folds: int, embargo_ns: int) -> list[Fold]:
    """Contiguous test folds; training rows whose labels overlap a fold's are purged, and rows within the embargo after it."""
    cv = need("purgedcv", "train")
    return _folds(folds, lambda **t: cv.PurgedKFold(folds, **t), ts_ns, end_ns, known, embargo_ns)


def combinatorial(
    ts_ns: Ints, end_ns: Ints, known: Bools, *, folds: int, test_groups: int, embargo_ns: int
) -> list[Fold]:
    """Every choice of ``test_groups`` of ``folds`` contiguous groups is the test once (López de Prado 2018, 12.4)."""
    cv = need("purgedcv", "train")
    return _folds(
        folds, lambda **t: cv.CombinatorialPurgedCV(folds, test_groups, **t), ts_ns, end_ns, known, embargo_ns
    )


def leaks(ts_ns: Ints, end_ns: Ints, train: Ints, test: Ints, embargo_ns: int = 0) -> Ints:
    """Training rows that know something of the test rows: rows in both, rows whose label overlaps a test row's
    [t, end], and rows that begin within the embargo after a test label's end. Closed intervals, in exact integers;
    independent of how the split was made."""
    if not len(train) or not len(test):
        return np.zeros(0, np.int64)
    order = np.argsort(ts_ns[test], kind="stable")
    begin, stop = ts_ns[test][order], end_ns[test][order] + embargo_ns
    reach = np.maximum.accumulate(stop)
    # of all test rows that begin at or before the label's end, the furthest reach must end before the row begins
    before = np.searchsorted(begin, end_ns[train], side="right") - 1
    overlaps = (before >= 0) & (reach[np.maximum(before, 0)] >= ts_ns[train])
    return np.sort(train[overlaps | np.isin(train, test)])


def _labelled(ts_ns: Ints, known: Bools) -> Ints:
    rows = np.flatnonzero(known)
    return rows[np.argsort(ts_ns[rows], kind="stable")]


def _cut(
    ts_ns: Ints, end_ns: Ints, rows: Ints, valid_from: int, test_from: int, stop: int | None, embargo_ns: int
) -> Parts:
    parts = _purged(ts_ns, end_ns, rows, valid_from, test_from, stop, embargo_ns)
    for name, part in (("train", parts.train), ("valid", parts.valid), ("test", parts.test)):
        if len(part) == 0:
            raise DataError(
                f"the {name} part is empty: the data is too short for split.train, split.valid, labels.horizon and split.embargo"
            )
    return parts


def _purged(
    ts_ns: Ints, end_ns: Ints, rows: Ints, valid_from: int, test_from: int, stop: int | None, embargo_ns: int
) -> Parts:
    t, ends = ts_ns[rows], end_ns[rows] + embargo_ns
    inside = t >= test_from if stop is None else (t >= test_from) & (t < stop)
    return Parts(
        rows[(t < valid_from) & (ends < valid_from)],
        rows[(t >= valid_from) & (t < test_from) & (ends < test_from)],
        rows[inside],
    )


def _folds(folds: int, make: Any, ts_ns: Ints, end_ns: Ints, known: Bools, embargo_ns: int) -> list[Fold]:
    rows = _labelled(ts_ns, known)
    if len(rows) < 2 * folds:
        raise DataError(f"split.folds = {folds}: {len(rows)} labelled rows are too few for that many folds")
    t, end = ts_ns[rows].astype("datetime64[ns]"), (end_ns[rows] + 1).astype("datetime64[ns]")  # half-open there

    def run() -> Iterator[Fold]:
        splitter = make(prediction_times=t, evaluation_times=end, embargo=np.timedelta64(embargo_ns, "ns"))
        for train, test in splitter.split(np.zeros((len(rows), 1))):
            if len(train) == 0:
                raise DataError("the train part of a fold is empty: fewer split.folds, or a shorter labels.horizon")
            yield Fold(rows[train], rows[test])

    try:
        return list(run())
    except ValueError as exc:
        raise DataError(f"split.folds: {exc}") from None
