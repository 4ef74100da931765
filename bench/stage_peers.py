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
from bench.peers import streaming

N, PASSES = 4_000, 5
_CLOSE = 2e-6  # relative: ours are float32; absolute for what is a difference of prices
_INSTRUMENTS = Instruments.of("SIM0")


def _bars() -> npt.NDArray[np.float64]:
    """A seeded random walk on a grid of cents: open high low close volume."""
    rng = np.random.default_rng(23)
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


def measure() -> list[Result]:
    """``peer_talipp``, ``peer_river``: ns a bar for all indicators together, the last outputs compared in the run. A
    library that is not installed is left out, and said so."""
    results = []
    for name, ours, theirs in (
        ("talipp", streaming.TALIPP, streaming.talipp_indicators),
        ("river", streaming.RIVER, streaming.river_statistics),
    ):
        try:
            results.append(_against(name, ours, theirs))
        except ModuleNotFoundError as missing:
            print(f"{missing.name} is not installed: pip install 'alpha-runtime[bench]'", file=sys.stderr)
    return results
