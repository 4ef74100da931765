"""Rules 51 and 52 in the batch twin: other instruments and external series, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from byhand import EVERYONE, INPUT, NAN, STATUS, TIMER, Q, S, T, column, detail, events, made_calendars, same, table

from alpha.errors import DefinitionError
from alpha.events import Flag, Status
from alpha.features import batch
from alpha.features.feature_set import FeatureSet

A, ES, Z = 0, 1, 2
THREE = table(("A",), ("ES",), ("Z",))
CUT = {"session_break": "session", "calendar": "MADE"}
GAP = Flag.LAST | Flag.GAP
N = None


@pytest.fixture(autouse=True)
def _calendars(monkeypatch: pytest.MonkeyPatch) -> None:
    made_calendars(monkeypatch, MADE=[(100, 200), (300, 400)])


def test_another_instrument_as_of_arrival() -> None:
    stream = events(
        (10, Q, 1.0, A),
        (20, Q, 5.0, ES),
        (11, Q, 2.0, A),  # older than what it sees: arrival counts
        (20, Q, 6.0, ES),
        (20, Q, 7.0, ES),
        (20, Q, 3.0, A),
        (21, T, (9.0, 1.0, 0.0), ES),  # no update of mid
        (22, Q, 4.0, A),
    )
    same(column('of("ES", mid)', stream, "quote", THREE, A), [N, 5, 7, 7])
    same(column('of("ES", mid) - mid', stream, "quote", THREE, A), [N, 3, 4, 3])
    same(column('of("A", mid)', stream, "quote", THREE, ES), [1, 2, 2])
    same(column('of("ES", mean(mid, 2))', stream, "quote", THREE, A), [N, N, 6.5, 6.5])
    same(column('of("Z", mid)', stream, "quote", THREE, A), [N] * 4)
    assert np.isnan(detail('of("Z", mid)', stream, "quote", THREE).exact).all()


def test_its_own_instrument_is_seen_at_once() -> None:
    stream = events((1, Q, 1.0, ES), (2, Q, 2.0, ES), (3, T, (8.0, 1.0, 0.0), ES), (4, Q, 4.0, ES))
    same(column('of("ES", mid)', stream, "last", THREE, ES), [1, 2, 2, 4])
    same(column('of("ES", mid) - mid', stream, "last", THREE, ES), [0, 0, 0, 0])
    # read before the event that makes the row
    same(column('of("ES", mid)', stream, 'every("1s")', THREE, ES), [1, 2, 2])


def test_it_is_only_looked_at() -> None:
    stream = events(
        (1, Q, 1.0, A), (2, Q, 10.0, ES), (3, Q, 20.0, ES), (4, Q, 2.0, A), (5, Q, 30.0, ES), (6, Q, 3.0, A)
    )
    same(column('cumsum(mid + of("ES", mid))', stream, "quote", THREE, A), [N, 22, 55])
    same(column('lag(mid + of("ES", mid), 1)', stream, "quote", THREE, A), [N, N, 22])
    with pytest.raises(DefinitionError, match="never gets an update"):
        detail('mean(of("ES", mid), 3)', stream, "quote", THREE)


def test_a_later_eviction_does_not_show() -> None:
    stream = events((0, Q, 1.0, ES), (2, Q, 3.0, ES), (9, Q, 0.0, A), (50, TIMER, 0.0, ES), (51, Q, 0.0, A))
    same(column('of("ES", sum(mid, "2s"))', stream, "quote", THREE, A), [3, 3])  # (0, 2]
    same(column('of("ES", mean(mid, "2s"))', stream, "quote", THREE, A), [3, 3])


def test_its_gap_and_its_break_show_and_those_of_the_reader_do_not() -> None:
    stream = events(
        (110, Q, 1.0, ES),
        (111, Q, 0.0, A),
        (112, T, (1.0, 1.0, 0.0), ES, GAP),
        (113, Q, 0.0, A),
        (114, Q, 2.0, ES),
        (115, Q, 0.0, A, GAP),
        (310, Q, 0.0, A),  # a break of A only
        (311, TIMER, 0.0, ES),  # now of ES, too
        (312, Q, 0.0, A),
        (313, Q, 4.0, ES),
        (314, Q, 0.0, A),
    )
    same(column('of("ES", mid)', stream, "quote", THREE, A, **CUT), [1, N, 2, 2, N, 4])
    values = detail('of("ES", mid)', stream, "quote", THREE, **CUT)
    same([float(x) for x in values.exact[values.instrument_id == A, 0]], [1, 1, 2, 2, NAN, 4])
    same(column('of("ES", cumsum(mid, reset="never"))', stream, "quote", THREE, A, **CUT), [1, N, 3, 3, 3, 7])
    # ready again after two updates since the gap; the first of them is no ready one
    twice = events(
        (1, Q, 1.0, ES),
        (2, Q, 3.0, ES),
        (3, Q, 0.0, A),
        (4, Q, 5.0, ES, GAP),
        (5, Q, 0.0, A),
        (6, Q, 7.0, ES),
        (7, Q, 0.0, A),
    )
    same(column('of("ES", mean(mid, 2))', twice, "quote", THREE, A), [2, N, 6])
    # the gap alone, also where x itself stays ready through it
    late = events(
        (1, INPUT, (0.0, 5.0), ES),
        (2, Q, 0.0, A),
        (3, STATUS, float(Status.LOST), ES),
        (4, Q, 0.0, A),
        (5, INPUT, (0.0, 6.0), ES),
        (6, Q, 0.0, A),
    )
    same(column('of("ES", input("rate"))', late, "quote", THREE, A), [5, N, 6])


def test_events_for_all_reach_lower_ids_first() -> None:
    stream = events(
        (1, Q, 1.0, A), (1, T, (7.0, 1.0, 0.0), ES), (1, Q, 1.0, Z), (11, TIMER, 0.0, EVERYONE), (11, Q, 2.0, A)
    )
    close = 'of("ES", bar("10s", "trade").close)'
    for reader, seen in ((A, [N, 7.0]), (Z, [N])):
        same(column(close, stream, "quote", THREE, reader), seen)
    # at the timer: the bar of ES has closed for Z, not yet for A
    rows = detail(close, stream, 'every("10s")', THREE)
    assert rows.instrument_id.tolist() == [A, ES, Z]
    assert rows.ready[:, 0].tolist() == [False, False, True]


def test_symbols_must_be_known() -> None:
    stream = events((1, Q, 1.0, A))
    with pytest.raises(DefinitionError, match=r'of\("NQ", ...\), but NQ is not among the instruments: A, ES, Z'):
        detail('of("NQ", mid)', stream, "quote", THREE)
    with pytest.raises(DefinitionError, match="none was given"):
        detail('of("ES", mid)', stream, "quote")


def test_the_scale_of_what_is_looked_at_is_its_own() -> None:
    stream = events((1, Q, 100.0, ES), (2, Q, 1.0, A), (3, Q, 50.0, ES), (4, Q, 1.0, A))
    d = detail({"o": 'of("ES", mid)', "d": 'of("ES", mid) - mid'}, stream, "quote", THREE)
    assert d.scale is not None
    assert d.scale[d.instrument_id == A].tolist() == [[100, 100], [100, 100]]


SERIES = {"f": 'input("funding")', "o": 'input("oi")'}  # positions 0 and 1


def test_series_update_by_their_position() -> None:
    stream = events(
        (1, Q, 1.0),
        (2, INPUT, (1.0, 7.0)),
        (3, Q, 1.0),
        (4, INPUT, (0.0, -2.0)),
        (5, INPUT, (2.0, 9.0)),  # nobody's
        (6, INPUT, (0.5, 9.0)),
        (7, INPUT, (-1.0, 9.0)),
        (8, Q, 1.0),
    )
    d = detail(SERIES, stream, "quote")
    assert d.ready.tolist() == [[False, False], [False, True], [True, True]]
    assert d.exact[2].tolist() == [-2.0, 7.0]
    same(column('cumsum(mid * input("a")) + 0*input("b")', stream, "quote"), [N, N, -4])
    assert len(detail(SERIES, stream, "last").ts_ns) == 3  # no row for an input


def test_an_old_value_is_no_number_and_stays_ready() -> None:
    stream = events((1, INPUT, (0.0, 5.0)), (2, Q, 1.0), (3, Q, 1.0), (4, Q, 1.0), (5, INPUT, (0.0, 6.0)), (5, Q, 1.0))
    same(column('input("x", max_age="2s")', stream, "quote"), [5, 5, NAN, 6])
    same(column('input("x", max_age="2s")', stream, 'every("500ms")'), [5, 5, NAN, NAN])
    same(
        column('cumsum(mid + input("x", max_age="2s"))', stream, "quote"), [6, 12, 12, 26]
    )  # once at 5, once at the quote


def test_inputs_go_through_gaps_and_sessions() -> None:
    stream = events(
        (110, INPUT, (0.0, 5.0)),
        (111, Q, 1.0, 0, GAP),
        (310, Q, 1.0),
        (311, INPUT, (0.0, 7.0)),
        (312, Q, 1.0),
    )
    same(column('input("x")', stream, "quote", **CUT), [5, 5, 7])
    same(column('cumsum(input("x"))', stream, "quote", **CUT), [N, N, 12])  # counts since the gap, keeps its state
    same(column('cumsum(input("x"), reset="session")', stream, "quote", **CUT), [N, N, 7])
    same(column('mid * input("x")', stream, "quote", **CUT), [5, 5, 7])


def test_inputs_for_all_and_from_the_past() -> None:
    stream = events((1, Q, 1.0, A), (5, Q, 1.0, ES), (3, INPUT, (0.0, 4.0), EVERYONE), (9, Q, 2.0, A), (6, Q, 1.0, ES))
    same(column('input("x")', stream, "quote", THREE, A), [N, 4])
    same(column('input("x")', stream, "quote", THREE, ES), [N, 4])
    same(column('input("x", max_age="4s")', stream, "quote", THREE, A), [N, NAN])  # happened at 3
    same(column('input("x", max_age="1s")', stream, "quote", THREE, ES), [N, 4])  # at 5, its own time
    # time passes with it: rows of boundaries, and the bar that ends
    quiet = events((1, T, (3.0, 1.0, 0.0)), (12, INPUT, (0.0, 1.0)), (13, Q, 1.0))
    same(column('bar("10s", "trade").close + 0*input("x")', quiet, "quote"), [3])
    assert detail('input("x")', quiet, 'every("5s")').ts_ns.tolist() == [5 * S]


def test_a_set_may_mix_all_of_it() -> None:
    fs = FeatureSet.from_dict(
        {"features": {"x": 'of("ES", mid * input("fx")) / input("fx")'}, "stream": {"clock": "event"}}
    )
    stream = events((1, INPUT, (0.0, 2.0), EVERYONE), (2, Q, 10.0, ES), (3, INPUT, (0.0, 4.0), A), (4, Q, 1.0, A))
    rows = batch.compute(fs, stream, THREE)
    assert rows.values[:, 0].tolist() == [10.0, 5.0] and rows.ready.all()
