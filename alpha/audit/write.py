"""Opening, rotating and closing a log; putting aside what a crash left. Floor 5."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alpha._core.log import Log, scan
from alpha.audit.frames import FORMAT, FRAME_BYTES, GENESIS, Frame, state_payload
from alpha.audit.head import HeadSigner, head_json
from alpha.audit.read import LogFile, files_of, number_of, resume
from alpha.documents import sync_folder, write_atomically
from alpha.errors import AlphaError, DataError

ROTATE_BYTES = 1 << 30


class AuditLog:
    """A log that is being written. ``log`` is what the pipeline puts into.

    ``policy``: ``block_signals`` (what cannot be kept becomes HOLD, AUDIT_BLOCKED, until the log is opened anew),
    ``count_drops`` (it is lost and counted) or ``wait`` (offline: the producer waits). ``anchor``: a file elsewhere that
    learns where the log ends, beside ``head.json`` in the folder. ``key``: an Ed25519 private key (as ``alpha registry
    keygen`` writes it) that signs it there and here. ``capacity``: of the ring, bytes.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        policy: str = "block_signals",
        capacity: int = 1 << 24,
        rotate_bytes: int = ROTATE_BYTES,
        anchor: str | Path | None = None,
        key: str | Path | None = None,
    ) -> None:
        self._signer = None if key is None else HeadSigner(Path(key))
        self.folder = Path(folder)
        self.policy = policy
        self.rotate_bytes = rotate_bytes
        self.anchor = None if anchor is None else Path(anchor)
        self.log = Log(policy=policy, capacity=capacity)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "models").mkdir(exist_ok=True)
        except OSError as exc:
            raise AlphaError(f"audit folder {folder} cannot be used: {(exc.strerror or str(exc)).lower()}") from None
        found = recover(self.folder)
        self.set_aside, self._tail = found.aside, found.tail
        self._seq, self._chain, self._number, self._run = found.seq, found.chain, found.number, found.run + 1

    def begin(
        self,
        header: dict[str, Any],
        bundle: dict[str, Any],
        state: bytes,
        *,
        fail_write_at: int = -1,
        fail_sync_at: int = -1,
    ) -> None:
        """The next file: HEADER, BUNDLE and STATE, then whatever the pipeline puts. AlphaError if it cannot be written."""
        self.finish()
        self._number += 1
        path = self.folder / f"audit-{self._number:06d}.alog"
        whole = {
            "format": FORMAT,
            "run": self._run,
            "number": self._number,
            "chain": self._chain.hex(),
            "tail": self._tail,
            "policy": self.policy,
            **header,
        }
        prologue = [
            (Frame.HEADER, _json(whole)),
            (Frame.BUNDLE, _json(bundle)),
            (Frame.STATE, state_payload(state)),
        ]
        try:
            self.log.open(
                path,
                prologue,
                seq=self._seq,
                run=self._run,
                chain=self._chain,
                fail_write_at=fail_write_at,
                fail_sync_at=fail_sync_at,
            )
            sync_folder(self.folder)
            self._tail = ""
            self._tell(closed=False)
        except OSError as exc:
            raise AlphaError(f"audit log {path} cannot be written: {(exc.strerror or str(exc)).lower()}") from None

    def keep(self, name: str, data: bytes) -> None:
        """A file of ``models/`` named by its content; written once."""
        path = self.folder / "models" / name
        if not path.exists():
            write_atomically(path, data)

    @property
    def full(self) -> bool:
        """True once the present file has grown past ``rotate_bytes``, with what still waits to be written."""
        waiting = self.log.capacity - self.log.free_bytes
        return self.log.file_bytes + waiting > self.rotate_bytes

    def finish(self, *, closed: bool = False) -> None:
        """End the present file; ``closed``: the log ends here for now, and the anchor says so. May be called twice."""
        if not self.log.running:
            return
        self.log.close()
        if self.log.failed:
            return  # what is on the disk is unknown: the next start finds out
        self._seq, self._chain = self.log.seq, self.log.chain
        self._tell(closed=closed)

    def _tell(self, *, closed: bool) -> None:
        """Write down where the finished files end."""
        head = head_json(self._seq, self._chain, closed=closed, sign=self._signer)
        for file in (self.folder / "head.json", self.anchor):
            if file is not None:
                write_atomically(file, head)

    def stats(self) -> dict[str, Any]:
        """What was written and what was not."""
        log = self.log
        return {
            "folder": str(self.folder),
            "file": f"audit-{self._number:06d}.alog",
            "policy": self.policy,
            "acknowledged": log.acknowledged,
            "synced": log.synced,
            "dropped": log.dropped,
            "blocked": log.blocked,
            "failed": os.strerror(log.failed) if log.failed else "",
            "set_aside_bytes": self.set_aside,
        }


def _json(value: dict[str, Any]) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    return text + b" " * (-len(text) % 8)


@dataclass(frozen=True)
class Recovered:
    """Where a folder's log goes on. ``aside``: bytes moved to ``<file>.cut``; ``tail``: sha256 of good frames that no
    block seals (the next HEADER vouches for them), empty without any."""

    aside: int = 0
    seq: int = 0
    chain: bytes = GENESIS
    number: int = 0
    run: int = 0
    tail: str = ""


def recover(folder: Path) -> Recovered:
    """Make a folder ready to go on.

    What stands behind the last good frame of the last file is moved to ``<file>.cut``; nothing is thrown away. Damage
    in the middle stays where it is, for ``alpha audit verify`` to show.
    """
    try:
        path = files_of(folder)[-1]
    except DataError:
        return Recovered()
    file = first = LogFile.open(path)
    if not len(file.headers) and resume(file.data, file.end) is None:
        # killed before the first block was written: the file before is the last one
        path.replace(path.with_suffix(f".{len(file.data)}.cut"))
        before = recover(folder)
        return replace(before, aside=before.aside + len(file.data))
    chain, block = _end_of_chain(first, GENESIS)
    while (again := resume(file.data, file.end)) is not None:
        headers, offsets, end = scan(file.data, again)
        file = LogFile(path, file.data, headers, offsets, end)
        chain, block = _end_of_chain(file, chain)
    behind = file.data[block : file.end].tobytes() if len(file.offsets) and int(file.offsets[-1]) >= block else b""
    out = Recovered(
        aside=len(file.data) - file.end,
        seq=int(file.headers["seq"][-1]) + 1,
        chain=chain,
        number=number_of(path),
        run=int(file.headers["run"][-1]),
        tail=hashlib.sha256(behind).hexdigest() if behind else "",
    )
    if out.aside:
        write_atomically(path.with_suffix(".cut"), file.data[file.end :].tobytes())
        os.truncate(path, file.end)
    return out


def _end_of_chain(file: LogFile, chain: bytes) -> tuple[bytes, int]:
    """(sha256 of the last block, the byte behind it) of a run of good frames."""
    blocks = file.of_type(Frame.BLOCK)
    if len(blocks):
        last = int(blocks[-1])
        return file.payload(last)[24:56], int(file.offsets[last]) + FRAME_BYTES + int(file.headers["len"][last])
    if len(file.headers) and int(file.headers["type"][0]) == Frame.HEADER:
        chain = bytes.fromhex(file.json(Frame.HEADER)["chain"])
    return chain, int(file.offsets[0]) if len(file.offsets) else 0
