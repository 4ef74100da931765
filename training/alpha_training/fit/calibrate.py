"""Probabilities that mean what they say: a map from a model's own to observed shares, fitted on validation rows.

``q = softmax(log(max(p, floor)) W + b)`` by multinomial logistic regression. It is appended to the graph as four plain
nodes; wrapping a pipeline in CalibratedClassifierCV converts without a word and gives other numbers.
"""

from __future__ import annotations

import numpy as np

from alpha.errors import DataError, need
from alpha_training import export
from alpha_training.fit.task import Fitted, Floats, Inputs, Ints, Task

FLOOR = 1e-6


class Calibrated(Fitted):
    """A fitted model with the map behind it."""

    def __init__(self, inner: Fitted, weight: Floats, bias: Floats) -> None:
        super().__init__(inner.classes, inner.note)
        self.inner, self.weight, self.bias = inner, weight, bias
        self.shape, self.carry = inner.shape, inner.carry

    def scores(self, inputs: Inputs, rows: Ints) -> Floats:
        p = np.maximum(self.inner.scores(inputs, rows), FLOOR)
        logits = np.log(p) @ self.weight + self.bias
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))

    def to_onnx(self, name: str) -> bytes:
        return export.append_calibration(self.inner.to_onnx(name), name, self.weight, self.bias, FLOOR)


def calibrated(model: Fitted, task: Task) -> Fitted:
    """The model with a map fitted on the validation rows. DataError if they lack one of its classes."""
    if model.kind != "probabilities":
        raise DataError("models.calibrate is for classifiers: a value has no probability")
    rows = task.valid[task.inputs.usable[task.valid]]
    y = task.codes(rows, model.classes)
    if len(np.unique(y)) < len(model.classes):
        raise DataError("models.calibrate: the validation part lacks one of the classes: take more data")
    logs = np.log(np.maximum(model.scores(task.inputs, rows), FLOOR))
    fitted = need("sklearn.linear_model", "train").LogisticRegression(C=1e3, max_iter=1000).fit(logs, y)
    weight, bias = np.asarray(fitted.coef_.T), np.asarray(fitted.intercept_)
    if len(model.classes) == 2:  # one column says how much more likely the second class is
        weight, bias = np.hstack([np.zeros_like(weight), weight]), np.array([0.0, float(bias[0])])
    return Calibrated(model, weight, bias)
