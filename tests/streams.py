"""Seeded random streams and expressions for tests: gaps, ties, empty sides, timers, several instruments."""

from __future__ import annotations

import numpy as np

from alpha.errors import DefinitionError
from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, Flag, Kind, Status
from alpha.features.language import parse
from alpha.features.units import unit_of

T0 = 1_700_000_000 * 10**9


def stream(seed: int, n: int = 600, instruments: int = 2, faults: bool = False) -> np.ndarray:
    """``n`` events of a random tick stream. ``faults`` adds what a guard must reject."""
    rng = np.random.default_rng(seed)
    e = np.zeros(n, EVENT_DTYPE)
    steps = rng.choice(
        [0, 1, 10**6, 10**7, 10**8, 3 * 10**8, 10**9, 20 * 10**9], n, p=[0.2, 0.05, 0.2, 0.2, 0.2, 0.1, 0.04, 0.01]
    )
    e["ts_event_ns"] = T0 + np.cumsum(steps * rng.integers(1, 4, n))
    if rng.random() < 0.5:
        e["ts_recv_ns"] = e["ts_event_ns"]
        e["ts_event_ns"] += rng.integers(-(10**6), 10**6, n)
    e["instrument_id"] = rng.integers(0, instruments, n)
    weights = np.array([0.5, 0.25, 0.1, 0.05, 0.02, 0.06, 0.02])
    e["kind"] = rng.choice([1, 2, 3, 4, 5, 6, 8], n, p=weights)
    e["flags"] = rng.choice([0, 1], n, p=[0.3, 0.7])
    tick = float(rng.choice([0.01, 0.5, 1e-5, 1.0]))
    base = float(rng.choice([1.0, 100.0, 60_000.0, 1e5]))
    path = np.cumsum(rng.integers(-2, 3, n) * (rng.random(n) < rng.choice([0.05, 0.5, 1.0]))) * tick
    mid = np.round((base + np.abs(path - path.min())) / tick) * tick
    v = e["v"]
    for kind in Kind:
        at = e["kind"] == kind
        k, m = int(at.sum()), mid[at]
        if kind == Kind.QUOTE:
            v[at, 0], v[at, 1] = m, m + tick * rng.integers(0, 4, k)
            v[at, 2:4] = rng.integers(0, 4, (k, 2)) * rng.choice([1.0, 0.001])
        elif kind == Kind.DEPTH:
            v[at, 0], v[at, 1] = m - tick, m + 5 * tick
            v[at, 0] = np.maximum(v[at, 0], tick)
            v[at, 2:4] = 1.0
        elif kind == Kind.TRADE:
            v[at, 0], v[at, 1], v[at, 2] = m, rng.integers(0, 50, k) * 0.01, rng.integers(-1, 2, k)
        elif kind == Kind.BAR:
            v[at, 0] = v[at, 3] = m
            v[at, 1], v[at, 2] = m + tick, np.maximum(m - tick, tick / 2)
            v[at, 4] = rng.integers(0, 100, k)
        elif kind == Kind.STATUS:
            v[at, 0] = rng.integers(1, 6, k)
    depth = e["kind"] == Kind.DEPTH
    e["level"][depth] = rng.integers(1, 4, int(depth.sum()))
    v[depth & (rng.random(n) < 0.1), 2] = 0.0
    e["flags"][rng.random(n) < 0.005] |= np.uint16(Flag.GAP)
    market = (e["kind"] == Kind.QUOTE) | (e["kind"] == Kind.TRADE) | (e["kind"] == Kind.BAR)
    if rng.random() < 0.3:
        e["flags"][market & (rng.random(n) < 0.2)] |= np.uint16(Flag.NO_QTY)
    v[(e["flags"] & Flag.NO_QTY) != 0, 4] = 0.0
    to_all = ((e["kind"] == Kind.TIMER) | (e["kind"] == Kind.STATUS)) & (rng.random(n) < 0.5)
    e["instrument_id"][to_all] = ALL_INSTRUMENTS
    lost = (e["kind"] == Kind.STATUS) & (rng.random(n) < 0.2)
    v[lost, 0] = Status.LOST
    if faults:
        bad = rng.random(n) < 0.05
        what = rng.integers(0, 6, n)
        v[bad & (what == 0), 0] = np.nan
        v[bad & (what == 1), 0] = -1.0
        e["ts_event_ns"][bad & (what == 2)] -= 10**12
        e["instrument_id"][bad & (what == 3)] = 999
        e["kind"][bad & (what == 4)] = 77
        v[bad & (what == 5), 1] = np.inf
    return e


_SOURCES = ("mid", "spread", "bid_px", "ask_qty", "microprice", "imbalance", "px", "qty", "side")
_BARS = tuple(
    f'bar("{w}", "{s}").{f}'
    for w in ("1s", "300ms")
    for s in ("trade", "mid", "feed")
    for f in ("open", "high", "low", "close", "volume")
)


def expression(rng: np.random.Generator, depth: int = 3) -> str:
    """A random expression of the language that adds only what has the same unit, at most ``depth`` operators deep."""
    while True:
        text = _expression(rng, depth)
        try:
            unit_of(parse(text))
        except DefinitionError:
            continue
        return text


def _expression(rng: np.random.Generator, depth: int) -> str:
    if depth == 0 or rng.random() < 0.12:
        return str(rng.choice(_SOURCES)) if rng.random() < 0.75 else str(rng.choice(_BARS))
    x = _expression(rng, depth - 1)
    pick = rng.integers(0, 12)
    window = str(rng.choice(["1", "2", "3", "7", "20", '"1ns"', '"50ms"', '"1s"', '"7s"', '"1m"']))
    span = '"' not in window
    match pick:
        case 0 | 1:
            y = _expression(rng, depth - 1) if rng.random() < 0.7 else str(float(rng.integers(-3, 4)))
            return f"({x} {rng.choice(['+', '-', '*', '/'])} {y})"
        case 2:
            return f"{rng.choice(['abs', 'log', 'neg'])}({x})"
        case 3 | 4:
            return f"{rng.choice(['lag', 'diff', 'ret', 'logret'])}({x}, {window})"
        case 5:
            return f'velocity({x}, "{rng.choice(["50ms", "1s", "7s"])}")'
        case 6:
            return f"ema({x}, {'span' if span else 'half_life'}={window})"
        case 7:
            return f"rsi({x}, {rng.integers(1, 15)})"
        case 8:
            ddof = 1 if not (span and window == "1") and rng.random() < 0.3 else 0
            return f"{rng.choice(['var', 'std', 'zscore'])}({x}, {window}, ddof={ddof})"
        case _:
            return f"{rng.choice(['count', 'sum', 'mean', 'std', 'zscore'])}({x}, {window})"


TRIGGERS = (
    "quote",
    "trade",
    "last",
    'bar("1m", "feed")',
    'bar("1s", "trade")',
    'bar("300ms", "mid")',
    'every("100ms")',
    'every("1s")',
)
