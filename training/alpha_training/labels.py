"""Labels: what the price did after each row, beyond what it costs to act on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError, DefinitionError, need
from alpha.features import batch, parity
from alpha.features.feature_set import FeatureSet
from alpha.features.language import Expr, duration, parse
from alpha_training import recipe
from alpha_training.snapshot import Snapshot, Source

SELL, HOLD, BUY = 0, 1, 2
"""Classes in the order of the actions SELL, HOLD, BUY."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Labelled:
    """Per snapshot row: ``y`` class, ``forward`` return (or volatility) over the horizon, ``end_ns`` when the label is
    known, ``known`` whether the data reaches that far, ``price`` and ``spread`` at the row."""

    y: Ints
    forward: Floats
    end_ns: Ints
    known: Bools
    price: Floats
    spread: Floats


def horizon_rows(ts_ns: Ints, horizon: int | str) -> tuple[Ints, Ints, Bools]:
    """(last row of each row's horizon, time its label is known, whether the rows reach that far).

    A duration ends at the last row at or before t + h: of rows with an equal time the last one. A number counts rows.
    """
    n = len(ts_ns)
    if isinstance(horizon, int):
        at = np.minimum(np.arange(n) + horizon, max(n - 1, 0))
        return at, ts_ns[at] if n else ts_ns, np.arange(n) + horizon < n
    end = ts_ns + duration(horizon).ns
    return np.searchsorted(ts_ns, end, side="right") - 1, end, end <= ts_ns[-1] if n else np.zeros(0, np.bool_)


def forward_return(ts_ns: Ints, price: Floats, horizon_ns: int) -> tuple[Floats, Bools]:
    """price(t + h)/price(t) - 1 by the last row at or before t + h; known where the rows reach t + h and both prices
    give a number. A later row is never looked at."""
    if len(ts_ns) == 0:
        return np.zeros(0), np.zeros(0, np.bool_)
    at = np.searchsorted(ts_ns, ts_ns + horizon_ns, side="right") - 1
    forward = _ratio(price, at)
    return forward, (ts_ns + horizon_ns <= ts_ns[-1]) & np.isfinite(forward)


def _ratio(price: Floats, at: Ints) -> Floats:
    with np.errstate(all="ignore"):
        return np.asarray(price[at] / price - 1.0)


def classes(forward: Floats, band: Floats) -> Ints:
    """BUY above the band, SELL below its negative, HOLD inside (edges included)."""
    return np.where(forward > band, BUY, np.where(forward < -band, SELL, HOLD))


def first_touch(price: Floats, last: Ints, up: Floats, down: Floats) -> tuple[Ints, Ints]:
    """(class, row) per row: the first of the rows after it, up to ``last``, whose price reaches ``up`` (BUY) or ``down``
    (SELL); HOLD at ``last`` if none does."""
    touched, where = _touch_kernel()(price, last, up, down)
    return np.asarray(touched), np.asarray(where)


def _touch(price: Any, last: Any, up: Any, down: Any) -> Any:
    y = np.full(len(price), 1, np.int64)
    where = last.copy()
    for i in range(len(price)):
        for j in range(i + 1, last[i] + 1):
            if price[j] >= up[i]:
                y[i], where[i] = 2, j
                break
            if price[j] <= down[i]:
                y[i], where[i] = 0, j
                break
    return y, where


_compiled: list[Callable[..., Any]] = []


def _touch_kernel() -> Callable[..., Any]:
    if not _compiled:
        _compiled.append(need("numba", "train").njit(_touch))
    return _compiled[0]


def realised_volatility(price: Floats, at: Ints) -> Floats:
    """Root of the sum of squared log returns of the rows after each row, up to ``at``."""
    with np.errstate(all="ignore"):
        squares = np.diff(np.log(price), prepend=np.log(price[:1])) ** 2
    total = np.cumsum(squares)
    return np.asarray(np.sqrt(np.maximum(total[at] - total, 0.0)))


