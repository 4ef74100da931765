"""The runtime as two C functions that compiled code calls: numba does not leave its loop for them.

Each makes one call of Python, so the GIL is held while it runs; what it raises would be printed and lost, but a runtime
answers HOLD with a reason instead. They return the action: -1, 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import CFUNCTYPE, c_double, c_int64
from typing import Any

import alpha

QUOTE = CFUNCTYPE(c_int64, c_int64, c_int64, c_double, c_double, c_double, c_double)
TRADE = CFUNCTYPE(c_int64, c_int64, c_int64, c_double, c_double, c_double)
FLAGS = (int(alpha.Flag.LAST), int(alpha.Flag.LAST | alpha.Flag.NO_TS_EVENT))  # equal times: the venue sent none


def functions(own: Any, on_advice: Callable[[alpha.Signal], object]) -> tuple[Any, Any]:
    """(on_quote, on_trade) of one instrument's handle; keep them as long as the loop runs. Both take the exchange's time and
    that of receipt, 0 where the data have none."""

    def told(signal: alpha.Signal | None) -> int:
        if signal is None:
            return 0
        on_advice(signal)
        return int(signal.action)

    @QUOTE
    def on_quote(exch_ns: int, recv_ns: int, bid_px: float, ask_px: float, bid_qty: float, ask_qty: float) -> int:
        return told(own.on_quote(exch_ns, bid_px, ask_px, bid_qty, ask_qty, recv_ns, 0.0, FLAGS[recv_ns == exch_ns]))

    @TRADE
    def on_trade(exch_ns: int, recv_ns: int, px: float, qty: float, side: float) -> int:
        return told(own.on_trade(exch_ns, px, qty, side, recv_ns, 0.0, FLAGS[recv_ns == exch_ns]))

    return on_quote, on_trade
