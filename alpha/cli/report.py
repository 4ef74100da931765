"""Backtests side by side: the figures of their reports."""

from __future__ import annotations

import argparse
from pathlib import Path

from alpha.cli import show


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha report``."""
    parser.add_argument("reports", nargs="+", metavar="DIR", help="folders that alpha backtest wrote")
    parser.add_argument("--out", metavar="HTML", help="also write a page")
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 0."""
    from alpha.report.trading_page import read_summary, side_by_side, write_comparison

    show.check_output("--out", args.out)
    told = [read_summary(r) for r in args.reports]
    names = [Path(r).name or r for r in args.reports]
    if args.out is not None:
        write_comparison(Path(args.out), names, told)
    if args.json:
        show.print_json("report", {"reports": dict(zip(args.reports, told, strict=True))})
        return 0
    show.table("side by side", ("what", *names), side_by_side(told))
    if args.out is not None:
        print(f"page {args.out}")
    return 0
