"""Look at a market data file: what becomes an event, what does not, and what the guard would reject."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from alpha.cli import show


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha data``."""
    parser.add_argument("files", nargs="+", metavar="FILE")
    show.add_data(parser, required=False)
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 0; 2 without any event, and with --strict at the first bad row."""
    import numpy as np

    from alpha._core.guard import guard_events
    from alpha.events import Kind, Reason

    args.data = args.files + (args.data or [])
    kinds: Counter[str] = Counter()
    with show.opened(args, "reading") as source:
        events = source.read_all()
        for kind, count in zip(*np.unique(events["kind"], return_counts=True), strict=True):
            kinds[Kind(kind).name] += int(count)
        verdict = guard_events(
            events, max(1, len(source.instruments)), clock_offset_ns=source.instruments.clock_offsets_ns()
        )
        rejected = {
            Reason(r).name: int(n) for r, n in zip(*np.unique(verdict[verdict > 0], return_counts=True), strict=True)
        }
        result = {
            "files": args.data,
            "rows": source.rows_read,
            "event_rows": source.event_rows,
            "events": len(events),
            "kinds": dict(kinds),
            "bad_rows": source.bad_rows,
            "ignored_rows": source.ignored_rows,
            "rejected": rejected,
            "instruments": [
                {"symbol": i.symbol, "tick_size": i.tick_size, "lot_size": i.lot_size, "source": i.source}
                for i in source.instruments
            ],
            "first_ns": int(events["ts_event_ns"][0]),
            "last_ns": int(events["ts_event_ns"][-1]),
            "data_sha256": source.data_sha256(),
        }
    if args.json:
        show.print_json("data", result)
        return 0
    rows: list[tuple[str, Any]] = [("rows", source.rows_read), ("rows that gave events", source.event_rows)]
    rows += [(f"bad rows: {k}", v) for k, v in source.bad_rows.items()]
    rows += [(f"ignored rows: {k}", v) for k, v in source.ignored_rows.items()]
    rows += [("events", result["events"])] + [(f"{k.lower()} events", v) for k, v in kinds.items()]
    rows += [(f"guard rejects: {k}", v) for k, v in rejected.items()]
    times = np.array([result["first_ns"], result["last_ns"]], dtype="datetime64[ns]")
    rows += [("first event", times[0]), ("last event", times[1])]
    show.table(", ".join(args.data), ("what", "value"), rows)
    print(source.describe())
    return 0
