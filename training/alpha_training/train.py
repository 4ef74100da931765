"""The whole offline path of one recipe: data, snapshot, labels, split, fit, export, audit, publish."""

from __future__ import annotations

import datetime as dt
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from alpha.distribution import Cluster
from alpha.documents import to_json
from alpha.errors import DataError, need
from alpha.features.feature_set import FeatureSet
from alpha.features.language import duration
from alpha.models.limits import Limits, edges_of, shares_of
from alpha.models.metadata import Decision, Metadata, Output, Reference, TrainedOn
from alpha.registry import Check
from alpha.registry.lineage import definition_commit
from alpha_training import (
    audit,
    card,
    export,
    fit,
    fitting,
    labels,
    plots,
    pnl,
    publish,
    search,
    snapshot,
    split,
    spread,
)
from alpha_training.fitting import Prepared, choose_threshold
from alpha_training.recipe import Model, Recipe, features_of, load

__all__ = ["TrainResult", "Trained", "check", "choose_threshold", "prepare", "train"]

N_PROBES = 512
_LIBRARIES = (
    "alpha-runtime",
    "numpy",
    "scipy",
    "scikit-learn",
    "skl2onnx",
    "onnx",
    "onnxruntime",
    "polars",
    "pyarrow",
    "numba",
    "purgedcv",
    "optuna",
    "xgboost-cpu",
    "lightgbm",
    "torch",
    "onnxscript",
    "stable-baselines3",
    "gymnasium",
)
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """One audited model: a published candidate, or, with ``blocked`` checks, one that was not registered (version 0)."""

    model_id: str
    version: int
    artifact: Path
    checks: list[dict[str, Any]]
    metrics: dict[str, dict[str, float]]
    threshold: float
    blocked: list[str] = field(default_factory=list)


@dataclass
class TrainResult:
    """What a recipe produced: the run folder, the models, and what the demo's report draws."""

    run_dir: Path
    models: list[Trained] = field(default_factory=list)
    source: snapshot.Source | None = None
    feature_set: FeatureSet | None = None
    test_start_ns: int = 0


@dataclass(frozen=True)
class Draft:
    """A model that is fitted and audited, and not yet registered."""

    spec: Model
    case: audit.Case
    checks: list[Check]
    quality: dict[str, dict[str, float]]
    importance: list[tuple[str, float]]
    picture: bytes | None


@dataclass(frozen=True)
class Lineage:
    """What a candidate has that was not fitted from a recipe's own data: lines and a section of its card, further files,
    a note in the registry's history, the name and hashes of what it learned from."""

    facts: dict[str, Any]
    section: str
    files: dict[str, bytes]
    note: str
    snapshot: str
    data_sha256: list[str]


def check(recipe: Recipe, fs: FeatureSet, path: Path) -> None:
    """What can be known before any data is read: packages, label expressions, model parameters. AlphaError if not sound."""
    need("numba", "train"), need("polars", "train"), need("pyarrow.parquet", "train")
    need("scipy.stats", "train"), need("skl2onnx", "train"), need("onnx", "train"), need("purgedcv", "train")
    labels.expressions(recipe.labels, fs)
    pnl.Trading.of(recipe.costs, path.parent)
    for spec in recipe.models:
        fit.check(spec)
        search.check(spec)
    if recipe.data.simulate is not None:
        snapshot.check_simulate(recipe.data, recipe.seed)
    for name in recipe.data.files:
        if not (path.parent / snapshot.expanded(name)).is_file():
            raise DataError(
                f"recipe {path}: data file {path.parent / snapshot.expanded(name)} does not exist or is no file"
            )


def prepare(
    recipe: Recipe, path: Path, folder: Path, progress: Progress, twin: str = "both", cluster: Cluster | None = None
) -> Prepared:
    """Events, snapshot, labels and the time-ordered parts of a recipe; ``cluster``: who computes the snapshot."""
    fs = features_of(recipe, path)
    check(recipe, fs, path)
    progress("reading events")
    source = snapshot.read(recipe, path.parent)
    commit = definition_commit(path.parent)
    progress(f"features of {len(source.events):,} events by {'both twins' if twin == 'both' else f'the {twin} twin'}")
    workers = None
    if cluster is not None:
        workers = spread.Spread(cluster, spread.Reading.of(recipe, path.parent, source), fs, source)
    snap, digest = snapshot.make_and_write(fs, source, commit, folder / "snapshot", twin, progress, workers)
    progress("labels and split")
    labelled = labels.make(recipe.labels, fs, snap, source)
    parts = split.time_ordered(
        snap.ts_ns,
        labelled.end_ns,
        labelled.known,
        train=recipe.split.train,
        valid=recipe.split.valid,
        embargo_ns=duration(recipe.split.embargo).ns,
    )
    trading = pnl.Trading.of(recipe.costs, path.parent)
    return Prepared(recipe, path, fs, source, snap, labelled, parts, trading, commit, digest)


