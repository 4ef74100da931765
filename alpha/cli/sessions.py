"""Show when a market is open, or write its table of sessions for machines without exchange-calendars."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from alpha.cli import show

if TYPE_CHECKING:
    from alpha.sessions import SessionTable


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha sessions``."""
    parser.add_argument("calendar", nargs="?", metavar="NAME", help="e.g. XNYS; without it: the ones at hand")
    parser.add_argument("--from", dest="start", metavar="DATE", help="first day shown, or first day of the table")
    parser.add_argument("--to", dest="end", metavar="DATE", help="last day shown, or last day of the table")
    parser.add_argument(
        "--out", metavar="DIR", help="make the table anew by exchange-calendars and write it here ($ALPHA_CALENDARS)"
    )
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 0, or 2 for a calendar or date that nobody knows."""
    import numpy as np

    from alpha import sessions
    from alpha.errors import DataError

    if args.calendar is None:
        names = [sessions.ALWAYS, *sessions.shipped()]
        tables = [sessions.session_table(n) for n in names]
        days = [(_time(t.opens[0], "D"), _time(t.closes[-1], "D")) for t in tables]
        if args.json:
            found = [{"name": n, "from": a, "to": b} for n, (a, b) in zip(names, days, strict=True)]
            show.print_json("sessions", {"calendars": found})
        else:
            listed = [(n, a, b, len(t)) for n, (a, b), t in zip(names, days, tables, strict=True)]
            show.table("calendars", ("name", "from", "to", "sessions"), listed)
        return 0
    try:
        first, last = (None if d is None else np.datetime64(d, "D") for d in (args.start, args.end))
    except ValueError as exc:
        raise DataError(f"{exc}: write a date such as 2026-11-27") from None
    if first is not None and last is not None and first > last:
        raise DataError(f"--from {args.start} is later than --to {args.end}: no session can lie between them")
    if args.out:
        table = sessions.make(args.calendar, args.start or "1990-01-01", args.end)
        folder = Path(args.out)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / sessions.file_name(args.calendar)
        file.write_bytes(table.to_bytes())
    else:
        table, file = sessions.session_table(args.calendar), None
    opens = table.opens.astype("datetime64[ns]")
    keep = np.ones(len(table), bool)
    if first is not None:
        keep &= opens >= first
    if last is not None:
        keep &= opens < last + 1
    rows = [
        (_time(table.opens[k], "m"), _time(table.closes[k], "m"), _break(table, k))
        for k in np.flatnonzero(keep).tolist()
    ]
    if args.json:
        sessions_ = [{"open": a, "close": b, "break": c or None} for a, b, c in rows]
        about = {"calendar": args.calendar, "sha256": table.sha256, "file": file and str(file)}
        show.print_json("sessions", {**about, "sessions": sessions_})
        return 0
    if len(rows) > 20:
        rows = [*rows[:10], ("…", f"{len(rows) - 20:,} more", ""), *rows[-10:]]
    show.table(f"{args.calendar}: times in UTC", ("open", "close", "break"), rows)
    if file:
        print(f"written to {file}: name its folder in ALPHA_CALENDARS to use it")
    return 0


def _time(ns: int, unit: str) -> str:
    import numpy as np

    return str(np.datetime64(int(ns), "ns").astype(f"datetime64[{unit}]"))


def _break(table: SessionTable, k: int) -> str:
    start, end = table.break_starts[k], table.break_ends[k]
    return "" if start == table.closes[k] else f"{_time(start, 'm')[11:]} to {_time(end, 'm')[11:]}"
