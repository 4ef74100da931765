"""Strategies: found by name, refused when wrong, graded without surprises, hooks that cost nothing unless they are there."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha.errors import StrategyError
from alpha.events import SIGNAL_DTYPE, Reason
from alpha.strategies import Grade, Output, Parameter, Strategy, find, make, names, register, registration
from alpha.strategies.base import graded
from alpha.strategies.parameters import split_pairs

THREE = (-1, 0, 1)


def probabilities(rows: Any, actions: tuple[int, ...] = THREE, reason: int = Reason.MODEL) -> Output:
    """Signals as the gate makes them of probabilities [N, K]."""
    p = np.atleast_2d(np.asarray(rows, np.float32))
    s = np.zeros(len(p), SIGNAL_DTYPE)
    s["scores"][:, : p.shape[1]], s["n_scores"] = p, p.shape[1]
    codes = np.array(actions)
    s["action"], s["confidence"] = codes[p.argmax(axis=1)], p.max(axis=1)
    s["value"] = p[:, codes > 0].sum(axis=1) - p[:, codes < 0].sum(axis=1)
    s["reason"] = reason
    s["ts_event_ns"] = np.arange(len(p))
    return Output(s, "probabilities", actions, "m/1")


def values(v: Any) -> Output:
    s = np.zeros(len(v), SIGNAL_DTYPE)
    s["value"], s["reason"] = v, Reason.MODEL
    s["action"], s["confidence"] = np.sign(v), np.minimum(np.abs(v), 1)
    return Output(s, "value", (0,), "v/1")


def test_the_supplied_ones_are_there() -> None:
    supplied = {"hybrid_ppo", "tree_proba", "threshold", "lstm_sequence", "ensemble", "buy_and_hold", "random"}
    assert supplied <= set(names())
    assert all(find(n).name == n for n in supplied)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("hybrid_pp", {}, ("unknown strategy 'hybrid_pp'", "hybrid_ppo", "buy_and_hold")),
        ("hybrid_ppo", {"conf": "0.1"}, ("no parameter 'conf'", "conf_floor (a number from 0 to 1)")),
        ("hybrid_ppo", {"conf_floor": "1.5"}, ("conf_floor must be a number from 0 to 1", "'1.5'")),
        ("hybrid_ppo", {"conf_floor": "high"}, ("conf_floor must be a number", "'high'")),
        ("hybrid_ppo", {"conf_floor": "nan"}, ("conf_floor must be a number",)),
        ("lstm_sequence", {"model": "m", "agree": "2.5"}, ("agree must be a whole number from 1 to 1000",)),
        ("tree_proba", {}, ("needs the parameter model",)),
        ("ensemble", {"models": "demo"}, ("two or more",)),
        ("random", {"every": "often"}, ("every", "not a duration")),
    ],
)
def test_what_is_wrong_is_said_with_what_is_right(name: str, given: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(StrategyError) as caught:
        make(name, given)
    assert all(w in str(caught.value) for w in words), str(caught.value)


def test_pairs_of_the_command_line() -> None:
    assert split_pairs("a=1,b=x y") == {"a": "1", "b": "x y"}
    assert split_pairs("") == {}
    for text in ("a", "a=", "=1", "a=1,,b=2", "a=1,a=2"):
        with pytest.raises(StrategyError):
            split_pairs(text)


def test_bounds_are_inclusive_and_types_kept() -> None:
    p = Parameter("x", float, 0.5, 0.0, 1.0)
    assert p.accept("0") == 0.0 and p.accept(1) == 1.0
    assert Parameter("n", int, 1, 0, 9).accept("7") == 7
    assert Parameter("b", bool, False).accept("true") is True
    assert Parameter("s", str, "a", choices=("a", "b")).accept("b") == "b"
    for wrong in ("c", 1):
        with pytest.raises(StrategyError):
            Parameter("s", str, "a", choices=("a", "b")).accept(wrong)
    with pytest.raises(StrategyError):
        Parameter("x", float, 2.0, 0.0, 1.0)  # a default out of its own bounds


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it; the supplied ones, which register once a process, are not."""
    names()
    monkeypatch.setattr(registration, "_registered", dict(registration._registered))


@pytest.mark.usefixtures("registered")
def test_a_name_is_given_once() -> None:

    @register("mine")
    class Mine(Strategy):
        parameters = (Parameter("x", int, 1, 0, 2),)

    assert make("mine", {"x": 2}).params == {"x": 2}
    with pytest.raises(StrategyError, match="declared twice"):
        register("mine")(type("Other", (Strategy,), {}))
    with pytest.raises(StrategyError, match="declared twice"):
        register("hybrid_ppo")(type("Other", (Strategy,), {}))
    with pytest.raises(StrategyError, match="parameter x twice"):
        register("new")(type("New", (Strategy,), {"parameters": (Parameter("x", int), Parameter("x", float))}))
    with pytest.raises(StrategyError, match="subclass"):
        register("thing")(int)  # type: ignore[type-var]


