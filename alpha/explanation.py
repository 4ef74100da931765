"""The last decision of a running pipeline taken apart. Floor 6. Of a logged one: :mod:`alpha.audit.explain`."""

from __future__ import annotations

from typing import Any

import numpy as np

from alpha._core.pipeline import Pipeline
from alpha._core.signal import Signal
from alpha.bundle import Bundle
from alpha.events import Reason
from alpha.models import limits
from alpha.models.limits import Limits
from alpha.models.metadata import Metadata, normalised
from alpha.reasons import REASONS


def explained(bundle: Bundle, pipeline: Pipeline, symbol: str, instrument_id: int) -> dict[str, Any]:
    """Each feature raw and normalised with its training range, scores, and each gate's value against its limit."""
    row = pipeline.features(instrument_id)
    signal = pipeline.latest(instrument_id)
    meta = bundle.metadata
    features = []
    if row is not None:
        raw, ready, _ = row
        z = None if meta is None else normalised(np.asarray(raw, np.float32), meta.mean, meta.std, meta.clip)
        for j, name in enumerate(bundle.feature_set.names):
            item: dict[str, Any] = {"name": name, "raw": float(raw[j]), "ready": bool(ready[j])}
            if meta is not None and z is not None:
                item["normalised"] = float(z[j])
                if meta.reference.min:
                    item["training_range"] = [meta.reference.min[j], meta.reference.max[j]]
            features.append(item)
    out: dict[str, Any] = {
        "instrument": symbol,
        "model": bundle.name,
        "governed": bundle.governed,
        "why": bundle.why,
        "engine": bundle.engine.name,
        "engine_reason": bundle.engine.reason,
        "weights": bundle.weights,
        "features": features,
        "gates": _gates(bundle, pipeline, instrument_id, row, signal),
    }
    if row is not None:
        shifts = _shifts(bundle, row[0])
        out["attribution"] = shifts if isinstance(shifts, str) else "score less the score with the feature at its mean"
        if not isinstance(shifts, str):
            for item, shift in zip(features, shifts, strict=True):
                item["shift"] = shift
    if signal is not None:
        names = meta.actions if meta else []
        out |= {
            "action": signal.action.name,
            "reason": signal.reason.name,
            "meaning": REASONS[signal.reason].meaning,
            "remedy": REASONS[signal.reason].remedy,
            "confidence": signal.confidence,
            "scores": dict(zip(names, signal.scores, strict=False)),
        }
    return out


def _gates(
    bundle: Bundle, pipeline: Pipeline, instrument_id: int, row: Any, signal: Signal | None
) -> list[dict[str, Any]]:
    """Every check in the order of the reasons: what was found, the limit, whether it passed. ``limit`` None: none declared."""
    if signal is None:
        return []
    meta, seen = bundle.metadata, pipeline.watched(instrument_id)
    declared = meta.limits if meta is not None else Limits()
    killed = pipeline.killed or seen["killed"]
    gates = [_gate("killed", int(killed), 0, not killed), _gate("halted", int(seen["halted"]), 0, not seen["halted"])]
    if row is not None:
        raw, ready, ts_ns = row
        n = len(raw)
        gates.append(_gate("session", *_session(bundle, signal, declared)))
        age = None if seen["data_ns"] < 0 else max(ts_ns - seen["data_ns"], 0)
        limit = declared.max_age_ns if bundle.feature_set.trigger.waits else None
        gates.append(_gate("age of the data, ns", age, limit, limit is None or (age is not None and age <= limit)))
        gates.append(_gate("gap in the data", int(seen["gap"]), 0, not seen["gap"]))
        gates.append(_gate("warm features", int(ready.sum()), n, bool(ready.all())))
        finite = int(np.isfinite(raw).sum())
        gates.append(_gate("finite features", finite, n, finite == n))
        if meta is not None and finite == n:
            z = normalised(raw, meta.mean, meta.std, meta.clip)
            gates += limits.row_gates(declared, meta.reference, raw, z)
            if declared.psi.mode != "off":
                value = seen["psi"] if seen["psi_full"] else None
                passed = value is None or value <= np.float32(declared.psi.limit)
                text = (
                    "the window is not full"
                    if value is None
                    else f"{value:.4g} of {meta.feature_names[seen['psi_feature']]}"
                    + limits.usual_text(declared.psi.limit, meta.reference.psi_usual, seen["psi_feature"], value)
                )
                gates.append(_gate("psi", value, declared.psi.limit, passed, text, declared.psi.mode))
    gates.append(_gate("active", bundle.inactive or "yes", "yes", not bundle.inactive))
    until = bundle.valid_until_ns
    at = row[2] if row is not None else signal.ts_event_ns
    gates.append(_gate("valid until, ns", at, until, until is None or at <= until))
    gates.append(_gate("model", int(pipeline.has_model), 1, pipeline.has_model))
    if meta is not None and signal.scores:
        good = bool(np.isfinite(signal.scores).all())
        gates.append(_gate("finite output", int(good), 1, good))
        gates += _decided(meta, pipeline, seen, at, signal)
    tripped = pipeline.breaker[0]
    gates.append(_gate("breaker", ("", "errors", "latency")[tripped] or "closed", "closed", not tripped))
    return gates


