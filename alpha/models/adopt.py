"""A finished ONNX file becomes an artifact: what it takes and gives, what is declared, whether both fit. Floor 3.

Nothing is guessed that would change a decision: whether an output holds logits or probabilities has to be said, the
order of the actions is compared with the class labels that the file carries, and rows are run before anything is
written. :func:`ports` describes a file, :func:`adopt` makes the :class:`Adoption` that ``alpha import`` registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alpha.errors import ModelError
from alpha.features.feature_set import FeatureSet
from alpha.models.declared import Declared, Scaler, complete, read_metadata
from alpha.models.metadata import Metadata
from alpha.models.ports import check_labels, gives, misfit, ports, takes
from alpha.models.trial import trial
from alpha.models.verify import verify_model

__all__ = ["Adoption", "Declared", "Scaler", "adopt", "misfit", "ports"]

SYNTHETIC_ROWS = 256
MAX_PROBES = 512
SUM_TOLERANCE = 1e-4
Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Adoption:
    """A file that fits. ``probes``: normalised rows float32 [N, F], ``scores`` [N - T + 1, K] of
    all rows by the engine that serves (T: rows of a window, else 1). ``sampled``: rows of the user's sample, 0 if the probes are made up. ``worst_sum``: largest distance of a
    sum of probabilities from 1. ``notes``: what was assumed, in sentences."""

    metadata: Metadata
    model_bytes: bytes
    probes: Rows
    scores: Rows
    sampled: int
    worst_sum: float
    notes: tuple[str, ...]


def adopt(
    model: bytes,
    feature_set: FeatureSet,
    said: Declared,
    *,
    spec: bytes | None = None,
    rows: Rows | None = None,
    fallback_id: str = "model",
    run: Callable[[bytes, str, Rows, Sequence[tuple[str, str]]], Rows] = trial,
) -> Adoption:
    """Check a file against its features and what is declared; ModelError names what does not fit.

    ``spec``: bytes of a metadata.json, the specification's short form or our own. ``rows``: raw features float32
    [N, F] of a sample, in the feature set's order; without them seeded made-up rows are run. ``fallback_id``: the
    model's id if neither the user nor the metadata names one. ``run``: makes scores of normalised rows; by default
    in a process of its own, since nobody vouches for the file yet.
    """
    notes: list[str] = []
    graph = verify_model(model, len(feature_set.names))
    known = read_metadata(spec, feature_set, model) if spec is not None else None
    shape, carry = takes(graph, feature_set, said, known)
    output, kind = gives(graph, said, known, carry)
    meta = complete(
        model,
        graph,
        feature_set,
        said,
        known,
        shape=shape,
        carry=carry,
        output=output,
        kind=kind,
        fallback_id=fallback_id,
        notes=notes,
    )
    actions = meta.actions
    before = shape[1] - 1 if len(shape) == 3 else 0  # rows of a window before the newest one
    scaler = Scaler(meta.mean, meta.std, meta.clip)
    if rows is None:
        notes.append("no --sample was given: made-up rows were run, which says nothing about real ones")
        rng = np.random.default_rng(20_260_111)
        made = np.array(meta.mean) + np.maximum(meta.std, 1e-6) * rng.normal(
            size=(SYNTHETIC_ROWS + before, len(meta.mean))
        )
        z = scaler.apply(made.astype(np.float32))
    else:
        z = scaler.apply(rows)
    if len(z) <= before:
        raise ModelError(f"the sample has {len(z)} rows, but the model looks at windows of {before + 1}")
    worst = 0.0
    got = run(model, output, z, [(c.input, c.output) for c in carry])
    if got.shape[1] != len(actions):
        wanted = (
            "a value is one number" if kind == "value" else f"there are {len(actions)} actions: {', '.join(actions)}"
        )
        raise ModelError(f"output {output!r} gives {got.shape[1]} scores, but {wanted}")
    bad = np.flatnonzero(~np.isfinite(got).all(axis=1))
    if len(bad):
        raise ModelError(
            f"row {int(bad[0]) + before} of {'the sample' if rows is not None else 'made-up rows'} gives {got[bad[0]].tolist()}: scores must be finite"
        )
    if kind == "probabilities":
        worst = _probabilities(output, got, before)
    elif kind == "logits" and len(actions) > 1 and _look_like_probabilities(got):
        raise ModelError(
            f"output {output!r} was declared as logits, but every row sums to 1: a second softmax would make all "
            "confidences small; declare --kind probabilities"
        )
    check_labels(graph, actions)
    if before or carry:  # what follows one another belongs together
        probes = z[: MAX_PROBES + before]
    else:
        probes = z[:: max(1, len(z) // MAX_PROBES)][:MAX_PROBES]
    return Adoption(
        meta, model, np.ascontiguousarray(probes), got, 0 if rows is None else len(rows), worst, tuple(notes)
    )


def _probabilities(output: str, got: Rows, before: int) -> float:
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
            f"output {output!r} was declared as probabilities, but row {i + before} sums to {got[i].sum():.6g}: "
            "declare --kind logits if a softmax is still to come"
        )
    return float(off[i])


def _look_like_probabilities(got: Rows) -> bool:
    return bool((got >= 0).all() and (np.abs(got.astype(np.float64).sum(axis=1) - 1.0) < SUM_TOLERANCE).all())
