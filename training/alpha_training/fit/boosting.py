"""Gradient boosting by XGBoost and LightGBM, stopped by the validation rows. Inputs are never scaled."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from alpha.errors import DataError, need
from alpha_training import export
from alpha_training.fit.task import Fitted, Floats, Inputs, Ints, Task, float32_below
from alpha_training.recipe import Model

PATIENCE = 30
# one thread and a fixed seed: the same bytes on the same machine
_XGBOOST = {"n_estimators": 300, "max_depth": 4, "learning_rate": 0.05, "tree_method": "hist", "n_jobs": 1}
_LIGHTGBM = {
    "n_estimators": 300,
    "num_leaves": 15,
    "learning_rate": 0.05,
    "min_child_samples": 50,
    "n_jobs": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


def estimator(spec: Model, seed: int) -> Any:
    """An unfitted classifier; DataError for parameters it does not have."""
    params = dict(spec.params)
    patience = params.pop("patience", PATIENCE)
    if spec.kind == "xgboost":
        xgb = need("xgboost", "boost")
        known = set(xgb.XGBClassifier().get_params()) | {"seed"}
        made = {**_XGBOOST, "random_state": seed, "early_stopping_rounds": patience, **params}
        make = xgb.XGBClassifier
    else:
        lgb = need("lightgbm", "boost")
        known = set(lgb.LGBMClassifier().get_params()) | {"deterministic", "force_row_wise", "verbose", "max_bin"}
        made = {**_LIGHTGBM, "random_state": seed, **params}
        make = lgb.LGBMClassifier
    unknown = sorted(set(params) - known)
    if unknown:
        raise DataError(f"models.params of {spec.id}: {spec.kind} has no parameter {unknown[0]!r}")
    return make(**made)


def check(spec: Model) -> None:
    """DataError for parameters that the library does not have, MissingExtraError without the libraries."""
    need("onnxmltools", "boost")
    estimator(spec, 0)


class Boosted(Fitted):
    """A boosted classifier over rows."""

    def __init__(self, model: Any, classes: Sequence[int], n_features: int) -> None:
        super().__init__(classes, f"{_trees(model)} rounds")
        self.model, self.n_features = model, n_features

    def scores(self, inputs: Inputs, rows: Ints) -> Floats:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it remarks on names of columns that arrays do not have
            return np.asarray(self.model.predict_proba(inputs.rows(rows)), np.float64)

    def to_onnx(self, name: str) -> bytes:
        register_converters()
        if hasattr(self.model, "get_booster"):
            self.model.get_booster().feature_names = None  # the converter takes no other names than f0, f1, …
        return export.to_onnx(self.model, self.n_features, name)


def _trees(model: Any) -> int:
    best = getattr(model, "best_iteration_", None)
    if best is None:
        best = getattr(model, "best_iteration", None)
    return int(best) + 1 if best is not None else 0


def register_converters() -> None:
    """Teach skl2onnx the two libraries: onnxmltools' own front door refuses opsets above 15."""
    update = need("skl2onnx", "train").update_registered_converter
    shapes = need("skl2onnx.common.shape_calculator", "train").calculate_linear_classifier_output_shapes
    options = {"nocl": [True, False], "zipmap": [True, False, "columns"], "raw_scores": [True, False]}
    xgb = need("onnxmltools.convert.xgboost.operator_converters.XGBoost", "boost")
    lgb = need("onnxmltools.convert.lightgbm.operator_converters.LightGbm", "boost")
    update(need("xgboost", "boost").XGBClassifier, "XGBoostXGBClassifier", shapes, xgb.convert_xgboost, options=options)
    update(
        need("lightgbm", "boost").LGBMClassifier,
        "LightGbmLGBMClassifier",
        shapes,
        lgb.convert_lightgbm,
        options=options,
    )


def fit(spec: Model, task: Task) -> Fitted:
    """A fitted classifier, as many rounds as the validation rows allow."""
    model = estimator(spec, task.seed)
    classes = task.classes()
    x, v = task.inputs.rows(task.train), task.inputs.rows(task.valid)
    y, w = task.codes(task.train, classes), task.weights(task.train, spec.class_weight)
    held = (v, task.codes(task.valid, classes))
    total = int(model.n_estimators)
    refused: tuple[type[Exception], ...] = (ValueError,)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if spec.kind == "xgboost":
                model.set_params(callbacks=[_xgboost_watch(task, total)])
                model.fit(x, y, sample_weight=w, eval_set=[held], verbose=False)
                model.set_params(callbacks=None)
            else:
                lgb = need("lightgbm", "boost")
                refused = (ValueError, lgb.basic.LightGBMError)
                patience = int(spec.params.get("patience", PATIENCE))
                watch = [lgb.early_stopping(patience, verbose=False), _lightgbm_watch(task, total)]
                model.fit(x, y, sample_weight=w, eval_set=[held], callbacks=watch)
                model._Booster = lgb.Booster(model_str=_with_float32_thresholds(model.booster_.model_to_string()))
        except refused as exc:
            raise DataError(f"models.params of {spec.id}: {str(exc).splitlines()[0]}") from None
    return Boosted(model, classes, task.inputs.n_features)


def _with_float32_thresholds(text: str) -> str:
    """LightGBM's model text with every threshold at the float32 below it: the same trees for float32 rows.

    The table of tree sizes is left out, for it counts characters; the reader does without.
    """
    lines = []
    for line in text.split("\n"):
        if line.startswith("threshold="):
            values = float32_below(np.array(line.removeprefix("threshold=").split(), np.float64))
            line = "threshold=" + " ".join(repr(v) for v in values.tolist())
        if not line.startswith("tree_sizes="):
            lines.append(line)
    return "\n".join(lines)


def _lightgbm_watch(task: Task, total: int) -> Any:
    def watch(env: Any) -> None:
        task.watch(env.iteration + 1, total, float(env.evaluation_result_list[0][2]))

    return watch


def _xgboost_watch(task: Task, total: int) -> Any:
    base: Any = need("xgboost", "boost").callback.TrainingCallback

    class Watcher(base):  # type: ignore[misc]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            losses = next(iter(next(iter(evals_log.values())).values()))
            task.watch(epoch + 1, total, float(losses[-1]))
            return False

    return Watcher()
