"""One picture per model: calibration, net profit, importance, drift."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from alpha.errors import MissingExtraError, need
from alpha_training import metrics
from alpha_training.audit import Case
from alpha_training.labels import BUY, SELL

INK, UP, DOWN, GREY = "#1d2733", "#1a7f5a", "#c0392b", "#8a97a6"


def draw(case: Case, importance: Sequence[tuple[str, float]], names: Sequence[str]) -> bytes | None:
    """A PNG; None where matplotlib is not installed."""
    try:
        need("matplotlib", "report").use("Agg")
        plt = need("matplotlib.pyplot", "report")
    except MissingExtraError:
        return None
    figure, axes = plt.subplots(2, 2, figsize=(10, 7))
    test = case.parts.test
    y, axis = case.labels.y[test], axes[0, 0]
    if case.classifier:
        p = case.probabilities(case.scores_test)
        for side, color, name in ((SELL, DOWN, "P(SELL)"), (BUY, UP, "P(BUY)")):
            groups = np.array_split(np.argsort(p[:, side], kind="stable"), 10)
            axis.plot(
                [p[g, side].mean() for g in groups],
                [(y[g] == side).mean() for g in groups],
                "o-",
                color=color,
                label=name,
            )
        top = max(axis.get_xlim()[1], axis.get_ylim()[1])
        axis.plot([0, top], [0, top], "--", color=GREY, lw=1)
        axis.set(title="Calibration, test part", xlabel="predicted", ylabel="observed")
        axis.legend()
    else:
        value, forward = case.value(case.scores_test), case.labels.forward[test]
        groups = np.array_split(np.argsort(value, kind="stable"), 10)
        axis.plot([value[g].mean() for g in groups], [forward[g].mean() for g in groups], "o-", color=INK)
        axis.set(title="What followed, by tenths of the model's value", xlabel="value", ylabel="what followed")
    axis = axes[0, 1]
    if case.labels_spec.kind != "volatility":
        hours = (case.snap.ts_ns[test] - case.snap.ts_ns[test[0]]) / 3.6e12
        axis.plot(hours, 1e4 * np.cumsum(case.returns(case.scores_test, test)), color=INK, lw=1)
    axis.axhline(0, color=GREY, lw=0.8)
    axis.set(title="Net profit of one unit, test part", xlabel="hours", ylabel="bp of the first price")
    axis, shown = axes[1, 0], list(importance[:12])[::-1]
    axis.barh([n for n, _ in shown], [v for _, v in shown], color=INK)
    axis.set(title="Permutation importance, test part")
    axis.tick_params(axis="y", labelsize=7)
    axis = axes[1, 1]
    x = case.snap.x.astype(np.float64)
    drift = sorted(((metrics.psi(x[case.parts.train, j], x[test, j]), n) for j, n in enumerate(names)), reverse=True)[
        :12
    ][::-1]
    axis.barh([n for _, n in drift], [v for v, _ in drift], color=GREY)
    axis.axvline(case.gates.max_psi, color=DOWN, lw=1, ls="--")
    axis.set(title="Drift from train to test (PSI)")
    axis.tick_params(axis="y", labelsize=7)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=70, format="png", metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()
