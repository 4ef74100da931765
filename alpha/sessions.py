"""Trading sessions as compact tables: when a market opens, breaks and closes. Floor 1.

A table is made offline from exchange-calendars (``alpha sessions XNYS --out DIR``); those of the larger markets come
with the package. Nothing here is needed on the hot path but the arrays. The future part of a table is what the
calendar foresaw when it was made: make it anew when an exchange announces a change.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError, need

ALWAYS = "24/7"
INSTRUMENT = "instrument"
"""As a stream's calendar: each instrument's own."""
_ALIASES = {"XNAS": "XNYS", "NYSE": "XNYS", "NASDAQ": "XNYS", "CME": "CMES", "LSE": "XLON", "24X7": ALWAYS}
_MINUTE_NS = 60 * 10**9
_DAY_NS = 86_400 * 10**9
_MAX_FILE_BYTES = 8 * 1024 * 1024
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SessionTable:
    """Sessions of one market in order: ``opens``, ``closes``, ``break_starts``, ``break_ends``, int64 ns UTC ``[N]``.

    A session without a break has both break times at its close. Sessions do not overlap.
    """

    name: str
    opens: Ints
    closes: Ints
    break_starts: Ints
    break_ends: Ints

    def __post_init__(self) -> None:
        columns = (self.opens, self.break_starts, self.break_ends, self.closes)
        if not all(c.dtype == np.int64 and c.shape == self.opens.shape and c.ndim == 1 for c in columns):
            raise DataError(f"calendar {self.name}: its columns must be int64 [N], all of one length")
        if not len(self.opens):
            raise DataError(f"calendar {self.name} has no session")
        ordered = all(bool(np.all(a <= b)) for a, b in itertools.pairwise(columns)) and bool(
            np.all(self.opens < self.closes)
        )
        if not ordered or bool(np.any(self.opens[1:] < self.closes[:-1])):
            raise DataError(
                f"calendar {self.name}: a session must open before it closes, and before the next one opens"
            )
        for c in columns:
            c.setflags(write=False)

    def __len__(self) -> int:
        return len(self.opens)

    @classmethod
    def of(cls, name: str, sessions: Iterable[tuple[int, int] | tuple[int, int, int, int]]) -> SessionTable:
        """From (open, close) or (open, break start, break end, close) in ns."""
        rows = [(s[0], s[1], s[1], s[1]) if len(s) == 2 else s for s in sessions]
        columns = np.array(rows, np.int64).reshape(-1, 4).T
        opens, starts, ends, closes = (np.ascontiguousarray(c) for c in columns)
        return cls(name, opens, closes, starts, ends)

    @cached_property
    def sha256(self) -> str:
        """Of the four columns: two tables of one name may differ when they were made at different times."""
        columns = (self.opens, self.closes, self.break_starts, self.break_ends)
        return hashlib.sha256(b"".join(c.astype("<i8").tobytes() for c in columns)).hexdigest()

    def index(self, t: npt.ArrayLike, by_close: bool = False) -> Ints:
        """Session that each time (ns) belongs to, -1 before the first: the last that opened at or before it
        (``by_close``: before it, for bars, which are stamped with their close)."""
        return np.searchsorted(self.opens, t, side="left" if by_close else "right") - 1

    def is_open(self, t: npt.ArrayLike, by_close: bool = False) -> npt.NDArray[np.bool_]:
        """Whether each time (ns) lies in a regular session and outside of its break, see numerics rule 50."""
        times = np.asarray(t, np.int64)
        k = self.index(times, by_close)
        at = np.maximum(k, 0)
        if by_close:
            paused = (times > self.break_starts[at]) & (times <= self.break_ends[at])
            return np.asarray((k >= 0) & (times <= self.closes[at]) & ~paused)
        paused = (times >= self.break_starts[at]) & (times < self.break_ends[at])
        return np.asarray((k >= 0) & (times < self.closes[at]) & ~paused)

    def to_bytes(self) -> bytes:
        """A file for :func:`session_table`: whole minutes since 1970, each less the one before it, as int32."""
        columns: dict[str, Any] = {}
        for name in ("opens", "closes", "break_starts", "break_ends"):
            minutes, rest = np.divmod(getattr(self, name), _MINUTE_NS)
            if rest.any():
                raise DataError(f"calendar {self.name}: {name} holds times that are not whole minutes")
            columns[name] = np.diff(minutes, prepend=0).astype("<i4")
        if np.array_equal(columns["break_starts"], columns["closes"]):
            del columns["break_starts"], columns["break_ends"]
        out = io.BytesIO()
        np.savez_compressed(out, **columns)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, name: str, data: bytes) -> SessionTable:
        """Inverse of :meth:`to_bytes`; DataError for anything else."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                columns = {key: np.cumsum(file[key].astype(np.int64)) * _MINUTE_NS for key in file.files}
            closes = columns["closes"]
            starts, ends = columns.get("break_starts", closes), columns.get("break_ends", closes)
            return cls(name, columns["opens"], closes, starts, ends)
        except DataError:
            raise
        except Exception as exc:  # of numpy, zipfile and zlib, for bytes that are none of theirs
            raise DataError(
                f"calendar {name}: its file is damaged ({exc}): make it with  alpha sessions {name}"
            ) from None


