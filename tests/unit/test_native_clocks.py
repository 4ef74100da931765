"""Native twin, rules 53 and 54: bars that trades close, the new fields of all built bars, VPIN; worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made import LAST, event, quote, stream, timer, trade

from alpha.errors import DefinitionError, InstrumentError
from alpha.events import Flag, Kind
from alpha.features.feature_set import FeatureSet
from alpha.features.native import native_rows, row_maker
from alpha.instruments import Instrument, Instruments

S = 10**9
ONE = Instruments.of(Instrument(symbol="A", lot_size=1.0, tick_size=0.5))
NO_QTY = LAST | int(Flag.NO_QTY)


def rows(features: dict[str, str], events: np.ndarray, table: Instruments = ONE, **more: object) -> dict[str, list]:
    """Per feature a list of its values (None: not ready), and the indices of the rows' events."""
    made = native_rows(FeatureSet.from_dict({"features": features, "trigger": "trade", **more}), events, table)
    out: dict[str, list] = {"at": made["row_index"].tolist()}
    for j, name in enumerate(features):
        pairs = zip(made["values"][:, j].tolist(), made["ready"][:, j].tolist(), strict=True)
        out[name] = [v if ready else None for v, ready in pairs]
    return out


def trades(*sizes: float, px: float = 10.0) -> np.ndarray:
    """One a second, each half a tick above the last: px, px + 0.5, …"""
    return stream(*(trade(k * S, px + 0.5 * k, q) for k, q in enumerate(sizes)))


def fields(bar: str) -> dict[str, str]:
    return {name: f"{bar}.{name}" for name in ("open", "high", "low", "close", "volume", "vwap", "count")}


def test_a_bar_of_three_trades() -> None:
    out = rows(
        fields("tick_bar(3)"),
        stream(trade(0, 10, 1), trade(1, 12, 2), trade(2, 11, 1), trade(3, 20, 5), trade(4, 19, 0), trade(5, 18, 0)),
    )
    first = {"open": 10, "high": 12, "low": 10, "close": 11, "volume": 4, "vwap": (20 + 48 + 22) / 4 * 0.5, "count": 3}
    second = {"open": 20, "high": 20, "low": 18, "close": 18, "volume": 5, "vwap": 20, "count": 3}
    for name in first:
        # the leaves move in the pass of the closing trade, and stay until the next one closes
        assert out[name] == [None, None, first[name], first[name], first[name], second[name]], name


def test_volume_closes_when_a_whole_multiple_is_passed_at_most_once_a_trade() -> None:
    # cumulated 3 4 5 17 18 19 20: the multiples of 5 are passed at 5, at 17 (three of them, one close) and at 20
    out = rows({"volume": "volume_bar(5).volume", "count": "volume_bar(5).count"}, trades(3, 1, 1, 12, 1, 1, 1))
    assert out["volume"] == [None, None, 5, 12, 12, 12, 3] and out["count"] == [None, None, 3, 1, 1, 1, 3]


def test_dollars_count_ticks_times_lots() -> None:
    # ticks 20 21 22 23 24; times lots: 20 42 0 69 24, cumulated 20 62 62 131 155; dollar_bar(30) is 60 ticks times lots
    out = rows({"n": "dollar_bar(30).count", "v": "dollar_bar(30).volume"}, trades(1, 2, 0, 3, 1))
    assert out["n"] == [None, 2, 2, 2, 2] and out["v"] == [None, 3, 3, 3, 3]
    out = rows({"n": "dollar_bar(30).count"}, trades(1, 2, 0, 3, 1, 1))  # 25 more: 180 closes
    assert out["n"] == [None, 2, 2, 2, 2, 2]


def test_a_trade_without_size_counts_as_a_trade_only() -> None:
    sized = [trade(k, 10.0, 2.0) for k in range(6)]
    sized[1] = trade(1, 11.0, 7.0, flags=NO_QTY)
    features = {**fields("tick_bar(2)"), "clock": "volume_bar(4).close", "v": "volume_bar(4).volume"}
    out = rows(features, stream(*sized))
    assert out["count"] == [None, 2, 2, 2, 2, 2] and out["high"] == [None, 11, 11, 10, 10, 10]
    assert out["volume"] == [None, None, None, 4, 4, 4] and out["vwap"] == [None, None, None, 10, 10, 10]
    assert out["clock"] == [None, None, 10, 10, 10, 10]  # 2, -, 4 closes; 6, 8 closes
    assert out["v"] == [None, None, None, None, 4, 4]  # the first bar held the trade without size


