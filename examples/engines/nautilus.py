"""NautilusTrader's BacktestEngine with the strategy of nautilus_strategy.py, which asks the runtime at every tick.

    .venv-engines/bin/python examples/engines/nautilus.py        (./dev engines makes that environment)

Empty: a strategy that gets the same ticks and does nothing. Exit code 1 if any byte of any Signal differs from rt.run's.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from against import Replay, main
from nautilus_engine import engine_of
from nautilus_strategy import AlphaConfig, AlphaStrategy

import alpha


class Keeps(AlphaStrategy):
    replay: Replay

    def on_start(self) -> None:
        super().on_start()
        self.signals: list[alpha.Signal] = []
        self.began = time.thread_time_ns()  # loading the model is no cost per event

    def table(self) -> list[alpha.Instrument]:
        own, name = self.replay.table[0], str(self.config.instrument_ids[0])
        return [alpha.Instrument(symbol=name, tick_size=own.tick_size, lot_size=own.lot_size)]

    def on_advice(self, signal: alpha.Signal | None) -> None:
        if signal is not None:
            self.signals.append(signal)


class Empty(Keeps):
    def on_quote_tick(self, tick: Any) -> None: ...

    on_trade_tick = on_quote_tick


def run(replay: Replay, rt: alpha.Runtime | None) -> tuple[bytes, int]:
    """The strategy opens a runtime of its own, as it would anywhere; ``rt`` only says whether to ask."""
    engine, name = engine_of(replay)
    args = replay.args
    config = AlphaConfig(instrument_ids=(name,), model=args.model, registry=args.registry, received=replay.received)
    strategy = (Empty if rt is None else Keeps)(config)
    strategy.replay = replay
    engine.add_strategy(strategy)
    engine.run()
    spent = time.thread_time_ns() - strategy.began
    signals = b"".join(map(bytes, strategy.signals))
    engine.dispose()
    return signals, spent


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
