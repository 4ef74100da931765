"""Pictures of a backtest, by matplotlib. Floor 7. Plain arrays and dictionaries in, PNG files out.

Time is drawn as the data have it: nights and missing days take no room, dates stand where a day begins. Pictures that take
the whole width of the page come twice, the second (``-narrow``) for phones.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.report.figures import ACCENT, DOWN, FLAT, INK, UP, plotting, save

Ints = npt.NDArray[np.int64]
SMALL = (5.2, 3.7)
WIDE, NARROW = 10.4, 5.2


def both(path: Path, draw: Callable[[Path, float], Path]) -> Path:
    """Draw at both widths; the wide one's path."""
    draw(path.with_name(f"{path.stem}-narrow.png"), NARROW)
    return draw(path, WIDE)


def _dates(axis: Any, ts_ns: Ints, room: int) -> None:
    """Ticks where a day begins, at most ``room`` of them; within one day, the time."""
    if not len(ts_ns):
        return
    days = ts_ns // (86_400 * 10**9)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(days)) + 1])
    if len(starts) < 3:
        form, spread = "%H:%M", np.unique(np.linspace(0, len(ts_ns) - 1, room).astype(int)).tolist()
        axis.set_xticks(spread, [_text(ts_ns[k], form) for k in spread])
        return
    apart = [0]
    for k in starts[1:].tolist():  # days are not equally wide: keep labels apart
        if k - apart[-1] >= len(ts_ns) / room:
            apart.append(k)
    axis.set_xticks(apart, [_text(ts_ns[k], "%Y-%m-%d") for k in apart])


def _text(ns: int, form: str) -> str:
    return dt.datetime.fromtimestamp(int(ns) / 1e9, dt.UTC).strftime(form)


def equity(points: Mapping[str, Any], start: float, path: Path) -> Path:
    """Equity, drawdown and exposure, one below the other."""

    def draw(path: Path, width: float) -> Path:
        plt = plotting()
        figure, axes = plt.subplots(
            3, 1, figsize=(width, 5.6), sharex=True, gridspec_kw={"height_ratios": [3, 1.2, 1.2]}, squeeze=True
        )
        x, e = np.arange(len(points["ts"])), points["equity"]
        peak = np.maximum.accumulate(np.concatenate([[start], e]))[1:]
        axes[0].plot(x, e, color=ACCENT, lw=1.2)
        axes[0].axhline(start, color=FLAT, lw=0.9, ls="--")
        axes[0].set(title="Equity", ylabel="money")
        axes[0].yaxis.set_major_formatter("{x:,.0f}")
        axes[1].fill_between(x, 100.0 * (e / peak - 1.0), 0.0, color=DOWN, alpha=0.45, lw=0)
        axes[1].set(title="Drawdown", ylabel="%")
        with np.errstate(divide="ignore", invalid="ignore"):
            net = np.where(e > 0, 100.0 * points["net"] / e, 0.0)
        axes[2].fill_between(x, net, 0.0, step="post", color=INK, alpha=0.35, lw=0)
        axes[2].axhline(0.0, color=FLAT, lw=0.8)
        axes[2].set(title="Net exposure", ylabel="% of equity")
        _dates(axes[2], points["ts"], 7 if width > 6 else 3)
        axes[2].margins(x=0.01)
        return save(plt, figure, path)

    return both(path, draw)


def trades(points: Mapping[str, Any], fills: Sequence[Any], symbol: str, path: Path, most: int = 250) -> Path:
    """Fills on the price: all of them, or, where there are more than can be read, a stretch with ``most`` in the middle."""
    ts, mid = points["ts"], points["mid"]
    own = [f for f in fills if f.symbol == symbol]
    title = "Fills on the price"
    use = np.ones(len(ts), bool)
    if len(own) > most:
        begin = (len(own) - most) // 2
        shown = own[begin : begin + most]
        use = (ts >= shown[0].filled_ns) & (ts <= shown[-1].filled_ns)
        title = f"{most} of {len(own):,} fills, mid-run"
        own = shown
    ts, mid = ts[use], mid[use]
    when = np.array([f.filled_ns for f in own], np.int64)
    side = np.array([1 if f.qty > 0 else -1 for f in own])
    px = np.array([f.px for f in own])

    def draw(path: Path, width: float) -> Path:
        plt = plotting()
        figure, axis = plt.subplots(figsize=(width, 3.8 if width > 6 else 4.0))
        axis.plot(np.arange(len(ts)), mid, color=INK, lw=0.8, label="price", zorder=2)
        for which, marker, color, name in ((1, "^", UP, "bought"), (-1, "v", DOWN, "sold")):
            at = side == which
            if at.any():
                x = np.clip(np.searchsorted(ts, when[at]), 0, max(len(ts) - 1, 0))
                axis.scatter(
                    x, px[at], marker=marker, s=20, color=color, lw=0, zorder=3, label=f"{name} ({int(at.sum())})"
                )
        axis.set(title=title, ylabel=f"price of {symbol}")
        axis.margins(x=0.01)
        _dates(axis, ts, 7 if width > 6 else 3)
        axis.legend(loc="upper center", ncols=3, fontsize=9, bbox_to_anchor=(0.5, -0.12))
        return save(plt, figure, path)

    return both(path, draw)


