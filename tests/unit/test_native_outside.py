"""Native twin, rules 49 to 52: sessions, time, other instruments, external series, with numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from made import event, put, quote, status, stream, timer, trade

from alpha import sessions
from alpha.errors import DataError, DefinitionError
from alpha.events import Flag, Kind, Status
from alpha.features.feature_set import FeatureSet
from alpha.features.native import native_rows, row_maker
from alpha.instruments import Instrument, Instruments
from alpha.sessions import SessionTable

S = 10**9
# opens 100, 300, 500 s; the second breaks from 340 to 360 s; between 200 and 300 s and after 600 s the market is shut
TABLE = SessionTable.of("TEST", [(100 * S, 200 * S), (300 * S, 340 * S, 360 * S, 400 * S), (500 * S, 600 * S)])
ONE = Instruments.of(Instrument(symbol="A", lot_size=1.0, tick_size=0.5))


@pytest.fixture(autouse=True)
def _calendar(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known = sessions._found
    monkeypatch.setattr(sessions, "_found", lambda name, folder: TABLE if name == "TEST" else known(name, folder))
    yield


def rows(features: dict[str, str], events: np.ndarray, table: Instruments = ONE, **more: object) -> dict[str, list]:
    """Per feature a list of its values (None: not ready), and the rows' times in s."""
    more.setdefault("stream", {"calendar": "TEST", "session_break": "session"})
    made = native_rows(FeatureSet.from_dict({"features": features, **more}), events, table)
    out: dict[str, list] = {"t": [t / S for t in made["ts_ns"].tolist()], "id": made["instrument_id"].tolist()}
    for j, name in enumerate(features):
        pairs = zip(made["values"][:, j].tolist(), made["ready"][:, j].tolist(), strict=True)
        out[name] = [v if ready else None for v, ready in pairs]
    return out


def mids(*points: tuple[float, float], who: int = 0) -> np.ndarray:
    return stream(*(quote(int(t * S), x, who=who) for t, x in points))


def test_a_break_starts_again_what_resets() -> None:
    features = {
        "mean": "mean(mid, 2)",
        "through": 'mean(mid, 2, reset="never")',
        "ema": "ema(mid, span=2)",
        "sum": "cumsum(mid)",
        "first": "first(mid)",
        "rsi": "rsi(mid, 1)",
        "low": "min(mid, 2)",
        "rank": "rank(mid, 2)",
        "lag": 'lag(mid, "10s")',
        "ofi": "ofi",
    }
    # 100 s opens session 1, 300 s session 2; 250 s lies between them and still belongs to 1
    out = rows(features, mids((110, 1), (120, 3), (250, 5), (300, 7), (310, 11)))
    assert out["mean"] == [None, 2.0, 4.0, None, 9.0]
    assert out["through"] == [None, 2.0, 4.0, 6.0, 9.0]
    assert out["ema"][3] is None and out["ema"][4] == pytest.approx(7 + 2 / 3 * 4)
    assert out["sum"] == [1.0, 4.0, 9.0, 7.0, 18.0] and out["first"] == [1.0, 1.0, 1.0, 7.0, 7.0]
    assert out["rsi"] == [None, 100.0, 100.0, None, 100.0]
    assert out["low"] == [None, 1.0, 3.0, None, 7.0] and out["rank"] == [None, 1.0, 1.0, None, 1.0]
    assert out["lag"] == [None, 1.0, 3.0, None, 7.0]
    assert out["ofi"] == [None, 2.0, 2.0, None, 2.0]  # both sides rose: the bid's new size and the ask's old one


def test_without_breaks_nothing_resets_whatever_reset_says() -> None:
    features = {"a": "cumsum(mid)", "b": 'cumsum(mid, reset="session")', "c": 'cumsum(mid, reset="never")'}
    for session_break, last in (("none", [10.0, 10.0, 10.0]), ("session", [7.0, 7.0, 10.0])):
        setting = {"calendar": "TEST", "session_break": session_break}
        out = rows(features, mids((110, 1), (120, 2), (300, 7)), stream=setting)
        assert [out[n][-1] for n in "abc"] == last


