"""Feed an audit log's events through the same binary again and demand the same decisions, byte for byte."""

from __future__ import annotations

import argparse

from alpha.cli import show


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha replay``."""
    parser.add_argument("log", metavar="DIR", help="the folder that alpha run --audit wrote")
    parser.add_argument(
        "--tolerant",
        action="store_true",
        help="replay what another build, ISA or ONNX Runtime wrote; report differences",
    )
    parser.add_argument("--what-if", metavar="URI", help="decide by this model instead and count what changes")
    parser.add_argument("--registry", metavar="FILE", help="where --what-if finds its model")
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 1 if a decision differs."""
    from alpha.replay import replay, what_if

    if args.what_if is not None:
        from alpha.bundle import governed

        with show.warnings_on_stderr():
            found = what_if(args.log, governed(show.registry_file(args.registry), args.what_if, backtest=True))
        if args.json:
            show.print_json("replay-what-if", found)
        else:
            print(f"{found['model']} instead: {found['changed']:,} of {found['compared']:,} decisions change")
            if not found["compared"]:
                print(
                    f"no decision of the one meets one of the other: the log holds {found['decisions']:,}, "
                    f"{found['model']} makes {found['decisions_what_if']:,} of these {found['events']:,} events; "
                    "their triggers must be the same kind of event"
                )
            show.table("changes", ("from -> to", "count"), list(found["changes"].items()))
        return 0
    with show.warnings_on_stderr():
        result = replay(args.log, tolerant=args.tolerant)
    payload = {
        "events": result.events,
        "decisions": result.decisions,
        "differences": result.differences,
        "unlogged": result.unlogged,
        "files": result.files,
        "identity": result.identity,
        "shown": result.shown,
        "pass": result.passed,
    }
    if args.json:
        show.print_json("replay", payload)
    else:
        for name, (then, now) in result.identity.items():
            print(f"another {name}: {then[:40]}, here {now[:40]}")
        print(
            f"{result.events:,} events, {result.decisions:,} decisions: "
            + ("the same bytes" if result.passed else f"{result.differences:,} records differ")
        )
        for text in result.shown:
            print(f"  {text}")
    return 0 if result.passed else 1
