"""Stream market data through a registered model and count what it decides."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from alpha.cli import show

_EXPECTED = {"MODEL", "BELOW_THRESHOLD", "COOLDOWN", "NOT_WARM"}  # nothing is to be done about these


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha run``."""
    add_stream(parser)
    parser.add_argument(
        "--watch", type=int, metavar="PORT", help="serve page and metrics on this port meanwhile; 0: a free one"
    )
    parser.add_argument("--hold", action="store_true", help="with --watch: go on serving after the data ended")
    show.add_json(parser)


def add_stream(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """What runs over what, and how; ``alpha watch`` takes the same."""
    what = parser.add_mutually_exclusive_group(required=required)
    what.add_argument("--model", metavar="URI", help="models:/ID@production or models:/ID/3")
    what.add_argument("--desk", metavar="TOML", help="several models at once: see docs/models.md")
    parser.add_argument(
        "--registry", metavar="FILE", help="registry.json (default: $ALPHA_REGISTRY, or the nearest one)"
    )
    parser.add_argument("--signals", metavar="PARQUET", help="write every signal to this file")
    parser.add_argument(
        "--mode", choices=("inline", "worker"), default="inline", help="this thread, or a worker thread behind a ring"
    )
    parser.add_argument("--audit", metavar="DIR", help="write every event and decision into this audit log")
    parser.add_argument("--audit-key", metavar="FILE", help="sign the log's end with this private key")
    parser.add_argument(
        "--threshold", type=float, metavar="P", help="in force instead of the declared one; lower only with --backtest"
    )
    parser.add_argument(
        "--backtest",
        action="store_true",
        help="nobody acts on it: a lower threshold and an archived version are allowed",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bf16"),
        default="float32",
        help="of a plan's weights; bf16 is never chosen by itself: alpha validate --precision bf16 compares decisions",
    )
    parser.add_argument("--cpu", type=int, help="pin the worker to this CPU")
    parser.add_argument(
        "--pace", type=float, metavar="X", help="X seconds of the stream a second (default: as fast as it goes)"
    )
    parser.add_argument(
        "--watch-host", default="127.0.0.1", metavar="IP", help="watch here (default: only this machine can)"
    )
    show.add_data(parser, required=required)
    show.add_inputs(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 0; every problem of the stream is a counted HOLD."""
    from alpha.cli import silence
    from alpha.desk import Desk
    from alpha.errors import AlphaError, need
    from alpha.runtime import Runtime

    what = args.model if args.desk is None else Desk.from_toml(args.desk)
    if args.cpu is not None and args.mode == "inline":
        raise AlphaError("--cpu pins the worker thread: add --mode worker, or leave --cpu away")
    if args.watch is None and (args.hold or args.watch_host != "127.0.0.1"):
        raise AlphaError("--hold and --watch-host say how to watch: add --watch PORT")
    if args.pace is not None and not 0 < args.pace < 1e12:
        raise AlphaError(f"--pace is a number above 0, not {args.pace:g}")
    if args.watch is not None:
        from alpha.watch.server import check_place

        check_place(args.watch, args.watch_host)
    show.check_output("--signals", args.signals, args.data)
    if args.signals is not None:
        need("pyarrow.parquet", "data")
    registry = show.registry_file(args.registry)
    with show.opened(args, "running") as source, contextlib.ExitStack() as watches:
        if not args.json:
            print(source.describe(), file=sys.stderr)
        log = None
        if args.audit is not None:
            from alpha.audit import AuditLog

            log = AuditLog(
                args.audit, policy="wait", key=args.audit_key
            )  # a file has time: nothing is dropped, nothing blocked
        with Runtime.from_registry(
            registry,
            what,
            instruments=source.instruments,
            precision=args.precision,
            audit=log,
            threshold=args.threshold,
            backtest=args.backtest,
        ) as rt:
            show.take_inputs(args, source, rt.bundle.feature_set)
            rt.measure_latency()
            digest = hashlib.sha256()
            kept: list[Any] = []
            watch = watches.enter_context(_watched(rt, args, registry)) if args.watch is not None else None
            chunks = source if args.pace is None else paced(source, args.pace)
            for part in _worker(rt, chunks, args.cpu) if args.mode == "worker" else rt.stream(chunks):
                if watch is not None:
                    watch.note(part)
                digest.update(part.tobytes())
                if args.signals is not None:
                    kept.append(part)
            stats = rt.stats()
            if args.signals is not None:
                from alpha.report.signals import write_signals

                try:
                    write_signals(args.signals, kept, rt.instruments)
                except OSError as exc:
                    raise AlphaError(f"--signals {args.signals} cannot be written: {show.why(exc)}") from None
            result = {
                "events": stats["events"],
                "decisions": stats["decisions"],
                "lost": stats["lost"] + source.events_read - stats["events"],
                "actions": stats["actions"],
                "reasons": stats["reasons"],
                "rejected": stats["rejected_by"],
                "bad_rows": source.bad_rows,
                "ignored_rows": source.ignored_rows,
                "latency_ns": stats["latency_ns"],
                "threshold": stats["threshold"],
                "unlike": stats["unlike"],
                "breaker": stats["breaker"],
                "model": rt.bundle.name,
                "governed": rt.bundle.governed,
                "why": rt.why,
                "model_sha256": rt.model_sha256,
                "definition_hash": rt.definition_hash,
                "signals_sha256": digest.hexdigest(),
                "isa": stats["isa"],
                "engine": stats["engine"],
                "weights": stats["weights"],
                "never_ready": silence.never_ready(rt.bundle.feature_set, source),
            }
            if stats["models"]:
                result["models"] = stats["models"]
            if log is not None:
                log.finish(closed=True)
                result["audit"] = log.stats()
                if log.log.failed:
                    raise AlphaError(f"audit log {args.audit} could not be written: {log.stats()['failed']}")
            quiet = silence.of_run(rt.bundle.feature_set, source, stats)
            _tell(args, result, quiet)
            if watch is not None and args.hold:
                watch.say(f"The data ended after {stats['events']:,} events.")
                _hold(watch.url)
    return 0


def _tell(args: argparse.Namespace, result: dict[str, Any], quiet: str) -> None:
    if quiet:
        print(f"warning: {quiet}", file=sys.stderr)
    if args.json:
        show.print_json("run", result)
        sys.stdout.flush()
        return
    show.table(
        f"{result['model']} over {result['events']:,} events",
        ("what", "count"),
        [("decisions", result["decisions"]), ("lost", result["lost"])]
        + [(f"action {k}", v) for k, v in result["actions"].items()]
        + [(f"reason {k}", v) for k, v in result["reasons"].items()]
        + [(f"rejected {k}", v) for k, v in result["rejected"].items()]
        + [(f"bad row {k}", v) for k, v in result["bad_rows"].items()]
        + [(f"ignored row {k}", v) for k, v in result["ignored_rows"].items()]
        + [(f"unlike training: {k}", v) for k, v in result["unlike"].items()]
        + ([("threshold lowered to", result["threshold"]["in_force"])] if result["threshold"]["lowered"] else [])
        + [(f"latency {k}, ns", v if v is not None else "-") for k, v in result["latency_ns"].items()],
    )
    if "models" in result:
        show.table(
            "models",
            ("slot", "name", "model", "mode", "decisions", "emitted", "SELL", "BUY"),
            [
                (
                    m["slot"],
                    name,
                    m["model"],
                    m["mode"],
                    m["decisions"],
                    m["emitted"],
                    *(m["actions"][a] for a in ("SELL", "BUY")),
                )
                for name, m in result["models"].items()
            ],
        )
    from alpha.events import Reason
    from alpha.reasons import remedy

    for name in result["reasons"]:
        if name not in _EXPECTED:
            print(f"{name}: {remedy(Reason[name])}", file=sys.stderr)
    print(f"signals sha256 {result['signals_sha256']}", flush=True)


@contextlib.contextmanager
def _watched(rt: Any, args: argparse.Namespace, registry: str | None) -> Iterator[Any]:
    """The runtime served to whoever wants to look; says where."""
    from alpha.registry import find
    from alpha.watch import serve

    with show.warnings_on_stderr():  # at once: that others can look is not to be learnt at the end
        watch = serve(rt, args.watch, args.watch_host, registry=find(registry))
    with watch:
        print(f"watch: {watch.url}", file=sys.stderr, flush=True)
        yield watch


def _hold(url: str) -> None:
    """Until Ctrl-C or SIGTERM."""
    enough = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: enough.set())
    print(f"the data ended; {url} goes on until Ctrl-C", file=sys.stderr, flush=True)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            enough.wait()
    finally:
        signal.signal(signal.SIGTERM, before)


def paced(chunks: Iterable[Any], pace: float, longest_s: float = 1.0) -> Iterator[Any]:
    """The same events cut so that ``pace`` seconds of the stream take a second; of a gap no more than ``longest_s`` is
    waited for."""
    import numpy as np

    from alpha.events import stream_time

    first, begin = None, 0.0
    for chunk in chunks:
        t = np.maximum.accumulate(stream_time(chunk, "recv"))
        at = 0
        while at < len(chunk):
            now = time.monotonic()
            if first is None:
                first, begin = int(t[0]), now
            ahead = (int(t[at]) - first) / 1e9 / pace - (now - begin)
            if ahead > longest_s:
                begin -= ahead - longest_s
            elif ahead > 0:
                time.sleep(min(max(ahead, 1e-3), 0.1))
            else:
                stop = int(np.searchsorted(t, first + (now - begin) * pace * 1e9, side="right"))
                yield chunk[at : max(stop, at + 1)]
                at = max(stop, at + 1)


def _worker(rt: Any, source: Any, cpu: int | None) -> Any:
    """The same stream through a worker; the ring refuses when full, so nothing is lost."""
    with rt.start(cpu, overrun="refuse") as worker:
        for chunk in source:
            at = 0
            while at < len(chunk):
                at += worker.push_many(chunk[at : at + 4096])
                part = worker.poll_many()
                if len(part):
                    yield part
        while worker.backlog:
            part = worker.poll_many()
            if len(part):
                yield part
        worker.stop()
        part = worker.poll_many()
        if len(part):
            yield part
