"""Instruments: names at the doors, positions on the hot path. Floor 1.

An instrument's id is its position in an :class:`Instruments` table. The table is immutable, so it
can be shared by threads and travel with every event file and log.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from alpha.errors import InstrumentError

_UNIT_NS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_LIMIT_NS = 2**62  # times and their sums fit an int64
_DURATION = re.compile(r"([0-9]+)(ns|us|ms|s|m|h|d)")
BAR_STAMPS = ("start", "close")
_TABLE_KEYS = frozenset({"instrument"})


def duration_ns(text: str) -> int:
    """Nanoseconds of a duration such as ``"1m"``, ``"250ms"`` or ``"2s"`` (a positive whole number and a unit)."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise InstrumentError(
            f"{text!r} is not a duration: write a positive whole number and one of {', '.join(_UNIT_NS)}, as in '1m'"
        )
    ns = int(match[1]) * _UNIT_NS[match[2]] if len(match[1]) < 20 else _LIMIT_NS
    if ns >= _LIMIT_NS:
        raise InstrumentError(f"the duration {text!r} is too long: at most {_LIMIT_NS // _UNIT_NS['d']:,} days")
    return ns


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """What the runtime knows about one instrument.

    ``tick_size`` and ``lot_size`` are increments of price and quantity (None: unknown). ``path`` is a
    file name or pattern (``bars/QQQ_1m_*.parquet``) whose rows belong to this instrument.
    ``clock_offset_ns`` is the exchange clock minus the local clock. ``bar_stamp`` says whether a bar's
    time is its ``start`` or its ``close``, ``bar`` how long it is. ``sessions``: ``regular`` lets models decide in the
    regular sessions of ``calendar`` only. ``source`` tells a declared
    instrument from one inferred from data.
    """

    symbol: str
    path: str = ""
    tick_size: float | None = None
    lot_size: float | None = None
    multiplier: float = 1.0
    currency: str = ""
    calendar: str = "24/7"
    clock_offset_ns: int = 0
    bar_stamp: Literal["start", "close"] | None = None
    bar: str = "1m"
    sessions: Literal["any", "regular"] = "any"
    family: dict[str, Any] | None = None
    source: Literal["declared", "inferred"] = "declared"

    @property
    def bar_ns(self) -> int:
        """Length of a bar in ns."""
        return duration_ns(self.bar)

    def owns(self, file: str | PurePath) -> bool:
        """Whether ``path`` names this file (compared from the right, ``*`` allowed)."""
        return bool(self.path) and PurePath(file).match(self.path)


def _check_symbol(name: str, where: str) -> None:
    if not name or name != name.strip():
        raise InstrumentError(f"{where}: a symbol must not be empty or padded with blanks, found {name!r}")
    if not name.isprintable():  # it is shown on terminals and pages, which such characters would steer
        raise InstrumentError(f"{where}: a symbol must not hold control or invisible characters, found {name!a}")


def _checked(instrument: Instrument, where: str) -> Instrument:
    name = instrument.symbol
    _check_symbol(name, where)
    for key in ("tick_size", "lot_size", "multiplier"):
        value = getattr(instrument, key)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InstrumentError(f"{where}: {key} of {name} must be a finite number above 0, found {value!r}")
    if abs(instrument.clock_offset_ns) >= _LIMIT_NS:
        raise InstrumentError(
            f"{where}: clock_offset_ns of {name} must lie within 2**62 ns, found {instrument.clock_offset_ns}"
        )
    try:
        duration_ns(instrument.bar)
    except InstrumentError as exc:
        raise InstrumentError(f"{where}: bar of {name}: {exc}") from None
    return instrument


_KEYS = tuple(field for field in Instrument.__struct_fields__ if field != "source")


def _from_mapping(row: Any, where: str, *, declared_only: bool) -> Instrument:
    """One table row as an Instrument. ``source`` is only legal where the table was written by us."""
    if not isinstance(row, Mapping):
        raise InstrumentError(f"{where}: an instrument is a table of keys, found {type(row).__name__}")
    allowed = _KEYS if declared_only else (*_KEYS, "source")
    for key in row:
        if key not in allowed:
            raise InstrumentError(f"{where}: unknown key {key!r}; known keys: {', '.join(_KEYS)}")
    if "symbol" not in row:
        raise InstrumentError(f"{where}: the key 'symbol' is missing")
    try:
        instrument = msgspec.convert(dict(row), Instrument)
    except msgspec.ValidationError as exc:
        raise InstrumentError(f"{where}: {row['symbol']!r}: {exc}") from None
    return _checked(instrument, where)


