"""The language: one spelling that parses back, sugar, macros, units; errors name the place."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from streams import expression

from alpha.errors import DefinitionError
from alpha.features import catalog
from alpha.features.feature_set import FeatureSet
from alpha.features.language import canonical, f, parse
from alpha.features.macros import builtin_macros, read_macros
from alpha.features.operators import OPERATORS
from alpha.features.units import text, unit_of


@pytest.mark.parametrize("name", OPERATORS)
def test_every_example_of_the_table_parses_back(name: str) -> None:
    e = parse(OPERATORS[name].example)
    assert parse(canonical(e)) == e and name in {e.op, *(a.op for a in e.args)}
    unit_of(e)


def test_random_expressions_parse_back() -> None:
    for seed in range(300):
        e = parse(expression(np.random.default_rng(seed)))
        assert parse(canonical(e)) == e


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("min(mid, px)", "least(mid, px)"),
        ("max(diff(px, 1), 0.0)", "greatest(diff(px, 1), 0.0)"),
        ("min(px, 5)", "min(px, 5)"),
        ('max(px, "5s")', 'max(px, "5s")'),
        ("bid_px(0)", "bid_px"),
        ("ofi(3)", "ofi(3)"),
        ("mid > px", "(mid > px)"),
        ("where(px == ask_px, 1, -1)", "where((px == ask_px), 1.0, (-1.0))"),
        ("talib.rsi(mid, 14)", "talib.rsi(mid, 14)"),
        ('ema(mid, 12, seed="sma", skip=3)', 'ema(mid, span=12, seed="sma", skip=3)'),
        ('ema(mid, 12, seed="first", skip=0)', "ema(mid, span=12)"),
        ("macd(mid, slow=30)", "(ema(mid, span=12) - ema(mid, span=30))"),
    ],
)
def test_spelling(written: str, meant: str) -> None:
    assert canonical(parse(written)) == meant


def test_the_same_from_python() -> None:
    assert f.min(f.mid, f.px) == parse("min(mid, px)") and f.min(f.mid, 5) == parse("min(mid, 5)")
    assert (f.mid > f.px) == parse("mid > px") and f.eq(f.px, f.ask_px) == parse("px == ask_px")
    assert (f.mid >= 1.0) == parse("mid >= 1") and (f.mid < 2) == parse("mid < 2")
    assert f.talib.rsi(f.mid, 14) == parse("talib.rsi(mid, 14)") and f.level("bid_px", 2) == parse("bid_px(2)")
    assert f.macd(f.mid, fast=5) == parse("macd(mid, 5)") and f.trade_imbalance("10s") == parse(
        'trade_imbalance("10s")'
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("foo(mid)", "operator 'foo' is unknown; `alpha features --operators` and docs/operators.md list all"),
        ("emma(mid, 20)", "operator 'emma' is unknown; did you mean ema"),
        ("talib.rsy(mid, 5)", "operator 'talib.rsy' is unknown; did you mean talib.rsi"),
        ("skew(mid, 2)", "window of at least 3"),
        ("mean(mid, -5)", "whole number from 1"),
        ("mean(mid, 0)", "whole number from 1"),
        ("min(mid, 0)", "whole number from 1"),
        ("quantile(mid, 5, q=2)", "must lie from 0 to 1"),
        ("clip(mid, 2, 1)", "lo=2 above hi=1"),
        ("1 < mid < 2", "compare two things at a time"),
        ('ema(mid, 5, seed="x")', "must be one of first, sma"),
        ('ema(mid, half_life="5s", skip=3)', "go with span"),
        ("wilder_sum(mid, 1)", "needs n >= 2"),
        ("bid_px(10)", "whole number from 1 to 9"),
        ("mid(2)", "'mid' is not a function"),
        ("macd(mid, 1, 2, 3)", "takes at most 3 arguments"),
        ("macd(mid, slowest=3)", "no free parameter 'slowest'"),
        ("macd()", "needs its parameter 'x'"),
        ("std(mid, 1, ddof=1)", "divides by zero"),
        ("9" * 400 + "*mid", "a constant must be finite"),
        ("-" + "9" * 400, "a constant must be finite"),
        (f"mean(mid, {'9' * 400})", "whole number from 1"),
        (f"quantile(mid, 5, q={'9' * 400})", "must be finite"),
        ("mid +\nspread", "not an expression: invalid syntax; what goes on in the next line stands in brackets"),
        ("(mid", "not an expression: '(' was never closed\n"),
    ],
)
def test_errors_mark_the_place(wrong: str, words: str) -> None:
    with pytest.raises(DefinitionError, match=r"(?s).*\n.*\^") as caught:
        parse(wrong)
    assert words in str(caught.value)


def test_the_line_that_is_wrong_is_shown() -> None:
    with pytest.raises(DefinitionError, match=r"'midd'.*\n   \+ midd\)\n     \^$"):
        parse("(mid\n + midd)")
    for nothing in ("", "  \n"):
        with pytest.raises(DefinitionError, match="there is nothing in it"):
            parse(nothing)


def test_what_is_no_feature_set_says_so(tmp_path: Path) -> None:
    for data, words in (
        ([1], "is a table with features, not list"),
        ({"features": {"a": "mid"}, "macros": ["m"]}, "macros is a table"),
        ({"features": {"a": "m(mid)"}, "macros": {3: {"expr": "x"}}}, "no identifier"),
        ({"features": {"a": "mid"}, 3: 4, "x": 5}, "unknown key 3"),
    ):
        with pytest.raises(DefinitionError, match=words):
            FeatureSet.from_dict(data)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="cannot be read"):
        FeatureSet.from_toml(tmp_path)
    marked = tmp_path / "marked.toml"
    marked.write_bytes(b'\xef\xbb\xbf[features]\na = "mid"\n')  # as some editors begin their files
    assert FeatureSet.from_toml(marked).names == ("a",)


def test_bars_of_the_feed_come_at_one_interval() -> None:
    """An event does not say how long its bar was: the other clock would read the same events."""
    fast, slow = 'bar("1m").close', 'mean(bar("5m").close, 3)'
    with pytest.raises(DefinitionError, match=r"feature 'b' takes bar\(\"5m\"\) and feature 'a' bar\(\"1m\"\), but"):
        FeatureSet.from_dict({"features": {"a": fast, "b": slow}})
    with pytest.raises(DefinitionError, match=r"feature 'b' takes bar\(\"5m\"\) and the trigger bar\(\"1m\"\), but"):
        FeatureSet.from_dict({"features": {"b": slow}, "trigger": 'bar("1m", "feed")'})
    built = 'bar("5m", "trade").close - bar("30s", "trade").close'
    assert FeatureSet.from_dict({"features": {"a": fast, "b": built}}).names == ("a", "b")


def test_macros_may_use_each_other_but_not_in_a_circle() -> None:
    tables = {
        "twice": {"params": ["x"], "expr": "2*x"},
        "deep": {"params": ["x", "n", "m=2"], "expr": "mean(twice(x), n*m + 1) - lag(x, n - m)"},
        "of_bar": {"params": ["b"], "expr": "b.high - b.low"},
        "a": {"params": ["x"], "expr": "b(x)"},
        "b": {"params": ["x"], "expr": "a(x) + 1"},
    }
    macros = read_macros(tables, "test")
    assert canonical(parse("deep(mid, 5)", macros)) == "(mean((2.0 * mid), 11) - lag(mid, 3))"
    assert canonical(parse('of_bar(bar("1m", "mid"))', macros)) == '(bar("1m", "mid").high - bar("1m", "mid").low)'
    with pytest.raises(DefinitionError, match="in a circle: a -> b -> a"):
        parse("a(mid)", macros)
    assert macros["deep"].signature() == "deep(x, n, m=2)"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"params": ["x"]}, "needs expr"),
        ({"expr": "x", "params": ["x"], "body": 1}, "unknown key 'body'"),
        ({"expr": "x", "params": "x"}, "params is a list"),
        ({"expr": "x", "params": ["x=1", "y"]}, "needs a default"),
        ({"expr": "x", "params": ["x", "x"]}, "stands twice"),
        ({"expr": "x", "params": ["2x"]}, "not understood"),
    ],
)
def test_macro_tables_are_checked(table: dict[str, object], words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        read_macros({"m": table}, "test")
    for taken in ("mid", "mean", "bar", "not an id", "for"):
        with pytest.raises(DefinitionError, match="name is taken"):
            read_macros({taken: {"expr": "mid"}}, "test")


def test_every_builtin_macro_expands_and_is_documented() -> None:
    for macro in builtin_macros().values():
        assert macro.doc, macro.name


def test_a_macro_hashes_as_what_it_means() -> None:
    short = FeatureSet.from_dict(
        {"features": {"m": "mine(mid)"}, "macros": {"mine": {"params": ["x"], "expr": "ema(x, 9)"}}}
    )
    assert short.definition_hash == FeatureSet.from_dict({"features": {"m": "ema(mid, span=9)"}}).definition_hash


@pytest.mark.parametrize(
    ("expression", "unit"),
    [
        ("mid", "px"),
        ("px*qty", "px*qty"),
        ("spread/mid", "a number"),
        ("1/qty", "1/qty"),
        ("sqrt(var(mid, 5))", "px"),
        ("cov(mid, qty, 5)", "px*qty"),
        ("beta(mid, qty, 5)", "px/qty"),
        ("1e4*spread", "px"),
        ("log(mid)", "a number"),
        ("where(px > mid, qty, -qty)", "qty"),
        ("19/6*mid", "px"),
    ],
)
def test_units(expression: str, unit: str) -> None:
    assert text(unit_of(parse(expression))) == unit


@pytest.mark.parametrize(
    "expression",
    ["mid + bid_qty", "where(mid > 1, mid, qty)", "min(mid, qty)", "px > qty", "mid - px*px", "rsi(mid, 5) + mid"],
)
def test_units_that_do_not_go_together(expression: str) -> None:
    with pytest.raises(DefinitionError, match=r"feature 'x': .*cannot put .* together: "):
        FeatureSet.from_dict({"features": {"x": expression}})


def test_the_hash_is_the_same_in_every_process_and_order_of_keys() -> None:
    code = "from alpha.features import catalog; print(catalog.get('book').definition_hash)"
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert hashes == {catalog.get("book").definition_hash}
    a = tomllib.loads('trigger = "quote"\n[features]\nx = "mid"\n[stream]\nclock = "event"')
    b = tomllib.loads('[stream]\nclock = "event"\n[features]\nx = "mid"')
    assert FeatureSet.from_dict(a).definition_hash == FeatureSet.from_dict(b).definition_hash
    other = tomllib.loads('[features]\nx = "mid"\ny = "px"'), tomllib.loads('[features]\ny = "px"\nx = "mid"')
    assert FeatureSet.from_dict(other[0]).definition_hash != FeatureSet.from_dict(other[1]).definition_hash


def test_a_misspelt_operator_gives_three_names_and_not_all() -> None:
    for ask in (lambda: f.emma, lambda: parse("stdd(mid, 5)"), lambda: parse("ma(mid, 5)")):
        with pytest.raises(DefinitionError) as told:
            ask()
        line = str(told.value).splitlines()[0]
        assert "did you mean " in line and line.count(" or ") <= 2 and len(line) < 200
