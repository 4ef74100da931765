"""Simulated order flow with a planted, decaying signal of known strength. Floor 2.

Per instrument a latent pressure s follows an Ornstein-Uhlenbeck process of unit variance that halves
every ``half_life`` H, and drives the fair price p (in ticks):

    ds = -theta s dt + sqrt(2 theta) dW,   theta = ln2 / H
    dp = beta s dt + sigma dB

beta is chosen so that corr(s_t, p_{t+H} - p_t) equals ``strength`` exactly: with
B = (1 - exp(-theta H)) / theta the part of the path that s_t predicts and
V = (2/theta) (H - 2B + (1 - exp(-2 theta H)) / (2 theta)) its unpredictable part,

    strength^2 = beta^2 B^2 / (beta^2 (B^2 + V) + sigma^2 H)

``turn`` makes it drift on purpose: from that time of the stream on the signal drives the price with ``turn_to`` times its
beta (-1: the other way round, 0: not at all), at once or, with ``turn_over``, in a straight line over that long. What a
trader sees of s stays what it was, so a model that was fitted before becomes wrong and notices nothing.

What a trader sees of s are noisy queue sizes and trade signs. Bid and ask stand on the tick grid
around p, so the correlation with the *mid* is slightly lower.

This is a simulation: every symbol starts with SIM, and everything made from it must say so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.data.build import Events, weave
from alpha.errors import DataError
from alpha.events import EVENT_DTYPE, Flag, Kind
from alpha.instruments import Instrument, Instruments, duration_ns

TICK = 0.01
SIGMA = 2.0  # ticks per square root of a second
MEAN_GAP_NS = 40_000_000  # between two updates of one instrument
START_NS = 1_767_225_600 * 10**9  # 2026-01-01T00:00:00Z
_BLOCK = 16_384  # steps made at a time: the bits do not depend on how the caller cuts the stream


@dataclass(frozen=True, slots=True)
class SimulatedStream:
    """``events``; ``signal``: the planted s at each event; ``strength``: corr(s, fair-price change over ``half_life_ns``),
    before its turn; ``turn``: the turn in words, empty without one."""

    events: Events
    signal: npt.NDArray[np.float64]
    instruments: Instruments
    strength: float
    half_life_ns: int
    turn: str = ""

    def describe(self) -> str:
        """One line that says what this is."""
        return (
            f"SIMULATED order flow of {', '.join(self.instruments.symbols)}: {len(self.events):,} events with a planted signal, "
            f"correlation {self.strength:g} with the price change over its half-life of {self.half_life_ns / 1e9:g} s{self.turn}"
        )


def drift(strength: float, half_life_s: float) -> float:
    """beta in ticks per second; DataError if no drift makes the signal that strong."""
    theta = math.log(2.0) / half_life_s
    b = (1.0 - math.exp(-theta * half_life_s)) / theta
    v = (2.0 / theta) * (half_life_s - 2.0 * b + (1.0 - math.exp(-2.0 * theta * half_life_s)) / (2.0 * theta))
    room = b * b - strength**2 * (b * b + v)
    if not 0.0 <= strength < 1.0 or room <= 0.0:
        raise DataError(
            f"a strength of {strength} cannot be planted: it must lie from 0 to {math.sqrt(b * b / (b * b + v)):.2f}"
        )
    return strength * SIGMA * math.sqrt(half_life_s / room)


def simulated_instruments(n: int) -> Instruments:
    """SIM0, SIM1, …"""
    return Instruments.of(
        *(Instrument(symbol=f"SIM{i}", tick_size=TICK, lot_size=1.0, currency="USD") for i in range(n))
    )


def simulate(
    n_events: int = 200_000,
    seed: int = 7,
    *,
    n_instruments: int = 1,
    strength: float = 0.35,
    half_life: str = "2s",
    levels: int = 5,
    turn: str = "",
    turn_over: str = "",
    turn_to: float = -1.0,
) -> SimulatedStream:
    """``n_events`` simulated quotes, trades and depth updates of ``n_instruments``, the same bits for the same arguments.

    ``turn``: the time into the stream, e.g. "20m", from which the signal drives the price by ``turn_to`` (from -1 to 1)
    times what it did, reached after ``turn_over``; empty: never.
    """
    if n_events < 1:
        raise DataError(f"n_events must be at least 1, not {n_events}")
    parts = []
    made = 0
    for events, signal in simulate_blocks(
        seed,
        n_instruments=n_instruments,
        strength=strength,
        half_life=half_life,
        levels=levels,
        turn=turn,
        turn_over=turn_over,
        turn_to=turn_to,
    ):
        parts.append((events, signal))
        made += len(events)
        if made >= n_events:
            break
    return SimulatedStream(
        np.concatenate([p[0] for p in parts])[:n_events],
        np.concatenate([p[1] for p in parts])[:n_events],
        simulated_instruments(n_instruments),
        strength,
        duration_ns(half_life),
        f"; from {turn} on it counts {turn_to:g} times{f', reached over {turn_over}' if turn_over else ''}"
        if turn
        else "",
    )


@dataclass
class _State:
    """One instrument between two blocks."""

    t_ns: int = START_NS
    s: float = 0.0
    p: float = 10_000.0  # fair price in ticks


@dataclass(frozen=True, slots=True)
class _Turn:
    """How beta changes with time."""

    begin_ns: int
    over_ns: int
    to: float

    def factor(self, t: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Of beta over the step that ends at each time."""
        done = (t - self.begin_ns) / self.over_ns if self.over_ns else (t >= self.begin_ns).astype(np.float64)
        return np.asarray(1.0 + (self.to - 1.0) * np.clip(done, 0.0, 1.0))


