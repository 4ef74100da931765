"""Legal moves of a model version, each written to history. Floor 5."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from alpha.errors import RegistryError
from alpha.models.load import LoadedModel, verify_files
from alpha.registry.policy import Policy, load_policy
from alpha.registry.schema import Change, Entry, RegistryDocument, Status, check_move, time_ns
from alpha.registry.signing import change
from alpha.registry.store import Registry, load

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def utc_now() -> str:
    """This second as ISO 8601 with Z."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def person(name: str, what: str) -> str:
    """A name without blanks around it; RegistryError for none."""
    if not name.strip():
        raise RegistryError(f"{what} needs a person who approves it: --approver NAME")
    return name.strip()


def line(doc: RegistryDocument, entry: Entry, at: str, action: str, by: str, after: str, note: str = "") -> Change:
    """A line of history for the next revision."""
    return Change(
        revision=doc.revision + 1,
        at=at,
        action=action,
        id=entry.id,
        version=entry.number,
        before=entry.status if action != "register" else "",
        after=after,
        by=by,
        note=note,
    )


def register(path: str | Path, entry: Entry, *, by: str = "", at: str | None = None, note: str = "") -> Registry:
    """Add a candidate; the registry is made if it is missing; ``note``: what history says of it. RegistryError if the
    version exists."""
    if entry.status != "candidate":
        raise RegistryError(f"a new model version starts as candidate, not {entry.status}")

    def add(doc: RegistryDocument) -> RegistryDocument:
        if any((e.id, e.number) == (entry.id, entry.number) for e in doc.models):
            raise RegistryError(f"model {entry.label} is already registered in {path}")
        first = line(doc, entry, at or utc_now(), "register", by, "candidate", note)
        return msgspec.structs.replace(doc, models=[*doc.models, entry], history=[*doc.history, first])

    return change(path, add, create=True)


def promote(
    path: str | Path,
    uri: str,
    *,
    approver: str,
    waive: Mapping[str, str] | None = None,
    at: str | None = None,
    expect_revision: int | None = None,
) -> Registry:
    """Make a version the production one; the previous one is archived.

    Demanded: every check passed, or waived here (``waive``: check name to reason); a clean commit of the feature
    definition; as many different approvers as registry.toml says (the first of two is recorded and nothing moves yet);
    ``valid_until`` not over; every file of the artifact still what was registered. RegistryError says what is missing.
    ``expect_revision``: the revision that the approver looked at (default: the present one).
    """
    who = person(approver, "promotion")
    when = at or utc_now()
    policy = load_policy(path)

    def move(doc: RegistryDocument) -> RegistryDocument:
        book = Registry(Path(path), doc)
        target = _waived(book.resolve(uri), waive or {}, who)
        check_move(target, "production")
        if target.status == "production":
            raise RegistryError(f"model {target.label} is production; it cannot become production")
        doc = _with(doc, target)
        _worthy(Registry(Path(path), doc), target, policy, when)
        approvals = [*_pending(doc, target), who]
        if len({a.casefold() for a in approvals}) < policy.approvers:
            if len(approvals) > 1:
                raise RegistryError(f"model {target.label} waits for a second person; {who} has approved it already")
            first = line(doc, target, when, "approve", who, target.status)
            return msgspec.structs.replace(doc, history=[*doc.history, first])
        return _serve(doc, target, "promote", approvals, when)

    return change(path, move, expect_revision=_looked_at(path, expect_revision))


def rollback(
    path: str | Path, model_id: str, *, approver: str, at: str | None = None, expect_revision: int | None = None
) -> Registry:
    """Bring back the version that the present production one replaced. One person suffices: it was approved before.

    RegistryError if history knows none, or if its artifact is no longer what was registered.
    """
    who = person(approver, "a rollback")
    when = at or utc_now()
    name = model_id.removeprefix("models:/").partition("@")[0].partition("/")[0]

    def move(doc: RegistryDocument) -> RegistryDocument:
        book = Registry(Path(path), doc)
        now = book.resolve(f"models:/{name}@production").number
        served = [h.version for h in doc.history if h.id == name and h.before == "production" and h.version != now]
        if not served:
            raise RegistryError(f"model {name} has no earlier production version to roll back to")
        target = book.resolve(f"models:/{name}/{served[-1]}")
        _sound(book, target)
        return _serve(doc, target, "rollback", [who], when)

    return change(path, move, expect_revision=_looked_at(path, expect_revision))


