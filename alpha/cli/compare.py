"""Two models over the same data: flips, calibration, result, and whether the difference is more than chance."""

from __future__ import annotations

import argparse

from alpha.cli import show


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha compare``."""
    parser.add_argument("a", metavar="URI_A", help="models:/ID/3 or models:/ID@production")
    parser.add_argument("b", metavar="URI_B", help="the other one")
    parser.add_argument("--registry", metavar="FILE")
    parser.add_argument("--horizon", default="10s", metavar="D", help="when an action is judged (default 10s)")
    parser.add_argument("--cost-bp", type=float, default=0.0, metavar="BP", help="what each action costs (default 0)")
    show.add_data(parser)
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 0 whichever is better."""
    from alpha.bundle import governed
    from alpha.compare import compare
    from alpha.features.language import duration

    registry = show.registry_file(args.registry)
    horizon_ns = duration(args.horizon).ns
    a, b = (governed(registry, uri, backtest=True) for uri in (args.a, args.b))
    with show.opened(args, "comparing") as source:
        result = compare(a, b, source, horizon_ns=horizon_ns, cost_bp=args.cost_bp)
    if args.json:
        show.print_json("compare", result)
        return 0
    show.table(
        f"{result['judged']:,} decisions, judged after {args.horizon}: {result['flips']:,} differ",
        ("what", result["models"]["a"]["name"], result["models"]["b"]["name"]),
        [
            *(
                (n, *("-" if m[n] is None else m[n] for m in result["models"].values()))
                for n in ("hit_rate", "calibration_error", "mean_bp", "total_bp")
            ),
            *((n, *(m["actions"][n] for m in result["models"].values())) for n in ("SELL", "HOLD", "BUY")),
        ],
    )
    d = result["difference_bp"]
    print(
        f"B less A: {d['mean']:.4g} bp a decision, 95 % of resamples from {d['low']:.4g} to {d['high']:.4g}: "
        + ("more than chance" if d["significant"] else "no more than chance")
    )
    return 0
