"""The native rows of a stream, made in parts: cut at session breaks, and resumed from a saved state anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from byhand import S, made_calendars
from streams import T0, stream

from alpha.errors import StateError
from alpha.features import catalog, days
from alpha.features.feature_set import FeatureSet
from alpha.features.native import Rows, next_rows, row_maker
from alpha.instruments import Instrument, Instruments

TABLE = Instruments(Instrument(symbol=s, tick_size=0.5, lot_size=1.0, clock_offset_ns=k) for k, s in enumerate("abc"))
RICH = {
    "e": "ema(mid, span=5)",
    "s": 'std(mid, "20s")',
    "o": "cumsum(ofi)",
    "t": "mean(trade_sign, 3)",
    "d": "seconds_since_open",
    "n": "mid * sin_day + 1",
    "r": "rank(mid, 4)",
    "h": 'max(mid, "1h")',
}


def whole(fs: FeatureSet, events: Any, chunk: int) -> list[Rows]:
    maker = row_maker(fs, TABLE)
    out = []
    for a in range(0, len(events), chunk):
        index, *rest = next_rows(maker, events[a : a + chunk])
        out.append((index + a, *rest))
    return out


def equal(got: list[Rows], wanted: list[Rows]) -> None:
    assert len(got) == len(wanted)
    for g, w in zip(got, wanted, strict=True):
        for x, y in zip(g, w, strict=True):
            assert x.dtype == y.dtype and x.tobytes() == y.tobytes()


def events_of(seed: int, n: int) -> Any:
    """What a feed can say, good and bad, of three instruments; nothing to all of them."""
    e = stream(seed, n, faults=True)
    e["instrument_id"] = np.random.default_rng(seed).integers(0, 3, n)
    return e


@pytest.mark.parametrize("trigger", ["quote", "trade", "last", 'every("7s")'])
@pytest.mark.parametrize("calendar", ["24/7", "MADE"])
@pytest.mark.parametrize("outlier", [None, 1.01])
def test_sessions_alone_are_the_stream(
    trigger: str, calendar: str, outlier: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_calendars(monkeypatch, MADE=[(o, o + 15) for o in range(T0 // S - 30, T0 // S + 4_000, 20)])
    guard = {} if outlier is None else {"guard": {"outlier": outlier}}
    spec = {"features": RICH, "trigger": trigger, "stream": {"session_break": "session", "calendar": calendar, **guard}}
    fs = FeatureSet.from_dict(spec)
    for seed in range(2):
        events = events_of(seed, 700)
        assert days.divides(fs, events)
        sessions = days.sessions_of(fs, events, TABLE)
        assert calendar == "24/7" or len(sessions) > 12
        rows = (days.session_rows(fs, TABLE[s.who], events[s.first : s.last + 1], s) for s in sessions)
        equal(list(days.in_chunks(sessions, rows, len(events), 64, len(fs.names))), whole(fs, events, 64))


def test_what_is_no_division() -> None:
    spec = {"features": {"e": "ema(mid, span=5)"}, "stream": {"session_break": "session", "calendar": "24/7"}}
    events = stream(3, 300)
    assert (events["instrument_id"] > 2).any() and not days.divides(FeatureSet.from_dict(spec), events)
    mine = events[events["instrument_id"] < 2]
    assert days.divides(FeatureSet.from_dict(spec), mine) and not days.divides(catalog.get("demo"), mine)


@pytest.mark.parametrize("name", ["demo", "book", "micro", "spec"])
def test_a_saved_state_goes_on_in_another_maker(name: str) -> None:
    fs = catalog.get(name)
    events = stream(5, 3_000, instruments=3, faults=True)
    wanted = whole(fs, events, 500)
    state, got = None, []
    for a in range(0, len(events), 500):
        maker = row_maker(fs, TABLE)
        if state is not None:
            maker.load_state(state)
            assert maker.save_state() == state
        index, *rest = next_rows(maker, events[a : a + 500])
        got.append((index + a, *rest))
        state = maker.save_state()
    equal(got, wanted)


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    fs, events = catalog.get("demo"), stream(5, 2_000, instruments=3)
    maker = row_maker(fs, TABLE)
    maker.rows(events)
    state = maker.save_state()
    for bad in (b"", state[:100], state[:-8], state + b"12345678"):
        with pytest.raises(StateError, match="of other features or instruments"):
            maker.load_state(bad)
    assert maker.save_state() == state
    two = row_maker(fs, Instruments.of("a", "b"))
    with pytest.raises(StateError, match="of other features or instruments"):
        two.load_state(state)