def test_what_does_not_fit_is_missing() -> None:
    huge = 2.0**62
    events = stream(trade(0, 10, huge), trade(1, 10, 1), trade(2, 10, 1), trade(3, 10, 1))
    out = rows({"v": "tick_bar(2).volume", "c": "volume_bar(2).count"}, events)
    assert out["v"] == [None, None, None, 2] and out["c"] == [None, None, 3, 3]
    # lots fit, lots times ticks do not: neither volume nor price, and nothing cumulates
    events = stream(trade(0, 2.0**30, 2.0**32), trade(1, 10, 1), trade(2, 10, 1))
    out = rows({"v": "tick_bar(2).volume", "c": "volume_bar(2).count"}, events)
    assert out["v"] == [None, None, None] and out["c"] == [None, None, 3]
    # where the tick is not known there is no such limit
    table = Instruments.of(Instrument(symbol="A", lot_size=1.0))
    out = rows({"v": "tick_bar(2).volume", "c": "volume_bar(2).count", "w": "tick_bar(2).vwap"}, events, table)
    assert out["v"] == [None, 2.0**32, 2.0**32] and out["c"] == [1, 1, 2] and out["w"] == [None] * 3
    # the sum of lots reaches 2**62: both are missing; that of lots times ticks alone: only the price
    events = stream(*(trade(k, 0.5, 2.0**61) for k in range(2)), *(trade(k, 1.0, 2.0**60) for k in (2, 3)))
    out = rows({"v": "tick_bar(2).volume", "w": "tick_bar(2).vwap"}, events)
    assert out["v"] == [None, None, None, 2.0**61] and out["w"] == [None] * 4


def test_a_price_of_no_volume_is_no_number() -> None:
    out = rows({"vwap": "tick_bar(2).vwap", "v": "tick_bar(2).volume"}, trades(0, 0))
    assert math.isnan(out["vwap"][1]) and out["v"] == [None, 0.0]


def test_time_bars_have_the_new_fields_too() -> None:
    events = stream(
        trades(1, 2, 1),
        trade(11 * S, 20.0),
        trade(12 * S, 20.0, 1.0, flags=NO_QTY),
        quote(13 * S, 5.0),
        quote(14 * S, 6.0),
        trade(21 * S, 1.0),
    )
    features = {
        "vwap": 'bar("10s", "trade").vwap',
        "count": 'bar("10s", "trade").count',
        "quotes": 'bar("10s", "mid").count',
        "none": 'bar("10s", "mid").vwap',
        "volume": 'bar("10s", "mid").volume',
    }
    out = rows(features, events)
    assert out["at"] == [0, 1, 2, 3, 4, 7]
    assert out["vwap"] == [None, None, None, 10.5, 10.5, 10.5]  # (20 + 42 + 22)/4 ticks; the second bar lacks a size
    assert out["count"] == [None, None, None, 3, 3, 2] and out["quotes"] == [None] * 5 + [2]
    assert out["none"] == out["volume"] == [None] * 6


def test_a_time_bar_without_a_known_lot_keeps_its_volume_and_has_no_price() -> None:
    events = stream(trade(0, 60_000.1, 350_000.0), trade(11 * S, 1.0))
    features = {"v": 'bar("1s", "trade").volume', "w": 'bar("1s", "trade").vwap'}
    out = rows(features, events, Instruments.of(Instrument(symbol="A", tick_size=0.25)))
    assert out["v"] == [None, 350_000.0] and out["w"] == [None, None]


