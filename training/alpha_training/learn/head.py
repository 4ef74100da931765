"""The last layer of the model that serves goes on learning; everything before it stays as it is.

``q = softmax(h W + b)``. What h is depends on the graph: for a linear classifier the normalised features themselves, for
a network its last hidden layer, for everything else with probabilities (trees, say) the logarithm of its probabilities,
where W = 1 and b = 0 give exactly those. W and b begin at production's values, so a head that has learned nothing is
production; that they do give production's scores is checked, not assumed.

The steps are those of scikit-learn's ``MLPClassifier`` without a hidden layer: the same softmax as the model has, with
``partial_fit`` in time order, plain gradient steps, one pass. (``SGDClassifier`` fits one class against the rest, which
is another model than the one it would begin from.)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError, ModelError, need
from alpha_training import export
from alpha_training.fit import ACTIONS, Fitted, Inputs
from alpha_training.fit.calibrate import FLOOR
from alpha_training.fit.scikit import interruptible
from alpha_training.fit.task import Floats, Ints
from alpha_training.learn import production
from alpha_training.learn.production import Served
from alpha_training.score import Exported

RATE, BATCH, BLOCK = 0.05, 64, 512
"""Step size, rows a step, rows between two looks at the weights: what is kept is their mean over the later half."""
SAME = 1e-4
LARGEST = 100.0
"""Of what goes into a head: beyond it a step of any size overshoots."""
LARGEST_WEIGHT = 1e4
HIDDEN = "head_input"


@dataclass(frozen=True)
class Layer:
    """``what``: linear, layer or map; ``trunk``: the graph up to h, whose only new output is :data:`HIDDEN`;
    ``weight`` [H, K], ``bias`` [K]."""

    what: str
    trunk: bytes
    weight: Floats
    bias: Floats


class Head(Fitted):
    """Production's graph up to h, and another last layer."""

    def __init__(self, served: Served, layer: Layer, weight: Floats, bias: Floats, note: str) -> None:
        super().__init__(served.classes, note)
        self.shape, self.carry = served.shape, served.carry
        self.layer, self.weight, self.bias = layer, weight, bias
        self._hidden: Exported | None = None

    def hidden(self, inputs: Inputs, rows: Ints) -> npt.NDArray[np.float32]:
        """h float32 [n, H], by the engine that serves."""
        if self._hidden is None or self._hidden.inputs is not inputs:
            self._hidden = Exported(self.layer.trunk, self.shape, "probabilities", self.carry, inputs)
            self._hidden.output = HIDDEN
        return self._hidden.scores(rows)

    def scores(self, inputs: Inputs, rows: Ints) -> Floats:
        return softmax(self.hidden(inputs, rows).astype(np.float64) @ self.weight + self.bias)

    def to_onnx(self, name: str) -> bytes:
        return _finished(self.layer.trunk, name, self.weight, self.bias, [c.output for c in self.carry])


def softmax(logits: Floats) -> Floats:
    """Of each row."""
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def check(served: Served) -> None:
    """DataError for a model that has no such layer: known before any data is read."""
    if served.scored != "probabilities":
        raise DataError(
            f"--mode head is for models whose output is a probability of each action, and {served.meta.model_id} "
            f"v{served.meta.version} gives {served.scored}: use --mode refit, which fits the recipe's model anew"
        )
    if served.policy:
        raise DataError(
            f"--mode head learns what followed a row, and {served.meta.model_id} is a policy, whose outputs do not say "
            "that: use --mode refit"
        )
    if len(served.classes) < 2:
        raise DataError(
            f"--mode head needs two actions or more, {served.meta.model_id} has only {ACTIONS[served.classes[0]]}: "
            "use --mode refit"
        )


def layer_of(served: Served, inputs: Inputs, rows: Ints) -> Layer:
    """The last layer of a model. What the graph seems to say is believed only if it gives the model's own scores on
    ``rows``; otherwise the map over its probabilities, which always does."""
    want = served.scores(inputs, rows)
    for find in (_linear, _last_layer):
        found = find(served)
        if found is None:
            continue
        head = Head(served, found, found.weight, found.bias, "")
        try:
            if np.abs(head.scores(inputs, rows) - want).max() <= SAME:
                return found
        except ModelError:  # the trunk alone is nothing that the engine takes
            continue
    return _map(served)