@pytest.mark.usefixtures("registered")
def test_entry_points_are_found_and_their_duplicates_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    there = EntryPoint("outside", "desks:Scripted", registration.GROUP)
    monkeypatch.setattr(registration, "entry_points", lambda group: [there])
    assert "outside" in names() and find("outside").__name__ == "Scripted"
    for value in ("elsewhere:Random", "desks:Scripted"):
        twice = [EntryPoint("random", value, registration.GROUP)]
        monkeypatch.setattr(registration, "entry_points", lambda group, twice=twice: twice)
        with pytest.raises(StrategyError, match="'random' is declared twice"):
            names()
    broken = EntryPoint("broken", "no_such_module:X", registration.GROUP)
    monkeypatch.setattr(registration, "entry_points", lambda group: [broken])
    with pytest.raises(StrategyError, match="cannot be loaded"):
        find("broken")


@pytest.mark.usefixtures("registered")
def test_an_installed_package_offers_its_strategies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip leaves it: a module and its dist-info on the path."""
    (tmp_path / "tides_of_test.py").write_text(
        "from alpha.strategies import Parameter, Strategy\n"
        "class Tides(Strategy):\n    parameters = (Parameter('hours', int, 6, 1, 24),)\n"
    )
    told = tmp_path / "tides_of_test-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: tides-of-test\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text("[alpha.strategies]\ntides = tides_of_test:Tides\n")
    assert "tides" not in names()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "tides" in names()
    assert make("tides", {"hours": "12"}).params == {"hours": 12} and find("tides").name == "tides"
    with pytest.raises(StrategyError, match="hours must be a whole number from 1 to 24"):
        make("tides", {"hours": "0"})
    (told / "entry_points.txt").write_text("[alpha.strategies]\nrandom = tides_of_test:Tides\n")
    with pytest.raises(StrategyError, match=r"'random' is declared twice: .*tides_of_test:Tides: remove one package"):
        names()


OWN = """
from alpha.strategies import Parameter, Strategy, register

@register("{name}")
class Own(Strategy):
    parameters = (Parameter("x", int, 1, 0, 2),)
