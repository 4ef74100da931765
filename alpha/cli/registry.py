"""Look at the registry, promote a model, verify every artifact."""

from __future__ import annotations

import argparse
from typing import Any

from alpha.cli import show


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha registry``."""
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in (
        ("list", "all models"),
        ("show", "one model with its checks"),
        ("promote", "make a version the production one"),
        ("verify", "hash every artifact again"),
    ):
        sub = actions.add_parser(name, help=text)
        if name in ("show", "promote"):
            sub.add_argument("model", metavar="URI", help="models:/ID/3 or models:/ID@production")
        if name == "promote":
            sub.add_argument("--approver", required=True, metavar="NAME", help="who answers for it")
        sub.add_argument("--registry", metavar="FILE")
        show.add_json(sub)


def run(args: argparse.Namespace) -> int:
    """Exit 1 if verify finds a problem, 2 for anything refused."""
    import msgspec

    from alpha.registry import find, load, promote, verify

    path = find(show.registry_file(args.registry))
    if args.action == "verify":
        count, problems = verify(path)
        if args.json:
            show.print_json("registry-verify", {"models": count, "problems": problems})
        else:
            print(f"{count} models in {path}: {'all files are what the registry says' if not problems else ''}")
            for problem in problems:
                print(f"PROBLEM {problem}")
        return 1 if problems else 0
    if args.action == "promote":
        registry = promote(path, args.model, approver=args.approver)
        entry = registry.resolve(args.model.split("@")[0] + "@production" if "@" in args.model else args.model)
        return _print(
            args,
            {
                "model": f"{entry.id}/{entry.number}",
                "status": entry.status,
                "revision": registry.document.revision,
                "approved_by": entry.approved_by,
            },
        )
    registry = load(path)
    if args.action == "show":
        return _print(args, msgspec.to_builtins(registry.resolve(args.model)))
    models = registry.document.models
    if args.json:
        show.print_json(
            "registry-list",
            {"path": str(path), "revision": registry.document.revision, "models": msgspec.to_builtins(models)},
        )
    else:
        show.table(
            f"{path}, revision {registry.document.revision}",
            ("model", "version", "status", "checks", "approved by", "created"),
            [
                (
                    e.id,
                    e.number,
                    e.status,
                    f"{sum(c.passed for c in e.checks)}/{len(e.checks)}",
                    ", ".join(e.approved_by) or "-",
                    e.created_at,
                )
                for e in models
            ],
        )
    return 0


def _print(args: argparse.Namespace, payload: dict[str, Any]) -> int:
    if args.json:
        show.print_json(f"registry-{args.action}", payload)
        return 0
    rows = [(k, v) for k, v in payload.items() if not isinstance(v, (list, dict))]
    show.table(str(payload.get("model") or payload.get("id")), ("field", "value"), rows)
    if payload.get("checks"):
        show.table(
            "checks",
            ("name", "value", "limit", "passed"),
            [(c["name"], c["value"], c["limit"], c["passed"]) for c in payload["checks"]],
        )
    if payload.get("approved_by"):
        print("approved by " + ", ".join(payload["approved_by"]))
    return 0
