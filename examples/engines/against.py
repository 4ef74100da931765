"""What the examples of this folder share: the events, what ``rt.run`` makes of them, and the line that compares.

It is no part of an example's point, and none of it is needed to use the runtime.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import alpha
from alpha.data.simulate import simulate

AMZN = "lobster/AMZN_20120621_L5.parquet"


@dataclass
class Replay:
    """``events``: quotes and trades of one instrument; ``table``: that instrument."""

    events: Any
    table: alpha.Instruments
    name: str
    args: argparse.Namespace
    why: str = ""

    def stopped(self, why: str, after: int) -> None:
        """The feed ended early: what came until then is what is compared."""
        self.why = f"{why} after {after:,} of {len(self.events):,} events"
        self.events = self.events[:after]

    @property
    def symbol(self) -> str:
        return self.table.symbols[0]

    @property
    def received(self) -> bool:
        """Whether the events say when they were received; AMZN's do not."""
        return bool((self.events["ts_recv_ns"] != 0).all())

    def runtime(self) -> alpha.Runtime:
        return alpha.Runtime.from_registry(self.args.registry, self.args.model, instruments=self.table)


def decimals(numbers: Any) -> int:
    """The fewest decimal places that hold every one of these float64 exactly as it was written; at most 9."""
    if missing := int(np.count_nonzero(~np.isfinite(numbers))):
        raise alpha.AlphaError(
            f"{missing:,} of {len(numbers):,} prices or sizes are missing: this engine needs all of them"
        )
    for places in range(10):
        if np.array_equal(np.round(numbers, places), numbers):
            return places
    raise alpha.AlphaError(f"some of these numbers have more than 9 decimals, e.g. {numbers[0]!r}")


# Replays the events through an engine; asks the runtime, or nobody if it is None (the empty loop of the same engine).
# Returns the Signals' bytes in order and the ns spent.
Run = Callable[[Replay, alpha.Runtime | None], tuple[bytes, int]]


def whole(least: int) -> Callable[[str], int]:
    """Reads a whole number that is at least so large."""

    def read(text: str) -> int:
        if (number := int(text)) < least:
            raise argparse.ArgumentTypeError(f"{number} is below {least}")
        return number

    read.__name__ = "whole number"  # how argparse calls it where the text is none
    return read


def parser(doc: str) -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, help=f"any file that alpha reads (default: $ALPHA_DATA/{AMZN}, else simulated)")
    p.add_argument("--simulated", action="store_true", help="simulated order flow instead of a file")
    p.add_argument("--instrument", help="symbol of the file (default: its first)")
    p.add_argument(
        "--events", type=whole(0), default=20_000, help="quotes and trades from the beginning; 0: all of the file"
    )
    p.add_argument("--model", default="models:/demo@production")
    p.add_argument("--registry", help="default: as alpha finds it")
    p.add_argument("--times", type=whole(1), default=3, help="how often each loop runs, in turn; the fastest counts")
    p.add_argument("--json", action="store_true", help="one object instead of the table")
    return p


def load(args: argparse.Namespace) -> Replay:
    sample = Path(os.environ.get("ALPHA_DATA", "nowhere")) / AMZN
    path = args.data or (sample if sample.exists() and not args.simulated else None)
    if path is None or args.simulated:
        if args.instrument:
            raise alpha.AlphaError(
                f"--instrument {args.instrument}: simulated events are of one instrument; give --data FILE"
            )
        stream = simulate(args.events or 200_000, seed=7, levels=1)
        events, table, name = stream.events, stream.instruments, "SIMULATED"
    else:
        source = alpha.open_events(path, instrument=args.instrument or ("AMZN" if path == sample else None))
        events, name = source.read_all(), path.name
        table = source.instruments
    kept = np.isin(events["kind"], (alpha.Kind.QUOTE, alpha.Kind.TRADE)) & (events["instrument_id"] == 0)
    events = np.ascontiguousarray(events[kept][: args.events or None])
    if not len(events):
        raise alpha.AlphaError(f"{name} has no quotes and no trades of {table.symbols[0]}")
    return Replay(events, alpha.Instruments.of(table[0]), name, args)


def main(run: Run, doc: str, *numbers: str) -> int:
    """The exit code: 0 if every run gave the very Signals of ``rt.run``, 1 if not, or if the feed ended early, 2 for bad
    input. ``numbers``: more options, of whole numbers."""
    options = parser(doc)
    for name in numbers:
        options.add_argument(name, type=whole(0), default=0)
    try:
        return compare(run, load(options.parse_args()))
    except alpha.AlphaError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(130)  # at once: half-run engines and shared memory are not taken apart in order


def _missing_engine(kind: type[BaseException], exc: BaseException, trace: Any) -> None:
    """What an example imports behind this module is there in the engines' environment only."""
    if not isinstance(exc, ModuleNotFoundError):
        sys.__excepthook__(kind, exc, trace)
        return
    how = f"./dev engines, once; then .venv-engines/bin/python {sys.argv[0]}"
    print(f"error: {exc.name} is not installed for {sys.executable}: {how}", file=sys.stderr)


sys.excepthook = _missing_engine


def compare(run: Run, replay: Replay) -> int:
    same, full, empty, most = True, [], [], len(replay.events)
    with replay.runtime():  # what it warns of is said once
        warnings.filterwarnings("ignore", category=alpha.AlphaWarning)
    for _ in range(replay.args.times):
        empty.append(run(replay, None)[1])
        with replay.runtime() as rt:
            signals, spent = run(replay, rt)
            same &= rt.stats()["events"] in (0, len(replay.events))  # not one more; 0: it opened a runtime of its own
        full.append(spent)
        with replay.runtime() as rt:
            same &= signals == rt.run(replay.events).tobytes()
        if replay.why:
            break
    n = max(len(replay.events), 1)
    made = np.frombuffer(signals, alpha.SIGNAL_DTYPE)
    found = {
        "data": f"{replay.name}, {replay.symbol}",
        "events": len(replay.events),
        "signals": len(made),
        "buy_or_sell": int(np.count_nonzero(made["action"])),
        "same_as_rt_run": same and len(made) > 0,  # where there is none, nothing was compared
        "ns_per_event": round(min(full) / n),
        "ns_empty": round(min(empty) / most),
        "ns_net": round(min(full) / n - min(empty) / most),
        "signals_sha256": hashlib.sha256(signals).hexdigest(),
    }
    if replay.why:
        found["stopped"] = replay.why
    if replay.args.json:
        print(json.dumps(found))
    else:
        for key, value in found.items():
            noise = " (less than the clock's noise)" if key == "ns_net" and value <= 0 else ""
            print(f"{key.replace('_', ' '):16}", f"{value:,}{noise}" if type(value) is int else value)
    return 0 if found["same_as_rt_run"] and not replay.why else 1
