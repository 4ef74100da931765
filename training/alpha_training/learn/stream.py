"""An audit log as what it is for learning: the market's events in their order, and what was decided on them.

Every log is verified first. Its frames are cut into stretches: within one the features run through, at the start of the
next they began anew (a restart, a loaded state).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha import audit, recording
from alpha.audit import Frame
from alpha.audit.frames import CONTROL_DTYPE, DECISION_DTYPE, RELOAD_DTYPE, RELOAD_WITHDRAWN
from alpha.audit.read import LogFile, files_of, open_all
from alpha.errors import AlphaError, DataError
from alpha.events import Control, Flag, Kind, Status
from alpha.features.feature_set import FeatureSet
from alpha.instruments import Instruments
from alpha.runtime import Runtime

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Decided:
    """DECISION frames of one definition: ``event`` int64 [M], position of each one's event in its stretch; ``signal``
    SIGNAL_DTYPE [M]; ``x`` float32 [M, F] as logged; ``seq`` int64 [M], the frames' numbers."""

    event: Ints
    signal: Array
    x: npt.NDArray[np.float32]
    seq: Ints


@dataclass(frozen=True)
class Stretch:
    """Events that the features ran through, and the part ``since`` to ``until`` of them (positions of events) in which
    they decided: before it they only warmed up behind another version, after it another one took over.

    ``cold``: they began from nothing, so that computing them again gives the same bits; otherwise a state had been
    loaded, or the log's first file is missing."""

    name: str
    events: Array
    decided: Decided
    cold: bool
    since: int
    until: int


@dataclass
class Logs:
    """``head``: one sha256 for the ends of all logs; ``counted``: what happened in them, in words; ``versions``:
    decisions by the sha256 of the model that made them (its first 16 bytes)."""

    instruments: Instruments
    stretches: list[Stretch]
    head: str
    heads: list[str]
    frames: int
    counted: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    engines: set[str] = field(default_factory=set)
    other_definition: int = 0


def read(folders: Sequence[str | Path], fs: FeatureSet) -> Logs:
    """Logs in their order, as stretches with the decisions that were made by ``fs``.

    DataError if a log is damaged (it names the frame), lacks records, has another table of instruments than the one
    before, is the same as one before, begins before the one before ended, or holds no decision of this feature
    definition.
    """
    _check_different(folders, [Path(f).resolve() for f in folders])
    out: Logs | None = None
    for folder in folders:
        frames, head = _verified(Path(folder))
        _check_different(folders, [*(out.heads if out is not None else []), head])
        pieces: list[_Piece] = []
        for file in open_all(folder):
            table = recording.instruments_of(file.json(Frame.HEADER))
            if out is None:
                out = Logs(table, [], "", [], 0)
            elif table != out.instruments:
                raise DataError(
                    f"{file.path} is about other instruments, or other sizes of them ({', '.join(table.symbols)}) than "
                    f"what comes before it ({', '.join(out.instruments.symbols)}): learn from each log by itself"
                )
            _take(file, fs, out, pieces)
        assert out is not None
        out.frames += frames
        out.heads.append(head)
        out.stretches += _joined(Path(folder), pieces, fs)
    if out is None:
        raise DataError("no audit log was named")
    out.head = out.heads[0] if len(out.heads) == 1 else hashlib.sha256("".join(out.heads).encode()).hexdigest()
    _check(out, fs)
    return out


def _check_different(folders: Sequence[str | Path], keys: Sequence[object]) -> None:
    """DataError for two logs with the same key: each of their rows would count twice, also among those that judge."""
    for n, key in enumerate(keys):
        if key in keys[:n]:
            chain = "" if isinstance(key, Path) else f" (the end of its chain is {str(key)[:12]}… as well)"
            raise DataError(
                f"audit log {n + 1}, {folders[n]}, is the same as log {keys.index(key) + 1}, {folders[keys.index(key)]}"
                f"{chain}: its rows would count twice; name each log once"
            )


def _verified(folder: Path) -> tuple[int, str]:
    """(frames, the end of the chain). DataError with the first problem and the frame it is at."""
    found = audit.verify(folder)
    if found.problems:
        first = found.problems[0]
        at = _frame_at(folder, first.file, first.offset)
        more = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        raise DataError(
            f"audit log {folder} is not what was written: {first}{f', frame {at}' if at is not None else ''}{more}: "
            f"nothing is learned from it; see  alpha audit verify {folder}, and after a crash open the log once more "
            "(alpha run --audit, or alpha.audit.AuditLog), which puts aside what was left unfinished"
        )
    return found.frames, str(found.head["sha256"])


