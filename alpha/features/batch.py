"""The batch twin: a feature set over whole arrays of events. Floor 2.

Vectorised with numpy, sequential parts by numba; none of the native code. Each instrument's
accepted events become a timeline of *steps*: a READ at a boundary of ``every(d)``, a CLOSE
where built bars end, and the event's OWN update, in this order. Every expression node is a
column over the steps: its value, whether it passes an update on, whether it is ready.

    >>> rows = compute(feature_set, events, instruments)   # doctest: +SKIP
    >>> rows.values.shape, rows.ready.shape                # doctest: +SKIP
"""

from __future__ import annotations

import importlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError, need
from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, Kind
from alpha.features._batch_columns import Columns, Kernels
from alpha.features._batch_formulas import exp, log
from alpha.features._batch_timeline import Bools, Floats, Ints, Timeline
from alpha.features.feature_set import FeatureSet

__all__ = ["Detail", "InstrumentTable", "Rows", "compute", "compute_detail", "exp", "log"]


class InstrumentTable(Protocol):
    """What this module needs of :class:`alpha.Instruments`."""

    def __len__(self) -> int: ...

    def lots(self) -> Floats: ...


class Rows(NamedTuple):
    """Feature rows: ``row_index`` int64 [N] into the events, ``values`` float32 [N, F], ``ready`` bool [N]."""

    row_index: Ints
    values: npt.NDArray[np.float32]
    ready: Bools


@dataclass(frozen=True, slots=True)
class Detail:
    """Rows with what parity needs: readiness per feature [N, F], decision times [N], instruments [N], and
    ``scale`` [N, F], the largest direct operand of each feature's root operator so far (rule 48);
    ``exact`` [N, F]: the float64 values before rounding, for labels and prices."""

    rows: Rows
    ready: Bools
    ts_ns: Ints
    instrument_id: npt.NDArray[np.uint32]
    scale: Floats | None
    exact: Floats


def compute(
    fs: FeatureSet, events: npt.NDArray[Any], instruments: InstrumentTable | None, accepted: Bools | None = None
) -> Rows:
    """Rows of a feature set over guarded events.

    ``events``: EVENT_DTYPE array in arrival order; ``accepted``: bool [len(events)], the guard's verdict
    (all if None); ``instruments``: table with lot sizes (None: as many as the ids show, lots unknown).
    """
    return compute_detail(fs, events, instruments, accepted).rows


def compute_detail(
    fs: FeatureSet,
    events: npt.NDArray[Any],
    instruments: InstrumentTable | None,
    accepted: Bools | None = None,
    with_scale: bool = False,
) -> Detail:
    """Like :func:`compute`, with readiness per feature, decision times and operand scales."""
    seen = _of_interest(events, accepted)
    ids = events["instrument_id"][seen].astype(np.int64)
    n = len(instruments) if instruments is not None else int(ids[ids != ALL_INSTRUMENTS].max(initial=-1)) + 1
    lots = instruments.lots() if instruments is not None else np.full(n, np.nan)
    order = np.argsort(ids, kind="stable")
    first = np.searchsorted(ids[order], np.arange(n + 1))
    to_all = seen[order[np.searchsorted(ids[order], ALL_INSTRUMENTS) :]]

    def part(i: int) -> Detail | None:
        own = seen[order[first[i] : first[i + 1]]]
        if not len(own) and not len(to_all):
            return None
        mine = np.sort(np.concatenate([own, to_all])) if len(to_all) else own
        return _evaluate(fs, Timeline.build(fs, events, mine, float(lots[i])), i, with_scale)

    with ThreadPoolExecutor(max(1, min(n, os.cpu_count() or 1))) as pool:  # numpy and the kernels drop the GIL
        parts = [p for p in pool.map(part, range(n)) if p is not None]
    f = len(fs.features)
    if not parts:
        empty = Rows(np.zeros(0, np.int64), np.zeros((0, f), np.float32), np.zeros(0, np.bool_))
        return Detail(
            empty, np.zeros((0, f), np.bool_), np.zeros(0, np.int64), np.zeros(0, np.uint32), None, np.zeros((0, f))
        )
    index = np.concatenate([p.rows.row_index for p in parts])
    who = np.concatenate([p.instrument_id for p in parts])
    order = np.lexsort((who, index))
    ready = np.concatenate([p.ready for p in parts])[order]
    values = np.concatenate([p.rows.values for p in parts])[order]
    scales = [p.scale for p in parts if p.scale is not None]
    return Detail(
        Rows(index[order], values, np.asarray(ready.all(axis=1))),
        ready,
        np.concatenate([p.ts_ns for p in parts])[order],
        who[order],
        np.concatenate(scales)[order] if scales else None,
        np.concatenate([p.exact for p in parts])[order],
    )


def _of_interest(events: npt.NDArray[Any], accepted: Bools | None) -> Ints:
    """Indices of the events that features see; DataError where the arrays are not what they should be."""
    if getattr(events, "dtype", None) != EVENT_DTYPE or events.ndim != 1:
        raise DataError("events must be a one-dimensional array of EVENT_DTYPE: read them with alpha.data")
    kind = events["kind"]
    seen = kind != Kind.CONTROL
    seen &= (events["instrument_id"] != ALL_INSTRUMENTS) | (kind == Kind.TIMER) | (kind == Kind.STATUS)
    if accepted is not None:
        verdict = np.asarray(accepted)
        if verdict.dtype != np.bool_ or verdict.shape != events.shape:
            found = f"{verdict.dtype} {list(verdict.shape)}"
            raise DataError(f"accepted must be bool [{len(events)}], one verdict per event, not {found}")
        seen &= verdict
    return np.flatnonzero(seen)


def _kernels() -> Kernels:
    """The compiled parts; not at import, for numba is an extra and takes its time to load."""
    need("numba", "data")
    return Kernels(
        importlib.import_module("alpha.features._batch_kernels"),
        importlib.import_module("alpha.features._batch_recursive"),
        importlib.import_module("alpha.features._batch_orders"),
        importlib.import_module("alpha.features._batch_sums"),
    )


def _evaluate(fs: FeatureSet, line: Timeline, instrument: int, with_scale: bool) -> Detail:
    columns = Columns(line, _kernels())
    pick = line.rows
    n, f = len(pick), len(fs.features)
    exact = np.empty((n, f))
    ready = np.empty((n, f), np.bool_)
    scale = np.zeros((n, f)) if with_scale else None
    with np.errstate(all="ignore"):
        for j, e in enumerate(fs.features.values()):
            column = columns.of(e)
            exact[:, j] = column.value[pick]
            ready[:, j] = column.ready[pick]
            if scale is not None:
                for a in e.args or (e,):
                    operand = np.abs(columns.of(a).value)
                    largest = np.maximum.accumulate(np.where(np.isfinite(operand), operand, 0.0))
                    scale[:, j] = np.maximum(scale[:, j], largest[pick])
        values = exact.astype(np.float32)
    rows = Rows(line.event_of[pick], values, np.asarray(ready.all(axis=1)))
    return Detail(rows, ready, line.t[pick], np.full(n, instrument, np.uint32), scale, exact)
