"""What registry.json holds. Floor 5.

The specification's fields per model, completed by lineage, checks and approval.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from alpha.errors import ModelError, RegistryError
from alpha.models.metadata import version_number

SCHEMA_VERSION = 1
Status = Literal["candidate", "production", "archived"]


class FeatureDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which feature definition a model was trained with: git commit (may be empty) and definition hash."""

    commit: str = ""
    hash: str = ""


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One gate a model had to pass before it may be promoted."""

    name: str
    value: float
    limit: float
    passed: bool
    waived: bool = False


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model version. ``path``: its model file, relative to the registry's root."""

    id: str
    version: int | str
    status: Status
    path: str
    sha256: str
    input_features: list[str]
    output_schema: list[str]
    created_at: str
    owner: str = ""
    training_data_snapshot: str = ""
    feature_definition: FeatureDefinition = FeatureDefinition()
    metadata_sha256: str = ""
    checks: list[Check] = []
    approved_by: list[str] = []
    valid_until: str | None = None

    @property
    def number(self) -> int:
        """The version as a number."""
        return version_number(self.version)


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of history: who moved which model version from which status to which."""

    revision: int
    at: str
    action: str
    id: str
    version: int
    before: str = msgspec.field(name="from", default="")
    after: str = msgspec.field(name="to", default="")
    by: str = ""


class RegistryDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file. ``root``: folder that paths are relative to, itself relative to the file."""

    schema_version: int = SCHEMA_VERSION
    revision: int = 0
    root: str = "."
    models: list[Entry] = []
    history: list[Change] = []
    signatures: list[dict[str, str]] = []


def check(doc: RegistryDocument, what: str) -> None:
    """Rules over the whole document; RegistryError names the model."""
    if doc.schema_version != SCHEMA_VERSION:
        raise RegistryError(
            f"{what}: schema_version {doc.schema_version} is not understood by this build (it reads {SCHEMA_VERSION})"
        )
    seen: set[tuple[str, int]] = set()
    serving: set[str] = set()
    for entry in doc.models:
        if not entry.id or not all(c.isalnum() or c in "_-." for c in entry.id):
            raise RegistryError(f"{what}: model id {entry.id!r} may hold letters, digits, '_', '-' and '.' only")
        try:
            key = (entry.id, entry.number)
        except ModelError as exc:
            raise RegistryError(f"{what}: model {entry.id!r}: {exc}") from None
        if key in seen:
            raise RegistryError(f"{what}: model {entry.id} v{entry.number} is listed twice")
        seen.add(key)
        if entry.status == "production":
            if entry.id in serving:
                raise RegistryError(f"{what}: model {entry.id} has two production versions; at most one may serve")
            serving.add(entry.id)
