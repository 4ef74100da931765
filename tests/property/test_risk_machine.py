"""No sequence of orders, fills, cancels, prices and kills exceeds a limit; exposure equals an independent recount."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from alpha.risk import Fill, KillLatch, Order, PriceBook, RiskEngine, RiskLimits

SYMBOLS = ("X", "Y")
MODELS = ("a", "b", "c")
SPLITS: tuple[dict[str, float], ...] = ({"a": 1.0}, {"b": 1.0}, {"a": 0.5, "b": 0.5}, {"a": 0.25, "b": 0.25, "c": 0.5})
LIMITS = RiskLimits(
    order_qty=8,
    order_notional=1500,
    position=20,
    orders_per_s=4,
    daily_loss=400,
    model_exposure={"a": 1500, "*": 2500},
    gross=4000,
    net=3000,
)
SECOND = 10**9


class Ledger:
    """The recount: every order, fill and cancel ever, added up from nothing, in exact numbers."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.filled: dict[str, Fraction] = {}
        self.gone: set[str] = set()

    def left(self, key: str) -> Fraction:
        return Fraction(0) if key in self.gone else Fraction(self.orders[key].qty) - self.filled[key]

    def held(self, symbol: str, model: str | None) -> Fraction:
        total = Fraction(0)
        for key, o in self.orders.items():
            if o.instrument == symbol:
                total += o.side * self.filled[key] * (1 if model is None else Fraction(o.models.get(model, 0.0)))
        return total

    def ends(self, symbol: str, model: str | None, px: Fraction) -> tuple[Fraction, Fraction]:
        """Notional if all buys, and if all sells, were filled."""
        up = down = self.held(symbol, model) * px
        for key, o in self.orders.items():
            if o.instrument == symbol:
                share = 1 if model is None else Fraction(o.models.get(model, 0.0))
                value = self.left(key) * share * max(px, Fraction(o.px or 0))
                if o.side > 0:
                    up += value
                else:
                    down -= value
        return up, down

    def gross(self, model: str | None, prices: dict[str, Fraction]) -> Fraction:
        return sum((max(map(abs, self.ends(s, model, prices[s]))) for s in SYMBOLS), Fraction(0))

    def net(self, prices: dict[str, Fraction]) -> Fraction:
        ends = [self.ends(s, None, prices[s]) for s in SYMBOLS]
        return max(abs(sum(e[0] for e in ends)), abs(sum(e[1] for e in ends)))


class Risk(RuleBasedStateMachine):
    """Prices of two instruments move between orders; limits are judged at the prices of the approval."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.latch = KillLatch(Path(self.folder.name) / "kill")
        self.now = 20_000 * 86_400 * SECOND
        self.prices = PriceBook(3600 * SECOND)
        self.px = {s: Fraction(100) for s in SYMBOLS}
        for s in SYMBOLS:
            self.prices.update(s, self.now, 100.0)
        self.engine = RiskEngine(LIMITS, self.prices, lambda: self.now, kill=self.latch)
        self.ledger = Ledger()
        self.times: list[int] = []
        self.n = 0

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule(
        symbol=st.sampled_from(SYMBOLS),
        side=st.sampled_from((-1, 1)),
        eighths=st.integers(1, 80),
        px=st.sampled_from((None, 90.0, 100.0, 125.0)),
        models=st.sampled_from(SPLITS),
    )
    def send(self, symbol: str, side: int, eighths: int, px: float | None, models: dict[str, float]) -> None:
        self.n += 1
        order = Order(str(self.n), symbol, side, eighths / 8, px, models)
        silenced = self.latch.is_killed() or any(self.latch.is_killed(model=m, instrument=symbol) for m in models)
        held = {m: self.ledger.held(symbol, m) for m in (None, *models)}
        answer = self.engine.check(order)
        if not answer:
            return
        self.ledger.orders[order.order_id], self.ledger.filled[order.order_id] = order, Fraction(0)
        self.times.append(self.now)
        if answer.reducing:
            # against the position of the account and of each model, and no more than it together with what is pending
            for model, q in held.items():
                pending = sum(
                    self.ledger.left(k) * (1 if model is None else Fraction(o.models.get(model, 0.0)))
                    for k, o in self.ledger.orders.items()
                    if (o.instrument, o.side) == (symbol, side)
                )
                assert q * side < 0 and pending <= abs(q)
            return
        assert not silenced
        assert order.qty <= 8 and order.qty * max(float(self.px[symbol]), px or 0.0) <= 1500
        pending = sum(
            self.ledger.left(k) for k, o in self.ledger.orders.items() if (o.instrument, o.side) == (symbol, side)
        )
        assert abs(held[None] + side * pending) <= 20
        assert sum(t > self.now - SECOND for t in self.times) <= 4
        for model in models:
            assert self.ledger.gross(model, self.px) <= (1500 if model == "a" else 2500)
        assert self.ledger.gross(None, self.px) <= 4000 and self.ledger.net(self.px) <= 3000

    @precondition(lambda self: any(self.ledger.left(k) for k in self.ledger.orders))
    @rule(data=st.data(), part=st.sampled_from((Fraction(1), Fraction(1, 2), Fraction(1, 4))))
    def fill(self, data: Any, part: Fraction) -> None:
        key = data.draw(st.sampled_from([k for k in self.ledger.orders if self.ledger.left(k)]))
        qty = self.ledger.left(key) * part
        self.engine.on_fill(Fill(key, float(qty), float(self.px[self.ledger.orders[key].instrument])))
        self.ledger.filled[key] += qty

    @precondition(lambda self: any(self.ledger.left(k) for k in self.ledger.orders))
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        key = data.draw(st.sampled_from([k for k in self.ledger.orders if self.ledger.left(k)]))
        self.engine.on_cancel(key)
        self.ledger.gone.add(key)

    @rule(symbol=st.sampled_from(SYMBOLS), px=st.integers(90, 110))
    def price(self, symbol: str, px: int) -> None:
        self.prices.update(symbol, self.now, float(px))
        self.px[symbol] = Fraction(px)

    @rule(ns=st.sampled_from((1, SECOND // 3, SECOND)))
    def wait(self, ns: int) -> None:
        self.now += ns

    @rule(on=st.booleans(), what=st.sampled_from(({}, {"model": "a"}, {"instrument": "Y"})))
    def kill(self, on: bool, what: dict[str, str]) -> None:
        (self.latch.kill if on else self.latch.revive)(**what)

    @invariant()
    def exposure_equals_the_recount(self) -> None:
        if not hasattr(self, "engine"):
            return
        for model in (None, *MODELS):
            assert abs(self.engine.exposure(model) - float(self.ledger.gross(model, self.px))) < 1e-6
            for s in SYMBOLS:
                assert abs(self.engine.position(s, model) - float(self.ledger.held(s, model))) < 1e-9
        assert abs(self.engine.net() - float(self.ledger.net(self.px))) < 1e-6


TestRisk = Risk.TestCase
TestRisk.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
