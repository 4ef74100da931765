"""Run a stream and take its last decision apart: features, scores, gates. Without --data: which engine serves, and why."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from alpha.cli import show
from alpha.errors import printable


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha explain``."""
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="models:/ID@production, models:/ID/3, or an artifact's folder"
    )
    parser.add_argument("--desk", metavar="TOML", help="several models at once instead of MODEL: see docs/models.md")
    parser.add_argument(
        "--seat", metavar="NAME", help="the model of --desk to take apart (default: the one emitted last)"
    )
    parser.add_argument(
        "--reasons", action="store_true", help="print every reason with its remedy as Markdown, nothing else"
    )
    parser.add_argument("--registry", metavar="FILE")
    parser.add_argument("--events", type=int, metavar="N", help="stop after N events (default: the whole stream)")
    parser.add_argument("--symbol", metavar="SYM", help="the instrument to take apart (default: the data's first)")
    show.add_data(parser, required=False)
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 0, also without a decision: then it says why there is none."""
    from alpha.errors import AlphaError, DataError

    if args.reasons:
        from alpha.reasons import page

        if args.model is not None or args.desk is not None or args.data or args.json:
            raise DataError("--reasons stands alone: it prints the page docs/reasons.md")
        sys.stdout.write(page())
        return 0
    if not args.data:
        if args.model is None or args.desk is not None:
            raise DataError("name the data: alpha explain models:/ID@production --data FILE")
        return _engine(args)
    from alpha.cli import silence
    from alpha.desk import Desk
    from alpha.runtime import Runtime

    if (args.model is None) == (args.desk is None) or (args.desk is None and args.seat is not None):
        raise AlphaError(
            "name one model by its URI or folder, or several by --desk TOML (and one of these by --seat NAME)"
        )
    what = args.model if args.desk is None else Desk.from_toml(args.desk)
    if args.events is not None and args.events < 1:
        raise DataError(f"--events must be at least 1, not {args.events}")
    registry = show.registry_file(args.registry)
    with show.opened(args, "running") as source:
        symbols = source.instruments.symbols
        symbol = args.symbol or (args.instrument if args.instrument in symbols else symbols[0])
        if symbol not in symbols:
            raise DataError(f"--symbol {symbol!r} is not in the data; it has: {', '.join(symbols)}")
        if len(symbols) > 1:
            others = ", ".join(s for s in symbols if s != symbol)
            print(
                f"taking {symbol} apart; the data also has {others}: choose with --symbol {others.split(', ')[0]}",
                file=sys.stderr,
            )
        with (
            Runtime.from_artifact(args.model, instruments=source.instruments)
            if _is_folder(args.model)
            else Runtime.from_registry(registry, what, instruments=source.instruments)
        ) as rt:
            done = 0
            for chunk in source:
                part = chunk if args.events is None else chunk[: args.events - done]
                rt.run(part)
                done += len(part)
                if done == args.events:
                    break
            result = {**rt.explain(symbol, args.seat), "instruments": list(symbols)}
            if "action" not in result:
                result["no_decision"] = silence.of_instrument(rt.bundle.feature_set, source, rt.stats(), symbol, done)
    if args.json:
        show.print_json("explain", result)
        return 0
    if "no_decision" in result:
        print(f"{result['model']} on {symbol}: no decision: {result['no_decision']}")
        return 0
    print(f"scores by {result['engine']}: {printable(result['engine_reason'])}", file=sys.stderr)
    show.table(
        f"{result['model']} on {symbol}: {result['action']} because {result['reason']}",
        ("feature", "raw", "normalised", "training range", "warm", "shift"),
        [
            (
                f["name"],
                f["raw"],
                f.get("normalised", "-"),
                "{:.4g} to {:.4g}".format(*f["training_range"]) if "training_range" in f else "-",
                f["ready"],
                f.get("shift", "-"),
            )
            for f in result["features"]
        ],
    )
    show.table("scores", ("action", "score"), list(result.get("scores", {}).items()))
    if "members" in result:
        show.table(
            "members",
            ("model", "weight", "likeliest", "share", "veto"),
            [(m["model"], m["weight"], m["likeliest"], m["share"], m["veto"]) for m in result["members"]],
        )
    show.table(
        "gates",
        ("gate", "value", "limit", "passed"),
        [(g["gate"], g.get("text", g["value"]), g["limit"], g["passed"]) for g in result["gates"]],
    )
    print(f"{result['reason']}: {result['meaning']}. What to do: {result['remedy']}")
    return 0


def _is_folder(model: str | None) -> bool:
    return model is not None and not model.startswith("models:") and Path(model).is_dir()


def _engine(args: argparse.Namespace) -> int:
    """Without data there is no decision: only who would make it, and why."""
    from alpha.bundle import governed, ungoverned

    folder = _is_folder(args.model)
    bundle = ungoverned(args.model) if folder else governed(show.registry_file(args.registry), args.model)
    told = {"engine": bundle.engine.name, "engine_reason": bundle.engine.reason if bundle.model else bundle.why}
    if args.json:
        show.print_json("explain", {"model": bundle.name, **told, "weights": bundle.weights})
        return 0
    print(f"{bundle.name}: scores by {told['engine']}: {printable(told['engine_reason'])}")
    print(f"a decision is taken apart over data: alpha explain {args.model} --data FILE", file=sys.stderr)
    return 0
