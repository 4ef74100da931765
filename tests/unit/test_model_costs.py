"""What one row costs over a whole graph: small files that would fill memory are refused, ordinary models are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_models as made
import pytest
from onnx import helper

from alpha.errors import ModelError
from alpha.models.costs import check_costs
from alpha.models.graph import read_graph
from alpha.models.shapes import Given, shapes_of
from alpha.models.structure import every_node
from alpha.models.verify import verify_model

F = 8
NUMBERS = "more than 33,554,432 numbers for one row, all nodes together"
STEPS = "more than 4,294,967,296 multiply-adds for one row, all nodes together"
n = helper.make_node


def graph(
    nodes: list[Any], initial: dict[str, Any] | None = None, shape: tuple[Any, ...] = (1, F), **more: Any
) -> bytes:
    last = nodes[-1].output[-1]
    return made.model(nodes, [made.value("x", *shape)], [made.value(last)], initial, **more)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def floats(*shape: int) -> Any:
    return np.ones(shape, np.float32)


def doubling() -> bytes:
    nodes = [n("Concat", ["x", "x"], ["c0"], axis=0)]
    return graph(nodes + [n("Concat", [f"c{i}"] * 2, [f"c{i + 1}"], axis=0) for i in range(26)])


def products() -> bytes:
    nodes = [n("Expand", ["x", "s"], ["e"]), n("Tile", ["e", "r"], ["e0"])]
    nodes += [n("MatMul", [f"e{i}", "e0"], [f"e{i + 1}"]) for i in range(30)]
    return graph(nodes, {"s": ints(3000, F), "r": ints(1, 375)})


def body(work: list[Any], state: tuple[Any, ...] = (None, F), scanned: str = "") -> Any:
    number, truth = onnx.TensorProto.INT64, onnx.TensorProto.BOOL
    outs = [made.value("go", kind=truth), made.value("t")] + ([made.value(scanned)] if scanned else [])
    ins = [made.value("i", kind=number), made.value("c", kind=truth), made.value("s", *state)]
    return helper.make_graph([n("Identity", ["c"], ["go"]), *work], "body", ins, outs)


def loop(work: list[Any], rounds: int, scanned: str = "", **initial: Any) -> bytes:
    outs = ["y", "all"] if scanned else ["y"]
    return graph(
        [n("Loop", ["rounds", "", "x"], outs, body=body(work, scanned=scanned))],
        {"rounds": np.int64(rounds), **initial},
    )


def windowed(op: str, **more: Any) -> bytes:
    nodes = [n("Unsqueeze", ["x", "a"], ["u"]), n(op, ["u", "w"], ["y"], **more)]
    return graph(nodes, {"a": ints(0), "w": floats(1, 1, 3)})


def scan(steps: int, width: int) -> bytes:
    inner = helper.make_graph(
        [n("Add", ["a", "b"], ["t"]), n("MatMul", ["t", "w"], ["o"])],
        "body",
        [made.value("a", 1, width), made.value("b", 1, width)],
        [made.value("t", 1, width), made.value("o", 1, width)],
    )
    nodes = [
        n("Expand", ["z", "s"], ["e"]),
        n("Scan", ["first", "e"], ["f", "y"], num_scan_inputs=1, body=inner),
    ]
    initial = {"z": floats(1), "s": ints(steps, 1, width), "first": floats(1, width), "w": floats(width, width)}
    return graph(nodes, initial)


COSTLY: dict[str, tuple[Callable[[], bytes], str]] = {
    "sixty constants": (
        lambda: graph([n("ConstantOfShape", ["s"], [f"k{i}"]) for i in range(60)], {"s": ints(1 << 24)}),
        f"node ConstantOfShape 'k2': with it the graph makes {NUMBERS}",
    ),
    "doublings": (doubling, f"node Concat 'c21': with it the graph makes {NUMBERS}"),
    "sixty expansions": (
        lambda: graph([n("Expand", ["x", "s"], [f"e{i}"]) for i in range(60)], {"s": ints(1 << 20, F)}),
        f"node Expand 'e4': with it the graph makes {NUMBERS}",
    ),
    "products": (products, f"node MatMul 'e1': with it the graph takes {STEPS}"),
    "an outer sum": (
        lambda: graph([n("Mul", ["a", "b"], ["y"])], {"a": floats(60_000, 1), "b": floats(1, 60_000)}),
        f"Mul 'y': with it the graph makes {NUMBERS}",
    ),
    "an outer product": (
        lambda: graph([n("MatMul", ["a", "b"], ["y"])], {"a": floats(60_000, 1), "b": floats(1, 60_000)}),
        f"MatMul 'y': with it the graph makes {NUMBERS}",
    ),
    "rows of a table": (
        lambda: graph([n("Gather", ["a", "i"], ["y"])], {"a": floats(2, 20_000), "i": np.zeros(100_000, np.int64)}),
        f"Gather 'y': with it the graph makes {NUMBERS}",
    ),
    "strides": (lambda: windowed("ConvTranspose", strides=[50_000_000]), f"ConvTranspose 'y': .*{NUMBERS}"),
    "paddings": (lambda: windowed("Conv", pads=[50_000_000] * 2), f"Conv 'y': .*{NUMBERS}"),
    "a pool's paddings": (
        lambda: graph(
            [n("Unsqueeze", ["x", "a"], ["u"]), n("MaxPool", ["u"], ["y"], kernel_shape=[3], pads=[1 << 26] * 2)],
            {"a": ints(0)},
        ),
        NUMBERS,
    ),
    "an Einsum": (
        lambda: graph([n("Einsum", ["a"] * 3, ["y"], equation="ij,kl,mn->jln")], {"a": floats(4, 2_000)}),
        f"Einsum 'y': with it the graph makes {NUMBERS}",
    ),
    "an Einsum that gives little": (
        lambda: graph([n("Einsum", ["a"] * 3, ["y"], equation="ij,kl,mn->")], {"a": floats(4, 2_000)}),
        f"Einsum 'y': with it the graph takes {STEPS}",
    ),
    "scales": (
        lambda: graph(
            [n("Resize", ["x", "", "s"], [f"y{i}"]) for i in range(9)], {"s": np.float32([800, 800])}, shape=(F, F)
        ),
        NUMBERS,
    ),
    "sums of a large constant": (
        lambda: graph(
            [n("Expand", ["x", "s"], ["e"]), *(n("ReduceSum", ["e"], [f"y{i}"]) for i in range(40))],
            {"s": ints(1 << 20, F)},
        ),
        STEPS,
    ),
    "a loop of large rounds": (
        lambda: loop([n("Expand", ["s", "w"], ["e"]), n("ReduceMax", ["e", "a"], ["t"])], 9_000, w=ints(1000, F), a=ints(0)),
        NUMBERS,
    ),
    "a loop that doubles": (lambda: loop([n("Concat", ["s", "s"], ["t"], axis=0)], 40), NUMBERS),
    "a loop that grows": (lambda: loop([n("Concat", ["s", "one"], ["t"], axis=0)], 9_000, one=floats(1, F)), NUMBERS),
    "a loop that collects": (
        lambda: loop([n("Identity", ["s"], ["t"]), n("Expand", ["s", "w"], ["e"])], 9_000, "e", w=ints(500, F)),
        NUMBERS,
    ),
    "a scan": (lambda: scan(12_000, 700), STEPS),
    "steps of a cell": (
        lambda: graph(
            [n("Expand", ["x", "s"], ["e"]), n("LSTM", ["e", "w", "r"], ["", "y"], hidden_size=4)],
            {"s": ints(2_000_000, 1, F), "w": floats(1, 16, F), "r": floats(1, 16, 4)},
        ),
        f"LSTM 'y': with it the graph takes {STEPS}",
    ),
    "rows through trees": (
        lambda: graph(
            [
                n("Expand", ["x", "s"], ["e"]),
                n("Scaler", ["e"], ["z"], domain="ai.onnx.ml", scale=[1.0] * F, offset=[0.0] * F),
                n("SVMRegressor", ["z"], ["y"], domain="ai.onnx.ml", support_vectors=[1.0] * 80_000)
            ],
            {"s": ints(1 << 18, F)},
            ml=3,
        ),
        STEPS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(COSTLY))
def test_what_would_cost_too_much_is_refused_by_name(name: str) -> None:
    make, message = COSTLY[name]
    data = make()
    assert len(data) < 2 << 20
    with pytest.raises(ModelError, match=message):
        check_costs(read_graph(data))
    if name != "rows through trees":  # that one is refused for its lists, too
        with pytest.raises(ModelError):
            verify_model(data, F)


def transformer(t: int = 256, d: int = 640, heads: int = 8) -> bytes:
    """One block, 20 MB: attention and a wide layer, over windows of t rows."""
    nodes = [n("MatMul", ["x", "in"], ["h"])]
    for k in "qkv":
        nodes += [
            n("MatMul", ["h", k], [f"{k}1"]),
            n("Reshape", [f"{k}1", "split"], [f"{k}2"]),
            n("Transpose", [f"{k}2"], [f"{k}3"], perm=[0, 2, 3, 1] if k == "k" else [0, 2, 1, 3]),
        ]
    nodes += [
        n("MatMul", ["q3", "k3"], ["scores"]),
        n("Softmax", ["scores"], ["p"], axis=-1),
        n("MatMul", ["p", "v3"], ["seen"]),
        n("Transpose", ["seen"], ["seen2"], perm=[0, 2, 1, 3]),
        n("Reshape", ["seen2", "join"], ["seen3"]),
        n("MatMul", ["seen3", "o"], ["out"]),
        n("Add", ["out", "h"], ["sum"]),
        n("LayerNormalization", ["sum", "scale"], ["norm"]),
        n("MatMul", ["norm", "wide"], ["wider"]),
        n("Relu", ["wider"], ["relu"]),
        n("MatMul", ["relu", "narrow"], ["y"]),
    ]
    weights = {"in": floats(F, d), "scale": floats(d), "wide": floats(d, 4 * d), "narrow": floats(4 * d, d)}
    weights |= {k: floats(d, d) for k in "qkvo"}
    initial = {**weights, "split": ints(0, 0, heads, d // heads), "join": ints(0, 0, d)}
    return graph(nodes, initial, shape=("N", t, F))


def residual(t: int = 128, channels: int = 128, blocks: int = 13) -> bytes:
    """Convolutions with shortcuts, 5 MB, over windows of t rows."""
    nodes = [n("Transpose", ["x"], ["u"], perm=[0, 2, 1]), n("Conv", ["u", "first"], ["h0"], pads=[1, 1])]
    initial = {"first": floats(channels, F, 3)}
    for i in range(blocks):
        initial |= {f"a{i}": floats(channels, channels, 3), f"b{i}": floats(channels, channels, 3)}
        nodes += [
            n("Conv", [f"h{i}", f"a{i}"], [f"c{i}"], pads=[1, 1]),
            n("Relu", [f"c{i}"], [f"r{i}"]),
            n("Conv", [f"r{i}", f"b{i}"], [f"d{i}"], pads=[1, 1]),
            n("Add", [f"d{i}", f"h{i}"], [f"h{i + 1}"]),
        ]
    return graph([*nodes, n("GlobalAveragePool", [f"h{blocks}"], ["y"])], initial, shape=("N", t, F))


def recurrent(hidden: int = 192, t: int = 500) -> bytes:
    weights = {"w": floats(1, 4 * hidden, F), "r": floats(1, 4 * hidden, hidden)}
    nodes = [n("Transpose", ["x"], ["u"], perm=[1, 0, 2]), n("LSTM", ["u", "w", "r"], ["", "y"], hidden_size=hidden)]
    return graph(nodes, weights, shape=("N", t, F))


@pytest.mark.parametrize("make", [transformer, residual, recurrent])
def test_ordinary_models_are_far_from_it(make: Callable[..., bytes]) -> None:
    verify_model(make(), F)
    with pytest.raises(ModelError, match="for one row, all nodes together"):
        verify_model(make(t=65_536), F)


def test_small_loops_and_scans_pass() -> None:
    verify_model(loop([n("Concat", ["s", "one"], ["t"], axis=0)], 100, one=floats(1, F)))
    verify_model(loop([n("Identity", ["s"], ["t"]), n("Expand", ["s", "w"], ["e"])], 100, "e", w=ints(5, F)))
    verify_model(scan(100, 16))


def test_rules_agree_with_the_shapes_of_onnx() -> None:
    """Whatever the models of the tests are made of: where both know a shape it is the same."""
    seen = set()
    for name, data in {**made.zoo(), "transformer": transformer(8, 16, 2), "residual": residual(9, 4, 2)}.items():
        proto = onnx.load_from_string(data)
        for info in proto.graph.input:
            for i, dim in enumerate(info.type.tensor_type.shape.dim):
                if not dim.HasField("dim_value"):
                    dim.dim_value = 1 if i == 0 else made.N_FEATURES
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
        known = {
            v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
            for v in [*inferred.value_info, *inferred.input]
            if v.type.tensor_type.HasField("shape")
            and all(d.HasField("dim_value") for d in v.type.tensor_type.shape.dim)
        }
        model = read_graph(proto.SerializeToString())
        known |= {k: v.shape for k, v in model.initializers.items()}
        for node in model.nodes:
            given = Given(
                node,
                [known.get(i) for i in node.inputs],
                [model.initializers.get(i) for i in node.inputs],
                model.opset[""],
            )
            for output, shape in zip(node.outputs, shapes_of(given), strict=True):
                if shape is not None and output in known:
                    assert shape == known[output], (name, str(node))
                    seen.add(node.op)
        assert list(every_node(model))
    assert len(seen) >= 15, seen
