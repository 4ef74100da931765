"""Is a log what was written? Every frame, every block, every file, and the head. Floor 5."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alpha._core.log import scan
from alpha.audit.frames import BLOCK_DTYPE, FRAME_BYTES, GENESIS, Frame, FrameFlag
from alpha.audit.head import read_head, signature_problem
from alpha.audit.read import LogFile, files_of, number_of, resume
from alpha.errors import DataError
from alpha.registry.policy import keys_in


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, in which file, from which byte on."""

    file: str
    offset: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}, byte {self.offset}: {self.text}"


@dataclass
class Result:
    """``frames``: good ones; ``unsealed``: those behind the last block of a file (a crash leaves such); ``dropped``:
    records the writer lost; ``head``: where the log ends (as in head.json); ``signed_by``: the pinned key whose signature
    of the anchor fits, empty without one."""

    frames: int
    unsealed: int
    dropped: int
    head: dict[str, Any]
    problems: list[Problem]
    signed_by: str = ""


def verify(folder: str | Path, *, head: str | Path | None = None, keys: str | Path | None = None) -> Result:
    """Walk a log from its first byte to its last.

    ``head``: an anchor that was kept elsewhere (default: ``head.json`` in the folder, if any). ``keys``: a folder of
    ``NAME.pub``; the head must then be signed by one of them. Without it a signature is checked where there is one and
    ``$ALPHA_KEYS`` names the keys.
    """
    out = Result(0, 0, 0, {"seq": 0, "sha256": GENESIS.hex()}, [])
    seq: int | None = None
    chain, number = GENESIS, 0
    heads: dict[int, str] = {}
    tail: tuple[Problem, str] | None = None
    paths = files_of(folder)
    for path in paths:
        if number_of(path) != number + 1:
            out.problems.append(Problem(path.name, 0, f"the file before it, number {number_of(path) - 1}, is missing"))
            seq = None
        number = number_of(path)
        file = LogFile.open(path)
        if tail is not None and _sealed(file) != tail[1]:
            out.problems.append(tail[0])
        seq, chain, tail = _file(file, seq, chain, heads, out, first=number == 1)
    if tail is not None:
        out.problems.append(tail[0])
    out.head = {"seq": seq or 0, "sha256": chain.hex()}
    _anchor(Path(folder), head, keys, heads, out)
    return out


def _sealed(file: LogFile) -> str:
    """sha256 of the frames without a block at the end of the file before, as this file's HEADER gives it."""
    kinds = file.headers["type"]
    return str(file.json(Frame.HEADER).get("tail", "")) if len(kinds) and int(kinds[0]) == Frame.HEADER else ""


def _file(
    file: LogFile, seq: int | None, chain: bytes, heads: dict[int, str], out: Result, *, first: bool
) -> tuple[int | None, bytes, tuple[Problem, str] | None]:
    """One file: its frames' sums, numbers and blocks. Returns the next number, the chain's end, and what to say of
    frames behind the last block (with their sha256) unless the next file vouches for them."""
    name, headers = file.path.name, file.headers
    problems = out.problems

    def problem(offset: int, text: str) -> None:
        problems.append(Problem(name, offset, text))

    if len(headers) == 0 or int(headers["type"][0]) != Frame.HEADER:
        problem(0, "it does not begin with a HEADER frame")
    else:
        claimed = file.json(Frame.HEADER).get("chain")
        if seq is None:  # the file before is missing or damaged: go on with what this one says
            chain = bytes.fromhex(str(claimed)) if isinstance(claimed, str) and len(claimed) == 64 else GENESIS
            seq = int(headers["seq"][0]) if not first else 0
        elif claimed != chain.hex():
            problem(0, "it is not the continuation of the file before: the chain differs")
    seq = seq or 0
    block = 0
    while True:
        n = len(headers)
        wanted = seq + np.arange(n)
        wrong = np.flatnonzero(headers["seq"] != wanted)
        if len(wrong):
            i = int(wrong[0])
            problem(
                int(file.offsets[i]),
                f"frame {int(headers['seq'][i])} stands where {seq + i} should: frames were removed, added or swapped",
            )
        for i in np.flatnonzero(headers["flags"] & FrameFlag.DROPPED).tolist():
            problem(int(file.offsets[i]), f"records were dropped before frame {int(headers['seq'][i])}")
        out.frames += n
        chain, block = _blocks(file, headers, file.offsets, block, chain, heads, problem, out)
        seq = int(headers["seq"][-1]) + 1 if n else seq
        if file.end == len(file.data):
            break
        again = resume(file.data, file.end)
        cut = len(file.data) if again is None else again
        what = "is cut short or damaged" if again is None else "is damaged; good frames follow"
        problem(file.end, f"what stands from here to byte {cut} {what}")
        if again is None:
            break
        headers, offsets, end = scan(file.data, again)
        file = LogFile(file.path, file.data, headers, offsets, end)
        seq, block = int(headers["seq"][0]), again
    behind = int(np.count_nonzero(file.offsets >= block))
    if not behind:
        return seq, chain, None
    out.unsealed += behind
    text = f"{behind} frames are not sealed by a block: the writer was killed, or they were added"
    digest = hashlib.sha256(file.data[block : file.end].data).hexdigest()
    return seq, chain, (Problem(name, block, text), digest)


