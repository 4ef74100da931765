"""What verbs print: one JSON object, or tables and progress for a person on a terminal. Floor 8."""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alpha.errors import AlphaWarning


def add_json(parser: argparse.ArgumentParser) -> None:
    """The flag every verb has."""
    parser.add_argument("--json", action="store_true", help="print exactly one JSON object on stdout")


def add_data(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Options of every verb that reads market data."""
    parser.add_argument(
        "--data",
        nargs="+",
        required=required,
        metavar="FILE",
        help="Parquet, CSV, LOBSTER zip or Binance .gz; several are merged by time",
    )
    parser.add_argument("--instrument", metavar="SYM", help="symbol of the data (default: the file's name)")
    parser.add_argument(
        "--instruments", metavar="TOML", help="instruments.toml (default: beside the registry or data, if any)"
    )
    parser.add_argument("--format", help="parquet, csv, lobster-zip or binance-raw (default: by the file's name)")
    parser.add_argument(
        "--column", action="append", default=[], metavar="NAME=YOURS", help="map a column, e.g. ts=time; may repeat"
    )
    parser.add_argument("--ts-unit", choices=("ns", "us", "ms", "s"), help="unit of numeric times")
    parser.add_argument("--tz", help="zone of times that carry none, e.g. UTC")
    parser.add_argument("--bar-stamp", choices=("start", "close"), help="bars are stamped at their start or close")
    parser.add_argument("--bar", help="length of a bar (default: as the instrument declares, else 1m)")
    parser.add_argument("--levels", type=int, default=1, help="book levels to read, 1 to 10 (default 1)")
    parser.add_argument("--strict", action="store_true", help="stop at the first bad row with file and line")


@contextmanager
def opened(args: argparse.Namespace, title: str, *, clock: str = "recv") -> Iterator[Any]:
    """The EventSource of ``add_data``'s options, with a progress line on a terminal."""
    from alpha.data import open_events
    from alpha.errors import DataError
    from alpha.instruments import Instruments

    columns = {}
    for text in args.column:
        name, sep, yours = text.partition("=")
        if not sep:
            raise DataError(f"--column takes NAME=YOURS, not {text!r}")
        columns[name] = yours
    table = Instruments.load(args.instruments) if args.instruments else None
    if table is None:
        beside = Path(args.data[0]).parent / "instruments.toml"
        table = Instruments.load(beside) if beside.is_file() else None
    with progress(title, quiet=args.json) as tick:
        yield open_events(
            args.data if len(args.data) > 1 else args.data[0],
            instruments=table,
            instrument=args.instrument,
            format=args.format,
            columns=columns,
            ts_unit=args.ts_unit,
            tz=args.tz,
            bar_stamp=args.bar_stamp,
            bar=args.bar,
            levels=args.levels,
            strict=args.strict,
            clock=clock,
            progress=tick,
        )


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Iterator[Any]:
    """A counter of rows on stderr, only on a terminal and only if rich is there; yields ``tick(rows)``."""
    bar = None
    if not quiet and sys.stderr.isatty():
        try:
            from rich.console import Console
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                TextColumn("{task.completed:,.0f} rows"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
        except ImportError:
            bar = None
    if bar is None:
        yield lambda rows: None
        return
    with bar:
        task = bar.add_task(title, total=None)
        yield lambda rows: bar.advance(task, rows)


def print_json(schema: str, payload: dict[str, Any]) -> None:
    """Exactly one object on stdout; NaN and infinities become null."""
    print(json.dumps({"schema": f"alpha/{schema}/1", **_plain(payload)}, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "item"):
        return _plain(value.item())
    return str(value)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table: by rich on a terminal, else plain aligned text."""
    cells = [[_cell(c) for c in row] for row in rows]
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.table import Table

            out = Table(title=title, title_justify="left", header_style="bold")
            for name in columns:
                out.add_column(name)
            for row in cells:
                out.add_row(*row)
            Console().print(out)
            return
        except ImportError:
            pass
    widths = [max(len(x) for x in column) for column in zip(columns, *cells, strict=True)]
    print(title)
    for row in (list(columns), *cells):
        print("  " + "  ".join(x.ljust(w) for x, w in zip(row, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """AlphaWarnings as one line each on stderr."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AlphaWarning)
        try:
            yield
        finally:
            for w in caught:
                print(f"warning: {w.message}", file=sys.stderr)
