"""Activations over all of float32: random bit patterns, the ends, what is not finite; against float64 and ONNX Runtime.

The measure is the judge's: |difference| / max(1, |exact|), on every ISA that runs here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import erf, erfc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import ISAS, graph, node

from alpha._core.ort import OrtModel
from alpha.models.compile import compile_model

Array = Any
WIDTH = 8
OPERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "erf": ("Erf", {}),
    "gelu": ("Gelu", {}),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
    "silu": ("", {}),
    "softplus": ("Softplus", {}),
    "elu": ("Elu", {"alpha": 0.7}),
    "exp": ("Exp", {}),
    "log": ("Log", {}),
}
# Outside of the contract's own units. Between -86.5 and -103.3 exp is 0 where a float, denormal in part, is left
RELATIVE = {"tanh": 4e-7, "erf": 4e-7, "exp": 4e-7, "softplus": 2e-7, "log": 2e-7}
ENDS = [
    0.0,
    1e-45,
    1e-40,
    1.2e-38,
    1e-20,
    3.84,
    4.05,
    5.0,
    8.6,
    9.02,
    9.1,
    10.0,
    20.0,
    50.0,
    86.5,
    88.73,
    104.0,
    1e3,
    1e6,
    1e19,
    1e20,
    1e38,
    3.4028235e38,
]


@lru_cache(maxsize=32)
def data(act: str) -> bytes:
    op, attributes = OPERATORS[act]
    nodes = [node("Sigmoid", "x", "g"), node("Mul", "x,g")] if act == "silu" else [node(op, "x", **attributes)]
    return graph(nodes, None, ("N", WIDTH), 20)


@lru_cache(maxsize=64)
def planned(act: str, isa: str) -> Callable[[Array], Array]:
    compiled = compile_model(data(act), "y", isa=isa)
    assert compiled.plan.steps_by_name == ("ACT",)
    kernel = compiled.plan.kernel()
    return lambda x: kernel.run(x.reshape(-1, WIDTH)).reshape(-1)


@np.errstate(all="ignore")
def exact(act: str, x: Array) -> Array:
    x = x.astype(np.float64)
    u = 2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    return {
        "tanh": lambda: np.tanh(x),
        "sigmoid": lambda: 1 / (1 + np.exp(-x)),
        "erf": lambda: np.vectorize(erf)(x),
        "gelu": lambda: 0.5 * x * np.vectorize(erfc)(-x / np.sqrt(2)),
        "gelu_tanh": lambda: x / (1 + np.exp(-u)),
        "silu": lambda: x / (1 + np.exp(-x)),
        "softplus": lambda: np.logaddexp(0, x),
        "elu": lambda: np.where(x < 0, np.float32(0.7) * np.expm1(np.minimum(x, 0)), x),
        "exp": lambda: np.exp(x),
        "log": lambda: np.log(x),
    }[act]()


def off(got: Array, expected: Array) -> Array:
    """The judge's measure; 0 where both are the same infinity."""
    with np.errstate(all="ignore"):
        expected = expected.astype(np.float64)
        rounds_to_infinity = np.abs(expected) >= 3.4028236e38
        same = np.isinf(got) & rounds_to_infinity & (np.sign(got) == np.sign(expected))
        return np.where(same, 0.0, np.abs(got - expected) / np.maximum(1, np.abs(expected)))


def check(act: str, isa: str, x: Array) -> None:
    """Finite x, as many as fill whole rows."""
    x = np.abs(x) if act == "log" else x
    got, expected = planned(act, isa)(x), exact(act, x)
    wrong = ~(off(got, expected) <= 1e-6)
    assert not wrong.any(), f"{act} on {isa} of {x[wrong][:5]}: {got[wrong][:5]}, exactly {expected[wrong][:5]}"
    if act in RELATIVE:
        normal = np.isfinite(expected) & (np.abs(expected) > (3e-38 if act == "exp" else 1.2e-38)) & np.isfinite(got)
        error = np.abs(got[normal] - expected[normal]) / np.abs(expected[normal])
        assert (error <= RELATIVE[act]).all(), f"{act} on {isa}: {error.max():.2e}"
    low, high = {"tanh": (-1, 1), "erf": (-1, 1), "sigmoid": (0, 1)}.get(act, (-np.inf, np.inf))
    assert (got >= low).all() and (got <= high).all(), f"{act} on {isa} leaves [{low}, {high}]"
    if act in ("exp", "softplus"):
        assert (got >= 0).all()
    if act.startswith("gelu"):
        assert (got[x > 8] == x[x > 8]).all() and (got[x < -8] == 0).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("act", OPERATORS)
