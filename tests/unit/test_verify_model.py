"""What a model's bytes must pass before an engine sees them, and that every path that serves asks."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnx_models as made
import pytest
from onnx import helper, numpy_helper

import alpha
from alpha.errors import ModelError
from alpha.features import catalog
from alpha.models import load, metadata
from alpha.models.allowed import FATAL, OPTIONAL, OPTIONAL_OUTPUTS
from alpha.models.verify import verify_model

F = made.N_FEATURES


def one(op: str, inputs: list[str], outputs: list[str], initial: dict[str, Any] | None = None, **more: Any) -> bytes:
    """A model of one node."""
    extra = {k: more.pop(k) for k in ("opset", "ml") if k in more}
    node = helper.make_node(op, inputs, outputs, name="n", **more)
    return made.model([node], [made.value("x", "N", F)], [made.value(outputs[0], "N", F)], initial, **extra)


def test_models_that_may_be_served() -> None:
    for name, data in made.zoo().items():
        assert verify_model(data, F).outputs, name


BIG = {"shape": np.array([1 << 20, 1 << 20], np.int64)}
REFUSED: list[tuple[bytes, str]] = [
    (one("Relu", ["x"], ["y"], domain="com.microsoft"), "operators of 'com.microsoft' are refused"),
    (one("EPContext", ["x"], ["y"], domain="com.microsoft"), "operators of 'com.microsoft' are refused"),
    (one("Magic", ["x"], ["y"], domain="mine"), "operators of 'mine' are refused"),
    (one("Scaler", ["x"], ["y"], domain="ai.onnx.ml", scale=[1.0], offset=[0.0]), "does not say which version of 'ai.onnx.ml'"),
    *((one(op, ["x"], ["y"]), "draws random numbers") for op in ("RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial")),
    (one("RandomNormal", [], ["y"], shape=[1, F]), "draws random numbers"),
    (one("Dropout", ["x", "r", "t"], ["y"], {"r": np.float32(0.5), "t": np.array(True)}), "in training mode"),
    (one("Dropout", ["x", "", "x"], ["y"]), "in training mode"),
    (one("Dropout", ["x"], ["y"], opset=6), "in training mode"),
    (one("BatchNormalization", ["x", *"abcd"], ["y"], {k: np.ones(F, np.float32) for k in "abcd"}, training_mode=1), "in training mode"),
    (one("BatchNormalization", ["x", *"abcd"], ["y", "m", "v"], {k: np.ones(F, np.float32) for k in "abcd"}, opset=9), "in training mode"),
    (one("ConstantOfShape", ["shape"], ["y"], BIG), "would make more than 16,777,216 elements: 'shape' is too large"),
    (one("Expand", ["x", "shape"], ["y"], BIG), "would make more than"),
    (one("Tile", ["x", "shape"], ["y"], BIG), "would make more than"),
    (one("Range", ["z", "shape", "z"], ["y"], {"z": np.int64(1), "shape": np.int64(1 << 40)}), "would make more than"),
    (one("Range", ["z", "o", "d"], ["y"], {"z": np.float32(0), "o": np.float32(1), "d": np.float32(1e-9)}), "its step is too small"),
    (one("Sum", ["x", ""], ["y"]), "leaves out its input 1, which it cannot do without"),
    (one("Scaler", [""], ["y"], domain="ai.onnx.ml", ml=3, scale=[1.0], offset=[0.0]), "leaves out its input 0"),
    (one("Split", ["x"], ["y", ""], axis=1, num_outputs=2), "leaves out its output 1, which needs a name even where nothing uses it"),
    (one("LayerNormalization", ["x", "s", ""], ["y"], {"s": np.ones(F, np.float32)}), r'names its input 2 "", of which ONNX Runtime dies: end its list'),
    (one("DFT", ["x", "", ""], ["y"], opset=20), r'names its input 2 ""'),
    (one("LeakyRelu", ["x"], ["y"], alpha=float("nan")), "element 0 of alpha is nan: weights must be finite"),
    (one("Scaler", ["x"], ["y"], domain="ai.onnx.ml", ml=3, scale=[1.0] * F, offset=[0.0] * (F - 1)), "offset has 5 values for 6 columns"),
    (one("Scaler", ["x"], ["y"], domain="ai.onnx.ml", ml=3, scale=[float("inf")], offset=[0.0]), "element 0 of scale is inf"),
    (one("LinearRegressor", ["x"], ["y"], domain="ai.onnx.ml", ml=3, coefficients=[1.0] * 5, intercepts=[0.0]), "coefficients has 5 values where 6"),
    (one("LinearClassifier", ["x"], ["l", "y"], domain="ai.onnx.ml", ml=3, coefficients=[1.0] * 12, intercepts=[0.0], classlabels_ints=[0, 1]), "intercepts has 1 values where 2"),
    (one("LinearClassifier", ["x"], ["l", "y"], domain="ai.onnx.ml", ml=3, coefficients=[1.0] * 13, intercepts=[0.0] * 2), "13 coefficients do not fit 6 features"),
    (one("SVMRegressor", ["x"], ["y"], domain="ai.onnx.ml", ml=3, support_vectors=[1.0] * 12, coefficients=[1.0] * 2, n_supports=3, rho=[0.0]), "n_supports 3 differ"),
    (one("Imputer", ["x"], ["y"], domain="ai.onnx.ml", ml=3, imputed_value_floats=[1.0, 2.0]), "does not fit 6 columns"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "message"), REFUSED, ids=[f"{i}-{m[:24]}" for i, (_, m) in enumerate(REFUSED)])
def test_refused_with_its_reason(data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        verify_model(data)


def test_a_shape_that_is_computed_from_large_numbers() -> None:
    nodes = [
        helper.make_node("Mul", ["a", "a"], ["b"]),
        helper.make_node("Concat", ["b", "a"], ["shape"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["y"]),
    ]
    data = made.model(nodes, [], [made.value("y", "A", "B")], {"a": np.array([1 << 30], np.int64)})
    with pytest.raises(ModelError, match="ConstantOfShape 'y' would make more than"):
        verify_model(data)
    small = made.model(nodes, [], [made.value("y", "A", "B")], {"a": np.array([4], np.int64)})
    verify_model(small)


def test_optional_inputs_may_be_left_out() -> None:
    limit = {"high": np.float32(1)}
    verify_model(one("Clip", ["x", "", "high"], ["y"], limit))
    verify_model(one("ReduceSum", ["x", ""], ["y"]))
    with pytest.raises(ModelError, match="Clip 'n' leaves out its input 0"):
        verify_model(one("Clip", ["", "", "high"], ["y"], limit))


def test_optional_outputs_may_be_left_out() -> None:
    weights = {"w": np.ones((1, 16, F), np.float32), "r": np.ones((1, 16, 4), np.float32)}
    node = helper.make_node("LSTM", ["x", "w", "r"], ["", "y"], hidden_size=4)
    verify_model(made.model([node], [made.value("x", 2, 1, F)], [made.value("y", 1, 1, 4)], weights))
    verify_model(one("LayerNormalization", ["x", "s"], ["y", "", "d"], {"s": np.ones(F, np.float32)}))


@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_the_tables_of_what_is_optional_are_those_of_onnx(side: str) -> None:
    """Over every version of every operator: none is missing, none is made up."""
    ours = OPTIONAL if side == "inputs" else OPTIONAL_OUTPUTS
    theirs: dict[str, set[int]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        places = [
            i
            for i, x in enumerate(getattr(schema, side))
            if x.option == onnx.defs.OpSchema.FormalParameterOption.Optional
        ]
        assert schema.domain != "ai.onnx.ml" or not places
        if schema.domain == "" and places:
            theirs.setdefault(schema.name, set()).update(places)
    # an older onnx lacks the newest operators
    assert {k: set(v) for k, v in ours.items() if k in theirs} == theirs
    assert len(theirs) >= (30 if side == "inputs" else 8)
    assert all(i in OPTIONAL[op] for op, i in FATAL)


def nested(depth: int, rounds: int) -> bytes:
    """``depth`` loops in each other, with one addition innermost."""
    number, truth = onnx.TensorProto.INT64, onnx.TensorProto.BOOL
    body: Any = None
    for d in range(depth):
        inner = helper.make_node("Loop", ["rounds", "", f"s{d}"], [f"o{d}"], body=body) if body else None
        work = inner or helper.make_node("Add", [f"s{d}", "one"], [f"o{d}"])
        body = helper.make_graph(
            [helper.make_node("Identity", [f"c{d}"], [f"g{d}"]), work],
            f"body{d}",
            [made.value(f"i{d}", kind=number), made.value(f"c{d}", kind=truth), made.value(f"s{d}", 1, F)],
            [made.value(f"g{d}", kind=truth), made.value(f"o{d}", 1, F)],
        )
    loop = helper.make_node("Loop", ["rounds", "", "x"], ["y"], body=body)
    initial = {"rounds": np.int64(rounds), "one": np.float32(1)}
    return made.model([loop], [made.value("x", 1, F)], [made.value("y", 1, F)], initial)


def test_the_rounds_of_loops_inside_loops_multiply() -> None:
    verify_model(nested(1, 10_000))
    verify_model(nested(2, 500))
    verify_model(nested(3, 60))
    for depth, rounds in ((2, 10_000), (2, 800), (3, 90), (5, 10_000)):
        with pytest.raises(ModelError, match=r"node Loop '\w+' would run more than 1,000,000 nodes"):
            verify_model(nested(depth, rounds))


def test_columns_behind_a_quantile_transformer_are_known() -> None:
    """The exporter flattens the columns and gives them their shape back."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Flatten", ["x"], ["flat"], axis=0),
        helper.make_node("Abs", ["flat"], ["more"]),
        helper.make_node("Reshape", ["more", "shape"], ["back"]),
        helper.make_node("ArgMax", ["back"], ["best"], axis=1),
        helper.make_node("Cast", ["best"], ["number"], to=made.FLOAT),
        helper.make_node("Concat", ["back", "number"], ["wide"], axis=1),
        helper.make_node("Scaler", ["wide"], ["y"], domain="ai.onnx.ml", scale=[1.0] * (F + 1), offset=[0.0] * (F + 1)),
    ]
    inputs, outputs = [made.value("x", "N", F)], [made.value("y", "N", F + 1)]
    verify_model(made.model(nodes, inputs, outputs, ml=3))
    nodes[-1] = helper.make_node("Scaler", ["wide"], ["y"], domain="ai.onnx.ml", scale=[1.0] * F, offset=[0.0] * F)
    with pytest.raises(ModelError, match="scale has 6 values for 7 columns"):
        verify_model(made.model(nodes, inputs, outputs, ml=3))
    nodes[3] = helper.make_node("Flatten", ["more"], ["back"], axis=0)
    with pytest.raises(ModelError, match="cannot be checked: Flatten 'flat' is not among the operators whose columns"):
        verify_model(made.model(nodes, inputs, outputs, ml=3))
    nodes[:4] = [helper.make_node("Abs", ["x"], ["back"])]
    with pytest.raises(ModelError, match=r"declare the shape of input 'x' as \[None, F\]"):
        verify_model(made.model(nodes, [made.value("x", "N", "M")], outputs, ml=3))


