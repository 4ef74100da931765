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
from alpha.data.build import Events, shown
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
    s: str = ""


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
        if not (-(2**62) < ts < 2**62 and -(2**62) < recv < 2**62):
            raise ValueError("a time that no event can hold")
        extra = 0 if event_ms else int(Flag.NO_TS_EVENT)
        self.records.append(((ts, recv, int(kind), level, flags | extra), values))

    def book(
        self, event_ms: int, recv: int, book: BookBuilder, writer: LevelWriter, with_quote: bool, snapshot: bool = False
    ) -> int:
        """DEPTH of changed deeper levels, then the QUOTE; returns 1 if one side of the book is empty."""
        changed = [c for c in writer.changes(book.top(writer.levels)) if with_quote or c[0] > 0]
        one_sided = bool(changed and changed[-1][0] == 0 and 0.0 in changed[-1][1][:2])
        if one_sided:
            changed = changed[:-1]
        if changed:
            common = (int(Flag.GAP) if book.take_gap() else 0) | (int(Flag.SNAPSHOT) if snapshot else 0)
            for level, values in changed:
                last = int(Flag.LAST) if (level, values) == changed[-1] else 0
                kind = Kind.DEPTH if level else Kind.QUOTE
                self.add(event_ms, recv, kind, level, last | common, *values)
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
    symbol = ""  # of the first message; the file belongs to one instrument
    try:
        with gzip.open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                head, _, body = line.partition(b" ")
                try:
                    recv = int(head)
                    message = decode(body)
                    symbol = symbol or (message.data.s if message.data else "")
                    known = _message(message, recv, symbol, out, book, writer, deep)
                except (ValueError, OverflowError, msgspec.DecodeError):
                    known = _UNPARSABLE
                _count(known, line, number, file)
                if len(out.records) >= file.options.chunk:
                    yield out.take()
                if number % 8192 == 0:
                    file.on_rows(8192)
            file.on_rows(number % 8192)
    except (OSError, EOFError, zlib.error) as exc:
        raise DataError(f"{path}:{number + 1}: not a readable gzip file: {exc}") from None
    if deep:
        _report_book(file, book)
    yield out.take()


# what became of a message that gave no event: a bad row's reason, or one of these
_UNPARSABLE, _OTHER_SYMBOL, _UNKNOWN = "unparsable", "other_symbol", "unknown_message"
_COUNTED = "counted by the book"
_IGNORED = ("depth_not_asked_for", "no_change_in_these_levels", "older_than_book")


def _count(what: str, line: bytes, number: int, file: File) -> None:
    if not what:
        file.tally.used += 1
    elif what in _IGNORED:
        file.tally.ignore(what)
    elif what != _COUNTED:
        file.tally.add(what, file.name, np.array([number]), lambda row: shown(line.decode("utf-8", "replace").strip()))


def _message(m: _Line, recv: int, symbol: str, out: _Writer, book: BookBuilder, writer: LevelWriter, deep: bool) -> str:
    """Turn one message into records; why not, if there is none."""
    d = m.data
    before = len(out.records)
    if d is not None and d.s != symbol:
        return _OTHER_SYMBOL
    if d is None:
        if not m.lastUpdateId:
            return _UNKNOWN
        if not deep:
            return "depth_not_asked_for"
        if not book.snapshot(m.lastUpdateId, _levels(m.bids), _levels(m.asks)):
            return "older_than_book"
        out.book(0, recv, book, writer, with_quote=False, snapshot=True)
        return "" if len(out.records) > before else "no_change_in_these_levels"
    if d.e == "depthUpdate":
        if not deep:
            return "depth_not_asked_for"
        if not book.update(d.U, d.u, _levels(d.b), _levels(d.a), None if d.pu < 0 else d.pu):
            return _COUNTED
        out.book(d.T or d.E, recv, book, writer, with_quote=False)
        return "" if len(out.records) > before else "no_change_in_these_levels"
    if d.e == "trade" or (not d.e and d.p):
        side = -1.0 if d.m else 1.0  # the buyer is the maker: a seller took
        out.add(d.T or d.E, recv, Kind.TRADE, 0, int(Flag.LAST), float(d.p), float(d.q), side, 0.0, float(d.t))
    elif d.B and isinstance(d.b, str) and isinstance(d.a, str):
        quote = (float(d.b), float(d.a), float(d.B), float(d.A), float(d.u))
        out.add(d.T or d.E, recv, Kind.QUOTE, 0, int(Flag.LAST), *quote)
    else:
        return _UNKNOWN
    return ""


def _report_book(file: File, book: BookBuilder) -> None:
    """Rows whose fate only the book knows."""
    file.tally.count_bad("depth_before_snapshot", book.before_snapshot)
    file.tally.count_bad("duplicate_depth_update", book.duplicates)
    file.tally.ignore("merged_into_snapshot", book.merged)
    file.tally.ignore("older_than_snapshot", book.outdated)


_DEPTH_COLUMNS = ["seq", "ts", "ts_exch", "snapshot", "first_u", "last_u", "side", "px", "qty"]
DEPTH_REQUIRED = tuple(name for name in _DEPTH_COLUMNS if name != "ts_exch")
_PROBE_ROWS = 100_000  # the rules of a feed are seen in this many first rows, however the file is cut


def _probed(frames: Iterator[Any]) -> Iterator[Any]:
    """The same rows; the first frame holds at least the rows that are probed, if there are so many."""
    pl = need("polars", "data")
    head: list[Any] = []
    while sum(map(len, head)) < _PROBE_ROWS and (frame := next(frames, None)) is not None:
        head.append(frame)
    if head:
        yield pl.concat(head)
    yield from frames


def _book_for(rows: Any) -> BookBuilder:
    updates = rows.filter(rows["snapshot"] == 0).unique("seq", maintain_order=True)
    joined = (updates["first_u"] == updates["last_u"].shift(1) + 1).mean() or 0.0
    return BookBuilder(require_snapshot=bool((rows["snapshot"] == 1).any()), consecutive=joined > 0.5)


def depth_events(frames: Iterator[Any], file: File) -> Iterator[Events]:
    """Events of a table of level changes: ts ts_exch seq snapshot first_u last_u side px qty.

    Rows of one ``seq`` are one atomic update. A file without a snapshot starts from an empty book, its first
    event flagged GAP. Whether ids are consecutive (spot) or have holes (futures) is seen in the first rows.
    """
    need("polars", "data")
    out = _Writer(file.instrument_id(None))
    writer = LevelWriter(file.options.levels)
    book: BookBuilder | None = None
    pending: list[tuple[Any, ...]] = []
    for frame in _probed(frames):
        rows = frame.select(_DEPTH_COLUMNS)
        if book is None:
            book = _book_for(rows[:_PROBE_ROWS])
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
    before = len(out.records)
    if snapshot:
        if not book.snapshot(last, bids, asks):
            file.tally.ignore("older_than_book", len(rows))
            return
    elif not book.update(first, last, bids, asks, rows=len(rows)):
        return
    if out.book((ts_exch or 0) // 10**6, ts, book, writer, with_quote=True, snapshot=bool(snapshot)):
        file.tally.count_bad("empty_side", len(rows))
    elif len(out.records) > before:
        file.tally.used += len(rows)
    else:
        file.tally.ignore("no_change_in_these_levels", len(rows))
