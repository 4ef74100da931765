"""One LSTM step with carried state by every engine that takes it; the state starts at zero in every block of rows."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from alpha._core.ort import OrtModel
from alpha.models.compile import compile_model
from bench import plan_models
from bench.peers.arms import Arm
from bench.peers.models import Missing, Rows, attempt, idle_arms, kernel_arm, ort_session, python_arm

INPUTS, UNITS = 16, 64
_STATE = (1, 1, UNITS)
Step = tuple[Callable[[Rows], Any], Callable[[], None]]  # one step, and back to a state of zeros


def _zeros() -> list[Any]:
    return [np.zeros(_STATE, np.float32) for _ in range(2)]


def ours(kernel: Any) -> Step:
    """``kernel.sequence`` of one row."""
    carry = [np.zeros(kernel.n_carry, np.float32)]

    def call(row: Rows) -> Any:
        y, after = kernel.sequence(row, carry[0])
        carry[0] = after[0]
        return y

    def reset() -> None:
        carry[0] = np.zeros(kernel.n_carry, np.float32)

    return call, reset


def ort_run(data: bytes) -> Step:
    """The state goes in and comes out as arrays."""
    run, names = ort_session(data).run, ["y", "hn0", "cn0"]
    state = _zeros()

    def call(row: Rows) -> Any:
        y, state[0], state[1] = run(names, {"x": row, "h0": state[0], "c0": state[1]})
        return y

    def reset() -> None:
        state[:] = _zeros()

    return call, reset


def ort_binding(data: bytes) -> Step:
    """Two bindings in turn: each reads the state where the other left it, so nothing is copied."""
    session = ort_session(data)
    x, y = np.zeros((1, INPUTS), np.float32), np.zeros((1, UNITS), np.float32)
    states, bindings = (_zeros(), _zeros()), []
    for k in range(2):
        binding = session.io_binding()
        binding.bind_input("x", "cpu", 0, np.float32, [1, INPUTS], x.ctypes.data)
        binding.bind_output("y", "cpu", 0, np.float32, [1, UNITS], y.ctypes.data)
        for name, old, new in zip("hc", states[k], states[1 - k], strict=True):
            binding.bind_input(f"{name}0", "cpu", 0, np.float32, list(_STATE), old.ctypes.data)
            binding.bind_output(f"{name}n0", "cpu", 0, np.float32, list(_STATE), new.ctypes.data)
        bindings.append(binding)
    run, turn = session.run_with_iobinding, [0]

    def call(row: Rows) -> Any:
        x[0] = row[0]
        k = turn[0]
        turn[0] = 1 - k
        run(bindings[k])
        return y

    def reset() -> None:
        turn[0] = 0
        for state in states[0]:
            state[:] = 0

    return call, reset


def openvino(data: bytes) -> Step:
    """Inputs in shared memory; the new state is copied into them after each step."""
    import openvino as ov

    core = ov.Core()
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(io.BytesIO(data)), "CPU", hints).create_infer_request()
    x, state = np.zeros((1, INPUTS), np.float32), _zeros()
    for name, memory in zip(("x", "h0", "c0"), (x, *state), strict=True):
        request.set_tensor(name, ov.Tensor(memory, shared_memory=True))
    y, h, c = (request.get_tensor(name).data for name in ("y", "hn0", "cn0"))

    def call(row: Rows) -> Any:
        x[0] = row[0]
        request.infer()
        state[0][:] = h
        state[1][:] = c
        return y

    def reset() -> None:
        for memory in state:
            memory[:] = 0

    return call, reset


def torchscript(data: bytes) -> Step:
    """torch's LSTM cell, traced, frozen, optimised for inference. ONNX has the gates in the order i o f c."""
    import onnx
    import torch
    from onnx import numpy_helper

    torch.set_num_threads(1)
    tensors = onnx.load_from_string(data).graph.initializer
    w = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in tensors}

    def reordered(name: str, half: slice = slice(None)) -> Any:
        i, o, f, c = w[name][0][half].chunk(4)
        return torch.cat([i, f, c, o]).contiguous()

    cell = torch.nn.LSTMCell(INPUTS, UNITS)
    cell.weight_ih.data, cell.weight_hh.data = reordered("w0"), reordered("u0")
    cell.bias_ih.data = reordered("b0", slice(0, 4 * UNITS))
    cell.bias_hh.data = reordered("b0", slice(4 * UNITS, None))
    x = np.zeros((1, INPUTS), np.float32)
    shared, zero = torch.from_numpy(x), torch.zeros(1, UNITS)
    state = [zero, zero]

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell

        def forward(self, x: Any, h: Any, c: Any) -> Any:
            return self.cell(x, (h, c))

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # torch calls its own torch.jit deprecated
        module = torch.jit.optimize_for_inference(
            torch.jit.freeze(torch.jit.trace(Wrapped().eval(), (shared, zero, zero)))
        )
        for _ in range(10):
            module(shared, zero, zero)

    def call(row: Rows) -> Any:
        x[0] = row[0]
        with torch.inference_mode():
            state[0], state[1] = module(shared, state[0], state[1])
            return state[0].numpy()

    def reset() -> None:
        state[:] = [zero, zero]

    return call, reset


def lstm() -> tuple[list[Arm], Missing]:
    """Ours, ONNX Runtime three ways, OpenVINO, TorchScript."""
    data, carry = plan_models.lstm(INPUTS, UNITS), plan_models.states()
    plan = compile_model(data, "y", carry=carry).plan.kernel()
    through = OrtModel(data, output="y", carry=carry).kernel(binding=False)
    arms = [kernel_arm("ours, fused plan in C", plan), kernel_arm("ONNX Runtime, C Run", through)]
    missing: Missing = {}
    for name, make, idle in (
        ("ours, kernel.sequence from Python", lambda: ours(plan), "nothing"),
        ("ONNX Runtime, Python IOBinding", lambda: ort_binding(data), "a copy of the row"),
        ("ONNX Runtime, Python run", lambda: ort_run(data), "nothing"),
        ("OpenVINO", lambda: openvino(data), "a copy of the row"),
        ("TorchScript", lambda: torchscript(data), "a copy of the row"),
    ):
        attempt(arms, missing, name, lambda name=name, make=make, idle=idle: _arm(name, make(), idle))
    return [*arms, *idle_arms(INPUTS)], missing


def _arm(name: str, step: Step, idle: str) -> Arm:
    return python_arm(name, step[0], INPUTS, idle, step[1])
