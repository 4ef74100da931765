"""One model call by every engine that takes the model: the same weights, the same rows, scores compared in the run.

Rows cycle over 4,096 shuffled inputs. What is compiled to machine code is called from a loop in C in which each call
waits for the last score; what has a Python call is called from Python as its documentation recommends. Everything
runs on one thread.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha._core.ort import OrtModel
from alpha.models.compile import compile_model
from bench import plan_models
from bench.native import library
from bench.peers.arms import Arm, Ns, python_loops

ROWS = 4096
IN_BLOCK = 128  # rows of a block; short, so that few blocks are interrupted on a busy host
STRIDE = 9 * IN_BLOCK  # 31 blocks have all but the last of them
CACHE = Path(__file__).resolve().parents[2] / "build" / "bench"
Rows = npt.NDArray[np.float32]
Missing = dict[str, str]  # peer -> why it is not measured


@cache
def rows(width: int) -> Rows:
    """Shuffled normal rows."""
    return np.random.default_rng(3).standard_normal((ROWS, width)).astype(np.float32)


def part(i: int, items: int) -> slice:
    """The rows of block ``i``."""
    at = i * STRIDE % (ROWS - IN_BLOCK)
    return slice(at, at + items)


def _pointer(a: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(a.ctypes.data)


# ---- in C


def kernel_arm(name: str, kernel: Any) -> Arm:
    """A model behind alpha_model.run: our plan, or ONNX Runtime's C ``Run``."""
    x, lib, address = rows(kernel.n_in), library("chain"), ctypes.c_void_p(kernel.address)
    carry, out = np.zeros(kernel.n_carry + 1, np.float32), np.zeros((IN_BLOCK, kernel.n_out), np.float32)
    n, evict = ctypes.c_int64(IN_BLOCK), np.ones(1, np.int8)

    def turn(i: int) -> None:
        carry[:] = 0
        if lib.chain(address, _pointer(x[part(i, IN_BLOCK)]), n, _pointer(carry), 0, _pointer(out)):
            raise AssertionError(f"{name}: a call failed")

    def clocked(i: int) -> Ns:
        carry[:] = 0
        ns = np.zeros(IN_BLOCK, np.int64)
        nothing = (_pointer(evict), ctypes.c_int64(0))
        if lib.each(
            address, _pointer(x[part(i, IN_BLOCK)]), n, _pointer(carry), 0, *nothing, _pointer(out), _pointer(ns)
        ):
            raise AssertionError(f"{name}: a call failed")
        return ns

    keep = kernel  # the arm outlives the caller's name for it
    return Arm(name, turn, clocked, lambda: (keep, out)[1], "nothing, C", "C", IN_BLOCK)


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
    engine, out, n = _Engine(kind, width, function, config), np.zeros(IN_BLOCK), ctypes.c_int64(IN_BLOCK)

    def turn(i: int) -> None:
        if lib.engine_chain(ctypes.byref(engine), _pointer(x[part(i, IN_BLOCK)]), n, _pointer(out)):
            raise AssertionError(f"{name}: a call failed")

    def clocked(i: int) -> Ns:
        ns = np.zeros(IN_BLOCK, np.int64)
        if lib.engine_each(ctypes.byref(engine), _pointer(x[part(i, IN_BLOCK)]), n, _pointer(out), _pointer(ns)):
            raise AssertionError(f"{name}: a call failed")
        return ns

    idle = "" if kind == 0 else "nothing, C"
    return Arm(name, turn, clocked, None if kind == 0 else lambda: (keep, out[:, None])[1], idle, "C", IN_BLOCK)


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


# ---- trees


@cache
def lightgbm_text() -> str:
    """100 trees of depth 6 on 20 features, fitted by LightGBM; thresholds and leaves rounded to float32, so that every
    engine has the same numbers."""
    import lightgbm as lgb

    rng = np.random.default_rng(0)
    x = rng.standard_normal((20_000, 20)).astype(np.float32)
    y = (
        x[:, 0] * x[:, 1]
        + x[:, 2] * x[:, 3]
        + 0.5 * np.sin(2 * x[:, 4:]).sum(axis=1)
        + 0.3 * rng.standard_normal(len(x))
    )
    params = {
        "objective": "regression", "num_leaves": 64, "max_depth": 6, "min_data_in_leaf": 1, "learning_rate": 0.1,
        "min_sum_hessian_in_leaf": 0, "feature_fraction": 0.5, "verbose": -1, "num_threads": 1, "seed": 1,
        "deterministic": True, "force_row_wise": True,
    }  # fmt: skip
    text = lgb.train(params, lgb.Dataset(x, y - y.mean()), num_boost_round=100).model_to_string()
    lines = []
    for line in text.split("\n"):
        key, _, values = line.partition("=")
        if key in ("threshold", "leaf_value"):
            line = f"{key}=" + " ".join(repr(float(np.float32(v))) for v in values.split())
        if key != "tree_sizes":  # counts characters; LightGBM's reader does without
            lines.append(line)
    return str(lgb.Booster(model_str="\n".join(lines)).model_to_string())


@cache
def lightgbm_onnx() -> bytes:
    """The same trees as ONNX."""
    import lightgbm as lgb
    from onnxmltools.convert import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    booster = lgb.Booster(model_str=lightgbm_text())
    made = convert_lightgbm(booster, initial_types=[("x", FloatTensorType([1, 20]))], target_opset=15)
    made.ir_version = 10
    return bytes(made.SerializeToString())


