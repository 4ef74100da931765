"""What became of the signals: forward returns, calibration, confusion, recovery of a planted signal. Floor 7.

Forward returns are of the signals' own reference price, by the last decision at or before t + horizon: nothing
later than that is looked at. These are descriptions of a signal, not of a profit: costs enter by the dead band only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.events import Reason

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """One row per model decision that has a future: time, price, action, scores [N, K], forward return, dead band,
    class of what happened (-1, 0, 1), and the planted signal where there is one."""

    ts_ns: npt.NDArray[np.int64]
    price: Floats
    action: npt.NDArray[np.int64]
    scores: Floats
    value: Floats
    forward: Floats
    happened: npt.NDArray[np.int64]
    planted: Floats | None

    def confusion(self) -> npt.NDArray[np.int64]:
        """Counts [3, 3]: rows SELL HOLD BUY as advised, columns down flat up as happened."""
        table = np.zeros((3, 3), dtype=np.int64)
        np.add.at(table, (self.action + 1, self.happened + 1), 1)
        return table

    def calibration(self, score: int, target: int, bins: int = 10) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
        """(mean predicted, observed share, count) per equally filled bin of one score against one class."""
        p = self.scores[:, score]
        order = np.argsort(p, kind="stable")
        groups = [g for g in np.array_split(order, bins) if len(g)]
        predicted = np.array([p[g].mean() for g in groups])
        observed = np.array([(self.happened[g] == target).mean() for g in groups])
        return predicted, observed, np.array([len(g) for g in groups])

    def hit_rate(self) -> float:
        """Share of BUY and SELL after which the price moved that way beyond the dead band."""
        acted = self.action != 0
        return float((self.action[acted] == self.happened[acted]).mean()) if acted.any() else float("nan")

    def recovered(self) -> float:
        """Correlation of the model's value with the planted signal; NaN without one."""
        if self.planted is None or len(self.value) < 2:
            return float("nan")
        return float(np.corrcoef(self.value, self.planted)[0, 1])

    def information_coefficient(self) -> float:
        """Correlation of the model's value with the forward return."""
        return float(np.corrcoef(self.value, self.forward)[0, 1]) if len(self.value) > 1 else float("nan")


def outcome(
    signals: npt.NDArray[Any], events: npt.NDArray[Any], horizon_ns: int, planted: Floats | None = None
) -> Outcome:
    """Follow every decision of one instrument on which the model was asked. ``events``: the quotes that ``event_index``
    points into; the dead band is half the spread at the decision."""
    asked = (signals["reason"] == Reason.MODEL) | (signals["reason"] == Reason.BELOW_THRESHOLD)
    s = signals[asked]
    recv = s["ts_recv_ns"]
    ts = np.where(recv != 0, recv, s["ts_event_ns"]).astype(np.int64)
    price = s["ref_px"].astype(np.float64)
    if len(ts) == 0:
        none = np.zeros(0)
        return Outcome(ts, price, np.zeros(0, np.int64), np.zeros((0, 3)), none, none, np.zeros(0, np.int64), None)
    at = np.searchsorted(ts, ts + horizon_ns, side="right") - 1
    known = ts + horizon_ns <= ts[-1]
    index = s["event_index"].astype(np.int64)
    quotes = events["v"][index]
    band = 0.5 * (quotes[:, 1] - quotes[:, 0]) / price
    forward = price[at] / price - 1.0
    happened = np.where(forward > band, 1, np.where(forward < -band, -1, 0))
    k = int(s["n_scores"].max(initial=0))
    return Outcome(
        ts[known],
        price[known],
        s["action"][known].astype(np.int64),
        s["scores"][known][:, :k].astype(np.float64),
        s["value"][known].astype(np.float64),
        forward[known],
        happened[known],
        None if planted is None else planted[index][known],
    )