def test_bars_inputs_and_what_reads_them_run_through() -> None:
    features = {
        "bar": 'cumsum(bar("10s", "mid").close)',
        "own": 'cumsum(bar("10s", "mid").close, reset="session")',
        "input": 'cumsum(input("x"))',
        "mixed": 'cumsum(input("x") + 0.0 * mid)',
        "which": 'where(input("x") > 0, input("x"), mid)',
    }
    events = stream(put(105 * S, 0, 2.0), mids((110, 1), (121, 3)), put(122 * S, 0, 5.0), mids((300, 7), (311, 9)))
    out = rows(features, events)
    assert out["bar"] == [None, 1.0, 4.0, 11.0]  # 7 closes in the second session
    assert out["own"] == [None, 1.0, 3.0, 10.0]  # the 3 closes at 300 s, right after the break
    assert out["input"] == [2.0, 2.0, 7.0, 7.0]
    assert out["mixed"] == [2.0, 4.0, 5.0, 10.0]
    # right after a break `where` is the function of its operands: ready only when mid is again
    made = native_rows(
        FeatureSet.from_dict(
            {
                "features": {"w": features["which"]},
                "trigger": "trade",
                "stream": {"session_break": "session", "calendar": "TEST"},
            }
        ),
        stream(
            mids((110, 1)),
            put(111 * S, 0, 2.0),
            trade(112 * S, 1.0),
            trade(300 * S, 1.0),
            mids((301, 4)),
            trade(302 * S, 1.0),
        ),
        ONE,
    )
    assert made["values"][:, 0].tolist() == [2.0, 2.0, 2.0] and made["ready"][:, 0].tolist() == [True, False, True]


def test_open_and_resume_break_too_and_readiness_counts_from_the_later_of_break_and_gap() -> None:
    events = stream(
        mids((110, 1), (120, 2)),
        status(125 * S, Status.HALT),
        mids((126, 3)),
        status(130 * S, Status.RESUME),
        mids((131, 4)),
        event(Kind.QUOTE, 132 * S, 5.0, 5.0, 1.0, 1.0, flags=int(Flag.GAP | Flag.LAST)),
        mids((133, 6)),
        status(140 * S, Status.OPEN, who=0),
        mids((141, 7)),
    )
    out = rows({"sum": "cumsum(mid)", "mean": "mean(mid, 2)", "n": 'mean(mid, 2, reset="never")'}, events)
    assert out["sum"] == [1.0, 3.0, 6.0, 4.0, 9.0, 15.0, 7.0]
    assert out["mean"] == [None, 1.5, 2.5, None, None, 5.5, None]
    assert out["n"] == [None, 1.5, 2.5, 3.5, None, 5.5, 6.5]


def test_the_sign_of_a_trade_knows_no_mid_and_no_tick_from_before_the_break() -> None:
    events = stream(
        mids((110, 10)),
        trade(111 * S, 11.0),
        trade(300 * S, 12.0),
        trade(301 * S, 11.5),
        mids((302, 11)),
        trade(303 * S, 11.5),
    )
    assert rows({"s": "trade_sign"}, events, trigger="trade")["s"] == [1.0, 0.0, -1.0, 1.0]


def test_a_bar_belongs_to_the_session_that_it_closes() -> None:
    """In sets that a bar triggers 300 s still belongs to session 1, the next nanosecond to session 2."""
    bars = stream(*(event(Kind.BAR, int(t * S), x, x, x, x, 1.0) for t, x in ((200, 1), (300, 2), (301, 4))))
    features = {"sum": 'cumsum(bar("1m").close, reset="session")', "since": "seconds_since_open", "rth": "is_rth"}
    out = rows(features, bars, trigger='bar("1m")')
    assert out["sum"] == [1.0, 3.0, 4.0]
    assert np.array_equal(out["since"], [100.0, math.nan, 1.0], equal_nan=True) and out["rth"] == [1.0, 0.0, 1.0]
    out = rows(features, bars, trigger="last")
    assert out["sum"] == [1.0, 2.0, 6.0] and out["since"] == [100.0, 0.0, 1.0] and out["rth"] == [0.0, 1.0, 1.0]


def test_time_in_the_session() -> None:
    at = (99, 100, 150, 200, 250, 300, 339, 340, 359, 360, 400, 599, 600, 601)
    features = {"since": "seconds_since_open", "to": "minutes_to_close", "rth": "is_rth", "product": "mid * is_rth"}
    out = rows(features, mids(*((t, 2.0) for t in at)), stream={"calendar": "TEST"})
    nan = math.nan
    assert np.array_equal(out["since"], [nan, 0, 50, 100, nan, 0, 39, 40, 59, 60, 100, 99, 100, nan], equal_nan=True)
    to = [nan, 100, 50, 0, nan, 100, 61, 60, 41, 40, 0, 1, 0, nan]
    assert np.array_equal(out["to"], np.float32(np.array(to) * 1e9 / 6e10).tolist(), equal_nan=True)
    assert out["rth"] == [0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0]
    assert out["product"] == [2.0 * x for x in out["rth"]]


def test_what_remembers_takes_time_in_with_the_update_of_its_other_operand() -> None:
    events = stream(mids((110, 1)), timer(115 * S), trade(118 * S, 1.0), mids((120, 1)), trade(125 * S, 1.0))
    features = {"mean": "mean(mid * seconds_since_open, 2)", "now": "mid * seconds_since_open"}
    out = rows(features, events, trigger="trade")
    assert out["mean"] == [None, 15.0] and out["now"] == [18.0, 25.0]


