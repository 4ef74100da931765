"""What a model demands of a row, declared in its metadata, and the figures of its training rows that this needs. Floor 3.

All of it is optional: metadata that declare nothing demand nothing, but for the breaker, which counts errors by default.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from alpha.errors import ModelError

BINS = 10
SMALLEST_SHARE = 1e-4
"""A bin that training never saw: its logarithm must exist, and one row in it must weigh little."""
MAX_WINDOW = 65_520
LANES, STEPS = 8, 16
"""A row is counted for eight features; the window moves on by a sixteenth (``alpha_drift.h``)."""
USUAL = 0.999
Mode = Literal["off", "count", "hold"]
RANGE, DISTANCE, PSI = 1, 2, 4
Floats = npt.NDArray[np.float32]


class Ranges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Each raw feature within its training range, widened on both sides by ``margin`` times the range's width."""

    mode: Mode = "off"
    margin: float = 0.5


class Distance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mean of z² over the features, as the model sees them (clipped), at most ``limit``."""

    mode: Mode = "off"
    limit: float = 9.0


class Shift(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Population stability index of each feature over its last ``window`` rows (a multiple of 16; it moves on by a
    sixteenth) against the shares of the training rows, at most ``limit``. A row is counted for eight features in turn,
    so with F features the window spans window * ceil(F / 8) rows. Of a feature whose own training windows of that
    length reach more than ``limit`` (``reference.psi_usual``) the index is told as a share of what they reach, times
    ``limit``: a slow feature fills few bins in a short window, and that alone is no drift."""

    mode: Mode = "off"
    limit: float = 0.25
    window: int = 1024


class BreakerLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Trips at ``errors`` failed runs of the last ``window`` (0: never), or at ``in_a_row`` runs of more than ``latency_ns``
    (0: not measured). An error is a model that fails or gives a value that is not finite."""

    errors: int = 16
    window: int = 32
    latency_ns: int = 0
    in_a_row: int = 16


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``sessions``: ``regular`` decides in the regular sessions of the stream's calendar only. Ages in ns of stream time,
    None: any; of the instrument's own market data, of other instruments that features look at, of external series."""

    sessions: Literal["any", "regular"] = "any"
    max_age_ns: int | None = None
    max_age_peers_ns: int | None = None
    max_age_inputs_ns: int | None = None
    ranges: Ranges = Ranges()
    distance: Distance = Distance()
    psi: Shift = Shift()
    breaker: BreakerLimits = BreakerLimits()


def problem(limits: Limits) -> str:
    """What is wrong with declared limits, naming the field; empty if nothing is."""
    for name in ("max_age_ns", "max_age_peers_ns", "max_age_inputs_ns"):
        value = getattr(limits, name)
        if value is not None and not 0 <= value < 2**62:
            return f"limits.{name} must be from 0 to 2**62 ns"
    if not (math.isfinite(limits.ranges.margin) and limits.ranges.margin >= 0):
        return "limits.ranges.margin must be a finite number, 0 or more"
    for name in ("distance", "psi"):
        if not (math.isfinite(limit := getattr(limits, name).limit) and limit >= 0):
            return f"limits.{name}.limit must be a finite number, 0 or more"
    if not 16 <= limits.psi.window <= MAX_WINDOW or limits.psi.window % 16:
        return f"limits.psi.window must be a multiple of 16 rows from 16 to {MAX_WINDOW}"
    b = limits.breaker
    if not 0 <= b.errors <= b.window <= 64:
        return "limits.breaker: errors must be from 0 to window, and window at most 64 runs"
    if b.latency_ns < 0 or not 1 <= b.in_a_row < 2**31:
        return "limits.breaker: latency_ns must be 0 or more, in_a_row at least 1"
    return ""


