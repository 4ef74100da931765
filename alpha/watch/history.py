"""The last Signals of each instrument: as they were handed over, or as each look found them. Floor 7."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha._core.signal import Signal
from alpha.events import Action, Reason, SignalFlag

_TAIL = 512


class History:
    """``keep``: Signals of each instrument, and as many again of those that say BUY or SELL. One thread at a time looks;
    :meth:`note` may be called beside it."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._noted: deque[npt.NDArray[Any]] = deque(maxlen=16)
        self._last: dict[int, dict[tuple[int, int], dict[str, Any]]] = {}
        self._acted: dict[int, dict[tuple[int, int], dict[str, Any]]] = {}
        self.complete = False
        """Every Signal is handed over; else what is kept are samples."""

    def note(self, signals: npt.NDArray[Any]) -> None:
        """Signals that were made, SIGNAL_DTYPE: the end of the array is kept, and read when somebody looks."""
        self.complete = True
        if len(signals):
            acted = signals[signals["action"] != Action.HOLD][-_TAIL:]
            self._noted.append(np.concatenate([acted, signals[-_TAIL:]]))

    def saw(self, signal: Signal) -> dict[str, Any]:
        """What a look found, as plain values."""
        told = _told(
            signal.action,
            signal.reason,
            signal.confidence,
            signal.ref_px,
            signal.ts_event_ns,
            signal.event_index,
            signal.model_slot,
            signal.shadow,
        )
        self._add(signal.instrument_id, (signal.event_index, signal.model_slot), told)
        return told

    def take_in(self) -> None:
        """Read what was handed over since the last look."""
        while self._noted:
            part = self._noted.popleft()
            for who in np.unique(part["instrument_id"]):
                own = part[part["instrument_id"] == who]
                acted = own[own["action"] != Action.HOLD][-self._keep :]
                for s in np.concatenate([acted, own[-self._keep :]]):
                    self._add(
                        int(who),
                        (int(s["event_index"]), int(s["model_slot"])),
                        _told(
                            Action(int(s["action"])),
                            Reason(int(s["reason"])),
                            float(s["confidence"]),
                            float(s["ref_px"]),
                            int(s["ts_event_ns"]),
                            int(s["event_index"]),
                            int(s["model_slot"]),
                            bool(s["flags"] & SignalFlag.SHADOW),
                        ),
                    )

    def of(self, instrument_id: int, *, acted: bool = False) -> list[dict[str, Any]]:
        """Newest first."""
        kept = (self._acted if acted else self._last).get(instrument_id, {})
        return [kept[key] for key in sorted(kept, reverse=True)]

    def _add(self, who: int, key: tuple[int, int], told: dict[str, Any]) -> None:
        places = [self._last] if told["action"] == "HOLD" else [self._last, self._acted]
        for place in places:
            kept = place.setdefault(who, {})
            if key not in kept:
                kept[key] = told
            if len(kept) > self._keep:
                del kept[min(kept)]


def _told(
    action: Action, reason: Reason, confidence: float, ref_px: float, ts_ns: int, index: int, slot: int, shadow: bool
) -> dict[str, Any]:
    return {
        "action": action.name,
        "reason": reason.name,
        "confidence": confidence,
        "ref_px": ref_px,
        "ts_event_ns": ts_ns,
        "event_index": index,
        "slot": slot,
        "shadow": shadow,
    }
