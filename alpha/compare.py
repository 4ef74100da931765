"""Two models over the same stream: where they differ, how well each is calibrated, what each would have earned. Floor 7.

Both decide on every event; decisions are matched by event and instrument. An action is judged by the move of the
reference price from its own decision to the first decision of its instrument at least ``horizon_ns`` later: known only
afterwards, by this module, never by a model. No costs but ``cost_bp`` per action, no position, no fills: a comparison, not
a backtest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.bundle import Bundle
from alpha.data import EventSource
from alpha.errors import DataError
from alpha.events import Action
from alpha.instruments import Instruments
from alpha.runtime import Runtime

Array = npt.NDArray[Any]
BINS = 10


def compare(
    a: Bundle,
    b: Bundle,
    source: EventSource,
    *,
    horizon_ns: int,
    cost_bp: float = 0.0,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Run both over ``source`` and compare.

    ``flips``: decisions whose action differs; ``models``: actions, hit rate, calibration error and mean result in bp per
    matched decision; ``difference_bp``: B less A per decision with its 95 % interval by a paired block bootstrap (blocks
    of the square root of the number of decisions, seeded). DataError if no decision of theirs can be matched and judged.
    """
    if horizon_ns <= 0:
        raise DataError(f"the horizon must be above zero ns, not {horizon_ns}")
    table = source.instruments
    left, right = _run(a, table), _run(b, table)
    for chunk in source:
        if source.instruments is not table:
            raise DataError("the data names more instruments on its way: declare them in instruments.toml")
        left[1].append(left[0].run(chunk))
        right[1].append(right[0].run(chunk))
    x, y = matched(np.concatenate(left[1]), np.concatenate(right[1]))
    moves = forward_bp(x, horizon_ns)
    known = np.isfinite(moves)
    if not known.any():
        raise DataError("no decision has an outcome: the stream is shorter than the horizon, or nothing was decided")
    results = [np.where(s["action"] != 0, s["action"] * moves - cost_bp, 0.0)[known] for s in (x, y)]
    low, high = interval(results[1] - results[0], resamples, seed)
    flips: dict[str, int] = {}
    for p, q in zip(*(s["action"][x["action"] != y["action"]].tolist() for s in (x, y)), strict=True):
        name = f"{Action(p).name} -> {Action(q).name}"
        flips[name] = flips.get(name, 0) + 1
    return {
        "decisions": len(x),
        "judged": int(known.sum()),
        "horizon_ns": horizon_ns,
        "cost_bp": cost_bp,
        "flips": sum(flips.values()),
        "flips_by_kind": dict(sorted(flips.items(), key=lambda item: -item[1])),
        "models": {
            label: {"name": bundle.name, **_one(s, moves, known, r)}
            for label, bundle, s, r in (("a", a, x, results[0]), ("b", b, y, results[1]))
        },
        "difference_bp": {
            "mean": float((results[1] - results[0]).mean()),
            "low": low,
            "high": high,
            "significant": bool(low > 0 or high < 0),
        },
    }


def _run(bundle: Bundle, instruments: Instruments) -> tuple[Runtime, list[Array]]:
    return Runtime(bundle, instruments), []


def matched(a: Array, b: Array) -> tuple[Array, Array]:
    """The Signals that both have, in the same order, by event and instrument."""

    def key(s: Array) -> Array:
        return s["event_index"].astype(np.uint64) << np.uint64(24) | s["instrument_id"].astype(np.uint64)

    _, i, j = np.intersect1d(key(a), key(b), assume_unique=True, return_indices=True)
    return a[i], b[j]


def forward_bp(signals: Array, horizon_ns: int) -> npt.NDArray[np.float64]:
    """Move of the reference price in bp until the instrument's first decision at least ``horizon_ns`` later; NaN if
    there is none, or no price."""
    out = np.full(len(signals), np.nan)
    ts = np.where(signals["ts_recv_ns"] != 0, signals["ts_recv_ns"], signals["ts_event_ns"])
    for instrument in np.unique(signals["instrument_id"]):
        own = np.flatnonzero(signals["instrument_id"] == instrument)
        t, px = np.maximum.accumulate(ts[own]), signals["ref_px"][own]
        later = np.searchsorted(t, t + horizon_ns)
        have = np.flatnonzero(later < len(own))
        with np.errstate(divide="ignore", invalid="ignore"):
            out[own[have]] = 1e4 * (px[later[have]] / px[have] - 1.0)
    out[~np.isfinite(out)] = np.nan
    return out


def interval(difference: npt.NDArray[np.float64], resamples: int, seed: int, length: int = 0) -> tuple[float, float]:
    """95 % of the mean of paired differences under a circular block bootstrap: neighbours stay together.

    ``length``: of a block at least, for differences that know of each other over more than the square root of their
    number.
    """
    n = len(difference)
    length = min(max(1, int(np.sqrt(n)), length), n)
    rng = np.random.default_rng(seed)
    sums = np.concatenate([[0.0], np.cumsum(np.concatenate([difference, difference[:length]]))])
    starts = rng.integers(0, n, (resamples, -(-n // length)))
    means = (sums[starts + length] - sums[starts]).mean(axis=1) / length
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _one(s: Array, moves: Array, known: Array, result: Array) -> dict[str, Any]:
    """How one model did on the decisions that can be judged."""
    acted = known & (s["action"] != 0) & (moves != 0)
    right = np.sign(moves[acted]) == s["action"][acted]
    return {
        "actions": {x.name: int((s["action"] == x).sum()) for x in Action},
        "hit_rate": float(right.mean()) if len(right) else None,
        "calibration_error": calibration_error(s["confidence"][acted], right) if len(right) else None,
        "mean_bp": float(result.mean()),
        "total_bp": float(result.sum()),
    }


def calibration_error(confidence: Array, right: Array) -> float:
    """Mean absolute gap between confidence and share of right answers over ten bins, weighted by their size."""
    which = np.minimum((confidence.astype(np.float64) * BINS).astype(int), BINS - 1)
    n = np.bincount(which, minlength=BINS)
    told = np.bincount(which, weights=confidence.astype(np.float64), minlength=BINS)
    was = np.bincount(which, weights=right.astype(np.float64), minlength=BINS)
    return float(np.abs(told - was).sum() / n.sum())