def expressions(spec: recipe.Labels, fs: FeatureSet) -> FeatureSet:
    """Price, spread and barrier as a feature set of the same stream; DataError names the one that is no expression."""
    parsed: dict[str, Expr] = {}
    nothing = f"0.0 * ({spec.price})"
    for name, text in (("price", spec.price), ("spread", spec.spread or nothing), ("barrier", spec.barrier or nothing)):
        try:
            parsed[name] = parse(text)
        except DefinitionError as exc:
            raise DataError(f"labels.{name} = {text!r}: {str(exc).splitlines()[0]}") from None
    try:
        return FeatureSet("labels", parsed, fs.trigger, fs.stream)
    except DefinitionError as exc:
        raise DataError(f"labels: {str(exc).splitlines()[0]}") from None


def make(spec: recipe.Labels, fs: FeatureSet, snapshot: Snapshot, source: Source) -> Labelled:
    """Labels of every snapshot row, instrument by instrument. DataError names the key that gives no number."""
    priced = expressions(spec, fs)
    accepted = parity.guard(priced, source.events, source.instruments) == 0
    detail = batch.compute_detail(priced, source.events, source.instruments, accepted)
    where = _rows_of(detail, snapshot)
    for j, name in enumerate(("price", "spread", "barrier")):
        broken = detail.ready[where, j] & ~np.isfinite(detail.exact[where, j])
        if broken.any():
            first = int(detail.rows.row_index[where[np.argmax(broken)]])
            raise DataError(
                f"labels.{name} = {getattr(spec, name)!r} is not a number at {int(broken.sum()):,} of {len(broken):,} "
                f"rows, first at event {first}: a label cannot be made of it"
            )
    # float32 would round a 60,000 $ price to 4e-3 $
    n = len(detail.ts_ns)
    y, forward, end, known = np.full(n, HOLD), np.zeros(n), np.zeros(n, np.int64), np.zeros(n, np.bool_)
    for i in range(len(source.instruments)):
        mine = np.flatnonzero(detail.instrument_id == i)
        if len(mine):
            y[mine], forward[mine], end[mine], known[mine] = _of_one(spec, detail, mine)
    known &= detail.ready.all(axis=1)
    return Labelled(y[where], forward[where], end[where], known[where], detail.exact[where, 0], detail.exact[where, 1])


def _of_one(spec: recipe.Labels, detail: batch.Detail, mine: Ints) -> tuple[Ints, Floats, Ints, Bools]:
    ts, price, spread = detail.ts_ns[mine], detail.exact[mine, 0], detail.exact[mine, 1]
    with np.errstate(all="ignore"):
        band = spec.half_spreads * 0.5 * spread / price + spec.fee_bp * 1e-4
    at, end, known = horizon_rows(ts, 1 if spec.kind == "next_bar_sign" else spec.horizon)
    if spec.kind == "volatility":
        forward = realised_volatility(price, at)
        y = np.full(len(ts), HOLD)
    elif spec.kind == "triple_barrier":
        width = detail.exact[mine, 2] if spec.barrier else band
        y, at = first_touch(price, at, price * (1.0 + spec.take * width), price * (1.0 - spec.stop * width))
        forward, end = _ratio(price, at), np.where(y == HOLD, end, ts[at])
    else:
        forward = _ratio(price, at)
        y = classes(forward, np.zeros(len(ts)) if spec.kind == "next_bar_sign" else band)
    return y, forward, end, known & np.isfinite(forward)


def _rows_of(detail: batch.Detail, snapshot: Snapshot) -> Ints:
    """Position of each snapshot row among all rows of the same trigger."""
    keys = detail.rows.row_index * 2**24 + detail.instrument_id
    where = np.searchsorted(keys, snapshot.row_index * 2**24 + snapshot.instrument_id)
    if np.any(keys[where] != snapshot.row_index * 2**24 + snapshot.instrument_id):
        raise DataError("rows of the labels do not line up with the snapshot")
    return where
