"""Scalers, normalisers and linear models of ai.onnx.ml. Floor 3."""

from __future__ import annotations

import numpy as np

from alpha._core.plan import ACTIVATIONS
from alpha.models.lower_arithmetic import elementwise, over_rows
from alpha.models.lowering import Live, Lowering, Node, Unsupported


def _scaler(c: Lowering, node: Node) -> None:
    value = c.live(node, 0)
    for name, op in (("offset", "SUB"), ("scale", "MUL")):
        given = c.numbers(node, name)
        if given.size not in (1, value.shape[-1]):
            raise Unsupported(f"node {node}: {name} has {given.size} values for {value.shape[-1]} features")
        row = np.broadcast_to(given, value.shape[-1:])
        value = elementwise(c, op, value, c.builder.constant(row))
    c.set(node, value)


def _normalizer(c: Lowering, node: Node) -> None:
    kind = {"MAX": 0, "L1": 1, "L2": 2}.get(c.word(node, "norm", "MAX"))
    if kind is None:
        raise Unsupported(f"node {node}: an unknown norm")
    c.set(node, over_rows(c, "NORMALIZE", c.live(node, 0), flags=kind))


def _linear_regressor(c: Lowering, node: Node) -> None:
    x = c.live(node, 0)
    targets = c.integer(node, "targets", 1)
    weight = c.numbers(node, "coefficients").reshape(targets, x.shape[-1])
    bias = c.numbers(node, "intercepts")
    transform = c.word(node, "post_transform", "NONE")
    if bias.size not in (0, targets):
        raise Unsupported(f"node {node}: {bias.size} intercepts for {targets} targets")
    if targets == 1 and transform not in ("NONE", "PROBIT"):
        raise Unsupported(f"node {node}: post_transform {transform} of one target, which ONNX Runtime leaves out")
    c.set(node, _transformed(c, node, c.builder.dense(x, weight.T, bias if bias.size else None), transform))


def _linear_classifier(c: Lowering, node: Node) -> None:
    x = c.live(node, 0)
    bias = c.numbers(node, "intercepts")
    n = bias.size
    weight = c.numbers(node, "coefficients").reshape(n, x.shape[-1])
    labels = node.attributes.get("classlabels_ints") or node.attributes.get("classlabels_strings") or ()
    transform = c.word(node, "post_transform", "NONE")
    if c.uses[node.outputs[0]]:
        raise Unsupported(f"node {node}: its labels are read")
    if n == 1 and isinstance(labels, tuple) and len(labels) == 2:
        # 1 - s and s, or the logistic of -s and s, as two products
        one = np.float32(transform != "LOGISTIC")
        if transform == "PROBIT":
            raise Unsupported(f"node {node}: PROBIT of one score for two classes")
        scores = c.builder.dense(x, np.stack([-weight[0], weight[0]]).T, np.array([one - bias[0], bias[0]], np.float32))
        c.set(node, _transformed(c, node, scores, transform if transform == "LOGISTIC" else "NONE"), 1)
        return
    c.set(node, _transformed(c, node, c.builder.dense(x, weight.T, bias), transform), 1)


def _transformed(c: Lowering, node: Node, scores: Live, transform: str) -> Live:
    """What a linear model makes of the scores of its product, the last step."""
    if transform in ("LOGISTIC", "PROBIT"):
        c.builder.steps[-1].numbers["act"] = ACTIVATIONS.index("sigmoid" if transform == "LOGISTIC" else "probit")
    elif transform == "SOFTMAX":
        return over_rows(c, "SOFTMAX", scores)
    elif transform != "NONE":
        raise Unsupported(f"node {node}: post_transform {transform}")
    return scores


OPERATORS = {
    ("ai.onnx.ml", "Scaler"): _scaler,
    ("ai.onnx.ml", "Normalizer"): _normalizer,
    ("ai.onnx.ml", "LinearRegressor"): _linear_regressor,
    ("ai.onnx.ml", "LinearClassifier"): _linear_classifier,
}
