"""The model registry: one JSON file with lineage, checks and history, beside the artifacts it names."""

from __future__ import annotations

from alpha.registry.inspection import inactive_reason, objections, sign, verify
from alpha.registry.lifecycle import archive, promote, register, rollback
from alpha.registry.policy import load_policy
from alpha.registry.schema import Check, Entry, FeatureDefinition, RegistryDocument, json_schema
from alpha.registry.signing import keygen, load_trusted
from alpha.registry.store import Registry, find, load

__all__ = [
    "Check",
    "Entry",
    "FeatureDefinition",
    "Registry",
    "RegistryDocument",
    "archive",
    "find",
    "inactive_reason",
    "json_schema",
    "keygen",
    "load",
    "load_policy",
    "load_trusted",
    "objections",
    "promote",
    "register",
    "rollback",
    "sign",
    "verify",
]
