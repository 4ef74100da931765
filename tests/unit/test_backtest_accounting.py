"""Money: the specification's two trades, and long random flows against an independent count."""

from __future__ import annotations

import datetime as dt
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import desks
import numpy as np
import pytest

from alpha.audit.frames import Frame
from alpha.backtest.costs import Costs, FeePeriod, FeeTable
from alpha.backtest.record import frames, recount
from alpha.backtest.serving import Served
from alpha.backtest.settings import Settings
from alpha.bundle import Bundle
from alpha.errors import DataError
from alpha.features.feature_set import FeatureSet, GuardSpec, StreamSpec, parse_trigger
from alpha.features.language import parse
from alpha.replay import replay
from alpha.strategies import make
from alpha.strategies.sizer import Sizing

TEN_CENTS = Costs(fees=FeeTable([FeePeriod(since=dt.date(1, 1, 1), per_order=0.1)]))
START = 1_700_000_000 * 10**9


def test_two_trades_make_fourteen_eighty(tmp_path: Path) -> None:
    """Buy 10 at 30, sell 10 at 31.5, a fee of 0.1 each: +14.80, through the whole desk and its log."""
    ts = START + 10**9 * np.arange(5)
    px = np.array([30.0, 30.0, 31.0, 31.5, 31.5])
    settings = Settings(cash=1000.0, costs=TEN_CENTS, sizing=Sizing(qty=10.0), short=False)
    strategy = desks.Scripted({int(ts[0]): 1, int(ts[2]): -1})
    done = desks.run(strategy, desks.rows(), desks.quotes(ts, px, px), settings=settings, audit=tmp_path / "log")
    assert [(f.qty, f.px, f.fee) for f in done.ledger.fills] == [(10.0, 30.0, 0.1), (-10.0, 31.5, 0.1)]
    assert done.ledger.account.equity - 1000.0 == pytest.approx(14.80, abs=1e-9)
    assert done.ledger.summary()["trades"] == done.ledger.summary()["won"] == 1
    assert done.ledger.trades[0].profit == pytest.approx(14.80, abs=1e-9)
    counted = recount(tmp_path / "log")
    assert counted["fills"] == 2 and counted["worst"] <= 1e-15 and counted["equity"] == done.ledger.account.equity
    orders = [told for _, told in frames(tmp_path / "log", Frame.ORDER)]
    assert [(o["id"], o["qty"], o["closing"], o["approved"]) for o in orders] == [
        ("o1", 10.0, False, True),
        ("o2", -10.0, True, True),
    ]
    assert replay(tmp_path / "log").passed
    # a second run into the same log begins anew
    strategy = desks.Scripted({int(ts[0]): 1})
    again = desks.run(strategy, desks.rows(), desks.quotes(ts, px, px), settings=settings, audit=tmp_path / "log")
    counted = recount(tmp_path / "log")
    assert counted["fills"] == 3 and counted["worst"] <= 1e-15 and counted["equity"] == again.ledger.account.equity
    assert replay(tmp_path / "log").passed


@pytest.mark.parametrize("cuts", [(), (2,), (3,)])
def test_a_price_that_the_guard_calls_an_outlier_fills_nobody_and_values_nothing(cuts: tuple[int, ...]) -> None:
    ts = START + 10**9 * np.arange(6)
    px = np.array([30.0, 30.0, 300.0, 31.0, 3.0, 31.0])  # bad prints: where the order would be filled, and behind it
    settings = Settings(cash=1000.0, costs=TEN_CENTS, sizing=Sizing(qty=10.0), short=False)

    def bought(outlier: float | None) -> tuple[float, float, dict[str, int]]:
        """Price of the fill, the least equity, what was rejected."""
        stream = StreamSpec(guard=GuardSpec(outlier=outlier))
        bundle = Bundle.from_features(FeatureSet("rows", {"price": parse("mid")}, parse_trigger("quote"), stream))
        strategy = desks.Scripted({int(ts[1]): 1})
        done = desks.run(strategy, Served(bundle), desks.quotes(ts, px, px), settings=settings, cuts=cuts)
        (fill,) = done.ledger.fills
        return fill.px, float(done.curve.points()["equity"].min()), dict(done.market.rejected)

    assert bought(3.0) == (31.0, pytest.approx(999.9), {"OUTLIER": 2})
    px_without, worst, rejected = bought(None)
    assert px_without == 300.0 and worst < 0.0 and not rejected


def test_a_log_that_lies_about_money_is_found(tmp_path: Path) -> None:
    from alpha.audit.write import AuditLog
    from alpha.backtest.record import Record

    log = AuditLog(tmp_path / "log", policy="wait")
    log.begin({}, {}, b"")
    record = Record(log)
    begin = {"cash": 10.0, "multipliers": {"A": 1.0}, "marks": {}, "equity": 10.0}
    record.put(Frame.SNAPSHOT, begin)
    record.put(Frame.FILL, {"symbol": "A", "qty": 1.0, "px": 4.0, "fee": 0.5})
    record.put(Frame.SNAPSHOT, {**begin, "cash": 5.5, "marks": {"A": 4.0}, "equity": 10.0})  # it is 9.5
    log.finish(closed=True)
    assert recount(tmp_path / "log")["worst"] == pytest.approx(0.05)
    broken = AuditLog(tmp_path / "broken", policy="wait")
    broken.begin({}, {}, b"")
    Record(broken).put(Frame.SNAPSHOT, {"equity": 1.0})
    broken.finish(closed=True)
    with pytest.raises(DataError, match="lacks what it should hold"):
        recount(tmp_path / "broken")


