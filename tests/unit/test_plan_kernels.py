"""Every step of a plan against a slow numpy reference, on every ISA that runs here; refusals of wrong plans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha._core import plan as native
from alpha._core.plan import OPCODES, STEP_DTYPE, Plan
from alpha._core.program import available_isas
from alpha.errors import AlphaError, ModelError
from alpha.models.plan_builder import Builder, Live, bfloat16

ISAS = available_isas()
Array = Any
isas = st.sampled_from(ISAS)
sizes = st.integers(1, 70)


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng([7, *seed])


def f32(generator: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    return (generator.standard_normal(shape) * scale).astype(np.float32)


def run(
    isa: str, shape: tuple[int, ...], build: Callable[[Builder, Live], Live], x: Array, half: bool = False
) -> Array:
    """Outputs of a plan that ``build`` writes over an input of this shape."""
    b = Builder(native.width(isa), half)
    source = b.fresh(shape, pinned=True)
    result = b.contiguous(build(b, source))
    made = b.plan(source, result, None, None, isa)
    out = made.kernel().run(x.reshape(len(x), -1))
    again = made.kernel().run(x.reshape(len(x), -1))
    assert out.tobytes() == again.tobytes()
    return out


def close(a: Array, b: Array, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# -- matrix products


@given(isas, sizes, st.integers(1, 300), st.integers(1, 9), st.integers(0, 99))
def test_dense(isa: str, n: int, m: int, rows: int, seed: int) -> None:
    g = rng(seed)
    w, bias, x = f32(g, n, m, scale=0.3), f32(g, m), f32(g, 5, rows, n)
    out = run(isa, (rows, n), lambda b, v: b.dense(v, w, bias), x)
    close(out.reshape(5, rows, m), x.astype(np.float64) @ w + bias, 2e-6 * max(1, n / 10))


@given(isas, sizes, st.integers(1, 150), st.integers(1, 6), st.integers(0, 99))
def test_dense_with_half_weights(isa: str, n: int, m: int, rows: int, seed: int) -> None:
    g = rng(seed, 1)
    w, x = f32(g, n, m), f32(g, 3, rows, n)
    rounded = (bfloat16(w).astype(np.uint32) << 16).view(np.float32)
    assert np.abs(rounded - w).max() <= np.abs(w).max() * 2**-8
    out = run(isa, (rows, n), lambda b, v: b.dense(v, w, None), x, half=True)
    close(out.reshape(3, rows, m), x.astype(np.float64) @ rounded, 1e-5 * max(1, n / 10))


@given(isas, sizes, sizes, st.integers(0, 99))
def test_dense_takes_another_value_along(isa: str, n: int, m: int, seed: int) -> None:
    g = rng(seed, 2)
    w, v, x = f32(g, n, m), f32(g, n, m), f32(g, 4, n)

    def build(b: Builder, source: Live) -> Live:
        first = b.dense(source, w, None)
        second = b.dense(source, v, None)
        b.steps[-1].reads["b"] = (first.buffer, 0)
        return second

    close(run(isa, (1, n), build, x), x.astype(np.float64) @ (w.astype(np.float64) + v), 1e-5 * max(1, n / 10))


# -- activations: error over the whole range, in the units that the header states


def _float64(name: str, x: Array) -> Array:
    from math import erf

    x = x.astype(np.float64)
    with np.errstate(all="ignore"):
        return {
            "relu": lambda: np.maximum(x, 0),
            "leaky": lambda: np.where(x < 0, 0.125 * x, x),
            "elu": lambda: np.where(x < 0, 0.125 * np.expm1(np.minimum(x, 0)), x),
            "tanh": lambda: np.tanh(x),
            "sigmoid": lambda: 1 / (1 + np.exp(-x)),
            "gelu": lambda: 0.5 * x * (1 + np.vectorize(erf)(x / np.sqrt(2))),
            "gelu_tanh": lambda: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
            "clip": lambda: np.clip(x, 0.125, 0.5),
            "exp": lambda: np.exp(x),
            "erf": lambda: np.vectorize(erf)(x),
            "sqrt": lambda: np.sqrt(x),
            "log": lambda: np.log(x),
            "abs": lambda: np.abs(x),
            "neg": lambda: -x,
            "reciprocal": lambda: 1 / x,
            "softplus": lambda: np.logaddexp(0, x),
            "silu": lambda: x / (1 + np.exp(-x)),
            "probit": lambda: _probit(x),
        }[name]()


def _probit(p: Array) -> Array:
    """sqrt 2 times the inverse error function of 2 p - 1 by Winitzki's formula with a = 0.147."""
    x, a = 2 * p - 1, 0.147
    log = np.log((1 - x) * (1 + x))
    v = 2 / (np.pi * a) + log / 2
    return np.sqrt(2) * np.copysign(np.sqrt(np.sqrt(v * v - log / a) - v), x)


