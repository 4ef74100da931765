"""What is said about a strange model, on the command line and in metadata, becomes its metadata. Floor 3."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from alpha.documents import convert, read_json
from alpha.errors import ModelError
from alpha.features.feature_set import FeatureSet
from alpha.models.graph import Graph
from alpha.models.metadata import (
    ACTIONS,
    MAX_SCORES,
    TOLERANCE,
    Carry,
    Decision,
    Metadata,
    Output,
    check,
    compare_names,
    decode,
    from_spec,
    normalised,
)

NO_CLIP = (-float(np.finfo(np.float32).max), float(np.finfo(np.float32).max))
SMALLEST_STD = float(np.finfo(np.float32).tiny)  # below it the reciprocal leaves float32
Rows = npt.NDArray[np.float32]


class Scaler(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What raw features go through before the model: (x - mean) / std, then clip (rule 30). ``std`` 0 divides by 1."""

    mean: list[float]
    std: list[float]
    clip: tuple[float, float] = NO_CLIP

    @classmethod
    def from_json(cls, data: bytes, what: str) -> Scaler:
        """``{"mean": [...], "std": [...], "clip": [low, high]}``; without clip nothing is clipped."""
        found = convert(read_json(data, what, ModelError), cls, what, ModelError)
        wrong = next((s for s in found.std if 0 < s < SMALLEST_STD), None)
        if wrong is not None:
            raise ModelError(
                f"{what}: std {wrong:.6g} is too small to divide by: give at least {SMALLEST_STD:.6g}, or 0 for a "
                "feature that never changes, which divides by 1"
            )
        return found

    def apply(self, x: Rows) -> Rows:
        """Normalised float32 [N, F], as the native pipeline computes it."""
        return normalised(x, self.mean, self.std, self.clip)


@dataclass(frozen=True, slots=True)
class Declared:
    """What the user says about the file. None: not said. ``carry``: (input, output) names of recurrent states;
    ``prepare``: what follows from these alone is computed between two triggers; ``tolerance``: of a plan's scores."""

    actions: tuple[str, ...] | None = None
    output: str | None = None
    kind: str | None = None
    scaler: Scaler | None = None
    threshold: float | None = None
    model_id: str | None = None
    version: int | None = None
    carry: tuple[tuple[str, str], ...] | None = None
    prepare: bool = False
    tolerance: float | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What a metadata.json says. ``output``: None in the specification's short form, which leaves it open."""

    meta: Metadata
    output: Output | None


def read_metadata(data: bytes, fs: FeatureSet, model: bytes) -> Known:
    """Our own metadata, or the specification's short form."""
    raw = read_json(data, "metadata", ModelError)
    if not isinstance(raw, dict):
        raise ModelError("metadata must be one JSON object")
    digest = hashlib.sha256(model).hexdigest()
    if "schema_version" not in raw:
        return Known(from_spec(raw, fs, output="?", kind="logits", model_sha256=digest), None)
    meta = decode(data, "metadata")
    if meta.sha256["model.onnx"] != digest:
        raise ModelError(f"the metadata belongs to another file: it says sha256 {meta.sha256['model.onnx'][:12]}…")
    compare_names(meta.feature_names, list(fs.names), f"model {meta.model_id}")
    if meta.definition_hash != fs.definition_hash:
        raise ModelError(
            f"the metadata was written for the feature definition {meta.definition_hash[:12]}…, "
            f"but {fs.name!r} is {fs.definition_hash[:12]}…"
        )
    return Known(meta, meta.outputs[0])


def _actions(said: Declared, known: Known | None, kind: str) -> list[str]:
    if kind == "value":
        if said.actions is not None:
            raise ModelError("--actions were given, but a value needs none: its sign decides")
        return ["BUY"]
    theirs = known.meta.actions if known else None
    if said.actions is not None and theirs is not None and list(said.actions) != theirs:
        raise ModelError(f"--actions {','.join(said.actions)} differ from the metadata's: {','.join(theirs)}")
    actions = list(said.actions) if said.actions is not None else theirs
    if actions is None:
        raise ModelError("say what each score stands for, in the model's order: --actions SELL,HOLD,BUY")
    unknown = [a for a in actions if a not in ACTIONS]
    if unknown or not 1 <= len(actions) <= MAX_SCORES or len(set(actions)) < len(actions):
        raise ModelError(f"actions {','.join(actions)!r} must be different ones of {', '.join(ACTIONS)}")
    if kind == "logits" and len(actions) == 1:
        raise ModelError("one logit cannot be served: its softmax is always 1; export its sigmoid as a probability")
    return actions


def _scaling(said: Declared, known: Known | None, n: int, notes: list[str]) -> Scaler:
    theirs = Scaler(known.meta.mean, known.meta.std, known.meta.clip) if known else None
    if (
        said.scaler is not None
        and theirs is not None
        and (said.scaler.mean, said.scaler.std) != (theirs.mean, theirs.std)
    ):
        raise ModelError("--scaler and the metadata give different means or deviations: leave one of them away")
    if said.scaler is not None:
        if said.scaler.clip == NO_CLIP:
            notes.append("the scaler names no clip: normalised features are not clipped")
        return said.scaler
    if known is not None and theirs is not None:
        if known.output is None:
            notes.append("the short metadata names no clip: normalised features are clipped to [-5, 5]")
        return theirs
    notes.append("no --scaler and no metadata: the model takes raw features (mean 0, std 1, nothing is clipped)")
    return Scaler([0.0] * n, [1.0] * n)


def complete(
    model: bytes,
    graph: Graph,
    fs: FeatureSet,
    said: Declared,
    known: Known | None,
    *,
    shape: Sequence[int],
    carry: Sequence[Carry],
    output: str,
    kind: str,
    fallback_id: str,
    notes: list[str],
) -> Metadata:
    """Everything that was said, taken from metadata, or may be assumed (which ``notes`` then tells), as metadata."""
    n = len(fs.names)
    actions = _actions(said, known, kind)
    scaler = _scaling(said, known, n, notes)
    decision = known.meta.decision if known and known.output else Decision()
    value = {
        "model_id": said.model_id or (known.meta.model_id if known else fallback_id),
        "version": said.version or (known.meta.version if known else 1),
        "feature_set": {"name": fs.name, **fs.definition()},
        "definition_hash": fs.definition_hash,
        "feature_names": list(fs.names),
        "mean": scaler.mean,
        "std": scaler.std,
        "clip": list(scaler.clip),
        "input": list(shape),
        "carry": [{"in": c.input, "out": c.output, "shape": list(c.shape)} for c in carry],
        "prepare": said.prepare or (known is not None and known.meta.prepare),
        "tolerance": said.tolerance if said.tolerance is not None else (known.meta.tolerance if known else TOLERANCE),
        "outputs": [{"name": output, "kind": kind}],
        "output_schema": ["value"] if kind == "value" else [f"probability_{a.lower()}" for a in actions],
        "actions": actions,
        "decision": {
            "rule": "sign" if kind == "value" else "argmax",
            "threshold": decision.threshold if said.threshold is None else said.threshold,
            "cooldown_ns": decision.cooldown_ns,
        },
        "opset": graph.opset.get("", 0),
        "ir_version": graph.ir_version,
        "sha256": {"model.onnx": hashlib.sha256(model).hexdigest()},
    }
    meta = convert(value, Metadata, "metadata", ModelError)
    if known:
        meta = msgspec.structs.replace(meta, reference=known.meta.reference, trained_on=known.meta.trained_on)
    check(meta, "metadata")
    return meta
