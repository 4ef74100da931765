"""The plain way: for event in feed, one call each, no engine at all.

    python examples/engines/loop.py

Exit code 1 if any byte of any Signal differs from those of rt.run over the same events.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from against import Replay, main

import alpha

Tick = tuple[bool, int, int, int, float, float, float, float, float]


def feed(replay: Replay) -> list[Tick]:
    """What a socket library would hand you: plain numbers."""
    e = replay.events
    quote = e["kind"] == alpha.Kind.QUOTE
    columns = (quote, e["ts_event_ns"], e["ts_recv_ns"], e["flags"], *e["v"].T)
    return list(zip(*(c.tolist() for c in columns), strict=True))


def decide(ticks: list[Tick], instrument: Any) -> list[alpha.Signal]:
    signals = []
    on_quote, on_trade = instrument.on_quote, instrument.on_trade
    for is_quote, ts_ns, recv_ns, flags, a, b, c, d, seq in ticks:
        if is_quote:
            signal = on_quote(ts_ns, a, b, c, d, ts_recv_ns=recv_ns, venue_seq=seq, flags=flags)
        else:
            signal = on_trade(ts_ns, a, b, c, ts_recv_ns=recv_ns, venue_seq=seq, flags=flags)
        if signal is not None:
            signals.append(signal)  # here your strategy would act on it
    return signals


def run(replay: Replay, rt: alpha.Runtime | None) -> tuple[bytes, int]:
    ticks = feed(replay)
    start = time.thread_time_ns()
    if rt is None:
        for _is_quote, _ts_ns, _recv_ns, _flags, _a, _b, _c, _d, _seq in ticks:
            pass
        return b"", time.thread_time_ns() - start
    signals = decide(ticks, rt.instrument(replay.symbol))
    spent = time.thread_time_ns() - start
    return b"".join(map(bytes, signals)), spent


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