def _blocks(
    file: LogFile,
    headers: Any,
    offsets: Any,
    start: int,
    chain: bytes,
    heads: dict[int, str],
    problem: Any,
    out: Result,
) -> tuple[bytes, int]:
    """Check the chain over every BLOCK frame; returns its end and where the next block begins."""
    begin = 0 if start == 0 else int(np.searchsorted(offsets, start))
    for i in np.flatnonzero(headers["type"] == Frame.BLOCK).tolist():
        at = int(offsets[i])
        raw = file.data[at + FRAME_BYTES : at + FRAME_BYTES + int(headers["len"][i])].tobytes()
        if len(raw) != BLOCK_DTYPE.itemsize:
            problem(at, "a BLOCK frame has a wrong length")
            continue
        record = np.frombuffer(raw, BLOCK_DTYPE)[0]
        digest = hashlib.sha256(chain)
        digest.update(file.data[start:at].data)
        digest.update(raw[:24])
        told = record["sha256"].tobytes()
        if int(record["frames"]) != i - begin or (i > begin and int(record["first_seq"]) != int(headers["seq"][begin])):
            problem(
                at,
                f"the block says it has {int(record['frames'])} frames from {int(record['first_seq'])} on; it has {i - begin}",
            )
        if digest.digest() != told:
            problem(
                start, f"the block to byte {at} does not fit the chain: a frame in it, or a block before, was changed"
            )
        out.dropped = max(out.dropped, int(record["dropped"]))
        chain = told
        heads[int(headers["seq"][i]) + 1] = chain.hex()
        start, begin = at + FRAME_BYTES + len(raw), i + 1
    return chain, start


def _anchor(folder: Path, head: str | Path | None, keys: str | Path | None, heads: dict[int, str], out: Result) -> None:
    """Compare where the log ends with where it was said to end, and by whom."""
    file = Path(head) if head is not None else folder / "head.json"

    def problem(text: str) -> None:
        out.problems.append(Problem(file.name, 0, text))

    said = read_head(file)
    if said is None:
        if head is not None:
            raise DataError(f"anchor {head} does not exist")
        if keys is not None:
            problem("it is missing, so no signature says where the log ended")
        elif heads:  # it is written with the first block
            problem("it is missing: nothing says where the log ended, so its end may have been cut off")
        return
    if keys is not None or (said.key and os.environ.get("ALPHA_KEYS")):
        folder_of_keys = keys if keys is not None else os.environ["ALPHA_KEYS"]
        if wrong := signature_problem(said, keys_in(folder_of_keys, str(folder_of_keys))):
            problem(wrong)
        else:
            out.signed_by = said.key
    end = out.head["seq"]
    if said.seq > end:
        problem(f"the log ended at frame {said.seq}, now it ends at {end}: its end was cut off")
    elif heads.get(said.seq, GENESIS.hex() if said.seq == 0 else None) != said.sha256:
        problem(f"the log up to frame {said.seq} is not the one that the anchor saw")
    elif said.closed and said.seq < end:
        problem(f"{end - said.seq} frames were added after the log was closed at frame {said.seq}")