def test_the_ends_are_exact_and_stay_so(act: str, isa: str) -> None:
    x = np.array([s * v for v in ENDS for s in (1, -1)], np.float32)
    with np.errstate(over="ignore"):
        x = np.concatenate([x, np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf))])
    x = x[np.isfinite(x)]
    check(act, isa, x[: len(x) // WIDTH * WIDTH])
    beyond = np.float32([9.1, 10, 50, 1000, 1e6, 1e20, 1e38, 3.4e38])
    got = planned(act, isa)(np.concatenate([beyond, -beyond])).reshape(2, -1)
    ends = {"tanh": (1, -1), "erf": (1, -1), "gelu": (beyond, 0), "gelu_tanh": (beyond, 0)}
    if act in ends:
        np.testing.assert_array_equal(got[0], ends[act][0])
        np.testing.assert_array_equal(got[1], ends[act][1])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("act", OPERATORS)
def test_over_the_range_in_which_they_bend(act: str, isa: str) -> None:
    check(act, isa, np.linspace(-20, 20, 40000, dtype=np.float32))


@given(st.sampled_from(ISAS), st.lists(st.integers(0, 2**32 - 1), min_size=4 * WIDTH, max_size=4 * WIDTH))
def test_random_bit_patterns(isa: str, bits: list[int]) -> None:
    x = np.array(bits, np.uint32).view(np.float32)
    x = np.where(np.isfinite(x), x, np.float32(0.5))
    for act in OPERATORS:
        check(act, isa, x)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("act", OPERATORS)
def test_many_bit_patterns(act: str, isa: str) -> None:
    x = np.random.default_rng(10).integers(0, 2**32, 20000, np.uint32).view(np.float32)
    x = x[np.isfinite(x)]
    check(act, isa, x[: len(x) // WIDTH * WIDTH])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("act", OPERATORS)
def test_as_onnx_runtime_has_them(act: str, isa: str) -> None:
    x = np.array([s * v for v in ENDS for s in (1, -1)], np.float32)
    x = np.concatenate([x, np.linspace(-12, 12, 2000 + 2, dtype=np.float32)])
    x = np.abs(x) if act == "log" else x
    x = x[: len(x) // WIDTH * WIDTH]
    with np.errstate(all="ignore"):
        expected = OrtModel(data(act), output="y").kernel().run(x.reshape(-1, WIDTH)).reshape(-1)
    got = planned(act, isa)(x)
    wrong = ~(off(got, expected) <= 1.5e-6)  # each may be 1e-6 from the exact value
    assert not wrong.any(), f"{act} on {isa} of {x[wrong][:5]}: {got[wrong][:5]}, ONNX Runtime {expected[wrong][:5]}"


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("act", OPERATORS)
def test_what_is_not_finite(act: str, isa: str) -> None:
    got = planned(act, isa)(np.float32([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0]))
    assert np.isnan(got[:2]).all() and np.isfinite(got[6])
    if act not in ("gelu", "gelu_tanh", "silu"):  # those are x times 0 at -inf, in ONNX Runtime too
        expected = exact(act, np.float32([np.inf, -np.inf]))
        np.testing.assert_allclose(got[2:4], expected, rtol=1e-6)
    if act in ("tanh", "erf", "elu"):
        assert np.signbit(got[5]) and not np.signbit(got[4]), "the sign of a zero"


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("act", ["tanh", "erf", "sigmoid"])
def test_no_step_backward_larger_than_their_error(act: str, isa: str) -> None:
    """What rises in truth falls by no more than twice the error, and not at all at the ends."""
    x = np.linspace(-20, 20, 80000, dtype=np.float32)
    got = planned(act, isa)(x).astype(np.float64)
    assert (np.diff(got) >= -8e-7).all()
    # sigmoid is made of tanh of half of x
    end = np.float32(18.2 if act == "sigmoid" else 9.1)
    assert (got[x >= end] == 1).all() and (got[x <= -end] == (0 if act == "sigmoid" else -1)).all()
