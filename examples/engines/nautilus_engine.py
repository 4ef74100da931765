"""A BacktestEngine that holds the events of a replay as ticks, ready for a strategy."""

from typing import Any

import numpy as np
from against import Replay, decimals
from nautilus_ticks import ticks_of
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import BTC, USD
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Money, Price, Quantity

import alpha


def pair_of(symbol: str, e: Any) -> CurrencyPair:
    """An instrument as fine as the numbers of the events, trades between two ticks included; what it trades plays no part."""
    quote = e["kind"] == alpha.Kind.QUOTE
    px = decimals(np.concatenate([e["v"][quote, :2].ravel(), e["v"][~quote, 0]]))
    qty = decimals(np.concatenate([e["v"][quote, 2:4].ravel(), e["v"][~quote, 1]]))
    name = InstrumentId(Symbol(symbol.replace("_", "-")), Venue("SIM"))  # with _ it would be a spread
    return CurrencyPair(name, name.symbol, BTC, USD, px, qty, Price(10.0**-px, px), Quantity(10.0**-qty, qty), 0, 0)


def engine_of(replay: Replay) -> tuple[BacktestEngine, InstrumentId]:
    pair = pair_of(replay.symbol, replay.events)
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False))
    engine.add_venue(pair.id.venue, OmsType.NETTING, AccountType.MARGIN, [Money(100_000, USD)])
    engine.add_instrument(pair)
    engine.add_data(ticks_of(replay.events, pair))
    return engine, pair.id
