"""Risk: each limit at its edge, what reduces risk passes, prices have an age, kills outlive the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import alpha
from alpha.data.simulate import simulate
from alpha.errors import AlphaError
from alpha.events import Reason
from alpha.risk import BlockedReason, Fill, KillLatch, Order, PriceBook, RiskEngine, RiskLimits
from alpha.risk.engine import DAY_NS, SECOND_NS


class Desk:
    """An engine with a clock that a test turns."""

    def __init__(self, kill: KillLatch | None = None, **limits: Any) -> None:
        self.now = 10 * DAY_NS
        self.prices = PriceBook(5 * SECOND_NS)
        self.engine = RiskEngine(
            RiskLimits(**limits), self.prices, lambda: self.now, multiplier={"FUT": 50.0}, kill=kill
        )
        self.n = 0
        for symbol in ("X", "Y", "FUT"):
            self.prices.update(symbol, self.now, 100.0)

    def order(self, side: int, qty: float, symbol: str = "X", px: float | None = None, **models: float) -> Order:
        self.n += 1
        return Order(str(self.n), symbol, side, qty, px, models or {"m": 1.0})

    def ask(self, *args: Any, **more: Any) -> BlockedReason | str:
        answer = self.engine.check(self.order(*args, **more))
        return "reducing" if answer and answer.reducing else "approved" if answer else answer.reason

    def done(
        self, side: int, qty: float, symbol: str = "X", px: float = 100.0, fee: float = 0.0, **models: float
    ) -> None:
        order = self.order(side, qty, symbol, **models)
        assert self.engine.check(order)
        self.engine.on_fill(Fill(order.order_id, qty, px, fee))


def test_limits_are_inclusive() -> None:
    assert [Desk(order_qty=5).ask(1, q) for q in (5.0, 5.1)] == ["approved", "order_qty"]
    assert [Desk(order_notional=500).ask(1, q) for q in (5.0, 5.1)] == ["approved", "order_notional"]
    assert Desk(order_notional=500).ask(1, 4.9, px=110.0) == "order_notional"  # a limit price above the market
    assert Desk(order_notional=500).ask(1, 0.2, symbol="FUT") == "order_notional"  # 0.2 * 50 * 100
    assert [Desk(position=5).ask(-1, q) for q in (5.0, 5.1)] == ["approved", "position"]
    assert [Desk(gross=500).ask(1, q) for q in (5.0, 5.1)] == ["approved", "gross"]
    assert [Desk(net=500).ask(-1, q) for q in (5.0, 5.1)] == ["approved", "net"]
    assert [Desk(model_exposure={"m": 500}).ask(1, q) for q in (5.0, 5.1)] == ["approved", "model_exposure"]
    assert Desk(model_exposure={"m": 500}).ask(1, 99.0, other=1.0) == "approved"
    assert Desk(model_exposure={"*": 500}).ask(1, 99.0, other=1.0) == "model_exposure"


def test_pending_orders_count() -> None:
    desk = Desk(position=10, model_exposure={"m": 1000})
    assert [desk.ask(1, 4.0) for _ in range(3)] == ["approved", "approved", "position"]
    desk.engine.on_cancel("1")
    assert desk.ask(1, 4.0) == "approved"
    assert desk.ask(-1, 10.0) == "approved"  # the other side is counted by itself
    assert desk.engine.exposure("m") == 1000.0
    with pytest.raises(AlphaError, match="'1', which is not pending"):
        desk.engine.on_cancel("1")
    with pytest.raises(AlphaError, match="not pending"):
        desk.engine.on_fill(Fill("77", 1.0, 1.0))


def test_what_reduces_risk_always_passes(tmp_path: Path) -> None:
    latch = KillLatch(tmp_path / "kill")
    desk = Desk(latch, order_qty=6, position=10, orders_per_s=2, daily_loss=50)
    desk.done(1, 6.0)
    desk.done(1, 4.0)
    latch.kill()
    desk.now += 60 * SECOND_NS  # prices are stale, too
    assert desk.ask(1, 1.0) == "killed"
    assert desk.ask(-1, 8.0) == "reducing"
    assert desk.ask(-1, 2.0) == "reducing"
    assert desk.ask(-1, 0.1) == "killed"  # beyond what is left: it would open a short position
    latch.revive()
    assert desk.ask(-1, 0.1) == "no_price"


def test_an_order_that_reduces_the_account_but_not_its_model_is_checked() -> None:
    desk = Desk(model_exposure={"a": 1000, "b": 300})
    desk.done(1, 10.0, a=1.0)
    assert desk.ask(-1, 4.0, b=1.0) == "model_exposure"
    assert desk.ask(-1, 3.0, b=1.0) == "approved"
    assert desk.ask(-1, 4.0, a=1.0) == "reducing"


def test_an_ensemble_attributes_exposure_to_its_members() -> None:
    desk = Desk(model_exposure={"a": 300, "b": 800})
    desk.done(1, 10.0, a=0.25, b=0.75)
    assert (desk.engine.exposure("a"), desk.engine.exposure("b"), desk.engine.exposure()) == (250.0, 750.0, 1000.0)
    assert desk.ask(1, 3.0, a=0.25, b=0.75) == "model_exposure"
    assert desk.ask(1, 2.0, a=0.25, b=0.25, c=0.5) == "approved"


def test_rate_loss_and_day() -> None:
    desk = Desk(orders_per_s=2, daily_loss=20)
    assert [desk.ask(1, 1.0) for _ in range(3)] == ["approved", "approved", "orders_per_s"]
    desk.now += SECOND_NS - 1
    assert desk.ask(1, 1.0) == "orders_per_s"
    desk.now += 1
    desk.done(1, 10.0)
    desk.prices.update("X", desk.now, 98.0)
    assert desk.engine.equity() == pytest.approx(-20.0)
    assert desk.ask(1, 1.0) == "daily_loss"
    assert desk.ask(-1, 1.0) == "reducing"
    desk.now += DAY_NS
    desk.prices.update("X", desk.now, 98.0)
    assert desk.ask(1, 1.0) == "approved"  # another day, another measure


def test_equity_of_two_trades() -> None:
    desk = Desk()
    desk.done(1, 10.0, px=30.0, fee=0.1)
    desk.done(-1, 10.0, px=31.5, fee=0.1)
    assert desk.engine.equity() == pytest.approx(14.8)


def test_prices_are_as_of_and_have_an_age() -> None:
    book = PriceBook(10)
    book.update("X", 100, 5.0)
    book.update("X", 99, 6.0)  # earlier than what is known
    book.update("X", 101, float("nan"))
    assert [book.price("X", t) for t in (99, 100, 110, 111)] == [None, 5.0, 5.0, None]
    assert book.price("Y", 100) is None and book.last("X") == 5.0
    assert Desk().ask(1, 1.0, symbol="Z") == "no_price"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Order("1", "X", 0, 1.0, models={"m": 1.0}), "side is"),
        (lambda: Order("1", "X", 1, float("nan"), models={"m": 1.0}), "qty must"),
        (lambda: Order("1", "X", 1, 1.0, -1.0, {"m": 1.0}), "px must"),
        (lambda: Order("1", "X", 1, 1.0), "models must"),
        (lambda: Order("1", "X", 1, 1.0, models={"a": 0.5, "b": 0.6}), "models must"),
        (lambda: Fill("1", 0.0, 1.0), "fill of 1"),
        (lambda: RiskLimits(gross=-1.0), "limit gross"),
        (lambda: RiskLimits(model_exposure={"m": float("nan")}), r"limit model_exposure \(m\)"),
        (lambda: PriceBook(0), "max_age_ns"),
    ],
)
def test_wrong_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(AlphaError, match=message):
        make()


def test_an_order_id_is_used_once() -> None:
    desk = Desk()
    order = desk.order(1, 1.0)
    assert desk.engine.check(order)
    assert desk.engine.check(order).reason == "duplicate"  # type: ignore[union-attr]


# -- the latch


def test_case_30_a_kill_from_another_process_counts_before_the_next_event_and_outlives_both(
    tmp_path: Path, project_root: Path
) -> None:
    path, stream = tmp_path / "kill.latch", simulate(6000, seed=4)
    registry, symbol = project_root / "registry.json", stream.instruments.symbols[0]

    def elsewhere(*words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "alpha", "kill", "--file", str(path), *words], cwd=project_root, check=False
        )
        assert done.returncode == 0

    def runtime() -> alpha.Runtime:
        return alpha.Runtime.from_registry(registry, "models:/demo/1", instruments=stream.instruments, kill_file=path)

    with runtime() as rt:
        assert rt.run(stream.events[:3000])["action"].any()
        for k, words in enumerate((["--model", "demo"], ["--symbol", symbol], [])):
            elsewhere(*words)
            at = 3000 + 400 * k
            signals = rt.run(stream.events[at : at + 200])
            assert len(signals) and (signals["reason"] == Reason.KILLED).all() and not signals["action"].any()
            latest = rt.latest(symbol)
            assert latest is not None and latest.reason == Reason.KILLED
            elsewhere(*words, "--revive")
            signals = rt.run(stream.events[at + 200 : at + 400])
            assert len(signals) and not (signals["reason"] == Reason.KILLED).any()
        elsewhere("--model", "demo")
    assert KillLatch(path).killed() == ["model demo"]
    with runtime() as rt:  # a restart
        signals = rt.run(stream.events[:5000])
        assert len(signals) and (signals["reason"] == Reason.KILLED).all()
        elsewhere("--model", "demo", "--revive")
        elsewhere("--model", "another")
        signals = rt.run(stream.events[5000:])
        assert signals["action"].any() and not (signals["reason"] == Reason.KILLED).any()


def test_case_30_the_latch_survives_a_kill(tmp_path: Path) -> None:
    """On the disk when kill() returns: a process that dies right after it cannot take it along."""
    code = (
        "import os, sys; from alpha.risk.kill import KillLatch; "
        "KillLatch(sys.argv[1]).kill(instrument='BTCUSDT'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "k")], check=False)
    assert done.returncode == -9
    latch = KillLatch(tmp_path / "k")
    assert latch.killed() == ["instrument BTCUSDT"]
    assert latch.is_killed(instrument="BTCUSDT") and not latch.is_killed(model="m", instrument="ETHUSDT")


def test_a_latch_takes_many_names_and_no_foreign_file(tmp_path: Path) -> None:
    latch = KillLatch(tmp_path / "k")
    names = [f"S{i}" for i in range(300)] + ["a" * 200, "a" * 201, "ü" * 40]
    for name in names:
        latch.kill(instrument=name)
    again = KillLatch(tmp_path / "k")
    assert all(again.is_killed(instrument=n) for n in names) and not again.is_killed(instrument="a" * 199)
    again.revive(instrument="a" * 200)
    assert not latch.is_killed(instrument="a" * 200) and latch.is_killed(instrument="a" * 201)
    (tmp_path / "x").write_text("something else")
    with pytest.raises(AlphaError, match="is no kill latch"):
        KillLatch(tmp_path / "x")
    with pytest.raises(AlphaError, match="set two"):
        latch.kill(model="m", instrument="X")


def test_a_worker_heeds_the_latch_of_its_instrument_only(tmp_path: Path) -> None:
    from alpha.features import catalog

    stream = simulate(2000, seed=2, levels=1)
    events = np.repeat(stream.events, 2)
    events["instrument_id"][1::2] = 1
    latch = KillLatch(tmp_path / "k")
    latch.kill(instrument="B")
    rt = alpha.Runtime(alpha.bundle.Bundle.from_features(catalog.get("spec")), ["A", "B"], kill_file=tmp_path / "k")
    with rt, rt.start(overrun="refuse") as worker:
        worker.push_many(events)
        worker.stop()
        signals = worker.poll_many()
    killed = signals["reason"] == Reason.KILLED
    assert killed[signals["instrument_id"] == 1].all() and not killed[signals["instrument_id"] == 0].any()


def test_the_example_runs(project_root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "examples/own_risk.py"], cwd=project_root, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "orders sent, blocked: {'position'" in done.stdout
