"""An account is worth its cash and its positions at their marks, to the last cent, whatever was traded."""

from __future__ import annotations

import datetime as dt
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha.backtest import Account, Costs, FeePeriod, FeeTable
from alpha.backtest.account import ExactSum
from alpha.errors import DataError

NOON_2024 = int(dt.datetime(2024, 6, 3, 12, tzinfo=dt.UTC).timestamp()) * 10**9


def test_two_trades() -> None:
    """The specification's example: buy 10 @ 30, sell 10 @ 31.5, fee 0.1 each: +14.80."""
    account = Account(10_000.0)
    account.fill(0, 10, 30.0, fee=0.1)
    assert account.equity == pytest.approx(9_999.9, abs=1e-9)
    account.mark(0, 31.0)
    assert account.equity == pytest.approx(10_009.9, abs=1e-9)
    assert account.holdings[0].unrealised == pytest.approx(10.0, abs=1e-12)
    account.fill(0, -10, 31.5, fee=0.1)
    assert account.profit == pytest.approx(14.80, abs=1e-9)
    assert (account.holdings[0].qty, account.holdings[0].realised) == (0.0, 15.0)
    assert account.fees == pytest.approx(0.2, abs=1e-12)
    assert account.turnover == pytest.approx(615.0, abs=1e-9)


def test_a_flip_opens_at_its_own_price() -> None:
    account = Account()
    account.fill(7, 5, 100.0)
    account.fill(7, 5, 110.0)
    assert account.holdings[7].entry_px == 105.0
    account.fill(7, -14, 120.0)
    held = account.holdings[7]
    assert (held.qty, held.entry_px, held.realised) == (-4.0, 120.0, 150.0)
    account.mark(7, 119.0)
    assert account.profit == 154.0
    assert account.exposure() == 476.0


def test_multiplier_and_a_mark_that_is_no_number() -> None:
    account = Account(1.0)
    account.declare(0, multiplier=50.0)
    account.fill(0, -2, 10.0)
    account.mark(0, math.nan)
    assert account.equity == 1.0
    account.mark(0, 9.5)
    assert account.profit == 50.0


Order = tuple[int, int, int, int, bool]
ORDERS = st.lists(
    st.tuples(
        st.integers(0, 3),  # instrument
        st.integers(-1000, 1000).filter(bool),  # quantity in 0.01
        st.integers(1, 10_000_000),  # price in 0.001
        st.integers(0, 500),  # fee in 0.01
        st.booleans(),  # only a mark
    ),
    max_size=80,
)


def recount(
    orders: list[Order], cash: float, multipliers: list[float]
) -> tuple[Fraction, Fraction, dict[int, Fraction]]:
    """(equity, fees, realised per instrument) in exact arithmetic, first in first out of lots never needed: equity is
    recounted from the whole list of trades, realised from average entry prices."""
    equity, fees = Fraction(cash), Fraction(0)
    last: dict[int, Fraction] = {}
    total: dict[int, Fraction] = {}
    for who, qty, px, fee, only_mark in orders:
        last[who] = Fraction(px / 1000)
        if not only_mark:
            fees += Fraction(fee / 100)
            total[who] = total.get(who, Fraction(0)) + Fraction(qty / 100)
    for who, qty, px, fee, only_mark in orders:
        if not only_mark:
            # each trade earns from its own price to the last mark
            equity += Fraction(qty / 100) * (last[who] - Fraction(px / 1000)) * Fraction(multipliers[who])
            equity -= Fraction(fee / 100)
    return equity, fees, total


@given(ORDERS, st.floats(-1e6, 1e6))
def test_random_order_flows_against_an_independent_recount(orders: list[Order], cash: float) -> None:
    multipliers = [1.0, 50.0, 0.1, 1000.0]
    account = Account(cash)
    for who, m in enumerate(multipliers):
        account.declare(who, m)
    for who, qty, px, fee, only_mark in orders:
        if only_mark:
            account.mark(who, px / 1000)
        else:
            account.fill(who, qty / 100, px / 1000, fee / 100)
    equity, fees, total = recount(orders, cash, multipliers)
    scale = max(1.0, abs(float(equity)), account.turnover)
    assert abs(Fraction(account.equity) - equity) <= Fraction(1e-9) * Fraction(scale)
    assert abs(Fraction(account.fees) - fees) <= Fraction(1e-9)
    for who, qty in total.items():
        assert account.holdings[who].qty == pytest.approx(float(qty), abs=1e-9)
    # what was realised and what is open add up to the change of equity before fees
    parts = math.fsum(h.realised + h.unrealised for h in account.holdings.values())
    assert parts - account.fees == pytest.approx(account.profit, abs=1e-9 * scale)


