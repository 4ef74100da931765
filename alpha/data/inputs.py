"""External series: funding rates, open interest, indices, scheduled news, as INPUT events in a stream. Floor 2.

An INPUT event carries the number of its series and a value (numerics rule 52). The number is the series' place
among those of the feature set in alphabetical order, so events are made for one set.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alpha.data.build import Events, Tally, blank, to_ns
from alpha.data.columns import ALIASES
from alpha.data.source import merge
from alpha.data.tables import parquet_frames
from alpha.data.text import LINE, csv_frames
from alpha.errors import DataError, need
from alpha.events import ALL_INSTRUMENTS, Kind
from alpha.features.feature_set import FeatureSet
from alpha.instruments import Instruments

Series = tuple[npt.ArrayLike, npt.ArrayLike]


def series_number(fs: FeatureSet, name: str) -> int:
    """What INPUT events of this series carry as v[0]; DataError names the series that the set reads."""
    names = fs.inputs
    if name not in names:
        known = ", ".join(names) or "none"
        raise DataError(f"feature set {fs.name!r} reads no external series {name!r}; it reads: {known}")
    return names.index(name)


def input_events(
    fs: FeatureSet, series: Mapping[str, Series], *, symbol: str | None = None, instruments: Instruments | None = None
) -> Events:
    """Values of external series as INPUT events in order of time, equal times in the order of the arguments.

    ``series``: name -> (times in ns UTC, values), both ``[N]``; a time is when the value was known, not the period it
    is about. For every instrument, or for ``symbol`` of the table ``instruments``.
    """
    if (symbol is None) != (instruments is None):
        raise DataError("symbol and instruments go together: the table says which id the symbol has")
    instrument_id = ALL_INSTRUMENTS if symbol is None or instruments is None else instruments.id(symbol)
    parts = []
    for name, (ts_ns, values) in series.items():
        times, numbers = np.asarray(ts_ns), np.asarray(values, np.float64)
        if times.dtype.kind not in "iu" or times.ndim != 1 or times.shape != numbers.shape:
            raise DataError(
                f"input {name!r}: give whole ns UTC [N] and as many values, "
                f"not {times.dtype} {times.shape} and {numbers.shape}"
            )
        e = blank(len(times), Kind.INPUT, instrument_id)
        e["ts_event_ns"], e["flags"] = times, 0
        e["v"][:, 0], e["v"][:, 1] = series_number(fs, name), numbers
        parts.append(e)
    events = np.concatenate(parts) if parts else blank(0, Kind.INPUT, instrument_id)
    return events[np.argsort(events["ts_event_ns"], kind="stable")]


def with_inputs(
    events: Events,
    fs: FeatureSet,
    series: Mapping[str, Series],
    *,
    symbol: str | None = None,
    instruments: Instruments | None = None,
) -> Events:
    """``events`` and external series as one stream: by the set's clock, market data first where times are equal.

    ``series``, ``symbol``, ``instruments``: see :func:`input_events`.
    """
    added = input_events(fs, series, symbol=symbol, instruments=instruments)
    parts = list(merge([iter([events]), iter([added])], fs.stream.clock))
    return np.concatenate(parts) if parts else events


def read_series(
    path: str | Path, column: str | None = None, *, ts_unit: str | None = None, tz: str | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """(times in ns UTC, values) of a Parquet or CSV table; rows without a value say nothing and are left out.

    The time is a column called ts or as in market data; ``column``: the value's, default the only other one.
    """
    pl = need("polars", "data")
    file = Path(path)
    if not file.is_file():
        raise DataError(f"input file {file} does not exist")
    if file.suffix.lower() in (".parquet", ".pq"):
        frames = parquet_frames(file, 262_144)
    elif file.name.lower().endswith((".csv", ".csv.gz", ".tsv")):
        frames = csv_frames(file, Tally(strict=True), 262_144, lambda rows: None)
    else:
        raise DataError(f"input file {file} must be a .parquet, .csv, .csv.gz or .tsv")
    times, values = [], []
    for frame in frames:
        ts, name = _columns([c for c in frame.columns if c != LINE], column, file)
        numbers = frame[name]
        if numbers.dtype == pl.String:
            stripped = numbers.str.strip_chars()
            numbers = stripped.cast(pl.Float64, strict=False)
            wrong = stripped.filter(numbers.is_null() & (stripped != ""))
            if len(wrong):
                raise DataError(f"{file}: column {name!r} holds {wrong[0]!r}, which is no number")
        elif not numbers.dtype.is_numeric():
            raise DataError(f"{file}: column {name!r} of type {numbers.dtype} holds no numbers")
        found = to_ns(frame[ts], f"{file}: column {ts!r}", ts_unit, tz)
        numbers = numbers.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        if np.any(found == 0):
            raise DataError(f"{file}: column {ts!r} has a row whose time is missing or unreadable")
        known = ~np.isnan(numbers)
        times.append(found[known])
        values.append(numbers[known])
    if not times:
        raise DataError(f"{file}: the table is empty")
    return np.concatenate(times), np.concatenate(values)


def _columns(names: list[str], column: str | None, file: Path) -> tuple[str, str]:
    """(time, value): what they are called here."""
    ts = [name for name in names if name.lower() in ALIASES["ts"] + ALIASES["ts_recv"]]
    if len(ts) != 1:
        raise DataError(
            f"{file}: one column must be the time and be called one of {', '.join(ALIASES['ts'])}; "
            f"it has: {', '.join(names)}"
        )
    others = [name for name in names if name != ts[0]]
    if column is None and len(others) != 1:
        raise DataError(f"{file}: say which column is the value, NAME={file}:COLUMN; it has: {', '.join(others)}")
    if column is not None and column not in others:
        raise DataError(f"{file}: there is no column {column!r}; it has: {', '.join(others)}")
    return ts[0], others[0] if column is None else column


def parse_option(text: str) -> tuple[str, str, str | None]:
    """(series, file, column or None) of ``NAME=FILE[:COLUMN]``, as the command line takes it."""
    name, sep, rest = text.partition("=")
    if not sep or not name or not rest:
        raise DataError(f"--input takes NAME=FILE or NAME=FILE:COLUMN, not {text!r}")
    file, colon, column = rest.rpartition(":")
    if not colon or Path(rest).is_file():
        return name, rest, None
    return name, file, column
