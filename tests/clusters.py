"""Tasks for the tests of alpha.distribution: a worker imports them by this module's name."""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from alpha.data.simulate import simulate
from alpha.errors import AlphaWarning, DataError
from alpha.events import Kind


def pid(_: Any) -> int:
    """Which process."""
    return os.getpid()


def square(x: int) -> int:
    """One that raises for 13 and complains of 7."""
    if x == 13:
        raise DataError("thirteen is not a number of ours")
    if x % 7 == 0:
        warnings.warn("seven", AlphaWarning, stacklevel=1)
    return x * x


def add(item: int, state: int | None) -> tuple[int, int]:
    """A running sum."""
    total = (state or 0) + item
    return total, total


def dies_once(item: tuple[str, int]) -> int:
    """The process that is given 3 first is killed, as the system kills it."""
    folder, x = item
    mark = Path(folder) / "killed"
    if x == 3:
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return x
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def sum_dies_once(item: tuple[str, int], state: int | None) -> tuple[int, int]:
    """A running sum whose process is killed at 5."""
    folder, x = item
    mark = Path(folder) / "killed"
    if x == 5 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return add(x, state)


def always_dies(_: Any) -> None:
    """Whoever has it."""
    os.kill(os.getpid(), signal.SIGKILL)


def tick_file(path: Path, n: int, days: int, seed: int = 4) -> Path:
    """Simulated quotes and trades of one instrument over so many days, as a Parquet file."""
    e = simulate(n, seed=seed, levels=1).events
    ts = e["ts_recv_ns"] + np.arange(n) * days // n * 86_400 * 10**9
    quote, v = e["kind"] == Kind.QUOTE, e["v"]
    columns = {"bid": 0, "ask": 1, "bid_size": 2, "ask_size": 3}
    table = {"ts": ts, "kind": e["kind"], "side": np.where(quote, 0, v[:, 2]).astype(np.int8)}
    table |= {name: np.where(quote, v[:, k], np.nan) for name, k in columns.items()}
    table |= {name: np.where(quote, np.nan, v[:, k]) for name, k in {"last": 0, "last_size": 1}.items()}
    pl.DataFrame(table).with_columns(pl.col(*columns, "last", "last_size").fill_nan(None)).write_parquet(path)
    return path
