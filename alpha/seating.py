"""What a runtime of several models tells and does of each of them. Floor 6."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from alpha._core.pipeline import Pipeline
from alpha._core.signal import Signal
from alpha.bundle import Bundle
from alpha.errors import AlphaError
from alpha.events import Reason
from alpha.explanation import explained
from alpha.group import Group, seats_of
from alpha.models.ensemble import shares_of
from alpha.models.metadata import ACTIONS

ANSWERS = (Reason.MODEL, Reason.BELOW_THRESHOLD, Reason.COOLDOWN, Reason.DUPLICATE_BAR)
"""Reasons under which a model gave scores that count."""


def group_of(bundle: Bundle) -> Group:
    """The bundle as one of several models; AlphaError if it is not."""
    if not isinstance(bundle, Group):
        raise AlphaError(f"this runtime serves one model, {bundle.name}: ask without model=")
    return bundle


class _Seat:
    """One model as :func:`explained` looks at a pipeline."""

    def __init__(self, lead: Pipeline, slot: int, bundle: Bundle) -> None:
        self._lead, self._slot, self._seats = lead, slot, seats_of(lead)
        self.has_model = bundle.model is not None

    def features(self, instrument_id: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], int] | None:
        return self._seats.features(self._lead, self._slot, instrument_id)

    def latest(self, instrument_id: int) -> Signal | None:
        return self._seats.latest(self._lead, self._slot, instrument_id)

    @property
    def killed(self) -> bool:
        return self._seats.is_killed(self._lead, self._slot)

    def watched(self, instrument_id: int) -> dict[str, Any]:
        return self._seats.watched(self._lead, self._slot, instrument_id)

    @property
    def threshold(self) -> tuple[float, float]:
        return self._seats.threshold(self._slot)[:2]

    @property
    def breaker(self) -> tuple[int, int]:
        return self._seats.breaker(self._slot)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lead, name)


def kill(lead: Pipeline, group: Group, name: str, on: bool) -> None:
    """Silence one model, or take that back."""
    seats_of(lead).kill(lead, group.seated[0].slot(name), on)


def threshold(in_force: float, declared: float) -> dict[str, Any]:
    """What ``stats`` says of a threshold."""
    return {"in_force": in_force, "declared": declared, "lowered": in_force < declared}


def breaker(tripped: int, trips: int) -> dict[str, Any]:
    """What ``stats`` says of a breaker."""
    return {"tripped": ("", "errors", "latency")[tripped], "trips": trips}


def stats(lead: Pipeline, group: Group) -> dict[str, Any]:
    """Of each model: its place, what becomes of what it says, what serves there, and its counters."""
    desk, bundles, _ = group.seated
    out: dict[str, Any] = {}
    for slot, name in enumerate(desk.names):
        b = bundles.get(name)
        out[name] = {
            "slot": slot,
            "mode": "arm" if desk.arm(name) else desk.mode(name),
            "killed": seats_of(lead).is_killed(lead, slot),
            "threshold": threshold(*seats_of(lead).threshold(slot)[:2]),
            "breaker": breaker(*seats_of(lead).breaker(slot)),
            **seats_of(lead).counters(slot),
        }
        if b is None:
            out[name] |= {"model": name, "ensemble": desk.ensembles[name].combine}
        else:
            out[name] |= {
                "model": b.name,
                "model_sha256": b.model_sha256,
                "governed": b.governed,
                "why": b.why,
                "inactive": b.inactive,
                "loaded": b.model is not None,
                "engine": b.engine.name,
                "engine_reason": b.engine.reason,
                "weights": b.weights,
            }
    return out


def explain(lead: Pipeline, group: Group, symbol: str, instrument_id: int, name: str | None) -> dict[str, Any]:
    """One model's last decision taken apart, by default the one that was emitted last; ``models``: what each said."""
    desk, bundles, _ = group.seated
    if name is None:
        last = lead.latest(instrument_id)
        name = desk.names[last.model_slot if last is not None else 0]
    slot = desk.slot(name)
    if name in desk.ensembles:
        out = _explain_ensemble(lead, group, name, instrument_id)
    else:
        bundle = bundles[name]
        out = explained(bundle, cast(Pipeline, _Seat(lead, slot, bundle)), symbol, instrument_id)
    said = {other: seats_of(lead).latest(lead, k, instrument_id) for k, other in enumerate(desk.names)}
    return {
        **out,
        "instrument": symbol,
        "seat": name,
        "mode": "arm" if desk.arm(name) else desk.mode(name),
        "models": {
            other: None
            if s is None
            else {
                "action": s.action.name,
                "reason": s.reason.name,
                "confidence": s.confidence,
                "emitted": not s.shadow,
            }
            for other, s in said.items()
        },
    }


def _explain_ensemble(lead: Pipeline, group: Group, name: str, instrument_id: int) -> dict[str, Any]:
    desk, bundles, _ = group.seated
    ensemble = desk.ensembles[name]
    out: dict[str, Any] = {
        "model": name,
        "governed": all(bundles[m].governed for m in ensemble.members),
        "why": "",
        "engine": "ensemble",
        "engine_reason": f"it combines {len(ensemble.members)} models by {ensemble.combine}",
        "features": [],
        "gates": [],
    }
    signal = seats_of(lead).latest(lead, desk.slot(name), instrument_id)
    if signal is None:
        return out
    row = []
    for member in ensemble.members:
        said = seats_of(lead).latest(lead, desk.slot(member), instrument_id)
        meta = bundles[member].metadata
        row.append(probabilities(said, meta.actions if meta else []))
    out |= {
        "action": signal.action.name,
        "reason": signal.reason.name,
        "confidence": signal.confidence,
        "scores": dict(zip(("SELL", "HOLD", "BUY"), signal.scores, strict=False)),
        "members": attribution(group, name, np.array(row, dtype=np.float32)),
    }
    if signal.scores:
        passed = signal.confidence >= np.float32(ensemble.threshold)
        text = f"{signal.confidence:.4g} {'>=' if passed else '<'} {ensemble.threshold:.4g}"
        out["gates"] = [
            {
                "gate": "threshold",
                "value": signal.confidence,
                "limit": ensemble.threshold,
                "passed": bool(passed),
                "text": text,
            }
        ]
    return out


def probabilities(signal: Signal | None, actions: Sequence[str]) -> tuple[float, float, float]:
    """P(SELL), P(HOLD), P(BUY) of what a model said; three zeros if it had no answer."""
    out = np.zeros(3, dtype=np.float32)
    if signal is not None and signal.reason in ANSWERS:
        for action, p in zip(actions, signal.scores, strict=False):
            out[ACTIONS[action] + 1] += np.float32(min(max(p, 0.0), 1.0))
    return float(out[0]), float(out[1]), float(out[2])


def attribution(group: Group, name: str, row: npt.NDArray[np.float32]) -> list[dict[str, Any]]:
    """Each member's share of an ensemble's decision: of the weight behind the likeliest action (the one that would stand
    without a veto), how much is its own. ``row``: float32 [members, 3], as it was logged."""
    ensemble = group.seated[0].ensembles[name]
    return shares_of(
        row, list(ensemble.members), list(ensemble.members.values()), ensemble.combine, set(ensemble.may_veto)
    )