def edges_of(x: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Deciles of training rows ``[N, F]`` as float32 edges ``[F, 9]``; equal ones where a value is that frequent."""
    deciles = np.quantile(x.astype(np.float64), np.arange(1, BINS) / BINS, axis=0).T
    return np.ascontiguousarray(deciles.astype(np.float32))


def shares_of(x: npt.NDArray[Any], edges: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Share of the rows ``[N, F]`` in each bin, ``[F, 10]``; a value on an edge lies below it, as live."""
    raw = x.astype(np.float32)
    bins = (np.searchsorted(own, column, side="left") for own, column in zip(edges, raw.T, strict=True))
    return np.stack([np.bincount(each, minlength=BINS) / len(raw) for each in bins])


def psi(counts: npt.ArrayLike, shares: npt.ArrayLike) -> float:
    """Population stability index of the counts in each bin against the training shares: sum of (b - a) ln(b / a), where
    an empty bin counts as half a row and an unseen one as 1e-4."""
    c, rows = np.asarray(counts, np.float64), float(np.sum(counts))
    a = np.maximum(np.asarray(shares, np.float64), SMALLEST_SHARE)
    return float(np.sum((c / rows - a) * np.log(np.maximum(c, 0.5) / rows / a)))


def usual_psi(
    parts: list[npt.NDArray[Any]], edges: npt.NDArray[np.float32], shares: npt.NDArray[np.float64], window: int
) -> npt.NDArray[np.float64]:
    """What the index of each feature reaches, ``[F]``, over windows of training rows, laid and counted as live: the
    :data:`USUAL` quantile. ``parts``: rows ``[N, F]`` of each instrument in their order. Empty without one full window."""
    n = len(edges)
    turns = -(-n // LANES)
    step = window // STEPS
    a = np.maximum(shares, SMALLEST_SHARE)
    found: list[list[npt.NDArray[np.float64]]] = [[] for _ in range(n)]
    for x in parts:
        steps = len(x) // (step * turns)
        if steps < STEPS:
            continue
        raw = x[: steps * step * turns].astype(np.float32)
        for j in range(n):
            bins = np.searchsorted(edges[j], raw[j // LANES :: turns, j], side="left")
            at = np.repeat(np.arange(steps), step) * BINS + bins
            sums = np.cumsum(np.bincount(at, minlength=steps * BINS).reshape(steps, BINS), axis=0)
            sums[STEPS:] -= sums[:-STEPS].copy()
            c = sums[STEPS - 1 :].astype(np.float64)
            found[j].append(np.sum((c / window - a[j]) * np.log(np.maximum(c, 0.5) / window / a[j]), axis=1))
    return np.array([np.quantile(np.concatenate(own), USUAL) for own in found if own])


def psi_weight(limit: float, usual: list[float], n: int) -> Floats:
    """What the index of each feature is multiplied by, float32 ``[F]``: so the one limit stands for all of them."""
    if not usual or limit <= 0.0:
        return np.ones(n, np.float32)
    return (limit / np.maximum(np.asarray(usual, np.float64), limit)).astype(np.float32)


def usual_text(limit: float, usual: list[float], j: int, value: float) -> str:
    """Behind an index that is told as a share of what is usual: both as they are. Empty for any other."""
    if not usual or limit <= 0.0 or usual[j] <= limit:
        return ""
    return f" (the index itself is {value * usual[j] / limit:.4g}; over such windows of training it reaches {usual[j]:.4g})"


def distance(z: npt.ArrayLike) -> float:
    """Mean of z² of one row."""
    return float(np.mean(np.square(np.asarray(z, np.float64))))


def widened(low: npt.ArrayLike, high: npt.ArrayLike, margin: float) -> tuple[Floats, Floats]:
    """Training ranges with their margin, float32 ``[F]`` each: what ranges are checked against."""
    a, b = np.asarray(low, np.float64), np.asarray(high, np.float64)
    more = margin * (b - a)
    largest = float(np.finfo(np.float32).max)
    return (
        np.clip(a - more, -largest, largest).astype(np.float32),
        np.clip(b + more, -largest, largest).astype(np.float32),
    )


def row_gates(limits: Limits, reference: Any, x: npt.ArrayLike, z: npt.ArrayLike) -> list[dict[str, Any]]:
    """What one row says by itself: features outside of their range, and its distance, each against its limit."""
    out: list[dict[str, Any]] = []
    raw = np.asarray(x, np.float32)
    if limits.ranges.mode != "off":
        lo, hi = widened(reference.min, reference.max, limits.ranges.margin)
        outside = np.flatnonzero((raw < lo) | (raw > hi)).tolist()
        text = ", ".join(f"feature {j}: {float(raw[j]):.4g} not in {lo[j]:.4g} to {hi[j]:.4g}" for j in outside[:3])
        gate = {"gate": "features out of range", "value": len(outside), "limit": 0, "passed": not outside}
        out.append(gate | {"mode": limits.ranges.mode} | ({"text": text} if text else {}))
    if limits.distance.mode != "off":
        value = distance(z)
        gate = {"gate": "distance", "value": value, "limit": limits.distance.limit}
        out.append(gate | {"passed": value <= limits.distance.limit, "mode": limits.distance.mode})
    return out


def drift(limits: Limits, reference: Any, n: int) -> dict[str, Any] | None:
    """What :class:`alpha._core.checks.Checks` takes; None where nothing is looked at. ``reference``: the metadata's."""
    modes = {RANGE: limits.ranges.mode, DISTANCE: limits.distance.mode, PSI: limits.psi.mode}
    on = sum(bit for bit, mode in modes.items() if mode != "off")
    if not on:
        return None
    zero = [0.0] * n
    lo, hi = widened(reference.min or zero, reference.max or zero, limits.ranges.margin)
    return {
        "on": on,
        "hold": sum(bit for bit, mode in modes.items() if mode == "hold"),
        "lo": lo,
        "hi": hi,
        "distance": limits.distance.limit,
        "psi": limits.psi.limit,
        "window": limits.psi.window,
        "edges": reference.edges,
        "shares": np.maximum(np.asarray(reference.shares, np.float64), SMALLEST_SHARE) if on & PSI else [],
        "psi_weight": psi_weight(limits.psi.limit, reference.psi_usual, n),
    }


def check_reference(limits: Limits, reference: Any, n: int) -> None:
    """ModelError if a check is switched on whose figures the metadata lack, or if these do not fit ``n`` features."""
    if limits.ranges.mode != "off" and not (reference.min and reference.max):
        raise ModelError("limits.ranges is on, but reference.min and reference.max are missing: train the model anew")
    if limits.psi.mode != "off" and not (reference.edges and reference.shares):
        raise ModelError("limits.psi is on, but reference.edges and reference.shares are missing: train the model anew")
    for name, width in (("edges", BINS - 1), ("shares", BINS)):
        rows = getattr(reference, name)
        if rows and (len(rows) != n or any(len(row) != width for row in rows)):
            raise ModelError(f"reference.{name} must have {width} values for each of {n} features")
        if not all(math.isfinite(v) for row in rows for v in row):
            raise ModelError(f"reference.{name} contains a value that is not finite")
    if reference.psi_usual and (
        len(reference.psi_usual) != n or not all(math.isfinite(v) and v >= 0 for v in reference.psi_usual)
    ):
        raise ModelError(f"reference.psi_usual must have a finite value, 0 or more, for each of {n} features")
    if any(a > b for row in reference.edges for a, b in itertools.pairwise(row)):
        raise ModelError("reference.edges must ascend for each feature")
    if any(not 0 <= v <= 1 for row in reference.shares for v in row):
        raise ModelError("reference.shares must lie between 0 and 1")
