"""The logged events once more through the same function: the decisions must be the same bytes. Floor 7.

Each file of a log begins with the state, so each is replayed by itself. Compared is the whole stream of records, byte by
byte: events, kill bytes as they were seen, and decisions with their features and outputs. Only the latency is left out.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha import recording
from alpha._core.log import Log, records
from alpha.audit.frames import (
    CONTROL_DTYPE,
    DECISION_DTYPE,
    FEATURES_DTYPE,
    KILL_SEAT_SHIFT,
    RELOAD_DTYPE,
    RELOAD_WITHDRAWN,
    STREAM,
    Frame,
    FrameFlag,
)
from alpha.audit.read import LogFile, open_all
from alpha.bundle import Bundle
from alpha.errors import DataError
from alpha.events import Action, Kind, Reason, SignalFlag
from alpha.group import Group
from alpha.runtime import Runtime

CHUNK = 4096
KEPT = 20  # differences that are described; all are counted


@dataclass
class Replayed:
    """``differences``: records that were not reproduced; ``shown``: the first of them in words; ``unlogged``: decisions
    behind the last frame of a file whose writer was killed; ``identity``: what differs of build, ISA, layout, ORT and sessions."""

    events: int = 0
    decisions: int = 0
    differences: int = 0
    unlogged: int = 0
    files: int = 0
    shown: list[str] = field(default_factory=list)
    identity: dict[str, list[str]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Every record was reproduced, and there was something to reproduce."""
        return self.differences == 0 and self.files > 0


def replay(folder: str | Path, *, tolerant: bool = False) -> Replayed:
    """Replay every file of a log.

    DataError if it was written by another build, ISA or ONNX Runtime and ``tolerant`` is not set, if it is damaged, or
    if records were dropped: then the same decisions cannot be expected.
    """
    out = Replayed()
    for file in open_all(folder):
        head, told = file.json(Frame.HEADER), file.json(Frame.BUNDLE)
        bundle = recording.bundle_of(Path(folder), told)
        differ = _identity(head, bundle)
        if differ and not tolerant:
            name, (then, now) = next(iter(differ.items()))
            raise DataError(
                f"{file.path} was written by another {name} ({then[:16]}, here {now[:16]}): the same bytes cannot be "
                "demanded; --tolerant replays it and reports every difference"
            )
        out.identity |= differ
        _check_whole(file)
        with Runtime(bundle, recording.instruments_of(head)) as rt:
            if "layout" not in differ:
                rt.load_state(file.state())
            elif out.files:  # the first file may begin where everything begins
                raise DataError(f"{file.path} begins with a state of another layout, which this build cannot take up")
            _Player(rt, file, out).play()
        out.files += 1
    return out


def explained_at(folder: str | Path, seq: int) -> dict[str, Any]:
    """The DECISION frame ``seq`` as :meth:`alpha.Runtime.explain` would have taken it apart when it was made: its file is
    replayed up to it, so what the log does not hold (ages, PSI, cooldown) is there again. DataError as :func:`replay`."""
    for file in open_all(folder):
        found = np.flatnonzero(file.headers["seq"] == seq)
        if not len(found):
            continue
        frame = int(found[0])
        if int(file.headers["type"][frame]) != Frame.DECISION:
            raise DataError(f"frame {seq} is {Frame(int(file.headers['type'][frame])).name}, no decision")
        head, out = file.json(Frame.HEADER), Replayed(files=1)
        bundle = recording.bundle_of(Path(folder), file.json(Frame.BUNDLE))
        if differ := _identity(head, bundle):
            raise DataError(f"{file.path} was written by another {', '.join(differ)}: it cannot be replayed here")
        symbol = head["instruments"][int(file.decision(frame)["signal"]["instrument_id"])]["symbol"]
        with Runtime(bundle, recording.instruments_of(head)) as rt:
            rt.load_state(file.state())
            _Player(rt, file, out, until=frame).play()
            if not out.passed:
                raise DataError(f"the decision was not reproduced: {out.shown[0]}")
            return rt.explain(symbol)
    raise DataError(f"{folder} has no frame {seq}")


def _identity(head: dict[str, Any], bundle: Bundle) -> dict[str, list[str]]:
    """What a HEADER names that this process has not: name to [then, now]."""
    now = recording.identity(bundle)
    differ = {n: [str(head.get(n)), now[n]] for n in recording.IDENTITY if head.get(n) != now[n]}
    sessions = recording.sessions_of(bundle, recording.instruments_of(head))
    if head.get("sessions") != sessions:
        differ["sessions"] = [str(head.get("sessions")), str(sessions)]
    return differ


def _check_whole(file: LogFile) -> None:
    if not file.whole:
        raise DataError(f"{file.path} is damaged from byte {file.end} on: see  alpha audit verify {file.path.parent}")
    if (file.headers["flags"] & FrameFlag.DROPPED).any():
        raise DataError(f"{file.path} lacks records that were dropped: it cannot be replayed")


