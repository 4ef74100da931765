"""One decision of a log taken apart with what the log itself holds. Floor 5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from alpha.audit.frames import Frame
from alpha.audit.read import LogFile, open_all
from alpha.errors import DataError
from alpha.events import Action, Reason
from alpha.models.load import read_file
from alpha.models.metadata import Metadata, decode, normalised
from alpha.models.score import scores

REMEDY = {
    Reason.KILLED: "a kill latch was set: alpha kill --list",
    Reason.HALTED: "the venue or a CONTROL event halted the instrument",
    Reason.NOT_WARM: "a feature has not seen enough events yet",
    Reason.NON_FINITE_FEATURE: "a feature is not a finite number on this data",
    Reason.MODEL_EXPIRED: "the model's valid_until is over: register and promote a new version",
    Reason.DEFINITION_CHANGED: "run alpha registry revalidate",
    Reason.NO_MODEL: "the runtime was started without a model it could trust",
    Reason.NO_ORT: "install onnxruntime",
    Reason.NON_FINITE_OUTPUT: "the model gave NaN or an infinity",
    Reason.COOLDOWN: "the last action is not long enough ago",
    Reason.AUDIT_BLOCKED: "the audit log could not be written: free the disk, then rotate",
}


def explain(folder: str | Path, seq: int) -> dict[str, Any]:
    """The DECISION frame ``seq``: features raw and normalised against their training range, scores, limits; and per
    feature the ``shift``, the change of the deciding score if the feature had been at its training mean.

    DataError if there is no such frame or it is no decision.
    """
    for file in open_all(folder):
        found = np.flatnonzero(file.headers["seq"] == seq)
        if len(found):
            return _explain(Path(folder), file, int(found[0]))
    raise DataError(f"{folder} has no frame {seq}")


def _metadata(folder: Path, told: dict[str, Any]) -> Metadata | None:
    if not told["metadata_sha256"]:
        return None
    return decode(read_file(folder / "models", f"{told['metadata_sha256']}.json", 16 * 1024 * 1024))


def _explain(folder: Path, file: LogFile, i: int) -> dict[str, Any]:
    kind = int(file.headers["type"][i])
    if kind != Frame.DECISION:
        raise DataError(f"frame {int(file.headers['seq'][i])} is {Frame(kind).name}, no decision")
    told, head = file.json(Frame.BUNDLE), file.json(Frame.HEADER)
    meta, d = _metadata(folder, told), file.decision(i)
    s, x = d["signal"], d["x"]
    reason = Reason(int(s["reason"]))
    features: list[dict[str, Any]] = [
        {"name": name, "raw": float(v)} for name, v in zip(told["features"], x, strict=False)
    ]
    given = [float(v) for v in s["scores"][: int(s["n_scores"])]]
    if meta is not None and len(x):
        z = normalised(x, meta.mean, meta.std, meta.clip)
        for j, f in enumerate(features):
            f["normalised"] = float(z[j])
            if meta.reference.min:
                f["training_range"] = [meta.reference.min[j], meta.reference.max[j]]
        if given and len(meta.input) == 2 and not meta.carry:  # of a window or state the log holds one row only
            _shift(folder, told, meta, z, features)
    out: dict[str, Any] = {
        "seq": int(file.headers["seq"][i]),
        "model": told["name"],
        "model_sha256": told["model_sha256"],
        "instrument": head["instruments"][int(s["instrument_id"])]["symbol"],
        "event_index": int(s["event_index"]),
        "ts_event_ns": int(s["ts_event_ns"]),
        "action": Action(int(s["action"])).name,
        "reason": reason.name,
        "confidence": float(s["confidence"]),
        "latency_ns": d["latency_ns"],
        "features": features,
        "scores": dict(zip(meta.actions if meta else [], given, strict=False)),
        "gates": [],
    }
    if meta is not None and given and reason in (Reason.MODEL, Reason.BELOW_THRESHOLD, Reason.COOLDOWN):
        limit = meta.decision.threshold
        value = abs(float(s["value"])) if meta.decision.rule == "sign" else float(s["confidence"])
        out["gates"].append(f"threshold: {value:.4g} {'<' if reason == Reason.BELOW_THRESHOLD else '>='} {limit:.4g}")
    if reason in REMEDY:
        out["gates"].append(f"{reason.name}: {REMEDY[reason]}")
    elif reason >= Reason.NON_FINITE:
        out["gates"].append(f"{reason.name}: the guard refused the event; no feature saw it")
    return out


def _shift(
    folder: Path, told: dict[str, Any], meta: Metadata, z: np.ndarray[Any, Any], features: list[dict[str, Any]]
) -> None:
    """Each feature once at its training mean (z = 0): what that does to the highest score."""
    model = read_file(folder / "models", f"{told['model_sha256']}.onnx", 512 * 1024 * 1024)
    rows = np.repeat(z[None, :], len(z) + 1, axis=0)
    rows[np.arange(1, len(z) + 1), np.arange(len(z))] = 0.0
    p = scores(model, meta.outputs[0].name, rows)
    best = int(p[0].argmax())
    for f, value in zip(features, p[1:, best], strict=True):
        f["shift"] = float(p[0, best] - value)
