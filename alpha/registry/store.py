"""Finding, reading and writing registry.json. Floor 5."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import msgspec
from filelock import FileLock, Timeout

from alpha.documents import convert, read_json, to_json, write_atomically
from alpha.errors import ModelError, RegistryError
from alpha.models.load import LoadedModel, changed_text, load_artifact, read_file
from alpha.models.metadata import version_number
from alpha.registry.schema import Entry, RegistryDocument, check, check_change

_URI = re.compile(r"models:/([A-Za-z0-9_.\-]+)(?:@([A-Za-z]+)|/(v?[0-9]+))")
LOCK_SECONDS = 30.0
SHIPPED = (Path(__file__).parent.parent / "_shipped").resolve()


@dataclass(frozen=True)
class Registry:
    """A registry as it was read from ``path``."""

    path: Path
    document: RegistryDocument

    @property
    def root(self) -> Path:
        """Folder that model paths are relative to."""
        try:
            return (self.path.parent / self.document.root).resolve()
        except (OSError, ValueError) as exc:
            raise RegistryError(f"{self.path}: root {self.document.root!r} is no folder: {exc}") from None

    def resolve(self, uri: str) -> Entry:
        """The entry of ``models:/id@production`` or ``models:/id/3``; RegistryError lists what exists."""
        match = _URI.fullmatch(uri)
        if not match:
            raise RegistryError(f"model URI {uri!r} is not understood: write models:/ID@production or models:/ID/3")
        name, alias, version = match.groups()
        versions = [e for e in self.document.models if e.id == name]
        if not versions:
            known = ", ".join(sorted({e.id for e in self.document.models})) or "none"
            raise RegistryError(f"{self.path} has no model {name!r}; it has: {known}")
        if alias is not None:
            if alias not in ("production", "candidate"):
                raise RegistryError(
                    f"alias {alias!r} is unknown: use production or candidate, or a version such as models:/{name}/1"
                )
            chosen = [e for e in versions if e.status == alias]
        else:
            try:
                number = version_number(version)
            except ModelError as exc:
                raise RegistryError(f"model URI {uri!r}: {exc}") from None
            chosen = [e for e in versions if e.number == number]
        if not chosen:
            have = ", ".join(f"v{e.number} ({e.status})" for e in versions)
            raise RegistryError(f"model {name} has no {alias or 'version ' + version} in {self.path}; it has: {have}")
        return max(chosen, key=lambda e: e.number)

    def artifact_dir(self, entry: Entry) -> Path:
        """Folder of an entry's model file; RegistryError if the path leaves the registry's root."""
        path = PurePosixPath(entry.path)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise RegistryError(
                f"model {entry.id} v{entry.number}: path {entry.path!r} must lie inside the registry's root"
            )
        folder = (self.root / path).parent
        try:
            inside = folder.resolve().is_relative_to(self.root)
        except (OSError, ValueError) as exc:
            raise RegistryError(f"model {entry.id} v{entry.number}: its path cannot be a file: {exc}") from None
        if not inside:
            raise RegistryError(
                f"model {entry.id} v{entry.number}: {entry.path!r} is a link that leads outside the registry's root"
            )
        if path.name != "model.onnx":
            raise RegistryError(f"model {entry.id} v{entry.number}: path {entry.path!r} must end in model.onnx")
        return folder

    def load_model(self, uri: str) -> tuple[Entry, LoadedModel]:
        """Entry and verified artifact of a URI; hashes are those of the bytes that were read."""
        entry = self.resolve(uri)
        model = load_artifact(
            self.artifact_dir(entry), expect_sha256=entry.sha256, expect_metadata_sha256=entry.metadata_sha256 or None
        )
        meta = model.metadata
        if list(entry.input_features) != meta.feature_names:
            raise ModelError(
                f"model {entry.id} v{entry.number}: input_features differ from the metadata's feature_names"
            )
        if (meta.model_id, meta.version) != (entry.id, entry.number):
            raise ModelError(f"the artifact of {entry.id} v{entry.number} says it is {meta.model_id} v{meta.version}")
        return entry, self._governed(entry, model)

    def _governed(self, entry: Entry, model: LoadedModel) -> LoadedModel:
        """The registry's definition hash is the one that counts: it is the metadata's, or that of a certificate
        which :func:`alpha.registry.revalidate` left beside the artifact."""
        d = entry.feature_definition
        trained = model.metadata.definition_hash
        if d.hash in ("", trained):
            return model
        if not (d.parity and d.parity_sha256):
            raise ModelError(f"model {entry.label}: the registry and the metadata name different feature definitions")
        raw = read_file(model.directory, d.parity, 16 * 1024 * 1024)
        if hashlib.sha256(raw).hexdigest() != d.parity_sha256:
            raise ModelError(f"{model.directory / d.parity} was altered: its sha256 is not what the registry says")
        certificate = read_json(raw, str(model.directory / d.parity), ModelError)
        if not isinstance(certificate, dict) or (certificate.get("definition_hash"), certificate.get("pass")) != (
            d.hash,
            True,
        ):
            raise ModelError(f"model {entry.label}: {d.parity} does not certify the definition {d.hash[:12]}…")
        present = model.feature_set.definition_hash
        return replace(model, changed="" if present == d.hash else changed_text(model.metadata, present, d.hash))


def load(path: str | Path) -> Registry:
    """Read and check a registry; RegistryError in one sentence."""
    file = Path(path)
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise RegistryError(
            f"registry {file} does not exist: make one with  alpha train RECIPE --registry {file}"
        ) from None
    except OSError as exc:
        raise RegistryError(f"registry {file} cannot be read: {exc}") from None
    doc = convert(read_json(data, str(file), RegistryError), RegistryDocument, str(file), RegistryError)
    check(doc, str(file))
    return Registry(file, doc)


def find(explicit: str | Path | None = None) -> Path:
    """Path of the registry: ``explicit``, else $ALPHA_REGISTRY, else the nearest registry.json in this folder or
    above, else the one that was installed with this package."""
    if explicit is not None:
        return Path(explicit)
    named = os.environ.get("ALPHA_REGISTRY")
    if named:
        return Path(named)
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "registry.json").is_file():
            return folder / "registry.json"
    package = Path(__file__).parent.parent
    for installed in (SHIPPED / "registry.json", package.parent / "registry.json"):
        if installed.is_file():
            return installed
    raise RegistryError(
        "no registry.json in this folder or above: name one with --registry or $ALPHA_REGISTRY, or make one with  alpha train"
    )


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """The right to write this registry; RegistryError after :data:`LOCK_SECONDS`."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(file.with_name(f".{file.name}.lock")), timeout=LOCK_SECONDS):
            yield
    except Timeout:
        raise RegistryError(f"registry {file} is locked by another process for more than {LOCK_SECONDS:g} s") from None
    except OSError as exc:
        raise RegistryError(f"registry {file} cannot be written: {exc}") from None


