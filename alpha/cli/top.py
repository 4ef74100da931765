"""What a watched runtime is doing, in the terminal. Asks the server that alpha.watch.serve or alpha run --watch started."""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from alpha.cli import show
from alpha.errors import AlphaError, printable

DEFAULT = "http://127.0.0.1:9464/"
LIMIT = 64 * 1024 * 1024


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha top``."""
    parser.add_argument("url", nargs="?", default=DEFAULT, help=f"a watched runtime, or its port (default: {DEFAULT})")
    parser.add_argument("--instrument", metavar="SYM", help="whose signals and features (default: the first)")
    parser.add_argument("--once", action="store_true", help="look once, then end")
    parser.add_argument("--every", type=float, default=1.0, metavar="S", help="seconds between two looks (default 1)")
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 0; 2 if nobody answers."""
    if not 0.1 <= args.every <= 3600:
        raise AlphaError(f"--every takes 0.1 to 3600 seconds, not {args.every:g}")
    told = fetch(args.url, args.instrument)
    if args.json:
        show.print_json("watch", told)
        return 0
    if args.once or not sys.stdout.isatty():
        for title, columns, rows in tables(told):
            show.table(title, columns, rows)
        return 0
    return _live(args, told)


def address(text: str) -> str:
    """``9464``, ``host:9464`` or a whole URL as the URL of the page; AlphaError if it is none."""
    url = f"127.0.0.1:{text}" if text.isdigit() else text
    url = url if "://" in url else f"http://{url}"
    try:
        parts = urllib.parse.urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise AlphaError(f"{text!r} is no address: give http://HOST:PORT/, HOST:PORT or a port")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/"


def fetch(text: str, instrument: str | None = None, timeout_s: float = 5.0) -> dict[str, Any]:
    """The document of a watched runtime; AlphaError says why there is none."""
    url = address(text)
    asked = (
        url + "status.json" + ("" if instrument is None else "?" + urllib.parse.urlencode({"instrument": instrument}))
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy knows nothing of this machine
    try:
        with direct.open(asked, timeout=timeout_s) as answer:
            body = answer.read(LIMIT)
    except urllib.error.HTTPError as exc:
        with exc:
            if "Alpha-Watch" not in exc.headers:  # its page would say nothing here
                raise AlphaError(f"{url} answers {exc.code}, it is not an alpha watch server") from None
            said = exc.read(2000).decode(errors="replace").strip()
        raise AlphaError(f"{url} answers {exc.code}: {printable(said)}") from None
    except http.client.HTTPException:
        raise AlphaError(f"{url} answers, but not in HTTP: it is not an alpha watch server") from None
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "reason", exc)
        why = show.why(reason) if isinstance(reason, OSError) else str(reason)
        raise AlphaError(
            f"no runtime answers at {url}: {why}: start one with  alpha run … --watch PORT, or alpha.watch.serve(rt)"
        ) from None
    try:
        told = json.loads(body)
        if told["schema"] != "alpha/watch/1":
            raise ValueError
        tables(told)  # all that will be shown is there
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        raise AlphaError(f"{url} answers, but is no watched runtime of this version of alpha") from None
    return dict(told)


Table = tuple[str, tuple[str, ...], list[tuple[Any, ...]]]


def tables(told: Mapping[str, Any]) -> list[Table]:
    """The document as tables of title, columns, rows: the whole, models, reasons, instruments, signals, and one of features
    for each model."""
    c, latency = told["counters"], told["latency"]
    state = [*alarms(told)] or ["well"]
    head = f"{told['name']} · {told['mode']} · {', '.join(state)}"
    numbers = [("events", c["events"]), ("signals", c["decisions"]), *c["actions"].items(), ("rejected", c["rejected"])]
    if latency["measured"]:
        numbers += [(f"latency {k}, ns", _or_dash(latency[k])) for k in ("p50", "p99", "p999", "max")]
    if told["worker"] is not None:
        numbers += [("waiting in the ring", told["worker"]["backlog"]), ("lost", c["lost"])]
    out: list[Table] = [(head, ("what", "count"), numbers)]
    out.append(
        (
            "models",
            ("model", "version", "status", "mode", "engine", "decisions", "SELL", "BUY", "threshold"),
            [
                (
                    m["seat"],
                    m["name"],
                    m["status"] or "-",
                    m["mode"],
                    m["engine"],
                    m["decisions"],
                    m["actions"]["SELL"],
                    m["actions"]["BUY"],
                    m["threshold"]["in_force"],
                )
                for m in told["models"]
            ],
        )
    )
    out.append(
        (
            "reasons",
            ("reason", "count", "what it means"),
            [(r["name"], r["count"], r["meaning"]) for r in told["reasons"]],
        )
    )
    rows: list[tuple[Any, ...]] = []
    for i in told["instruments"]:
        last = i["latest"] or {}
        marks = ", ".join(k for k in ("halted", "killed", "gap") if i[k])
        rows.append(
            (i["symbol"], last.get("action", "-"), _or_dash(last.get("confidence")), last.get("reason", "-"), marks)
        )
    out.append(("instruments", ("instrument", "last action", "confidence", "reason", ""), rows))
    names = {m["slot"]: m["seat"] for m in told["models"]}
    signals = [
        (_clock(s["ts_event_ns"]), s["action"], _or_dash(s["confidence"]), s["reason"], names.get(s["slot"], "?"))
        for s in told["signals"][:12]
    ]
    out.append((f"signals of {told['chosen']}", ("time, UTC", "action", "confidence", "reason", "model"), signals))
    for seat, features in told["features"].items():
        out.append(
            (
                f"features of {seat} on {told['chosen']}",
                ("feature", "value", "lowest in training", "highest", ""),
                [
                    (
                        f["name"],
                        _or_dash(f["raw"], "NaN"),
                        _or_dash(f["low"]),
                        _or_dash(f["high"]),
                        "not warm" if not f["ready"] else "OUTSIDE" if f["outside"] else "",
                    )
                    for f in features
                ],
            )
        )
    return out


