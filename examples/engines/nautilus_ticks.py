"""Events as NautilusTrader's ticks, and the proof that none of their numbers changed on the way."""

from typing import Any

from nautilus_strategy import SCALE, SIDES
from nautilus_trader.model.data import QuoteTick, TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.identifiers import TradeId
from nautilus_trader.model.objects import Price, Quantity

import alpha

AGGRESSORS = {0.0: AggressorSide.NO_AGGRESSOR, 1.0: AggressorSide.BUYER, -1.0: AggressorSide.SELLER}


def ticks_of(events: Any, pair: Any) -> list[QuoteTick | TradeTick]:
    """In the order of the events: the engine sorts by ts_init and keeps the order of equal ones, so quotes and trades go
    into one list. ts_init is the receipt time, or the exchange time where there is none."""
    ticks, px, qty = [], pair.price_precision, pair.size_precision
    for i, e in enumerate(events):
        ts, v = int(e["ts_event_ns"]), e["v"].tolist()
        times = ts, int(e["ts_recv_ns"]) or ts
        if e["kind"] == alpha.Kind.QUOTE:
            prices, sizes = (Price(x, px) for x in v[:2]), (Quantity(x, qty) for x in v[2:4])
            ticks.append(QuoteTick(pair.id, *prices, *sizes, *times))
        else:
            side = AGGRESSORS[v[2]]
            ticks.append(TradeTick(pair.id, Price(v[0], px), Quantity(v[1], qty), side, TradeId(str(i)), *times))
        back = numbers(ticks[-1])
        if back != v[: len(back)]:
            raise alpha.AlphaError(
                f"event {i}: {v} would come back as {back}: declare an instrument with more decimals"
            )
    return ticks


def numbers(tick: QuoteTick | TradeTick) -> list[float]:
    """What the strategy will read out of it."""
    if isinstance(tick, QuoteTick):
        return [x.raw / SCALE for x in (tick.bid_price, tick.ask_price, tick.bid_size, tick.ask_size)]
    return [tick.price.raw / SCALE, tick.size.raw / SCALE, SIDES[tick.aggressor_side]]
