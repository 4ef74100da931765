"""Each supplied strategy with a model of the kind it is made for, through the whole backtest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import desks
import numpy as np
import onnx_models
import pytest

import alpha
from alpha.events import Reason
from alpha.features.feature_set import FeatureSet, parse_trigger
from alpha.features.language import parse
from alpha.strategies import Grade, make

START = 1_700_000_000 * 10**9
SIX = (
    "imbalance",
    "imbalance - ema(imbalance, span=5)",
    "1e4*ret(mid, 1)",
    "1e4*ret(mid, 5)",
    "1e4*spread/mid",
    "zscore(mid, 20)",
)


@pytest.fixture(scope="module")
def market() -> np.ndarray:
    rng = np.random.default_rng(8)
    n = 3000
    mid = 100.0 + 0.01 * np.cumsum(rng.integers(-3, 4, n))
    half = 0.01 * rng.integers(1, 4, n)
    e = desks.quotes(START + 10**9 * np.arange(n), mid - half, mid + half)
    e["v"][:, 2:4] = rng.integers(1, 50, (n, 2))
    return e


def by_hand(name: str, params: dict[str, Any], signals: np.ndarray) -> list[int]:
    """What the strategy should say, row by row, from its description."""
    out, run, before = [], 0, 0
    for s in signals:
        p, strong = s["scores"], np.float32(params["strong"])
        if s["reason"] != Reason.MODEL:
            side, strength = 0, 0.0
        elif name == "tree_proba":
            up, down = p[2], p[0]
            side = 1 if up >= np.float32(params["buy"]) and up > down else 0
            side = -1 if down >= np.float32(params["sell"]) and down > up else side
            strength = max(up, down)
        elif name == "threshold":
            v = s["value"]
            side = 1 if v >= np.float32(params["buy"]) else -1 if v <= np.float32(params["sell"]) else 0
            strength = abs(v)
        else:
            side, strength = int(s["action"]), s["confidence"]
        if name == "lstm_sequence":
            run = run + 1 if side == before else 1
            before = side
            side = side if run >= params["agree"] else 0
        out.append(side * (2 if strength >= strong else 1))
    return out


@pytest.mark.parametrize(
    ("name", "model", "output", "kind", "params"),
    [
        ("hybrid_ppo", "mlp", "probabilities", "probabilities", {"strong": 0.6}),
        ("tree_proba", "forest", "probabilities", "probabilities", {"buy": 0.35, "sell": 0.45, "strong": 0.6}),
        ("tree_proba", "histogram", "probabilities", "probabilities", {"buy": 0.3, "sell": 0.3, "strong": 0.5}),
        ("lstm_sequence", "lstm", "s", "logits", {"agree": 2, "strong": 0.5}),
        ("threshold", "ridge", "variable", "value", {"buy": 0.4, "sell": -0.4, "strong": 1.0}),
    ],
)
def test_a_strategy_with_its_kind_of_model(
    market: np.ndarray, tmp_path: Path, name: str, model: str, output: str, kind: str, params: dict[str, Any]
) -> None:
    fs = FeatureSet("six", {f"f{k}": parse(text) for k, text in enumerate(SIX)}, parse_trigger("quote"))
    std = [0.5, 0.5, 2.0, 4.0, 1.0, 1.0]
    data = onnx_models.lstm() if model == "lstm" else onnx_models._sklearn()[model]()
    served = desks.served(tmp_path, fs, data, output, kind, [0.0] * 6, std)
    with alpha.Runtime(served.bundle, desks.table()) as rt:
        signals = rt.run(market)
    wanted = by_hand(name, params, signals)
    given = {"model": "six", **params}
    done = desks.run(make(name, given), served, market, cuts=[700, 701, 2000])
    assert done.grades == Counter(Grade(g).name for g in wanted)
    assert len({g for g in wanted if g}) >= 2 and len(done.ledger.fills) > 10
    assert done.reasons["MODEL"] > 2900
