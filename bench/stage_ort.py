"""One model call through our ONNX Runtime kernel, against a bare C loop over Run."""

from __future__ import annotations

import ctypes

import numpy as np

from alpha._core import ort
from bench.measure import Result, blocks, result
from bench.native import library
from bench.workloads import demo_model, vectors

N_BLOCKS, ITEMS = 40, 4096


def measure() -> list[Result]:
    """Per call, on the committed demo model; outputs are compared bit for bit after every block."""
    model_bytes, output, width = demo_model()
    model = ort.OrtModel(model_bytes, output=output)
    lib = library("bare_ort")
    path = ort.library_path()
    assert path is not None
    status = lib.bare_open(
        path.encode(),
        model_bytes,
        ctypes.c_int64(len(model_bytes)),
        output.encode(),
        ctypes.c_int64(width),
        ctypes.c_int64(model.n_out),
    )
    if status:
        raise AssertionError(f"the bare session could not be made: step {status}")
    x = vectors(width)
    theirs = np.zeros((ITEMS, model.n_out), np.float32)
    bound, plain = model.kernel(binding=True), model.kernel(binding=False)

    def rows(i: int) -> np.ndarray:
        at = i * ITEMS % len(x)
        return x[at : at + ITEMS]

    def bare(i: int) -> None:
        r = rows(i)
        if lib.bare_run(ctypes.c_void_p(r.ctypes.data), ctypes.c_int64(ITEMS), ctypes.c_void_p(theirs.ctypes.data)):
            raise AssertionError("Run failed")

    mine: dict[str, np.ndarray] = {}

    def with_binding(i: int) -> None:
        mine["binding"] = bound.run(rows(i))

    def without_binding(i: int) -> None:
        mine["plain"] = plain.run(rows(i))

    def check(i: int) -> None:
        for name, scores in mine.items():
            if scores.tobytes() != theirs.tobytes():
                raise AssertionError(f"block {i}: our kernel ({name}) and the bare loop give different scores")

    times = blocks([with_binding, bare, without_binding], N_BLOCKS, ITEMS, check=check)
    ours, reference, unbound = (float(np.median(t)) for t in times)
    return [
        result("ort_call", ours, reference, "bare C loop over Run"),
        result("ort_call_without_binding", unbound, reference, "bare C loop over Run"),
    ]
