"""Pictures of a run, by matplotlib. Floor 7."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import need
from alpha.latency import bin_upper_ns, percentiles
from alpha.report.outcome import Outcome

INK, PAPER, UP, DOWN, FLAT, ACCENT = "#1d2733", "#ffffff", "#1a7f5a", "#c0392b", "#8a97a6", "#2563a8"


def plotting() -> Any:
    """matplotlib.pyplot in the house style, without a window; MissingExtraError without it."""
    matplotlib = need("matplotlib", "report")
    matplotlib.use("Agg")
    plt = need("matplotlib.pyplot", "report")
    plt.rcParams.update(
        {
            "figure.facecolor": PAPER,
            "axes.edgecolor": FLAT,
            "axes.labelcolor": INK,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#e6eaef",
            "axes.axisbelow": True,
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "legend.frameon": False,
        }
    )
    return plt


def save(plt: Any, figure: Any, path: Path) -> Path:
    """Write and close a figure."""
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def price(o: Outcome, path: Path, title: str, seconds: float = 180.0) -> Path:
    """Price with BUY and SELL over a legible stretch in the middle."""
    plt = plotting()
    figure, axis = plt.subplots(figsize=(10, 4))
    middle = int(o.ts_ns[len(o.ts_ns) // 2])
    use = (o.ts_ns >= middle) & (o.ts_ns < middle + int(seconds * 1e9))
    t, p, a = (o.ts_ns[use] - middle) / 1e9, o.price[use], o.action[use]
    axis.step(t, p, where="post", color=INK, lw=0.9, label="mid", zorder=2)
    for action, marker, color, name in ((1, "^", UP, "BUY"), (-1, "v", DOWN, "SELL")):
        at = a == action
        axis.scatter(t[at], p[at], marker=marker, s=22, color=color, label=f"{name} ({int(at.sum())})", zorder=3, lw=0)
    axis.set(title=title, xlabel=f"seconds, {seconds:g} s from the middle of the run", ylabel="price")
    axis.legend(loc="best", ncols=3)
    return save(plt, figure, path)


def calibration(o: Outcome, path: Path) -> Path:
    """Predicted against observed for down and up."""
    plt = plotting()
    figure, axis = plt.subplots(figsize=(5, 4.4))
    top = 0.0
    for score, target, color, name in ((0, -1, DOWN, "P(down)"), (2, 1, UP, "P(up)")):
        predicted, observed, count = o.calibration(score, target)
        error = np.sqrt(np.maximum(observed * (1 - observed), 1e-9) / count) * 1.96
        axis.errorbar(predicted, observed, yerr=error, fmt="o-", ms=4, color=color, label=name, capsize=2, lw=1.2)
        top = max(top, float(predicted.max()), float(observed.max()))
    axis.plot([0, top], [0, top], color=FLAT, ls="--", lw=1, label="perfect")
    axis.set(
        title="Calibration (equally filled bins, 95 % bars)", xlabel="predicted probability", ylabel="observed share"
    )
    axis.legend(loc="upper left")
    return save(plt, figure, path)


def recovery(o: Outcome, path: Path, strength: float) -> Path:
    """How much of the planted signal the model's value recovers."""
    plt = plotting()
    assert o.planted is not None
    figure, axis = plt.subplots(figsize=(5, 4.4))
    image = axis.hexbin(o.planted, o.value, gridsize=45, bins="log", cmap="Blues", mincnt=1, lw=0.1)
    figure.colorbar(image, ax=axis, label="decisions (log)")
    edges = np.quantile(o.planted, np.linspace(0, 1, 21))
    group = np.clip(np.searchsorted(edges, o.planted, side="right") - 1, 0, 19)
    centres = [o.planted[group == g].mean() for g in range(20)]
    means = [o.value[group == g].mean() for g in range(20)]
    axis.plot(centres, means, color=DOWN, lw=1.8, label="mean of 20 groups")
    axis.set(
        title=f"Planted signal recovered: correlation {o.recovered():.2f}",
        xlabel=f"planted signal (simulated, strength {strength:g})",
        ylabel="model value, P(up) - P(down)",
    )
    axis.legend(loc="upper left")
    return save(plt, figure, path)


def latency(counts: npt.NDArray[np.uint64], max_ns: int, path: Path, what: str) -> Path:
    """Histogram of the time from event to signal, log-log, with percentiles."""
    plt = plotting()
    figure, axis = plt.subplots(figsize=(10, 3.6))
    upper = bin_upper_ns(len(counts)) + 1
    lower = np.concatenate([[0], upper[:-1]])
    seen = np.flatnonzero(counts)
    use = slice(max(int(seen[0]) - 1, 1), int(seen[-1]) + 2)
    axis.stairs(counts[use].astype(float), np.append(lower[use], upper[use][-1]), fill=True, color=ACCENT, alpha=0.75)
    p = percentiles(counts, max_ns)
    height = float(counts.max())
    box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.5, "alpha": 0.85}
    for (name, value), y in zip(
        (("p50", p["p50"]), ("p99", p["p99"]), ("p99.9", p["p999"])), (0.75, 0.35, 0.15), strict=True
    ):
        axis.axvline(value, color=INK, lw=1, ls="--")
        axis.text(value * 1.03, height * y, f"{name} {value / 1000:.2f} µs", fontsize=9, va="center", bbox=box)
    axis.set(
        xscale="log",
        yscale="log",
        title=f"Latency from event to signal: {what}",
        xlabel="nanoseconds (log)",
        ylabel="decisions (log)",
    )
    axis.set_ylim(bottom=0.8)
    return save(plt, figure, path)


def confusion(o: Outcome, path: Path) -> Path:
    """Advice against what happened."""
    plt = plotting()
    table = o.confusion()
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    figure, axis = plt.subplots(figsize=(5, 3.8))
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i in range(3):
        for j in range(3):
            color = PAPER if share[i, j] > 0.55 else INK
            axis.text(j, i, f"{share[i, j]:.0%}\n{table[i, j]:,}", ha="center", va="center", color=color)
    axis.set(
        title="Advice against what happened",
        xticks=range(3),
        xticklabels=["down", "flat", "up"],
        yticks=range(3),
        yticklabels=["SELL", "HOLD", "BUY"],
        xlabel="price at the horizon, beyond half a spread",
    )
    axis.grid(False)
    return save(plt, figure, path)
