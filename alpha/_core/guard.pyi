from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

def guard_memory(n_instruments: int, earlier: npt.NDArray[np.uint8] | None = ...) -> npt.NDArray[np.uint8]: ...
def guard_events(
    events: npt.NDArray[Any],
    n_instruments: int,
    *,
    clock: str = ...,
    crossed: str = ...,
    future_tolerance_ns: int = ...,
    duplicates: str = ...,
    outlier: float | None = ...,
    clock_offset_ns: Sequence[int] | npt.NDArray[np.int64] | None = ...,
    memory: npt.NDArray[np.uint8] | None = ...,
) -> npt.NDArray[np.uint8]: ...
