"""What every fit gets and gives: rows or windows of rows, and a model that can be asked and exported."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError
from alpha.models.metadata import Carry

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]
Shape = Literal["row", "window", "step"]
Watch = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, loss): progress with an estimate of the end."""

CLIP = (-5.0, 5.0)
UNSCALED_CLIP = (-3.4e38, 3.4e38)  # every float32: trees must see the values they were cut by
ACTIONS = ("SELL", "HOLD", "BUY")
PAUSE_NS = 5 * 86_400 * 10**9  # longer than any weekend with its holidays


@dataclass(frozen=True)
class Scaler:
    """Statistics of the float32 training rows, as the metadata stores them."""

    mean: Floats
    std: Floats
    clip: tuple[float, float] = CLIP

    @classmethod
    def of(cls, x: Rows) -> Scaler:
        """From training rows only."""
        wide = x.astype(np.float64)
        return cls(wide.mean(axis=0), wide.std(axis=0))

    @classmethod
    def identity(cls, n_features: int) -> Scaler:
        """z = x. For trees: a float32 rounding before a float32 threshold would change decisions."""
        return cls(np.zeros(n_features), np.ones(n_features), UNSCALED_CLIP)

    def apply(self, x: Rows) -> Rows:
        """z = float32((float64(x) - mean)/std) clipped; std <= 0: x - mean (numerics rule 30)."""
        d = x.astype(np.float64) - self.mean
        z = np.where(self.std > 0, d / np.where(self.std > 0, self.std, 1.0), d).astype(np.float32)
        return np.clip(z, np.float32(self.clip[0]), np.float32(self.clip[1]))


class Inputs:
    """Normalised rows ``z`` float32 [N, F], and the window of the ``length`` rows that end at each of them.

    A window never crosses into another instrument. ``usable`` says which rows have a whole one behind them.
    """

    def __init__(self, z: Rows, instrument_id: npt.NDArray[np.uint32] | None = None, length: int = 1) -> None:
        self.z, self.length = z, length
        ids = np.zeros(len(z), np.uint32) if instrument_id is None else instrument_id
        self.instrument_id = ids
        self._order = np.argsort(ids, kind="stable")
        self._place = np.empty(len(z), np.int64)  # of a row among all rows sorted by instrument
        self._place[self._order] = np.arange(len(z))
        sorted_ids = ids[self._order]
        first = np.searchsorted(sorted_ids, ids)
        self.usable = np.asarray(self._place - first >= length - 1)

    @property
    def n_features(self) -> int:
        """F."""
        return int(self.z.shape[1])

    def rows(self, rows: Ints) -> Rows:
        """[n, F]."""
        return np.asarray(self.z[rows])

    def windows(self, rows: Ints) -> Rows:
        """[n, T, F], oldest row first. DataError for a row without a whole window."""
        if not self.usable[rows].all():
            raise DataError(f"a row has fewer than {self.length} rows of its instrument up to it: shorten window")
        back = np.arange(self.length - 1, -1, -1)
        return np.asarray(self.z[self._order[self._place[rows][:, None] - back[None, :]]])

    def streams(self) -> list[Ints]:
        """Row numbers of each instrument, in order."""
        ids = self.instrument_id[self._order]
        cuts = np.flatnonzero(np.diff(ids)) + 1
        return [part for part in np.split(self._order, cuts) if len(part)]


def float32_below(values: npt.ArrayLike) -> Floats:
    """The largest float32 that is not above each value, as float64.

    For a float32 x, ``x <= t`` and ``x <= float32_below(t)`` are the same; the nearest float32 may lie above t, on a value of
    the data, and send that row the other way. ONNX trees compare float32.
    """
    wide = np.asarray(values, np.float64)
    near = wide.astype(np.float32)
    lower = np.where(near.astype(np.float64) > wide, np.nextafter(near, np.float32(-np.inf)), near)
    return np.asarray(lower, np.float64)


