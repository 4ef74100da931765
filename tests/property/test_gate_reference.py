"""The native gate against the slow reference: random limits, random rows, every reason in its order."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import onnx_models
import pytest
from reference_gate import Declared, ReferenceGate, Row

from alpha._core.checks import Checks
from alpha._core.ort import OrtModel
from alpha._core.pipeline import Pipeline
from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, Control, Kind, Reason
from alpha.features.compile import compile_program
from alpha.features.feature_set import FeatureSet
from alpha.models.limits import edges_of, psi_weight, shares_of
from alpha.sessions import SessionTable

START = 1_700_000_000 * 10**9
HOURS = 3600 * 10**9
TABLE = SessionTable.of("T", [(START + k * 24 * HOURS, START + k * 24 * HOURS + 4 * HOURS) for k in range(3)])


def control(code: int, value: float = 0.0) -> Any:
    event = np.zeros(1, EVENT_DTYPE)
    event["kind"], event["instrument_id"] = Kind.CONTROL, ALL_INSTRUMENTS
    event["v"][0, :2] = code, value
    return event


def random_limits(rng: np.random.Generator, n: int) -> Declared:
    train = rng.normal(1.0, 1.0, (500, n)).astype(np.float32)
    modes = ("count", "hold")
    edges = edges_of(train)
    kind = str(rng.choice(["logits", "probabilities", "value"]))
    d = Declared(
        mean=rng.normal(0.5, 0.2, n).tolist(),
        std=np.where(rng.random(n) < 0.1, 0.0, rng.uniform(0.5, 2.0, n)).tolist(),
        clip=(-3.0, 3.0),
        actions=[0] if kind == "value" else [-1, 0, 1][:n],
        kind=kind,
        threshold=float(np.float32(rng.choice([0.0, 0.4, 0.8]))),
        cooldown_ns=int(rng.choice([0, 2 * HOURS])),
        valid_until_ns=None if rng.random() < 0.7 else START + 60 * HOURS,
        inactive=rng.random() < 0.05,
        sessions=TABLE if rng.random() < 0.5 else None,
        by_bar=rng.random() < 0.5,
    )
    if rng.random() < 0.6:
        d.ranges = (str(rng.choice(modes)), (train.min(0) - 0.3).tolist(), (train.max(0) + 0.3).tolist())
    if rng.random() < 0.6:
        d.distance = (str(rng.choice(modes)), float(rng.uniform(0.5, 2.5)))
    if rng.random() < 0.6:
        d.psi = (
            str(rng.choice(modes)),
            float(rng.uniform(0.2, 0.6)),
            int(rng.choice([16, 64])),
            edges,
            shares_of(train, edges),
        )
        if rng.random() < 0.5:
            d.psi_usual = rng.uniform(0.0, 2.0, n).tolist()
    if rng.random() < 0.6:
        d.window = int(rng.integers(4, 65))
        d.errors = int(rng.integers(2, min(d.window, 8)))
    return d


def native(d: Declared, n: int) -> Pipeline:
    source = 'bar("1m").close' if d.by_bar else "mid"
    fs = FeatureSet.from_dict(
        {
            "trigger": 'bar("1m")' if d.by_bar else "quote",
            "features": {f"f{j}": f"{source} * {j + 1}.0" for j in range(n)},
        }
    )
    bits = [(d.ranges, 1), (d.distance, 2), (d.psi, 4)]
    on = sum(bit for what, bit in bits if what is not None)
    drift = {
        "on": on,
        "hold": sum(bit for what, bit in bits if what is not None and what[0] == "hold"),
        "lo": d.ranges[1] if d.ranges else [0.0] * n,
        "hi": d.ranges[2] if d.ranges else [0.0] * n,
        "distance": d.distance[1] if d.distance else 0.0,
        "psi": d.psi[1] if d.psi else 0.0,
        "window": d.psi[2] if d.psi else 16,
        "edges": d.psi[3] if d.psi else [],
        "shares": np.maximum(d.psi[4], 1e-4) if d.psi else [],
        "psi_weight": psi_weight(d.psi[1] if d.psi else 0.0, d.psi_usual or [], n),
    }
    return Pipeline(
        compile_program(fs),
        lots=[1.0],
        clock_offsets_ns=[0],
        guard={"clock": "event", "crossed": "reject", "future_tolerance_ns": 10**10, "duplicates": "reject"},
        mean=np.array(d.mean),
        std=np.array(d.std),
        clip=d.clip,
        gate={
            "output_kind": d.kind,
            "rule": "sign" if d.kind == "value" else "argmax",
            "actions": d.actions,
            "threshold": d.threshold,
            "cooldown_ns": d.cooldown_ns,
            "valid_until_ns": d.valid_until_ns,
        },
        model=OrtModel(onnx_models.square_roots(n, len(d.actions))).kernel(),
        checks=Checks(
            1,
            sessions=None if d.sessions is None else [d.sessions],
            inactive=d.inactive,
            drift=drift if on else None,
            breaker={"errors": d.errors, "window": d.window, "latency_ns": 0, "in_a_row": 1},
        ),
    )


def compare(seed: int, rows: int) -> Counter[Reason]:
    """One random gate over random rows; how often each reason came."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 21))
    d = random_limits(rng, n)
    width = len(d.actions)
    slow = ReferenceGate(d, lambda z: [math.sqrt(v) if v >= 0 else math.nan for v in z[:width]])
    p, t, seen = native(d, n), START, Counter[Reason]()
    killed = halted = False
    shift, spread = 0.0, 1.0
    for k in range(rows):
        t += int(rng.choice([0, 0, HOURS // 7, HOURS // 2, HOURS]))
        if k % 100 == 50:
            shift, spread = float(rng.uniform(-0.5, 1.5)), float(rng.uniform(0.3, 1.5))
        what = rng.random()
        if what < 0.02 or (killed and what > 0.5):
            killed = not killed
            p.kill(killed)
        elif what < 0.04 or (halted and what > 0.3):
            halted = not halted
            p.on_event(control(Control.HALT if halted else Control.RESUME))
        elif what < 0.06:
            slow.override = None if rng.random() < 0.3 else float(np.float32(rng.random()))
            p.on_event(control(Control.THRESHOLD, np.nan if slow.override is None else slow.override))
        elif what < 0.07:
            slow.reset()
            p.reset_breaker()
        x = rng.normal(1.0 + shift, spread, n)
        x[:width] = np.where(rng.random(width) < 0.92, np.abs(x[:width]) + 1.0, x[:width])
        if rng.random() < 0.02:
            x[int(rng.integers(n))] = rng.choice([np.nan, np.inf, -np.inf])
        x = x.astype(np.float32)
        got = p.on_features(0, t, x)
        want = slow.decide(Row(t, x.tolist(), killed=killed, halted=halted))
        assert (got.action, got.reason) == want[:2], f"seed {seed}, row {k}"
        assert got.confidence == pytest.approx(want[2], abs=6e-8), f"seed {seed}, row {k}"
        seen[got.reason] += 1
    unlike = p.counters()["unlike"]
    assert {name: unlike.get(name, 0) for name in slow.exceeded} == slow.exceeded
    assert bool(p.breaker[0]) == slow.tripped
    return seen


def test_the_gate_equals_its_reference() -> None:
    seen: Counter[Reason] = Counter()
    for seed in range(28):
        seen += compare(seed, 220)
    wanted = {
        Reason.MODEL, Reason.KILLED, Reason.HALTED, Reason.OUT_OF_SESSION, Reason.NON_FINITE_FEATURE,
        Reason.OUT_OF_DISTRIBUTION, Reason.MODEL_INACTIVE, Reason.MODEL_EXPIRED, Reason.NON_FINITE_OUTPUT,
        Reason.BELOW_THRESHOLD, Reason.COOLDOWN, Reason.DUPLICATE_BAR, Reason.BREAKER,
    }  # fmt: skip
    assert wanted <= set(seen), f"never met: {wanted - set(seen)}"


@pytest.mark.slow
def test_the_gate_equals_its_reference_a_thousand_times() -> None:
    for seed in range(100, 1100):
        compare(seed, 300)
