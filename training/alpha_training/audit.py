"""The checks a model must pass before anybody may promote it, and the metrics beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError, need
from alpha.registry import Check
from alpha_training.fit import fit
from alpha_training.labels import BUY, SELL, Labelled
from alpha_training.recipe import Gates, Model
from alpha_training.split import Parts

BLIND_FITS = 8


def metrics(p: npt.NDArray[np.float64], labels: Labelled, rows: npt.NDArray[np.int64]) -> dict[str, float]:
    """Quality of probabilities [N, 3] (SELL HOLD BUY) on rows: AUC per side, accuracy, log loss against the base rate,
    Brier score and the information coefficient (Spearman correlation of P(BUY) - P(SELL) with the forward return)."""
    score, stats = need("sklearn.metrics", "train"), need("scipy.stats", "train")
    y, forward = labels.y[rows], labels.forward[rows]
    if len(np.unique(y)) < 2:
        raise DataError(
            f"the {len(y)} rows to judge a model by are all of one class, so nothing can be measured: "
            "change horizon or dead band, or take more data"
        )
    value = p[:, BUY] - p[:, SELL]
    clipped = np.clip(p[np.arange(len(y)), y], 1e-12, 1.0)
    base = np.bincount(y, minlength=3) / len(y)
    out = {
        "rows": float(len(y)),
        "accuracy": float(np.mean(p.argmax(axis=1) == y)),
        "majority": float(base.max()),
        "log_loss": float(-np.log(clipped).mean()),
        "base_log_loss": float(-np.sum(base * np.log(np.clip(base, 1e-12, 1.0)))),
        "brier": float(np.mean(np.sum((p - np.eye(3)[y]) ** 2, axis=1))),
        "information_coefficient": float(stats.spearmanr(value, forward).statistic) if np.ptp(value) > 0 else 0.0,
    }
    for name, side in (("auc_up", BUY), ("auc_down", SELL)):
        known = 0 < np.count_nonzero(y == side) < len(y)
        out[name] = float(score.roc_auc_score(y == side, p[:, side])) if known else 0.5
    return out


def checks(
    spec: Model,
    gates: Gates,
    model: Any,
    exported: npt.NDArray[np.float32],
    z: npt.NDArray[np.float32],
    labels: Labelled,
    parts: Parts,
    threshold: float,
    certificate: dict[str, Any],
    seed: int,
) -> list[Check]:
    """Export fidelity and decisions over the whole validation part, parity of the twins, skill, and no skill on
    shuffled labels. ``exported``: served probabilities of the validation rows; ``z``: all normalised rows."""
    own = model.predict_proba(z[parts.valid])
    total = float(np.abs(exported.astype(np.float64).sum(axis=1) - 1.0).max())
    difference = float(np.abs(own - exported).max())
    flips = int(np.count_nonzero(_decisions(own.astype(np.float32), threshold) != _decisions(exported, threshold)))
    valid = metrics(exported.astype(np.float64), labels, parts.valid)
    auc = min(valid["auc_up"], valid["auc_down"])
    blind_auc = _blind_auc(spec, z, labels, parts, seed)
    return [
        _check("export_max_difference", difference, gates.max_export_diff, difference <= gates.max_export_diff),
        _check("export_decision_flips", flips, 0, flips == 0),
        _check("probabilities_sum_to_one", total, gates.max_export_diff, total <= gates.max_export_diff),
        _check("feature_parity_share", certificate["share"], 0.99999, bool(certificate["pass"])),
        _check("auc", auc, gates.min_auc, auc >= gates.min_auc),
        _check(
            "log_loss_against_base",
            valid["log_loss"] / valid["base_log_loss"],
            1.0,
            valid["log_loss"] < valid["base_log_loss"],
        ),
        _check("auc_on_shuffled_labels", blind_auc, gates.max_shuffled_auc, blind_auc <= gates.max_shuffled_auc),
    ]


def _blind_auc(spec: Model, z: npt.NDArray[np.float32], labels: Labelled, parts: Parts, seed: int) -> float:
    """Mean AUC of models fitted to shuffled labels: a single one may point anywhere by chance, their mean is
    near 0.5 unless rows of the parts know each other."""
    rng = np.random.default_rng(seed)
    some = parts.train[:: max(1, len(parts.train) // 4_000)]
    values = []
    for _ in range(BLIND_FITS):
        blind = fit(spec, z[some], rng.permutation(labels.y[some]), seed).predict_proba(z[parts.valid])
        quality = metrics(blind, labels, parts.valid)
        values += [quality["auc_up"], quality["auc_down"]]
    return float(abs(np.mean(values) - 0.5) + 0.5)


def _check(name: str, value: float, limit: float, passed: bool) -> Check:
    return Check(name=name, value=float(value), limit=float(limit), passed=bool(passed))


def _decisions(p: npt.NDArray[np.float32], threshold: float) -> npt.NDArray[np.int64]:
    """-1, 0, 1 as the gate decides: argmax, HOLD below the inclusive threshold."""
    best = p.argmax(axis=1)
    return np.where(p[np.arange(len(p)), best] >= np.float32(threshold), best - 1, 0)
