"""Legal moves of a model version, each written to history. Floor 5."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec

from alpha.errors import AlphaError, RegistryError
from alpha.models.load import verify_files
from alpha.registry.schema import Change, Entry, RegistryDocument, Status
from alpha.registry.store import Registry, load, update

LEGAL: set[tuple[str, str]] = {
    ("candidate", "production"),
    ("candidate", "archived"),
    ("production", "archived"),
    ("archived", "production"),
}


def utc_now() -> str:
    """This second as ISO 8601 with Z."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def register(path: str | Path, entry: Entry, *, by: str = "", at: str | None = None) -> Registry:
    """Add a candidate; the registry is made if it is missing. RegistryError if the version exists."""
    if entry.status != "candidate":
        raise RegistryError(f"a new model version starts as candidate, not {entry.status}")

    def add(doc: RegistryDocument) -> RegistryDocument:
        if any((e.id, e.number) == (entry.id, entry.number) for e in doc.models):
            raise RegistryError(f"model {entry.id} v{entry.number} is already registered in {path}")
        change = Change(
            revision=doc.revision + 1,
            at=at or utc_now(),
            action="register",
            id=entry.id,
            version=entry.number,
            after="candidate",
            by=by,
        )
        return msgspec.structs.replace(doc, models=[*doc.models, entry], history=[*doc.history, change])

    return update(path, add, create=True)


def promote(
    path: str | Path, uri: str, *, approver: str, at: str | None = None, expect_revision: int | None = None
) -> Registry:
    """Make a version the production one; the previous one is archived.

    RegistryError if a check failed and was not waived, if the move is not legal, or without an approver.
    """
    if not approver.strip():
        raise RegistryError("promotion needs a person who approves it: --approver NAME")

    def move(doc: RegistryDocument) -> RegistryDocument:
        target = Registry(Path(path), doc).resolve(uri)
        failed = [c for c in target.checks if not c.passed and not c.waived]
        if failed:
            raise RegistryError(
                f"model {target.id} v{target.number} failed its check {failed[0].name}: {failed[0].value:g}, limit {failed[0].limit:g}"
            )
        if not target.checks:
            raise RegistryError(f"model {target.id} v{target.number} has no checks on record: it cannot be promoted")
        when = at or utc_now()
        models, history = list(doc.models), list(doc.history)
        for i, entry in enumerate(models):
            if entry.id != target.id:
                continue
            if entry.number == target.number:
                models[i] = _moved(entry, "production", approver)
            elif entry.status == "production":
                models[i] = _moved(entry, "archived", None)
            if models[i] is not entry:
                history.append(
                    Change(
                        revision=doc.revision + 1,
                        at=when,
                        action="promote" if entry.number == target.number else "replace",
                        id=entry.id,
                        version=entry.number,
                        before=entry.status,
                        after=models[i].status,
                        by=approver,
                    )
                )
        return msgspec.structs.replace(doc, models=models, history=history)

    return update(path, move, expect_revision=expect_revision)


def _moved(entry: Entry, status: Status, approver: str | None) -> Entry:
    if (entry.status, status) not in LEGAL:
        raise RegistryError(f"model {entry.id} v{entry.number} is {entry.status}; it cannot become {status}")
    approved = [*entry.approved_by, approver] if approver else entry.approved_by
    return msgspec.structs.replace(entry, status=status, approved_by=approved)


def objections(entry: Entry) -> list[str]:
    """Why a version must not serve as production, in sentences; empty if nothing speaks against it."""
    what = f"model {entry.id} v{entry.number}"
    if entry.status != "production":
        return []
    out = [f"{what} is in production with a failed check: {c.name}" for c in entry.checks if not (c.passed or c.waived)]
    if not entry.approved_by:
        out.append(f"{what} is in production, but nobody approved it: promote it with  alpha registry promote")
    return out


def verify(path: str | Path) -> tuple[int, list[str]]:
    """(number of models, problems): every artifact read, hashed and compared with registry and metadata."""
    registry = load(path)
    problems: list[str] = []
    for entry in registry.document.models:
        try:
            _, model = registry.load_model(f"models:/{entry.id}/{entry.number}")
        except AlphaError as exc:
            problems.append(str(exc))
            continue
        problems.extend(objections(entry))
        verify_files(model.directory, model.metadata, problems.append)
    return len(registry.document.models), problems
