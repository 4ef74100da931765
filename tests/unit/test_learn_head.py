"""The head: before it learns it is production, its steps are softmax regression in time order, and it can go on again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from alpha.errors import DataError
from alpha.features import catalog
from alpha.models.load import LoadedModel
from alpha.models.metadata import Metadata, Output
from alpha.models.verify import verify_model
from alpha_training import fit
from alpha_training.fit import Fitted, Inputs, Task
from alpha_training.learn import head
from alpha_training.learn.head import BATCH, BLOCK, Head
from alpha_training.learn.production import Served
from alpha_training.recipe import Model
from alpha_training.score import Exported

FS = catalog.get("demo")
F = len(FS.names)
N = 3_000


def rows(seed: int = 3) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Normalised rows and classes that depend on two of them."""
    rng = np.random.default_rng(seed)
    z = np.clip(rng.standard_normal((N, F)), -5, 5).astype(np.float32)
    score = z[:, 0] - 0.5 * z[:, 1] + 0.8 * rng.standard_normal(N)
    return z, np.digitize(score, (-0.6, 0.6)).astype(np.int64)


def served(model: Fitted, window: int = 1) -> Served:
    """A fitted model as it would be served."""
    data = model.to_onnx("m")
    value = model.kind == "value"
    meta = Metadata(
        model_id="m",
        version=1,
        feature_set={"name": FS.name, **FS.definition()},
        definition_hash=FS.definition_hash,
        feature_names=list(FS.names),
        mean=[0.0] * F,
        std=[1.0] * F,
        input=[1, window, F] if model.shape == "window" else [1, F],
        carry=list(model.carry),
        outputs=[Output(name="value" if value else "probabilities", kind=model.kind)],
        output_schema=[str(a) for a in model.actions],
        actions=model.actions,
        decision={"rule": "sign"} if value else {},  # type: ignore[arg-type]
        sha256={"model.onnx": ""},
    )
    return Served(LoadedModel(Path(), meta, FS, data, "", "", verify_model(data, F)))


def fitted(kind: str, classes: int = 3, **more: Any) -> tuple[Served, Inputs, npt.NDArray[np.int64]]:
    z, y = rows()
    if classes == 2:
        y = np.where(y == 1, 0, y)
    window = int(more.get("window", 1))
    inputs = Inputs(z, length=window if fit.FAMILIES[kind].shape == "window" else 1)
    at = np.arange(window, N)
    spec = Model(id="m", kind=kind, **more)  # type: ignore[arg-type]
    cut = int(len(at) * 0.8)
    return served(fit.fit(spec, Task(inputs, y, y.astype(float), at[:cut], at[cut:], 5)), window), inputs, y


SMALL = {"mlp": {"params": {"hidden_layer_sizes": (8,), "max_iter": 3}}, "forest": {"params": {"n_estimators": 4}}}


@pytest.mark.parametrize(
    ("kind", "classes", "more", "what"),
    [
        ("logistic", 3, {}, "linear"),
        ("logistic", 2, {}, "linear"),
        ("logistic", 3, {"calibrate": True}, "layer"),
        ("mlp", 3, SMALL["mlp"], "layer"),
        ("mlp", 2, SMALL["mlp"], "map"),
        ("forest", 3, SMALL["forest"], "map"),
    ],
)
def test_a_head_that_has_learned_nothing_is_production(kind: str, classes: int, more: Any, what: str) -> None:
    s, inputs, y = fitted(kind, classes, **more)
    some = np.arange(0, N, 7)
    layer = head.layer_of(s, inputs, some)
    assert layer.what == what
    begun = Head(s, layer, layer.weight, layer.bias, "")
    np.testing.assert_allclose(begun.scores(inputs, some), s.scores(inputs, some), atol=2e-6)
    exported = Exported(begun.to_onnx("m"), "row", "probabilities", (), inputs)
    np.testing.assert_allclose(exported.scores(some), s.scores(inputs, some), atol=2e-6)
    # and what it learns is what the exported file says
    went_on = head.updated(s, layer, inputs, 2 - y, np.arange(2_000), seed=1)
    data = went_on.to_onnx("m")
    own = Exported(data, "row", "probabilities", (), inputs).scores(some)
    np.testing.assert_allclose(own, went_on.scores(inputs, some), atol=2e-6)
    assert np.abs(own - s.scores(inputs, some)).max() > 0.02
    assert data == head.updated(s, layer, inputs, 2 - y, np.arange(2_000), seed=1).to_onnx("m")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "shape"), [("gru", "window"), ("lstm", "step")])
