"""The whole offline path of one recipe: data, snapshot, labels, split, fit, export, audit, publish."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from alpha.documents import to_json
from alpha.errors import DataError, need
from alpha.features.feature_set import FeatureSet
from alpha.features.language import duration
from alpha.models.metadata import Decision, Metadata, Output, Reference, TrainedOn
from alpha.models.score import scores
from alpha.registry import Check
from alpha_training import audit, export, fit, labels, publish, snapshot, split
from alpha_training.recipe import Model, Recipe, features_of, load

N_PROBES = 512
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """One published candidate."""

    model_id: str
    version: int
    artifact: Path
    checks: list[dict[str, Any]]
    metrics: dict[str, dict[str, float]]
    threshold: float


@dataclass(frozen=True)
class _Draft:
    """A model that is fitted and audited, and not yet registered."""

    spec: Model
    onnx_bytes: bytes
    checks: list[Check]
    quality: dict[str, dict[str, float]]
    threshold: float


@dataclass
class TrainResult:
    """What a recipe produced: the run folder, the models, and what the demo's report draws."""

    run_dir: Path
    models: list[Trained] = field(default_factory=list)
    source: snapshot.Source | None = None
    feature_set: FeatureSet | None = None
    test_start_ns: int = 0


def check(recipe: Recipe, fs: FeatureSet, path: Path) -> None:
    """What can be known before any data is read: packages, label expressions, classifiers. AlphaError if not sound."""
    need("numba", "train"), need("polars", "train"), need("pyarrow.parquet", "train")
    need("scipy.stats", "train"), need("skl2onnx", "train"), need("onnx", "train")
    labels.expressions(recipe.labels, fs)
    for spec in recipe.models:
        fit.estimator(spec, recipe.seed)
    if recipe.data.simulate is not None:
        snapshot.check_simulate(recipe)
    for name in recipe.data.files:
        if not (path.parent / name).is_file():
            raise DataError(f"recipe {path}: data file {path.parent / name} does not exist or is no file")


