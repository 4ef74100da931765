"""Alter the future at random places and demand that the past keeps every bit."""

from __future__ import annotations

import argparse

from alpha.cli import show


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha lookahead``."""
    parser.add_argument("--features", required=True, metavar="NAME|FILE", help="a catalogued set or a TOML file")
    parser.add_argument("--cuts", type=int, default=16, help="how many places to cut at (default 16)")
    parser.add_argument("--seed", type=int, default=0, help="of the places and of what is altered (default 0)")
    parser.add_argument("--twin", choices=("batch", "native"), default="batch", help="whose rows (default batch)")
    show.add_data(parser)
    show.add_inputs(parser)
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 1 if anything of the past changed."""
    from alpha.features import catalog, causality

    fs = catalog.find(args.features)
    with show.opened(args, "reading", clock=fs.stream.clock) as source:
        show.take_inputs(args, source, fs)
        events, instruments = source.read_all(), source.instruments
    with show.progress("altering the future", unit="cuts", total=args.cuts) as tick:
        result = causality.check(
            fs,
            events,
            instruments,
            cuts=args.cuts,
            seed=args.seed,
            rows=causality.TWINS[args.twin],
            on_cut=lambda: tick(1),
        )
    result["twin"] = args.twin
    if args.json:
        show.print_json("lookahead", result)
        return 0 if result["pass"] else 1
    verdict = "PASS" if result["pass"] else "FAIL"
    print(
        f"{verdict}: {result['cuts']} cuts, {result['compared']:,} values of the past, {result['violations']:,} changed"
    )
    if result["features"]:
        show.table("features that saw the future", ("feature", "values changed"), list(result["features"].items()))
    if result["first"]:
        print(f"first: {result['first']}")
    elif not result["compared"]:
        print("no row was made before any cut: the data is too short, or the set's trigger never fires on it")
    return 0 if result["pass"] else 1
