"""Candidate against production over the rows that neither has learned from: who was nearer, who would have earned more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha import compare
from alpha.events import Action
from alpha.registry import Check
from alpha_training import metrics
from alpha_training.audit import Case

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
RESAMPLES = 2000
CHECK = "loss_gain_over_production"
"""Name of the check that a candidate is better; a person may promote without it, and says why."""
METRICS = ("log_loss", "base_log_loss", "accuracy", "calibration_error", "auc_up", "auc_down", "rmse")
METRICS_OF_MONEY = ("net_profit_bp", "net_sharpe", "acting_share", "information_coefficient")


@dataclass(frozen=True)
class Difference:
    """``gain``: mean of candidate's better by, per row, with its 95 % interval of a paired block bootstrap."""

    what: str
    gain: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """In words; the interval has to lie on one side of zero."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "no difference shown"

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"gain": self.gain, "low": self.low, "high": self.high, "verdict": self.verdict}


@dataclass(frozen=True)
class Comparison:
    """``models``: the audit's metrics of production and candidate on the judged rows; ``block``: rows that a resample keeps
    together."""

    rows: int
    begin_ns: int
    end_ns: int
    models: dict[str, dict[str, float]]
    flips: dict[str, int]
    loss: Difference
    net_bp: Difference
    block: int

    @property
    def verdict(self) -> str:
        """What the loss says; money is noisier and told beside it."""
        return self.loss.verdict

    @property
    def check(self) -> Check:
        """For the registry: passed if the whole interval lies above zero."""
        return Check(name=CHECK, value=self.loss.low, limit=0.0, passed=self.loss.low > 0.0)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rows": self.rows,
            "start_ns": self.begin_ns,
            "end_ns": self.end_ns,
            "models": self.models,
            "flips": sum(self.flips.values()),
            "flips_by_kind": self.flips,
            "loss": {"what": self.loss.what, **self.loss.plain()},
            "net_bp": self.net_bp.plain(),
            "block_rows": self.block,
            "verdict": self.verdict,
        }

    def sentences(self) -> list[str]:
        """The result for a person."""
        d, m = self.loss, self.net_bp
        said = {
            "better": "the candidate is better than production on what came after",
            "worse": "the candidate is WORSE than production on what came after",
            "no difference shown": "no difference shown between candidate and production on what came after",
        }
        return [
            f"{said[d.verdict]}: {d.what} {d.gain:+.5f} a row in its favour, 95 % of resamples from {d.low:+.5f} to {d.high:+.5f}",
            f"net result, costs of the recipe included: {m.gain:+.5f} bp a row in its favour, from {m.low:+.5f} to "
            f"{m.high:+.5f}: {m.verdict}",
        ]


def compared(production: Case, candidate: Case, seed: int) -> Comparison:
    """Both over the candidate's test rows."""
    rows = candidate.parts.test
    ts = candidate.snap.ts_ns[rows]
    block = max(int(np.sqrt(len(rows))), 2 * reach(candidate, rows))
    losses = [row_loss(c, c.scores_test, rows) for c in (production, candidate)]
    nets = [1e4 * c.returns(c.scores_test, rows) for c in (production, candidate)]
    what = "log loss" if candidate.classifier else "squared error" if _values(candidate) else "loss in bp"
    if candidate.labels_spec.kind == "volatility":  # no direction, so nothing is traded
        nets = [np.zeros(len(rows)), np.zeros(len(rows))]
    flips: dict[str, int] = {}
    actions = [c.decisions(c.scores_test) for c in (production, candidate)]
    for p, q in zip(*(a[actions[0] != actions[1]].tolist() for a in actions), strict=True):
        name = f"{Action(p).name} -> {Action(q).name}"
        flips[name] = flips.get(name, 0) + 1
    return Comparison(
        len(rows),
        int(ts.min()),
        int(ts.max()),
        {n: c.judge(c.scores_test, rows) for n, c in (("production", production), ("candidate", candidate))},
        dict(sorted(flips.items(), key=lambda item: -item[1])),
        _difference(what, losses[0] - losses[1], seed, block),
        _difference("net bp", nets[1] - nets[0], seed, block),
        block,
    )


def reach(case: Case, rows: Ints) -> int:
    """Over how many of these rows a label reaches: so long do neighbours know of each other."""
    begin, end = case.snap.ts_ns[rows], case.labels.end_ns[rows]
    return max(int(np.median(np.searchsorted(begin, end, side="right") - np.arange(len(rows)))), 1)


def row_loss(case: Case, scores: npt.NDArray[np.float32], rows: Ints) -> Floats:
    """Loss of each row: log loss of probabilities, squared error of a value, what was not earned by a policy."""
    if case.classifier:
        return metrics.row_losses(case.probabilities(scores), case.labels.y[rows])
    if _values(case):
        return np.asarray((case.labels.forward[rows] - scores[:, 0]) ** 2)
    return -1e4 * case.returns(scores, rows)


def _values(case: Case) -> bool:
    return case.model.kind == "value"


def _difference(what: str, gain: Floats, seed: int, block: int) -> Difference:
    low, high = compare.interval(gain, RESAMPLES, seed, block)
    return Difference(what, float(gain.mean()), low, high)
