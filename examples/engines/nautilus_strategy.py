"""A NautilusTrader strategy that asks alpha: copy it, and override on_advice. It sends no order by itself."""

from nautilus_trader.config import StrategyConfig
from nautilus_trader.model import InstrumentId, QuoteTick, TradeTick
from nautilus_trader.model.objects import FIXED_PRECISION
from nautilus_trader.trading.strategy import Strategy

import alpha

SCALE = 10**FIXED_PRECISION  # raw / SCALE is rounded once; as_double() rounds twice and is often one bit off
SIDES = (0.0, 1.0, -1.0)  # by AggressorSide: none, buyer, seller
FLAGS = (int(alpha.Flag.LAST), int(alpha.Flag.LAST | alpha.Flag.NO_TS_EVENT))  # equal times: the venue sent none


class AlphaConfig(StrategyConfig, frozen=True):
    instrument_ids: tuple[InstrumentId, ...]
    model: str = "models:/demo@production"
    registry: str | None = None  # None: as alpha finds it
    received: bool = True  # ts_init is the time of receipt; False: the data only have exchange times


class AlphaStrategy(Strategy):
    rt, saved = None, b""

    def on_start(self) -> None:
        self.rt = alpha.Runtime.from_registry(self.config.registry, self.config.model, instruments=self.table())
        if self.saved:
            self.rt.load_state(self.saved)
        self.handles = {i: self.rt.instrument(str(i)) for i in self.config.instrument_ids}
        for i in self.config.instrument_ids:
            self.subscribe_quote_ticks(i)
            self.subscribe_trade_ticks(i)

    def table(self) -> list[str | alpha.Instrument]:  # override: alpha.Instrument(symbol=, tick_size=), if features ask
        return [str(i) for i in self.config.instrument_ids]

    def on_quote_tick(self, tick: QuoteTick) -> None:
        v = (x.raw / SCALE for x in (tick.bid_price, tick.ask_price, tick.bid_size, tick.ask_size))
        self.on_advice(self.handles[tick.instrument_id].on_quote(tick.ts_event, *v, *self.receipt(tick)))

    def on_trade_tick(self, tick: TradeTick) -> None:
        v = tick.price.raw / SCALE, tick.size.raw / SCALE, SIDES[tick.aggressor_side]
        self.on_advice(self.handles[tick.instrument_id].on_trade(tick.ts_event, *v, *self.receipt(tick)))

    def receipt(self, tick: QuoteTick | TradeTick) -> tuple[int, float, int]:
        recv_ns = tick.ts_init if self.config.received else 0
        return recv_ns, 0.0, FLAGS[recv_ns == tick.ts_event]  # Nautilus keeps no sequence number

    def on_advice(self, signal: alpha.Signal | None) -> None:
        """Override: what becomes an order is yours to decide. None: nothing was decided at this tick."""

    def on_save(self) -> dict[str, bytes]:
        return {"alpha": self.rt.save_state()}

    def on_load(self, state: dict[str, bytes]) -> None:  # before on_start
        self.saved = state["alpha"]

    def on_dispose(self) -> None:
        if self.rt is not None:
            self.rt.close()
