"""Simulate a market, train a model on it, promote it, run fresh data through it and report, in one go."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alpha.cli import show

FEWEST = 1_000  # about 25 s of the simulated market: features are warm after 5 s, outcomes are known after 2 s


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha demo``."""
    parser.add_argument("--out", metavar="DIR", help="where everything goes (default runs/demo/<time>/)")
    parser.add_argument("--events", type=int, default=300_000, help="fresh events to run (default 300000)")
    parser.add_argument("--seed", type=int, default=11, help="seed of the fresh events")
    parser.add_argument("--small", action="store_true", help="train on less data")
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 1 if a check of the trained model failed."""
    from importlib.metadata import entry_points

    from alpha.errors import DataError, MissingExtraError
    from alpha.registry import promote

    if args.events < FEWEST:
        raise DataError(
            f"--events must be at least {FEWEST}, not {args.events}: fewer are over before the model decides"
        )
    if args.seed < 0:
        raise DataError(f"--seed must be 0 or more, not {args.seed}")
    _check_packages()
    trainers = [e for e in entry_points(group="alpha.verbs") if e.name == "train"]
    if not trainers:
        raise MissingExtraError("the demo trains a model: run  pip install 'alpha-runtime[train]'")
    verb = trainers[0].load()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", file=sys.stderr)

    out = Path(args.out) if args.out else Path("runs/demo") / dt.datetime.now().strftime("%Y%m%d-%H%M%S")
    out.mkdir(parents=True, exist_ok=True)
    registry = out / "registry.json"
    # a demonstration may start anywhere; a registry of yours demands the commit unless you say otherwise
    (out / "registry.toml").write_text('[policy]\ndefinition_commit = "optional" # simulated data, a demonstration\n')
    trained = verb.train(
        verb.recipe("demo"),
        registry,
        small=args.small,
        run_dir=out / "train",
        progress=say,
        waive={"definition_committed": "a demonstration, also where nothing is under version control"},
    )
    first = trained.models[0]
    failed = [c["name"] for m in trained.models for c in m.checks if not (c["passed"] or c["waived"])]
    if not any(c["name"] in failed for c in first.checks):
        promote(registry, f"models:/{first.model_id}/{first.version}", approver="demo")
    say(f"running {args.events:,} fresh simulated events")
    summary = _run(out, registry, f"models:/{first.model_id}/{first.version}", args.events, args.seed, first)
    say("done")
    for candidate in trained.models:
        for text in verb.complaints(candidate):
            print(text, file=sys.stderr)
    if args.json:
        show.print_json("demo", summary)
    else:
        show.table(
            "demo: SIMULATED data, a planted signal",
            ("what", "value"),
            [
                ("decisions", summary["run"]["decisions"]),
                ("BUY / SELL", f"{summary['run']['actions']['BUY']:,} / {summary['run']['actions']['SELL']:,}"),
                ("hit rate of BUY and SELL", f"{summary['hit_rate']:.1%}"),
                ("planted signal recovered (correlation)", f"{summary['planted_signal_recovered']:.2f}"),
                (
                    "latency p50 / p99, µs",
                    f"{summary['run']['latency_ns']['p50'] / 1e3:.2f} / {summary['run']['latency_ns']['p99'] / 1e3:.2f}",
                ),
                ("feature parity", f"{summary['parity_share']:.6f} of {summary['parity_values']:,} values equal"),
            ],
        )
        print(f"open {out / 'report.html'}")
    return 1 if failed else 0


def _check_packages() -> None:
    """MissingExtraError before minutes of work, not after."""
    from alpha.errors import need

    need("numba", "data")
    need("polars", "data")
    need("pyarrow.parquet", "data")
    need("matplotlib", "report")
    need("jinja2", "report")


def _run(out: Path, registry: Path, uri: str, n_events: int, seed: int, model: Any) -> dict[str, Any]:
    """Fresh events through the runtime, then signals.parquet, summary.json, pictures and report.html."""
    from alpha.data.simulate import simulate
    from alpha.documents import to_json
    from alpha.features import parity
    from alpha.report.outcome import outcome
    from alpha.report.signals import write_signals
    from alpha.runtime import Runtime, signals_sha256

    stream = simulate(n_events, seed=seed)
    with Runtime.from_registry(registry, uri, instruments=stream.instruments) as rt:
        rt.measure_latency()
        signals = rt.run(stream.events)
        stats = rt.stats()
        counts, largest = rt.latency_counts()
        certificate = parity.check(rt.bundle.feature_set, stream.events, stream.instruments)
        result = outcome(signals, stream.events, stream.half_life_ns, stream.signal)
        summary: dict[str, Any] = {
            "simulated": True,
            "data": stream.describe(),
            "run": {
                "events": stats["events"],
                "decisions": stats["decisions"],
                "lost": stats["lost"],
                "actions": stats["actions"],
                "reasons": stats["reasons"],
                "latency_ns": stats["latency_ns"],
                "model": rt.bundle.name,
                "model_sha256": rt.model_sha256,
                "definition_hash": rt.definition_hash,
                "signals_sha256": signals_sha256([signals]),
            },
            "threshold": model.threshold,
            "hit_rate": result.hit_rate(),
            "information_coefficient": result.information_coefficient(),
            "planted_strength": stream.strength,
            "planted_signal_recovered": result.recovered(),
            "confusion": result.confusion().tolist(),
            "parity_share": certificate["share"],
            "parity_values": certificate["values"],
            "checks": model.checks,
            "metrics": model.metrics,
        }
        write_signals(out / "signals.parquet", [signals], stream.instruments)
        explained = rt.explain(stream.instruments.symbols[0])
    (out / "summary.json").write_bytes(to_json(summary))
    if counts is not None:
        _pictures(out, result, counts, largest, stream, summary, explained)
    return summary


def _pictures(
    out: Path, result: Any, counts: Any, largest: int, stream: Any, summary: dict[str, Any], explained: Any
) -> None:
    from alpha.report import figures
    from alpha.report.page import write_page

    run = summary["run"]
    engine = {"plan": "fused plan", "ort": "ONNX Runtime"}[explained["engine"]]
    what = f"guard, {len(explained['features'])} features, {engine}, gate"
    drawn = [
        (figures.price(result, out / "price.png", "Simulated price and advice"), "price with BUY and SELL", True),
        (figures.latency(counts, largest, out / "latency.png", what), "latency histogram", True),
        (figures.calibration(result, out / "calibration.png"), "calibration", False),
        (figures.recovery(result, out / "recovery.png", stream.strength), "planted signal recovered", False),
        (figures.confusion(result, out / "confusion.png"), "confusion table", False),
    ]
    ns = run["latency_ns"]
    facts = [
        ("events", f"{run['events']:,}"),
        ("decisions", f"{run['decisions']:,}"),
        ("lost", f"{run['lost']:,}"),
        ("hit rate of BUY and SELL", f"{summary['hit_rate']:.1%}"),
        ("planted signal recovered", f"{summary['planted_signal_recovered']:.2f}"),
        ("latency p50 / p99", f"{ns['p50'] / 1e3:.1f} / {ns['p99'] / 1e3:.1f} µs"),
    ]
    names = ("SELL", "HOLD", "BUY")
    tables: list[tuple[str, Sequence[str], Sequence[Sequence[Any]]]] = [
        (
            "Advice against what happened after 2 s, beyond half a spread",
            ("advice", "down", "flat", "up"),
            [(names[i], *(f"{n:,}" for n in row)) for i, row in enumerate(summary["confusion"])],
        ),
        ("Why", ("reason", "decisions"), [(k, f"{v:,}") for k, v in run["reasons"].items()]),
        (
            "Checks the model passed",
            ("check", "value", "limit", "passed"),
            [
                (c["name"], f"{c['value']:.6g}", f"{c['limit']:g}", "yes" if c["passed"] else "NO")
                for c in summary["checks"]
            ],
        ),
        (
            "The last decision, explained",
            ("feature", "raw", "normalised", "training range"),
            [
                (
                    f["name"],
                    f"{f['raw']:.5g}",
                    f"{f['normalised']:.3f}",
                    "{:.4g} to {:.4g}".format(*f["training_range"]),
                )
                for f in explained["features"]
            ],
        ),
        (
            "Lineage",
            ("what", "value"),
            [
                ("model", run["model"]),
                ("model sha256", run["model_sha256"]),
                ("definition hash", run["definition_hash"]),
                ("signals sha256", run["signals_sha256"]),
                ("feature parity", f"{summary['parity_share']:.8f} of {summary['parity_values']:,} values equal"),
            ],
        ),
    ]
    write_page(
        out / "report.html",
        title="alpha demo",
        subtitle=stream.describe(),
        notice="Everything on this page is SIMULATED: the market, the planted signal and therefore the hit rate. It shows that the path works, not that money can be made.",
        facts=facts,
        figures=drawn,
        tables=tables,
    )
