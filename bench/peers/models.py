"""One model call by every engine that takes the model: the same weights, the same rows, scores compared in the run.

Rows cycle over 4,096 shuffled inputs. What is compiled to machine code is called from a loop in C in which each call
waits for the last score; what has a Python call is called from Python as its documentation recommends. Everything
runs on one thread.
"""

from __future__ import annotations

import ctypes
import io
import re
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha._core.ort import OrtModel
from alpha.models.compile import compile_model
from bench import plan_models
from bench.native import library
from bench.peers.arms import Arm, Ns, python_loops, why_missing

ROWS = 4096
IN_BLOCK = 128  # rows of a block in Python, and the fewest in C
BLOCK_NS = 1_000_000  # a block in C is about as long: few are interrupted on a busy host
STRIDE = 9 * IN_BLOCK  # 32 blocks begin at 32 different rows
Rows = npt.NDArray[np.float32]
Missing = dict[str, str]  # peer -> why it is not measured


@cache
def rows(width: int) -> Rows:
    """Shuffled normal rows, and the first of them again, so that a block may begin anywhere."""
    once = np.random.default_rng(3).standard_normal((ROWS, width)).astype(np.float32)
    return np.concatenate([once, once])


def part(i: int, items: int) -> slice:
    """The rows of block ``i``, of rows that are there twice; blocks of different length begin with the same row."""
    at = i * STRIDE % ROWS
    return slice(at, at + items)


