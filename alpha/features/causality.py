"""Look-ahead: does anything of the past change when the future does? Floor 2.

At random places everything that comes after is altered: prices, sizes, sides and times, or it is cut off. Rows that were
made before must keep every bit. A feature that fails has seen what a trading loop could not have known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError
from alpha.events import EVENT_DTYPE, Kind
from alpha.features import batch
from alpha.features.feature_set import FeatureSet
from alpha.features.native import native_rows
from alpha.features.parity import guard
from alpha.instruments import Instruments

Events = npt.NDArray[Any]
Rows = dict[str, npt.NDArray[Any]]  # row_index, ts_ns, instrument_id, values [N, F], ready [N, F]
REACH = 20_000  # altered events that follow a cut: enough to show a look-ahead of that many events


def batch_rows(fs: FeatureSet, events: Events, instruments: Instruments) -> Rows:
    """The batch twin's rows in the form of :func:`alpha.features.native.native_rows`."""
    detail = batch.compute_detail(fs, events, instruments, guard(fs, events, instruments) == 0)
    return {
        "row_index": detail.rows.row_index,
        "ts_ns": detail.ts_ns,
        "instrument_id": detail.instrument_id,
        "values": detail.rows.values,
        "ready": detail.ready,
    }


TWINS: dict[str, Callable[[FeatureSet, Events, Instruments], Rows]] = {"batch": batch_rows, "native": native_rows}


def altered(events: Events, cut: int, rng: np.random.Generator) -> Events:
    """``events`` with everything after ``cut`` changed; its order and what the guard lets through mostly stay."""
    out = events.copy()
    future = out[cut + 1 :]
    n = len(future)
    priced = (future["kind"] >= Kind.QUOTE) & (future["kind"] <= Kind.DEPTH)
    v = future["v"]
    prices = np.where(future["kind"] == Kind.BAR, 4, np.where(future["kind"] == Kind.TRADE, 1, 2))
    factor = np.exp(rng.normal(0.0, 0.01, n)) * rng.choice([0.5, 1.0, 2.0])
    for column in range(4):
        at = priced & (column < prices)
        v[at, column] *= factor[at]
    sizes = {Kind.QUOTE: (2, 3), Kind.DEPTH: (2, 3), Kind.TRADE: (1,), Kind.BAR: (4,)}
    for kind, columns in sizes.items():
        at = future["kind"] == kind
        for column in columns:
            v[at, column] = np.floor(v[at, column] * rng.uniform(0.5, 3.0, int(at.sum()))) + 1.0
    trades = future["kind"] == Kind.TRADE
    v[trades, 2] = rng.integers(-1, 2, int(trades.sum()))
    inputs = future["kind"] == Kind.INPUT
    v[inputs, 1] += rng.normal(0.0, 1.0, int(inputs.sum()))
    if n and rng.random() < 0.5:  # later, too: windows of time must not know when the next event comes
        delay = np.cumsum(rng.integers(0, 10**8, n))
        for name in ("ts_event_ns", "ts_recv_ns"):
            future[name] = np.where(future[name] != 0, future[name] + delay, 0)
    return out[: cut + 1] if rng.random() < 0.2 else out


def check(
    fs: FeatureSet,
    events: Events,
    instruments: Instruments,
    *,
    cuts: int = 16,
    seed: int = 0,
    rows: Callable[[FeatureSet, Events, Instruments], Rows] = batch_rows,
    on_cut: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """``cuts``, ``compared`` values, ``violations`` (values or rows of the past that changed), per feature, ``pass``.

    ``rows``: the twin to examine, see :data:`TWINS`; ``on_cut`` is called after each cut.
    """
    if getattr(events, "dtype", None) != EVENT_DTYPE or len(events) < 2:
        raise DataError("look-ahead needs at least two events")
    if cuts < 1:
        raise DataError(f"cuts must be at least 1, not {cuts}")
    rng = np.random.default_rng(seed)
    by_feature = np.zeros(len(fs.names), np.int64)
    violations = compared = 0
    first: dict[str, Any] | None = None
    places = np.sort(rng.choice(len(events) - 1, min(cuts, len(events) - 1), replace=False))
    for cut in places.tolist():
        stretch = events[: cut + 1 + REACH]
        true, other = (_past(rows(fs, e, instruments), cut) for e in (stretch, altered(stretch, cut, rng)))
        keys = ("row_index", "ts_ns", "instrument_id")
        if any(len(true[k]) != len(other[k]) or (true[k] != other[k]).any() for k in keys):
            violations += 1
            first = first or {"cut": cut, "feature": None, "why": "rows of the past came or went"}
        else:
            differ = true["values"].view(np.uint32) != other["values"].view(np.uint32)
            differ &= ~(np.isnan(true["values"]) & np.isnan(other["values"]))
            differ |= true["ready"] != other["ready"]
            compared += differ.size
            by_feature += differ.sum(axis=0)
            violations += int(differ.sum())
            if first is None and differ.any():
                row, j = np.argwhere(differ)[0].tolist()
                first = {"cut": cut, "feature": fs.names[j], "event": int(true["row_index"][row])}
        on_cut()
    return {
        "cuts": len(places),
        "compared": compared,
        "violations": violations,
        "first": first,
        "features": {n: int(c) for n, c in zip(fs.names, by_feature, strict=True) if c},
        "definition_hash": fs.definition_hash,
        "pass": violations == 0 and compared > 0,
    }


def _past(rows: Rows, cut: int) -> Rows:
    """Rows made by events up to ``cut``, as arrays of their own."""
    before = rows["row_index"] <= cut
    return {name: np.ascontiguousarray(values[before]) for name, values in rows.items()}
