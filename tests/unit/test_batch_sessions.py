"""Rules 49 and 50 in the batch twin: what a session break starts again, and the time of day; counted by hand."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from byhand import NAN, STATUS, TIMER, B, Q, S, T, column, detail, events, made_calendars, same, table

from alpha.errors import DataError, DefinitionError
from alpha.events import Flag, Status
from alpha.features import batch
from alpha.features._batch_sessions import time_of_day
from alpha.features.feature_set import FeatureSet

CUT = {"session_break": "session", "calendar": "MADE"}
N = None
QUOTES = events((90, Q, 1.0), (110, Q, 2.0), (120, Q, 4.0), (310, Q, 8.0), (320, Q, 16.0))  # breaks at 110 and 310


@pytest.fixture(autouse=True)
def _calendars(monkeypatch: pytest.MonkeyPatch) -> None:
    made_calendars(monkeypatch, MADE=[(100, 200), (300, 340, 360, 400)], LATE=[(115, 200), (315, 400)])


@pytest.mark.parametrize(
    ("feature", "expected", "through"),
    [
        ("lag(mid, 1)", [N, N, 2, N, 8], [N, 1, 2, 4, 8]),
        ('lag(mid, "10s")', [N, N, 2, N, 8], [N, 1, 2, 4, 8]),
        ("diff(mid, 1)", [N, N, 2, N, 8], [N, 1, 2, 4, 8]),
        ("ret(mid, 1)", [N, N, 1, N, 1], [N, 1, 1, 1, 1]),
        ('velocity(mid, "10s")', [N, N, 0.2, N, 0.8], [N, 0.1, 0.2, 0.4, 0.8]),
        ('sum(mid, "30s")', [N, N, N, N, N], [N, N, 6, 8, 24]),
        ('sum(mid, "10s")', [N, N, 4, N, 16], [N, 2, 4, 8, 16]),
        ("mean(mid, 2)", [N, N, 3, N, 12], [N, 1.5, 3, 6, 12]),
        ("var(mid, 2)", [N, N, 1, N, 16], [N, 0.25, 1, 4, 16]),
        ("zscore(mid, 2)", [N, N, 1, N, 1], [N, 1, 1, 1, 1]),
        ("min(mid, 2)", [N, N, 2, N, 8], [N, 1, 2, 4, 8]),
        ("argmax(mid, 1)", [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]),
        ("rank(mid, 2)", [N, N, 1, N, 1], [N, 1, 1, 1, 1]),
        ("median(mid, 2)", [N, N, 3, N, 12], [N, 1.5, 3, 6, 12]),
        ("mad(mid, 2)", [N, N, 1, N, 4], [N, 0.5, 1, 2, 4]),
        ("corr(mid, -mid, 2)", [N, N, -1, N, -1], [N, -1, -1, -1, -1]),
        ("slope(mid, 2)", [N, N, 2, N, 8], [N, 1, 2, 4, 8]),
        ("ema(mid, span=2)", [N, N, 10 / 3, N, 40 / 3], [N, 5 / 3, 29 / 9, 173 / 27, 1037 / 81]),
        ('ema(mid, half_life="10s")', [N, N, 10 / 3, N, 40 / 3], None),
        ('ema(mid, span=2, seed="sma")', [N, N, 3, N, 12], [N, 1.5, 9.5 / 3, 57.5 / 9, 345.5 / 27]),
        ("ewm_std(mid, 2)", [N, N, math.sqrt(8 / 9), N, math.sqrt(128 / 9)], None),
        ("wilder(mid, 2)", [N, N, 3, N, 12], [N, 1.5, 2.75, 5.375, 10.6875]),
        ("wilder_sum(mid, 2)", [N, N, 5, N, 20], [N, 2.5, 5.25, 10.625, 21.3125]),
        ("rsi(mid, 1)", [N, N, 100, N, 100], [N, 100, 100, 100, 100]),
        ("cumsum(mid)", [1, 2, 6, 8, 24], [1, 3, 7, 15, 31]),
        ("first(mid)", [1, 2, 2, 8, 8], [1, 1, 1, 1, 1]),
    ],
)
def test_a_break_starts_everything_again(feature: str, expected: list, through: list | None) -> None:
    same(column(feature, QUOTES, calendar="MADE"), column(feature[:-1] + ', reset="session")', QUOTES))  # no breaks
    same(column(feature, QUOTES, **CUT), expected, 1e-14)
    never = feature[:-1] + ', reset="never")'
    if through is not None:
        same(column(never, QUOTES, **CUT), through, 1e-14)
    same(column(never, QUOTES, **CUT), column(feature, QUOTES), 0.0)


def test_sources_are_empty_after_a_break_until_they_update() -> None:
    stream = events(
        (110, Q, (1.0, 3.0, 5.0, 6.0)),
        (120, T, (2.5, 1.0, 0.0)),
        (305, T, (2.25, 1.0, 0.0)),  # breaks; no mid and no earlier trade count
        (306, T, (2.5, 1.0, 0.0)),
        (307, Q, (1.0, 3.0, 6.0, 6.0)),  # nobody to compare with
        (308, Q, (1.0, 3.0, 9.0, 6.0)),
    )
    same(column("mid", stream, **CUT), [2, 2, N, N, 2, 2])
    same(column("trade_sign", stream, **CUT), [N, 1, 0, 1, 1, 1])
    same(column("trade_sign", stream), [N, 1, 1, 1, 1, 1])
    same(column("ofi", stream, **CUT), [N, N, N, N, N, 3])
    same(column("ofi", stream), [N, N, N, N, 1, 3])
    d = detail({"m": "mid", "c": "count(mid, 1)"}, stream, **CUT)
    assert np.isnan(d.exact[2:4]).all()  # gone, not just unready
    same(column("where(px > 0, px, mid)", stream, **CUT), [N, 2.5, N, N, 2.5, 2.5])
    same(column('count(px, "1s")', stream, **CUT), [N, N, N, 1, 0, 0])


def test_bars_and_what_is_built_of_them_run_through() -> None:
    stream = events(*((t, T, (float(i), 1.0, 0.0)) for i, t in enumerate((95, 105, 115, 125, 305, 315, 325))))
    close = 'bar("10s", "trade").close'
    same(column(close, stream, **CUT), [N, 0, 1, 2, 3, 4, 5])  # the bar from 90 closes after the open at 100
    same(column(f"mean({close}, 2)", stream, **CUT), [N, N, 0.5, 1.5, 2.5, 3.5, 4.5])
    # the break at 305 comes before the bar from 120 closes
    same(column(f'mean({close}, 2, reset="session")', stream, **CUT), [N, N, 0.5, 1.5, N, 3.5, 4.5])
    # twice per event: when the bar closes (if there is a px since the break) and with the trade
    same(column(f"cumsum({close} + 0*px)", stream, **CUT), [N, 0, 2, 6, 3, 11, 21])


def test_a_bar_takes_in_nothing_that_the_break_has_emptied() -> None:
    stream = events((110, Q, 1.0), (111, T, (5.0, 1.0, 0.0)), (305, TIMER, 0.0), (306, Q, 2.0))
    # at 305 the bar closes and passes an update, but there is no mid: nothing to add
    same(column('cumsum(mid + bar("10s", "trade").close)', stream, "quote", **CUT), [N, 7])
    same(column('cumsum(mid + bar("10s", "trade").close)', stream, "quote"), [N, 13])


@pytest.mark.parametrize("code", list(Status))
def test_an_open_or_a_resumption_is_a_break(code: Status) -> None:
    stream = events((110, Q, 1.0), (120, STATUS, float(code)), (130, Q, 3.0))
    broken = code in (Status.OPEN, Status.RESUME)
    same(column("cumsum(mid)", stream, "quote", **CUT), [1, 3 if broken else 4])
    same(column("cumsum(mid)", stream, "quote"), [1, 4])


def test_the_row_of_a_boundary_is_from_before_the_break() -> None:
    stream = events((110, Q, 1.0), (190, Q, 2.0), (310, Q, 4.0), (350, Q, 8.0))
    d = detail({"m": "cumsum(mid)", "s": "seconds_since_open"}, stream, 'every("50s")', **CUT)
    assert d.ts_ns.tolist() == [150 * S, 200 * S, 350 * S]
    assert d.exact[:, 0].tolist() == [1.0, 3.0, 4.0]  # at 200 the event is 310's, which breaks after the row
    assert d.exact[:, 1].tolist() == [50.0, 100.0, 50.0]


def test_bars_belong_to_the_session_that_they_closed_in() -> None:
    stream = events(*((t, B, float(i)) for i, t in enumerate((100, 200, 300, 301, 400))))
    feature = 'cumsum(bar("1m").close, reset="session")'
    same(column(feature, stream, 'bar("1m")', **CUT), [0, 1, 3, 3, 7])  # 200 is the first after 100, 301 after 300
    same(column(feature, stream, "last", **CUT), [0, 1, 2, 5, 9])
    same(column("seconds_since_open", stream, 'bar("1m")', **CUT), [NAN, 100, NAN, 1, 100])
    same(column("is_rth", stream, 'bar("1m")', **CUT), [0, 1, 0, 1, 1])


def test_readiness_counts_from_the_later_of_gap_and_break() -> None:
    gap = Flag.LAST | Flag.GAP
    stream = events(
        (110, Q, 1.0), (120, Q, 2.0, 0, gap), (130, Q, 3.0), (310, Q, 4.0), (320, Q, 5.0, 0, gap), (330, Q, 6.0)
    )
    same(column("sum(mid, 2)", stream, **CUT), [N, N, 5, N, N, 11])
    same(column('sum(mid, 2, reset="never")', stream, **CUT), [N, N, 5, 7, N, 11])
    d = detail("sum(mid, 2)", stream, **CUT)
    same([float(x) for x in d.exact[:, 0]], [NAN, 3, 5, NAN, 9, 11])  # a gap leaves values, a break does not


def test_timers_and_other_instruments_have_breaks_of_their_own() -> None:
    two = table(("a", None, None, "MADE"), ("b", None, None, "LATE"))
    stream = events((90, Q, 1.0), (91, Q, 2.0, 1), (110, TIMER, 0.0, 0xFFFFFFFF), (112, Q, 4.0), (113, Q, 8.0, 1))
    own = {"session_break": "session", "calendar": "instrument"}
    same(column("cumsum(mid)", stream, "quote", two, 0, **own), [1, 4])
    same(column("cumsum(mid)", stream, "quote", two, 1, **own), [2, 10])  # opens at 115
    with pytest.raises(DefinitionError, match="give instruments"):
        detail("cumsum(mid)", stream, **own)
    with pytest.raises(DataError, match="NOWHERE"):
        detail("cumsum(mid)", stream, session_break="session", calendar="NOWHERE")


def test_time_since_open_and_to_close() -> None:
    times = (99, 100, 160, 200, 201, 340, 359, 360, 400, 500)
    stream = events(*((t, Q, 1.0) for t in times))
    made = {"calendar": "MADE"}
    same(column("seconds_since_open", stream, **made), [NAN, 0, 60, 100, NAN, 40, 59, 60, 100, NAN])
    same(column("minutes_to_close", stream, **made), [NAN, 100 / 60, 40 / 60, 0, NAN, 1, 41 / 60, 40 / 60, 0, NAN])
    same(column("is_rth", stream, **made), [0, 1, 1, 0, 0, 0, 0, 1, 0, 0])
    same(column("seconds_since_open", stream), [float(t) for t in times])  # 24/7: since midnight
    # taken in with the update, not read later; NaN is nothing to take in
    same(column("cumsum(0*mid + seconds_since_open)", stream, **made), [N, 0, 60, 160, 160, 200, 259, 319, 419, 419])
    gap = events((100, Q, 1.0), (101, T, (1.0, 1.0, 0.0), 0, Flag.LAST | Flag.GAP))
    same(column("seconds_since_open", gap, **made), [0, 1])  # ready from the start, through gaps


def test_the_day_is_one_turn() -> None:
    hours = np.arange(0, 49, 3) * 3600 * S
    sine, cosine = (time_of_day(name, hours - 24 * 3600 * S, None, False) for name in ("sin_day", "cos_day"))
    assert sine[::2].tolist() == pytest.approx([0, 1, 0, -1] * 2 + [0], abs=0.0, rel=2.0**-52)
    assert cosine[::2].tolist() == pytest.approx([1, 0, -1, 0] * 2 + [1], abs=0.0, rel=2.0**-52)
    assert not np.signbit(sine[sine == 0]).any() and not np.signbit(cosine[cosine == 0]).any()
    rng = np.random.default_rng(1)
    t = rng.integers(-(2**61), 2**61, 20_000)
    turn = (t % (86_400 * S)).astype(np.float64) / (86_400.0 * S) * (2.0 * math.pi)
    np.testing.assert_allclose(time_of_day("sin_day", t, None, False), np.sin(turn), rtol=0.0, atol=2e-15)
    np.testing.assert_allclose(time_of_day("cos_day", t, None, False), np.cos(turn), rtol=0.0, atol=2e-15)
    eighth = time_of_day("sin_day", np.array([3 * 3600 * S]), None, False)  # x = pi/4, p in exactly this order
    x = float.fromhex("0x1.921fb54442d18p-1")
    z, p = x * x, 0.0
    for k in range(7, 0, -1):
        p = (-1) ** k / math.factorial(2 * k) + z * p
    assert eighth[0] == 1.0 + z * p  # the second eighth begins here, from its far end


def test_results_do_not_depend_on_threads_or_on_what_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    n = 400
    rows = [
        (float(t), Q if rng.random() < 0.6 else T, float(rng.integers(1, 9)), int(rng.integers(0, 3)))
        for t in np.cumsum(rng.integers(0, 3, n)) + 60
    ]
    stream = events(*((t, k, x if k == Q else (x, 1.0, 0.0), i) for t, k, x, i in rows))
    three = table(("a", 1.0, 1.0), ("b", 1.0, 1.0), ("c", 1.0, 1.0))
    features = {
        "m": "std(mid, 5)", "e": "ema(mid, span=3)", "o": 'of("b", mean(mid, 3)) - mid', "s": "seconds_since_open",
        "v": "vpin(3, 4)", "b": "tick_bar(7).vwap", "w": 'mean(px, "20s", reset="never")',
    }  # fmt: skip
    fs = FeatureSet.from_dict({"features": features, "trigger": "last", "stream": {"clock": "event", **CUT}})
    whole = batch.compute_detail(fs, stream, three)
    assert whole.ready.mean() > 0.3
    for cpus in (1, 7):
        monkeypatch.setattr(os, "cpu_count", lambda cpus=cpus: cpus)
        again = batch.compute_detail(fs, stream, three)
        assert again.exact.tobytes() == whole.exact.tobytes() and again.ready.tobytes() == whole.ready.tobytes()
    for cut in (1, 57, 200, 399):
        past = batch.compute_detail(fs, stream[:cut], three)
        assert past.exact.tobytes() == whole.exact[:cut].tobytes()
        assert past.ready.tobytes() == whole.ready[:cut].tobytes()
