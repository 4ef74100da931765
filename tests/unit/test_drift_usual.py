"""What PSI usually reaches over training windows: against a slow reference, and what becomes of it in the gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gated import MIDS, served

from alpha.models import limits, metadata
from alpha.models.limits import Limits, Shift, edges_of, shares_of, usual_psi


def slowly(parts: list[Any], edges: Any, shares: Any, window: int) -> list[float]:
    """Each window by itself, row by row, as the gate counts them."""
    n = len(edges)
    turns = -(-n // 8)
    out = []
    for j in range(n):
        found = []
        for x in parts:
            counted = [row[j] for k, row in enumerate(x) if k % turns == j // 8]
            for end in range(window, len(x) // turns + 1, window // 16):
                bins = [sum(bool(v > e) for e in edges[j]) for v in counted[end - window : end]]
                found.append(limits.psi([bins.count(b) for b in range(10)], shares[j]))
        out.append(float(np.quantile(found, limits.USUAL)))
    return out


@pytest.mark.parametrize("seed", range(6))
def test_every_training_window_is_measured_as_the_gate_would(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, window = int(rng.choice([1, 3, 8, 9, 17])), int(rng.choice([16, 48]))
    parts = [
        np.cumsum(rng.normal(0, 1, (int(rng.integers(10, 700)), n)), axis=0).round(1).astype(np.float32)
        for _ in range(4)
    ]
    parts.append(parts[0][: 200 * -(-n // 8)])
    parts.append(rng.normal(0, 9, (60 * -(-n // 8), n)).astype(np.float32))
    x = np.concatenate(parts)
    edges = edges_of(x)
    shares = shares_of(x, edges)
    got = usual_psi(parts, edges, shares, window)
    np.testing.assert_allclose(got, slowly(parts, edges, shares, window), rtol=1e-12)
    assert len(usual_psi([x[: window * -(-n // 8) - 1]], edges, shares, window)) == 0  # no window is full


def test_a_slow_feature_alone_is_no_drift_and_a_fast_one_still_is(tmp_path: Path) -> None:
    """Feature 0 wanders, so each of its windows lies in few bins; 1 and 2 are drawn anew for each row."""
    rng = np.random.default_rng(7)
    count = 20_000
    train = rng.normal(100.0, 1.0, (count, 3)).astype(np.float32)
    train[:, 0] = 100 + 5 * np.sin(np.arange(count) / 500)
    edges = edges_of(train)
    shares = shares_of(train, edges)
    usual = usual_psi([train], edges, shares, 320)
    assert usual[0] > 2 and (usual[1:] < 0.25).all()
    shifted = train[:2_000].copy()
    shifted[1_000:, 2] += 1.0

    def run(name: str, rows: Any, psi_usual: list[float]) -> tuple[int, dict[str, Any]]:
        reference = metadata.Reference(edges=edges.tolist(), shares=shares.tolist(), psi_usual=psi_usual)
        with served(
            tmp_path / name, MIDS, limits=Limits(psi=Shift("count", 0.25, 320)), reference=reference,
            mean=[100.0] * 3, std=[1.0] * 3, clip=(-5.0, 5.0),
        ) as rt:  # fmt: skip
            for t, row in enumerate(rows):
                rt.on_features("X", t, row)
            gate = next(g for g in rt.explain("X")["gates"] if g["gate"] == "psi")
            return rt.stats()["unlike"].get("psi", 0), gate

    before, gate = run("before", train[:2_000], [])
    assert before == 2_000 - 319 and gate["value"] > 2 and "index itself" not in gate["text"]
    after, gate = run("after", train[:2_000], usual.tolist())
    assert after == 0 and gate["passed"] and "the index itself is" in gate["text"]
    found, gate = run("shifted", shifted, usual.tolist())
    assert found > 600 and not gate["passed"] and "index itself" not in gate["text"]


def test_without_a_measured_value_the_index_is_as_it_is() -> None:
    assert limits.psi_weight(0.25, [], 3).tolist() == [1.0, 1.0, 1.0]
    assert limits.psi_weight(0.25, [0.1, 0.5, 2.5], 3).tolist() == [1.0, 0.5, np.float32(0.1)]
    assert limits.psi_weight(0.0, [0.1, 0.5, 2.5], 3).tolist() == [1.0, 1.0, 1.0]
