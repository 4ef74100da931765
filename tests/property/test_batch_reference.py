"""The batch twin against the oracle: random streams, random expressions, every trigger."""

from __future__ import annotations

import numpy as np
import pytest
from agreement import UNPINNED, agree, as_arrays
from calendars import MADE, T0, listings
from expressions import ALL, operators_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from programs import PARTLY, PROBE, program, table_for
from reference import reference_rows
from streams import SHAPES, quotes, stream

from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, Flag, Kind, Status
from alpha.features import batch
from alpha.features.feature_set import FeatureSet
from alpha.features.language import walk
from alpha.features.operators import OPERATORS
from alpha.instruments import Instruments

S = 10**9
QUIET = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


BATCH = operators_of(lambda fs: batch.compute(fs, stream(0, n=40), PROBE))
NAMES = sorted(n for n in BATCH & OPERATORS.keys() if OPERATORS[n].kind != "source")
PER_SET = 4
TWO = Instruments.of(*list(PARTLY)[:2])


def test_no_operator_is_left_out() -> None:
    assert BATCH == ALL


def compare(fs: FeatureSet, events: np.ndarray, table: Instruments = PARTLY, accepted: np.ndarray | None = None) -> int:
    """Rows, times, readiness and float32 values of both; returns how many ready finite values there were."""
    detail = batch.compute_detail(fs, events, table, accepted, with_scale=True)
    expected = reference_rows(fs, events, listings(fs, table), accepted)
    rows = {
        "row_index": detail.rows.row_index,
        "ts_ns": detail.ts_ns,
        "instrument_id": detail.instrument_id,
        "values": detail.rows.values,
        "ready": detail.ready,
    }
    n = agree(fs, expected, rows)
    _, ready, scale = as_arrays(expected, len(fs.features))
    for j, e in enumerate(fs.features.values() if detail.scale is not None else ()):
        # operands may differ in the last bits of a float64
        assert detail.scale is not None
        rtol = 2.0 ** (-36 if UNPINNED & {node.op for node in walk(e)} else -48)
        assert np.allclose(detail.scale[:, j], scale[:, j], rtol=rtol, atol=0.0), (str(fs.trigger), str(e), "scale")
    assert (detail.rows.ready == ready.all(axis=1)).all()
    return n


@pytest.mark.parametrize("seed", range(60))
def test_random_streams_and_expressions_equal_the_oracle(seed: int) -> None:
    rng = np.random.default_rng(10_000 + seed)
    roots = [NAMES[(seed * PER_SET + i) % len(NAMES)] for i in range(PER_SET)]  # each operator on top in its turn
    fs = program(rng, PER_SET, operators=BATCH, roots=roots, clock=("recv", "event")[seed % 2])
    instruments = 2 + seed % 2
    events = stream(seed, n=250, instruments=instruments)
    if fs.stream.clock == "event":
        events = events[np.argsort(events["ts_event_ns"], kind="stable")]
    compare(fs, events, table_for(fs, rng, instruments))


OTHERS = [Kind.BAR, Kind.DEPTH, Kind.STATUS, Kind.TIMER, Kind.INPUT, Kind.INPUT]


@st.composite
def _event(draw: st.DrawFn) -> tuple[int, int, int, int, tuple[float, ...]]:
    kind = draw(st.sampled_from([Kind.QUOTE] * 4 + [Kind.TRADE] * 4 + OTHERS))
    step = draw(st.sampled_from([0, 0, 1, S // 10 - 1, S // 10, S // 2, S, S + 1, 7 * S, 120 * S]))
    instrument = draw(st.sampled_from([0, 0, 1]))
    if kind in (Kind.TIMER, Kind.STATUS, Kind.INPUT) and draw(st.booleans()):
        instrument = ALL_INSTRUMENTS
    flags = draw(st.sampled_from([0, Flag.LAST, Flag.LAST, Flag.LAST | Flag.GAP, Flag.LAST | Flag.NO_QTY]))
    px = draw(st.sampled_from([100.0, 100.0, 100.01, 99.99, 1e5 + 1e-3, 1e-7]))
    size = st.sampled_from([0.0, 0.0, 1.0, 0.01, 123.45])
    v: tuple[float, ...] = ()
    if kind in (Kind.QUOTE, Kind.DEPTH):
        v = (px, px + draw(st.sampled_from([0.0, 0.01, 0.5])), draw(size), draw(size))
    elif kind == Kind.TRADE:
        v = (px, draw(st.one_of(size, st.just(2.0**64))), draw(st.sampled_from([-1.0, 0.0, 1.0])))
    elif kind == Kind.BAR:
        v = (px, px + 1.0, px / 2, px, draw(size))
    elif kind == Kind.STATUS:
        v = (float(draw(st.sampled_from([Status.OPEN, Status.HALT, Status.RESUME, Status.LOST]))),)
    elif kind == Kind.INPUT:
        v = (float(draw(st.integers(0, 3))), draw(size))
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
    start=st.sampled_from([0, -5 * S, T0, 59 * S + S // 2, *(int(t) - S for m in MADE.values() for t in m.opens[:5])]),
    seed=st.integers(0, 2**32 - 1),
)
def test_small_streams_equal_the_oracle(rows: list, start: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    fs = program(rng, 3, operators=BATCH, clock="event")
    compare(fs, _array(rows, start), table_for(fs, rng))


@QUIET
@given(rows=st.lists(_event(), max_size=30), verdicts=st.lists(st.booleans(), min_size=30, max_size=30))
def test_rejected_events_are_not_seen(rows: list, verdicts: list[bool]) -> None:
    fs = FeatureSet.from_dict(
        {"features": {"a": "mean(mid, 2)", "b": 'sum(px, "1s")', "c": 'bar("1s", "trade").volume'}, "trigger": "last"}
    )
    events = _array(rows, S)
    accepted = np.array(verdicts[: len(events)], np.bool_)
    compare(fs, events, TWO, accepted)
    left = batch.compute(fs, events[accepted], TWO)
    whole = batch.compute(fs, events, TWO, accepted)
    assert np.array_equal(left.values, whole.values, equal_nan=True) and np.array_equal(left.ready, whole.ready)
    assert np.array_equal(np.flatnonzero(accepted)[left.row_index], whole.row_index)


@pytest.mark.parametrize("shape", SHAPES)
def test_moments_equal_exact_arithmetic(shape: str) -> None:
    rng = np.random.default_rng(sum(map(ord, shape)))
    events = quotes(SHAPES[shape](rng, 700), rng.choice([0, 1, S // 10, S], 700))
    windows = ("2", "3", "20", "150", '"1s"', '"10s"', '"1m"')
    features = {f"{op}{w}": f"{op}(mid, {w})" for op in ("sum", "mean", "var", "std", "zscore") for w in windows}
    compare(FeatureSet.from_dict({"features": features, "trigger": "quote"}), events)