def _turn_of(turn: str, turn_over: str, turn_to: float) -> _Turn | None:
    if not -1.0 <= turn_to <= 1.0:
        raise DataError(f"turn_to must be from -1 to 1, not {turn_to}: the signal cannot become stronger than it was")
    if not turn:
        if turn_over:
            raise DataError(
                f"turn_over = {turn_over!r} says how long a turn takes, and turn does not say when it begins"
            )
        return None
    return _Turn(START_NS + duration_ns(turn), duration_ns(turn_over) if turn_over else 0, turn_to)


def simulate_blocks(
    seed: int,
    *,
    n_instruments: int = 1,
    strength: float = 0.35,
    half_life: str = "2s",
    levels: int = 5,
    turn: str = "",
    turn_over: str = "",
    turn_to: float = -1.0,
) -> Iterator[tuple[Events, npt.NDArray[np.float64]]]:
    """The same stream without an end, in blocks of (events, planted signal)."""
    if not 1 <= n_instruments <= 4096:
        raise DataError(f"n_instruments must be from 1 to 4096, not {n_instruments}")
    if not 1 <= levels <= 10:
        raise DataError(f"levels must be from 1 to 10, not {levels}")
    half_life_s = duration_ns(half_life) / 1e9
    beta = drift(strength, half_life_s)
    turning = _turn_of(turn, turn_over, turn_to)
    states = [_State() for _ in range(n_instruments)]
    clock = START_NS
    block = 0
    while True:
        rng = np.random.default_rng([seed, block])
        gaps = np.maximum(rng.exponential(MEAN_GAP_NS / n_instruments, _BLOCK).astype(np.int64), 1)
        t = clock + np.cumsum(gaps)
        clock = int(t[-1])
        who = rng.integers(0, n_instruments, _BLOCK)
        s, p = np.empty(_BLOCK), np.empty(_BLOCK)
        noise = rng.standard_normal((2, _BLOCK))
        for i, state in enumerate(states):
            at = np.flatnonzero(who == i)
            if len(at):
                own = beta if turning is None else beta * turning.factor(t[at])
                s[at], p[at] = _paths(state, t[at], noise[:, at], own, half_life_s)
        yield _emit(rng, t, who, s, p, levels)
        block += 1