class Instruments:
    """An immutable table of instruments; ids are positions.

    >>> table = Instruments.of("BTCUSDT", "ETHUSDT")
    >>> table.id("ETHUSDT"), table.symbol(0), len(table)
    (1, 'BTCUSDT', 2)
    """

    __slots__ = ("_ids", "_rows")

    def __init__(self, rows: Iterable[Instrument] = ()) -> None:
        self._rows = tuple(rows)
        self._ids: dict[str, int] = {}
        for position, row in enumerate(self._rows):
            _check_symbol(row.symbol, f"instrument {position + 1}")
            if row.symbol in self._ids:
                raise InstrumentError(
                    f"instrument {row.symbol!r} is declared twice (positions {self._ids[row.symbol]} and {position})"
                )
            self._ids[row.symbol] = position

    @classmethod
    def of(cls, *instruments: str | Instrument) -> Instruments:
        """A table of bare symbols (nothing else known) and Instrument objects, in this order."""
        rows = (item if isinstance(item, Instrument) else Instrument(symbol=item) for item in instruments)
        return cls(_checked(row, "Instruments.of") for row in rows)

    @classmethod
    def load(cls, path: str | Path) -> Instruments:
        """Read ``instruments.toml``: one ``[[instrument]]`` table per instrument, ``symbol`` required.

        Raises InstrumentError for a missing or malformed file, an unknown key or a symbol declared twice.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as exc:
            said = (exc.strerror or str(exc)).lower()
            raise InstrumentError(f"{path}: the instruments cannot be read: {said}: name an instruments.toml") from None
        except UnicodeDecodeError as exc:
            raise InstrumentError(f"{path}: the instruments cannot be read: not UTF-8 text: {exc.reason}") from None
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as exc:
            raise InstrumentError(f"{path}: not valid TOML: {exc}") from None
        for key in table:
            if key not in _TABLE_KEYS:
                raise InstrumentError(f"{path}: unknown key {key!r}; instruments are written as [[instrument]] tables")
        rows = table.get("instrument", [])
        if not isinstance(rows, list):
            raise InstrumentError(f"{path}: write [[instrument]] with double brackets, one table per instrument")
        try:
            return cls(
                _from_mapping(row, f"{path}: instrument {number}", declared_only=True)
                for number, row in enumerate(rows, start=1)
            )
        except InstrumentError as exc:
            text = str(exc)
            raise InstrumentError(text if text.startswith(str(path)) else f"{path}: {text}") from None

    @classmethod
    def from_dicts(cls, rows: Iterable[Mapping[str, Any]]) -> Instruments:
        """The inverse of :meth:`as_dicts`."""
        return cls(
            _from_mapping(row, f"instrument {number}", declared_only=False) for number, row in enumerate(rows, start=1)
        )

    def as_dicts(self) -> list[dict[str, Any]]:
        """Plain rows for a file header or a log; :meth:`from_dicts` reads them back."""
        return [{field: getattr(row, field) for field in Instrument.__struct_fields__} for row in self._rows]

    def id(self, symbol: str) -> int:
        """Position of ``symbol``. Raises InstrumentError naming the known symbols."""
        try:
            return self._ids[symbol]
        except KeyError:
            names = ", ".join(list(self._ids)[:20]) or "none"
            more = f" and {len(self) - 20} more" if len(self) > 20 else ""
            raise InstrumentError(f"unknown instrument {symbol!r}; known: {names}{more}") from None

    def symbol(self, instrument_id: int) -> str:
        """Name of the instrument at a position."""
        return self[instrument_id].symbol

    def __getitem__(self, key: int | str) -> Instrument:
        position = self.id(key) if isinstance(key, str) else key
        if not 0 <= position < len(self._rows):
            raise InstrumentError(f"instrument id {position} is outside the table of {len(self._rows)} instruments")
        return self._rows[position]

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Instruments) and self._rows == other._rows

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Instruments({', '.join(self._ids)})"

    @property
    def symbols(self) -> tuple[str, ...]:
        """All names, in order of their ids."""
        return tuple(self._ids)

    def with_instrument(self, instrument: str | Instrument) -> Instruments:
        """A new table in which ``instrument`` replaces its namesake, keeping the id, or is appended."""
        row = instrument if isinstance(instrument, Instrument) else Instrument(symbol=instrument)
        _checked(row, "Instruments.with_instrument")
        rows = list(self._rows)
        if row.symbol in self._ids:
            rows[self._ids[row.symbol]] = row
        else:
            rows.append(row)
        return Instruments(rows)

    def for_file(self, file: str | PurePath) -> Instrument | None:
        """The instrument whose ``path`` names this file, or None. Raises InstrumentError if several do."""
        owners = [row for row in self._rows if row.owns(file)]
        if len(owners) > 1:
            names = ", ".join(row.symbol for row in owners)
            raise InstrumentError(f"{file}: the paths of several instruments name this file: {names}")
        return owners[0] if owners else None

    def _column(self, key: str, ids: npt.ArrayLike | None) -> npt.NDArray[np.float64]:
        values = [getattr(row, key) for row in self._rows]
        column = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
        return column if ids is None else column[np.asarray(ids)]

    def ticks(self, ids: npt.ArrayLike | None = None) -> npt.NDArray[np.float64]:
        """tick_size as float64 ``[n]``, NaN where unknown; of all instruments, or of ``ids``."""
        return self._column("tick_size", ids)

    def lots(self, ids: npt.ArrayLike | None = None) -> npt.NDArray[np.float64]:
        """lot_size as float64 ``[n]``, NaN where unknown; of all instruments, or of ``ids``."""
        return self._column("lot_size", ids)

    def clock_offsets_ns(self) -> npt.NDArray[np.int64]:
        """Exchange clock minus local clock, int64 ``[n]``."""
        return np.array([row.clock_offset_ns for row in self._rows], dtype=np.int64)

    def with_sizes(self, symbol: str, tick_size: float | None, lot_size: float | None) -> Instruments:
        """The table with inferred sizes filled in where none are declared."""
        row = self[symbol]
        tick, lot = row.tick_size or tick_size, row.lot_size or lot_size
        if (tick, lot) == (row.tick_size, row.lot_size):
            return self
        return self.with_instrument(msgspec.structs.replace(row, tick_size=tick, lot_size=lot, source="inferred"))
