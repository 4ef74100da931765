"""Building blocks of the readers: times, event arrays, bad rows, tick inference. Floor 2."""

from __future__ import annotations

from collections.abc import Callable
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
class Tally:
    """What became of every row: ``used`` gave events, ``bad`` could not become one, ``ignored`` is sound but has
    nothing to say of its own. Each row stands in one of the three. With ``strict`` the first bad one raises DataError."""

    strict: bool = False
    used: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)

    def add(
        self, reason: str, where: str, rows: npt.NDArray[np.int64], detail: Callable[[int], str] | None = None
    ) -> None:
        """Count bad ``rows`` (line or row numbers in ``where``); ``detail(row number)`` says what is wrong with one."""
        if len(rows) == 0:
            return
        if self.strict:
            first = int(rows[0])
            said = detail(first) if detail is not None else ""
            raise DataError(f"{where}:{first}: bad row: {reason.replace('_', ' ')}{': ' if said else ''}{said}")
        self.count_bad(reason, len(rows))

    def count_bad(self, reason: str, rows: int) -> None:
        """Count bad rows that are known only in the end, and therefore never stop a reader."""
        if rows:
            self.bad[reason] = self.bad.get(reason, 0) + rows

    def ignore(self, reason: str, rows: int = 1) -> None:
        """Count rows that are sound but give no event of their own."""
        if rows:
            self.ignored[reason] = self.ignored.get(reason, 0) + rows

    def describe(self) -> str:
        """Why rows gave no events, e.g. ``2 bad (unparsable 2), 1 ignored (empty line 1)``."""
        parts = []
        for what, counts in (("bad", self.bad), ("ignored", self.ignored)):
            if counts:
                reasons = ", ".join(f"{reason.replace('_', ' ')} {n:,}" for reason, n in counts.items())
                parts.append(f"{sum(counts.values()):,} {what} ({reasons})")
        return ", ".join(parts)


