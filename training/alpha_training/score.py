"""Outputs of an exported model over rows of a snapshot, by the engine that serves it. Windows and carried states by ONNX
Runtime's own Python door, one row at a time as they are served."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import ModelError
from alpha.models.metadata import Carry
from alpha.models.score import scores as native_scores
from alpha_training.export import INPUT, OUTPUT, VALUE
from alpha_training.fit import Inputs, Shape

Ints = npt.NDArray[np.int64]
_LATENCY_ROWS = 300


class Exported:
    """An exported model. ``scores(rows)``: float32 [n, K]."""

    def __init__(self, data: bytes, shape: Shape, kind: str, carry: Sequence[Carry], inputs: Inputs) -> None:
        self.data, self.shape, self.carry, self.inputs = data, shape, tuple(carry), inputs
        self.output = VALUE if kind == "value" else OUTPUT
        self._session: Any = None
        self._stream: npt.NDArray[np.float32] | None = None

    def scores(self, rows: Ints) -> npt.NDArray[np.float32]:
        """By row. A carried state starts at each instrument's first row and goes through all of them."""
        if self.shape == "row":
            return native_scores(self.data, self.output, self.inputs.rows(rows))
        if self.shape == "window":
            return np.concatenate([self._call(w[None], {})[0] for w in self.inputs.windows(rows)])
        if self._stream is None:
            self._stream = self._run_streams()
        return self._stream[rows]

    def latency_ns(self, rows: Ints) -> float:
        """Median time of one call on this machine, the engine's own overhead included."""
        rows = rows[: _LATENCY_ROWS + 50]
        taken = []
        for call in self._calls(rows):
            begin = time.perf_counter_ns()
            call()
            taken.append(time.perf_counter_ns() - begin)
        return float(np.median(taken[50:] or taken))

    def _calls(self, rows: Ints) -> list[Any]:
        if self.shape == "window":
            x = [w[None] for w in self.inputs.windows(rows)]
        else:
            x = [r[None] for r in self.inputs.rows(rows)]
        state = {c.input: np.zeros(c.shape, np.float32) for c in self.carry}
        return [lambda one=one: self._call(one, state) for one in x]

    def _call(self, x: npt.NDArray[np.float32], state: dict[str, npt.NDArray[np.float32]]) -> list[Any]:
        if self._session is None:
            self._session = _session(self.data)
        outputs = [self.output, *(c.output for c in self.carry)]
        made: list[Any] = self._session.run(outputs, {INPUT: x, **state})
        return made

    def _run_streams(self) -> npt.NDArray[np.float32]:
        out: npt.NDArray[np.float32] | None = None
        for stream in self.inputs.streams():
            state = {c.input: np.zeros(c.shape, np.float32) for c in self.carry}
            for i in stream.tolist():
                got, *nexts = self._call(self.inputs.z[i : i + 1], state)
                if out is None:
                    out = np.full((len(self.inputs.z), got.shape[1]), np.nan, np.float32)
                out[i] = got[0]
                state = {c.input: n for c, n in zip(self.carry, nexts, strict=True)}
        assert out is not None
        return out


def _session(data: bytes) -> Any:
    onnxruntime = importlib.import_module("onnxruntime")

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # the library has many kinds
        raise ModelError(f"ONNX Runtime cannot load the export: {str(exc).splitlines()[0]}") from None
