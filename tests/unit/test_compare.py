"""Comparing two models: matched decisions, outcomes after a horizon, an interval that knows chance from skill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alpha.cli.main import main
from alpha.compare import calibration_error, forward_bp, interval, matched
from alpha.data.simulate import simulate
from alpha.events import SIGNAL_DTYPE


def signals(n: int, **fields: Any) -> Any:
    s = np.zeros(n, SIGNAL_DTYPE)
    s["event_index"], s["ts_event_ns"], s["ref_px"] = np.arange(n), np.arange(n) * 10, 100.0
    for name, value in fields.items():
        s[name] = value
    return s


def test_outcomes_are_the_first_price_after_the_horizon() -> None:
    px = np.array([100.0, 101, 102, 0, 104, 105])
    s = signals(6, ref_px=px)
    naive = [
        next((1e4 * (px[j] / px[i] - 1) for j in range(i, 6) if 10 * (j - i) >= 15), np.nan) if px[i] else np.nan
        for i in range(6)
    ]
    np.testing.assert_allclose(forward_bp(s, 15), naive)
    two = signals(6, ref_px=px, instrument_id=[0, 1, 0, 1, 0, 1])
    assert forward_bp(two, 20)[0] == pytest.approx(200.0) and np.isnan(forward_bp(two, 20)[4])


def test_decisions_are_matched_by_event_and_instrument() -> None:
    a, b = signals(6, instrument_id=[0, 1, 0, 1, 0, 1]), signals(4)
    b["event_index"], b["instrument_id"] = [5, 2, 3, 9], [1, 0, 0, 0]
    x, y = matched(a, b)
    assert x["event_index"].tolist() == y["event_index"].tolist() == [2, 5]


def test_the_interval_covers_chance_and_sees_skill() -> None:
    rng = np.random.default_rng(4)
    covered = 0
    for k in range(60):
        noise = rng.standard_normal(2000)
        low, high = interval(noise, 400, k)
        covered += low <= 0 <= high
    assert 50 <= covered <= 60
    low, _ = interval(rng.standard_normal(2000) + 0.2, 400, 1)
    assert low > 0
    # neighbours that move together widen it
    walk = np.repeat(rng.standard_normal(100), 20)
    wide, narrow = interval(walk, 400, 1), interval(rng.permutation(walk), 400, 1)
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])
    # neighbours that know of each other over more than the square root of all: say so
    walk = np.repeat(rng.standard_normal(20), 100)
    short, long = interval(walk, 400, 1), interval(walk, 400, 1, 200)
    assert long[1] - long[0] > 1.3 * (short[1] - short[0])
    assert interval(walk, 50, 1, 10**9) == pytest.approx((walk.mean(), walk.mean()))  # one block is all there is
    assert interval(walk, 400, 1) == interval(walk, 400, 1)


def test_calibration_of_a_known_case() -> None:
    confidence = np.array([0.6, 0.6, 0.9, 0.9])
    assert calibration_error(confidence, np.array([True, False, True, True])) == pytest.approx((0.2 + 0.2) / 4)


def test_the_verb(capsys: pytest.CaptureFixture[str], tmp_path: Path, project_root: Path) -> None:
    e = simulate(12_000, seed=6, levels=1).events
    quote = e["kind"] == 1
    columns: dict[str, Any] = {"ts": e["ts_recv_ns"], "kind": e["kind"]}
    for j, name in enumerate(("bid", "ask", "bid_size", "ask_size")):
        columns[name] = pa.array(e["v"][:, j], mask=~quote)
    for j, name in enumerate(("last", "last_size", "side")):
        columns[name] = pa.array(e["v"][:, j], mask=quote)
    pq.write_table(pa.table(columns), tmp_path / "SIM0.parquet")
    words = ["--registry", str(project_root / "registry.json"), "--data", str(tmp_path / "SIM0.parquet")]
    assert main(["compare", "models:/demo/1", "models:/demo_mlp/1", *words, "--horizon", "1s", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["flips"] == sum(done["flips_by_kind"].values()) > 0
    assert done["models"]["a"]["hit_rate"] > 0.5  # the simulated market carries a planted signal
    d = done["difference_bp"]
    assert d["low"] <= d["mean"] <= d["high"]
    assert d["mean"] == pytest.approx(done["models"]["b"]["mean_bp"] - done["models"]["a"]["mean_bp"])
    assert main(["compare", "models:/demo/1", "models:/demo/1", *words]) == 0
    assert "0 differ" in capsys.readouterr().out
    assert main(["compare", "models:/demo/1", "models:/demo/1", *words, "--horizon", "9h"]) == 2
    assert "shorter than the horizon" in capsys.readouterr().err
