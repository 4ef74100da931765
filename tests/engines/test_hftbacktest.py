"""The hftbacktest example: its compiled loop gives the very Signals of ``rt.run``.

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

pytest.importorskip("hftbacktest", reason="hftbacktest is not here: ./dev engines")
pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("default")]  # their warnings are theirs

FILES = [
    ("lobster/AMZN_20120621_L5.parquet", "AMZN", 0),  # a whole day
    ("binance/spot_btcusdt_20240808_l1.parquet", "BTCUSDT", 20_000),
    ("binance/usdm_btcusdt_20240808_l1.parquet", "BTCUSDT", 20_000),
]


@pytest.fixture
def example(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(project_root / "examples" / "engines"))
    before = set(sys.modules)
    import hftbacktest_events

    yield hftbacktest_events
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(project_root / "examples")):
            del sys.modules[name]


def replay_of(events: Any, table: alpha.Instruments) -> Any:
    from against import Replay, parser

    return Replay(events, table, "test", parser("").parse_args([]))


def test_the_signals_of_run(project_root: Path) -> None:
    found = told(project_root, "hftbacktest_loop", "--simulated", "--events", "5000")
    must_equal(found, signals_of_run(project_root, *simulated(5000)))


@pytest.mark.real_data
@pytest.mark.parametrize(("file", "symbol", "n"), FILES)
def test_the_signals_of_run_on_real_events(project_root: Path, data_dir: Path, file: str, symbol: str, n: int) -> None:
    path = data_dir / file
    found = told(project_root, "hftbacktest_loop", "--data", str(path), "--instrument", symbol, "--events", str(n))
    must_equal(found, signals_of_run(project_root, *recorded(path, symbol, n)))


def test_rows_hold_the_numbers_of_the_events(example: ModuleType) -> None:
    """Every price, size, time and side stands in the rows as it stood in the events, and only old levels leave the book."""
    from hftbacktest import BUY_EVENT, DEPTH_EVENT, SELL_EVENT, TRADE_EVENT

    events, _ = simulated(500)
    rows = example.rows_of(events, events["ts_event_ns"])[:-1]
    kind = rows["ev"] & np.uint64(0xFF)
    trades = events[events["kind"] == alpha.Kind.TRADE]
    of = rows[kind == TRADE_EVENT]
    side = np.where(of["ev"] & np.uint64(BUY_EVENT), 1.0, np.where(of["ev"] & np.uint64(SELL_EVENT), -1.0, 0.0))
    assert [of["exch_ts"].tolist(), of["px"].tolist(), of["qty"].tolist(), side.tolist()] == [
        trades["ts_event_ns"].tolist(),
        *(trades["v"][:, k].tolist() for k in range(3)),
    ]
    quotes = events[events["kind"] == alpha.Kind.QUOTE]
    book: dict[int, dict[float, float]] = {BUY_EVENT: {}, SELL_EVENT: {}}
    seen = []
    for i, row in enumerate(rows):
        if kind[i] != DEPTH_EVENT:
            continue
        side_of = BUY_EVENT if int(row["ev"]) & BUY_EVENT else SELL_EVENT
        book[side_of][float(row["px"])] = float(row["qty"])
        if row["qty"] == 0:
            del book[side_of][float(row["px"])]
        elif side_of == SELL_EVENT:
            (bid, bid_qty), (ask, ask_qty) = *book[BUY_EVENT].items(), *book[SELL_EVENT].items()  # one level a side
            seen.append([bid, ask, bid_qty, ask_qty])
    assert seen == quotes["v"][:, :4].tolist()


@pytest.mark.parametrize("what", ["locked", "crossed", "no size", "decimals"])
def test_what_its_book_cannot_show_is_refused(example: ModuleType, what: str) -> None:
    events, table = simulated(200)
    events = events.copy()
    at = int(np.flatnonzero(events["kind"] == alpha.Kind.QUOTE)[20])
    if what == "locked":
        events["v"][at, 1] = events["v"][at, 0]
    elif what == "crossed":
        events["v"][at, 1] = events["v"][at, 0] - 0.01
    elif what == "no size":
        events["v"][at, 3] = 0.0
    else:
        events["v"][at, 0] /= 3
    with pytest.raises(alpha.AlphaError, match=r"locked or crossed|more than 9 decimals"):
        example.market_of(replay_of(events, table))
