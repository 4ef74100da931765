from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

from alpha._core.model import ModelKernel
from alpha._core.pipeline import Pipeline
from alpha._core.signal import Signal

MAX_SEATS: int
MODES: dict[str, int]
COMBINES: dict[str, int]
INSTRUMENT_BYTES: int
SEAT_BYTES: int

@final
class EnsembleKernel(ModelKernel):
    def __new__(cls, combine: str, weights: npt.ArrayLike, may_veto: npt.ArrayLike) -> EnsembleKernel: ...

@final
class Seats:
    def __new__(
        cls,
        lead: Pipeline,
        seats: Sequence[Mapping[str, Any]],
        splits: Sequence[tuple[npt.NDArray[np.uint64], int]] = ...,
    ) -> Seats: ...
    def __len__(self) -> int: ...
    @property
    def most(self) -> int: ...
    def kill(self, lead: Pipeline, slot: int, on: bool = ...) -> None: ...
    def is_killed(self, lead: Pipeline, slot: int) -> bool: ...
    def attach_latch(self, slot: int, latch: Any, offsets: Sequence[Sequence[int]] | None) -> None: ...
    def latest(self, lead: Pipeline, slot: int, instrument_id: int) -> Signal | None: ...
    def features(
        self, lead: Pipeline, slot: int, instrument_id: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], int] | None: ...
    def counters(self, slot: int) -> dict[str, Any]: ...
    def split_at(self, split: int, instrument_id: int, ts_ns: int) -> int: ...
