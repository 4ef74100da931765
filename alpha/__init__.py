"""alpha: machine-learned trading signals with microsecond latency, from Python.

>>> import alpha
>>> with alpha.Runtime.from_registry("registry.json", "models:/demo@production",
...                                  instruments=["BTCUSDT"]) as rt:  # doctest: +SKIP
...     btc = rt.instrument("BTCUSDT")
...     signal = btc.on_quote(ts_ns, bid_px, ask_px, bid_qty, ask_qty)

Advisory only: nothing here sends an order.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# From 1.29 on ONNX Runtime reports its use over the network from a thread of its own, unless this is set before it is loaded.
# A trading process does not do that by accident: whoever wants it sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# public name -> module that defines it; loaded on first use, so that `import alpha` stays cheap
_PUBLIC = {
    "Action": "alpha.events",
    "AlphaError": "alpha.errors",
    "AlphaWarning": "alpha.errors",
    "Control": "alpha.events",
    "Desk": "alpha.desk",
    "EVENT_DTYPE": "alpha.events",
    "Ensemble": "alpha.desk",
    "EventSource": "alpha.data",
    "FeatureSet": "alpha.features.feature_set",
    "Flag": "alpha.events",
    "Instrument": "alpha.instruments",
    "Instruments": "alpha.instruments",
    "KillLatch": "alpha.risk.kill",
    "Kind": "alpha.events",
    "Model": "alpha.desk",
    "Reason": "alpha.events",
    "Ring": "alpha._core.ring",
    "Runtime": "alpha.runtime",
    "SIGNAL_DTYPE": "alpha.events",
    "Signal": "alpha._core.signal",
    "SignalFlag": "alpha.events",
    "Split": "alpha.desk",
    "Status": "alpha.events",
    "f": "alpha.features.language",
    "features_of": "alpha.features.frames",
    "open_events": "alpha.data",
    "ring_bytes": "alpha._core.ring",
}

if TYPE_CHECKING:
    from alpha._core.ring import Ring, ring_bytes
    from alpha._core.signal import Signal
    from alpha.data import EventSource, open_events
    from alpha.desk import Desk, Ensemble, Model, Split
    from alpha.errors import AlphaError, AlphaWarning
    from alpha.events import EVENT_DTYPE, SIGNAL_DTYPE, Action, Control, Flag, Kind, Reason, SignalFlag, Status
    from alpha.features.feature_set import FeatureSet
    from alpha.features.frames import features_of
    from alpha.features.language import f
    from alpha.instruments import Instrument, Instruments
    from alpha.risk.kill import KillLatch
    from alpha.runtime import Runtime

__all__ = [
    "EVENT_DTYPE",
    "SIGNAL_DTYPE",
    "Action",
    "AlphaError",
    "AlphaWarning",
    "Control",
    "Desk",
    "Ensemble",
    "EventSource",
    "FeatureSet",
    "Flag",
    "Instrument",
    "Instruments",
    "KillLatch",
    "Kind",
    "Model",
    "Reason",
    "Ring",
    "Runtime",
    "Signal",
    "SignalFlag",
    "Split",
    "Status",
    "__version__",
    "f",
    "features_of",
    "open_events",
    "ring_bytes",
]


if not TYPE_CHECKING:  # a type checker knows the names above, and only those

    def __getattr__(name: str) -> Any:
        if name in _PUBLIC:
            value = getattr(importlib.import_module(_PUBLIC[name]), name)
            globals()[name] = value
            return value
        raise AttributeError(f"module 'alpha' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
