"""LSTM and GRU layers as steps with carried state and over windows, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from plans import ISAS, agrees, f, graph, node

from alpha._core.ort import OrtModel
from alpha.models.compile import Unsupported, compile_model

FORMS = [("LSTM", {}), ("GRU", {"linear_before_reset": 1}), ("GRU", {"linear_before_reset": 0})]
WAYS = {"forward": 1, "reverse": 1, "bidirectional": 2}
forms = pytest.mark.parametrize(("kind", "more"), FORMS, ids=["LSTM", "GRU", "GRU_RESET"])


def weights(kind: str, ways: int, units: int, n: int) -> dict[str, Any]:
    gates = 4 if kind == "LSTM" else 3
    return {
        "w": f(ways, gates * units, n) * np.float32(0.5),
        "r": f(ways, gates * units, units) * np.float32(0.3),
        "b": f(ways, 2 * gates * units),
    }


@forms
@pytest.mark.parametrize("units", [5, 16, 24])
@pytest.mark.parametrize("direction", WAYS)
def test_windows(kind: str, more: dict[str, Any], units: int, direction: str) -> None:
    w = weights(kind, WAYS[direction], units, 3)
    attributes = {"hidden_size": units, "direction": direction, **more}
    nodes = [node("Transpose", "x", "t", perm=[1, 0, 2]), node(kind, "t,w,r,b", "a,y", **attributes)]
    op = "GRU_RESET" if more.get("linear_before_reset") == 0 else kind
    assert op in agrees(graph(nodes, w, (1, 7, 3)), (7, 3), 2e-6)
    nodes[1] = node(kind, "t,w,r,b", "y", **attributes)
    agrees(graph(nodes, w, (1, 7, 3)), (7, 3), 2e-6)


@forms
def test_layers_that_read_both_directions(kind: str, more: dict[str, Any]) -> None:
    """As torch exports them: the directions side by side are the features of the next layer."""
    first, second = weights(kind, 2, 6, 3), {k + "2": v for k, v in weights(kind, 2, 6, 12).items()}
    attributes = {"hidden_size": 6, "direction": "bidirectional", **more}
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node(kind, "t,w,r,b,lengths", "a", **attributes),
        node("Transpose", "a", "s", perm=[0, 2, 1, 3]),
        node("Reshape", "s,to", "u"),
        node(kind, "u,w2,r2,b2", "v", **attributes),
        node("Gather", "v,last", "y", axis=0),
    ]
    more_weights = {"to": np.array([0, 0, -1]), "last": np.array(-1), "lengths": np.array([7], np.int32)}
    agrees(graph(nodes, first | second | more_weights, (1, 7, 3)), (7, 3), 2e-6)


def step(kind: str, direction: str, units: int, n: int, more: dict[str, Any]) -> tuple[bytes, list[tuple[str, str]]]:
    """One step with the state of each direction as input and output."""
    ways, states = WAYS[direction], ["h", "c"] if kind == "LSTM" else ["h"]
    info = helper.make_tensor_value_info
    shapes = {"x": [1, n], **{name: [ways, 1, units] for name in states}}
    nodes = [
        node("Unsqueeze", "x,zero", "t"),
        node(kind, ",".join(["t,w,r,b,", *states]), ",".join(["a", *(f"{s}n" for s in states)]), hidden_size=units, direction=direction, **more),
        node("Reshape", "a,flat", "y"),
    ]  # fmt: skip
    constants = weights(kind, ways, units, n) | {"zero": np.array([0]), "flat": np.array([1, -1])}
    made = helper.make_graph(
        nodes,
        "g",
        [info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [info(name, TensorProto.FLOAT, None) for name in ("y", *(f"{s}n" for s in states))],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString(), [(s, f"{s}n") for s in states]


@forms
@pytest.mark.parametrize("direction", WAYS)
@pytest.mark.parametrize("units", [4, 17])
def test_steps_with_state(kind: str, more: dict[str, Any], direction: str, units: int) -> None:
    data, carry = step(kind, direction, units, 5, more)
    x, start = f(80, 5), f(len(carry) * WAYS[direction] * units, seed=3)
    expected, states = OrtModel(data, output="y", carry=carry).kernel().sequence(x, start)
    for isa in ISAS:
        compiled = compile_model(data, "y", carry=carry, isa=isa)
        assert compiled.plan.prepares
        got, mine = compiled.plan.kernel().sequence(x, start)
        np.testing.assert_allclose(got, expected, atol=2e-6)
        np.testing.assert_allclose(mine, states, atol=2e-6)
        prepared, kept = compiled.plan.kernel().sequence(x, start, prepared=True)
        assert prepared.tobytes() == got.tobytes() and kept.tobytes() == mine.tobytes()


@pytest.mark.parametrize(
    ("kind", "more", "words"),
    [
        ("GRU", {"linear_before_reset": 1, "clip": 3.0}, "clip or parameters of activations"),
        ("LSTM", {"input_forget": 1}, "peepholes or coupled gates"),
        ("LSTM", {"activations": ["Relu", "Tanh", "Tanh"]}, "activations other than Sigmoid, Tanh, Tanh"),
        ("GRU", {"direction": "sideways"}, "direction sideways"),
    ],
)
def test_forms_that_are_not_planned_say_so(kind: str, more: dict[str, Any], words: str) -> None:
    nodes = [node("Transpose", "x", "t", perm=[1, 0, 2]), node(kind, "t,w,r,b", "y", hidden_size=5, **more)]
    with pytest.raises(Unsupported, match=words):
        compile_model(graph(nodes, weights(kind, 1, 5, 3), (1, 7, 3)), "y")


def test_a_sequence_that_is_cut_short_is_not_planned() -> None:
    nodes = [node("Transpose", "x", "t", perm=[1, 0, 2]), node("LSTM", "t,w,r,b,lengths", "y", hidden_size=5)]
    cut = weights("LSTM", 1, 5, 3) | {"lengths": np.array([3], np.int32)}
    with pytest.raises(Unsupported, match=r"it reads \[3\] of 7 rows"):
        compile_model(graph(nodes, cut, (1, 7, 3)), "y")


def test_a_step_with_state_against_onnx_runtime() -> None:
    from bench import plan_models

    for layers in (1, 2):
        data, carry = plan_models.lstm(7, 12, layers), plan_models.states(layers)
        compiled = compile_model(data, "y", carry=carry)
        assert compiled.plan.n_carry == 24 * layers and compiled.plan.prepares
        plan, ort = compiled.plan.kernel(), OrtModel(data, output="y", carry=carry).kernel()
        x, start = f(80, 7), f(24 * layers, seed=3)
        (a, sa), (b, sb) = plan.sequence(x, start), ort.sequence(x, start)
        np.testing.assert_allclose(a, b, atol=1e-6)
        np.testing.assert_allclose(sa, sb, atol=1e-6)
        assert plan.sequence(x, start, prepared=True)[0].tobytes() == a.tobytes()
        # halves of a sequence, the state handed over, are the sequence
        first, states = plan.sequence(x[:30], start)
        assert np.concatenate([first, plan.sequence(x[30:], states[-1])[0]]).tobytes() == a.tobytes()
