"""Opening market data: one call for files, folders of formats and DataFrames. Floor 2."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alpha.data.binance import DEPTH_REQUIRED, depth_events, raw_events
from alpha.data.build import UNITS, Events, Tally, infer_sizes, known_zone
from alpha.data.columns import layout
from alpha.data.lobster import lobster_events, zip_frames
from alpha.data.tables import File, Options, as_numbers, parquet_frames, table_events
from alpha.data.text import LINE, csv_frames
from alpha.errors import DataError, need
from alpha.events import EVENT_DTYPE, Flag, Kind, stream_time
from alpha.instruments import BAR_STAMPS, Instrument, Instruments, duration_ns

FORMATS = ("parquet", "csv", "lobster-zip", "binance-raw", "frame")
_INFERENCE_EVENTS = 20_000  # tick and lot are inferred from this many first events


class EventSource:
    """An iterable of EVENT_DTYPE chunks, in order; made by :func:`open_events`. Iterate it once.

    ``instruments``: the table whose ids the events carry, with inferred tick and lot sizes where none were
    declared; ``rows_read``: rows, lines or records seen so far. After the last chunk every row is one of
    ``event_rows`` (gave events), ``bad_rows`` (could not become one) and ``ignored_rows`` (sound, but with nothing to
    say of its own), the latter two by reason. ``kinds`` and ``unsized``: events given so far by kind, and those of
    them that lack a size.
    """

    def __init__(self, names: list[str], paths: list[Path], tally: Tally) -> None:
        self.names, self.paths = names, paths
        self._tally = tally
        self.rows_read = 0
        self.events_read = 0
        self.instruments = Instruments(())
        self.clock = "recv"
        self.kinds: Counter[Kind] = Counter()
        self.unsized: Counter[Kind] = Counter()
        self.inputs: frozenset[str] = frozenset()  # external series that were added
        self.first_kinds: frozenset[Kind] = frozenset()  # of the events from which sizes are inferred
        self._chunks: Iterator[Events] = iter(())
        self._begun = False
        self._frame_hash = ""

    @property
    def bad_rows(self) -> dict[str, int]:
        """Rows that could not become events, by reason."""
        return dict(self._tally.bad)

    @property
    def event_rows(self) -> int:
        """Rows that gave events."""
        return self._tally.used

    @property
    def ignored_rows(self) -> dict[str, int]:
        """Sound rows without an event of their own, by reason."""
        return dict(self._tally.ignored)

    @property
    def empty(self) -> bool:
        """Whether there is no event at all; known before the first chunk is taken."""
        return not self.first_kinds

    def why_empty(self) -> str:
        """One sentence for a source without events: what was read and what became of it."""
        rows = f"{self.rows_read:,} row{'' if self.rows_read == 1 else 's'} read"
        told = self._tally.describe()
        return f"{', '.join(self.names)}: no events: {rows}{': ' if told else ''}{told}"

    def __iter__(self) -> Iterator[Events]:
        if self._begun:
            raise DataError(
                f"the events of {', '.join(self.names)} were read already: a source is read once, "
                "open it again with alpha.open_events"
            )
        self._begun = True
        return self._counted()

    def _counted(self) -> Iterator[Events]:
        for chunk in self._chunks:
            if len(chunk):
                self.events_read += len(chunk)
                unsized = (chunk["flags"] & np.uint16(Flag.NO_QTY)) != 0
                for kinds, of in ((self.kinds, chunk["kind"]), (self.unsized, chunk["kind"][unsized])):
                    for kind, count in enumerate(np.bincount(of)):
                        if count:
                            kinds[Kind(kind)] += int(count)
                yield chunk

    def add_inputs(self, events: Events, names: Iterable[str]) -> None:
        """Merge INPUT events of these series in (see :func:`alpha.data.inputs.input_events`), by time, behind the
        source's own events where times are equal. Before the first chunk is taken."""
        if self._begun:
            raise DataError("inputs are added before the first event is read")
        self._chunks = merge([self._chunks, iter([events])], self.clock)
        self.inputs |= frozenset(names)

    def read_all(self) -> Events:
        """Everything as one array."""
        chunks = list(self)
        return np.concatenate(chunks) if chunks else np.zeros(0, dtype=EVENT_DTYPE)

    def data_sha256(self) -> str:
        """sha256 of the file; of several files, of their hashes in order; of a frame, of its events (of a LazyFrame
        after the last chunk)."""
        if not self.paths:
            if not self._frame_hash:
                raise DataError("what a LazyFrame holds is known once all of it has been read")
            return self._frame_hash
        digests = []
        for path in self.paths:
            with path.open("rb") as handle:
                digests.append(hashlib.file_digest(handle, "sha256").hexdigest())
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    def describe(self) -> str:
        """One line about every instrument: symbol, tick and lot size and where they come from."""
        lines = []
        for item in self.instruments:
            how = item.source
            lines.append(f"{item.symbol}: tick {item.tick_size or 'unknown'}, lot {item.lot_size or 'unknown'} ({how})")
        return "\n".join(lines)


