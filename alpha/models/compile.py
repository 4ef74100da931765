"""ONNX graph -> plan of fused steps. Floor 3.

Walks the nodes that lead to the output that is read; everything else (labels, argmax) is left out. What an operator
becomes stands in ``lower_*.py``; an operator or a form that is not covered is :class:`Unsupported`, whose message says
which node it was, and ONNX Runtime serves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha._core import plan as native
from alpha._core.plan import Plan
from alpha._core.program import isa as chosen_isa
from alpha.errors import ModelError
from alpha.models import (
    lower_arithmetic,
    lower_classic,
    lower_conv,
    lower_dense,
    lower_recurrent,
    lower_shapes,
    lower_trees,
)
from alpha.models.graph import Graph, Node, read_graph
from alpha.models.lowering import Lowering, Unsupported
from alpha.models.plan_builder import Builder, Live

__all__ = ["Compiled", "Unsupported", "compile_model"]

_LOWER: dict[tuple[str, str], Callable[[Lowering, Node], None]] = {}
for _module in (
    lower_shapes,
    lower_arithmetic,
    lower_dense,
    lower_classic,
    lower_trees,
    lower_recurrent,
    lower_conv,
):
    _LOWER |= _module.OPERATORS


# what a graph whose shapes do not fit each other may raise in numpy or here
_DO_NOT_FIT = (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True)
class Compiled:
    """A plan and what its judge needs to know. ``ties``: (feature, threshold) at which trees on the input branch.

    ``exact``: only trees, comparisons and copies, so it equals ONNX Runtime bit for bit. ``shape``: of one input.
    ``graph``, ``output``: what was compiled.
    """

    plan: Plan
    shape: tuple[int, ...]
    exact: bool
    graph: Graph
    output: str
    ties: list[tuple[int, float]] = field(default_factory=list)
    precision: str = "float32"


def compile_model(
    model: bytes | Graph,
    output: str,
    *,
    carry: Sequence[tuple[str, str]] = (),
    isa: str | None = None,
    precision: str = "float32",
) -> Compiled:
    """The fused plan of a model for one input row (batch 1).

    ``output``: which output is read. ``carry``: (input, output) names of recurrent state, in the order in which it is
    kept. ``precision``: ``float32`` or ``bf16`` (weights rounded to bfloat16). Unsupported if a part is not covered or
    its shapes do not fit each other, ModelError if the graph itself is wrong: nothing else is raised for a graph.
    """
    if precision not in ("float32", "bf16"):
        raise ModelError(f"precision {precision!r} is unknown: use float32 or bf16")
    graph = model if isinstance(model, Graph) else read_graph(model)
    try:
        with np.errstate(all="ignore"):  # a weight that becomes infinite here does so in ONNX Runtime
            return _compile(graph, output, carry, isa or chosen_isa(), precision)
    except _DO_NOT_FIT as exc:
        # what no node was named for: the output or the states that are made of the nodes' results
        raise Unsupported(f"output {output!r}: what it is made of does not fit: {_said(exc)}") from None


def _said(exc: Exception) -> str:
    return f"{type(exc).__name__}: {str(exc)[:120]}"


def _compile(graph: Graph, output: str, carry: Sequence[tuple[str, str]], isa: str, precision: str) -> Compiled:
    b = Builder(native.width(isa), half=precision == "bf16")
    states = {name: None for pair in carry for name in pair[:1]}
    data = [i for i in graph.inputs if i.name not in states]
    missing = [n for n in states if n not in {i.name for i in graph.inputs}]
    if missing:
        raise ModelError(f"the model has no input {missing[0]!r} for its state")
    if len(data) != 1:
        raise Unsupported(f"the model has {len(data)} inputs {[i.name for i in data]}: one row of features is planned")
    c = Lowering(graph, b)
    inputs = b.fresh(_shape(data[0]), pinned=True)
    c.values[data[0].name] = inputs
    c.input_buffer = inputs.buffer
    carry_in = _states(c, carry)
    wanted = [output, *(out for _, out in carry)]
    known = {o.name for o in graph.outputs}
    for name in wanted:
        if name not in known:
            raise ModelError(f"the model has no output {name!r}; it has {sorted(known)}")
    nodes = _leading_to(graph, wanted)
    c.uses = Counter(name for node in nodes for name in node.inputs) + Counter(wanted)
    for node in nodes:
        lower = _LOWER.get((node.domain, node.op))
        if lower is None:
            raise Unsupported(f"node {node}: operator {node.op} is not covered")
        try:
            lower(c, node)
        except Unsupported as exc:
            if f"node {node}" in str(exc):
                raise
            raise Unsupported(f"node {node}: {exc}") from None
        except _DO_NOT_FIT as exc:
            raise Unsupported(f"node {node}: its operands do not fit: {_said(exc)}") from None
    absent = [name for name in wanted if name not in c.values]
    if absent:
        raise Unsupported(f"output {absent[0]!r} is one of a node that the plan does not make")
    result = c.values[output]
    if not isinstance(result, Live):
        raise Unsupported(f"output {output!r} does not depend on the input")
    if result.index.size > 1 << 16:
        raise Unsupported(f"output {output!r} has {result.index.size:,} values")
    result = b.contiguous(result)
    carry_out = _new_states(c, carry)
    plan = b.plan(inputs, result, carry_in, carry_out, isa)
    exact = {"TREES", "GATHER", "COPY"} >= set(plan.steps_by_name)
    return Compiled(plan, inputs.shape, exact, graph, output, c.ties, precision)


def _shape(info: Any) -> tuple[int, ...]:
    """The input's shape with a batch of one."""
    if info.dtype != np.float32 or info.shape is None:
        raise Unsupported(f"input {info.name!r} is {info.text}: float32 [1, F] or [1, T, F] is planned")
    first, *rest = info.shape or (None,)
    batch_free = not isinstance(first, int) or first in (1, -1, 0)
    if not batch_free or not rest or not all(isinstance(d, int) and 0 < d < 1 << 20 for d in rest):
        raise Unsupported(
            f"input {info.name!r} has shape {list(info.shape)}: [1, F] or [1, T, F] with fixed F, T is planned"
        )
    shape = (1, *rest)
    if np.prod(shape) > 1 << 20:
        raise Unsupported(f"input {info.name!r} has {np.prod(shape):,} values")
    return shape


