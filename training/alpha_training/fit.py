"""Fitting scikit-learn classifiers on normalised rows."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError, need
from alpha_training.recipe import Model

CLIP = (-5.0, 5.0)


@dataclass(frozen=True)
class Scaler:
    """Statistics of the float32 training rows, as the metadata stores them."""

    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]

    @classmethod
    def of(cls, x: npt.NDArray[np.float32]) -> Scaler:
        """From training rows only."""
        wide = x.astype(np.float64)
        return cls(wide.mean(axis=0), wide.std(axis=0))

    def apply(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """z = float32((float64(x) - mean)/std) clipped; std <= 0: x - mean (numerics rule 30)."""
        d = x.astype(np.float64) - self.mean
        z = np.where(self.std > 0, d / np.where(self.std > 0, self.std, 1.0), d).astype(np.float32)
        return np.clip(z, np.float32(CLIP[0]), np.float32(CLIP[1]))


def estimator(spec: Model, seed: int) -> Any:
    """An unfitted classifier; DataError for parameters it does not have."""
    linear, neural = need("sklearn.linear_model", "train"), need("sklearn.neural_network", "train")
    try:
        if spec.kind == "logistic":
            return linear.LogisticRegression(**{"max_iter": 500, **spec.params})
        defaults = {
            "hidden_layer_sizes": (32,),
            "max_iter": 40,
            "early_stopping": True,
            "batch_size": 512,
            "random_state": seed,
        }
        return neural.MLPClassifier(**{**defaults, **spec.params})
    except TypeError as exc:
        raise DataError(f"models.params of {spec.id}: {exc}") from None


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


def fit(spec: Model, z: npt.NDArray[np.float32], y: npt.NDArray[np.int64], seed: int) -> Any:
    """A fitted classifier that knows all three classes."""
    present = np.unique(y)
    if len(present) < 3:
        raise DataError(
            f"the training part has only the classes {present.tolist()} of 0 SELL, 1 HOLD, 2 BUY: change horizon or dead band"
        )
    model = estimator(spec, seed)
    with interruptible(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence is judged by the validation metrics
        try:
            model.fit(z, y)
        except ValueError as exc:  # a value that the classifier refuses
            raise DataError(f"models.params of {spec.id}: {str(exc).splitlines()[0]}") from None
    return model