def test_rows_of_every_read_time_at_their_multiple_and_before_the_break() -> None:
    events = mids((290, 1), (310, 2))
    out = rows({"since": "seconds_since_open", "sum": "cumsum(mid)"}, events, trigger='every("40s")')
    assert out["t"] == []
    out = rows({"since": "seconds_since_open", "sum": "cumsum(mid)"}, events, trigger='every("15s")')
    assert out["t"] == [300.0] and out["since"] == [0.0] and out["sum"] == [1.0]


def test_sine_and_cosine_of_the_day() -> None:
    day = 86_400 * S
    t = np.unique(np.concatenate([np.arange(0, 48) * day // 48, np.arange(8) * day // 8 - 1, [day + 1, 3 * day // 16]]))
    events = stream(*(quote(int(x), 1.0) for x in t))
    fs = {"s": "sin_day", "c": "cos_day", "s2": "1e9 * (sin_day - 0.0)"}
    out = rows(fs, events, stream={})
    turn = t % day / day * 2 * math.pi
    assert np.allclose(out["s"], np.sin(turn), atol=6e-8) and np.allclose(out["c"], np.cos(turn), atol=6e-8)
    for name in ("s", "c"):
        zero = np.array(out[name]) == 0.0
        assert zero.any() and not np.signbit(np.array(out[name])[zero]).any()
    at = dict(zip(t.tolist(), zip(out["s"], out["c"], strict=True), strict=True))
    assert (
        at[0] == (0.0, 1.0)
        and at[day // 4] == (1.0, 0.0)
        and at[day // 2] == (0.0, -1.0)
        and at[3 * day // 4] == (-1.0, 0.0)
    )
    assert at[day // 8][0] == at[day // 8][1] == np.float32(math.sqrt(0.5))


THREE = Instruments.of("A", "B", "C")


def test_another_instrument_by_arrival() -> None:
    events = stream(
        quote(1 * S, 10.0, who=0),
        quote(9 * S, 20.0, who=1),  # B runs ahead of A: what has arrived counts, whatever its time
        quote(2 * S, 11.0, who=0),
        quote(1 * S, 30.0, who=2),
        quote(10 * S, 22.0, who=1),
        quote(3 * S, 12.0, who=0),
    )
    features = {"b": 'of("B", mid)', "spread": 'mid - of("B", mid)', "mean": 'of("C", mean(mid, 2)) + of("A", mid)'}
    out = rows(features, events, THREE, stream={})
    assert out["id"] == [0, 1, 0, 2, 1, 0]
    assert out["b"] == [None, 20.0, 20.0, 20.0, 22.0, 22.0]
    assert out["spread"] == [None, 0.0, -9.0, 10.0, 0.0, -10.0]
    assert out["mean"] == [None] * 6


def test_of_passes_no_update_and_keeps_what_was_passed_on() -> None:
    events = stream(
        quote(1 * S, 1.0, who=1),
        quote(2 * S, 2.0, who=1),
        quote(2 * S, 5.0, who=0),
        quote(30 * S, 8.0, who=1),  # the window of 10 s has emptied meanwhile
        timer(60 * S),
        quote(61 * S, 6.0, who=0),
    )
    features = {
        "n": 'cumsum(of("B", mid) + 0.0 * mid)',
        "window": 'of("B", sum(mid, "10s"))',
        "own": 'sum(mid, "10s")',
    }
    out = rows(features, events, THREE, stream={})
    mine = [i for i, who in enumerate(out["id"]) if who == 0]
    assert [out["n"][i] for i in mine] == [2.0, 10.0]
    # at 2 s B's window is not ready: w has not passed; at 30 s only the 8 is inside; at 61 s eviction does not show
    assert [out["window"][i] for i in mine] == [None, 8.0]


def test_gaps_and_breaks_of_the_other_instrument() -> None:
    gap = int(Flag.GAP | Flag.LAST)
    events = stream(
        quote(110 * S, 1.0, who=1),
        quote(111 * S, 2.0, who=1),
        quote(112 * S, 5.0, who=0),
        trade(113 * S, 1.0, who=1, flags=gap),  # a gap of B: not ready until x has passed its next ready update
        quote(114 * S, 5.0, who=0, flags=gap),
        quote(115 * S, 4.0, who=1),
        quote(116 * S, 5.0, who=0),
        quote(117 * S, 6.0, who=1),
        quote(118 * S, 5.0, who=0, flags=gap),  # a gap or a break of the reader changes nothing
        quote(300 * S, 5.0, who=0),
        trade(301 * S, 1.0, who=1),  # breaks B
        quote(302 * S, 5.0, who=0),
    )
    features = {"x": 'of("B", mid)', "mean": 'of("B", mean(mid, 2))', "n": 'of("B", mean(mid, 2, reset="never"))'}
    out = rows(features, events, THREE)
    mine = [i for i, who in enumerate(out["id"]) if who == 0]
    assert [out["x"][i] for i in mine] == [2.0, None, 4.0, 6.0, 6.0, None]
    assert [out["mean"][i] for i in mine] == [1.5, None, None, 5.0, 5.0, None]
    assert [out["n"][i] for i in mine] == [1.5, None, None, 5.0, 5.0, 5.0]


def test_events_to_all_reach_instruments_in_the_order_of_ids() -> None:
    events = stream(put(1 * S, 0, 3.0), quote(2 * S, 1.0, who=1), timer(7 * S), put(12 * S, 0, 4.0), timer(20 * S))
    features = {"a": 'of("A", input("x"))', "c": 'of("C", input("x"))'}
    out = rows(features, events, THREE, stream={}, trigger='every("10s")')
    # at 12 s each instrument's row of 10 s comes before its own update: A's part has come before B's, C's has not
    assert out["id"] == [0, 1, 2, 0, 1, 2] and out["t"] == [10.0, 10.0, 10.0, 20.0, 20.0, 20.0]
    assert out["a"] == [3.0, 4.0, 4.0, 4.0, 4.0, 4.0] and out["c"] == [3.0, 3.0, 3.0, 4.0, 4.0, 4.0]


def test_a_symbol_that_is_not_there_is_named() -> None:
    fs = FeatureSet.from_dict({"features": {"x": 'of("ES", mid)'}})
    with pytest.raises(DefinitionError, match=r'of\("ES", .*not among its instruments \(A\)'):
        row_maker(fs, ONE)


def test_a_calendar_that_nobody_knows_is_named() -> None:
    fs = FeatureSet.from_dict({"features": {"x": "is_rth"}, "stream": {"calendar": "NOWHERE"}})
    with pytest.raises(DataError, match="NOWHERE"):
        row_maker(fs, ONE)


def test_external_series() -> None:
    events = stream(
        quote(1 * S, 1.0),
        put(2 * S, 1, 0.5),  # alphabetical: "a" is 0, "b" is 1
        quote(3 * S, 1.0),
        put(4 * S, 0, 7.0),
        put(4 * S, 2, 9.0),  # belongs to nobody, and so do these
        put(4 * S, -1, 9.0),
        put(4 * S, 0.5, 9.0),
        put(5 * S, 0, math.nan),  # the guard rejects it
        quote(6 * S, 1.0),
        event(Kind.QUOTE, 8 * S, 1.0, 1.0, 1.0, 1.0, flags=int(Flag.GAP | Flag.LAST)),
        quote(9 * S, 1.0),
    )
    features = {"b": 'input("b")', "a": 'input("a")', "aged": 'input("a", max_age="4s")', "twice": '2 * input("b")'}
    out = rows(features, events, stream={})
    assert out["b"] == [None, 0.5, 0.5, 0.5, 0.5] and out["twice"] == [None, 1.0, 1.0, 1.0, 1.0]
    assert out["a"] == [None, None, 7.0, 7.0, 7.0]
    assert np.array_equal(out["aged"][2:], [7.0, 7.0, math.nan], equal_nan=True)  # older than 4 s only at 9 s


def test_what_remembers_a_series_counts_its_updates() -> None:
    events = stream(put(1 * S, 0, 1.0), put(2 * S, 0, 3.0), quote(3 * S, 9.0), put(20 * S, 0, 8.0), quote(30 * S, 9.0))
    features = {
        "mean": 'mean(input("x"), 2)',
        "aged": 'mean(input("x", max_age="5s"), 2)',
        "when": 'mean(input("x", max_age="5s") + 0.0 * mid, 2)',
    }
    out = rows(features, events, stream={})
    assert out["mean"] == [2.0, 5.5] and out["aged"] == [2.0, 5.5]
    # samples when either moves and both are there: 3 at 3 s, 8 at 20 s; at 30 s the series is too old
    assert out["when"] == [None, 5.5]


def test_an_input_lets_time_pass_and_makes_no_row_of_its_own() -> None:
    events = stream(quote(1 * S, 1.0), put(12 * S, 0, 1.0), event(Kind.INPUT, 13 * S, 0.0, 2.0, flags=int(Flag.LAST)))
    out = rows({"x": 'input("x")', "close": 'bar("10s", "mid").close'}, events, stream={}, trigger='bar("10s", "mid")')
    assert out["t"] == [12.0] and out["close"] == [1.0] and out["x"] == [None]
    assert rows({"x": 'input("x")'}, events, stream={}, trigger="last")["t"] == [1.0]