def _frame_at(folder: Path, name: str, offset: int) -> int | None:
    """The number of the frame that a problem is about; None if it is about a whole file."""
    for path in files_of(folder):
        if path.name == name:
            file = LogFile.open(path)
            n = int(np.searchsorted(file.offsets, offset))
            if n < len(file.headers):
                return int(file.headers["seq"][n])
            return int(file.headers["seq"][-1]) + 1 if len(file.headers) else None
    return None


@dataclass(frozen=True)
class _Piece:
    """One file. ``first``: index of its first input as its decisions count, None without a decision; ``reloads``: (events
    before it, 0 taken in, 1 serves, 2 withdrawn) of each Bundle that came with features of its own."""

    file: str
    run: int
    fresh: bool
    events: Array
    decided: Decided
    first: int | None
    inputs: int
    reloads: list[tuple[int, int]]


def _take(file: LogFile, fs: FeatureSet, out: Logs, pieces: list[_Piece]) -> None:
    head, told = file.json(Frame.HEADER), file.json(Frame.BUNDLE)
    kinds = file.headers["type"]
    is_event = kinds == Frame.EVENT
    events = file.events(np.flatnonzero(is_event))
    decisions = file.of_type(Frame.DECISION)
    records = file.decisions(decisions)
    signals = records["signal"]
    for key, n in Counter(s.tobytes().hex() for s in signals["model_hash"]).items():
        out.versions[key] += n
    out.engines.add(told.get("precision", "float32"))
    _count(file, kinds, events, out.counted)
    inputs = is_event | (kinds == Frame.FEATURES)
    ours = signals["definition_hash"] == np.frombuffer(bytes.fromhex(fs.definition_hash)[:16], np.uint8)
    ours = ours.all(axis=1)
    ensembles = [i for i, seat in enumerate(told.get("seats", [])) if "combine" in seat]
    ours &= ~np.isin(signals["model_slot"], ensembles)  # what they look at are their members
    # a decision stands behind the event it was made on; behind the caller's own features there is none
    last = np.maximum.accumulate(np.where(inputs, np.arange(len(kinds)), -1))
    of_event = is_event[last[decisions]] & (last[decisions] >= 0)
    width = len(fs.names)
    keep = ours & of_event & (records["n_x"] == width)
    out.other_definition += int(np.count_nonzero(~ours))
    wide = np.dtype([("d", DECISION_DTYPE), ("x", "<f4", (width,))])
    rows = file.gather(decisions[keep], wide)
    place = np.cumsum(is_event) - 1
    decided = Decided(
        place[last[decisions[keep]]].astype(np.int64),
        rows["d"]["signal"],
        np.ascontiguousarray(rows["x"]),
        file.headers["seq"][decisions[keep]].astype(np.int64),
    )
    before = int(np.count_nonzero(inputs[: decisions[0]])) if len(decisions) else 0
    first = int(signals["event_index"][0]) - before + 1 if len(decisions) else None
    pieces.append(
        _Piece(
            file.path.name,
            int(head["run"]),
            _is_fresh(file, told, out.instruments),
            events,
            decided,
            first,
            int(np.count_nonzero(inputs)),
            _reloads(file, place),
        )
    )


def _reloads(file: LogFile, place: Ints) -> list[tuple[int, int]]:
    frames = file.of_type(Frame.RELOAD)
    told = file.gather(frames, RELOAD_DTYPE)
    own = told["only_seats"] == 0  # otherwise the features run on
    return list(zip((place[frames[own]] + 1).tolist(), told["serves"][own].tolist(), strict=True))


def _is_fresh(file: LogFile, told: dict[str, Any], instruments: Instruments) -> bool:
    """Whether the file begins where everything begins: with the state of a runtime that has seen nothing."""
    try:
        with Runtime(recording.bundle_of(file.path.parent, told), instruments) as rt:
            return bool(rt.save_state() == file.state())
    except AlphaError:  # made by a build whose state, or whose engine, this one does not have
        return False


