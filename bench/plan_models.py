"""The models of stage_plan: written as ONNX by hand from seeded numbers, small enough to live in the caches."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

Rows = npt.NDArray[np.float32]


def _model(
    nodes: list[Any], inputs: dict[str, list[int]], outputs: dict[str, list[int]], weights: dict[str, Any]
) -> bytes:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "bench",
        [info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in weights.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def _normal(seed: int, *shape: int, scale: float) -> npt.NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


@cache
def logistic() -> bytes:
    """8 features, 2 classes."""
    w = _normal(1, 8, 2, scale=0.5)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["s"]), helper.make_node("Softmax", ["s"], ["p"], axis=1)]
    return _model(nodes, {"x": [1, 8]}, {"p": [1, 2]}, {"w": w, "b": np.zeros(2, np.float32)})


@cache
def mlp(sizes: tuple[int, ...] = (32, 64, 64, 3)) -> bytes:
    """ReLU between the layers and a softmax behind the last."""
    nodes, weights, last = [], {}, "x"
    for i, (n, m) in enumerate(pairwise(sizes)):
        weights |= {f"w{i}": _normal(i, n, m, scale=n**-0.5), f"b{i}": _normal(10 + i, m, scale=0.1)}
        nodes.append(helper.make_node("Gemm", [last, f"w{i}", f"b{i}"], [f"s{i}"]))
        last = f"s{i}"
        if i < len(sizes) - 2:
            nodes.append(helper.make_node("Relu", [last], [f"r{i}"]))
            last = f"r{i}"
    nodes.append(helper.make_node("Softmax", [last], ["p"], axis=1))
    return _model(nodes, {"x": [1, sizes[0]]}, {"p": [1, sizes[-1]]}, weights)


@cache
def trees(n_trees: int = 100, depth: int = 6, features: int = 20) -> bytes:
    """Complete trees on random features and thresholds of normal rows: every branch is a coin flip."""
    rng = np.random.default_rng(4)
    inner, nodes = (1 << depth) - 1, (2 << depth) - 1
    number = np.tile(np.arange(nodes), n_trees)
    tree = np.repeat(np.arange(n_trees), nodes)
    is_leaf = number >= inner
    leaf = np.flatnonzero(is_leaf)
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        nodes_treeids=tree.tolist(),
        nodes_nodeids=number.tolist(),
        nodes_featureids=np.where(is_leaf, 0, rng.integers(0, features, len(number))).tolist(),
        nodes_values=np.where(is_leaf, 0, rng.standard_normal(len(number)) * 0.7).astype(np.float32).tolist(),
        nodes_modes=np.where(is_leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_truenodeids=np.where(is_leaf, 0, 2 * number + 1).tolist(),
        nodes_falsenodeids=np.where(is_leaf, 0, 2 * number + 2).tolist(),
        target_treeids=tree[leaf].tolist(),
        target_nodeids=number[leaf].tolist(),
        target_ids=[0] * len(leaf),
        target_weights=(rng.standard_normal(len(leaf)) * 0.1).astype(np.float32).tolist(),
        n_targets=1,
        post_transform="NONE",
    )
    return _model([node], {"x": [1, features]}, {"y": [1, 1]}, {})


@cache
def lstm(inputs: int = 16, units: int = 64, layers: int = 1, head: bool = False) -> bytes:
    """One step of stacked LSTM layers with the state as input and output: h and c of layer after layer. ``head``: three
    probabilities ``p`` of the last h instead of h itself."""
    nodes: list[Any] = [helper.make_node("Reshape", ["x", "to_step"], ["x0"])]
    weights: dict[str, Any] = {"to_step": np.array([1, 1, inputs], np.int64), "flat": np.array([1, units], np.int64)}
    weights["to_state"] = np.array([1, 1, units], np.int64)
    ins, outs = {"x": [1, inputs]}, {"y": [1, units]}
    last, n = "x0", inputs
    for k in range(layers):
        weights |= {
            f"w{k}": _normal(20 + k, 1, 4 * units, n, scale=n**-0.5),
            f"u{k}": _normal(30 + k, 1, 4 * units, units, scale=units**-0.5),
            f"b{k}": _normal(40 + k, 1, 8 * units, scale=0.1),
        }
        ins |= {f"h{k}": [1, 1, units], f"c{k}": [1, 1, units]}
        outs |= {f"hn{k}": [1, 1, units], f"cn{k}": [1, 1, units]}
        nodes.append(
            helper.make_node(
                "LSTM",
                [last, f"w{k}", f"u{k}", f"b{k}", "", f"h{k}", f"c{k}"],
                [f"all{k}", f"hn{k}", f"cn{k}"],
                hidden_size=units,
            )
        )
        nodes.append(helper.make_node("Reshape", [f"all{k}", "to_state"], [f"next{k}"]))
        last, n = f"next{k}", units
    nodes.append(helper.make_node("Reshape", [last, "flat"], ["y"]))
    if head:
        weights |= {"v": _normal(50, units, 3, scale=1.0)}
        nodes.append(helper.make_node("MatMul", ["y", "v"], ["s"]))
        nodes.append(helper.make_node("Softmax", ["s"], ["p"], axis=1))
        del outs["y"]
        outs = {"p": [1, 3], **outs}
    return _model(nodes, ins, outs, weights)


def states(layers: int = 1) -> list[tuple[str, str]]:
    """(input, output) names of the state of :func:`lstm`."""
    return [(f"{s}{k}", f"{s}n{k}") for k in range(layers) for s in ("h", "c")]
