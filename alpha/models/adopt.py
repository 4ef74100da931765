"""A finished ONNX file becomes an artifact: what it takes and gives, what is declared, whether both fit. Floor 3.

Nothing is guessed that would change a decision: whether an output holds logits or probabilities has to be said, the
order of the actions is compared with the class labels that the file carries, and rows are run before anything is
written. :func:`ports` describes a file, :func:`adopt` makes the :class:`Adoption` that ``alpha import`` registers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from alpha.documents import convert, read_json
from alpha.errors import ModelError
from alpha.features.feature_set import FeatureSet
from alpha.models.graph import Graph, ValueInfo, every_node
from alpha.models.metadata import (
    ACTIONS,
    MAX_SCORES,
    Decision,
    Metadata,
    Output,
    check,
    compare_names,
    decode,
    from_spec,
)
from alpha.models.trial import trial
from alpha.models.verify import verify_model

KINDS = ("logits", "probabilities", "value")
NO_CLIP = (-float(np.finfo(np.float32).max), float(np.finfo(np.float32).max))
SYNTHETIC_ROWS = 256
MAX_PROBES = 512
SUM_TOLERANCE = 1e-4
Rows = npt.NDArray[np.float32]


class Scaler(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What raw features go through before the model: (x - mean) / std, then clip (rule 30). ``std`` 0 divides by 1."""

    mean: list[float]
    std: list[float]
    clip: tuple[float, float] = NO_CLIP

    @classmethod
    def from_json(cls, data: bytes, what: str) -> Scaler:
        """``{"mean": [...], "std": [...], "clip": [low, high]}``; without clip nothing is clipped."""
        return convert(read_json(data, what, ModelError), cls, what, ModelError)

    def apply(self, x: Rows) -> Rows:
        """Normalised float32 [N, F], as the native pipeline computes it."""
        d = x.astype(np.float64) - np.array(self.mean)
        std = np.array(self.std)
        z = (d / np.where(std > 0, std, 1.0)).astype(np.float32)
        clipped: Rows = z.clip(np.float32(self.clip[0]), np.float32(self.clip[1]))
        return clipped


@dataclass(frozen=True, slots=True)
class Declared:
    """What the user says about the file. None: not said."""

    actions: tuple[str, ...] | None = None
    output: str | None = None
    kind: str | None = None
    scaler: Scaler | None = None
    threshold: float | None = None
    model_id: str | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Adoption:
    """A file that fits. ``probes``: normalised rows float32 [N, F], ``scores`` [N, K] of them by the engine that
    serves. ``sampled``: rows of the user's sample, 0 if the probes are made up. ``worst_sum``: largest distance of a
    sum of probabilities from 1. ``notes``: what was assumed, in sentences."""

    metadata: Metadata
    model_bytes: bytes
    probes: Rows
    scores: Rows
    sampled: int
    worst_sum: float
    notes: tuple[str, ...]


def ports(graph: Graph, chosen: str | None = None) -> list[dict[str, Any]]:
    """Inputs and outputs for a table: side, name, type, shape, and what each is good for."""
    rows = []
    for side, infos in (("input", graph.inputs), ("output", graph.outputs)):
        for info in infos:
            use = "features" if side == "input" else _use(info)
            if side == "output" and info.name == chosen:
                use = "the scores"
            shape = None if info.shape is None else [d if d is not None else "?" for d in info.shape]
            rows.append({"side": side, "name": info.name, "type": info.text, "shape": shape, "use": use})
    return rows


def _use(info: ValueInfo) -> str:
    if info.kind in ("sequence", "map"):
        return "a ZipMap: cannot be served"
    if info.dtype is None or info.dtype.kind != "f":
        return "labels" if info.kind == "tensor" else "cannot be served"
    return "scores?" if info.dtype == np.float32 else "not float32: cannot be served"


