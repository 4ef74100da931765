"""When and at what price orders are filled: never at a price that was there before the order, and the same however cut."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import desks
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from alpha.backtest.engine import Backtest
from alpha.backtest.latency import LatencySpec
from alpha.backtest.settings import Settings
from alpha.risk.limits import RiskLimits
from alpha.strategies.sizer import Sizing

SECOND = 10**9


@st.composite
def quote_streams(draw: Any) -> tuple[np.ndarray, dict[int, int], int, list[int]]:
    """Quotes with equal times and gaps, grades at some of their times, a latency, cuts."""
    n = draw(st.integers(2, 40))
    gaps = draw(st.lists(st.sampled_from([0, 1, 1000, SECOND, 400 * SECOND]), min_size=n, max_size=n))
    ts = 10**15 + np.cumsum(gaps)
    mid = 100.0 + 0.01 * np.cumsum(draw(st.lists(st.integers(-5, 5), min_size=n, max_size=n)))
    half = 0.01 * np.array(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    events = desks.quotes(ts, mid - half, mid + half)
    script = {int(t): draw(st.sampled_from([-1, 1])) for t in draw(st.lists(st.sampled_from(ts.tolist()), max_size=8))}
    latency = draw(st.sampled_from([0, 1, 999, SECOND, 30 * SECOND]))
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=3)))
    return events, script, latency, cuts


def told(latency_ns: int, **more: Any) -> Settings:
    return Settings(costs=desks.FREE, sizing=Sizing(qty=1.0, min_notional=0.0), latency=LatencySpec(latency_ns), **more)


@given(quote_streams())
@settings(max_examples=150)
def test_a_tick_fill_is_the_first_quote_after_decision_and_latency(case: Any) -> None:
    events, script, latency, cuts = case
    done = desks.run(desks.Scripted(script), desks.rows(), events, settings=told(latency), cuts=cuts)
    ts, v = events["ts_event_ns"], events["v"]
    for f in done.ledger.fills:
        assert f.arrived_ns == f.decided_ns + latency
        assert f.filled_index > f.decided_index and f.filled_ns >= f.decided_ns + latency
        first = next(k for k in range(f.decided_index + 1, len(ts)) if ts[k] >= f.decided_ns + latency)
        assert f.filled_index == first and f.filled_ns == ts[first]
        assert f.px == (v[first, 1] if f.qty > 0 else v[first, 0])  # across the spread
        assert f.spread >= 0.0
    whole = desks.run(desks.Scripted(script), desks.rows(), events, settings=told(latency))
    assert done.ledger.fills == whole.ledger.fills
    assert done.ledger.account.equity == whole.ledger.account.equity
    assert done.desk.counts == whole.desk.counts and done.signals_sha256 == whole.signals_sha256
    assert [(d.index, d.equity) for d in done.curve.days] == [(d.index, d.equity) for d in whole.curve.days]
    assert done.curve.drawdown == whole.curve.drawdown


@st.composite
def bar_streams(draw: Any) -> tuple[np.ndarray, dict[int, int], int, list[int]]:
    n = draw(st.integers(2, 30))
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 2, 3, 60]), min_size=n, max_size=n))
    close_ts = 10**15 // desks.MINUTE * desks.MINUTE + desks.MINUTE * np.cumsum(steps)
    px = 100.0 + np.cumsum(draw(st.lists(st.integers(-5, 5), min_size=2 * n, max_size=2 * n))) * 0.1
    events = desks.bars(close_ts, px[0::2], px[1::2])
    chosen = draw(st.lists(st.sampled_from(close_ts.tolist()), max_size=6))
    script = {int(t): draw(st.sampled_from([-1, 1])) for t in chosen}
    latency = draw(st.sampled_from([0, 500_000, desks.MINUTE - 1, desks.MINUTE, 3 * desks.MINUTE // 2]))
    return events, script, latency, sorted(draw(st.lists(st.integers(0, n), max_size=3)))


@given(bar_streams())
@settings(max_examples=150)
def test_a_bar_fill_is_the_first_open_at_or_after_the_decision(case: Any) -> None:
    events, script, latency, cuts = case
    rows = desks.rows('bar("1m", "feed")')
    done = desks.run(desks.Scripted(script), rows, events, settings=told(latency), cuts=cuts, bar_ns=desks.MINUTE)
    close_ts, v = events["ts_event_ns"], events["v"]
    open_ts = close_ts - desks.MINUTE
    for f in done.ledger.fills:
        not_before = f.decided_ns + (latency if latency >= desks.MINUTE else 0)
        assert f.filled_ns >= f.decided_ns  # no bar that had opened before
        first = next(k for k in range(f.decided_index + 1, len(close_ts)) if open_ts[k] >= not_before)
        assert (f.filled_index, f.filled_ns) == (first, open_ts[first])
        assert f.px == v[first, 0] and f.arrived_ns == f.decided_ns + latency
    whole = desks.run(desks.Scripted(script), rows, events, settings=told(latency), bar_ns=desks.MINUTE)
    assert done.ledger.fills == whole.ledger.fills and done.desk.counts == whole.desk.counts
    assert done.ledger.account.equity == whole.ledger.account.equity


def test_an_order_that_meets_no_price_is_cancelled_and_tried_again() -> None:
    ts = 10**15 + SECOND * np.array([0, 400, 401, 402])
    events = desks.quotes(ts, 100.0, 100.02)
    script = {int(ts[0]): 1, int(ts[1]): 1}
    done = desks.run(desks.Scripted(script), desks.rows(), events, settings=told(0))
    assert done.desk.counts["expired"] == 1  # 400 s are more than the five minutes it waits
    (fill,) = done.ledger.fills
    assert (fill.decided_index, fill.filled_index) == (1, 2)


def test_while_an_order_is_under_way_nothing_else_is_suggested() -> None:
    ts = 10**15 + SECOND * np.arange(6)
    events = desks.quotes(ts, 100.0, 100.02)
    script = {int(ts[0]): 1, int(ts[1]): -1, int(ts[4]): -1}
    done = desks.run(desks.Scripted(script), desks.rows(), events, settings=told(2 * SECOND))
    assert [(f.decided_index, f.filled_index, f.qty) for f in done.ledger.fills] == [(0, 2, 1.0)]
    assert done.desk.counts["in_flight"] == 1 and done.desk.counts["orders"] == 3  # the flip: close and open


def test_a_drawn_latency_is_that_of_the_histogram_and_its_seed() -> None:
    from alpha.backtest.latency import Histogram, Latency
    from alpha.latency import bin_upper_ns

    counts = np.zeros(400, np.uint64)
    counts[[50, 200]] = 3, 1
    histogram = Histogram(counts, 10**9)
    again = Histogram.from_bytes(histogram.to_bytes(), "x")
    assert again.sha256 == histogram.sha256 and (again.counts == counts).all()
    drawn = [Latency(ns, histogram, seed=5).draw() for ns in (1000, 0)]
    assert drawn[0] - 1000 == drawn[1]
    one = Latency(0, histogram, seed=1)
    values, seen = np.unique([one.draw() for _ in range(4000)], return_counts=True)
    assert values.tolist() == bin_upper_ns(400)[[50, 200]].tolist()
    assert abs(seen[0] / 4000 - 0.75) < 0.03
    assert one.describe()["histogram_sha256"] == histogram.sha256 and one.describe()["draws"] == 4000


def every_signal(self: Any, at: np.ndarray, grades: np.ndarray) -> None:
    """The obvious loop: every signal that acts is looked at, in order."""
    i = self._who[0]
    for position, grade in zip(at.tolist(), grades.tolist(), strict=True):
        if grade:
            self._advance(position)
            if self._desk.reached[i] != grade:
                self._desk.suggest(position, i, grade)


@given(quote_streams(), st.data())
def test_skipped_signals_change_nothing(case: Any, data: Any) -> None:
    """Long runs of one grade, with orders under way, expired and blocked in their middle."""
    events, _, latency, cuts = case
    ts = np.unique(events["ts_event_ns"]).tolist()
    runs = data.draw(
        st.lists(st.tuples(st.sampled_from([-2, -1, 0, 1, 2]), st.integers(1, 12)), min_size=1, max_size=9)
    )
    grades = [g for g, n in runs for _ in range(n)]
    script = dict(zip(ts, grades, strict=False))
    limits = RiskLimits(orders_per_s=data.draw(st.sampled_from([None, 1, 2])))
    seen = []
    for loop in (every_signal, Backtest._changes_only):
        with patch.object(Backtest, "_changes_only", loop):
            done = desks.run(
                desks.Scripted(script), desks.rows(), events, settings=told(latency, limits=limits), cuts=cuts
            )
        desk = done.desk
        seen.append((done.ledger.fills, desk.counts, desk.blocked, desk.reached, done.ledger.account.equity))
    assert seen[0] == seen[1]
