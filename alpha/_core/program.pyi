from collections.abc import Sequence
from typing import Any, final

import numpy.typing as npt

OPCODES: dict[str, int]
STATE_BYTES: dict[str, int]
BLOCK_BYTES: int
BAR_BYTES: int
CHUNK: int
SLOT_BYTES: int

def isa() -> str: ...
def available_isas() -> list[str]: ...
def native_log(x: float) -> float: ...
def native_exp2n(t: float) -> float: ...

@final
class Program:
    def __new__(
        cls,
        *,
        run: Sequence[npt.NDArray[Any]],
        refresh: Sequence[npt.NDArray[Any]],
        all: npt.NDArray[Any],
        quads: npt.NDArray[Any],
        bars: Sequence[tuple[int, int, int, Sequence[int]]],
        features: Sequence[int],
        n_watched: int,
        n_slots: int,
        block_bytes: int,
        trigger: int,
        trigger_bar: int,
        every_ns: int,
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
