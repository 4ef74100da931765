"""Walk-forward: a model is trained again and again on what was known, and judged on what came next."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from alpha.documents import to_json
from alpha_training import audit, fitting, metrics, pnl, split
from alpha_training.recipe import load
from alpha_training.train import prepare


@dataclass(frozen=True)
class Walked:
    """``folds``: one record per retraining; ``pooled``: over all test rows together; ``returns``: net profit per row."""

    model_id: str
    folds: list[dict[str, Any]]
    pooled: dict[str, float]
    run_dir: Path


def walk(
    recipe_path: str | Path,
    *,
    overrides: list[str] | None = None,
    small: bool = False,
    run_dir: str | Path | None = None,
    twin: str = "both",
    progress: Callable[[str], None] = lambda text: None,
    watch: fitting.Watch = lambda name, done, total, loss: None,
) -> list[Walked]:
    """Every model of a recipe over ``split.folds`` consecutive test parts. Scaler, fit and threshold of a fold know nothing of
    its test part; a search runs in every fold anew, on that fold's own past."""
    path = Path(recipe_path)
    recipe = load(path, overrides, small=small)
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
    folder = Path(run_dir) if run_dir else Path("runs") / "walkforward" / f"{stamp}-{path.stem}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_bytes(to_json(recipe))
    data = prepare(recipe, path, folder, progress, twin)
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
    out = []
    for spec in recipe.models:
        records: list[dict[str, Any]] = []
        cases = []
        for k, parts in enumerate(folds):
            progress(f"{spec.id}: fold {k + 1} of {len(folds)}, {len(parts.train):,} rows to learn from")
            inner = replace(data, parts=parts)
            own = folder / f"fold{k + 1}"
            own.mkdir(exist_ok=True)
            chosen, trials = fitting.searched(spec, inner, own, progress)
            case = fitting.case(chosen, inner, parts, trials, watch)
            test = case.parts.test
            records.append(
                {
                    "fold": k + 1,
                    "train_rows": len(case.parts.train),
                    "test_start_ns": int(data.snap.ts_ns[test[0]]),
                    "test_end_ns": int(data.snap.ts_ns[test[-1]]),
                    "params": chosen.params,
                    "leaks": len(split.leaks(data.snap.ts_ns, data.labels.end_ns, parts.train, parts.test)),
                    **case.judge(case.scores_test, test),
                }
            )
            cases.append(case)
        out.append(Walked(spec.id, records, _pooled(cases), folder))
    (folder / "walkforward.json").write_bytes(
        to_json({w.model_id: {"folds": w.folds, "pooled": w.pooled} for w in out})
    )
    return out


def _pooled(cases: list[audit.Case]) -> dict[str, float]:
    """All folds' test rows as one series."""
    first = cases[0]
    rows = np.concatenate([c.parts.test for c in cases])
    net = np.concatenate([c.returns(c.scores_test, c.parts.test) for c in cases])
    out = {"rows": float(len(rows)), "net_profit_bp": float(net.sum() * 1e4)}
    out["net_sharpe"] = pnl.sharpe(pnl.per_interval(net, first.snap.ts_ns[rows], audit.INTERVALS, first.gates.bucket))
    if first.classifier:
        p = np.concatenate([c.probabilities(c.scores_test) for c in cases])
        out = metrics.quality(p, first.labels.y[rows], first.labels.forward[rows]) | out
    else:
        value = np.concatenate([c.value(c.scores_test) for c in cases])
        out = metrics.ranking(value, first.labels.y[rows], first.labels.forward[rows]) | out
    return out
