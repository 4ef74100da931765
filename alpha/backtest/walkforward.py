"""Choose on one stretch of days, trade the next, and count only what came after the choice. Floor 7."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from alpha.backtest.job import Job
from alpha.backtest.statistics import performance
from alpha.backtest.sweep import rank, run_all, spread_of
from alpha.errors import DataError


def walk_forward(
    job: Job,
    tried: Sequence[dict[str, str]],
    folds: int,
    *,
    processes: int = 2,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """The days of the data in ``folds + 1`` equal stretches: on each but the last the setting with the best Sharpe ratio
    is chosen and traded on the next, from the same money on. What lies before a stretch warms up, nothing more.

    ``performance`` is of the days that were traded after a choice, deflated for what was tried.
    """
    days = run_all([job.with_params(**tried[0])], 1)[0]["days"]
    if folds < 1 or len(days) < 2 * (folds + 1):
        raise DataError(
            f"{len(days)} days are too few for {folds} folds: two days in each of {folds + 1} stretches at least"
        )
    edges = np.linspace(0, len(days), folds + 1 + 1).astype(int)
    out: dict[str, Any] = {"folds": [], "tried": len(tried)}
    equity = [job.settings.cash]
    fills, spreads = 0, []
    for k in range(folds):
        start = job.settings.start_ns if k == 0 else days[edges[k] - 1] + 1
        middle, end = days[edges[k + 1] - 1] + 1, days[edges[k + 2] - 1] + 1
        before = run_all([job.with_params(**t).between(start, middle) for t in tried], processes, progress)
        best = max(range(len(tried)), key=lambda i: (rank(before[i]), -i))
        after = run_all([job.with_params(**tried[best]).between(middle, end)], 1, progress)[0]
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
