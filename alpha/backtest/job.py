"""A whole backtest as plain data: what a process of a sweep is given, and what the command line makes. Floor 7."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from alpha.backtest.engine import MEASURED_EVENTS, Backtest, Finished
from alpha.backtest.latency import Histogram, Latency
from alpha.backtest.serving import Served, serve_all
from alpha.backtest.settings import Settings
from alpha.data import EventSource, open_events
from alpha.errors import DataError
from alpha.events import Kind
from alpha.instruments import Instrument, Instruments
from alpha.strategies import make
from alpha.strategies.base import Strategy


@dataclass(frozen=True)
class Job:
    """``symbols``: what is traded, the first gives the days; ``instruments``: these and their legs, with the files that
    belong to each in ``files``; ``reading``: options of :func:`alpha.open_events`."""

    symbols: tuple[str, ...]
    strategy: str
    params: dict[str, Any]
    instruments: tuple[Instrument, ...]
    files: tuple[tuple[str, ...], ...]
    settings: Settings = field(default_factory=Settings)
    registry: str | None = None
    reading: dict[str, Any] = field(default_factory=dict)
    audit: str | None = None
    out: str | None = None
    measure: bool = False

    def with_params(self, **params: Any) -> Job:
        """The same with other parameters, without logs."""
        return dataclasses.replace(self, params={**self.params, **params}, audit=None, out=None, measure=False)

    def between(self, start_ns: int, stop_ns: int) -> Job:
        """The same over another stretch of time."""
        settings = dataclasses.replace(self.settings, start_ns=start_ns, stop_ns=stop_ns)
        return dataclasses.replace(self, settings=settings)


@dataclass(frozen=True)
class Prepared:
    """A job with everything opened."""

    strategy: Strategy
    served: list[Served]
    source: EventSource
    table: Instruments
    bar_ns: int | None


def _own_names(job: Job) -> Instruments:
    """The table in which every file belongs to one instrument, by its own name."""
    rows = []
    for item, files in zip(job.instruments, job.files, strict=True):
        rows.append(item if len(files) != 1 else msgspec.structs.replace(item, path=Path(files[0]).name))
    return Instruments(rows)


def open_source(job: Job, clock: str, progress: Callable[[int], None] | None = None) -> EventSource:
    """The merged stream of all instruments; DataError if it holds no event."""
    flat = [f for files in job.files for f in files]
    single = len(job.instruments) == 1
    source = open_events(
        flat if len(flat) > 1 else flat[0],
        instruments=_own_names(job),
        instrument=job.instruments[0].symbol if single else None,
        clock=clock,
        progress=progress,
        **job.reading,
    )
    if source.empty:
        raise DataError(source.why_empty())
    return source


def prepare(job: Job, progress: Callable[[int], None] | None = None) -> Prepared:
    """Make the strategy, verify its models, open the data."""
    strategy = make(job.strategy, job.params)
    source = open_source(job, "recv", progress)
    bar = _bar_of(job, source)
    text = None if bar is None else _duration_text(bar)
    served = list(serve_all(job.registry, strategy, text))
    clock = served[0].bundle.feature_set.stream.clock
    if clock != "recv":
        source = open_source(job, clock, progress)
    return Prepared(strategy, served, source, source.instruments, bar)


def _bar_of(job: Job, source: EventSource) -> int | None:
    """Length of a bar of the first traded symbol, if the data are bars."""
    if Kind.BAR not in source.first_kinds:
        return None
    return source.instruments[job.symbols[0]].bar_ns


def _duration_text(ns: int) -> str:
    for unit, size in (("d", 86_400 * 10**9), ("h", 3600 * 10**9), ("m", 60 * 10**9), ("s", 10**9), ("ms", 10**6)):
        if ns % size == 0:
            return f"{ns // size}{unit}"
    return f"{ns}ns"


def chunks(source: EventSource, table: Instruments) -> Iterator[npt.NDArray[Any]]:
    """The source's events; DataError if a file names another instrument on its way."""
    for chunk in source:
        if source.instruments.symbols != table.symbols:
            raise DataError("the data names more instruments on its way: declare them in instruments.toml")
        yield chunk


def measured_latency(job: Job) -> Histogram:
    """How long this machine takes from event to signal: the job's first model over the first events of the data."""
    ready = prepare(job)
    with ready.served[0].runtime(ready.table) as rt:
        rt.measure_latency()
        seen = 0
        for chunk in chunks(ready.source, ready.table):
            rt.run(chunk[: MEASURED_EVENTS - seen])
            seen += len(chunk)
            if seen >= MEASURED_EVENTS:
                break
        counts, largest = rt.latency_counts()
    if counts is None or not np.any(counts):
        raise DataError("no decision was made in the first events, so no latency could be measured")
    return Histogram(counts.astype(np.uint64), largest)


def execute(
    job: Job, *, latency: Latency | None = None, progress: Callable[[int], None] | None = None
) -> tuple[Finished, Backtest, Prepared]:
    """Run a job; the audit log is still open (see :meth:`Backtest.finish_audit`)."""
    ready = prepare(job, progress)
    backtest = Backtest(
        ready.strategy,
        ready.served,
        ready.table,
        job.symbols,
        job.settings,
        latency=latency,
        audit=job.audit,
        fills_csv=None if job.out is None else Path(job.out) / "fills.csv",
        bar_ns=ready.bar_ns,
        measure=job.measure,
        trades_price=Kind.QUOTE not in ready.source.first_kinds,
    )
    return backtest.run(chunks(ready.source, ready.table)), backtest, ready
