"""The language of sessions, other instruments, series and bars by trades: spelling, errors at their place, what moves."""

from __future__ import annotations

import pytest
from expressions import needs_sizes

from alpha.errors import DefinitionError
from alpha.features.feature_set import FeatureSet, parse_trigger
from alpha.features.language import canonical, f, moves, parse, resets
from alpha.features.macros import read_macros
from alpha.features.operators import CLOCK_BARS, OPERATORS, RESET
from alpha.features.units import text, unit_of


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("of('ES', mid)", 'of("ES", mid)'),
        ('macd(of("ES", mid), 3, 5)', '(ema(of("ES", mid), span=3) - ema(of("ES", mid), span=5))'),
        ('of("ES", macd(mid, 3, 5))', 'of("ES", (ema(mid, span=3) - ema(mid, span=5)))'),
        ('input("vix")', 'input("vix")'),
        ('input("vix", "480m")', 'input("vix", max_age="8h")'),
        ("tick_bar(100).close", "tick_bar(100).close"),
        ("tick_bar(1e2).count", "tick_bar(100).count"),
        ("volume_bar(5000).vwap", "volume_bar(5000.0).vwap"),
        ("dollar_bar(1e6).count", "dollar_bar(1000000.0).count"),
        ('bar("60s", "mid").count', 'bar("1m", "mid").count'),
        ("vpin(5000, 50)", "vpin(5000.0, 50)"),
        ('vpin(n=50, volume=0.5, reset="never")', 'vpin(0.5, 50, reset="never")'),
        ('mean(mid, 5, "never")', 'mean(mid, 5, reset="never")'),
        ('ema(mid, span=5, reset="session")', 'ema(mid, span=5, reset="session")'),
        ('cumsum(qty, reset="session")', 'cumsum(qty, reset="session")'),
        ('std(mid, "5s", ddof=1, reset="never")', 'std(mid, "5s", ddof=1, reset="never")'),
    ],
)
def test_spelling(written: str, meant: str) -> None:
    e = parse(written)
    assert canonical(e) == meant and parse(meant) == e


def test_the_same_from_python() -> None:
    assert f.of("ES", f.mid) == parse('of("ES", mid)') and f.input("vix") == parse('input("vix")')
    assert f.input("vix", max_age="8h") == parse('input("vix", max_age="8h")')
    assert f.tick_bar(100).close == parse("tick_bar(100).close")
    assert f.dollar_bar(1e6).vwap == parse("dollar_bar(1e6).vwap") and f.vpin(5, 7) == parse("vpin(5, 7)")
    assert f.mean(f.mid, 5, reset="never") == parse('mean(mid, 5, reset="never")')
    assert f.mean(f.mid, 5, reset=None) == f.mean(f.mid, 5)
    assert f.is_rth == parse("is_rth")
    with pytest.raises(DefinitionError, match=r"cannot stand inside of of\(\)"):
        f.of("ES", f.of("NQ", f.mid))


def test_every_stateful_operator_and_no_other_takes_reset() -> None:
    for op in OPERATORS.values():
        assert (RESET in op.params) == (op.kind == "stateful"), op.name


