"""The guard, reason by reason."""

from __future__ import annotations

import numpy as np
import pytest

from alpha._core.guard import guard_events
from alpha.errors import AlphaError
from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, Flag, Kind, Reason, Status

T = 1_700_000_000 * 10**9


def event(
    kind: Kind = Kind.QUOTE, v: tuple[float, ...] = (100.0, 100.1, 5.0, 6.0), ts: int = T, **more: int
) -> np.ndarray:
    e = np.zeros(1, EVENT_DTYPE)
    e["kind"], e["ts_event_ns"] = kind, ts
    e["v"][0, : len(v)] = v
    for name, value in more.items():
        e[name] = value
    return e


def verdicts(*events: np.ndarray, n: int = 2, **options: object) -> list[str]:
    return [Reason(r).name if r else "ok" for r in guard_events(np.concatenate(events), n, **options)]  # type: ignore[arg-type]


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("e", "expected"),
    [
        (event(), "ok"),
        (event(v=(NAN, 100.0, 1, 1)), "NON_FINITE"),
        (event(v=(100.0, INF, 1, 1)), "NON_FINITE"),
        (event(v=(100.0, 100.1, NAN, 1)), "NON_FINITE"),
        (event(v=(100.0, 100.1, NAN, NAN), flags=Flag.NO_QTY), "ok"),
        (event(v=(0.0, 100.0, 1, 1)), "PRICE"),
        (event(v=(-1.0, 100.0, 1, 1)), "PRICE"),
        (event(v=(100.0, 100.1, -1.0, 1)), "PRICE"),
        (event(v=(100.0, 100.1, 0.0, 0.0)), "ok"),
        (event(v=(100.2, 100.1, 1, 1)), "CROSSED"),
        (event(v=(100.2, 100.1, 1, 1), flags=Flag.AUCTION), "ok"),
        (event(v=(100.1, 100.1, 1, 1)), "ok"),
        (event(Kind.TRADE, (100.0, 3.0, 1.0)), "ok"),
        (event(Kind.TRADE, (100.0, 3.0, 0.5)), "PRICE"),
        (event(Kind.TRADE, (100.0, 3.0, NAN)), "NON_FINITE"),
        (event(Kind.TRADE, (0.0, 3.0, 1.0)), "PRICE"),
        (event(Kind.BAR, (10.0, 11.0, 9.0, 10.5, 100.0)), "ok"),
        (event(Kind.BAR, (10.0, 10.2, 9.0, 10.5, 100.0)), "PRICE"),
        (event(Kind.BAR, (10.0, 11.0, 10.2, 10.5, 100.0)), "PRICE"),
        (event(Kind.BAR, (10.0, 11.0, 9.0, 10.5, -1.0)), "PRICE"),
        (event(Kind.DEPTH, (99.0, 101.0, 1.0, 1.0), level=1), "ok"),
        (event(Kind.DEPTH, (99.0, 101.0, 1.0, 1.0), level=0), "KIND"),
        (event(Kind.DEPTH, (NAN, 101.0, 0.0, 1.0), level=2), "ok"),
        (event(Kind.STATUS, (Status.HALT,)), "ok"),
        (event(Kind.STATUS, (99.0,)), "KIND"),
        (event(Kind.INPUT, (1.0, NAN)), "NON_FINITE"),
        (event(Kind.EMPTY), "KIND"),
        (event(instrument_id=2), "INSTRUMENT"),
        (event(instrument_id=ALL_INSTRUMENTS), "INSTRUMENT"),
        (event(Kind.TIMER, (), instrument_id=ALL_INSTRUMENTS), "ok"),
        (event(ts=-(2**63)), "BACKWARDS"),
        (event(ts=2**63 - 1), "FUTURE"),
        (event(ts_recv_ns=T - 11 * 10**9), "FUTURE"),
        (event(ts_recv_ns=T - 9 * 10**9), "ok"),
        (event(ts_recv_ns=T - 11 * 10**9, flags=Flag.NO_TS_EVENT), "ok"),
    ],
)
def test_single_events(e: np.ndarray, expected: str) -> None:
    assert verdicts(e) == [expected]


def test_time_is_each_instruments_own() -> None:
    later = event(ts=T + 5)
    assert verdicts(later, event(ts=T), event(ts=T + 5), event(ts=T, instrument_id=1)) == [
        "ok",
        "BACKWARDS",
        "ok",
        "ok",
    ]


def test_a_rejected_event_does_not_move_time() -> None:
    assert verdicts(event(v=(NAN, 1.0), ts=T + 100), event(ts=T)) == ["NON_FINITE", "ok"]


def test_a_timer_for_all_moves_everybodys_time() -> None:
    timer = event(Kind.TIMER, (), ts=T + 10, instrument_id=ALL_INSTRUMENTS)
    assert verdicts(timer, event(ts=T + 9), event(ts=T + 10, instrument_id=1)) == ["ok", "BACKWARDS", "ok"]


def test_clock_decides_which_time_counts() -> None:
    a = event(ts=T + 10, ts_recv_ns=T + 1)
    b = event(ts=T, ts_recv_ns=T + 2)
    assert verdicts(a, b) == ["ok", "ok"]
    assert verdicts(a, b, clock="event") == ["ok", "BACKWARDS"]


def test_duplicates_by_venue_sequence() -> None:
    q = (100.0, 100.1, 5.0, 6.0, 77.0)
    t = (100.0, 5.0, 1.0, 0.0, 77.0)
    stream = [event(v=q), event(v=q), event(Kind.TRADE, t), event(Kind.TRADE, t), event(v=q, instrument_id=1)]
    assert verdicts(*stream) == ["ok", "DUPLICATE", "ok", "DUPLICATE", "ok"]
    assert verdicts(*stream, duplicates="keep") == ["ok"] * 5


def test_clock_offset_is_subtracted_before_future_is_tested() -> None:
    e = event(ts=T + 70 * 10**9, ts_recv_ns=T)
    assert verdicts(e) == ["FUTURE"]
    assert verdicts(e, clock_offset_ns=[65 * 10**9, 0]) == ["ok"]


def test_crossed_may_be_flagged_instead() -> None:
    assert verdicts(event(v=(2.0, 1.0, 1, 1)), crossed="flag") == ["ok"]


@pytest.mark.parametrize(
    "options", [{"clock": "wall"}, {"crossed": "maybe"}, {"duplicates": "x"}, {"future_tolerance_ns": -1}]
)
def test_unknown_options(options: dict[str, object]) -> None:
    with pytest.raises(AlphaError, match="guard"):
        guard_events(event(), 1, **options)  # type: ignore[arg-type]


def test_a_leap_is_believed_when_a_second_event_confirms_it() -> None:
    day = 86_400 * 10**9
    assert verdicts(event(), event(ts=T + 31 * day), event(ts=T + 1)) == ["ok", "FUTURE", "ok"]
    assert verdicts(event(), event(ts=T + 31 * day), event(ts=T + 31 * day), event(ts=T + 1)) == [
        "ok",
        "FUTURE",
        "ok",
        "BACKWARDS",
    ]
    assert verdicts(event(), event(ts=T + 40 * day), event(ts=T + 35 * day), event(ts=T + 36 * day)) == [
        "ok",
        "FUTURE",
        "FUTURE",
        "ok",
    ]
    assert verdicts(event(), event(ts=T + 30 * day)) == ["ok", "ok"]
