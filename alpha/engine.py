"""Which engine computes a model's scores: the fused plan that ONNX Runtime judged good, or ONNX Runtime. Floor 6."""

from __future__ import annotations

import functools
import itertools
import operator
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha._core import ort
from alpha._core.ort import OrtModel
from alpha._core.plan import Plan
from alpha.distribution import Cluster
from alpha.errors import ModelError
from alpha.models import judge
from alpha.models.compile import Compiled, compile_model
from alpha.models.load import LoadedModel, load_artifact

ENGINES = ("auto", "plan", "ort")
PRECISIONS = ("float32", "bf16")
ALL_TIES = 300_000  # rows of tree thresholds that alpha validate tries at most


@dataclass(frozen=True)
class Engine:
    """What computes the scores: ``name`` plan, ort or none, and ``reason``, one sentence why that one."""

    name: str
    reason: str
    model: OrtModel | Plan | None = None
    verdict: judge.Verdict | None = None


NO_ENGINE = Engine("none", "no model was given")


def choose_engine(
    loaded: LoadedModel, engine: str = "auto", precision: str = "float32", *, judged: bool = True
) -> Engine:
    """Compile, have the plan judged, and say which engine serves and why. ``judged=False``: the plan has decided, and is
    to do so again: a replay compares every byte."""
    if engine not in ENGINES:
        raise ModelError(f"engine {engine!r} is unknown: use {', '.join(ENGINES)}")
    meta = loaded.metadata
    output, carry = meta.outputs[0].name, [(c.input, c.output) for c in meta.carry]
    no_ort = ort.unavailable_reason()
    compiled: Compiled | None = None
    verdict: judge.Verdict | None = None
    if engine == "ort":
        reason = "ONNX Runtime was asked for"
    else:
        try:
            compiled = compile_model(loaded.model_bytes, output, carry=carry, precision=precision)
            reason = ""
        except ModelError as exc:  # not covered, or a plan that its own check refuses: ONNX Runtime may know better
            reason = f"no plan: {exc}"
    model = None if no_ort else OrtModel(loaded.model_bytes, output=output, carry=carry)
    if compiled is not None and not judged:
        return Engine("plan", "the plan decided when this was logged", compiled.plan)
    if compiled is not None:
        about = judge.subject(loaded.sha256, loaded.metadata_sha256, output, compiled.plan.isa, precision)
        verdict = judge.stored(loaded.directory, about, compiled, meta.tolerance)
        if verdict is not None and not verdict.good:
            reason = f"{no_ort}; " if no_ort else ""
            reason += f"alpha validate found that the plan {verdict} (kept in {loaded.directory / judge.FILE})"
        elif model is None:
            more = "" if precision == "float32" else f" --precision {precision}"
            reason = (
                f"{no_ort}; no stored verdict vouches for the plan: where ONNX Runtime is installed, run  alpha validate "
                f"{shlex.quote(str(loaded.directory))} --data FILE{more} --store"
            )
        else:
            verdict = judge.judge(compiled, model.kernel(), hard_rows(loaded, compiled), meta, about)
            reason = f"the plan {verdict}"
        if verdict is not None and verdict.good:
            return Engine("plan", f"the plan {verdict}", compiled.plan, verdict)
    if engine == "plan":
        raise ModelError(f"model {meta.model_id} v{meta.version} cannot be served by a plan: {reason}")
    if model is None:
        return Engine("none", reason if compiled is not None else no_ort, None, verdict)
    return Engine("ort", reason, model, verdict)


def hard_rows(loaded: LoadedModel, compiled: Compiled, ties: int = judge.TIES) -> judge.Rows:
    """The artifact's probes and the rows made to hurt."""
    try:
        probes = judge.probe_rows(loaded.probes, compiled.plan.n_in, len(loaded.metadata.feature_names))
    except ModelError as exc:
        raise ModelError(f"artifact {loaded.directory}: {exc}") from None
    return np.concatenate([probes, judge.hard_rows(compiled, judge.reach(loaded.metadata.clip, probes), ties)])


@dataclass(frozen=True)
class Validation:
    """A plan judged over real rows: ``verdict`` over all of them, ``steps`` of the plan, ``about`` what was judged."""

    verdict: judge.Verdict
    steps: tuple[str, ...]
    arena_bytes: int
    isa: str


@dataclass(frozen=True)
class _Piece:
    """Rows to judge elsewhere, and by what: an artifact's folder, its hashes, precision of the weights."""

    artifact: tuple[str, str, str, str]
    about: str
    rows: npt.NDArray[np.float32]


@lru_cache(maxsize=2)
def _engines(folder: str, sha256: str, metadata_sha256: str, precision: str) -> tuple[Compiled, Any, LoadedModel]:
    """Plan, ONNX Runtime and the artifact, once a process."""
    loaded = load_artifact(folder, expect_sha256=sha256, expect_metadata_sha256=metadata_sha256)
    output, carry = loaded.metadata.outputs[0].name, [(c.input, c.output) for c in loaded.metadata.carry]
    compiled = compile_model(loaded.model_bytes, output, carry=carry, precision=precision)
    return compiled, OrtModel(loaded.model_bytes, output=output, carry=carry).kernel(), loaded


def _judged(piece: _Piece) -> judge.Verdict:
    compiled, reference, loaded = _engines(*piece.artifact)
    return judge.judge(compiled, reference, piece.rows, loaded.metadata, piece.about)


def validate(
    loaded: LoadedModel,
    parts: Iterable[npt.NDArray[np.float32]],
    precision: str = "float32",
    cluster: Cluster | None = None,
) -> Validation:
    """Judge the plan over the artifact's own rows and over ``parts``, normalised rows [N, F] in stream order.
    ``cluster``: its workers judge, part by part; they must see the artifact's folder.

    Unsupported with the reason if there is no plan; ModelError without ONNX Runtime, which is the judge.
    """
    meta = loaded.metadata
    output, carry = meta.outputs[0].name, [(c.input, c.output) for c in meta.carry]
    compiled = compile_model(loaded.model_bytes, output, carry=carry, precision=precision)
    plan = compiled.plan
    about = judge.subject(loaded.sha256, loaded.metadata_sha256, output, plan.isa, precision)
    reference = OrtModel(loaded.model_bytes, output=output, carry=carry).kernel()
    whole = (judge.windows(rows, plan.n_in) for rows in parts if len(rows) >= plan.n_in // rows.shape[1])
    pieces = itertools.chain([hard_rows(loaded, compiled, ALL_TIES)], whole)
    verdicts: Iterable[judge.Verdict]
    if cluster is None:
        verdicts = (judge.judge(compiled, reference, rows, meta, about) for rows in pieces)
    else:
        artifact = (str(loaded.directory.absolute()), loaded.sha256, loaded.metadata_sha256, precision)
        verdicts = cluster.map(_judged, (_Piece(artifact, about, rows) for rows in pieces))
    verdict = functools.reduce(operator.add, verdicts)
    return Validation(verdict, plan.steps_by_name, plan.arena_bytes, plan.isa)
