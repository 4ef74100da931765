"""An artifact folder and its registry entry, each written atomically."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from alpha.documents import sync_folder, to_json
from alpha.errors import RegistryError
from alpha.models.metadata import Metadata, encode
from alpha.registry import Check, Entry, FeatureDefinition, load, register
from alpha.registry.lifecycle import utc_now


def next_version(registry: Path, model_id: str) -> int:
    """One above the highest version of this id, registered or on disk."""
    versions = [0]
    root = registry.parent
    if registry.exists():
        book = load(registry)
        root = book.root
        versions += [e.number for e in book.document.models if e.id == model_id]
    folder = root / "artifacts" / model_id
    if folder.is_dir():
        versions += [int(p.name[1:]) for p in folder.iterdir() if p.name.startswith("v") and p.name[1:].isdigit()]
    return max(versions) + 1


def check_place(registry: Path) -> None:
    """RegistryError if nothing could be registered there: known before the work, not after."""
    if registry.is_dir():
        raise RegistryError(f"registry {registry} is a folder: name the registry.json in it")
    if registry.exists():
        load(registry)
    folder = registry.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise RegistryError(f"registry {registry} cannot be written in {folder}: choose another place")


def write(
    registry: Path,
    meta: Metadata,
    model_bytes: bytes,
    probes: npt.NDArray[np.float32],
    certificate: dict[str, Any],
    checks: list[Check],
    card: str,
    *,
    owner: str,
    snapshot: str,
    commit: str,
    at: str | None = None,
    more: dict[str, bytes] | None = None,
) -> tuple[Path, Entry]:
    """Write ``artifacts/<id>/v<n>/`` beside the registry, then register it as a candidate.

    ``meta.sha256`` is completed here; ``at``: time of creation (default now); ``more``: further files. RegistryError if the version's folder already exists.
    """
    root = load(registry).root if registry.exists() else registry.resolve().parent
    folder = root / "artifacts" / meta.model_id / f"v{meta.version}"
    if folder.exists():
        raise RegistryError(f"artifact folder {folder} already exists")
    folder.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.save(buffer, probes)
    files = {
        "model.onnx": model_bytes,
        "probes.npy": buffer.getvalue(),
        "parity.json": to_json(certificate),
        "card.md": card.encode(),
        **(more or {}),
    }
    meta = msgspec.structs.replace(
        meta, sha256={name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    )
    files["metadata.json"] = encode(meta)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    try:
        for name, data in files.items():
            with (draft / name).open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
        draft.chmod(0o755)
        draft.rename(folder)
    except OSError as exc:
        shutil.rmtree(draft, ignore_errors=True)
        raise RegistryError(
            f"artifact folder {folder} cannot be written: {(exc.strerror or str(exc)).lower()}"
        ) from None
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_folder(folder.parent)
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
        metadata_sha256=hashlib.sha256(files["metadata.json"]).hexdigest(),
        checks=checks,
    )
    register(registry, entry, by=owner, at=at)
    return folder, entry
