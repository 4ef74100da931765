"""Views through funds: labelled synthetic legs that move by plus one, plus three, minus one and minus three times."""

from __future__ import annotations

import desks
import numpy as np
import pytest

from alpha.backtest.settings import Settings
from alpha.instruments import Instrument, Instruments
from alpha.risk import RiskLimits
from alpha.strategies.sizer import Sizing

SECOND = 10**9
START = 1_700_000_000 * SECOND
FAMILY = {"leveraged": "UP3", "inverse": "DOWN1", "inverse_leveraged": "DOWN3"}
FACTOR = {"BASE": 1.0, "UP3": 3.0, "DOWN1": -1.0, "DOWN3": -3.0}


def legs(*names: str) -> Instruments:
    return Instruments.of(
        *(Instrument(symbol=n, tick_size=0.01, lot_size=1.0, family=FAMILY if n == "BASE" else None) for n in names)
    )


def stream(table: Instruments, moves: np.ndarray, silent: tuple[str, int] = ("", 0)) -> np.ndarray:
    """A quote of every leg each second; ``silent``: a leg that says nothing from a second on."""
    parts = []
    for i, item in enumerate(table):
        px = 100.0 * np.cumprod(1.0 + FACTOR[item.symbol] * moves)
        ts = START + SECOND * np.arange(len(moves)) + i
        keep = np.arange(len(moves)) < silent[1] if item.symbol == silent[0] else np.ones(len(moves), bool)
        parts.append(desks.quotes(ts[keep], px[keep], px[keep], who=i))
    events = np.concatenate(parts)
    return events[np.argsort(events["ts_event_ns"], kind="stable")]


def traded(grades: dict[int, int], moves: np.ndarray, *names: str, silent: tuple[str, int] = ("", 0), age_s: int = 300):
    table = legs(*names)
    script = {START + SECOND * k: g for k, g in grades.items()}
    settings = Settings(
        costs=desks.FREE, sizing=Sizing(share=0.5), family=True, max_age_ns=age_s * SECOND, limits=RiskLimits(gross=1e9)
    )
    events = stream(table, moves, silent)
    return desks.run(
        desks.Scripted(script), desks.rows(), events, instruments=table, symbols=["BASE"], settings=settings
    )


ALL = ("BASE", "UP3", "DOWN1", "DOWN3")


@pytest.mark.parametrize(("grade", "leg"), [(1, "BASE"), (2, "UP3"), (-1, "DOWN1"), (-2, "DOWN3")])
def test_each_grade_earns_on_its_own_leg(grade: int, leg: str) -> None:
    moves = np.full(30, 0.001 * np.sign(grade))  # the market goes where the grade says
    done = traded({2: grade}, moves, *ALL)
    (fill,) = done.ledger.fills
    assert fill.symbol == leg and fill.qty > 0.0  # inverse funds are bought
    # the base's next quote comes a second later, the other legs' one within the second of the decision
    grown = (1.0 + abs(FACTOR[leg]) * 0.001) ** (26 if leg == "BASE" else 27)
    assert done.ledger.account.profit == pytest.approx(fill.qty * fill.px * (grown - 1.0), rel=1e-9)


def test_a_flip_flattens_the_other_leg_first() -> None:
    moves = np.zeros(20)
    done = traded({2: 2, 6: -1, 10: -2, 14: 1}, moves, *ALL)
    held: dict[str, float] = {}
    for f in done.ledger.fills:
        held[f.symbol] = held.get(f.symbol, 0.0) + f.qty
        assert sum(q != 0.0 for q in held.values()) <= 1, "two legs at once"
        assert all(q >= 0.0 for q in held.values())
    assert [(f.symbol, np.sign(f.qty)) for f in done.ledger.fills] == [
        ("UP3", 1), ("UP3", -1), ("DOWN1", 1), ("DOWN1", -1), ("DOWN3", 1), ("DOWN3", -1), ("BASE", 1),
    ]  # fmt: skip


def test_a_leg_without_data_falls_back_and_is_counted() -> None:
    done = traded({2: 2, 6: -2}, np.zeros(12), "BASE")
    assert [(f.symbol, np.sign(f.qty)) for f in done.ledger.fills] == [
        ("BASE", 1),
        ("BASE", -1),
    ]  # up direct, down flat
    assert dict(done.desk.router.fallbacks) == {"up_to_direct": 1, "down_to_flat": 1}


def test_a_leg_whose_price_is_old_has_none() -> None:
    done = traded({20: 2}, np.zeros(30), *ALL, silent=("UP3", 5), age_s=10)
    assert [f.symbol for f in done.ledger.fills] == ["BASE"]
    fresh = traded({20: 2}, np.zeros(30), *ALL, silent=("UP3", 15), age_s=10)
    assert fresh.desk.counts["orders"] == 1 and not fresh.desk.router.fallbacks
    assert not fresh.ledger.fills  # it was bought at no price: the leg had stopped quoting


def test_days_on_which_only_a_leg_has_prices_are_no_days() -> None:
    table = legs("BASE", "UP3")
    day = 86_400 * SECOND
    base = desks.quotes(START + day * np.arange(3), 100.0, 100.0)
    leg = desks.quotes(START + day * np.arange(6) + 1, 50.0, 50.0, who=1)
    events = np.concatenate([base, leg])
    events = events[np.argsort(events["ts_event_ns"], kind="stable")]
    done = desks.run(desks.Scripted({}), desks.rows(), events, instruments=table, symbols=["BASE"], cuts=[4])
    assert [d.last_ns for d in done.curve.days] == base["ts_event_ns"].tolist()


def test_limits_block_and_are_counted_and_closing_always_passes() -> None:
    table = desks.table(1)
    ts = START + SECOND * np.arange(8)
    settings = Settings(costs=desks.FREE, sizing=Sizing(qty=5.0, min_notional=0.0), limits=RiskLimits(order_qty=4.0))
    script = {int(ts[1]): 1, int(ts[3]): -1}
    done = desks.run(
        desks.Scripted(script), desks.rows(), desks.quotes(ts, 10.0, 10.0), instruments=table, settings=settings
    )
    assert not done.ledger.fills and dict(done.desk.blocked) == {"order_qty": 2}
    tight = Settings(
        costs=desks.FREE, sizing=Sizing(qty=5.0, min_notional=0.0), limits=RiskLimits(model_exposure={"*": 60.0})
    )
    px = np.array([10.0, 10.0, 10.0, 20.0, 20.0, 20.0, 20.0, 20.0])  # what is held outgrows the limit
    done = desks.run(desks.Scripted(script), desks.rows(), desks.quotes(ts, px, px), instruments=table, settings=tight)
    assert [f.qty for f in done.ledger.fills] == [5.0, -5.0]  # the closing order passed, the new one did not
    assert dict(done.desk.blocked) == {"model_exposure": 1}