def open_events(
    source: Any,
    *,
    instruments: Instruments | None = None,
    instrument: str | None = None,
    format: str | None = None,
    columns: dict[str, str] | None = None,
    ts_unit: str | None = None,
    tz: str | None = None,
    bar_stamp: str | None = None,
    bar: str | None = None,
    levels: int = 1,
    strict: bool = False,
    clock: str = "recv",
    chunk_events: int = 262_144,
    progress: Callable[[int], None] | None = None,
) -> EventSource:
    """Open market data as a stream of Events.

    ``source``: a path, a list of paths (merged by ``clock``, then by the order of the arguments), a pandas
    or polars DataFrame with a tz-aware time index or a (datetime, instrument) MultiIndex, or a polars LazyFrame, which
    is collected in batches.
    ``instrument``: symbol of the data where it names none itself (default: the table's entry for this path,
    else the file's stem). ``columns``: canonical name -> column of yours. ``ts_unit``: ns, us, ms or s for
    numeric times; ``tz``: zone of times that carry none. ``bar_stamp``: bars are stamped at their ``start`` or
    ``close``; ``bar``: their length (default: what the instrument says, else 1m). ``levels``: book levels to
    emit, 1 to 10. ``strict``: raise at the first bad row.
    ``progress``: called with the number of rows read since the last call.

    Memory is bounded by a few chunks, whatever the file's size. Raises DataError or InstrumentError.
    """
    if format is not None and format not in FORMATS:
        raise DataError(f"format {format!r} is unknown: use one of {', '.join(FORMATS)}")
    if bar_stamp is not None and bar_stamp not in BAR_STAMPS:
        raise DataError(f"bar_stamp must be 'start' or 'close', not {bar_stamp!r}")
    if not 1 <= levels <= 10:
        raise DataError(f"levels must be from 1 to 10, not {levels}")
    if chunk_events < 1:
        raise DataError(f"chunk_events must be at least 1, not {chunk_events}")
    if clock not in ("recv", "event"):
        raise DataError(f"clock must be 'recv' or 'event', not {clock!r}")
    if ts_unit is not None and ts_unit not in UNITS:
        raise DataError(f"ts_unit must be one of {', '.join(UNITS)}, not {ts_unit!r}")
    if tz is not None:
        known_zone(tz)  # also where no time needs it: a wrong name is a mistake
    options = Options(
        dict(columns or {}), ts_unit, tz, bar_stamp, None if bar is None else duration_ns(bar), levels, chunk_events
    )
    tally = Tally(strict)
    items = list(source) if isinstance(source, (list, tuple)) else [source]
    if not items:
        raise DataError("no data given")
    if any(isinstance(i, str) and not i.strip() for i in items):
        raise DataError("the name of a data file is empty: name a file")
    table = _Table(instruments)
    frames = [i for i in items if not isinstance(i, (str, Path))]
    paths = [Path(i) for i in items if isinstance(i, (str, Path))]
    if frames and paths:
        raise DataError("give either files or DataFrames, not both")
    out = EventSource([str(p) for p in paths] or ["DataFrame"] * len(frames), paths, tally)

    def count(rows: int) -> None:
        out.rows_read += rows
        if progress is not None:
            progress(rows)

    streams = [_open_one(item, options, tally, table, instrument, format, count) for item in items]
    out.clock = clock
    merged = streams[0] if len(streams) == 1 else merge(streams, clock)
    head = _head(merged)
    first = np.concatenate(head)[:_INFERENCE_EVENTS] if head else np.zeros(0, dtype=EVENT_DTYPE)
    out.first_kinds = frozenset(Kind(kind) for kind in np.unique(first["kind"]))
    _infer(table, first)
    out.instruments = table.instruments
    out._chunks = _with_head(head, merged, table, out)
    if any(_is_lazy(i) for i in frames):
        out._chunks = _hashed(out._chunks, out)
    elif frames:
        everything = np.concatenate([first[:0], *out._chunks])
        out._frame_hash = hashlib.sha256(everything.tobytes()).hexdigest()
        out._chunks = iter([everything])
    return out


