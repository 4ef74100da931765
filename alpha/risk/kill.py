"""The kill latch: one small file that silences all models, one model or one instrument, from any process. Floor 5.

The file is mapped into memory by whoever decides: a byte that is set counts before the next event, without a system
call. Setting it also reaches the disk, so the latch outlives a restart and a crash. It is taken back by hand only.

Layout: 64 bytes of header (magic), then slots of 64 bytes: one byte that is the latch, one that says what kind of name,
two of length, 60 of name (UTF-8; a longer name is stored as its sha256). Slot 0 is the latch for all.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from alpha.errors import AlphaError

MAGIC = b"ALPHAKILL\x01"
SLOT = 64
SLOTS = 4096
_HEAD = 64
_NAME_BYTES = 60
ALL, MODEL, INSTRUMENT = 1, 2, 3


class KillLatch:
    """The latch in ``path``; the file is made if it is missing. AlphaError if it is not one or cannot be written."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        size = _HEAD + SLOT * SLOTS
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked():
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
                try:
                    found = os.fstat(handle).st_size
                    if found == 0:
                        os.ftruncate(handle, size)
                        os.pwrite(handle, bytes([0, ALL]), _HEAD)
                        os.pwrite(handle, MAGIC, 0)
                        os.fsync(handle)
                    elif found != size or os.pread(handle, len(MAGIC), 0) != MAGIC:
                        raise AlphaError(f"{self.path} is no kill latch: name another file")
                    self._map = mmap.mmap(handle, size)
                finally:
                    os.close(handle)
        except OSError as exc:
            raise AlphaError(f"kill latch {path} cannot be used: {(exc.strerror or str(exc)).lower()}") from None

    def _locked(self) -> FileLock:
        return FileLock(str(self.path.with_name(f".{self.path.name}.lock")), timeout=30)

    def kill(self, *, model: str | None = None, instrument: str | None = None) -> None:
        """Silence all, or one model (its id), or one instrument (its symbol): on the disk when this returns."""
        self._set(model, instrument, 1)

    def revive(self, *, model: str | None = None, instrument: str | None = None) -> None:
        """Take one latch back; the others stay as they are."""
        self._set(model, instrument, 0)

    def _set(self, model: str | None, instrument: str | None, value: int) -> None:
        if model is not None and instrument is not None:
            raise AlphaError("a latch is for a model or for an instrument, not for both: set two")
        kind, name = (
            (ALL, "") if model is None and instrument is None else (MODEL, model) if model else (INSTRUMENT, instrument)
        )
        with self._locked():
            self._map[self._slot(kind, str(name))] = value
            self._map.flush()

    def killed(self) -> list[str]:
        """What is silenced: ``all``, ``model NAME``, ``instrument NAME``."""
        out = []
        for at in range(_HEAD, _HEAD + SLOT * SLOTS, SLOT):
            kind = self._map[at + 1]
            if kind == 0:
                break
            if self._map[at]:
                length = self._map[at + 2]
                name = self._map[at + 4 : at + 4 + length].decode(errors="replace")
                out.append({ALL: "all", MODEL: f"model {name}", INSTRUMENT: f"instrument {name}"}.get(kind, "?"))
        return out

    def is_killed(self, *, model: str | None = None, instrument: str | None = None) -> bool:
        """Whether all, this model or this instrument is silenced."""
        if self._map[_HEAD]:
            return True
        names = [(MODEL, model), (INSTRUMENT, instrument)]
        with self._locked():
            return any(self._map[self._slot(kind, name)] for kind, name in names if name is not None)

    def _slot(self, kind: int, name: str) -> int:
        """Offset of a name's byte; a new slot if it has none. Under the lock."""
        raw = name.encode()
        if len(raw) > _NAME_BYTES:
            raw = b"sha256:" + hashlib.sha256(raw).hexdigest()[:48].encode()
        for at in range(_HEAD, _HEAD + SLOT * SLOTS, SLOT):
            found = self._map[at + 1]
            if found == kind and self._map[at + 4 : at + 4 + self._map[at + 2]] == raw:
                return at
            if found == 0:
                self._map[at + 4 : at + 4 + len(raw)] = raw
                self._map[at + 2] = len(raw)
                self._map[at + 1] = kind  # last: the slot counts from now on
                self._map.flush()
                return at
        raise AlphaError(f"kill latch {self.path} is full: it has room for {SLOTS} names")

    def bytes_of(self, model: str, symbols: Sequence[str]) -> tuple[mmap.mmap, list[tuple[int, int, int]]]:
        """The mapped file and, per instrument, the offsets of the bytes that silence it: all, its model, itself.
        ``model``: ``id/version`` or an id; the latch is for the id."""
        with self._locked():
            own = self._slot(MODEL, model.partition("/")[0])
            return self._map, [(_HEAD, own, self._slot(INSTRUMENT, s)) for s in symbols]
