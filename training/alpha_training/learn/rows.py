"""The rows of a log computed again from its events, held against what was logged, and what became of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError
from alpha.events import Reason, stream_time
from alpha.features import parity
from alpha.features.feature_set import FeatureSet
from alpha.instruments import Instruments
from alpha_training import labels, recipe, snapshot
from alpha_training.labels import Labelled
from alpha_training.learn.stream import Decided, Logs, Stretch
from alpha_training.snapshot import Snapshot, Source

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
EVALUATED = (Reason.MODEL, Reason.BELOW_THRESHOLD, Reason.COOLDOWN)
"""Reasons of decisions whose features were warm and finite, whatever else there is."""


@dataclass(frozen=True)
class Rows:
    """Rows of all stretches in order. ``snap.instrument_id`` is numbered through all stretches, so that no window and no
    position goes from one into the next; ``stretch``: of each row; ``decision``: of each row the position in
    ``decided`` of what was logged for it, -1 for none.

    ``events_ns``, ``verdict``: stream time of every event and the guard's verdict on it, for what a window holds;
    ``counted``: how the comparison with the log went.
    """

    snap: Snapshot
    labels: Labelled
    stretch: Ints
    decision: Ints
    decided: Decided
    source: Source
    events_ns: Ints
    verdict: npt.NDArray[np.uint8]
    counted: Counter[str]


@dataclass(frozen=True)
class Part:
    """The same of one stretch."""

    snap: Snapshot
    labels: Labelled
    decision: Ints


def of_logs(logs: Logs, fs: FeatureSet, spec: recipe.Labels, say: Callable[[str], None], sha256: str = "") -> Rows:
    """Both twins over each stretch. ``sha256``: of several models that decided on a row the one whose decision is kept.
    DataError if features of a logged decision are not those that its events give."""
    own = bytes.fromhex(sha256)[:16]
    parts: list[Part] = []
    counted: Counter[str] = Counter()
    used: list[Stretch] = []
    why: DataError | None = None
    for i, stretch in enumerate(logs.stretches):
        say(f"{stretch.name}: rows of {stretch.until - stretch.since:,} events ({i + 1} of {len(logs.stretches)})")
        try:
            part = _of_stretch(stretch, fs, spec, logs, counted, own)
        except _DiffersError as exc:
            raise DataError(str(exc)) from None
        except DataError as exc:  # so short that nothing became warm
            why = exc
            counted["stretches without a warm row"] += 1
            continue
        if len(part.snap.ts_ns):
            parts.append(part)
            used.append(stretch)
    if not parts:
        raise why or DataError("no row of the audit log can be learned from: none is what was logged")
    decided = Decided(
        *(np.concatenate([getattr(s.decided, name) for s in used]) for name in ("event", "signal", "x", "seq"))
    )
    starts = np.cumsum([0, *(len(s.decided.event) for s in used)])
    for p, start in zip(parts, starts, strict=False):
        p.decision[p.decision >= 0] += start
    longest = max(logs.stretches, key=lambda s: s.until - s.since)
    source = source_of(longest.events, logs.instruments, logs.head, describe(logs))
    events_ns, verdict = _guarded(logs, fs)
    return Rows(
        joined([p.snap for p in parts], len(logs.instruments)),
        _joined_labels([p.labels for p in parts]),
        np.repeat(np.arange(len(parts)), [len(p.snap.ts_ns) for p in parts]),
        np.concatenate([p.decision for p in parts]),
        decided,
        source,
        events_ns,
        verdict,
        counted,
    )


def describe(logs: Logs) -> str:
    """One line for the card."""
    simulated = "SIMULATED " if is_simulated(logs.instruments) else ""
    n = sum(s.until - s.since for s in logs.stretches)
    return (
        f"{simulated}audit log of {', '.join(logs.instruments.symbols)}: {n:,} events in {len(logs.stretches)} "
        f"stretch{'' if len(logs.stretches) == 1 else 'es'}, chain verified to {logs.head[:12]}…"
    )


def is_simulated(instruments: Instruments) -> bool:
    """Every symbol of the simulator starts with SIM."""
    return all(symbol.startswith("SIM") for symbol in instruments.symbols)


def source_of(events: npt.NDArray[Any], instruments: Instruments, sha256: str, description: str) -> Source:
    """Events as training has them."""
    return Source(events, instruments, sha256, is_simulated(instruments), None, description)


class _DiffersError(Exception):
    """What was logged is not what the events give."""


def _of_stretch(
    stretch: Stretch, fs: FeatureSet, spec: recipe.Labels, logs: Logs, counted: Counter[str], own: bytes
) -> Part:
    source = source_of(stretch.events, logs.instruments, logs.head, stretch.name)
    snap = snapshot.make(fs, source)
    if not snap.certificate["pass"]:
        raise _DiffersError(f"{stretch.name}: the twins do not agree over its events: {snap.certificate['worst']}")
    inside = (snap.row_index >= stretch.since) & (snap.row_index < stretch.until)
    where = _where(snap, stretch.decided)
    known = where >= 0
    same = np.zeros(len(where), np.bool_)
    same[known] = (snap.x[where[known]].view(np.uint32) == stretch.decided.x[known].view(np.uint32)).all(axis=1)
    asked = np.isin(stretch.decided.signal["reason"], [int(r) for r in EVALUATED])
    differs = asked & ~same  # one that was held before its row was read may carry an older row
    if stretch.cold and differs.any():
        raise _DiffersError(_difference(stretch, snap, where, int(np.argmax(differs)), fs))
    decision = np.full(len(snap.ts_ns), -1, np.int64)
    linked = known if stretch.cold else same
    mine = linked & (stretch.decided.signal["model_hash"] == np.frombuffer(own or bytes(16), np.uint8)).all(axis=1)
    for some in (linked, mine):
        decision[where[some]] = np.flatnonzero(some)
    keep = inside if stretch.cold else inside & (decision >= 0)
    counted["rows with the features of their logged decision"] += int(np.count_nonzero(decision[keep] >= 0))
    counted["rows without a logged decision"] += int(np.count_nonzero(decision[keep] < 0))
    counted["rows left out: the log begins in mid-stream"] += int(np.count_nonzero(inside & ~keep))
    labelled = labels.make(spec, fs, snap, source)
    return Part(_picked(snap, keep), _picked_labels(labelled, keep), decision[keep])


def _where(snap: Snapshot, decided: Decided) -> Ints:
    """Row of each decision, -1 where there is none."""
    keys = snap.row_index * 2**24 + snap.instrument_id
    wanted = decided.event * 2**24 + decided.signal["instrument_id"].astype(np.int64)
    order = np.argsort(keys, kind="stable")
    at = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    found = order[at]
    return np.where(keys[found] == wanted, found, -1)


def _difference(stretch: Stretch, snap: Snapshot, where: Ints, i: int, fs: FeatureSet) -> str:
    frame, row = int(stretch.decided.seq[i]), int(where[i])
    if row < 0:
        told = "its events do not make its features warm and finite"
    else:
        j = int(np.argmax(snap.x[row].view(np.uint32) != stretch.decided.x[i].view(np.uint32)))
        told = f"{fs.names[j]} was {float(stretch.decided.x[i, j])!r}, its events give {float(snap.x[row, j])!r}"
    return (
        f"{stretch.name}: the decision of frame {frame} does not follow from the log's events: {told}: nothing is "
        f"learned from it; alpha replay {stretch.name.rpartition('/')[0]} --tolerant shows all such decisions"
    )


def _picked(snap: Snapshot, keep: Bools) -> Snapshot:
    return Snapshot(
        snap.x[keep], snap.ts_ns[keep], snap.instrument_id[keep], snap.row_index[keep], snap.all_rows, snap.certificate
    )


def _picked_labels(labelled: Labelled, keep: Bools) -> Labelled:
    return Labelled(*(getattr(labelled, name)[keep] for name in Labelled.__dataclass_fields__))


def joined(snaps: list[Snapshot], n_instruments: int) -> Snapshot:
    """Snapshots one behind the other, each with instrument ids of its own; the certificate of the worst of them."""
    ids = [s.instrument_id.astype(np.uint32) + np.uint32(i * n_instruments) for i, s in enumerate(snaps)]
    worst = min((s.certificate for s in snaps), key=lambda c: float(c["share"]))
    values = sum(int(s.certificate.get("values", 0)) for s in snaps)
    return Snapshot(
        np.concatenate([s.x for s in snaps]),
        np.concatenate([s.ts_ns for s in snaps]),
        np.concatenate(ids),
        np.concatenate([s.row_index for s in snaps]),
        sum(s.all_rows for s in snaps),
        worst if len(snaps) == 1 else {**worst, "values": values, "stretches": len(snaps)},
    )


def _joined_labels(parts: list[Labelled]) -> Labelled:
    return Labelled(*(np.concatenate([getattr(p, name) for p in parts]) for name in Labelled.__dataclass_fields__))


def _guarded(logs: Logs, fs: FeatureSet) -> tuple[Ints, npt.NDArray[np.uint8]]:
    """Stream time and verdict of every event that stands in a stretch's own part."""
    times, verdicts = [], []
    for s in logs.stretches:
        own = slice(s.since, s.until)
        times.append(stream_time(s.events, fs.stream.clock)[own])
        verdicts.append(parity.guard(fs, s.events, logs.instruments)[own])
    return np.concatenate(times), np.concatenate(verdicts)