@pytest.mark.parametrize(
    ("wrong", "words", "column"),
    [
        ("mid + of(ES, mid)", "a parameter is a number or a duration in quotes", 9),
        ('mid + of("ES")', 'write of("ES", x)', 6),
        ('of("ES", x=mid)', 'write of("ES", x)', 0),
        ('mid - of("ES", of("NQ", mid))', "cannot stand inside of of()", 6),
        ('of("ES", 2.0)', "of() of 2.0 never changes", 0),
        ('of("ES", sin_day)', "never changes: it needs a quote, trade, bar or input of ES", 0),
        ('of("", mid)', "'symbol' is a name in quotes of 1 to 64", 0),
        ('of("E S", mid)', "'symbol' is a name in quotes of 1 to 64", 0),
        ('2 * input("x y")', "'name' is a name in quotes of 1 to 64", 4),
        (f'input("{"x" * 65}")', "'name' is a name in quotes of 1 to 64", 0),
        ("input(x)", "a parameter is a number or a duration in quotes", 6),
        ("input()", "needs its parameter 'name'", 0),
        ('input("x", max_age=5)', "'max_age' takes a duration", 0),
        ('input("x", max_age="0s")', "not a positive whole number of nanoseconds", 0),
        ("px - tick_bar(0).close", "closes after so many trades: a number above 0, not 0", 5),
        ("tick_bar(1.5).close", "counts whole trades, not 1.5", 0),
        ('tick_bar("5").close', "a number above 0, not '5'", 0),
        ("volume_bar(-1).close", "a number above 0, not -1", 0),
        ("dollar_bar(1e300).close", "a number above 0, not 1e+300", 0),
        ("tick_bar(1, 2).close", "only a bar has fields", 0),
        ("px + tick_bar(5)", "take a field of the bar: one of open, high, low, close, volume, vwap, count", 5),
        ("tick_bar(5).last", "a bar has no field 'last'", 0),
        ('bar("1m", "feed").vwap', "a bar of the feed has no field 'vwap': use one of open, high, low, close, volume", 0),
        ('bar("1m").count', "a bar of the feed has no field 'count'", 0),
        ("mid * vpin(0, 5)", "buckets of a volume above 0", 6),
        ("vpin(-1, 5)", "'volume' must lie from 0", 0),
        ("vpin(5000)", "needs its parameter 'n'", 0),
        ("vpin(5000, 0)", "whole number from 1", 0),
        ('mean(mid, 5, reset="always")', "'reset' must be one of session, never, not 'always'", 0),
        ("sin_day(2)", "operator 'sin_day' is not a function", 0),
        ("seconds_since_close", "unknown name 'seconds_since_close'; sources are:", 0),
    ],
)  # fmt: skip
def test_errors_mark_the_place(wrong: str, words: str, column: int) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse(wrong)
    message, *_, marker = str(caught.value).split("\n")
    assert words in message
    assert marker == "  " + " " * column + "^"


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        ('mean(of("ES", mid), 5)', r'of\("ES", mid\) is only looked at'),
        ("1 + std(sin_day * is_rth, 5)", "sin_day is only looked at"),
        ('vpin(5, 5) - of("ES", mid)', r"cannot put .* together"),
        ('of("ES", qty) + mid', "cannot put qty and px together"),
        ("tick_bar(5).count - tick_bar(5).vwap", "cannot put a number and px together"),
    ],
)
def test_errors_of_a_set_name_the_feature(feature: str, words: str) -> None:
    with pytest.raises(DefinitionError, match=f"^feature 'x': .*{words}"):
        FeatureSet.from_dict({"features": {"fine": "mid", "x": feature}})


@pytest.mark.parametrize(
    ("expression", "again", "moving"),
    [
        ("mid", True, True),
        ("ofi(3)", True, True),
        ("trade_sign", True, True),
        ("vpin(5, 5)", True, True),
        ('vpin(5, 5, reset="never")', False, True),
        ('input("x")', False, True),
        ("sin_day", False, False),
        ("1 + 2", False, False),
        ('of("ES", mid)', False, False),
        ('of("ES", mid) + px', True, True),
        ('bar("1s", "mid").close', False, True),
        ("tick_bar(5).close - mid", True, True),
        ("rsi(tick_bar(5).close, 3)", False, True),
        ('rsi(tick_bar(5).close, 3, reset="session")', True, True),
        ('mean(mean(mid, 5), 5, reset="never")', False, True),
        ('mean(mean(mid, 5, reset="never"), 5)', False, True),
        ('corr(mid, input("x"), 5)', True, True),
    ],
)
def test_what_starts_again_and_what_moves(expression: str, again: bool, moving: bool) -> None:
    e = parse(expression)
    assert resets(e) == again and moves(e) == moving


