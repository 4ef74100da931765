from collections.abc import Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

from alpha.sessions import SessionTable

OPCODES: dict[str, int]
STATE_BYTES: dict[str, int]
BLOCK_BYTES: int
BAR_BYTES: int
PRESENT_BYTES: int
CHUNK: int
SLOT_BYTES: int

def isa() -> str: ...
def available_isas() -> list[str]: ...
def native_log(x: float) -> float: ...
def native_exp2n(t: float) -> float: ...

@final
class Program:
    n_peers: int
    needs_sessions: bool
    def __new__(
        cls,
        *,
        run: Sequence[npt.NDArray[Any]],
        refresh: Sequence[npt.NDArray[Any]],
        all: npt.NDArray[Any],
        quads: npt.NDArray[Any],
        resets: npt.NDArray[np.uint8] | None,
        bars: Sequence[tuple[int, float, int, int, Sequence[int]]],
        features: Sequence[int],
        n_watched: int,
        n_slots: int,
        block_bytes: int,
        trigger: int,
        trigger_bar: int,
        every_ns: int,
        present: int,
        by_close: bool,
        n_peers: int,
        needs_sessions: bool,
    ) -> Program: ...
    @property
    def layout(self) -> str: ...
    @property
    def n_features(self) -> int: ...
    @property
    def block_bytes(self) -> int: ...
    @property
    def instructions(self) -> int: ...
    @property
    def isa(self) -> str: ...

@final
class SessionTables:
    def __new__(cls, tables: Sequence[SessionTable | None], n: int) -> SessionTables: ...

@final
class Surroundings:
    def __new__(
        cls,
        program: Program,
        lots: Sequence[float] | npt.NDArray[np.float64],
        ticks: Sequence[float] | npt.NDArray[np.float64] | None = ...,
        sessions: Sequence[SessionTable] | None = ...,
        peers: Sequence[int] = ...,
    ) -> Surroundings: ...
