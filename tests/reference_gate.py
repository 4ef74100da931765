"""The whole gate once more, slow and obvious: one row after another, each reason in the order of its number.

Nothing here is shared with the native gate but the numbers of the reasons. Figures that are compared with a limit are
formed in float32 in the documented order: features by eights, the eight sums pairwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from alpha.events import Action, Reason
from alpha.sessions import SessionTable

F32 = np.float32


@dataclass
class Declared:
    """What a model and its registry entry demand."""

    mean: list[float]
    std: list[float]
    clip: tuple[float, float]
    actions: list[int]
    kind: str = "probabilities"  # logits, probabilities, value
    threshold: float = 0.0
    cooldown_ns: int = 0
    valid_until_ns: int | None = None
    inactive: bool = False
    sessions: SessionTable | None = None
    by_bar: bool = False
    max_age_ns: int | None = None
    ranges: tuple[str, list[float], list[float]] | None = None  # mode, lo, hi
    distance: tuple[str, float] | None = None  # mode, limit
    psi: tuple[str, float, int, Any, Any] | None = None  # mode, limit, window, edges [F, 9], shares [F, 10]
    psi_usual: Any = None  # [F], or None
    errors: int = 0  # of the breaker, in its last `window` runs
    window: int = 1


@dataclass
class Row:
    """One row as the gate meets it."""

    ts_ns: int
    x: list[float]
    warm: bool = True
    killed: bool = False
    halted: bool = False
    gap: bool = False  # events were lost since the last row
    data_ns: int | None = None  # of the last market data behind it
    fails: bool = False  # the model's engine reports an error


@dataclass
class ReferenceGate:
    """``decide`` gives (action, reason, confidence) of each row in turn. ``override``, ``may_lower``: of the threshold."""

    d: Declared
    model: Any  # z float32 [F] -> scores
    override: float | None = None
    may_lower: bool = False
    tripped: bool = False
    due: bool = False
    gap: bool = False
    last_action_ns: int | None = None
    last_bar_ns: int | None = None
    history: list[bool] = field(default_factory=list)
    binned: list[list[int]] = field(default_factory=list)
    psi: float = 0.0
    exceeded: dict[str, int] = field(default_factory=lambda: {"range": 0, "distance": 0, "psi": 0})

    def decide(self, row: Row) -> tuple[Action, Reason, float]:
        """What the Signal of this row must say. The breaker trips between two rows."""
        if self.due:
            self.tripped, self.due, self.history = True, False, []
        self.gap = self.gap or row.gap
        reason, action, confidence = self._look(row)
        if reason in (
            Reason.MODEL_ERROR, Reason.NON_FINITE_OUTPUT, Reason.BELOW_THRESHOLD, Reason.COOLDOWN, Reason.DUPLICATE_BAR,
            Reason.BREAKER, Reason.MODEL,
        ):  # fmt: skip
            self.history.append(reason in (Reason.MODEL_ERROR, Reason.NON_FINITE_OUTPUT))
            if self.d.errors and self.history[-1] and sum(self.history[-self.d.window :]) >= self.d.errors:
                self.due = True
        return (action if reason == Reason.MODEL else Action.HOLD), reason, confidence

    def reset(self) -> None:
        """The breaker is closed again."""
        self.tripped, self.due, self.history = False, False, []

    def _look(self, row: Row) -> tuple[Reason, Action, float]:
        d, hold = self.d, Action.HOLD
        if row.killed:
            return Reason.KILLED, hold, 0.0
        if row.halted:
            return Reason.HALTED, hold, 0.0
        if d.sessions is not None and not bool(d.sessions.is_open(row.ts_ns, by_close=d.by_bar)):
            return Reason.OUT_OF_SESSION, hold, 0.0
        if d.max_age_ns is not None and (row.data_ns is None or row.ts_ns - row.data_ns > d.max_age_ns):
            return Reason.STALE, hold, 0.0
        if not row.warm:
            return (Reason.STALE if self.gap else Reason.NOT_WARM), hold, 0.0
        self.gap = False
        x = np.array(row.x, F32)
        if not all(math.isfinite(float(v)) for v in x):
            return Reason.NON_FINITE_FEATURE, hold, 0.0
        z = np.array([self._z(j, v) for j, v in enumerate(x)], F32)
        if self._unlike(x, z):
            return Reason.OUT_OF_DISTRIBUTION, hold, 0.0
        if d.inactive:
            return Reason.MODEL_INACTIVE, hold, 0.0
        if d.valid_until_ns is not None and row.ts_ns > d.valid_until_ns:
            return Reason.MODEL_EXPIRED, hold, 0.0
        if row.fails:
            return Reason.MODEL_ERROR, hold, 0.0
        scores = [F32(s) for s in self.model(z)]
        if not all(math.isfinite(float(s)) for s in scores):
            return Reason.NON_FINITE_OUTPUT, hold, 0.0
        return self._scores(row, scores)

    def _scores(self, row: Row, scores: list[Any]) -> tuple[Reason, Action, float]:
        d = self.d
        if d.kind == "value":
            size = abs(scores[0])
            confidence, deciding = min(size, F32(1)), size
            action = Action.BUY if scores[0] > 0 else Action.SELL if scores[0] < 0 else Action.HOLD
        else:
            if d.kind == "logits":
                top = max(float(s) for s in scores)
                e = [math.exp(float(s) - top) for s in scores]
                total = 0.0
                for part in e:
                    total += part
                scores = [F32(part / total) for part in e]
            best = max(range(len(scores)), key=lambda j: (scores[j], -j))
            confidence = deciding = min(max(scores[best], F32(0)), F32(1))
            action = Action(d.actions[best])
        if deciding < self._threshold():
            return Reason.BELOW_THRESHOLD, action, float(confidence)
        last = self.last_action_ns
        if action != Action.HOLD and d.cooldown_ns and last is not None and row.ts_ns - last < d.cooldown_ns:
            return Reason.COOLDOWN, action, float(confidence)
        if d.by_bar and self.last_bar_ns == row.ts_ns:
            return Reason.DUPLICATE_BAR, action, float(confidence)
        if self.tripped:
            return Reason.BREAKER, action, float(confidence)
        if action != Action.HOLD:
            self.last_action_ns = row.ts_ns
        self.last_bar_ns = row.ts_ns
        return Reason.MODEL, action, float(confidence)

    def _threshold(self) -> Any:
        declared = F32(self.d.threshold)
        if self.override is None or (F32(self.override) < declared and not self.may_lower):
            return declared
        return F32(self.override)

    def _z(self, j: int, x: Any) -> Any:
        off = float(x) - self.d.mean[j]
        z = F32(off / self.d.std[j] if self.d.std[j] > 0 else off)
        return min(max(z, F32(self.d.clip[0])), F32(self.d.clip[1]))

    def _unlike(self, x: Any, z: Any) -> bool:
        d, held = self.d, False
        if d.ranges is not None:
            mode, lo, hi = d.ranges
            out = any(v < F32(a) or v > F32(b) for v, a, b in zip(x, lo, hi, strict=True))
            self.exceeded["range"] += out
            held |= out and mode == "hold"
        if d.distance is not None:
            mode, limit = d.distance
            far = bool(mean_square(z) > F32(limit))
            self.exceeded["distance"] += far
            held |= far and mode == "hold"
        if d.psi is not None:
            mode, limit, rows, edges, shares = d.psi
            self.binned.append([sum(bool(v > F32(e)) for e in edges[j]) for j, v in enumerate(x)])
            n, turns = len(self.binned), -(-len(x) // 8)  # a row is counted for eight features
            if n >= rows * turns and n % (rows // 16 * turns) == 0:
                last = self.binned[-rows * turns :]
                found = [psi(last[j // 8 :: turns], j, shares[j]) for j in range(len(x))]
                if d.psi_usual is not None:  # a share of what it usually reaches, times the limit
                    found = [
                        float(F32(F32(v) * F32(limit / max(u, limit)))) for v, u in zip(found, d.psi_usual, strict=True)
                    ]
                self.psi = max(found)
                self.psi = max(self.psi, 0.0)
            moved = bool(F32(self.psi) > F32(limit))
            self.exceeded["psi"] += moved
            held |= moved and mode == "hold"
        return held


def mean_square(z: Any) -> Any:
    """Float32: eight sums, the features by turns; then 0+4, 2+6, 1+5, 3+7; then pairwise; times 1/n."""
    sums = [F32(0)] * 8
    for j, v in enumerate(z):
        sums[j % 8] = F32(sums[j % 8] + F32(v * v))
    even = F32(F32(sums[0] + sums[4]) + F32(sums[2] + sums[6]))
    odd = F32(F32(sums[1] + sums[5]) + F32(sums[3] + sums[7]))
    return F32(F32(even + odd) * F32(1.0 / len(z)))


def psi(binned: list[list[int]], j: int, shares: Any) -> float:
    """Of one feature over these rows, float32 in the order of the bins."""
    rows, total = len(binned), F32(0)
    for b in range(10):
        count = sum(row[j] == b for row in binned)
        share = F32(max(float(shares[b]), 1e-4))
        seen = F32(F32(count) * F32(1.0 / rows))
        log = F32(F32(math.log(max(count, 0.5) / rows)) - F32(math.log(float(share))))
        total = F32(total + F32(F32(seen - share) * log))
    return float(total)