def file_name(name: str) -> str:
    """Where a calendar of this name is kept."""
    return name.replace("/", "-") + ".npz"


def shipped() -> tuple[str, ...]:
    """Calendars that come with the package."""
    found = resources.files("alpha").joinpath("calendars").iterdir()
    return tuple(sorted(Path(f.name).stem.replace("-", "/") for f in found if f.name.endswith(".npz")))


@cache
def _days() -> SessionTable:
    opens = np.arange(0, 130 * 366, dtype=np.int64) * _DAY_NS
    return SessionTable(ALWAYS, opens, opens + _DAY_NS, opens + _DAY_NS, opens + _DAY_NS)


def session_table(name: str) -> SessionTable:
    """The sessions of a calendar: ``24/7`` (days of UTC), one from ``$ALPHA_CALENDARS``, one that comes with the
    package, else one made now by exchange-calendars. DataError if nobody knows it."""
    wanted = _ALIASES.get(name, name)
    return _days() if wanted == ALWAYS else _found(wanted, os.environ.get("ALPHA_CALENDARS", ""))


@cache
def _found(name: str, folder: str) -> SessionTable:
    if folder:
        own = Path(folder) / file_name(name)
        if own.is_file():
            if own.stat().st_size > _MAX_FILE_BYTES:
                raise DataError(f"calendar file {own} is larger than {_MAX_FILE_BYTES} bytes")
            return SessionTable.from_bytes(name, own.read_bytes())
    if name in shipped():
        return SessionTable.from_bytes(
            name, resources.files("alpha").joinpath("calendars").joinpath(file_name(name)).read_bytes()
        )
    try:
        return make(name)
    except ImportError:
        raise DataError(
            f"calendar {name!r} is not among those that come with the package ({ALWAYS}, {', '.join(shipped())}): "
            "install alpha-runtime[ops] for the others"
        ) from None


def make(name: str, start: str = "1990-01-01", end: str | None = None) -> SessionTable:
    """A table from exchange-calendars (extra ``ops``); DataError for a name it does not know or dates it cannot give.

    ``end``: default the end of next year, or what the calendar knows: an exchange announces its holidays about that
    far ahead.
    """
    xc = need("exchange_calendars", "ops")
    try:
        probe = xc.get_calendar(name)
        first, last = np.datetime64(start), np.datetime64(end or f"{dt.datetime.now(dt.UTC).year + 1}-12-31")
        earliest, latest = probe.bound_min(), probe.bound_max()
        if earliest is not None:
            first = max(first, np.datetime64(earliest.to_datetime64(), "D"))
        if latest is not None and end is None:
            last = min(last, np.datetime64(latest.to_datetime64(), "D"))
        schedule = xc.get_calendar(name, start=str(first), end=str(last)).schedule
    except xc.errors.InvalidCalendarName:
        raise DataError(
            f"unknown calendar {name!r}: use {ALWAYS} or one of {', '.join(sorted(xc.get_calendar_names()))}"
        ) from None
    except ValueError as exc:
        raise DataError(f"calendar {name} from {start} to {end}: {exc}") from None

    def ns(column: str) -> Ints:
        return np.asarray(schedule[column].to_numpy("datetime64[ns]")).astype(np.int64)

    closes = ns("close")
    none = np.asarray(schedule["break_start"].isna())
    starts, ends = np.where(none, closes, ns("break_start")), np.where(none, closes, ns("break_end"))
    return SessionTable(name, ns("open"), closes, starts, ends)


def tables_for(calendar: str, instruments: Iterable[Any]) -> list[SessionTable]:
    """One table per instrument for a stream's ``calendar`` (see :class:`alpha.features.feature_set.StreamSpec`)."""
    return [session_table(i.calendar if calendar == INSTRUMENT else calendar) for i in instruments]