def _pointer(a: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(a.ctypes.data)


# ---- in C


def _enough(chain: Callable[[int, int], None]) -> int:
    """How many rows take about ``BLOCK_NS``, of ``chain(block, items)``."""
    times = []
    for i in range(7):
        start = time.perf_counter_ns()
        chain(i, IN_BLOCK)
        times.append(time.perf_counter_ns() - start)
    return int(np.clip(BLOCK_NS * IN_BLOCK / min(times), IN_BLOCK, ROWS // 2))


def kernel_arm(name: str, kernel: Any) -> Arm:
    """A model behind alpha_model.run: our plan, or ONNX Runtime's C ``Run``."""
    x, lib, address = rows(kernel.n_in), library("chain"), ctypes.c_void_p(kernel.address)
    carry, out = np.zeros(kernel.n_carry + 1, np.float32), np.zeros((ROWS, kernel.n_out), np.float32)
    evict = np.ones(1, np.int8)

    def chain(i: int, n: int) -> None:
        carry[:] = 0
        rest = (_pointer(x[part(i, n)]), ctypes.c_int64(n), _pointer(carry), 0, _pointer(out))
        if lib.chain(address, *rest):
            raise AssertionError(f"{name}: a call failed")

    def clocked(i: int) -> Ns:
        carry[:] = 0
        ns = np.zeros(items, np.int64)
        nothing = (_pointer(evict), ctypes.c_int64(0))
        head = (_pointer(x[part(i, items)]), ctypes.c_int64(items), _pointer(carry), 0)
        if lib.each(address, *head, *nothing, _pointer(out), _pointer(ns)):
            raise AssertionError(f"{name}: a call failed")
        return ns

    items = _enough(chain)
    keep = kernel  # the arm outlives the caller's name for it
    return Arm(name, lambda i: chain(i, items), clocked, lambda: (keep, out[:items])[1], "nothing, C", "C", items)


class _Engine(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int32),
        ("n_in", ctypes.c_int32),
        ("function", ctypes.c_void_p),
        ("config", ctypes.c_void_p),
    ]


def engine_arm(name: str, kind: int, width: int, function: Any, config: Any = None, keep: Any = None) -> Arm:
    """A function of another engine; rows are given as the doubles (kind 4: floats) that it takes. Kind 0: the loop
    around nothing."""
    x, lib = rows(width).astype(np.float32 if kind == 4 else np.float64), library("engines")
    engine, out = _Engine(kind, width, function, config), np.zeros(ROWS)

    def chain(i: int, n: int) -> None:
        if lib.engine_chain(ctypes.byref(engine), _pointer(x[part(i, n)]), ctypes.c_int64(n), _pointer(out)):
            raise AssertionError(f"{name}: a call failed")

    def clocked(i: int) -> Ns:
        ns, n = np.zeros(items, np.int64), ctypes.c_int64(items)
        if lib.engine_each(ctypes.byref(engine), _pointer(x[part(i, items)]), n, _pointer(out), _pointer(ns)):
            raise AssertionError(f"{name}: a call failed")
        return ns

    items = _enough(chain)
    outputs = None if kind == 0 else lambda: (keep, out[:items, None])[1]
    return Arm(name, lambda i: chain(i, items), clocked, outputs, "" if kind == 0 else "nothing, C", "C", items)


# ---- from Python


def python_arm(
    name: str, call: Callable[[Rows], Any], width: int, idle: str, reset: Callable[[], None] = lambda: None
) -> Arm:
    """``call`` gets a row of shape [1, width] and gives its scores, perhaps always in the same memory. ``reset`` is
    called before each block: where a state is carried from row to row."""
    x = rows(width)
    one = [np.ascontiguousarray(r[None]) for r in x]
    last = [0]

    def inputs(i: int) -> list[Rows]:
        last[0] = i
        reset()
        return one[part(i, IN_BLOCK)]

    turn, clocked, _ = python_loops(call, inputs)

    def outputs() -> Any:  # once more, for scores that live in one place
        reset()
        return np.array([np.array(call(r), np.float64).ravel() for r in one[part(last[0], IN_BLOCK)]])

    return Arm(name, turn, clocked, outputs, idle, "Python", IN_BLOCK)


def idle_arms(width: int) -> list[Arm]:
    """The loops around nothing: in C, in Python, and in Python with the copy of a row into bound memory."""
    x = np.zeros((1, width), np.float32)

    def copied(row: Rows) -> None:
        x[0] = row[0]

    out = [engine_arm("nothing, C", 0, width, None)]
    for name, call in (("nothing", lambda row: None), ("a copy of the row", copied)):
        arm = python_arm(name, call, width, "")
        arm.outputs = None
        out.append(arm)
    return out


def ort_session(data: bytes) -> Any:
    """On one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def ort_run(data: bytes, output: str) -> Callable[[Rows], Any]:
    """``session.run``."""
    run, names = ort_session(data).run, [output]
    return lambda row: run(names, {"x": row})[0]


def ort_binding(data: bytes, output: str, width: int, n_out: int) -> Callable[[Rows], Any]:
    """Everything bound once; a row is copied into the bound memory."""
    session = ort_session(data)
    x, y = np.zeros((1, width), np.float32), np.zeros((1, n_out), np.float32)
    binding = session.io_binding()
    binding.bind_input("x", "cpu", 0, np.float32, [1, width], x.ctypes.data)
    binding.bind_output(output, "cpu", 0, np.float32, [1, n_out], y.ctypes.data)
    run = session.run_with_iobinding

    def call(row: Rows) -> Rows:
        x[0] = row[0]
        run(binding)
        return y

    return call


def openvino(data: bytes, width: int) -> Callable[[Rows], Any]:
    """Latency hint, one thread, float32, the input in shared memory."""
    import openvino as ov

    core = ov.Core()
    hints = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    request = core.compile_model(core.read_model(io.BytesIO(data)), "CPU", hints).create_infer_request()
    x = np.zeros((1, width), np.float32)
    request.set_input_tensor(ov.Tensor(x, shared_memory=True))
    y = request.get_output_tensor().data

    def call(row: Rows) -> Any:
        x[0] = row[0]
        request.infer()
        return y

    return call


def torchscript(data: bytes, width: int) -> Callable[[Rows], Any]:
    """The same layers in torch, traced, frozen, optimised for inference; the input in shared memory."""
    import warnings

    import onnx
    import torch
    from onnx import numpy_helper

    torch.set_num_threads(1)
    w = {
        t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in onnx.load_from_string(data).graph.initializer
    }
    layers: list[torch.nn.Module] = []
    n_layers = len([n for n in w if re.fullmatch(r"w\d*", n)])
    for k in range(n_layers):
        weight, bias = (w[f"w{k}"], w[f"b{k}"]) if n_layers > 1 else (w["w"], w["b"])
        layer = torch.nn.Linear(*weight.shape)
        layer.weight.data, layer.bias.data = weight.T.contiguous(), bias
        layers += [layer, torch.nn.ReLU() if k < n_layers - 1 else torch.nn.Softmax(dim=1)]
    x = np.zeros((1, width), np.float32)
    shared = torch.from_numpy(x)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # torch calls its own torch.jit deprecated
        module = torch.jit.trace(torch.nn.Sequential(*layers).eval(), shared)
        module = torch.jit.optimize_for_inference(torch.jit.freeze(module))
        for _ in range(10):  # it compiles in its first calls
            module(shared)

    def call(row: Rows) -> Any:
        x[0] = row[0]
        with torch.inference_mode():
            return module(shared).numpy()

    return call


# ---- groups


def both(data: bytes, output: str) -> tuple[list[Arm], Any]:
    plan = compile_model(data, output).plan.kernel()
    return [
        kernel_arm("ours, fused plan in C", plan),
        kernel_arm("ONNX Runtime, C Run", OrtModel(data, output=output).kernel(binding=False)),
    ], plan


def attempt(arms: list[Arm], missing: Missing, name: str, make: Callable[[], Arm]) -> None:
    try:
        arms.append(make())
    except ImportError as absent:
        missing[name] = why_missing(absent)


def _dense(data: bytes, output: str) -> tuple[list[Arm], Missing]:
    arms, plan = both(data, output)
    width, n_out, missing = plan.n_in, plan.n_out, {}

    def python(name: str, make: Callable[[], Callable[[Rows], Any]], idle: str) -> None:
        attempt(arms, missing, name, lambda: python_arm(name, make(), width, idle))

    python("ours, kernel.run from Python", lambda: plan.run, "nothing")
    python("ONNX Runtime, Python IOBinding", lambda: ort_binding(data, output, width, n_out), "a copy of the row")
    python("ONNX Runtime, Python run", lambda: ort_run(data, output), "nothing")
    python("OpenVINO", lambda: openvino(data, width), "a copy of the row")
    python("TorchScript", lambda: torchscript(data, width), "a copy of the row")
    return [*arms, *idle_arms(width)], missing


def logistic() -> tuple[list[Arm], Missing]:
    """8 features, 2 classes."""
    return _dense(plan_models.logistic(), "p")


def mlp() -> tuple[list[Arm], Missing]:
    """32-64-64-3 with a softmax."""
    return _dense(plan_models.mlp(), "p")


def _first(ours: Any, theirs: Any) -> tuple[Any, Any, float]:
    n = min(len(ours), len(theirs))
    a, b = np.asarray(ours[:n], np.float64), np.asarray(theirs[:n], np.float64)
    return a, b, float(np.abs(a - b).max())


def agree_classes(ours: Any, theirs: Any) -> tuple[int, int, float]:
    """Decisions are the likeliest class; probabilities may differ by 1e-5."""
    a, b, off = _first(ours, theirs)
    if off > 1e-5:
        raise AssertionError(f"probabilities are {off:.1e} apart")
    return int((a.argmax(axis=1) != b.argmax(axis=1)).sum()), len(a), off


def agree_sign(ours: Any, theirs: Any) -> tuple[int, int, float]:
    """Decisions are the sign; sums in float32 and float64 may differ by 1e-4 where scores are of size 1."""
    a, b, off = _first(ours, theirs)
    if off > 1e-4:
        raise AssertionError(f"scores are {off:.1e} apart")
    return int((np.sign(a) != np.sign(b)).sum()), len(a), off