class _Player:
    """One file through one runtime."""

    def __init__(self, rt: Runtime, file: LogFile, out: Replayed, until: int | None = None) -> None:
        self.rt, self.file, self.out = rt, file, out
        self.pipeline = rt._pipeline
        self.serving = rt.bundle
        n = len(rt.instruments)
        models = 1 if self.pipeline.seats is None else len(self.pipeline.seats)
        # of an ensemble: three numbers of each member
        width = models * (DECISION_DTYPE.itemsize + 8 + 4 * (max(len(rt.bundle.feature_set.names), 3 * models) + 8))
        # a chunk's records must lie in the ring at once; an event for all makes a decision for each
        self.log = Log(
            policy="wait", capacity=1 << max(14, (CHUNK * (width + 96) + (n + 2) * (width + 64)).bit_length())
        )
        self.latch = bytearray((models + 1) * n + 1)  # of all models, then of each; the last byte is never set
        never = len(self.latch) - 1
        self.pipeline.attach_latch(memoryview(self.latch), [[never, never, i] for i in range(n)])
        for slot in range(models if self.pipeline.seats is not None else 0):
            own = [[never, never, (slot + 1) * n + i] for i in range(n)]
            self.pipeline.seats.attach_latch(slot, memoryview(self.latch), own)
        self.pipeline.attach_log(self.log)
        self.pipeline.follow()  # the breaker trips where the log says so: latency never repeats
        kinds = file.headers["type"]
        self.stream = np.flatnonzero(np.isin(kinds, STREAM))
        if until is not None:
            self.stream = self.stream[self.stream <= until]
        self.kinds = kinds[self.stream]
        self.at = 0  # position in self.stream up to which was compared

    def play(self) -> None:
        """Feed what came in, in its order, and compare what comes out."""
        inputs = np.flatnonzero(self.kinds != Frame.DECISION)
        kinds = self.kinds[inputs]
        events = np.flatnonzero(kinds == Frame.EVENT)
        raw = self.file.events(self.stream[inputs[events]])
        self.out.events += len(events)
        self.out.decisions += int(np.count_nonzero(self.kinds == Frame.DECISION))
        done = 0  # events
        i = 0
        while i < len(inputs):
            if kinds[i] == Frame.EVENT:
                j = self._run_length(kinds, raw, i, done)
                chunk = raw[done : done + j]
                self.pipeline.run(chunk)
                if chunk["kind"][-1] == Kind.CONTROL:
                    self.pipeline.kill(False)  # kill bytes come from CONTROL frames alone
                done += j
                i += j
            else:
                self._other(int(self.stream[inputs[i]]), int(kinds[i]))
                i += 1
            # what belongs to these inputs in the log ends before the next input
            if kinds[i - 1] not in (Frame.CONTROL, Frame.RELOAD):
                self._compare(self._end(inputs, i), last=i == len(inputs))

    def _run_length(self, kinds: npt.NDArray[Any], raw: npt.NDArray[Any], i: int, done: int) -> int:
        """How many EVENT frames follow each other, up to CHUNK and up to a CONTROL event or one for all instruments."""
        others = np.flatnonzero(kinds[i : i + CHUNK] != Frame.EVENT)
        n = int(others[0]) if len(others) else min(CHUNK, len(kinds) - i)
        ends = np.flatnonzero(
            (raw["kind"][done : done + n] == Kind.CONTROL)
            | (raw["instrument_id"][done : done + n] >= len(self.rt.instruments))
        )
        return int(ends[0]) + 1 if len(ends) else n

    def _other(self, frame: int, kind: int) -> None:
        raw = self.file.payload(frame)
        if kind == Frame.RELOAD:
            told = np.frombuffer(raw, RELOAD_DTYPE, count=1)[0]
            if told["serves"] == RELOAD_WITHDRAWN:
                self.pipeline.withdraw()
            elif not told["serves"]:  # when it serves, the swap writes that by itself, in its place
                sha256 = told["sha256"].tobytes()
                bundle = recording.incoming_of(self.file.path.parent, sha256)
                only_seats = bool(told["only_seats"])
                if isinstance(bundle, Group) and isinstance(self.serving, Group):
                    bundle = Group.of(bundle.seated[0], bundle.seated[1], self.serving)
                self.pipeline.offer(bundle.pipeline(self.rt.instruments), sha256, only_seats=only_seats)
                self.serving = bundle
                self.rt._serving.expect(bundle)
        elif kind == Frame.CONTROL:
            told = np.frombuffer(raw, CONTROL_DTYPE, count=1)[0]
            seat, killed = divmod(int(told["killed"]), 1 << KILL_SEAT_SHIFT)
            self.latch[seat * len(self.rt.instruments) + int(told["instrument_id"])] = killed
        else:
            told = np.frombuffer(raw, FEATURES_DTYPE, count=1)[0]
            x = np.frombuffer(raw, np.float32, count=int(told["n"]), offset=FEATURES_DTYPE.itemsize)
            self.pipeline.on_features(int(told["instrument_id"]), int(told["ts_ns"]), x)

    def _end(self, inputs: npt.NDArray[Any], i: int) -> int:
        """Stream position of input ``i``, or the stream's end."""
        return int(inputs[i]) if i < len(inputs) else len(self.stream)

    def _compare(self, end: int, *, last: bool) -> None:
        """Records made since the last time against the log's up to stream position ``end``."""
        begin, self.at = self.at, end
        made = self.log.take()
        logged = records(self.file.data, self.file.offsets[self.stream[begin:end]], STREAM)
        if made == logged:
            return
        ours, theirs = split(made), split(logged)
        if last and len(ours) > len(theirs) and ours[: len(theirs)] == theirs:
            self.out.unlogged += len(ours) - len(theirs)  # killed between an event and its decisions
            return
        frames = self.stream[begin:end]
        for k in range(max(len(ours), len(theirs))):
            a = theirs[k] if k < len(theirs) else None
            b = ours[k] if k < len(ours) else None
            if a != b:
                self.out.differences += 1
                if len(self.out.shown) < KEPT:
                    seq = int(self.file.headers["seq"][frames[min(k, len(frames) - 1)]])
                    self.out.shown.append(f"frame {seq}: logged {in_words(a)}, replayed {in_words(b)}")