def of_data(
    paths_of: npt.NDArray[Any], instruments: Instruments, sha256: str, fs: FeatureSet, spec: recipe.Labels
) -> Part:
    """Rows of a later stream that candidate and production are judged on."""
    source = source_of(paths_of, instruments, sha256, "judged on")
    snap = snapshot.make(fs, source)
    return Part(snap, labels.make(spec, fs, snap, source), np.full(len(snap.ts_ns), -1, np.int64))


def with_later(rows: Rows, later: Part, logs: Logs) -> tuple[Rows, Bools]:
    """The rows and behind them those of a later stream; bool [N], which are the latter. What of it is not later than the
    log is left out. DataError if nothing is left."""
    keep = later.snap.ts_ns > int(rows.snap.ts_ns[-1])
    if not keep.any():
        raise DataError(
            "--judge: none of its rows comes after the audit log's end: a model is judged by what came after what it "
            "learned from; name later data, or leave --judge away to judge by the log's own end"
        )
    n = int(rows.stretch[-1]) + 1
    snap = _picked(later.snap, keep)
    snap = Snapshot(
        snap.x,
        snap.ts_ns,
        snap.instrument_id + np.uint32(n * len(logs.instruments)),
        snap.row_index,
        snap.all_rows,
        snap.certificate,
    )
    both = Snapshot(
        np.concatenate([rows.snap.x, snap.x]),
        np.concatenate([rows.snap.ts_ns, snap.ts_ns]),
        np.concatenate([rows.snap.instrument_id, snap.instrument_id]),
        np.concatenate([rows.snap.row_index, snap.row_index]),
        rows.snap.all_rows + snap.all_rows,
        min(rows.snap.certificate, snap.certificate, key=lambda c: float(c["share"])),
    )
    m = len(snap.ts_ns)
    rows.counted["rows of --judge before the log's end (left out)"] += int(np.count_nonzero(~keep))
    made = Rows(
        both,
        _joined_labels([rows.labels, _picked_labels(later.labels, keep)]),
        np.concatenate([rows.stretch, np.full(m, n)]),
        np.concatenate([rows.decision, np.full(m, -1)]),
        rows.decided,
        rows.source,
        rows.events_ns,
        rows.verdict,
        rows.counted,
    )
    return made, np.arange(len(both.ts_ns)) >= len(rows.snap.ts_ns)