def test_a_classifier_with_its_labels_only() -> None:
    """Found by mutation: its scores have no name."""
    node = helper.make_node(
        "LinearClassifier", ["x"], ["l"], domain="ai.onnx.ml", coefficients=[1.0] * 12, intercepts=[0.0] * 2
    )
    verify_model(made.model([node], [made.value("x", "N", F)], [made.value("l", "N", kind=7)], ml=3))


@pytest.mark.parametrize("rounds", [10_001, -1, 2**62, None])
def test_a_loop_must_end(rounds: int | None) -> None:
    proto = onnx.load_from_string(made.branches())
    loop = next(n for n in proto.graph.node if n.op_type == "Loop")
    if rounds is None:
        loop.input[0] = ""
    else:
        held = next(t for t in proto.graph.initializer if t.name == "rounds")
        held.CopyFrom(numpy_helper.from_array(np.array(rounds, np.int64), "rounds"))
    with pytest.raises(ModelError, match="its number of rounds must be a constant of at most 10,000"):
        verify_model(proto.SerializeToString())


def test_inside_of_branches_too() -> None:
    proto = onnx.load_from_string(made.branches())
    branch = next(n for n in proto.graph.node if n.op_type == "If").attribute[0].g
    branch.node[0].op_type = "RandomNormalLike"
    with pytest.raises(ModelError, match="draws random numbers"):
        verify_model(proto.SerializeToString())


