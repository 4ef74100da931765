"""Small streams for tests that count by hand: events from rows, a calendar in seconds, columns of one feature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

import alpha.sessions
from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, Flag, Kind
from alpha.features.batch import Detail, compute_detail
from alpha.features.feature_set import FeatureSet
from alpha.instruments import Instrument, Instruments
from alpha.sessions import SessionTable

S = 10**9
NAN = math.nan
Q, T, B, STATUS, TIMER, INPUT = Kind.QUOTE, Kind.TRADE, Kind.BAR, Kind.STATUS, Kind.TIMER, Kind.INPUT
EVERYONE = ALL_INSTRUMENTS


def events(*rows: tuple[Any, ...]) -> np.ndarray:
    """Rows (seconds, kind, values, instrument = 0, flags = LAST); a quote may give its mid alone."""
    out = np.zeros(len(rows), EVENT_DTYPE)
    for event, row in zip(out, rows, strict=True):
        seconds, kind, v, instrument, flags = (*row, 0, Flag.LAST)[:5] if len(row) == 3 else (*row, Flag.LAST)[:5]
        values = v if isinstance(v, tuple) else (v, v, 1.0, 1.0) if kind == Q else (v, v, v, v) if kind == B else (v,)
        event["ts_event_ns"], event["kind"], event["flags"] = round(seconds * S), kind, flags
        event["instrument_id"] = instrument
        event["v"][: len(values)] = values
    return out


def made_calendars(monkeypatch: pytest.MonkeyPatch, **sessions: Sequence[tuple[int, ...]]) -> None:
    """Calendars of these names; sessions in seconds: (open, close) or (open, break start, break end, close)."""
    found = alpha.sessions._found
    tables = {
        name: SessionTable.of(name, [tuple(x * S for x in s) for s in rows])  # type: ignore[misc]
        for name, rows in sessions.items()
    }
    monkeypatch.setattr(
        alpha.sessions, "_found", lambda name, folder: tables[name] if name in tables else found(name, folder)
    )


def feature_set(features: Mapping[str, str], trigger: str = "last", **stream: str) -> FeatureSet:
    return FeatureSet.from_dict({"features": features, "trigger": trigger, "stream": {"clock": "event", **stream}})


def table(*rows: tuple[Any, ...]) -> Instruments:
    """Instruments from (symbol, lot = None, tick = None, calendar = "24/7")."""
    full = [(*row, *(None, None, "24/7")[len(row) - 1 :]) for row in rows]
    return Instruments.of(*(Instrument(symbol=s, lot_size=lot, tick_size=tick, calendar=c) for s, lot, tick, c in full))


def detail(
    features: str | Mapping[str, str],
    stream: np.ndarray,
    trigger: str = "last",
    instruments: Instruments | None = None,
    **settings: str,
) -> Detail:
    named = {"x": features} if isinstance(features, str) else features
    return compute_detail(feature_set(named, trigger, **settings), stream, instruments, with_scale=True)


def column(
    feature: str,
    stream: np.ndarray,
    trigger: str = "last",
    instruments: Instruments | None = None,
    of: int = 0,
    **settings: str,
) -> list[float | None]:
    """Exact values of one feature in the rows of one instrument, None where it is not ready."""
    d = detail(feature, stream, trigger, instruments, **settings)
    mine = d.instrument_id == of
    return [float(v) if r else None for v, r in zip(d.exact[mine, 0], d.ready[mine, 0], strict=True)]


def same(got: Sequence[float | None], expected: Sequence[float | None], rel: float = 1e-15) -> None:
    """Ready in the same rows, the same values (NaN equals NaN)."""
    assert [g is None for g in got] == [e is None for e in expected], (got, expected)
    for g, e in zip(got, expected, strict=True):
        if g is not None and e is not None:
            assert (math.isnan(g) and math.isnan(e)) or math.isclose(g, e, rel_tol=rel, abs_tol=0.0), (got, expected)
