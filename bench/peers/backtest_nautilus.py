"""NautilusTrader's BacktestEngine over the quotes of the backtest stage: a second opinion on what an engine costs.

Its strategy asks the same runtime, inline and quote by quote, for the same action (so features and model cost it what they
cost us there, and the engines are compared), or computes features by hand and asks ONNX Runtime, as its users would. The
rules are as near as they go: a quarter of equity, closing and opening as two market orders, one nanosecond to the market
so that the next quote fills, 0.5 bp a side. What differs: orders beyond the displayed size slip by its own rule, equity is
read from its account and portfolio, and quantities have six decimals.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

Decide = Callable[[int, float, float, float, float], int]
SHARE = 0.25
CASH = 100_000


def missing() -> bool:
    """Whether the library is not there."""
    return find_spec("nautilus_trader") is None


def run(events: Any, decide: Decide) -> tuple[float, list[int]]:
    """(ns of this thread an event, sides of its filled orders in order); making its quote objects is not counted."""
    from nautilus_trader.backtest.config import BacktestEngineConfig
    from nautilus_trader.backtest.engine import BacktestEngine
    from nautilus_trader.backtest.models import LatencyModel
    from nautilus_trader.config import LoggingConfig
    from nautilus_trader.model.currencies import BTC, USD
    from nautilus_trader.model.data import QuoteTick
    from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
    from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
    from nautilus_trader.model.instruments import CurrencyPair
    from nautilus_trader.model.objects import Money, Price, Quantity
    from nautilus_trader.trading.strategy import Strategy

    venue = Venue("SIM")
    name = InstrumentId(Symbol("SIM0"), venue)
    pair = CurrencyPair(
        instrument_id=name,
        raw_symbol=Symbol("SIM0"),
        base_currency=BTC,
        quote_currency=USD,
        price_precision=4,
        size_precision=6,
        price_increment=Price.from_str("0.0001"),
        size_increment=Quantity.from_str("0.000001"),
        ts_event=0,
        ts_init=0,
        margin_init=Decimal("0.1"),
        margin_maint=Decimal("0.1"),
        maker_fee=Decimal("0.00005"),
        taker_fee=Decimal("0.00005"),
    )
    sides: list[int] = []

    class OnActions(Strategy):  # type: ignore[misc]
        """Long on 1, short on -1; nothing while an order is under way."""

        def on_start(self) -> None:
            self.reached, self.held, self.flying = 0, Decimal(0), 0
            self.subscribe_quote_ticks(name)

        def on_quote_tick(self, tick: QuoteTick) -> None:
            bid, ask = tick.bid_price.as_double(), tick.ask_price.as_double()
            action = decide(tick.ts_event, bid, ask, tick.bid_size.as_double(), tick.ask_size.as_double())
            if action == 0 or action == self.reached or self.flying:
                return
            pnl = self.portfolio.unrealized_pnl(name)
            equity = self.portfolio.account(venue).balance_total(USD).as_double() + (pnl.as_double() if pnl else 0.0)
            if self.held:
                self.send(action, abs(self.held))
            self.send(action, Decimal(f"{SHARE * equity / (0.5 * (bid + ask)):.6f}"))
            self.reached = action

        def send(self, side: int, qty: Decimal) -> None:
            self.flying += 1
            order_side = OrderSide.BUY if side > 0 else OrderSide.SELL
            self.submit_order(self.order_factory.market(name, order_side, pair.make_qty(qty)))

        def on_order_filled(self, event: Any) -> None:
            side = 1 if event.order_side == OrderSide.BUY else -1
            self.held += side * event.last_qty.as_decimal()
            if self.cache.order(event.client_order_id).is_closed:
                self.flying -= 1
                sides.append(side)

    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False))
    engine.add_venue(
        venue=venue,
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        base_currency=USD,
        starting_balances=[Money(CASH, USD)],
        latency_model=LatencyModel(base_latency_nanos=1),
    )
    engine.add_instrument(pair)
    v, ts = events["v"].astype(float), events["ts_recv_ns"].astype("uint64")
    columns = (v[:, k].copy() for k in range(4))
    engine.add_data(QuoteTick.from_raw_arrays_to_list(name, 4, 6, *columns, ts, ts))
    engine.add_strategy(OnActions())
    start = time.perf_counter_ns()
    engine.run()
    spent = (time.perf_counter_ns() - start) / len(events)
    engine.dispose()
    return spent, sides
