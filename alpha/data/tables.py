"""Tables to events: generic columns, L1 files and bars, from Parquet, CSV or DataFrames. Floor 2.

Canonical columns: ``ts`` (exchange time), ``ts_recv``, ``kind``, ``bid_px ask_px bid_qty ask_qty``, ``px qty side``,
``seq``, ``open high low close volume``, ``symbol``. A missing price becomes a NaN event, which the guard
rejects and counts; a row that cannot be an event at all is a bad row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.data.build import BadRows, Events, blank, set_times, to_ns, weave
from alpha.data.text import LINE
from alpha.errors import DataError, need
from alpha.events import Flag, Kind

CANONICAL = (
    "ts", "ts_recv", "kind", "bid_px", "ask_px", "bid_qty", "ask_qty", "px", "qty", "side", "seq",
    "open", "high", "low", "close", "volume", "symbol",
)  # fmt: skip
_TEXT = ("ts", "ts_recv", "symbol", "kind", LINE)
L1 = {
    "bid": "bid_px",
    "ask": "ask_px",
    "bid_size": "bid_qty",
    "ask_size": "ask_qty",
    "last": "px",
    "last_size": "qty",
    "id": "seq",
}
_KIND_NAMES = {"quote": 1, "q": 1, "1": 1, "trade": 2, "t": 2, "2": 2, "bar": 3, "b": 3, "3": 3}


@dataclass
class Options:
    """What the caller declared about a source; see :func:`alpha.data.open_events`."""

    columns: dict[str, str] = field(default_factory=dict)
    ts_unit: str | None = None
    tz: str | None = None
    bar_stamp: str | None = None
    bar_ns: int | None = None  # None: what the instrument says
    levels: int = 1
    chunk: int = 262_144


@dataclass
class File:
    """One source being read: where it is, who it is about, and what went wrong in it."""

    name: str
    options: Options
    bad: BadRows
    instrument_id: Callable[[str | None], int]  # symbol in the data (None: the file's own) -> id
    bar_stamp: str | None
    bar_ns: int
    on_rows: Callable[[int], None]


def parquet_frames(path: Path, chunk: int) -> Iterator[Any]:
    """A Parquet file as polars frames of at most ``chunk`` rows."""
    pl, pq = need("polars", "data"), need("pyarrow.parquet", "data")
    try:
        # no pre-buffering: memory must not grow with the size of a row group
        file = pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    except Exception as exc:
        raise DataError(f"{path} is not a readable Parquet file: {_first_line(exc)}") from None
    if file.metadata.num_rows == 0:
        yield pl.from_arrow(file.schema_arrow.empty_table())
    for batch in file.iter_batches(batch_size=chunk):
        yield pl.from_arrow(batch)


def _first_line(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]


def layout(columns: list[str], declared: dict[str, str]) -> str:
    """Which reader a table needs, by its columns; DataError lists what was found and what is understood."""
    have = set(columns)
    if declared:
        missing = sorted(set(declared.values()) - have)
        unknown = sorted(set(declared) - set(CANONICAL))
        if unknown:
            raise DataError(f"columns= maps unknown name {unknown[0]!r}; names are: {', '.join(CANONICAL)}")
        if missing:
            raise DataError(f"column {missing[0]!r} is not in the data; it has: {', '.join(columns)}")
        have = (have - set(declared.values())) | set(declared)
    if not declared and {"bid_px_0", "ask_px_0", "event_type"} <= have:
        return "lobster"
    if not declared and {"ts", "snapshot", "first_u", "last_u", "side", "px", "qty"} <= have:
        return "depth"
    if not declared and {"ts", "kind", "bid", "ask"} <= have:
        return "l1"
    quotes, trades, bars = {"bid_px", "ask_px"} <= have, "px" in have, {"open", "high", "low", "close"} <= have
    if ("ts" in have or "ts_recv" in have) and (quotes or trades or bars):
        return "generic"
    raise DataError(
        f"these columns are not understood: {', '.join(columns[:30])}. "
        "Expected ts and bid_px, ask_px (quotes), or px (trades), "
        "or open, high, low, close (bars): map them with columns={'ts': 'time', 'bid_px': 'b', ...}"
    )


def table_events(frames: Iterator[Any], file: File, kind_of_layout: str) -> Iterator[Events]:
    """Events of successive frames of one table in the generic or L1 layout."""
    row = 0
    for frame in frames:
        if kind_of_layout == "l1":
            names = {old: new for old, new in L1.items() if old in frame.columns}
            if "ts_exch" in frame.columns:  # then ts is the local receive time
                names.update({"ts": "ts_recv", "ts_exch": "ts"})
            frame = frame.drop([c for c in ("seq",) if c in frame.columns and "id" in frame.columns]).rename(names)
        else:
            names = {old: new for new, old in file.options.columns.items()}
            frame = frame.drop([new for old, new in names.items() if old != new and new in frame.columns]).rename(names)
        line = frame[LINE].to_numpy() if LINE in frame.columns else np.arange(row + 1, row + len(frame) + 1)
        frame = frame.select([c for c in frame.columns if c in CANONICAL])
        yield _events(frame, file, line)
        row += len(frame)
        file.on_rows(len(frame))


def _numbers(frame: Any, n: int) -> tuple[Any, npt.NDArray[np.bool_]]:
    """Text columns as numbers; True where something was written that is no number."""
    pl = need("polars", "data")
    broken = np.zeros(n, np.bool_)
    for name in frame.columns:
        if frame[name].dtype != pl.String or name in _TEXT:
            continue
        text = frame[name].str.strip_chars()
        numbers = text.cast(pl.Float64, strict=False)
        broken |= (numbers.is_null() & text.is_not_null() & (text != "")).to_numpy()
        frame = frame.with_columns(numbers.alias(name))
    return frame, broken


def _floats(frame: Any, name: str, at: npt.NDArray[np.int64], missing: float = np.nan) -> npt.NDArray[np.float64]:
    if name not in frame.columns:
        return np.full(len(at), missing)
    pl = need("polars", "data")
    return np.asarray(frame[name].cast(pl.Float64, strict=False).fill_null(missing).to_numpy(), dtype=np.float64)[at]


def _kinds(frame: Any, n: int) -> list[tuple[int, npt.NDArray[np.bool_]]]:
    """(kind, rows of that kind); a row with a trade and a quote is both, trade first."""
    pl = need("polars", "data")
    if "kind" in frame.columns:
        column = frame["kind"]
        if column.dtype == pl.String:
            names = column.str.strip_chars().str.to_lowercase()
            column = names.replace_strict(_KIND_NAMES, default=0, return_dtype=pl.Int64)
        kinds = column.cast(pl.Int64, strict=False).fill_null(0).to_numpy()
        return [(k, kinds == k) for k in (2, 1, 3)]
    out = []
    for kind, name in ((2, "px"), (1, "bid_px"), (3, "open")):
        if name in frame.columns:
            alone = sum(c in frame.columns for c in ("px", "bid_px", "open")) == 1
            present = np.ones(n, np.bool_) if alone else frame[name].is_not_null().to_numpy()
            out.append((kind, present))
    return out


def _events(frame: Any, file: File, line: npt.NDArray[np.int64]) -> Events:
    n = len(frame)
    unit = file.options.ts_unit
    frame, broken = _numbers(frame, n)
    ts = to_ns(frame["ts"], "ts", unit, file.options.tz) if "ts" in frame.columns else None
    recv = to_ns(frame["ts_recv"], "ts_recv", unit, file.options.tz) if "ts_recv" in frame.columns else None
    timeless = np.ones(n, np.bool_)
    for times in (ts, recv):
        if times is not None:
            timeless &= times == 0
    kinds = _kinds(frame, n)
    known = np.zeros(n, np.bool_)
    for _, rows in kinds:
        known |= rows
    file.bad.add("unparsable", file.name, line[broken])
    file.bad.add("bad_time", file.name, line[timeless & ~broken])
    file.bad.add("unknown_kind", file.name, line[~known & ~timeless & ~broken])
    good = ~broken & ~timeless
    ids = _ids(frame, file, n)
    parts = []
    for rank, (kind, rows) in enumerate(kinds):
        at = np.flatnonzero(rows & good)
        if len(at) == 0:
            continue
        e = blank(len(at), Kind(kind), ids[at])
        set_times(e, None if ts is None else ts[at], None if recv is None else recv[at])
        _fill(e, kind, frame, at, file)
        parts.append((at, rank, e))
    return weave(parts)


def _ids(frame: Any, file: File, n: int) -> npt.NDArray[np.uint32]:
    if "symbol" not in frame.columns:
        return np.full(n, file.instrument_id(None), np.uint32)
    pl = need("polars", "data")
    symbols = frame["symbol"].cast(pl.String).fill_null("")
    ids = {s: file.instrument_id(s or None) for s in symbols.unique(maintain_order=True)}
    return np.asarray(symbols.replace_strict(ids, return_dtype=pl.UInt32).to_numpy(), dtype=np.uint32)


def _fill(e: Events, kind: int, frame: Any, at: npt.NDArray[np.int64], file: File) -> None:
    """The values of quotes, trades or bars at rows ``at``."""
    v = e["v"]
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    if kind == Kind.QUOTE:
        names, sizes = ("bid_px", "ask_px", "bid_qty", "ask_qty"), (2, 3)
    elif kind == Kind.TRADE:
        names, sizes = ("px", "qty"), (1,)
        v[:, 2] = _floats(frame, "side", at, 0.0)
    else:
        names, sizes = ("open", "high", "low", "close", "volume"), (4,)
        if file.bar_stamp is None:
            raise DataError(
                f"{file.name}: say whether its bars are stamped at their start or their close: "
                "bar_stamp='start' or 'close' "
                "(command line: --bar-stamp; instruments.toml: bar_stamp)"
            )
        if file.bar_stamp == "start":
            e["ts_event_ns"] += file.bar_ns
            e["ts_recv_ns"][e["ts_recv_ns"] != 0] += file.bar_ns
    for i, name in enumerate(names):
        v[:, i] = _floats(frame, name, at)
    unsized = np.any(np.isnan(v[:, sizes]), axis=1)
    e["flags"][unsized] |= np.uint16(Flag.NO_QTY)
    if kind != Kind.BAR:
        v[:, 4] = _floats(frame, "seq", at, 0.0)
