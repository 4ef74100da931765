"""Tree ensembles: the array form walks like the engine, and what is no forest is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_models as made
import pytest
from onnx import helper

from alpha._core.ort import OrtModel
from alpha.errors import ModelError
from alpha.models.compile import compile_model
from alpha.models.graph import Node, read_graph
from alpha.models.lowering import Unsupported
from alpha.models.trees import MODES, Trees, read_trees
from alpha.models.verify import verify_model


def tree_node(data: bytes) -> Node:
    return next(n for n in read_graph(data).nodes if n.op.startswith("TreeEnsemble"))


def walk(trees: Trees, row: Any) -> Any:
    """Raw sums of one row, one comparison at a time: what the arrays say, read slowly."""
    out = np.zeros(trees.n_targets)
    for root in trees.roots:
        at = int(root)
        while at >= 0:
            x, v = row[trees.feature[at]], trees.value[at]
            mode = MODES[trees.mode[at]]
            goes = {
                "BRANCH_LEQ": x <= v,
                "BRANCH_LT": x < v,
                "BRANCH_GTE": x >= v,
                "BRANCH_GT": x > v,
                "BRANCH_EQ": x == v,
                "BRANCH_NEQ": x != v,
                "BRANCH_MEMBER": mode == "BRANCH_MEMBER" and x in trees.members[at],
            }[mode]
            if np.isnan(x) and trees.missing_yes[at]:
                goes = True
            at = int(trees.yes[at] if goes else trees.no[at])
        for k in range(trees.leaf_start[~at], trees.leaf_start[~at + 1]):
            out[trees.target[k]] += trees.weight[k]
    if len(trees.base) == trees.n_targets:
        out += trees.base
    return out


def rows() -> Any:
    x = np.random.default_rng(3).normal(size=(200, made.N_FEATURES)).astype(np.float32)
    x[::7, 3] = 1.0
    x[::9, 3] = 2.0
    x[::5, 0] = 0.5
    return x


@pytest.mark.parametrize("name", ["forest", "boosted", "histogram", "trees_v5"])
def test_the_arrays_walk_as_the_engine_does(name: str) -> None:
    data = made.zoo()[name]
    trees = read_trees(tree_node(data), made.N_FEATURES)
    x = rows()
    if name == "histogram":
        x[3, :] = np.nan
    theirs = OrtModel(data).kernel().run(x)
    ours = np.array([walk(trees, row) for row in x])
    if trees.post == "SOFTMAX":
        e = np.exp(ours - ours.max(axis=1, keepdims=True))
        ours = e / e.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert len(np.unique(theirs, axis=0)) >= 3


def test_depth_and_labels() -> None:
    forest = read_trees(tree_node(made.zoo()["forest"]), made.N_FEATURES)
    assert forest.labels == (0, 1, 2) and forest.depth == 4 and len(forest.roots) == 4
    v5 = read_trees(tree_node(made.zoo()["trees_v5"]), made.N_FEATURES)
    assert v5.labels == () and v5.depth == 2 and list(v5.roots) == [0, 2]
    assert {k: list(v) for k, v in v5.members.items()} == {1: [1.0, 2.0]}


def stump(**changes: Any) -> dict[str, Any]:
    """Attributes of one tree with two inner nodes and three leaves."""
    return {
        "nodes_treeids": [0] * 5,
        "nodes_nodeids": [0, 1, 2, 3, 4],
        "nodes_featureids": [1, 0, 0, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "BRANCH_LT", "LEAF", "LEAF", "LEAF"],
        "nodes_values": [0.5, -0.5, 0.0, 0.0, 0.0],
        "nodes_truenodeids": [1, 3, 0, 0, 0],
        "nodes_falsenodeids": [2, 4, 0, 0, 0],
        "target_treeids": [0, 0, 0],
        "target_nodeids": [2, 3, 4],
        "target_ids": [0, 0, 0],
        "target_weights": [1.0, 2.0, 3.0],
        "n_targets": 1,
        "post_transform": "NONE",
        **changes,
    }


def regressor(**changes: Any) -> Node:
    """As a node that was read from a file."""
    given = {k: v for k, v in stump(**changes).items() if v is not None}
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["s"], domain="ai.onnx.ml", **given)
    return tree_node(made.model([node], [made.value("x", "N", 2)], [made.value("s", "N", 1)], ml=3))


# nodes 1 and 2 lead to each other
CIRCLE = {
    "nodes_treeids": [0] * 4,
    "nodes_nodeids": [0, 1, 2, 3],
    "nodes_featureids": [0] * 4,
    "nodes_modes": ["BRANCH_LEQ", "BRANCH_LEQ", "BRANCH_LEQ", "LEAF"],
    "nodes_values": [0.0] * 4,
    "nodes_truenodeids": [1, 2, 1, 0],
    "nodes_falsenodeids": [2, 3, 3, 0],
    "target_treeids": [0],
    "target_nodeids": [3],
    "target_ids": [0],
    "target_weights": [1.0],
}
INF = float("inf")


def test_the_stump_is_a_tree() -> None:
    trees = read_trees(regressor(), 2)
    assert [float(walk(trees, np.float32(r))[0]) for r in ([0, 1], [-1, 0], [1, 0])] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes_truenodeids": [0, 3, 0, 0, 0]}, "1 of its nodes are reached by no branch"),
        ({"nodes_falsenodeids": [2, 0, 0, 0, 0]}, "1 of its nodes are reached by no branch"),
        ({"nodes_truenodeids": [2, 3, 0, 0, 0]}, "1 of its nodes are reached by no branch"),
        ({"nodes_truenodeids": [1, 1, 0, 0, 0]}, "1 of its nodes are reached by no branch"),
        (CIRCLE, "its branches have a circle: 3 of its nodes are never done"),
        ({"nodes_truenodeids": [9, 3, 0, 0, 0]}, "nodes_truenodeids points at node 9 of tree 0, which does not exist"),
        ({"nodes_truenodeids": [-1, 3, 0, 0, 0]}, "element 0 of nodes_truenodeids is -1"),
        ({"nodes_falsenodeids": [2**40, 4, 0, 0, 0]}, "element 0 of nodes_falsenodeids is 1099511627776"),
        ({"nodes_featureids": [2, 0, 0, 0, 0]}, "element 0 of nodes_featureids is 2, but there are 2 features"),
        ({"nodes_featureids": [-1, 0, 0, 0, 0]}, "element 0 of nodes_featureids is -1"),
        ({"nodes_featureids": [1, 0, 0, 0]}, "nodes_featureids has 4 values, there are 5"),
        ({"nodes_values": [1.0]}, "nodes_values has 1 values, there are 5"),
        ({"nodes_values": [0.5, float("nan"), 0.0, 0.0, 0.0]}, "element 1 of nodes_values is nan"),
        ({"target_weights": [1.0, float("inf"), 0.0]}, "element 1 of target_weights is inf"),
        ({"target_weights": [1.0]}, "target_weights has 1 values, there are 3"),
        ({"target_ids": [0, 1, 0]}, "element 1 of target_ids is 1, but there are 1 targets"),
        ({"target_nodeids": [2, 3, 1]}, "gives a weight to node 1 of tree 0, which is no leaf"),
        ({"target_nodeids": [2, 3, 7]}, "target_nodeids points at node 7"),
        ({"target_treeids": [0, 0, 1]}, "target_nodeids points at node 4 of tree 1"),
        ({"nodes_nodeids": [0, 1, 2, 3, 3]}, "node 3 of tree 0 is listed twice"),
        ({"nodes_treeids": [0, 0, 1, 0, 0]}, "stand apart"),
        ({"nodes_treeids": [0, 0, 0, 0, 1]}, "nodes_falsenodeids points at node 4 of tree 0"),
        ({"nodes_nodeids": [0, 1, 2, 3, -4]}, "element 4 of nodes_nodeids is -4"),
        ({"nodes_modes": ["BRANCH_LEQ", "SIDEWAYS", "LEAF", "LEAF", "LEAF"]}, "mode b'SIDEWAYS' is unknown"),
        ({"nodes_modes": ["LEAF"]}, "nodes_modes must list 5 modes"),
        ({"nodes_modes": ["LEAF"] * 5}, "4 of its nodes are reached by no branch"),
        ({"nodes_missing_value_tracks_true": [0, 2, 0, 0, 0]}, "element 1 of nodes_missing_value_tracks_true is 2"),
        ({"nodes_hitrates": [1.0]}, "nodes_hitrates has 1 values"),
        ({"n_targets": 0}, "n_targets must be a number from 1"),
        ({"n_targets": None}, "n_targets must be a number from 1"),
        ({"base_values": [1.0, 2.0]}, "base_values has 2 values for 1 outputs"),
        ({"post_transform": "CUBE"}, "post_transform 'CUBE' is unknown"),
        ({"aggregate_function": "MEDIAN"}, "aggregate_function 'MEDIAN' is unknown"),
        ({"nodes_treeids": None}, "it has no nodes"),
        ({"nodes_values": [1, 2, 3, 4, 5]}, "nodes_values must be a list of floats"),
        ({"nodes_nodeids": [0.0, 1.0, 2.0, 3.0, 4.0]}, "nodes_nodeids must be a list of integers"),
        ({"nodes_values_as_tensor": onnx.numpy_helper.from_array(np.zeros(5))}, "nodes_values is given twice"),
    ],
)
def test_no_forest_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=f"TreeEnsembleRegressor 's': .*{message}"):
        read_trees(regressor(**changes), 2)


def test_a_tree_that_is_too_deep() -> None:
    n = 1_200
    ids = list(range(2 * n + 1))
    inner = [i % 2 == 0 and i < 2 * n for i in ids]
    changes = {
        "nodes_treeids": [0] * len(ids),
        "nodes_nodeids": ids,
        "nodes_featureids": [0] * len(ids),
        "nodes_modes": ["BRANCH_LEQ" if b else "LEAF" for b in inner],
        "nodes_values": [0.0] * len(ids),
        "nodes_truenodeids": [i + 1 if b else 0 for i, b in zip(ids, inner, strict=True)],
        "nodes_falsenodeids": [i + 2 if b else 0 for i, b in zip(ids, inner, strict=True)],
        "target_treeids": [0],
        "target_nodeids": [1],
        "target_ids": [0],
        "target_weights": [1.0],
    }
    with pytest.raises(ModelError, match="deeper than 1,000"):
        read_trees(regressor(**changes), 2)


V5 = {
    "tree_roots": [0],
    "nodes_featureids": [0, 3, 0],
    "nodes_truenodeids": [1, 1, 3],
    "nodes_trueleafs": [0, 1, 1],
    "nodes_falsenodeids": [0, 2, 3],
    "nodes_falseleafs": [1, 1, 1],
    "leaf_targetids": [0, 1, 0, 1],
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes_truenodeids": [0, 1, 3]}, "two branches lead to one node"),
        ({"nodes_truenodeids": [2, 1, 3]}, "two branches lead to one node"),
        ({"nodes_truenodeids": [3, 1, 3]}, "element 0 of nodes_truenodeids is 3, but there are 3 nodes"),
        ({"nodes_falsenodeids": [4, 2, 3]}, "element 0 of nodes_falsenodeids is 4, but there are 4 leaves"),
        ({"nodes_falsenodeids": [3, 2, 3]}, "two branches lead to one node"),
        ({"nodes_trueleafs": [2, 1, 1]}, "element 0 of nodes_trueleafs is 2"),
        ({"tree_roots": [0]}, "reached by no branch"),
        ({"tree_roots": [0, 0]}, "two branches"),
        ({"tree_roots": [3]}, "element 0 of tree_roots is 3"),
        ({"tree_roots": []}, "no trees"),
        ({"leaf_targetids": [0, 1, 0, 2]}, "element 3 of leaf_targetids is 2, but there are 2 targets"),
        ({"leaf_targetids": [0, 1, 0]}, "leaf_targetids has 3 values"),
        ({"nodes_featureids": [0, 6, 0]}, "element 1 of nodes_featureids is 6, but there are 6 features"),
    ],
)
def test_version_five_too(changes: dict[str, Any], message: str) -> None:
    node = tree_node(made.trees_v5())
    for name, value in changes.items():
        node.attributes[name] = np.array(value, np.int64)
    with pytest.raises(ModelError, match=message):
        read_trees(node, made.N_FEATURES)


def test_sets_of_members_belong_to_nodes() -> None:
    node = tree_node(made.trees_v5())
    node.attributes["membership_values"] = np.float32([1.0, np.nan, 2.0, np.nan])
    with pytest.raises(ModelError, match="2 sets for 1 nodes"):
        read_trees(node, made.N_FEATURES)
    node.attributes["nodes_modes"] = np.array([0, 7, 4], np.uint8)
    with pytest.raises(ModelError, match="element 1 of nodes_modes is 7, but there are 7 modes"):
        read_trees(node, made.N_FEATURES)


def test_trees_and_nodes_need_not_be_counted_from_zero() -> None:
    """Numbers are names. Two trees with gaps, out of order, walk like their twins that are counted."""
    two: dict[str, Any] = {k: v + v if isinstance(v, list) else v for k, v in stump().items()}
    two["nodes_treeids"], two["target_treeids"] = [0] * 5 + [1] * 5, [0] * 3 + [1] * 3
    two["target_weights"] = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0]
    odd = dict(two)
    for name in ("nodes_treeids", "target_treeids"):
        odd[name] = [{0: 40, 1: 7}[v] for v in two[name]]
    for name in ("nodes_nodeids", "nodes_truenodeids", "nodes_falsenodeids", "target_nodeids"):
        odd[name] = [[11, 3, 1000, 0, 77][v] for v in two[name]]
    counted, named = read_trees(regressor(**two), 2), read_trees(regressor(**odd), 2)
    for row in np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32):
        assert walk(counted, row) == walk(named, row)
    assert walk(named, np.float32([-1, 0])) == 22.0
    with pytest.raises(ModelError, match="node 3 of tree 7 is listed twice"):
        read_trees(regressor(**{**odd, "nodes_nodeids": [*odd["nodes_nodeids"][:-1], 3]}), 2)
    with pytest.raises(ModelError, match="target_nodeids points at node 3 of tree 41"):
        read_trees(regressor(**{**odd, "target_nodeids": [3] * 6, "target_treeids": [41] * 6}), 2)


def test_large_forests_must_be_counted() -> None:
    n = 70_000
    three = [0, 1, 2] * n
    changes = {
        "nodes_treeids": np.repeat(np.arange(n), 3).tolist(),
        "nodes_nodeids": three,
        "nodes_featureids": [0] * (3 * n),
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"] * n,
        "nodes_values": [0.0] * (3 * n),
        "nodes_truenodeids": [1, 0, 0] * n,
        "nodes_falsenodeids": [2, 0, 0] * n,
        "target_treeids": [0],
        "target_nodeids": [1],
        "target_ids": [0],
        "target_weights": [1.0],
    }
    node = regressor(**changes)
    assert len(read_trees(node, 2).roots) == n
    node.attributes["nodes_nodeids"] = np.array(three, np.int64) + 1
    with pytest.raises(ModelError, match="more than 200,000 nodes that are not counted from 0"):
        read_trees(node, 2)


def served(data: bytes, x: Any) -> tuple[Any, Any]:
    """Scores of the plan and of ONNX Runtime, and that the plan is held to bits."""
    verify_model(data, x.shape[1])
    compiled = compile_model(data, "s")
    assert compiled.exact and np.isfinite([t for _, t in compiled.ties]).all()
    return np.asarray(compiled.plan.kernel().run(x)), OrtModel(data, output="s").kernel().run(x)


def in_file(changes: dict[str, Any]) -> bytes:
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["s"], domain="ai.onnx.ml", **stump(**changes))
    return made.model([node], [made.value("x", "N", 2)], [made.value("s", "N", 1)], ml=3)


def wild_rows() -> Any:
    x = np.random.default_rng(7).normal(size=(400, 2)).astype(np.float32)
    for k, value in enumerate((np.nan, np.inf, -np.inf, np.finfo(np.float32).max, np.finfo(np.float32).min)):
        x[k::11, 0], x[k::13, 1] = value, value
    return x


@pytest.mark.parametrize("tracks", [0, 1])
@pytest.mark.parametrize("mode", ["LEQ", "LT", "GTE", "GT", "EQ", "NEQ"])
@pytest.mark.parametrize("value", [INF, -INF])
def test_an_infinite_threshold_is_one(value: float, mode: str, tracks: int) -> None:
    """As a histogram writes the split of missing from present values. Plan and ONNX Runtime agree bit for bit."""
    changes = {
        "nodes_modes": [f"BRANCH_{mode}", "BRANCH_LT", "LEAF", "LEAF", "LEAF"],
        "nodes_values": [value, -0.5, 0.0, 0.0, 0.0],
        "nodes_missing_value_tracks_true": [tracks, 0, 0, 0, 0],
    }
    data, x = in_file(changes), wild_rows()
    if value == -INF and mode in ("LT", "GTE", "EQ", "NEQ"):
        verify_model(data, 2)
        with pytest.raises(Unsupported, match="the float before -inf"):
            compile_model(data, "s")
        return
    mine, theirs = served(data, x)
    np.testing.assert_array_equal(mine, theirs)
    assert len(np.unique(theirs)) >= 2 or (value == INF and mode == "GT" and not tracks)  # nothing is above it


def test_two_branches_may_lead_to_one_node() -> None:
    """As LightGBM's categories are written: x == 2 or x == 5 go to the same leaf."""
    changes: dict[str, Any] = {
        "nodes_treeids": [0] * 6,
        "nodes_nodeids": [0, 1, 2, 3, 4, 5],
        "nodes_featureids": [0, 0, 1, 0, 0, 0],
        "nodes_modes": ["BRANCH_EQ", "BRANCH_EQ", "BRANCH_LEQ", "LEAF", "LEAF", "LEAF"],
        "nodes_values": [2.0, 5.0, 0.0, 0.0, 0.0, 0.0],
        "nodes_truenodeids": [2, 2, 3, 0, 0, 0],
        "nodes_falsenodeids": [1, 5, 4, 0, 0, 0],
        "target_nodeids": [3, 4, 5],
    }
    trees = read_trees(regressor(**changes), 2)
    assert trees.shared and trees.depth == 3 and not read_trees(regressor(), 2).shared
    x = wild_rows()
    x[::3, 0], x[1::3, 0] = 2.0, 5.0
    mine, theirs = served(in_file(changes), x)
    np.testing.assert_array_equal(mine, theirs)
    assert len(np.unique(theirs)) == 3


def test_shared_branches_cost_no_more_than_nodes() -> None:
    """2 to the power of 900 paths through 901 nodes."""
    n = 900
    changes = {
        "nodes_treeids": [0] * (n + 1),
        "nodes_nodeids": list(range(n + 1)),
        "nodes_featureids": [0] * (n + 1),
        "nodes_modes": ["BRANCH_LEQ"] * n + ["LEAF"],
        "nodes_values": [0.0] * (n + 1),
        "nodes_truenodeids": [*range(1, n + 1), 0],
        "nodes_falsenodeids": [*range(1, n + 1), 0],
        "target_treeids": [0],
        "target_nodeids": [n],
        "target_ids": [0],
        "target_weights": [1.0],
    }
    assert read_trees(regressor(**changes), 2).depth == n
    mine, theirs = served(in_file(changes), wild_rows())
    np.testing.assert_array_equal(mine, theirs)
