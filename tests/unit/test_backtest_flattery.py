"""Mistakes that would flatter: each has a stream on which it would earn, and here it does not."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import desks
import numpy as np
import pytest

from alpha.backtest.costs import Costs
from alpha.backtest.metrics import summarise
from alpha.backtest.record import recount
from alpha.backtest.settings import Settings
from alpha.backtest.statistics import daily_returns, deflated_sharpe, monthly, performance
from alpha.errors import DataError
from alpha.events import Flag, Kind
from alpha.sessions import session_table
from alpha.strategies import Grade, Strategy, Suggestion, make
from alpha.strategies.sizer import Sizing

START = 1_700_000_000 * 10**9
SECOND = 10**9
ONE = Sizing(qty=1.0, min_notional=0.0)


def test_look_ahead_a_bars_own_move_earns_nothing(tmp_path: Path) -> None:
    """The volume tells the sign of the very bar it belongs to. Filled at that bar's open this would earn every time."""
    rng = np.random.default_rng(1)
    n = 2000
    sign = rng.choice([-1, 1], n)
    close_ts = START // desks.MINUTE * desks.MINUTE + desks.MINUTE * np.arange(n)
    opens = np.full(n, 100.0)
    closes = opens + 0.5 * sign
    events = desks.bars(close_ts, opens, closes, volume=1000.0 + 200.0 * sign)
    served = desks.planted(tmp_path, 'bar("1m", "feed")')
    strategy = make("threshold", {"model": "planted"})
    done = desks.run(strategy, served, events, settings=Settings(costs=desks.FREE, sizing=ONE), bar_ns=desks.MINUTE)
    cheating = float(np.abs(closes - opens).sum())
    assert len(done.ledger.fills) > 900
    # every fill is at an open, and all opens are the same: whoever knew more would show
    assert abs(done.ledger.account.profit) <= 0.5 < cheating / 1000
    assert {f.px for f in done.ledger.fills} == {100.0}


def test_look_ahead_a_quotes_own_jump_earns_nothing() -> None:
    """The decision is made on the quote that jumps: a fill at the quote before would earn the jump."""
    n = 400
    ts = START + SECOND * np.arange(n)
    level = np.where(np.arange(n) % 4 < 2, 100.0, 101.0)
    events = desks.quotes(ts, level, level)
    up = {int(t): 1 for t in ts[2::4]}
    down = {int(t): -1 for t in ts[4::4]}
    done = desks.run(
        desks.Scripted(up | down), desks.rows(), events, settings=Settings(costs=desks.FREE, sizing=ONE, short=False)
    )
    assert len(done.ledger.fills) > 150
    assert done.ledger.account.profit <= 0.0  # bought after the rise, sold after the fall


def test_a_bad_print_fills_nobody_and_values_nothing() -> None:
    """Crossed, zero and backward quotes offer a fortune: the guard rejects them, so must the fills and the books."""
    ts = START + SECOND * np.array([0, 1, 2, 3, 4, 5])
    bid = np.array([100.0, 200.0, 100.0, 100.0, 300.0, 100.0])
    ask = np.array([100.1, 10.0, 100.1, 100.1, 5.0, 100.1])  # events 1 and 4 are crossed
    events = desks.quotes(ts, bid, ask)
    done = desks.run(
        desks.Scripted({int(ts[0]): 1, int(ts[3]): -1}),
        desks.rows(),
        events,
        settings=Settings(costs=desks.FREE, sizing=ONE, short=False),
    )
    assert [(f.filled_index, f.px) for f in done.ledger.fills] == [(2, 100.1), (5, 100.0)]
    assert done.market.rejected == {"CROSSED": 2}
    assert summarise(done)["data"]["rejected"] == {"CROSSED": 2}  # and it is said
    held = desks.run(
        desks.Scripted({int(ts[0]): 1}), desks.rows(), events[:5], settings=Settings(costs=desks.FREE, sizing=ONE)
    )
    assert held.ledger.account.equity == pytest.approx(100_000.0 - 0.05)
    assert held.curve.drawdown == pytest.approx(-0.05 / 100_000.0)


def days_of(n: int, start: str = "2022-07-05") -> list[tuple[int, int]]:
    """(open, close) of New York sessions."""
    table = session_table("XNYS")
    first = int(
        np.searchsorted(table.opens, int(dt.datetime.fromisoformat(start + "T00:00+00:00").timestamp()) * SECOND)
    )
    return [(int(table.opens[k]), int(table.closes[k])) for k in range(first, first + n)]


