"""``alpha registry list|show|diff|history|schema``: looking changes nothing."""

from __future__ import annotations

import argparse
from typing import Any

from alpha.cli import registry_parts, show


def configure(action: str, parser: argparse.ArgumentParser) -> None:
    """Options of one action."""
    if action == "show":
        registry_parts.add_uri(parser)
    if action == "diff":
        registry_parts.add_uri(parser, "model", "models:/ID/3 or models:/ID@production")
        registry_parts.add_uri(parser, "other", "the version to compare with")
    if action == "history":
        parser.add_argument("model", metavar="ID", nargs="?", help="only this model (default: all)")


def run(args: argparse.Namespace) -> int:
    """Exit 0; 2 for a model that is not there."""
    import msgspec

    from alpha.registry import find, json_schema, load

    if args.action == "schema":
        import json

        if args.json:
            show.print_json("registry-schema", {"json_schema": json_schema()})
        else:
            print(json.dumps(json_schema(), indent=2))
        return 0
    path = find(show.registry_file(args.registry))
    book = load(path)
    if args.action == "show":
        return registry_parts.print_fields(args, msgspec.to_builtins(book.resolve(args.model)))
    if args.action == "diff":
        return _diff(args, book)
    if args.action == "history":
        return _history(args, book)
    models, signatures = book.document.models, [s.key for s in book.document.signatures]
    if args.json:
        show.print_json(
            "registry-list",
            {
                "path": str(path),
                "revision": book.document.revision,
                "signed_by": signatures,
                "models": msgspec.to_builtins(models),
            },
        )
        return 0
    show.table(
        f"{path}, revision {book.document.revision}, "
        + (f"signed by {', '.join(signatures)} (verify tells whether it fits)" if signatures else "unsigned"),
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


def _diff(args: argparse.Namespace, book: Any) -> int:
    """Fields of the entries and of their metadata that are not equal."""
    import msgspec

    sides = []
    for uri in (args.model, args.other):
        entry, model = book.load_model(uri)
        plain = msgspec.to_builtins(entry)
        plain["checks"] = {c["name"]: c["value"] for c in plain["checks"]}
        sides.append((entry, {**_flat(plain), **_flat(msgspec.to_builtins(model.metadata), "metadata.")}))
    (a, left), (b, right) = sides
    names = dict.fromkeys([*left, *right])
    rows = [(n, left.get(n, "-"), right.get(n, "-")) for n in names if left.get(n) != right.get(n)]
    if args.json:
        show.print_json(
            "registry-diff",
            {"model": a.label, "other": b.label, "differences": {n: [x, y] for n, x, y in rows}},
        )
    else:
        show.table(
            f"{len(rows)} differences", ("field", a.label, b.label), [(n, _short(x), _short(y)) for n, x, y in rows]
        )
    return 0


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            out |= _flat(item, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = item
    return out


def _short(value: Any) -> str:
    text = show.cell(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


def _history(args: argparse.Namespace, book: Any) -> int:
    import msgspec

    lines = [h for h in book.document.history if args.model in (None, h.id)]
    if args.json:
        show.print_json("registry-history", {"revision": book.document.revision, "history": msgspec.to_builtins(lines)})
        return 0
    show.table(
        f"{book.path}: history",
        ("revision", "at", "action", "model", "from", "to", "by", "note"),
        [(h.revision, h.at, h.action, f"{h.id} v{h.version}", h.before, h.after, h.by, h.note) for h in lines],
    )
    return 0
