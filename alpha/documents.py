"""JSON documents that decide something: read strictly, written atomically. Floor 1."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from alpha.errors import AlphaError

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 32
T = TypeVar("T")


def read_json(data: bytes, what: str, error: type[AlphaError]) -> Any:
    """Plain values of a JSON document; ``error`` for duplicate keys, NaN, deep nesting, excess size or bad syntax."""
    if len(data) > MAX_BYTES:
        raise error(f"{what} has {len(data)} bytes; the limit is {MAX_BYTES}")
    depth = deepest = 0
    inside = escaped = False
    for byte in data:  # nesting is measured before any recursive parser sees it
        if inside:
            inside = escaped or byte != 0x22
            escaped = byte == 0x5C and not escaped
        elif byte == 0x22:
            inside = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    if deepest > MAX_DEPTH:
        raise error(f"{what} is nested {deepest} deep; the limit is {MAX_DEPTH}")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(items)
        if len(out) != len(items):
            names = [k for k, _ in items]
            twice = next(k for k in names if names.count(k) > 1)
            raise error(f"{what} has the key {twice!r} twice in one object")
        return out

    def constant(name: str) -> Any:
        raise error(f"{what} contains {name}, which is no JSON number")

    try:
        return json.loads(data, object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, UnicodeDecodeError) as exc:
        raise error(f"{what} is not valid JSON: {exc}") from None


def convert(value: Any, kind: type[T], what: str, error: type[AlphaError]) -> T:
    """Plain values as a typed struct; ``error`` says which field is wrong."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        raise error(f"{what}: {exc}") from None


def plain(value: Any) -> Any:
    """For JSON: numbers that are none become null, numpy's become Python's."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_json(value: Any) -> bytes:
    """Readable JSON, two spaces, keys in declared order, a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def write_atomically(path: Path, data: bytes) -> None:
    """Old or new, never a mixture: temporary file, fsync, rename, fsync of the folder."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make renames inside a folder durable."""
    folder = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
