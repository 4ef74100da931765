"""The simulated stream: what was planted is there, and the same bits come out however it is cut."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alpha.data.simulate import SimulatedStream, drift, simulate, simulate_blocks
from alpha.errors import AlphaError
from alpha.events import Flag, Kind


@pytest.fixture(scope="module")
def stream() -> SimulatedStream:
    return simulate(400_000)


def information_coefficient(stream: SimulatedStream, horizon_ns: int) -> tuple[float, int]:
    """Correlation of the signal with the mid's change over the horizon, and the number of quotes used."""
    quotes = stream.events["kind"] == Kind.QUOTE
    events, signal = stream.events[quotes], stream.signal[quotes]
    ts, mid = events["ts_event_ns"], 0.5 * (events["v"][:, 0] + events["v"][:, 1])
    inside = ts + horizon_ns < ts[-1]
    later = np.searchsorted(ts, ts[inside] + horizon_ns, side="right") - 1
    return float(np.corrcoef(signal[inside], mid[later] - mid[inside])[0, 1]), int(inside.sum())


@pytest.mark.parametrize(("strength", "half_life"), [(0.35, "2s"), (0.2, "2s"), (0.5, "500ms")])
def test_the_planted_strength_is_found(strength: float, half_life: str) -> None:
    stream = simulate(400_000, strength=strength, half_life=half_life)
    span = int(stream.events["ts_event_ns"][-1] - stream.events["ts_event_ns"][0])
    found, _ = information_coefficient(stream, stream.half_life_ns)
    independent = span / stream.half_life_ns  # windows that do not overlap
    assert abs(found - strength) < 3.5 / math.sqrt(independent)


def test_no_strength_plants_nothing() -> None:
    stream = simulate(400_000, strength=0.0)
    assert drift(0.0, 2.0) == 0.0
    assert abs(information_coefficient(stream, stream.half_life_ns)[0]) < 0.05


def test_the_signal_halves_every_half_life(stream: SimulatedStream) -> None:
    quotes = stream.events["kind"] == Kind.QUOTE
    ts, signal = stream.events["ts_event_ns"][quotes], stream.signal[quotes]
    assert abs(signal.std() - 1.0) < 0.05
    for halves in (1, 2):
        horizon = halves * stream.half_life_ns
        inside = ts + horizon < ts[-1]
        later = np.searchsorted(ts, ts[inside] + horizon, side="right") - 1
        assert abs(np.corrcoef(signal[inside], signal[later])[0, 1] - 0.5**halves) < 0.05


def test_what_a_trader_sees_tells_something_but_not_everything(stream: SimulatedStream) -> None:
    quotes = stream.events["kind"] == Kind.QUOTE
    v = stream.events["v"][quotes]
    imbalance = (v[:, 2] - v[:, 3]) / (v[:, 2] + v[:, 3])
    assert 0.3 < np.corrcoef(imbalance, stream.signal[quotes])[0, 1] < 0.8
    trades = stream.events["kind"] == Kind.TRADE
    assert 0.2 < np.corrcoef(stream.events["v"][trades, 2], stream.signal[trades])[0, 1] < 0.8


def test_events_are_sound(stream: SimulatedStream) -> None:
    events = stream.events
    assert len(events) == len(stream.signal) == 400_000
    assert (np.diff(events["ts_recv_ns"]) >= 0).all()
    quotes = events[events["kind"] == Kind.QUOTE]["v"]
    ticks = np.rint(quotes[:, :2] * 100)
    np.testing.assert_array_equal(ticks / 100, quotes[:, :2])
    assert set(np.unique(ticks[:, 1] - ticks[:, 0])) == {1.0, 2.0, 3.0}
    assert (quotes[:, 2:4] >= 1).all()
    trades = events[events["kind"] == Kind.TRADE]["v"]
    assert set(np.unique(trades[:, 2])) == {-1.0, 1.0}
    depth = events[events["kind"] == Kind.DEPTH]
    assert set(np.unique(depth["level"])) == {1, 2, 3, 4}
    assert not (depth["flags"] & int(Flag.LAST)).any()


