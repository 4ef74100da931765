"""LSTM and GRU steps of a plan against a slow numpy reference, on every ISA that runs here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alpha._core import plan as native
from alpha._core.program import available_isas
from alpha.models.lower_recurrent import packed_weights
from alpha.models.plan_builder import Builder, Live, bfloat16

ISAS = available_isas()
Array = Any


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng([7, *seed])


def f32(generator: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    return (generator.standard_normal(shape) * scale).astype(np.float32)


def close(a: Array, b: Array, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def _sigmoid(v: Array) -> Array:
    return 1 / (1 + np.exp(-v))


def _lstm(x: Array, w: Array, u: Array, bias: Array, h: Array, c: Array) -> tuple[Array, Array, Array]:
    """One layer in float64: outputs [T, m], last h, last c; gates i o f c."""
    out = []
    for row in x.astype(np.float64):
        i, o, f, g = np.einsum("gmn,n->gm", w, row) + np.einsum("gmk,k->gm", u, h) + bias
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.array(out), h, c


def _gru_reset(x: Array, w: Array, u: Array, b: Array, h: Array) -> Array:
    out = []
    for row in x.astype(np.float64):
        a = np.einsum("gmn,n->gm", w, row) + b
        z, r = (_sigmoid(a[i] + u[i] @ h) for i in (0, 1))
        h = (1 - z) * np.tanh(a[2] + u[2] @ (r * h)) + z * h
        out.append(h)
    return np.array(out)


def _gru(x: Array, w: Array, u: Array, wb: Array, ub: Array, h: Array) -> Array:
    """One layer in float64, the reset gate behind the product; gates z r h."""
    out = []
    for row in x.astype(np.float64):
        a, b = np.einsum("gmn,n->gm", w, row) + wb, np.einsum("gmk,k->gm", u, h) + ub
        z, r = _sigmoid(a[0] + b[0]), _sigmoid(a[1] + b[1])
        h = (1 - z) * np.tanh(a[2] + r * b[2]) + z * h
        out.append(h)
    return np.array(out)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", native.RECURRENT)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 8), (5, 17), (16, 64), (20, 100), (7, 33)])
@pytest.mark.parametrize("half", [False, True])
def test_recurrent_steps(isa: str, kind: str, n: int, m: int, half: bool) -> None:
    g = rng(n, m)
    gates = 4 if kind == "LSTM" else 3
    w, u = f32(g, gates, m, n, scale=0.4), f32(g, gates, m, m, scale=0.4 / np.sqrt(m) * 2)
    wb, ub = f32(g, gates, m), f32(g, gates, m)
    b = Builder(native.width(isa), half)
    x = b.fresh((1, n), pinned=True)
    states = 2 if kind == "LSTM" else 1
    carry = b.fresh((states * m,), pinned=True)
    new = b.fresh((states * m,), pinned=True)
    y = b.buffer(native.PAD * -(-m // native.PAD))
    h_out, cell_out = b.fresh((m,)), b.fresh((m,))
    writes = {"d": (y, 0), "h_out": (h_out.buffer, 0)}
    reads = {"a": (x.buffer, 0), "h": (carry.buffer, 0)}
    if kind == "LSTM":
        reads["cell"], writes["cell_out"] = (carry.buffer, m), (cell_out.buffer, 0)
    elif kind == "GRU_RESET":
        writes["cell"], writes["cell_out"] = (b.buffer(m), 0), (cell_out.buffer, 0)
    writes["pre"] = (b.buffer(gates * native.PAD * -(-m // native.PAD), pinned=True), 0)
    writes["pre_key"] = (b.buffer(m + 1, pinned=True), 0)
    packed = packed_weights(b, kind, w, u, np.stack([wb, ub]))
    b.add(kind, reads, writes, packed=packed, n=n, m=m, lda=n, ldd=y.size)
    b.add("COPY", {"a": (h_out.buffer, 0)}, {"d": (new.buffer, 0)}, n=m)
    if kind == "LSTM":
        b.add("COPY", {"a": (cell_out.buffer, 0)}, {"d": (new.buffer, m)}, n=m)
    made = b.plan(x, Live(y, np.arange(m)), carry, new, isa)
    rows = f32(g, 20, n)
    start = f32(g, states * m, scale=0.3)
    out, after = made.kernel().sequence(rows, start)
    prepared, after_prepared = made.kernel().sequence(rows, start, prepared=True)
    assert out.tobytes() == prepared.tobytes() and after.tobytes() == after_prepared.tobytes()
    if half:
        w, u = ((bfloat16(v).astype(np.uint32) << 16).view(np.float32).reshape(v.shape) for v in (w, u))
    h, c = start[:m].astype(np.float64), start[m:].astype(np.float64)
    if kind == "LSTM":
        expected, h, c = _lstm(rows, w, u, wb.astype(np.float64) + ub, h, c)
        close(after[-1], np.concatenate([h, c]), 3e-6)
    else:
        bias = wb.astype(np.float64) + ub
        expected = _gru(rows, w, u, wb, ub, h) if kind == "GRU" else _gru_reset(rows, w, u, bias, h)
        close(after[-1], expected[-1], 3e-6)
    close(out, expected, 3e-6)


def test_what_was_prepared_for_another_state_is_not_used() -> None:
    g = rng(8)
    n, m = 4, 10
    b = Builder(native.width())
    x, carry = b.fresh((1, n), pinned=True), b.fresh((m,), pinned=True)
    y, h_out = b.buffer(16), b.fresh((m,), pinned=True)
    w, u, bias = f32(g, n, 3, m), f32(g, m, 3, m), f32(g, 3, m)
    writes = {
        "d": (y, 0),
        "h_out": (h_out.buffer, 0),
        "pre": (b.buffer(48, pinned=True), 0),
        "pre_key": (b.buffer(11, pinned=True), 0),
    }
    packed = {"w": b.pack_gates(w), "w2": b.pack_gates(u), "w3": np.concatenate([b.pack_gates(bias)] * 2)}
    b.add("GRU", {"a": (x.buffer, 0), "h": (carry.buffer, 0)}, writes, packed=packed, n=n, m=m, lda=n, ldd=16)
    made = b.plan(x, Live(y, np.arange(m)), carry, h_out, native.chosen_isa())
    assert made.prepares
    used, fresh = made.kernel(), made.kernel()
    row, one, other = f32(g, 1, n), f32(g, m), f32(g, m)
    used.sequence(row, one, prepared=True)
    assert used.sequence(row, other)[0].tobytes() == fresh.sequence(row, other)[0].tobytes()
