"""Operators that only move values: they change places at compile time and leave no step. Floor 3."""

from __future__ import annotations

from typing import Any

import numpy as np

from alpha.models.lowering import Live, Lowering, Node, Unsupported, Value


def _identity(c: Lowering, node: Node) -> None:
    c.set(node, c.value(node, 0))


def _dropout(c: Lowering, node: Node) -> None:
    if c.has(node, 2) and bool(np.any(c.constant(node, 2))):
        raise Unsupported(f"node {node}: it is in training mode")
    c.set(node, c.value(node, 0))


def _cast(c: Lowering, node: Node) -> None:
    to = c.integer(node, "to", 0)
    value = c.value(node, 0)
    types: dict[int, Any] = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}
    if to not in types:
        raise Unsupported(f"node {node}: a cast to element type {to}")
    if isinstance(value, Live):
        if to != 1:
            raise Unsupported(f"node {node}: values of the input are cast to {np.dtype(types[to]).name}")
        c.set(node, value)
    else:
        with np.errstate(all="ignore"):
            c.set(node, value.astype(types[to]))


def _reshape(c: Lowering, node: Node) -> None:
    value = c.value(node, 0)
    target = c.ints(node, 1)
    if not c.integer(node, "allowzero", 0):
        target = [value.shape[i] if d == 0 else d for i, d in enumerate(target)]
    c.places(node, value, lambda a: a.reshape(target))


def _flatten(c: Lowering, node: Node) -> None:
    value = c.value(node, 0)
    rank = len(value.shape)
    axis = c.integer(node, "axis", 1)
    axis += rank if axis < 0 else 0
    c.places(node, value, lambda a: a.reshape(int(np.prod(value.shape[:axis])), -1))


def _axes(c: Lowering, node: Node, i: int = 1) -> list[int] | None:
    """The attribute of old operator sets, or the operand of new ones."""
    given = c.integers(node, "axes")
    return given if given is not None or not c.has(node, i) else c.ints(node, i)


def _squeeze(c: Lowering, node: Node) -> None:
    axes = _axes(c, node)
    c.places(node, c.value(node, 0), lambda a: np.squeeze(a, None if axes is None else tuple(axes)))


def _unsqueeze(c: Lowering, node: Node) -> None:
    axes = _axes(c, node)
    if axes is None:
        raise Unsupported(f"node {node}: it names no axes")
    c.places(node, c.value(node, 0), lambda a: np.expand_dims(a, tuple(axes)))


def _transpose(c: Lowering, node: Node) -> None:
    order = c.integers(node, "perm")
    c.places(node, c.value(node, 0), lambda a: np.transpose(a, order))


def _concat(c: Lowering, node: Node) -> None:
    axis = c.integer(node, "axis", 0)
    parts: list[Value] = [c.value(node, i) for i in range(len(node.inputs))]
    c.bounded(node, sum(np.prod(p.shape, dtype=np.float64) for p in parts))
    if not any(isinstance(p, Live) for p in parts):
        c.set(node, np.concatenate([p for p in parts if not isinstance(p, Live)], axis))
        return
    axis += len(parts[0].shape) if axis < 0 else 0
    c.set(node, c.concatenate([c.builder.live(p) for p in parts], axis))


def _slice(c: Lowering, node: Node) -> None:
    value = c.value(node, 0)
    if c.opset() < 10:
        starts, ends = c.integers(node, "starts") or [], c.integers(node, "ends") or []
        axes, steps = c.integers(node, "axes"), None
    else:
        starts, ends = c.ints(node, 1), c.ints(node, 2)
        axes = c.ints(node, 3) if c.has(node, 3) else None
        steps = c.ints(node, 4) if c.has(node, 4) else None
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    rank = len(value.shape)
    axes = [a + rank if a < 0 else a for a in axes]
    if len(set(axes)) < len(axes) or not all(0 <= a < rank for a in axes) or 0 in steps:
        raise Unsupported(f"node {node}: axes {axes} of {rank}, steps {steps}")
    if any(step < 0 and end in _TO_THE_END for end, step in zip(ends, steps, strict=True)):
        raise Unsupported(
            f"node {node}: an end of {max(ends)} and a step backward, which ONNX Runtime reads its own way"
        )
    cut: list[slice] = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        cut[axis] = sliced(start, end, step, value.shape[axis])
    c.places(node, value, lambda a: a[tuple(cut)])


_TO_THE_END = (2**31 - 1, 2**63 - 1)  # ONNX Runtime: to the front if the step is negative; ONNX: the last place


def sliced(start: int, end: int, step: int, size: int) -> slice:
    """What Slice takes of an axis of ``size``: negative places count from the back, what is still outside is held at the
    first or the last place (numpy instead takes nothing of a start before the front)."""
    last = size if step > 0 else size - 1
    first = last - size
    start, end = (place + size if place < 0 else place for place in (start, end))
    start, end = max(0, min(start, last)), max(first, min(end, last))
    return slice(start, None if end < 0 else end, step)


