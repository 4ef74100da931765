"""Convolutions and pooling: the patches gathered as rows, then one matrix product or one reduction. Floor 3."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.models.lower_arithmetic import reduce_axes
from alpha.models.lowering import Live, Lowering, Node, Unsupported
from alpha.models.plan_builder import padded

MAX_GROUPS = 256  # each is a step


def _patches(c: Lowering, node: Node, index: npt.NDArray[np.int64], kernel: list[int]) -> npt.NDArray[np.int64]:
    """Places [*outputs, C, *kernel] of the patches of a [C, *space] index; -1 outside."""
    rank = len(kernel)
    strides = c.integers(node, "strides") or [1] * rank
    dilations = c.integers(node, "dilations") or [1] * rank
    pads = c.integers(node, "pads") or [0] * (2 * rank)
    auto = c.word(node, "auto_pad", "NOTSET")
    if not len(strides) == len(dilations) == rank or len(pads) != 2 * rank or len(index.shape) != rank + 1:
        raise Unsupported(f"node {node}: kernel {kernel} over {index.shape}")
    if min(kernel) < 1 or min(strides) < 1 or min(dilations) < 1 or min(pads) < 0:
        raise Unsupported(f"node {node}: kernel {kernel}, strides {strides}, dilations {dilations}, pads {pads}")
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        need = [max((-(-s // t) - 1) * t + r - s, 0) for s, t, r in zip(index.shape[1:], strides, reach, strict=True)]
        small = [n // 2 for n in need]
        large = [n - h for n, h in zip(need, small, strict=True)]
        pads = [*small, *large] if auto == "SAME_UPPER" else [*large, *small]
    elif auto not in ("NOTSET", "VALID"):
        raise Unsupported(f"node {node}: auto_pad {auto}")
    if c.integer(node, "ceil_mode", 0):
        raise Unsupported(f"node {node}: ceil_mode")
    spaces = [s + pads[i] + pads[rank + i] for i, s in enumerate(index.shape[1:])]
    sizes = [(s - r) // t + 1 for s, r, t in zip(spaces, reach, strides, strict=True)]
    if min(sizes) < 1:
        raise Unsupported(f"node {node}: kernel {kernel} is larger than its input {index.shape}")
    c.bounded(node, float(np.prod(sizes, dtype=np.float64)) * np.prod(kernel, dtype=np.float64) * index.shape[0])
    c.bounded(node, float(np.prod(spaces, dtype=np.float64)) * index.shape[0])
    around = [(0, 0)] + [(pads[i], pads[rank + i]) for i in range(rank)]
    full = np.pad(index, around, constant_values=-1)
    out = np.empty((*sizes, index.shape[0], *kernel), np.int64)
    for at in product(*(range(k) for k in kernel)):
        cut = [
            slice(a * d, a * d + (n - 1) * t + 1, t) for a, d, n, t in zip(at, dilations, sizes, strides, strict=True)
        ]
        place: tuple[Any, ...] = (Ellipsis, *at)
        out[place] = np.moveaxis(full[(slice(None), *cut)], 0, -1)
    return out


def _conv(c: Lowering, node: Node) -> None:
    x, weight = c.live(node, 0), c.floats(node, 1)
    bias = c.floats(node, 2) if c.has(node, 2) else None
    rank = weight.ndim - 2
    if x.shape[0] != 1 or x.index.ndim != rank + 2 or rank not in (1, 2):
        raise Unsupported(f"node {node}: input {x.shape}, weights {weight.shape}: one or two axes of space, batch 1")
    groups = c.integer(node, "group", 1)
    channels, m = weight.shape[1], len(weight) // max(groups, 1)
    if groups < 1 or channels * groups != x.shape[1] or m * groups != len(weight):
        raise Unsupported(f"node {node}: {x.shape[1]} channels into {len(weight)} by {groups} groups of {channels}")
    if bias is not None and bias.shape != (len(weight),):
        raise Unsupported(f"node {node}: bias {bias.shape} of {len(weight)} channels")
    if groups > MAX_GROUPS:
        raise Unsupported(f"node {node}: {groups} groups, up to {MAX_GROUPS} are planned")
    patches = _patches(c, node, x.index[0], list(weight.shape[2:]))
    sizes = patches.shape[:rank]
    rows = int(np.prod(sizes))
    table = Live(x.buffer, patches)
    if (patches < 0).any():
        table = c.builder.gather(table, 0.0)
    size = rows * padded(m)
    out = c.builder.buffer(groups * size)
    parts = []
    for g in range(groups):
        of = slice(g * m, (g + 1) * m)
        inputs = table.index[(slice(None),) * rank + (slice(g * channels, (g + 1) * channels),)]
        part = Live(table.buffer, inputs.reshape(rows, -1))
        mine = None if bias is None else bias[of]
        parts.append(c.builder.dense(part, weight[of].reshape(m, -1).T, mine, (out, g * size)).index)
    # [space, channels] as it lies; the graph sees [1, channels, space]
    index = np.concatenate(parts, axis=1).reshape(*sizes, -1)
    c.set(node, Live(out, np.moveaxis(index, -1, 0)[None]))


def _pool(kind: str) -> Callable[[Lowering, Node], None]:
    def lower(c: Lowering, node: Node) -> None:
        x = c.live(node, 0)
        kernel = c.integers(node, "kernel_shape")
        indices = len(node.outputs) > 1 and bool(node.outputs[1])
        if kernel is None or x.shape[0] != 1 or len(kernel) not in (1, 2) or indices:
            raise Unsupported(f"node {node}: kernel {kernel} over {x.shape}")
        patches = _patches(c, node, x.index[0], kernel)
        outside = bool((patches < 0).any())
        if kind == "MEAN" and outside:
            raise Unsupported(f"node {node}: an average with padding")
        table = Live(x.buffer, patches)
        if outside:
            table = c.builder.gather(table, -float(np.finfo(np.float32).max))
        rank = len(kernel)
        y = reduce_axes(c, kind, table, list(range(rank + 1, 2 * rank + 1)), False)
        c.set(node, Live(y.buffer, np.moveaxis(y.index, -1, 0)[None]))

    return lower


def _global(kind: str) -> Callable[[Lowering, Node], None]:
    def lower(c: Lowering, node: Node) -> None:
        x = c.live(node, 0)
        c.set(node, reduce_axes(c, kind, x, list(range(2, x.index.ndim)), True))

    return lower


OPERATORS = {
    ("", "Conv"): _conv,
    ("", "MaxPool"): _pool("MAX"),
    ("", "AveragePool"): _pool("MEAN"),
    ("", "GlobalAveragePool"): _global("MEAN"),
    ("", "GlobalMaxPool"): _global("MAX"),
}
