"""What the actions of ``alpha registry`` share."""

from __future__ import annotations

import argparse
from typing import Any

from alpha.cli import show


def add_uri(parser: argparse.ArgumentParser, name: str = "model", text: str = "") -> None:
    """The URI of a version."""
    parser.add_argument(name, metavar="URI", help=text or "models:/ID/3 or models:/ID@production")


def print_fields(args: argparse.Namespace, payload: dict[str, Any]) -> int:
    """One JSON object, or its plain fields as a table."""
    if args.json:
        show.print_json(f"registry-{args.action}", payload)
        return 0
    rows = [(k, v) for k, v in payload.items() if not isinstance(v, (list, dict))]
    show.table(str(payload.get("model") or payload.get("id")), ("field", "value"), rows)
    if payload.get("checks"):
        show.table(
            "checks",
            ("name", "value", "limit", "passed"),
            [
                (c["name"], c["value"], c["limit"], f"waived: {c['reason']}" if c["waived"] else c["passed"])
                for c in payload["checks"]
            ],
        )
    if payload.get("approved_by"):
        print("approved by " + ", ".join(payload["approved_by"]))
    return 0