@pytest.mark.parametrize("written", ["tick_bar(100)", "volume_bar(0.5)", "dollar_bar(1000000.0)"])
def test_bars_by_trades_are_triggers(written: str) -> None:
    trigger = parse_trigger(f" {written} ")
    assert str(trigger) == written and trigger.kind == "bar" and trigger.bar is not None
    assert trigger.bar.source == "trade" and str(trigger.bar) == written
    one = FeatureSet.from_dict({"features": {"x": "mid"}, "trigger": written})
    assert one.definition_hash != FeatureSet.from_dict({"features": {"x": "mid"}, "trigger": "trade"}).definition_hash
    assert one.operator_versions()["bar"] == 1 and needs_sizes(one) == (not written.startswith("tick"))


@pytest.mark.parametrize("written", ["tick_bar()", "tick_bar(0)", "volume_bar(x)", "tick_bar(5).close", "tock_bar(5)"])
def test_what_is_no_trigger(written: str) -> None:
    with pytest.raises(DefinitionError):
        parse_trigger(written)


def test_a_set_knows_its_symbols_series_and_calendar() -> None:
    fs = FeatureSet.from_dict(
        {
            "features": {
                "a": 'of("NQ", mid) - of("ES", mean(mid, 5))',
                "b": 'input("vix") + input("basis", max_age="1h")',
                "c": 'of("ES", input("zinc"))',
            },
            "stream": {"calendar": "XNYS"},
        }
    )
    assert fs.symbols == ("ES", "NQ") and fs.inputs == ("basis", "vix", "zinc") and not fs.needs_sessions
    for expression in ("is_rth", "mid * minutes_to_close", 'of("ES", mid * seconds_since_open)'):
        assert FeatureSet.from_dict({"features": {"x": expression}}).needs_sessions
    broken = {"features": {"x": "mid"}, "stream": {"session_break": "session"}}
    assert (
        FeatureSet.from_dict(broken).needs_sessions
        and not FeatureSet.from_dict({"features": {"x": "sin_day"}}).needs_sessions
    )
    with pytest.raises(DefinitionError, match=r"stream\.session_break cannot be 'day'"):
        FeatureSet.from_dict({"features": {"x": "mid"}, "stream": {"session_break": "day"}})


def test_what_is_hashed() -> None:
    sets = [
        {"features": {"x": "mean(mid, 5)"}},
        {"features": {"x": 'mean(mid, 5, reset="never")'}},
        {"features": {"x": "mean(mid, 5)"}, "stream": {"session_break": "session"}},
        {"features": {"x": "mean(mid, 5)"}, "stream": {"session_break": "session", "calendar": "XNYS"}},
    ]
    hashes = {FeatureSet.from_dict(s).definition_hash for s in sets}
    assert len(hashes) == len(sets)
    for s in sets:
        fs = FeatureSet.from_dict(s)
        assert FeatureSet.from_dict(fs.definition()).definition_hash == fs.definition_hash


@pytest.mark.parametrize(
    ("expression", "unit"),
    [
        ('of("ES", mid)', "px"),
        ("tick_bar(5).vwap", "px"),
        ("volume_bar(5).volume", "qty"),
        ("tick_bar(5).count", "a number"),
        ("vpin(5, 5)", "a number"),
        ("sin_day", "a number"),
    ],
)
def test_units(expression: str, unit: str) -> None:
    assert text(unit_of(parse(expression))) == unit
    assert unit_of(parse('input("x")')) is None and unit_of(parse("seconds_since_open")) is None


def test_macros_over_the_new_forms() -> None:
    tables = {
        "over": {"params": ["n", "s"], "expr": "tick_bar(n).close / of(s, mid) - 1"},
        "basis": {"params": ["s", "x=mid"], "expr": "mid - of(s, x)"},
        "aged": {"params": ["series", "age"], "expr": "input(series, max_age=age)"},
    }
    macros = read_macros(tables, "test")
    assert canonical(parse('over(5, "ES")', macros)) == '((tick_bar(5).close / of("ES", mid)) - 1.0)'
    assert canonical(parse('basis("ES", px)', macros)) == '(mid - of("ES", px))'
    assert canonical(parse('aged("vix", "1h")', macros)) == 'input("vix", max_age="1h")'
    for taken in (*CLOCK_BARS, "of", "input", "vpin", "sin_day"):
        with pytest.raises(DefinitionError, match="name is taken"):
            read_macros({taken: {"expr": "mid"}}, "test")