def _head(stream: Iterator[Events]) -> list[Events]:
    """Chunks that hold the events from which tick and lot are inferred: the same ones however the stream is cut."""
    chunks: list[Events] = []
    while sum(map(len, chunks)) < _INFERENCE_EVENTS and (chunk := next(stream, None)) is not None:
        chunks.append(chunk)
    return chunks


def _is_lazy(item: Any) -> bool:
    return type(item).__name__ == "LazyFrame" and type(item).__module__.startswith("polars")


def _hashed(chunks: Iterator[Events], out: EventSource) -> Iterator[Events]:
    """The chunks; after the last one their hash is known."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk.tobytes())
        yield chunk
    out._frame_hash = digest.hexdigest()


def _with_head(head: list[Events], rest: Iterator[Events], table: _Table, out: EventSource) -> Iterator[Events]:
    yield from head
    for chunk in rest:
        if len(table.instruments) != len(out.instruments):  # a symbol that appeared later in the file
            _infer(table, chunk)
            out.instruments = table.instruments
        yield chunk


class _Table:
    """The instrument table while files are being opened: symbols get ids as they appear."""

    def __init__(self, declared: Instruments | None) -> None:
        self.instruments = declared if declared is not None else Instruments(())
        self.closed = declared is not None and len(declared) > 0

    def id(self, symbol: str) -> int:
        if symbol not in self.instruments and not self.closed:
            self.instruments = self.instruments.with_instrument(Instrument(symbol=symbol, source="inferred"))
        return self.instruments.id(symbol)


def _infer(table: _Table, events: Events) -> None:
    for i, item in enumerate(table.instruments):
        if item.tick_size is None or item.lot_size is None:
            tick, lot = infer_sizes(events[events["instrument_id"] == i])
            table.instruments = table.instruments.with_sizes(item.symbol, tick, lot)


def _open_one(
    item: Any,
    options: Options,
    tally: Tally,
    table: _Table,
    instrument: str | None,
    format: str | None,
    count: Callable[[int], None],
) -> Iterator[Events]:
    if not isinstance(item, (str, Path)):
        file = _file("DataFrame", None, options, tally, table, instrument, count)
        if _is_lazy(item):
            if not hasattr(item, "collect_batches"):
                raise DataError("this polars cannot collect a LazyFrame in batches: upgrade it, or give a DataFrame")
            batches = item.collect_batches(chunk_size=options.chunk, maintain_order=True)
            try:
                return table_events(iter(batches), file, layout(item.collect_schema().names(), options.columns))
            except DataError as exc:
                raise DataError(f"LazyFrame: {exc}") from None
        frame = _from_frame(item, options)
        try:
            return table_events(iter([frame]), file, layout(frame.columns, options.columns))
        except DataError as exc:
            raise DataError(f"DataFrame: {exc}") from None
    path = Path(item)
    if not path.exists():
        raise DataError(f"data file {path} does not exist")
    if path.is_dir():
        raise DataError(f"{path} is a folder: name the files")
    file = _file(str(path), path, options, tally, table, instrument, count)
    kind = format or _format_of(path)
    if kind == "lobster-zip":
        return lobster_events(zip_frames(path, file), file)
    if kind == "binance-raw":
        return raw_events(path, file)
    if kind == "parquet":
        frames = parquet_frames(path, options.chunk)
    else:
        frames = csv_frames(path, tally, options.chunk, count)
    first = next(frames, None)
    if first is None:
        return iter(())
    try:
        shape = layout([name for name in first.columns if name != LINE], options.columns)
    except DataError as exc:
        raise DataError(f"{path}: {exc}") from None
    both = _chain(first, frames)
    if shape.reader == "lobster":
        return lobster_events(as_numbers(both, file, ("ts", "event_type")), file)
    if shape.reader == "depth":
        return depth_events(as_numbers(both, file, DEPTH_REQUIRED), file)
    return table_events(both, file, shape)


def _chain(first: Any, rest: Iterable[Any]) -> Iterator[Any]:
    yield first
    yield from rest


_SUFFIXES = (
    (".parquet", "parquet"),
    (".pq", "parquet"),
    (".csv", "csv"),
    (".csv.gz", "csv"),
    (".tsv", "csv"),
    (".zip", "lobster-zip"),
    (".gz", "binance-raw"),
)


def _format_of(path: Path) -> str:
    name = path.name.lower()
    for suffix, kind in _SUFFIXES:
        if name.endswith(suffix):
            return kind
    raise DataError(
        f"{path}: cannot tell its format from its name; say it with --format (Python: format=), one of {', '.join(FORMATS[:-1])}"
    )


def _file(
    name: str,
    path: Path | None,
    options: Options,
    tally: Tally,
    table: _Table,
    instrument: str | None,
    count: Callable[[int], None],
) -> File:
    known = table.instruments.for_file(path) if path is not None else None
    own = instrument or (known.symbol if known else None)
    if own is None:
        only = table.instruments.symbols
        own = only[0] if table.closed and len(only) == 1 else (path.stem if path is not None else "FRAME")
    declared = next((i for i in table.instruments if i.symbol == own), None)
    stamp = options.bar_stamp or (declared.bar_stamp if declared else None)

    def resolve(symbol: str | None) -> int:
        return table.id(symbol or own)

    bar_ns = options.bar_ns or (declared.bar_ns if declared else duration_ns("1m"))
    return File(name, options, tally, resolve, stamp, bar_ns, count)


def _from_frame(frame: Any, options: Options) -> Any:
    """A pandas or polars DataFrame as a polars frame with the index as columns ts and symbol."""
    pl = need("polars", "data")
    if isinstance(frame, pl.DataFrame):
        return frame
    pd = need("pandas", "data")
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"cannot read events from {type(frame).__name__}: give a path, or a pandas or polars DataFrame")
    several = isinstance(frame.index, pd.MultiIndex)
    times = frame.index.get_level_values(0) if several else frame.index
    # pandas writes a missing value as NaN: read it as missing, not as a price that is not a number
    data = pl.from_pandas(frame.reset_index(drop=True).rename(columns=str), nan_to_null=True)
    if isinstance(times, pd.DatetimeIndex):
        if times.tz is None:
            if options.tz is None:
                raise DataError(
                    "the DataFrame's index has no time zone: localize it, or say which with tz=, e.g. tz='UTC'"
                )
            times = times.tz_localize(options.tz)
        # pandas 3 keeps microseconds by default: force ns; typed as datetimes, so that no ts_unit applies to them
        ns = times.tz_convert("UTC").tz_localize(None).astype("datetime64[ns]").to_numpy()
        data = data.with_columns(pl.Series("ts", ns, dtype=pl.Datetime("ns")).dt.replace_time_zone("UTC"))
        if options.columns:
            options.columns.setdefault("ts", "ts")
    elif "ts" not in {*data.columns, *options.columns}:
        raise DataError("the DataFrame needs a DatetimeIndex with a zone, or a column mapped to ts")
    if several:
        data = data.with_columns(pl.Series("symbol", frame.index.get_level_values(1).astype(str).to_list()))
        if options.columns:
            options.columns.setdefault("symbol", "symbol")
        data = data.sort("ts", maintain_order=True)  # such frames are often sorted by instrument: a stream is by time
    return data


def merge(streams: Sequence[Iterator[Events]], clock: str) -> Iterator[Events]:
    """Several ordered streams as one: by stream time (its running maximum within a file), then by the order
    of the arguments, then by file order. Holds one chunk per stream."""
    held: list[Events] = [np.zeros(0, dtype=EVENT_DTYPE) for _ in streams]
    keys = [np.zeros(0, dtype=np.int64) for _ in streams]
    top = [-(2**63)] * len(streams)
    open_ = [True] * len(streams)

    def fill(i: int) -> None:
        chunk = next(streams[i], None)
        if chunk is None:
            open_[i] = False
            return
        if len(chunk):
            times = np.maximum.accumulate(np.maximum(stream_time(chunk, clock), top[i]))
            top[i] = int(times[-1])
            held[i] = np.concatenate([held[i], chunk])
            keys[i] = np.concatenate([keys[i], times])

    while True:
        for i in range(len(streams)):
            while open_[i] and not len(held[i]):
                fill(i)
        waiting = [top[i] for i in range(len(streams)) if open_[i]]
        if not any(len(h) for h in held):
            return
        # what lies before every open stream's newest time can have no successor that precedes it
        edge = min(waiting) if waiting else 2**63 - 1
        cut = [int(np.searchsorted(k, edge, side="left" if waiting else "right")) for k in keys]
        if not any(cut):
            for i in range(len(streams)):
                if open_[i] and top[i] == edge:
                    fill(i)
            continue
        part = np.concatenate([h[:c] for h, c in zip(held, cut, strict=True)])
        key = np.concatenate([k[:c] for k, c in zip(keys, cut, strict=True)])
        for i, c in enumerate(cut):
            held[i], keys[i] = held[i][c:], keys[i][c:]
        yield part[np.argsort(key, kind="stable")]