def flow(n: int, seed: int) -> tuple[Any, np.ndarray]:
    """Quotes of three instruments around random walks."""
    rng = np.random.default_rng(seed)
    who = rng.integers(0, 3, n)
    mid = 100.0 * np.exp(np.cumsum(rng.normal(0, 2e-5, n)))
    half = 0.005 * rng.integers(1, 4, n)
    ts = START + np.cumsum(rng.integers(0, 50_000_000, n))
    return desks.table(3), desks.quotes(ts, mid - half, mid + half, who)


def check_flow(n: int, every: str, share: float) -> None:
    table, events = flow(n, 11)
    costs = Costs(
        fees=FeeTable(
            [
                FeePeriod(since=dt.date(2020, 1, 1), bp=0.3, sell_bp=0.2, per_unit=0.001, minimum=0.01),
                FeePeriod(since=dt.date(2023, 11, 15), bp=0.1, per_order=0.02),
            ]
        ),
        impact=0.5,
        daily_volume=1e6,
        daily_volatility=0.02,
    )
    strategy = make("random", {"every": every, "share": share, "seed": 1})
    settings = Settings(costs=costs, sizing=Sizing(share=0.2))
    from alpha.backtest.serving import serve_all

    served = serve_all(None, strategy, None)
    done = desks.run(strategy, served, events, instruments=table, symbols=table.symbols, settings=settings)
    fills = done.ledger.fills
    assert len(fills) == done.ledger.counts["fills"] > n / 2000
    # counted once more from the fills alone, exactly, with the fee rules written down anew
    cash, held = Fraction(settings.cash), dict.fromkeys(table.symbols, Fraction(0))
    fees = Fraction(0)
    for f in fills:
        notional = Fraction(abs(f.qty)) * Fraction(f.px)
        if f.filled_ns < int(dt.datetime(2023, 11, 15, tzinfo=dt.UTC).timestamp()) * 10**9:
            rate = Fraction("0.00003") + (Fraction("0.00002") if f.qty < 0 else 0)
            fee = max(rate * notional + Fraction("0.001") * Fraction(abs(f.qty)), Fraction("0.01"))
        else:
            fee = Fraction("0.00001") * notional + Fraction("0.02")
        fees += fee
        cash -= Fraction(f.qty) * Fraction(f.px) + fee
        held[f.symbol] += Fraction(f.qty)
        side = 1 if f.qty > 0 else -1
        quote = events["v"][f.filled_index]
        far = quote[1] if side > 0 else quote[0]
        assert f.px == pytest.approx(far * (1 + side * 0.5 * 0.02 * math.sqrt(abs(f.qty) / 1e6)), rel=1e-14)
    last = {s: events[events["instrument_id"] == i]["v"][-1] for i, s in enumerate(table.symbols)}
    value = sum(q * Fraction(0.5 * (last[s][0] + last[s][1])) for s, q in held.items())
    equity = done.ledger.account.equity
    assert abs(float(cash + value) - equity) <= 1e-9 * equity
    assert done.curve.days[-1].equity == pytest.approx(equity, rel=1e-12)
    assert abs(float(fees) - done.ledger.account.fees) <= 1e-9 * float(fees)
    # what trading cost is what is missing: the mids' profit less the three kinds of cost is the profit
    told = done.ledger.costs()
    mids = sum(Fraction(f.qty) * Fraction(f.mid) for f in fills)
    without_costs = float(value - mids)
    paid = told["fees"] + told["spread"] + told["impact"]
    assert without_costs - paid == pytest.approx(equity - settings.cash, abs=1e-6)


def test_random_flows_agree_with_an_independent_count() -> None:
    check_flow(60_000, "30s", 0.5)


@pytest.mark.slow
def test_a_million_events_agree_with_an_independent_count() -> None:
    check_flow(1_000_000, "20s", 0.8)


def test_every_close_counts_also_the_losing_one() -> None:
    ts = START + 10**9 * np.arange(8)
    px = np.array([10.0, 10.0, 9.0, 9.0, 9.0, 9.5, 9.5, 9.5])
    settings = Settings(cash=10_000.0, costs=desks.FREE, sizing=Sizing(qty=10.0, min_notional=0.0))
    strategy = desks.Scripted({int(ts[0]): 1, int(ts[2]): -1, int(ts[5]): 1})
    done = desks.run(strategy, desks.rows(), desks.quotes(ts, px, px), settings=settings)
    told = done.ledger.summary()
    assert [t.profit for t in done.ledger.trades] == [-10.0, -5.0]
    assert (told["trades"], told["lost"], told["win_rate"], told["open_positions"]) == (2, 2, 0.0, 1)
    assert done.ledger.account.profit == -15.0
