"""Rules 53 and 54 in the batch twin: bars by trades, vwap and count, VPIN; counted by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from byhand import NAN, TIMER, Q, T, column, detail, events, made_calendars, same, table

from alpha.errors import InstrumentError
from alpha.events import Flag
from alpha.features import _batch_clocks as clocks

ONE = table(("A", 0.5, 0.25))  # lots of 0.5, ticks of 0.25
CUT = {"session_break": "session", "calendar": "MADE"}
NO = Flag.LAST | Flag.NO_QTY
GAP = Flag.LAST | Flag.GAP
N = None


def trades(*rows: tuple[float, float] | tuple[float, float, float]) -> np.ndarray:
    """(px, qty, side = 0), one a second."""
    return events(*((i + 1, T, (*r, 0.0)[:3]) for i, r in enumerate(rows)))


@pytest.fixture(autouse=True)
def _calendars(monkeypatch: pytest.MonkeyPatch) -> None:
    made_calendars(monkeypatch, MADE=[(100, 200), (300, 400)])


SIX = trades((10.0, 1.0), (12.0, 2.0), (9.0, 0.5), (11.0, 3.0), (8.0, 1.0), (10.0, 1.0))


@pytest.mark.parametrize(
    ("field", "second", "fourth", "sixth"),
    [
        ("open", 10, 9, 8), ("high", 12, 11, 10), ("low", 10, 9, 8), ("close", 12, 11, 10),
        ("volume", 3, 3.5, 2), ("count", 2, 2, 2), ("vwap", 34 / 3, 37.5 / 3.5, 9),
    ],
)  # fmt: skip
def test_bars_of_so_many_trades(field: str, second: float, fourth: float, sixth: float) -> None:
    same(column(f"tick_bar(2).{field}", SIX, instruments=ONE), [N, second, second, fourth, fourth, sixth])
    same(column(f"tick_bar(2).{field}", SIX, "tick_bar(2)", ONE), [second, fourth, sixth])
    assert detail("px", SIX, "tick_bar(2)", ONE).rows.row_index.tolist() == [1, 3, 5]


def test_bars_of_so_much_quantity_or_money() -> None:
    # lots 2 4 1 6 2 2, running 2 6 7 13 15 17; 2.0 are 4 lots: rises at 6, 13 (over two multiples), 17
    close = [N, 12, 12, 11, 11, 10]
    same(column("volume_bar(2).close", SIX, instruments=ONE), close)
    same(column("volume_bar(2).count", SIX, instruments=ONE), [N, 2, 2, 2, 2, 2])
    assert detail("px", SIX, "volume_bar(2)", ONE).rows.row_index.tolist() == [1, 3, 5]
    # the trade of 6 lots closes once, however far it went
    big = trades((10.0, 50.0), (11.0, 0.5), (12.0, 2.0))
    same(column("volume_bar(2).volume", big, instruments=ONE), [50, 50, 2.5])
    # money: 10 24 4.5 33 8 10, running 10 34 38.5 71.5 79.5 89.5, by 20
    same(column("dollar_bar(20).open", SIX, instruments=ONE), [N, 10, 10, 9, 9, 8])
    same(column("dollar_bar(20).close", SIX, instruments=ONE), [N, 12, 12, 11, 11, 10])
    assert detail("px", SIX, "dollar_bar(35)", ONE).rows.row_index.tolist() == [2, 3]
    # smaller than a lot is one lot, and no lots close nothing
    same(column("volume_bar(0.1).count", trades((1.0, 0.5), (1.0, 0.2), (1.0, 0.5)), instruments=ONE), [1, 1, 2])


def test_quantities_are_whole_lots() -> None:
    tenth = table(("A", 0.1, 0.01))
    same(column("volume_bar(0.3).count", trades(*[(1.0, 0.1)] * 7), instruments=tenth), [N, N, 3, 3, 3, 3, 3])
    assert detail("px", trades(*[(1.0, 0.1)] * 7), "volume_bar(0.3)", tenth).rows.row_index.tolist() == [2, 5]
    vwap = column("tick_bar(2).vwap", trades((1.01, 0.1), (1.02, 0.3)), instruments=tenth)
    assert vwap[1] == float(101 + 306) / 4.0 * 0.01


def test_what_is_built_of_a_bar_moves_with_the_closing_trade() -> None:
    stream = events(
        (1, T, (10.0, 1.0, 0.0)),
        (2, Q, 9.0),
        (3, T, (12.0, 1.0, 0.0)),
        (4, T, (9.0, 1.0, 0.0)),
        (5, T, (15.0, 1.0, 0.0)),
    )
    same(column("mean(tick_bar(2).close, 2)", stream, instruments=ONE), [N, N, N, N, 13.5])
    same(column("cumsum(tick_bar(2).close + px)", stream, instruments=ONE), [N, N, 24, 45, 75])  # once for both
    same(column("mid - tick_bar(2).close", stream, "tick_bar(2)", ONE), [-3, -6])


def test_sizes_that_are_not_known_or_too_large() -> None:
    none = events(
        (1, T, (10.0, 0.0, 0.0), 0, NO), (2, T, (12.0, 1.0, 0.0)), (3, T, (9.0, 1.0, 0.0)), (4, T, (8.0, 1.0, 0.0))
    )
    same(column("tick_bar(2).volume", none, instruments=ONE), [N, N, N, 2])
    same(column("tick_bar(2).vwap", none, instruments=ONE), [N, N, N, 8.5])
    same(column("tick_bar(2).count", none, instruments=ONE), [N, 2, 2, 2])
    assert detail("px", none, "volume_bar(1)", ONE).rows.row_index.tolist() == [1, 2, 3]
    same(column("volume_bar(1).volume", none, instruments=ONE), [N, N, 1, 1])
    for huge in ((1.0, 2.0**61), (2.0**40, 2.0**19)):  # 2**62 lots; 2**20 lots of 2**42 ticks
        stream = trades(huge, (1.0, 1.0), (1.0, 1.0), (1.0, 1.0))
        same(column("tick_bar(2).volume", stream, instruments=ONE), [N, N, N, 2])
        assert detail("px", stream, "volume_bar(1)", ONE).rows.row_index.tolist() == [1, 2, 3]
        assert detail("px", stream, "dollar_bar(2)", ONE).rows.row_index.tolist() == [2]
    almost = trades((0.25, 2.0**60), (0.25, 2.0**60), (0.25, 2.0**59), (0.25, 1.0))  # twice 2**61 lots of one tick
    same(column("tick_bar(2).volume", almost, instruments=ONE), [N, N, N, 2.0**59 + 1.0])
    same(column("tick_bar(2).vwap", almost, instruments=ONE), [N, N, N, 0.25])
    dear = trades((0.5, 2.0**59), (0.5, 2.0**59), (0.5, 1.0), (0.75, 1.0))  # 2**61 lots, but 2**62 lots times ticks
    same(column("tick_bar(2).volume", dear, instruments=ONE), [N, 2.0**60, 2.0**60, 2])
    same(column("tick_bar(2).vwap", dear, instruments=ONE), [N, N, N, 0.625])
    empty = trades((10.0, 0.0), (12.0, 0.0))
    same(column("tick_bar(2).vwap", empty, instruments=ONE), [N, NAN])
    same(column("tick_bar(2).volume", empty, instruments=ONE), [N, 0])


def test_time_bars_have_both_fields_too() -> None:
    stream = events(
        (1, T, (10.0, 1.0, 0.0)),
        (2, Q, 9.0),
        (3, T, (12.0, 2.0, 0.0)),
        (4, Q, 9.0),
        (5, Q, 8.0),
        (11, TIMER, 0.0),
        (12, Q, 1.0),
    )
    same(column('bar("10s", "trade").vwap', stream, "quote", ONE), [N, N, N, 34 / 3])
    same(column('bar("10s", "trade").count', stream, "quote", ONE), [N, N, N, 2])
    same(column('bar("10s", "mid").count', stream, "quote", ONE), [N, N, N, 3])
    same(column('bar("10s", "mid").vwap', stream, "quote", ONE), [N] * 4)
    same(column('bar("10s", "mid").volume', stream, "quote", ONE), [N] * 4)
    for lot, tick in ((None, 0.25), (0.5, None)):
        unknown = table(("A", lot, tick))
        same(column('bar("10s", "trade").vwap', stream, "quote", unknown), [N] * 4)
        same(column('bar("10s", "trade").volume', stream, "quote", unknown), [N, N, N, 3])
        same(column("tick_bar(2).count", stream, "quote", unknown), [N, 2, 2, 2])
    dear = trades((60_000.0, 350_000.0), (60_000.0, 1.0))  # money is counted only where lot and tick are known
    same(column("tick_bar(1).volume", dear, instruments=table(("A", None, 0.25))), [350_000, 1])


def test_bars_being_built_go_through_sessions() -> None:
    stream = events(
        (110, T, (1.0, 1.0, 0.0)), (120, T, (2.0, 1.0, 0.0)), (310, T, (4.0, 1.0, 0.0)), (320, T, (8.0, 1.0, 0.0))
    )
    same(column("tick_bar(3).count", stream, instruments=ONE, **CUT), [N, N, 3, 3])
    same(column("cumsum(tick_bar(1).close)", stream, instruments=ONE, **CUT), [1, 3, 7, 15])
    same(column("cumsum(px)", stream, "tick_bar(2)", ONE, **CUT), [3, 12])


@pytest.mark.parametrize("feature", ["volume_bar(10).close", "dollar_bar(10).close", "vpin(10, 2)"])
def test_lots_and_ticks_must_be_known(feature: str) -> None:
    stream = trades((1.0, 1.0))
    with pytest.raises(InstrumentError, match=r"lot_size of A is unknown; declare lot_size"):
        detail(feature, stream, instruments=table(("A", None, 0.25)))
    with pytest.raises(InstrumentError, match="lot_size of instrument 0 is unknown; give instruments"):
        detail(feature, stream)
    with pytest.raises(InstrumentError, match=r"2\*\*62 lots or more"):
        detail(feature, stream, instruments=table(("A", 1e-18, 1e-3)))
    if feature.startswith("dollar"):
        with pytest.raises(InstrumentError, match="tick_size of A is unknown"):
            detail(feature, stream, instruments=table(("A", 0.5, None)))
    # what only another instrument has, only that one must know
    two = table(("A",), ("ES", 0.5, 0.25))
    detail(f'of("ES", {feature})', stream, instruments=two)
    with pytest.raises(InstrumentError, match="of A is unknown"):
        detail(f'of("A", {feature})', stream, instruments=two)


def test_vpin_by_hand() -> None:
    # buckets of 4 lots; signed lots: +3 | +1 -1 ... a trade is split at the edge
    stream = trades((1.0, 1.5, 1), (1.0, 1.0, -1), (1.0, 1.0, 1), (1.0, 0.5, -1), (1.0, 6.0, 1), (1.0, 0.5, -1))
    # +3; -2: one fills (net 2), -1 left; +2; -1: net of (-1 +2 -1) = 0 fills; +12: three full of 4; -1
    same(column("vpin(2, 1)", stream, instruments=ONE), [N, 0.5, 0.5, 0, 1, 1])
    same(column("vpin(2, 2)", stream, instruments=ONE), [N, N, N, 2 / 8, 1, 1])
    same(column("vpin(2, 4)", stream, instruments=ONE), [N, N, N, N, (2 - 2 + 0 + 12 + 0) / 16 + 0 / 16, 0.75])
    same(
        column("cumsum(vpin(2, 1))", stream, instruments=ONE), [N, 0.5, 0.5, 0.5, 1.5, 1.5]
    )  # an update per trade that fills


def test_vpin_takes_the_sign_of_trade_sign() -> None:
    stream = events(
        (1, T, (1.0, 2.0, 0.0)),  # unknown: nothing before
        (2, Q, 2.0),
        (3, T, (3.0, 2.0, 0.0)),  # above the mid
        (4, T, (2.5, 9.0, 0.0), 0, NO),  # no size: no lots, but the tick rule moves
        (5, T, (2.0, 2.0, 0.0)),  # at the mid, below the trade before
    )
    same(column("vpin(2, 1)", stream, "trade", ONE), [0, 1, 1, 1])
    same(column("vpin(4, 1)", stream, "trade", ONE), [N, 0.5, 0.5, 0.5])
    same(column("vpin(6, 1)", stream, "trade", ONE), [N, N, N, 0])


def test_vpin_skips_trades_of_too_many_lots_only() -> None:
    stream = trades((2.0**40, 2.0**20, 1), (1.0, 2.0**61, -1), (1.0, 1.0, 1))  # 2**63 lots times ticks; 2**62 lots
    same(column("vpin(1048576, 1)", stream, instruments=ONE), [1, 1, 1])
    same(column("vpin(1048577, 1)", stream, instruments=ONE), [N, N, 1])


def test_vpin_after_a_gap_and_a_break() -> None:
    t = [(110, 0), (120, 0), (130, GAP), (140, 0), (310, 0), (320, 0)]
    stream = events(*((s, T, (1.0, 1.5, 1.0), 0, flags or Flag.LAST) for s, flags in t))
    # 3 lots a trade, buckets of 4; filled by 120, 130 (6, 9); the gap starts the count, not the bucket
    same(column("vpin(2, 1)", stream, instruments=ONE, **CUT), [N, 1, 1, 1, N, 1])
    same(column("vpin(2, 2)", stream, instruments=ONE, **CUT), [N, N, N, 1, N, N])
    same(column('vpin(2, 2, reset="never")', stream, instruments=ONE, **CUT), [N, N, N, 1, 1, 1])
    d = detail("vpin(2, 2)", stream, instruments=ONE)
    same([float(x) for x in d.exact[:, 0]], [NAN, NAN, 1, 1, 1, 1])


def test_sums_of_huge_buckets_are_exact() -> None:
    rng = np.random.default_rng(2)
    bucket, n = 2**61 + 12345, 40
    lots = rng.integers(0, 2**62, 300)
    sign = rng.integers(-1, 2, 300)
    out, filled = clocks.vpin(lots, sign, np.arange(300) == 0, bucket, n, float(n * bucket))
    nets: list[int] = []
    room, net = bucket, 0
    for i, (left, s) in enumerate(zip(lots.tolist(), sign.tolist(), strict=True)):
        before = len(nets)
        while left >= room:
            left, net = left - room, net + s * room
            nets.append(abs(net))
            room, net = bucket, 0
        net, room = net + s * left, room - left
        assert filled[i] == min(len(nets) - before, n)
        if len(nets) > before and len(nets) >= n:
            assert out[i] == float(sum(nets[-n:])) / float(n * bucket)
        else:
            assert np.isnan(out[i])
    assert np.isfinite(out).sum() > 100
    # a trade that fills more buckets than are looked at
    out, filled = clocks.vpin(np.array([1, 2**61]), np.array([-1, 1]), np.array([True, False]), 3, 4, 12.0)
    assert out[1] == 1.0 and filled.tolist() == [0, 4]


def test_the_clock_of_huge_trades_does_not_wrap() -> None:
    rng = np.random.default_rng(4)
    steps = rng.integers(2**60, 2**62, 500)
    size = 2**61 + 7
    total, expected = 0, []
    for step in steps.tolist():
        expected.append((total + step) // size > total // size)
        total += step
    assert clocks.closing(steps, size).tolist() == expected and not all(expected)
    cash, over = clocks.products(np.array([0, 1, 2**31, 2**31, 3]), np.array([2**62, 2**62, 2**31 - 1, 2**31, 5]))
    assert over.tolist() == [False, True, False, True, False] and cash.tolist() == [0, 0, 2**62 - 2**31, 0, 15]
    assert Fraction(int(cash[2])) < 2**62
