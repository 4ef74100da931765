"""Trade a strategy on recorded data: the native path, costs, latency, risk; a report and a log that replays."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from pathlib import Path
from typing import Any

from alpha.cli import show
from alpha.errors import AlphaError, DataError


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha backtest``."""
    add = parser.add_argument
    add(
        "symbols",
        nargs="+",
        metavar="SYM",
        help="what is traded; by instruments.toml, then by the files in $ALPHA_DATA",
    )
    add(
        "--strategy",
        required=True,
        metavar="NAME",
        help="hybrid_ppo, tree_proba, threshold, lstm_sequence, ensemble, …, or FILE.py[:NAME]: one of your own",
    )
    add("--params", default="", metavar="K=V,…", help="parameters of the strategy, e.g. conf_floor=0.1")
    add("--registry", metavar="FILE", help="registry.json (default: $ALPHA_REGISTRY, or the nearest one)")
    show.add_data(parser, required=False)
    add(
        "--from",
        dest="start",
        metavar="TIME",
        help="trade from here on; earlier data warm up (2022-07-01, or with a time)",
    )
    add("--to", dest="stop", metavar="TIME", help="stop before this time")
    add(
        "--costs",
        metavar="TOML",
        help="fees, spread, impact (default: 0.5 bp a side, 1 bp spread where there are no quotes)",
    )
    add(
        "--limits",
        metavar="TOML",
        help="risk limits: order_qty, order_notional, position, orders_per_s, daily_loss, model_exposure, gross, net",
    )
    add(
        "--latency",
        default="0",
        metavar="D",
        help="decision to market: 500us, measured, a histogram's file, or joined by +",
    )
    add("--seed", type=int, default=0, help="of latency draws (default 0)")
    add("--cash", type=float, default=100_000.0, help="money at the start (default 100,000)")
    add("--share", type=float, default=0.25, help="share of equity in one position (default 0.25)")
    add("--no-short", action="store_true", help="SELL is flat, not short")
    add("--family", action="store_true", help="take views by the leveraged and inverse funds of instruments.toml")
    add(
        "--carry-gaps",
        action="store_true",
        help="hold positions across sessions that the data lack (default: end them there)",
    )
    add("--horizon", metavar="D", help="when a decision is judged (default 15 bars, or 10s)")
    add("--audit", metavar="DIR", help="write events, decisions, orders and fills into this log")
    add("--out", metavar="DIR", help="folder of the report (default runs/backtest/…)")
    add("--no-report", action="store_true", help="summary.json and fills.csv only: no page, no pictures")
    add("--sweep", action="append", default=[], metavar="K=V:V:…", help="try every combination in parallel; may repeat")
    add(
        "--folds", type=int, default=0, metavar="N", help="walk forward: choose by --sweep on each fold, trade the next"
    )
    add("--processes", type=int, default=2, metavar="N", help="processes of a sweep (default 2)")
    show.add_scheduler(parser)
    add("--verbose", action="store_true", help="also print what was counted")
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 0 whatever it earned."""
    from alpha.backtest.sweep import parse_sweeps

    grid = parse_sweeps(args.sweep)
    if args.folds and not grid:
        raise DataError("--folds chooses among settings: name them with --sweep K=V:V")
    if args.scheduler is not None and not grid:
        raise DataError("--scheduler spreads many runs, and a single one is one task: name settings with --sweep K=V:V")
    job = job_of(args)
    if grid:
        return _sweep(args, job, grid)
    return _one(args, job)


def job_of(args: argparse.Namespace) -> Any:
    """The job that the options describe; AlphaError for what is unknown or out of bounds, with what is known."""
    from alpha.backtest.costs import Costs
    from alpha.backtest.job import Job
    from alpha.backtest.latency import LatencySpec
    from alpha.backtest.settings import FOREVER, Settings
    from alpha.instruments import duration_ns
    from alpha.risk.limits import RiskLimits
    from alpha.strategies import make
    from alpha.strategies.parameters import split_pairs
    from alpha.strategies.sizer import Sizing

    params = split_pairs(args.params)
    make(args.strategy, params)  # a wrong name or value is known before anything is read
    registry = show.registry_file(args.registry)
    instruments, files = _located(args, registry)
    settings = Settings(
        cash=args.cash,
        costs=Costs.usual() if args.costs is None else Costs.load(args.costs),
        sizing=Sizing(share=args.share),
        limits=RiskLimits() if args.limits is None else RiskLimits.load(args.limits),
        latency=LatencySpec.parse(args.latency),
        short=not args.no_short,
        family=args.family,
        start_ns=-FOREVER if args.start is None else _time_ns("--from", args.start),
        stop_ns=FOREVER if args.stop is None else _time_ns("--to", args.stop),
        horizon_ns=None if args.horizon is None else duration_ns(args.horizon),
        seed=args.seed,
        carry=args.carry_gaps,
    )
    columns = {}
    for text in args.column:
        name, sep, yours = text.partition("=")
        if not sep:
            raise DataError(f"--column takes NAME=YOURS, not {text!r}")
        columns[name] = yours
    reading = {
        "format": args.format,
        "columns": columns,
        "ts_unit": args.ts_unit,
        "tz": args.tz,
        "bar_stamp": args.bar_stamp,
        "bar": args.bar,
        "levels": args.levels,
        "strict": args.strict,
    }
    return Job(tuple(args.symbols), args.strategy, params, instruments, files, settings, registry, reading, args.audit)


def _located(args: argparse.Namespace, registry: str | None) -> tuple[Any, Any]:
    from alpha.backtest.locate import locate
    from alpha.instruments import Instrument, Instruments
    from alpha.registry import find
    from alpha.strategies.router import Family

    if args.instrument is not None:
        raise DataError("--instrument is not for backtest: the symbol itself says whose data --data are")
    beside = Path(args.instruments) if args.instruments is not None else find(registry).parent / "instruments.toml"
    table = Instruments.load(beside) if args.instruments is not None or beside.is_file() else None
    if len(set(args.symbols)) != len(args.symbols):
        raise DataError("a symbol stands twice on the command line")
    if args.data is not None:
        if len(args.symbols) > 1:
            raise DataError("--data belongs to one symbol: declare the files of several in instruments.toml")
        symbol = args.symbols[0]
        known = table is not None and symbol in table
        item = table[symbol] if table is not None and known else Instrument(symbol=symbol, source="inferred")
        return (item,), (tuple(args.data),)
    found = [locate(s, table, beside.parent) for s in args.symbols]
    if args.family:
        for each in list(found):
            for leg in Family.of(each.instrument).legs:
                if leg not in {f.instrument.symbol for f in found}:
                    try:
                        found.append(locate(leg, table, beside.parent))
                    except DataError:
                        print(f"warning: no data of the leg {leg}: suggestions for it fall back", file=sys.stderr)
    return tuple(f.instrument for f in found), tuple(tuple(str(p) for p in f.files) for f in found)


def _time_ns(flag: str, text: str) -> int:
    """A day or a time in UTC as ns."""
    try:
        when = dt.datetime.fromisoformat(text)
    except ValueError:
        raise DataError(
            f"{flag} takes a day such as 2022-07-01, or a time such as 2022-07-01T13:30, not {text!r}"
        ) from None
    when = when.replace(tzinfo=dt.UTC) if when.tzinfo is None else when
    return int((when - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) / dt.timedelta(microseconds=1)) * 1000


def _folder(args: argparse.Namespace) -> Path:
    if args.out is not None:
        return Path(args.out)
    from alpha.strategies import find

    now = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
    return Path("runs") / "backtest" / f"{'-'.join(args.symbols)}-{find(args.strategy).name}-{now}".replace("/", "_")


def _one(args: argparse.Namespace, job: Any) -> int:
    import dataclasses

    from alpha.backtest.job import execute, measured_latency
    from alpha.backtest.judgement import judge
    from alpha.backtest.metrics import summarise
    from alpha.cli import silence
    from alpha.documents import plain
    from alpha.report.trading_page import write_report, write_summary

    folder = _folder(args)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise AlphaError(f"--out {folder} cannot be used: {show.why(exc)}") from None
    histogram = None
    with show.warnings_on_stderr(), show.progress("backtest", quiet=args.json) as tick:
        if job.settings.latency.measured:
            histogram = measured_latency(job)
            (folder / "latency.json").write_bytes(histogram.to_bytes())
        latency = job.settings.latency.build(args.seed, histogram)
        done, backtest, ready = execute(
            dataclasses.replace(job, out=str(folder), measure=True), latency=latency, progress=tick
        )
    quiet = silence.of_run(done.served[0].bundle.feature_set, ready.source, done.runtime)
    if quiet:
        print(f"warning: {quiet}", file=sys.stderr)
    summary = summarise(done)
    summary["costs_told"] = job.settings.costs.described()
    summary["limits_told"] = job.settings.limits.described()
    summary["data"]["bad_rows"] = ready.source.bad_rows
    judged = judge(done.outcomes)
    backtest.finish_audit(plain({"summary": summary}))
    measured = {"latency_ns": done.runtime["latency_ns"], "isa": done.runtime["isa"], "engine": done.runtime["engine"]}
    page = write_summary(folder, summary, judged, measured)
    if not args.no_report:
        page = write_report(folder, summary, judged, measured, done.curve.points(), done.ledger.fills)
    result = {
        "events": summary["events"],
        "decisions": summary["decisions"],
        "trades": summary["trades"],
        "fills": summary["fills"],
        "equity_start": summary["equity_start"],
        "equity_end": summary["equity_end"],
        "fees": summary["fees"],
        "sharpe": summary["performance"]["sharpe"],
        "report": str(page),
        "audit": args.audit,
        "signals_sha256": summary["signals_sha256"],
        "reasons": summary["reasons"],
        "orders": summary["orders"],
        "in_sample_decisions": summary["data"]["in_sample_decisions"],
        "latency": summary["latency"],
        "models": summary["models"],
    }
    if args.json:
        show.print_json("backtest", result)
        return 0
    _print(args, summary, judged, page)
    return 0


def _print(args: argparse.Namespace, summary: dict[str, Any], judged: dict[str, Any], page: Path) -> None:
    from alpha.report.trading_page import facts, notices

    for text in notices(summary)[1:]:
        print(f"note: {text}", file=sys.stderr)
    show.table(
        f"{summary['strategy']} on {', '.join(summary['symbols'])}: {summary['events']:,} events",
        ("what", "value"),
        facts(summary, judged),
    )
    if args.verbose:
        counted = [
            (f"{group} {k}", v)
            for group in ("reasons", "grades", "orders", "blocked", "fallbacks", "unsized", "costs")
            for k, v in summary[group].items()
        ]
        show.table("counted", ("what", "value"), counted)
    print(f"report {page}")
    if args.audit is not None:
        print(f"audit {args.audit}: check it with  alpha replay {args.audit}")


def _sweep(args: argparse.Namespace, job: Any, grid: Any) -> int:
    from alpha.backtest.sweep import combinations, sweep
    from alpha.backtest.walkforward import walk_forward
    from alpha.distribution import maybe

    tried = combinations(grid)
    if args.folds:
        total = args.folds * (len(tried) + 1)
        with (
            show.warnings_on_stderr(),
            maybe(args.scheduler) as cluster,
            show.progress("walk-forward", quiet=args.json, unit="runs", total=total) as tick,
        ):
            result = walk_forward(job, tried, args.folds, processes=args.processes, progress=tick, cluster=cluster)
        if args.json:
            show.print_json("backtest-walkforward", result)
            return 0
        rows = [
            (f["fold"], f["chosen"], f["train_sharpe"], f["sharpe"], f["equity_end"] - f["equity_start"])
            for f in result["folds"]
        ]
        show.table(
            "walk-forward",
            ("fold", "chosen", "Sharpe before", "Sharpe after", "result"),
            [tuple("-" if c is None else c for c in r) for r in rows],
        )
        p = result["performance"]
        print(f"out of sample: return {p['total_return']:.4%}, Sharpe {p['sharpe']}, deflated {p['deflated_sharpe']}")
        return 0
    with (
        show.warnings_on_stderr(),
        maybe(args.scheduler) as cluster,
        show.progress("sweep", quiet=args.json, unit="runs", total=len(tried)) as tick,
    ):
        found = sweep(job, tried, processes=args.processes, progress=tick, cluster=cluster)
    if args.json:
        show.print_json("backtest-sweep", {"runs": found})
        return 0
    show.table(
        f"{len(found)} settings, best first; deflated for {len(found)} tries",
        ("settings", "Sharpe", "deflated", "return", "drawdown", "trades"),
        [
            tuple(
                "-" if c is None else c
                for c in (
                    r["label"],
                    r["sharpe"],
                    r["deflated_sharpe"],
                    r["total_return"],
                    r["max_drawdown"],
                    r["trades"],
                )
            )
            for r in found
        ],
    )
    return 0
