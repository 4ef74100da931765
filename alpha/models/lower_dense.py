"""Matrix products and normalisations. Floor 3."""

from __future__ import annotations

import numpy as np

from alpha.models.lower_arithmetic import elementwise
from alpha.models.lowering import Live, Lowering, Node, Unsupported

MAX_PRODUCTS = 1 << 28  # multiplications of a product of constants


def _gemm(c: Lowering, node: Node) -> None:
    x, weight = c.live(node, 0), c.floats(node, 1)
    if c.integer(node, "transA", 0):
        x = Live(x.buffer, x.index.T)
    if c.integer(node, "transB", 0):
        weight = weight.T
    if x.index.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[0]:
        raise ValueError(f"{x.shape} times {weight.shape}")
    weight = weight * np.float32(c.number(node, "alpha", 1.0))
    beta = np.float32(c.number(node, "beta", 1.0))
    m = weight.shape[1]
    bias = c.value(node, 2) if c.has(node, 2) else np.zeros(m, np.float32)
    if isinstance(bias, Live) or (bias.size != 1 and bias.shape not in ((m,), (1, m))):
        if beta != 1:
            raise Unsupported(f"node {node}: beta {beta} of a value that is made at run time")
        product = c.builder.dense(x, weight, None)
        c.set(node, elementwise(c, "ADD", product, c.builder.live(bias)))
        return
    bias = np.broadcast_to(c.floats(node, 2).reshape(-1), (m,)) if c.has(node, 2) else bias
    c.set(node, c.builder.dense(x, weight, bias * beta))


def _matmul(c: Lowering, node: Node) -> None:
    a, b = c.value(node, 0), c.value(node, 1)
    if isinstance(a, Live) and isinstance(b, Live):
        raise Unsupported(f"node {node}: both operands are made at run time")
    if isinstance(a, Live):
        weight = c.floats(node, 1)
        if weight.ndim != 2 or not a.shape or a.shape[-1] != weight.shape[0]:
            raise Unsupported(f"node {node}: {a.shape} times {weight.shape}")
        c.set(node, c.builder.dense(a, weight, None))
        return
    if not isinstance(a, Live) and not isinstance(b, Live):
        if not (a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0]):
            raise Unsupported(f"node {node}: {a.shape} times {b.shape}")
        c.bounded(node, float(a.shape[0]) * b.shape[1])
        if float(a.size) * b.shape[1] > MAX_PRODUCTS:
            raise Unsupported(f"node {node}: a product of constants {a.shape} times {b.shape}")
        c.set(node, np.asarray(np.matmul(a, b)))
        return
    assert isinstance(b, Live)
    left = c.floats(node, 0)
    if left.ndim != 2 or b.index.ndim != 2 or left.shape[1] != b.shape[0]:
        raise Unsupported(f"node {node}: {left.shape} times {b.shape}")
    turned = c.builder.dense(Live(b.buffer, b.index.T), left.T, None)
    c.set(node, Live(turned.buffer, turned.index.T))


def _batch_norm(c: Lowering, node: Node) -> None:
    if c.integer(node, "training_mode", 0):
        raise Unsupported(f"node {node}: it is in training mode")
    x = c.live(node, 0)
    gamma, beta, mean, variance = (c.floats(node, i).astype(np.float64) for i in range(1, 5))
    channels = x.shape[1:2] or (1,)
    if any(v.shape != channels for v in (gamma, beta, mean, variance)):
        raise Unsupported(
            f"node {node}: scale {gamma.shape}, bias {beta.shape}, mean {mean.shape} and variance {variance.shape} "
            f"of {channels[0]} channels"
        )
    factor = gamma / np.sqrt(variance + c.number(node, "epsilon", 1e-5))
    offset = beta - mean * factor
    step = c.builder.dense_of(Live(x.buffer, np.moveaxis(x.index, 1, -1))) if x.index.ndim > 1 else None
    if step is not None and "b" not in step.reads and c.sole(node.inputs[0]):
        step.packed["w"] = (step.packed["w"] * factor).astype(np.float32)
        step.packed["w2"] = (step.packed["w2"] * factor + offset).astype(np.float32)
        c.set(node, x)
        return
    channel = (1, -1) + (1,) * (x.index.ndim - 2)
    scaled = elementwise(c, "MUL", x, c.builder.constant(factor.reshape(channel)))
    c.set(node, elementwise(c, "ADD", scaled, c.builder.constant(offset.reshape(channel))))


def _layer_norm(c: Lowering, node: Node) -> None:
    x = c.live(node, 0)
    axis = c.integer(node, "axis", -1)
    axis += x.index.ndim if axis < 0 else 0
    if any(len(node.outputs) > i and node.outputs[i] and c.uses[node.outputs[i]] for i in (1, 2)):
        raise Unsupported(f"node {node}: its mean or deviation is read")
    n = int(np.prod(x.shape[axis:]))
    gamma = np.broadcast_to(c.floats(node, 1), x.shape[axis:]).reshape(-1)
    beta = np.broadcast_to(c.floats(node, 2), x.shape[axis:]).reshape(-1) if c.has(node, 2) else np.zeros(n)
    table = Live(x.buffer, x.index.reshape(-1, n))
    form = table.rows(n)
    if form is None or form[2]:
        table = c.builder.gather(table, 0.0)
        form = (0, n, False)
    out = c.builder.fresh(x.shape)
    c.builder.add(
        "LAYER_NORM",
        {
            "a": (table.buffer, form[0]),
            "b": (c.builder.constant(gamma).buffer, 0),
            "c": (c.builder.constant(beta).buffer, 0),
        },
        {"d": (out.buffer, 0)},
        n=n,
        rows=table.shape[0],
        lda=form[1],
        ldd=n,
        p=c.number(node, "epsilon", 1e-5),
    )
    c.set(node, out)


OPERATORS = {
    ("", "Gemm"): _gemm,
    ("", "MatMul"): _matmul,
    ("", "BatchNormalization"): _batch_norm,
    ("", "LayerNormalization"): _layer_norm,
}
