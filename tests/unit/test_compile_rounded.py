"""Trees read what ONNX Runtime has to the last bit, or they are not planned: at a threshold a last bit is a decision."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from plans import ISAS, f, forest, graph, node

from alpha._core.ort import OrtModel
from alpha.models import judge
from alpha.models.compile import Unsupported, compile_model

Array = Any
ROW = {"c": f(1, 6) + 3, "d": f(1, 6, seed=1) + 3}
MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT"]


def behind(nodes: list[Any], weights: dict[str, Any] | None = None, shape: Any = ("N", 6), seed: int = 0) -> bytes:
    """Trees that read t, which these nodes make of x."""
    data = onnx.ModelProto.FromString(graph(nodes, weights, shape))
    trees = onnx.ModelProto.FromString(forest(MODES[seed % 4], seed=seed, classifier=True, targets=3, spread="all"))
    trees.graph.node[0].input[0] = "t"
    data.graph.node.extend(trees.graph.node)
    return bytes(data.SerializeToString())


def thresholds(data: bytes) -> list[tuple[int, float]]:
    attributes = {
        a.name: helper.get_attribute_value(a) for a in onnx.ModelProto.FromString(data).graph.node[-1].attribute
    }
    kept = zip(attributes["nodes_featureids"], attributes["nodes_values"], attributes["nodes_modes"], strict=True)
    return [(i, t) for i, t, mode in kept if mode != b"LEAF"]


def neighbours(values: Array, reach: int = 3) -> Array:
    """Each value and the floats on either side."""
    found = [values.astype(np.float32)]
    for _ in range(reach):
        found.append(np.nextafter(found[-1], np.float32(np.inf)))
    found.append(np.nextafter(found[0], np.float32(-np.inf)))
    for _ in range(reach - 1):
        found.append(np.nextafter(found[-1], np.float32(-np.inf)))
    return np.concatenate(found)


def same_bits(data: bytes, x: Array) -> None:
    expected = OrtModel(data, output="y").kernel().run(x)
    for isa in ISAS:
        got = compile_model(data, "y", isa=isa).plan.kernel().run(x)
        assert got.tobytes() == expected.tobytes(), f"{isa}: {(got != expected).any(axis=1).sum()} of {len(x)} rows"


SCALER = node("Scaler", "x", "t", "ai.onnx.ml", offset=f(6).tolist(), scale=f(6, seed=1).tolist())
ROUNDED = {
    "product": ([node("MatMul", "x,w", "t")], {"w": f(6, 6)}),
    "gemm": ([node("Gemm", "x,w", "t")], {"w": f(6, 6)}),
    "product of a scaled row": (
        [node("Sub", "x,c", "s"), node("MatMul", "s,w", "t")],
        {"w": f(6, 6), **ROW},
    ),
    "linear": ([node("LinearRegressor", "x", "t", "ai.onnx.ml", coefficients=f(36).tolist(), targets=6)], {}),
    "tanh": ([node("Tanh", "x", "t")], {}),
    "copy of an activation": ([node("Sigmoid", "x", "s"), node("Flatten", "s", "t")], {}),
    "softmax": ([node("Softmax", "x", "t")], {}),
    "norm": ([node("Normalizer", "x", "t", "ai.onnx.ml", norm="L2")], {}),
    "layer norm": ([node("LayerNormalization", "x,c", "t")], {"c": f(6)}),
    "mean": ([node("ReduceMean", "x,a", "m"), node("Sub", "x,m", "t")], {"a": np.array([1])}),
    "one of several": ([node("Exp", "x", "e"), node("Concat", "x,e", "t", axis=1)], {}),
    "convolution": (
        [node("Reshape", "x,to", "r"), node("Conv", "r,w", "v"), node("Flatten", "v", "t")],
        {"to": np.array([1, 1, 6]), "w": f(6, 1, 6)},
    ),
    "sum of products": ([node("Mul", "x,c", "p"), node("Add", "p,d", "t")], ROW),
    "product of a quotient": ([node("Div", "c,x", "q"), node("Mul", "q,d", "t")], ROW),
    "power": ([node("Pow", "x,three", "t")], {"three": np.float32(3)}),
}


@pytest.mark.parametrize("case", ROUNDED)
def test_trees_behind_a_rounded_value_are_left_to_onnx_runtime(case: str) -> None:
    data = behind(*ROUNDED[case])
    OrtModel(data, output="y").kernel().run(f(3, 6))  # a graph that is otherwise in order
    with pytest.raises(Unsupported, match=r"TreeEnsembleClassifier .*trees that read a rounded value"):
        compile_model(data, "y")


def test_trees_behind_a_carried_state_are_left_to_onnx_runtime() -> None:
    data = onnx.ModelProto.FromString(behind([node("Add", "x,h", "t"), node("Identity", "t", "g")]))
    state = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 6]) for name in "hg"]
    data.graph.input.append(state[0])
    data.graph.output.append(state[1])
    with pytest.raises(Unsupported, match="trees that read a rounded value"):
        compile_model(data.SerializeToString(), "y", carry=[("h", "g")])


EXACT = {
    "scaler": ([SCALER], {}),
    "centred and scaled": ([node("Sub", "x,c", "s"), node("Mul", "s,d", "t")], ROW),
    "centred and divided": ([node("Sub", "x,c", "s"), node("Div", "s,d", "t")], ROW),
    "factor": ([node("Mul", "x,c", "t")], ROW),
    "term": ([node("Add", "c,x", "t")], ROW),
    "quotient": ([node("Div", "c,x", "t")], ROW),
    "limits": (
        [node("Clip", "x,low,high", "s"), node("Sub", "s,c", "t")],
        ROW | {"low": np.float32(-1), "high": np.float32(1)},
    ),
    "larger": ([node("Max", "x,c", "s"), node("Min", "s,d", "u"), node("Relu", "u", "t")], ROW),
    "two features": (
        [node("Split", "x,n", "a,b", axis=1), node("Sub", "a,b", "s"), node("Concat", "s,x", "t", axis=1)],
        {"n": np.array([3, 3])},
    ),
    "size": ([node("Abs", "x", "s"), node("Neg", "s", "t")], {}),
    "cast": ([node("Cast", "x", "s", to=1), node("Dropout", "s", "t")], {}),
}


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("case", EXACT)
def test_trees_behind_single_operations_are_planned_bit_for_bit(case: str, seed: int) -> None:
    """At every threshold: x is put where the operations, undone in float64, land on it, and the floats around."""
    nodes, weights = EXACT[case]
    data = behind(nodes, weights, seed=seed)
    a = {x.name: np.array(helper.get_attribute_value(x)) for x in nodes[0].attribute}
    c, d = (ROW[k].astype(np.float64)[0] for k in "cd")
    undone = {
        "scaler": lambda i, t: t / a["scale"][i] + a["offset"][i],
        "centred and scaled": lambda i, t: t / d[i] + c[i],
        "centred and divided": lambda i, t: t * d[i] + c[i],
        "factor": lambda i, t: t / c[i],
        "term": lambda i, t: t - c[i],
        "quotient": lambda i, t: c[i] / t if t else 1e30,
        "limits": lambda i, t: t + c[i],
        "size": lambda i, t: -t,
    }.get(case, lambda i, t: t)
    rows = [f(4000, 6, seed=seed)]
    for i, t in thresholds(data):
        at = neighbours(np.array([undone(i, t)]))
        more = f(len(at), 6, seed=i)
        more[:, i] = at
        rows.append(more)
    same_bits(data, np.concatenate(rows))


@given(st.integers(0, 3), st.integers(0, 10**6))
def test_a_scaler_in_front_of_trees_rounds_as_onnx_runtime_does(forest_seed: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    offset, scale = (rng.standard_normal((2, 6)) * 10.0 ** rng.integers(-4, 5, (2, 6))).astype(np.float32)
    scaler = node("Scaler", "x", "t", "ai.onnx.ml", offset=offset.tolist(), scale=scale.tolist())
    data = behind([scaler], seed=forest_seed)
    rows = []
    for i, t in thresholds(data):
        at = neighbours(np.array([np.float64(t) / scale[i] + offset[i]]))
        x = ((rng.standard_normal((len(at), 6)) / scale) + offset).astype(np.float32)
        x[:, i] = at
        rows.append(x)
    same_bits(data, np.concatenate(rows))


def test_thresholds_on_a_choice_of_features_are_tried() -> None:
    """The judge's rows put each threshold on the input that the trees read, wherever it stands there."""
    data = behind([node("Gather", "x,at", "t", axis=1)], {"at": np.array([8, 1, 6, 3, 0, 5])}, ("N", 9))
    compiled = compile_model(data, "y")
    assert compiled.exact and {i for i, _ in compiled.ties} == {[8, 1, 6, 3, 0, 5][i] for i, _ in thresholds(data)}
    x = judge.hard_rows(compiled, (-5.0, 5.0))
    assert compiled.plan.kernel().run(x).tobytes() == OrtModel(data, output="y").kernel().run(x).tobytes()
    tail = behind(
        [node("Slice", "x,start,end,axis", "t")],
        {"start": np.array([3]), "end": np.array([9]), "axis": np.array([1])},
        ("N", 9),
    )
    assert {i for i, _ in compile_model(tail, "y").ties} == {i + 3 for i, _ in thresholds(tail)}


def test_trees_over_several_rows_are_left_to_onnx_runtime() -> None:
    nodes = [node("Reshape", "x,to", "t")]
    with pytest.raises(Unsupported, match=r"input \(2, 6\): one row is planned"):
        compile_model(behind(nodes, {"to": np.array([2, 6])}, ("N", 12)), "y")