def test_a_tree_whose_input_has_an_unknown_width_is_refused() -> None:
    """A kernel that trusts the file would read beside the row."""
    proto = onnx.load_from_string(made.zoo()["forest"])
    proto.graph.input[0].type.tensor_type.shape.dim[1].ClearField("dim_value")
    with pytest.raises(ModelError, match="cannot be told how many columns"):
        verify_model(proto.SerializeToString())
    verify_model(proto.SerializeToString(), F)
    with pytest.raises(ModelError, match="there are 2 features"):
        verify_model(proto.SerializeToString(), 2)


def test_what_stands_for_a_missing_value_may_be_nan() -> None:
    verify_model(
        one(
            "Imputer",
            ["x"],
            ["y"],
            domain="ai.onnx.ml",
            ml=3,
            imputed_value_floats=[1.0],
            replaced_value_float=float("nan"),
        )
    )


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A folder whose hashes are right and whose model is hostile: the hash alone is no protection."""
    fs = catalog.get("spec")
    hostile = made.model(
        [helper.make_node("RandomNormalLike", ["x"], ["p"])], [made.value("x", 1, 2)], [made.value("p", 1, 2)]
    )
    meta = metadata.Metadata(
        model_id="m",
        version=1,
        feature_set={"name": fs.name, **fs.definition()},
        definition_hash=fs.definition_hash,
        feature_names=list(fs.names),
        mean=[0.0, 0.0],
        std=[1.0, 1.0],
        input=[1, 2],
        outputs=[metadata.Output(name="p", kind="logits")],
        output_schema=["a", "b"],
        actions=["SELL", "BUY"],
        sha256={"model.onnx": hashlib.sha256(hostile).hexdigest()},
    )
    (tmp_path / "model.onnx").write_bytes(hostile)
    (tmp_path / "metadata.json").write_bytes(metadata.encode(meta))
    return tmp_path


def test_loading_and_serving_refuse_it(artifact: Path) -> None:
    for serve in (load.load_artifact, lambda d: alpha.Runtime.from_artifact(d, instruments=["A"])):
        with pytest.raises(ModelError, match=r"model.onnx is refused: node RandomNormalLike 'p' draws random numbers"):
            serve(artifact)


def test_a_registry_refuses_it_and_says_so_when_it_verifies(artifact: Path, tmp_path: Path) -> None:
    from alpha.registry import Entry, register, verify

    meta = metadata.decode((artifact / "metadata.json").read_bytes())
    folder = tmp_path / "artifacts" / "m" / "v1"
    folder.mkdir(parents=True)
    for name in ("model.onnx", "metadata.json"):
        (artifact / name).rename(folder / name)
    entry = Entry(
        id="m",
        version=1,
        status="candidate",
        path="artifacts/m/v1/model.onnx",
        sha256=meta.sha256["model.onnx"],
        input_features=meta.feature_names,
        output_schema=meta.output_schema,
        created_at="2026-01-11T12:00:00Z",
    )
    book = register(tmp_path / "registry.json", entry)
    count, problems = verify(book.path)
    assert count == 1 and "draws random numbers" in problems[0]
    with alpha.Runtime.from_registry(book.path, "models:/m/1", instruments=["A"], missing="hold") as rt:
        assert "draws random numbers" in rt.why
    assert msgspec.to_builtins(book.document)["models"][0]["status"] == "candidate"


@pytest.mark.slow
def test_no_export_of_scikit_learn_is_refused() -> None:
    """Thirty estimators as people export them, with and without a ZipMap."""
    from sklearn import (
        calibration,
        discriminant_analysis,
        ensemble,
        linear_model,
        naive_bayes,
        neighbors,
        neural_network,
        pipeline,
        preprocessing,
        svm,
        tree,
    )
    from sklearn.impute import SimpleImputer

    x, y = made.sample()
    names, value = np.array(["SELL", "HOLD", "BUY"])[y], x[:, 0]
    chain, forest, r = pipeline.make_pipeline, ensemble.RandomForestClassifier, {"random_state": 0}
    logistic = linear_model.LogisticRegression
    estimators: list[tuple[Any, Any]] = [
        *((logistic(), t) for t in (y, y > 0, names)),
        *((forest(20, **r), t) for t in (y, y > 0)),
        (ensemble.ExtraTreesClassifier(10, **r), names),
        (ensemble.GradientBoostingClassifier(n_estimators=20, **r), y),
        *((ensemble.HistGradientBoostingClassifier(max_iter=20, **r), t) for t in (y, y > 0)),
        (ensemble.AdaBoostClassifier(n_estimators=10, **r), y),
        (ensemble.BaggingClassifier(n_estimators=3, **r), y),
        (ensemble.StackingClassifier([("a", logistic()), ("b", forest(5, **r))], final_estimator=logistic()), y),
        (calibration.CalibratedClassifierCV(forest(5, **r)), y),
        (neural_network.MLPClassifier((32, 16), max_iter=30, **r), y),
        (svm.SVC(probability=False), y),
        (naive_bayes.GaussianNB(), y),
        (neighbors.KNeighborsClassifier(), y),
        (discriminant_analysis.LinearDiscriminantAnalysis(), y),
        (chain(preprocessing.StandardScaler(), logistic()), y),
        (chain(SimpleImputer(), preprocessing.StandardScaler(), forest(10, **r)), y),
        (chain(preprocessing.Normalizer(), preprocessing.PolynomialFeatures(), forest(10, **r)), y),
        (chain(preprocessing.RobustScaler(), tree.DecisionTreeClassifier(**r)), y),
        (linear_model.Ridge(), value),
        (linear_model.Lasso(alpha=0.1), value),
        (ensemble.RandomForestRegressor(20, **r), value),
        (ensemble.GradientBoostingRegressor(n_estimators=20, **r), value),
        (neural_network.MLPRegressor(hidden_layer_sizes=(32, 16), max_iter=30, **r), value),
        (svm.SVR(), value),
        (tree.DecisionTreeRegressor(**r), value),
        (ensemble.IsolationForest(n_estimators=10, **r), y),
    ]
    assert len(estimators) == 30
    for estimator, target in estimators:
        for zipmap in (False, True):
            assert verify_model(made.exported(estimator, target, zipmap=zipmap)).outputs, estimator


@pytest.mark.parametrize("op", ["Shape", "ConstantOfShape", "Reshape", "Gather", "Concat", "MatMul"])
@pytest.mark.parametrize("inputs", [[], ["x"]])
def test_a_node_with_too_few_inputs_before_trees_is_no_surprise(op: str, inputs: list[str]) -> None:
    nodes = [
        helper.make_node(op, inputs, ["few"], **({"axis": 1} if op in ("Gather", "Concat") else {})),
        helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", scale=[1.0] * F, offset=[0.0] * F),
    ]
    verify_model(made.model(nodes, [made.value("x", "N", F)], [made.value("y", "N", F)], ml=3))
