"""The definitions of performance. Floor 7.

The daily equity series begins with the money at the start, so that the first day's result counts; D is its number of
points. Sharpe = mean / sd * sqrt(252) of its D - 1 returns (sd with ddof 1), annual = (1 + R) ** (252 / (D - 1)) - 1,
monthly = (1 + annual) ** (1/12) - 1, trades per day = fills / D. Where a figure has no meaning it is None, never 0 or
infinite. Sortino, Calmar, volatility and tail ratio are those of empyrical-reloaded; PSR and DSR those of purgedcv.
"""

from __future__ import annotations

import datetime as dt
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError, need

Floats = npt.NDArray[np.float64]
YEAR = 252


def daily_returns(equity: Floats) -> Floats:
    """Returns of a daily equity series whose first point is the start; a ruined account has none any more."""
    if len(equity) < 2:
        return np.zeros(0)
    before = equity[:-1]
    alive = np.cumprod(before > 0.0).astype(bool)
    return np.asarray(equity[1:][alive] / before[alive] - 1.0)


def sharpe(returns: Floats) -> float | None:
    """Annualised mean over deviation; None of fewer than two, or of equal returns."""
    if len(returns) < 2 or np.ptp(returns) == 0.0:
        return None
    return float(returns.mean() / returns.std(ddof=1) * math.sqrt(YEAR))


def deflated_sharpe(returns: Floats, tried: int, spread: float) -> float | None:
    """Probability that the Sharpe ratio is above what the best of ``tried`` settings shows by chance (Bailey, López de
    Prado 2014). ``spread``: variance of the per-period Sharpe ratios that were tried. None where it has no meaning."""
    if len(returns) < 3 or np.ptp(returns) == 0.0:
        return None
    return _judged(need("purgedcv", "report").deflated_sharpe_ratio, returns, max(tried, 1), spread)


def _judged(ratio: Callable[..., float], returns: Floats, *rest: float) -> float:
    """A library's ratio; DataError where it refuses the returns, which it does as a ValueError without saying whose."""
    try:
        return float(ratio(returns, *rest))
    except ValueError as exc:
        raise DataError(
            f"the profits of {len(returns)} intervals, from {returns.min():g} to {returns.max():g}, cannot be judged "
            f"({str(exc).rstrip('.')}): look at the costs, the quantities and the prices they come from"
        ) from None


def performance(equity: Floats, fills: int, *, tried: int = 1, spread: float = 0.0) -> dict[str, Any]:
    """All figures of a daily equity series (first point: the start)."""
    returns = daily_returns(equity)
    points = len(equity)
    total = float(equity[-1] / equity[0] - 1.0) if points else 0.0
    annual = None
    if points > 1 and total > -1.0:
        power = YEAR / (points - 1) * math.log1p(total)
        annual = math.expm1(power) if power < 700.0 else None
    out: dict[str, Any] = {
        "points": points,
        "total_return": total,
        "annual_return": annual,
        "monthly_return": None if annual is None or annual <= -1.0 else (1.0 + annual) ** (1.0 / 12.0) - 1.0,
        "sharpe": sharpe(returns),
        "fills_per_day": fills / points if points else None,
        "positive_days": float((returns > 0.0).mean()) if len(returns) else None,
        "best_day": float(returns.max()) if len(returns) else None,
        "worst_day": float(returns.min()) if len(returns) else None,
    }
    out |= _of_empyrical(returns)
    out["probabilistic_sharpe"] = None
    if len(returns) > 2 and np.ptp(returns) > 0.0:
        out["probabilistic_sharpe"] = _judged(need("purgedcv", "report").probabilistic_sharpe_ratio, returns, 0.0)
    out["deflated_sharpe"] = deflated_sharpe(returns, tried, spread)
    out["tried"] = tried
    return out


def _of_empyrical(returns: Floats) -> dict[str, float | None]:
    ep = need("empyrical", "report")
    out: dict[str, float | None] = {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for name, function in (
            ("annual_volatility", ep.annual_volatility),
            ("sortino", ep.sortino_ratio),
            ("calmar", ep.calmar_ratio),
            ("daily_drawdown", ep.max_drawdown),
            ("tail_ratio", ep.tail_ratio),
        ):
            value = float(function(returns)) if len(returns) > 1 else math.nan
            out[name] = value if math.isfinite(value) else None
    return out


def monthly(days: list[tuple[int, float]], start: float) -> dict[str, float]:
    """Return per month, ``2022-01`` to share, from (last event ns, equity) of each day."""
    out: dict[str, float] = {}
    before = start
    last: dict[str, float] = {}
    for ns, equity in days:
        last[dt.datetime.fromtimestamp(ns / 1e9, dt.UTC).strftime("%Y-%m")] = equity
    for month, equity in last.items():
        out[month] = equity / before - 1.0 if before > 0.0 else -1.0
        before = equity
    return out