def _joined(folder: Path, pieces: list[_Piece], fs: FeatureSet) -> list[Stretch]:
    """Files that go on where the one before ended become one stretch."""
    groups: list[list[_Piece]] = []
    expected: int | None = None
    for piece in pieces:
        goes_on = bool(groups) and piece.run == groups[-1][-1].run and not piece.fresh
        if goes_on and piece.first is not None and expected is not None:
            goes_on = piece.first == expected
        if goes_on:
            groups[-1].append(piece)
        else:
            groups.append([piece])
            expected = None
        at = piece.first if piece.first is not None else 0 if piece.fresh else expected
        expected = None if at is None else at + piece.inputs
    out = []
    for group in groups:
        starts = np.cumsum([0, *(len(p.events) for p in group)])
        decided = Decided(
            np.concatenate([p.decided.event + s for p, s in zip(group, starts, strict=False)]),
            np.concatenate([p.decided.signal for p in group]),
            np.concatenate([p.decided.x for p in group]),
            np.concatenate([p.decided.seq for p in group]),
        )
        events = np.concatenate([p.events for p in group])
        reloads = [(at + int(s), serves) for p, s in zip(group, starts, strict=False) for at, serves in p.reloads]
        out += _by_version(f"{folder}/{group[0].file}", events, decided, group[0].fresh, reloads)
    return [s for s in out if s.until > s.since]


def _by_version(
    name: str, events: Array, decided: Decided, cold: bool, reloads: list[tuple[int, int]]
) -> list[Stretch]:
    """A version that was swapped in computes its features from the event on at which it was taken in."""
    out: list[Stretch] = []
    begin, since, fresh = 0, 0, cold
    taken_in: int | None = None

    def part(until: int) -> None:
        mine = (decided.event >= since) & (decided.event < until)
        own = Decided(decided.event[mine] - begin, decided.signal[mine], decided.x[mine], decided.seq[mine])
        out.append(Stretch(name, events[begin:], own, fresh, since - begin, until - begin))

    for at, serves in reloads:
        if serves == 0:
            taken_in = at
        elif serves == RELOAD_WITHDRAWN:
            taken_in = None
        else:
            part(at)
            # taken in before this log begins: what it had seen by then is not known
            begin, since, fresh = (0 if taken_in is None else taken_in), at, taken_in is not None
            taken_in = None
    part(len(events))
    return out


def _check(out: Logs, fs: FeatureSet) -> None:
    decided = sum(len(s.decided.event) for s in out.stretches)
    if not decided:
        what = (
            f"all {out.other_definition:,} of its decisions were made by another feature definition"
            if out.other_definition
            else "it holds no decision with features"
        )
        raise DataError(
            f"the audit log cannot teach a model of definition {fs.definition_hash[:12]}…: {what}: name the log of a "
            "runtime that served this model, or a model of the log's definition with --model"
        )
    ends = [(s.name, t) for s in out.stretches if (t := _times(s.events[s.since : s.until], fs)) is not None]
    late = fs.stream.guard.future_tolerance.ns  # within one log: times of a feed go back a little at a restart
    for (a, x), (b, y) in pairwise(ends):
        same_log = Path(a).parent == Path(b).parent
        if a != b and (y[1] <= x[1] or y[0] < x[1] - (late if same_log else 0)):
            raise DataError(
                f"{b} begins before {a} ends, by {(x[1] - y[0]) / 1e9:,.3f} s of stream time: name logs in the order of "
                "their time, none of which reaches into the next: what stands in both would count twice"
            )


def _times(events: Array, fs: FeatureSet) -> tuple[int, int] | None:
    """First and last stream time of market events (a control event may carry any); None where there are none."""
    from alpha.events import stream_time

    ts = stream_time(events[events["kind"] != Kind.CONTROL], fs.stream.clock)
    return (int(ts.min()), int(ts.max())) if len(ts) else None


def _count(file: LogFile, kinds: Array, events: Array, counted: Counter[str]) -> None:
    """What a reader of the candidate's card wants to know of the log."""
    counted["files"] += 1
    counted["events"] += len(events)
    counted["gaps"] += int(np.count_nonzero(events["flags"] & np.uint16(Flag.GAP)))
    counted["rows of the caller's own features (left out)"] += int(np.count_nonzero(kinds == Frame.FEATURES))
    for kind, words, codes in ((Kind.STATUS, "status", Status), (Kind.CONTROL, "control", Control)):
        values = events["v"][events["kind"] == kind, 0]
        for code in codes:
            counted[f"{words} {code.name}"] += int(np.count_nonzero(values == code))
    controls = file.gather(np.flatnonzero(kinds == Frame.CONTROL), CONTROL_DTYPE)
    counted["kills"] += int(np.count_nonzero(controls["killed"] & 1))
    reloads = file.gather(np.flatnonzero(kinds == Frame.RELOAD), RELOAD_DTYPE)
    counted["versions taken in"] += int(np.count_nonzero(reloads["serves"] == 0))
    counted["versions swapped in"] += int(np.count_nonzero(reloads["serves"] == 1))
    counted["versions withdrawn"] += int(np.count_nonzero(reloads["serves"] == RELOAD_WITHDRAWN))
    for name in [n for n, v in counted.items() if not v]:
        del counted[name]