"""


@pytest.mark.usefixtures("registered")
def test_a_file_brings_its_strategies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, other = tmp_path / "one.py", tmp_path / "two.py", tmp_path / "elsewhere" / "one.py"
    one.write_text(OWN.format(name="own_one"))
    two.write_text(OWN.format(name="own_two") + OWN.format(name="own_three").replace("class Own", "class Next"))
    assert make(str(one), {"x": "2"}).params == {"x": 2} and find(str(one)).name == "own_one"
    assert find(f"{two}:own_three").name == "own_three"
    monkeypatch.chdir(tmp_path)
    assert find("one.py") is find(str(one)) is find("own_one")  # run once
    for text, words in (
        (str(two), "several strategies: say .*two.py:own_two, or own_three"),
        (f"{two}:own", "no strategy 'own'; it has: own_two, own_three"),
        (str(tmp_path / "none.py"), "none.py cannot be read: No such file"),
    ):
        with pytest.raises(StrategyError, match=words):
            find(text)
    other.parent.mkdir()
    for source, words in (
        (OWN.format(name="own_one"), "'own_one' is declared twice"),
        (OWN.format(name="random"), "'random' is declared twice"),
        (OWN.format(name="own_four") + "1 / 0\n", "line 7: ZeroDivisionError"),
        ("def f(:\n", "line 1: SyntaxError"),
        ("x = 1\n", "registers no strategy: put @register"),
    ):
        other.write_text(source)
        with pytest.raises(StrategyError, match=words):
            find(str(other))
        registration._files.pop(other.resolve(), None)
    assert "own_four" not in names()  # nothing is left of a file that failed


def test_only_hooks_that_are_there_count() -> None:
    class Bars(Strategy):
        def on_bar(self, view: Any, symbol: str, event: Any) -> None:
            return None

    assert Bars.overridden() == {"on_bar"}
    assert find("hybrid_ppo").overridden() == frozenset()


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_grades_rise_with_the_probability_of_up(strong: float, p: float, q: float, flat: float) -> None:
    """More probability of up at the cost of down never gives a lower grade: for every strategy over probabilities."""
    p, q = sorted((p, q))
    room = 1.0 - flat
    low, high = ([room * (1 - x), flat, room * x] for x in (p, q))
    for strategy in (
        make("hybrid_ppo", {"strong": strong}),
        make("tree_proba", {"model": "m", "buy": 0.4, "sell": 0.4, "strong": strong}),
        make("threshold", {"model": "m", "strong": strong}),
    ):
        a, b = strategy.map_output([probabilities([low, high])])[0].tolist()
        assert a <= b, (strategy.name, low, high, a, b)


def test_strong_begins_at_its_level() -> None:
    assert graded(np.array([1, 1, -1, -1, 0]), np.float32([0.79, 0.8, 0.8, 0.1, 1.0]), 0.8).tolist() == [
        1,
        2,
        -2,
        -1,
        0,
    ]


def test_hybrid_ppo_takes_the_gates_word() -> None:
    out = probabilities([[0.1, 0.1, 0.8], [0.9, 0.05, 0.05], [0.2, 0.5, 0.3], [0.5, 0.2, 0.3]])
    grades, confidence = make("hybrid_ppo", {}).map_output([out])
    assert grades.tolist() == [Grade.STRONG_BUY, Grade.STRONG_SELL, Grade.HOLD, Grade.SELL]
    np.testing.assert_array_equal(confidence, out.signals["confidence"])
    # a gate that said no is not overruled, whatever the scores are
    held = probabilities([[0.1, 0.1, 0.8]], reason=Reason.BELOW_THRESHOLD)
    for name, more in (("hybrid_ppo", {}), ("tree_proba", {"model": "m"}), ("threshold", {"model": "m"})):
        assert make(name, more).map_output([held])[0].tolist() == [0]


def test_tree_proba_by_levels_and_threshold_by_value() -> None:
    trees = make("tree_proba", {"model": "m", "buy": 0.3, "sell": 0.45})
    rows = [[0.3, 0.4, 0.3], [0.25, 0.44, 0.31], [0.45, 0.3, 0.25], [0.44, 0.3, 0.26], [0.05, 0.05, 0.9]]
    assert trees.map_output([probabilities(rows)])[0].tolist() == [0, 1, -1, 0, 2]
    with pytest.raises(StrategyError, match="use the strategy threshold"):
        trees.map_output([values([0.4])])
    level = make("threshold", {"model": "m", "buy": 0.2, "sell": -0.3, "strong": 2.0})
    assert level.map_output([values([0.2, 0.19, -0.3, -0.29, 5.0, -2.0, 0.0])])[0].tolist() == [1, 0, -1, 0, 2, -2, 0]


def test_binary_models_need_no_middle() -> None:
    out = probabilities([[0.2, 0.8], [0.7, 0.3]], actions=(-1, 1))
    assert make("tree_proba", {"model": "m"}).map_output([out])[0].tolist() == [2, -1]


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=40), st.integers(1, 4), st.integers(0, 40))
def test_a_sequence_agrees_however_it_is_cut(actions: list[int], agree: int, cut: int) -> None:
    rows = [{-1: [0.8, 0.1, 0.1], 0: [0.1, 0.8, 0.1], 1: [0.1, 0.1, 0.8]}[a] for a in actions]
    whole = make("lstm_sequence", {"model": "m", "agree": agree, "strong": 1.0}).map_output([probabilities(rows)])[0]
    slow = [a if i + 1 >= agree and set(actions[i + 1 - agree : i + 1]) == {a} else 0 for i, a in enumerate(actions)]
    assert whole.tolist() == slow
    parts = make("lstm_sequence", {"model": "m", "agree": agree, "strong": 1.0})
    first = [parts.map_output([probabilities(rows[:cut])])[0]] if rows[:cut] else []
    again = make("lstm_sequence", {"model": "m", "agree": agree, "strong": 1.0})
    again.on_load(parts.on_save())
    rest = [again.map_output([probabilities(rows[cut:])])[0]] if rows[cut:] else []
    assert np.concatenate([*first, *rest]).tolist() == slow


def test_an_ensemble_needs_every_member() -> None:
    one = make("ensemble", {"models": "a+b", "level": 0.2, "strong": 0.5})
    a, b = probabilities([[0.1, 0.1, 0.8]] * 3), probabilities([[0.3, 0.4, 0.3], [0.1, 0.1, 0.8], [0.1, 0.1, 0.8]])
    b.signals["reason"][2] = Reason.NOT_WARM
    assert one.map_output([a, b])[0].tolist() == [1, 2, 0]
    assert [r.model for r in one.requests()] == ["a", "b"]


def test_chance_is_the_same_however_the_stream_is_cut() -> None:
    s = np.zeros(5000, SIGNAL_DTYPE)
    s["ts_event_ns"] = np.arange(5000) * 10**9
    out = Output(s, "none", (), "rows")
    whole = make("random", {"seed": 3}).map_output([out])[0]
    cut = make("random", {"seed": 3})
    parts = [cut.map_output([Output(p, "none", (), "rows")])[0] for p in np.split(s, [7, 1234])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert abs(np.mean(whole != 0) - 0.2) < 0.03 and abs(whole.sum()) < 150
    assert (make("random", {"seed": 4}).map_output([out])[0] != whole).any()
