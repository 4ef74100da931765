"""LOBSTER: message and order book files of one ticker and day, as the original zip or as Parquet. Floor 2.

A row is a message and the book after it. A row that is no execution becomes the deeper levels that
changed (DEPTH), then a QUOTE. An execution (type 4 visible, 5 hidden) becomes a TRADE by the
aggressor, opposite to the resting order, then what changed in the book. Type 7 is a halt, a resume of
quoting or a resume of trading.
"""

from __future__ import annotations

import datetime as dt
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from alpha.data.build import Events, blank, weave
from alpha.data.tables import File
from alpha.errors import DataError, need
from alpha.events import Flag, Kind, Status

_MESSAGE = re.compile(r"([^/]*)_(\d{4})-(\d{2})-(\d{2})_\d+_\d+_message_(\d+)\.csv$")
_DUMMY = 9_999_999_999
_ROWS = 65_536


def zip_frames(path: Path) -> Iterator[Any]:
    """The two CSV files of a LOBSTER zip, joined, as frames in the columns of :func:`lobster_events`."""
    pl, csv, pa = need("polars", "data"), need("pyarrow.csv", "data"), need("pyarrow", "data")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as exc:
        raise DataError(f"{path} is not a readable zip file: {exc}") from None
    with archive:
        found = [m for n in archive.namelist() if (m := _MESSAGE.search(n))]
        if len(found) != 1:
            raise DataError(
                f"{path} must hold one LOBSTER message file named TICKER_DATE_START_END_message_LEVEL.csv; it holds {archive.namelist()}"
            )
        match = found[0]
        levels = int(match[5])
        book_name = match.string.replace("_message_", "_orderbook_")
        if book_name not in archive.namelist():
            raise DataError(f"{path} holds {match.string} without its {book_name}")
        midnight = _midnight_ns(*(int(match[i]) for i in (2, 3, 4)))
        book_columns = [
            f"{s}_{k}_{i}"
            for i in range(levels)
            for s, k in (("ask", "px"), ("ask", "sz"), ("bid", "px"), ("bid", "sz"))
        ]
        message_columns = ["time", "event_type", "order_id", "event_size", "event_px", "order_dir"]
        with archive.open(match.string) as messages, archive.open(book_name) as books:
            streams = []
            for handle, names, types in (
                (messages, message_columns, {n: pa.int64() for n in message_columns[1:]} | {"time": pa.string()}),
                (books, book_columns, {n: pa.int64() for n in book_columns}),
            ):
                reader = csv.open_csv(
                    handle,
                    read_options=csv.ReadOptions(column_names=names, use_threads=False),
                    convert_options=csv.ConvertOptions(column_types=types),
                )
                streams.append(_slices(pl, reader, _ROWS))
            try:
                for message, book in zip(*streams, strict=True):
                    if len(message) != len(book):
                        raise ValueError
                    yield _frame(pl, message, book, midnight)
            except (ValueError, pa.ArrowInvalid) as exc:
                raise DataError(f"{path}: message and order book files do not match: {exc}") from None


def _slices(pl: Any, reader: Any, rows: int) -> Iterator[Any]:
    """Frames of exactly ``rows`` rows (the last one shorter), so that both files advance in step."""
    held = None
    for batch in reader:
        frame = pl.from_arrow(batch)
        held = frame if held is None else pl.concat([held, frame])
        while len(held) >= rows:
            yield held[:rows]
            held = held[rows:]
    if held is not None and len(held):
        yield held


def _midnight_ns(year: int, month: int, day: int) -> int:
    midnight = dt.datetime(year, month, day, tzinfo=ZoneInfo("America/New_York"))
    return int(midnight.timestamp()) * 10**9