def session_bars(sessions: list[tuple[int, int]], per_day: float = 0.0, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    close_ts = np.concatenate([np.arange(a + desks.MINUTE, b + 1, desks.MINUTE) for a, b in sessions])
    steps = rng.normal(per_day / 390, 0.02, 2 * len(close_ts))
    px = 100.0 + np.cumsum(steps)
    return desks.bars(close_ts, px[0::2], px[1::2])


def test_partial_days_are_days() -> None:
    """A day cut short that lost still counts, as a day and with its loss; and it is said to be partial."""
    sessions = days_of(4)
    events = session_bars(sessions)
    cut = events[: 390 * 3 + 60].copy()
    cut["v"][-60:, :4] -= np.linspace(0.0, 20.0, 60)[:, None]  # the last hour falls
    rows = desks.rows('bar("1m", "feed")')
    done = desks.run(
        make("buy_and_hold", {}),
        rows,
        cut,
        instruments=desks.table(1, calendar="XNYS"),
        settings=Settings(costs=desks.FREE),
        bar_ns=desks.MINUTE,
    )
    told = summarise(done)
    assert (told["data"]["days"], told["data"]["partial_days"], told["data"]["missing_days"]) == (4, 1, 0)
    equity = np.array([100_000.0, *(d.equity for d in done.curve.days)])
    assert told["performance"]["points"] == 5 and len(daily_returns(equity)) == 4
    assert told["performance"]["total_return"] == pytest.approx(done.ledger.account.equity / 100_000.0 - 1.0)
    assert told["performance"]["worst_day"] == float(daily_returns(equity)[-1]) < -0.03


def test_one_day_has_no_annual_miracle() -> None:
    one = performance(np.array([100.0, 103.0]), 4)
    assert one["sharpe"] is None and one["deflated_sharpe"] is None
    assert one["annual_return"] == pytest.approx(1.03**252 - 1.0)  # by the definition: 53 notices warn of few days
    none = performance(np.array([100.0]), 0)
    assert none["annual_return"] is None and none["total_return"] == 0.0
    ruined = performance(np.array([100.0, 0.0, 50.0]), 2)
    assert ruined["annual_return"] is not None and len(daily_returns(np.array([100.0, 0.0, 50.0]))) == 1
    assert performance(np.array([100.0, -5.0]), 1)["annual_return"] is None


def test_a_file_split_at_a_session_changes_nothing(tmp_path: Path) -> None:
    """Two files, cut between two sessions or in the middle of one, give what the whole gives."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from alpha.backtest.job import Job, execute
    from alpha.backtest.sweep import one
    from alpha.instruments import Instrument

    sessions = days_of(5)
    events = session_bars(sessions, seed=9)

    def write(name: str, part: np.ndarray) -> str:
        v = part["v"]
        table = pa.table(
            {
                "ts": part["ts_event_ns"] - desks.MINUTE,
                "open": v[:, 0].copy(),
                "high": v[:, 1].copy(),
                "low": v[:, 2].copy(),
                "close": v[:, 3].copy(),
                "volume": v[:, 4].copy(),
            }
        )
        pq.write_table(table, tmp_path / name)
        return str(tmp_path / name)

    item = Instrument(symbol="A", path="A_*.parquet", tick_size=1e-4, lot_size=1.0, calendar="XNYS", bar_stamp="start")
    outcomes: list[Any] = []
    for k, cuts in enumerate(([], [780], [800])):
        files = tuple(write(f"A_{k}{j}.parquet", p) for j, p in enumerate(np.split(events, cuts)))
        job = Job(("A",), "random", {"share": 0.05, "seed": 2}, (item,), (files,), Settings(costs=desks.FREE))
        done, backtest, _ = execute(job)
        backtest.finish_audit({})
        told = summarise(done)
        told["models"] = []
        outcomes.append((told, done.ledger.fills, one(job)["equity"]))
    assert outcomes[0][1]
    for told, fills, equity in outcomes[1:]:
        assert told == outcomes[0][0] and fills == outcomes[0][1] and equity == outcomes[0][2]


def test_nothing_is_decided_or_filled_outside_the_session() -> None:
    """Bars before 9:30 and after 16:00, and the last bar's order: none of them trades. Half days end at 13:00."""
    sessions = days_of(2, "2022-11-24")  # Thanksgiving is none; then the half day of the 25th, and Monday
    assert (sessions[0][1] - sessions[0][0]) == 210 * desks.MINUTE
    around = [(a - 30 * desks.MINUTE, b + 30 * desks.MINUTE) for a, b in sessions]
    events = session_bars(around)
    rows = desks.rows('bar("1m", "feed")')
    script = {int(t): (1 if k % 2 else -1) for k, t in enumerate(events["ts_event_ns"])}
    done = desks.run(
        desks.Scripted(script),
        rows,
        events,
        instruments=desks.table(1, calendar="XNYS"),
        settings=Settings(costs=desks.FREE, sizing=ONE),
        bar_ns=desks.MINUTE,
    )
    opens, closes = np.array(sessions).T
    assert len(done.ledger.fills) > 500
    for f in done.ledger.fills:
        day = np.searchsorted(opens, f.filled_ns, side="right") - 1
        assert opens[day] <= f.filled_ns < closes[day] and opens[day] < f.decided_ns <= closes[day]
    assert done.reasons["outside_session"] == 120
    assert done.desk.counts["expired"] >= 1  # the order of a session's last bar finds no open before the bell


def test_auctions_and_unsized_quotes_are_counted() -> None:
    ts = START + SECOND * np.arange(4)
    events = desks.quotes(ts, 100.0, 100.1, qty=2.0)
    script = {int(ts[0]): 1}
    settings = Settings(costs=desks.FREE, sizing=Sizing(qty=5.0))
    assert (
        desks.run(desks.Scripted(script), desks.rows(), events, settings=settings).desk.counts["beyond_displayed"] == 1
    )
    events["flags"] |= np.uint16(Flag.NO_QTY)
    assert (
        desks.run(desks.Scripted(script), desks.rows(), events, settings=settings).desk.counts["beyond_displayed"] == 0
    )


@pytest.mark.parametrize("cuts", [[], [780], [781, 900]])
def test_missing_sessions_earn_nothing_unless_that_is_asked_for(tmp_path: Path, cuts: list[int]) -> None:
    """A summer that the file lacks: what a position would have made of it is not booked; carried, it is told apart."""
    sessions = [*days_of(2), *days_of(2, "2022-10-03")]
    events = session_bars(sessions)
    events["v"][780:, :4] += 30.0  # what happened in the summer nobody saw
    rows, costs = desks.rows('bar("1m", "feed")'), Costs(spread_bp=10.0)
    more = {"instruments": desks.table(1, calendar="XNYS"), "bar_ns": desks.MINUTE, "cuts": cuts}
    cut = desks.run(
        make("buy_and_hold", {}),
        rows,
        events,
        settings=Settings(costs=costs, sizing=ONE),
        audit=tmp_path / "log",
        **more,
    )
    last = float(events["v"][779, 3])
    bought, ended, again = cut.ledger.fills
    assert ended.px == pytest.approx(last * (1 - 5e-4)) and ended.filled_ns == events["ts_event_ns"][779]
    # the guard does not believe the first time that far ahead; the next one confirms it
    assert (again.decided_index, again.filled_ns) == (781, events["ts_event_ns"][781]) and again.px > last + 20.0
    told = summarise(cut)
    assert told["data"]["missing_days"] == 61 and told["orders"]["cut"] == 1
    assert told["data"]["profit_across_missing_days"] == pytest.approx(ended.px - last)  # what ending it cost
    own = (ended.px - bought.px) + (float(events["v"][-1, 3]) - again.px)
    assert cut.ledger.account.profit == pytest.approx(own)
    assert recount(tmp_path / "log")["worst"] < 1e-12
    carried = desks.run(
        make("buy_and_hold", {}), rows, events, settings=Settings(costs=costs, sizing=ONE, carry=True), **more
    )
    assert len(carried.ledger.fills) == 1
    told = summarise(carried)["data"]
    assert told["profit_across_missing_days"] == pytest.approx(30.0, abs=0.5) and abs(told["profit_overnight"]) < 0.5


def test_history_before_the_start_warms_up_and_nothing_more() -> None:
    sessions = days_of(3)
    events = session_bars(sessions)
    start = sessions[1][0]
    settings = Settings(costs=desks.FREE, start_ns=start, stop_ns=sessions[2][0])
    rows = desks.rows('bar("1m", "feed")')
    more = {"instruments": desks.table(1, calendar="XNYS"), "settings": settings, "bar_ns": desks.MINUTE}
    done = desks.run(make("random", {"share": 1.0}), rows, events, **more)
    assert done.events == 780 and done.decisions == 390 and len(done.curve.days) == 1
    assert min(f.decided_ns for f in done.ledger.fills) >= start
    again = desks.run(make("random", {"share": 1.0}), rows, events, cuts=[100, 390, 500], **more)
    assert again.ledger.fills == done.ledger.fills and again.events == done.events


def test_trades_are_prices_only_where_no_quotes_come() -> None:
    """A stream that begins with trades: where quotes follow, nobody is filled at a trade, however the stream is cut."""
    ts = START + SECOND * np.arange(6)
    events = desks.quotes(ts, 100.0, 100.2)
    events["kind"][:3], events["v"][:3] = Kind.TRADE, [90.0, 5.0, 0.0, 0.0, 0.0]
    script = {int(ts[0]): 1, int(ts[3]): 1}
    more = {"settings": Settings(costs=desks.FREE, sizing=ONE)}
    runs = [
        desks.run(desks.Scripted(script), desks.rows("last"), events, cuts=c, trades_price=False, **more)
        for c in ([], [2])
    ]
    assert [[(f.filled_index, f.px) for f in r.ledger.fills] for r in runs] == [[(4, 100.2)]] * 2
    alone = desks.run(desks.Scripted({int(ts[0]): 1}), desks.rows("last"), events[:3], **more)
    assert [(f.filled_index, f.px) for f in alone.ledger.fills] == [(1, 90.0)]


class Peeping(Strategy):
    """Writes down what it can see."""

    name = "peeping"
    every_signal = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, ...]] = []

    def on_start(self, view: Any) -> None:
        self.seen.append(("start", view.symbols, view.equity))

    def on_quote(self, view: Any, symbol: str, event: Any) -> Any:
        self.seen.append(("quote", view.now_ns, symbol, view.price("A"), view.position("A")))
        return Suggestion("A", Grade.BUY) if len(self.seen) == 2 else None

    def on_signal(self, view: Any, signal: Any) -> None:
        self.seen.append(("signal", view.now_ns, signal.grade, signal.ref_px))

    def on_stop(self, view: Any) -> None:
        self.seen.append(("stop", view.equity))


