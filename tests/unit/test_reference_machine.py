"""The oracle's sessions, inputs, other instruments, bars by trades and buckets, on numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import mpmath
import numpy as np
import pytest
from programs import program
from reference import Listing, Row, reference_rows, resets
from reference_sessions import TIMES, Session, is_rth, minutes_to_close, opened, seconds_since_open
from reference_trades import Buckets, ClockBars, size_of_bars

from alpha.errors import DefinitionError, InstrumentError
from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, Flag, Kind, Status
from alpha.features import language
from alpha.features.feature_set import FeatureSet
from alpha.features.operators import OPERATORS

S = 10**9
NAN = math.nan
QUOTE, TRADE, STATUS, TIMER, INPUT = Kind.QUOTE, Kind.TRADE, Kind.STATUS, Kind.TIMER, Kind.INPUT
Told = tuple[float, int, int, tuple[float, ...]]  # seconds, instrument, kind, v


def told(*events: Told, gaps: Sequence[int] = (), no_qty: Sequence[int] = ()) -> np.ndarray:
    out = np.zeros(len(events), EVENT_DTYPE)
    for at, (seconds, instrument, kind, v) in enumerate(events):
        out[at]["ts_event_ns"], out[at]["instrument_id"], out[at]["kind"] = round(seconds * S), instrument, kind
        out[at]["flags"] = Flag.LAST | (Flag.GAP if at in gaps else 0) | (Flag.NO_QTY if at in no_qty else 0)
        out[at]["v"][: len(v)] = v
    return out


def q(seconds: float, mid: float, instrument: int = 0) -> Told:
    return seconds, instrument, QUOTE, (mid, mid, 1.0, 1.0)


def trade(seconds: float, px: float, qty: float, side: float = 0.0, instrument: int = 0) -> Told:
    return seconds, instrument, TRADE, (px, qty, side)


def told_input(seconds: float, series: float, value: float, instrument: int = ALL_INSTRUMENTS) -> Told:
    return seconds, instrument, INPUT, (series, value)


DAY = (Session(10 * S, 20 * S), Session(30 * S, 40 * S, (33 * S, 35 * S)))
A, B = Listing(1.0, 0.5, "A", DAY), Listing(0.01, 0.01, "B", DAY)


def rows(
    features: dict[str, str],
    events: np.ndarray,
    listings: Sequence[Listing] = (A,),
    trigger: str = "last",
    breaks: str = "session",
) -> list[Row]:
    fs = FeatureSet.from_dict(
        {"features": features, "trigger": trigger, "stream": {"session_break": breaks, "calendar": "one"}}
    )
    return reference_rows(fs, events, listings)


def values(found: Sequence[Row], feature: int = 0) -> list[float]:
    """NaN as None, so that lists can be compared."""
    return [None if math.isnan(r.values[feature]) else r.values[feature] for r in found]  # type: ignore[misc]


def ready(found: Sequence[Row], feature: int = 0) -> list[bool]:
    return [r.ready[feature] for r in found]


# Rule 49


def test_sessions_are_counted_by_their_opens() -> None:
    times = [9 * S, 10 * S, 20 * S, 25 * S, 30 * S, 41 * S]
    assert [opened(DAY, t, False) for t in times] == [0, 1, 1, 1, 2, 2]
    assert [opened(DAY, t, True) for t in times] == [0, 0, 1, 1, 1, 2]


def test_a_break_starts_again_what_resets() -> None:
    events = told(q(12, 100.0), q(13, 102.0), q(31, 110.0), q(32, 112.0))
    features = {"m": "mean(mid, 2)", "never": 'mean(mid, 2, reset="never")', "first": "first(mid)"}
    found = rows(features, events)
    assert values(found, 0) == [None, 101.0, None, 111.0] and ready(found, 0) == [False, True, False, True]
    assert values(found, 1) == [None, 101.0, 106.0, 111.0] and ready(found, 1) == [False, True, True, True]
    assert values(found, 2) == [100.0, 100.0, 110.0, 110.0]
    assert values(rows(features, events, breaks="none"), 0) == [None, 101.0, 106.0, 111.0]


def test_the_first_open_is_a_break_and_the_close_is_none() -> None:
    found = rows({"f": "first(mid)"}, told(q(5, 1.0), q(10, 2.0), q(20, 3.0), q(25, 4.0), q(30, 5.0)))
    assert values(found) == [1.0, 2.0, 2.0, 2.0, 5.0]


@pytest.mark.parametrize(
    ("code", "first"), [(Status.OPEN, 3.0), (Status.RESUME, 3.0), (Status.HALT, 1.0), (Status.CLOSE, 1.0)]
)
def test_a_resumed_instrument_starts_again(code: Status, first: float) -> None:
    events = told(q(11, 1.0), q(12, 2.0), (13, 0, STATUS, (float(code),)), q(14, 3.0))
    assert values(rows({"f": "first(mid)"}, events)) == [1.0, 1.0, first]


def test_a_late_status_to_all_is_a_break_at_each_one_s_own_time() -> None:
    events = told(
        q(12, 1.0), q(14, 2.0, 1), (13, ALL_INSTRUMENTS, STATUS, (float(Status.RESUME),)), q(14, 3.0), q(15, 4.0, 1)
    )
    assert values(rows({"f": "first(mid)"}, events, (A, B))) == [1.0, 2.0, 3.0, 4.0]


def test_sources_are_unknown_after_a_break() -> None:
    events = told(q(12, 100.0), trade(13, 100.0, 2.0), trade(31, 101.0, 3.0), q(32, 100.5), trade(33, 100.0, 1.0))
    found = rows({"mid": "mid", "sum": "mid + px", "b": "where(px > 0, 1, mid)"}, events)
    assert values(found, 0) == [100.0, 100.0, None, 100.5, 100.5] and ready(found, 0) == [True, True, False, True, True]
    assert values(found, 1) == [None, 200.0, None, 201.5, 200.5] and ready(found, 1) == [False, True, False, True, True]
    assert values(found, 2) == [None, 1.0, 1.0, 1.0, 1.0] and ready(found, 2) == [False, True, False, True, True]


def test_the_trade_sign_forgets_the_mid_and_the_tick() -> None:
    events = told(q(12, 100.0), trade(13, 101.0, 1.0), trade(31, 99.0, 1.0), trade(32, 98.0, 1.0), trade(32, 98.0, 1.0))
    assert values(rows({"s": "trade_sign"}, events, trigger="trade")) == [1.0, 0.0, -1.0, -1.0]
    assert values(rows({"s": "trade_sign"}, events, trigger="trade", breaks="none")) == [1.0, -1.0, -1.0, -1.0]


def test_order_flow_forgets_the_quote_before() -> None:
    events = told(q(12, 100.0), q(13, 101.0), q(31, 102.0), q(32, 103.0))
    found = rows({"o": "ofi"}, events)
    assert values(found) == [None, 2.0, None, 2.0] and ready(found) == [False, True, False, True]


def test_bars_run_through_a_break_and_so_does_what_looks_at_them() -> None:
    events = told(*(trade(t, float(t), 1.0) for t in (28, 29, 31, 33, 34)))
    bar = 'bar("4s", "trade")'
    found = rows({"o": f"{bar}.open", "m": f"first({bar}.open)", "r": f'first({bar}.open, reset="session")'}, events)
    assert values(found, 0) == [None, None, None, 28.0, 28.0]  # [28, 32), across the open at 30
    two = told(*(trade(t, float(t), 1.0) for t in (12, 17, 18, 29, 31, 37)))
    found = rows({"m": f"first({bar}.open)", "r": f'first({bar}.open, reset="session")'}, two)
    assert values(found, 0) == [None, 12.0, 12.0, 12.0, 12.0, 12.0]
    assert values(found, 1) == [None, 12.0, 12.0, 12.0, None, 29.0]


def test_a_bar_that_ends_at_the_open_belongs_to_what_it_closed() -> None:
    """k counts opens before t in sets that a bar triggers, at or before t in others."""
    bars = [(t, 0, Kind.BAR, (1.0, 1.0, 1.0, float(t), 1.0)) for t in (12, 20, 30, 31)]
    feature = {"f": 'first(bar("1s", "feed").close, reset="session")'}
    assert values(rows(feature, told(*bars), trigger='bar("1s", "feed")')) == [12.0, 12.0, 12.0, 31.0]
    assert values(rows(feature, told(*bars), trigger="last")) == [12.0, 12.0, 30.0, 30.0]


def test_readiness_counts_from_the_later_of_gap_and_break() -> None:
    events = told(q(12, 1.0), q(13, 2.0), q(14, 3.0), q(31, 4.0), q(32, 5.0), q(33, 6.0), gaps=(1, 4))
    found = rows({"m": "mean(mid, 2)", "n": 'mean(mid, 2, reset="never")'}, events)
    assert ready(found, 0) == [False, False, True, False, False, True]
    assert ready(found, 1) == [False, False, True, True, False, True]
    assert values(found, 0) == [None, 1.5, 2.5, None, 4.5, 5.5]


def test_the_row_of_a_clock_is_made_before_the_break() -> None:
    found = rows(
        {"f": "first(mid)", "s": "seconds_since_open"}, told(q(12, 1.0), q(34, 5.0), q(41, 6.0)), trigger='every("10s")'
    )
    assert [(r.ts_ns // S, r.values[0]) for r in found] == [(20, 1.0), (40, 5.0)]
    assert values(found, 1) == [10.0, 10.0]


def test_what_resets_is_what_the_language_says() -> None:
    for op in OPERATORS.values():
        e = language.parse(op.example)
        assert resets(e) == language.resets(e), op.name
    for seed in range(200):
        for e in program(np.random.default_rng(seed)).features.values():
            assert resets(e) == language.resets(e), str(e)


# Rule 50


def test_seconds_and_minutes_of_a_session() -> None:
    assert seconds_since_open(DAY, 10 * S, False) == 0.0 and seconds_since_open(DAY, 20 * S, False) == 10.0
    assert minutes_to_close(DAY, 14 * S, False) == 0.1 and minutes_to_close(DAY, 20 * S, False) == 0.0
    for t in (9 * S, 20 * S + 1, 40 * S + 1):
        assert math.isnan(seconds_since_open(DAY, t, False)) and math.isnan(minutes_to_close(DAY, t, True))
    assert math.isnan(seconds_since_open(DAY, 10 * S, True)) and math.isnan(seconds_since_open(DAY, 30 * S, True))
    touching = (Session(0, 10 * S), Session(10 * S, 20 * S))
    assert seconds_since_open(touching, 10 * S, False) == 0.0 and seconds_since_open(touching, 10 * S, True) == 10.0


def test_regular_hours_are_half_open() -> None:
    at = [9, 10, 19, 20, 25, 30, 33, 34, 35, 39, 40, 41]
    assert [is_rth(DAY, t * S, False) for t in at] == [0, 1, 1, 0, 0, 1, 0, 0, 1, 1, 0, 0]
    assert [is_rth(DAY, t * S, True) for t in at] == [0, 0, 1, 1, 0, 0, 1, 0, 0, 1, 1, 0]


def test_the_time_of_day_is_a_sine() -> None:
    day = 86_400 * S
    hours = {0: (0.0, 1.0), 6: (1.0, 0.0), 12: (0.0, -1.0), 18: (-1.0, 0.0)}
    for hour, (sine, cosine) in hours.items():
        for t in (hour * 3600 * S, hour * 3600 * S - 7 * day):
            found = TIMES["sin_day"]((), t, False), TIMES["cos_day"]((), t, False)
            assert found == (sine, cosine) and math.copysign(1.0, min(found, key=abs)) == 1.0
    with mpmath.workdps(40):
        for t in np.random.default_rng(1).integers(-(10**18), 2 * 10**18, 300).tolist():
            angle = 2 * mpmath.pi * (t % day) / day
            for name, exact in (("sin_day", mpmath.sin(angle)), ("cos_day", mpmath.cos(angle))):
                assert abs(TIMES[name]((), t, False) - exact) < 1.1e-15, t  # x^16/16! is what is left of the cosine


def test_time_is_read_when_it_is_taken_in() -> None:
    events = told(
        q(12, 100.0), (13, 0, TIMER, ()), q(15, 100.0), (16, 0, Kind.STATUS, (float(Status.LOST),)), q(17, 1.0)
    )
    found = rows({"s": "seconds_since_open", "sum": "sum(seconds_since_open + 0*mid, 2)"}, events)
    assert values(found, 0) == [2.0, 5.0, 7.0] and ready(found, 0) == [True, True, True]
    assert values(found, 1) == [None, 7.0, 12.0]


# Rule 51


def test_of_is_what_came_before_by_arrival() -> None:
    events = told(q(12, 1.0, 1), q(11, 10.0), q(13, 2.0, 1), q(12, 20.0), q(15, 3.0, 1))
    found = rows({"b": 'of("B", mid)', "a": 'of("A", mid)'}, events, (A, B))
    assert values(found, 0) == [1.0, 1.0, 2.0, 2.0, 3.0]
    assert values(found, 1) == [None, 10.0, 10.0, 20.0, 20.0]
    assert ready(found, 1) == [False, True, True, True, True]


def test_of_is_the_value_as_of_its_last_update() -> None:
    """Eviction over there does not show; neither does what never became warm."""
    events = told(q(12, 1.0, 1), q(13, 3.0, 1), q(13.5, 10.0), q(16, 10.0), q(16, 5.0, 1), q(17, 10.0))
    found = rows({"n": 'of("B", count(mid, "2s"))', "m": 'of("B", mean(mid, 3))'}, events, (A, B))
    assert values(found, 0) == [None, None, None, None, 1.0, 1.0] and ready(found, 0)[-1]
    assert values(found, 1) == [None, None, None, None, 3.0, 3.0]


def test_a_gap_over_there_makes_of_unready_until_the_next_ready_update() -> None:
    events = told(
        q(12, 1.0, 1), q(13, 3.0, 1), q(13, 9.0), q(14, 4.0, 1), q(14, 9.0), q(15, 6.0, 1), q(15, 9.0), gaps=(2, 3)
    )
    found = [r for r in rows({"m": 'of("B", mean(mid, 2))', "x": 'of("B", mid)'}, events, (A, B)) if r.instrument == 0]
    assert values(found) == [2.0, 3.5, 5.0] and ready(found) == [True, False, True]  # its own gap counts for nothing
    assert ready(found, 1) == [True, True, True]
    lost = told(q(12, 1.0, 1), (13, 1, STATUS, (float(Status.LOST),)), q(13, 9.0))
    found = rows({"x": 'of("B", mid)'}, lost, (A, B))
    assert values(found) == [1.0, 1.0] and ready(found) == [True, False]


def test_a_break_over_there_clears_of_if_it_resets() -> None:
    other = Listing(1.0, 1.0, "B", (Session(25 * S, 50 * S),))
    events = told(q(24, 1.0, 1), (26, 1, TIMER, ()), q(26, 9.0), q(27, 2.0, 1), q(31, 9.0))
    features = {"x": 'of("B", mid)', "n": 'of("B", first(mid, reset="never"))'}
    found = [r for r in rows(features, events, (A, other)) if r.instrument == 0]
    assert values(found, 0) == [None, 2.0] and ready(found, 0) == [False, True]
    assert values(found, 1) == [1.0, 1.0] and ready(found, 1) == [True, True]


def test_of_updates_nobody() -> None:
    events = told(q(12, 1.0), q(12, 5.0, 1), q(13, 6.0, 1), q(14, 1.0), q(15, 7.0, 1))
    found = rows({"s": 'sum(of("B", mid) + 0*mid, 2)', "c": 'count(of("B", mid) + 0*mid, "1ns")'}, events, (A, B))
    assert values([r for r in found if r.instrument == 0]) == [None, None]
    assert [r.values[0] for r in found if r.instrument == 1][-1] == 13.0  # of itself, the present one too


def test_to_all_reaches_one_after_the_other() -> None:
    """A reads B before the event, B reads A after it."""
    events = told(told_input(12, 0, 7.0), q(13, 1.0), q(13, 1.0, 1), told_input(14, 0, 8.0))
    features = {"a": 'cumsum(of("A", input("x")) + 0*input("x"))', "b": 'cumsum(of("B", input("x")) + 0*input("x"))'}
    found = rows(
        features,
        told(
            *((e["ts_event_ns"] / S, int(e["instrument_id"]), int(e["kind"]), tuple(e["v"])) for e in events),
            q(15, 1.0),
            q(15, 1.0, 1),
        ),
        (A, B),
    )
    assert values([r for r in found if r.instrument == 0], 1) == [None, 7.0]
    assert values([r for r in found if r.instrument == 1], 0) == [7.0, 15.0]


def test_an_unknown_symbol_is_refused() -> None:
    with pytest.raises(DefinitionError, match="ES"):
        rows({"x": 'of("ES", mid)'}, told(q(12, 1.0)), (A, B))


# Rule 52


def test_inputs_by_place_in_the_alphabet() -> None:
    features = {"z": 'input("zinc")', "a": 'input("alum")', "c": 'cumsum(input("alum"))'}
    events = told(
        told_input(12, 1, 5.0), told_input(12, 0, 7.0, 0), told_input(12, 2, 9.0), told_input(12, 0.5, 9.0), q(12, 1.0)
    )
    found = rows(
        features,
        told(
            *[(12, int(e["instrument_id"]), int(e["kind"]), tuple(e["v"])) for e in events],
            told_input(12, 0, 7.0),
            q(13, 1.0),
        ),
    )
    assert values(found, 0) == [5.0, 5.0] and values(found, 1) == [7.0, 7.0] and values(found, 2) == [7.0, 14.0]


def test_an_input_lasts_through_gaps_and_sessions_but_not_for_ever() -> None:
    features = {
        "x": 'input("x")',
        "aged": 'input("x", max_age="3s")',
        "n": 'count(input("x", max_age="3s") + 0*mid, 3)',
    }
    events = told(told_input(28, 0, 5.0), q(29, 1.0), q(31, 1.0), q(31 + 1e-9, 1.0), q(35, 1.0), gaps=(2,))
    found = rows(features, events, breaks="none")
    assert values(found, 0) == [5.0] * 4 and ready(found, 0) == [True] * 4
    assert values(found, 1) == [5.0, 5.0, None, None] and ready(found, 1) == [True] * 4
    assert values(found, 2) == [None, None, None, None]  # two of them only were finite
    assert values(rows(features, events), 0) == [5.0] * 4


def test_a_late_input_happens_at_each_one_s_own_time() -> None:
    events = told(q(15, 1.0), told_input(12, 0, 5.0), q(17, 1.0), q(18, 1.0), q(18 + 1e-9, 1.0))
    assert values(rows({"x": 'input("x", max_age="3s")'}, events)) == [None, 5.0, 5.0, None]


# Rule 53


def test_a_tick_bar_counts_every_trade() -> None:
    events = told(*(trade(12 + i, 100.0 + i, 1.0 + i) for i in range(5)), no_qty=(3,))
    fields = ("open", "high", "low", "close", "volume", "vwap", "count")
    found = rows({name: f"tick_bar(2).{name}" for name in fields}, events)
    assert [values(found, j)[1] for j in range(7)] == [100.0, 101.0, 100.0, 101.0, 3.0, (200 + 404) / 3 * 0.5, 2.0]
    assert [values(found, j)[3] for j in range(7)] == [102.0, 103.0, 102.0, 103.0, 3.0, (200 + 404) / 3 * 0.5, 2.0]
    triggered = rows({"c": "tick_bar(2).close", "p": "px"}, events, trigger="tick_bar(2)")
    assert [(r.index, r.values) for r in triggered] == [(1, (101.0, 101.0)), (3, (103.0, 103.0))]


def test_a_volume_bar_closes_when_the_quotient_rises() -> None:
    events = told(*(trade(12 + i, 100.0, qty) for i, qty in enumerate([3.0, 1.0, 9.0, 1.0, 1.0, 4.0])))
    found = rows({"v": "volume_bar(5).volume", "n": "volume_bar(5).count"}, events, trigger="volume_bar(5)")
    # C: 3 4 13 14 15 19; the third trade fills two at once and closes one bar
    assert [(r.index, r.values) for r in found] == [(2, (13.0, 3.0)), (4, (2.0, 2.0))]


def test_a_dollar_bar_counts_ticks_times_lots() -> None:
    assert size_of_bars("dollar_bar", 1000.0, 0.5, 1.0) == 2000 and size_of_bars("dollar_bar", 1e-9, 0.5, 1.0) == 1
    assert size_of_bars("volume_bar", 2.5, 0.5, 1.0) == 2 and size_of_bars("tick_bar", 7.0, 0.0, 0.0) == 7
    events = told(*(trade(12 + i, px, 2.0) for i, px in enumerate([100.0, 200.0, 150.0, 50.0])))
    found = rows({"w": "dollar_bar(600).vwap", "n": "dollar_bar(600).count"}, events, trigger="dollar_bar(600)")
    assert [(r.index, r.values) for r in found] == [(1, (150.0, 2.0))]  # 400, 800, then 1100, 1199.…
    more = rows(
        {"w": "dollar_bar(600).vwap"}, told(*(trade(12, 100.0, 2.0) for _ in range(6))), trigger="dollar_bar(600)"
    )
    assert [r.index for r in more] == [2, 5]


def test_trades_that_do_not_count() -> None:
    bars = ClockBars("volume_bar", 10)
    assert bars.trade(1.0, None, 0.5, 1.0) is None and bars.trade(1.0, 2.0**62, 0.5, 1.0) is None and bars.total == 0
    closed = bars.trade(1.0, 10.0, 0.5, 1.0)
    assert closed is not None and not closed.sizes_known and len(closed.prices) == 3
    assert set(closed.leaves("b", 0.5, 1.0, True)) == {"b.open", "b.high", "b.low", "b.close", "b.count"}
    dear = ClockBars("tick_bar", 1).trade(2.0**40, 2.0**22, 0.5, 1.0)
    assert dear is not None and not dear.sizes_known
    for px, qty, there in ((0.5, 2.0**61, set()), (1.0, 2.0**60, {"b.volume"}), (0.5, 2.0**60, {"b.volume", "b.vwap"})):
        two = ClockBars("tick_bar", 2)
        assert two.trade(px, qty, 0.5, 1.0) is None and (full := two.trade(px, qty, 0.5, 1.0)) is not None
        assert full.leaves("b", 0.5, 1.0, True).keys() & {"b.volume", "b.vwap"} == there
    empty = ClockBars("tick_bar", 1).trade(1.0, 0.0, 0.5, 1.0)
    assert empty is not None and math.isnan(empty.leaves("b", 0.5, 1.0, True)["b.vwap"])
    assert empty.leaves("b", 0.5, 1.0, True)["b.volume"] == 0.0


def test_time_bars_have_the_new_fields_too() -> None:
    events = told(trade(12, 10.0, 1.0), trade(12.5, 20.0, 3.0), q(12.5, 1.0), q(12.7, 2.0), q(13, 1.0))
    features = {f"{s}{x}": f'bar("1s", "{s}").{x}' for s in ("trade", "mid") for x in ("vwap", "count")}
    assert [values(rows(features, events), j)[-1] for j in range(4)] == [17.5, 2.0, None, 2.0]
    unknown = rows(features, events, (Listing(symbol="A", sessions=DAY),))
    assert [values(unknown, j)[-1] for j in range(4)] == [None, 2.0, None, 2.0]


def test_sizes_must_be_known() -> None:
    for feature in ("volume_bar(5).close", "dollar_bar(5).close", "vpin(5, 2)"):
        with pytest.raises(InstrumentError, match="needs the lot size or tick size of X"):
            rows({"x": feature}, told(q(12, 1.0)), (Listing(symbol="X", sessions=DAY),))
    with pytest.raises(InstrumentError, match="needs"):
        rows({"x": "dollar_bar(5).close"}, told(q(12, 1.0)), (Listing(lot=1.0, symbol="X", sessions=DAY),))
    elsewhere = rows(
        {"x": 'of("A", vpin(1, 1))'}, told(trade(12, 1.0, 1.0, 1.0), q(13, 1.0, 1)), (A, Listing(symbol="X"))
    )
    assert values(elsewhere) == [1.0, 1.0]
    assert len(rows({"x": "tick_bar(5).close"}, told(q(12, 1.0)), (Listing(symbol="X", sessions=DAY),))) == 1


# Rule 54


def test_vpin_splits_trades_at_the_edges() -> None:
    buckets = Buckets(10, 2)
    assert [buckets.trade(lots, sign) for lots, sign in [(6, 1.0), (7, -1.0), (7, 1.0), (25, 1.0)]] == [
        False,
        True,
        True,
        True,
    ]
    # 6 − 4 = 2 | −3 + 7 = 4 | 10 | 10 | 5 …
    assert [buckets.net(k) for k in range(4)] == [2, 4, 10, 10] and buckets.filled == 4 and buckets.value() == 1.0
    fresh = Buckets(10, 2)
    for lots, sign in [(6, 1.0), (7, -1.0), (7, 1.0)]:
        fresh.trade(lots, sign)
    assert fresh.value() == 6 / 20


def test_vpin_in_a_stream() -> None:
    trades = [(6.0, 1.0), (7.0, -1.0), (7.0, 1.0), (4.0, 0.0), (25.0, 1.0), (3.0, 1.0)]
    events = told(*(trade(12 + i, 100.0, qty, side) for i, (qty, side) in enumerate(trades)))
    found = rows({"v": "vpin(10, 2)", "n": "count(vpin(10, 2), 2)"}, events)
    # without mid and tick an unknown side is 0: the bucket holds 4 lots of nothing and 6 bought
    assert values(found) == [None, None, 0.3, 0.3, 0.8, 1.0] and ready(found) == [False, False, True, True, True, True]
    assert values(found, 1) == [None, None, None, None, 2.0, 2.0]


def test_vpin_through_gaps_breaks_and_trades_without_sizes() -> None:
    events = told(
        *(trade(t, 100.0, 6.0, 1.0) for t in (11, 12, 13, 14, 15, 16, 31, 32, 33, 34)), gaps=(3,), no_qty=(2,)
    )
    found = rows({"v": "vpin(10, 2)", "never": 'vpin(10, 2, reset="never")'}, events)
    # 6 12 . 18 24 30 | 6 12 18 24: the gap before 18; of the bucket that was begun the rest counts
    assert values(found) == [None, None, None, None, 1.0, 1.0, None, None, None, 1.0]
    assert ready(found) == [False] * 5 + [True] + [False] * 3 + [True]
    assert values(found, 1)[-4:] == [1.0] * 4 and ready(found, 1) == [False] * 5 + [True] * 5
