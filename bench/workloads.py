"""Inputs of the benchmarks: seeded, large enough that caches and branch predictors see real work."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.data.simulate import simulate
from alpha.events import Kind
from alpha.instruments import Instruments
from alpha.registry import load
from alpha.registry.store import find

BLOCK = 4096
WARM_UP = 4096  # events of all kinds before the first quote that is measured
INSTRUMENTS = Instruments.of("SIM0")


@cache
def _events(n: int) -> npt.NDArray[Any]:
    return simulate(int(n * 1.35) + 10_000 + WARM_UP, seed=5, levels=1).events


@cache
def quotes(n: int = 60 * BLOCK) -> npt.NDArray[Any]:
    """``n`` simulated quotes of one instrument."""
    e = _events(n)[WARM_UP:]
    out = np.ascontiguousarray(e[e["kind"] == Kind.QUOTE][:n])
    if len(out) != n:
        raise AssertionError(f"the simulation gave {len(out)} quotes, not {n}")
    return out


@cache
def warm_up(n: int = 60 * BLOCK) -> npt.NDArray[Any]:
    """The quotes and trades just before :func:`quotes`: sets that look at trades are warm afterwards."""
    return np.ascontiguousarray(_events(n)[:WARM_UP])


def block(i: int) -> npt.NDArray[Any]:
    """Quotes number i*BLOCK onward."""
    e = quotes()
    at = i * BLOCK
    if at + BLOCK > len(e):
        raise IndexError("the workload has no such block")
    return e[at : at + BLOCK]


def mixed(i: int) -> npt.NDArray[Any]:
    """Quotes and trades as they come, events number i*BLOCK onward behind :func:`warm_up`."""
    e = _events(60 * BLOCK)[WARM_UP:]
    return np.ascontiguousarray(e[i * BLOCK : (i + 1) * BLOCK])


@cache
def demo_model() -> tuple[bytes, str, int]:
    """(ONNX bytes, output name, features) of the committed demo model: a logistic regression."""
    _, model = load(find(None)).load_model("models:/demo/1")
    return model.model_bytes, model.metadata.outputs[0].name, len(model.metadata.feature_names)


@cache
def vectors(width: int, n: int = 1 << 17) -> npt.NDArray[np.float32]:
    """Normalised feature rows."""
    return np.random.default_rng(3).standard_normal((n, width)).astype(np.float32)
