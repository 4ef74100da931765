"""Run a stream and take its last decision apart: features, scores, gates."""

from __future__ import annotations

import argparse

from alpha.cli import show


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha explain``."""
    parser.add_argument("model", metavar="URI")
    parser.add_argument("--registry", metavar="FILE")
    parser.add_argument("--events", type=int, metavar="N", help="stop after N events (default: the whole stream)")
    show.add_data(parser)
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 0."""
    from alpha.errors import DataError
    from alpha.runtime import Runtime

    if args.events is not None and args.events < 1:
        raise DataError(f"--events must be at least 1, not {args.events}")
    with show.opened(args, "running") as source, show.warnings_on_stderr():
        symbol = args.instrument or source.instruments.symbols[0]
        with Runtime.from_registry(args.registry, args.model, instruments=source.instruments) as rt:
            done = 0
            for chunk in source:
                part = chunk if args.events is None else chunk[: args.events - done]
                rt.run(part)
                done += len(part)
                if done == args.events:
                    break
            result = rt.explain(symbol)
    if args.json:
        show.print_json("explain", result)
        return 0
    show.table(
        f"{result['model']} on {symbol}: {result.get('action', 'no decision yet')} because {result.get('reason', '-')}",
        ("feature", "raw", "normalised", "training range", "warm"),
        [
            (
                f["name"],
                f["raw"],
                f.get("normalised", "-"),
                "{:.4g} to {:.4g}".format(*f["training_range"]) if "training_range" in f else "-",
                f["ready"],
            )
            for f in result["features"]
        ],
    )
    show.table("scores", ("action", "score"), list(result.get("scores", {}).items()))
    show.table(
        "gates",
        ("gate", "value", "limit", "passed"),
        [(g["gate"], g.get("text", g["value"]), g["limit"], g["passed"]) for g in result["gates"]],
    )
    return 0
