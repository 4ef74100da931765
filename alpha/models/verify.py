"""What happens to a model's bytes before an engine sees them. Floor 3.

:func:`verify_model` is called on every path that serves: a file that it refuses never reaches ONNX Runtime or a
kernel of ours.
"""

from __future__ import annotations

import numpy as np

from alpha.errors import ModelError
from alpha.models.allowed import check_operators
from alpha.models.costs import check_costs
from alpha.models.graph import DEFAULT, Graph, Limits, Node, every_node, read_graph
from alpha.models.trees import OPERATORS, read_trees
from alpha.models.widths import why_unknown, widths


def verify_model(data: bytes, features: int = 0, limits: Limits = DEFAULT) -> Graph:
    """The graph of a model that may be served; ModelError in one sentence for any other file.

    ``features``: how many its metadata lists; 0 if there is none. Cost: about a second for 40 MB of trees, less
    than a millisecond for what is small.
    """
    try:
        return _verified(data, features, limits)
    except MemoryError:
        raise ModelError("the model needs more memory than there is") from None


def _verified(data: bytes, features: int, limits: Limits) -> Graph:
    graph = read_graph(data, limits)
    check_operators(graph)
    check_costs(graph, features)
    columns: dict[str, int] | None = None
    for node in every_node(graph):
        if node.domain != "ai.onnx.ml" or not (node.op in OPERATORS or node.op in _LINEAR):
            continue
        if columns is None:
            columns = widths(graph, features)
        width = columns.get(node.inputs[0]) if node.inputs else None
        if not width:
            raise ModelError(
                f"node {node}: it cannot be told how many columns its input has, so its feature numbers cannot be "
                f"checked: {why_unknown(graph, node.inputs[0] if node.inputs else '', columns)}"
            )
        if node.op in OPERATORS:
            read_trees(node, width)
        else:
            _LINEAR[node.op](node, width)
    return graph


def _list(node: Node, name: str) -> int:
    value = node.attributes.get(name, ())
    if not isinstance(value, tuple) or any(not isinstance(v, float) for v in value[:1]):
        raise ModelError(f"node {node}: {name} must be a list of floats")
    return len(value)


def _size(node: Node, name: str, size: int, *, optional: bool = False) -> None:
    found = _list(node, name)
    if found != size and not (optional and found == 0):
        raise ModelError(f"node {node}: {name} has {found:,} values where {size:,} are needed")


def _number(node: Node, name: str, default: int) -> int:
    value = node.attributes.get(name, default)
    if not isinstance(value, int) or not 0 < value <= 1 << 20:
        raise ModelError(f"node {node}: {name} must be a positive number")
    return value


def _labels(node: Node) -> int:
    found = [node.attributes.get(name, ()) for name in ("classlabels_ints", "classlabels_strings")]
    if not all(isinstance(v, tuple) for v in found) or (found[0] and found[1]):
        raise ModelError(f"node {node}: its class labels must be one list, of integers or of strings")
    return max(len(v) for v in found if isinstance(v, tuple))


def _linear_classifier(node: Node, width: int) -> None:
    labels, coefficients = _labels(node), _list(node, "coefficients")
    if not coefficients or coefficients % width:
        raise ModelError(f"node {node}: {coefficients:,} coefficients do not fit {width:,} features")
    rows = coefficients // width
    if labels and rows != labels and not (labels == 2 and rows == 1):
        raise ModelError(f"node {node}: {rows:,} rows of coefficients do not fit {labels:,} classes")
    _size(node, "intercepts", rows)


def _linear_regressor(node: Node, width: int) -> None:
    targets = _number(node, "targets", 1)
    _size(node, "coefficients", targets * width)
    _size(node, "intercepts", targets, optional=True)


def _scaler(node: Node, width: int) -> None:
    for name in ("scale", "offset"):
        if _list(node, name) not in (1, width):
            raise ModelError(f"node {node}: {name} has {_list(node, name):,} values for {width:,} columns")


def _imputer(node: Node, width: int) -> None:
    for name in ("imputed_value_floats", "imputed_value_int64s"):
        value = node.attributes.get(name, ())
        if not isinstance(value, tuple) or len(value) not in (0, 1, width):
            raise ModelError(f"node {node}: {name} does not fit {width:,} columns")


def _vectors(node: Node, width: int) -> tuple[int, int]:
    """(support vectors, coefficients): their number is not written down in every form."""
    held = _list(node, "support_vectors")
    if held % width:
        raise ModelError(f"node {node}: {held:,} numbers of support vectors do not fit {width:,} features")
    if params := _list(node, "kernel_params"):
        _size(node, "kernel_params", 3 if params else 0)
    return held // width, _list(node, "coefficients")


def _svm_regressor(node: Node, width: int) -> None:
    vectors, coefficients = _vectors(node, width)
    said = node.attributes.get("n_supports", 0)
    if said != vectors or coefficients != (vectors or width):
        raise ModelError(
            f"node {node}: {vectors:,} support vectors, {coefficients:,} coefficients and n_supports {said!r} differ"
        )
    _size(node, "rho", 1)


def _svm_classifier(node: Node, width: int) -> None:
    vectors, coefficients = _vectors(node, width)
    labels = node.attributes.get("classlabels_ints") or node.attributes.get("classlabels_strings") or ()
    per_class = node.attributes.get("vectors_per_class", ())
    classes = len(labels) if isinstance(labels, tuple) else 0
    if not isinstance(per_class, tuple) or not classes:
        raise ModelError(f"node {node}: it lists no class labels")
    if not vectors:
        if coefficients != classes * width:
            raise ModelError(f"node {node}: {coefficients:,} coefficients do not fit {classes:,} classes of {width:,}")
        return
    pairs = classes * (classes - 1) // 2
    counts = np.asarray(per_class, np.float64)
    if len(per_class) != classes or (counts < 0).any() or counts.sum() != vectors:
        raise ModelError(f"node {node}: vectors_per_class does not add up to {vectors:,} support vectors")
    if coefficients != (classes - 1) * vectors:
        raise ModelError(f"node {node}: {coefficients:,} coefficients where {(classes - 1) * vectors:,} are needed")
    _size(node, "rho", pairs)
    for name in ("prob_a", "prob_b"):
        _size(node, name, pairs, optional=True)
    if _list(node, "prob_a") != _list(node, "prob_b"):
        raise ModelError(f"node {node}: prob_a and prob_b differ in length")


_LINEAR = {
    "LinearClassifier": _linear_classifier,
    "LinearRegressor": _linear_regressor,
    "Scaler": _scaler,
    "Imputer": _imputer,
    "SVMRegressor": _svm_regressor,
    "SVMClassifier": _svm_classifier,
}
