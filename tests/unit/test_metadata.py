"""metadata.json is read strictly: what is wrong is said in one sentence, and nothing half-read is served."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_models
import pytest

from alpha.errors import ModelError
from alpha.features import catalog
from alpha.features.feature_set import FeatureSet
from alpha.models import load, metadata

MODEL = onnx_models.softmax()
SPEC = {
    "model_id": "HybridPPO",
    "version": "v1",
    "feature_names": ["bid_ask_spread", "mid_price_velocity_1s"],
    "mean": [0.0, 50.0],
    "std": [1.0, 20.0],
    "actions": ["SELL", "HOLD", "BUY"],
}


def document(**changes: Any) -> dict[str, Any]:
    """A valid metadata.json as plain values."""
    fs = catalog.get("spec")
    value: dict[str, Any] = {
        "schema_version": 1,
        "model_id": "momentum",
        "version": 3,
        "feature_set": {"name": fs.name, **fs.definition()},
        "definition_hash": fs.definition_hash,
        "feature_names": list(fs.names),
        "mean": [0.0, 1.0],
        "std": [1.0, 0.0],
        "clip": [-5.0, 5.0],
        "input": [1, 2],
        "outputs": [{"name": "probabilities", "kind": "probabilities"}],
        "output_schema": ["down", "flat", "up"],
        "actions": ["SELL", "HOLD", "BUY"],
        "decision": {"rule": "argmax", "threshold": 0.5, "cooldown_ns": 0},
        "reference": {
            "min": [0.0, 0.0],
            "max": [1.0, 1.0],
            "mean": [0.5, 0.5],
            "std": [0.1, 0.1],
            "quantiles": {"0.5": [0.5, 0.5]},
        },
        "sha256": {"model.onnx": hashlib.sha256(MODEL).hexdigest()},
    }
    return value | copy.deepcopy(changes)


def decoded(value: dict[str, Any]) -> metadata.Metadata:
    return metadata.decode(json.dumps(value).encode())


def test_round_trip_keeps_every_field() -> None:
    meta = decoded(document())
    assert metadata.decode(metadata.encode(meta)) == meta
    assert (meta.model_id, meta.version, meta.clip) == ("momentum", 3, (-5.0, 5.0))
    assert meta.action_codes() == [-1, 0, 1]
    assert meta.build_feature_set().definition_hash == meta.definition_hash


@pytest.mark.parametrize("version", [3, "3", "v3"])
def test_a_version_may_be_written_three_ways(version: int | str) -> None:
    assert decoded(document(version=version)).version == 3


@pytest.mark.parametrize("version", [0, -1, "vv1", "1.0", "", "v", "٣", True, "9" * 5000, "9" * 10])
def test_what_is_no_version(version: Any) -> None:
    with pytest.raises(ModelError, match="is not a positive number"):
        metadata.version_number(version)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version 2"),
        ({"version": 0}, "version must be at least 1"),
        ({"model_id": "../evil"}, "model_id '../evil'"),
        ({"model_id": ".."}, "no dot in front"),
        ({"model_id": "\ud800"}, "model_id"),
        ({"feature_names": []}, "feature_names must be present and unique"),
        ({"feature_names": ["a", "a"]}, "feature_names must be present and unique"),
        ({"mean": [0.0]}, "mean has 1 values for 2 features"),
        ({"std": [1.0, 1.0, 1.0]}, "std has 3 values for 2 features"),
        ({"std": [1.0, -1.0]}, "std contains a negative value"),
        ({"clip": [5.0, -5.0]}, "clip must be a finite range"),
        ({"clip": [0.0, 0.0]}, "clip must be a finite range"),
        ({"input": [1, 3]}, r"input shape \[1, 3\] does not fit 2 features"),
        ({"input": [2, 2]}, "does not fit"),
        ({"outputs": []}, "outputs is empty"),
        ({"outputs": [{"name": "x", "kind": "score"}]}, r"Invalid enum value 'score'"),
        ({"actions": ["SELL", "HOLD", "STRONG_BUY"]}, "action 'STRONG_BUY' is unknown"),
        ({"actions": ["SELL", "HOLD", "HOLD"]}, "different ones"),
        ({"output_schema": ["up"]}, "output_schema has 1 names for 3 actions"),
        ({"decision": {"threshold": 1.01}}, "threshold 1.01 is not a probability"),
        ({"decision": {"threshold": -0.1}}, "threshold -0.1 is not a probability"),
        ({"decision": {"rule": "sign"}}, "sign rule goes with an output of kind value"),
        ({"decision": {"cooldown_ns": -1}}, "cooldown_ns"),
        ({"decision": {"cooldown_ns": 10**400}}, "cooldown_ns"),
        ({"reference": {"min": [0.0]}}, "reference.min has 1 values for 2 features"),
        ({"reference": {"quantiles": {"0.5": [1.0]}}}, r"reference.quantiles\[0.5\] has 1 values"),
        ({"limits": {"ranges": {"mode": "hold"}}, "reference": {}}, r"reference.min and reference.max are missing"),
        ({"limits": {"ranges": {"mode": "some"}}}, "Invalid enum value 'some'"),
        ({"limits": {"ranges": {"margin": -1}}}, r"limits.ranges.margin must be"),
        ({"limits": {"psi": {"mode": "count"}}}, r"reference.edges and reference.shares are missing"),
        ({"limits": {"psi": {"window": 100}}}, r"limits.psi.window must be a multiple of 16"),
        ({"limits": {"distance": {"limit": -1}}}, r"limits.distance.limit must be"),
        ({"limits": {"max_age_ns": -1}}, r"limits.max_age_ns must be"),
        ({"limits": {"breaker": {"errors": 9, "window": 8}}}, "errors must be from 0 to window"),
        ({"limits": {"breaker": {"in_a_row": 0}}}, "in_a_row at least 1"),
        ({"reference": {"edges": [[0.0] * 9]}}, "reference.edges must have 9 values for each of 2 features"),
        ({"reference": {"edges": [[1.0, *[0.0] * 8]] * 2}}, "reference.edges must ascend"),
        ({"reference": {"shares": [[2.0] * 10] * 2}}, "reference.shares must lie between 0 and 1"),
        ({"reference": {"psi_usual": [1.0]}}, "reference.psi_usual must have a finite value, 0 or more, for each of 2"),
        ({"reference": {"psi_usual": [1.0, -1.0]}}, "reference.psi_usual must have a finite value, 0 or more"),
        ({"sha256": {}}, "sha256 lacks model.onnx"),
        ({"surprise": 1}, "unknown field `surprise`"),
        ({"mean": [10**400, 0]}, "out of range"),
        ({"mean": "0"}, "Expected `array`"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        decoded(document(**change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["mean", "reference"])
def test_a_number_that_overflows_is_not_finite(field: str) -> None:
    """1e999 is legal JSON and reads as infinity."""
    text = json.dumps(document()).replace('"mean": [0.0, 1.0]', '"mean": [0.0, 1e999]')
    if field == "reference":
        text = json.dumps(document()).replace('"max": [1.0, 1.0]', '"max": [1.0, 1e999]')
    with pytest.raises(ModelError, match=f"{field}.*not finite"):
        metadata.decode(text.encode())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"model_id": "a", "model_id": "b"}', "key 'model_id' twice"),
        (b'{"reference": {"min": [NaN]}}', "contains NaN"),
        (b'{"reference": {"min": [-Infinity]}}', "contains -Infinity"),
        (b'{"feature_set": ' + b"[" * 40 + b"]" * 40 + b"}", "nested 41 deep; the limit is 32"),
        (b"[" * 1_000_000, "nested 1000000 deep"),
        (b'{"model_id": "\xff"}', "not valid JSON"),
        (b'{"version": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"model_id"', "not valid JSON"),
        (b"", "not valid JSON"),
        (b"[]", "Expected `object`"),
        (b'"' + b"x" * (16 * 1024 * 1024) + b'"', "the limit is 16777216"),
    ],
)
def test_hostile_bytes(data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        metadata.decode(data)


def test_brackets_inside_strings_are_no_nesting() -> None:
    meta = decoded(document(output_schema=["[" * 100, '"[\\[', "}"]))
    assert meta.output_schema[0] == "[" * 100


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.update(features=5),
        lambda f: f.update(features=[["x"]]),
        lambda f: f.update(features={}),
        lambda f: f.update(operators=5),
        lambda f: f.update(operators=[1]),
        lambda f: f.update(stream=[]),
        lambda f: f["stream"]["guard"].update(crossed=["a"]),
        lambda f: f.update(trigger="sometimes"),
    ],
)
def test_a_feature_set_of_wrong_types_is_a_model_error(change: Callable[[dict[str, Any]], None]) -> None:
    value = document()
    change(value["feature_set"])
    with pytest.raises(ModelError, match="momentum v3: its feature set cannot be built"):
        decoded(value).build_feature_set()


def test_a_changed_definition_is_noticed() -> None:
    value = document()
    value["feature_set"]["features"][1][1] = 'velocity(mid, "2s")'
    with pytest.raises(ModelError, match="the definition changed"):
        decoded(value).build_feature_set()


def test_the_first_different_name_is_shown() -> None:
    value = document(feature_names=["bid_ask_spread", "velocity"])
    with pytest.raises(ModelError, match="feature 1 is 'velocity' for the model but 'mid_price_velocity_1s'"):
        decoded(value).build_feature_set()
    with pytest.raises(ModelError, match="takes 1 features, the feature set makes 2"):
        metadata.compare_names(["a"], ["a", "b"], "model m")


class TestSpecification:
    """The short metadata of the specification."""

    def complete(self, raw: dict[str, Any], fs: FeatureSet | None = None) -> metadata.Metadata:
        return metadata.from_spec(
            raw,
            fs or catalog.get("spec"),
            output="scores",
            kind="logits",
            model_sha256=hashlib.sha256(MODEL).hexdigest(),
        )

    def test_is_completed(self) -> None:
        meta = self.complete(SPEC)
        assert (meta.model_id, meta.version, meta.input) == ("HybridPPO", 1, [1, 2])
        assert (meta.mean, meta.std) == ([0.0, 50.0], [1.0, 20.0])
        assert meta.outputs[0].kind == "logits"
        assert metadata.decode(metadata.encode(meta)) == meta

    @pytest.mark.parametrize("field", sorted(SPEC))
    def test_needs_every_field(self, field: str) -> None:
        with pytest.raises(ModelError, match=f"lacks '{field}'"):
            self.complete({k: v for k, v in SPEC.items() if k != field})

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"surprise": 1}, "unknown field 'surprise'"),
            ({"feature_names": 5}, "feature_names must be a list of names"),
            ({"actions": [1, 2]}, "actions must be a list of names"),
            ({"feature_names": ["mid_price_velocity_1s", "bid_ask_spread"]}, "feature 0 is 'mid_price_velocity_1s'"),
            ({"mean": [0.0]}, "mean has 1 values"),
            ({"version": "v0"}, "is not a positive number"),
        ],
    )
    def test_is_read_strictly(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(ModelError, match=message):
            self.complete({**SPEC, **change})


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """An artifact folder with valid metadata and a model that fits it."""
    folder = tmp_path / "v3"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(MODEL)
    (folder / "metadata.json").write_bytes(metadata.encode(decoded(document())))
    return folder


def test_an_artifact_is_loaded_with_the_hash_of_the_bytes_read(artifact: Path) -> None:
    loaded = load.load_artifact(artifact)
    assert loaded.model_bytes == MODEL
    assert loaded.sha256 == hashlib.sha256(MODEL).hexdigest()
    assert loaded.metadata_sha256 == hashlib.sha256((artifact / "metadata.json").read_bytes()).hexdigest()
    assert loaded.feature_set.names == ("bid_ask_spread", "mid_price_velocity_1s")


@pytest.mark.parametrize("at", [0, len(MODEL) // 2, len(MODEL) - 1])
def test_one_altered_model_byte_is_refused(artifact: Path, at: int) -> None:
    data = bytearray(MODEL)
    data[at] ^= 1
    (artifact / "model.onnx").write_bytes(data)
    with pytest.raises(ModelError, match=r"model.onnx was altered: .* the metadata says"):
        load.load_artifact(artifact)


def test_what_the_registry_recorded_is_compared(artifact: Path) -> None:
    good = load.load_artifact(artifact)
    load.load_artifact(artifact, expect_sha256=good.sha256, expect_metadata_sha256=good.metadata_sha256)
    with pytest.raises(ModelError, match=r"model.onnx was altered: .* the registry says"):
        load.load_artifact(artifact, expect_sha256="0" * 64)
    with pytest.raises(ModelError, match=r"metadata.json was altered"):
        load.load_artifact(artifact, expect_metadata_sha256="0" * 64)


def test_a_link_out_of_the_folder_is_refused(artifact: Path, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere.onnx"
    outside.write_bytes(MODEL)
    (artifact / "model.onnx").unlink()
    (artifact / "model.onnx").symlink_to(outside)
    with pytest.raises(ModelError, match="a link that leads outside"):
        load.load_artifact(artifact)


def test_missing_and_oversized_files(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        load.load_artifact(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="cannot be read"):
        load.load_artifact(tmp_path / ("x" * 5000))
    with (artifact / "model.onnx").open("wb") as handle:
        handle.truncate(load.MAX_MODEL_BYTES + 1)  # sparse: takes no room on disk
    with pytest.raises(ModelError, match="larger than"):
        load.load_artifact(artifact)
    (artifact / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"has no model.onnx"):
        load.load_artifact(artifact)


def test_hashed_names_cannot_leave_the_folder(artifact: Path) -> None:
    """sha256 of the metadata names files; a name is no way out."""
    (artifact.parent / "secret").write_text("x")
    problems: list[str] = []
    for name in ("../secret", "a\0b", "y" * 5000):
        meta = decoded(document(sha256={"model.onnx": hashlib.sha256(MODEL).hexdigest(), name: "0" * 64}))
        load.verify_files(artifact, meta, problems.append)
    assert len(problems) == 3
    assert "leads outside" in problems[0]
