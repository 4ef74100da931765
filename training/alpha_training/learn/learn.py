"""From a log to a candidate: verify, compute again, update, export, audit, compare with production, register. Nothing of
this moves a version: promotion stays with a person."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from alpha.data import open_events
from alpha.documents import to_json
from alpha.errors import DataError, need
from alpha.features.feature_set import FeatureSet
from alpha.features.language import duration
from alpha.models.load import LoadedModel
from alpha.registry import Entry, load_trusted
from alpha.registry.lineage import definition_commit
from alpha_training import audit, fit, fitting, labels, pnl, publish, train
from alpha_training.fitting import Prepared
from alpha_training.learn import against, head, picture, production, rows, stream
from alpha_training.learn import window as windows
from alpha_training.learn.against import Comparison
from alpha_training.learn.window import Window
from alpha_training.recipe import Model, Recipe, features_of, load
from alpha_training.split import Parts
from alpha_training.train import Lineage, Trained

MODES = ("head", "refit")
JUDGE_SHARE = 0.3
MOST_DRAWN = 200_000


@dataclass(frozen=True)
class Learned:
    """``trained``: the candidate (version 0 if a structural check kept it out); ``comparison``: against production on rows
    that neither learned from; ``cautions``: what a person should look at first."""

    trained: Trained
    comparison: Comparison
    production: str
    window: Window
    cautions: list[str]
    counted: dict[str, int]
    scores_checked: int
    scores_unchecked: str
    run_dir: Path
    lineage: dict[str, Any]


@dataclass(frozen=True)
class _Plan:
    """What is known before any event is read."""

    recipe: Recipe
    path: Path
    spec: Model
    fs: FeatureSet
    entry: Entry
    loaded: LoadedModel
    served: production.Served
    mode: str


def learn(
    folders: Sequence[str | Path],
    recipe_path: str | Path,
    registry: str | Path,
    *,
    model: str | None = None,
    mode: str = "head",
    window: str | None = None,
    judge_share: float = JUDGE_SHARE,
    judge: Sequence[str | Path] = (),
    rate: float = head.RATE,
    overrides: list[str] | None = None,
    small: bool = False,
    run_dir: str | Path | None = None,
    at: str | None = None,
    progress: Callable[[str], None] = lambda text: None,
    watch: fitting.Watch = lambda name, done, total, loss: None,
) -> Learned:
    """Learn from audit logs in the order of their time, and register what came out as a candidate.

    ``recipe_path``: labels, costs, limits and, for ``refit``, the family; ``model``: what goes on learning (default: the
    recipe's only model at ``@production``); ``mode``: ``head`` or ``refit``; ``window``: rows or a duration before what
    judges; ``judge``: files of a later stream to judge on, else the last ``judge_share`` of the log's new rows; ``at``: the time
    written into the registry. Raises AlphaError in one sentence; production's entry and files are never written.
    """
    length = None if window is None else windows.length_of(window)
    windows.check_share(judge_share)
    if not 0.0 < rate <= 10.0:
        raise DataError(f"--rate must be above 0 and at most 10, it is {rate}")
    plan = _plan(recipe_path, registry, model, mode, overrides, small)
    meta = plan.loaded.metadata
    parent = f"{meta.model_id} v{meta.version}"
    progress(f"verifying {', '.join(map(str, folders))}")
    logs = stream.read(folders, plan.fs)
    made = rows.of_logs(logs, plan.fs, plan.recipe.labels, progress, plan.loaded.sha256)
    checked, unchecked = production.check_logged_scores(plan.served, made, plan.loaded.sha256, sorted(logs.engines))
    later: npt.NDArray[np.bool_] | None = None
    judged_on = "the log's end"
    if judge:
        progress(f"reading {', '.join(map(str, judge))}")
        part, judged_on = _later(judge, logs, plan)
        made, later = rows.with_later(made, part, logs)
    cut = windows.cut(
        made,
        window=length,
        later=later,
        judge_share=judge_share,
        valid_share=plan.recipe.split.valid / (plan.recipe.split.train + plan.recipe.split.valid),
        trained_until_ns=meta.trained_on.end_ns,
        only_new=mode == "head",
        embargo_ns=duration(plan.recipe.split.embargo).ns,
    )
    found, cautions = windows.cautions(made, cut)
    if plan.spec.search is not None:
        cautions.append("the recipe's search was not run again: a refit takes models.params as they stand")
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
    folder = Path(run_dir) if run_dir else Path("runs") / "learn" / f"{stamp}-{meta.model_id}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_bytes(to_json(plan.recipe))
    data = Prepared(
        plan.recipe,
        plan.path,
        plan.fs,
        made.source,
        made.snap,
        made.labels,
        cut.parts,
        pnl.Trading.of(plan.recipe.costs, plan.path.parent),
        definition_commit(plan.path.parent),
        logs.head,
    )
    own = plan.served.inputs(made)
    data = replace(data, parts=_usable(cut.parts, own))
    progress(f"{parent}: {mode} on {len(data.parts.train):,} rows, judged on {len(data.parts.test):,} that came after")
    case = _fitted(plan, data, own, made, rate, watch)
    served = production.as_case(plan.served, case, own)
    if case.model.kind != served.model.kind:
        raise DataError(
            f"the recipe's {plan.spec.kind} gives a {case.model.kind}, {parent} gives {served.model.kind}: they cannot be "
            "compared; name a recipe of the same kind"
        )
    draft = train.audited(case, data, progress, {})
    progress("comparing with production")
    comparison = against.compared(served, case, plan.recipe.seed)
    draft = replace(draft, checks=[*draft.checks, comparison.check])
    lineage = _lineage(plan, logs, made, cut, case, comparison, cautions, checked, unchecked, judged_on, rate)
    drawn = _picture(served, case, cut, comparison, made, own)
    if drawn is not None:
        (folder / "scores.png").write_bytes(drawn)
    (folder / "comparison.json").write_bytes(to_json({"comparison": comparison.plain(), "lineage": lineage}))
    progress("registering the candidate")
    told = _told(plan, parent, logs, case, lineage, comparison, cautions, drawn)
    trained = train.publish_draft(draft, data, Path(registry), folder, at, told)
    counted = {**dict(logs.counted), **dict(made.counted), **{f"window: {k}": v for k, v in found.items()}}
    return Learned(trained, comparison, parent, cut, cautions, counted, checked, unchecked, folder, lineage)


def _plan(
    recipe_path: str | Path,
    registry: str | Path,
    model: str | None,
    mode: str,
    overrides: list[str] | None,
    small: bool,
) -> _Plan:
    if mode not in MODES:
        raise DataError(f"--mode {mode!r} is unknown: use {' or '.join(MODES)}")
    need("numba", "train"), need("skl2onnx", "train"), need("onnx", "train"), need("purgedcv", "train")
    path = Path(recipe_path)
    recipe = load(path, overrides, small=small)
    fs = features_of(recipe, path)
    labels.expressions(recipe.labels, fs)
    pnl.Trading.of(recipe.costs, path.parent)
    publish.check_place(Path(registry))
    if model is None:
        if len(recipe.models) > 1:
            names = ", ".join(m.id for m in recipe.models)
            raise DataError(
                f"recipe {path} has several models ({names}): say which one learns, --model models:/ID@production"
            )
        model = f"models:/{recipe.models[0].id}@production"
    entry, loaded = load_trusted(registry).load_model(model)
    spec = _spec(recipe, path, entry.id)
    meta = loaded.metadata
    if loaded.changed:
        raise DataError(loaded.changed)
    if fs.definition_hash != meta.definition_hash:
        raise DataError(
            f"recipe {path} computes its features by definition {fs.definition_hash[:12]}…, {entry.label} by "
            f"{meta.definition_hash[:12]}…: learning goes on with the same features; name the model's recipe"
        )
    served = production.Served(loaded)
    served.policy = spec.kind == "ppo"
    if mode == "head":
        head.check(served)
        spec = msgspec.structs.replace(spec, window=meta.input[1] if served.shape == "window" else 1, search=None)
    else:
        fit.check(spec)
    return _Plan(recipe, path, spec, fs, entry, loaded, served, mode)


def _spec(recipe: Recipe, path: Path, model_id: str) -> Model:
    """The recipe's model of this name; of a recipe with one model that one, under this name."""
    for spec in recipe.models:
        if spec.id == model_id:
            return spec
    if len(recipe.models) == 1:
        return msgspec.structs.replace(recipe.models[0], id=model_id)
    names = ", ".join(m.id for m in recipe.models)
    raise DataError(f"recipe {path} has no model {model_id!r}; it has: {names}")


def _later(judge: Sequence[str | Path], logs: stream.Logs, plan: _Plan) -> tuple[rows.Part, str]:
    """Rows of the files to judge on, and a name for them."""
    table = logs.instruments
    source = open_events(
        [Path(p) for p in judge],
        instruments=table,
        instrument=table.symbols[0] if len(table) == 1 else None,
        levels=plan.recipe.data.levels,
        bar_stamp=plan.recipe.data.bar_stamp,
    )
    events = source.read_all()
    if source.empty:
        raise DataError(source.why_empty())
    if source.instruments.symbols != table.symbols:
        raise DataError(
            f"--judge is about {', '.join(source.instruments.symbols)}, the log about {', '.join(table.symbols)}: judge on "
            "the instruments that were served"
        )
    digest = source.data_sha256()
    return rows.of_data(events, table, digest, plan.fs, plan.recipe.labels), f"data {digest[:12]}…"


def _usable(parts: Parts, inputs: fit.Inputs) -> Parts:
    """Rows that production can score too; DataError where none is left."""
    kept = [p[inputs.usable[p]] for p in (parts.train, parts.valid, parts.test)]
    if not all(len(p) for p in kept):
        raise DataError(
            f"a part has no row with the {inputs.length} rows behind it that production looks at: let the model serve longer"
        )
    return Parts(*kept)


def _fitted(
    plan: _Plan, data: Prepared, own: fit.Inputs, made: rows.Rows, rate: float, watch: fitting.Watch
) -> audit.Case:
    """The candidate, fitted and exported."""
    if plan.mode == "refit":
        return fitting.case(msgspec.structs.replace(plan.spec, search=None), data, data.parts, audit.Trials(), watch)
    served, parts = plan.served, data.parts
    some = parts.train[:: max(1, len(parts.train) // 500)]
    layer = head.layer_of(served, own, some)
    model = head.updated(
        served,
        layer,
        own,
        made.labels.y,
        parts.train,
        seed=plan.recipe.seed,
        rate=rate,
        watch=lambda *step: watch(plan.spec.id, *step),
    )
    return fitting.as_case(plan.spec, data, parts, audit.Trials(), model, served.scaler, own, kept=served.scaler)


def _picture(
    served: audit.Case, case: audit.Case, cut: Window, comparison: Comparison, made: rows.Rows, own: fit.Inputs
) -> bytes | None:
    usable = own.usable & case.exported.inputs.usable & made.labels.known
    all_rows = np.flatnonzero(usable)
    all_rows = all_rows[np.argsort(made.snap.ts_ns[all_rows], kind="stable")]
    all_rows = all_rows[:: max(1, len(all_rows) // MOST_DRAWN)]
    if case.labels_spec.kind == "volatility":
        return None
    scores = {
        "production": served.model.scores(own, all_rows).astype(np.float32),
        "candidate": case.exported.scores(all_rows),
    }
    return picture.draw(served, case, cut, comparison, scores, all_rows)


def _lineage(
    plan: _Plan,
    logs: stream.Logs,
    made: rows.Rows,
    cut: Window,
    case: audit.Case,
    comparison: Comparison,
    cautions: list[str],
    checked: int,
    unchecked: str,
    judged_on: str,
    rate: float,
) -> dict[str, Any]:
    """What the candidate came from; nothing in it depends on the time or the machine."""
    used = made.snap.ts_ns[case.parts.train]
    return {
        "schema": "alpha/lineage/1",
        "mode": plan.mode,
        "parent": {
            "model": plan.entry.id,
            "version": plan.entry.number,
            "sha256": plan.loaded.sha256,
            "metadata_sha256": plan.loaded.metadata_sha256,
        },
        "recipe_sha256": hashlib.sha256(to_json(plan.recipe)).hexdigest(),
        "definition_hash": plan.fs.definition_hash,
        "logs": [{"head_sha256": h} for h in logs.heads],
        "update": {"start_ns": int(used.min()), "end_ns": int(used.max()), "rows": len(used)},
        "threshold_rows": len(case.parts.valid),
        "judged": {
            "on": judged_on,
            "start_ns": comparison.begin_ns,
            "end_ns": comparison.end_ns,
            "rows": comparison.rows,
        },
        "left_out": {"unrealised": cut.unrealised, "purged": cut.purged, "known_to_production": cut.stale},
        "normalisation": _normalisation(plan),
        **({"rate": rate, "layer": case.model.layer.what} if isinstance(case.model, head.Head) else {}),
        "log": {**dict(logs.counted), **dict(made.counted)},
        "decisions_by_model": {k[:12]: v for k, v in logs.versions.items()},
        "scores_checked": checked,
        "scores_unchecked": unchecked,
        "cautions": cautions,
        "verdict": comparison.verdict,
    }


def _normalisation(plan: _Plan) -> str:
    if plan.mode == "head":
        return "production's scaler, kept"
    scaled = fit.FAMILIES[plan.spec.kind].scaled
    return "a new scaler of the update's rows" if scaled else "none: this family takes raw features"


def _told(
    plan: _Plan,
    parent: str,
    logs: stream.Logs,
    case: audit.Case,
    lineage: dict[str, Any],
    comparison: Comparison,
    cautions: list[str],
    drawn: bytes | None,
) -> Lineage:
    update, judged, left = lineage["update"], lineage["judged"], lineage["left_out"]
    begin, end = (_utc(update[n]) for n in ("start_ns", "end_ns"))
    facts = {
        "Learned from": f"{parent} ({plan.loaded.sha256[:12]}…), {plan.mode}; log {logs.head[:12]}…, {begin} to {end}",
        "Normalisation": lineage["normalisation"],
        "Left out": ", ".join(f"{k.replace('_', ' ')} {v:,}" for k, v in left.items()),
    }
    models = comparison.models
    names = [n for n in (*against.METRICS, *against.METRICS_OF_MONEY) if n in models["production"]]
    section = [
        "",
        "## Against production",
        "",
        f"{comparison.rows:,} rows from {_utc(judged['start_ns'])} to {_utc(judged['end_ns'])}, of {judged['on']}; neither model",
        f"learned from them. {sum(comparison.flips.values()):,} decisions differ.",
        "",
        f"| metric | {parent} | candidate |",
        "|---|---|---|",
        *(f"| {n} | {models['production'][n]:.5f} | {models['candidate'][n]:.5f} |" for n in names),
        "",
        *(f"- {text}" for text in comparison.sentences()),
        *(f"- Caution: {text}" for text in cautions),
        "",
        *(["![loss of both along the stream](scores.png)", ""] if drawn is not None else []),
    ]
    return Lineage(
        facts,
        "\n".join(section),
        {"lineage.json": to_json(lineage), **({"scores.png": drawn} if drawn is not None else {})},
        f"learned from v{plan.entry.number} ({plan.loaded.sha256[:12]}…) by {plan.mode}, log {logs.head[:12]}…, {begin} to "
        f"{end}: {comparison.verdict}",
        f"audit-log#sha256={logs.head}",
        logs.heads,
    )


def _utc(ns: int) -> str:
    return dt.datetime.fromtimestamp(ns // 10**9, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
