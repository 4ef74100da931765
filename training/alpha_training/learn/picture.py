"""Both models along the stream: where production began to be wrong, and what the candidate makes of what came after."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import MissingExtraError, need
from alpha_training.audit import Case
from alpha_training.learn.against import Comparison, row_loss
from alpha_training.learn.window import Window
from alpha_training.plots import DOWN, GREY, INK, UP

POINTS = 160
"""Means that a curve is drawn of."""


def draw(
    production: Case,
    candidate: Case,
    window: Window,
    comparison: Comparison,
    scores: dict[str, npt.NDArray[np.float32]],
    rows: npt.NDArray[np.int64],
) -> bytes | None:
    """A PNG of rolling loss over all ``rows`` (in time order, with ``scores`` of both models) and net result of the judged
    ones; None where matplotlib is not installed."""
    try:
        need("matplotlib", "report").use("Agg")
        plt = need("matplotlib.pyplot", "report")
    except MissingExtraError:
        return None
    ts = candidate.snap.ts_ns
    start = int(ts[rows[0]])

    def minutes(t: Any) -> Any:
        return (np.asarray(t) - start) / 6e10

    figure, (above, below) = plt.subplots(2, 1, figsize=(10, 7.5), gridspec_kw={"height_ratios": [3, 2]})
    groups = [g for g in np.array_split(np.arange(len(rows)), POINTS) if len(g)]
    smooth = max(len(groups) // 20, 1)
    kernel = np.ones(smooth) / smooth
    for name, case, color in (("production", production, DOWN), ("candidate", candidate, UP)):
        loss = row_loss(case, scores[name], rows)
        means = np.array([loss[g].mean() for g in groups])
        wide = np.pad(means, (smooth // 2, smooth - 1 - smooth // 2), mode="edge")
        above.plot(
            minutes([ts[rows[g]].mean() for g in groups]), np.convolve(wide, kernel, "valid"), color=color, label=name
        )
    first_valid = int(ts[window.parts.valid[0]])
    spans = (
        (window.begin_ns, first_valid, "updates", 0.16),
        (first_valid, window.end_ns, "threshold", 0.07),
    )
    low, high = above.get_ylim()
    low -= 0.12 * (high - low)  # room for the legend
    for a, b, text, shade in spans:
        above.axvspan(minutes(a), minutes(b), color=GREY, alpha=shade, lw=0)
        above.text(minutes(a), high, f" {text}", va="top", color=INK, fontsize=8)
    above.axvline(minutes(window.end_ns), color=INK, lw=1, ls="--")
    above.text(minutes(window.end_ns), high, " judged", va="top", color=INK, fontsize=8)
    above.set(
        ylim=(low, high), ylabel=f"{comparison.loss.what}, mean of {len(groups[0]) * smooth:,} rows", xlabel="minutes"
    )
    above.set_title(f"Along the stream (smaller is better): {comparison.verdict}")
    above.legend(loc="lower left", ncol=2)
    test = candidate.parts.test
    for name, case, color in (("production", production, DOWN), ("candidate", candidate, UP)):
        net = 1e4 * np.cumsum(case.returns(case.scores_test, test))
        below.plot(minutes(ts[test]), net, color=color, lw=1, label=f"{name}: {net[-1]:+.1f} bp")
    below.axhline(0, color=GREY, lw=0.8)
    below.set(title="Net result of one unit over the judged rows", xlabel="minutes", ylabel="bp of the first price")
    below.legend(loc="upper left")
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=80, format="png", metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()
