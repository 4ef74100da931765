"""The state of a runtime as one blob: what it is bound to, its bytes, their sum. Floor 6.

Layout: 8 bytes magic, u32 length of the header, the header (JSON: version, layout, definition, model, instruments),
the body (see ``alpha_resume.h``), 32 bytes sha256 of all before. A blob that is foreign, cut short or altered is refused.
"""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any

from alpha.errors import StateError

MAGIC = b"ALPHAST\x01"
VERSION = 1
_SUM_BYTES = 32


def pack(binding: dict[str, Any], body: bytes) -> bytes:
    """One blob; ``binding``: plain values that the reader must share."""
    header = json.dumps({"version": VERSION, **binding}, sort_keys=True, separators=(",", ":")).encode()
    blob = MAGIC + struct.pack("<I", len(header)) + header + body
    return blob + hashlib.sha256(blob).digest()


def unpack(blob: bytes, binding: dict[str, Any]) -> bytes:
    """The body; StateError says what is wrong with the blob, or which part of the binding differs."""
    if not isinstance(blob, (bytes, bytearray, memoryview)):
        raise StateError(f"a state is bytes, as save_state() gives them, not {type(blob).__name__}")
    data = bytes(blob)
    start = len(MAGIC) + 4
    if len(data) < start + _SUM_BYTES or not data.startswith(MAGIC):
        raise StateError("these bytes are not a saved state, or one of another format")
    if hashlib.sha256(data[:-_SUM_BYTES]).digest() != data[-_SUM_BYTES:]:
        raise StateError("this saved state was cut short or altered: its checksum is wrong")
    (length,) = struct.unpack_from("<I", data, len(MAGIC))
    try:
        header = json.loads(data[start : start + length])
        found = {**header}
    except (ValueError, TypeError):
        raise StateError("this saved state has no readable header") from None
    for name, wanted in {"version": VERSION, **binding}.items():
        if found.get(name) != json.loads(json.dumps(wanted)):
            raise StateError(
                f"this saved state belongs to another {name}: {_short(found.get(name))}, here {_short(wanted)}"
            )
    return data[start + length : -_SUM_BYTES]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
