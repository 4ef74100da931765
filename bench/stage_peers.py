"""The common indicators against talipp and river, over the same bars. Needs the extra ``bench``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.events import EVENT_DTYPE, Kind
from alpha.features.feature_set import FeatureSet
from alpha.features.native import row_maker
from alpha.instruments import Instruments
from bench.measure import Result, quietest, result
from bench.peers import kunquant, streaming

N, PASSES = 4_000, 5
MANY = 64  # instruments that KunQuant steps at once
_CLOSE = 2e-6  # relative: ours are float32; absolute for what is a difference of prices
_INSTRUMENTS = Instruments.of("SIM0")


def _bars(seed: int = 23) -> npt.NDArray[np.float64]:
    """A seeded random walk on a grid of cents: open high low close volume."""
    rng = np.random.default_rng(seed)
    close = 100.0 + np.cumsum(rng.integers(-20, 21, N)) * 0.01
    start = np.append(100.0, close[:-1])
    high = np.maximum(start, close) + rng.integers(0, 10, N) * 0.01
    low = np.minimum(start, close) - rng.integers(0, 10, N) * 0.01
    return np.column_stack([start, high, low, close, rng.integers(1, 1000, N).astype(np.float64)])


def _events(bars: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    e = np.zeros(len(bars), EVENT_DTYPE)
    e["kind"], e["v"] = Kind.BAR, bars
    e["ts_event_ns"] = e["ts_recv_ns"] = (1 + np.arange(len(bars))) * 60 * 10**9 + 10**18
    return e


def _against(name: str, ours: dict[str, str], theirs: Callable[[Any], dict[str, Any]]) -> Result:
    bars = _bars()
    events = _events(bars)
    fs = FeatureSet.from_dict({"trigger": 'bar("1m")', "features": ours})
    last: dict[str, Any] = {}

    def our_arm() -> Callable[[int], None]:
        maker = row_maker(fs, _INSTRUMENTS)
        buffers = maker.buffers(N + 1)
        return lambda _: last.update(ours=maker.rows(events, buffers)["values"][-1].copy())

    def their_arm() -> Callable[[int], None]:
        return lambda _: last.update(theirs=theirs(bars))

    mine, other = quietest([our_arm, their_arm], 1, N, PASSES)
    values = dict(zip(ours, last["ours"].tolist(), strict=True))
    for key, value in last["theirs"].items():
        if not abs(values[key] - value) <= _CLOSE * max(abs(value), 1.0):
            raise AssertionError(f"{name} and we differ in {key}: {value} and {values[key]}")
    print(f"{name}: the same {len(ours)} outputs after {N} bars: {', '.join(ours)}", file=sys.stderr)
    return result(f"peer_{name}", float(mine[0]), float(other[0]), f"{name}, {len(ours)} outputs a bar")


def _kunquant() -> Result:
    """ns an instrument and bar, both over the bars of all instruments in turn."""
    bars = np.stack([_bars(seed) for seed in range(MANY)], axis=1)[: N // 4]
    n = len(bars)
    events = np.zeros((n, MANY), EVENT_DTYPE)
    events["kind"], events["v"], events["instrument_id"] = Kind.BAR, bars, np.arange(MANY)
    events["ts_event_ns"] = events["ts_recv_ns"] = ((1 + np.arange(n)) * 60 * 10**9 + 10**18)[:, None]
    flat = events.reshape(-1)
    fs = FeatureSet.from_dict({"trigger": 'bar("1m")', "features": kunquant.OURS})
    instruments = Instruments.of(*(f"SIM{k}" for k in range(MANY)))
    last: dict[str, Any] = {}

    def our_arm() -> Callable[[int], None]:
        maker = row_maker(fs, instruments)
        buffers = maker.buffers(len(flat) + 1)
        return lambda _: last.update(ours=maker.rows(flat, buffers)["values"][-MANY:].copy())

    def their_arm() -> Callable[[int], None]:
        step = kunquant.stepper(MANY)
        return lambda _: last.update(theirs=step(bars))

    mine, other = quietest([our_arm, their_arm], 1, len(flat), 3)
    for j, (name, values) in enumerate(last["theirs"].items()):
        if not np.allclose(last["ours"][:, j], values, rtol=_CLOSE, atol=_CLOSE):
            raise AssertionError(f"KunQuant and we differ in {name}")
    reference = f"KunQuant stream from Python, {MANY} instruments, {len(kunquant.OURS)} outputs"
    return result("peer_kunquant", float(mine[0]), float(other[0]), reference)


def measure() -> list[Result]:
    """``peer_talipp``, ``peer_river``: ns a bar for all indicators together, the last outputs compared in the run;
    ``peer_kunquant``: ns an instrument and bar. A library that is not installed is left out, and said so."""
    results = []
    for run in (
        lambda: _against("talipp", streaming.TALIPP, streaming.talipp_indicators),
        lambda: _against("river", streaming.RIVER, streaming.river_statistics),
        _kunquant,
    ):
        try:
            results.append(run())
        except ModuleNotFoundError as missing:
            print(f"{missing.name} is not installed: pip install 'alpha-runtime[bench]'", file=sys.stderr)
    return results
