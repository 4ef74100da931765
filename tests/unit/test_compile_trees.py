"""Tree ensembles bit for bit as ONNX Runtime: every mode, aggregate, transform, missing values."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from plans import ISAS, bit_equal, ensemble, forest, sets

from alpha._core.ort import OrtModel
from alpha.models.compile import Unsupported, compile_model


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


@pytest.mark.parametrize("op", ["regressor", "classifier"])
@pytest.mark.parametrize("targets", [1, 3])
def test_probit(op: str, targets: int) -> None:
    data = forest("BRANCH_LEQ", targets=targets, post_transform="PROBIT", spread="all", positive=True, depth=3, classifier=op == "classifier")  # fmt: skip
    if op == "classifier" and targets == 1:
        with pytest.raises(Unsupported, match="one class"):
            compile_model(data, "y")
        return
    bit_equal(data)


def test_a_classifier_of_two_whose_leaves_all_name_the_second_class() -> None:
    data = forest("BRANCH_LEQ", classifier=True, targets=1, classes=2, spread="one", post_transform="LOGISTIC")
    proto = onnx.ModelProto.FromString(data)
    for attribute in proto.graph.node[0].attribute:
        if attribute.name == "class_ids":
            attribute.ints[:] = [1] * len(attribute.ints)
    bit_equal(proto.SerializeToString())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(("aggregate", "targets"), [(1, 1), (0, 1), (2, 1), (1, 3)])
def test_branches_on_sets(seed: int, missing: bool, aggregate: int, targets: int) -> None:
    """On whole numbers: between them ONNX Runtime rounds some values into some sets (decision 075)."""
    data = sets(seed, 7, aggregate, targets)
    rng = np.random.default_rng(seed)
    x = rng.integers(-10, 44, (2000, 6)).astype(np.float32)
    if missing:
        x[rng.random(x.shape) < 0.2] = np.nan
    expected = OrtModel(data, output="y").kernel().run(x)
    for isa in ISAS:
        assert compile_model(data, "y", isa=isa).plan.kernel().run(x).tobytes() == expected.tobytes(), isa


@pytest.mark.parametrize(
    "members",
    [[], [0.0], [-0.0, 1.5], [3.0, 1.0, 2.0, 2.0], [1.0, np.nextafter(np.float32(1), np.float32(2))], [-3e38]],
)
@pytest.mark.parametrize("missing", [0, 1])
def test_a_set_holds_its_values_and_no_others(members: list[float], missing: int) -> None:
    """The definition itself, also where ONNX Runtime does not load it."""
    columns = {"f": [2], "m": [6], "v": [0.0], "t": [0], "tl": [1], "e": [1], "el": [1], "missing": [missing]}
    data = ensemble(columns, [*members, np.nan], [1.0, -1.0], [0, 0], [0], 1, 1)
    near = [np.nextafter(np.float32(m), np.float32(s)) for m in members for s in (-np.inf, np.inf)]
    values = np.array([*members, *near, 0.0, -0.0, 0.5, 1.0, -7.0, 3e38, -3e38, np.nan], np.float32)
    x = np.zeros((len(values), 6), np.float32)
    x[:, 2] = values
    inside = np.isin(values, np.array(members, np.float32)) | (np.isnan(values) & bool(missing))
    for isa in ISAS:
        got = compile_model(data, "y", isa=isa).plan.kernel().run(x)[:, 0]
        np.testing.assert_array_equal(got > 0, inside)


def test_sets_without_end_are_not_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alpha.models.lower_trees.MAX_MEMBERS", 20)
    with pytest.raises(Unsupported, match="sets of more than 20 values in all"):
        compile_model(sets(0, 7, 1, 1), "y")
