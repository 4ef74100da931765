"""Graphs become plans that score as ONNX Runtime does; what is not covered says so by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper
from plans import agrees, f, forest, graph, node

from alpha.errors import ModelError
from alpha.models.compile import Unsupported, compile_model

UNARY = ["Relu", "Tanh", "Sigmoid", "Exp", "Abs", "Neg", "Erf", "Softplus", "Identity"]


@pytest.mark.parametrize("op", UNARY)
def test_activations(op: str) -> None:
    agrees(graph([node(op, "x")]))
    assert len(agrees(graph([node("MatMul", "x,w", "s"), node(op, "s")], {"w": f(6, 11)}))) == 1


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("LeakyRelu", {"alpha": 0.3}),
        ("Elu", {"alpha": 0.7}),
        ("Softmax", {"axis": -1}),
        ("LogSoftmax", {"axis": 1}),
        ("Dropout", {}),
        ("Flatten", {}),
    ],
)
def test_operators_with_attributes(op: str, attributes: dict[str, Any]) -> None:
    agrees(graph([node(op, "x", **attributes)]))


def test_clip_square_root_and_a_constant_of_the_graph() -> None:
    agrees(graph([node("Clip", "x", min=-0.5, max=0.25)], opset=10))
    ends = {"low": np.float32(-0.5), "high": np.float32(0.25)}
    agrees(graph([node("Clip", "x,low,high")], ends))
    agrees(graph([node("Clip", "x,,high")], ends))
    nodes = [
        node("Constant", "", "c", value=numpy_helper.from_array(f(6))),
        node("Abs", "x", "a"),
        node("Sqrt", "a", "s"),
    ]
    agrees(graph([*nodes, node("Add", "s,c")]))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate: str) -> None:
    agrees(graph([node("Gelu", "x", approximate=approximate)], opset=20))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min"])
@pytest.mark.parametrize("shape", [(6,), (1, 6), (1,), (1, 1), ()])
@pytest.mark.parametrize("first", [True, False])
def test_arithmetic_with_constants(op: str, shape: tuple[int, ...], first: bool) -> None:
    order = "c,x" if first else "x,c"
    agrees(graph([node(op, order)], {"c": f(*shape, seed=2) + 3}), tolerance=0 if op != "Div" or not first else 1e-6)
    if op == "Div" and first:
        return  # near a product of 0 its last bit is everything
    # behind a product, where it becomes part of it
    order = "c,s" if first else "s,c"
    weights = {"c": f(*shape, seed=2) + 3, "w": f(6, 6)}
    agrees(graph([node("MatMul", "x,w", "s"), node(op, order)], weights), tolerance=2e-6)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min"])
def test_arithmetic_of_values(op: str) -> None:
    w = {"w": f(6, 5), "v": f(6, 5, seed=1), "c": f(5) + 30}
    nodes = [node("MatMul", "x,w", "a"), node("MatMul", "x,v", "b0"), node("Add", "b0,c", "b"), node(op, "a,b")]
    agrees(graph(nodes, w), tolerance=4e-6)
    by_sum = [node("MatMul", "x,w", "a"), node("ReduceSum", "a,axes", "s", keepdims=1), node(op, "a,s")]
    agrees(graph(by_sum, w | {"axes": np.array([1])}), tolerance=2e-3 if op == "Div" else 4e-6)


def test_two_products_and_their_sum_are_two_steps() -> None:
    nodes = [node("MatMul", "x,w", "a"), node("MatMul", "x,v", "b"), node("Add", "a,b", "s"), node("Tanh", "s")]
    assert agrees(graph(nodes, {"w": f(6, 40), "v": f(6, 40, seed=1)})) == ("DENSE", "DENSE")


def test_a_value_that_is_read_twice_is_not_folded_away() -> None:
    nodes = [node("MatMul", "x,w", "a"), node("Relu", "a", "r"), node("Add", "a,r")]
    agrees(graph(nodes, {"w": f(6, 5)}))
    nodes = [node("MatMul", "x,w", "a"), node("Add", "a,c", "r"), node("Mul", "a,r")]
    agrees(graph(nodes, {"w": f(6, 5), "c": f(5)}), tolerance=3e-6)


def test_a_view_of_a_value_that_is_read_twice_is_not_folded_away() -> None:
    nodes = [
        node("MatMul", "x,w", "a"),
        node("Reshape", "a,to", "one"),
        node("Reshape", "a,to", "two"),
        node("Relu", "one", "r"),
        node("Add", "two,c", "s"),
        node("Sub", "r,s"),
    ]
    agrees(graph(nodes, {"w": f(6, 5), "c": f(5), "to": np.array([1, 5])}), tolerance=2e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 12])
def test_rows_that_end_inside_a_vector_leave_their_neighbours_alone(n: int) -> None:
    nodes = [node("ReduceSum", "x,axes", "s", keepdims=1)]
    for i, op in enumerate(("Sub", "Mul", "Add", "Max", "Min")):
        nodes.append(node(op, "x,s", f"v{i}"))
    nodes += [node("Softmax", "v0", "v5", axis=2), node("Concat", "v4,v3,v2,v1,v0,v5", "y", axis=0)]
    agrees(graph(nodes, {"axes": np.array([2])}, (1, 4, n)), (4, n), 4e-6)


@pytest.mark.parametrize("beta", [1.0, 0.5])
@pytest.mark.parametrize("trans", [0, 1])
def test_gemm(beta: float, trans: int) -> None:
    w = {"w": f(4, 6) if trans else f(6, 4), "b": f(4)}
    assert agrees(graph([node("Gemm", "x,w,b", alpha=0.25, beta=beta, transB=trans)], w)) == ("DENSE",)


def test_shapes_cost_nothing() -> None:
    nodes = [
        node("Reshape", "x,to", "a"),
        node("Transpose", "a", "b", perm=[0, 2, 1]),
        node("Slice", "b,starts,ends,axes", "c"),
        node("Unsqueeze", "c,at", "d"),
        node("Squeeze", "d,at", "e"),
        node("Gather", "e,pick", "g", axis=2),
        node("Concat", "g,g", "h", axis=1),
        node("Flatten", "h", "i"),
        node("Cast", "i", "j", to=1),
        node("Split", "j,parts", "k,l", axis=1),
        node("Concat", "l,k", "m", axis=1),
        node("MatMul", "m,w", "y"),
    ]
    weights = {
        "to": np.array([0, 2, -1]),
        "starts": np.array([1]),
        "ends": np.array([99]),
        "axes": np.array([1]),
        "at": np.array([0]),
        "pick": np.array([1, 0, 1]),
        "parts": np.array([5, 7]),
        "w": f(12, 3),
    }
    assert agrees(graph(nodes, weights)) == ("GATHER", "DENSE")


def test_padding_expanding_and_pooling() -> None:
    nodes = [
        node("Pad", "x,pads,value", "a"),
        node("Expand", "a,to", "b"),
        node("ReduceMax", "b,axes", "y", keepdims=0),
    ]
    weights = {
        "pads": np.array([0, 1, 0, 2]),
        "value": np.float32(-7),
        "to": np.array([3, 1, 1]),
        "axes": np.array([0, 1]),
    }
    agrees(graph(nodes, weights))
    nodes = [node("Pad", "x,pads,value", "a"), node("Mul", "a,a", "y")]
    agrees(graph(nodes, weights))


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2"])
@pytest.mark.parametrize("axes", [[0], [1], [2], [1, 2], [0, 1, 2]])
@pytest.mark.parametrize("keep", [0, 1])
def test_reductions(op: str, axes: list[int], keep: int) -> None:
    agrees(graph([node(op, "x,axes", keepdims=keep)], {"axes": np.array(axes)}, (1, 3, 5)), (3, 5))


@pytest.mark.parametrize("axis", [0, 1, 2, -2])
@pytest.mark.parametrize("opset", [11, 18])
def test_softmax_over_other_axes(axis: int, opset: int) -> None:
    agrees(graph([node("Softmax", "x", axis=axis)], None, (1, 3, 5), opset), (3, 5))


def test_norms() -> None:
    agrees(graph([node("LayerNormalization", "x,g,b", epsilon=1e-3)], {"g": f(6), "b": f(6)}), tolerance=3e-6)
    n = {"g": f(6), "b": f(6), "m": f(6), "v": f(6) ** 2 + np.float32(0.1)}
    agrees(graph([node("BatchNormalization", "x,g,b,m,v")], n), tolerance=3e-6)
    folded = [node("MatMul", "x,w", "s"), node("BatchNormalization", "s,g,b,m,v")]
    assert agrees(graph(folded, n | {"w": f(6, 6)}), tolerance=5e-6) == ("DENSE",)


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_scaler_and_normalizer(norm: str) -> None:
    scaled = node("Scaler", "x", "s", "ai.onnx.ml", offset=f(6).tolist(), scale=f(6, seed=1).tolist())
    steps = agrees(
        graph([scaled, node("Normalizer", "s", "y", "ai.onnx.ml", norm=norm)]),
        tolerance=1e-5 if norm == "MAX" else 1e-6,
    )
    assert steps == ("SUB", "MUL", "NORMALIZE")


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -2])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm_over_several_axes(axis: int, bias: bool) -> None:
    shape = (1, 3, 4, 5)[axis:]
    weights = {"g": f(*shape), "b": f(*shape)} if bias else {"g": f(*shape)}
    names = ",".join(["r", *weights])
    nodes = [node("Reshape", "x,to", "r"), node("LayerNormalization", names, axis=axis, epsilon=1e-4)]
    agrees(graph(nodes, weights | {"to": np.array([1, 3, 4, 5])}, ("N", 60)), (60,), 3e-6)


def test_layer_norm_of_a_constant_row_and_behind_a_product() -> None:
    nodes = [
        node("MatMul", "x,w", "s"),
        node("LayerNormalization", "s,g,b"),
    ]
    agrees(graph(nodes, {"w": f(6, 11), "g": f(11), "b": f(11)}), tolerance=5e-6)
    nodes = [node("MatMul", "x,w", "s"), node("LayerNormalization", "s,g,b")]
    agrees(graph(nodes, {"w": np.zeros((6, 11), np.float32), "g": f(11), "b": f(11)}))


def test_batch_norm_folds_into_a_product_with_bias_and_behind_its_activation_it_does_not() -> None:
    n = {"w": f(6, 5), "c": f(5), "g": f(5), "b": f(5), "m": f(5), "v": f(5) ** 2 + np.float32(0.1)}
    folded = [node("Gemm", "x,w,c", "s"), node("BatchNormalization", "s,g,b,m,v", "n", epsilon=1e-3), node("Elu", "n", alpha=0.3)]  # fmt: skip
    assert agrees(graph(folded, n), tolerance=5e-6) == ("DENSE",)
    behind = [node("Gemm", "x,w,c", "s"), node("Relu", "s", "r"), node("BatchNormalization", "r,g,b,m,v")]
    assert agrees(graph(behind, n), tolerance=5e-6) == ("DENSE", "MUL", "ADD")


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_behind_a_product(approximate: str) -> None:
    nodes = [node("MatMul", "x,w", "s"), node("Gelu", "s", approximate=approximate)]
    assert agrees(graph(nodes, {"w": f(6, 11)}, opset=20), tolerance=2e-6) == ("DENSE",)


@pytest.mark.parametrize("order", ["s,g", "g,s"])
def test_a_value_times_its_sigmoid_is_one_activation(order: str) -> None:
    """SiLU, as exporters write it."""
    nodes = [node("MatMul", "x,w", "s"), node("Sigmoid", "s", "g"), node("Mul", order)]
    assert agrees(graph(nodes, {"w": f(6, 11)}), tolerance=2e-6) == ("DENSE", "ACT")
    turned = [node("Reshape", "x,to", "r"), node("Transpose", "r", "s"), node("Sigmoid", "s", "g"), node("Mul", order)]
    assert agrees(graph(turned, {"to": np.array([2, 3])}), tolerance=2e-6)[0] == "ACT"


def test_a_sigmoid_of_something_else_or_that_is_read_again_stays_one() -> None:
    w = {"w": f(6, 5), "v": f(6, 5, seed=1)}
    two = [node("MatMul", "x,w", "s"), node("MatMul", "x,v", "t"), node("Sigmoid", "t", "g"), node("Mul", "s,g")]
    assert "MUL" in agrees(graph(two, w), tolerance=2e-6)
    again = [node("MatMul", "x,w", "s"), node("Sigmoid", "s", "g"), node("Mul", "s,g", "m"), node("Add", "m,g")]
    assert "MUL" in agrees(graph(again, w), tolerance=2e-6)
    turned = [node("Reshape", "x,to", "r"), node("Sigmoid", "r", "g"), node("Transpose", "g", "t"), node("Transpose", "r", "u"), node("Reshape", "u,back", "q"), node("Mul", "q,g")]  # fmt: skip
    agrees(graph(turned, {"to": np.array([2, 3]), "back": np.array([2, 3])}), tolerance=2e-6)


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("targets", [2, 3])
def test_linear_models(transform: str, targets: int) -> None:
    linear = node("LinearClassifier", "x", "l,y", "ai.onnx.ml", coefficients=f(targets * 6).tolist(), intercepts=f(targets).tolist(), classlabels_ints=list(range(targets)), post_transform=transform)  # fmt: skip
    agrees(graph([linear]), tolerance=2e-6)
    regressor = node("LinearRegressor", "x", "y", "ai.onnx.ml", coefficients=f(targets * 6).tolist(), intercepts=f(targets).tolist(), targets=targets, post_transform=transform)  # fmt: skip
    agrees(graph([regressor]), tolerance=2e-6)


@pytest.mark.parametrize("targets", [1, 2])
def test_probit_of_linear_models(targets: int) -> None:
    small = {"coefficients": (f(targets * 6) * 0.02).tolist(), "post_transform": "PROBIT"}
    models = [node("LinearRegressor", "x", "y", "ai.onnx.ml", intercepts=[0.3] * targets, targets=targets, **small)]
    if targets == 2:
        models.append(node("LinearClassifier", "x", "l,y", "ai.onnx.ml", intercepts=[0.3, 0.7], classlabels_ints=[0, 1], **small))  # fmt: skip
    for linear in models:
        agrees(graph([linear]), tolerance=4e-6)


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
def test_one_score_for_two_classes(transform: str) -> None:
    linear = node("LinearClassifier", "x", "l,y", "ai.onnx.ml", coefficients=f(6).tolist(), intercepts=[0.25], classlabels_ints=[0, 1], post_transform=transform)  # fmt: skip
    agrees(graph([linear]), tolerance=3e-6)


# -- what is not covered


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (graph([node("Sin", "x")]), r"Sin 'y'.*operator Sin is not covered"),
        (graph([node("MatMul", "x,t", "y"), node("Transpose", "x", "t")][::-1]), "both operands are made at run time"),
        (graph([node("Cast", "x", "i", to=7), node("Cast", "i", "y", to=1)]), "cast to int64"),
        (graph([node("Relu", "x")], None, ("N", "F")), r"shape \['N', 'F'\]"),
        (graph([node("Relu", "x")], None, (4, 6)), r"shape \[4, 6\]"),
        (graph([node("Identity", "c")], {"c": f(1, 3)}), "does not depend on the input"),
        (forest("BRANCH_LEQ", post_transform="LOGISTIC"), "post_transform LOGISTIC of one target"),
    ],
)
def test_what_is_not_covered_says_so(data: bytes, words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        compile_model(data, "y")


def test_wrong_questions() -> None:
    data = graph([node("Relu", "x")])
    with pytest.raises(ModelError, match="no output 'q'"):
        compile_model(data, "q")
    with pytest.raises(ModelError, match="no input 'h'"):
        compile_model(data, "y", carry=[("h", "y")])
    with pytest.raises(ModelError, match="precision 'f16'"):
        compile_model(data, "y", precision="f16")


def test_kernels_of_one_plan_share_nothing_that_changes() -> None:
    import threading

    compiled = compile_model(graph([node("MatMul", "x,w", "s"), node("Softmax", "s")], {"w": f(6, 5)}), "y")
    x = f(4000, 6)
    expected = compiled.plan.kernel().run(x).tobytes()
    results: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: results.append(compiled.plan.kernel().run(x).tobytes())) for _ in range(3)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [expected] * 3


def test_half_weights_are_near() -> None:
    data = graph([node("MatMul", "x,w", "s"), node("Softmax", "s")], {"w": f(6, 5)})
    x = f(300, 6)
    whole, half = (compile_model(data, "y", precision=p).plan.kernel().run(x) for p in ("float32", "bf16"))
    assert 1e-5 < np.abs(whole - half).max() < 2e-2