def _cached(suffix: str) -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    return CACHE / f"trees-{hashlib.sha256(lightgbm_text().encode()).hexdigest()[:12]}{suffix}"


def lleaves_function(doubles: bool) -> tuple[int, Any]:
    """(address, owner) of its compiled function, of doubles as by default, or of floats."""
    import lleaves

    text = _cached(".txt")
    text.write_text(lightgbm_text())
    model = lleaves.Model(model_file=str(text))
    model.compile(cache=_cached(f"-lleaves-{64 if doubles else 32}.bin"), raw_score=True, use_fp64=doubles)
    return ctypes.cast(model._c_entry_func, ctypes.c_void_p).value or 0, model


def tl2cgen_function() -> tuple[int, Any]:
    """(address, owner) of its ``predict``."""
    import lightgbm as lgb
    import tl2cgen
    import treelite

    file = _cached("-tl2cgen.so")
    if not file.is_file():
        model = treelite.frontend.from_lightgbm(lgb.Booster(model_str=lightgbm_text()))
        half = file.with_suffix(f".{os.getpid()}.so")
        tl2cgen.export_lib(model, toolchain="gcc", libpath=str(half), params={"parallel_comp": 8}, verbose=False)
        half.replace(file)
    loaded = ctypes.CDLL(str(file))
    return ctypes.cast(loaded.predict, ctypes.c_void_p).value or 0, loaded


def lightgbm_fast() -> tuple[int, int, Any]:
    """(function, prepared configuration, owner) of its call for single rows."""
    import lightgbm as lgb
    from lightgbm.basic import _LIB

    booster = lgb.Booster(model_str=lightgbm_text())
    config = ctypes.c_void_p()
    raw, float64 = 1, 1
    failed = _LIB.LGBM_BoosterPredictForMatSingleRowFastInit(
        booster._handle, raw, 0, -1, float64, ctypes.c_int32(20), b"num_threads=1", ctypes.byref(config)
    )
    if failed:
        raise AssertionError("LightGBM gave no fast configuration")
    function = ctypes.cast(_LIB.LGBM_BoosterPredictForMatSingleRowFast, ctypes.c_void_p).value or 0
    return function, config.value or 0, booster


def lightgbm_predict() -> Callable[[Rows], Any]:
    """``Booster.predict`` of one row."""
    import lightgbm as lgb

    predict = lgb.Booster(model_str=lightgbm_text()).predict
    return lambda row: predict(row, raw_score=True, num_threads=1)


# ---- groups


def _both(data: bytes, output: str) -> tuple[list[Arm], Any]:
    plan = compile_model(data, output).plan.kernel()
    return [
        kernel_arm("ours, fused plan in C", plan),
        kernel_arm("ONNX Runtime, C Run", OrtModel(data, output=output).kernel(binding=False)),
    ], plan


def _try(arms: list[Arm], missing: Missing, name: str, make: Callable[[], Arm]) -> None:
    try:
        arms.append(make())
    except ImportError as absent:
        missing[name] = f"{absent.name or absent} is not installed here (./dev peers installs it)"


def _dense(data: bytes, output: str) -> tuple[list[Arm], Missing]:
    arms, plan = _both(data, output)
    width, n_out, missing = plan.n_in, plan.n_out, {}

    def python(name: str, make: Callable[[], Callable[[Rows], Any]], idle: str) -> None:
        _try(arms, missing, name, lambda: python_arm(name, make(), width, idle))

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


def trees() -> tuple[list[Arm], Missing]:
    """100 trees of depth 6."""
    data = lightgbm_onnx()
    arms, plan = _both(data, "variable")
    missing: Missing = {
        "OpenVINO": "it has no conversion rule for ai.onnx.ml.TreeEnsembleRegressor",
        "TorchScript": "torch has no trees",
    }

    def lleaves(name: str, doubles: bool) -> Arm:
        function, owner = lleaves_function(doubles)
        return engine_arm(name, 1 if doubles else 4, 20, function, keep=owner)

    def tl2cgen() -> Arm:
        function, owner = tl2cgen_function()
        return engine_arm("tl2cgen, C function", 2, 20, function, keep=owner)

    def lightgbm() -> Arm:
        function, config, owner = lightgbm_fast()
        return engine_arm("LightGBM, single-row fast C call", 3, 20, function, config, owner)

    for name, doubles in (("lleaves, C function", True), ("lleaves, C function of floats", False)):
        _try(arms, missing, name, lambda name=name, doubles=doubles: lleaves(name, doubles))
    _try(arms, missing, "tl2cgen, C function", tl2cgen)
    _try(arms, missing, "LightGBM, single-row fast C call", lightgbm)
    arms += [
        python_arm("ours, kernel.run from Python", plan.run, 20, "nothing"),
        python_arm("ONNX Runtime, Python IOBinding", ort_binding(data, "variable", 20, 1), 20, "a copy of the row"),
        python_arm("ONNX Runtime, Python run", ort_run(data, "variable"), 20, "nothing"),
        python_arm("LightGBM, Python predict", lightgbm_predict(), 20, "nothing"),
    ]
    return [*arms, *idle_arms(20)], missing


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