def alarms(told: Mapping[str, Any]) -> list[str]:
    """What a person should know first."""
    out = []
    kill = told["kill"]
    if told["mode"] == "closed":
        out.append("closed")
    if kill["killed"]:
        out.append(f"KILLED {kill['why']}".strip())
    out += [f"killed: {name}" for name in kill["models"] if not kill["killed"]]
    out += [f"halted: {name}" for name in kill["halted"]]
    out += [f"breaker of {m['seat']}: {m['breaker']['tripped']}" for m in told["models"] if m["breaker"]["tripped"]]
    out += [f"{m['seat']}: {m['why']}" for m in told["models"] if m["why"]]
    if told["audit"] is not None and not told["audit"]["healthy"]:
        out.append("the audit log is not well")
    if told["quiet_s"] > 5:
        out.append(f"no new event for {told['quiet_s']:.0f} s")
    return out


def _or_dash(value: Any, other: str = "-") -> Any:
    return other if value is None else value


def _clock(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%H:%M:%S.%f")[:-3]


def _live(args: argparse.Namespace, told: dict[str, Any]) -> int:
    """Until Ctrl-C, or until the runtime is gone."""
    from alpha.errors import need

    need("rich", "cli")
    from rich.console import Console
    from rich.live import Live

    screen = Console()
    with Live(Drawn(told), console=screen, refresh_per_second=4, screen=True, vertical_overflow="crop") as live:
        try:
            while True:
                time.sleep(args.every)
                live.update(Drawn(fetch(args.url, args.instrument)))
        except KeyboardInterrupt:
            return 0


class Drawn:
    """The document as rich draws it: as much of it as the window holds, and how much it does not."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._tables = tables(told)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.console import Group
        from rich.segment import Segment
        from rich.table import Table as Grid
        from rich.text import Text

        width, height = options.max_width, options.height or console.height
        if width < SIDE_BY_SIDE:
            parts = [_part(table, width) for table in self._tables]
        else:
            whole, models, reasons, instruments, *others = self._tables
            grid = Grid.grid(padding=(0, 4))
            half = (width - 4) // 2
            grid.add_row(*(Group(*(_part(t, half) for t in side)) for side in ((whole, reasons, instruments), others)))
            parts = [_part(models, width), grid]
        free = options.update(height=None)
        lines = [line for part in parts for line in console.render_lines(part, free)]
        more = len(lines) - height
        if more > 0:
            told = Text(f"+{more + 1} more lines: enlarge the window, or see  alpha top --once", "bold", no_wrap=True)
            lines = [*lines[: height - 1], *console.render_lines(told, free)[:1]]
        for n, line in enumerate(lines):
            if n:
                yield Segment.line()
            yield from line


def _part(table: Table, width: int) -> Any:
    """A table that cuts no word: the columns that have no room are left out, and counted in the title."""
    from rich.console import Group
    from rich.table import Table as Grid
    from rich.text import Text

    title, columns, rows = table
    cells = [[show.cell(c) for c in row] for row in rows]
    # of what a cell may be folded at
    least = [
        max(len(word) for text in column for word in text.split() or [""])
        for column in zip(columns, *cells, strict=True)
    ]
    fit = len(columns)
    while fit > 1 and sum(least[:fit]) + 2 * fit > width:
        fit -= 1
    left = len(columns) - fit
    name = printable(title) + (f" (+{left} more column{'s' if left > 1 else ''})" if left else "")
    out = Grid(header_style="dim", box=None, expand=False)
    for column, size in zip(columns[:fit], least, strict=False):
        out.add_column(Text(column), min_width=min(size, width), overflow="fold")
    for row in cells:
        out.add_row(*(Text(text, _STYLES.get(text, "")) for text in row[:fit]))
    return Group(Text(name, "bold"), out, Text())


SIDE_BY_SIDE = 110
"""Characters from which on signals and features stand beside the rest."""
_STYLES = {"BUY": "green", "SELL": "red", "OUTSIDE": "bold red", "not warm": "dim"}
