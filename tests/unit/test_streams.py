"""The generators of the other tests: every operator, every kind of window, every kind of trouble appears."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from calendars import MADE
from expressions import ALL, BARS, HERE
from programs import PARTLY, needs_sizes, program, table_for
from streams import expression, stream

from alpha.events import ALL_INSTRUMENTS, Flag, Kind, Status, stream_time
from alpha.features.feature_set import FeatureSet
from alpha.features.language import Duration, canonical, moves, parse, resets, walk
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
        seen.update(
            f"{n.op} {n.param('reset')}" for n in nodes if n.op in OPERATORS and OPERATORS[n.op].kind == "stateful"
        )
        seen.update(f"resets {resets(n)} moves {moves(n)}" for n in nodes)
        seen.update(str(n) for n in nodes if n.op == "bar")
    assert min(seen[name] for name in OPERATORS) >= 5
    assert min(seen[f"cumsum {reset}"] for reset in (None, "session", "never")) >= 3
    assert min(seen[f"resets {r} moves {m}"] for r, m in ((True, True), (False, True), (False, False))) >= 100
    assert all(any(seen[str(e)] for e in several) for several in BARS.values())
    rolled = {w.split()[0] for w in windows if w.split()[0] != "velocity"}
    assert {f"{op} int" for op in rolled} | {f"{op} {Duration.__name__}" for op in rolled} <= set(windows)


@pytest.mark.parametrize("root", [op for op in OPERATORS if OPERATORS[op].kind != "source"])
def test_any_operator_can_stand_on_top(root: str) -> None:
    text = expression(np.random.default_rng(7), 3, root=root)
    assert parse(text).op == root
    FeatureSet.from_dict({"features": {"x": text}})


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


def test_streams_have_inputs_and_sizes_of_every_kind() -> None:
    seen: Counter[str] = Counter()
    for seed in range(80):
        e = stream(seed, instruments=3)
        at = e["kind"] == Kind.INPUT
        ids, series = e["instrument_id"][at], e["v"][at, 0]
        seen["inputs"] += at.any()
        seen["to one and to all"] += bool((ids == ALL_INSTRUMENTS).any() and (ids != ALL_INSTRUMENTS).any())
        seen["nobody's series"] += bool(np.isin(series, (-1.0, 0.5)).any() or series.max(initial=0.0) > 3)
        trades = e["kind"] == Kind.TRADE
        qty = e["v"][trades, 1]
        seen["no sizes"] += bool((e["flags"][trades] & Flag.NO_QTY).any())
        seen["big"] += bool((qty > 50).any())
        seen["beyond counting"] += bool((qty > 1e16).any())
        seen["statuses"] += len(set(e["v"][e["kind"] == Kind.STATUS, 0].tolist())) >= 4
        seen["three instruments"] += set(range(3)) <= set(e["instrument_id"].tolist())
    assert min(seen.values()) >= 5 and len(seen) == 8, seen


def test_streams_run_through_made_up_sessions() -> None:
    """Before the first, inside, in breaks, between, behind the last; and on the very bells."""
    seen: Counter[str] = Counter()
    for seed in range(40):
        t = stream_time(stream(seed), "recv")
        for name, table in MADE.items():
            k = table.index(t)
            seen["before"] += int((k < 0).sum())
            seen["open"] += int(table.is_open(t).sum())
            at = np.maximum(k, 0)
            seen["pause"] += int(((k >= 0) & (t >= table.break_starts[at]) & (t < table.break_ends[at])).sum())
            behind = (k >= 0) & (t > table.closes[at])
            seen["between"] += int((behind & (k < len(table) - 1)).sum())
            seen["after the last"] += int((behind & (k == len(table) - 1)).sum())
            seen[f"breaks of {name}"] += int((np.diff(k) > 0).sum())
            for bell in (table.opens, table.closes, table.break_starts, table.break_ends):
                for beside in (-1, 0, 1):
                    seen[f"bell {beside}"] += int(np.isin(bell + beside, t).sum())
    del seen["breaks of one"]  # everything is one session
    assert min(seen.values()) >= 10, seen


def test_programs_go_with_their_instruments() -> None:
    sized = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        fs = program(rng, operators=HERE if seed % 2 else ALL)
        assert not (seed % 2 and fs.symbols) and set(fs.symbols) <= {"A", "B"}
        known = all(i.lot_size and i.tick_size for i in table_for(fs, rng))
        assert known or not needs_sizes(fs)
        sized += needs_sizes(fs)
    assert 30 < sized < 270 and not any(i.lot_size and i.tick_size for i in PARTLY)
