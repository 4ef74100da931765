"""Small ONNX graphs made node by node, and their plans against ONNX Runtime on every ISA that runs here."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from alpha._core.ort import OrtModel
from alpha._core.program import available_isas
from alpha.models import judge
from alpha.models.compile import compile_model
from alpha.models.exact import exact_scores

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
    exact = exact_scores(compiled.graph, "y", x.reshape(rows, -1), compiled.shape)
    if exact is not None:  # the judge's second opinion reads the operators as ONNX Runtime does
        np.testing.assert_allclose(expected, exact, rtol=max(tolerance, 2e-6), atol=max(tolerance, 2e-6))
    return compiled.plan.steps_by_name


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


def ensemble(
    columns: dict[str, list[Any]],
    members: list[float],
    weights: list[float],
    target: list[int],
    roots: list[int],
    targets: int,
    aggregate: int,
) -> bytes:
    """A TreeEnsemble of version 5 over six features."""

    def tensor(name: str, values: Any, kind: Any) -> Any:
        return numpy_helper.from_array(np.asarray(values, kind), name)

    more = {"membership_values": tensor("s", members, np.float32)} if members else {}
    made = helper.make_node(
        "TreeEnsemble",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        nodes_featureids=columns["f"],
        nodes_modes=tensor("m", columns["m"], np.uint8),
        nodes_splits=tensor("v", columns["v"], np.float32),
        nodes_truenodeids=columns["t"],
        nodes_trueleafs=columns["tl"],
        nodes_falsenodeids=columns["e"],
        nodes_falseleafs=columns["el"],
        nodes_missing_value_tracks_true=columns["missing"],
        leaf_weights=tensor("w", weights, np.float32),
        leaf_targetids=target,
        tree_roots=roots,
        n_targets=targets,
        aggregate_function=aggregate,
        **more,
    )
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [made], "g", [info("x", TensorProto.FLOAT, ["N", 6])], [info("y", TensorProto.FLOAT, None)]
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 5)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def sets(seed: int, trees: int, aggregate: int, targets: int) -> bytes:
    """A TreeEnsemble whose branches are on sets of values, between others."""
    rng = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {k: [] for k in ("f", "m", "v", "t", "tl", "e", "el", "missing")}
    weights: list[float] = []
    target: list[int] = []
    members: list[float] = []

    def grow(level: int) -> tuple[int, int]:
        """(place, is it a leaf)"""
        if level == 3 or (level and rng.random() < 0.2):
            weights.append(float(rng.standard_normal()))
            target.append(int(rng.integers(targets)))
            return len(weights) - 1, 1
        at = len(columns["f"])
        mode = 6 if rng.random() < 0.6 else int(rng.integers(6))
        for name, value in zip(columns, (int(rng.integers(6)), mode, float(rng.integers(-3, 4)) / 2, 0, 0, 0, 0, int(rng.integers(2))), strict=True):  # fmt: skip
            columns[name].append(value)
        if mode == 6:
            # whole numbers: ONNX Runtime knows no others
            values = rng.choice(np.arange(-8, 41), int(rng.integers(1, 30)), replace=False)
            members.extend([*map(float, values.astype(np.float32)), float("nan")])
        columns["t"][at], columns["tl"][at] = grow(level + 1)
        columns["e"][at], columns["el"][at] = grow(level + 1)
        return at, 0

    roots = [grow(0)[0] for _ in range(trees)]
    return ensemble(columns, members, weights, target, roots, targets, aggregate)