def updated(
    served: Served,
    layer: Layer,
    inputs: Inputs,
    y: Ints,
    rows: Ints,
    *,
    seed: int,
    rate: float = RATE,
    watch: Callable[[int, int, float], None] = lambda done, total, loss: None,
) -> Head:
    """The head after one pass over ``rows`` in their order. ``y``: classes 0 SELL, 1 HOLD, 2 BUY of all rows.

    DataError if the rows are all of one class.
    """
    head = Head(served, layer, layer.weight, layer.bias, "")
    codes = _codes(y[rows], served.classes)
    present = np.unique(codes)
    if len(present) < 2:
        only = ACTIONS[served.classes[int(present[0])]]
        raise DataError(
            f"labels: what followed the {len(rows):,} rows of the update window is always {only}, so nothing can be learned: "
            "make --window longer, or change labels.horizon or the dead band by labels.half_spreads and labels.fee_bp"
        )
    hidden = head.hidden(inputs, rows)
    if not float(np.abs(hidden).max()) <= LARGEST:
        raise DataError(
            f"--mode head: what goes into the last layer reaches {float(np.abs(hidden).max()):.3g}, and gradient steps need "
            f"numbers within {LARGEST:g}: the model takes features that are not normalised; use --mode refit"
        )
    weight, bias = _stepped(hidden, codes, layer, len(served.classes), seed, rate, watch)
    if not float(max(np.abs(weight).max(), np.abs(bias).max())) <= LARGEST_WEIGHT:
        raise DataError(
            f"--rate {rate:g} is too large for these rows: the weights left all bounds; take a smaller one, or --mode refit"
        )
    what = {"linear": "all coefficients", "layer": "the last layer", "map": "a map behind the probabilities"}[
        layer.what
    ]
    v = f"{served.meta.model_id} v{served.meta.version}"
    note = (
        f"{what} of {v} went on by partial_fit over {len(rows):,} rows in time order (one pass, {BATCH} rows a step, "
        f"rate {rate:g}); everything before it and the scaler are {v}'s"
    )
    return Head(served, layer, weight, bias, note)


def _codes(y: Ints, classes: Sequence[int]) -> Ints:
    distance = np.abs(y[:, None] - np.asarray(classes)[None, :])
    return np.asarray(distance.argmin(axis=1), np.int64)


