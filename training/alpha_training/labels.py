"""Labels: what the price did after each row, beyond what it costs to act on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError, DefinitionError
from alpha.features import batch, parity
from alpha.features.feature_set import FeatureSet
from alpha.features.language import Expr, duration, parse
from alpha_training import recipe
from alpha_training.snapshot import Snapshot, Source

SELL, HOLD, BUY = 0, 1, 2
"""Classes in the order of the actions SELL, HOLD, BUY."""


@dataclass(frozen=True)
class Labelled:
    """Per snapshot row: ``y`` class, ``forward`` return over the horizon, ``end_ns`` when the label is known,
    ``known`` whether the data reaches that far."""

    y: npt.NDArray[np.int64]
    forward: npt.NDArray[np.float64]
    end_ns: npt.NDArray[np.int64]
    known: npt.NDArray[np.bool_]


def forward_return(
    ts_ns: npt.NDArray[np.int64], price: npt.NDArray[np.float64], horizon_ns: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """price(t + h)/price(t) - 1 by the last row at or before t + h; known where the rows reach t + h.

    Of rows with an equal time the last is the price: a later row is never looked at.
    """
    if len(ts_ns) == 0:
        return np.zeros(0), np.zeros(0, np.bool_)
    at = np.searchsorted(ts_ns, ts_ns + horizon_ns, side="right") - 1
    known = ts_ns + horizon_ns <= ts_ns[-1]
    with np.errstate(all="ignore"):
        forward = price[at] / price - 1.0
    return forward, known & np.isfinite(forward)


def classes(forward: npt.NDArray[np.float64], band: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """BUY above the band, SELL below its negative, HOLD inside (edges included)."""
    return np.where(forward > band, BUY, np.where(forward < -band, SELL, HOLD))


def expressions(spec: recipe.Labels, fs: FeatureSet) -> FeatureSet:
    """Price and spread as a feature set of the same stream; DataError names the one that is no expression."""
    parsed: dict[str, Expr] = {}
    for name, text in (("price", spec.price), ("spread", spec.spread or f"0.0 * ({spec.price})")):
        try:
            parsed[name] = parse(text)
        except DefinitionError as exc:
            raise DataError(f"labels.{name} = {text!r}: {str(exc).splitlines()[0]}") from None
    return FeatureSet("labels", parsed, fs.trigger, fs.stream)


def make(spec: recipe.Labels, fs: FeatureSet, snapshot: Snapshot, source: Source) -> Labelled:
    """Labels of every snapshot row, instrument by instrument."""
    horizon = duration(spec.horizon).ns
    priced = expressions(spec, fs)
    accepted = parity.guard(priced, source.events, source.instruments) == 0
    detail = batch.compute_detail(priced, source.events, source.instruments, accepted)
    where = _rows_of(detail, snapshot)
    # float32 would round a 60,000 $ price to 4e-3 $
    price, spread = detail.exact[:, 0], detail.exact[:, 1]
    n = len(snapshot.ts_ns)
    forward, known = np.zeros(n), np.zeros(n, np.bool_)
    for i in range(len(source.instruments)):
        mine = detail.instrument_id == i
        f, k = forward_return(detail.ts_ns[mine], price[mine], horizon)
        full_f, full_k = np.zeros(len(price)), np.zeros(len(price), np.bool_)
        full_f[mine], full_k[mine] = f, k
        rows = snapshot.instrument_id == i
        forward[rows], known[rows] = full_f[where[rows]], full_k[where[rows]]
    band = spec.half_spreads * 0.5 * spread[where] / price[where] + spec.fee_bp * 1e-4
    return Labelled(classes(forward, band), forward, snapshot.ts_ns + horizon, known)


def _rows_of(detail: batch.Detail, snapshot: Snapshot) -> npt.NDArray[np.int64]:
    """Position of each snapshot row among all rows of the same trigger."""
    keys = detail.rows.row_index * 2**24 + detail.instrument_id
    where = np.searchsorted(keys, snapshot.row_index * 2**24 + snapshot.instrument_id)
    if np.any(keys[where] != snapshot.row_index * 2**24 + snapshot.instrument_id):
        raise DataError("rows of the labels do not line up with the snapshot")
    return where
