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
from typing import IO, Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from alpha.data.build import Events, blank, decimal_ns, shown, weave
from alpha.data.tables import File
from alpha.data.text import LINE, Lines, parse_lines
from alpha.errors import DataError, need
from alpha.events import Flag, Kind, Status

_MESSAGE = re.compile(r"([^/]*)_(\d{4})-(\d{2})-(\d{2})_\d+_\d+_message_(\d+)\.csv$")
_DUMMY = 9_999_999_999
_ROWS = 65_536
_TRADES = (4, 5, 6)  # execution of a visible order, of a hidden one, and a cross
_CROSS = 6
_HALT = 7


def zip_frames(path: Path, file: File) -> Iterator[Any]:
    """The two CSV files of a LOBSTER zip, joined, as frames in the columns of :func:`lobster_events`."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as exc:
        raise DataError(f"{path} is not a readable zip file: {exc}") from None
    with archive:
        found = [m for n in archive.namelist() if (m := _MESSAGE.search(n))]
        if len(found) != 1:
            raise DataError(
                f"{path} must hold one LOBSTER message file named TICKER_DATE_START_END_message_LEVEL.csv; "
                f"it holds {', '.join(archive.namelist()) or 'nothing'}"
            )
        match = found[0]
        levels = int(match[5])
        book_name = match.string.replace("_message_", "_orderbook_")
        if book_name not in archive.namelist():
            raise DataError(f"{path} holds {match.string} without its {book_name}")
        midnight = _midnight_ns(*(int(match[i]) for i in (2, 3, 4)))
        book_columns = [f"{s}_{k}_{i}" for i in range(levels) for s in ("ask", "bid") for k in ("px", "sz")]
        message_columns = ["time", "event_type", "order_id", "event_size", "event_px", "order_dir"]
        with _member(archive, match.string, path) as messages, _member(archive, book_name, path) as books:
            left, right = Lines(messages, f"{path}:{match.string}"), Lines(books, f"{path}:{book_name}")
            number = 1
            while block := left.take(_ROWS):
                message, fault = parse_lines(block, message_columns, ",")
                beside = right.take(_ROWS)
                book, book_fault = parse_lines(beside, book_columns, ",") if beside else (message[:0], fault[:0])
                if len(message) != len(book):
                    shorter = number - 1 + min(len(message), len(book))
                    which = ("message", "order book") if len(message) > len(book) else ("order book", "message")
                    raise DataError(f"{path}: the {which[0]} file goes on after line {shorter} of the {which[1]} file")
                place = np.arange(number, number + len(message), dtype=np.int64)
                number += len(message)
                yield _frame(message, book, (fault, book_fault), midnight, place, file)
            if right.take(1):
                raise DataError(f"{path}: the order book file goes on after line {number - 1} of the message file")


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> IO[bytes]:
    try:
        return archive.open(name)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as exc:  # damaged, or under a password
        raise DataError(f"{path}:{name} cannot be read: {exc}") from None


def _midnight_ns(year: int, month: int, day: int) -> int:
    midnight = dt.datetime(year, month, day, tzinfo=ZoneInfo("America/New_York"))
    return int(midnight.timestamp()) * 10**9


def _frame(message: Any, book: Any, faults: tuple[Any, Any], midnight: int, line: Any, file: File) -> Any:
    """Integer prices of 1e-4 $ and text seconds after midnight, exactly; lines that cannot be read are bad rows."""
    pl = need("polars", "data")
    written = (message, book)
    seconds = decimal_ns(message["time"].str.strip_chars(), 9)
    message = message.select(pl.exclude("time").str.strip_chars().cast(pl.Int64, strict=False))
    book = book.select(pl.all().str.strip_chars().cast(pl.Int64, strict=False))
    empty = (faults[0] == 2) & (faults[1] == 2)
    missing = seconds.is_null() | message.select(pl.any_horizontal(pl.all().is_null())).to_series()
    broken = (missing | book.select(pl.any_horizontal(pl.all().is_null())).to_series()).to_numpy()

    def told(row: int) -> str:
        for frame in written:
            for name in frame.columns:
                text = frame[name][int(row - line[0])]
                plain = "" if text is None else text.strip()
                if name == "time" and decimal_ns(pl.Series([plain]), 9)[0] is None:
                    return f"time is {shown(text)}, which is no number"
                if name != "time" and pl.Series([plain]).cast(pl.Int64, strict=False)[0] is None:
                    return f"{name} is {shown(text)}, which is no whole number"
        return ""

    file.tally.add("unparsable", file.name, line[broken & ~empty], told)
    file.tally.ignore("empty_line", int(np.count_nonzero(broken & empty)))
    file.on_rows(int(np.count_nonzero(broken)))
    prices = [_dollars(book[c].set(book[c].abs() == _DUMMY, None)) for c in book.columns if "_px_" in c]
    cross = message["event_type"] == _CROSS
    return book.with_columns(
        *prices,
        (seconds + midnight).alias("ts"),
        message["event_type"],
        _dollars(message["event_px"]).alias("last"),
        message["event_size"].cast(pl.Float64).alias("last_size"),
        (-message["order_dir"]).set(cross, 0).alias("side"),
        pl.Series(LINE, line),
    ).filter(pl.Series(~broken))


def _dollars(prices: Any) -> Any:
    """Correctly rounded: polars multiplies by 1/10000 instead, which is off by a bit in a third of the prices."""
    pl = need("polars", "data")
    return pl.Series(prices.name, prices.cast(pl.Float64).to_numpy() / 10_000.0, nan_to_null=True)


def lobster_events(frames: Iterator[Any], file: File) -> Iterator[Events]:
    """Events of frames with ts, event_type, last, last_size, side and bid_px_i bid_sz_i ask_px_i ask_sz_i."""
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
        line = frame[LINE].to_numpy() if LINE in frame.columns else np.arange(row + 1, row + len(frame) + 1)
        events, before = _rows(frame, book, before, file, line)
        yield events
        row += len(frame)
        file.on_rows(len(frame))


def _rows(frame: Any, book: Any, before: Any, file: File, line: Any) -> tuple[Events, Any]:
    """Events of one frame, and the last book that was emitted."""
    levels = book.shape[1]
    ts = frame["ts"].to_numpy().astype(np.int64)
    what = frame["event_type"].to_numpy()
    instrument = file.instrument_id(None)
    trade, halt = np.isin(what, _TRADES), what == _HALT
    one_sided = np.any(book[:, 0, :2] == 0.0, axis=1) & ~halt
    file.tally.add("empty_side", file.name, line[one_sided], lambda row: "the book has no bid or no ask left")
    file.tally.used += int(np.count_nonzero(~one_sided))
    # a book with an empty best side is not emitted, so the next one is compared with the one before it
    sound = np.flatnonzero(~halt & ~one_sided)
    shown = book[sound]
    changed = np.zeros((len(book), levels), np.bool_)
    if len(sound):
        previous = np.concatenate([np.full((1, levels, 4), np.nan) if before is None else before[None], shown[:-1]])
        changed[sound] = np.any(shown != previous, axis=2)
        before = shown[-1]
    quote = ~halt & ~one_sided & (~trade | changed.any(axis=1))
    parts = []
    at = np.flatnonzero(trade)
    e = blank(len(at), Kind.TRADE, instrument)
    e["v"][:, 0] = frame["last"].to_numpy()[at]
    e["v"][:, 1] = frame["last_size"].to_numpy()[at]
    e["v"][:, 2] = frame["side"].to_numpy()[at]
    e["flags"][what[at] == _CROSS] |= np.uint16(Flag.AUCTION)
    parts.append((at, 0, e))
    for level in range(levels - 1, 0, -1):
        at = np.flatnonzero(changed[:, level])
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
    out["flags"][~last] &= np.uint16(~Flag.LAST & 0xFFFF)
    return out, before