def split(data: bytes) -> list[bytes]:
    """Canonical records one by one."""
    out, at = [], 0
    while at < len(data):
        (n,) = struct.unpack_from("<I", data, at)
        out.append(data[at : at + 8 + n])
        at += 8 + n
    return out


def in_words(record: bytes | None) -> str:
    """A record for a person."""
    if record is None:
        return "nothing"
    kind = struct.unpack_from("<H", record, 4)[0]
    if kind != Frame.DECISION:
        return f"{Frame(kind).name} of {len(record) - 8} bytes"
    d = np.frombuffer(record, DECISION_DTYPE, count=1, offset=8)[0]
    s = d["signal"]
    floats = np.frombuffer(record, np.float32, offset=8 + DECISION_DTYPE.itemsize)
    return (
        f"{Action(int(s['action'])).name} because {Reason(int(s['reason'])).name}, confidence {float(s['confidence']):.9g} "
        f"at event {int(s['event_index'])}, features {[float(f'{x:.9g}') for x in floats[: int(d['n_x'])]]}"
    )


def what_if(folder: str | Path, bundle: Bundle) -> dict[str, Any]:
    """Another model over the logged events, from the log's beginning: how often it would have acted otherwise.

    Decisions are matched by event and instrument. Nothing is demanded of it.
    """
    then: dict[tuple[int, int], int] = {}
    now: dict[tuple[int, int], int] = {}
    rt: Runtime | None = None
    base = 0
    for file in open_all(folder):
        head = file.json(Frame.HEADER)
        if rt is None or [i["symbol"] for i in head["instruments"]] != list(rt.instruments.symbols):
            rt = Runtime(bundle, recording.instruments_of(head))
        logged = file.decisions()["signal"]
        logged = logged[(logged["flags"] & SignalFlag.SHADOW) == 0]  # what was emitted
        events = file.events()
        made = rt.run(events)
        first = rt.stats()["events"] - len(events)
        start = int(logged["event_index"].min()) if len(logged) else 0
        offset = _first_index(file, start)
        then |= _actions(logged, base - offset)
        now |= _actions(made, base - first)
        base += len(events)
    both = then.keys() & now.keys()
    flips = Counter(f"{Action(then[k]).name} -> {Action(now[k]).name}" for k in both if then[k] != now[k])
    return {
        "events": base,
        "decisions": len(then),
        "decisions_what_if": len(now),
        "compared": len(both),
        "changed": sum(flips.values()),
        "changes": dict(flips.most_common()),
        "actions": dict(Counter(Action(a).name for a in then.values())),
        "actions_what_if": dict(Counter(Action(a).name for a in now.values())),
        "model": bundle.name,
    }


def _first_index(file: LogFile, start: int) -> int:
    """event_index of the file's first EVENT frame: that of the first decision less the inputs before it."""
    kinds = file.headers["type"]
    first = file.of_type(Frame.DECISION)
    if not len(first):
        return 0
    before = np.isin(kinds[: int(first[0])], (Frame.EVENT, Frame.FEATURES))
    return start - int(before.sum()) + 1


def _actions(signals: npt.NDArray[Any], shift: int) -> dict[tuple[int, int], int]:
    keys = (signals["event_index"].astype(np.int64) + shift).tolist()
    return dict(zip(zip(keys, signals["instrument_id"].tolist(), strict=True), signals["action"].tolist(), strict=True))