@pytest.mark.parametrize("bar", ["tick_bar(2)", "volume_bar(4)", "dollar_bar(40)"])
def test_such_a_bar_triggers_after_the_pass_of_its_closing_trade(bar: str) -> None:
    events = stream(trade(0, 10, 2), quote(1, 5.0), timer(2), trade(3, 10, 2), trade(4, 10, 2), trade(5, 11, 2))
    out = rows(
        {"px": "px", "close": f"{bar}.close", "mean": f"mean({bar}.close, 2)", "mid": "mid"}, events, trigger=bar
    )
    if bar == "dollar_bar(40)":  # 80 ticks times lots: 40, 80 closes, 120, 164 closes
        assert out["at"] == [3, 5]
    assert out["at"] == [3, 5] and out["px"] == [10, 11] and out["close"] == [10, 11]
    assert out["mean"] == [None, 10.5] and out["mid"] == [5.0, 5.0]


def test_bars_run_through_a_session_break_and_a_gap_costs_readiness_only() -> None:
    day = 86_400 * S
    events = stream(
        trade(day - 2, 10.0),
        trade(day - 1, 11.0),
        trade(day, 12.0),
        trade(day + 1, 13.0, flags=LAST | int(Flag.GAP)),
        trade(day + 2, 14.0),
    )
    features = {"open": "tick_bar(3).open", "n": "cumsum(tick_bar(3).close)", "px": "cumsum(px)"}
    out = rows(features, events, stream={"session_break": "session"})
    assert out["open"] == [None, None, 10, None, None] and out["n"] == [None, None, 12, None, None]
    assert out["px"] == [10, 21, 12, 25, 39]


def test_vpin_by_hand() -> None:
    # buckets of 4: +3 +1 | -2 +2 | +4 | …; |net| 4, 0, 4
    events = stream(
        trade(0, 10, 3, 1), trade(1, 10, 1, 1), trade(2, 10, 2, -1), trade(3, 10, 7, 1), trade(4, 10, 1, -1)
    )
    out = rows({"two": "vpin(4, 2)", "three": "vpin(4, 3)", "n": "count(vpin(4, 2), 2)"}, events)
    # trade 3 fills the second bucket (-2 + 2 = 0), the third (4), and begins the fourth with 1
    assert out["two"] == [None, None, None, 0.5, 0.5] and out["three"] == [
        None,
        None,
        None,
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
    ]
    assert out["n"] == [None] * 5


def test_vpin_splits_large_trades_and_skips_what_has_no_size() -> None:
    huge = 2.0**61
    events = stream(
        trade(0, 10, 1, 1),
        trade(1, 10, 9, 1, flags=NO_QTY),
        trade(2, 10, 2.0**62, 1),
        trade(3, 10, 1, -1),  # 1 - 1: the first of 2 is balanced
        trade(4, 10, huge, 1),  # 2**60 full ones of net 2
        trade(5, 60_000.0, 1, -1),
        trade(6, 10, 1, -1),
    )
    out = rows({"x": "vpin(2, 3)", "y": "vpin(1e18, 3)", "z": "vpin(2e18, 1)"}, events)
    assert out["x"] == [None, None, None, None, 1.0, 1.0, 1.0]
    assert out["z"] == [None, None, None, None, pytest.approx(1.0), pytest.approx(1.0), pytest.approx(1.0)]
    assert out["y"] == [None] * 7


def test_vpin_signs_by_the_tick_rule_and_an_unknown_sign_adds_nothing() -> None:
    # signs: 0 (nothing before), +1, +1 (last that was not 0), -1
    out = rows({"x": "vpin(2, 1)"}, stream(trade(0, 10, 2), trade(1, 11, 1), trade(2, 11, 1), trade(3, 10, 2)))
    assert out["x"] == [0.0, 0.0, 1.0, 1.0]