def train(
    recipe_path: str | Path,
    registry: str | Path,
    *,
    overrides: list[str] | None = None,
    small: bool = False,
    run_dir: str | Path | None = None,
    at: str | None = None,
    progress: Progress = lambda text: None,
    watch: fitting.Watch = lambda name, done, total, loss: None,
    twin: str = "both",
    waive: dict[str, str] | None = None,
    cluster: Cluster | None = None,
) -> TrainResult:
    """Train, audit and register every model of a recipe as a candidate. Raises AlphaError in one sentence.

    ``at``: the time written as created_at and into history (default now); ``twin``: what computes the features, ``both``
    with a certificate; ``waive``: name of a statistical check -> why its failure is accepted; ``cluster``: who computes the snapshot.
    """
    fitting.check_waivers(waive or {})
    path = Path(recipe_path)
    recipe = load(path, overrides, small=small)
    check(recipe, features_of(recipe, path), path)
    publish.check_place(Path(registry))
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
    folder = Path(run_dir) if run_dir else Path("runs") / "train" / f"{stamp}-{path.stem}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_bytes(to_json(recipe))
    (folder / "environment.json").write_bytes(to_json(environment(recipe)))
    data = prepare(recipe, path, folder, progress, twin, cluster)
    test_from = int(data.snap.ts_ns[data.parts.test[0]])
    result = TrainResult(folder, source=data.source, feature_set=data.fs, test_start_ns=test_from)
    # nothing is registered before every model is done: an interrupt leaves no trace
    drafts = [_draft(spec, data, folder, progress, watch, waive or {}) for spec in recipe.models]
    for draft in drafts:
        result.models.append(publish_draft(draft, data, Path(registry), folder, at))
    (folder / "metrics.json").write_bytes(
        to_json({m.model_id: {"metrics": m.metrics, "checks": m.checks, "blocked": m.blocked} for m in result.models})
    )
    return result


def _draft(
    spec: Model, data: Prepared, folder: Path, progress: Progress, watch: fitting.Watch, waive: dict[str, str]
) -> Draft:
    spec, trials = fitting.searched(spec, data, folder, progress)
    progress(f"fitting {spec.id} ({spec.kind}) on {len(data.parts.train):,} rows")
    return audited(fitting.case(spec, data, data.parts, trials, watch), data, progress, waive)


def audited(case: audit.Case, data: Prepared, progress: Progress, waive: dict[str, str]) -> Draft:
    """All checks, figures and the picture of a fitted model."""
    spec = case.spec
    progress(f"auditing {spec.id}{f': {case.model.note}' if case.model.note else ''}")
    checks = fitting.waived(audit.checks(case, data.fs, data.source, bool(data.commit)), waive)
    quality = audit.summary(case)
    if data.source.planted is not None and data.recipe.labels.kind != "volatility":
        value = case.value(case.scores_test)
        planted = data.source.planted[data.snap.row_index[case.parts.test]]
        moving = np.ptp(value) > 0 and np.ptp(planted) > 0
        quality["test"]["planted_signal_recovered"] = float(np.corrcoef(value, planted)[0, 1]) if moving else 0.0
    importance = audit.importance(case, data.fs.names)
    picture = plots.draw(case, importance, data.fs.names)
    return Draft(spec, case, checks, quality, importance, picture)