def _paths(state: _State, t: Any, noise: Any, beta: Any, half_life_s: float) -> tuple[Any, Any]:
    """Signal and fair price of one instrument at its steps; the state moves on."""
    dt = np.diff(t, prepend=state.t_ns) / 1e9
    keep = np.exp2(-dt / half_life_s)
    shock = np.sqrt(1.0 - keep * keep) * noise[0]
    s = np.fromiter(
        accumulate(zip(keep.tolist(), shock.tolist(), strict=True), lambda x, ks: ks[0] * x + ks[1], initial=state.s),
        float,
        len(t) + 1,
    )
    # over a gap the drift is that of the mean of the exponentially decaying s
    theta = math.log(2.0) / half_life_s
    p = state.p + np.cumsum(beta * s[:-1] * (1.0 - keep) / theta + SIGMA * np.sqrt(dt) * noise[1])
    state.t_ns, state.s, state.p = int(t[-1]), float(s[-1]), float(p[-1])
    return s[1:], p


def _emit(rng: np.random.Generator, t: Any, who: Any, s: Any, p: Any, levels: int) -> tuple[Events, Any]:
    """A quote at every step; before it, at some, a trade or a change of a deeper level."""
    n = len(t)
    p = np.maximum(p, 100.0)
    width = rng.choice([1, 2, 3], n, p=[0.7, 0.2, 0.1])
    bid = np.floor(p - 0.5 * (width - 1))
    lean = np.tanh(0.6 * s + 0.8 * rng.standard_normal(n))
    depth = rng.gamma(4.0, 25.0, n)
    steps = np.arange(n)

    def make(at: Any, kind: Kind, flags: int = 0) -> Events:
        e = np.zeros(len(at), dtype=EVENT_DTYPE)
        e["ts_event_ns"] = e["ts_recv_ns"] = t[at]
        e["ts_recv_ns"] += 50_000
        e["instrument_id"], e["kind"], e["flags"] = who[at], kind, flags
        return e

    quotes = make(steps, Kind.QUOTE, int(Flag.LAST))
    quotes["v"][:, 0], quotes["v"][:, 1] = np.round(bid * TICK, 2), np.round((bid + width) * TICK, 2)
    quotes["v"][:, 2] = np.maximum(np.rint(depth * (1.0 + 0.8 * lean)), 1.0)
    quotes["v"][:, 3] = np.maximum(np.rint(depth * (1.0 - 0.8 * lean)), 1.0)
    traded = steps[rng.random(n) < 0.3]
    buys = rng.random(len(traded)) < 1.0 / (1.0 + np.exp(-0.9 * s[traded]))
    trades = make(traded, Kind.TRADE, int(Flag.LAST))
    trades["v"][:, 0] = np.where(buys, quotes["v"][traded, 1], quotes["v"][traded, 0])
    trades["v"][:, 1] = np.ceil(rng.exponential(20.0, len(traded)))
    trades["v"][:, 2] = np.where(buys, 1.0, -1.0)
    parts = [(traded, 0, trades)]
    if levels > 1:
        changed = steps[rng.random(n) < 0.3]
        deeper = make(changed, Kind.DEPTH)
        deeper["level"] = rng.integers(1, levels, len(changed))
        offset = deeper["level"] * TICK
        deeper["v"][:, 0] = np.round(quotes["v"][changed, 0] - offset, 2)
        deeper["v"][:, 1] = np.round(quotes["v"][changed, 1] + offset, 2)
        deeper["v"][:, 2:4] = np.ceil(rng.gamma(4.0, 40.0, (len(changed), 2)))
        parts.append((changed, 1, deeper))
    parts.append((steps, 2, quotes))
    rows = np.sort(np.concatenate([x[0] for x in parts]), kind="stable")
    return weave(parts), s[rows]