def update(
    path: str | Path,
    change: Callable[[RegistryDocument], RegistryDocument],
    *,
    expect_revision: int | None = None,
    create: bool = False,
    written: Callable[[RegistryDocument], None] | None = None,
) -> Registry:
    """Apply ``change`` under the file lock and write atomically with the next revision.

    ``expect_revision``: compare-and-swap; RegistryError if somebody else changed the registry meanwhile.
    ``create``: start from an empty registry if the file is missing. ``written``: told of the new document, still
    under the lock.
    """
    file = Path(path)
    if file.resolve().parent == SHIPPED:
        raise RegistryError(
            f"registry {file} came with the package and would be lost with it: copy registry.json and artifacts/ "
            "to a folder of yours and name it with --registry or $ALPHA_REGISTRY"
        )
    with locked(file):
        _sweep(file)
        doc = RegistryDocument() if create and not file.exists() else load(file).document
        if expect_revision is not None and doc.revision != expect_revision:
            raise RegistryError(
                f"registry {file} is at revision {doc.revision}, not {expect_revision}: somebody else changed it, read it again"
            )
        new = msgspec.structs.replace(change(doc), revision=doc.revision + 1, signatures=[])
        check(new, str(file))
        check_change(doc, new, str(file))
        write_atomically(file, to_json(new))
        if written is not None:
            written(new)
    return Registry(file, new)


def _sweep(file: Path) -> None:
    """Remove what a writer left that was killed before its rename; whoever holds the lock is the only writer."""
    for draft in file.parent.glob(f".{file.name}.*"):
        if draft.name != f".{file.name}.lock":
            draft.unlink(missing_ok=True)
