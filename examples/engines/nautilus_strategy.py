"""A NautilusTrader strategy that asks alpha: copy it, and override on_advice. It sends no order by itself."""

from nautilus_trader.config import StrategyConfig
from nautilus_trader.model.data import QuoteTick, TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import FIXED_PRECISION
from nautilus_trader.trading.strategy import Strategy

import alpha

SCALE = 10**FIXED_PRECISION  # raw / SCALE is rounded once; as_double() rounds twice and is often one bit off
SIDES = {AggressorSide.BUYER: 1.0, AggressorSide.SELLER: -1.0, AggressorSide.NO_AGGRESSOR: 0.0}
FLAGS = (int(alpha.Flag.LAST), int(alpha.Flag.LAST | alpha.Flag.NO_TS_EVENT))  # equal times: the venue sent none


class AlphaConfig(StrategyConfig, frozen=True):
    instrument_ids: tuple[InstrumentId, ...]
    model: str = "models:/demo@production"
    registry: str | None = None  # None: as alpha finds it
    received: bool = True  # ts_init is the time of receipt; False: the data only have exchange times


class AlphaStrategy(Strategy):
    saved: bytes | None = None

    def on_start(self) -> None:
        config = self.config
        self.rt = alpha.Runtime.from_registry(config.registry, config.model, instruments=self.table())
        if self.saved is not None:
            self.rt.load_state(self.saved)
        self.handles = {i: self.rt.instrument(str(i)) for i in config.instrument_ids}
        for i in config.instrument_ids:
            self.subscribe_quote_ticks(i)
            self.subscribe_trade_ticks(i)

    def table(self) -> list[str | alpha.Instrument]:
        """Features that read tick or lot sizes need them: override it with alpha.Instrument(symbol=…, tick_size=…)."""
        return [str(i) for i in self.config.instrument_ids]

    def on_quote_tick(self, tick: QuoteTick) -> None:
        quote = (x.raw / SCALE for x in (tick.bid_price, tick.ask_price, tick.bid_size, tick.ask_size))
        self.on_advice(self.handles[tick.instrument_id].on_quote(tick.ts_event, *quote, *self.receipt(tick)))

    def on_trade_tick(self, tick: TradeTick) -> None:
        trade = tick.price.raw / SCALE, tick.size.raw / SCALE, SIDES[tick.aggressor_side]
        self.on_advice(self.handles[tick.instrument_id].on_trade(tick.ts_event, *trade, *self.receipt(tick)))

    def receipt(self, tick: QuoteTick | TradeTick) -> tuple[int, float, int]:
        recv_ns = tick.ts_init if self.config.received else 0
        return recv_ns, 0.0, FLAGS[recv_ns == tick.ts_event]  # Nautilus keeps no sequence number

    def on_advice(self, signal: alpha.Signal | None) -> None:
        """Override: what becomes an order is yours to decide. None: nothing was decided at this tick."""

    def on_save(self) -> dict[str, bytes]:
        return {"alpha": self.rt.save_state()}

    def on_load(self, state: dict[str, bytes]) -> None:  # before on_start
        self.saved = state["alpha"]
