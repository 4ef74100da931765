"""metadata.json: what a model file means. Floor 3.

The fields are those of the design; :func:`from_spec` also understands the specification's short
form (``model_id version feature_names mean std actions``).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from alpha.documents import convert, read_json, to_json
from alpha.errors import DefinitionError, ModelError
from alpha.features.feature_set import FeatureSet, canonical_text
from alpha.models import limits as limits_of
from alpha.models.limits import Limits

SCHEMA_VERSION = 1
ACTIONS = {"SELL": -1, "HOLD": 0, "BUY": 1}
MAX_SCORES = 8
TOLERANCE, MAX_TOLERANCE = 1e-6, 1e-4  # of a plan's scores, times max(1, |y|)
_ID = re.compile(r"[A-Za-z0-9_\-][A-Za-z0-9_.\-]*")


class Carry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One recurrent state: names of the model's input and output that hold it, and its shape."""

    input: str = msgspec.field(name="in")
    output: str = msgspec.field(name="out")
    shape: tuple[int, ...] = ()


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One output of the ONNX graph that is read."""

    name: str
    kind: Literal["logits", "probabilities", "value"]


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How scores become an action. ``threshold`` is inclusive, on the highest raw probability (``|value|`` for sign)."""

    rule: Literal["argmax", "sign"] = "argmax"
    threshold: float = 0.0
    cooldown_ns: int = 0


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Training distribution of the raw float32 features, per feature; ``quantiles`` maps "0.01" to values; ``edges`` (nine
    a feature) and ``shares`` (ten) are what PSI compares with."""

    min: list[float] = []
    max: list[float] = []
    mean: list[float] = []
    std: list[float] = []
    quantiles: dict[str, list[float]] = {}
    edges: list[list[float]] = []
    shares: list[list[float]] = []


class TrainedOn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model has seen."""

    symbols: list[str] = []
    simulated: bool = False
    data_sha256: list[str] = []
    start_ns: int = 0
    end_ns: int = 0
    rows: int = 0


class Metadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything the runtime needs beside the model's bytes."""

    schema_version: int = SCHEMA_VERSION
    model_id: str
    version: int
    feature_set: dict[str, Any]
    definition_hash: str
    feature_names: list[str]
    mean: list[float]
    std: list[float]
    clip: tuple[float, float] = (-5.0, 5.0)
    input: list[int]
    carry: list[Carry] = []
    prepare: bool = False
    """Between two triggers what follows from the recurrent state alone is computed: shorter steps, the same bits."""
    tolerance: float = TOLERANCE
    """How far a plan's scores may be from ONNX Runtime's, times max(1, |y|), and how near to its limit a decision may
    differ. More than the default is the owner's word that rounding of that size does not matter."""
    outputs: list[Output]
    output_schema: list[str]
    actions: list[str]
    decision: Decision = Decision()
    limits: Limits = Limits()
    reference: Reference = Reference()
    trained_on: TrainedOn = TrainedOn()
    opset: int = 0
    ir_version: int = 0
    sha256: dict[str, str]

    def build_feature_set(self) -> FeatureSet:
        """The feature set exactly as recorded; ModelError if this build gives it another meaning."""
        fs = self.present_feature_set()
        if fs.definition_hash != self.definition_hash:
            raise ModelError(
                f"model {self.model_id} v{self.version}: its feature definition hashes to {fs.definition_hash[:12]}…, "
                f"the metadata says {self.definition_hash[:12]}…: the definition changed, train or revalidate the model"
            )
        return fs

    def present_feature_set(self) -> FeatureSet:
        """The feature set as this build understands the recorded text. Its hash differs from ``definition_hash`` when
        an operator has another version now; ModelError if the text cannot be built or is not what was hashed."""
        what = f"model {self.model_id} v{self.version}"
        recorded = {k: v for k, v in self.feature_set.items() if k != "name"}
        digest = hashlib.sha256(canonical_text(recorded).encode()).hexdigest()
        try:
            dict(recorded.get("operators", {}))
            fs = FeatureSet.from_dict({k: v for k, v in self.feature_set.items() if k != "operators"})
        except (DefinitionError, TypeError, ValueError, AttributeError) as exc:  # the latter: wrong JSON types inside
            raise ModelError(f"{what}: its feature set cannot be built: {exc}") from None
        if self.definition_hash not in (digest, fs.definition_hash):
            raise ModelError(
                f"{what}: its feature definition hashes to {digest[:12]}…, the metadata says "
                f"{self.definition_hash[:12]}…: the definition changed, train or revalidate the model"
            )
        compare_names(self.feature_names, list(fs.names), what)
        return fs

    def action_codes(self) -> list[int]:
        """-1, 0 or 1 for each score, in the model's order."""
        return [ACTIONS[a] for a in self.actions]


