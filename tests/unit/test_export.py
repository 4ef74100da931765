"""Exported models: the declared opset is true, the bytes repeat, and another engine gives the same numbers."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from alpha.errors import ModelError
from alpha_training import export

N, F = 300, 5


def fitted(kind: str) -> tuple[Any, np.ndarray]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    rng = np.random.default_rng(0)
    z = rng.standard_normal((N, F)).astype(np.float32)
    y = np.digitize(z[:, 0] + 0.5 * rng.standard_normal(N), [-0.5, 0.5])
    model = LogisticRegression() if kind == "logistic" else MLPClassifier((8,), max_iter=20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(z, y)
    return model, z


@pytest.mark.parametrize("kind", ["logistic", "mlp"])
def test_what_is_declared(kind: str) -> None:
    model, _ = fitted(kind)
    proto = onnx.load_from_string(export.to_onnx(model, F, "name"))
    declared = [(o.domain, o.version) for o in proto.opset_import]
    used = {n.domain for n in proto.graph.node}
    assert declared == [("", export.OPSET), *([("ai.onnx.ml", export.ML_OPSET)] if "ai.onnx.ml" in used else [])]
    assert proto.ir_version == export.IR_VERSION
    assert [o.name for o in proto.graph.output] == [export.OUTPUT]
    assert [i.name for i in proto.graph.input] == ["features"]
    assert not proto.doc_string and not proto.metadata_props and not proto.graph.doc_string


@pytest.mark.parametrize("kind", ["logistic", "mlp"])
def test_another_engine_gives_the_same_probabilities(kind: str) -> None:
    import onnxruntime

    model, z = fitted(kind)
    data = export.to_onnx(model, F, "name")
    got = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"features": z})[0]
    assert got.shape == (N, 3)
    assert np.abs(got - model.predict_proba(z)).max() < 1e-5
    assert np.ptp(got[:, 0]) > 0.1  # they do depend on the input


@pytest.mark.parametrize("kind", ["logistic", "mlp"])
def test_the_same_model_gives_the_same_bytes(kind: str) -> None:
    model, _ = fitted(kind)
    assert export.to_onnx(model, F, "name") == export.to_onnx(model, F, "name")


def graph(op: str, imports: list[tuple[str, int]]) -> Any:
    """A one-node model of the standard domain with these opset imports, in this order."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, F]) for n in ("x", "y"))
    proto = helper.make_model(helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", [x], [y]))
    del proto.opset_import[:]
    for domain, version in imports:
        proto.opset_import.add(domain=domain, version=version)
    return proto


def test_the_order_in_which_the_converter_wrote_opsets_does_not_show() -> None:
    made = set()
    for imports in itertools.permutations([("", 16), ("ai.onnx.ml", 1)]):
        proto = graph("Softmax", list(imports))
        export._declare_opsets(proto)
        made.add(proto.SerializeToString(deterministic=True))
    twice = graph("Softmax", [("", 18), ("ai.onnx.ml", 1), ("", 18)])
    export._declare_opsets(twice)
    made.add(twice.SerializeToString(deterministic=True))
    assert len(made) == 1
    assert [(o.domain, o.version) for o in twice.opset_import] == [("", export.OPSET)]


def test_an_operator_that_changed_its_meaning_is_not_relabelled() -> None:
    """ReduceMean takes its axes as an input since opset 18: as an attribute it would mean something else."""
    with pytest.raises(ModelError, match="ReduceMean of opset 13, opset 18 has version 18"):
        export._declare_opsets(graph("ReduceMean", [("", 16)]))


def test_a_foreign_domain_is_refused() -> None:
    proto = graph("Softmax", [("", 18)])
    proto.graph.node[0].domain = "com.example"
    with pytest.raises(ModelError, match=r"'com.example', which is not served"):
        export._declare_opsets(proto)


_SCRIPT = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from test_export import F, export, fitted
for kind in ("logistic", "mlp"):
    print(hashlib.sha256(export.to_onnx(fitted(kind)[0], F, "name")).hexdigest())
"""


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_hash_seed() -> None:
    """Seed 30 made skl2onnx order its opset imports the other way round, for the MLP."""
    printed = {
        subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(Path(__file__).parent)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        ).stdout
        for seed in ("1", "30")
    }
    assert len(printed) == 1
    assert len(printed.pop().split()) == 2
