"""The last decision of a running pipeline taken apart. Floor 6. Of a logged one: :mod:`alpha.audit.explain`."""

from __future__ import annotations

from typing import Any

import numpy as np

from alpha._core.pipeline import Pipeline
from alpha._core.signal import Signal
from alpha.bundle import Bundle
from alpha.models.metadata import Metadata, normalised


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
        "features": features,
        "gates": _gates(meta, pipeline, row, signal),
    }
    if signal is not None:
        names = meta.actions if meta else []
        out |= {
            "action": signal.action.name,
            "reason": signal.reason.name,
            "confidence": signal.confidence,
            "scores": dict(zip(names, signal.scores, strict=False)),
        }
    return out


def _gates(meta: Metadata | None, pipeline: Pipeline, row: Any, signal: Signal | None) -> list[dict[str, Any]]:
    """In the order of checking."""
    if signal is None:
        return []
    gates: list[dict[str, Any]] = [
        {"gate": "killed", "value": int(pipeline.killed), "limit": 0, "passed": not pipeline.killed}
    ]
    if row is not None:
        raw, ready, _ = row
        n = len(raw)
        gates.append({"gate": "warm features", "value": int(ready.sum()), "limit": n, "passed": bool(ready.all())})
        finite = int(np.isfinite(raw).sum())
        gates.append({"gate": "finite features", "value": finite, "limit": n, "passed": finite == n})
    gates.append({"gate": "model", "value": int(pipeline.has_model), "limit": 1, "passed": pipeline.has_model})
    if meta is not None and signal.scores:
        limit = meta.decision.threshold
        value = abs(signal.value) if meta.decision.rule == "sign" else signal.confidence
        passed = bool(np.float32(value) >= np.float32(limit))
        sign = ">=" if passed else "<"
        gates.append(
            {
                "gate": "threshold",
                "value": value,
                "limit": limit,
                "passed": passed,
                "text": f"{value:.4g} {sign} {limit:.4g}",
            }
        )
    return gates
