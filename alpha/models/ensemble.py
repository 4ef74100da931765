"""Who decided in an ensemble: each member's share, from the row of probabilities that was logged. Floor 3.

How an ensemble combines: ``_core/include/alpha_ensemble.h``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

ORDER = ("SELL", "HOLD", "BUY")


def shares_of(
    row: npt.NDArray[np.float32],
    names: Sequence[str],
    weights: Sequence[float],
    combine: str,
    may_veto: Collection[str],
) -> list[dict[str, Any]]:
    """Per member its likeliest action and its share: of the weight behind the action that the members proposed, how much
    is its own. ``veto``: it is one of those that turned that action into HOLD.

    ``row``: float32 [members, (SELL, HOLD, BUY)]; three zeros: the member was absent.
    """
    votes = np.zeros((len(names), 3))
    for m, p in enumerate(row):
        if names[m] not in may_veto and p.any():
            votes[m] = weights[m] * (np.eye(3)[likeliest(p)] if combine == "vote" else p.astype(np.float64))
    total = votes.sum(axis=0)
    weight = sum(weights[m] for m, v in enumerate(votes) if v.any())
    action = likeliest((total / weight if weight else total).astype(np.float32))
    out = []
    for m, p in enumerate(row):
        out.append(
            {
                "model": names[m],
                "weight": weights[m],
                "absent": not p.any(),
                "likeliest": ORDER[likeliest(p)],
                "probabilities": [float(v) for v in p],
                "share": float(votes[m, action] / total[action]) if total[action] > 0 else 0.0,
                "veto": names[m] in may_veto and bool(p.any()) and action != 1 and likeliest(p) != action,
            }
        )
    return out


def likeliest(p: npt.NDArray[Any]) -> int:
    """Place of the likeliest action; opposite actions that tie leave HOLD."""
    if p[0] == p[2]:
        return 1
    side = 0 if p[0] > p[2] else 2
    return side if p[side] > p[1] else 1
