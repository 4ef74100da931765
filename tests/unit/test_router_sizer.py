"""Legs of a family by grade, with their fallbacks; quantities within their limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha.errors import InstrumentError, StrategyError
from alpha.instruments import Instrument
from alpha.strategies import Grade
from alpha.strategies.router import Family, Route, Router
from alpha.strategies.sizer import Sizer, Sizing

QQQ = Family("QQQ", "TQQQ", "PSQ", "SQQQ")


def test_each_grade_has_its_leg() -> None:
    router = Router(lambda symbol: True)
    legs = {g: router.route(QQQ, g) for g in Grade if g}
    assert legs == {
        Grade.STRONG_BUY: Route("TQQQ", 1),
        Grade.BUY: Route("QQQ", 1),
        Grade.SELL: Route("PSQ", 1),  # bought, never sold short
        Grade.STRONG_SELL: Route("SQQQ", 1),
    }
    assert not router.fallbacks


def test_without_a_price_up_goes_direct_and_down_goes_flat() -> None:
    router = Router(lambda symbol: symbol == "QQQ")
    up = router.route(QQQ, Grade.STRONG_BUY)
    assert (up.leg, up.side) == ("QQQ", 1) and "TQQQ" in up.why
    for grade, leg in ((Grade.SELL, "PSQ"), (Grade.STRONG_SELL, "SQQQ")):
        down = router.route(QQQ, grade)
        assert (down.leg, down.side) == (None, 0) and leg in down.why
    assert dict(router.fallbacks) == {"up_to_direct": 1, "down_to_flat": 2}


def test_alone_a_sell_is_short_or_flat() -> None:
    alone = Family("QQQ")
    assert Router(lambda s: True).route(alone, Grade.STRONG_SELL) == Route("QQQ", -1)
    assert Router(lambda s: True, short=False).route(alone, Grade.SELL) == Route(None, 0)
    assert Router(lambda s: True).route(alone, Grade.STRONG_BUY) == Route("QQQ", 1)
    half = Family("QQQ", inverse="PSQ")
    assert Router(lambda s: True).route(half, Grade.STRONG_SELL) == Route("PSQ", 1)


def test_a_family_is_checked() -> None:
    told = {"leveraged": "TQQQ", "inverse": "PSQ", "inverse_leveraged": "SQQQ"}
    assert Family.of(Instrument(symbol="QQQ", family=told)) == QQQ
    for wrong, word in (({"bear": "PSQ"}, "bear"), ({"inverse": ""}, "inverse"), ({"inverse": "QQQ"}, "two places")):
        with pytest.raises(InstrumentError, match=word):
            Family.of(Instrument(symbol="QQQ", family=wrong))


@given(
    st.floats(0, 1e7), st.floats(0, 1e7), st.floats(0.01, 1e5), st.floats(0.01, 1.0), st.floats(0, 3), st.floats(0, 0.5)
)
def test_a_quantity_keeps_every_limit(
    equity: float, other: float, px: float, share: float, leverage: float, reserve: float
) -> None:
    sizer = Sizer(Sizing(share=share, leverage=leverage, reserve=reserve, min_notional=50.0))
    qty = sizer.quantity(equity, other, px, lot=1.0)
    assert qty == int(qty) >= 0
    if qty:
        notional = qty * px
        assert notional <= share * equity * (1 + 1e-9)
        assert other + notional <= leverage * (1 - reserve) * equity * (1 + 1e-9)
        assert notional >= 50.0
        more = (qty + 1) * px  # one more lot would break one of them
        assert more > min(share * equity, leverage * (1 - reserve) * equity - other) * (1 - 1e-9)
    else:
        assert sum(sizer.nothing.values()) == 1


def test_lots_multipliers_and_fixed_quantities() -> None:
    assert Sizer(Sizing()).quantity(100_000.0, 0.0, 333.0, lot=10.0) == 70.0
    assert Sizer(Sizing()).quantity(100_000.0, 0.0, 100.0, multiplier=50.0, lot=1.0) == 5.0
    assert Sizer(Sizing(qty=3.0)).quantity(1_000.0, 0.0, 100.0, lot=1.0) == 3.0
    short = Sizer(Sizing(qty=30.0))
    assert short.quantity(1_000.0, 0.0, 100.0, lot=1.0) == 0.0 and short.nothing == {"no_room": 1}
    ruined = Sizer(Sizing())
    assert ruined.quantity(-5.0, 0.0, 100.0, lot=1.0) == 0.0
    with pytest.raises(StrategyError, match="share"):
        Sizing(share=3.0)