def test_a_hundred_thousand_fills_stay_exact() -> None:
    rng = np.random.default_rng(4)
    account = Account(1e6)
    qty, px = rng.integers(-500, 500, 100_000), rng.integers(1, 2**20, 100_000) / 1000
    qty[qty == 0] = 1
    equity = Fraction(10**6)
    for q, p in zip(qty.tolist(), px.tolist(), strict=True):
        account.fill(0, q, p, 0.01)
        equity -= q * Fraction(p) + Fraction(0.01)
    equity += int(qty.sum()) * Fraction(px.tolist()[-1])
    assert abs(Fraction(account.equity) - equity) < Fraction(1, 10**6)


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=12), st.integers(1, 20), st.booleans())
def test_exact_sum(values: list[float], times: int, back: bool) -> None:
    """Beyond what waits unfolded, over all magnitudes, and back to nothing."""
    values = values * times + ([-v for v in values] * times if back else [])
    total = ExactSum()
    for v in values:
        total.add(v)
    assert total.value == math.fsum(values) and (total.value == 0.0 or not back)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda a: a.fill(0, 0.0, 1.0), "a fill of nothing"),
        (lambda a: a.fill(0, 1.0, math.nan), "finite numbers"),
        (lambda a: a.declare(0, 0.0), "multiplier of instrument 0"),
        (lambda a: Account(math.inf), "finite amount"),
    ],
)
def test_what_no_account_can_book(call, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=words):
        call(Account())


def test_fees_follow_their_dates() -> None:
    table = FeeTable(
        [
            FeePeriod(since=dt.date(2024, 6, 4), bp=5.0, minimum=1.0),
            FeePeriod(since=dt.date(2020, 1, 1), per_order=0.5, per_unit=0.01, sell_bp=0.2),
        ]
    )
    day = 86_400 * 10**9
    assert table.fee(NOON_2024, 100, 10.0) == pytest.approx(1.5)
    assert table.fee(NOON_2024, -100, 10.0) == pytest.approx(1.5 + 0.02)
    assert table.fee(NOON_2024 + day, 100, 10.0) == 1.0  # 0.5 is below the minimum
    assert table.fee(NOON_2024 + day, -10_000, 10.0) == pytest.approx(50.0)
    assert table.fee(NOON_2024 // day * day + day - 1, 1, 1.0) == pytest.approx(0.51)  # the last ns of the day before
    assert table.fee(NOON_2024 // day * day + day, 1, 1.0) == 1.0
    assert table.fee(NOON_2024, 0.0, 10.0) == 0.0
    with pytest.raises(DataError, match="no fee is known before 2020-01-01"):
        table.fee(0, 1, 1.0)


def test_a_fee_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "fees.toml"
    file.write_text("[[fee]]\nsince = 2022-01-01\nper_unit = 0.005\n[[fee]]\nsince = 2023-01-01\nper_unit = 0.003\n")
    table = FeeTable.load(file)
    assert table.fee(NOON_2024, 100, 10.0) == pytest.approx(0.3)
    for text, words in (
        ("[[fee]]\nsince = 2022-01-01\nper_untt = 1.0\n", "unknown field `per_untt`"),
        ("[[fee]]\nsince = 2022-01-01\n[[fee]]\nsince = 2022-01-01\n", "two periods since 2022-01-01"),
        ("fee = []", "at least one period"),
        ("[[fee]]\nsince = 2022-01-01\nbp = nan\n", "bp must be finite"),
        ("[[fee", "not valid TOML"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=words):
            FeeTable.load(file)
    with pytest.raises(DataError, match="cannot be read: no such file"):
        FeeTable.load(tmp_path / "none.toml")


def test_the_square_root_law() -> None:
    costs = Costs(impact=0.5, daily_volume=1_000_000, daily_volatility=0.02)
    assert costs.impact_share(10_000) == pytest.approx(0.5 * 0.02 * 0.1)
    assert costs.impact_share(40_000) == pytest.approx(2 * costs.impact_share(-10_000))
    assert costs.price(10_000, 99.9, 100.1) == pytest.approx(100.1 * 1.001)
    assert costs.price(-10_000, 99.9, 100.1) == pytest.approx(99.9 * 0.999)
    assert Costs(spread_bp=10.0).price_without_quotes(1, 100.0) == pytest.approx(100.05)
    assert Costs(spread_bp=10.0).price_without_quotes(-1, 100.0) == pytest.approx(99.95)
    for bad in ({"spread_bp": -1.0}, {"impact": math.nan}, {"daily_volume": 0.0}):
        with pytest.raises(DataError, match=next(iter(bad))):
            Costs(**bad)
