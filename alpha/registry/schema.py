"""What registry.json holds. Floor 5.

The specification's fields per model, completed by lineage, checks and approval.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import Literal

import msgspec

from alpha.errors import ModelError, RegistryError
from alpha.models.metadata import is_model_id, version_number

SCHEMA_VERSION = 1
Status = Literal["candidate", "production", "archived"]


class FeatureDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which feature definition a model was trained with: git commit (may be empty) and definition hash."""

    commit: str = ""
    hash: str = ""


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One gate a model had to pass before it may be promoted. ``why``: the reason given for a waiver."""

    name: str
    value: float
    limit: float
    passed: bool
    waived: bool = False
    why: str = ""


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
    if doc.revision < 0:
        raise RegistryError(f"{what}: revision must not be negative")
    seen: set[tuple[str, int]] = set()
    serving: set[str] = set()
    for entry in doc.models:
        if not is_model_id(entry.id):
            raise RegistryError(
                f"{what}: model id {entry.id!r} may hold ASCII letters, digits, '_', '-' and '.' only, no dot in front"
            )
        try:
            key = (entry.id, entry.number)
        except ModelError as exc:
            raise RegistryError(f"{what}: model {entry.id!r}: {exc}") from None
        if key in seen:
            raise RegistryError(f"{what}: model {entry.id} v{entry.number} is listed twice")
        seen.add(key)
        for name, when in (("created_at", entry.created_at), ("valid_until", entry.valid_until)):
            if when is not None and not _is_time(when):
                raise RegistryError(
                    f"{what}: model {entry.id} v{entry.number}: {name} {when!r} is no time such as 2026-01-11T12:00:00Z"
                )
        for c in entry.checks:
            # JSON has no NaN: written as null, the whole registry could not be read again
            if not (math.isfinite(c.value) and math.isfinite(c.limit)):
                raise RegistryError(
                    f"{what}: model {entry.id} v{entry.number}: check {c.name} must have a finite value and limit"
                )
        if entry.status == "production":
            if entry.id in serving:
                raise RegistryError(f"{what}: model {entry.id} has two production versions; at most one may serve")
            serving.add(entry.id)


def _is_time(text: str) -> bool:
    """ISO 8601 with a zone: without one, two machines would disagree when a model expires."""
    try:
        return dt.datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