def normalised(
    x32: npt.NDArray[np.float32], mean: Sequence[float], std: Sequence[float], clip: tuple[float, float]
) -> npt.NDArray[np.float32]:
    """z = float32((float64(x32) - mean) / std), clipped (numerics rule 30); [N, F] or [F], a ``std`` of 0 divides by 1."""
    s = np.asarray(std, np.float64)
    z = ((x32.astype(np.float64) - np.asarray(mean, np.float64)) / np.where(s > 0, s, 1.0)).astype(np.float32)
    clipped: npt.NDArray[np.float32] = np.clip(z, np.float32(clip[0]), np.float32(clip[1]))
    return clipped


def compare_names(model: list[str], features: list[str], what: str) -> None:
    """Order counts; ModelError shows the first difference."""
    for i, (a, b) in enumerate(zip(model, features, strict=False)):
        if a != b:
            raise ModelError(f"{what}: feature {i} is {a!r} for the model but {b!r} in the feature set")
    if len(model) != len(features):
        raise ModelError(f"{what}: the model takes {len(model)} features, the feature set makes {len(features)}")


def is_model_id(text: str) -> bool:
    """A name that works in a URI and as a folder: ASCII letters, digits, ``_ - .``, not starting with a dot."""
    return _ID.fullmatch(text) is not None


def version_number(text: str | int) -> int:
    """``1``, ``"1"`` and ``"v1"`` are the same version."""
    digits = str(text).removeprefix("v")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10 and int(digits) > 0):
        raise ModelError(f"version {str(text)[:40]!r} is not a positive number such as 3 or v3")
    return int(digits)


def decode(data: bytes, what: str = "metadata.json") -> Metadata:
    """Strictly read and cross-check metadata; ModelError in one sentence."""
    raw = read_json(data, what, ModelError)
    if isinstance(raw, dict) and isinstance(raw.get("version"), str):
        raw = {**raw, "version": version_number(raw["version"])}
    meta = convert(raw, Metadata, what, ModelError)
    check(meta, what)
    return meta


def encode(meta: Metadata) -> bytes:
    """The bytes of metadata.json."""
    check(meta, "metadata")
    return to_json(meta)


