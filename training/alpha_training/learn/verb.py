"""``alpha learn``: what stands on the command line of :mod:`alpha_training.learn`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from alpha.cli import show
from alpha.registry import find


class _Learn:
    """Let a served model learn from its audit log, as a candidate: production is never touched."""

    __doc__ = "Let a served model learn from its audit log, as a candidate: production is never touched."

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Options of ``alpha learn``."""
        parser.add_argument("logs", nargs="+", metavar="LOGDIR", help="audit logs, in the order of their time")
        parser.add_argument(
            "--recipe", required=True, metavar="RECIPE", help="labels, costs and limits; the family of a refit"
        )
        parser.add_argument(
            "--model", metavar="URI", help="what goes on learning (default: the recipe's model, @production)"
        )
        parser.add_argument("--registry", metavar="FILE", help="default: $ALPHA_REGISTRY, or the nearest registry.json")
        parser.add_argument(
            "--mode",
            choices=("head", "refit"),
            default="head",
            help="head: the last layer goes on by partial_fit (default); refit: the recipe's family anew on the window",
        )
        parser.add_argument("--window", metavar="D|N", help="5d or 20000 rows before what judges (default: all)")
        parser.add_argument(
            "--judge-share", type=float, default=0.3, metavar="P", help="of the new rows, at the end (default 0.3)"
        )
        parser.add_argument("--judge", nargs="+", default=[], metavar="FILE", help="judge on this later data instead")
        parser.add_argument("--rate", type=float, default=0.05, help="step size of head (default 0.05)")
        parser.add_argument("--small", action="store_true", help="the recipe's quick variant")
        parser.add_argument(
            "--set", action="append", default=[], metavar="K=V", dest="overrides", help="change a value of the recipe"
        )
        parser.add_argument("--run-dir", metavar="DIR", help="where comparison, picture and resolved recipe go")
        show.add_json(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Exit 0 whether the candidate is better or worse; 1 if a structural check kept it out of the registry."""
        from alpha_training import cli
        from alpha_training.learn.learn import learn
        from alpha_training.progress import Progress

        registry = find(show.registry_file(args.registry))
        with Progress() as progress:
            done = learn(
                args.logs,
                args.recipe,
                registry,
                model=args.model,
                mode=args.mode,
                window=args.window,
                judge_share=args.judge_share,
                judge=args.judge,
                rate=args.rate,
                overrides=args.overrides,
                small=args.small,
                run_dir=args.run_dir,
                progress=progress.say,
                watch=progress.watch,
            )
        made = done.trained
        if args.json:
            show.print_json("learn", self._plain(done))
        else:
            self._show(done, args)
        for text in done.cautions:
            print(f"caution: {text}", file=sys.stderr)
        for text in cli.complaints(made.model_id, made.version, made.checks, made.blocked):
            print(text, file=sys.stderr)
        return 1 if made.blocked else 0

    def _plain(self, done: Any) -> dict[str, Any]:
        made = done.trained
        return {
            "model": made.model_id,
            "version": made.version,
            "status": "blocked" if made.blocked else "candidate",
            "artifact": "" if made.blocked else str(made.artifact),
            "production": done.production,
            "comparison": done.comparison.plain(),
            "checks": made.checks,
            "lineage": done.lineage,
            "counted": done.counted,
            "cautions": done.cautions,
            "run_dir": str(done.run_dir),
        }

    def _show(self, done: Any, args: argparse.Namespace) -> None:
        from alpha_training import cli
        from alpha_training.learn.against import METRICS, METRICS_OF_MONEY

        made, c, line = done.trained, done.comparison, done.lineage
        checked = f"{done.scores_checked:,} decisions" if done.scores_checked else f"none: {done.scores_unchecked}"
        show.table(
            f"what {done.production} could learn from",
            ("what", "count"),
            [
                *((k, v) for k, v in sorted(done.counted.items()) if v),
                ("rows that update", line["update"]["rows"]),
                ("rows that choose the threshold", line["threshold_rows"]),
                ("outcomes not yet known", line["left_out"]["unrealised"]),
                ("outcomes that reach into the next part", line["left_out"]["purged"]),
                ("logged scores computed again", checked),
            ],
        )
        name = f"{made.model_id} v{made.version}" if made.version else f"{made.model_id}, not registered"
        names = [n for n in (*METRICS, *METRICS_OF_MONEY) if n in c.models["production"]]
        show.table(
            f"{c.rows:,} rows of {line['judged']['on']}, which neither learned from: {sum(c.flips.values()):,} decisions differ",
            ("what", done.production, name),
            [(n, c.models["production"][n], c.models["candidate"][n]) for n in names],
        )
        for text in c.sentences():
            print(text)
        if made.version:
            print(f"{name} is a candidate ({line['normalisation']}); {done.production} serves as before")
            if not cli.failed(made.checks):
                where = "" if args.registry is None else f" --registry {args.registry}"
                print(
                    f"promote it with  alpha registry promote models:/{made.model_id}/{made.version} --approver NAME{where}"
                )


learn_verb = _Learn()