def test_the_same_seed_gives_the_same_bits_at_any_length() -> None:
    short, long = simulate(5_000, seed=3), simulate(40_000, seed=3)
    assert short.events.tobytes() == long.events[:5_000].tobytes()
    assert short.signal.tobytes() == long.signal[:5_000].tobytes()
    assert simulate(5_000, seed=4).events.tobytes() != short.events.tobytes()
    first, _ = next(simulate_blocks(3))
    assert first[:5_000].tobytes() == short.events.tobytes()


def test_instruments_are_named_as_simulated() -> None:
    stream = simulate(30_000, n_instruments=3)
    assert stream.instruments.symbols == ("SIM0", "SIM1", "SIM2")
    assert np.unique(stream.events["instrument_id"]).tolist() == [0, 1, 2]
    assert "simulated" in stream.describe().lower()
    assert (np.diff(stream.events["ts_recv_ns"]) >= 0).all()


@pytest.mark.parametrize(
    "keywords", [{"n_events": 0}, {"strength": 0.95}, {"strength": -0.1}, {"half_life": "2 s"}, {"levels": 0}]
)
def test_impossible_requests_are_errors(keywords: dict[str, object]) -> None:
    with pytest.raises(AlphaError):
        simulate(**{"n_events": 100, **keywords})  # type: ignore[arg-type]


# -- a signal that turns on purpose


def _correlation(stream: SimulatedStream, begin_s: float, end_s: float) -> float:
    """Of the signal with the mid's change over its half-life, in a part of the stream."""
    quotes = stream.events["kind"] == Kind.QUOTE
    events, signal = stream.events[quotes], stream.signal[quotes]
    ts, mid = events["ts_event_ns"], 0.5 * (events["v"][:, 0] + events["v"][:, 1])
    seconds = (ts - ts[0]) / 1e9
    inside = (seconds >= begin_s) & (seconds < end_s - 2.0) & (ts + stream.half_life_ns < ts[-1])
    later = np.searchsorted(ts, ts[inside] + stream.half_life_ns, side="right") - 1
    return float(np.corrcoef(signal[inside], mid[later] - mid[inside])[0, 1])


def test_a_turn_changes_nothing_before_it_and_what_is_seen_never() -> None:
    plain, turned = simulate(60_000), simulate(60_000, turn="10m")
    before = plain.events["ts_event_ns"] < plain.events["ts_event_ns"][0] + 599 * 10**9
    assert 20_000 < before.sum() < 40_000
    assert (plain.events[before] == turned.events[before]).all()
    assert (plain.signal == turned.signal).all()
    assert (plain.events["v"][:, 2:4] != turned.events["v"][:, 2:4])[plain.events["kind"] == Kind.QUOTE].sum() == 0
    assert (plain.events != turned.events)[~before].mean() > 0.5
    assert simulate(60_000, turn="10m", turn_to=1.0).events.tobytes() == plain.events.tobytes()
    assert "from 10m on it counts -1 times" in turned.describe()


def test_after_the_turn_the_signal_counts_the_other_way_round_or_not_at_all() -> None:
    turned = simulate(400_000, turn="80m")
    assert _correlation(turned, 0, 4_800) > 0.25
    assert _correlation(turned, 4_802, 9_600) < -0.25
    assert abs(_correlation(simulate(400_000, turn="1ns", turn_to=0.0), 2, 9_600)) < 0.06
    slow = simulate(400_000, turn="40m", turn_over="80m")  # half way at 80 minutes
    first, middle, last = (_correlation(slow, a, a + 2_300) for a in (0, 3_650, 7_250))
    assert first > 0.25 and abs(middle) < 0.12 and last < -0.25


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"turn": "10m", "turn_to": -1.5}, "turn_to must be from -1 to 1"),
        ({"turn_over": "10m"}, "turn does not say when it begins"),
        ({"turn": "soon"}, "is not a duration"),
    ],
)
def test_a_turn_that_makes_no_sense_is_refused(more: dict[str, object], words: str) -> None:
    with pytest.raises(AlphaError, match=words):
        simulate(100, **more)  # type: ignore[arg-type]