def _decided(meta: Metadata, pipeline: Pipeline, seen: dict[str, Any], at: int, signal: Signal) -> list[dict[str, Any]]:
    """What is asked of the scores: threshold, cooldown, bar."""
    limit = pipeline.threshold[0]
    value = abs(signal.value) if meta.decision.rule == "sign" else signal.confidence
    passed = bool(np.float32(value) >= np.float32(limit))
    out = [_gate("threshold", value, limit, passed, f"{value:.4g} {'>=' if passed else '<'} {limit:.4g}")]
    if meta.decision.cooldown_ns:
        last = seen["last_action_ns"]
        since = None if last is None else at - last
        held = signal.reason == Reason.COOLDOWN
        out.append(_gate("since the last action, ns", since, meta.decision.cooldown_ns, not held))
    out.append(_gate("bar decided once", seen["last_bar_ns"], at, signal.reason != Reason.DUPLICATE_BAR))
    return out


def _session(bundle: Bundle, signal: Signal, declared: Limits) -> tuple[str, str, bool]:
    outside = signal.reason == Reason.OUT_OF_SESSION
    return ("outside" if outside else "inside or not asked", declared.sessions, not outside)


def _gate(name: str, value: Any, limit: Any, passed: bool, text: str = "", mode: str = "hold") -> dict[str, Any]:
    out = {"gate": name, "value": value, "limit": limit, "passed": bool(passed), "mode": mode}
    return out | {"text": text} if text else out


def _shifts(bundle: Bundle, raw: Any) -> list[float] | str:
    """How far the deciding score falls with each feature at its training mean (z = 0), one run of the model a feature.
    A sentence where that cannot be said."""
    meta, model = bundle.metadata, bundle.model
    if meta is None or model is None:
        return "there is no model"
    if not np.isfinite(raw).all():
        return "a feature is not finite"
    n = len(raw)
    if meta.carry or model.n_in != n:
        return "the model remembers rows before this one: one row at a time explains nothing"
    z = normalised(np.asarray(raw, np.float32), meta.mean, meta.std, meta.clip)
    rows = np.repeat(z[None, :], n + 1, axis=0)
    rows[np.arange(1, n + 1), np.arange(n)] = 0.0
    out = np.asarray(model.kernel().run(rows), np.float64)
    if meta.outputs[0].kind == "logits":
        out = np.exp(out - out.max(axis=1, keepdims=True))
        out /= out.sum(axis=1, keepdims=True)
    best = int(out[0].argmax())
    return [float(v) for v in out[0, best] - out[1:, best]]