def adopt(
    model: bytes,
    feature_set: FeatureSet,
    said: Declared,
    *,
    spec: bytes | None = None,
    rows: Rows | None = None,
    fallback_id: str = "model",
    run: Callable[[bytes, str, Rows], Rows] = trial,
) -> Adoption:
    """Check a file against its features and what is declared; ModelError names what does not fit.

    ``spec``: bytes of a metadata.json, the specification's short form or our own. ``rows``: raw features float32
    [N, F] of a sample, in the feature set's order; without them seeded made-up rows are run. ``fallback_id``: the
    model's id if neither the user nor the metadata names one. ``run``: makes scores of normalised rows; by default
    in a process of its own, since nobody vouches for the file yet.
    """
    notes: list[str] = []
    graph = verify_model(model, len(feature_set.names))
    _input(graph, feature_set)
    known = _metadata(spec, feature_set, model) if spec is not None else None
    output, kind = _output(graph, said, known)
    meta = _complete(model, graph, feature_set, said, known, output, kind, fallback_id, notes)
    actions = meta.actions
    scaler = Scaler(meta.mean, meta.std, meta.clip)
    if rows is None:
        notes.append("no --sample was given: made-up rows were run, which says nothing about real ones")
        rng = np.random.default_rng(20_260_111)
        made = np.array(meta.mean) + np.maximum(meta.std, 1e-6) * rng.normal(size=(SYNTHETIC_ROWS, len(meta.mean)))
        z = scaler.apply(made.astype(np.float32))
    else:
        z = scaler.apply(rows)
    worst = 0.0
    got = run(model, output, z)
    if got.shape[1] != len(actions):
        wanted = (
            "a value is one number" if kind == "value" else f"there are {len(actions)} actions: {', '.join(actions)}"
        )
        raise ModelError(f"output {output!r} gives {got.shape[1]} scores, but {wanted}")
    bad = np.flatnonzero(~np.isfinite(got).all(axis=1))
    if len(bad):
        raise ModelError(
            f"row {int(bad[0])} of {'the sample' if rows is not None else 'made-up rows'} gives {got[bad[0]].tolist()}: scores must be finite"
        )
    if kind == "probabilities":
        worst = _probabilities(output, got)
    elif kind == "logits" and len(actions) > 1 and _look_like_probabilities(got):
        raise ModelError(
            f"output {output!r} was declared as logits, but every row sums to 1: a second softmax would make all "
            "confidences small; declare --kind probabilities"
        )
    _labels(graph, actions)
    probes = z[:: max(1, len(z) // MAX_PROBES)][:MAX_PROBES]
    return Adoption(
        meta, model, np.ascontiguousarray(probes), got, 0 if rows is None else len(rows), worst, tuple(notes)
    )


# -- the file


def _input(graph: Graph, fs: FeatureSet) -> None:
    n = len(fs.names)
    if len(graph.inputs) != 1:
        names = ", ".join(info.name for info in graph.inputs[:8]) or "none"
        raise ModelError(
            f"the model has {len(graph.inputs)} inputs ({names}): one float32 input [1, {n}] is served; "
            "export it with a single input for all features"
        )
    info = graph.inputs[0]
    if info.dtype != np.float32:
        raise ModelError(f"input {info.name!r} is {info.text}: export the model with a float32 input")
    if info.shape is None or len(info.shape) != 2:
        shape = "of unknown shape" if info.shape is None else f"of shape {list(info.shape)}"
        raise ModelError(f"input {info.name!r} is {shape}: [1, {n}] or [N, {n}] is served")
    batch, width = info.shape
    if isinstance(batch, int) and batch != 1:
        raise ModelError(
            f"input {info.name!r} takes {batch} rows at once: export it for one row or with a free first dimension"
        )
    if not isinstance(width, int):
        raise ModelError(
            f"input {info.name!r} does not say how many features it takes: declare its shape as [None, {n}]"
        )
    if width != n:
        raise ModelError(
            f"the model takes {width} features, feature set {fs.name!r} makes {n}: {', '.join(fs.names[:6])}"
            f"{', …' if n > 6 else ''}"
        )


def _output(graph: Graph, said: Declared, known: _Known | None) -> tuple[str, str]:
    """Name and kind of the output to read."""
    default = known.output if known else None
    name = said.output or (default.name if default else None)
    usable = [o for o in graph.outputs if o.dtype == np.float32]
    listing = ", ".join(f"{o.name} {o.text}" for o in graph.outputs)
    if name is None:
        if len(usable) == 1:
            name = usable[0].name
        elif len(usable) > 1:
            raise ModelError(
                f"the model has {len(usable)} outputs that could hold scores: choose one with --output "
                f"{' or --output '.join(o.name for o in usable)}"
            )
        elif any(o.kind in ("sequence", "map") for o in graph.outputs):
            raise ModelError(_zipmap(next(o for o in graph.outputs if o.kind in ("sequence", "map"))))
        else:
            raise ModelError(f"the model has no float32 output that could hold scores; it has: {listing}")
    info = next((o for o in graph.outputs if o.name == name), None)
    if info is None:
        raise ModelError(f"the model has no output {name!r}; it has: {listing}")
    if info.kind in ("sequence", "map"):
        raise ModelError(_zipmap(info))
    if info.dtype != np.float32:
        what = "labels, not scores" if info.dtype is None or info.dtype.kind in "iuO" else "no float32 numbers"
        raise ModelError(f"output {name!r} is {info.text}: it holds {what}")
    if said.kind and default and said.kind != default.kind:
        raise ModelError(
            f"--kind {said.kind} was given, but the metadata says that {default.name!r} holds {default.kind}"
        )
    kind = said.kind or (default.kind if default else None)
    if kind is None:
        raise ModelError(
            f"say what output {name!r} holds: --kind logits (a softmax is still to come), --kind probabilities, "
            "or --kind value (one number whose sign decides)"
        )
    if kind not in KINDS:
        raise ModelError(f"kind {kind!r} is unknown: use {', '.join(KINDS)}")
    return name, kind


def _zipmap(info: ValueInfo) -> str:
    return (
        f"output {info.name!r} is {info.text}, a ZipMap, which no numeric engine serves: "
        "export with options={'zipmap': False}"
    )


def _labels(graph: Graph, actions: Sequence[str]) -> None:
    """The class labels in the file, where they are actions or their codes, must come in the order of the actions."""
    lists: list[list[Any]] = []
    for node in every_node(graph):
        lists += [list(v) for k, v in node.attributes.items() if k.startswith("classlabels") and isinstance(v, tuple)]
    lists += [
        v.ravel().tolist() for v in graph.initializers.values() if v.size == len(actions) and v.dtype.kind in "iO"
    ]
    codes = {code: name for name, code in ACTIONS.items()}
    for found in lists:
        names = [v.decode("utf-8", "replace") if isinstance(v, bytes) else codes.get(v, v) for v in found]
        told = any(isinstance(v, bytes) for v in found) or -1 in found  # 0, 1, 2 only number the classes
        if told and sorted(map(str, names)) == sorted(actions) and names != list(actions):
            raise ModelError(
                f"the model lists its classes as {', '.join(names)}, but the actions are {', '.join(actions)}: "
                f"give them in the model's order: --actions {','.join(names)}"
            )


def _probabilities(output: str, got: Rows) -> float:
    low, high = float(got.min()), float(got.max())
    if low < -SUM_TOLERANCE or high > 1 + SUM_TOLERANCE:
        raise ModelError(
            f"output {output!r} was declared as probabilities, but it holds {low if low < 0 else high:.6g}"
        )
    if got.shape[1] == 1:
        return 0.0
    off = np.abs(got.astype(np.float64).sum(axis=1) - 1.0)
    i = int(off.argmax())
    if off[i] > SUM_TOLERANCE:
        raise ModelError(
            f"output {output!r} was declared as probabilities, but row {i} sums to {got[i].sum():.6g}: "
            "declare --kind logits if a softmax is still to come"
        )
    return float(off[i])


def _look_like_probabilities(got: Rows) -> bool:
    return bool((got >= 0).all() and (np.abs(got.astype(np.float64).sum(axis=1) - 1.0) < SUM_TOLERANCE).all())


# -- what is declared


@dataclass(frozen=True, slots=True)
class _Known:
    """What a metadata.json says. ``output``: None in the specification's short form, which leaves it open."""

    meta: Metadata
    output: Output | None


def _metadata(data: bytes, fs: FeatureSet, model: bytes) -> _Known:
    """Our own metadata, or the specification's short form."""
    raw = read_json(data, "metadata", ModelError)
    if not isinstance(raw, dict):
        raise ModelError("metadata must be one JSON object")
    digest = hashlib.sha256(model).hexdigest()
    if "schema_version" not in raw:
        return _Known(from_spec(raw, fs, output="?", kind="logits", model_sha256=digest), None)
    meta = decode(data, "metadata")
    if meta.sha256["model.onnx"] != digest:
        raise ModelError(f"the metadata belongs to another file: it says sha256 {meta.sha256['model.onnx'][:12]}…")
    compare_names(meta.feature_names, list(fs.names), f"model {meta.model_id}")
    if meta.definition_hash != fs.definition_hash:
        raise ModelError(
            f"the metadata was written for the feature definition {meta.definition_hash[:12]}…, "
            f"but {fs.name!r} is {fs.definition_hash[:12]}…"
        )
    return _Known(meta, meta.outputs[0])


def _actions(said: Declared, known: _Known | None, kind: str) -> list[str]:
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


def _scaling(said: Declared, known: _Known | None, n: int, notes: list[str]) -> Scaler:
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


def _complete(
    model: bytes,
    graph: Graph,
    fs: FeatureSet,
    said: Declared,
    known: _Known | None,
    output: str,
    kind: str,
    fallback_id: str,
    notes: list[str],
) -> Metadata:
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
        "input": [1, n],
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
