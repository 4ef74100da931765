"""Verbs that this package adds to the command line."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from alpha.cli import show
from alpha.errors import DataError


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
        parser.add_argument("--dry-run", action="store_true", help="only resolve and print the recipe")
        show.add_json(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Exit 1 if a check failed: the candidate is registered but cannot be promoted."""
        import msgspec

        from alpha_training import recipe
        from alpha_training.train import train

        if args.dry_run:
            payload = msgspec.to_builtins(recipe.load(args.recipe, args.overrides, small=args.small))
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
            print(
                f"registered as candidates in {args.registry}; promote one with  alpha registry promote models:/ID/N --approver NAME"
            )
        return 0 if all(c["passed"] or c["waived"] for m in result.models for c in m.checks) else 1


train_verb = _Train()
