"""How many columns a value has, where that can be told without running the graph. Floor 3.

A feature number beyond the row is read beside it by a kernel that trusts the file, as ours do; ONNX Runtime 1.32
refuses such a row at every call, so the model would never decide. So the width must be known before: from declared
inputs, and from the operators in between that keep, join or choose columns.
"""

from __future__ import annotations

import numpy as np

from alpha.models.structure import Graph, Node, Tensor

_KEEP = {"Cast", "Identity", "Relu", "Tanh", "Sigmoid", "Softmax", "LogSoftmax", "Abs", "Neg", "Exp", "Log", "Sqrt"}
_KEEP |= {"Clip", "LeakyRelu", "Elu", "Gelu", "Erf", "Floor", "Ceil", "Round", "Sign", "IsNaN", "Not", "Reciprocal"}
_KEEP |= {
    "Dropout",
    "BatchNormalization",
    "LayerNormalization",
    "Softplus",
    "HardSigmoid",
    "Selu",
    "Celu",
    "Sin",
    "Cos",
}
_KEEP_ML = {"Scaler", "Normalizer", "Imputer", "Binarizer", "LabelEncoder"}
_JOIN = {"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Where", "And", "Or", "Less", "Greater", "Equal", "PRelu"}
_JOIN |= {"LessOrEqual", "GreaterOrEqual", "Sum", "Mean"}


def widths(graph: Graph, features: int = 0) -> dict[str, int]:
    """Columns by name, for values of at most two axes where they are known.

    ``features``: of an input [N, F] whose F is left open in the file, 0 if it is not known from elsewhere.
    """
    known: dict[str, int] = {}
    for info in graph.inputs:
        if info.shape and len(info.shape) == 2:
            last = info.shape[-1]
            if isinstance(last, int):
                known[info.name] = last
            elif features and len(graph.inputs) == 1:
                known[info.name] = features
    constants = dict(graph.initializers)
    shaped: dict[str, int] = {}  # shapes of values -> the columns of those
    for name, held in constants.items():
        _constant(name, held, known)
    for node in graph.nodes:
        if node.op == "Constant" and isinstance(value := node.attributes.get("value"), np.ndarray):
            constants[node.outputs[0]] = value
            _constant(node.outputs[0], value, known)
            continue
        if not node.inputs:
            continue
        if node.op == "Shape" and node.inputs[0] in known and not node.attributes:
            shaped[node.outputs[0]] = known[node.inputs[0]]
            continue
        if node.op == "ConstantOfShape" and node.inputs[0] in shaped:
            known[node.outputs[0]] = shaped[node.inputs[0]]
            continue
        if node.op == "Reshape" and len(node.inputs) > 1 and node.inputs[1] in shaped:
            known[node.outputs[0]] = shaped[node.inputs[1]]
            continue
        width = _of(node, known, constants)
        # of several outputs, the one with the scores; labels have no columns
        which = 1 if node.op in ("LinearClassifier", "TreeEnsembleClassifier") else 0
        if width is not None and which < len(node.outputs):
            known[node.outputs[which]] = width
    return known


def why_unknown(graph: Graph, name: str, known: dict[str, int]) -> str:
    """What keeps the columns of ``name`` from being known, and what to do: the first such value on the way to it."""
    makers = {out: node for node in graph.nodes for out in node.outputs}
    inputs = {info.name for info in graph.inputs}
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        node = makers.get(name)
        if node is None:
            if name in inputs:
                return f"declare the shape of input {name!r} as [None, F]"
            break
        if node.op == "Reshape" and len(node.inputs) > 1:
            return f"{node} gives it a shape that is computed: let it be a constant [-1, F]"
        unknown = [i for i in node.inputs if i and i not in known and (i in makers or i in inputs)]
        if not unknown:
            return f"{node} is not among the operators whose columns are worked out: export the model without it"
        name = unknown[0]
    return "it stands in a branch or loop: export the model without one"


def _constant(name: str, value: Tensor, known: dict[str, int]) -> None:
    if value.ndim <= 2:
        known[name] = value.shape[-1] if value.ndim else 1


def _of(node: Node, known: dict[str, int], constants: dict[str, Tensor]) -> int | None:
    ins = [known.get(name) for name in node.inputs if name]
    first = ins[0] if ins else None
    if (node.op in _KEEP and not node.domain) or (node.op in _KEEP_ML and node.domain):
        return first
    if node.domain:
        return _ml(node, ins)
    if node.op in _JOIN:
        if not ins or any(w is None for w in ins):
            return None
        return max(w for w in ins if w is not None)
    if node.op == "Concat" and node.attributes.get("axis") in (1, -1):
        return None if any(w is None for w in ins) else sum(w for w in ins if w is not None)
    if node.op in ("MatMul", "Gemm") and len(node.inputs) > 1 and node.inputs[1] in constants:
        weights = constants[node.inputs[1]]
        if weights.ndim == 2:
            return int(weights.shape[0 if node.attributes.get("transB", 0) else 1])
    if (
        node.op == "Gather"
        and len(node.inputs) > 1
        and node.attributes.get("axis", 0) in (1, -1)
        and node.inputs[1] in constants
    ):
        chosen = constants[node.inputs[1]]
        return len(chosen) if chosen.ndim == 1 else None
    if node.op == "Reshape" and len(node.inputs) > 1 and node.inputs[1] in constants:
        shape = constants[node.inputs[1]]
        return int(shape[-1]) if shape.ndim == 1 and len(shape) == 2 and shape[-1] > 0 else None
    if node.op in ("ArgMax", "ArgMin") and node.attributes.get("keepdims", 1) == 1 and first is not None:
        return 1 if node.attributes.get("axis", 0) in (1, -1) else first
    if node.op.startswith("Reduce") and node.attributes.get("keepdims", 1) == 1 and first is not None:
        axes = node.attributes.get("axes")
        if len(node.inputs) > 1 and node.inputs[1] in constants:
            axes = tuple(constants[node.inputs[1]].ravel().tolist())
        return (1 if {1, -1} & set(axes) else first) if isinstance(axes, tuple) else None
    return None


def _ml(node: Node, ins: list[int | None]) -> int | None:
    attributes = node.attributes
    if node.op == "ArrayFeatureExtractor":
        return ins[1] if len(ins) > 1 else None
    if node.op == "FeatureVectorizer":
        sizes = attributes.get("inputdimensions", ())
        return int(sum(v for v in sizes if isinstance(v, int))) if isinstance(sizes, tuple) else None
    if node.op in ("TreeEnsembleRegressor", "TreeEnsemble"):
        targets = attributes.get("n_targets", 0)
        return targets if isinstance(targets, int) and targets > 0 else None
    if node.op == "LinearRegressor":
        targets = attributes.get("targets", 1)
        return targets if isinstance(targets, int) else None
    if node.op in ("LinearClassifier", "TreeEnsembleClassifier"):
        lists = [attributes.get(f"classlabels_{kind}", ()) for kind in ("int64s", "ints", "strings")]
        return max(1, *(len(v) for v in lists if isinstance(v, (tuple, np.ndarray))))
    return None
