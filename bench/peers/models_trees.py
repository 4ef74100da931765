"""Trees by every engine that takes them; see :mod:`bench.peers.models`."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.peers.arms import Arm
from bench.peers.models import (
    Missing,
    Rows,
    attempt,
    both,
    engine_arm,
    idle_arms,
    ort_binding,
    ort_run,
    python_arm,
)

CACHE = Path(__file__).resolve().parents[2] / "build" / "bench"


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


def trees() -> tuple[list[Arm], Missing]:
    """100 trees of depth 6."""
    data = lightgbm_onnx()
    arms, plan = both(data, "variable")
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
        attempt(arms, missing, name, lambda name=name, doubles=doubles: lleaves(name, doubles))
    attempt(arms, missing, "tl2cgen, C function", tl2cgen)
    attempt(arms, missing, "LightGBM, single-row fast C call", lightgbm)
    arms += [
        python_arm("ours, kernel.run from Python", plan.run, 20, "nothing"),
        python_arm("ONNX Runtime, Python IOBinding", ort_binding(data, "variable", 20, 1), 20, "a copy of the row"),
        python_arm("ONNX Runtime, Python run", ort_run(data, "variable"), 20, "nothing"),
        python_arm("LightGBM, Python predict", lightgbm_predict(), 20, "nothing"),
    ]
    return [*arms, *idle_arms(20)], missing
