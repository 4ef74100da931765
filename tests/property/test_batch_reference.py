"""The batch twin against the oracle: random streams, random expressions, every trigger."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from agreement import agree, as_arrays
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import reference_rows
from streams import SHAPES, TRIGGERS, expression, quotes, stream

from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, Flag, Kind, Status
from alpha.features import batch
from alpha.features.feature_set import FeatureSet
from alpha.instruments import Instrument, Instruments

S = 10**9
QUIET = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def table(lots: Sequence[float]) -> Instruments:
    """Instruments of which nothing but lot sizes is known."""
    return Instruments.of(
        *(Instrument(symbol=f"i{k}", lot_size=None if math.isnan(lot) else lot) for k, lot in enumerate(lots))
    )


def compare(fs: FeatureSet, events: np.ndarray, lots: Sequence[float], accepted: np.ndarray | None = None) -> int:
    """Rows, times, readiness and float32 values of both; returns how many ready finite values there were."""
    detail = batch.compute_detail(fs, events, table(lots), accepted, with_scale=True)
    expected = reference_rows(fs, events, lots, accepted)
    rows = {
        "row_index": detail.rows.row_index,
        "ts_ns": detail.ts_ns,
        "instrument_id": detail.instrument_id,
        "values": detail.rows.values,
        "ready": detail.ready,
    }
    n = agree(fs, expected, rows)
    _, ready, scale = as_arrays(expected, len(fs.features))
    if detail.scale is not None:  # operands may differ in the last bits of a float64
        assert np.allclose(detail.scale, scale, rtol=2.0**-48, atol=0.0), (str(fs.trigger), list(fs.features.values()))
    assert (detail.rows.ready == ready.all(axis=1)).all()
    return n


@pytest.mark.parametrize("seed", range(40))
def test_random_streams_and_expressions_equal_the_oracle(seed: int) -> None:
    rng = np.random.default_rng(10_000 + seed)
    features = {f"f{i}": expression(rng) for i in range(5)}
    trigger = TRIGGERS[seed % len(TRIGGERS)]
    fs = FeatureSet.from_dict(
        {"features": features, "trigger": trigger, "stream": {"clock": ("recv", "event")[seed % 2]}}
    )
    events = stream(seed, n=300, instruments=1 + seed % 3)
    if fs.stream.clock == "event":
        events = events[np.argsort(events["ts_event_ns"], kind="stable")]
    compare(fs, events, [0.01, math.nan, 1.0][: 1 + seed % 3])


@st.composite
def _event(draw: st.DrawFn) -> tuple[int, int, int, int, tuple[float, ...]]:
    kind = draw(st.sampled_from([Kind.QUOTE] * 4 + [Kind.TRADE] * 3 + [Kind.BAR, Kind.DEPTH, Kind.STATUS, Kind.TIMER]))
    step = draw(st.sampled_from([0, 0, 1, S // 10 - 1, S // 10, S // 2, S, S + 1, 7 * S, 120 * S]))
    instrument = draw(st.sampled_from([0, 0, 1]))
    if kind in (Kind.TIMER, Kind.STATUS) and draw(st.booleans()):
        instrument = ALL_INSTRUMENTS
    flags = draw(st.sampled_from([0, Flag.LAST, Flag.LAST, Flag.LAST | Flag.GAP, Flag.LAST | Flag.NO_QTY]))
    px = draw(st.sampled_from([100.0, 100.0, 100.01, 99.99, 1e5 + 1e-3, 1e-7]))
    size = st.sampled_from([0.0, 0.0, 1.0, 0.01, 123.45])
    v: tuple[float, ...] = ()
    if kind in (Kind.QUOTE, Kind.DEPTH):
        v = (px, px + draw(st.sampled_from([0.0, 0.01, 0.5])), draw(size), draw(size))
    elif kind == Kind.TRADE:
        v = (px, draw(size), draw(st.sampled_from([-1.0, 0.0, 1.0])))
    elif kind == Kind.BAR:
        v = (px, px + 1.0, px / 2, px, draw(size))
    elif kind == Kind.STATUS:
        v = (float(draw(st.sampled_from([Status.OPEN, Status.LOST]))),)
    return step, instrument, int(kind), int(flags), v


def _array(rows: list[tuple[int, int, int, int, tuple[float, ...]]], start: int) -> np.ndarray:
    events = np.zeros(len(rows), EVENT_DTYPE)
    t = start
    for event, (step, instrument, kind, flags, v) in zip(events, rows, strict=True):
        t += step
        event["ts_event_ns"], event["instrument_id"], event["kind"], event["flags"] = t, instrument, kind, flags
        event["v"][: len(v)] = v
        event["level"] = kind == Kind.DEPTH
    return events


@QUIET
@given(
    rows=st.lists(_event(), max_size=40),
    start=st.sampled_from([0, -5 * S, 1_700_000_000 * S, 59 * S + S // 2]),
    seed=st.integers(0, 2**32 - 1),
    trigger=st.sampled_from(TRIGGERS),
)
def test_small_streams_equal_the_oracle(rows: list, start: int, seed: int, trigger: str) -> None:
    rng = np.random.default_rng(seed)
    features = {f"f{i}": expression(rng) for i in range(3)}
    fs = FeatureSet.from_dict({"features": features, "trigger": trigger, "stream": {"clock": "event"}})
    compare(fs, _array(rows, start), [0.01, math.nan])


@QUIET
@given(rows=st.lists(_event(), max_size=30), verdicts=st.lists(st.booleans(), min_size=30, max_size=30))
def test_rejected_events_are_not_seen(rows: list, verdicts: list[bool]) -> None:
    fs = FeatureSet.from_dict(
        {"features": {"a": "mean(mid, 2)", "b": 'sum(px, "1s")', "c": 'bar("1s", "trade").volume'}, "trigger": "last"}
    )
    events = _array(rows, S)
    accepted = np.array(verdicts[: len(events)], np.bool_)
    compare(fs, events, [0.01, math.nan], accepted)
    left = batch.compute(fs, events[accepted], table([0.01, math.nan]))
    whole = batch.compute(fs, events, table([0.01, math.nan]), accepted)
    assert np.array_equal(left.values, whole.values, equal_nan=True) and np.array_equal(left.ready, whole.ready)
    assert np.array_equal(np.flatnonzero(accepted)[left.row_index], whole.row_index)


@pytest.mark.parametrize("shape", SHAPES)
def test_moments_equal_exact_arithmetic(shape: str) -> None:
    rng = np.random.default_rng(sum(map(ord, shape)))
    events = quotes(SHAPES[shape](rng, 700), rng.choice([0, 1, S // 10, S], 700))
    windows = ("2", "3", "20", "150", '"1s"', '"10s"', '"1m"')
    features = {f"{op}{w}": f"{op}(mid, {w})" for op in ("sum", "mean", "var", "std", "zscore") for w in windows}
    compare(FeatureSet.from_dict({"features": features, "trigger": "quote"}), events, [math.nan])
