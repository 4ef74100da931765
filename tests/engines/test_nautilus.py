"""The NautilusTrader example: its strategy in a BacktestEngine gives the very Signals of ``rt.run``.

Run by ``./dev engines``; elsewhere the library is not there, and these tests are not chosen (mark peer).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from engine_examples import must_equal, recorded, signals_of_run, simulated, told

import alpha

pytest.importorskip("nautilus_trader", reason="NautilusTrader is not here: ./dev engines")
pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("default")]  # their warnings are theirs

FILES = [
    ("lobster/AMZN_20120621_L5.parquet", "AMZN"),  # equal timestamps, trades between two ticks, no receipt times
    ("binance/spot_btcusdt_20240808_l1.parquet", "BTCUSDT"),  # quotes without a time of the venue's
    ("binance/usdm_btcusdt_20240808_l1.parquet", "BTCUSDT"),  # a clock of receipt behind the venue's
]


@pytest.fixture
def example(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(project_root / "examples" / "engines"))
    monkeypatch.chdir(project_root)
    before = set(sys.modules)
    import nautilus

    yield nautilus
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(project_root / "examples")):
            del sys.modules[name]


def replay_of(events: Any, table: alpha.Instruments) -> Any:
    from against import Replay, parser

    return Replay(events, table, "test", parser("").parse_args([]))


def test_the_signals_of_run(project_root: Path) -> None:
    must_equal(
        told(project_root, "nautilus", "--simulated", "--events", "5000"),
        signals_of_run(project_root, *simulated(5000)),
    )


@pytest.mark.real_data
@pytest.mark.parametrize(("file", "symbol"), FILES)
def test_the_signals_of_run_on_real_events(project_root: Path, data_dir: Path, file: str, symbol: str) -> None:
    path = data_dir / file
    found = told(project_root, "nautilus", "--data", str(path), "--instrument", symbol, "--events", "20000")
    must_equal(found, signals_of_run(project_root, *recorded(path, symbol, 20_000)))


@pytest.mark.real_data
def test_raw_is_exact_and_as_double_is_not(example: ModuleType, data_dir: Path) -> None:
    """Why the strategy divides: as_double() changes prices, and with them Signals."""
    from nautilus_engine import pair_of
    from nautilus_ticks import numbers, ticks_of

    events, table = recorded(data_dir / FILES[2][0], "BTCUSDT", 3_000)
    ticks = ticks_of(events, pair_of(table.symbols[0], events))
    quotes = [(t, e) for t, e in zip(ticks, events, strict=True) if e["kind"] == alpha.Kind.QUOTE]
    assert all(numbers(t) == e["v"][:4].tolist() for t, e in quotes)
    off = sum(t.bid_price.as_double() != e["v"][0] for t, e in quotes)
    assert off > len(quotes) // 10
    changed = events.copy()
    at = np.flatnonzero(events["kind"] == alpha.Kind.QUOTE)
    changed["v"][at, 0] = [t.bid_price.as_double() for t, _ in quotes]
    with replay_of(events, table).runtime() as one, replay_of(events, table).runtime() as other:
        assert one.run(events).tobytes() != other.run(changed).tobytes()


@pytest.mark.real_data
def test_too_few_decimals_are_refused(example: ModuleType, data_dir: Path) -> None:
    """AMZN's hidden trades lie between two cents."""
    from nautilus_engine import pair_of
    from nautilus_ticks import ticks_of

    events, _ = recorded(data_dir / FILES[0][0], "AMZN", 20_000)
    coarse = pair_of("AMZN", events[events["kind"] == alpha.Kind.QUOTE])
    with pytest.raises(alpha.AlphaError, match="declare an instrument with more decimals"):
        ticks_of(events, coarse)


@pytest.mark.real_data
def test_quotes_and_trades_belong_into_one_list(example: ModuleType, data_dir: Path) -> None:
    """Events of equal times keep their order only there: added one after the other, trades come behind all quotes."""
    from nautilus_engine import engine_of

    events, table = recorded(data_dir / FILES[0][0], "AMZN", 20_000)
    engine, _ = engine_of(replay_of(events, table))
    kinds = [type(t).__name__ for t in engine.data]
    engine.dispose()
    assert kinds == ["QuoteTick" if k == alpha.Kind.QUOTE else "TradeTick" for k in events["kind"]]
    quotes_first = np.concatenate([events[events["kind"] == k] for k in (alpha.Kind.QUOTE, alpha.Kind.TRADE)])
    apart = quotes_first[np.argsort(quotes_first["ts_event_ns"], kind="stable")]
    with replay_of(events, table).runtime() as one, replay_of(events, table).runtime() as other:
        assert one.run(events).tobytes() != other.run(apart).tobytes()


def strategy_over(example: ModuleType, replay: Any, **saved: bytes) -> Any:
    from nautilus_engine import engine_of

    engine, name = engine_of(replay)
    config = example.AlphaConfig(instrument_ids=(name,), received=replay.received)
    strategy = example.Keeps(config)
    strategy.replay = replay
    if saved:
        strategy.on_load(saved)
    engine.add_strategy(strategy)
    engine.run()
    return engine, strategy


def test_a_saved_strategy_goes_on(example: ModuleType, project_root: Path) -> None:
    events, table = simulated(4000)
    first, before = strategy_over(example, replay_of(events[:2500], table))
    saved = before.on_save()
    got = b"".join(map(bytes, before.signals))
    first.dispose()
    second, after = strategy_over(example, replay_of(events[2500:], table), **saved)
    got += b"".join(map(bytes, after.signals))
    second.dispose()
    assert got == signals_of_run(project_root, events, table).tobytes()


def test_a_second_run_of_the_engine_starts_anew(example: ModuleType, project_root: Path) -> None:
    events, table = simulated(3000)
    engine, strategy = strategy_over(example, replay_of(events, table))
    expected = signals_of_run(project_root, events, table).tobytes()
    assert b"".join(map(bytes, strategy.signals)) == expected
    engine.reset()
    engine.run()
    assert b"".join(map(bytes, strategy.signals)) == expected
    engine.dispose()
    with pytest.raises(alpha.errors.StateError):
        strategy.rt.on_time(1)  # disposing of the engine closed the runtime
