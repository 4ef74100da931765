"""Signals are advice: what becomes an order is yours to decide, and the risk engine's to refuse.

Run it from the project's root:  python examples/own_risk.py
"""

from __future__ import annotations

import alpha
from alpha.data.simulate import simulate
from alpha.risk import Fill, Order, PriceBook, RiskEngine, RiskLimits

stream = simulate(20_000, seed=1)
symbol = stream.instruments.symbols[0]
now = 0
prices = PriceBook(max_age_ns=5 * 10**9)
limits = RiskLimits(order_qty=2, position=6, orders_per_s=5, daily_loss=500, model_exposure={"demo": 1_000})
risk = RiskEngine(limits, prices, clock=lambda: now)

with alpha.Runtime.from_registry("registry.json", "models:/demo@production", instruments=stream.instruments) as rt:
    sent, blocked = 0, {}
    for event in stream.events:
        signal = rt.on_event(event)
        if signal is None:
            continue
        now = signal.ts_recv_ns or signal.ts_event_ns
        prices.update(symbol, now, signal.ref_px)
        if signal.action == alpha.Action.HOLD:
            continue
        order = Order(f"{signal.event_index}", symbol, int(signal.action), 1.0, models={"demo": 1.0})
        answer = risk.check(order)
        if answer:  # here you would send it; this market fills at once, at the mid
            sent += 1
            risk.on_fill(Fill(order.order_id, order.qty, signal.ref_px))
        else:
            blocked[answer.reason] = blocked.get(answer.reason, 0) + 1

print(f"{sent} orders sent, blocked: { {str(k): n for k, n in blocked.items()} }")
print(f"position {risk.position(symbol):g}, exposure of demo {risk.exposure('demo'):.2f}, equity {risk.equity():.2f}")
