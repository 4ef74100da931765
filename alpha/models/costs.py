"""What one row costs at most, summed over the whole graph: numbers made, and steps of arithmetic. Floor 3.

Each node alone may stay below its limit while sixty of them, or twenty-seven that double, fill the memory. Sizes come
from static shapes (``shapes.py``); where one depends on data, the node counts as making as much as it is given.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from alpha.errors import ModelError
from alpha.models.shapes import ODD, Given, Shape, labels, shapes_of
from alpha.models.structure import Graph, Node, Tensor

MAX_NUMBERS = 1 << 25
"""Numbers that all nodes make for one row: 128 MB of float32. A block of a transformer over 512 rows makes 10 million."""
MAX_STEPS = 1 << 32
"""Multiply-adds and the like for one row: about a second of one core."""
READ = 16  # what a number costs that is read, in multiply-adds
NODE = 4_096  # what a node costs that runs on nothing, in multiply-adds
MAX_LOOKS = 100_000  # nodes that are looked at, those in loops again
ROUNDS = 64  # rounds of a loop that are followed while what it carries still grows
_MULTIPLY = {"MatMul", "Gemm", "Conv", "ConvTranspose", "LSTM", "GRU", "RNN"}
SMALL = 1_024  # elements of a constant that may say a size


def check_costs(graph: Graph, features: int = 0) -> None:
    """ModelError names the node with which one row would cost too much.

    ``features``: of an input whose last dimension is left open, 0 if unknown; other free dimensions count as 1.
    """
    row = _Row(graph)
    for info in graph.inputs:
        if info.shape is not None:
            dims = [d if isinstance(d, int) else 1 for d in info.shape]
            if dims and features and not isinstance(info.shape[-1], int):
                dims[-1] = features
            row.learn(info.name, tuple(dims))
    row.run(graph, 1)


class _Row:
    """The sums while the graph is walked once. Names are unique over all graphs of a file."""

    def __init__(self, graph: Graph) -> None:
        self.opset = graph.opset.get("", 1)
        self.shapes: dict[str, Shape | None] = {}
        self.counts: dict[str, int] = {}
        self.values: dict[str, Tensor] = {}
        self.made = self.steps = self.looks = 0

    def learn(self, name: str, shape: Shape | None, count: int | None = None) -> None:
        self.shapes[name] = shape
        self.counts[name] = math.prod(shape) if shape is not None else count or 0

    def constant(self, name: str, value: Tensor) -> None:
        self.learn(name, value.shape)
        if value.size <= SMALL and value.dtype.kind in "iuf":
            self.values[name] = value

    def run(self, graph: Graph, times: int) -> None:
        for name, value in graph.initializers.items():
            self.constant(name, value)
        for node in graph.nodes:
            self.looks += 1
            if self.looks > MAX_LOOKS:
                raise ModelError(f"node {node}: loops inside loops grow too entangled to tell what a row costs")
            self.node(node, times)

    def node(self, node: Node, times: int) -> None:
        if node.op == "Constant" and not node.domain:
            value = next(iter(node.attributes.values()), 0)
            self.constant(node.outputs[0], np.asarray(value) if not isinstance(value, Graph) else np.zeros(0))
            return
        inside = {k: v for k, v in node.attributes.items() if isinstance(v, Graph)}
        if inside:
            self.charge(node, times, 0, 0)
            kinds = {} if node.domain else {"Loop": self.loop, "Scan": self.scan}
            kinds.get(node.op, self.branches)(node, inside, times)
            return
        given = Given(
            node,
            [self.shapes.get(name) if name else None for name in node.inputs],
            [self.values.get(name) for name in node.inputs],
            self.opset,
        )
        read = sum(self.counts.get(name, 0) for name in node.inputs)
        made = 0
        for name, shape in zip(node.outputs, shapes_of(given), strict=True):
            if name:
                self.learn(name, shape, read)
                made += self.counts[name]
        self.charge(
            node,
            times,
            made + _scratch(given, self.opset),
            READ * _read(node, given, read) + max(0, _work(given, made)),
        )
        self.fold(node, given)

    def charge(self, node: Node, times: int, made: int, steps: int) -> None:
        self.made += times * made
        self.steps += times * (NODE + steps)
        self.check(node)

    def check(self, node: Node) -> None:
        if self.made > MAX_NUMBERS:
            raise ModelError(
                f"node {node}: with it the graph makes more than {MAX_NUMBERS:,} numbers for one row, all nodes together"
            )
        if self.steps > MAX_STEPS:
            raise ModelError(
                f"node {node}: with it the graph takes more than {MAX_STEPS:,} multiply-adds for one row, all nodes together"
            )

    # -- graphs inside

    def branches(self, node: Node, inside: dict[str, Graph], times: int) -> None:
        """If: both count. A map over a sequence may run as often as there are numbers in it."""
        runs = max(1, self.counts.get(node.inputs[0], 1)) if node.op == "SequenceMap" and node.inputs else 1
        for graph in inside.values():
            for info, name in zip(graph.inputs, node.inputs, strict=False):
                self.learn(info.name, None, self.counts.get(name, 0))
            self.run(graph, times * runs)
        for i, name in enumerate(node.outputs):
            ends = [g.outputs[i].name for g in inside.values() if i < len(g.outputs)]
            best = max(ends, key=lambda end: self.counts.get(end, 0), default="")
            one = self.shapes.get(best) if runs == 1 else None
            self.learn(name, one, runs * self.counts.get(best, 0))

    def loop(self, node: Node, inside: dict[str, Graph], times: int) -> None:
        """A constant number of rounds (see ``allowed.py``). Once what it carries keeps its size, the other rounds cost
        the same; what still grows after some rounds is taken to grow on like that."""
        body = next(iter(inside.values()))
        trips = self.values.get(node.inputs[0])
        rounds = int(trips.ravel()[0]) if trips is not None and trips.size else 1
        carried = [(self.shapes.get(name), self.counts.get(name, 0)) for name in node.inputs[2:]]
        for info in body.inputs[:2]:
            self.learn(info.name, ())
        last = (0, 0)
        for k in range(rounds):
            for info, (shape, count) in zip(body.inputs[2:], carried, strict=False):
                self.learn(info.name, shape, count)
            before = (self.made, self.steps)
            self.run(body, times)
            cost = (self.made - before[0], self.steps - before[1])
            ends = [info.name for info in body.outputs[1 : 1 + len(carried)]]
            after = [(self.shapes.get(name), self.counts.get(name, 0)) for name in ends]
            left = rounds - k - 1
            same = after == carried
            carried = after
            if same or k == ROUNDS:
                growth = (0, 0) if same else (max(0, cost[0] - last[0]), max(0, cost[1] - last[1]))
                self.made += left * cost[0] + left * (left + 1) // 2 * growth[0]
                self.steps += left * cost[1] + left * (left + 1) // 2 * growth[1]
                self.check(node)
                break
            last = cost
        scanned = [info.name for info in body.outputs[1 + len(carried) :]]
        for name, (shape, count) in zip(node.outputs, carried, strict=False):
            self.learn(name, shape, count)
        self.collect(node, node.outputs[len(carried) :], scanned, rounds, times)

    def scan(self, node: Node, inside: dict[str, Graph], times: int) -> None:
        body = next(iter(inside.values()))
        first = 1 if self.opset < 9 else 0
        count = node.attributes.get("num_scan_inputs", 1)
        inputs = node.inputs[first:]
        states = max(0, len(inputs) - (count if isinstance(count, int) else 1))
        axes = node.attributes.get("scan_input_axes")
        steps = 1
        for i, (info, name) in enumerate(zip(body.inputs, inputs, strict=False)):
            shape = self.shapes.get(name)
            if i >= states and shape:
                axis = axes[i - states] if isinstance(axes, tuple) and i - states < len(axes) else first
                axis = int(axis) % len(shape) if isinstance(axis, int) else 0
                steps = max(steps, shape[axis])
                shape = (*shape[:axis], *shape[axis + 1 :])
            self.learn(info.name, shape, self.counts.get(name, 0))
        self.run(body, times * steps)
        for info, name in zip(body.outputs[:states], node.outputs, strict=False):
            self.learn(name, self.shapes.get(info.name), self.counts.get(info.name, 0))
        self.collect(node, node.outputs[states:], [info.name for info in body.outputs[states:]], steps, times)

    def collect(self, node: Node, names: tuple[str, ...], inner: list[str], rounds: int, times: int) -> None:
        """Outputs that hold one piece of each round."""
        made = 0
        for name, piece in zip(names, inner, strict=False):
            shape, count = self.shapes.get(piece), self.counts.get(piece, 0)
            self.learn(name, None if shape is None else (rounds, *shape), rounds * count)
            made += rounds * count
        self.charge(node, times, made, 0)

    # -- numbers that say sizes

    def fold(self, node: Node, given: Given) -> None:
        """Small constants made of constants and shapes: exporters compute the arguments of Reshape and Expand so."""
        shape, values = given.shapes[0] if given.shapes else None, given.values
        name = node.outputs[0]
        self.values.pop(name, None)
        if node.domain or (self.shapes.get(name) is not None and self.counts[name] > SMALL):
            return
        found: Tensor | None = None
        try:
            if node.op == "Shape" and shape is not None:
                found = np.asarray(shape[given.number("start", 0) : given.number("end", len(shape))], np.int64)
            elif node.op == "Size" and shape is not None:
                found = np.asarray(math.prod(shape))
            elif values and all(v is not None for v in values):
                found = _folded(node, given, [v for v in values if v is not None], self.shapes.get(name))
        except ODD:
            return
        if found is not None and found.size <= SMALL:
            self.values[name] = found


def _folded(node: Node, given: Given, v: list[Any], shape: Shape | None) -> Tensor | None:
    if node.op in ("Identity", "Cast"):
        return np.asarray(v[0])
    if node.op == "Gather":
        return np.asarray(np.take(v[0], v[1].astype(np.int64), axis=given.number("axis", 0)))
    if node.op == "Concat":
        return np.concatenate(v, axis=given.number("axis", 0))
    if node.op in ("Reshape", "Squeeze", "Unsqueeze", "Flatten") and shape is not None:
        return np.asarray(v[0].reshape(shape))
    if node.op == "ConstantOfShape" and shape is not None:
        fill = node.attributes.get("value")
        return np.full(shape, fill.ravel()[0] if isinstance(fill, np.ndarray) and fill.size else 0)
    if node.op == "Slice" and v[0].ndim == 1:
        starts, ends = given.ints(1, "starts"), given.ints(2, "ends")
        step = given.ints(4)[0] if len(v) > 4 else 1
        return np.asarray(v[0][starts[0] : ends[0] : step])
    with np.errstate(all="ignore"):
        if node.op == "Add":
            return np.asarray(v[0] + v[1])
        if node.op == "Sub":
            return np.asarray(v[0] - v[1])
        if node.op == "Mul":
            return np.asarray(v[0] * v[1])
        if node.op == "Div":
            return np.asarray(v[0] // v[1] if v[0].dtype.kind == "i" else v[0] / v[1])
        if node.op == "Mod" and v[0].dtype.kind == "i":
            return np.asarray(v[0] % v[1])
        if node.op == "Range":
            return np.arange(*(x.ravel()[0] for x in v)) if shape and shape[0] <= SMALL else None
    return None


def _read(node: Node, given: Given, read: int) -> int:
    """Numbers that are looked at: a table is not, of which rows are gathered, nor what only its shape is asked of.
    Weights are counted by what is multiplied with them."""
    if node.op in ("Shape", "Size"):
        return 0
    first = math.prod(given.shapes[0] or ()) if given.shapes and given.shapes[0] is not None else 0
    if node.op in _MULTIPLY:
        return first
    return read - first if node.op in ("Gather", "GatherND", "Slice") else read


def _scratch(given: Given, opset: int) -> int:
    """Numbers that an operator makes inside: the scores of attention."""
    if given.node.op != "Attention" or given.node.domain or len(given.shapes) < 2:
        return 0
    q, k = given.shapes[0], given.shapes[1]
    if q is None or k is None or len(q) < 3 or len(k) < 3:
        return 0
    heads = q[1] if len(q) == 4 else max(1, given.number("q_num_heads", 1))
    return q[0] * heads * q[-2] * k[-2]


def _work(given: Given, made: int) -> int:
    """Multiply-adds beyond reading and writing."""
    node, shapes = given.node, given.shapes
    try:
        if node.domain:
            lists = [len(v) for v in node.attributes.values() if isinstance(v, (tuple, np.ndarray)) and np.ndim(v)]
            first = given.shape(0)
            return max(lists, default=0) * (first[0] if len(first) > 1 else 1)
        if node.op in ("MatMul", "MatMulInteger", "QLinearMatMul"):
            return made * given.shape(0)[-1]
        if node.op == "Gemm":
            return made * given.shape(0)[0 if given.number("transA", 0) else 1]
        if node.op in ("Conv", "ConvInteger", "DeformConv", "QLinearConv"):
            return made * math.prod(given.shape(3 if node.op == "QLinearConv" else 1)[1:])
        if node.op == "ConvTranspose":
            return math.prod(given.shape(0)) * math.prod(given.shape(1)[1:])
        if node.op in ("AveragePool", "LpPool", "MaxPool"):
            return made * math.prod(given.numbers("kernel_shape", 0, 1))
        if node.op in ("LSTM", "GRU", "RNN"):
            rows = given.shape(0)[0] * given.shape(0)[1]
            return rows * (NODE + math.prod(given.shape(1)) + math.prod(given.shape(2)))
        if node.op == "Einsum":
            return math.prod(labels(given)[0].values())
        if node.op == "Attention":
            return 2 * math.prod(given.shape(0)) * given.shape(1)[-2]
        if node.op in ("DFT", "STFT"):
            return made * max((s[1] for s in shapes[:1] if s is not None and len(s) > 1), default=1)
    except ODD:
        pass
    return 0
