"""What verbs print: one JSON object, or tables and progress for a person on a terminal. Floor 8."""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alpha.errors import AlphaWarning, DataError, InstrumentError, RegistryError, printable


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


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """The option of verbs whose features may read external series."""
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=FILE[:COLUMN]",
        help="an external series of the feature set, from Parquet or CSV: a time and a value; may repeat",
    )


def take_inputs(args: argparse.Namespace, source: Any, fs: Any) -> dict[str, str]:
    """Merge the files of ``add_inputs`` into the source; the sha256 of each by its series."""
    from alpha.data.inputs import input_events, parse_option, read_series

    series: dict[str, Any] = {}
    hashes: dict[str, str] = {}
    for text in args.input:
        name, file, column = parse_option(text)
        if name in series:
            raise DataError(f"--input names the series {name!r} twice")
        series[name] = read_series(file, column, ts_unit=args.ts_unit, tz=args.tz)
        hashes[name] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    if series:
        source.add_inputs(input_events(fs, series), series)
    return hashes


def why(exc: OSError) -> str:
    """What the system says, without its number; pyarrow wraps it in a report of several sentences."""
    text = re.sub(r"\[errno \d+\] ?", "", (exc.strerror or str(exc)).lower())
    return text.rpartition("detail: ")[2].splitlines()[0].rstrip(".")


def sentence(exc: OSError) -> str:
    """An error of the system as one sentence: which file, what is wrong, what to do."""
    named = [str(name) for name in (exc.filename, exc.filename2) if name is not None]
    where = named[-1] if named else "a file"
    todo = {
        errno.EACCES: "choose another place, or change its permissions",
        errno.EPERM: "choose another place, or change its permissions",
        errno.EROFS: "choose another place",
        errno.EISDIR: "name a file in it",
        errno.ENOTDIR: "a part of this path is a file: choose another place",
        errno.EEXIST: "choose another place",
        errno.ENOENT: "make the folder first, or choose another place",
        errno.ENOSPC: "free some space, or choose another place",
        errno.ENAMETOOLONG: "choose a shorter name",
    }.get(exc.errno or 0, "choose another place")
    return f"{where} cannot be used: {why(exc)}: {todo}"


def add_scheduler(parser: argparse.ArgumentParser) -> None:
    """``--scheduler``, for :func:`alpha.distribution.maybe`."""
    parser.add_argument(
        "--scheduler",
        metavar="WHERE",
        help="compute in the processes of a dask cluster: local, local:N or tcp://HOST:PORT (docs/scale.md)",
    )


def registry_file(text: str | None) -> str | None:
    """``--registry`` as it was given; RegistryError for a folder, which would only be found out later."""
    if text is not None and Path(text).is_dir():
        raise RegistryError(f"--registry {text} is a folder: name the registry.json in it")
    return text


def check_output(flag: str, text: str | None, inputs: Sequence[str] = ()) -> None:
    """DataError if the file that a verb will write at its end could not be written: known before the work, not after."""
    if text is None:
        return
    path = Path(text)
    if path.is_dir() or not path.name:
        raise DataError(f"{flag} {text!r} is a folder: name a file in it")
    if path.exists() and not path.is_file():  # a writer may remove and replace what it could not fill
        raise DataError(f"{flag} {text} is a device or a pipe: name an ordinary file")
    if not path.parent.is_dir():
        raise DataError(f"{flag} {text}: the folder {path.parent} does not exist: make it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise DataError(f"{flag} {text} cannot be written: choose another place, or change its permissions")
    for name in inputs:
        if path.exists() and Path(name).exists() and path.samefile(name):
            raise DataError(f"{flag} {text} would overwrite the data that is read: choose another name")


@contextmanager
def opened(args: argparse.Namespace, title: str, *, clock: str = "recv") -> Iterator[Any]:
    """The EventSource of ``add_data``'s options, with a progress line on a terminal and warnings on stderr.

    DataError if it holds no event: no verb has anything to say about nothing.
    """
    from alpha.data import open_events
    from alpha.instruments import Instruments

    columns = {}
    for text in args.column:
        name, sep, yours = text.partition("=")
        if not sep:
            raise DataError(f"--column takes NAME=YOURS, not {text!r}")
        columns[name] = yours
    table = Instruments.load(args.instruments) if args.instruments is not None else None
    beside = Path(args.data[0]).parent / "instruments.toml"
    if table is None:
        table = Instruments.load(beside) if beside.is_file() else None
    with warnings_on_stderr(), progress(title, quiet=args.json) as tick:
        try:
            source = open_events(
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
        except InstrumentError as exc:
            if table is None or args.instruments is not None or "unknown instrument" not in str(exc):
                raise
            # a table that nobody named: without a word about it the message would be a riddle
            raise InstrumentError(
                f"{exc}; these are declared in {beside}, which lies beside the data: declare yours there, say which one "
                "it is with --instrument, or put the data into a folder of its own"
            ) from None
        if source.empty:
            raise DataError(source.why_empty())
        for text in _unused(args, source):
            print(f"warning: {text}", file=sys.stderr)
        yield source


def _unused(args: argparse.Namespace, source: Any) -> Iterator[str]:
    """Options that this data has no use for: silence would look like consent."""
    from alpha.events import Kind

    have = ", ".join(sorted(kind.name for kind in source.first_kinds))
    for flag, value, kind in (
        ("--bar", args.bar, Kind.BAR),
        ("--bar-stamp", args.bar_stamp, Kind.BAR),
        ("--levels", args.levels if args.levels > 1 else None, Kind.DEPTH),
    ):
        if value is not None and kind not in source.first_kinds:
            yield f"{flag} {value} changes nothing: the data has no {kind.name} events, only {have}"


@contextmanager
def progress(title: str, *, quiet: bool = False, unit: str = "rows", total: int | None = None) -> Iterator[Any]:
    """A counter on stderr, only on a terminal and only if rich is there; yields ``tick(n)``."""
    bar = None
    if not quiet and sys.stderr.isatty():
        try:
            from rich.console import Console
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                TextColumn("{task.completed:,.0f} " + (unit if total is None else f"of {total:,} {unit}")),
                TimeElapsedColumn() if total is None else TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
        except ImportError:
            bar = None
    if bar is None:
        yield lambda rows: None
        return
    with bar:
        task = bar.add_task(title, total=total)
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
    title, columns = printable(title), [printable(name) for name in columns]
    cells = [[cell(c) for c in row] for row in rows]
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text  # plain strings would be read as rich's markup

            out = Table(title=Text(title), title_justify="left", header_style="bold")
            for name in columns:
                out.add_column(Text(name))
            for row in cells:
                out.add_row(*map(Text, row))
            Console().print(out)
            return
        except ImportError:
            pass
    widths = [max(len(x) for x in column) for column in zip(columns, *cells, strict=True)]
    print(title)
    for row in (list(columns), *cells):
        print("  " + "  ".join(x.ljust(w) for x, w in zip(row, widths, strict=True)).rstrip())


def cell(value: Any) -> str:
    """A number or anything else as a table shows it; a name from a file cannot steer the terminal."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else printable(str(value))


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """AlphaWarnings as one line each on stderr."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AlphaWarning)
        try:
            yield
        finally:
            for w in caught:
                print(f"warning: {printable(str(w.message))}", file=sys.stderr)
