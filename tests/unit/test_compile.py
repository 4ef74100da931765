"""Graphs become plans that score as ONNX Runtime does; what is not covered says so by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from alpha._core.ort import OrtModel
from alpha._core.program import available_isas
from alpha.errors import ModelError
from alpha.models import judge
from alpha.models.compile import Unsupported, compile_model

ISAS = available_isas()


def graph(
    nodes: list[Any], weights: dict[str, Any] | None = None, shape: tuple[Any, ...] = ("N", 6), opset: int = 18
) -> bytes:
    """x of this shape through the nodes to y."""
    info = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "g",
        [info("x", TensorProto.FLOAT, shape)],
        [info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(a), k) for k, a in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(made, opset_imports=opsets, ir_version=10).SerializeToString())


def node(op: str, inputs: str, output: str = "y", domain: str = "", **attributes: Any) -> Any:
    return helper.make_node(op, inputs.split(","), output.split(","), domain=domain, **attributes)


def f(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def reference(data: bytes, x: Any) -> Any:
    """ONNX Runtime's Python module, row by row: any output shape."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return np.stack([session.run(["y"], {"x": row[None]})[0].reshape(-1) for row in x])


def agrees(data: bytes, shape: tuple[int, ...] = (6,), tolerance: float = 1e-6, rows: int = 60) -> tuple[str, ...]:
    x = f(rows, *shape, seed=5)
    expected = reference(data, x)
    for isa in ISAS:
        compiled = compile_model(data, "y", isa=isa)
        got = compiled.plan.kernel().run(x.reshape(rows, -1))
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance, err_msg=isa)
    return compiled.plan.steps_by_name


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


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("targets", [2, 3])
def test_linear_models(transform: str, targets: int) -> None:
    linear = node("LinearClassifier", "x", "l,y", "ai.onnx.ml", coefficients=f(targets * 6).tolist(), intercepts=f(targets).tolist(), classlabels_ints=list(range(targets)), post_transform=transform)  # fmt: skip
    agrees(graph([linear]), tolerance=2e-6)
    regressor = node("LinearRegressor", "x", "y", "ai.onnx.ml", coefficients=f(targets * 6).tolist(), intercepts=f(targets).tolist(), targets=targets)  # fmt: skip
    agrees(graph([regressor]), tolerance=2e-6)


def test_one_score_for_two_classes() -> None:
    linear = node("LinearClassifier", "x", "l,y", "ai.onnx.ml", coefficients=f(6).tolist(), intercepts=[0.25], classlabels_ints=[0, 1])  # fmt: skip
    agrees(graph([linear]), tolerance=3e-6)


@pytest.mark.parametrize(
    ("op", "attributes", "weights"),
    [
        ("Conv", {"pads": [1, 1]}, {"w": f(4, 3, 3)}),
        ("Conv", {"strides": [2], "dilations": [2]}, {"w": f(9, 3, 2), "b": f(9)}),
        ("Conv", {"auto_pad": "SAME_UPPER", "strides": [2]}, {"w": f(4, 3, 4)}),
        ("Conv", {"auto_pad": "SAME_LOWER"}, {"w": f(4, 3, 2)}),
        ("MaxPool", {"kernel_shape": [3], "pads": [1, 1], "strides": [2]}, {}),
        ("AveragePool", {"kernel_shape": [2], "strides": [2]}, {}),
        ("GlobalAveragePool", {}, {}),
        ("GlobalMaxPool", {}, {}),
    ],
)
def test_convolutions(op: str, attributes: dict[str, Any], weights: dict[str, Any]) -> None:
    names = ",".join(["x", *weights])
    agrees(graph([node(op, names, "c", **attributes), node("Relu", "c")], weights, (1, 3, 9)), (3, 9), 3e-6)


def test_convolution_of_two_axes() -> None:
    nodes = [
        node("Reshape", "x,to", "a"),
        node("Conv", "a,w", "b", pads=[1, 0, 1, 0], strides=[1, 2]),
        node("Tanh", "b"),
    ]
    agrees(graph(nodes, {"to": np.array([1, 2, 5, 6]), "w": f(3, 2, 3, 2)}, ("N", 60)), (60,), 3e-6)


# -- recurrent layers, against ONNX Runtime


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("units", [5, 16, 24])
def test_windows(kind: str, units: int) -> None:
    gates = 4 if kind == "LSTM" else 3
    w = {
        "w": f(1, gates * units, 3) * np.float32(0.5),
        "r": f(1, gates * units, units) * np.float32(0.3),
        "b": f(1, 2 * gates * units),
    }
    more = {"linear_before_reset": 1} if kind == "GRU" else {}
    nodes = [node("Transpose", "x", "t", perm=[1, 0, 2]), node(kind, "t,w,r,b", "a,y", hidden_size=units, **more)]
    assert agrees(graph(nodes, w, (1, 7, 3)), (7, 3), 2e-6)[-1] == kind
    nodes[1] = node(kind, "t,w,r,b", "y", hidden_size=units, **more)
    agrees(graph(nodes, w, (1, 7, 3)), (7, 3), 2e-6)


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


# -- trees


