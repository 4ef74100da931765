"""The model that serves, as training sees models: scores of rows by its own file and scaler, and its place in the audit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError, need
from alpha.models import judge
from alpha.models.load import LoadedModel
from alpha.models.metadata import Metadata
from alpha_training import export, fit
from alpha_training.audit import Case
from alpha_training.fit import ACTIONS, Fitted, Inputs, Scaler
from alpha_training.fit.task import Floats, Ints
from alpha_training.learn.rows import Rows
from alpha_training.score import Exported


class Served(Fitted):
    """A model file with its metadata. Its graph gets the names that training gives, nothing else of it changes."""

    def __init__(self, loaded: LoadedModel) -> None:
        meta = loaded.metadata
        kind = meta.outputs[0].kind
        super().__init__([] if kind == "value" else [ACTIONS.index(a) for a in meta.actions])
        self.meta = meta
        self.scored = kind
        self.kind = "value" if kind == "value" else "probabilities"
        self.shape = shape_of(meta)
        self.carry = tuple(meta.carry)
        self.data = _renamed(loaded.model_bytes, meta)
        self._exported: Exported | None = None

    @property
    def scaler(self) -> Scaler:
        """Its own."""
        return Scaler(np.asarray(self.meta.mean), np.asarray(self.meta.std), self.meta.clip)

    def inputs(self, rows: Rows) -> Inputs:
        """The rows as it is served them."""
        length = self.meta.input[1] if self.shape == "window" else 1
        return Inputs(self.scaler.apply(rows.snap.x), rows.snap.instrument_id, length)

    def exported(self, inputs: Inputs) -> Exported:
        """By the engine that serves it."""
        if self._exported is None or self._exported.inputs is not inputs:
            self._exported = Exported(self.data, self.shape, self.kind, self.carry, inputs)
        return self._exported

    def scores(self, inputs: Inputs, rows: Ints) -> Floats:
        raw = self.exported(inputs).scores(rows).astype(np.float64)
        if self.scored != "logits":
            return raw
        e = np.exp(raw - raw.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))

    def to_onnx(self, name: str) -> bytes:
        return self.data


def shape_of(meta: Metadata) -> fit.Shape:
    """How it takes its rows."""
    if meta.carry:
        return "step"
    return "window" if len(meta.input) == 3 else "row"


def _renamed(data: bytes, meta: Metadata) -> bytes:
    onnx = need("onnx", "train")
    proto = onnx.load_from_string(data)
    carried = {c.input for c in meta.carry}
    names = [v.name for v in proto.graph.input if v.name not in carried]
    wanted = export.VALUE if meta.outputs[0].kind == "value" else export.OUTPUT
    change = {meta.outputs[0].name: wanted}
    if len(names) == 1:
        change[names[0]] = export.INPUT
    if all(old == new for old, new in change.items()):
        return data
    rename(proto.graph, change)
    return bytes(proto.SerializeToString(deterministic=True))


def rename(graph: Any, change: dict[str, str]) -> None:
    """Names of values, everywhere in a graph."""
    for node in graph.node:
        for words in (node.input, node.output):
            for i, word in enumerate(words):
                words[i] = change.get(word, word)
    for value in (*graph.input, *graph.output):
        value.name = change.get(value.name, value.name)


def as_case(served: Served, case: Case, inputs: Inputs) -> Case:
    """Production in the candidate's place: the same rows, labels and costs, its own scores and threshold."""

    def scored(rows: Ints) -> npt.NDArray[np.float32]:
        return served.scores(inputs, rows).astype(np.float32)

    return dataclasses.replace(
        case,
        model=served,
        exported=served.exported(inputs),
        scaler=served.scaler,
        threshold=served.meta.decision.threshold,
        scores_valid=scored(case.parts.valid),
        scores_test=scored(case.parts.test),
    )


def check_logged_scores(served: Served, rows: Rows, sha256: str, precisions: Sequence[str]) -> tuple[int, str]:
    """(decisions of this very model whose scores were computed again, why none or not all were).

    DataError if the file does not give the scores that it is said to have given.
    """
    if any(p != "float32" for p in precisions):
        return 0, "it served with rounded weights, whose scores this file alone does not give"
    if served.shape != "row":
        return (
            0,
            f"a model over a {served.shape} has a past that the log's rows do not hold; its features were compared",
        )
    logged = rows.decision
    have = np.flatnonzero(logged >= 0)
    signals = rows.decided.signal[logged[have]]
    mine = (signals["model_hash"] == np.frombuffer(bytes.fromhex(sha256)[:16], np.uint8)).all(axis=1)
    mine &= signals["n_scores"] > 0
    have, signals = have[mine], signals[mine]
    if not len(have):
        return 0, "this version decided nothing in the log; the features of other versions' decisions were compared"
    inputs = served.inputs(rows)
    again = served.exported(inputs).scores(have)
    k = min(again.shape[1], signals["scores"].shape[1])
    off = np.abs(again[:, :k] - signals["scores"][:, :k]) / np.maximum(1.0, np.abs(again[:, :k]))
    worst = int(off.max(axis=1).argmax())
    most = judge.APART * served.meta.tolerance  # as far as a good plan and ONNX Runtime may be apart by rounding
    if not float(off[worst].max()) <= most:
        seq = int(rows.decided.seq[logged[have[worst]]])
        raise DataError(
            f"frame {seq} of the audit log: this model's file gives scores that are {float(off[worst].max()):.3g} from "
            f"the logged ones, at most {most:g} is rounding: the log and the registry's file do not belong together"
        )
    return len(have), ""
