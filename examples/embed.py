"""The ten lines of the README: a trading loop that asks the shipped demo model."""

import alpha

TICKS = [(1_700_000_000_000_000_000 + i * 50_000_000, 100.0 + (i % 7) * 0.01, 5.0 + i % 3, 4.0) for i in range(400)]

with alpha.Runtime.from_registry(None, "models:/demo@production", instruments=["SIM0"]) as rt:
    sim = rt.instrument("SIM0")  # names resolve once
    for ts_ns, bid_px, bid_qty, ask_qty in TICKS:
        sim.on_trade(ts_ns, bid_px, 1.0, -1.0)
        signal = sim.on_quote(ts_ns, bid_px, bid_px + 0.01, bid_qty, ask_qty)
        if signal is not None and signal.action != alpha.Action.HOLD:
            print(ts_ns, signal.action.name, f"{signal.confidence:.2f}")  # your strategy and your risk decide
    print(rt.stats()["reasons"])
