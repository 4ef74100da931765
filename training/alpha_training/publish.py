"""What training made, written as an artifact and registered."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.documents import to_json
from alpha.errors import RegistryError
from alpha.models.metadata import Metadata
from alpha.registry import Check, Entry, load
from alpha.registry.artifact import next_version, publish

__all__ = ["check_place", "next_version", "write"]


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
    note: str = "",
) -> tuple[Path, Entry]:
    """Publish what training made as a candidate; see :func:`alpha.registry.artifact.publish`.

    ``at``: time of creation (default now); ``more``: further files; ``note``: of the registry's line of history.
    """
    buffer = io.BytesIO()
    np.save(buffer, probes)
    files = {
        "model.onnx": model_bytes,
        "probes.npy": buffer.getvalue(),
        "parity.json": to_json(certificate),
        "card.md": card.encode(),
        **(more or {}),
    }
    return publish(
        registry, meta, files, checks=checks, owner=owner, snapshot=snapshot, commit=commit, at=at, note=note
    )
