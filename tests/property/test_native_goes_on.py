"""Sessions, other instruments, series, bars by trades and VPIN: cut anywhere, saved and loaded anywhere, on any ISA,
the same bits; and what one instrument looks at is all that others mean to it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from streams import T0, stream

import alpha
from alpha import sessions
from alpha._core.program import available_isas
from alpha.data.inputs import with_inputs
from alpha.errors import StateError
from alpha.events import Kind
from alpha.features.feature_set import FeatureSet
from alpha.features.native import native_rows, row_maker
from alpha.instruments import Instrument, Instruments
from alpha.sessions import SessionTable

S = 10**9
# 30 s of trading with a break of 5 s, 10 s of none, for as long as any stream here lasts
STARTS = T0 + np.arange(-2, 400) * 40 * S
TABLE = SessionTable.of("TEST", [(int(t), int(t) + 10 * S, int(t) + 15 * S, int(t) + 30 * S) for t in STARTS])
NAMES = Instruments.of(*(Instrument(symbol=s, lot_size=0.01, tick_size=0.01) for s in "ABC"))
FEATURES = (
    'ema(mid, span=3, reset="never")',
    "mean(px, 3)",
    'std(mid, "30s", ddof=1)',
    'rank(mid, "10s")',
    "median(mid, 40)",
    'max(mid, "1m")',
    "argmin(px, 7)",
    'corr(mid, px, "20s")',
    'beta(mid, px, 5, reset="never")',
    'slope(mid, "7s")',
    "skew(mid, 5)",
    'ema(mid, half_life="5s")',
    "rsi(mid, 3)",
    "cumsum(ofi)",
    "first(px)",
    "ofi(2)",
    "trade_sign",
    'of("B", mean(mid, 2))',
    'mid - of("A", mid)',
    'of("C", tick_bar(2).close)',
    'of("B", input("y"))',
    'input("x")',
    'mean(input("x", max_age="2s") + 0.0 * mid, 3)',
    'where(input("y") > 0, mid, px)',
    "tick_bar(3).vwap",
    "cumsum(volume_bar(0.7).count)",
    "dollar_bar(90).close",
    'bar("1s", "trade").vwap',
    'cumsum(bar("300ms", "mid").count, reset="session")',
    "vpin(0.3, 4)",
    'vpin(0.3, 2, reset="never")',
    "seconds_since_open",
    "minutes_to_close * is_rth",
    'mean(mid * sin_day, "3s")',
    "cos_day * px",
)
TRIGGERS = (
    "quote",
    "trade",
    "last",
    'every("700ms")',
    'bar("1s", "trade")',
    "tick_bar(4)",
    "volume_bar(0.9)",
    'bar("1m")',
)


def calendars(name: str, folder: str) -> SessionTable:
    assert name == "TEST"
    return TABLE


@pytest.fixture(autouse=True)
def _calendar(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sessions, "_found", calendars)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", alpha.AlphaWarning)
        yield


def program(seed: int) -> FeatureSet:
    rng = np.random.default_rng(seed)
    chosen = rng.choice(FEATURES, 9, replace=False).tolist()
    return FeatureSet.from_dict(
        {
            "features": {f"f{i}": e for i, e in enumerate(chosen)},
            "trigger": TRIGGERS[seed % len(TRIGGERS)],
            "stream": {"calendar": "TEST", "session_break": "session" if seed % 4 else "none"},
        }
    )


def events_of(fs: FeatureSet, seed: int, n: int = 700) -> np.ndarray:
    """A random stream of three instruments, with faults, and values of the series the set reads."""
    rng = np.random.default_rng(seed)
    e = stream(seed, n=n, instruments=3, faults=seed % 3 == 0)
    e = e[e["kind"] != Kind.INPUT]
    for name in fs.inputs:
        t = np.sort(rng.integers(T0, T0 + 200 * S, 60))
        symbol = None if rng.random() < 0.5 else str(rng.choice(NAMES.symbols))
        e = with_inputs(e, fs, {name: (t, rng.normal(size=60))}, symbol=symbol, instruments=NAMES if symbol else None)
    return e


def rows_of(seed: int) -> dict[str, np.ndarray]:
    fs = program(seed)
    return native_rows(fs, events_of(fs, seed), NAMES)


def test_the_streams_break_sessions_and_make_values_of_every_feature() -> None:
    """Else the tests below would prove nothing."""
    finite: dict[str, int] = dict.fromkeys(FEATURES, 0)
    for seed in range(40):
        fs, made = program(seed), rows_of(seed)
        good = (np.isfinite(made["values"]) & made["ready"]).sum(axis=0)
        for e, n in zip(fs.features.values(), good.tolist(), strict=True):
            finite[next(t for t in FEATURES if FeatureSet.from_dict({"features": {"x": t}}).features["x"] == e)] += n
    assert all(finite.values()), [e for e, n in finite.items() if not n]


@pytest.mark.parametrize("seed", range(24))
def test_any_chunking_gives_the_same_bits(seed: int) -> None:
    fs = program(seed)
    events, rng = events_of(fs, seed), np.random.default_rng(seed)
    whole, maker = native_rows(fs, events, NAMES), row_maker(fs, NAMES)
    cuts = np.sort(rng.integers(0, len(events), int(rng.integers(1, 40))))
    parts = [(at, maker.rows(part)) for at, part in zip([0, *cuts], np.split(events, cuts), strict=True)]
    for name, expected in whole.items():
        got = np.concatenate([p[name] + at if name == "row_index" else p[name] for at, p in parts])
        assert got.tobytes() == expected.tobytes(), name


@pytest.mark.parametrize("seed", range(32))
def test_going_on_equals_never_having_stopped(seed: int) -> None:
    fs = program(seed)
    events, rng = events_of(fs, seed), np.random.default_rng(seed)
    whole = alpha.Runtime.from_features(fs, instruments=NAMES)
    expected = whole.run(events)
    cut = int(rng.integers(1, len(events)))
    first = alpha.Runtime.from_features(fs, instruments=NAMES)
    begun = first.run(events[:cut])
    blob = first.save_state()
    assert blob == first.save_state()
    second = alpha.Runtime.from_features(fs, instruments=NAMES)
    second.run(events[: int(rng.integers(0, len(events)))])
    second.load_state(blob)
    assert second.save_state() == blob
    first.close()
    del first  # nothing of it may be looked at any more
    rest = second.run(events[cut:])
    assert begun.tobytes() + rest.tobytes() == expected.tobytes()
    assert second.save_state() == whole.save_state()
    for symbol in NAMES.symbols:
        a, b = whole.feature_vector(symbol), second.feature_vector(symbol)
        assert (a is None) == (b is None) and (a is None or b is None or a.tobytes() == b.tobytes())


@pytest.mark.parametrize("seed", range(12))
def test_an_instrument_that_nobody_looks_at_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chosen = rng.choice([e for e in FEATURES if 'of("C"' not in e], 9, replace=False).tolist()
    fs = FeatureSet.from_dict(
        {
            "features": {f"f{i}": e for i, e in enumerate(chosen)},
            "trigger": TRIGGERS[seed % len(TRIGGERS)],
            "stream": {"calendar": "TEST", "session_break": "session"},
        }
    )
    events = events_of(fs, seed)
    together, alone = native_rows(fs, events, NAMES), native_rows(fs, events[events["instrument_id"] != 2], NAMES)
    mine, same = together["instrument_id"] != 2, alone["instrument_id"] != 2
    for name in ("values", "ready", "ts_ns"):
        assert together[name][mine].tobytes() == alone[name][same].tobytes(), name


def test_a_state_is_bound_to_its_sessions_and_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    fs = program(1)
    rt = alpha.Runtime.from_features(fs, instruments=NAMES)
    rt.run(events_of(fs, 1))
    blob = rt.save_state()
    other = Instruments.of(*(Instrument(symbol=s, lot_size=0.01, tick_size=0.05) for s in "ABC"))
    with pytest.raises(StateError, match="another instruments"):
        alpha.Runtime.from_features(fs, instruments=other).load_state(blob)
    moved = SessionTable.of("TEST", [(int(t) + 1, int(t) + 30 * S) for t in STARTS])
    monkeypatch.setattr(sessions, "_found", lambda name, folder: moved)
    with pytest.raises(StateError, match="another sessions"):
        alpha.Runtime.from_features(fs, instruments=NAMES).load_state(blob)


_CODE = """
import sys
sys.path[:0] = sys.argv[1:3]
import test_native_goes_on as t
print(t.digest())
"""


def digest() -> str:
    """Of the rows of 24 programs with the kernels in use."""
    sessions._found = calendars  # type: ignore[assignment]
    out = hashlib.sha256()
    for seed in range(24):
        made = rows_of(seed)
        for name in sorted(made):
            out.update(np.ascontiguousarray(np.nan_to_num(made[name], nan=-1.0)).tobytes())
    return out.hexdigest()


def test_all_isas_agree_bit_for_bit() -> None:
    here = Path(__file__).parent
    found = {
        name: subprocess.run(
            [sys.executable, "-c", _CODE, str(here), str(here.parent)],
            env={**os.environ, "ALPHA_ISA": name},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in available_isas()
    }
    assert "portable" in found and len(set(found.values())) == 1, found
