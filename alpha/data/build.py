"""Building blocks of the readers: times, event arrays, bad rows, tick inference. Floor 2."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError, need
from alpha.events import EVENT_DTYPE, Flag, Kind

UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
Events = npt.NDArray[Any]


@dataclass
class BadRows:
    """Rows that could not become events, by reason. With ``strict`` the first one raises DataError."""

    strict: bool = False
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str, where: str, rows: npt.NDArray[np.int64]) -> None:
        """Count ``rows`` (line or row numbers in ``where``) under ``reason``."""
        if len(rows) == 0:
            return
        if self.strict:
            raise DataError(f"{where}:{int(rows[0])}: bad row: {reason.replace('_', ' ')}")
        self.counts[reason] = self.counts.get(reason, 0) + len(rows)


def to_ns(column: Any, name: str, unit: str | None, tz: str | None) -> npt.NDArray[np.int64]:
    """A polars column of times as int64 ns UTC; 0 where a value is missing or unreadable.

    Integers and floats need ``unit``; text and datetimes must carry a zone, or ``tz`` must say it.
    Times that do not exist or are ambiguous in ``tz`` (daylight saving) count as unreadable.
    """
    pl = need("polars", "data")
    dtype = column.dtype
    if dtype.is_integer():
        if unit not in UNITS:
            raise DataError(f"column {name!r} holds integers: say their unit with ts_unit=, one of {', '.join(UNITS)}")
        values = column.cast(pl.Int64)
        limit = 2**62 // UNITS[unit]
        fits = (values > -limit) & (values < limit)
        return np.asarray((values * UNITS[unit]).set(~fits, None).fill_null(0).to_numpy(), dtype=np.int64)
    if dtype.is_float():
        if unit not in UNITS:
            raise DataError(f"column {name!r} holds floats: say their unit with ts_unit=, one of {', '.join(UNITS)}")
        values = column.to_numpy().astype(np.float64) * UNITS[unit]
        return np.where(np.isfinite(values) & (np.abs(values) < 2.0**62), np.rint(values), 0).astype(np.int64)
    if dtype == pl.String:
        column = _parse_text(column, name, tz)
    elif dtype == pl.Date:
        raise DataError(f"column {name!r} holds dates without a time of day: events need timestamps")
    elif not isinstance(dtype, pl.Datetime):
        raise DataError(f"column {name!r} of type {dtype} cannot be read as a time")
    if column.dtype.time_zone is None:
        if tz is None:
            raise DataError(
                f"column {name!r} holds times without a zone: say which with tz=, e.g. tz='UTC' or tz='America/New_York'"
            )
        _zone(tz)
        column = column.dt.replace_time_zone(tz, ambiguous="null", non_existent="null")
    utc = column.dt.convert_time_zone("UTC").dt.cast_time_unit("ns")
    return np.asarray(utc.dt.timestamp("ns").fill_null(0).to_numpy(), dtype=np.int64)


def _zone(tz: str) -> ZoneInfo:
    try:
        return ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError):
        raise DataError(f"time zone {tz!r} is unknown: use a name such as UTC or America/New_York") from None


def _parse_text(column: Any, name: str, tz: str | None) -> Any:
    """ISO text to datetimes; with zones to UTC, without to naive. A column must be one or the other."""
    zoned = column.str.contains(r"(Z|[+-]\d{2}:?\d{2})$").fill_null(False)
    if zoned.any():
        return column.str.replace(r"Z$", "+00:00").str.to_datetime(time_unit="ns", time_zone="UTC", strict=False)
    if tz is None:
        raise DataError(
            f"column {name!r} holds times without a zone: say which with tz=, e.g. tz='UTC' or tz='America/New_York'"
        )
    return column.str.to_datetime(time_unit="ns", strict=False)


def blank(n: int, kind: Kind, instrument_id: int | npt.NDArray[np.uint32]) -> Events:
    """``n`` events of a kind, flagged LAST, all values 0."""
    e = np.zeros(n, dtype=EVENT_DTYPE)
    e["kind"], e["instrument_id"], e["flags"] = kind, instrument_id, Flag.LAST
    return e


def set_times(e: Events, event_ns: npt.NDArray[np.int64] | None, recv_ns: npt.NDArray[np.int64] | None) -> None:
    """Exchange and receipt times; 0 in ``event_ns`` = missing, then the receipt time stands in, flagged."""
    if recv_ns is not None:
        e["ts_recv_ns"] = recv_ns
    if event_ns is None:
        assert recv_ns is not None
        event_ns = np.zeros(len(e), np.int64)
    missing = event_ns == 0
    e["ts_event_ns"] = np.where(missing, e["ts_recv_ns"], event_ns)
    e["flags"][missing] |= np.uint16(Flag.NO_TS_EVENT)


def weave(parts: list[tuple[npt.NDArray[np.int64], int, Events]]) -> Events:
    """Join event arrays by source row, then by rank within the row: ``(rows, rank, events)``."""
    parts = [p for p in parts if len(p[2])]
    if not parts:
        return np.zeros(0, dtype=EVENT_DTYPE)
    if len(parts) == 1:
        return parts[0][2]
    rows = np.concatenate([p[0] for p in parts])
    ranks = np.concatenate([np.full(len(p[2]), p[1]) for p in parts])
    return np.concatenate([p[2] for p in parts])[np.lexsort((ranks, rows))]


def decimal_grid(values: npt.NDArray[np.float64]) -> float | None:
    """Smallest power of ten that divides all values (to 1e-9 relative), None if there is none above 1e-10."""
    values = values[np.isfinite(values) & (values != 0)]
    if len(values) == 0:
        return None
    for digits in range(11):
        scaled = values * 10.0**digits
        if np.all(np.abs(scaled - np.rint(scaled)) <= 1e-9 * np.abs(scaled) + 1e-7):
            return float(f"1e-{digits}")
    return None


def infer_sizes(e: Events) -> tuple[float | None, float | None]:
    """(tick_size, lot_size) that fit the first events of an instrument."""
    v, kind = e["v"], e["kind"]
    quote, trade, bar = v[kind == Kind.QUOTE], v[kind == Kind.TRADE], v[kind == Kind.BAR]
    prices = np.concatenate([quote[:, :2].ravel(), trade[:, 0], bar[:, :4].ravel()])
    sizes = np.concatenate([quote[:, 2:4].ravel(), trade[:, 1], bar[:, 4]])
    return decimal_grid(prices[:20_000]), decimal_grid(sizes[:20_000])
