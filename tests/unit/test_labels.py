"""Labels: the price one horizon later, beyond what it costs to act; nothing after that is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha.events import EVENT_DTYPE, Flag, Kind
from alpha.features.feature_set import FeatureSet
from alpha.instruments import Instruments
from alpha_training import labels, snapshot
from alpha_training.labels import BUY, HOLD, SELL, classes, forward_return
from alpha_training.recipe import Labels

T0 = 1_767_225_600 * 10**9
SECOND = 10**9


def test_forward_return_by_hand() -> None:
    ts = np.array([0, 10, 20, 25, 40], dtype=np.int64)
    price = np.array([100.0, 101.0, 102.0, 103.0, 104.0])
    forward, known = forward_return(ts, price, 15)
    # at 15 the price is that of row 1; at 25 of row 3; at 35 still of row 3; at 40 of row 4; 55 is never reached
    assert forward[:4] == pytest.approx([101 / 100 - 1, 103 / 101 - 1, 103 / 102 - 1, 104 / 103 - 1])
    assert known.tolist() == [True, True, True, True, False]


def test_of_equal_times_the_last_counts_and_a_later_row_never() -> None:
    ts = np.array([0, 5, 5, 6], dtype=np.int64)
    forward, known = forward_return(ts, np.array([1.0, 2.0, 3.0, 99.0]), 5)
    assert forward[0] == 2.0
    assert known.tolist() == [True, False, False, False]


def test_prices_that_give_no_return_are_unknown() -> None:
    ts = np.arange(4, dtype=np.int64)
    _, known = forward_return(ts, np.array([0.0, np.nan, 2.0, 2.0]), 1)
    assert known.tolist() == [False, False, True, False]
    empty = forward_return(np.zeros(0, np.int64), np.zeros(0), 1)
    assert len(empty[0]) == len(empty[1]) == 0


@given(
    st.lists(st.tuples(st.integers(0, 6), st.floats(1.0, 200.0)), min_size=1, max_size=60),
    st.integers(0, 20),
)
def test_against_a_loop(steps: list[tuple[int, float]], horizon: int) -> None:
    ts = np.cumsum([s[0] for s in steps]).astype(np.int64)
    price = np.array([s[1] for s in steps])
    forward, known = forward_return(ts, price, horizon)
    for i in range(len(ts)):
        seen = [price[j] for j in range(len(ts)) if ts[j] <= ts[i] + horizon]
        assert known[i] == (ts[i] + horizon <= ts[-1])
        assert forward[i] == seen[-1] / price[i] - 1.0


def test_the_edges_of_the_dead_band_are_hold() -> None:
    forward = np.array([0.2, 0.1, 0.05, 0.0, -0.05, -0.1, -0.2])
    assert classes(forward, np.full(7, 0.1)).tolist() == [BUY, HOLD, HOLD, HOLD, HOLD, HOLD, SELL]
    assert classes(np.array([1e-9, 0.0, -1e-9]), np.zeros(3)).tolist() == [BUY, HOLD, SELL]


def quotes(*rows: tuple[int, int, float, float]) -> np.ndarray:
    """(ns after T0, instrument, bid, ask)."""
    e = np.zeros(len(rows), EVENT_DTYPE)
    for i, (t, who, bid, ask) in enumerate(rows):
        e[i]["ts_event_ns"], e[i]["instrument_id"], e[i]["kind"] = T0 + t, who, Kind.QUOTE
        e[i]["flags"] = Flag.LAST
        e[i]["v"] = (bid, ask, 5.0, 7.0, 0.0)
    return e


def labelled(events: np.ndarray, symbols: int = 1, **spec: Any) -> tuple[labels.Labelled, snapshot.Snapshot]:
    fs = FeatureSet.from_dict({"trigger": "quote", "features": {"imbalance": "imbalance"}}, name="one")
    table = Instruments.of(*(f"S{i}" for i in range(symbols)))
    source = snapshot.Source(events, table, "", True, None, "")
    snap = snapshot.make(fs, source)
    return labels.make(Labels(**{"horizon": "1s", **spec}), fs, snap, source), snap


def test_the_band_is_what_it_costs_to_act() -> None:
    """mid 100, spread 0.2: half of it is 10 bp; the fee comes on top."""
    events = quotes((0, 0, 99.9, 100.1), (SECOND, 0, 100.05, 100.25), (2 * SECOND, 0, 100.05, 100.25))
    # the mid rises by 15 bp over the first second
    for changes, expected in (
        ({}, BUY),
        ({"fee_bp": 6.0}, HOLD),
        ({"half_spreads": 2.0}, HOLD),
        ({"half_spreads": 0.0, "fee_bp": 14.0}, BUY),
    ):
        made, _ = labelled(events, **changes)
        assert made.y[0] == expected, changes
        assert made.forward[0] == pytest.approx(0.0015, rel=1e-9)
        assert made.known.tolist() == [True, True, False]
        assert made.end_ns.tolist() == [T0 + SECOND, T0 + 2 * SECOND, T0 + 3 * SECOND]


def test_instruments_do_not_see_each_other() -> None:
    """The last quote of all before t + 1 s belongs each time to the other instrument."""
    ms = SECOND // 1000
    events = quotes(
        (0, 0, 99.0, 101.0),
        (1 * ms, 1, 9.99, 10.01),
        (900 * ms, 1, 8.99, 9.01),
        (950 * ms, 0, 109.0, 111.0),
        (1000 * ms, 1, 7.99, 8.01),  # the last before 0 + 1 s is this; of instrument 0 it is the one above
        (1001 * ms, 0, 119.0, 121.0),  # the last before 1 ms + 1 s
        (1100 * ms, 1, 6.99, 7.01),
        (1200 * ms, 0, 129.0, 131.0),
    )
    made, snap = labelled(events, symbols=2, half_spreads=0.0)
    first = {int(i): int(np.flatnonzero(snap.instrument_id == i)[0]) for i in (0, 1)}
    assert made.forward[first[0]] == pytest.approx(110 / 100 - 1)
    assert made.forward[first[1]] == pytest.approx(8 / 10 - 1)
    assert made.y[[first[0], first[1]]].tolist() == [BUY, SELL]
    # 1.1 s is the last word on instrument 1: its row at 900 ms would need 1.9 s
    assert made.known[first[0]] and made.known[first[1]]
    assert not made.known[2]


def test_large_prices_keep_their_digits() -> None:
    """float32 would round 61,234.56 to 4e-3: a return of 1.6e-7 would vanish."""
    events = quotes((0, 0, 61_234.55, 61_234.57), (SECOND, 0, 61_234.56, 61_234.58))
    made, _ = labelled(events, half_spreads=0.0)
    assert made.forward[0] == pytest.approx(0.01 / 61_234.56, rel=1e-6)
    assert made.y[0] == BUY


def test_what_comes_after_the_horizon_changes_no_label() -> None:
    rng = np.random.default_rng(3)
    n = 400
    t = np.cumsum(rng.integers(1, SECOND // 10, n))
    mid = 100.0 + np.cumsum(rng.normal(0, 0.01, n))
    rows = [(int(t[i]), 0, float(mid[i] - 0.01), float(mid[i] + 0.01)) for i in range(n)]
    half = n // 2
    full, _ = labelled(quotes(*rows))
    other = [r if i < half else (r[0], 0, r[2] + 1.0, r[3] + 1.0) for i, r in enumerate(rows)]
    changed, _ = labelled(quotes(*other))
    settled = full.end_ns < T0 + rows[half][0]
    assert 100 < np.count_nonzero(settled) < half
    assert np.array_equal(full.y[settled], changed.y[settled])
    assert np.array_equal(full.forward[settled], changed.forward[settled])
    pending = ~settled & (np.arange(n) < half)  # their horizon reaches into what was changed
    assert np.count_nonzero(pending) > 5
    assert (full.forward[pending] != changed.forward[pending]).all()


# -- horizons in rows, barriers, signs and volatility


def bars_of(*prices: float, step: int = SECOND) -> np.ndarray:
    """Quotes a step apart around these mids, 0.2 wide."""
    return quotes(*((i * step, 0, p - 0.1, p + 0.1) for i, p in enumerate(prices)))


def test_a_horizon_of_rows_counts_rows() -> None:
    made, _ = labelled(bars_of(100, 101, 103, 102, 99), horizon=2, half_spreads=0.0)
    assert made.forward[:3] == pytest.approx([0.03, 102 / 101 - 1, 99 / 103 - 1])
    assert made.known.tolist() == [True, True, True, False, False]
    assert made.end_ns[:3].tolist() == [T0 + 2 * SECOND, T0 + 3 * SECOND, T0 + 4 * SECOND]
    assert made.y[:3].tolist() == [BUY, BUY, SELL]


def test_the_first_barrier_touched_decides_and_ends_the_label() -> None:
    prices = (100, 100.5, 101.2, 90, 100, 100.2, 100.1)
    made, _ = labelled(bars_of(*prices), kind="triple_barrier", horizon=3, half_spreads=0.0, fee_bp=100.0)
    # barriers at +-1 %: row 0 touches the upper one at row 2, before it falls; row 1 the lower one at row 3
    assert made.y[:4].tolist() == [BUY, SELL, SELL, BUY]
    assert made.end_ns[:4].tolist() == [T0 + i * SECOND for i in (2, 3, 3, 4)]
    assert made.forward[0] == pytest.approx(0.012)
    wide, _ = labelled(bars_of(*prices), kind="triple_barrier", horizon=3, fee_bp=5000.0)
    assert (wide.y == HOLD).all() and wide.end_ns[0] == T0 + 3 * SECOND
    own, _ = labelled(bars_of(*prices), kind="triple_barrier", horizon=3, barrier="0.004 + 0.0*mid/mid", take=2.0)
    assert (own.y[0], own.end_ns[0]) == (BUY, T0 + 2 * SECOND)


@given(st.lists(st.floats(90.0, 110.0), min_size=2, max_size=40), st.integers(1, 9), st.floats(0.001, 0.05))
def test_barriers_against_a_loop(prices: list[float], horizon: int, width: float) -> None:
    price = np.array(prices)
    n = len(price)
    last = np.minimum(np.arange(n) + horizon, n - 1)
    y, where = labels.first_touch(price, last, price * (1 + width), price * (1 - width))
    for i in range(n):
        expected = (HOLD, int(last[i]))
        for j in range(int(last[i]), i, -1):
            if price[j] >= price[i] * (1 + width):
                expected = (BUY, j)
            elif price[j] <= price[i] * (1 - width):
                expected = (SELL, j)
        assert (y[i], where[i]) == expected


def test_the_sign_of_the_next_row() -> None:
    made, _ = labelled(bars_of(100, 101, 101, 100), kind="next_bar_sign", horizon=99)
    assert made.y[:3].tolist() == [BUY, HOLD, SELL]
    assert made.known.tolist() == [True, True, True, False]


def test_volatility_is_of_the_rows_after() -> None:
    prices = (100.0, 101.0, 100.0, 103.0, 103.0)
    made, _ = labelled(bars_of(*prices), kind="volatility", horizon=3)
    steps = np.diff(np.log(prices)) ** 2
    assert made.forward[:2] == pytest.approx([np.sqrt(steps[0:3].sum()), np.sqrt(steps[1:4].sum())])
    assert made.known.tolist() == [True, True, False, False, False]


def test_a_label_that_is_no_number_names_its_key() -> None:
    for spec, words in (
        (
            {"price": "mid/(mid - mid)"},
            r"labels\.price = 'mid/\(mid - mid\)' is not a number at 5 of 5 rows, first at event 0",
        ),
        ({"spread": "spread/(mid - mid)"}, r"labels\.spread"),
        ({"kind": "triple_barrier", "barrier": "spread/(mid - mid)"}, r"labels\.barrier"),
    ):
        with pytest.raises(labels.DataError, match=words):
            labelled(bars_of(100, 101, 102, 101, 100), **spec)
