from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

from alpha._core.program import Program
from alpha.sessions import SessionTable

@final
class RowMaker:
    program: Program
    def __new__(
        cls,
        program: Program,
        *,
        lots: Sequence[float] | npt.NDArray[np.float64],
        clock_offsets_ns: Sequence[int] | npt.NDArray[np.int64],
        guard: Mapping[str, Any],
        ticks: Sequence[float] | npt.NDArray[np.float64] | None = ...,
        sessions: Sequence[SessionTable] | None = ...,
        peers: Sequence[int] = ...,
    ) -> RowMaker: ...
    def save_state(self) -> bytes: ...
    def load_state(self, state: bytes) -> None: ...
    def buffers(self, room: int) -> tuple[npt.NDArray[Any], ...]: ...
    def rows(
        self, events: npt.NDArray[Any], out: tuple[npt.NDArray[Any], ...] | None = ...
    ) -> dict[str, npt.NDArray[Any]]: ...