def check(meta: Metadata, what: str) -> None:
    """Cross-field checks; ModelError names the field."""

    def bad(message: str) -> ModelError:
        return ModelError(f"{what}: {message}")

    n = len(meta.feature_names)
    if meta.schema_version != SCHEMA_VERSION:
        raise bad(f"schema_version {meta.schema_version} is not understood by this build (it reads {SCHEMA_VERSION})")
    if not is_model_id(meta.model_id):
        raise bad(f"model_id {meta.model_id!r} may hold ASCII letters, digits, '_', '-' and '.' only, no dot in front")
    if not 0 < meta.version < 10**9:
        raise bad("version must be at least 1 and below 1,000,000,000")
    if n == 0 or len(set(meta.feature_names)) != n:
        raise bad("feature_names must be present and unique")
    for name, values in (("mean", meta.mean), ("std", meta.std)):
        if len(values) != n:
            raise bad(f"{name} has {len(values)} values for {n} features")
        if not all(math.isfinite(v) for v in values):
            raise bad(f"{name} contains a value that is not finite")
    if any(s < 0 for s in meta.std):
        raise bad("std contains a negative value")
    if not (math.isfinite(meta.clip[0]) and math.isfinite(meta.clip[1]) and meta.clip[0] < meta.clip[1]):
        raise bad(f"clip must be a finite range, not {list(meta.clip)}")
    if meta.input not in ([1, n],) and not (
        len(meta.input) == 3 and meta.input[0] == 1 and meta.input[2] == n and meta.input[1] > 0
    ):
        raise bad(f"input shape {meta.input} does not fit {n} features: it is [1, {n}] or [1, T, {n}]")
    if meta.prepare and not meta.carry:
        raise bad("prepare is for a model with a recurrent state, and carry is empty")
    if not TOLERANCE <= meta.tolerance <= MAX_TOLERANCE:
        raise bad(f"tolerance {meta.tolerance:g} must be from {TOLERANCE:g} to {MAX_TOLERANCE:g}")
    if not meta.outputs:
        raise bad("outputs is empty: name the output to read and its kind")
    unknown = [a for a in meta.actions if a not in ACTIONS]
    if unknown:
        raise bad(f"action {unknown[0]!r} is unknown: use {', '.join(ACTIONS)}")
    if not 1 <= len(meta.actions) <= MAX_SCORES or len(set(meta.actions)) != len(meta.actions):
        raise bad(f"actions must be from 1 to {MAX_SCORES} different ones, not {meta.actions}")
    d = meta.decision
    if not (math.isfinite(d.threshold) and d.threshold >= 0.0) or (d.rule == "argmax" and d.threshold > 1.0):
        raise bad(f"decision.threshold {d.threshold} is not a probability")
    if not 0 <= d.cooldown_ns < 2**62:
        raise bad("decision.cooldown_ns must be from 0 to 2**62 ns")
    if (d.rule == "sign") != (meta.outputs[0].kind == "value"):
        raise bad("the sign rule goes with an output of kind value, argmax with logits or probabilities")
    if len(meta.output_schema) != len(meta.actions):
        raise bad(f"output_schema has {len(meta.output_schema)} names for {len(meta.actions)} actions")
    r = meta.reference
    named = [(k, getattr(r, k)) for k in ("min", "max", "mean", "std")]
    for name, values in [*named, *((f"quantiles[{q}]", v) for q, v in r.quantiles.items())]:
        if values and len(values) != n:
            raise bad(f"reference.{name} has {len(values)} values for {n} features")
        if not all(math.isfinite(v) for v in values):
            raise bad(f"reference.{name} contains a value that is not finite")
    if wrong := limits_of.problem(meta.limits):
        raise bad(wrong)
    try:
        limits_of.check_reference(meta.limits, r, n)
    except ModelError as exc:
        raise bad(str(exc)) from None
    if "model.onnx" not in meta.sha256:
        raise bad("sha256 lacks model.onnx")


def from_spec(raw: dict[str, Any], feature_set: FeatureSet, *, output: str, kind: str, model_sha256: str) -> Metadata:
    """Complete the specification's short metadata with what it leaves open.

    ``raw``: model_id, version ("v1" or 1), feature_names, mean, std, actions. ``output``, ``kind``: which
    output to read and whether it holds logits or probabilities, which the short form does not say.
    """
    required = {"model_id", "version", "feature_names", "mean", "std", "actions"}
    if missing := sorted(required - set(raw)):
        raise ModelError(f"metadata lacks {missing[0]!r}")
    if unknown := sorted(map(str, set(raw) - required)):
        raise ModelError(
            f"metadata has the unknown field {unknown[0]!r}; the short form has {', '.join(sorted(required))}"
        )
    for name in ("feature_names", "actions"):
        if not (isinstance(raw[name], list) and all(isinstance(v, str) for v in raw[name])):
            raise ModelError(f"metadata: {name} must be a list of names")
    compare_names(raw["feature_names"], list(feature_set.names), f"model {raw['model_id']}")
    value = {
        "model_id": raw["model_id"],
        "version": version_number(raw["version"]),
        "feature_set": {"name": feature_set.name, **feature_set.definition()},
        "definition_hash": feature_set.definition_hash,
        "feature_names": raw["feature_names"],
        "mean": raw["mean"],
        "std": raw["std"],
        "input": [1, len(raw["feature_names"])],
        "outputs": [{"name": output, "kind": kind}],
        "output_schema": [f"probability_{a.lower()}" for a in raw["actions"]],
        "actions": raw["actions"],
        "sha256": {"model.onnx": model_sha256},
    }
    meta = convert(value, Metadata, "metadata", ModelError)
    check(meta, "metadata")
    return meta
