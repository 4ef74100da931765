"""Binance market data: the raw websocket stream with receive times, and tables of depth changes. Floor 2.

A raw line is the local receive time in ns, a space, and the message: bookTicker, trade, depthUpdate, or a
REST snapshot of the book. The exchange's clock is ahead of the local one in real files, so receipt times
order the stream.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from alpha.data.book import BookBuilder, Level, LevelWriter
from alpha.data.build import Events
from alpha.data.tables import File
from alpha.errors import DataError, need
from alpha.events import EVENT_DTYPE, Flag, Kind

_Side = list[tuple[str, str]]


class _Data(msgspec.Struct):
    """Union of the fields of the messages we read."""

    e: str = ""  # event type; empty for spot's bookTicker
    E: int = 0  # event time, ms
    T: int = 0  # transaction time, ms
    u: int = 0
    U: int = 0
    pu: int = -1
    b: str | _Side = ""
    B: str = ""
    a: str | int | _Side = ""
    A: str = ""
    t: int = 0
    p: str = ""
    q: str = ""
    m: bool = False


class _Line(msgspec.Struct):
    stream: str = ""
    data: _Data | None = None
    lastUpdateId: int = 0  # noqa: N815 (the feed's name)
    bids: _Side = []
    asks: _Side = []


Record = tuple[tuple[int, int, int, int, int], tuple[float, ...]]  # (ts, recv, kind, level, flags), v


def _levels(side: object) -> list[Level]:
    return [(float(px), float(qty)) for px, qty in side] if isinstance(side, (list, tuple)) else []


class _Writer:
    """Collects records and gives them out as event arrays."""

    def __init__(self, instrument_id: int) -> None:
        self.instrument_id = instrument_id
        self.records: list[Record] = []

    def add(self, event_ms: int, recv: int, kind: Kind, level: int, flags: int, *v: float) -> None:
        values = (*v, 0.0, 0.0, 0.0, 0.0, 0.0)[:5]
        ts = event_ms * 10**6 if event_ms else recv
        extra = 0 if event_ms else int(Flag.NO_TS_EVENT)
        self.records.append(((ts, recv, int(kind), level, flags | extra), values))

    def book(self, event_ms: int, recv: int, book: BookBuilder, writer: LevelWriter, with_quote: bool) -> int:
        """DEPTH of changed deeper levels, then the QUOTE; returns 1 if one side of the book is empty."""
        changed = [c for c in writer.changes(book.top(writer.levels)) if with_quote or c[0] > 0]
        one_sided = bool(changed and changed[-1][0] == 0 and 0.0 in changed[-1][1][:2])
        if one_sided:
            changed = changed[:-1]
        gap = int(Flag.GAP) if book.take_gap() else 0
        for i, (level, values) in enumerate(changed):
            last = int(Flag.LAST) if i == len(changed) - 1 else 0
            self.add(event_ms, recv, Kind.DEPTH if level else Kind.QUOTE, level, last | gap, *values)
            gap = 0
        if gap:
            book.gap = True  # nothing was emitted: the next event carries it
        return int(one_sided)

    def take(self) -> Events:
        e = np.zeros(len(self.records), dtype=EVENT_DTYPE)
        if self.records:
            ints = np.array([r[0] for r in self.records], dtype=np.int64)
            e["ts_event_ns"], e["ts_recv_ns"], e["kind"], e["level"], e["flags"] = ints.T
            e["v"] = np.array([r[1] for r in self.records])
        e["instrument_id"] = self.instrument_id
        self.records.clear()
        return e


def raw_events(path: Path, file: File) -> Iterator[Events]:
    """Events of a gzipped raw stream. With one level the book is left to bookTicker; with more the
    deeper levels come from depthUpdate and the snapshot."""
    decode = msgspec.json.Decoder(_Line).decode
    out = _Writer(file.instrument_id(None))
    deep = file.options.levels > 1
    book, writer = BookBuilder(), LevelWriter(file.options.levels)
    number = 0
    try:
        with gzip.open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                head, _, body = line.partition(b" ")
                try:
                    recv = int(head)
                    message = decode(body)
                    known = _message(message, recv, out, book, writer, deep)
                except (ValueError, msgspec.DecodeError):
                    known = "unparsable"
                if known:
                    file.bad.add(known, file.name, np.array([number]))
                if len(out.records) >= file.options.chunk:
                    yield out.take()
                if number % 8192 == 0:
                    file.on_rows(8192)
    except (OSError, EOFError, zlib.error) as exc:
        raise DataError(f"{path}:{number + 1}: not a readable gzip file: {exc}") from None
    if deep:
        _report_book(file, book)
    yield out.take()


def _message(m: _Line, recv: int, out: _Writer, book: BookBuilder, writer: LevelWriter, deep: bool) -> str:
    """Turn one message into records; the reason if it cannot be."""
    d = m.data
    if d is None:
        if not m.lastUpdateId:
            return "unknown_message"
        if deep:
            book.snapshot(m.lastUpdateId, _levels(m.bids), _levels(m.asks))
            out.book(0, recv, book, writer, with_quote=False)
    elif d.e == "depthUpdate":
        if deep and book.update(d.U, d.u, _levels(d.b), _levels(d.a), None if d.pu < 0 else d.pu):
            out.book(d.T or d.E, recv, book, writer, with_quote=False)
    elif d.e == "trade" or (not d.e and d.p):
        side = -1.0 if d.m else 1.0  # the buyer is the maker: a seller took
        out.add(d.T or d.E, recv, Kind.TRADE, 0, int(Flag.LAST), float(d.p), float(d.q), side, 0.0, float(d.t))
    elif d.B and isinstance(d.b, str) and isinstance(d.a, str):
        quote = (float(d.b), float(d.a), float(d.B), float(d.A), float(d.u))
        out.add(d.T or d.E, recv, Kind.QUOTE, 0, int(Flag.LAST), *quote)
    else:
        return "unknown_message"
    return ""


def _report_book(file: File, book: BookBuilder) -> None:
    for reason, count in (("depth_before_snapshot", book.before_snapshot), ("duplicate_depth_update", book.duplicates)):
        if count:
            file.bad.counts[reason] = file.bad.counts.get(reason, 0) + count


def depth_events(frames: Iterator[Any], file: File) -> Iterator[Events]:
    """Events of a table of level changes: ts ts_exch seq snapshot first_u last_u side px qty.

    Rows of one ``seq`` are one atomic update. A file without a snapshot starts from an empty book, its first
    event flagged GAP. Whether ids are consecutive (spot) or have holes (futures) is seen in the first chunk.
    """
    need("polars", "data")
    out = _Writer(file.instrument_id(None))
    writer = LevelWriter(file.options.levels)
    book: BookBuilder | None = None
    pending: list[tuple[Any, ...]] = []
    for frame in frames:
        rows = frame.select("seq", "ts", "ts_exch", "snapshot", "first_u", "last_u", "side", "px", "qty")
        if book is None:
            firsts = rows.filter(rows["snapshot"] == 0).unique("seq", maintain_order=True)
            joined = (firsts["first_u"] == firsts["last_u"].shift(1) + 1).mean() or 0.0
            book = BookBuilder(require_snapshot=bool((rows["snapshot"] == 1).any()), consecutive=joined > 0.5)
        for row in rows.iter_rows():
            if pending and row[0] != pending[0][0]:
                _apply(pending, book, writer, out, file)
                pending = []
            pending.append(row)
        file.on_rows(len(frame))
        yield out.take()
    if pending and book is not None:
        _apply(pending, book, writer, out, file)
    if book is not None:
        _report_book(file, book)
    yield out.take()


def _apply(rows: list[tuple[Any, ...]], book: BookBuilder, writer: LevelWriter, out: _Writer, file: File) -> None:
    _, ts, ts_exch, snapshot, first, last, *_ = rows[0]
    bids = [(r[7], r[8]) for r in rows if r[6] > 0]
    asks = [(r[7], r[8]) for r in rows if r[6] < 0]
    if snapshot:
        book.snapshot(last, bids, asks)
    elif not book.update(first, last, bids, asks):
        return
    if out.book((ts_exch or 0) // 10**6, ts, book, writer, with_quote=True):
        file.bad.counts["empty_side"] = file.bad.counts.get("empty_side", 0) + 1
