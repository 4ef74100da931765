"""What a backtest keeps does not grow with the stream."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import desks
import numpy as np
import pytest

from alpha.backtest.engine import Backtest
from alpha.backtest.settings import Settings
from alpha.strategies import make

START = 1_700_000_000 * 10**9


def stream(chunks: int, size: int, seed: int = 1) -> Iterator[np.ndarray]:
    """Quotes every 0.2 s whose size is noise: hundreds of decisions a chunk, a fill now and then."""
    rng = np.random.default_rng(seed)
    px = 100.0
    for k in range(chunks):
        mid = px + 0.01 * np.cumsum(rng.integers(-1, 2, size))
        px = float(np.clip(mid[-1], 50.0, 150.0))
        ts = START + 200_000_000 * (k * size + np.arange(size))
        yield desks.quotes(
            ts, mid - 0.01, mid + 0.01, qty=np.clip(1000.0 + 100.0 * rng.standard_normal(size), 1.0, None)
        )


def peak(folder: Path, chunks: int) -> tuple[int, Any]:
    strategy = make("threshold", {"model": "planted", "buy": 3.5, "sell": -3.5})
    backtest = Backtest(strategy, [desks.planted(folder)], desks.table(), ["A"], Settings(costs=desks.FREE))
    tracemalloc.start()
    done = backtest.run(stream(chunks, 10_000))
    top = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return top, done


def test_four_times_the_events_need_no_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "alpha.backtest.outcomes.MAX_DECISIONS",
        "alpha.backtest.curve.MAX_POINTS",
        "alpha.backtest.ledger.KEPT",
    ):
        monkeypatch.setattr(name, 1000)
    peak(tmp_path, 2)  # whatever is made once
    short, a = peak(tmp_path, 10)
    long, b = peak(tmp_path, 40)
    assert b.events == 4 * a.events == 400_000 and b.ledger.counts["fills"] > 100
    assert len(b.ledger.fills) <= 1000 and len(b.curve.points()["ts"]) <= 1000
    assert long < 1.25 * short, (short, long)
