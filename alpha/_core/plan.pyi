from typing import Any, final

import numpy as np
import numpy.typing as npt

from alpha._core.model import ModelKernel

OPCODES: dict[str, int]
PAD: int
RECURRENT: tuple[str, ...]
GROUP: int
NONE: int
ACTIVATIONS: tuple[str, ...]
STEP_DTYPE: np.dtype[np.void]
FOREST_DTYPE: np.dtype[np.void]
SPLIT_DTYPE: np.dtype[np.void]
NODE_DTYPE: np.dtype[np.void]

def width(isa: str | None = ...) -> int: ...

@final
class Plan:
    records: npt.NDArray[Any]
    prepares: bool
    def __new__(
        cls,
        *,
        steps: npt.NDArray[Any],
        weights: npt.NDArray[np.uint8],
        constants: npt.NDArray[np.float32],
        arena: int,
        input: tuple[int, int],
        output: tuple[int, int],
        carry: tuple[int, int, int] = ...,
        isa: str | None = ...,
    ) -> Plan: ...
    @property
    def n_in(self) -> int: ...
    @property
    def n_out(self) -> int: ...
    @property
    def n_carry(self) -> int: ...
    @property
    def isa(self) -> str: ...
    @property
    def arena_bytes(self) -> int: ...
    @property
    def steps_by_name(self) -> tuple[str, ...]: ...
    def kernel(self) -> PlanKernel: ...

@final
class PlanKernel(ModelKernel):
    def __new__(cls, plan: Plan) -> PlanKernel: ...
