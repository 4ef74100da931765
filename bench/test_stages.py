"""The same workloads under pytest-benchmark: ``./dev bench``, or ``pytest bench --benchmark-only``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import alpha
from alpha._core.ort import OrtModel
from alpha._core.ring import Ring
from alpha.events import SIGNAL_DTYPE
from alpha.features import catalog
from bench.workloads import BLOCK, INSTRUMENTS, demo_model, quotes, vectors


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
        part = quotes()[self.at : self.at + BLOCK]
        self.at += BLOCK
        return len(self.rt._pipeline.run(part, self.signals))


@pytest.mark.parametrize("name", ["spec", "demo", "twenty"])
def test_features(benchmark: Any, name: str) -> None:
    assert benchmark(_Blocks(name)) == BLOCK


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