def test_vpin_after_a_gap_and_a_break() -> None:
    gap = LAST | int(Flag.GAP)
    events = stream(
        *(trade(k, 10, 2, 1) for k in range(3)), trade(3, 10, 1, 1, flags=gap), *(trade(k, 10, 2, -1) for k in (4, 5))
    )
    out = rows({"x": "vpin(4, 1)", "two": "vpin(4, 2)"}, events)
    # +4 | +2 +1 -1: the bucket that was being filled goes on and counts | -1 -2 …
    assert out["x"] == [None, 1.0, 1.0, None, 0.5, 0.5] and out["two"] == [None] * 6
    day = 86_400 * S
    events = stream(*(trade(day - 3 + k, 10, 3, 1) for k in range(6)))
    setting = {"session_break": "session"}
    out = rows({"x": "vpin(4, 1)", "n": 'vpin(4, 2, reset="never")'}, events, stream=setting)
    assert out["x"] == [None, 1.0, 1.0, None, 1.0, 1.0]  # 3, 6, 9 | 3, 6, 9
    assert out["n"] == [None, None, 1.0, 1.0, 1.0, 1.0]  # the lot that lies in the third bucket at the break stays


LOT = Instrument(symbol="LOT", lot_size=0.1)
BOTH = Instrument(symbol="BOTH", lot_size=0.1, tick_size=0.01)


@pytest.mark.parametrize(
    ("feature", "table", "said"),
    [
        ("volume_bar(5).close", [BOTH, "NONE"], r"volume_bar\(5\) .*lot_size of NONE"),
        ("vpin(5, 3)", ["NONE"], r"vpin\(5\) .*lot_size of NONE"),
        ("dollar_bar(5).close", [LOT], r"dollar_bar\(5\) .*tick_size of LOT"),
        ("dollar_bar(5).close", ["NONE"], r"the lot_size and the tick_size of NONE"),
        ('of("NONE", vpin(5, 3))', [BOTH, "NONE"], r"lot_size of NONE"),
        ("volume_bar(1e15).close", [Instrument(symbol="A", lot_size=1e-8)], r"2\*\*62"),
    ],
)
def test_sizes_that_are_not_known_are_one_clear_error(feature: str, table: list, said: str) -> None:
    fs = FeatureSet.from_dict({"features": {"x": feature}})
    with pytest.raises(InstrumentError, match=said):
        row_maker(fs, Instruments.of(*table))


def test_sizes_that_nobody_needs_may_be_unknown() -> None:
    for feature, table in (
        ("tick_bar(5).vwap", ["NONE"]),
        ('bar("1s", "trade").vwap', ["NONE"]),
        ("volume_bar(5).close", [LOT]),
        ('of("BOTH", dollar_bar(5).close)', [BOTH, "NONE"]),
    ):
        row_maker(FeatureSet.from_dict({"features": {"x": feature}}), Instruments.of(*table))
    with pytest.raises(InstrumentError, match="lot_size of NONE"):  # the trigger counts too
        row_maker(FeatureSet.from_dict({"features": {"x": "px"}, "trigger": "volume_bar(5)"}), Instruments.of("NONE"))


def test_so_many_bars_and_no_more() -> None:
    features = {f"f{k}": f"tick_bar({k + 1}).close" for k in range(33)}
    with pytest.raises(DefinitionError, match="at most 32 kinds of bars"):
        row_maker(FeatureSet.from_dict({"features": features}), ONE)


def test_many_clocks_side_by_side_agree_with_counting() -> None:
    """Random trades: each bar's volume and count against plain whole-number sums."""
    rng = np.random.default_rng(7)
    n = 2_000
    events = stream(
        *(
            event(Kind.TRADE, k, float(p), float(q), 0.0)
            for k, (p, q) in enumerate(zip(rng.integers(1, 50, n) * 0.5, rng.integers(0, 9, n), strict=True))
        )
    )
    lots, ticks = events["v"][:, 1].astype(int), (events["v"][:, 0] / 0.5).astype(int)
    out = rows({"v": "volume_bar(17).volume", "d": "dollar_bar(100).vwap", "t": "tick_bar(7).volume"}, events)
    for name, what, size in (("v", lots, 17), ("d", lots * ticks, 200), ("t", np.ones(n, int), 7)):
        closes = np.flatnonzero(np.diff(np.cumsum(what) // size, prepend=0) > 0)
        begin = 0
        assert len(closes) > 50
        for end in closes.tolist():
            volume, value = int(lots[begin : end + 1].sum()), int((lots * ticks)[begin : end + 1].sum())
            want = volume if name != "d" else np.float32(value / volume * 0.5)
            assert out[name][end] == want, (name, end)
            begin = end + 1
