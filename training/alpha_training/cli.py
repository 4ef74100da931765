"""Verbs that this package adds to the command line."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from alpha.cli import show
from alpha.errors import DataError


def failed(checks: list[dict[str, Any]]) -> list[str]:
    """Names of the checks that stand in the way of promotion."""
    return [c["name"] for c in checks if not (c["passed"] or c["waived"])]


def complaints(model_id: str, version: int, checks: list[dict[str, Any]]) -> list[str]:
    """One sentence per failed check: what it measured, and what that means for the candidate."""
    return [
        f"{model_id} v{version} failed its check {c['name']}: {c['value']:.6g}, limit {c['limit']:g}; "
        "it is registered as a candidate and cannot be promoted"
        for c in checks
        if c["name"] in failed(checks)
    ]


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
        return complaints(model.model_id, model.version, model.checks)

    def train(self, *args: Any, **named: Any) -> Any:
        """:func:`alpha_training.train.train`, for verbs of the main package that end with a trained model."""
        from alpha_training.train import train

        return train(*args, **named)

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Options of ``alpha train``."""
        parser.add_argument("recipe", metavar="RECIPE", help="a TOML file, e.g. training/recipes/demo.toml")
        parser.add_argument(
            "--registry", metavar="FILE", default="registry.json", help="made if missing (default registry.json)"
        )
        parser.add_argument("--small", action="store_true", help="the recipe's quick variant")
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="K=V",
            dest="overrides",
            help="change a value, e.g. labels.horizon=5s",
        )
        parser.add_argument("--run-dir", metavar="DIR", help="where snapshot, metrics and resolved recipe go")
        parser.add_argument(
            "--dry-run", action="store_true", help="check everything that needs no data, print the resolved recipe"
        )
        show.add_json(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Exit 1 if a check failed: the candidate is registered but cannot be promoted."""
        import msgspec

        from alpha_training import recipe
        from alpha_training.train import check, train

        if args.dry_run:
            made = recipe.load(args.recipe, args.overrides, small=args.small)
            check(made, recipe.features_of(made, Path(args.recipe)), Path(args.recipe))
            payload = msgspec.to_builtins(made)
            if args.json:
                show.print_json("train", {"recipe": payload})
            else:
                print(msgspec.json.format(msgspec.json.encode(payload), indent=2).decode())
            return 0
        began = time.monotonic()

        def say(text: str) -> None:
            print(f"{time.monotonic() - began:6.1f} s  {text}", file=sys.stderr)

        result = train(
            args.recipe, args.registry, overrides=args.overrides, small=args.small, run_dir=args.run_dir, progress=say
        )
        models = [
            {
                "model": m.model_id,
                "version": m.version,
                "status": "candidate",
                "artifact": str(m.artifact),
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
                    f"{m.model_id} v{m.version}",
                    ("check", "value", "limit", "passed"),
                    [(c["name"], c["value"], c["limit"], c["passed"]) for c in m.checks],
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
            for text in complaints(m.model_id, m.version, m.checks):
                print(text, file=sys.stderr)
        return 1 if any(failed(m.checks) for m in result.models) else 0


train_verb = _Train()