def _stepped(
    h: npt.NDArray[np.float32],
    codes: Ints,
    layer: Layer,
    n_classes: int,
    seed: int,
    rate: float,
    watch: Callable[[int, int, float], None],
) -> tuple[Floats, Floats]:
    make = need("sklearn.neural_network", "train").MLPClassifier
    x = h.astype(np.float64)
    model = make(
        hidden_layer_sizes=(),
        solver="sgd",
        momentum=0.0,
        learning_rate_init=rate,
        alpha=0.0,
        batch_size=BATCH,
        shuffle=False,
        random_state=seed,
    )
    two = n_classes == 2  # one column then, the logit of the second class
    blocks = -(-len(x) // BLOCK)
    kept: list[tuple[Floats, Floats]] = []
    with interruptible(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.partial_fit(x[:1], codes[:1], classes=np.arange(n_classes))  # makes the arrays, which are then filled
        model.coefs_[0][:] = layer.weight[:, 1:] - layer.weight[:, :1] if two else layer.weight
        model.intercepts_[0][:] = layer.bias[1:] - layer.bias[:1] if two else layer.bias
        for i in range(blocks):
            part = slice(i * BLOCK, (i + 1) * BLOCK)
            model.partial_fit(x[part], codes[part])
            if i >= blocks // 2:
                kept.append((model.coefs_[0].copy(), model.intercepts_[0].copy()))
            watch(min(part.stop, len(x)), len(x), float(model.loss_))
    weight, bias = (np.asarray(np.mean([k[j] for k in kept], axis=0)) for j in (0, 1))
    if two:
        return np.hstack([np.zeros_like(weight), weight]), np.concatenate([[0.0], bias])
    return weight, bias


def _linear(served: Served) -> Layer | None:
    """Of a LinearClassifier: h is the input itself."""
    if served.shape != "row":
        return None
    proto = _proto(served)
    nodes = [n for n in proto.graph.node if n.op_type == "LinearClassifier"]
    others = {n.op_type for n in proto.graph.node} - {"LinearClassifier", "Normalizer", "Cast", "Identity"}
    if len(nodes) != 1 or others:
        return None
    told = {a.name: a for a in nodes[0].attribute}
    k = len(served.classes)
    values = np.array(told["coefficients"].floats, np.float64)
    if len(values) % k:
        return None
    weight, bias = values.reshape(k, -1).T, np.array(told["intercepts"].floats, np.float64)
    if k == 2:  # written twice with opposite signs, of which a sigmoid takes one
        weight, bias = np.hstack([np.zeros((len(weight), 1)), weight[:, 1:]]), np.array([0.0, bias[1]])
    del proto.graph.node[:]
    proto.graph.node.append(need("onnx.helper", "train").make_node("Identity", [export.INPUT], [HIDDEN]))
    return Layer("linear", _trunk(proto, served), weight, bias)


def _last_layer(served: Served) -> Layer | None:
    """Of a graph that ends in a product, a bias and a softmax."""
    numpy_helper = need("onnx.numpy_helper", "train")
    proto = _proto(served)
    made = {name: node for node in proto.graph.node for name in node.output}
    constants = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in proto.graph.initializer}
    at = made.get(export.OUTPUT)
    while at is not None and at.op_type == "Identity":
        at = made.get(at.input[0])
    if at is None or at.op_type != "Softmax":
        return None
    at = made.get(at.input[0])
    if at is not None and at.op_type == "Gemm":
        told = {a.name: a for a in at.attribute}
        if len(at.input) != 3 or not {at.input[1], at.input[2]} <= constants.keys():
            return None
        if any(told[n].f != 1.0 for n in ("alpha", "beta") if n in told) or ("transA" in told and told["transA"].i):
            return None
        weight, bias = constants[at.input[1]], constants[at.input[2]]
        weight = weight.T if "transB" in told and told["transB"].i else weight
        hidden = at.input[0]
    elif at is not None and at.op_type == "Add" and at.input[1] in constants:
        product = made.get(at.input[0])
        if product is None or product.op_type != "MatMul" or product.input[1] not in constants:
            return None
        weight, bias, hidden = constants[product.input[1]], constants[at.input[1]], product.input[0]
    else:
        return None
    k = len(served.classes)
    if weight.ndim != 2 or weight.shape[1] != k or bias.size != k:
        return None
    if hidden != HIDDEN:  # a head went on before
        proto.graph.node.append(need("onnx.helper", "train").make_node("Identity", [hidden], [HIDDEN]))
    return Layer("layer", _trunk(proto, served, weight.shape[0]), weight, bias.reshape(-1))


def _map(served: Served) -> Layer:
    """Of anything with probabilities: h is their logarithm."""
    helper, numpy_helper = need("onnx.helper", "train"), need("onnx.numpy_helper", "train")
    proto, k = _proto(served), len(served.classes)
    production.rename(proto.graph, {export.OUTPUT: "frozen_probabilities"})
    proto.graph.initializer.append(numpy_helper.from_array(np.array([FLOOR], np.float32), "head_floor"))
    proto.graph.node.extend(
        [
            helper.make_node("Max", ["frozen_probabilities", "head_floor"], ["head_clipped"]),
            helper.make_node("Log", ["head_clipped"], [HIDDEN]),
        ]
    )
    return Layer("map", _trunk(proto, served, k), np.eye(k), np.zeros(k))


def _proto(served: Served) -> Any:
    return need("onnx", "train").load_from_string(served.data)


def _trunk(proto: Any, served: Served, width: int | None = None) -> bytes:
    """The graph with h as its output, beside the states that it carries."""
    onnx, helper = need("onnx", "train"), need("onnx.helper", "train")
    carried = {c.output for c in served.carry}
    kept = [o for o in proto.graph.output if o.name in carried]
    size = width if width is not None else len(served.meta.feature_names)
    first = next((o for o in proto.graph.output if o.name not in carried), None)
    rows = first.type.tensor_type.shape.dim[0] if first is not None and first.type.tensor_type.shape.dim else None
    n = rows.dim_value if rows is not None and rows.HasField("dim_value") else None
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info(HIDDEN, onnx.TensorProto.FLOAT, [n, size]))
    proto.graph.output.extend(kept)
    return export.finish(proto, "trunk", [HIDDEN, *(o.name for o in kept)])


def _finished(trunk: bytes, name: str, weight: Floats, bias: Floats, carried: Sequence[str]) -> bytes:
    onnx, helper = need("onnx", "train"), need("onnx.helper", "train")
    numpy_helper = need("onnx.numpy_helper", "train")
    proto = onnx.load_from_string(trunk)
    for label, value in (("head_weight", weight), ("head_bias", bias)):
        proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), label))
    source = HIDDEN
    first = proto.graph.node[0] if len(proto.graph.node) == 1 else None
    if first is not None and first.op_type == "Identity":  # the features themselves
        source = first.input[0]
        del proto.graph.node[:]
    proto.graph.node.extend(
        [
            helper.make_node("Gemm", [source, "head_weight", "head_bias"], ["head_logits"]),
            helper.make_node("Softmax", ["head_logits"], [export.OUTPUT], axis=-1),
        ]
    )
    kept = [o for o in proto.graph.output if o.name in carried]
    n = next(o for o in proto.graph.output if o.name == HIDDEN).type.tensor_type.shape.dim[0]
    batch = n.dim_value if n.HasField("dim_value") and n.dim_value else None
    del proto.graph.output[:]
    made = helper.make_tensor_value_info(export.OUTPUT, onnx.TensorProto.FLOAT, [batch, len(bias)])
    proto.graph.output.append(made)
    proto.graph.output.extend(kept)
    return export.finish(proto, name, [export.OUTPUT, *(o.name for o in kept)])