def _frame(pl: Any, message: Any, book: Any, midnight: int) -> Any:
    """Integer prices of 1e-4 $ and text seconds after midnight, exactly."""
    parts = message["time"].str.split_exact(".", 1).struct.unnest()
    nanos = parts["field_1"].fill_null("").str.slice(0, 9).str.pad_end(9, "0").cast(pl.Int64)
    ts = parts["field_0"].cast(pl.Int64) * 10**9 + nanos + midnight
    prices = [
        pl.when(pl.col(c).abs() == _DUMMY).then(None).otherwise(pl.col(c) / 10_000).alias(c)
        for c in book.columns
        if "_px_" in c
    ]
    frame = book.with_columns(prices)
    kind = pl.Series("kind", np.where(message["event_type"].is_in([4, 5]).to_numpy(), 2, 1).astype(np.uint8))
    return frame.with_columns(
        ts.alias("ts"),
        kind,
        message["event_type"],
        (message["event_px"] / 10_000).alias("last"),
        message["event_size"].cast(pl.Float64).alias("last_size"),
        (-message["order_dir"]).alias("side"),
    )


def lobster_events(frames: Iterator[Any], file: File) -> Iterator[Events]:
    """Events of frames with ts, kind, event_type, last, last_size, side and bid_px_i bid_sz_i ask_px_i ask_sz_i."""
    pl = need("polars", "data")
    before: npt.NDArray[np.float64] | None = None
    row = 0
    for frame in frames:
        have = sum(1 for c in frame.columns if c.startswith("bid_px_"))
        levels = min(file.options.levels, have)
        if levels < file.options.levels:
            raise DataError(f"{file.name} has {have} levels, {file.options.levels} were asked for")
        names = [f"{s}_{k}_{i}" for i in range(levels) for k in ("px", "sz") for s in ("bid", "ask")]
        book = frame.select([pl.col(c).cast(pl.Float64) for c in names]).to_numpy().reshape(len(frame), levels, 4)
        empty = ~np.isfinite(book[:, :, :2]) | (book[:, :, :2] <= 0) | (np.abs(book[:, :, :2]) >= 99_999)
        book[:, :, :2][empty] = 0.0
        book[:, :, 2:][empty] = 0.0
        yield _rows(frame, book, before, file, row)
        if len(book):
            before = book[-1]
        row += len(frame)
        file.on_rows(len(frame))


def _rows(frame: Any, book: Any, before: Any, file: File, first_row: int) -> Events:
    levels = book.shape[1]
    ts = frame["ts"].to_numpy().astype(np.int64)
    kind, what = frame["kind"].to_numpy(), frame["event_type"].to_numpy()
    previous = np.concatenate([book[:1] * np.nan if before is None else before[None], book[:-1]])
    changed = np.any(book != previous, axis=2)
    instrument = file.instrument_id(None)
    trade, halt = kind == 2, what == 7
    one_sided = np.any(book[:, 0, :2] == 0.0, axis=1) & ~halt
    quote = ~halt & ~one_sided & (~trade | changed[:, 0])
    file.bad.add("empty_side", file.name, first_row + 1 + np.flatnonzero(one_sided & ~(trade & ~changed[:, 0])))
    parts = []
    at = np.flatnonzero(trade)
    e = blank(len(at), Kind.TRADE, instrument)
    e["v"][:, 0] = frame["last"].to_numpy()[at]
    e["v"][:, 1] = frame["last_size"].to_numpy()[at]
    e["v"][:, 2] = frame["side"].to_numpy()[at]
    parts.append((at, 0, e))
    for level in range(levels - 1, 0, -1):
        at = np.flatnonzero(changed[:, level] & ~halt)
        e = blank(len(at), Kind.DEPTH, instrument)
        e["level"], e["v"][:, :4] = level, book[at, level]
        parts.append((at, levels - level, e))
    at = np.flatnonzero(quote)
    e = blank(len(at), Kind.QUOTE, instrument)
    e["v"][:, :4] = book[at, 0]
    parts.append((at, levels, e))
    at = np.flatnonzero(halt)
    e = blank(len(at), Kind.STATUS, instrument)
    sign = np.sign(frame["last"].to_numpy()[at]) if len(at) else np.zeros(0)
    e["v"][:, 0] = np.select([sign < 0, sign == 0], [Status.HALT, Status.AUCTION], Status.RESUME)
    parts.append((at, levels + 1, e))
    rows = np.concatenate([p[0] for p in parts])
    out = weave(parts)
    rows.sort()
    out["ts_event_ns"] = ts[rows]
    last = np.append(rows[1:] != rows[:-1], True) if len(rows) else np.zeros(0, np.bool_)
    out["flags"] = np.where(last, int(Flag.LAST), 0).astype(np.uint16)
    return out
