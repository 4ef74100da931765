"""The batch twin's door and the rules of rows, bars and readiness, on streams small enough to count by hand."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import alpha.features.batch
from alpha.errors import DataError
from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, Flag, Kind, Status
from alpha.features.batch import Detail, compute, compute_detail
from alpha.features.feature_set import FeatureSet
from alpha.instruments import Instrument, Instruments

S = 10**9
NAN = math.nan


def _table(*lots: float) -> Instruments:
    return Instruments.of(
        *(Instrument(symbol=f"i{k}", lot_size=None if math.isnan(lot) else lot) for k, lot in enumerate(lots))
    )


def _events(*rows: tuple) -> np.ndarray:
    """Rows (seconds, kind, values, flags = LAST, instrument = 0)."""
    events = np.zeros(len(rows), EVENT_DTYPE)
    for event, row in zip(events, rows, strict=True):
        seconds, kind, v, flags, instrument = (*row, Flag.LAST, 0)[:5] if len(row) == 3 else (*row, 0)[:5]
        event["ts_event_ns"], event["kind"], event["flags"] = round(seconds * S), kind, flags
        event["instrument_id"] = instrument
        event["v"][: len(v)] = v
    return events


def _mids(*mids: float, step: float = 1.0) -> np.ndarray:
    return _events(*((i * step, Kind.QUOTE, (m, m, 1.0, 1.0)) for i, m in enumerate(mids)))


def _detail(features: str | dict[str, str], events: np.ndarray, trigger: str = "quote", *lots: float) -> Detail:
    named = {"x": features} if isinstance(features, str) else features
    fs = FeatureSet.from_dict({"features": named, "trigger": trigger, "stream": {"clock": "event"}})
    return compute_detail(fs, events, _table(*(lots or (NAN,))), with_scale=True)


def _column(features: str, events: np.ndarray, trigger: str = "quote", *lots: float) -> list[float | None]:
    """Values of one feature, None where it is not ready."""
    d = _detail(features, events, trigger, *lots)
    return [float(v) if r else None for v, r in zip(d.rows.values[:, 0], d.ready[:, 0], strict=True)]


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        ("lag(mid, 1)", [None, 1, 2, 4, 8]),
        ('lag(mid, "2s")', [None, None, 1, 2, 4]),
        ("diff(mid, 2)", [None, None, 3, 6, 12]),
        ("ret(mid, 1)", [None, 1, 1, 1, 1]),
        ('velocity(mid, "2s")', [None, None, 1.5, 3, 6]),
        ("count(mid, 3)", [None, None, 3, 3, 3]),
        ('count(mid, "2s")', [None, None, 2, 2, 2]),  # {t_j > t - w}: the row exactly w ago is out
        ("sum(mid, 2)", [None, 3, 6, 12, 24]),
        ("mean(mid, 2)", [None, 1.5, 3, 6, 12]),
        ("var(mid, 2)", [None, 0.25, 1, 4, 16]),
        ("var(mid, 2, ddof=1)", [None, 0.5, 2, 8, 32]),
        ("std(mid, 2)", [None, 0.5, 1, 2, 4]),
        ("zscore(mid, 2)", [None, 1, 1, 1, 1]),
        ("ema(mid, span=3)", [None, None, 2.75, 5.375, 10.6875]),
        ('ema(mid, half_life="1s")', [None, 5 / 3, 3, 5.4 - 0.4 / 15 * 2, None]),
        ("rsi(mid, 2)", [None, None, 100, 100, 100]),
        ("mean(diff(mid, 1), 2)", [None, None, 1.5, 3, 6]),
        ("mid / (mid - mid)", [NAN] * 5),
        ("3.0", [3] * 5),
    ],
)
def test_operators_by_hand(feature: str, expected: list[float | None]) -> None:
    if "half_life" in feature:  # weights 1, 1/2, 1/4, ...
        mids, weights = [1, 2, 4, 8, 16], [0.5**k for k in range(5)]
        expected = [None, *(np.average(mids[: i + 1], weights=weights[i::-1]) for i in range(1, 5))]
    got = _column(feature, _mids(1, 2, 4, 8, 16))
    assert [g is None for g in got] == [e is None for e in expected]
    have = [(g, e) for g, e in zip(got, expected, strict=True) if g is not None and e is not None]
    np.testing.assert_allclose([g for g, _ in have], [e for _, e in have], rtol=1e-6)


def test_a_fall_and_a_flat_rsi() -> None:
    assert _column("rsi(mid, 2)", _mids(3, 2, 1, 1, 2)) == [None, None, 0, 0, pytest.approx(100 * 0.5 / 0.75)]
    assert _column("rsi(mid, 1)", _mids(3, 3, 3)) == [None, 100, 100]


def test_flat_windows_have_exactly_their_value_and_no_dispersion() -> None:
    mids = _mids(*[0.1] * 30)
    for feature, value in (("mean(mid, 7) - mid", 0), ("std(mid, 7)", 0), ('zscore(mid, "5s")', 0)):
        ready = [v for v in _column(feature, mids) if v is not None]
        assert len(ready) >= 20 and set(ready) == {value}


def test_small_noise_on_a_large_offset() -> None:
    rng = np.random.default_rng(5)
    mids = 1e5 + 1e-3 * rng.normal(size=400)
    got = _detail("std(mid, 50)", _mids(*mids)).rows.values[49:, 0]
    exact = [np.std(mids[i - 49 : i + 1] - 1e5) for i in range(49, 400)]  # numpy is right once the offset is gone
    np.testing.assert_allclose(got, exact, rtol=1e-6)


def test_later_rows_with_an_equal_time_are_the_future() -> None:
    events = _events(*((t, Kind.QUOTE, (m, m, 1, 1)) for t, m in ((0, 1.0), (5, 2.0), (5, 3.0), (5, 4.0), (6, 5.0))))
    assert _column('sum(mid, "1s")', events) == [None, 2, 5, 9, 5]
    assert _column('lag(mid, "1s")', events) == [None, 1, 1, 1, 4]


def test_time_passes_without_updates() -> None:
    events = _events(
        (0, Kind.QUOTE, (1.0, 1.0, 1, 1)),
        (1, Kind.QUOTE, (3.0, 3.0, 1, 1)),
        (2, Kind.TRADE, (9.0, 1.0, 1.0)),
        (2.5, Kind.TRADE, (9.0, 1.0, 1.0)),
        (9, Kind.TRADE, (9.0, 1.0, 1.0)),
    )
    assert _column('mean(mid, "2s")', events, "trade") == [3, 3, None]  # its window is empty at 9 s: not ready
    assert _column('sum(mid, "2s")', events, "trade") == [3, 3, 0]  # an empty sum is 0
    assert _column('velocity(mid, "2s")', events, "trade") == [1, 1, 0]


def test_absent_sizes() -> None:
    no = Flag.LAST | Flag.NO_QTY
    events = _events(
        (0, Kind.QUOTE, (1.0, 2.0, 0, 0), no),
        (1, Kind.QUOTE, (1.0, 2.0, 3.0, 1.0)),
        (2, Kind.QUOTE, (1.0, 3.0, 0, 0), no),
    )
    assert _column("imbalance", events) == [None, 0.5, 0.5]
    assert _column("spread", events) == [1, 1, 2]
    empty = _column("microprice", _events((0, Kind.QUOTE, (1.0, 2.0, 0.0, 0.0))))
    assert empty[0] is not None and math.isnan(empty[0])  # sizes are known to be 0: ready, and no number


@pytest.mark.parametrize("lost", [False, True])
def test_a_gap_restarts_readiness_and_keeps_values(lost: bool) -> None:
    q = [(t, Kind.QUOTE, (m, m, 1, 1)) for t, m in ((0, 1.0), (1, 2.0), (2, 4.0), (3, 8.0), (4, 16.0))]
    if lost:
        q.insert(2, (1.5, Kind.STATUS, (float(Status.LOST),)))
    else:
        q[2] = (*q[2], Flag.LAST | Flag.GAP)
    d = _detail({"a": "mean(mid, 2)", "b": "mid", "c": 'lag(mid, "1s")', "d": "2.0"}, _events(*q))
    assert d.ready[:, 0].tolist() == [False, True, False, True, True]
    assert d.ready[:, 1].tolist() == [True] * 5
    assert d.ready[:, 2].tolist() == [False, True, False, True, True]
    assert d.rows.values[1:, 0].tolist() == [1.5, 3, 6, 12]
    assert d.rows.ready.tolist() == d.ready.all(axis=1).tolist()


def test_every_stands_at_boundaries_before_the_event() -> None:
    events = _events(
        (10.2, Kind.QUOTE, (1.0, 1.0, 1, 1)),
        (10.7, Kind.QUOTE, (2.0, 2.0, 1, 1)),
        (11.0, Kind.QUOTE, (3.0, 3.0, 1, 1)),  # on the boundary: after its row
        (14.5, Kind.TIMER, ()),  # one row, for 12, though 13 and 14 passed as well
        (15.0, Kind.TRADE, (5.0, 1.0, 1.0)),
    )
    d = _detail({"m": "mid", "s": 'sum(mid, "500ms")'}, events, 'every("1s")')
    assert d.ts_ns.tolist() == [11 * S, 12 * S, 15 * S]
    assert d.rows.row_index.tolist() == [2, 3, 4]
    assert d.rows.values[:, 0].tolist() == [2, 3, 3]
    assert d.rows.values[:, 1].tolist() == [2, 0, 0]


def test_bars_of_trades() -> None:
    trades = [(0.1, 5.0, 0.1), (0.5, 7.0, 0.2), (0.9, 6.0, 0.7), (1.0, 8.0, 0.3), (3.5, 9.0, 0.5)]
    events = _events(*((t, Kind.TRADE, (px, qty, 1.0)) for t, px, qty in trades), (9, Kind.TIMER, ()))
    d = _detail(
        {f: f'bar("1s", "trade").{f}' for f in ("open", "high", "low", "close", "volume")},
        events,
        'bar("1s", "trade")',
        0.1,
    )
    assert d.rows.row_index.tolist() == [3, 4, 5] and d.ts_ns.tolist() == [S, round(3.5 * S), 9 * S]
    np.testing.assert_array_equal(d.rows.values[:, :4], [[5, 7, 5, 6], [8, 8, 8, 8], [9, 9, 9, 9]])
    np.testing.assert_allclose(d.rows.values[:, 4], [1.0, 0.3, 0.5], rtol=1e-6)


def test_bars_of_the_mid_have_no_volume_and_unknown_sizes_leave_it() -> None:
    events = _events(
        (0.1, Kind.QUOTE, (1.0, 3.0, 1, 1)),
        (0.2, Kind.TRADE, (5.0, 2.0, 1.0)),
        (1.1, Kind.TRADE, (5.0, 0.0, 1.0), Flag.LAST | Flag.NO_QTY),
        (2.1, Kind.TIMER, ()),
    )
    d = _detail({"m": 'bar("1s", "mid").close', "v": 'bar("1s", "mid").volume'}, events, 'bar("1s", "mid")')
    assert d.rows.values[:, 0].tolist() == [2] and not d.ready[:, 1].any()
    assert _column('bar("1s", "trade").volume', events, 'bar("1s", "trade")', 1.0) == [2, 2]


def test_feed_bars() -> None:
    events = _events((60, Kind.BAR, (1.0, 4.0, 0.5, 2.0, 7.0)), (120, Kind.BAR, (2.0, 2.0, 2.0, 3.0, 8.0)))
    assert _column('bar("1m").close', events, 'bar("1m")') == [2, 3]
    assert _column('bar("1m").volume', events, "last") == [7, 8]


def test_last_takes_flagged_market_events_only() -> None:
    events = _events(
        (1, Kind.QUOTE, (1.0, 1.0, 1, 1), 0),
        (2, Kind.DEPTH, (1.0, 1.0, 1, 1)),
        (3, Kind.TRADE, (1.0, 1.0, 1)),
        (4, Kind.TIMER, ()),
        (5, Kind.INPUT, (1.0, 2.0)),
        (6, Kind.CONTROL, (1.0,)),
        (7, Kind.BAR, (1.0, 1.0, 1.0, 1.0, 1.0)),
    )
    assert _detail("mid", events, "last").rows.row_index.tolist() == [1, 2, 6]


def test_instruments_are_apart_and_time_for_all_comes_in_id_order() -> None:
    events = _events(
        (0.5, Kind.QUOTE, (1.0, 1.0, 1, 1), Flag.LAST, 2),
        (0.6, Kind.QUOTE, (2.0, 2.0, 1, 1), Flag.LAST, 0),
        (1.5, Kind.TIMER, (), 0, ALL_INSTRUMENTS),
        (2.5, Kind.QUOTE, (3.0, 3.0, 1, 1), Flag.LAST, 2),
    )
    d = _detail("mid", events, 'every("1s")', NAN, NAN, NAN)
    assert d.instrument_id.dtype == np.uint32
    assert list(zip(d.rows.row_index, d.instrument_id, d.rows.values[:, 0], strict=True)) == [
        (2, 0, 2),
        (2, 2, 1),
        (3, 2, 1),
    ]


def test_a_timer_for_all_is_ignored_where_time_is_later() -> None:
    events = _events(
        (0.5, Kind.QUOTE, (1.0, 1.0, 1, 1), Flag.LAST, 0),
        (5.5, Kind.QUOTE, (2.0, 2.0, 1, 1), Flag.LAST, 1),
        (1.5, Kind.TIMER, (), Flag.GAP, ALL_INSTRUMENTS),
        (5.9, Kind.QUOTE, (2.0, 2.0, 1, 1), Flag.LAST, 1),
        (6.1, Kind.QUOTE, (2.0, 2.0, 1, 1), Flag.LAST, 1),
    )
    d = _detail("mid", events, 'every("1s")', NAN, NAN)
    assert list(zip(d.rows.row_index, d.instrument_id, d.ready[:, 0], strict=True)) == [(2, 0, False), (4, 1, True)]


def test_the_clock_is_the_declared_one() -> None:
    events = _mids(1.0, 2.0, 3.0)
    events["ts_recv_ns"] = [7 * S, 0, 9 * S]
    events["ts_event_ns"][1] = 8 * S
    fs = FeatureSet.from_dict({"features": {"m": "mid"}})
    assert compute_detail(fs, events, None).ts_ns.tolist() == [7 * S, 8 * S, 9 * S]


def test_values_round_once_and_shapes_hold() -> None:
    fs = FeatureSet.from_dict({"features": {"m": "mid", "t": "mid / 3.0"}})
    rows = compute(fs, _mids(0.1, 1e300, 7.0), _table(NAN))
    assert rows.values.dtype == np.float32 and rows.ready.dtype == np.bool_ and rows.row_index.dtype == np.int64
    assert rows.values.shape == (3, 2) and rows.ready.shape == rows.row_index.shape == (3,)
    assert rows.values[:, 0].tolist() == [float(np.float32(0.1)), math.inf, 7.0]
    assert rows.values[2, 1] == np.float32(7 / 3)


def test_scale_is_the_largest_operand_so_far() -> None:
    d = _detail({"d": "mid - 5.0", "z": "log(mid)", "leaf": "mid"}, _mids(-1.0, 2.0, -9.0, 3.0))
    assert d.scale is not None
    np.testing.assert_array_equal(d.scale, [[5, 1, 1], [5, 2, 2], [9, 9, 9], [9, 9, 9]])
    assert compute_detail(FeatureSet.from_dict({"features": {"m": "mid"}}), _mids(1.0), None).scale is None


@pytest.mark.parametrize("table", [None, _table(), _table(NAN, NAN)])
def test_no_events_no_rows(table: Instruments | None) -> None:
    fs = FeatureSet.from_dict({"features": {"m": "mid", "s": "std(mid, 3)"}})
    rows = compute(fs, np.zeros(0, EVENT_DTYPE), table)
    assert rows.values.shape == (0, 2) and rows.ready.shape == (0,) and rows.row_index.shape == (0,)


def test_without_a_table_the_ids_say_how_many_instruments_there_are() -> None:
    events = _mids(1.0, 2.0, 3.0)
    events["instrument_id"] = [0, 4, 7]
    fs = FeatureSet.from_dict({"features": {"m": "mid"}})
    assert compute_detail(fs, events, None).instrument_id.tolist() == [0, 4, 7]
    events["instrument_id"][2] = 4_000_000_000  # a rejected event's id must not count
    d = compute_detail(fs, events, None, np.array([True, True, False]))
    assert d.instrument_id.tolist() == [0, 4]


def test_wrong_arrays_are_refused() -> None:
    fs = FeatureSet.from_dict({"features": {"m": "mid"}})
    with pytest.raises(DataError, match="EVENT_DTYPE"):
        compute(fs, np.zeros(3), _table(NAN))
    with pytest.raises(DataError, match="EVENT_DTYPE"):
        compute(fs, np.zeros((3, 1), EVENT_DTYPE), _table(NAN))
    with pytest.raises(DataError, match=r"accepted must be bool \[3\]"):
        compute(fs, _mids(1.0, 2.0, 3.0), _table(NAN), np.ones(2, np.bool_))
    with pytest.raises(DataError, match="accepted must be bool"):
        compute(fs, _mids(1.0, 2.0, 3.0), _table(NAN), np.ones(3, np.int64))  # type: ignore[arg-type]


def _python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env=environment, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ROOT = str(Path(alpha.features.batch.__file__).parents[2])


def test_importing_the_module_is_cheap() -> None:
    heavy = ("numba", "polars", "pandas", "pyarrow")
    code = f"import sys, alpha.features.batch; print([m for m in {heavy} if m in sys.modules])"
    assert _python(code, PYTHONPATH=ROOT) == "[]"


def test_without_numba_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import numpy as np, alpha.features.batch as b\n"
        "from alpha.errors import MissingExtraError\n"
        "from alpha.events import EVENT_DTYPE\n"
        "from alpha.features.feature_set import FeatureSet\n"
        "e = np.zeros(1, EVENT_DTYPE); e['kind'] = 1\n"
        "try: b.compute(FeatureSet.from_dict({'features': {'m': 'mid'}}), e, None)\n"
        "except MissingExtraError as x: print(x)\n"
    )
    told = _python(code, PYTHONPATH=ROOT)
    assert "numba" in told and "alpha-runtime[data]" in told


@pytest.mark.parametrize("writable", [True, False])
def test_a_package_that_cannot_be_written_still_compiles(tmp_path: Path, writable: bool) -> None:
    package = tmp_path / "alpha"
    package.mkdir()
    for name in ("__init__.py", "errors.py", "events.py"):
        shutil.copy(Path(ROOT, "alpha", name), package)
    (package / "features").mkdir()
    for file in Path(ROOT, "alpha", "features").glob("*.py"):
        shutil.copy(file, package / "features")
    (package / "features" / "__pycache__").touch()  # a file where the cache folder would be: nothing can be kept there
    home = tmp_path / "home" if writable else "/dev/null"
    code = "from alpha.features import _batch_kernels as k; print(k.exp2n(-2.0), k.__file__)"
    environment = {"PYTHONPATH": str(tmp_path), "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    assert _python(code, **environment) == f"0.25 {package / 'features' / '_batch_kernels.py'}"
    assert bool(list(tmp_path.glob("home/**/*exp2n*.nbi"))) == writable