@dataclass(frozen=True)
class Market:
    """What a policy trades against, per row: ``price``, half the spread as money, ``cost`` of a change of position by
    one unit beyond that, as a share of the price. ``ts_ns``: where it pauses for more than :data:`PAUSE_NS`, data was
    cut out, and nobody earns what lies between."""

    price: Floats
    half_spread: Floats
    cost: float
    ts_ns: Ints

    def stretches(self, stream: Ints) -> list[Ints]:
        """One instrument's rows, cut where data is missing; what is too short to trade is left out."""
        cuts = np.flatnonzero(np.diff(self.ts_ns[stream]) > PAUSE_NS) + 1
        return [part for part in np.split(stream, cuts) if len(part) > 2]


@dataclass(frozen=True)
class Task:
    """``y`` holds classes 0 SELL, 1 HOLD, 2 BUY per row; ``target`` what a regression learns. ``train`` and ``valid`` are row
    numbers; the validation rows stop a fit early and calibrate it, nothing more."""

    inputs: Inputs
    y: Ints
    target: Floats
    train: Ints
    valid: Ints
    seed: int
    watch: Watch = field(default=lambda done, total, loss: None)
    market: Market | None = None

    @classmethod
    def of_rows(cls, z: Rows, y: Ints, seed: int, share: float = 0.2) -> Task:
        """A task over plain rows in order: the last ``share`` of them validates."""
        cut = max(1, int(len(z) * (1 - share)))
        rows = np.arange(len(z))
        return cls(Inputs(z), y, y.astype(np.float64), rows[:cut], rows[cut:], seed)

    def classes(self) -> list[int]:
        """The classes of the training part. DataError if there is only one."""
        present: list[int] = np.unique(self.y[self.train]).tolist()
        if len(present) < 2:
            raise DataError(
                f"labels: the training part has only the class {[ACTIONS[c] for c in present]}, so nothing can be learned: "
                "change labels.horizon, or the dead band by labels.half_spreads and labels.fee_bp"
            )
        return present

    def codes(self, rows: Ints, classes: Sequence[int]) -> Ints:
        """Position of each row's class among ``classes``; a class that training never saw becomes the nearest."""
        distance = np.abs(self.y[rows][:, None] - np.asarray(classes)[None, :])
        return np.asarray(distance.argmin(axis=1), np.int64)

    def weights(self, rows: Ints, how: str | None) -> Floats:
        """Sample weights with mean 1: equal, or so that every class weighs the same."""
        if how is None:
            return np.ones(len(rows))
        counts = np.bincount(self.y[rows], minlength=3)
        weight = len(rows) / (np.count_nonzero(counts) * np.maximum(counts, 1))
        return np.asarray(weight[self.y[rows]], np.float64)


class Fitted(ABC):
    """A fitted model: asked in its own library, and exported. ``classes``: what its outputs stand for, empty for a value."""

    shape: Shape = "row"
    kind: Literal["probabilities", "value"] = "probabilities"
    carry: tuple[Carry, ...] = ()
    policy = False

    def __init__(self, classes: Sequence[int], note: str = "") -> None:
        self.classes = tuple(classes)
        self.note = note

    @property
    def actions(self) -> list[str]:
        """Action of each output; a value is signed, so it has none of its own."""
        return [ACTIONS[c] for c in self.classes] or ["BUY"]

    @abstractmethod
    def scores(self, inputs: Inputs, rows: Ints) -> Floats:
        """[n, K] by the library that fitted it."""

    @abstractmethod
    def to_onnx(self, name: str) -> bytes:
        """Input ``features`` [1, F] or [1, T, F], output ``probabilities`` [1, K] or ``value`` [1, 1]."""

    def proto(self, name: str) -> Any:
        """The graph before it is finished, for those that append to it."""
        from alpha.errors import need

        return need("onnx", "train").load_from_string(self.to_onnx(name))
