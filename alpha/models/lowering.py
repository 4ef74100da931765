"""What every ``lower_*.py`` sees of a graph that is being compiled. Floor 3."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.models.graph import Graph, Node
from alpha.models.plan_builder import Array, Buffer, Builder, Live, Unsupported, Value

__all__ = ["Array", "Buffer", "Builder", "Live", "Lowering", "Node", "Unsupported", "Value"]

MAX_NUMBERS = 1 << 24  # of folded constants and places of values, all of a compile together


class Lowering:
    """Values by name while the nodes are walked: constants as arrays, the rest :class:`Live`."""

    def __init__(self, graph: Graph, builder: Builder) -> None:
        self.graph = graph
        self.builder = builder
        self.values: dict[str, Value] = dict(graph.initializers)
        self.uses: Counter[str] = Counter()
        self.shared: set[int] = set()  # buffers in which some value, or a view of one, is read more than once
        self.ties: list[tuple[int, float]] = []
        self.input_buffer: Buffer | None = None
        self.held = 0  # numbers of folded constants and places of values so far

    def opset(self, domain: str = "") -> int:
        """Version of the operator set."""
        return self.graph.opset.get(domain, 1)

    # -- operands

    def value(self, node: Node, i: int) -> Value:
        """Operand ``i``."""
        return self.values[node.inputs[i]]

    def has(self, node: Node, i: int) -> bool:
        """Is there an operand ``i``?"""
        return len(node.inputs) > i and bool(node.inputs[i])

    def live(self, node: Node, i: int) -> Live:
        """Operand ``i``, made at run time; Unsupported if it is a constant."""
        value = self.value(node, i)
        if not isinstance(value, Live):
            raise Unsupported(f"node {node}: operand {i} is a constant")
        return value

    def constant(self, node: Node, i: int) -> Array:
        """Operand ``i``, known now; Unsupported if it depends on the input."""
        value = self.value(node, i)
        if isinstance(value, Live):
            raise Unsupported(f"node {node}: operand {i} depends on the input")
        return value

    def floats(self, node: Node, i: int) -> npt.NDArray[np.float32]:
        """Operand ``i`` as constant float32."""
        value = self.constant(node, i)
        if value.dtype != np.float32:
            raise Unsupported(f"node {node}: operand {i} is {value.dtype}, float32 is planned")
        return value.astype(np.float32, copy=False)

    def ints(self, node: Node, i: int) -> list[int]:
        """Operand ``i`` as constant whole numbers."""
        value = self.constant(node, i)
        if value.dtype.kind not in "iu":
            raise Unsupported(f"node {node}: operand {i} is {value.dtype}, whole numbers are expected")
        return [int(v) for v in value.reshape(-1)]

    # -- attributes

    def number(self, node: Node, name: str, default: float) -> float:
        """A float attribute."""
        value = node.attributes.get(name, default)
        if not isinstance(value, (int, float)):
            raise Unsupported(f"node {node}: {name} is no number")
        return float(value)

    def integer(self, node: Node, name: str, default: int) -> int:
        """A whole-number attribute."""
        value = node.attributes.get(name, default)
        if not isinstance(value, int):
            raise Unsupported(f"node {node}: {name} is no whole number")
        return value

    def integers(self, node: Node, name: str) -> list[int] | None:
        """A list of whole numbers, or None if it is not there."""
        value = node.attributes.get(name)
        if value is None:
            return None
        if not isinstance(value, tuple) or not all(isinstance(v, int) for v in value):
            raise Unsupported(f"node {node}: {name} is no list of whole numbers")
        return [int(v) for v in value if isinstance(v, int)]

    def numbers(self, node: Node, name: str) -> npt.NDArray[np.float32]:
        """A list of floats; empty if it is not there."""
        value = node.attributes.get(name, ())
        if not isinstance(value, tuple) or not all(isinstance(v, (int, float)) for v in value):
            raise Unsupported(f"node {node}: {name} is no list of numbers")
        return np.asarray(value, np.float32)

    def word(self, node: Node, name: str, default: str) -> str:
        """A text attribute."""
        value = node.attributes.get(name, default.encode())
        if not isinstance(value, bytes):
            raise Unsupported(f"node {node}: {name} is no text")
        return value.decode("latin-1")

    # -- results

    def bounded(self, node: Node, size: float) -> None:
        """Unsupported if with ``size`` numbers more the compile would hold more than MAX_NUMBERS: before they are made."""
        if not self.held + size <= MAX_NUMBERS:
            raise Unsupported(
                f"node {node}: it makes {size:,.0f} values after {self.held:,}: up to {MAX_NUMBERS:,} are planned"
            )

    def set(self, node: Node, value: Value, i: int = 0, *, counted: bool = True) -> None:
        """Output ``i`` of the node. ``counted=False``: its numbers stand in the model's file."""
        numbers = value.index if isinstance(value, Live) else value
        if isinstance(value, Live) and not numbers.size:
            raise Unsupported(f"node {node}: its result {value.shape} is empty")
        if counted and not self._view(node, numbers):
            self.bounded(node, numbers.size)
            self.held += numbers.size
        if len(node.outputs) > i and node.outputs[i]:
            self.values[node.outputs[i]] = value
            if isinstance(value, Live) and self.uses[node.outputs[i]] > 1:
                self.shared.add(id(value.buffer))

    def _view(self, node: Node, numbers: Array) -> bool:
        """Do these numbers lie in those of an operand? Then they are held once."""
        operands = (self.values.get(name) for name in node.inputs if name)
        held = (v.index if isinstance(v, Live) else v for v in operands if v is not None)
        return any(np.may_share_memory(numbers, v) for v in held)

    def places(self, node: Node, value: Value, change: Callable[[Any], Any]) -> None:
        """The node's result is its operand with the places changed: a view of a live value, or a folded constant."""
        if isinstance(value, Live):
            self.set(node, Live(value.buffer, np.asarray(change(value.index))))
        else:
            self.set(node, np.asarray(change(value)))

    def sole(self, name: str) -> bool:
        """Does nothing else read this value, nor what lies in the same buffer?"""
        value = self.values[name]
        return self.uses[name] == 1 and not (isinstance(value, Live) and id(value.buffer) in self.shared)

    def concatenate(self, parts: Sequence[Live], axis: int = 0, *, pinned: bool = False) -> Live:
        """Values side by side in a new buffer; no copy if they already lie so."""
        first = parts[0].buffer
        if all(p.buffer is first for p in parts) and not pinned:
            return Live(first, np.concatenate([p.index for p in parts], axis))
        shape = list(parts[0].shape)
        shape[axis] = sum(p.shape[axis] for p in parts)
        size = int(np.prod(shape))
        out = self.builder.buffer(size, pinned=pinned)
        places, at = [], 0
        for p in parts:
            count = p.index.size
            start = p.start()
            if start is None:
                p = self.builder.gather(p, 0.0)
                start = 0
            self.builder.add("COPY", {"a": (p.buffer, start)}, {"d": (out, at)}, n=count)
            places.append(np.arange(at, at + count).reshape(p.shape))
            at += count
        return Live(out, np.concatenate(places, axis))
