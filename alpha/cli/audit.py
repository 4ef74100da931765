"""Look at an audit log: is it whole, what does it end with, why was a decision made, as a table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from alpha.cli import show


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha audit``."""
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in (
        ("verify", "check every frame, block and file against sums, chain and anchor"),
        ("tail", "the last decisions"),
        ("explain", "take one decision apart: features, normalised, outputs, action"),
        ("export", "events and decisions as Parquet"),
    ):
        sub = actions.add_parser(name, help=text, description=text)
        sub.add_argument("log", metavar="DIR", help="the folder of the log")
        if name == "verify":
            sub.add_argument(
                "--head", metavar="FILE", help="an anchor that was kept elsewhere (default: DIR/head.json)"
            )
            sub.add_argument("--keys", metavar="FOLDER", help="NAME.pub files: the head must be signed by one of them")
        if name == "tail":
            sub.add_argument("-n", type=int, default=10, metavar="N", help="how many (default 10)")
        if name == "explain":
            sub.add_argument("seq", type=int, metavar="SEQ", help="the frame's number, as tail and export show it")
        if name == "export":
            sub.add_argument(
                "--parquet", required=True, metavar="FOLDER", help="writes decisions.parquet and events.parquet"
            )
        show.add_json(sub)


def run(args: argparse.Namespace) -> int:
    """Exit 1 if verify finds a problem."""
    action = {"verify": _verify, "tail": _tail, "explain": _explain, "export": _export}[args.action]
    return action(args)


def _verify(args: argparse.Namespace) -> int:
    from alpha.audit import verify

    result = verify(args.log, head=args.head, keys=args.keys)
    if args.json:
        show.print_json(
            "audit-verify",
            {
                "frames": result.frames,
                "unsealed": result.unsealed,
                "dropped": result.dropped,
                "head": result.head,
                "signed_by": result.signed_by,
                "problems": [str(p) for p in result.problems],
                "pass": not result.problems,
            },
        )
    else:
        print(f"{result.frames:,} frames in {args.log}, the last block is {result.head['sha256'][:16]}…")
        print(
            f"its end is signed by {result.signed_by}" if result.signed_by else "its end carries no checked signature"
        )
        for problem in result.problems:
            print(f"PROBLEM {problem}")
        if not result.problems:
            print("every frame is what was written")
    return 1 if result.problems else 0


def _tail(args: argparse.Namespace) -> int:
    from alpha.audit.frames import Frame
    from alpha.audit.read import open_all
    from alpha.errors import DataError

    if args.n < 1:
        raise DataError(f"-n must be at least 1, not {args.n}")
    rows: list[dict[str, Any]] = []
    for file in open_all(args.log):
        frames = file.of_type(Frame.DECISION)[-args.n :]
        symbols = [i["symbol"] for i in file.json(Frame.HEADER)["instruments"]]
        rows = [*rows, *(_row(file, int(i), symbols) for i in frames)][-args.n :]
    if args.json:
        show.print_json("audit-tail", {"decisions": rows})
    else:
        names = ["seq", "event_index", "ts_event_ns", "instrument", "action", "reason", "confidence", "latency_ns"]
        if any(r["model_slot"] or not r["emitted"] for r in rows):  # several models
            names += ["model_slot", "emitted"]
        show.table(f"the last {len(rows)} decisions in {args.log}", names, [[r[n] for n in names] for r in rows])
    return _unread(args.log, live=True)


def _unread(log: str, *, live: bool) -> int:
    """Say on stderr which bytes of a log could not be read; 1 if there are any. ``live``: the end of the last file may just
    be in the making."""
    from alpha.audit.read import open_all, resume

    files, found = list(open_all(log)), 0
    for k, file in enumerate(files):
        lost = len(file.data) - file.end
        in_the_making = live and k == len(files) - 1 and resume(file.data, file.end) is None
        if lost > 0 and not in_the_making:
            print(
                f"warning: {file.path.name}: {lost:,} bytes from byte {file.end:,} on are damaged and were not read; "
                "alpha audit verify tells more",
                file=sys.stderr,
            )
            found = 1
    return found


def _row(file: Any, i: int, symbols: list[str]) -> dict[str, Any]:
    from alpha.events import Action, Reason, SignalFlag

    d = file.decision(i)
    s = d["signal"]
    return {
        "seq": int(file.headers["seq"][i]),
        "event_index": int(s["event_index"]),
        "ts_event_ns": int(s["ts_event_ns"]),
        "instrument": symbols[int(s["instrument_id"])],
        "action": Action(int(s["action"])).name,
        "reason": Reason(int(s["reason"])).name,
        "confidence": float(s["confidence"]),
        "latency_ns": d["latency_ns"],
        "model_slot": int(s["model_slot"]),
        "emitted": not int(s["flags"]) & SignalFlag.SHADOW,
    }


def _explain(args: argparse.Namespace) -> int:
    from alpha.audit.explain import explain
    from alpha.errors import AlphaError
    from alpha.replay import explained_at

    result = explain(args.log, args.seq)
    result["replayed"] = ""
    try:  # what the log alone does not hold: ages, PSI, cooldown
        result["gates"] = explained_at(args.log, args.seq)["gates"]
    except AlphaError as exc:
        result["replayed"] = str(exc)
    if args.json:
        show.print_json("audit-explain", result)
        return 0
    show.table(
        f"frame {args.seq}: {result['model']} on {result['instrument']}: {result['action']} because {result['reason']}",
        ("feature", "raw", "normalised", "training range", "shift"),
        [
            (
                f["name"],
                f["raw"],
                f.get("normalised", "-"),
                "{:.4g} to {:.4g}".format(*f["training_range"]) if "training_range" in f else "-",
                f.get("shift", "-"),
            )
            for f in result["features"]
        ],
    )
    show.table("outputs", ("score", "value"), list(result["scores"].items()))
    show.table(
        "gates",
        ("gate", "value", "limit", "passed"),
        [(g["gate"], g.get("text", g["value"]), g["limit"], g["passed"]) for g in result["gates"]],
    )
    if result["replayed"]:
        print(f"gates from the log alone: {result['replayed']}")
    print(f"{result['reason']}: {result['meaning']}. What to do: {result['remedy']}")
    return 0


def _export(args: argparse.Namespace) -> int:
    from alpha.audit.export import export
    from alpha.errors import DataError

    out = Path(args.parquet)
    if out.exists() and not out.is_dir():
        raise DataError(f"--parquet {out} is a file: name a folder")
    counts = export(args.log, out)
    if args.json:
        show.print_json("audit-export", {**counts, "folder": str(out)})
    else:
        print(f"{counts['events']:,} events and {counts['decisions']:,} decisions in {out}")
    return _unread(args.log, live=False)
