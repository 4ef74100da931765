"""Rows of the native twin over whole arrays, for parity and snapshots. Floor 2.

The steps of the native program alone: guard and features, no model. The live pipeline runs the
same two functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha import sessions
from alpha._core.rows import RowMaker
from alpha.errors import DefinitionError, InstrumentError
from alpha.features.compile import compile_program
from alpha.features.expression import BarClock
from alpha.features.feature_set import FeatureSet
from alpha.features.language import Expr
from alpha.instruments import Instrument, Instruments

_LIMIT = 2.0**62


def surroundings(fs: FeatureSet, instruments: Instruments) -> dict[str, Any]:
    """What a program needs to know about its instruments, as keyword arguments of RowMaker and Pipeline.

    DefinitionError for a symbol that is not among them, InstrumentError where a size is not known that a bar or
    vpin counts in, DataError for a calendar that nobody knows.
    """
    for symbol in fs.symbols:
        if symbol not in instruments:
            known = ", ".join(instruments.symbols[:20]) or "none"
            raise DefinitionError(
                f'feature set {fs.name!r} looks at of("{symbol}", …), which is not among its instruments ({known}): '
                "add it to the table, and its events to the stream"
            )
    for instrument, clock in _counted(fs, instruments):
        _check_sizes(fs, instrument, clock)
    g = fs.stream.guard
    return {
        "lots": instruments.lots(),
        "ticks": instruments.ticks(),
        "clock_offsets_ns": instruments.clock_offsets_ns(),
        "sessions": sessions.tables_for(fs.stream.calendar, instruments) if fs.needs_sessions else None,
        "peers": [instruments.id(symbol) for symbol in fs.symbols],
        "guard": {
            "clock": fs.stream.clock,
            "crossed": g.crossed,
            "future_tolerance_ns": g.future_tolerance.ns,
            "duplicates": g.duplicates,
            "outlier": g.outlier,
        },
    }


def _counted(fs: FeatureSet, instruments: Instruments) -> Iterator[tuple[Instrument, BarClock]]:
    """Each instrument with each thing whose size is counted in its lots and ticks."""
    bar = fs.trigger.bar
    own = {c for e in fs.features.values() for c, symbol in _clocks(e, None) if symbol is None}
    if bar is not None and isinstance(bar.interval, BarClock):
        own.add(bar.interval)
    wanted = {(i.symbol, c) for i in instruments for c in own}
    wanted |= {(s, c) for e in fs.features.values() for c, s in _clocks(e, None) if s is not None}
    for symbol, clock in sorted(wanted, key=str):
        yield instruments[symbol], clock


def _clocks(e: Expr, symbol: str | None) -> Iterator[tuple[BarClock, str | None]]:
    """(what is counted, the instrument it stands for by ``of`` or None) of an expression."""
    if e.op == "of":
        symbol = str(e.params[0])
    elif e.op == "bar" and isinstance(e.params[0], BarClock):
        yield e.params[0], symbol
    elif e.op == "vpin":
        volume = e.param("volume")
        assert isinstance(volume, float)
        yield BarClock("vpin", volume), symbol
    for operand in e.args:
        yield from _clocks(operand, symbol)


def _check_sizes(fs: FeatureSet, instrument: Instrument, clock: BarClock) -> None:
    if clock.kind == "tick_bar":
        return
    lot, tick = instrument.lot_size, instrument.tick_size
    missing = [name for name, size in (("lot_size", lot), ("tick_size", tick)) if size is None]
    if clock.kind != "dollar_bar":
        missing = [name for name in missing if name == "lot_size"]
    what = f"{clock.kind}({clock.size:g}) of feature set {fs.name!r}"
    if missing:
        raise InstrumentError(
            f"{what} counts whole lots{' times ticks' if clock.kind == 'dollar_bar' else ''}, but the "
            f"{' and the '.join(missing)} of {instrument.symbol} is not known: declare it in instruments.toml"
        )
    assert lot is not None
    unit = lot if clock.kind != "dollar_bar" or tick is None else tick * lot
    if np.rint(np.float64(clock.size) / unit) >= _LIMIT:
        raise InstrumentError(f"{what} is 2**62 or more units of {unit:g} of {instrument.symbol}: make it smaller")


def row_maker(fs: FeatureSet, instruments: Instruments) -> RowMaker:
    """The native twin with its state: feed it chunk after chunk. Errors: see :func:`surroundings`."""
    return RowMaker(compile_program(fs), **surroundings(fs, instruments))


Rows = tuple[
    npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint32], npt.NDArray[np.float32], npt.NDArray[np.bool_]
]
"""Of each row: its event, time, instrument, values [N, F], and whether all features are ready."""


def next_rows(maker: RowMaker, events: npt.NDArray[Any]) -> Rows:
    """The maker's rows of the next events; places are counted within these."""
    rows = maker.rows(events)
    index, ready = np.asarray(rows["row_index"]), np.asarray(rows["ready"].all(axis=1))
    return index, rows["ts_ns"], rows["instrument_id"], rows["values"], ready


def native_rows(fs: FeatureSet, events: npt.NDArray[Any], instruments: Instruments) -> dict[str, npt.NDArray[Any]]:
    """Rows of an EVENT_DTYPE array: ``row_index`` int64 [N], ``values`` float32 [N, F], ``ready`` bool [N, F],
    ``ts_ns`` int64 [N], ``instrument_id`` uint32 [N]."""
    rows: dict[str, npt.NDArray[Any]] = row_maker(fs, instruments).rows(events)
    rows["row_index"] = np.asarray(rows["row_index"])
    return rows
