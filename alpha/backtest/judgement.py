"""Was the signal any good, whatever was traded: hits, calibration, information, and how fast it fades. Floor 7."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.backtest.outcomes import Outcomes

Floats = npt.NDArray[np.float64]
BINS = 10
LEAST = 30  # decisions below which nothing is said


def judge(outcomes: Outcomes) -> dict[str, Any]:
    """``horizon_ns``; ``information_coefficient`` (rank correlation of value and move); ``hits`` by confidence;
    ``calibration`` of the probability of up; ``decay``: correlation by latency with its standard error, and the half-life."""
    rows = outcomes.finish()
    n_latencies = len(outcomes.latencies_ns)
    out: dict[str, Any] = {
        "horizon_ns": outcomes.horizon_ns,
        "decisions": outcomes.seen,
        "kept": len(rows["ts"]),
        "information_coefficient": None,
        "hit_rate": None,
        "hits": [],
        "calibration": [],
        "calibration_error": None,
        "decay": [],
        "half_life_ns": None,
    }
    if len(rows["ts"]) < LEAST:
        return out
    with np.errstate(divide="ignore", invalid="ignore"):
        move = rows["mids"][:, 0] / rows["mid"] - 1.0
        starts = rows["mids"][:, 1 : 1 + n_latencies]
        late = rows["mids"][:, 1 + n_latencies :] / starts - 1.0
    known = np.isfinite(move)
    value = rows["value"]
    if known.sum() >= LEAST:
        out["information_coefficient"] = rank_correlation(value[known], move[known])
        _hits(out, rows["action"][known], rows["confidence"][known], move[known])
        _calibration(out, rows["up"][known], move[known])
    out["decay"] = [{"latency_ns": ns, **correlation(value, late[:, k])} for k, ns in enumerate(outcomes.latencies_ns)]
    curve = [d for d in out["decay"] if d["ic"] is not None]
    if len(curve) >= 3:
        out["half_life_ns"] = half_life(
            np.array([float(d["latency_ns"]) for d in curve]),
            np.array([d["ic"] for d in curve]),
            np.array([d["error"] for d in curve]),
        )
    return out


def rank_correlation(a: Floats, b: Floats) -> float | None:
    """Spearman's, ties sharing their mean rank; None where one of the two does not vary."""
    if len(a) < LEAST or np.ptp(a) == 0.0 or np.ptp(b) == 0.0:
        return None
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(x: Floats) -> Floats:
    _, where, counts = np.unique(x, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - 0.5 * (counts - 1))[where], np.float64)


def correlation(value: Floats, move: Floats) -> dict[str, Any]:
    """``ic`` (Pearson), its standard ``error`` of independent rows, ``n``; None where nothing can be said."""
    known = np.isfinite(move) & np.isfinite(value)
    a, b = value[known], move[known]
    if len(a) < LEAST or np.ptp(a) == 0.0 or np.ptp(b) == 0.0:
        return {"ic": None, "error": None, "n": len(a)}
    r = float(np.corrcoef(a, b)[0, 1])
    return {"ic": r, "error": (1.0 - r * r) / math.sqrt(len(a)), "n": len(a)}


def half_life(latency_ns: Floats, ic: Floats, error: Floats) -> float | None:
    """H of ``A * 2 ** (-latency / H)``, by weighted least squares; None unless the signal at the start is three standard
    errors from nothing, and the curve fades within the latencies that were looked at.

    For each H the best A is linear, so one dimension remains: a grid over H, then golden sections around its best.
    """
    weight = 1.0 / np.maximum(error, 1e-12) ** 2
    if abs(ic[0]) < 3.0 * error[0]:
        return None
    far = float(latency_ns.max())
    steps = np.diff(np.unique(latency_ns))

    def misfit(h: float) -> float:
        shape = np.exp2(-latency_ns / h)
        a = float((weight * ic * shape).sum() / (weight * shape * shape).sum())
        return float((weight * (ic - a * shape) ** 2).sum())

    low, high = float(steps.min()) / 4.0, far * 4.0
    grid = np.geomspace(low, high, 200)
    best = int(np.argmin([misfit(h) for h in grid]))
    if best in (0, len(grid) - 1):
        return None
    a, b = float(grid[best - 1]), float(grid[best + 1])
    golden = (math.sqrt(5.0) - 1.0) / 2.0
    for _ in range(60):
        c, d = b - golden * (b - a), a + golden * (b - a)
        if misfit(c) < misfit(d):
            b = d
        else:
            a = c
    return 0.5 * (a + b)


def _hits(out: dict[str, Any], action: Floats, confidence: Floats, move: Floats) -> None:
    acted = (action != 0) & (move != 0.0)
    if acted.sum() < LEAST:
        return
    right = np.sign(move[acted]) == action[acted]
    out["hit_rate"] = float(right.mean())
    for rows in np.array_split(np.argsort(confidence[acted], kind="stable"), BINS):
        if len(rows):
            c = confidence[acted][rows]
            out["hits"].append(
                {"low": float(c.min()), "high": float(c.max()), "n": len(rows), "hit_rate": float(right[rows].mean())}
            )


def _calibration(out: dict[str, Any], up: Floats, move: Floats) -> None:
    known = np.isfinite(up)
    if known.sum() < LEAST:
        return
    p, rose = up[known], move[known] > 0.0
    gap = 0.0
    for rows in np.array_split(np.argsort(p, kind="stable"), BINS):
        predicted, observed = float(p[rows].mean()), float(rose[rows].mean())
        out["calibration"].append({"predicted": predicted, "observed": observed, "n": len(rows)})
        gap += len(rows) * abs(predicted - observed)
    out["calibration_error"] = gap / len(p)
