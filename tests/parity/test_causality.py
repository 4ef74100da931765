"""Nothing of the past may change when the future does: no false alarm, and no planted look-ahead goes unseen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mutants_sessions import market
from programs import KNOWN, program, table_for
from streams import stream

from alpha.data.simulate import simulate
from alpha.errors import DataError
from alpha.events import Kind, Status
from alpha.features import (
    _batch_clocks,
    _batch_nodes,
    _batch_running,
    _batch_timeline,
    _batch_windows,
    catalog,
    causality,
)
from alpha.features._batch_columns import Columns
from alpha.features._batch_sessions import Seen, breaks
from alpha.features.feature_set import FeatureSet
from alpha.features.native import native_rows
from alpha.instruments import Instruments

LISTED = Instruments.of(*list(KNOWN)[:2])
MARKET = market()[:300]
SIMULATED = simulate(6_000, seed=3)


def bars(n: int = 3000, seed: int = 5) -> np.ndarray:
    """Minute bars of one instrument."""
    rng = np.random.default_rng(seed)
    e = stream(seed, n=n, instruments=1)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0, 1e-3, n)))
    e["kind"], e["flags"], e["level"], e["instrument_id"] = 3, 1, 0, 0
    e["ts_event_ns"], e["ts_recv_ns"] = np.arange(1, n + 1) * 60 * 10**9, 0
    e["v"][:, 0], e["v"][:, 3] = np.roll(close, 1), close
    e["v"][0, 0] = close[0]
    e["v"][:, 1] = np.maximum(e["v"][:, 0], close) * 1.001
    e["v"][:, 2] = np.minimum(e["v"][:, 0], close) * 0.999
    e["v"][:, 4] = rng.integers(1, 1000, n)
    return e


@pytest.mark.parametrize("name", catalog.names())
def test_no_false_alarm_on_the_catalogues(name: str) -> None:
    fs = catalog.get(name)
    of_bars = fs.trigger.bar is not None and fs.trigger.bar.source == "feed"
    events, table = (bars(), Instruments.of("A")) if of_bars else (SIMULATED.events, SIMULATED.instruments)
    result = causality.check(fs, events, table, cuts=4, seed=1)
    assert result["pass"] and result["compared"] > 1_000, result["first"]


@pytest.mark.parametrize("rows", [causality.batch_rows, native_rows])
def test_no_false_alarm_on_random_programs(rows: Callable[..., Any]) -> None:
    compared = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        fs = program(rng)
        events, table = stream(seed, faults=seed % 3 == 0), table_for(fs, rng)
        result = causality.check(fs, events, table, cuts=4, seed=seed, rows=rows)
        assert result["violations"] == 0, (seed, fs.features, result["first"])
        compared += result["compared"]
    assert compared > 10_000


def _next_value(self: Any, e: Any) -> Any:
    """Every lag looks one update ahead."""
    column = _LAG(self, e)
    return column.__class__(np.append(column.value[1:], column.value[-1:]), column.update, column.ready)


def _window_too_late(self: Any, u: Any, window: object) -> Any:
    w = _WINDOWS(self, u, window)
    return w._replace(hi=np.minimum(w.hi + 1, len(u.x)))


def _whole_sample(self: Any, e: Any) -> Any:
    """Centred on the mean of everything, as a scaler fitted before the split would."""
    column = _ROLLING(self, e)
    return column.__class__(column.value - np.nanmean(column.value), column.update, column.ready)


def _filled_backwards(self: Any, at: Any, values: Any, **more: Any) -> Any:
    """A leaf shows its next value before it comes."""
    column = _HELD(self, at, values, **more)
    steps = np.arange(len(column.value))
    number = np.minimum(np.searchsorted(at, steps), max(len(at) - 1, 0))
    value = values[number] if len(values) else column.value
    return column.__class__(value, column.update, column.ready)


def _ready_at_once(self: Any, u: Any, results: Any, needed: int) -> Any:
    """Warm from the middle of the stream on, wherever that will turn out to be."""
    column = _COUNTED(self, u, results, needed)
    return column.__class__(column.value, column.update, u.seen > len(u.x) // 2)


_LAG, _WINDOWS, _ROLLING = _batch_running.lag, _batch_windows._windows, _batch_windows.rolling
_HELD, _COUNTED = Columns.held, Columns.counted


@pytest.mark.parametrize(
    ("where", "name", "planted"),
    [
        (_batch_running, "lag", _next_value),
        (_batch_windows, "_windows", _window_too_late),
        (_batch_windows, "rolling", _whole_sample),
        (Columns, "held", _filled_backwards),
        (Columns, "counted", _ready_at_once),
    ],
)
def test_a_planted_look_ahead_is_found(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, planted: Any) -> None:
    true = getattr(where, name)
    monkeypatch.setattr(where, name, planted)
    for op, implementation in list(_batch_nodes._STATEFUL.items()):
        if implementation is true:
            monkeypatch.setitem(_batch_nodes._STATEFUL, op, planted)
    fs = FeatureSet.from_dict(
        {"features": {"a": "mean(mid, 20)", "b": "ret(mid, 1)", "c": 'sum(qty, "5s")', "d": "px"}}
    )
    result = causality.check(fs, SIMULATED.events, SIMULATED.instruments, cuts=12, seed=2)
    assert not result["pass"] and result["violations"] > 0 and result["first"] is not None


@pytest.mark.parametrize("rows", [causality.batch_rows, native_rows])
def test_no_false_alarm_where_everything_happens(rows: Callable[..., Any]) -> None:
    fs = _all_of_it()
    result = causality.check(fs, MARKET, LISTED, cuts=30, seed=3, rows=rows)
    assert result["pass"] and result["compared"] > 10_000, result["first"]


def _all_of_it() -> FeatureSet:
    features = {
        "input": 'input("b") - input("a", max_age="4s")',
        "other": 'of("A", mid) + of("B", px)',
        "time": "minutes_to_close + seconds_since_open + is_rth",
        "again": "first(px)",
        "volume": "volume_bar(5).vwap",
        "ticks": "tick_bar(7).close",
        "money": "dollar_bar(500).close",
        "vpin": "vpin(2, 5)",
    }
    return FeatureSet.from_dict(
        {"features": features, "trigger": "last", "stream": {"session_break": "session", "calendar": "touching"}}
    )


def _next_print(self: Any, e: Any) -> Any:
    """A series shows its next value."""
    return _next_of(_INPUT(self, e))


def _next_bar(self: Any, e: Any) -> Any:
    """The fields of a bar before it has closed."""
    return _next_of(_BAR(self, e))


def _next_of(column: Any) -> Any:
    at = np.flatnonzero(column.update)
    if not len(at):
        return column
    number = np.minimum(np.searchsorted(at, np.arange(len(column.value)), side="right"), len(at) - 1)
    return column.__class__(column.value[at][number], column.update, column.ready)


def _five_later(self: Any, line: Any, reader: int) -> Any:
    """What another instrument shows five events from now."""
    later = Seen(self.instrument, self.event_of - 5, self.last, self.value, self.ready, self.gap_from)
    return _SEEN(later, line, reader)


def _until_the_last_event(name: str, t: Any, table: Any, by_close: bool) -> Any:
    """The close is taken from the data."""
    return (t.max(initial=0) - t) / 6e10


def _one_trade_early(steps: Any, size: int) -> Any:
    return np.append(_CLOSING(steps, size)[1:], False)


def _against_the_whole_day(*given: Any) -> Any:
    """Buckets' imbalance less that of the whole stream."""
    values, filled = _VPIN(*given)
    return values - (np.nanmean(values) if np.isfinite(values).any() else 0.0), filled