def publish_draft(
    draft: Draft, data: Prepared, registry: Path, folder: Path, at: str | None, lineage: Lineage | None = None
) -> Trained:
    """Register it as a candidate, unless a structural check failed."""
    spec, case = draft.spec, draft.case
    plain = [msgspec.structs.asdict(c) for c in draft.checks]
    if draft.picture is not None:
        (folder / f"{spec.id}.png").write_bytes(draft.picture)
    blocked = audit.blocking(draft.checks)
    if blocked:
        return Trained(spec.id, 0, folder, plain, draft.quality, case.threshold, [c.name for c in blocked])
    version = publish.next_version(registry, spec.id)
    meta = _metadata(draft, version, data, [data.source.sha256] if lineage is None else lineage.data_sha256)
    facts = {
        "Trained": f"{spec.kind} {spec.params or ''} {case.model.note}".strip(),
        "Rows": f"train {len(case.parts.train):,}, valid {len(case.parts.valid):,}, test {len(case.parts.test):,}",
        "Trials": f"{case.trials.tried} configuration{'s' if case.trials.tried > 1 else ''} tried",
        "Graph": f"{len(case.exported.data):,} bytes; {', '.join(f'{k} {v}' for k, v in export.operators(case.exported.data).items())}",
        "Definition's commit": data.commit
        or "none: outside of git or not clean; the definition is embedded in the metadata",
        **(lineage.facts if lineage is not None else {}),
    }
    text = card.write(
        meta,
        data.recipe,
        data.source.description,
        draft.checks,
        draft.quality,
        draft.importance,
        facts,
        plots=draft.picture is not None,
    ) + (lineage.section if lineage is not None else "")
    valid = case.parts.valid
    probes = valid[:: max(1, len(valid) // N_PROBES)][:N_PROBES]
    inputs = case.exported.inputs
    artifact, _ = publish.write(
        registry,
        meta,
        case.exported.data,
        inputs.windows(probes) if case.model.shape == "window" else inputs.rows(probes),
        case.snap.certificate,
        draft.checks,
        text,
        owner=spec.owner,
        snapshot=f"snapshot#sha256={data.digest}" if lineage is None else lineage.snapshot,
        commit=data.commit,
        at=at,
        more={
            **({"plots.png": draft.picture} if draft.picture is not None else {}),
            **(lineage.files if lineage is not None else {}),
        },
        note=lineage.note if lineage is not None else "",
    )
    return Trained(spec.id, version, artifact, plain, draft.quality, case.threshold)


def environment(recipe: Recipe) -> dict[str, Any]:
    """What made a run: versions, machine, seed. Fits run on one thread with this seed, so their bytes repeat."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = packages.version(name)
        except packages.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "seed": recipe.seed,
        "threads": 1,
        "versions": versions,
    }


def _limits(declared: Limits, case: audit.Case, x: npt.NDArray[np.float64]) -> Limits:
    """The recipe's, with the largest distance of a training row where it names none."""
    limits = Limits(**{name: getattr(declared, name) for name in Limits.__struct_fields__})
    if limits.distance.limit > 0 or limits.distance.mode == "off":
        return limits
    z = case.scaler.apply(x.astype(np.float32)).astype(np.float64)
    largest = float(np.nextafter(np.float32((z**2).mean(axis=1).max()), np.float32(np.inf)))
    return msgspec.structs.replace(limits, distance=msgspec.structs.replace(limits.distance, limit=largest))


def _metadata(draft: Draft, version: int, data: Prepared, data_sha256: list[str]) -> Metadata:
    recipe, fs, snap, case, model = data.recipe, data.fs, data.snap, draft.case, draft.case.model
    train = case.parts.train
    x = snap.x[train].astype(np.float64)
    quantiles = {
        str(q): np.quantile(x, q, axis=0).tolist() for q in (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
    }
    n = len(fs.names)
    edges = edges_of(x)
    names = {"SELL": "probability_down", "HOLD": "probability_flat", "BUY": "probability_up"}
    value = model.kind == "value"
    what = "volatility" if recipe.labels.kind == "volatility" else "forward_return"
    return Metadata(
        model_id=draft.spec.id,
        version=version,
        feature_set={"name": fs.name, **fs.definition()},
        definition_hash=fs.definition_hash,
        feature_names=list(fs.names),
        mean=case.scaler.mean.tolist(),
        std=case.scaler.std.tolist(),
        clip=case.scaler.clip,
        input=[1, draft.spec.window, n] if model.shape == "window" else [1, n],
        carry=list(model.carry),
        tolerance=draft.spec.tolerance,
        outputs=[Output(name=case.exported.output, kind=model.kind)],
        output_schema=[what] if value else [names[a] for a in model.actions],
        actions=model.actions,
        decision=Decision(
            rule="sign" if value else "argmax",
            threshold=case.threshold,
            cooldown_ns=duration(recipe.decision.cooldown).ns if recipe.decision.cooldown else 0,
        ),
        reference=Reference(
            min=x.min(axis=0).tolist(),
            max=x.max(axis=0).tolist(),
            mean=x.mean(axis=0).tolist(),
            std=x.std(axis=0).tolist(),
            quantiles=quantiles,
            edges=edges.tolist(),
            shares=shares_of(x, edges).tolist(),
        ),
        limits=_limits(recipe.limits, case, x),
        trained_on=TrainedOn(
            symbols=list(data.source.instruments.symbols),
            simulated=data.source.simulated,
            data_sha256=data_sha256,
            start_ns=int(snap.ts_ns[train[0]]),
            end_ns=int(snap.ts_ns[train[-1]]),
            rows=len(train),
        ),
        opset=export.OPSET,
        ir_version=export.IR_VERSION,
        sha256={"model.onnx": ""},
    )
