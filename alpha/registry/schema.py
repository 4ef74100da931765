"""What registry.json holds, and which changes of it are lawful. Floor 5.

The specification's fields per model, completed by lineage, checks and approval. ``docs/registry.schema.json``
is :func:`json_schema` written to a file.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import Annotated, Any, Literal

import msgspec

from alpha.errors import ModelError, RegistryError
from alpha.models.metadata import is_model_id, version_number

SCHEMA_VERSION = 1
Status = Literal["candidate", "production", "archived"]
LEGAL: frozenset[tuple[str, str]] = frozenset(
    {
        ("candidate", "production"),
        ("candidate", "archived"),
        ("production", "archived"),
        ("archived", "production"),
    }
)
# what may change after registration; everything else of a version is what it is
MUTABLE = frozenset({"status", "checks", "approved_by", "valid_until", "feature_definition"})


def _told(description: str, **schema: Any) -> msgspec.Meta:
    """Words and patterns for the published schema; :func:`check` is what refuses, with better sentences."""
    return msgspec.Meta(description=description, extra_json_schema=schema or None)


_SHA256 = {"pattern": "^[0-9a-f]{64}$"}
Sha256 = Annotated[str, _told("sha256 of the file's bytes, hex", **_SHA256)]
Time = Annotated[str, _told("ISO 8601 with a zone", format="date-time")]


class FeatureDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The feature definition that a version serves with.

    ``commit``: git commit it was trained from, empty if the tree was not clean. ``hash``: the definition hash.
    After ``alpha registry revalidate``: ``parity``, the new certificate beside the artifact, and its sha256.
    """

    commit: str = ""
    hash: str = ""
    parity: str = ""
    parity_sha256: str = ""


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One gate a model had to pass before it may be promoted. ``reason``: why a failed one was waived."""

    name: str
    value: float
    limit: float
    passed: bool
    waived: bool = False
    reason: str = ""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model version. ``path``: its model file, relative to the registry's root."""

    id: Annotated[str, _told("model id", pattern=r"^[A-Za-z0-9_\-][A-Za-z0-9_.\-]*$")]
    version: Annotated[int | str, _told('1, "1" and "v1" are the same version')]
    status: Status
    path: Annotated[str, _told("the model file, relative to the registry's root")]
    sha256: Sha256
    input_features: Annotated[list[str], _told("feature names in the order of the model's input")]
    output_schema: Annotated[list[str], _told("names of the scores in the order of the model's output")]
    created_at: Time
    owner: str = ""
    training_data_snapshot: str = ""
    feature_definition: FeatureDefinition = FeatureDefinition()
    metadata_sha256: str = ""
    checks: list[Check] = []
    approved_by: list[str] = []
    valid_until: Annotated[str | None, _told("stream time after which every decision is HOLD, MODEL_EXPIRED")] = None

    @property
    def number(self) -> int:
        """The version as a number."""
        return version_number(self.version)

    @property
    def label(self) -> str:
        """How sentences name it: ``momentum v3``."""
        return f"{self.id} v{self.number}"

    @property
    def valid_until_ns(self) -> int | None:
        """``valid_until`` in ns UTC, None without one."""
        return None if self.valid_until is None else time_ns(self.valid_until)


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of history: who moved which model version from which status to which, and why (``note``)."""

    revision: int
    at: str
    action: str
    id: str
    version: int
    before: str = msgspec.field(name="from", default="")
    after: str = msgspec.field(name="to", default="")
    by: str = ""
    note: str = ""


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ed25519 over the canonical document (see :mod:`alpha.registry.signing`). ``key``: name of the pinned public key."""

    key: str
    value: Annotated[str, _told("base64 of 64 bytes")]
    algorithm: Literal["ed25519"] = "ed25519"


class RegistryDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file. ``root``: folder that paths are relative to, itself relative to the file."""

    schema_version: int = SCHEMA_VERSION
    revision: Annotated[int, _told("grows by one with every change", minimum=0)] = 0
    root: str = "."
    models: list[Entry] = []
    history: Annotated[list[Change], _told("append-only, oldest first")] = []
    signatures: Annotated[list[Signature], _told("of this very document; a change empties the list")] = []


def json_schema() -> dict[str, Any]:
    """The published JSON Schema (draft 2020-12) of registry.json."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "alpha model registry",
        **msgspec.json.schema(RegistryDocument),
    }


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
            if c.waived and not c.reason.strip():
                raise RegistryError(
                    f"{what}: model {entry.id} v{entry.number}: check {c.name} is waived without a reason"
                )
            # JSON has no NaN: written as null, the whole registry could not be read again
            if not (math.isfinite(c.value) and math.isfinite(c.limit)):
                raise RegistryError(
                    f"{what}: model {entry.id} v{entry.number}: check {c.name} must have a finite value and limit"
                )
        if entry.status == "production":
            if entry.id in serving:
                raise RegistryError(f"{what}: model {entry.id} has two production versions; at most one may serve")
            serving.add(entry.id)
    last = 0
    for line in doc.history:
        if not last <= line.revision <= doc.revision:
            raise RegistryError(f"{what}: history is out of order at revision {line.revision}")
        last = line.revision


def check_change(old: RegistryDocument, new: RegistryDocument, what: str) -> None:
    """RegistryError unless ``new`` is a lawful successor: history only grows, no version disappears or changes its
    artifact, and every status moves as :data:`LEGAL` allows."""
    if new.history[: len(old.history)] != old.history:
        raise RegistryError(f"{what}: history is append-only; its lines cannot be changed or removed")
    after = {(e.id, e.number): e for e in new.models}
    for before in old.models:
        entry = after.get((before.id, before.number))
        if entry is None:
            raise RegistryError(f"{what}: model {before.label} cannot be removed; archive it")
        for name in before.__struct_fields__:
            if name not in MUTABLE and getattr(before, name) != getattr(entry, name):
                raise RegistryError(f"{what}: {name} of model {before.label} cannot change: register a new version")
        check_move(before, entry.status)


def check_move(entry: Entry, status: str) -> None:
    """RegistryError unless ``entry`` may become ``status``; staying what it is is no move."""
    if entry.status != status and (entry.status, status) not in LEGAL:
        raise RegistryError(f"model {entry.label} is {entry.status}; it cannot become {status}")


def time_ns(text: str) -> int:
    """ISO 8601 with a zone as ns UTC."""
    since = dt.datetime.fromisoformat(text) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


def _is_time(text: str) -> bool:
    """ISO 8601 with a zone: without one, two machines would disagree when a model expires."""
    try:
        return dt.datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
