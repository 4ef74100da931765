"""Rows of features of a snapshot that training wrote: a manifest, and a Parquet file per instrument and day. Floor 3."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from alpha.documents import convert, read_json
from alpha.errors import DataError, need
from alpha.features.feature_set import FeatureSet

MANIFEST = "manifest.json"


class _Part(msgspec.Struct, frozen=True):
    sha256: str


class _Manifest(msgspec.Struct, frozen=True):
    """What is read of a manifest; the rest is training's."""

    definition_hash: str
    partitions: dict[str, _Part]
    complete: bool = False


def snapshot_parts(folder: Path, fs: FeatureSet) -> Iterator[npt.NDArray[np.float32]]:
    """Raw features float32 [N, F] of each partition of a complete snapshot, in the order of their names.

    One partition is in memory at a time. DataError if the snapshot is not complete, was made with another feature
    definition, or a file is missing, altered, or holds a value that is not finite.
    """
    path = folder / MANIFEST
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise DataError(f"{folder} is no snapshot: {MANIFEST} cannot be read: {exc.strerror}") from None
    manifest = convert(read_json(raw, str(path), DataError), _Manifest, str(path), DataError)
    if not manifest.complete:
        raise DataError(f"snapshot {folder} is not complete: make it again with the same recipe to go on")
    if manifest.definition_hash != fs.definition_hash:
        raise DataError(
            f"snapshot {folder} was made with the definition {manifest.definition_hash[:12]}…, "
            f"the model's features are {fs.definition_hash[:12]}…"
        )
    if not manifest.partitions:
        raise DataError(f"snapshot {folder} has no rows")
    return (_rows(folder, name, part, fs) for name, part in sorted(manifest.partitions.items()))


def _rows(folder: Path, name: str, part: _Part, fs: FeatureSet) -> npt.NDArray[np.float32]:
    parquet = need("pyarrow.parquet", "data")
    file = folder / name
    try:
        if not file.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"snapshot {folder}: partition {name!r} lies outside of it")
        data = file.read_bytes()
    except (OSError, ValueError) as exc:  # the latter: a name that no file can have
        raise DataError(f"snapshot {folder}: partition {name!r} cannot be read: {exc}") from None
    if hashlib.sha256(data).hexdigest() != part.sha256:
        raise DataError(f"snapshot {file} was altered: its sha256 is not the manifest's")
    table = parquet.ParquetFile(need("pyarrow", "data").BufferReader(data)).read(columns=list(fs.names))
    missing = [n for n in fs.names if n not in table.column_names]
    if missing:
        raise DataError(f"snapshot {file} lacks the column {missing[0]!r}")
    rows = np.column_stack([table[n].to_numpy() for n in fs.names]).astype(np.float32, copy=False)
    if not np.isfinite(rows).all():
        raise DataError(f"snapshot {file} holds a value that is not finite: no model sees such a row")
    return rows
