"""The batch twin: a feature set over whole arrays of events. Floor 2.

Vectorised with numpy, sequential parts by numba; none of the native code. Each instrument's
accepted events become a timeline of *steps*: a READ at a boundary of ``every(d)``, a CLOSE
where built bars end, and the event's OWN update, in this order. Every expression node is a
column over the steps: its value, whether it passes an update on, whether it is ready. Instruments are
computed side by side; those that ``of`` names come first.

    >>> rows = compute(feature_set, events, instruments)   # doctest: +SKIP
    >>> rows.values.shape, rows.ready.shape                # doctest: +SKIP
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError, DefinitionError, need
from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, Kind
from alpha.features._batch_bars import Market, check_sizes
from alpha.features._batch_columns import Column, Columns, Kernels
from alpha.features._batch_formulas import exp, log
from alpha.features._batch_nodes import build_column
from alpha.features._batch_sessions import Seen
from alpha.features._batch_timeline import Bools, Floats, Ints, Timeline
from alpha.features._batch_windows import WINDOWED
from alpha.features.feature_set import FeatureSet
from alpha.features.language import Expr, resets, walk
from alpha.instruments import Instruments
from alpha.sessions import INSTRUMENT, SessionTable, session_table, tables_for

__all__ = ["Detail", "Rows", "compute", "compute_detail", "exp", "log"]


class Rows(NamedTuple):
    """Feature rows: ``row_index`` int64 [N] into the events, ``values`` float32 [N, F], ``ready`` bool [N]."""

    row_index: Ints
    values: npt.NDArray[np.float32]
    ready: Bools


@dataclass(frozen=True, slots=True)
class Detail:
    """Rows with what parity needs: readiness per feature [N, F], decision times [N], instruments [N], and
    ``scale`` [N, F], the largest direct operand of each feature's root operator so far (rule 48);
    ``exact`` [N, F]: the float64 values before rounding, for labels and prices."""

    rows: Rows
    ready: Bools
    ts_ns: Ints
    instrument_id: npt.NDArray[np.uint32]
    scale: Floats | None
    exact: Floats


def compute(
    fs: FeatureSet, events: npt.NDArray[Any], instruments: Instruments | None, accepted: Bools | None = None
) -> Rows:
    """Rows of a feature set over guarded events.

    ``events``: EVENT_DTYPE array in arrival order; ``accepted``: bool [len(events)], the guard's verdict
    (all if None); ``instruments``: their names, tick and lot sizes and calendars (None: as many as the ids show,
    nothing known of them).

    Raises DataError for arrays that are not these and unknown calendars, DefinitionError for an ``of`` of a symbol
    that is not among the instruments, InstrumentError where a bar or bucket needs a lot or tick size that is unknown.
    """
    return _compute(fs, events, instruments, accepted, with_scale=False, with_exact=False).rows


def compute_detail(
    fs: FeatureSet,
    events: npt.NDArray[Any],
    instruments: Instruments | None,
    accepted: Bools | None = None,
    with_scale: bool = False,
    threads: int | None = None,
) -> Detail:
    """Like :func:`compute`, with readiness per feature, decision times and operand scales. ``threads``: at most so many
    (default: one a processor); the bits are the same."""
    return _compute(fs, events, instruments, accepted, with_scale=with_scale, with_exact=True, threads=threads)


def _compute(
    fs: FeatureSet,
    events: npt.NDArray[Any],
    instruments: Instruments | None,
    accepted: Bools | None,
    with_scale: bool,
    with_exact: bool,
    threads: int | None = None,
) -> Detail:
    used = _of_interest(events, accepted)
    ids = events["instrument_id"][used].astype(np.int64)
    n = len(instruments) if instruments is not None else int(ids[ids != ALL_INSTRUMENTS].max(initial=-1)) + 1
    markets = _markets(fs, instruments, n)
    if (ids[1:] < ids[:-1]).any():
        by_instrument = np.argsort(ids, kind="stable")
        used, ids = used[by_instrument], ids[by_instrument]
    first = np.searchsorted(ids, np.arange(n + 1))
    to_all = used[np.searchsorted(ids, ALL_INSTRUMENTS) :]
    kernels = _kernels()

    def columns_of(i: int, seen: dict[Expr, Seen]) -> Columns:
        own = used[first[i] : first[i + 1]]
        mine = np.sort(np.concatenate([own, to_all])) if len(to_all) else own
        return Columns(Timeline.build(fs, events, mine, markets[i], kernels.clocks), kernels, seen, build_column)

    looked_at = _looked_at(fs, markets)
    busy = range(n) if len(to_all) else np.flatnonzero(np.diff(first)).tolist()
    cores = (os.cpu_count() or 1) if threads is None else threads
    workers = min(max(len(busy), len(looked_at), 1), cores)
    helping = max(1, cores // workers)
    # numpy and the kernels drop the GIL; the crew shares the features of one instrument where there are too few of these
    with ThreadPoolExecutor(workers) as pool, ThreadPoolExecutor(max(1, helping - 1)) as crew:
        # one alone stays on this thread: a thread per call would leave the allocator an arena each
        each: Callable[..., Iterator[Any]] = pool.map if workers > 1 else map

        def share(work: Callable[[int], object], over: Iterable[int]) -> None:
            """All of them, by this thread and the crew: whoever is free takes the next."""
            left = iter(list(over))

            def take() -> None:
                for i in left:
                    work(i)

            running = [crew.submit(take) for _ in range(helping - 1)]
            take()
            for future in running:
                future.result()

        others = dict(zip(looked_at, each(lambda i: columns_of(i, {}), looked_at), strict=True))
        seen: dict[Expr, Seen] = {}
        for found in each(lambda i: _seen(others[i], looked_at[i]), looked_at):
            seen |= found

        def part(i: int) -> Detail | None:
            columns = others[i] if i in others else columns_of(i, seen)
            columns.seen = seen
            return _evaluate(fs, columns, i, with_scale, with_exact, share) if len(columns.line.t) else None

        parts: list[Detail] = [p for p in each(part, busy) if p is not None]
    f = len(fs.features)
    if not parts:
        empty = Rows(np.zeros(0, np.int64), np.zeros((0, f), np.float32), np.zeros(0, np.bool_))
        return Detail(
            empty, np.zeros((0, f), np.bool_), np.zeros(0, np.int64), np.zeros(0, np.uint32), None, np.zeros((0, f))
        )
    if len(parts) == 1:
        return parts[0]
    index = np.concatenate([p.rows.row_index for p in parts])
    who = np.concatenate([p.instrument_id for p in parts])
    order = np.lexsort((who, index))
    whole = np.concatenate([p.rows.ready for p in parts])[order]
    ready = np.concatenate([p.ready for p in parts])
    values = np.concatenate([p.rows.values for p in parts])[order]
    scales = [p.scale for p in parts if p.scale is not None]
    exact = np.concatenate([p.exact for p in parts])
    return Detail(
        Rows(index[order], values, whole),
        ready[order] if with_exact else ready,
        np.concatenate([p.ts_ns for p in parts])[order],
        who[order],
        np.concatenate(scales)[order] if scales else None,
        exact[order] if with_exact else exact,
    )


def _markets(fs: FeatureSet, instruments: Instruments | None, n: int) -> list[Market]:
    """What is known about each of ``n`` instruments, checked against what the set needs of it."""
    calendar = fs.stream.calendar
    tables: list[SessionTable | None] = [None] * n
    if fs.needs_sessions:
        if calendar != INSTRUMENT:
            tables = [session_table(calendar)] * n
        elif instruments is not None:
            tables = [*tables_for(calendar, instruments)]
        else:
            raise DefinitionError(f'calendar "{INSTRUMENT}" is each instrument\'s own: give instruments')
    symbols = tuple(f"instrument {i}" for i in range(n)) if instruments is None else instruments.symbols
    for name in fs.symbols:
        if name not in symbols or instruments is None:
            known = ", ".join(symbols[:20]) if instruments is not None else "none was given"
            raise DefinitionError(
                f'feature set {fs.name!r} looks at of("{name}", ...), but {name} is not among the instruments: {known}'
            )
    unknown = np.full(n, np.nan)
    lots, ticks = (unknown, unknown) if instruments is None else (instruments.lots(), instruments.ticks())
    markets = [Market(i, symbols[i], float(lots[i]), float(ticks[i]), tables[i]) for i in range(n)]
    check_sizes(fs, instruments, markets)
    return markets


def _looked_at(fs: FeatureSet, markets: list[Market]) -> dict[int, list[Expr]]:
    """Each instrument that ``of`` names, and the ``of`` nodes that name it."""
    nodes = dict.fromkeys(n for e in fs.features.values() for n in walk(e) if n.op == "of")
    ids = {m.symbol: m.instrument for m in markets}
    found: dict[int, list[Expr]] = {}
    for node in nodes:
        found.setdefault(ids[str(node.params[0])], []).append(node)
    return found


def _seen(columns: Columns, nodes: list[Expr]) -> dict[Expr, Seen]:
    """What each of these ``of`` nodes shows of the instrument that the columns belong to."""
    with np.errstate(all="ignore"):
        return {e: Seen.of(columns.line, columns.of(e.args[0]), resets(e.args[0])) for e in nodes}


def _of_interest(events: npt.NDArray[Any], accepted: Bools | None) -> Ints:
    """Indices of the events that features see; DataError where the arrays are not what they should be."""
    if getattr(events, "dtype", None) != EVENT_DTYPE or events.ndim != 1:
        raise DataError("events must be a one-dimensional array of EVENT_DTYPE: read them with alpha.data")
    kind = np.ascontiguousarray(events["kind"])  # looked at more than once
    seen = kind != Kind.CONTROL
    to_all = events["instrument_id"] == ALL_INSTRUMENTS
    if to_all.any():
        seen &= ~to_all | (kind == Kind.TIMER) | (kind == Kind.STATUS) | (kind == Kind.INPUT)
    if accepted is not None:
        verdict = np.asarray(accepted)
        if verdict.dtype != np.bool_ or verdict.shape != events.shape:
            found = f"{verdict.dtype} {list(verdict.shape)}"
            raise DataError(f"accepted must be bool [{len(events)}], one verdict per event, not {found}")
        seen &= verdict
    return np.flatnonzero(seen)


def _kernels() -> Kernels:
    """The compiled parts; not at import, for numba is an extra and takes its time to load."""
    need("numba", "data")
    return Kernels(
        importlib.import_module("alpha.features._batch_kernels"),
        importlib.import_module("alpha.features._batch_spread"),
        importlib.import_module("alpha.features._batch_recursive"),
        importlib.import_module("alpha.features._batch_orders"),
        importlib.import_module("alpha.features._batch_sums"),
        importlib.import_module("alpha.features._batch_clocks"),
        importlib.import_module("alpha.features._batch_steps"),
    )


_ROWS = 1 << 15  # written at a time by one thread


def _alone(work: Callable[[int], object], over: Iterable[int]) -> None:
    for i in over:
        work(i)


def _evaluate(
    fs: FeatureSet,
    columns: Columns,
    instrument: int,
    with_scale: bool,
    with_exact: bool,
    share: Callable[[Callable[[int], object], Iterable[int]], None],
) -> Detail:
    line = columns.line
    pick = line.rows
    n, f = len(pick), len(fs.features)
    scale = np.zeros((n, f)) if with_scale else None
    features = list(fs.features.values())

    def column_of(e: Expr) -> Column:
        with np.errstate(all="ignore"):  # of this thread
            return columns.of(e)

    # what looks through windows takes longest, and nobody waits for it at the end
    windows = [sum(x.op in WINDOWED for x in walk(e)) for e in features]
    longest = sorted(range(f), key=lambda j: -windows[j])
    spread = share if len(line.t) > _ROWS else _alone
    spread(lambda j: column_of(features[j]), longest)
    shown = [column_of(e) for e in features]
    table = [np.ascontiguousarray(c.value, np.float64) for c in shown]
    flags = [np.ascontiguousarray(c.ready, np.bool_) for c in shown]
    assert all(x.shape == line.t.shape for x in (*table, *flags))  # the kernel takes addresses only
    if not with_exact:  # whether a row is ready, without telling of which feature
        flags = list({id(x): x for x in flags}.values())
    places = [np.array([x.ctypes.data for x in part], np.uint64) for part in (table, flags)]
    detailed = (n if with_exact else 0, f)
    exact, ready = np.empty(detailed), np.empty(detailed, np.bool_)
    values, whole = np.empty((n, f), np.float32), np.ones(n, np.bool_)

    def write(at: int) -> None:
        columns.kernels.steps.write(*places, len(line.t), pick, exact, values, ready, whole, at, min(at + _ROWS, n))

    spread(write, range(0, n, _ROWS))
    if scale is not None:
        for j, e in enumerate(features):
            for a in (e,) if e.op == "of" else e.args or (e,):
                operand = np.abs(column_of(a).value)
                largest = np.maximum.accumulate(np.where(np.isfinite(operand), operand, 0.0))
                scale[:, j] = np.maximum(scale[:, j], largest[pick])
    rows = Rows(line.event_of[pick], values, whole)
    return Detail(rows, ready, line.t[pick], np.full(n, instrument, np.uint32), scale, exact)