def train(
    recipe_path: str | Path,
    registry: str | Path,
    *,
    overrides: list[str] | None = None,
    small: bool = False,
    run_dir: str | Path | None = None,
    at: str | None = None,
    progress: Progress = lambda text: None,
) -> TrainResult:
    """Train, audit and register every model of a recipe as a candidate. Raises AlphaError in one sentence.

    ``at``: the time written as created_at and into history (default now).
    """
    path = Path(recipe_path)
    recipe = load(path, overrides, small=small)
    fs = features_of(recipe, path)
    check(recipe, fs, path)
    publish.check_place(Path(registry))
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
    folder = Path(run_dir) if run_dir else Path("runs") / "train" / f"{stamp}-{path.stem}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_bytes(to_json(recipe))
    progress("reading events")
    source = snapshot.read(recipe, path.parent)
    progress(f"features of {len(source.events):,} events by both twins")
    snap = snapshot.make(fs, source)
    commit = snapshot.git_commit(path.parent)
    digest = snapshot.write(snap, fs, source, commit, folder / "snapshot.parquet")
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
    scaler = fit.Scaler.of(snap.x[parts.train])
    z = scaler.apply(snap.x)
    result = TrainResult(folder, source=source, feature_set=fs, test_start_ns=int(snap.ts_ns[parts.test[0]]))
    drafts: list[_Draft] = []  # nothing is registered before every model is done: an interrupt leaves no trace
    for spec in recipe.models:
        progress(f"fitting {spec.id} ({spec.kind}) on {len(parts.train):,} rows")
        model = fit.fit(spec, z[parts.train], labelled.y[parts.train], recipe.seed)
        progress(f"exporting and auditing {spec.id}")
        onnx_bytes = export.to_onnx(model, len(fs.names), spec.id)
        exported = scores(onnx_bytes, export.OUTPUT, z[parts.valid])
        threshold = choose_threshold(exported, recipe.decision.act_share)
        checks = audit.checks(
            spec, recipe.gates, model, exported, z, labelled, parts, threshold, snap.certificate, recipe.seed
        )
        p_test = scores(onnx_bytes, export.OUTPUT, z[parts.test])
        quality = {
            "valid": audit.metrics(exported.astype(np.float64), labelled, parts.valid),
            "test": audit.metrics(p_test.astype(np.float64), labelled, parts.test),
        }
        if source.planted is not None:
            value = p_test[:, 2].astype(np.float64) - p_test[:, 0]
            planted = source.planted[snap.row_index[parts.test]]
            quality["test"]["planted_signal_recovered"] = float(np.corrcoef(value, planted)[0, 1])
        drafts.append(_Draft(spec, onnx_bytes, checks, quality, threshold))
    probes = z[parts.valid][:: max(1, len(parts.valid) // N_PROBES)][:N_PROBES]
    for draft in drafts:
        spec, threshold = draft.spec, draft.threshold
        version = publish.next_version(Path(registry), spec.id)
        meta = _metadata(spec, version, recipe, fs, snap, source, scaler, parts, threshold)
        artifact, _ = publish.write(
            Path(registry),
            meta,
            draft.onnx_bytes,
            probes,
            snap.certificate,
            draft.checks,
            _card(meta, source.description, draft.checks, draft.quality),
            owner=spec.owner,
            snapshot=f"snapshot.parquet#sha256={digest}",
            commit=commit,
            at=at,
        )
        result.models.append(
            Trained(
                spec.id, version, artifact, [msgspec.structs.asdict(c) for c in draft.checks], draft.quality, threshold
            )
        )
    (folder / "metrics.json").write_bytes(
        to_json({m.model_id: {"metrics": m.metrics, "checks": m.checks} for m in result.models})
    )
    return result


def choose_threshold(p: npt.NDArray[np.float32], act_share: float) -> float:
    """The confidence that about ``act_share`` of the rows reach with BUY or SELL, to three digits, rounded down."""
    best = p.argmax(axis=1)
    confidence = np.sort(p[np.arange(len(p)), best][best != 1])[::-1]
    if len(confidence) == 0:
        return 0.0
    at = min(int(len(p) * act_share), len(confidence) - 1)
    return float(np.floor(float(confidence[at]) * 1000) / 1000)


def _metadata(
    spec: Model,
    version: int,
    recipe: Recipe,
    fs: FeatureSet,
    snap: snapshot.Snapshot,
    source: snapshot.Source,
    scaler: fit.Scaler,
    parts: split.Parts,
    threshold: float,
) -> Metadata:
    x = snap.x[parts.train].astype(np.float64)
    quantiles = {
        str(q): np.quantile(x, q, axis=0).tolist() for q in (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
    }
    cooldown = duration(recipe.decision.cooldown).ns if recipe.decision.cooldown else 0
    actions = ["SELL", "HOLD", "BUY"]
    return Metadata(
        model_id=spec.id,
        version=version,
        feature_set={"name": fs.name, **fs.definition()},
        definition_hash=fs.definition_hash,
        feature_names=list(fs.names),
        mean=scaler.mean.tolist(),
        std=scaler.std.tolist(),
        clip=fit.CLIP,
        input=[1, len(fs.names)],
        outputs=[Output(name=export.OUTPUT, kind="probabilities")],
        output_schema=["probability_down", "probability_flat", "probability_up"],
        actions=actions,
        decision=Decision(rule="argmax", threshold=threshold, cooldown_ns=cooldown),
        reference=Reference(
            min=x.min(axis=0).tolist(),
            max=x.max(axis=0).tolist(),
            mean=x.mean(axis=0).tolist(),
            std=x.std(axis=0).tolist(),
            quantiles=quantiles,
        ),
        trained_on=TrainedOn(
            symbols=list(source.instruments.symbols),
            simulated=source.simulated,
            data_sha256=[source.sha256],
            start_ns=int(snap.ts_ns[parts.train[0]]),
            end_ns=int(snap.ts_ns[parts.train[-1]]),
            rows=len(parts.train),
        ),
        opset=export.OPSET,
        ir_version=export.IR_VERSION,
        sha256={"model.onnx": ""},
    )


def _card(meta: Metadata, data: str, checks: list[Any], quality: dict[str, dict[str, float]]) -> str:
    """The model card: what it is, what it saw, what it passed."""
    lines = [
        f"# {meta.model_id} v{meta.version}",
        "",
        f"Scores: {', '.join(meta.output_schema)}. Acts at a confidence of {meta.decision.threshold:g} or more. Advisory only.",
        "",
        f"Data: {data}",
        f"Features ({len(meta.feature_names)}): {', '.join(meta.feature_names)}",
        f"Definition: {meta.definition_hash}",
        "",
        "| check | value | limit | passed |",
        "|---|---|---|---|",
        *(f"| {c.name} | {c.value:.6g} | {c.limit:g} | {'yes' if c.passed else 'NO'} |" for c in checks),
        "",
        "| metric | valid | test |",
        "|---|---|---|",
        *(
            f"| {name} | {quality['valid'].get(name, float('nan')):.4f} | {value:.4f} |"
            for name, value in quality["test"].items()
        ),
        "",
    ]
    return "\n".join(lines)
