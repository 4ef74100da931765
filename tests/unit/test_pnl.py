"""Profit of decisions: filled at the next row, costs included, equal to an account that is fed fill by fill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_training import pnl
from alpha_training.recipe import CostsOf

SECOND = 10**9
FREE = pnl.Trading.of(CostsOf(spread_share=0.0), Path())


def times(n: int) -> np.ndarray:
    return 1_700_000_000 * SECOND + np.arange(n, dtype=np.int64) * SECOND


def test_by_hand() -> None:
    """BUY at 100 is filled at 101, SELL at 103 at 102, the last row closes at 104: +1 and -2 of a first price of 100."""
    price = np.array([100.0, 101.0, 103.0, 102.0, 104.0])
    action = np.array([1, 0, -1, 0, 0])
    asked = pnl.positions(action, times(5), None)
    assert asked.tolist() == [1, 1, -1, -1, -1]
    got = pnl.profits(asked, times(5), price, np.zeros(5), FREE)
    assert got == pytest.approx([0, 0, 0.02, -0.01, -0.02])
    half = pnl.Trading.of(CostsOf(), Path())
    paid = pnl.profits(asked, times(5), price, np.full(5, 0.2), half)
    assert got.sum() - paid.sum() == pytest.approx(0.1 * 4 / 100)  # one in, two over, one out


def test_a_position_ends_with_its_horizon() -> None:
    action = np.array([1, 0, 0, 0, -1, -1, 0, 0])
    ts = times(8)
    assert pnl.positions(action, ts, "2s").tolist() == [1, 1, 0, 0, -1, -1, -1, 0]
    assert pnl.positions(action, ts, 1).tolist() == [1, 0, 0, 0, -1, -1, 0, 0]
    assert pnl.positions(np.zeros(3, np.int64), ts[:3], None).tolist() == [0, 0, 0]


@given(
    st.lists(
        st.tuples(st.sampled_from([-1, 0, 0, 1]), st.floats(50.0, 150.0), st.floats(0.0, 1.0)), min_size=2, max_size=60
    ),
    st.sampled_from([None, 1, 3, "4s"]),
    st.floats(0.0, 20.0),
    st.floats(0.0, 2.0),
    st.floats(0.1, 50.0),
)
def test_the_same_as_an_account(
    rows: list[tuple[int, float, float]], hold: str | int | None, fee: float, impact: float, qty: float
) -> None:
    spec = CostsOf(
        fee_bp=fee, sell_bp=0.3, impact=impact, daily_volume=1e4, daily_volatility=0.02, spread_bp=1.0, qty=qty
    )
    trading = pnl.Trading.of(spec, Path())
    action, price, spread = (np.array(c) for c in zip(*rows, strict=True))
    ts = times(len(rows))
    asked = pnl.positions(action.astype(np.int64), ts, hold)
    got = pnl.profits(asked, ts, price, spread, trading)
    account = pnl.by_account(asked, ts, price, spread, trading)
    assert got.sum() * price[0] * qty == pytest.approx(account.profit, rel=1e-9, abs=1e-9 * max(1.0, account.turnover))


def test_intervals() -> None:
    ts = times(10)
    assert pnl.per_interval(np.ones(10), ts, 3).tolist() == [4, 3, 3]
    assert pnl.per_interval(np.ones(10), ts, 3, "5s").tolist() == [5, 5]
    gap = np.concatenate([ts[:3], ts[:3] + 100 * SECOND])
    assert pnl.per_interval(np.ones(6), gap, 3, "10s").tolist() == [3, 3]  # nothing traded between
    assert pnl.sharpe(np.zeros(4)) == 0.0
    assert pnl.sharpe(np.array([1.0, 3.0])) == 2.0


def test_a_fee_file_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "fees.toml").write_text("[[fee]]\nsince = 2020-01-01\nper_unit = 0.5\n")
    trading = pnl.Trading.of(CostsOf(fees="fees.toml", spread_share=0.0), tmp_path)
    got = pnl.profits(np.array([1, 1, 1]), times(3), np.full(3, 100.0), np.zeros(3), trading)
    assert got.sum() == pytest.approx(-2 * 0.5 / 100)