# absolute, then relative; the formula of probit takes a difference near 1/2, in ONNX Runtime too
_ALLOWED = {
    "tanh": (4e-7, 4e-7),
    "sigmoid": (2.5e-7, 0),
    "erf": (4.5e-7, 0),
    "gelu": (0, 5e-7),
    "gelu_tanh": (0, 5e-7),
    "probit": (1e-4, 0),
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("act", native.ACTIVATIONS[1:])
def test_activations_over_their_range(isa: str, act: str) -> None:
    g = rng(3)
    wide = np.concatenate([np.linspace(-30, 30, 20001), np.linspace(-1e-3, 1e-3, 2001), g.standard_normal(2000) * 100])
    x = wide.astype(np.float32)
    if act in ("sqrt", "log"):
        x = np.abs(x) + np.float32(1e-30)
    if act == "reciprocal":
        x = x[x != 0]
    if act == "probit":  # its slope has no end at 0 and 1
        x = np.concatenate([np.linspace(0.01, 0.49, 999), np.linspace(0.51, 0.99, 999)]).astype(np.float32)
    x = x[: len(x) // 7 * 7].reshape(-1, 7)  # not a multiple of any vector

    def build(b: Builder, v: Live) -> Live:
        out = b.fresh((7,))
        b.add("ACT", {"a": (v.buffer, 0)}, {"d": (out.buffer, 0)}, n=7, act=act, p=0.125, q=0.5)
        return out

    out, exact = run(isa, (7,), build, x).astype(np.float64), _float64(act, x)
    absolute, relative = _ALLOWED.get(act, (2e-7, 4e-7))
    if act == "exp":
        inside = (exact > 1e-37) & (exact < 3e38)
        assert (out[exact > 3.5e38] == np.inf).all() and (out[exact < 1e-38] < 1.2e-37).all()
        assert np.abs(out[inside] / exact[inside] - 1).max() < (4e-7 if isa == "portable" else 2e-7)
        return
    scale = np.maximum(1, np.abs(x)) if act.startswith("gelu") else 1.0
    assert (
        np.abs(out - exact)
        <= (absolute + relative * np.abs(exact) + (relative if act.startswith("gelu") else 0)) * scale
    ).all()
    if act == "sigmoid":
        assert out.min() >= 0 and out.max() <= 1


@pytest.mark.parametrize("isa", ISAS)
def test_nan_and_infinity_pass_through(isa: str) -> None:
    x = np.float32([[np.nan, np.inf, -np.inf, 0.0]])
    for act in ("relu", "tanh", "sigmoid", "exp", "clip", "gelu", "elu", "leaky"):

        def build(b: Builder, v: Live, act: str = act) -> Live:
            out = b.fresh((4,))
            b.add("ACT", {"a": (v.buffer, 0)}, {"d": (out.buffer, 0)}, n=4, act=act, p=-1.0, q=1.0)
            return out

        out = run(isa, (4,), build, x)[0]
        assert np.isnan(out[0]), act
        if act == "exp":
            assert out[1] == np.inf and out[2] == 0
        if act in ("tanh", "sigmoid"):
            np.testing.assert_allclose(out[1:3], [1, -1 if act == "tanh" else 0], atol=2e-7)


# -- rows


@given(isas, st.integers(1, 6), st.integers(1, 40), st.integers(0, 99))
def test_softmax_and_norms(isa: str, rows: int, n: int, seed: int) -> None:
    g = rng(seed, 4)
    x = f32(g, 4, rows, n, scale=4)
    wide = x.astype(np.float64)
    gamma, beta = f32(g, n), f32(g, n)

    def step(op: str, **numbers: Any) -> Callable[[Builder, Live], Live]:
        def build(b: Builder, v: Live) -> Live:
            out = b.fresh((rows, n))
            reads = {"a": (v.buffer, 0)}
            if op == "LAYER_NORM":
                reads |= {"b": (b.constant(gamma).buffer, 0), "c": (b.constant(beta).buffer, 0)}
            b.add(op, reads, {"d": (out.buffer, 0)}, n=n, rows=rows, lda=n, ldd=n, **numbers)
            return out

        return build

    def outcome(op: str, **numbers: Any) -> Array:
        return run(isa, (rows, n), step(op, **numbers), x).reshape(x.shape)

    shifted = wide - wide.max(-1, keepdims=True)
    total = np.exp(shifted).sum(-1, keepdims=True)
    close(outcome("SOFTMAX"), np.exp(shifted) / total)
    close(outcome("LOG_SOFTMAX"), shifted - np.log(total), 2e-6)
    centred = wide - wide.mean(-1, keepdims=True)
    close(
        outcome("LAYER_NORM", p=0.01),
        centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 0.01) * gamma + beta,
        1e-5,
    )
    close(outcome("NORMALIZE", flags=1), wide / np.abs(wide).sum(-1, keepdims=True))
    close(outcome("NORMALIZE", flags=2), wide / np.sqrt((wide**2).sum(-1, keepdims=True)))
    assert (run(isa, (rows, n), step("NORMALIZE", flags=1), x * 0) == 0).all()


@given(isas, st.integers(1, 6), st.integers(1, 40), st.integers(0, 99))
def test_reductions(isa: str, rows: int, n: int, seed: int) -> None:
    x = f32(rng(seed, 5), 3, rows, n)
    wide = x.astype(np.float64)
    references: dict[str, Callable[[Array], Array]] = {
        "SUM": lambda a: a.sum(-1),
        "MEAN": lambda a: a.mean(-1),
        "MAX": lambda a: a.max(-1),
        "MIN": lambda a: a.min(-1),
        "L1": lambda a: np.abs(a).sum(-1),
        "L2": lambda a: np.sqrt((a**2).sum(-1)),
    }
    for kind, reference in references.items():

        def build(b: Builder, v: Live, kind: str = kind) -> Live:
            out = b.fresh((rows,))
            b.add(f"REDUCE_{kind}", {"a": (v.buffer, 0)}, {"d": (out.buffer, 0)}, n=n, rows=rows, lda=n)
            return out

        close(run(isa, (rows, n), build, x), reference(wide), 2e-6 * max(1.0, n / 10))


@given(
    isas,
    st.sampled_from(["ADD", "SUB", "MUL", "DIV", "MAX", "MIN"]),
    st.integers(1, 5),
    st.integers(1, 40),
    st.integers(0, 3),
)
def test_arithmetic_is_that_of_numpy_bit_for_bit(isa: str, op: str, rows: int, n: int, shape: int) -> None:
    from alpha.models.compile import Lowering
    from alpha.models.graph import Graph
    from alpha.models.lower_arithmetic import elementwise

    g = rng(rows, n, shape)
    other = f32(g, *[(rows, n), (1, n), (rows, 1), (1, 1)][shape])
    x = f32(g, 3, rows, n)
    with np.errstate(all="ignore"):
        function = {
            "ADD": np.add,
            "SUB": np.subtract,
            "MUL": np.multiply,
            "DIV": np.divide,
            "MAX": np.maximum,
            "MIN": np.minimum,
        }
        expected = function[op](x, other)
    out = run(isa, (rows, n), lambda b, v: elementwise(Lowering(Graph(), b), op, v, b.constant(other)), x)
    assert out.reshape(x.shape).tobytes() == expected.tobytes()


# -- the door


def _plan(**changes: Any) -> Plan:
    b = Builder(native.width())
    x = b.fresh((1, 8), pinned=True)
    y = b.dense(x, np.ones((8, 5), np.float32), None)
    made = b.plan(x, y, None, None, native.chosen_isa())
    steps = made.records.copy()
    for name, value in changes.items():
        steps[name] = value
    weights = np.zeros(1024, np.uint8)
    return Plan(steps=steps, weights=weights, constants=np.zeros(0, np.float32), arena=64, input=(0, 8), output=(16, 5))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"op": 99}, "unknown operation"),
        ({"act": 99}, "unknown operation"),
        ({"n": 0}, "nothing to do"),
        ({"rows": 0}, "nothing to do"),
        ({"a": 1 << 20}, "leave the arena"),
        ({"d": 75}, "leave the arena"),
        ({"rows": 1 << 20, "lda": 8, "ldd": 16}, "leave the arena"),
        ({"w": 1 << 20}, "weights are not all there"),
        ({"w": 2}, "weights are not all there"),
        ({"n": 60}, "weights are not all there"),
        ({"op": OPCODES["GATHER"], "n": 8, "a": 63}, None),
        ({"op": OPCODES["GATHER"], "n": 8, "a": 64}, "gathers from outside"),
        ({"op": OPCODES["TREES"]}, "no shape that is known"),
        ({"op": OPCODES["LSTM"], "m": 5}, "leave the arena"),
        ({}, None),
    ],
)
def test_a_step_that_could_leave_its_memory_is_refused(change: dict[str, int], words: str | None) -> None:
    if words is None:
        _plan(**change)
        return
    with pytest.raises(ModelError, match=words):
        _plan(**change)


def test_random_steps_are_refused_or_run() -> None:
    """Plans of random numbers: what the door lets through runs without leaving its memory (seen by the sanitizer)."""
    g = rng(11)
    ran = 0
    for _ in range(3000):
        steps = np.zeros(1, STEP_DTYPE)
        for name in STEP_DTYPE.names or ():
            if name not in ("fn", "p", "q"):
                steps[name] = (
                    g.choice([0, 1, 3, 8, 16, 40, native.NONE]) if name != "op" else g.integers(0, len(OPCODES))
                )
        weights = g.integers(0, 2, 8192).astype(np.uint8)
        try:
            made = Plan(
                steps=steps, weights=weights, constants=np.zeros(0, np.float32), arena=256, input=(0, 8), output=(16, 5)
            )
        except ModelError:
            continue
        made.kernel().run(np.ones((2, 8), np.float32))
        ran += 1
    assert ran > 100


def test_an_isa_that_is_not_here() -> None:
    with pytest.raises(AlphaError, match="not what this CPU"):
        native.width("v9")
