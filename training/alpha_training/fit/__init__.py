"""Model families: what a recipe's ``kind`` means, and the one door to all of them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from alpha.errors import need
from alpha_training.fit.task import ACTIONS, CLIP, Fitted, Inputs, Market, Scaler, Shape, Task, Watch
from alpha_training.recipe import Model

__all__ = [
    "ACTIONS",
    "CLIP",
    "FAMILIES",
    "Family",
    "Fitted",
    "Inputs",
    "Market",
    "Scaler",
    "Shape",
    "Task",
    "Watch",
    "check",
    "fit",
]


@dataclass(frozen=True)
class Family:
    """Where a kind is fitted and what it needs. ``scaled``: its inputs are normalised; never those of trees."""

    module: str
    needs: tuple[tuple[str, str], ...]
    shape: Shape = "row"
    scaled: bool = True


_SKLEARN = (("sklearn", "train"), ("skl2onnx", "train"))
_TORCH = (("torch", "torch"), ("onnxscript", "torch"))

FAMILIES: dict[str, Family] = {
    "logistic": Family("scikit", _SKLEARN),
    "ridge": Family("scikit", _SKLEARN),
    "mlp": Family("scikit", _SKLEARN),
    "forest": Family("scikit", _SKLEARN, scaled=False),
    "xgboost": Family("boosting", (("xgboost", "boost"), ("onnxmltools", "boost")), scaled=False),
    "lightgbm": Family("boosting", (("lightgbm", "boost"), ("onnxmltools", "boost")), scaled=False),
    "torch_mlp": Family("neural", _TORCH),
    "lstm": Family("neural", _TORCH, shape="step"),
    "lstm_window": Family("neural", _TORCH, shape="window"),
    "gru": Family("neural", _TORCH, shape="window"),
    "cnn": Family("neural", _TORCH, shape="window"),
    "deeplob": Family("neural", _TORCH, shape="window"),
    "ppo": Family("policy", (*_TORCH, ("stable_baselines3", "rl"), ("gymnasium", "rl"))),
}


def check(spec: Model) -> None:
    """Packages and parameters, before any data is read. MissingExtraError or DataError names the model."""
    family = FAMILIES[spec.kind]
    for module, extra in family.needs:
        need(module, extra)
    importlib.import_module(f"alpha_training.fit.{family.module}").check(spec)


def fit(spec: Model, task: Task) -> Fitted:
    """A fitted model of the recipe's kind, calibrated if the recipe says so."""
    family = FAMILIES[spec.kind]
    for module, extra in family.needs:
        need(module, extra)
    model: Fitted = importlib.import_module(f"alpha_training.fit.{family.module}").fit(spec, task)
    if spec.calibrate:
        from alpha_training.fit.calibrate import calibrated

        return calibrated(model, task)
    return model
