"""Saved state: going on equals never having stopped; foreign and damaged blobs are refused and change nothing."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from programs import program, table_for
from streams import stream

import alpha
from alpha.data.simulate import simulate
from alpha.errors import AlphaError, StateError
from alpha.events import Action, Reason
from alpha.features import catalog

STREAM = simulate(9_000, seed=8, n_instruments=2)


@pytest.fixture(autouse=True)
def _untrained_instruments_are_fine() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", alpha.AlphaWarning)
        yield


def demo(instruments: object = STREAM.instruments) -> alpha.Runtime:
    return alpha.Runtime.from_registry(None, "models:/demo/1", instruments=instruments)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(30))
def test_going_on_equals_never_having_stopped(seed: int) -> None:
    """Random programs, random streams, random places to stop; grown rings included."""
    rng = np.random.default_rng(seed)
    fs = program(rng, 6)
    table = table_for(fs, rng)
    events = stream(seed, n=900, faults=seed % 3 == 0)
    whole = alpha.Runtime.from_features(fs, instruments=table)
    expected = whole.run(events)
    cut = int(rng.integers(1, 900))
    first = alpha.Runtime.from_features(fs, instruments=table)
    begun = first.run(events[:cut])
    blob = first.save_state()
    assert blob == first.save_state()
    second = alpha.Runtime.from_features(fs, instruments=table)
    second.run(events[: int(rng.integers(0, 900))])  # whatever it was before is gone
    second.load_state(blob)
    assert second.save_state() == blob
    rest = second.run(events[cut:])
    assert begun.tobytes() + rest.tobytes() == expected.tobytes()
    assert second.save_state() == whole.save_state()
    for symbol in ("A", "B"):
        a, b = whole.feature_vector(symbol), second.feature_vector(symbol)
        assert (a is None) == (b is None) and (a is None or a.tobytes() == b.tobytes())  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["book", "micro", "demo"])
def test_catalogues_go_on(name: str) -> None:
    fs, events = catalog.get(name), STREAM.events
    whole = alpha.Runtime.from_features(fs, instruments=STREAM.instruments)
    whole.run(events)
    parts = alpha.Runtime.from_features(fs, instruments=STREAM.instruments)
    parts.run(events[:5000])
    after = alpha.Runtime.from_features(fs, instruments=STREAM.instruments)
    after.load_state(parts.save_state())
    after.run(events[5000:])
    assert after.save_state() == whole.save_state() and after.stats()["events"] == len(events)


def test_blocks_that_lie_side_by_side_and_blocks_that_do_not() -> None:
    """Many instruments share one piece of memory; a loaded state brings blocks of their own, new features other ones."""
    n, rng = 1_500, np.random.default_rng(5)
    fs = catalog.get("twenty")
    table = alpha.Instruments.of(*(f"I{k}" for k in range(n)))
    events = np.concatenate([simulate(9_000, seed=k, levels=1).events for k in range(2)])
    events["instrument_id"] = rng.choice(
        n, len(events), p=1.0 / np.arange(1, n + 1) / (1.0 / np.arange(1, n + 1)).sum()
    )
    events = events[np.argsort(events["ts_recv_ns"], kind="stable")]
    whole = alpha.Runtime.from_features(fs, instruments=table)
    expected, cut = whole.run(events), len(events) // 2
    other = alpha.Runtime.from_features(fs, instruments=table)
    begun = other.run(events[:cut])
    for _ in range(2):  # the second replaces blocks that came out of a state
        other.load_state(other.save_state())
    assert begun.tobytes() + other.run(events[cut:]).tobytes() == expected.tobytes()
    assert other.save_state() == whole.save_state()
    for k in (0, 3, 700):
        alone = alpha.Runtime.from_features(fs, instruments=alpha.Instruments.of(f"I{k}"))
        own = events[events["instrument_id"] == k]
        own["instrument_id"] = 0
        alone.run(own)
        a, b = alone.feature_vector(f"I{k}"), whole.feature_vector(f"I{k}")
        assert (a is None) == (b is None) and (a is None or a.tobytes() == b.tobytes())  # type: ignore[union-attr]


def test_with_a_model_signals_go_on_too() -> None:
    expected = demo().run(STREAM.events)
    first, second = demo(), demo()
    begun = first.run(STREAM.events[:4321])
    second.load_state(first.save_state())
    latest = second.latest("SIM0")
    assert latest == first.latest("SIM0") and latest is not None
    assert begun.tobytes() + second.run(STREAM.events[4321:]).tobytes() == expected.tobytes()


def test_damaged_and_foreign_blobs_change_nothing() -> None:
    rt = demo()
    rt.run(STREAM.events[:3000])
    blob, before = rt.save_state(), rt.save_state()
    rng = np.random.default_rng(4)
    for _ in range(200):
        bad = bytearray(blob)
        bad[int(rng.integers(0, len(bad)))] ^= 1 << int(rng.integers(0, 8))
        with pytest.raises(StateError):
            rt.load_state(bytes(bad))
    for cut in (0, 5, 40, 300, len(blob) // 2, len(blob) - 1):
        with pytest.raises(StateError, match="saved state"):
            rt.load_state(blob[:cut])
    with pytest.raises(StateError, match="is bytes"):
        rt.load_state("text")  # type: ignore[arg-type]
    assert rt.save_state() == before


def test_a_state_is_bound_to_what_made_it() -> None:
    rt = demo()
    rt.run(STREAM.events[:3000])
    blob = rt.save_state()
    with pytest.raises(StateError, match="another instruments"):
        demo(["SIM0", "OTHER"]).load_state(blob)
    with pytest.raises(StateError, match="another definition"):
        alpha.Runtime.from_features(catalog.get("twenty"), instruments=STREAM.instruments).load_state(blob)
    with pytest.raises(StateError, match="another model"):
        alpha.Runtime.from_features(rt.bundle.feature_set, instruments=STREAM.instruments).load_state(blob)
    with pytest.raises(AlphaError, match="not a state"):
        rt._pipeline.restore(b"x" * 100)
    with rt.start(), pytest.raises(StateError, match="a worker owns"):
        rt.save_state()


def test_warming_decides_nothing() -> None:
    rt, other = demo(), demo()
    n = rt.warm(STREAM.events[:5000])
    assert n > 0 and rt.stats()["actions"]["BUY"] == rt.stats()["actions"]["SELL"] == 0
    latest = rt.latest("SIM0")
    assert latest is not None and latest.action == Action.HOLD and not rt.stats()["killed"]
    other.run(STREAM.events[:5000])
    assert rt.run(STREAM.events[5000:])["scores"].tobytes() == other.run(STREAM.events[5000:])["scores"].tobytes()


def test_resume_replays_the_gap_or_starts_to_warm_up_again() -> None:
    rt = demo()
    rt.run(STREAM.events[:4000])
    blob = rt.save_state()
    whole = demo()
    whole.run(STREAM.events[:6000])
    expected = whole.run(STREAM.events[6000:])
    filled = demo()
    assert filled.resume(blob, STREAM.events[3000:6000]) == 2000
    assert filled.run(STREAM.events[6000:])["scores"].tobytes() == expected["scores"].tobytes()
    for history in (None, STREAM.events[5000:6000]):
        opened = demo()
        assert opened.resume(blob, history) == 0
        reasons = opened.run(STREAM.events[6000:])["reason"]
        assert reasons[0] == Reason.STALE and Reason.MODEL in set(reasons)
