"""Model families: what a recipe's ``kind`` means, and the one door to all of them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

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
    shape: Shape = "row"
    scaled: bool = True


FAMILIES: dict[str, Family] = {
    "logistic": Family("scikit"),
    "ridge": Family("scikit"),
    "mlp": Family("scikit"),
    "forest": Family("scikit", scaled=False),
    "xgboost": Family("boosting", scaled=False),
    "lightgbm": Family("boosting", scaled=False),
    "torch_mlp": Family("neural"),
    "lstm": Family("neural", shape="step"),
    "lstm_window": Family("neural", shape="window"),
    "gru": Family("neural", shape="window"),
    "cnn": Family("neural", shape="window"),
    "deeplob": Family("neural", shape="window"),
    "ppo": Family("policy"),
}


def check(spec: Model) -> None:
    """Packages and parameters, before any data is read. MissingExtraError or DataError names the model."""
    family = FAMILIES[spec.kind]
    importlib.import_module(f"alpha_training.fit.{family.module}").check(spec)


def fit(spec: Model, task: Task) -> Fitted:
    """A fitted model of the recipe's kind, calibrated if the recipe says so."""
    family = FAMILIES[spec.kind]
    model: Fitted = importlib.import_module(f"alpha_training.fit.{family.module}").fit(spec, task)
    if spec.calibrate:
        from alpha_training.fit.calibrate import calibrated

        return calibrated(model, task)
    return model
