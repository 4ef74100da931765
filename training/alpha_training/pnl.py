"""From decisions to money: positions, fills at the next row, costs, and profit per interval of time.

A decision at a row is filled at the next row's price, never at its own. One unit is held long after BUY and short after
SELL; HOLD keeps what is there, until ``hold`` (a duration, or rows) has passed since the last BUY or SELL.
``hold=None``: until the opposite decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alpha.backtest import Account, Costs, FeePeriod, FeeTable
from alpha.features.language import duration
from alpha_training.recipe import CostsOf

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trading:
    """What acting costs: ``costs`` of one fill of ``qty``, and the share of the data's spread that is paid."""

    costs: Costs
    spread_share: float
    spread_bp: float
    qty: float

    @classmethod
    def of(cls, spec: CostsOf, folder: Path) -> Trading:
        """Of a recipe; the fee file lies beside it."""
        import datetime as dt

        if spec.fees is not None:
            fees = FeeTable.load(folder / spec.fees)
        else:
            fees = FeeTable([FeePeriod(since=dt.date(1, 1, 1), bp=spec.fee_bp, sell_bp=spec.sell_bp)])
        costs = Costs(
            fees=fees,
            spread_bp=spec.spread_bp,
            impact=spec.impact,
            daily_volume=spec.daily_volume,
            daily_volatility=spec.daily_volatility,
        )
        return cls(costs, spec.spread_share, spec.spread_bp, spec.qty)

    def half_spread(self, price: Floats, spread: Floats) -> Floats:
        """Money per unit between the price and what a fill pays."""
        return 0.5 * (self.spread_share * spread + 1e-4 * self.spread_bp * price)


def positions(action: Ints, ts_ns: Ints, hold: str | int | None) -> Ints:
    """Position -1, 0, 1 that each row's decision asks for; ``action`` -1, 0, 1."""
    n = len(action)
    last = np.maximum.accumulate(np.where(action != 0, np.arange(n), -1))
    held = np.where(last >= 0, action[np.maximum(last, 0)], 0)
    if hold is None:
        return held
    since = np.maximum(last, 0)
    fresh = np.arange(n) - since < hold if isinstance(hold, int) else ts_ns - ts_ns[since] < duration(hold).ns
    return np.where(fresh, held, 0)


def profits(asked: Ints, ts_ns: Ints, price: Floats, spread: Floats, trading: Trading) -> Floats:
    """Net profit [N] of one instrument, booked at the row where the price moved or the fill happened, as a share of the
    first price per unit; the last row closes what is open.

    The same as an :class:`alpha.backtest.Account` fed fill by fill (:func:`by_account`), at once.
    """
    held = np.concatenate([[0], asked[:-1]])  # filled at the next row
    held[-1] = 0
    change = np.diff(held, prepend=0) * trading.qty
    before = np.concatenate([[0], held[:-1]]) * trading.qty
    out = before * np.diff(price, prepend=price[:1])
    at = np.flatnonzero(change)
    side = np.sign(change[at])
    far = price[at] + side * trading.half_spread(price, spread)[at]
    impact = np.array([trading.costs.impact_share(q) for q in change[at]])
    paid = far * (1.0 + side * impact)
    fees = np.array(
        [
            trading.costs.fees.fee(t, q, p)
            for t, q, p in zip(ts_ns[at].tolist(), change[at].tolist(), paid.tolist(), strict=True)
        ]
    )
    out[at] -= np.abs(change[at]) * side * (paid - price[at]) + fees
    return np.asarray(out / (price[0] * trading.qty))


def by_account(asked: Ints, ts_ns: Ints, price: Floats, spread: Floats, trading: Trading) -> Account:
    """The same trades through an account, for those who want to see it booked."""
    account = Account()
    half = trading.half_spread(price, spread)
    for i in range(1, len(asked)):
        account.mark(0, price[i])
        want = 0 if i == len(asked) - 1 else int(asked[i - 1])
        qty = want * trading.qty - account.declare(0).qty
        if qty:
            px = trading.costs.price(qty, price[i] - half[i], price[i] + half[i])
            account.fill(0, qty, px, trading.costs.fees.fee(int(ts_ns[i]), qty, px))
            account.mark(0, price[i])
    return account


def per_interval(profit: Floats, ts_ns: Ints, n: int, bucket: str = "") -> Floats:
    """Sums over equal intervals of time from the first row to the last: of length ``bucket``, else ``n`` of them.

    Intervals without a row (nights) are left out.
    """
    begin, end = int(ts_ns[0]), int(ts_ns[-1])
    width = duration(bucket).ns if bucket else max((end - begin) // n + 1, 1)
    index = (ts_ns - begin) // width
    seen, where = np.unique(index, return_inverse=True)
    return np.asarray(np.bincount(where, profit, minlength=len(seen)), np.float64)


def sharpe(returns: Floats) -> float:
    """Mean over deviation of the intervals, not annualised; 0 where nothing happened."""
    deviation = float(np.std(returns))
    return float(np.mean(returns)) / deviation if deviation > 0.0 else 0.0
