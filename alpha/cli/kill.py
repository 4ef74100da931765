"""Silence all models, one model or one instrument in every process that heeds the latch; take it back; look."""

from __future__ import annotations

import argparse
import os

from alpha.cli import show


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha kill``."""
    parser.add_argument("--file", metavar="FILE", help="the latch (default: $ALPHA_KILL)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--model", metavar="ID", help="only this model (default: everything)")
    what.add_argument("--symbol", metavar="SYM", help="only this instrument")
    parser.add_argument("--revive", action="store_true", help="take the latch back")
    parser.add_argument("--list", action="store_true", help="change nothing, show what is silenced")
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 0; 2 without a latch."""
    from alpha.errors import AlphaError
    from alpha.risk.kill import KillLatch

    path = args.file or os.environ.get("ALPHA_KILL")
    if not path:
        raise AlphaError("which latch? Name it with --file, or set $ALPHA_KILL here and where the runtimes start")
    latch = KillLatch(path)
    if not args.list:
        change = latch.revive if args.revive else latch.kill
        change(model=args.model, instrument=args.symbol)
    killed = latch.killed()
    if args.json:
        show.print_json("kill", {"file": str(path), "killed": killed})
    else:
        print(f"{path}: " + (f"silenced: {', '.join(killed)}" if killed else "nothing is silenced"))
    return 0