def forest(mode: Any, seed: int = 0, classifier: bool = False, trees: int = 13, depth: int = 4, **more: Any) -> bytes:
    """Random trees of uneven depth; ``mode``: one, or None for all of them mixed. Thresholds on a coarse grid."""
    rng = np.random.default_rng(seed)
    modes = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
    rows: list[tuple[Any, ...]] = []
    leaves: list[tuple[int, int]] = []
    for t in range(trees):
        todo, count = [(0, 0)], 1
        while todo:
            i, level = todo.pop()
            if level < depth and (level == 0 or rng.random() < 0.8):
                rows.append((t, i, int(rng.integers(6)), float(np.float32(rng.integers(-3, 4) / 2)), mode or rng.choice(modes), count, count + 1, int(rng.random() < 0.5)))  # fmt: skip
                todo += [(count, level + 1), (count + 1, level + 1)]
                count += 2
            else:
                rows.append((t, i, 0, 0.0, "LEAF", 0, 0, 0))
                leaves.append((t, i))
    names = (
        "treeids",
        "nodeids",
        "featureids",
        "values",
        "modes",
        "truenodeids",
        "falsenodeids",
        "missing_value_tracks_true",
    )
    attributes: dict[str, Any] = {f"nodes_{n}": [r[k] for r in rows] for k, n in enumerate(names)}
    kind = "class" if classifier else "target"
    targets = more.pop("targets", 1)
    spread = more.pop("spread", "each")  # which outputs a leaf adds to
    positive = more.pop("positive", False)
    holders = [(t, i, k) for t, i in leaves for k in (range(targets) if spread == "all" else [t % targets if spread == "tree" else int(rng.integers(targets)) if spread == "each" else 0])]  # fmt: skip
    weights = rng.standard_normal(len(holders))
    attributes |= {
        f"{kind}_treeids": [h[0] for h in holders],
        f"{kind}_nodeids": [h[1] for h in holders],
        f"{kind}_ids": [h[2] for h in holders],
        f"{kind}_weights": (np.abs(weights) / trees if positive else weights).astype(np.float32).tolist(),
    }
    if classifier:
        attributes["classlabels_int64s"] = list(range(more.pop("classes", targets)))
        op, outputs = "TreeEnsembleClassifier", "label,y"
    else:
        attributes["n_targets"] = targets
        op, outputs = "TreeEnsembleRegressor", "y"
    return graph([node(op, "x", outputs, "ai.onnx.ml", **attributes, **more)])


def tied_rows(data: bytes, isa: str) -> Any:
    compiled = compile_model(data, "y", isa=isa)
    assert compiled.exact and compiled.ties
    grid = np.random.default_rng(1).integers(-4, 5, (400, 6)).astype(np.float32) / 2
    rows = np.concatenate([grid, judge.hard_rows(compiled, (-5.0, 5.0))])
    return compiled, rows


def bit_equal(data: bytes, *, missing: bool = False) -> None:
    for isa in ISAS:
        compiled, x = tied_rows(data, isa)
        if missing:
            x = np.where(np.random.default_rng(2).random(x.shape) < 0.2, np.float32(np.nan), x)
        got = compiled.plan.kernel().run(x)
        expected = OrtModel(data, output="y").kernel().run(x)
        assert got.tobytes() == expected.tobytes(), f"{isa}: {(got != expected).any(axis=1).sum()} of {len(x)} rows"


@pytest.mark.parametrize(
    "mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", None]
)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("depth", [1, 4, 12])
def test_trees_of_every_mode(mode: str | None, missing: bool, depth: int) -> None:
    bit_equal(forest(mode, depth=depth, trees=13 if depth < 12 else 5), missing=missing)


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("base", [None, 0.7])
@pytest.mark.parametrize("trees", [1, 8, 13])
def test_how_trees_are_put_together(aggregate: str, base: float | None, trees: int) -> None:
    more = {} if base is None else {"base_values": [base]}
    bit_equal(forest("BRANCH_LT", trees=trees, aggregate_function=aggregate, **more))


@pytest.mark.parametrize("spread", ["each", "tree", "all"])
@pytest.mark.parametrize("post", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("base", [False, True])
@pytest.mark.parametrize("classifier", [False, True])
def test_several_outputs(spread: str, post: str, base: bool, classifier: bool) -> None:
    more = {"base_values": [0.5, -0.25, 0.125]} if base else {}
    data = forest("BRANCH_LEQ", targets=3, spread=spread, post_transform=post, classifier=classifier, **more)
    if spread == "each" and base and not classifier:
        with pytest.raises(Unsupported, match="base values and leaves that leave outputs out"):
            compile_model(data, "y")
        return
    bit_equal(data)


@pytest.mark.parametrize("post", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("base", [0, 1, 2])
@pytest.mark.parametrize("spread", ["one", "all"])
@pytest.mark.parametrize("positive", [False, True])
def test_classifiers_of_two_are_as_onnx_runtime_has_them_or_not_covered(
    post: str, base: int, spread: str, positive: bool
) -> None:
    more = {"base_values": [0.25, -0.5][:base]} if base else {}
    data = forest("BRANCH_LEQ", classifier=True, targets=1 if spread == "one" else 2, classes=2, spread=spread, positive=positive, post_transform=post, **more)  # fmt: skip
    try:
        compile_model(data, "y")
    except Unsupported:
        assert (spread == "all" and base == 1) or (spread == "one" and base == 2)
        return
    bit_equal(data)


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
        (forest("BRANCH_LEQ", post_transform="PROBIT", targets=3), "PROBIT"),
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