def archive(path: str | Path, uri: str, *, by: str, at: str | None = None) -> Registry:
    """Take a version out of service. RegistryError if it is archived already."""
    who = person(by, "archiving")

    def move(doc: RegistryDocument) -> RegistryDocument:
        target = Registry(Path(path), doc).resolve(uri)
        if target.status == "archived":
            raise RegistryError(f"model {target.label} is archived already")
        change = line(doc, target, at or utc_now(), "archive", who, "archived")
        doc = _with(doc, msgspec.structs.replace(target, status="archived"))
        return msgspec.structs.replace(doc, history=[*doc.history, change])

    return change(path, move, expect_revision=_looked_at(path, None))


def _looked_at(path: str | Path, expected: int | None) -> int:
    """Compare-and-swap also for whoever names no revision: two at once are then not both obeyed in silence."""
    return load(path).document.revision if expected is None else expected


def _with(doc: RegistryDocument, entry: Entry) -> RegistryDocument:
    key = (entry.id, entry.number)
    return msgspec.structs.replace(doc, models=[entry if (e.id, e.number) == key else e for e in doc.models])


def _waived(entry: Entry, waive: Mapping[str, str], who: str) -> Entry:
    names = {c.name for c in entry.checks}
    for name, reason in waive.items():
        if name not in names:
            raise RegistryError(
                f"model {entry.label} has no check {name!r}; it has: {', '.join(sorted(names)) or 'none'}"
            )
        if not reason.strip():
            raise RegistryError(f"check {name} of model {entry.label} is waived without a reason: --waive {name}=WHY")
    checks = [
        msgspec.structs.replace(c, waived=True, reason=f"{waive[c.name].strip()} ({who})") if c.name in waive else c
        for c in entry.checks
    ]
    return msgspec.structs.replace(entry, checks=checks)


def _worthy(book: Registry, entry: Entry, policy: Policy, when: str) -> None:
    """RegistryError with the first thing that speaks against production."""
    failed = [c for c in entry.checks if not c.passed and not c.waived]
    if failed:
        c = failed[0]
        raise RegistryError(f"model {entry.label} failed its check {c.name}: {c.value:g}, limit {c.limit:g}")
    if not entry.checks:
        raise RegistryError(f"model {entry.label} has no checks on record: it cannot be promoted")
    if policy.definition_commit == "required" and not _COMMIT.fullmatch(entry.feature_definition.commit):
        raise RegistryError(
            f"model {entry.label} names no clean commit of its feature definition: commit the recipe and train again, "
            'or allow it with  definition_commit = "optional"  under [policy] in registry.toml'
        )
    if entry.valid_until is not None and time_ns(entry.valid_until) <= time_ns(when):
        raise RegistryError(f"model {entry.label} is valid until {entry.valid_until} only, which is over")
    _sound(book, entry)


def _sound(book: Registry, entry: Entry) -> LoadedModel:
    """Hash the whole artifact again."""
    _, model = book.load_model(f"models:/{entry.id}/{entry.number}")
    problems: list[str] = []
    verify_files(model.directory, model.metadata, problems.append)
    for problem in problems:
        raise RegistryError(problem)
    if model.changed:
        raise RegistryError(model.changed)
    return model


def _pending(doc: RegistryDocument, entry: Entry) -> list[str]:
    """Who approved since the version last moved."""
    out: list[str] = []
    for h in doc.history:
        if (h.id, h.version) == (entry.id, entry.number):
            out = [*out, h.by] if h.action == "approve" else []
    return out


def _serve(doc: RegistryDocument, target: Entry, action: str, approvers: list[str], when: str) -> RegistryDocument:
    models, history = list(doc.models), list(doc.history)
    for i, entry in enumerate(models):
        if entry.id != target.id:
            continue
        if entry.number == target.number:
            history.append(line(doc, entry, when, action, approvers[-1], "production"))
            models[i] = _moved(entry, "production", approvers)
        elif entry.status == "production":
            history.append(line(doc, entry, when, "replace", approvers[-1], "archived"))
            models[i] = _moved(entry, "archived", [])
    return msgspec.structs.replace(doc, models=models, history=history)


def _moved(entry: Entry, status: Status, approvers: list[str]) -> Entry:
    check_move(entry, status)
    return msgspec.structs.replace(entry, status=status, approved_by=[*entry.approved_by, *approvers])