def test_hooks_see_the_present_in_order_and_their_suggestions_are_taken() -> None:
    ts = START + SECOND * np.arange(3)
    strategy = Peeping()
    done = desks.run(
        strategy,
        desks.rows(),
        desks.quotes(ts, [10.0, 11.0, 12.0], [10.0, 11.0, 12.0]),
        settings=Settings(costs=desks.FREE, sizing=ONE),
    )
    assert strategy.seen == [
        ("start", ("A",), 100_000.0),
        ("quote", ts[0], "A", 10.0, 0.0),
        ("signal", ts[0], Grade.HOLD, 10.0),
        ("quote", ts[1], "A", 11.0, 1.0),
        ("signal", ts[1], Grade.HOLD, 11.0),
        ("quote", ts[2], "A", 12.0, 1.0),
        ("signal", ts[2], Grade.HOLD, 12.0),
        ("stop", 100_001.0),
    ]
    assert [f.filled_index for f in done.ledger.fills] == [1]


def test_definitions_of_performance_by_hand() -> None:
    equity = np.array([100.0, 102.0, 101.0, 104.0])
    told = performance(equity, 8)
    r = np.array([0.02, 101 / 102 - 1, 104 / 101 - 1])
    assert told["sharpe"] == pytest.approx(r.mean() / r.std(ddof=1) * 252**0.5)
    assert told["annual_return"] == pytest.approx(1.04 ** (252 / 3) - 1)
    assert told["monthly_return"] == pytest.approx((1 + told["annual_return"]) ** (1 / 12) - 1)
    assert told["fills_per_day"] == 2.0
    day = 86_400 * SECOND
    months = monthly([(int(START + k * 10 * day), 100.0 + k) for k in range(5)], 99.0)
    assert list(months) == ["2023-11", "2023-12"]
    assert np.prod([1 + v for v in months.values()]) == pytest.approx(104.0 / 99.0)


def test_profits_that_no_statistics_can_judge_are_one_sentence() -> None:
    with pytest.raises(DataError, match=r"the profits of 5 intervals, from -1e\+300 to 1, cannot be judged"):
        deflated_sharpe(np.array([1.0, -1e300, 0.5, 0.0, 0.25]), 3, 0.1)