def _one_event_early(*given: Any) -> Any:
    """A break happens before the event that brings it."""
    return np.append(breaks(*given)[1:], False)


_INPUT, _BAR, _SEEN = _batch_nodes.series, _batch_nodes.bar, Seen.at
_CLOSING, _VPIN = _batch_clocks.closing, _batch_clocks.vpin


@pytest.mark.parametrize(
    ("where", "name", "planted", "seen_in"),
    [
        (_batch_nodes, "series", _next_print, {"input"}),
        (_batch_nodes, "bar", _next_bar, {"volume", "ticks", "money"}),
        (Seen, "at", _five_later, {"other"}),
        (_batch_nodes, "time_of_day", _until_the_last_event, {"time"}),
        (_batch_clocks, "closing", _one_trade_early, {"volume", "money"}),
        (_batch_clocks, "vpin", _against_the_whole_day, {"vpin"}),
        (_batch_timeline, "breaks", _one_event_early, {"again"}),
    ],
)
def test_a_look_ahead_of_sessions_series_instruments_and_clocks_is_found(
    monkeypatch: pytest.MonkeyPatch, where: Any, name: str, planted: Any, seen_in: set[str]
) -> None:
    monkeypatch.setattr(where, name, planted)
    result = causality.check(_all_of_it(), MARKET, LISTED, cuts=70, seed=2)
    assert not result["pass"] and seen_in <= result["features"].keys(), result["features"]


def test_series_and_halts_of_the_future_change_too() -> None:
    several = (causality.altered(MARKET, 100, np.random.default_rng(seed)) for seed in range(20))
    other = next(e for e in several if len(e) == len(MARKET))  # not cut off
    assert other[:101].tobytes() == MARKET[:101].tobytes()
    future, before = other[101:], MARKET[101 : len(other)]
    inputs, states = before["kind"] == Kind.INPUT, before["kind"] == Kind.STATUS
    assert (future["v"][inputs, 1] != before["v"][inputs, 1]).mean() > 0.9
    assert (future["v"][inputs, 0] != before["v"][inputs, 0]).mean() > 0.3
    assert (future["v"][states, 0] != before["v"][states, 0]).any()
    assert set(future["v"][states, 0].tolist()) <= {float(s) for s in Status}


def test_the_future_really_changes() -> None:
    events = SIMULATED.events[:1000]
    other = causality.altered(events, 400, np.random.default_rng(0))
    assert other[:401].tobytes() == events[:401].tobytes()
    assert (other["v"][401:, :2] != events["v"][401 : len(other), :2]).mean() > 0.4


def test_too_little_to_cut() -> None:
    fs = catalog.get("spec")
    with pytest.raises(DataError, match="at least two events"):
        causality.check(fs, SIMULATED.events[:1], SIMULATED.instruments)
    with pytest.raises(DataError, match="cuts must be at least 1"):
        causality.check(fs, SIMULATED.events, SIMULATED.instruments, cuts=0)
