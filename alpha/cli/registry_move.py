"""``alpha registry promote|rollback|archive|revalidate``: each is one revision and a line of history."""

from __future__ import annotations

import argparse
from typing import Any

from alpha.cli import registry_parts, show


def configure(action: str, parser: argparse.ArgumentParser) -> None:
    """Options of one action."""
    if action == "rollback":
        parser.add_argument("model", metavar="ID", help="momentum or models:/momentum")
    else:
        registry_parts.add_uri(parser)
    parser.add_argument("--approver", required=True, metavar="NAME", help="who answers for it")
    if action == "promote":
        parser.add_argument(
            "--waive", action="append", default=[], metavar="CHECK=WHY", help="accept a failed check; may repeat"
        )
    if action in ("promote", "rollback"):
        parser.add_argument(
            "--expect-revision", type=int, metavar="N", help="refuse if the registry is not at revision N any more"
        )
    if action == "revalidate":
        show.add_data(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 1 if a revalidation does not pass, 2 for anything refused."""
    from alpha.errors import RegistryError
    from alpha.registry import archive, find, load_policy, promote, rollback

    path = find(show.registry_file(args.registry))
    if args.action == "revalidate":
        return _revalidate(args, path)
    if args.action == "promote":
        waive = {}
        for text in args.waive:
            name, sep, reason = text.partition("=")
            if not sep:
                raise RegistryError(f"--waive takes CHECK=WHY, not {text!r}")
            waive[name] = reason
        after = promote(path, args.model, approver=args.approver, waive=waive, expect_revision=args.expect_revision)
    elif args.action == "rollback":
        after = rollback(path, args.model, approver=args.approver, expect_revision=args.expect_revision)
    else:
        after = archive(path, args.model, by=args.approver)
    last = after.document.history[-1]
    moved = [h for h in after.document.history if h.revision == last.revision and h.action != "replace"][-1]
    entry = after.resolve(f"models:/{moved.id}/{moved.version}")
    payload: dict[str, Any] = {
        "model": f"{entry.id}/{entry.number}",
        "status": entry.status,
        "revision": after.document.revision,
        "approved_by": entry.approved_by,
        "approvers_needed": load_policy(path).approvers,
        "signed": False,  # a change empties the list of signatures
    }
    if moved.action == "approve":
        payload["waits_for"] = "a second person: promote it again with another --approver"
    return registry_parts.print_fields(args, payload)


def _revalidate(args: argparse.Namespace, path: Any) -> int:
    from alpha.registry import load
    from alpha.registry.revalidate import revalidate

    _, model = load(path).load_model(args.model)
    with show.opened(args, "reading", clock=model.feature_set.stream.clock) as source:
        result = revalidate(path, args.model, source, source.instruments, by=args.approver)
    if args.json:
        show.print_json("registry-revalidate", result)
    else:
        print(
            f"{result['model']}: definition {result['definition_hash'][:12]}… "
            + (
                f"approved at revision {result['revision']}: {result['values']:,} values compared, share equal {result['share']:.8f}"
                if result["pass"]
                else f"NOT approved, {'the twins disagree' if result['verdict'] == 'FAIL' else 'not every feature was compared'}: "
                f"{result['worst']}"
            )
        )
    return 0 if result["pass"] else 1
