"""Fused plans against ONNX Runtime's C ``Run``: the same loop in C around both, each call waiting for the last.

Rows cycle over 4,096 shuffled inputs; scores are compared in the run; times are net of the same loop around nothing.
The LSTM of 2 x 100 units is measured against what reading its weights costs, warm and cold.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha._core.model import ModelKernel
from alpha._core.ort import OrtModel
from alpha.models.compile import compile_model
from bench import plan_models
from bench.measure import Result, blocks, result
from bench.native import library

N_BLOCKS, ITEMS = 24, 4096
EVICT = 64 << 20  # more than the last cache holds
# p99 of the same shape as published from audits of STAC-ML (Tacana, LSTM_A): a window of 50 slides by one row a call
AUDITED_NS = {"gpu": ("GPU, 2025", 4_700.0), "fpga": ("FPGA, 2023", 5_070.0)}
SEMANTICS = "a window of 50 slides by a row; ours: state carried, one step"


def _pointer(a: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(a.ctypes.data)


class _Arm:
    """One model behind the C loop, with its own state and scores."""

    def __init__(self, kernel: ModelKernel, rows: plan_models.Rows, items: int, prepared: bool = False) -> None:
        self.kernel, self.rows, self.items, self.prepared = kernel, rows, items, prepared
        self.carry = np.zeros(kernel.n_carry + 1, np.float32)
        self.out = np.zeros((items, kernel.n_out), np.float32)
        self.nothing = np.zeros_like(self.out)
        self.lib = library("chain")

    def _args(self) -> list[Any]:
        return [ctypes.c_void_p(self.kernel.address), _pointer(self.rows), ctypes.c_int64(self.items)]

    def __call__(self, _: int) -> None:
        self.carry[:] = 0
        if self.lib.chain(*self._args(), _pointer(self.carry), ctypes.c_int(self.prepared), _pointer(self.out)):
            raise AssertionError("a call failed")

    def empty(self, _: int) -> None:
        self.lib.empty(*self._args(), _pointer(self.nothing))

    def each(self, calls: int, *, apart: bool = False, cold: bool = False) -> npt.NDArray[np.int64]:
        """ns of single calls."""
        ns, out = np.zeros(calls, np.int64), np.zeros((calls, self.kernel.n_out), np.float32)
        evict = np.ones(EVICT if cold else 1, np.int8)
        self.carry[:] = 0
        self.lib.each(
            *self._args()[:2],
            ctypes.c_int64(calls),
            _pointer(self.carry),
            ctypes.c_int(apart),
            _pointer(evict),
            ctypes.c_int64(EVICT if cold else 0),
            _pointer(out),
            _pointer(ns),
        )
        return ns


def _rows(width: int) -> plan_models.Rows:
    rows = np.random.default_rng(3).standard_normal((ITEMS, width)).astype(np.float32)
    return np.ascontiguousarray(rows[np.random.default_rng(4).permutation(ITEMS)])


def _against_run(name: str, data: bytes, output: str, carry: list[tuple[str, str]], exact: bool) -> Result:
    compiled = compile_model(data, output, carry=carry)
    rows = _rows(compiled.plan.n_in)
    plan = _Arm(compiled.plan.kernel(), rows, ITEMS)
    run = _Arm(OrtModel(data, output=output, carry=carry).kernel(binding=False), rows, ITEMS)

    def check(i: int) -> None:
        off = np.abs(plan.out.astype(np.float64) - run.out) / np.maximum(1, np.abs(run.out))
        if off.max() > (0 if exact else 1e-6):
            raise AssertionError(f"block {i} of {name}: the plan is {off.max():.1e} off")

    ours, theirs, nothing = blocks([plan, run, plan.empty], N_BLOCKS, ITEMS, check=check)
    ratio = float(np.median((ours - nothing) / (theirs - nothing)))
    return result(
        name, float(np.median(ours - nothing)), float(np.median(theirs - nothing)), "ONNX Runtime's C Run", ratio=ratio
    )


def _lstm_a() -> list[Result]:
    """LSTM of 2 x 100 units on 100 inputs, one step with carried state, against reading its 160,400 numbers."""
    data, carry = plan_models.lstm(100, 100, 2), plan_models.states(2)
    rows = _rows(100)
    calls = 64  # a block shorter than a time slice: on a busy host few of them are interrupted
    whole = compile_model(data, "y", carry=carry)
    half = compile_model(data, "y", carry=carry, precision="bf16")
    step = _Arm(whole.plan.kernel(), rows, calls)
    narrow = _Arm(half.plan.kernel(), rows, calls)
    reference = OrtModel(data, output="y", carry=carry).kernel().sequence(rows[:calls])[0]
    weights = np.ones(2 * 4 * 100 * 200 // 128 * 128, np.float32)
    lib = library("chain")
    lib.read_eight.restype = ctypes.c_float

    def read(_: int) -> None:
        lib.read_eight(_pointer(weights), ctypes.c_int64(weights.size), ctypes.c_int64(calls))

    def loads(_: int) -> None:
        lib.loads_only(_pointer(weights), ctypes.c_int64(weights.size), ctypes.c_int64(calls))

    def check(i: int) -> None:
        if np.abs(step.out - reference).max() > 1e-6:
            raise AssertionError(f"block {i}: the step is {np.abs(step.out - reference).max():.1e} off")

    ours, thin, eight, bare, nothing = blocks([step, narrow, read, loads, step.empty], 8 * N_BLOCKS, calls, check=check)
    faster = np.minimum(eight, bare)
    ratio = float(np.median((ours - nothing) / faster))
    out = [
        result("plan_lstm_read", float(np.median(ours - nothing)), float(np.median(faster)), "the faster read of its weights", ratio=ratio),
        result("plan_lstm_read_bf16", float(np.median(thin - nothing)), float(np.median(faster)), "the faster read of the float32 weights", ratio=float(np.median((thin - nothing) / faster))),
    ]  # fmt: skip
    for name, arm, apart in (
        ("", step, False),
        ("_prepared", step, True),
        ("_bf16", narrow, False),
        ("_bf16_prepared", narrow, True),
    ):
        arm.each(64, apart=apart)
        warm = np.percentile(arm.each(4096, apart=apart), (50, 99))
        cold = np.percentile(arm.each(200, apart=apart, cold=True), (50, 99))
        for state, (p50, p99) in (("warm", warm), ("cold", cold)):
            out.append(result(f"plan_lstm{name}_{state}_p50", float(p50)))
            for short, (where, audited) in AUDITED_NS.items():
                text = f"{audited / 1e3:.2f} us, {where}, audited: {SEMANTICS}"
                out.append(result(f"plan_lstm{name}_{state}_p99_{short}", float(p99), audited, text))
    return out


def measure() -> list[Result]:
    """Ratios to ONNX Runtime for four models, then the LSTM of 2 x 100 units against its memory."""
    return [
        _against_run("plan_logistic", plan_models.logistic(), "p", [], False),
        _against_run("plan_mlp", plan_models.mlp(), "p", [], False),
        _against_run("plan_trees", plan_models.trees(), "y", [], True),
        _against_run("plan_lstm_step", plan_models.lstm(), "y", plan_models.states(), False),
        *_lstm_a(),
    ]
