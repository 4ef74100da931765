"""The checks a model must pass before anybody may promote it: a table of figure, limit and verdict.

Structural checks say that the model is what it claims to be; one that fails keeps the model out of the registry.
Statistical checks and the latency say whether it is any good; they are recorded and stand in the way of promotion.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.backtest.statistics import deflated_sharpe
from alpha.errors import DataError, need
from alpha.features import causality
from alpha.features.feature_set import FeatureSet
from alpha.models.metadata import TOLERANCE
from alpha.registry import Check
from alpha_training import fit, metrics, pnl
from alpha_training.labels import BUY, HOLD, SELL, Labelled
from alpha_training.recipe import Gates, Labels, Model
from alpha_training.score import Exported
from alpha_training.snapshot import Snapshot, Source
from alpha_training.split import Parts, leaks

STRUCTURAL = (
    "feature_parity_share",
    "causality_violations",
    "export_max_difference",
    "export_decision_flips",
    "export_tied_share",
    "probabilities_sum_to_one",
    "purging_leaks",
    "normalisation_error",
    "model_mb",
)
STATISTICAL = (
    "class_share",
    "auc",
    "log_loss_against_base",
    "log_loss_t",
    "auc_on_shuffled_labels",
    "calibration_error",
    "rmse_against_base",
    "stable_share",
    "net_sharpe",
    "deflated_sharpe",
    "overfitting_pbo",
    "profit_over_hold_bp",
    "profit_over_random_bp",
    "drift_psi_share",
    "drift_ks_share",
    "latency_us",
    "definition_committed",
)
"""All that may be waived; which of them a model has depends on its kind and its labels."""
BLIND_FITS = 8
INTERVALS = 30
STABILITY_BLOCKS = 5
CAUSALITY_EVENTS = 40_000
MAX_TIED_SHARE = 1e-3
"""Of rows whose decision the export changes because two scores, or a score and the threshold, are equal but for rounding."""
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trials:
    """What a search tried: net profit per interval of the validation part [trials, intervals]."""

    returns: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    tried: int = 1


@dataclass(frozen=True)
class Case:
    """One fitted and exported model with everything it is judged by. ``parts`` hold only rows that it can score.
    ``kept``: the scaler of another model that it goes on from; None: its scaler is made of its training rows."""

    spec: Model
    gates: Gates
    labels_spec: Labels
    model: fit.Fitted
    exported: Exported
    scaler: fit.Scaler
    snap: Snapshot
    labels: Labelled
    parts: Parts
    threshold: float
    trading: pnl.Trading
    embargo_ns: int
    seed: int
    trials: Trials
    scores_valid: npt.NDArray[np.float32]
    scores_test: npt.NDArray[np.float32]
    kept: fit.Scaler | None = None

    @property
    def classifier(self) -> bool:
        """Whether its outputs claim to be probabilities of the labels."""
        return self.model.kind == "probabilities" and not self.model.policy

    def probabilities(self, scores: npt.NDArray[np.float32]) -> Floats:
        """[N, 3]."""
        return metrics.three_columns(scores.astype(np.float64), self.model.classes)

    def value(self, scores: npt.NDArray[np.float32]) -> Floats:
        """Signed conviction: P(BUY) - P(SELL), or the value itself."""
        if self.model.kind == "value":
            return np.asarray(scores[:, 0], np.float64)
        p = self.probabilities(scores)
        return np.asarray(p[:, BUY] - p[:, SELL])

    def decisions(self, scores: npt.NDArray[np.float32]) -> Ints:
        """-1, 0, 1 as the gate decides."""
        return decide(scores, self.model, self.threshold)

    def returns(self, scores: npt.NDArray[np.float32], rows: Ints) -> Floats:
        """Net profit per row of these rows, instrument by instrument."""
        hold = hold_of(self.model, self.labels_spec)
        return net_profit(self.decisions(scores), rows, self.snap, self.labels, self.trading, hold)

    def judge(self, scores: npt.NDArray[np.float32], rows: Ints) -> dict[str, float]:
        """Metrics over rows."""
        y, forward = self.labels.y[rows], self.labels.forward[rows]
        if self.classifier:
            out = metrics.quality(self.probabilities(scores), y, forward)
        elif self.labels_spec.kind == "volatility":
            error, base = forward - scores[:, 0], forward - self.labels.forward[self.parts.train].mean()
            moving = np.ptp(scores[:, 0]) > 0 and np.ptp(forward) > 0
            rank = need("scipy.stats", "train").spearmanr(scores[:, 0], forward).statistic if moving else 0.0
            out = {
                "rows": float(len(rows)),
                "rmse": float(np.sqrt(np.mean(error**2))),
                "base_rmse": float(np.sqrt(np.mean(base**2))),
                "information_coefficient": float(rank),
            }
        else:
            out = {"rows": float(len(rows)), **metrics.ranking(self.value(scores), y, forward)}
            if self.model.kind == "value":
                error = forward - scores[:, 0]
                out["rmse"] = float(np.sqrt(np.mean(error**2)))
                out["base_rmse"] = float(np.std(forward))
        if self.labels_spec.kind != "volatility":
            net = self.returns(scores, rows)
            out["net_profit_bp"] = float(net.sum() * 1e4)
            out["net_sharpe"] = pnl.sharpe(self.intervals(net, rows))
            out["acting_share"] = float(np.mean(self.decisions(scores) != 0))
        return out

    def intervals(self, net: Floats, rows: Ints) -> Floats:
        """Net profit per interval of time."""
        return pnl.per_interval(net, self.snap.ts_ns[rows], INTERVALS, self.gates.bucket)


def hold_of(model: fit.Fitted, labels: Labels) -> str | int | None:
    """How long a position is held after the last BUY or SELL: the label's horizon; a policy's until the opposite."""
    if model.policy:
        return None
    return 1 if labels.kind == "next_bar_sign" else labels.horizon


def decide(scores: npt.NDArray[np.float32], model: fit.Fitted, threshold: float) -> Ints:
    """-1, 0, 1 per row: argmax (or sign), HOLD below the inclusive threshold."""
    if model.kind == "value":
        v = scores[:, 0]
        return np.where(np.abs(v) >= np.float32(threshold), np.sign(v), 0).astype(np.int64)
    best = scores.argmax(axis=1)
    codes = np.asarray(model.classes, np.int64) - HOLD
    return np.where(scores[np.arange(len(scores)), best] >= np.float32(threshold), codes[best], 0)


def margins(scores: npt.NDArray[np.float32], model: fit.Fitted, threshold: float) -> Floats:
    """Per row: how far the scores are from another decision of :func:`decide`, as the judge of plans measures it."""
    y = scores.astype(np.float64)
    if model.kind == "value":
        v = np.abs(y[:, 0])
        return np.asarray(np.minimum(np.abs(v - threshold), v) / np.maximum(1.0, v))
    ordered = np.sort(y, axis=1)
    out = np.abs(ordered[:, -1] - threshold)
    return np.asarray(np.minimum(out, ordered[:, -1] - ordered[:, -2]) if y.shape[1] > 1 else out)


def decision_flips(
    own: npt.NDArray[np.float32], served: npt.NDArray[np.float32], model: fit.Fitted, threshold: float
) -> tuple[int, int]:
    """(decisions that the export changed, those that it changed within 1e-6 of a tie): source scores against served ones.

    A tie is decided by the last bit of a float32, which source and export need not share; anything farther is another model.
    """
    other = decide(own, model, threshold) != decide(served, model, threshold)
    far = np.maximum(margins(own, model, threshold), margins(served, model, threshold))
    tied = other & (far <= TOLERANCE)
    return int(np.count_nonzero(other & ~tied)), int(np.count_nonzero(tied))


def net_profit(
    action: Ints, rows: Ints, snap: Snapshot, labels: Labelled, trading: pnl.Trading, hold: str | int | None
) -> Floats:
    """Per row of ``rows``; every instrument trades for itself."""
    out = np.zeros(len(rows))
    ids = snap.instrument_id[rows]
    for i in np.unique(ids):
        own = np.flatnonzero(ids == i)
        if len(own) > 1:
            r = rows[own]
            asked = pnl.positions(action[own], snap.ts_ns[r], hold)
            out[own] = pnl.profits(asked, snap.ts_ns[r], labels.price[r], labels.spread[r], trading)
    return out


def checks(case: Case, fs: FeatureSet, source: Source, committed: bool) -> list[Check]:
    """All of them, structural ones first."""
    out = [*_structural(case, fs, source), *_statistical(case)]
    latency = case.exported.latency_ns(case.parts.valid) / 1e3
    out.append(at_most("latency_us", latency, case.gates.max_latency_us))
    out.append(at_least("definition_committed", float(committed), 1.0))
    return out


def blocking(found: list[Check]) -> list[Check]:
    """Failed structural checks: the model must not be registered."""
    return [c for c in found if c.name in STRUCTURAL and not c.passed]


def at_most(name: str, value: float, limit: float) -> Check:
    """Passed up to the limit; a figure that is no number fails as the largest one."""
    value = value if math.isfinite(value) else 1e300
    return Check(name=name, value=float(value), limit=float(limit), passed=bool(value <= limit))


def at_least(name: str, value: float, limit: float) -> Check:
    """Passed from the limit on."""
    value = value if math.isfinite(value) else -1e300
    return Check(name=name, value=float(value), limit=float(limit), passed=bool(value >= limit))


def _structural(case: Case, fs: FeatureSet, source: Source) -> list[Check]:
    gates, valid = case.gates, case.parts.valid
    own = case.model.scores(case.exported.inputs, valid)
    served = case.scores_valid
    certificate = case.snap.certificate
    share = Check(
        name="feature_parity_share", value=certificate["share"], limit=0.99999, passed=bool(certificate["pass"])
    )
    look = causality.check(
        fs, source.events[:CAUSALITY_EVENTS], source.instruments, cuts=gates.lookahead_cuts, seed=case.seed
    )
    seen = Check(name="causality_violations", value=float(look["violations"]), limit=0.0, passed=bool(look["pass"]))
    flips, ties = decision_flips(own.astype(np.float32), served, case.model, case.threshold)
    scale = 1.0 if case.model.kind == "probabilities" else max(float(np.abs(own).max()), 1e-12)
    out = [
        share,
        seen,
        at_most("export_max_difference", float(np.abs(own - served).max()) / scale, gates.max_export_diff),
        at_most("export_decision_flips", float(flips), 0.0),
        at_most("export_tied_share", ties / max(len(served), 1), MAX_TIED_SHARE),
    ]
    if case.model.kind == "probabilities":
        total = np.abs(served.astype(np.float64).sum(axis=1) - 1.0).max()
        out.append(at_most("probabilities_sum_to_one", float(total), gates.max_export_diff))
    p, ts, end = case.parts, case.snap.ts_ns, case.labels.end_ns
    pairs = ((p.train, p.valid), (p.train, p.test), (p.valid, p.test))
    found = sum(len(leaks(ts, end, a, b, case.embargo_ns)) for a, b in pairs)
    out.append(at_most("purging_leaks", float(found), 0.0))
    if case.kept is None:
        error = normalisation_error(case.scaler, case.snap.x[p.train])
    else:
        error = max(float(np.abs(getattr(case.scaler, n) - getattr(case.kept, n)).max()) for n in ("mean", "std"))
    out.append(at_most("normalisation_error", error, 1e-9))
    out.append(at_most("model_mb", len(case.exported.data) / 1e6, gates.max_model_mb))
    return out


def normalisation_error(scaler: fit.Scaler, train: npt.NDArray[np.float32]) -> float:
    """Largest distance of the stored mean and deviation from those of the training rows, recomputed by exact sums; 0 for
    a model without scaling."""
    if np.array_equal(scaler.mean, np.zeros_like(scaler.mean)) and np.array_equal(scaler.std, np.ones_like(scaler.std)):
        return 0.0
    worst = 0.0
    for j in range(train.shape[1]):
        column = train[:, j].astype(np.float64)
        mean = math.fsum(column) / len(column)
        std = math.sqrt(math.fsum((column - mean) ** 2) / len(column))
        scale = max(std, abs(mean), 1e-300)
        worst = max(worst, abs(mean - scaler.mean[j]) / scale, abs(std - scaler.std[j]) / scale)
    return worst


def _statistical(case: Case) -> list[Check]:
    gates, p, test = case.gates, case.parts, case.parts.test
    y, ts = case.labels.y, case.snap.ts_ns
    out: list[Check] = []
    if case.classifier:
        q = case.judge(case.scores_test, test)
        shares = np.bincount(y[p.train], minlength=3)[list(case.model.classes)] / len(p.train)
        out.append(at_least("class_share", float(shares.min()), gates.min_class_share))
        out.append(at_least("auc", min(q["auc_up"], q["auc_down"]), gates.min_auc))
        ratio = q["log_loss"] / q["base_log_loss"]
        out.append(at_most("log_loss_against_base", ratio, gates.max_log_loss_ratio))
        gain = _gain_over_prior(case)
        groups = metrics.blocks(ts[test], INTERVALS)
        t = metrics.t_statistic(np.array([gain[g].mean() for g in groups]))
        out.append(at_least("log_loss_t", t, gates.min_log_loss_t))
        out.append(at_most("auc_on_shuffled_labels", _blind_auc(case), gates.max_shuffled_auc))
        out.append(at_most("calibration_error", q["calibration_error"], gates.max_calibration_error))
        stable = np.mean([gain[g].mean() > 0 for g in metrics.blocks(ts[test], STABILITY_BLOCKS)])
    elif case.labels_spec.kind == "volatility":
        q = case.judge(case.scores_test, test)
        out.append(at_most("rmse_against_base", q["rmse"] / max(q["base_rmse"], 1e-300), 1.0))
        value = case.value(case.scores_test)
        parts = metrics.blocks(ts[test], STABILITY_BLOCKS)
        stable = np.mean([_moves_with(value[g], case.labels.forward[test][g]) for g in parts])
    else:
        net = case.returns(case.scores_test, test)
        stable = np.mean([net[g].sum() > 0 for g in metrics.blocks(ts[test], STABILITY_BLOCKS)])
    out.append(at_least("stable_share", float(stable), gates.min_stable_share))
    if case.labels_spec.kind != "volatility":
        out += _money(case)
    for name, distance, limit in (("psi", metrics.psi, gates.max_psi), ("ks", metrics.ks, gates.max_ks)):
        moved = np.mean([d > limit for d in drift(case, distance)])
        out.append(at_most(f"drift_{name}_share", float(moved), gates.max_drift_share))
    return out


def drift(case: Case, distance: Callable[[Floats, Floats], float]) -> list[float]:
    """Per feature: the largest distance between two of the train, valid and test parts."""
    p, x = case.parts, case.snap.x.astype(np.float64)
    pairs = ((p.train, p.valid), (p.train, p.test), (p.valid, p.test))
    return [max(distance(x[a, j], x[b, j]) for a, b in pairs) for j in range(x.shape[1])]


def _moves_with(value: Floats, truth: Floats) -> bool:
    if len(value) < 3 or np.ptp(value) == 0 or np.ptp(truth) == 0:
        return False
    return float(need("scipy.stats", "train").spearmanr(value, truth).statistic) > 0.0


def _gain_over_prior(case: Case) -> Floats:
    """How much less log loss each test row costs than the test part's own class shares: the hardest prior there is."""
    y = case.labels.y[case.parts.test]
    base = np.clip(np.bincount(y, minlength=3) / len(y), 1e-12, 1.0)
    return -np.log(base)[y] - metrics.row_losses(case.probabilities(case.scores_test), y)


