"""A changed feature definition, shown again to be the same in both twins, and recorded. Floor 5."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from alpha.documents import to_json, write_atomically
from alpha.errors import RegistryError
from alpha.features import parity
from alpha.instruments import Instruments
from alpha.registry.lifecycle import line, person, utc_now
from alpha.registry.schema import RegistryDocument
from alpha.registry.signing import change
from alpha.registry.store import Registry, load


def revalidate(
    path: str | Path,
    uri: str,
    events: npt.NDArray[np.void] | Iterable[npt.NDArray[np.void]],
    instruments: Instruments,
    *,
    by: str,
    data_sha256: list[str] | None = None,
    at: str | None = None,
) -> dict[str, Any]:
    """Parity of the definition as this build computes it; if it passes, that definition is the approved one.

    The certificate is written beside the artifact, its hash, the definition's hash and a line of history into the
    registry. Returns the certificate and ``revision``; without ``pass`` nothing was written.
    """
    who = person(by, "a revalidation")
    book = load(path)
    entry, model = book.load_model(uri)
    fs = model.feature_set
    certificate = {**parity.check(fs, events, instruments), "data_sha256": data_sha256 or [], "model": entry.label}
    if not certificate["pass"]:
        return {**certificate, "revision": book.document.revision}
    raw = to_json(certificate)
    name = f"parity-{fs.definition_hash[:12]}-{hashlib.sha256(raw).hexdigest()[:12]}.json"
    try:
        write_atomically(model.directory / name, raw)  # before the registry names it
    except OSError as exc:
        raise RegistryError(f"the certificate {model.directory / name} cannot be written: {exc}") from None

    def record(doc: RegistryDocument) -> RegistryDocument:
        target = Registry(Path(path), doc).resolve(f"models:/{entry.id}/{entry.number}")
        old = target.feature_definition
        new = msgspec.structs.replace(
            old, hash=fs.definition_hash, parity=name, parity_sha256=hashlib.sha256(raw).hexdigest()
        )
        note = f"definition {(old.hash or model.metadata.definition_hash)[:12]} -> {fs.definition_hash[:12]}"
        models = [msgspec.structs.replace(e, feature_definition=new) if e is target else e for e in doc.models]
        change = line(doc, target, at or utc_now(), "revalidate", who, target.status, note)
        return msgspec.structs.replace(doc, models=models, history=[*doc.history, change])

    after = change(path, record, expect_revision=book.document.revision)
    return {**certificate, "revision": after.document.revision}
