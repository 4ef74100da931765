"""How good scores are: against the classes, against the class prior, against the forward return."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError, need
from alpha_training.labels import BUY, SELL

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def three_columns(scores: Floats, classes: Sequence[int]) -> Floats:
    """Probabilities [N, 3] of SELL HOLD BUY from those of ``classes``; a class the model does not know has none."""
    out = np.zeros((len(scores), 3))
    out[:, list(classes)] = scores
    return out


def row_losses(p: Floats, y: Ints) -> Floats:
    """Log loss of each row."""
    return np.asarray(-np.log(np.clip(p[np.arange(len(y)), y], 1e-12, 1.0)))


def quality(p: Floats, y: Ints, forward: Floats) -> dict[str, float]:
    """Of probabilities [N, 3]: accuracy, macro-F1, log loss against the class prior, Brier score, AUC per side, the
    information coefficient (Spearman correlation of P(BUY) - P(SELL) with the forward return), calibration error."""
    score = need("sklearn.metrics", "train")
    if len(np.unique(y)) < 2:
        raise DataError(
            f"labels: the {len(y)} rows to judge a model by are all of one class, so nothing can be measured: "
            "change labels.horizon or the dead band, or take more data"
        )
    base = np.bincount(y, minlength=3) / len(y)
    guess = p.argmax(axis=1)
    out = {
        "rows": float(len(y)),
        "accuracy": float(np.mean(guess == y)),
        "majority": float(base.max()),
        "macro_f1": float(score.f1_score(y, guess, average="macro", labels=np.flatnonzero(base), zero_division=0.0)),
        "log_loss": float(row_losses(p, y).mean()),
        "base_log_loss": float(-np.sum(base * np.log(np.clip(base, 1e-12, 1.0)))),
        "brier": float(np.mean(np.sum((p - np.eye(3)[y]) ** 2, axis=1))),
        "calibration_error": calibration_error(p, y),
    }
    return out | ranking(p[:, BUY] - p[:, SELL], y, forward, p)


def ranking(value: Floats, y: Ints, forward: Floats, p: Floats | None = None) -> dict[str, float]:
    """AUC per side and information coefficient of a signed value."""
    score, stats = need("sklearn.metrics", "train"), need("scipy.stats", "train")
    moving = np.ptp(value) > 0 and np.ptp(forward) > 0
    out = {"information_coefficient": float(stats.spearmanr(value, forward).statistic) if moving else 0.0}
    for name, side, sign in (("auc_up", BUY, 1.0), ("auc_down", SELL, -1.0)):
        known = 0 < np.count_nonzero(y == side) < len(y)
        by = p[:, side] if p is not None else sign * value
        out[name] = float(score.roc_auc_score(y == side, by)) if known else 0.5
    return out


def calibration_error(p: Floats, y: Ints, bins: int = 10) -> float:
    """Expected calibration error: mean distance of confidence and hit rate over equally filled bins of the confidence."""
    confidence, hit = p.max(axis=1), p.argmax(axis=1) == y
    parts = [g for g in np.array_split(np.argsort(confidence, kind="stable"), bins) if len(g)]
    return float(sum(len(g) * abs(confidence[g].mean() - hit[g].mean()) for g in parts) / len(y))


def blocks(ts_ns: Ints, n: int) -> list[Ints]:
    """Positions of the rows in ``n`` equal intervals of time; empty ones are left out."""
    width = max((int(ts_ns[-1]) - int(ts_ns[0])) // n + 1, 1)
    index = (ts_ns - ts_ns[0]) // width
    return [np.flatnonzero(index == i) for i in np.unique(index)]


def t_statistic(values: Floats) -> float:
    """Mean over its standard error; 0 of fewer than two, or of equal values."""
    if len(values) < 2 or np.ptp(values) == 0.0:
        return 0.0
    return float(values.mean() / (values.std(ddof=1) / np.sqrt(len(values))))


def psi(reference: Floats, other: Floats, bins: int = 10) -> float:
    """Population stability index over the reference's deciles: sum of (b - a) ln(b/a) of the shares."""
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))
    a, b = (
        np.bincount(np.searchsorted(edges, x, side="right"), minlength=len(edges) + 1) / len(x)
        for x in (reference, other)
    )
    a, b = np.maximum(a, 1e-4), np.maximum(b, 1e-4)
    return float(np.sum((b - a) * np.log(b / a)))


def ks(reference: Floats, other: Floats) -> float:
    """Kolmogorov-Smirnov distance of two samples."""
    return float(need("scipy.stats", "train").ks_2samp(reference, other).statistic)
