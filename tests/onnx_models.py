"""ONNX models for tests, made here: hand-made ones and exports of real fits, all small and the same every time."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
N_FEATURES = 6


def model(
    nodes: list[Any],
    inputs: list[Any],
    outputs: list[Any],
    initial: dict[str, Any] | None = None,
    *,
    opset: int = 18,
    ml: int | None = None,
    ir_version: int = 10,
    **more: Any,
) -> bytes:
    """Bytes of a model; ``initial``: arrays or TensorProtos by name."""
    tensors = []
    for name, value in (initial or {}).items():
        tensor = value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), name)
        tensor.name = name
        tensors.append(tensor)
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid("ai.onnx.ml", ml)] if ml else [])
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    return bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, **more).SerializeToString(
            deterministic=True
        )
    )


def value(name: str, *shape: Any, kind: int = FLOAT) -> Any:
    """A tensor's name, type and shape."""
    return helper.make_tensor_value_info(name, kind, shape)


def softmax(features: int = 2, classes: int = 3, *, batch: Any = "N", seed: int = 0) -> bytes:
    """``x`` [batch, features] -> ``p`` [batch, classes]: one layer and its softmax."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["s"], name="layer"),
        helper.make_node("Softmax", ["s"], ["p"], axis=1),
    ]
    weights = {"w": rng.normal(size=(features, classes)), "b": rng.normal(size=classes)}
    floats = {k: v.astype(np.float32) for k, v in weights.items()}
    return model(nodes, [value("x", batch, features)], [value("p", batch, classes)], floats)


def square_roots(features: int, scores: int) -> bytes:
    """``x`` [1, features] -> ``y`` [1, scores]: the roots of the first ones, NaN where they are negative."""
    nodes = [
        helper.make_node("Slice", ["x", "from", "to", "axis"], ["s"]),
        helper.make_node("Sqrt", ["s"], ["y"]),
    ]
    places = {"from": np.array([0]), "to": np.array([scores]), "axis": np.array([1])}
    return model(nodes, [value("x", 1, features)], [value("y", 1, scores)], places)


def lstm(features: int = N_FEATURES, hidden: int = 4) -> bytes:
    """One LSTM step that carries no state, and a head."""
    rng = np.random.default_rng(5)
    f = np.float32
    initial = {
        "w": rng.normal(size=(1, 4 * hidden, features)).astype(f),
        "r": rng.normal(size=(1, 4 * hidden, hidden)).astype(f),
        "b": rng.normal(size=(1, 8 * hidden)).astype(f),
        "one": np.array([1], np.int64),
        "first": np.array([0, 1], np.int64),
        "head": rng.normal(size=(hidden, 3)).astype(f),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["x", "one"], ["seq"]),
        helper.make_node("Transpose", ["seq"], ["time"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["time", "w", "r", "b"], ["", "h"], hidden_size=hidden),
        helper.make_node("Squeeze", ["h", "lead"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["s"]),
    ]
    initial["lead"] = np.array([0], np.int64)
    return model(nodes, [value("x", 1, features)], [value("s", 1, 3)], initial)


def convolution() -> bytes:
    """Reshape to a short window, Conv over it, mean, layer norm."""
    rng = np.random.default_rng(6)
    f = np.float32
    initial = {
        "shape": np.array([1, 2, 3], np.int64),
        "k": rng.normal(size=(4, 2, 2)).astype(f),
        "kb": rng.normal(size=4).astype(f),
        "g": np.ones(4, f),
        "z": np.zeros(4, f),
        "axes": np.array([2], np.int64),
    }
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["w"]),
        helper.make_node("Conv", ["w", "k", "kb"], ["c"], kernel_shape=[2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("ReduceMean", ["r", "axes"], ["m"], keepdims=0),
        helper.make_node("LayerNormalization", ["m", "g", "z"], ["s"], axis=-1),
    ]
    return model(nodes, [value("x", 1, N_FEATURES)], [value("s", 1, 4)], initial)


def shapes() -> bytes:
    """Operators that choose, move and pad, with their numbers in initializers: what a wrong number breaks first."""
    rng = np.random.default_rng(8)
    i, f = np.int64, np.float32
    initial = {
        "idx": np.array([3, 0, 5, 1], i),
        "start": np.array([1], i),
        "stop": np.array([4], i),
        "axis": np.array([1], i),
        "pads": np.array([0, 1, 0, 2], i),
        "zero": f(0),
        "parts": np.array([2, 4], i),
        "k": np.array([3], i),
        "flat": np.array([1, -1], i),
        "where": np.array([[0, 1], [0, 2]], i),
        "new": f([7, 8]),
        "g": rng.normal(size=14).astype(f),
        "m": rng.normal(size=14).astype(f),
        "v": np.abs(rng.normal(size=14)).astype(f),
        "low": f(-3),
        "high": f(3),
    }
    nodes = [
        helper.make_node("Gather", ["x", "idx"], ["a"], axis=1),
        helper.make_node("Slice", ["x", "start", "stop", "axis"], ["b"]),
        helper.make_node("Pad", ["b", "pads", "zero"], ["c"]),
        helper.make_node("Split", ["c", "parts"], ["d", "e"], axis=1),
        helper.make_node("TopK", ["x", "k"], ["top", "at"], axis=1),
        helper.make_node("Cast", ["at"], ["places"], to=FLOAT),
        helper.make_node("Clip", ["d", "low", "high"], ["cut"]),
        helper.make_node("ScatterND", ["cut", "at_d", "new"], ["changed"]),
        helper.make_node("GatherND", ["x", "where"], ["picked"]),
        helper.make_node("Reshape", ["picked", "flat"], ["row"]),
        helper.make_node("Concat", ["a", "e", "changed", "top", "places"], ["all"], axis=1),
        helper.make_node("Slice", ["all", "zeros", "fourteen", "axis"], ["most"]),
        helper.make_node("BatchNormalization", ["most", "g", "m", "m", "v"], ["n"]),
        helper.make_node("Concat", ["n", "row"], ["s"], axis=1),
    ]
    initial["at_d"] = np.array([[0, 1], [0, 0]], i)
    initial |= {"zeros": np.array([0], i), "fourteen": np.array([14], i)}
    return model(nodes, [value("x", 1, N_FEATURES)], [value("s", 1, 16)], initial)


def gru(features: int = N_FEATURES, hidden: int = 3) -> bytes:
    """A bidirectional GRU over the features as time, with its lengths and first state given."""
    rng, f = np.random.default_rng(9), np.float32
    initial = {
        "w": rng.normal(size=(2, 3 * hidden, 1)).astype(f),
        "r": rng.normal(size=(2, 3 * hidden, hidden)).astype(f),
        "b": rng.normal(size=(2, 6 * hidden)).astype(f),
        "h0": np.zeros((2, 1, hidden), f),
        "lengths": np.array([features], np.int32),
        "time": np.array([features, 1, 1], np.int64),
        "flat": np.array([1, 2 * hidden], np.int64),
    }
    nodes = [
        helper.make_node("Reshape", ["x", "time"], ["seq"]),
        helper.make_node(
            "GRU", ["seq", "w", "r", "b", "lengths", "h0"], ["all", "h"], hidden_size=hidden, direction="bidirectional"
        ),
        helper.make_node("Reshape", ["h", "flat"], ["s"]),
    ]
    return model(nodes, [value("x", 1, features)], [value("s", 1, 2 * hidden)], initial)


def branches() -> bytes:
    """An If whose branches use names of the graph around them, and a Loop of three rounds."""
    then = helper.make_graph([helper.make_node("Relu", ["y"], ["t"])], "then", [], [value("t", 1, N_FEATURES)])
    other = helper.make_graph([helper.make_node("Neg", ["y"], ["e"])], "else", [], [value("e", 1, N_FEATURES)])
    body = helper.make_graph(
        [helper.make_node("Add", ["state", "one"], ["next"]), helper.make_node("Identity", ["going"], ["go_on"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            value("state", 1, N_FEATURES),
        ],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), value("next", 1, N_FEATURES)],
    )
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["y"]),
        helper.make_node("ReduceSum", ["y"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["which"]),
        helper.make_node("If", ["which"], ["picked"], then_branch=then, else_branch=other),
        helper.make_node("Loop", ["rounds", "", "picked"], ["out"], body=body),
    ]
    initial = {
        "two": np.float32([2]),
        "zero": np.float32(0),
        "one": np.float32([1]),
        "rounds": np.array(3, np.int64),
    }
    return model(nodes, [value("x", 1, N_FEATURES)], [value("out", 1, N_FEATURES)], initial)


def encodings() -> bytes:
    """The same small numbers in every form in which a tensor can be stored, added up."""
    kinds = [
        ("f", FLOAT),
        ("d", TensorProto.DOUBLE),
        ("h", TensorProto.FLOAT16),
        ("i8", TensorProto.INT8),
        ("u8", TensorProto.UINT8),
        ("i16", TensorProto.INT16),
        ("u16", TensorProto.UINT16),
        ("i32", TensorProto.INT32),
        ("i64", TensorProto.INT64),
        ("u32", TensorProto.UINT32),
        ("u64", TensorProto.UINT64),
        ("b", TensorProto.BOOL),
    ]
    nodes, initial, last = [], {}, "x"
    for name, kind in kinds:
        for raw in (False, True):
            full = f"{name}{'_raw' if raw else ''}"
            data = np.array([1, 0, 1, 1, 0, 1]).astype(helper.tensor_dtype_to_np_dtype(kind))
            initial[full] = helper.make_tensor(full, kind, [6], data.tobytes() if raw else data.tolist(), raw=raw)
            nodes += [
                helper.make_node("Cast", [full], [f"{full}_f"], to=FLOAT),
                helper.make_node("Add", [last, f"{full}_f"], [f"{full}_sum"]),
            ]
            last = f"{full}_sum"
    return model(nodes, [value("x", "N", N_FEATURES)], [value(last, "N", N_FEATURES)], initial)


def trees_v5() -> bytes:
    """TreeEnsemble of ai.onnx.ml 5: two trees, one of them a single leaf, with a set of members."""
    f = np.float32

    def tensor(name: str, array: Any) -> Any:
        return numpy_helper.from_array(np.asarray(array), name)

    node = helper.make_node(
        "TreeEnsemble",
        ["x"],
        ["s"],
        domain="ai.onnx.ml",
        n_targets=2,
        aggregate_function=1,
        post_transform=0,
        tree_roots=[0, 2],
        nodes_modes=tensor("m", np.array([0, 6, 4], np.uint8)),
        nodes_featureids=[0, 3, 0],
        nodes_splits=tensor("v", f([0.5, 0.0, 0.0])),
        nodes_truenodeids=[1, 1, 3],
        nodes_trueleafs=[0, 1, 1],
        nodes_falsenodeids=[0, 2, 3],
        nodes_falseleafs=[1, 1, 1],
        leaf_targetids=[0, 1, 0, 1],
        leaf_weights=tensor("w", f([1.0, 2.0, -1.0, 0.25])),
        membership_values=tensor("s", f([1.0, 2.0, np.nan])),
    )
    return model([node], [value("x", "N", N_FEATURES)], [value("s", "N", 2)], ml=5)


@functools.cache
def sample(rows: int = 400) -> tuple[Any, Any]:
    """Features float32 [rows, 6] and labels 0, 1, 2 that depend on them."""
    x = np.random.default_rng(17).normal(size=(rows, N_FEATURES)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(np.int64) + (x[:, 3] > 1)
    return x, y


def exported(estimator: Any, y: Any = None, **options: Any) -> bytes:
    """Fit on :func:`sample` and export; ``options``: of skl2onnx, e.g. ``zipmap=True`` (default False)."""
    from skl2onnx import to_onnx

    x, labels = sample()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(x, labels if y is None else y)
        chosen = {"zipmap": False, **options} if hasattr(estimator, "predict_proba") else None
        proto = to_onnx(
            estimator, x[:1], options=chosen and {id(estimator): chosen}, target_opset={"": 18, "ai.onnx.ml": 3}
        )
    return bytes(proto.SerializeToString(deterministic=True))


def _sklearn() -> dict[str, Callable[[], bytes]]:
    from sklearn.ensemble import (
        GradientBoostingRegressor,
        HistGradientBoostingClassifier,
        RandomForestClassifier,
    )
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC, SVR

    x, y = sample()
    names = np.array(["SELL", "HOLD", "BUY"])[y]
    r = {"random_state": 0}
    return {
        "logistic": lambda: exported(LogisticRegression()),
        "logistic_names": lambda: exported(make_pipeline(StandardScaler(), LogisticRegression()), names),
        "logistic_two": lambda: exported(LogisticRegression(), y > 0),
        "ridge": lambda: exported(Ridge(), x[:, 0]),
        "mlp": lambda: exported(MLPClassifier((8,), max_iter=20, **r)),
        "forest": lambda: exported(RandomForestClassifier(4, max_depth=4, **r)),
        "boosted": lambda: exported(GradientBoostingRegressor(n_estimators=5, **r), x[:, 1]),
        "histogram": lambda: exported(HistGradientBoostingClassifier(max_iter=3, max_leaf_nodes=6, **r)),
        "svc": lambda: exported(SVC(probability=False, **r)),
        "svr": lambda: exported(SVR(), x[:, 0]),
    }


@functools.cache
def zoo() -> dict[str, bytes]:
    """Every small model of this file by name: what a mutation starts from."""
    made: dict[str, Callable[[], bytes]] = {
        "softmax": lambda: softmax(N_FEATURES),
        "lstm": lstm,
        "convolution": convolution,
        "shapes": shapes,
        "gru": gru,
        "branches": branches,
        "encodings": encodings,
        "trees_v5": trees_v5,
        **_sklearn(),
    }
    return {name: make() for name, make in made.items()}


def checked(data: bytes) -> bytes:
    """The same bytes, after onnx's own checker agreed."""
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    return data
