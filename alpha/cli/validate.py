"""Judge a model's fused plan against ONNX Runtime over your data: scores, decisions, and what serves when it is loaded.

When a model is loaded its plan is judged over the model's own rows only. What is found here over your data counts there
once it is kept with --store: a good verdict lets the plan serve without ONNX Runtime, a bad one keeps it from serving.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpha.cli import show
from alpha.errors import printable

if TYPE_CHECKING:
    from alpha.models.load import LoadedModel


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``alpha validate``."""
    parser.add_argument("model", metavar="MODEL", help="models:/ID@production, models:/ID/3, or an artifact's folder")
    parser.add_argument("--registry", metavar="FILE")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32", help="weights of the plan")
    parser.add_argument(
        "--store",
        action="store_true",
        help="keep the verdict in the artifact's folder: a good one lets the plan serve without ONNX Runtime, a bad one "
        "makes ONNX Runtime serve",
    )
    show.add_data(parser, required=False)
    show.add_inputs(parser)
    parser.add_argument(
        "--snapshot", metavar="DIR", help="instead of --data: every row of a snapshot that alpha train wrote"
    )
    show.add_scheduler(parser)
    show.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Exit 1 if there is a plan and it is not good; 0 if it is, or if ONNX Runtime serves because there is none."""
    from alpha.distribution import maybe
    from alpha.engine import NO_ENGINE, choose_engine, validate
    from alpha.errors import AlphaError
    from alpha.models import judge
    from alpha.models.compile import Unsupported

    loaded = _load(args)
    meta = loaded.metadata
    result: dict[str, Any] = {"model": f"{meta.model_id}/{meta.version}", "model_sha256": loaded.sha256}
    if (args.data is None) == (args.snapshot is None):
        raise AlphaError("name the rows to judge over: either --data FILE or --snapshot DIR")
    found = None
    try:
        with maybe(args.scheduler) as cluster:
            if args.snapshot is not None:
                found = validate(loaded, _snapshot(loaded, Path(args.snapshot)), args.precision, cluster)
            else:
                with show.opened(args, "judging", clock=loaded.feature_set.stream.clock) as source:
                    show.take_inputs(args, source, loaded.feature_set)
                    found = validate(loaded, _rows(loaded, source), args.precision, cluster)
    except Unsupported as exc:
        result |= {"found": f"no plan: {exc}", "pass": True}
    if found is not None:
        v = found.verdict
        result |= {
            "found": f"the plan {v}",
            "pass": v.good,
            "steps": list(found.steps),
            "arena_bytes": found.arena_bytes,
            "isa": found.isa,
            "precision": args.precision,
            "rows": v.rows,
            "worst": v.worst,
            "unequal": v.unequal,
            "flips": v.flips,
            "wrong": v.wrong,
            "exact": v.exact,
            "build": judge.build_id(),
        }
        if args.store:
            result["stored"] = str(judge.store(loaded.directory, v))
    # what was found above says nothing about what serves: that is asked of the one who chooses
    serves = replace(NO_ENGINE, reason=loaded.changed)
    if not loaded.changed:
        serves = choose_engine(loaded, precision=args.precision)
    result |= {"engine": serves.name, "reason": serves.reason}
    if args.json:
        show.print_json("validate", result)
    else:
        rows = "your data" if args.snapshot is None else "the snapshot"
        over = "" if found is None else f"over {rows} and the model's own rows "
        print(f"{result['model']}: {over}{printable(result['found'])}")
        if found is not None:
            print(f"plan for {found.isa}: {' '.join(found.steps)}, {found.arena_bytes:,} bytes of arena")
        if "stored" in result:
            print(f"verdict kept in {result['stored']}")
        print(f"when it is loaded, {serves.name} serves: {printable(serves.reason)}")
        if not result["pass"] and serves.name == "plan":
            print(
                "the plan, judged there over the model's own rows only, goes on serving until this verdict is kept "
                '(--store) or ONNX Runtime is asked for (engine="ort")'
            )
    return 0 if result["pass"] else 1


def _load(args: argparse.Namespace) -> LoadedModel:
    from alpha.models.load import load_artifact
    from alpha.registry.store import find, load

    if not args.model.startswith("models:"):
        return load_artifact(Path(args.model))
    return load(find(show.registry_file(args.registry))).load_model(args.model)[1]


def _snapshot(loaded: LoadedModel, folder: Path) -> Iterator[Any]:
    """Normalised rows of a snapshot, partition by partition."""
    from alpha.models.metadata import normalised
    from alpha.models.snapshot_rows import snapshot_parts

    meta = loaded.metadata
    return (normalised(x, meta.mean, meta.std, meta.clip) for x in snapshot_parts(folder, loaded.feature_set))


def _rows(loaded: LoadedModel, source: Any) -> Iterator[Any]:
    """Normalised rows of the data, as the pipeline would feed them: warm and finite ones, instrument by instrument."""
    import numpy as np

    from alpha.features.native import row_maker
    from alpha.models.metadata import normalised

    meta = loaded.metadata
    maker = row_maker(loaded.feature_set, source.instruments)
    for chunk in source:
        rows = maker.rows(chunk)
        warm = rows["ready"].all(axis=1) & np.isfinite(rows["values"]).all(axis=1)
        for one in np.unique(rows["instrument_id"][warm]):
            yield normalised(rows["values"][warm & (rows["instrument_id"] == one)], meta.mean, meta.std, meta.clip)
