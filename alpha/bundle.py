"""A Bundle: program, model, thresholds and hashes that serve together. Floor 6. Immutable."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from alpha._core.checks import Checks
from alpha._core.model import ModelKernel
from alpha._core.ort import OrtModel
from alpha._core.pipeline import Pipeline
from alpha._core.plan import Plan
from alpha._core.program import Program
from alpha.engine import NO_ENGINE, PRECISIONS, Engine, choose_engine
from alpha.errors import ModelError, RegistryError
from alpha.events import Reason
from alpha.features.compile import compile_program
from alpha.features.feature_set import FeatureSet, Trigger
from alpha.features.language import parse
from alpha.features.native import surroundings
from alpha.instruments import Instruments
from alpha.models import limits
from alpha.models.load import LoadedModel, load_artifact
from alpha.models.metadata import Decision, Metadata
from alpha.registry import find, inactive_reason, load_policy, load_trusted, objections
from alpha.sessions import SessionTable, session_table, tables_for

NOT_LOADED = "it is lazy and was not loaded yet: call load()"


@dataclass(frozen=True)
class Bundle:
    """What a pipeline runs. Without ``model`` every decision is HOLD with ``no_model`` and ``why``."""

    feature_set: FeatureSet
    program: Program
    metadata: Metadata | None = None
    model: OrtModel | Plan | None = None
    model_sha256: str = ""
    no_model: Reason = Reason.NO_MODEL
    why: str = ""
    name: str = ""
    governed: bool = False
    revision: int = 0
    engine: Engine = NO_ENGINE
    wanted: str = "auto"
    """Which engine was asked for; ``engine`` is the one that serves."""
    precision: str = "float32"
    valid_until_ns: int | None = None
    loaded: LoadedModel | None = None
    deferred: bool = False
    inactive: str = ""
    """Why the registry forbids that it decides, empty if it does not: every decision is then HOLD, MODEL_INACTIVE."""

    @property
    def weights(self) -> dict[str, Any]:
        """How exact the weights are that serve: ``precision``, and beside bf16 what the judge found: ``rows`` compared with
        float32 in ONNX Runtime, ``other_decisions`` among them, ``worst`` difference of a score; of a deferred model, a
        replay, or where another engine serves, the numbers are not there. A plan of trees has no weight that could be
        rounded: float32, and ``note`` says so. ``judge_over_data``: how to ask over own rows."""
        verdict = self.engine.verdict
        if self.precision == "float32" or self.engine.name != "plan":
            return {"precision": "float32", "asked": self.precision}
        if verdict is not None and not verdict.half:
            note = "nothing to round: a plan of trees compares and adds float32 numbers, as they are written"
            return {"precision": "float32", "asked": self.precision, "note": note}
        told: dict[str, Any] = {"precision": self.precision, "asked": self.precision}
        if verdict is not None:
            told |= {
                "rows": verdict.rows,
                "other_decisions": verdict.flips + verdict.wrong,
                "worst": verdict.worst,
            }
        return {**told, "judge_over_data": f"alpha validate MODEL --data FILE --precision {self.precision}"}

    @classmethod
    def from_features(cls, fs: FeatureSet, why: str = "no model was given: features only") -> Bundle:
        """Features without a model."""
        return cls(fs, compile_program(fs), why=why, name=f"features:{fs.name}")

    @classmethod
    def without_anything(cls, why: str) -> Bundle:
        """When not even the features are known: every event flagged LAST is HOLD with NO_MODEL."""
        return cls.from_features(FeatureSet("missing", {"mid": parse("mid")}, Trigger("last")), why)

    @classmethod
    def from_model(
        cls,
        loaded: LoadedModel,
        *,
        name: str,
        governed: bool,
        revision: int = 0,
        engine: str = "auto",
        precision: str = "float32",
        valid_until_ns: int | None = None,
        deferred: bool = False,
        inactive: str = "",
        judged: bool = True,
    ) -> Bundle:
        """A verified artifact; ModelError if the graph does not fit its metadata.

        ``engine``: ``auto`` serves the fused plan where ONNX Runtime judged it good, ONNX Runtime otherwise;
        ``ort`` and ``plan`` insist, and ``plan`` raises ModelError with the reason if there is no good plan.
        ``precision``: ``bf16`` rounds the plan's weights to bfloat16; never chosen by itself. Without ONNX Runtime
        and without a stored verdict every decision is HOLD with NO_ORT, with a changed feature definition HOLD with
        DEFINITION_CHANGED, after ``valid_until_ns`` of stream time HOLD with MODEL_EXPIRED. ``deferred``: no engine is
        made, every decision is HOLD with NO_MODEL. ``judged=False``: for a replay of what the plan has decided.
        """
        if precision not in PRECISIONS:
            raise ModelError(f"precision {precision!r} is unknown: use {' or '.join(PRECISIONS)}")
        chosen = NO_ENGINE
        if not (loaded.changed or deferred):
            chosen = choose_engine(loaded, engine, precision, judged=judged)
        meta, fs = loaded.metadata, loaded.feature_set
        model, missing = chosen.model, Reason.DEFINITION_CHANGED if loaded.changed else Reason.NO_ORT
        if deferred and not loaded.changed:
            missing = Reason.NO_MODEL
        if model is not None:
            what = f"model {meta.model_id} v{meta.version}"
            takes = math.prod(meta.input[1:])
            if model.n_in != takes:
                raise ModelError(f"{what} takes {model.n_in} values, by its metadata {takes}: input {meta.input}")
            if model.n_out != len(meta.actions):
                raise ModelError(f"{what} gives {model.n_out} scores, its metadata lists {len(meta.actions)} actions")
        return cls(
            fs,
            compile_program(fs),
            meta,
            model,
            loaded.sha256,
            no_model=Reason.NO_MODEL if model is not None else missing,
            why="" if model is not None else loaded.changed or (NOT_LOADED if deferred else chosen.reason),
            name=name,
            governed=governed,
            revision=revision,
            engine=chosen,
            wanted=engine,
            precision=precision,
            valid_until_ns=valid_until_ns,
            loaded=loaded,
            deferred=deferred,
            inactive=inactive,
        )

    def kernel(self) -> ModelKernel | None:
        """A private model kernel for one pipeline, warmed by a few calls."""
        if self.model is None:
            return None
        kernel = self.model.kernel()
        kernel.run(np.zeros((8, self.model.n_in), dtype=np.float32))
        return kernel

    def pipeline(
        self, instruments: Instruments, *, program: Program | None = None, columns: Sequence[int] | None = None
    ) -> Pipeline:
        """A fresh pipeline over these instruments; errors as in :func:`alpha.features.native.surroundings`.

        ``program``, ``columns``: it sits behind a lead that runs this program, and reads these columns of its rows.
        """
        fs, meta = self.feature_set, self.metadata
        n = len(fs.names if columns is None else columns)
        decision = meta.decision if meta else Decision()
        return Pipeline(
            program or self.program,
            columns=columns,
            **surroundings(fs, instruments),
            mean=np.array(meta.mean) if meta else np.zeros(n),
            std=np.array(meta.std) if meta else np.ones(n),
            clip=meta.clip if meta else (-5.0, 5.0),
            gate={
                "output_kind": meta.outputs[0].kind if meta else "value",
                "rule": decision.rule if meta else "sign",
                "actions": meta.action_codes() if meta else [0],
                "threshold": decision.threshold,
                "cooldown_ns": decision.cooldown_ns,
                "valid_until_ns": self.valid_until_ns,
            },
            model=self.kernel(),
            no_model=int(self.no_model),
            model_hash=bytes.fromhex(self.model_sha256)[:16] if self.model_sha256 else bytes(16),
            definition_hash=hashlib.sha256(fs.canonical().encode()).digest()[:16],
            bundle_revision=self.revision,
            checks=self.checks(instruments),
            prepare=meta is not None and meta.prepare,
        )

    def gate_sessions(self, instruments: Instruments) -> list[SessionTable | None] | None:
        """The sessions outside of which an instrument's decisions are held, None where there are none; None: nowhere.

        An instrument that is declared with ``sessions = "regular"`` is held by its own calendar, every other one by the
        stream's if the model's metadata say so.
        """
        own = [i.sessions == "regular" for i in instruments]
        everyone = self.metadata is not None and self.metadata.limits.sessions == "regular"
        if not everyone and not any(own):
            return None
        shared = tables_for(self.feature_set.stream.calendar, instruments) if everyone else [None] * len(own)
        return [
            session_table(i.calendar) if is_own else table
            for i, is_own, table in zip(instruments, own, shared, strict=True)
        ]

    def checks(self, instruments: Instruments) -> Checks:
        """What the gate asks of a row besides the model; DataError for a calendar that nobody knows."""
        declared = self.metadata.limits if self.metadata is not None else limits.Limits()
        return Checks(
            len(instruments),
            sessions=self.gate_sessions(instruments),
            inactive=bool(self.inactive),
            max_age_ns=declared.max_age_ns if self.feature_set.trigger.waits else None,
            max_age_peers_ns=declared.max_age_peers_ns,
            max_age_inputs_ns=declared.max_age_inputs_ns,
            n_inputs=len(self.feature_set.inputs),
            drift=None
            if self.metadata is None
            else limits.drift(declared, self.metadata.reference, len(self.feature_set.names)),
            breaker=msgspec.structs.asdict(declared.breaker),
        )


def governed(
    registry: str | Path | None,
    uri: str,
    engine: str = "auto",
    *,
    precision: str = "float32",
    deferred: bool = False,
    backtest: bool = False,
) -> Bundle:
    """What a URI of a registry serves; RegistryError or ModelError if registry, signature, approval or bytes cannot
    be trusted. ``registry=None``: found as by the command line. ``precision``, ``deferred``: as of :meth:`Bundle.from_model`;
    ``backtest``: an archived version may decide, too."""
    book = load_trusted(find(registry))
    entry, model = book.load_model(uri)
    for objection in objections(entry, load_policy(book.path)):
        raise RegistryError(objection)
    return Bundle.from_model(
        model,
        name=f"{entry.id}/{entry.number}",
        governed=True,
        revision=book.document.revision,
        valid_until_ns=entry.valid_until_ns,
        engine=engine,
        precision=precision,
        deferred=deferred,
        inactive="" if backtest else inactive_reason(entry, load_policy(book.path)),
    )


def ungoverned(
    directory: str | Path, engine: str = "auto", *, precision: str = "float32", deferred: bool = False
) -> Bundle:
    """What an artifact folder serves without a registry."""
    model = load_artifact(directory)
    meta = model.metadata
    return Bundle.from_model(
        model,
        name=f"{meta.model_id}/{meta.version}",
        governed=False,
        engine=engine,
        precision=precision,
        deferred=deferred,
    )
