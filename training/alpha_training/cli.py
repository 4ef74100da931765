"""Verbs that this package adds to the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from alpha.cli import show
from alpha.errors import DataError

_HELP = {
    "definition_committed": " (in the recipe's folder git status shows changes or new files, or it is no repository, or has no commit yet: "
    "commit or ignore them, then train again)"
}
"""What to do about a check whose figures do not say it."""


def failed(checks: list[dict[str, Any]]) -> list[str]:
    """Names of the checks that stand in the way of promotion."""
    return [c["name"] for c in checks if not (c["passed"] or c["waived"])]


def complaints(
    model_id: str, version: int, checks: list[dict[str, Any]], blocked: list[str] | None = None
) -> list[str]:
    """One sentence per failed check: what it measured, and what that means for the candidate."""
    out = []
    for c in checks:
        if c["name"] in failed(checks):
            name = f"{model_id} v{version}" if version else model_id
            what = f"{name} failed its check {c['name']}: {c['value']:.6g}, limit {c['limit']:g}{_HELP.get(c['name'], '')}; "
            if c["name"] in (blocked or []):
                out.append(f"{what}it is not what it claims to be and was not registered")
            elif blocked:
                out.append(f"{what}it was not registered")
            else:
                out.append(f"{what}it is registered as a candidate and cannot be promoted")
    return out


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a TOML file, e.g. training/recipes/demo.toml")
    parser.add_argument("--small", action="store_true", help="the recipe's quick variant")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="K=V",
        dest="overrides",
        help="change a value, e.g. labels.horizon=5s",
    )
    parser.add_argument("--run-dir", metavar="DIR", help="where snapshot, metrics, plots and resolved recipe go")
    parser.add_argument(
        "--twin",
        choices=("batch", "native", "both"),
        default="both",
        help="what computes the features; both: with the certificate of their agreement (default)",
    )
    show.add_scheduler(parser)


class _Train:
    """Train, audit and register the models of a recipe as candidates."""

    __doc__ = "Train, audit and register the models of a recipe as candidates."

    def recipe(self, name: str) -> Path:
        """Path of a shipped recipe."""
        package = Path(__file__).parent
        for folder in (package / "recipes", package.parent / "recipes"):
            if (folder / f"{name}.toml").is_file():
                return folder / f"{name}.toml"
        raise DataError(f"no recipe {name!r} is shipped with this installation")

    def complaints(self, model: Any) -> list[str]:
        """One sentence per failed check of a trained model."""
        return complaints(model.model_id, model.version, model.checks, model.blocked)

    def train(self, *args: Any, **named: Any) -> Any:
        """:func:`alpha_training.train.train`, for verbs of the main package that end with a trained model."""
        from alpha_training.train import train

        return train(*args, **named)

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Options of ``alpha train``."""
        _add_recipe(parser)
        parser.add_argument(
            "--registry", metavar="FILE", default="registry.json", help="made if missing (default registry.json)"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="check everything that needs no data, print the resolved recipe"
        )
        parser.add_argument(
            "--waive",
            action="append",
            default=[],
            metavar="NAME",
            help="accept that a statistical check fails; recorded in registry and card (one --why for each)",
        )
        parser.add_argument("--why", action="append", default=[], metavar="TEXT", help="the reason for a --waive")
        show.add_json(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Exit 1 if a structural check failed, and the model was not registered. A failed statistical check is recorded."""
        from alpha.distribution import maybe
        from alpha_training.fitting import check_waivers
        from alpha_training.progress import Progress
        from alpha_training.train import train

        if len(args.why) != len(args.waive):
            raise DataError(f"{len(args.waive)} --waive and {len(args.why)} --why: give one reason for each waiver")
        waive = dict(zip(args.waive, args.why, strict=True))
        if args.dry_run:
            check_waivers(waive)
            return self._dry_run(args)
        with maybe(args.scheduler) as cluster, Progress() as progress:
            result = train(
                args.recipe,
                args.registry,
                overrides=args.overrides,
                small=args.small,
                run_dir=args.run_dir,
                progress=progress.say,
                watch=progress.watch,
                twin=args.twin,
                waive=waive,
                cluster=cluster,
            )
        models = [
            {
                "model": m.model_id,
                "version": m.version,
                "status": "blocked" if m.blocked else "candidate",
                "artifact": "" if m.blocked else str(m.artifact),
                "failed": failed(m.checks),
                "checks": m.checks,
                "metrics": m.metrics,
            }
            for m in result.models
        ]
        if args.json:
            first: dict[str, Any] = models[0]
            show.print_json("train", {**first, "models": models, "run_dir": str(result.run_dir)})
        else:
            for m in result.models:
                show.table(
                    f"{m.model_id} v{m.version}" if m.version else f"{m.model_id}, not registered",
                    ("check", "value", "limit", "passed"),
                    [(c["name"], c["value"], c["limit"], "waived" if c["waived"] else c["passed"]) for c in m.checks],
                )
                show.table(
                    "quality",
                    ("metric", "valid", "test"),
                    [(k, m.metrics["valid"].get(k, "-"), v) for k, v in m.metrics["test"].items()],
                )
            for m in result.models:
                if not failed(m.checks):
                    where = "" if args.registry == "registry.json" else f" --registry {args.registry}"
                    print(
                        f"{m.model_id} v{m.version} is a candidate in {args.registry}; promote it with  "
                        f"alpha registry promote models:/{m.model_id}/{m.version} --approver NAME{where}"
                    )
        for m in result.models:
            for text in self.complaints(m):
                print(text, file=sys.stderr)
        return 1 if any(m.blocked for m in result.models) else 0

    def _dry_run(self, args: argparse.Namespace) -> int:
        import msgspec

        from alpha_training import recipe
        from alpha_training.train import check

        made = recipe.load(args.recipe, args.overrides, small=args.small)
        check(made, recipe.features_of(made, Path(args.recipe)), Path(args.recipe))
        payload = msgspec.to_builtins(made)
        if args.json:
            show.print_json("train", {"recipe": payload})
        else:
            print(msgspec.json.format(msgspec.json.encode(payload), indent=2).decode())
        return 0


class _WalkForward:
    """Retrain a recipe's models fold after fold and judge each on what came next."""

    __doc__ = "Retrain a recipe's models fold after fold and judge each on what came next."

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Options of ``alpha walkforward``."""
        _add_recipe(parser)
        show.add_json(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Exit 0: nothing is registered, the table is the result."""
        from alpha.distribution import maybe
        from alpha_training.progress import Progress
        from alpha_training.walkforward import walk

        with maybe(args.scheduler) as cluster, Progress() as progress:
            walked = walk(
                args.recipe,
                overrides=args.overrides,
                small=args.small,
                run_dir=args.run_dir,
                twin=args.twin,
                progress=progress.say,
                watch=progress.watch,
                cluster=cluster,
            )
        models = [{"model": w.model_id, "folds": w.folds, "pooled": w.pooled} for w in walked]
        if args.json:
            show.print_json("walkforward", {"models": models, "run_dir": str(walked[0].run_dir)})
            return 0
        for w in walked:
            names = list(w.pooled)
            show.table(
                f"{w.model_id}: {len(w.folds)} folds",
                ("metric", *(f"fold {f['fold']}" for f in w.folds), "pooled"),
                [(n, *(f.get(n, "-") for f in w.folds), w.pooled[n]) for n in names],
            )
        return 0


train_verb = _Train()
walkforward_verb = _WalkForward()
