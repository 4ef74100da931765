"""Scores of a model by ONNX Runtime, the judge of every plan, in the call that serves live. Floor 3."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from alpha._core.ort import OrtModel


def scores(model_bytes: bytes, output: str, z: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Outputs float32 [N, K] of normalised rows [N, F], one call per row; ModelError if the graph is not servable."""
    return OrtModel(model_bytes, output=output).kernel().run(z)
