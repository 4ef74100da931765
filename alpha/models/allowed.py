"""Which operators may run beside a trading loop, and why not the others. Floor 3.

Two operator sets are accepted: ONNX's own and ``ai.onnx.ml``. Both have a public specification with versions, so
the bytes of a model say what it computes. ``com.microsoft`` and other domains do not: what they mean depends on the
library that happens to be installed.
"""

from __future__ import annotations

import math

import numpy as np

from alpha.errors import ModelError
from alpha.models.structure import Graph, Node, Tensor, every_node, subgraphs

DOMAINS = ("", "ai.onnx.ml")
RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
MAX_TRIPS = 10_000
MAX_RUNS = 1_000_000  # of nodes for one row
MAX_MADE = 1 << 24  # elements that one node may make out of a few numbers
MAX_WORK = 200_000  # names that are looked at to find that out

# operators that make a tensor as large as a number says -> the inputs that hold such numbers
_MAKERS = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "Tile": (1, 2),
    "Range": (0, 1),
    "OneHot": (1,),
    "Pad": (1,),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
    "BlackmanWindow": (0,),
    "HannWindow": (0,),
    "HammingWindow": (0,),
    "MelWeightMatrix": (0, 1),
    "CenterCropPad": (1,),
    "DFT": (1,),
    "AffineGrid": (1,),
}
# inputs that ONNX lets a node leave out (named ""), by operator; whoever is not here needs all that it lists.
# ONNX Runtime 1.32 follows a null pointer when a Sum is given one of these.
OPTIONAL = {
    op: places
    for places, ops in (
        ((0,), "Optional OptionalHasElement Scan"),  # Scan of operator set 8
        ((0, 1), "Loop"),
        ((1,), "SequenceErase Split SplitToSequence Squeeze Trilu"),
        ((1,), "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum"),
        ((1,), "ReduceSumSquare"),
        ((1, 2), "Clip DFT Dropout"),
        ((1, 2, 3), "Resize"),
        ((2,), "Conv ConvTranspose DequantizeLinear Gemm LayerNormalization MaxUnpool NegativeLogLikelihoodLoss"),
        ((2,), "QuantizeLinear SequenceInsert SoftmaxCrossEntropyLoss TensorScatter"),
        ((2, 3), "CausalConvWithState ConvInteger MatMulInteger Pad STFT"),
        ((2, 3, 4), "NonMaxSuppression"),
        ((3,), "RotaryEmbedding"),
        ((3, 4), "DeformConv Slice"),
        ((3, 4, 5), "GRU LinearAttention RNN"),
        ((3, 4, 5, 6), "Attention"),
        ((3, 4, 5, 6, 7), "LSTM"),
        ((8,), "QLinearConv"),
    )
    for op in ops.split()
}
# of those, the ones that must be absent instead: ONNX Runtime 1.32 dies of an empty name there, in every graph
FATAL = {("LayerNormalization", 2), ("DFT", 2)}
# outputs that may be left out (named ""), by operator: a Split or Loop without one of its own kills it too
OPTIONAL_OUTPUTS = {
    "Attention": (1, 2, 3),
    "BatchNormalization": (1, 2, 3, 4),
    "Dropout": (1,),
    "GRU": (0, 1),
    "LSTM": (0, 1, 2),
    "LayerNormalization": (1, 2),
    "MaxPool": (1,),
    "RNN": (0, 1),
    "SoftmaxCrossEntropyLoss": (1,),
    "Unique": (1, 2, 3),
}
# values that stand for "missing" are NaN on purpose
_MAY_BE_NAN = {("Imputer", "replaced_value_float"), ("LabelEncoder", "keys_floats"), ("LabelEncoder", "default_float")}


def check_operators(graph: Graph) -> None:
    """ModelError names the first node that may not run, and why."""
    constants = _constants(graph)
    makers = {name: node for node in every_node(graph) for name in node.outputs if name}
    work = [MAX_WORK]
    for node in every_node(graph):
        if node.domain not in DOMAINS:
            raise ModelError(
                f"node {node}: operators of {node.domain!r} are refused: only ONNX's own and ai.onnx.ml have a "
                "specification that says what they compute; export the model without that domain"
            )
        if node.domain not in graph.opset:
            raise ModelError(
                f"node {node}: the model does not say which version of {node.domain or 'ai.onnx'!r} it uses"
            )
        if node.op in RANDOM:
            raise ModelError(f"node {node} draws random numbers: the same event must give the same signal")
        _finite(node)
        _all_ports(node)
        if node.domain:
            continue
        if node.op in ("Dropout", "BatchNormalization"):
            _inference(node, graph.opset[""], constants)
        elif node.op == "Loop":
            _rounds(node, constants)
        elif node.op in _MAKERS:
            _small(node, constants, makers, work)
    _runs(graph, constants)


