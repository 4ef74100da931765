"""Serve the page of a model while data run through it, or open the page of a runtime that is served already."""

from __future__ import annotations

import argparse
import sys

from alpha.cli import run as stream
from alpha.cli import show
from alpha.cli.top import address, fetch


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha watch``: those of ``alpha run``, or a URL."""
    parser.add_argument("url", nargs="?", help="a runtime that is served already (or its port): open its page")
    parser.add_argument("--port", type=int, default=9464, help="where to serve (default 9464; 0: a free one)")
    parser.add_argument("--no-hold", action="store_true", help="end with the data instead of with Ctrl-C")
    parser.add_argument("--dashboard", action="store_true", help="print the Grafana dashboard (JSON) and end")
    parser.add_argument("--alerts", action="store_true", help="print example alert rules for Prometheus and end")
    stream.add_stream(parser, required=False)
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit as ``alpha run``; 2 if the URL does not answer."""
    from alpha.errors import AlphaError

    if args.dashboard or args.alerts:
        from alpha.watch import ops

        print(ops.dashboard() if args.dashboard else ops.alerts(), end="")
        return 0
    if args.url is not None:
        if args.model or args.desk or args.data:
            raise AlphaError(
                "a URL names what is served already; --model, --desk and --data serve something new: choose one"
            )
        return _open(args)
    if args.data is None or (args.model is None and args.desk is None):
        raise AlphaError(
            "what is to be watched? --model models:/ID@production (or --desk TOML) with --data FILE, or the URL of a runtime"
        )
    args.watch, args.hold = args.port, not args.no_hold
    return stream.run(args)


def _open(args: argparse.Namespace) -> int:
    """Ask whether somebody answers, then show the page in the browser."""
    import webbrowser

    told = fetch(args.url)
    url = address(args.url)
    if args.json:
        show.print_json("watch", told)
        return 0
    name, mode = show.cell(told["name"]), show.cell(told["mode"])
    print(f"{url}: {name}, {mode}, {show.cell(told['counters']['events'])} events")
    if not webbrowser.open(url):
        print(f"there is no browser to open here: point one at {url}", file=sys.stderr)
    return 0