def _gather(c: Lowering, node: Node) -> None:
    index, value, axis = c.constant(node, 1), c.value(node, 0), c.integer(node, "axis", 0)
    c.bounded(node, float(index.size) * np.prod(value.shape, dtype=np.float64) / max(value.shape[axis], 1))
    c.places(node, value, lambda a: np.take(a, index, axis))


def _split(c: Lowering, node: Node) -> None:
    value = c.value(node, 0)
    axis = c.integer(node, "axis", 0)
    given = c.integers(node, "split")
    if given is None and c.has(node, 1):
        given = c.ints(node, 1)
    if given is None:
        parts = len(node.outputs)
        size = -(-value.shape[axis] // parts)
        given = [min(size, value.shape[axis] - i * size) for i in range(parts)]
    if sum(given) != value.shape[axis] or min(given) < 0 or len(given) != len(node.outputs):
        raise Unsupported(f"node {node}: {given} does not split {value.shape[axis]}")
    at = 0
    for i, size in enumerate(given):
        take = np.arange(at, at + size)
        if isinstance(value, Live):
            c.set(node, Live(value.buffer, np.take(value.index, take, axis)), i)
        else:
            c.set(node, np.take(value, take, axis), i)
        at += size


def _expand(c: Lowering, node: Node) -> None:
    value = c.value(node, 0)
    shape = np.broadcast_shapes(value.shape, tuple(c.ints(node, 1)))
    c.bounded(node, np.prod(shape, dtype=np.float64))
    c.places(node, value, lambda a: np.broadcast_to(a, shape))


def _shape(c: Lowering, node: Node) -> None:
    start, end = c.integer(node, "start", 0), node.attributes.get("end")
    c.set(node, np.asarray(c.value(node, 0).shape, np.int64)[start : end if isinstance(end, int) else None])


def _constant(c: Lowering, node: Node) -> None:
    for name, kind in (
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        if name in node.attributes:
            c.set(node, np.asarray(node.attributes[name], kind), counted=False)
            return
    value = node.attributes.get("value")
    if not isinstance(value, np.ndarray):
        raise Unsupported(f"node {node}: a constant of a kind that is not covered")
    c.set(node, value, counted=False)


def _constant_of_shape(c: Lowering, node: Node) -> None:
    shape = tuple(c.ints(node, 0))
    c.bounded(node, np.prod(shape, dtype=np.float64))
    value = node.attributes.get("value", np.zeros(1, np.float32))
    if not isinstance(value, np.ndarray) or value.size != 1:
        raise Unsupported(f"node {node}: its value is not one number")
    c.set(node, np.full(shape, value.reshape(-1)[0], value.dtype))


def _array_feature_extractor(c: Lowering, node: Node) -> None:
    index = c.constant(node, 1).reshape(-1).astype(np.int64)
    value = c.value(node, 0)
    c.bounded(node, float(index.size) * np.prod(value.shape[:-1], dtype=np.float64))
    c.places(node, c.value(node, 0), lambda a: np.take(a, index, -1))


def _pad(c: Lowering, node: Node) -> None:
    if c.word(node, "mode", "constant") != "constant" or c.opset() < 11 or c.has(node, 3):
        raise Unsupported(f"node {node}: only padding of all axes with a constant is planned")
    x = c.live(node, 0)
    amounts = np.asarray(c.ints(node, 1)).reshape(2, -1).T
    if (amounts < 0).any():
        raise Unsupported(f"node {node}: padding of {amounts.tolist()}")
    c.bounded(node, np.prod(amounts.sum(axis=1, dtype=np.float64) + x.shape))
    fill = float(c.floats(node, 2).reshape(-1)[0]) if c.has(node, 2) else 0.0
    c.set(node, c.builder.gather(Live(x.buffer, np.pad(x.index, amounts, constant_values=-1)), fill))


OPERATORS = {
    ("", "Identity"): _identity,
    ("", "Dropout"): _dropout,
    ("", "Cast"): _cast,
    ("", "Reshape"): _reshape,
    ("", "Flatten"): _flatten,
    ("", "Squeeze"): _squeeze,
    ("", "Unsqueeze"): _unsqueeze,
    ("", "Transpose"): _transpose,
    ("", "Concat"): _concat,
    ("", "Slice"): _slice,
    ("", "Gather"): _gather,
    ("", "Split"): _split,
    ("", "Expand"): _expand,
    ("", "Shape"): _shape,
    ("", "Constant"): _constant,
    ("", "ConstantOfShape"): _constant_of_shape,
    ("", "Pad"): _pad,
    ("ai.onnx.ml", "ArrayFeatureExtractor"): _array_feature_extractor,
}