def hits(judged: Mapping[str, Any], path: Path) -> Path:
    """Share of actions after which the price moved that way, by confidence."""
    plt = plotting()
    figure, axis = plt.subplots(figsize=SMALL)
    rows = judged["hits"]
    x = np.array([0.5 * (r["low"] + r["high"]) for r in rows])
    rate = np.array([r["hit_rate"] for r in rows])
    error = 1.96 * np.sqrt(np.maximum(rate * (1 - rate), 1e-9) / np.array([r["n"] for r in rows]))
    axis.errorbar(x, 100 * rate, yerr=100 * error, fmt="o-", color=ACCENT, ms=4, lw=1.2, capsize=2)
    axis.axhline(50.0, color=FLAT, ls="--", lw=1)
    axis.set(title="Hit rate by confidence (95 % bars)", xlabel="confidence", ylabel="% right at the horizon")
    return save(plt, figure, path)


def calibration(judged: Mapping[str, Any], path: Path) -> Path:
    """Predicted probability of up against the observed share."""
    plt = plotting()
    figure, axis = plt.subplots(figsize=SMALL)
    rows = judged["calibration"]
    p, o = np.array([r["predicted"] for r in rows]), np.array([r["observed"] for r in rows])
    error = 1.96 * np.sqrt(np.maximum(o * (1 - o), 1e-9) / np.array([r["n"] for r in rows]))
    axis.errorbar(p, o, yerr=error, fmt="o-", color=UP, ms=4, lw=1.2, capsize=2, label="P(up)")
    axis.plot([0, 1], [0, 1], color=FLAT, ls="--", lw=1, label="perfect")
    axis.set(
        title="Calibration of P(up)", xlabel="predicted probability", ylabel="observed share", xlim=(0, 1), ylim=(0, 1)
    )
    axis.legend(loc="upper left")
    return save(plt, figure, path)


def decay(judged: Mapping[str, Any], path: Path) -> Path:
    """Information coefficient of what is left after a latency, with the fitted half-life."""
    plt = plotting()
    figure, axis = plt.subplots(figsize=SMALL)
    rows = [r for r in judged["decay"] if r["ic"] is not None]
    x = np.array([r["latency_ns"] for r in rows]) / 1e9
    unit, scale = ("min", 60.0) if x.max(initial=0.0) >= 300.0 else ("s", 1.0)
    ic, error = np.array([r["ic"] for r in rows]), np.array([r["error"] for r in rows])
    axis.errorbar(x / scale, ic, yerr=1.96 * error, fmt="o-", color=ACCENT, ms=4, lw=1.2, capsize=2, label="measured")
    half = judged["half_life_ns"]
    if half is not None:
        h = half / 1e9
        shape = np.exp2(-x / h)
        a = float((ic * shape / error**2).sum() / (shape**2 / error**2).sum())
        t = np.linspace(0.0, x.max(), 200)
        label = f"half-life {h / scale:.3g} {unit}"
        axis.plot(t / scale, a * np.exp2(-t / h), color=DOWN, lw=1.2, label=label)
    axis.axhline(0.0, color=FLAT, lw=0.9)
    axis.set(title="Alpha decay against latency", xlabel=f"latency, {unit}", ylabel="information coefficient")
    axis.legend(loc="upper right")
    return save(plt, figure, path)


def bars(values: Mapping[str, float], title: str, unit: str, path: Path, color: str = ACCENT) -> Path:
    """Horizontal bars with their numbers."""
    plt = plotting()
    names, numbers = list(values), np.array(list(values.values()), float)
    figure, axis = plt.subplots(figsize=(SMALL[0], max(2.2, 0.42 * len(names) + 1.2)))
    y = np.arange(len(names))[::-1]
    axis.barh(y, numbers, color=[color if v >= 0 else UP for v in numbers], height=0.62)
    axis.set_yticks(y, names, fontsize=9)
    top, low = max(float(numbers.max(initial=0.0)), 0.0), min(float(numbers.min(initial=0.0)), 0.0)
    room = (top - low) or 1.0
    for k, v in zip(y, numbers, strict=True):
        axis.text(
            max(v, 0.0) + 0.015 * room,
            k,
            f"{v:,.0f}" if abs(v) >= 10 or v == 0 else f"{v:.3g}",
            va="center",
            fontsize=9,
        )
    axis.set(title=title, xlabel=unit, xlim=(low - (0.05 * room if low < 0 else 0.0), top + 0.25 * room))
    axis.grid(axis="y", visible=False)
    axis.locator_params(axis="x", nbins=5)
    axis.xaxis.set_major_formatter("{x:,.0f}" if room >= 10 else "{x:g}")
    return save(plt, figure, path)


def monthly(table: Mapping[str, float], path: Path) -> Path:
    """Return per month as bars."""
    plt = plotting()
    figure, axis = plt.subplots(figsize=SMALL)
    values = 100.0 * np.array(list(table.values()))
    x = np.arange(len(values))
    axis.bar(x, values, color=[UP if v >= 0 else DOWN for v in values], width=0.6)
    step = max(len(values) // 6, 1)
    axis.set_xticks(x[::step], list(table)[::step], fontsize=9)
    axis.axhline(0.0, color=FLAT, lw=0.9)
    axis.set(title="Return by month", ylabel="%", xlim=(-0.8, max(len(values), 3) - 0.2))
    return save(plt, figure, path)