def _money(case: Case) -> list[Check]:
    """Net Sharpe ratio of the test part, the probability that it is real given how often was tried, and how often the best
    of a search's trials fell below the median out of sample."""
    cv = need("purgedcv", "train")
    gates, test = case.gates, case.parts.test
    returns = case.intervals(case.returns(case.scores_test, test), test)
    ratio = pnl.sharpe(returns)
    out = [at_least("net_sharpe", ratio, gates.min_net_sharpe)]
    tried, spread, pbo = case.trials.tried, 0.0, 0.0
    if len(case.trials.returns) > 1:
        spread = float(np.var([pnl.sharpe(r) for r in case.trials.returns]))
        splits = min(10, case.trials.returns.shape[1] // 2 * 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = cv.probability_of_backtest_overfitting(case.trials.returns, splits, metric=pnl.sharpe)
            except ValueError as exc:
                raise DataError(f"models.search of {case.spec.id}: its trials cannot be judged: {exc}") from None
            pbo = float(found.pbo)
    real = deflated_sharpe(returns, tried, spread)
    out.append(at_least("deflated_sharpe", 0.0 if real is None else real, gates.min_deflated_sharpe))
    out.append(at_most("overfitting_pbo", pbo, gates.max_pbo))
    if case.model.policy:
        out += _against_idle(case, float(returns.sum()))
    return out


def _against_idle(case: Case, earned: float) -> list[Check]:
    """A policy against doing nothing, and against acting as often at random (the mean of ten)."""
    rng = np.random.default_rng(case.seed)
    test = case.parts.test
    own = case.decisions(case.scores_test)
    random = [
        net_profit(rng.permutation(own), test, case.snap, case.labels, case.trading, None).sum() for _ in range(10)
    ]
    return [
        at_least("profit_over_hold_bp", 1e4 * earned, 0.0),
        at_least("profit_over_random_bp", 1e4 * (earned - float(np.mean(random))), 0.0),
    ]


def _blind_auc(case: Case) -> float:
    """Mean AUC of logistic models fitted to shuffled labels on the same rows: a single one may point anywhere by chance,
    their mean is near 0.5 unless rows of the parts know each other."""
    rng = np.random.default_rng(case.seed)
    parts, y = case.parts, case.labels.y
    some = parts.train[:: max(1, len(parts.train) // 4_000)]
    z = fit.Scaler.of(case.snap.x[parts.train]).apply(case.snap.x)
    inputs, spec = fit.Inputs(z), Model(id="blind", kind="logistic")
    values = []
    for _ in range(BLIND_FITS):
        shuffled = y.copy()
        shuffled[some] = rng.permutation(y[some])
        task = fit.Task(inputs, shuffled, np.zeros(0), some, some, case.seed)
        model = fit.fit(spec, task)
        p = metrics.three_columns(model.scores(inputs, parts.valid), model.classes)
        value = p[:, BUY] - p[:, SELL]
        ranked = metrics.ranking(value, y[parts.valid], case.labels.forward[parts.valid], p)
        values += [ranked["auc_up"], ranked["auc_down"]]
    return float(abs(np.mean(values) - 0.5) + 0.5)


def importance(case: Case, names: tuple[str, ...], repeats: int = 2) -> list[tuple[str, float]]:
    """Permutation importance on the test part, largest first: how much the log loss (or the squared error, or the net
    profit in bp of a policy) worsens when one feature's rows are shuffled."""
    rows = case.parts.test[:: max(1, len(case.parts.test) // 2_000)]
    inputs = case.exported.inputs
    rng = np.random.default_rng(case.seed)

    def loss(z: npt.NDArray[np.float32]) -> float:
        # by the source model, which is faster over many rows; that the export does the same is another check's matter
        scores = case.model.scores(fit.Inputs(z, inputs.instrument_id, inputs.length), rows).astype(np.float32)
        y = case.labels.y[rows]
        if case.classifier:
            return float(metrics.row_losses(case.probabilities(scores), y).mean())
        if case.model.policy:
            return -1e4 * float(case.returns(scores, rows).sum())
        return float(np.mean((case.labels.forward[rows] - scores[:, 0]) ** 2))

    lowest = max(int(rows.min()) - inputs.length, 0)
    base = loss(inputs.z)
    out = []
    for j, name in enumerate(names):
        worse = []
        for _ in range(repeats):
            other = inputs.z.copy()
            other[lowest:, j] = rng.permutation(other[lowest:, j])
            worse.append(loss(other) - base)
        out.append((name, float(np.mean(worse))))
    return sorted(out, key=lambda item: -item[1])


def summary(case: Case) -> dict[str, Any]:
    """Metrics of validation and test part."""
    return {
        "valid": case.judge(case.scores_valid, case.parts.valid),
        "test": case.judge(case.scores_test, case.parts.test),
    }
