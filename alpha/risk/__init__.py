"""Risk, independent of models and signals: what an order may do, and who may stop everything.

Nothing here sends an order. A strategy asks :meth:`RiskEngine.check` before it sends one and reports what became of it.
"""

from __future__ import annotations

from alpha.risk.engine import Approved, Blocked, BlockedReason, RiskEngine
from alpha.risk.kill import KillLatch
from alpha.risk.limits import RiskLimits
from alpha.risk.orders import Fill, Order
from alpha.risk.prices import PriceBook

__all__ = [
    "Approved",
    "Blocked",
    "BlockedReason",
    "Fill",
    "KillLatch",
    "Order",
    "PriceBook",
    "RiskEngine",
    "RiskLimits",
]
