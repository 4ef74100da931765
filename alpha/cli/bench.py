"""Measure this machine: every stage against a reference in the same process."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from alpha.cli import show

STAGES = (
    "ring",
    "features",
    "ort",
    "plan",
    "path",
    "scale",
    "operators",
    "batch",
    "peers",
    "stack",
    "audit",
    "gate",
    "backtest",
)
LONG = ("tail", "prepare", "dist")  # by name only


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha bench``."""
    known = f"any of {', '.join(STAGES)} (default: these), {', '.join(LONG)}"
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=known)
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 1 if a figure misses its bar in bench/gate.toml."""
    from alpha.errors import AlphaError

    unknown = [s for s in args.stages if s not in (*STAGES, *LONG)]
    if unknown:
        raise AlphaError(f"unknown stage {unknown[0]!r}: use {', '.join((*STAGES, *LONG))}")
    root = Path(__file__).resolve().parents[2]
    if not (root / "bench" / "gate.toml").is_file():
        raise AlphaError(
            "the benchmarks are part of the source tree, not of an installed package: clone it and run ./dev bench"
        )
    sys.path.insert(0, str(root))
    results = []
    for name in args.stages or STAGES:
        print(f"measuring {name}", file=sys.stderr)
        results += importlib.import_module(f"bench.stage_{name}").measure()
    if args.json:
        show.print_json("bench", {"results": {r.name: r.as_dict() for r in results}})
    else:
        show.table(
            "ours / reference: smaller is better; a bar without a reference is in ns",
            ("name", "median ns", "ratio", "reference", "bar", "pass"),
            [
                (
                    r.name,
                    round(r.median_ns, 2),
                    "-" if r.ratio is None else round(r.ratio, 3),
                    r.reference or "-",
                    r.bar or "-",
                    "-" if r.passed is None else r.passed,
                )
                for r in results
            ],
        )
    return 1 if any(r.passed is False for r in results) else 0
