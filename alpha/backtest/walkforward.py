"""Choose on one stretch of days, trade the next, and count only what came after the choice. Floor 7."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from alpha.backtest.job import Job
from alpha.backtest.statistics import performance
from alpha.backtest.sweep import rank, run_all, spread_of
from alpha.distribution import Cluster
from alpha.errors import DataError


def walk_forward(
    job: Job,
    tried: Sequence[dict[str, str]],
    folds: int,
    *,
    processes: int = 2,
    progress: Callable[[int], None] | None = None,
    cluster: Cluster | None = None,
) -> dict[str, Any]:
    """The days of the data in ``folds + 1`` equal stretches: on each but the last the setting with the best Sharpe ratio
    is chosen and traded on the next, from the same money on. What lies before a stretch warms up, nothing more.

    ``performance`` is of the days that were traded after a choice, deflated for what was tried.
    """
    days = run_all([job.with_params(**tried[0])], 1, cluster=cluster)[0]["days"]
    if folds < 1 or len(days) < 2 * (folds + 1):
        raise DataError(
            f"{len(days)} days are too few for {folds} folds: two days in each of {folds + 1} stretches at least"
        )
    edges = np.linspace(0, len(days), folds + 1 + 1).astype(int)
    out: dict[str, Any] = {"folds": [], "tried": len(tried)}
    equity = [job.settings.cash]
    fills, spreads = 0, []
    spans = []
    for k in range(folds):
        start = job.settings.start_ns if k == 0 else days[edges[k] - 1] + 1
        spans.append((start, days[edges[k + 1] - 1] + 1, days[edges[k + 2] - 1] + 1))
    # no fold waits for another: all are tried side by side, then all are traded
    trials = [job.with_params(**t).between(start, middle) for start, middle, _ in spans for t in tried]
    results = run_all(trials, processes, progress, cluster)
    befores = [results[k * len(tried) : (k + 1) * len(tried)] for k in range(folds)]
    chosen = [_best(before) for before in befores]
    traded = [
        job.with_params(**tried[best]).between(middle, end)
        for best, (_, middle, end) in zip(chosen, spans, strict=True)
    ]
    afters = run_all(traded, processes if cluster is None else 1, progress, cluster)
    for k, (_, middle, end) in enumerate(spans):
        before, best, after = befores[k], chosen[k], afters[k]
        spreads.append(spread_of(before))
        fills += after["fills"]
        grown = np.array(after["equity"][1:]) / after["equity"][0] * equity[-1]
        equity.extend(grown.tolist())
        out["folds"].append(
            {
                "fold": k + 1,
                "from_ns": middle,
                "to_ns": end,
                "chosen": ", ".join(f"{n}={v}" for n, v in tried[best].items()),
                "train_sharpe": before[best]["sharpe"],
                "sharpe": after["sharpe"],
                "equity_start": after["equity_start"],
                "equity_end": after["equity_end"],
                "trades": after["trades"],
            }
        )
    out["performance"] = performance(np.array(equity), fills, tried=len(tried), spread=float(np.mean(spreads)))
    return out


def _best(runs: Sequence[dict[str, Any]]) -> int:
    """Which has the best Sharpe ratio; of equal ones the first."""
    return max(range(len(runs)), key=lambda i: (rank(runs[i]), -i))
