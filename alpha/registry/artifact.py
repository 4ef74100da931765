"""An artifact folder beside its registry, written whole or not at all. Floor 5."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from alpha.documents import sync_folder
from alpha.errors import RegistryError
from alpha.models.metadata import Metadata, encode
from alpha.registry.lifecycle import register, utc_now
from alpha.registry.schema import Check, Entry, FeatureDefinition
from alpha.registry.store import load


def next_version(registry: Path, model_id: str) -> int:
    """One above the highest version of this id, registered or on disk."""
    versions = [0]
    root = registry.resolve().parent
    if registry.exists():
        book = load(registry)
        root = book.root
        versions += [e.number for e in book.document.models if e.id == model_id]
    folder = root / "artifacts" / model_id
    if folder.is_dir():
        versions += [int(p.name[1:]) for p in folder.iterdir() if p.name.startswith("v") and p.name[1:].isdigit()]
    return max(versions) + 1


def publish(
    registry: Path,
    meta: Metadata,
    files: Mapping[str, bytes],
    *,
    checks: list[Check],
    owner: str = "",
    snapshot: str = "",
    commit: str = "",
    at: str | None = None,
    note: str = "",
) -> tuple[Path, Entry]:
    """Write ``artifacts/<id>/v<n>/`` with ``files`` (model.onnx among them) and metadata.json, and register a candidate.

    ``meta.sha256`` is completed here; the registry is made if it is missing; ``note`` stands in its history. RegistryError if the version exists or
    nothing can be written; then nothing was registered.
    """
    root = load(registry).root if registry.exists() else registry.resolve().parent
    folder = root / "artifacts" / meta.model_id / f"v{meta.version}"
    if folder.exists():
        raise RegistryError(f"artifact folder {folder} already exists: choose another --version")
    meta = msgspec.structs.replace(
        meta, sha256={name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    )
    described = encode(meta)
    place(folder, {**files, "metadata.json": described})
    entry = Entry(
        id=meta.model_id,
        version=meta.version,
        status="candidate",
        path=(folder / "model.onnx").relative_to(root).as_posix(),
        sha256=meta.sha256["model.onnx"],
        input_features=meta.feature_names,
        output_schema=meta.output_schema,
        created_at=at or utc_now(),
        owner=owner,
        training_data_snapshot=snapshot,
        feature_definition=FeatureDefinition(commit=commit, hash=meta.definition_hash),
        metadata_sha256=hashlib.sha256(described).hexdigest(),
        checks=checks,
    )
    register(registry, entry, by=owner, at=at, note=note)
    return folder, entry


def place(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write an artifact's files into a folder that does not exist yet: all of them or none. RegistryError if not."""
    draft: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
        for name, data in files.items():
            with (draft / name).open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
        draft.chmod(0o755)
        draft.rename(folder)
    except OSError as exc:
        raise RegistryError(
            f"artifact folder {folder} cannot be written: {(exc.strerror or str(exc)).lower()}: choose another --registry"
        ) from None
    finally:
        if draft is not None:  # gone when it was renamed
            shutil.rmtree(draft, ignore_errors=True)
    sync_folder(folder.parent)