def test_windows_and_states_keep_what_lies_before_the_last_layer(kind: str, shape: Any) -> None:
    pytest.importorskip("torch")
    s, inputs, y = fitted(kind, window=3, params={"hidden": 4, "epochs": 1})
    assert s.shape == shape
    some = np.arange(10, 300)
    layer = head.layer_of(s, inputs, some)
    begun = Head(s, layer, layer.weight, layer.bias, "")
    np.testing.assert_allclose(begun.scores(inputs, some), s.scores(inputs, some), atol=5e-6)
    went_on = head.updated(s, layer, inputs, 2 - y, np.arange(3, 1_500), seed=1)
    data = went_on.to_onnx("m")
    exported = Exported(data, shape, "probabilities", s.carry, inputs)
    np.testing.assert_allclose(exported.scores(some), went_on.scores(inputs, some), atol=5e-6)
    assert np.abs(exported.scores(some) - s.scores(inputs, some)).max() > 0.01
    verify_model(data, F)


@pytest.mark.parametrize("classes", [3, 2])
def test_its_steps_are_softmax_regression_by_hand(classes: int) -> None:
    """The slow and obvious way: one gradient step a batch, in order, and the mean over the later half of the blocks."""
    s, inputs, y = fitted("logistic", classes)
    layer = head.layer_of(s, inputs, np.arange(100))
    at = np.arange(100, 2_900)
    turned = 2 - y
    went_on = head.updated(s, layer, inputs, turned, at, seed=1, rate=0.1)
    x = inputs.rows(at).astype(np.float64)
    codes = np.array([int(np.abs(np.array(s.classes) - c).argmin()) for c in turned[at]])
    w, b = layer.weight.copy(), layer.bias.copy()
    looks, blocks = [], -(-len(x) // BLOCK)
    for i in range(blocks):
        for j in range(i * BLOCK, min((i + 1) * BLOCK, len(x)), BATCH):
            xs, ys = x[j : min(j + BATCH, (i + 1) * BLOCK)], codes[j : min(j + BATCH, (i + 1) * BLOCK)]
            p = head.softmax(xs @ w + b)
            p[np.arange(len(ys)), ys] -= 1.0
            if classes == 2:  # only the second class's logit moves
                p[:, 0] = 0.0
            w, b = w - 0.1 * xs.T @ p / len(xs), b - 0.1 * p.mean(axis=0)
        if i >= blocks // 2:
            looks.append((w, b))
    np.testing.assert_allclose(
        went_on.scores(inputs, at),
        head.softmax(x @ np.mean([k[0] for k in looks], axis=0) + np.mean([k[1] for k in looks], axis=0)),
        atol=1e-9,
    )


def test_a_head_goes_on_from_a_head() -> None:
    for kind, more in (("logistic", {}), ("forest", SMALL["forest"])):
        s, inputs, y = fitted(kind, **more)
        first = head.updated(s, head.layer_of(s, inputs, np.arange(200)), inputs, 2 - y, np.arange(2_000), seed=1)
        again = served(first)
        layer = head.layer_of(again, inputs, np.arange(200))
        assert layer.what == "layer"
        np.testing.assert_allclose(layer.weight, first.weight, rtol=1e-6)
        second = head.updated(again, layer, inputs, y, np.arange(2_000), seed=1)
        rest = np.arange(2_000, N)
        exported = Exported(second.to_onnx("m"), "row", "probabilities", (), inputs)
        np.testing.assert_allclose(exported.scores(rest), second.scores(inputs, rest), atol=2e-6)
        assert len(second.to_onnx("m")) < len(first.to_onnx("m")) + 200  # nothing of the first head is left behind


def test_a_model_without_such_a_layer_is_refused_with_what_to_do() -> None:
    s, *_ = fitted("ridge")
    with pytest.raises(DataError, match=r"m v1 gives value: use --mode refit"):
        head.check(s)
    s, *_ = fitted("logistic")
    s.policy = True
    with pytest.raises(DataError, match=r"policy.*--mode refit"):
        head.check(s)


def test_one_class_large_features_and_a_wild_rate_are_refused() -> None:
    s, inputs, y = fitted("logistic")
    layer = head.layer_of(s, inputs, np.arange(100))
    with pytest.raises(DataError, match=r"is always HOLD.*--window longer"):
        head.updated(s, layer, inputs, np.ones_like(y), np.arange(500), seed=1)
    wide = Inputs((inputs.z * 1e3).astype(np.float32))
    with pytest.raises(DataError, match=r"not normalised; use --mode refit"):
        head.updated(s, layer, wide, y, np.arange(500), seed=1)
    with pytest.raises(DataError, match=r"--rate 1e\+300 is too large"):
        head.updated(s, layer, inputs, y, np.arange(500), seed=1, rate=1e300)
