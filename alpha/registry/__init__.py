"""The model registry: one JSON file with lineage, checks and history, beside the artifacts it names."""

from __future__ import annotations

from alpha.registry.lifecycle import promote, register, verify
from alpha.registry.schema import Check, Entry, FeatureDefinition, RegistryDocument
from alpha.registry.store import Registry, find, load

__all__ = [
    "Check",
    "Entry",
    "FeatureDefinition",
    "Registry",
    "RegistryDocument",
    "find",
    "load",
    "promote",
    "register",
    "verify",
]
