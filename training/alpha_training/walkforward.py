"""Walk-forward: a model is trained again and again on what was known, and judged on what came next."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.distribution import Cluster
from alpha.documents import to_json
from alpha_training import audit, fitting, handover, metrics, pnl, split
from alpha_training.fitting import Prepared
from alpha_training.recipe import Model, load
from alpha_training.split import Parts
from alpha_training.train import prepare


@dataclass(frozen=True)
class Walked:
    """``folds``: one record per retraining; ``pooled``: over all test rows together; ``returns``: net profit per row."""

    model_id: str
    folds: list[dict[str, Any]]
    pooled: dict[str, float]
    run_dir: Path


@dataclass(frozen=True)
class _Fold:
    """What a fold's model said of its test rows: ``record`` as it is written, and per row net profit and ``said``, the
    probabilities [N, 3] of a classifier, else the value [N]."""

    record: dict[str, Any]
    rows: npt.NDArray[np.int64]
    net: npt.NDArray[np.float64]
    said: npt.NDArray[np.float64]
    classifier: bool


@dataclass(frozen=True)
class _Task:
    """A fold for a worker."""

    data: handover.Handed
    spec: Model
    parts: Parts
    number: int
    folder: str


def walk(
    recipe_path: str | Path,
    *,
    overrides: list[str] | None = None,
    small: bool = False,
    run_dir: str | Path | None = None,
    twin: str = "both",
    progress: Callable[[str], None] = lambda text: None,
    watch: fitting.Watch = lambda name, done, total, loss: None,
    cluster: Cluster | None = None,
) -> list[Walked]:
    """Every model of a recipe over ``split.folds`` consecutive test parts. Scaler, fit and threshold of a fold know nothing of
    its test part; a search runs in every fold anew, on that fold's own past. ``cluster``: who computes snapshot and folds;
    its workers must see ``run_dir``."""
    path = Path(recipe_path)
    recipe = load(path, overrides, small=small)
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
    folder = Path(run_dir) if run_dir else Path("runs") / "walkforward" / f"{stamp}-{path.stem}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_bytes(to_json(recipe))
    data = prepare(recipe, path, folder, progress, twin, cluster)
    cut = recipe.split
    folds = split.walk_forward(
        data.snap.ts_ns,
        data.labels.end_ns,
        data.labels.known,
        folds=cut.folds,
        train=cut.train,
        valid=cut.valid,
        embargo_ns=data.embargo_ns,
        window=cut.window,
    )
    tasks = [(spec, k, parts) for spec in recipe.models for k, parts in enumerate(folds, start=1)]
    if cluster is None:
        done = []
        for spec, k, parts in tasks:
            progress(f"{spec.id}: fold {k} of {len(folds)}, {len(parts.train):,} rows to learn from")
            done.append(_fold(spec, data, parts, k, folder, progress, watch))
    else:
        progress(f"{len(tasks)} folds over {cluster.workers} workers")
        handed = handover.hand_over(data, folder)
        items = [_Task(handed, spec, parts, k, str(folder.absolute())) for spec, k, parts in tasks]
        done = []
        for (spec, k, _), made in zip(tasks, cluster.map(_elsewhere, items, files=[handed.file]), strict=True):
            progress(f"{spec.id}: fold {k} of {len(folds)} is done")
            done.append(made)
    out = []
    for at, spec in enumerate(recipe.models):
        own = done[at * len(folds) : (at + 1) * len(folds)]
        out.append(Walked(spec.id, [f.record for f in own], _pooled(own, data), folder))
    (folder / "walkforward.json").write_bytes(
        to_json({w.model_id: {"folds": w.folds, "pooled": w.pooled} for w in out})
    )
    return out


def _elsewhere(task: _Task) -> _Fold:
    """On a worker."""
    data = handover.taken_over(task.data)
    return _fold(
        task.spec,
        data,
        task.parts,
        task.number,
        Path(task.folder),
        lambda text: None,
        lambda name, done, total, loss: None,
    )


def _fold(
    spec: Model,
    data: Prepared,
    parts: Parts,
    number: int,
    folder: Path,
    progress: Callable[[str], None],
    watch: fitting.Watch,
) -> _Fold:
    """Search, fit and judge one model on one fold."""
    inner = replace(data, parts=parts)
    own = folder / f"fold{number}"
    own.mkdir(parents=True, exist_ok=True)
    chosen, trials = fitting.searched(spec, inner, own, progress)
    case = fitting.case(chosen, inner, parts, trials, watch)
    test = case.parts.test
    record = {
        "fold": number,
        "train_rows": len(case.parts.train),
        "test_start_ns": int(data.snap.ts_ns[test[0]]),
        "test_end_ns": int(data.snap.ts_ns[test[-1]]),
        "params": chosen.params,
        "leaks": len(split.leaks(data.snap.ts_ns, data.labels.end_ns, parts.train, parts.test)),
        **case.judge(case.scores_test, test),
    }
    said = case.probabilities(case.scores_test) if case.classifier else case.value(case.scores_test)
    return _Fold(record, test, case.returns(case.scores_test, test), said, case.classifier)


def _pooled(folds: list[_Fold], data: Prepared) -> dict[str, float]:
    """All folds' test rows as one series."""
    rows = np.concatenate([f.rows for f in folds])
    net = np.concatenate([f.net for f in folds])
    said = np.concatenate([f.said for f in folds])
    out = {"rows": float(len(rows)), "net_profit_bp": float(net.sum() * 1e4)}
    intervals = pnl.per_interval(net, data.snap.ts_ns[rows], audit.INTERVALS, data.recipe.gates.bucket)
    out["net_sharpe"] = pnl.sharpe(intervals)
    y, forward = data.labels.y[rows], data.labels.forward[rows]
    if folds[0].classifier:
        return metrics.quality(said, y, forward) | out
    return metrics.ranking(said, y, forward) | out