def shown(value: object) -> str:
    """A value of a file inside a sentence: quoted and never long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]} ...'"


def known_zone(tz: str) -> None:
    """DataError if there is no such time zone."""
    try:
        ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise DataError(f"time zone {tz!r} is unknown: use a name such as UTC or America/New_York") from None


_NAIVE = "times without a zone: say which with --tz, e.g. --tz UTC or --tz America/New_York (Python: tz='UTC')"
_SOONEST_NS = 10**17  # 1973 in ns, the year 5138 in seconds: whole numbers above can only be ns


def to_ns(column: Any, label: str, unit: str | None, tz: str | None) -> npt.NDArray[np.int64]:
    """A polars column of times as int64 ns UTC; 0 where a value is missing or unreadable.

    ``label`` begins the error's sentence: the file and its own name of the column.
    Numbers need ``unit``, unless they are too large for anything but ns. Text holds numbers (read digit by
    digit, without a float in between) or ISO 8601 times. Datetimes and ISO times must carry a zone, or ``tz``
    must say it; times that do not exist or are ambiguous there (daylight saving) count as unreadable.
    """
    pl = need("polars", "data")
    dtype = column.dtype
    if dtype == pl.Null:
        return np.zeros(len(column), np.int64)
    if dtype.is_integer():
        factor = UNITS[_unit(column, label, unit)]
        values = column.cast(pl.Int64, strict=False)
        limit = 2**62 // factor
        fits = (values > -limit) & (values < limit)
        return np.asarray((values * factor).set(~fits, None).fill_null(0).to_numpy(), dtype=np.int64)
    if dtype.is_float():
        factor = UNITS[_unit(column, label, unit)]
        floats = column.fill_null(float("nan")).to_numpy().astype(np.float64) * factor
        sound = np.isfinite(floats) & (np.abs(floats) < 2.0**62)
        return np.rint(np.where(sound, floats, 0.0)).astype(np.int64)
    if dtype == pl.String:
        return _text_ns(column.str.strip_chars(), label, unit, tz)
    if dtype == pl.Date:
        raise DataError(f"{label} holds dates without a time of day: events need timestamps")
    if not isinstance(dtype, pl.Datetime):
        raise DataError(f"{label} of type {dtype} cannot be read as a time")
    if dtype.time_zone is None:
        column = _in_zone(column, label, tz)
    utc = column.dt.convert_time_zone("UTC").dt.cast_time_unit("ns")
    return np.asarray(utc.dt.timestamp("ns").fill_null(0).to_numpy(), dtype=np.int64)


def _unit(numbers: Any, label: str, unit: str | None) -> str:
    """The unit of numeric times: the declared one, or ns where nothing else is possible."""
    if unit in UNITS:
        return str(unit)
    largest = numbers.max()
    if unit is None and (largest is None or largest >= _SOONEST_NS):
        return "ns"
    raise DataError(
        f"{label} holds numbers: say their unit with --ts-unit, one of {', '.join(UNITS)} (Python: ts_unit='ms')"
    )


def _in_zone(column: Any, label: str, tz: str | None) -> Any:
    if tz is None:
        raise DataError(f"{label} holds {_NAIVE}")
    known_zone(tz)
    pl = need("polars", "data")
    try:
        return column.dt.replace_time_zone(tz, ambiguous="null", non_existent="null")
    except pl.exceptions.ComputeError:  # e.g. localtime: a link of the system, not a zone
        raise DataError(f"time zone {tz!r} is unknown: use a name such as UTC or America/New_York") from None


def decimal_ns(text: Any, digits: int) -> Any:
    """Decimal text as whole numbers of 10**-digits, exactly; further digits round half up; null if it is no number."""
    pl = need("polars", "data")
    parts = text.str.extract_groups(r"^(-?)([0-9]{1,19})(?:\.([0-9]*))?$").struct.unnest()
    sign, whole, fraction = (parts[column] for column in parts.columns)
    fraction = fraction.fill_null("")
    kept = pl.Series([0] * len(text), dtype=pl.Int64)
    if digits:
        kept = fraction.str.slice(0, digits).str.pad_end(digits, "0").cast(pl.Int64, strict=False)
    up = fraction.str.slice(digits, 1).cast(pl.Int64, strict=False).fill_null(0) >= 5
    number = whole.cast(pl.Int64, strict=False)
    limit = 2**62 // 10**digits
    number = number.set((number >= limit).fill_null(False), None)
    value = number * 10**digits + kept + up.cast(pl.Int64)
    return value * pl.select(pl.when(sign == "-").then(-1).otherwise(1)).to_series()


def _text_ns(text: Any, label: str, unit: str | None, tz: str | None) -> npt.NDArray[np.int64]:
    """Times written as text, row by row: what a row means does not depend on its neighbours."""
    pl = need("polars", "data")
    out = np.zeros(len(text), np.int64)
    numeric = text.str.contains(r"^-?[0-9]+(\.[0-9]*)?$").fill_null(False).to_numpy()
    if numeric.any():
        numbers = text.filter(pl.Series(numeric))
        digits = {"ns": 0, "us": 3, "ms": 6, "s": 9}[_unit(numbers.cast(pl.Float64), label, unit)]
        out[numeric] = decimal_ns(numbers, digits).fill_null(0).to_numpy()
    groups = text.str.extract_groups(
        r"^([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2})(:[0-9]{2})?(?:[.,]([0-9]{1,9}))?)?"
        r" ?(Z|[+-][0-9]{2}:?[0-9]{2})?$"
    ).struct.unnest()
    date, minutes, seconds, fraction, zone = (groups[column] for column in groups.columns)
    iso = date.is_not_null().to_numpy()
    if not iso.any():
        return out
    wall = date + " " + minutes.fill_null("00:00") + seconds.fill_null(":00")
    clock = wall.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="ms", strict=False)
    nanos = fraction.fill_null("").str.pad_end(9, "0").cast(pl.Int64).to_numpy()
    zoned = iso & zone.is_not_null().to_numpy()
    naive = iso & ~zoned
    if zoned.any():
        offset = zone.str.replace("Z", "+00:00").str.replace(":", "")
        minutes_off = offset.str.slice(1, 2).cast(pl.Int64) * 60 + offset.str.slice(3, 2).cast(pl.Int64)
        minutes_off = minutes_off * pl.select(pl.when(offset.str.starts_with("-")).then(-1).otherwise(1)).to_series()
        ms = clock.dt.timestamp("ms") - minutes_off * 60_000
        fine = zoned & ms.is_not_null().to_numpy()
        out[fine] = ms.fill_null(0).to_numpy()[fine] * 10**6 + nanos[fine]
    if naive.any():
        ms = _in_zone(clock, label, tz).dt.convert_time_zone("UTC").dt.timestamp("ms")
        fine = naive & ms.is_not_null().to_numpy()
        out[fine] = ms.fill_null(0).to_numpy()[fine] * 10**6 + nanos[fine]
    return out


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
    # quotes stand on the grid of orders; hidden orders and crosses trade between its points
    prices = next((p for p in (quote[:, :2].ravel(), trade[:, 0], bar[:, :4].ravel()) if len(p)), quote[:, 0])
    sizes = np.concatenate([quote[:, 2:4].ravel(), trade[:, 1], bar[:, 4]])
    return decimal_grid(prices), decimal_grid(sizes)
