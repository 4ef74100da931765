"""Trading on paper: what a fill costs and what an account is worth. Floor 7. Nothing here sends an order."""

from __future__ import annotations

from alpha.backtest.account import Account, Holding
from alpha.backtest.costs import Costs, FeePeriod, FeeTable

__all__ = ["Account", "Costs", "FeePeriod", "FeeTable", "Holding"]
