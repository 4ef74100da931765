"""The summary of a run: everything that is the same from run to run. Floor 7."""

from __future__ import annotations

from typing import Any

import numpy as np

from alpha.backtest.engine import Finished
from alpha.backtest.statistics import monthly, performance


def summarise(run: Finished, *, tried: int = 1, spread: float = 0.0) -> dict[str, Any]:
    """Everything that a report says and that is the same from run to run, as plain numbers and texts."""
    settings, curve, ledger, desk = run.settings, run.curve, run.ledger, run.desk
    equity = np.array([settings.cash, *(d.equity for d in curve.days)])
    night, gap = curve.profit_between_days
    account = ledger.account
    fees = ledger.costs()
    out: dict[str, Any] = {
        "strategy": run.strategy.name,
        "params": run.strategy.params,
        "symbols": list(run.symbols),
        "models": [
            {
                "name": s.bundle.name,
                "sha256": s.bundle.model_sha256,
                "definition_hash": s.bundle.feature_set.definition_hash,
                "governed": s.bundle.governed,
                "threshold": s.threshold,
                "floor": s.floor,
                "why": s.bundle.why if s.bundle.metadata is not None else "",
            }
            for s in run.served
        ],
        "events": run.events,
        "decisions": run.decisions,
        "signals_sha256": run.signals_sha256,
        "equity_start": settings.cash,
        "equity_end": account.equity,
        "fees": account.fees,
        "turnover": account.turnover,
        "turnover_per_day": account.turnover / settings.cash / max(len(curve.days), 1),
        "costs": fees,
        "max_drawdown": curve.drawdown,
        "mean_exposure": curve.exposure_sum / curve.exposure_points if curve.exposure_points else None,
        "time_in_market": curve.invested_points / curve.exposure_points if curve.exposure_points else None,
        **ledger.summary(),
        "performance": performance(equity, ledger.counts["fills"], tried=tried, spread=spread),
        "monthly": monthly([(d.last_ns, d.equity) for d in curve.days], settings.cash),
        "grades": dict(sorted(run.grades.items())),
        "reasons": dict(sorted(run.reasons.items(), key=lambda item: -item[1])),
        "orders": dict(sorted(desk.counts.items())),
        "blocked": dict(sorted(desk.blocked.items())),
        "fallbacks": dict(sorted(desk.router.fallbacks.items())),
        "unsized": dict(sorted(desk.sizer.nothing.items())),
        "latency": run.latency.describe(),
        "data": {
            "days": len(curve.days),
            "partial_days": curve.partial_days,
            "missing_days": curve.missing_days,
            "carried": settings.carry,
            "profit_overnight": night,
            "profit_across_missing_days": gap,
            "rejected": dict(run.market.rejected),
            "in_sample_decisions": run.in_sample,
            "first_ns": curve.days[0].first_ns if curve.days else None,
            "last_ns": curve.days[-1].last_ns if curve.days else None,
        },
    }
    return out
