"""The same workloads under pytest-benchmark: ``./dev bench``, or ``pytest bench --benchmark-only``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import alpha
from alpha._core.ort import OrtModel
from alpha._core.ring import Ring
from alpha.events import SIGNAL_DTYPE, Reason
from alpha.features import catalog
from bench.workloads import BLOCK, INSTRUMENTS, demo_model, quotes, vectors, warm_up


class _Blocks:
    """The next block of quotes at each call; a fresh runtime when they are used up, so that time never goes back."""

    def __init__(self, feature_set: str) -> None:
        self.fs = catalog.get(feature_set)
        self.signals = np.zeros(BLOCK, SIGNAL_DTYPE)
        self.at = len(quotes())

    def __call__(self) -> int:
        if self.at + BLOCK > len(quotes()):
            self.at = 0
            self.rt = alpha.Runtime.from_features(self.fs, instruments=INSTRUMENTS)
            self.rt.run(warm_up())
        part = quotes()[self.at : self.at + BLOCK]
        self.at += BLOCK
        return len(self.rt._pipeline.run(part, self.signals))


@pytest.mark.parametrize("name", ["spec", "demo", "twenty"])
def test_features(benchmark: Any, name: str) -> None:
    turn = _Blocks(name)
    assert benchmark(turn) == BLOCK
    assert (turn.signals["reason"] == Reason.NO_MODEL).all(), "rows that are not warm are not what is measured"


def test_inline_calls(benchmark: Any) -> None:
    rt = alpha.Runtime.from_features(catalog.get("twenty"), instruments=INSTRUMENTS)
    rt.run(warm_up())
    on_quote, v = rt.instrument("SIM0").on_quote, quotes()["v"][:BLOCK, :4].tolist()
    last = int(quotes()["ts_recv_ns"][0])

    def turn() -> Any:
        nonlocal last
        for b, a, p, q in v:
            last += 40_000_000
            signal = on_quote(last, b, a, p, q)
        return signal

    assert benchmark(turn).reason == Reason.NO_MODEL


def test_ring_push_pop(benchmark: Any) -> None:
    ring, e = Ring(8192), quotes()[:BLOCK]

    def turn() -> int:
        ring.push_many(e)
        return len(ring.pop_many(BLOCK))

    assert benchmark(turn) == BLOCK


def test_model_call(benchmark: Any) -> None:
    model_bytes, output, width = demo_model()
    kernel, x = OrtModel(model_bytes, output=output).kernel(), vectors(width)[:256]
    assert benchmark(kernel.run, x).shape == (256, 3)
