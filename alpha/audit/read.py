"""Reading a log file: the good frames, and where they end. Floor 5."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha._core.log import scan
from alpha.audit.frames import DECISION_DTYPE, FRAME_BYTES, Frame, state_blob
from alpha.documents import read_json
from alpha.errors import DataError
from alpha.events import EVENT_DTYPE

_NAME = re.compile(r"audit-(\d{6,})\.alog")


def files_of(folder: str | Path) -> list[Path]:
    """The files of a log in their order; DataError if there is none."""
    path = Path(folder)
    try:
        found = [p for p in path.iterdir() if _NAME.fullmatch(p.name)]
    except OSError as exc:
        raise DataError(f"audit log {path} cannot be read: {(exc.strerror or str(exc)).lower()}") from None
    if not found:
        raise DataError(f"{path} holds no audit log: it has no file such as audit-000001.alog")
    return sorted(found, key=number_of)


def number_of(path: Path) -> int:
    """The number in a file's name."""
    match = _NAME.fullmatch(path.name)
    assert match
    return int(match[1])


@dataclass(frozen=True)
class LogFile:
    """The frames of one file from its start to the first that is damaged or cut short (``end``, a byte).

    ``headers``: FRAME_DTYPE [n]; ``offsets``: int64 [n], where each begins in ``data``.
    """

    path: Path
    data: npt.NDArray[np.uint8]
    headers: npt.NDArray[np.void]
    offsets: npt.NDArray[np.int64]
    end: int

    @classmethod
    def open(cls, path: Path) -> LogFile:
        """Map the file and walk it. DataError if it cannot be read."""
        try:
            size = path.stat().st_size
            data = np.memmap(path, dtype=np.uint8, mode="r") if size else np.zeros(0, np.uint8)
        except OSError as exc:
            raise DataError(f"{path} cannot be read: {(exc.strerror or str(exc)).lower()}") from None
        data = np.asarray(data)
        parts, at = [], 0
        while True:
            headers, offsets, end = scan(data, at)
            parts.append((headers, offsets))
            if end == at or len(headers) == 0:
                break
            at = end
        return cls(path, data, np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]), at)

    @property
    def whole(self) -> bool:
        """True if every byte belongs to a good frame."""
        return self.end == len(self.data)

    def payload(self, i: int) -> bytes:
        """The payload of frame ``i``."""
        at = int(self.offsets[i]) + FRAME_BYTES
        return self.data[at : at + int(self.headers["len"][i])].tobytes()

    def of_type(self, kind: Frame) -> npt.NDArray[np.int64]:
        """Indexes of the frames of a type."""
        return np.flatnonzero(self.headers["type"] == kind)

    def one(self, kind: Frame) -> bytes:
        """The payload of the only frame of a type; DataError if there is none."""
        found = self.of_type(kind)
        if not len(found):
            raise DataError(f"{self.path} has no {kind.name} frame: its beginning is damaged")
        return self.payload(int(found[0]))

    def json(self, kind: Frame) -> dict[str, Any]:
        """A HEADER or BUNDLE frame."""
        value = read_json(self.one(kind).rstrip(b"\0"), f"{self.path}: {kind.name}", DataError)
        if not isinstance(value, dict):
            raise DataError(f"{self.path}: {kind.name} is no JSON object")
        return value

    def state(self) -> bytes:
        """The state at the file's beginning, for Runtime.load_state."""
        return state_blob(self.one(Frame.STATE))

    def gather(self, frames: npt.NDArray[np.int64], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """The first ``dtype.itemsize`` bytes of each payload as an array; they must be that long."""
        if not len(frames):
            return np.zeros(0, dtype)
        if int(self.headers["len"][frames].min()) < dtype.itemsize:
            raise DataError(
                f"{self.path} has a {Frame(int(self.headers['type'][frames[0]])).name} frame of a wrong length"
            )
        out = np.empty((len(frames), dtype.itemsize), np.uint8)
        starts = self.offsets[frames] + FRAME_BYTES
        for a in range(0, len(frames), 65_536):  # the index is eight times as large as what it fetches
            out[a : a + 65_536] = self.data[starts[a : a + 65_536, None] + np.arange(dtype.itemsize)]
        return out.reshape(-1).view(dtype)

    def events(self, frames: npt.NDArray[np.int64] | None = None) -> npt.NDArray[Any]:
        """EVENT_DTYPE array of all EVENT frames, or of these."""
        return self.gather(self.of_type(Frame.EVENT) if frames is None else frames, EVENT_DTYPE)

    def decisions(self, frames: npt.NDArray[np.int64] | None = None) -> npt.NDArray[Any]:
        """DECISION_DTYPE array of all DECISION frames, or of these."""
        return self.gather(self.of_type(Frame.DECISION) if frames is None else frames, DECISION_DTYPE)

    def decision(self, i: int) -> dict[str, Any]:
        """DECISION frame ``i``: ``signal`` (SIGNAL_DTYPE scalar), ``latency_ns`` (None if not measured), ``x`` and
        ``outputs`` (float32)."""
        raw = self.payload(i)
        head = np.frombuffer(raw, DECISION_DTYPE, count=1)[0]
        n_x, n_out = int(head["n_x"]), int(head["n_out"])
        if DECISION_DTYPE.itemsize + 4 * (n_x + n_out) > len(raw):
            raise DataError(f"{self.path}: DECISION frame {int(self.headers['seq'][i])} is shorter than it says")
        floats = np.frombuffer(raw, np.float32, count=n_x + n_out, offset=DECISION_DTYPE.itemsize)
        latency = int(head["latency_ns"])
        return {
            "signal": head["signal"],
            "latency_ns": None if latency < 0 else latency,
            "x": floats[:n_x],
            "outputs": floats[n_x:],
        }


def resume(data: npt.NDArray[np.uint8], at: int) -> int | None:
    """The next byte behind a damaged ``at`` from which a good frame can be read, or None. Frames begin at multiples of 8."""
    for start in range(at + 8 - at % 8, len(data) - FRAME_BYTES + 1, 8):
        length = int(data[start : start + 4].view("<u4")[0])
        if length % 8 == 0 and start + FRAME_BYTES + length <= len(data) and len(scan(data, start, 1)[0]):
            return start
    return None


def open_all(folder: str | Path) -> Iterator[LogFile]:
    """Every file of a log in order."""
    for path in files_of(folder):
        yield LogFile.open(path)