def _states(c: Lowering, carry: Sequence[tuple[str, str]]) -> Live | None:
    """One pinned piece of the arena for all states that come in, cut into the graph's inputs."""
    if not carry:
        return None
    infos = {i.name: i for i in c.graph.inputs}
    shapes: list[tuple[int, ...]] = []
    for name, _ in carry:
        info = infos[name]
        if info.dtype != np.float32 or info.shape is None or not info.shape:
            raise Unsupported(f"state {name!r} is {info.text}: float32 of a fixed shape is planned")
        shape = tuple(d if isinstance(d, int) and d > 0 else 1 for d in info.shape)
        if np.prod(shape) > 1 << 20:
            raise Unsupported(f"state {name!r} has {np.prod(shape):,} values")
        shapes.append(shape)
    sizes = [int(np.prod(s)) for s in shapes]
    whole = c.builder.fresh((sum(sizes),), pinned=True)
    c.builder.rounded.add(id(whole.buffer))  # the plan's own results of the row before
    at = 0
    for (name, _), shape, size in zip(carry, shapes, sizes, strict=True):
        c.values[name] = Live(whole.buffer, whole.index[at : at + size].reshape(shape))
        at += size
    return whole


def _new_states(c: Lowering, carry: Sequence[tuple[str, str]]) -> Live | None:
    """One piece of the arena that holds all states that leave, in the order in which they came in."""
    if not carry:
        return None
    parts: list[Live] = []
    for name, out in carry:
        value = c.builder.live(c.values[out])
        if value.index.size != c.builder.live(c.values[name]).index.size:
            raise ModelError(f"state {out!r} has {value.index.size} values, {name!r} has another number")
        parts.append(value)
    return c.concatenate([Live(p.buffer, p.index.reshape(-1)) for p in parts], pinned=True)


def _leading_to(graph: Graph, wanted: Sequence[str]) -> list[Node]:
    """The nodes that the wanted names depend on, in the graph's order."""
    needed = set(wanted)
    nodes = []
    for node in reversed(graph.nodes):
        if needed.intersection(o for o in node.outputs if o):
            nodes.append(node)
            needed.update(i for i in node.inputs if i)
    return nodes[::-1]


def tie_rows(compiled: Compiled) -> npt.NDArray[np.float32]:
    """float32 [N, inputs]: each threshold of the trees on the input, and its neighbours, in rows of zeros otherwise."""
    rows = np.zeros((3 * len(compiled.ties), int(np.prod(compiled.shape))), np.float32)
    for i, (feature, threshold) in enumerate(compiled.ties):
        t = np.float32(threshold)
        rows[3 * i : 3 * i + 3, feature] = np.nextafter(t, np.float32(-np.inf)), t, np.nextafter(t, np.float32(np.inf))
    return rows