def _constants(graph: Graph) -> dict[str, Tensor]:
    """Initializers and Constant nodes by name, of all graphs: names are unique."""
    found: dict[str, Tensor] = dict(graph.initializers)
    for node in every_node(graph):
        for value in node.attributes.values():
            if isinstance(value, Graph):
                found.update(value.initializers)
        if node.op == "Constant" and not node.domain:
            for value in node.attributes.values():
                if isinstance(value, (np.ndarray, int, float, tuple)):
                    found[node.outputs[0]] = np.asarray(value)
    return found


def _all_ports(node: Node) -> None:
    for i, name in enumerate(node.inputs):
        if name:
            continue
        if node.domain or i not in OPTIONAL.get(node.op, ()):
            raise ModelError(f"node {node} leaves out its input {i}, which it cannot do without")
        if (node.op, i) in FATAL:
            raise ModelError(
                f'node {node} names its input {i} "", of which ONNX Runtime dies: end its list of inputs before it'
            )
    for i, name in enumerate(node.outputs):
        if not name and (node.domain or i not in OPTIONAL_OUTPUTS.get(node.op, ())):
            raise ModelError(f"node {node} leaves out its output {i}, which needs a name even where nothing uses it")


def _finite(node: Node) -> None:
    for name, value in node.attributes.items():
        if (node.op, name) in _MAY_BE_NAN:
            continue
        numbers = value if isinstance(value, tuple) else (value,)
        if not numbers or not isinstance(numbers[0], float):
            continue
        if not np.isfinite(np.asarray(numbers, np.float64)).all():
            i, worst = next((i, v) for i, v in enumerate(numbers) if not math.isfinite(v))  # type: ignore[arg-type]
            raise ModelError(f"node {node}: element {i} of {name} is {worst!r}: weights must be finite")


def _inference(node: Node, opset: int, constants: dict[str, Tensor]) -> None:
    """Dropout and BatchNormalization change what they compute while a model trains."""
    training = False
    if opset < 7:
        training = not node.attributes.get("is_test", 0)
    elif node.op == "BatchNormalization":
        training = bool(node.attributes.get("training_mode", 0)) or any(node.outputs[1:])
    elif len(node.inputs) > 2 and node.inputs[2]:
        mode = constants.get(node.inputs[2])
        training = mode is None or bool(mode.any())
    if training:
        raise ModelError(f"node {node} is in training mode: export the model for inference (model.eval())")


def _rounds(node: Node, constants: dict[str, Tensor]) -> int:
    trips = constants.get(node.inputs[0]) if node.inputs else None
    if trips is None or trips.size != 1 or not 0 <= int(trips.ravel()[0]) <= MAX_TRIPS:
        raise ModelError(
            f"node {node}: its number of rounds must be a constant of at most {MAX_TRIPS:,}: "
            "a loop that may not end would stop the trading loop"
        )
    return int(trips.ravel()[0])


def _runs(graph: Graph, constants: dict[str, Tensor]) -> int:
    """Nodes that one row runs at most, where the rounds of loops inside loops multiply."""
    runs = 0
    for node in graph.nodes:
        rounds = _rounds(node, constants) if node.op == "Loop" and not node.domain else 1
        runs += 1 + rounds * sum(_runs(sub, constants) for sub in subgraphs(node))
        if runs > MAX_RUNS:
            raise ModelError(
                f"node {node} would run more than {MAX_RUNS:,} nodes for one row: the rounds of loops inside loops "
                "multiply"
            )
    return runs


def _small(node: Node, constants: dict[str, Tensor], makers: dict[str, Node], work: list[int]) -> None:
    """The numbers that decide how large an output gets, and what they are computed from, must be small.

    All constants that reach such an input are multiplied, whatever stands between: that is an upper bound for
    products, gathers and joins of them, and large for nothing that a real export holds.
    """
    if node.op == "Range" and all(name in constants for name in node.inputs) and len(node.inputs) == 3:
        start, stop, step = (float(constants[name].ravel()[0]) if constants[name].size else 0.0 for name in node.inputs)
        if step == 0 or not (stop - start) / step <= MAX_MADE:
            raise ModelError(f"node {node} would make more than {MAX_MADE:,} elements: its step is too small")
    for which in _MAKERS[node.op]:
        if which >= len(node.inputs) or not node.inputs[which]:
            continue
        todo, size = [node.inputs[which]], 1.0
        seen: set[str] = set()
        while todo:
            name = todo.pop()
            work[0] -= 1
            if work[0] < 0:
                raise ModelError(f"node {node}: the graph computes its shapes in too many steps to check them")
            if not name or name in seen:
                continue
            seen.add(name)
            value = constants.get(name)
            if value is not None:
                if value.dtype.kind in "iuf" and value.size:
                    size *= float(np.prod(np.maximum(1.0, np.abs(value.astype(np.float64)))))
                    if not size <= MAX_MADE:
                        raise ModelError(
                            f"node {node} would make more than {MAX_MADE:,} elements: {name!r} is too large"
                        )
                continue
            maker = makers.get(name)
            if maker is not None and maker.op != "Shape":
                todo += maker.inputs
