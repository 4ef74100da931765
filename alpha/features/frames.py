"""Features of a DataFrame or a file, as the same kind of frame. Floor 2.

    >>> features_of(feature_set, quotes)                        # pandas in, pandas out   # doctest: +SKIP
    >>> features_of(feature_set, "btc.parquet").sink_parquet("features.parquet")          # doctest: +SKIP

Rows, values and readiness are those of :mod:`alpha.features.batch` behind the guard.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from alpha._core.guard import guard_events, guard_memory
from alpha.data import EventSource, open_events
from alpha.data.columns import layout
from alpha.errors import DataError, need
from alpha.events import stream_time
from alpha.features import batch
from alpha.features._batch_sessions import breaks
from alpha.features.feature_set import FeatureSet
from alpha.features.language import Expr, resets, walk
from alpha.features.operators import OPERATORS
from alpha.instruments import Instruments
from alpha.sessions import INSTRUMENT, SessionTable, session_table

READY = "ready"
"""Name of the column that says whether all features of a row are ready."""
_ROWS = 262_144  # of one piece of a LazyFrame's result, about
Events = npt.NDArray[Any]


class _Rows(NamedTuple):
    """Rows as arrays of one length: place of the event in the stream, time, instrument, values [N, F], ready [N]."""

    place: npt.NDArray[np.int64]
    ts_ns: npt.NDArray[np.int64]
    instrument_id: npt.NDArray[np.uint32]
    values: npt.NDArray[np.float32]
    ready: npt.NDArray[np.bool_]

    def some(self, of: slice | npt.NDArray[Any]) -> _Rows:
        return _Rows(self.place[of], self.ts_ns[of], self.instrument_id[of], self.values[of], self.ready[of])


@dataclass(frozen=True)
class _Shape:
    """Columns of the result beside the features: time (its zone), and the symbol where there are several."""

    time: str
    zone: str
    symbol: str | None


def features_of(
    fs: FeatureSet,
    source: Any,
    *,
    instruments: Instruments | None = None,
    columns: dict[str, str] | None = None,
    **how: Any,
) -> Any:
    """Feature rows of market data: what goes in says what comes out.

    ``source``: a pandas or polars DataFrame gives a DataFrame of the same library; a path, a list of paths or a
    polars LazyFrame gives a LazyFrame, computed when it is collected and only for the columns that are asked for.
    ``columns`` and ``how`` are those of :func:`alpha.open_events` (``tz``, ``ts_unit``, ``bar_stamp``, ...), which
    also says which columns are understood.

    One row per trigger: a float32 column per feature, and ``ready``, whether all features are. Time is the row's
    stream time (of ``clock = "recv"`` the receipt, of a bar its close) in ns, under the name and in the zone of the
    source's time column, or as its pandas index; a symbol column or index level stays one. Rows are in order of
    arrival.

    Memory: a DataFrame's events (64 bytes each) and the columns of the nodes of one instrument per core are held.
    A LazyFrame is read in chunks of ``chunk_events``; where :func:`starts_again` holds (everything is empty again at
    each session's open) an instrument's session is computed, in parallel and to the same bits, and let go as soon as
    the next one begins. For other sets no cut is exact, as an average without a window never forgets: all events are
    held, and only the result comes in pieces.

    Raises DataError, DefinitionError, InstrumentError: a LazyFrame when it is collected, but for bad arguments.
    """
    how = {**how, "columns": columns, "instruments": instruments, "clock": fs.stream.clock}
    pl = need("polars", "data")
    if isinstance(source, pl.DataFrame):
        shape = _shape(fs, dict(source.schema), source, how)
        return pl.concat([_empty(fs, shape), *_pieces(fs, source, shape, how)])
    if isinstance(source, (str, Path, list, tuple, pl.LazyFrame)):
        return _lazy(fs, source, _shape(fs, _schema_of(source), source, how), how)
    return _pandas(fs, source, how)


def starts_again(fs: FeatureSet) -> bool:
    """Whether nothing but the calendar and the time outlives a session break: each session can be computed alone."""
    if fs.stream.session_break != "session" or (fs.trigger.bar is not None and fs.trigger.bar.source != "feed"):
        return False

    def forgets(node: Expr) -> bool:
        if node.op in ("bar", "of", "input"):
            return False
        return node.op == "const" or OPERATORS[node.op].kind != "stateful" or resets(node)

    return all(forgets(node) for e in fs.features.values() for node in walk(e))


def _schema_of(source: Any) -> dict[str, Any]:
    """Column -> type of a LazyFrame or of the first Parquet file; empty for other files."""
    pl = need("polars", "data")
    if isinstance(source, pl.LazyFrame):
        return dict(source.collect_schema())
    first = source[0] if isinstance(source, (list, tuple)) and len(source) else source
    if isinstance(first, (str, Path)) and str(first).lower().endswith((".parquet", ".pq")) and Path(first).is_file():
        try:
            return dict(pl.read_parquet_schema(first))
        except Exception as exc:  # whatever polars and the system find wrong with the file
            raise DataError(f"{first} is not a readable Parquet file: {exc}") from None
    return {}


def _shape(fs: FeatureSet, schema: dict[str, Any], source: Any, how: dict[str, Any]) -> _Shape:
    time, symbol = "ts", None
    if schema:
        found = layout(list(schema), dict(how["columns"] or {}))
        received = fs.stream.clock == "recv" and "ts_recv" in found.columns
        time = found.own("ts_recv" if received or "ts" not in found.columns else "ts")
        symbol = found.columns.get("symbol")
    if symbol is None and isinstance(source, (list, tuple)) and len(source) > 1:
        symbol = "symbol"
    zone = getattr(schema.get(time), "time_zone", None) or "UTC"
    taken = {time, READY, symbol} & set(fs.names)
    if taken:
        raise DataError(f"a feature is called {sorted(map(str, taken))[0]!r}, as another column of its rows: rename it")
    return _Shape(time, zone, symbol)


def _types(fs: FeatureSet, shape: _Shape) -> dict[str, Any]:
    pl = need("polars", "data")
    keys = {shape.time: pl.Datetime("ns", shape.zone)} | ({shape.symbol: pl.String} if shape.symbol else {})
    return {**keys, **dict.fromkeys(fs.names, pl.Float32), READY: pl.Boolean}


def _empty(fs: FeatureSet, shape: _Shape) -> Any:
    return need("polars", "data").DataFrame(schema=_types(fs, shape))


def _pieces(fs: FeatureSet, source: Any, shape: _Shape, how: dict[str, Any]) -> Iterator[Any]:
    """The result as successive polars frames."""
    pl = need("polars", "data")
    events = open_events(source, **how)
    for rows in _by_session(fs, events) if starts_again(fs) else _whole(fs, events):
        times = (
            pl.Series(rows.ts_ns).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC").dt.convert_time_zone(shape.zone)
        )
        data: dict[str, Any] = {shape.time: times}
        if shape.symbol:
            symbols = np.array(events.instruments.symbols, object)
            data[shape.symbol] = pl.Series(symbols[rows.instrument_id].tolist(), dtype=pl.String)
        data |= {name: rows.values[:, j] for j, name in enumerate(fs.names)}
        yield pl.DataFrame({**data, READY: rows.ready})


def _lazy(fs: FeatureSet, source: Any, shape: _Shape, how: dict[str, Any]) -> Any:
    from polars.io.plugins import register_io_source

    def read(wanted: list[str] | None, predicate: Any, n_rows: int | None, _size: int | None) -> Iterator[Any]:
        part = fs if wanted is None or READY in wanted or fs.inputs else _only(fs, wanted)
        for piece in _pieces(part, source, shape, how):
            frame = piece if wanted is None else piece.select(wanted)
            frame = frame if predicate is None else frame.filter(predicate)
            if n_rows is not None:
                frame, n_rows = frame.head(n_rows), n_rows - min(n_rows, len(frame))
            yield frame
            if n_rows == 0:
                return

    return register_io_source(read, schema=_types(fs, shape))


def _only(fs: FeatureSet, wanted: Sequence[str]) -> FeatureSet:
    """The features that are asked for; rows, which the trigger makes, need one at least."""
    names = [name for name in fs.names if name in wanted] or [fs.names[0]]
    return FeatureSet(fs.name, {name: fs.features[name] for name in names}, fs.trigger, fs.stream)


def _pandas(fs: FeatureSet, source: Any, how: dict[str, Any]) -> Any:
    pd = need("pandas", "data")
    if not isinstance(source, pd.DataFrame):
        raise DataError(f"cannot read events from {type(source).__name__}: give a path, or a pandas or polars frame")
    pl = need("polars", "data")
    several = isinstance(source.index, pd.MultiIndex)
    times = source.index.get_level_values(0) if several else source.index
    indexed = isinstance(times, pd.DatetimeIndex)
    declared = dict.fromkeys([*(["ts"] if indexed else []), *(["symbol"] if several else [])])
    named = {**how, "columns": {**{k: k for k in declared}, **how["columns"]} if how["columns"] else None}
    shape = _shape(fs, {**dict.fromkeys(map(str, source.columns)), **declared}, source, named)
    out = pl.concat([_empty(fs, shape), *_pieces(fs, source, shape, how)])
    zone = times.tz if indexed else getattr(source[shape.time].dtype, "tz", None)
    ns = out[shape.time].dt.replace_time_zone(None).to_numpy()
    when = pd.DatetimeIndex(ns, tz="UTC").tz_convert(zone or how.get("tz") or "UTC")
    symbols = out[shape.symbol].to_list() if shape.symbol else None
    data = pd.DataFrame({name: out[name].to_numpy() for name in (*fs.names, READY)})
    if symbols is not None and not several:
        data.insert(0, str(shape.symbol), symbols)
    if several:
        data.index = pd.MultiIndex.from_arrays([when, symbols], names=source.index.names)
    elif indexed:
        data.index = when.rename(source.index.name)
    else:
        data.insert(0, shape.time, when)
    return data


def _guarded(fs: FeatureSet, source: EventSource) -> Iterator[tuple[Events, npt.NDArray[np.bool_]]]:
    """Chunks of events and which of each the guard accepts, as over all of them at once."""
    g = fs.stream.guard
    memory = guard_memory(0)
    for chunk in source:
        table = source.instruments
        memory = guard_memory(len(table), memory)
        yield (
            chunk,
            guard_events(
                chunk,
                len(table),
                clock=fs.stream.clock,
                crossed=g.crossed,
                future_tolerance_ns=g.future_tolerance.ns,
                duplicates=g.duplicates,
                outlier=g.outlier,
                clock_offset_ns=table.clock_offsets_ns(),
                memory=memory,
            )
            == 0,
        )


def _computed(fs: FeatureSet, events: Events, index: npt.NDArray[np.int64] | None, source: EventSource) -> _Rows:
    """Rows of accepted events; ``index``: their places in the stream, where these are a part of it."""
    # parts are computed side by side: more threads in each would only cost memory
    d = batch.compute_detail(fs, events, source.instruments, threads=None if index is None else 1)
    at = d.rows.row_index if index is None else index[d.rows.row_index]
    return _Rows(at, d.ts_ns, d.instrument_id, d.rows.values, d.rows.ready)


def _whole(fs: FeatureSet, source: EventSource) -> Iterator[_Rows]:
    """Everything at once, given out in pieces."""
    chunks = [chunk[accepted] for chunk, accepted in _guarded(fs, source)]
    if chunks:
        rows = _computed(fs, np.concatenate(chunks), None, source)
        for a in range(0, len(rows.place), _ROWS):
            yield rows.some(slice(a, a + _ROWS))


class _Session:
    """Accepted events of one instrument since its last break, and their places in the stream."""

    def __init__(self, fs: FeatureSet, table: SessionTable) -> None:
        self.fs, self.table = fs, table
        self.parts: list[tuple[Events, npt.NDArray[np.int64]]] = []
        self.begin = 0

    def take(self, events: Events, index: npt.NDArray[np.int64]) -> list[tuple[Events, npt.NDArray[np.int64]]]:
        """Add events; what has become complete: sessions, each with the event that ended it."""
        known = self.parts[-1][0][-1:] if self.parts else events[:0]
        both = np.concatenate([known, events])
        broken = breaks(both, stream_time(both, self.fs.stream.clock), self.table, self.fs.trigger.kind == "bar")
        cuts = np.flatnonzero(broken[len(known) :])
        if not self.parts:
            cuts, self.begin = cuts[cuts > 0], int(index[0])
        complete, a = [], 0
        for cut in cuts.tolist():
            parts = [*self.parts, (events[a : cut + 1], index[a : cut + 1])]
            complete.append((np.concatenate([e for e, _ in parts]), np.concatenate([i for _, i in parts])))
            self.parts, self.begin, a = [], int(index[cut]), cut
        self.parts.append((events[a:].copy(), index[a:]))
        return complete

    def rest(self) -> tuple[Events, npt.NDArray[np.int64]]:
        return np.concatenate([e for e, _ in self.parts]), np.concatenate([i for _, i in self.parts])


def _by_session(fs: FeatureSet, source: EventSource) -> Iterator[_Rows]:
    """Session after session of each instrument, its rows held back until no earlier one can come."""
    sessions: dict[int, _Session] = {}
    waiting: list[_Rows] = []
    first = 0

    def complete(piece: tuple[Events, npt.NDArray[np.int64]]) -> _Rows:
        rows = _computed(fs, piece[0], piece[1], source)
        if fs.trigger.every is not None:  # the last event is there for the boundary behind the one before it
            return rows
        return rows.some(rows.place < piece[1][-1])

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for chunk, accepted in _guarded(fs, source):
            used = np.flatnonzero(accepted)
            ids = chunk["instrument_id"][used]
            done = []
            for i in np.unique(ids).tolist():
                if i not in sessions:
                    calendar = fs.stream.calendar
                    own_calendar = source.instruments[i].calendar if calendar == INSTRUMENT else calendar
                    sessions[i] = _Session(fs, session_table(own_calendar))
                own = used[ids == i]
                done += sessions[i].take(chunk[own], own + first)
            first += len(chunk)
            waiting += pool.map(complete, done)
            if sum(len(w.place) for w in waiting) >= _ROWS:
                rows = _in_order(waiting)
                settled = int(np.searchsorted(rows.place, min(s.begin for s in sessions.values())))
                yield rows.some(slice(settled))
                waiting = [rows.some(np.arange(settled, len(rows.place)))]  # copies: the rest may go
        waiting += pool.map(lambda rest: _computed(fs, rest[0], rest[1], source), [s.rest() for s in sessions.values()])
    if waiting:
        yield _in_order(waiting)


def _in_order(parts: list[_Rows]) -> _Rows:
    """By arrival; an event that reaches several instruments, in the order of their ids."""
    rows = _Rows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    return rows.some(np.lexsort((rows.instrument_id, rows.place)))
