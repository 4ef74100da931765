"""Scores of a model by ONNX Runtime, the judge of every plan, in the call that serves live. Floor 3."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from alpha._core.ort import OrtModel
from alpha.models import judge


def scores(
    model_bytes: bytes, output: str, z: npt.NDArray[np.float32], carry: Sequence[tuple[str, str]] = ()
) -> npt.NDArray[np.float32]:
    """Outputs float32 [N - T + 1, K] of normalised rows [N, F], one call per row or window of T rows.

    A model with states (``carry``: names of input and output) sees the rows as :func:`alpha.models.judge.scores`
    does. ModelError if the graph is not servable.
    """
    kernel = OrtModel(model_bytes, output=output, carry=carry).kernel()
    return judge.scores(kernel, judge.windows(z, kernel.n_in))
