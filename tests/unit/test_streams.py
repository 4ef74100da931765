"""The generators of the other tests: every operator, every kind of window, every kind of trouble appears."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from streams import expression, stream

from alpha.events import Kind, Status, stream_time
from alpha.features.compile import compile_program
from alpha.features.feature_set import FeatureSet
from alpha.features.language import Duration, canonical, parse, walk
from alpha.features.operators import OPERATORS
from alpha.features.units import unit_of


def test_expressions_use_the_whole_table_and_stay_small() -> None:
    seen: Counter[str] = Counter()
    windows: Counter[str] = Counter()
    for seed in range(600):
        e = parse(expression(np.random.default_rng(seed)))
        unit_of(e)
        nodes = list(walk(e))
        assert len(nodes) <= 20 and parse(canonical(e)) == e
        seen.update(n.op for n in nodes)
        for n in nodes:
            if n.op in OPERATORS and any(p.name == "window" for p in OPERATORS[n.op].params):
                windows[f"{n.op} {type(n.param('window')).__name__}"] += 1
    assert min(seen[name] for name in OPERATORS) >= 5
    rolled = {w.split()[0] for w in windows if w.split()[0] != "velocity"}
    assert {f"{op} int" for op in rolled} | {f"{op} {Duration.__name__}" for op in rolled} <= set(windows)


@pytest.mark.parametrize("root", [op for op in OPERATORS if OPERATORS[op].kind != "source"])
def test_any_operator_can_stand_on_top(root: str) -> None:
    text = expression(np.random.default_rng(7), 3, root=root)
    assert parse(text).op == root
    compile_program(FeatureSet.from_dict({"features": {"x": text}}))


def test_expressions_keep_to_the_operators_they_are_given() -> None:
    names = {"mid", "px", "mean", "sub", "lag"}
    for seed in range(100):
        used = {e.op for e in walk(parse(expression(np.random.default_rng(seed), 3, names)))}
        assert used <= names | {"bar", "const"}


def test_streams_have_trouble_in_them() -> None:
    seen: Counter[str] = Counter()
    for seed in range(80):
        e = stream(seed)
        for clock in ("recv", "event"):
            t = stream_time(e, clock)
            seen["equal times in a row"] += int((np.diff(t) == 0).sum() > 150)
            seen["silence"] += int((np.diff(t) > 500 * 10**9).any())
        sizes = e["v"][e["kind"] == Kind.QUOTE, 2:4]
        seen["halt"] += int((e["v"][e["kind"] == Kind.STATUS, 0] == Status.HALT).sum() > 1)
        seen["one side empty"] += int((sizes == 0.0).any(axis=1).mean() > 0.5)
        seen["both sides empty"] += int((sizes == 0.0).all(axis=1).mean() > 0.15)
        seen["levels"] += len(set(e["level"][e["kind"] == Kind.DEPTH].tolist())) == 3
    assert min(seen.values()) >= 5 and len(seen) == 6, seen


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_streams_of_hardly_any_events(n: int) -> None:
    for seed in range(50):
        e = stream(seed, n=n, faults=seed % 2 == 0)
        assert len(e) == n
    assert all((np.diff(stream_time(stream(s, n=40), "recv")) >= 0).all() for s in range(30))
