"""Tables to events: quotes, trades and bars in named columns, from Parquet, CSV or DataFrames. Floor 2.

A missing price becomes a NaN event, which the guard rejects and counts; a row that cannot be an event at
all is a bad row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.data.build import Events, Tally, blank, set_times, shown, to_ns, weave
from alpha.data.columns import CANONICAL, Layout
from alpha.data.text import LINE
from alpha.errors import DataError, need
from alpha.events import Flag, Kind

_WHOLE = ("ts", "ts_exch", "seq", "snapshot", "first_u", "last_u", "event_type")
_TEXT = ("ts", "ts_recv", "symbol", "kind", LINE)
_KIND_NAMES = {"quote": 1, "q": 1, "1": 1, "trade": 2, "t": 2, "2": 2, "bar": 3, "b": 3, "3": 3}
# words for the aggressor of a trade, as the numbers that a side is
_SIDES = {
    "buy": "1", "b": "1", "buyer": "1", "bought": "1",
    "sell": "-1", "s": "-1", "seller": "-1", "sold": "-1",
    "unknown": "0", "none": "0", "u": "0", "n": "0",
}  # fmt: skip


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
    tally: Tally
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
        empty = pl.from_arrow(file.schema_arrow.empty_table())
    except (Exception, pl.exceptions.PanicException) as exc:
        raise DataError(f"{path} is not a readable Parquet file: {_first_line(exc)}") from None
    if file.metadata.num_rows == 0:
        yield empty
    batches = file.iter_batches(batch_size=chunk)
    row = 0
    while True:
        try:
            batch = next(batches, None)
            frame = None if batch is None else pl.from_arrow(batch)
        except (Exception, pl.exceptions.PanicException) as exc:  # they have many; all mean damaged or strange content
            raise DataError(f"{path} cannot be read after row {row}: {_first_line(exc)}") from None
        if frame is None:
            return
        row += len(frame)
        yield frame


def _first_line(exc: BaseException) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]


def as_numbers(frames: Iterator[Any], file: File, required: tuple[str, ...]) -> Iterator[Any]:
    """Text columns as numbers, for readers that take numbers only; a row that lacks a required one is a bad row."""
    pl = need("polars", "data")
    row = 0
    for frame in frames:
        texts = [name for name in frame.columns if frame[name].dtype == pl.String]
        written = frame
        whole = pl.col([name for name in texts if name in _WHOLE]).str.strip_chars().cast(pl.Int64, strict=False)
        real = pl.col([name for name in texts if name not in _WHOLE]).str.strip_chars().cast(pl.Float64, strict=False)
        frame = frame.with_columns(whole, real)
        broken = frame.select(pl.any_horizontal(pl.col(required).is_null())).to_series().to_numpy()
        if broken.any():
            line = frame[LINE].to_numpy() if LINE in frame.columns else np.arange(row + 1, row + len(frame) + 1)

            def told(at: int, line: Any = line, frame: Any = frame, written: Any = written) -> str:
                i = int(np.flatnonzero(line == at)[0])
                name = next(n for n in required if frame[n][i] is None)
                return f"column {name!r} holds {shown(written[name][i])}, which is no number"

            file.tally.add("unparsable", file.name, line[broken], told)
            file.on_rows(int(np.count_nonzero(broken)))
        row += len(frame)
        yield frame.filter(pl.Series(~broken)) if broken.any() else frame


def table_events(frames: Iterator[Any], file: File, shape: Layout) -> Iterator[Events]:
    """Events of successive frames of one table of named columns."""
    pl = need("polars", "data")
    row = 0
    for frame in frames:
        line = frame[LINE].to_numpy() if LINE in frame.columns else np.arange(row + 1, row + len(frame) + 1)
        frame = frame.select([pl.col(own).alias(name) for name, own in shape.columns.items() if name in CANONICAL])
        yield _events(frame, file, line, shape)
        row += len(frame)
        file.on_rows(len(frame))


def _check_type(dtype: Any, name: str, file: File, shape: Layout) -> None:
    pl = need("polars", "data")
    plain = dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Null)
    if name not in ("ts", "ts_recv") and not plain and not isinstance(dtype, (pl.Categorical, pl.Enum)):
        raise DataError(f"{file.name}: column {shape.own(name)!r} of type {dtype} holds neither numbers nor text")


def _numbers(frame: Any, n: int) -> tuple[Any, npt.NDArray[np.bool_]]:
    """Text columns as numbers; True where something was written that is no number."""
    pl = need("polars", "data")
    broken = np.zeros(n, np.bool_)
    for name in frame.columns:
        dtype = frame[name].dtype
        if name in _TEXT or not (dtype == pl.String or isinstance(dtype, (pl.Categorical, pl.Enum))):
            continue
        text = frame[name].cast(pl.String).str.strip_chars()
        if name == "side":
            lower = text.str.to_lowercase()
            text = lower.replace_strict(_SIDES, default=lower, return_dtype=pl.String)
        numbers = text.cast(pl.Float64, strict=False)
        broken |= (numbers.is_null() & text.is_not_null() & (text != "")).to_numpy()
        frame = frame.with_columns(numbers.alias(name))
    return frame, broken


class _Faults:
    """What is wrong with a row of a frame, told in the table's own names."""

    def __init__(self, written: Any, read: Any, line: npt.NDArray[np.int64], shape: Layout) -> None:
        self.written, self.read, self.line, self.shape = written, read, line, shape

    def _value(self, name: str, row: int) -> str:
        at = int(np.flatnonzero(self.line == row)[0])
        return f"column {self.shape.own(name)!r} holds {shown(self.written[name][at])}"

    def number(self, row: int) -> str:
        at = int(np.flatnonzero(self.line == row)[0])
        for name in self.written.columns:
            text, number = self.written[name][at], self.read[name][at]
            if name not in _TEXT and number is None and isinstance(text, str) and text.strip():
                return f"{self._value(name, row)}, which is no {'side' if name == 'side' else 'number'}"
        return ""

    def time(self, row: int) -> str:
        names = [name for name in ("ts", "ts_recv") if name in self.written.columns]
        return f"{' and '.join(self._value(name, row) for name in names)}, which is no time"

    def kind(self, row: int) -> str:
        if "kind" in self.written.columns:
            return f"{self._value('kind', row)}, which is none of quote, trade, bar (1, 2, 3)"
        names = [self.shape.own(name) for name in ("px", "bid_px", "open") if name in self.written.columns]
        return f"no value in any of the columns {', '.join(names)}"


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


def _events(frame: Any, file: File, line: npt.NDArray[np.int64], shape: Layout) -> Events:
    n = len(frame)
    for name in frame.columns:
        _check_type(frame[name].dtype, name, file, shape)
    written = frame
    frame, broken = _numbers(frame, n)

    def times_of(name: str) -> npt.NDArray[np.int64] | None:
        if name not in frame.columns:
            return None
        label = f"{file.name}: column {shape.own(name)!r}"
        return to_ns(frame[name], label, file.options.ts_unit, file.options.tz)

    ts, recv = times_of("ts"), times_of("ts_recv")
    timeless = np.ones(n, np.bool_)
    for times in (ts, recv):
        if times is not None:
            timeless &= times == 0
    kinds = _kinds(frame, n)
    known = np.zeros(n, np.bool_)
    for _, rows in kinds:
        known |= rows
    faults = _Faults(written, frame, line, shape)
    file.tally.add("unparsable", file.name, line[broken], faults.number)
    file.tally.add("bad_time", file.name, line[timeless & ~broken], faults.time)
    file.tally.add("unknown_kind", file.name, line[~known & ~timeless & ~broken], faults.kind)
    good = ~broken & ~timeless
    file.tally.used += int(np.count_nonzero(good & known))
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
