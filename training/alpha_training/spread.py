"""The work of training over the workers of a cluster: rows and certificate of a snapshot, folds of a walk-forward.

Where all features start again at session breaks, each session of each instrument is a task (see
:mod:`alpha.features.days`). Elsewhere rows come from chains of steps, each with the state of the row maker that the one
before left; instruments that do not look at each other have chains of their own. The client writes: workers need to read the data only, and what is written
is the same file as without them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from alpha.distribution import Cluster, File
from alpha.errors import DataError
from alpha.events import ALL_INSTRUMENTS
from alpha.features import days
from alpha.features.feature_set import FeatureSet
from alpha.features.native import Rows, next_rows, row_maker
from alpha.instruments import Instrument, Instruments
from alpha.state import pack, unpack
from alpha_training import snapshot, store
from alpha_training.recipe import Data, Recipe

STEP_CHUNKS = 4  # of store.CHUNK_EVENTS
Part = tuple[Rows, ...]


@dataclass(frozen=True)
class Reading:
    """How a worker comes to the events of a recipe, and what they must be."""

    seed: int
    data: bytes  # the recipe's section, file names absolute
    sha256: str
    files: tuple[File, ...]

    @classmethod
    def of(cls, recipe: Recipe, folder: Path, source: snapshot.Source) -> Reading:
        """Of what was read here. Variables in file names are this process's."""
        names = [str((folder / snapshot.expanded(f)).absolute()) for f in recipe.data.files]
        data = msgspec.json.encode(msgspec.structs.replace(recipe.data, files=names))
        return cls(recipe.seed, data, source.sha256, tuple(File.of(n) for n in names))


@dataclass(frozen=True)
class _Segment:
    """Events [first, first + size) of a stream, for the certificate."""

    reading: Reading
    fs: FeatureSet
    instruments: Instruments
    first: int
    size: int


@dataclass(frozen=True)
class _Step:
    """Events [first, end) in chunks, as far as they concern the instruments ``ids``."""

    reading: Reading
    fs: FeatureSet
    instruments: tuple[Instrument, ...]
    ids: tuple[int, ...]
    first: int
    end: int
    chunk: int


@dataclass(frozen=True)
class _Day:
    """One session of one instrument."""

    reading: Reading
    fs: FeatureSet
    instrument: Instrument
    session: days.Session


@dataclass(frozen=True)
class Spread:
    """A snapshot's work over a cluster; see :class:`alpha_training.store.Workers`."""

    cluster: Cluster
    reading: Reading
    fs: FeatureSet
    source: snapshot.Source

    def compared(self, first: int, size: int) -> Iterator[dict[str, Any]]:
        """The certificate of each segment from number ``first`` on."""
        begins = range(first * size, len(self.source.events), size)
        segments = (_Segment(self.reading, self.fs, self.source.instruments, a, size) for a in begins)
        return self.cluster.map(_compared, segments, files=self.reading.files)

    def rows(self) -> Iterator[Rows]:
        """The native rows, chunk by chunk, as :mod:`alpha_training.store` makes them."""
        return self._by_day() if days.divides(self.fs, self.source.events) else self._by_chain()

    def _by_day(self) -> Iterator[Rows]:
        events, table = self.source.events, self.source.instruments
        sessions = days.sessions_of(self.fs, events, table)
        items = (_Day(self.reading, self.fs, table[s.who], s) for s in sessions)
        rows = self.cluster.map(_day, items, files=self.reading.files)
        return days.in_chunks(sessions, rows, len(events), store.CHUNK_EVENTS, len(self.fs.names))

    def _by_chain(self) -> Iterator[Rows]:
        table = self.source.instruments
        groups = self._groups()
        n, chunk = len(self.source.events), store.CHUNK_EVENTS
        size = STEP_CHUNKS * chunk
        steps = (
            (g, _Step(self.reading, self.fs, tuple(table[i] for i in ids), ids, a, min(a + size, n), chunk))
            for a in range(0, n, size)
            for g, ids in enumerate(groups)
        )
        parts = self.cluster.chained(_stepped, steps, files=self.reading.files)
        for first in parts:
            side_by_side = [first, *(next(parts) for _ in groups[1:])]
            yield from map(_in_order, *side_by_side)

    def _groups(self) -> list[tuple[int, ...]]:
        """Instruments whose rows do not depend on each other, in about equal shares of the events."""
        n = len(self.source.instruments)
        if self.fs.symbols:
            return [tuple(range(n))]
        ids = self.source.events["instrument_id"]
        counts = np.bincount(ids[ids < n], minlength=n)
        groups: list[list[int]] = [[] for _ in range(min(n, 2 * self.cluster.workers))]
        sizes = [0] * len(groups)
        for i in np.argsort(-counts, kind="stable").tolist():
            least = sizes.index(min(sizes))
            groups[least].append(i)
            sizes[least] += int(counts[i]) + 1
        return [tuple(sorted(g)) for g in groups if g]


@lru_cache(maxsize=1)
def _read(reading: Reading) -> npt.NDArray[Any]:
    """The events, once a process."""
    data = msgspec.json.decode(reading.data, type=Data)
    found = snapshot.read_data(data, reading.seed, Path())
    if found.sha256 != reading.sha256:
        raise DataError(
            f"a worker reads other events than this process: sha256 {found.sha256[:12]}…, not {reading.sha256[:12]}…"
        )
    return found.events


def _compared(item: _Segment) -> dict[str, Any]:
    events = _read(item.reading)[item.first : item.first + item.size]
    return store.compared(item.fs, events, item.instruments, threads=1)  # a worker is one core


def _day(item: _Day) -> Rows:
    s = item.session
    return days.session_rows(item.fs, item.instrument, _read(item.reading)[s.first : s.last + 1], s)


def _stepped(item: _Step, state: bytes | None) -> tuple[Part, bytes]:
    table = Instruments(item.instruments)
    maker = row_maker(item.fs, table)
    binding = {
        "definition": item.fs.definition_hash,
        "layout": maker.program.layout,
        "instruments": list(table.symbols),
    }
    if state is not None:
        maker.load_state(unpack(state, binding))
    events = _read(item.reading)
    out = []
    for a in range(item.first, item.end, item.chunk):
        chunk = events[a : min(a + item.chunk, item.end)]
        at, own = _own(chunk, item.ids)
        index, ts, who, values, ready = next_rows(maker, own)
        out.append((at[index] + a, ts, np.asarray(item.ids, np.uint32)[who], values, ready))
    return tuple(out), pack(binding, maker.save_state())


def _own(chunk: npt.NDArray[Any], ids: tuple[int, ...]) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Which events concern these instruments, and those with the places of ``ids`` for their instrument."""
    who = chunk["instrument_id"]
    place = np.searchsorted(ids, who)
    mine = np.asarray(ids, np.int64)[np.minimum(place, len(ids) - 1)] == who
    at = np.flatnonzero(mine | (who == ALL_INSTRUMENTS))
    own = chunk[at]
    own["instrument_id"] = np.where(mine[at], place[at], ALL_INSTRUMENTS)
    return at, own


def _in_order(*parts: Rows) -> Rows:
    """Of one chunk: by event; of an event to several instruments, in the order of their ids."""
    if len(parts) == 1:
        return parts[0]
    index, ts, who, values, ready = (np.concatenate(c) for c in zip(*parts, strict=True))
    order = np.lexsort((who, index))
    return index[order], ts[order], who[order], values[order], ready[order]
