"""Loading an artifact: read once, hash those bytes, check the graph in them, hand the same bytes on. Floor 3."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from alpha.errors import ModelError
from alpha.features.feature_set import FeatureSet
from alpha.models.graph import DEFAULT, Graph
from alpha.models.metadata import Metadata, decode
from alpha.models.verify import verify_model

MAX_MODEL_BYTES = DEFAULT.bytes
MAX_PROBE_BYTES = 64 * 1024 * 1024
PROBES = "probes.npy"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A verified artifact: ``model_bytes`` are the bytes that were hashed to ``sha256`` and read as ``graph``.

    ``changed``: why its feature definition means something else in this build (an operator has another version),
    empty if it does not. Such a model is served as HOLD with DEFINITION_CHANGED until it is revalidated.
    ``probes``: the bytes of probes.npy, those that the metadata hashed where it names them; None if there are none.
    """

    directory: Path
    metadata: Metadata
    feature_set: FeatureSet
    model_bytes: bytes
    sha256: str
    metadata_sha256: str
    graph: Graph
    changed: str = ""
    metadata_bytes: bytes = b""
    probes: bytes | None = None


def changed_text(meta: Metadata, present: str, approved: str) -> str:
    """What happened to the definition and what to do, in one sentence."""
    return (
        f"model {meta.model_id} v{meta.version}: this build computes its features by definition {present[:12]}…, it was "
        f"approved with {approved[:12]}…: run  alpha registry revalidate models:/{meta.model_id}/{meta.version} --data FILE"
    )


def read_file(directory: Path, name: str, limit: int) -> bytes:
    """A file of an artifact; ModelError if it is missing, too large, or lies outside the folder."""
    path = directory / name
    try:
        if not path.is_file():
            raise ModelError(f"artifact {directory} has no {name}")
        if not path.resolve().is_relative_to(directory.resolve()):
            raise ModelError(f"artifact {directory}: {name} is a link that leads outside of it")
        if path.stat().st_size > limit:
            raise ModelError(f"artifact {directory}: {name} is larger than {limit} bytes")
        return path.read_bytes()
    except (OSError, ValueError) as exc:  # ValueError: a name that no file can have
        raise ModelError(f"artifact {directory}: {name!r} cannot be read: {exc}") from None


def load_artifact(
    directory: str | Path, *, expect_sha256: str | None = None, expect_metadata_sha256: str | None = None
) -> LoadedModel:
    """Read and verify ``model.onnx``, ``metadata.json`` and ``probes.npy`` of a folder.

    ``expect_sha256``, ``expect_metadata_sha256``: what the registry recorded. ModelError names the file that
    differs; the feature set is rebuilt and its hash compared (``changed`` of the result); a model that
    :func:`verify_model` refuses is refused.
    """
    folder = Path(directory)
    try:
        present = folder.is_dir()
    except (OSError, ValueError) as exc:  # a name that no folder can have
        raise ModelError(f"artifact folder cannot be read: {exc}") from None
    if not present:
        raise ModelError(f"artifact folder {folder} does not exist")
    raw = read_file(folder, "metadata.json", 16 * 1024 * 1024)
    meta_hash = hashlib.sha256(raw).hexdigest()
    if expect_metadata_sha256 is not None and meta_hash != expect_metadata_sha256:
        raise ModelError(
            f"{folder / 'metadata.json'} was altered: sha256 {meta_hash}, the registry says {expect_metadata_sha256}"
        )
    meta = decode(raw, str(folder / "metadata.json"))
    model = read_file(folder, "model.onnx", MAX_MODEL_BYTES)
    digest = hashlib.sha256(model).hexdigest()
    for source, expected in (("the metadata", meta.sha256["model.onnx"]), ("the registry", expect_sha256)):
        if expected is not None and digest != expected:
            raise ModelError(f"{folder / 'model.onnx'} was altered: sha256 {digest}, {source} says {expected}")
    probes = _probes(folder, meta)
    fs = meta.present_feature_set()
    changed = ""
    if fs.definition_hash != meta.definition_hash:
        changed = changed_text(meta, fs.definition_hash, meta.definition_hash)
    try:
        graph = verify_model(model, len(meta.feature_names))
    except ModelError as exc:
        raise ModelError(f"{folder / 'model.onnx'} is refused: {exc}") from None
    return LoadedModel(folder, meta, fs, model, digest, meta_hash, graph, changed, raw, probes)


def _probes(folder: Path, meta: Metadata) -> bytes | None:
    """The rows that judge this model are as trusted as the model: what the metadata hashed, or nothing is served."""
    expected = meta.sha256.get(PROBES)
    if expected is None:
        return read_file(folder, PROBES, MAX_PROBE_BYTES) if (folder / PROBES).exists() else None
    data = read_file(folder, PROBES, MAX_PROBE_BYTES)
    digest = hashlib.sha256(data).hexdigest()
    if digest != expected:
        raise ModelError(f"{folder / PROBES} was altered: sha256 {digest}, the metadata says {expected}")
    return data


def verify_files(directory: Path, meta: Metadata, on_problem: Callable[[str], None]) -> None:
    """Compare every file that the metadata hashes."""
    for name, expected in meta.sha256.items():
        try:
            digest = hashlib.sha256(read_file(directory, name, MAX_MODEL_BYTES)).hexdigest()
        except ModelError as exc:
            on_problem(str(exc))
            continue
        if digest != expected:
            on_problem(f"{directory / name} was altered: sha256 {digest}, the metadata says {expected}")
