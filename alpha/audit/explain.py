"""One decision of a log taken apart with what the log itself holds. Floor 5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from alpha.audit.frames import Frame
from alpha.audit.read import LogFile, open_all
from alpha.errors import DataError
from alpha.events import Action, Reason, SignalFlag
from alpha.models.ensemble import ORDER, shares_of
from alpha.models.limits import row_gates
from alpha.models.load import read_file
from alpha.models.metadata import Metadata, decode, normalised
from alpha.models.score import scores
from alpha.reasons import REASONS


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
    whole, head = file.json(Frame.BUNDLE), file.json(Frame.HEADER)
    d = file.decision(i)
    told = whole["seats"][int(d["signal"]["model_slot"])] if "seats" in whole else whole
    meta = _metadata(folder, told)
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
        "meaning": REASONS[reason].meaning,
        "remedy": REASONS[reason].remedy,
        "confidence": float(s["confidence"]),
        "latency_ns": d["latency_ns"],
        "features": features,
        "scores": dict(zip(meta.actions if meta else [], given, strict=False)),
        "gates": [],
    }
    if "seat" in told:
        out |= _of_seat(told, d)
    gates: list[dict[str, Any]] = []
    if meta is not None and len(x) and np.isfinite(x).all():
        gates += row_gates(meta.limits, meta.reference, x, normalised(x, meta.mean, meta.std, meta.clip))
    if meta is not None and given:
        limit = meta.decision.threshold
        value = abs(float(s["value"])) if meta.decision.rule == "sign" else float(s["confidence"])
        passed = reason != Reason.BELOW_THRESHOLD
        text = f"{value:.4g} {'>=' if passed else '<'} {limit:.4g}"
        gates.append(
            {"gate": "threshold", "value": value, "limit": limit, "passed": passed, "mode": "hold", "text": text}
        )
    out["gates"] = gates
    return out


def _of_seat(told: dict[str, Any], d: dict[str, Any]) -> dict[str, Any]:
    """Which of several models decided; of an ensemble each member's share."""
    s, name = d["signal"], told["seat"]
    out: dict[str, Any] = {"seat": name, "emitted": not int(s["flags"]) & SignalFlag.SHADOW}
    if "combine" not in told:
        return out
    given = [float(v) for v in s["scores"][: int(s["n_scores"])]]
    names, weights = zip(*told["members"], strict=True)
    if len(d["x"]):
        out["members"] = shares_of(d["x"].reshape(-1, 3), names, weights, told["combine"], told["may_veto"])
    return {**out, "scores": dict(zip(ORDER, given, strict=False))}


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
