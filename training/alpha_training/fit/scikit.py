"""Logistic regression, ridge, multilayer perceptron and random forest of scikit-learn."""

from __future__ import annotations

import inspect
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np

from alpha.errors import DataError, need
from alpha_training import export
from alpha_training.fit.task import Fitted, Floats, Inputs, Ints, Task, float32_below
from alpha_training.recipe import Model


def estimator(spec: Model, seed: int) -> Any:
    """An unfitted estimator; DataError for parameters it does not have."""
    linear, neural = need("sklearn.linear_model", "train"), need("sklearn.neural_network", "train")
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "logistic": (linear.LogisticRegression, {"max_iter": 500}),
        "ridge": (linear.Ridge, {}),
        "mlp": (
            neural.MLPClassifier,
            {
                "hidden_layer_sizes": (32,),
                "max_iter": 40,
                "early_stopping": True,
                "batch_size": 512,
                "random_state": seed,
            },
        ),
        "forest": (
            need("sklearn.ensemble", "train").RandomForestClassifier,
            {"n_estimators": 60, "max_depth": 8, "min_samples_leaf": 20, "random_state": seed, "n_jobs": 1},
        ),
    }
    make, defaults = kinds[spec.kind]
    try:
        return make(**{**defaults, **spec.params})
    except TypeError as exc:
        raise DataError(f"models.params of {spec.id}: {exc}") from None


def check(spec: Model) -> None:
    """DataError for parameters that the estimator does not have."""
    estimator(spec, 0)


@contextmanager
def interruptible() -> Iterator[None]:
    """KeyboardInterrupt at the end if an interrupt came and the body swallowed it.

    scikit-learn's MLP catches the interrupt, warns and returns what it has: half a model, which nobody wants
    registered. Other threads than the main one never see an interrupt.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    interrupted = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted:
        raise KeyboardInterrupt


class Estimator(Fitted):
    """A scikit-learn estimator over rows."""

    def __init__(self, model: Any, classes: Sequence[int], n_features: int) -> None:
        super().__init__(classes)
        self.model, self.n_features = model, n_features
        self.kind = "probabilities" if classes else "value"

    def scores(self, inputs: Inputs, rows: Ints) -> Floats:
        x = inputs.rows(rows)
        if self.classes:
            return np.asarray(self.model.predict_proba(x), np.float64)
        return np.asarray(self.model.predict(x), np.float64).reshape(-1, 1)

    def to_onnx(self, name: str) -> bytes:
        return export.to_onnx(self.model, self.n_features, name)


def fit(spec: Model, task: Task) -> Fitted:
    """A fitted estimator; DataError for values that it refuses."""
    model = estimator(spec, task.seed)
    z = task.inputs.rows(task.train)
    classes = task.classes() if spec.kind != "ridge" else []
    y = task.codes(task.train, classes) if classes else task.target[task.train]
    weighted = {}
    if spec.class_weight is not None:
        if "sample_weight" not in inspect.signature(model.fit).parameters:
            raise DataError(f"class_weight of {spec.id}: this scikit-learn's {type(model).__name__} takes no weights")
        weighted = {"sample_weight": task.weights(task.train, spec.class_weight)}
    with interruptible(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence is judged by the validation metrics
        try:
            model.fit(z, y, **weighted)
        except ValueError as exc:  # a value that the estimator refuses
            raise DataError(f"models.params of {spec.id}: {str(exc).splitlines()[0]}") from None
    for tree in getattr(model, "estimators_", []):
        inner = tree.tree_.children_left >= 0
        tree.tree_.threshold[inner] = float32_below(tree.tree_.threshold[inner])
    return Estimator(model, classes, task.inputs.n_features)
