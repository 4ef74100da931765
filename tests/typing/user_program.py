"""What a user writes against the public names, under ``mypy --strict``. It is checked, never run.

Where a line is wrong on purpose it says which error it expects: ``warn_unused_ignores`` (part of strict)
fails when the package becomes so loosely typed that the mistake passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import assert_type

import numpy as np
import numpy.typing as npt

import alpha
from alpha.errors import DataError, need

Quote = tuple[int, float, float, float, float]


def embed(feed: Iterable[Quote]) -> Iterator[tuple[alpha.Action, float]]:
    with alpha.Runtime.from_registry("registry.json", "models:/demo@production", instruments=["BTCUSDT"]) as rt:
        assert_type(rt, alpha.Runtime)
        btc = rt.instrument("BTCUSDT")
        for ts_ns, bid_px, ask_px, bid_qty, ask_qty in feed:
            signal = btc.on_quote(ts_ns, bid_px, ask_px, bid_qty, ask_qty)
            assert_type(signal, alpha.Signal | None)
            signal.action  # type: ignore[union-attr]  # None: nothing triggered
            if signal is not None and signal.action != alpha.Action.HOLD:
                assert_type(signal.scores, tuple[float, ...])
                assert_type(signal.reason, alpha.Reason)
                signal.action = alpha.Action.BUY  # type: ignore[misc]  # a Signal never changes
                yield signal.action, signal.confidence
        btc.on_quote("now", 1.0, 2.0, 3.0, 4.0)  # type: ignore[arg-type]
        btc.on_quote(1, 1.0, 2.0, 3.0)  # type: ignore[call-arg]
        btc.on_trade(1, 100.0, 2.0, side=1.0, flags=int(alpha.Flag.LAST))
        rt.buy("BTCUSDT")  # type: ignore[attr-defined]  # advisory only: there is no such door


def batch(path: Path) -> npt.NDArray[np.float32] | None:
    source = alpha.open_events(path, instruments=alpha.Instruments.of(alpha.Instrument(symbol="AAPL", tick_size=0.01)))
    assert_type(source, alpha.EventSource)
    features = alpha.FeatureSet.from_dict({"trigger": "quote", "features": {"spread": "spread"}}, name="mine")
    assert_type(features.definition_hash, str)
    alpha.FeatureSet.from_dict("spread")  # type: ignore[arg-type]
    alpha.Instrument(symbol="AAPL", tick_size="0.01")  # type: ignore[arg-type]
    with alpha.Runtime.from_features(features, instruments=["AAPL"]) as rt:
        signals = rt.run(source)
        hold: int = int((signals["action"] == alpha.Action.HOLD).sum())
        print(hold, rt.stats()["reasons"])
        return rt.feature_vector("AAPL")


def express() -> str:
    f = alpha.f
    # a name of `f` is a value or a builder, and its type does not say which: a checker refuses both uses
    slope = (f.mid - f.lag(f.mid, 10)) / f.spread
    return str(slope)


def worker(rt: alpha.Runtime) -> int:
    with rt.start(cpu=1, capacity=1024) as live:
        live.push_quote(0, 1, 99.0, 101.0, 1.0, 1.0)
        signal = live.poll(max_age_ns=1_000_000)
        assert_type(signal, alpha.Signal | None)
        rt.start(cpu="1")  # type: ignore[arg-type]
        return live.processed


def mistakes() -> str:
    try:
        need("polars", "data")
    except alpha.AlphaError as exc:
        return str(exc)
    except DataError:
        raise
    assert_type(alpha.EVENT_DTYPE.itemsize, int)
    return str(alpha.Kind.QUOTE.name)
