"""Why a stream decides nothing: what features need against what the data has."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest

from alpha.cli import silence
from alpha.events import Kind
from alpha.features.feature_set import FeatureSet


def source(inputs: set[str], unsized: bool, **kinds: int) -> SimpleNamespace:
    counts = Counter({Kind[name]: n for name, n in kinds.items()})
    return SimpleNamespace(
        kinds=counts, unsized=Counter(counts if unsized else {}), inputs=inputs, events_read=sum(counts.values())
    )


@pytest.mark.parametrize(
    ("feature", "data", "lacks"),
    [
        ("is_rth * mid", source(set(), False, QUOTE=5), None),
        ("sin_day", source(set(), False, QUOTE=5), None),
        ('input("x")', source({"x"}, False, QUOTE=5, INPUT=5), None),
        ('mean(input("x"), 5)', source({"y"}, False, QUOTE=5, INPUT=5), "external series 'x'"),
        ('of("B", input("x"))', source(set(), False, QUOTE=5), "--input x=FILE"),
        ('of("B", px)', source(set(), False, QUOTE=5), "TRADE events"),
        ("tick_bar(5).close", source(set(), True, TRADE=5), None),
        ("tick_bar(5).vwap", source(set(), True, TRADE=5), "sizes of TRADE events"),
        ("volume_bar(5).close", source(set(), True, TRADE=5), "sizes of TRADE events"),
        ("dollar_bar(5).count", source(set(), False, TRADE=5), None),
        ("vpin(5, 3)", source(set(), True, TRADE=5), "sizes of TRADE events"),
        ("vpin(5, 3)", source(set(), False, QUOTE=5), "TRADE events"),
        ('bar("1s", "mid").count', source(set(), True, QUOTE=5), None),
    ],
)
def test_what_a_source_lacks(feature: str, data: SimpleNamespace, lacks: str | None) -> None:
    fs = FeatureSet.from_dict({"features": {"good": "1.0 + 0.0", "bad": feature}})
    assert silence.never_ready(fs, data) == ([] if lacks is None else ["bad"])
    said = silence.of_run(fs, data, {"decisions": 3, "reasons": {"NOT_WARM": 3}})
    assert ("bad can never become ready" in said and lacks in said) if lacks else "ends before" in said
    assert bool(silence.of_data(fs, data)) == bool(lacks) and silence.of_data(fs, data) in said


def test_a_bar_that_trades_close_never_triggers_without_trades() -> None:
    fs = FeatureSet.from_dict({"features": {"x": "mid"}, "trigger": "tick_bar(5)"})
    said = silence.of_run(fs, source(set(), False, QUOTE=5), {"decisions": 0, "reasons": {}})
    assert "the model decides at each tick_bar(5), which needs TRADE events; the data has QUOTE events" in said
