"""What must be true of a registry and its artifacts, and the signature that says it was. Floor 5."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import msgspec

from alpha.documents import to_json, write_atomically
from alpha.errors import AlphaError, RegistryError
from alpha.models.load import verify_files
from alpha.registry.policy import Policy, check_last_seen, load_policy, pinned_keys, remember
from alpha.registry.schema import Entry, Signature
from alpha.registry.signing import canonical, check_intact, digest, private_key, signers
from alpha.registry.store import Registry, load, locked


def objections(entry: Entry, policy: Policy | None = None) -> list[str]:
    """Why a version must not serve as production, in sentences; empty if nothing speaks against it."""
    if entry.status != "production":
        return []
    what = f"model {entry.label}"
    out = [f"{what} is in production with a failed check: {c.name}" for c in entry.checks if not (c.passed or c.waived)]
    persons = len({a.casefold() for a in entry.approved_by})
    needed = 1 if policy is None else policy.approvers
    if persons == 0:
        out.append(f"{what} is in production, but nobody approved it: promote it with  alpha registry promote")
    elif persons < needed:
        out.append(f"{what} is in production, approved by {persons} person where registry.toml demands {needed}")
    return out


def inactive_reason(entry: Entry, policy: Policy) -> str:
    """Why this version must not decide, by its status and registry.toml; empty if it may."""
    if entry.status not in policy.inactive:
        return ""
    return f"model {entry.label} is {entry.status}, and the registry's policy lets no such version decide"


def verify(path: str | Path, *, signatures: bool = True) -> tuple[int, list[str]]:
    """(number of models, problems): every artifact read, hashed and compared with registry and metadata; history
    against statuses; with pinned keys also the signatures."""
    registry = load(path)
    doc, policy = registry.document, load_policy(path)
    problems: list[str] = []
    keys = pinned_keys(path) if signatures else {}
    if keys:
        try:
            check_last_seen(path, doc.revision, digest(doc))
            if not signers(doc, keys, str(path)):
                problems.append(f"registry {path} carries no signature by a pinned key ({', '.join(sorted(keys))})")
        except RegistryError as exc:
            problems.append(str(exc))
    for entry in doc.models:
        told = [h for h in doc.history if (h.id, h.version) == (entry.id, entry.number)]
        if not told:
            problems.append(f"model {entry.label} was never registered: it has no history")
        if told and told[0].action != "register":
            problems.append(f"model {entry.label} was never registered: its history begins with {told[0].action}")
        if told and told[-1].after != entry.status:
            problems.append(f"model {entry.label} is {entry.status}, its history ends with {told[-1].after}")
        _verify_entry(registry, entry, policy, problems.append)
    return len(doc.models), problems


def _verify_entry(registry: Registry, entry: Entry, policy: Policy, on_problem: Callable[[str], None]) -> None:
    try:
        _, model = registry.load_model(f"models:/{entry.id}/{entry.number}")
    except AlphaError as exc:
        on_problem(str(exc))
        return
    if model.changed and entry.status == "production":
        on_problem(model.changed)
    for objection in objections(entry, policy):
        on_problem(objection)
    verify_files(model.directory, model.metadata, on_problem)


def sign(path: str | Path, key_file: str | Path, *, name: str | None = None) -> Registry:
    """Hash every artifact, then add this key's signature to the present document (its revision stays).

    ``name``: under which the public key is pinned (default: the key file's stem). RegistryError if an artifact
    is not what the registry says.
    """
    file, key = Path(path), private_key(Path(key_file))
    who = name or Path(key_file).stem
    with locked(file):
        book = load(file)
        check_intact(file, book.document, unsigned=True)
        for entry in book.document.models:
            if not entry.metadata_sha256:
                raise RegistryError(
                    f"model {entry.label} has no metadata_sha256: a signature would not cover its metadata"
                )
        for problem in verify(file, signatures=False)[1]:
            raise RegistryError(f"nothing was signed: {problem}")
        value = base64.b64encode(key.sign(canonical(book.document))).decode()
        kept = [s for s in book.document.signatures if s.key != who]
        doc = msgspec.structs.replace(book.document, signatures=[*kept, Signature(who, value)])
        write_atomically(file, to_json(doc))
        if who in pinned_keys(file):
            remember(file, doc.revision, digest(doc))
    return Registry(file, doc)
