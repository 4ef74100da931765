"""A graph as the rest of this floor sees it, and the order of its nodes. Floor 3."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias, Union

import numpy as np
import numpy.typing as npt

from alpha.errors import ModelError

Tensor = npt.NDArray[np.generic]
Attribute: TypeAlias = Union[int, float, bytes, Tensor, tuple[int, ...], tuple[float, ...], tuple[bytes, ...], "Graph"]


@dataclass(frozen=True, slots=True)
class Node:
    """One operator. ``domain`` is "" for ONNX's own; an empty input or output name means: left out."""

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute]

    def __str__(self) -> str:
        """``Gemm 'fc1'``: how messages name the node."""
        label = self.name or next((o for o in self.outputs if o), "")
        return f"{self.domain}.{self.op} {label!r}" if self.domain else f"{self.op} {label!r}"


@dataclass(slots=True)
class ValueInfo:
    """An input or output: ``shape`` holds numbers, names of free dimensions, and None for unknown ones.

    ``kind``: tensor, sequence, map, optional, sparse tensor, opaque or unknown; only a tensor has dtype and shape.
    ``text``: the whole type as messages show it, e.g. ``sequence(map(int64, tensor(float)))``.
    """

    name: str
    dtype: np.dtype[np.generic] | None
    shape: tuple[int | str | None, ...] | None
    kind: str = "tensor"
    text: str = ""


@dataclass(slots=True)
class Graph:
    """A checked graph: every name is made once, before it is used. ``inputs`` are without initializers."""

    name: str = ""
    nodes: tuple[Node, ...] = ()
    initializers: dict[str, Tensor] = field(default_factory=dict)
    inputs: tuple[ValueInfo, ...] = ()
    outputs: tuple[ValueInfo, ...] = ()
    opset: dict[str, int] = field(default_factory=dict)
    ir_version: int = 0
    producer: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


def subgraphs(node: Node) -> list[Graph]:
    """The graphs that an If, Loop or Scan carries."""
    return [value for value in node.attributes.values() if isinstance(value, Graph)]


def every_node(graph: Graph) -> Iterable[Node]:
    """Nodes of the graph and of the graphs inside it."""
    todo = [graph]
    while todo:
        current = todo.pop()
        for node in current.nodes:
            yield node
            todo += subgraphs(node)


def _unique(made: dict[str, str], name: str, by: str, where: str) -> None:
    if name in made:
        raise ModelError(f"{where}: the name {name!r} is made twice, by {made[name]} and by {by}")
    made[name] = by


def connect(graph: Graph, free: dict[int, set[str]], defined: dict[int, set[str]], where: str) -> None:
    """Check names and sort ``graph.nodes`` so that each comes after what it uses; the given order is kept where it can.

    ``free`` and ``defined`` hold, by id of a graph, the names that it takes from outside and those made in it;
    the graphs inside are already there, this one is added.
    """
    made: dict[str, str] = {}
    for info in graph.inputs:
        _unique(made, info.name, "an input", where)
    for name in graph.initializers:
        _unique(made, name, "an initializer", where)
    maker: dict[str, int] = {}
    inner: set[str] = set()
    for i, node in enumerate(graph.nodes):
        for name in node.outputs:
            if name:
                _unique(made, name, f"node {node}", where)
                maker[name] = i
        for sub in subgraphs(node):
            inner |= defined[id(sub)]
    if shadowed := sorted(inner & made.keys()):
        raise ModelError(f"{where}: the name {shadowed[0]!r} is made twice, in the graph and in a graph inside it")
    outside: set[str] = set()
    waits: list[set[int]] = []
    users: dict[int, list[int]] = {}
    for i, node in enumerate(graph.nodes):
        used = {name for name in node.inputs if name}
        for sub in subgraphs(node):
            used |= free[id(sub)]
        outside |= {name for name in used if name not in made}
        waits.append({maker[name] for name in used if name in maker})
        for j in waits[i]:
            users.setdefault(j, []).append(i)
    outside |= {info.name for info in graph.outputs if info.name not in made}
    graph.nodes = tuple(graph.nodes[i] for i in _sorted(graph, waits, users, where))
    free[id(graph)] = outside
    defined[id(graph)] = inner | made.keys()


def _sorted(graph: Graph, waits: list[set[int]], users: dict[int, list[int]], where: str) -> list[int]:
    left = [len(w) for w in waits]
    ready = [i for i, n in enumerate(left) if n == 0]
    order: list[int] = []
    while ready:
        i = heapq.heappop(ready)
        order.append(i)
        for j in users.get(i, ()):
            left[j] -= 1
            if left[j] == 0:
                heapq.heappush(ready, j)
    if len(order) < len(left):
        i = next(i for i, n in enumerate(left) if n)
        seen: dict[int, int] = {}
        while i not in seen:  # each stuck node waits for a stuck node: follow until it closes
            seen[i] = len(seen)
            i = next(j for j in waits[i] if left[j])
        circle = list(seen)[seen[i] :]
        names = " → ".join(str(graph.nodes[j]) for j in reversed(circle[:6]))
        raise ModelError(f"{where}: its nodes wait for each other in a circle: {names}")
    return order


def undefined(graph: Graph, missing: set[str]) -> ModelError:
    """The error for names that nothing makes, with the place that uses the first."""
    name = min(missing)
    for node in every_node(graph):
        if name in node.inputs:
            return ModelError(f"graph {graph.name!r}: node {node} uses {name!r}, which nothing makes")
    return ModelError(f"graph {graph.name!r}: output {name!r} is made by nothing")
