"""``alpha mlflow log|register|import``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from alpha.cli import show

_ACTIONS = {
    "log": "log a run of alpha train, walkforward or backtest",
    "register": "register a version of our registry there, or bring its status and aliases up to date",
    "import": "take a version from there into our registry, as a candidate",
}


class _MLflow:
    """Log runs and register models in an MLflow store, import one back as a candidate."""

    __doc__ = "Log runs and register models in an MLflow store, import one back as a candidate."

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Options of ``alpha mlflow``."""
        actions = parser.add_subparsers(dest="action", required=True)
        for name, text in _ACTIONS.items():
            sub = actions.add_parser(name, help=text, description=text)
            if name == "log":
                sub.add_argument("run", metavar="RUN_DIR", help="the folder that the run wrote")
            else:
                sub.add_argument("model", metavar="MODEL", help="models:/ID@production or models:/ID/3")
                sub.add_argument("--registry", metavar="FILE")
            if name == "register":
                sub.add_argument("--run", metavar="RUN_ID", help="the run there that made it (default: one of its own)")
            if name != "import":
                sub.add_argument("--experiment", metavar="NAME", default="alpha")
            sub.add_argument(
                "--store",
                metavar="URI",
                default=os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db",
                help="default: $MLFLOW_TRACKING_URI, or sqlite:///mlflow.db",
            )
            show.add_json(sub)

    def run(self, args: argparse.Namespace) -> int:
        """0, or 2 for anything refused."""
        from alpha.registry import find
        from alpha_training import mlflow_address, mlflow_store

        with mlflow_store.opened(args.store) as store:
            if args.action == "log":
                run_id = store.log_run(Path(args.run), args.experiment)
                if args.json:
                    show.print_json("mlflow-log", {"run_id": run_id, "store": mlflow_address.shown(args.store)})
                else:
                    print(
                        f"{args.run} is run {run_id} of experiment {args.experiment} in {mlflow_address.shown(args.store)}"
                    )
                return 0
            if args.action == "register":
                where = find(show.registry_file(args.registry))
                there, entry = store.register(where, args.model, run_id=args.run, experiment=args.experiment)
                aliases = sorted(there.aliases)
                if args.json:
                    what = {"model": f"{entry.id}/{entry.number}", "status": entry.status, "run_id": there.run_id}
                    show.print_json(
                        "mlflow-register", {**what, "version_there": str(there.version), "aliases": aliases}
                    )
                else:
                    told = f" ({', '.join('@' + a for a in aliases)})" if aliases else ""
                    print(f"{entry.label}, {entry.status}, is version {there.version} there{told}")
                return 0
            registry = Path(show.registry_file(args.registry) or "registry.json")
            got = store.take(args.model, registry)
            label, name = f"{got.entry.id}/{got.entry.number}", got.entry.label
            if args.json:
                what = {"model": label, "status": got.entry.status, "artifact": str(got.folder)}
                there_was = {"status_there": got.status_there, "approved_there": got.approved_there}
                show.print_json("mlflow-import", {**what, **there_was, "engine": got.engine, "reason": got.reason})
            else:
                print(f"{name} is a candidate in {registry} (there: {got.status_there}); its files: {got.folder}")
                print(f"{got.engine} serves: {got.reason}")
                print(f"promote it with  alpha registry promote models:/{label} --approver NAME --registry {registry}")
            return 0


mlflow_verb = _MLflow()
