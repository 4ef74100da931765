"""One model on prepared data: scaled inputs, fit, export, scores, threshold. What training, search and walk-forward share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from alpha.errors import DataError
from alpha.features.feature_set import FeatureSet
from alpha.features.language import duration
from alpha.registry import Check
from alpha_training import audit, fit, metrics, pnl, search, split
from alpha_training.labels import Labelled
from alpha_training.recipe import Model, Recipe
from alpha_training.score import Exported
from alpha_training.snapshot import Snapshot, Source
from alpha_training.split import Parts

Ints = npt.NDArray[np.int64]
NEVER = 1e30
"""Threshold of a volatility: it has no direction, so the signal carries its value and always holds."""
Watch = Callable[[str, int, int, float], None]
"""Called with (model id, steps done, steps in all, loss)."""


@dataclass(frozen=True)
class Prepared:
    """A recipe's data, ready to be learned from."""

    recipe: Recipe
    path: Path
    fs: FeatureSet
    source: Source
    snap: Snapshot
    labels: Labelled
    parts: Parts
    trading: pnl.Trading
    commit: str
    digest: str

    @property
    def embargo_ns(self) -> int:
        """The recipe's embargo."""
        return duration(self.recipe.split.embargo).ns


def usable(parts: Parts, data: Prepared, spec: Model) -> Parts:
    """The rows that have a whole window behind them. DataError if a part has none."""
    enough = fit.Inputs(data.snap.x, data.snap.instrument_id, _length(spec)).usable
    kept = [rows[enough[rows]] for rows in (parts.train, parts.valid, parts.test)]
    for name, rows in zip(("train", "valid", "test"), kept, strict=True):
        if not len(rows):
            raise DataError(
                f"the {name} part has no row with {spec.window} rows behind it: shorten window of {spec.id}"
            )
    return Parts(*kept)


def _length(spec: Model) -> int:
    return 1 if fit.FAMILIES[spec.kind].shape == "row" else spec.window


def inputs_of(spec: Model, data: Prepared, train: Ints) -> tuple[fit.Scaler, fit.Inputs]:
    """Inputs normalised by the statistics of ``train`` alone; of trees not at all."""
    family = fit.FAMILIES[spec.kind]
    x = data.snap.x
    scaler = fit.Scaler.of(x[train]) if family.scaled else fit.Scaler.identity(x.shape[1])
    return scaler, fit.Inputs(scaler.apply(x), data.snap.instrument_id, _length(spec))


def task_of(spec: Model, data: Prepared, inputs: fit.Inputs, train: Ints, valid: Ints, watch: fit.Watch) -> fit.Task:
    """What a family is given."""
    labels, trading = data.labels, data.trading
    share = trading.costs.fees.periods[-1].bp * 1e-4 + trading.costs.impact_share(trading.qty)
    market = fit.Market(labels.price, trading.half_spread(labels.price, labels.spread), share, data.snap.ts_ns)
    return fit.Task(inputs, labels.y, labels.forward, train, valid, data.recipe.seed, watch, market)


def case(
    spec: Model, data: Prepared, parts: Parts, trials: audit.Trials, watch: Watch = lambda name, done, total, loss: None
) -> audit.Case:
    """Fit, export, score and choose the threshold on the validation part."""
    parts = usable(parts, data, spec)
    scaler, inputs = inputs_of(spec, data, parts.train)
    task = task_of(spec, data, inputs, parts.train, parts.valid, lambda *step: watch(spec.id, *step))
    return as_case(spec, data, parts, trials, fit.fit(spec, task), scaler, inputs)


def as_case(
    spec: Model,
    data: Prepared,
    parts: Parts,
    trials: audit.Trials,
    model: fit.Fitted,
    scaler: fit.Scaler,
    inputs: fit.Inputs,
    kept: fit.Scaler | None = None,
) -> audit.Case:
    """A fitted model exported, scored, and with its threshold chosen on the validation part. ``kept``: the scaler of the
    model that it goes on from, if it keeps that."""
    recipe = data.recipe
    exported = Exported(model.to_onnx(spec.id), model.shape, model.kind, model.carry, inputs)
    scores = exported.scores(parts.valid)
    share = 1.0 if model.policy else recipe.decision.act_share
    threshold = NEVER if recipe.labels.kind == "volatility" else choose_threshold(scores, share, model)
    return audit.Case(
        spec=spec,
        gates=recipe.gates,
        labels_spec=recipe.labels,
        model=model,
        exported=exported,
        scaler=scaler,
        snap=data.snap,
        labels=data.labels,
        parts=parts,
        threshold=threshold,
        trading=data.trading,
        embargo_ns=data.embargo_ns,
        seed=recipe.seed,
        trials=trials,
        scores_valid=scores,
        scores_test=exported.scores(parts.test),
        kept=kept,
    )


def choose_threshold(p: npt.NDArray[np.float32], act_share: float, model: fit.Fitted | None = None) -> float:
    """The confidence that about ``act_share`` of the rows reach with BUY or SELL, to three digits, rounded down."""
    if model is not None and model.kind == "value":
        size = np.sort(np.abs(p[:, 0].astype(np.float64)))[::-1]
        at = float(size[min(int(len(size) * act_share), len(size) - 1)])
        unit = 10.0 ** (np.floor(np.log10(at)) - 3) if at > 0 else 1.0
        return float(np.floor(at / unit) * unit)
    classes = model.classes if model is not None else (0, 1, 2)
    best = p.argmax(axis=1)
    acts = np.asarray(classes)[best] != 1
    confidence = np.sort(p[np.arange(len(p)), best][acts])[::-1]
    if len(confidence) == 0 or act_share >= 1.0:
        return 0.0
    at = min(int(len(p) * act_share), len(confidence) - 1)
    return float(np.floor(float(confidence[at]) * 1000) / 1000)


def searched(spec: Model, data: Prepared, folder: Path, say: Callable[[str], None]) -> tuple[Model, audit.Trials]:
    """The recipe's model, or the best of its search. The test part is never looked at."""
    if spec.search is None:
        return spec, audit.Trials()
    folds = _folds(data)

    def score(candidate: Model) -> tuple[float, npt.NDArray[np.float64]]:
        losses, returns = [], []
        for fold in folds:
            made = _trial(candidate, data, fold)
            losses.append(made[0])
            returns.append(made[1])
        return float(np.mean(losses)), np.concatenate(returns)

    recipe = data.recipe
    context = f"{data.fs.definition_hash}{data.source.sha256}{recipe.labels}{recipe.split}{recipe.seed}"
    return search.best(spec, score, recipe.seed, folder, context, say)


def _folds(data: Prepared) -> list[split.Fold]:
    spec, parts = data.recipe.split, data.parts
    if spec.cv == "valid":
        return [split.Fold(parts.train, parts.valid)]
    known = np.zeros(len(data.snap.ts_ns), np.bool_)
    known[np.concatenate([parts.train, parts.valid])] = True
    args = (data.snap.ts_ns, data.labels.end_ns, known)
    if spec.cv == "purged_kfold":
        return split.purged_k_fold(*args, folds=spec.folds, embargo_ns=data.embargo_ns)
    return split.combinatorial(*args, folds=spec.folds, test_groups=spec.test_groups, embargo_ns=data.embargo_ns)


def _trial(spec: Model, data: Prepared, fold: split.Fold) -> tuple[float, npt.NDArray[np.float64]]:
    """(loss, net profit per interval) on a fold's test rows. What stops the fit early is the end of its training rows, so
    that the rows it is scored on stay unseen."""
    _, inputs = inputs_of(spec, data, fold.train)
    train, test = fold.train[inputs.usable[fold.train]], fold.test[inputs.usable[fold.test]]
    cut = int(len(train) * 0.85)
    model = fit.fit(spec, task_of(spec, data, inputs, train[:cut], train[cut:], lambda *step: None))
    raw = model.scores(inputs, test)
    scores = raw.astype(np.float32)
    y = data.labels.y[test]
    share = 1.0 if model.policy else data.recipe.decision.act_share
    action = audit.decide(scores, model, choose_threshold(scores, share, model))
    hold = audit.hold_of(model, data.recipe.labels)
    net = audit.net_profit(action, test, data.snap, data.labels, data.trading, hold)
    if model.policy:
        loss = -float(net.sum())
    elif model.kind == "value":
        loss = float(np.mean((data.labels.forward[test] - raw[:, 0]) ** 2))
    else:
        loss = float(metrics.row_losses(metrics.three_columns(raw, model.classes), y).mean())
    return loss, pnl.per_interval(net, data.snap.ts_ns[test], audit.INTERVALS, data.recipe.gates.bucket)


def check_waivers(waive: dict[str, str]) -> None:
    """What needs no fit. DataError for a name that no audit has, for a structural one, and for an empty reason."""
    for name, why in waive.items():
        if name in audit.STRUCTURAL:
            raise DataError(f"--waive {name}: a structural check says what the model is, and cannot be waived")
        if name not in audit.STATISTICAL:
            raise DataError(f"--waive {name}: there is no such check; there are {', '.join(audit.STATISTICAL)}")
        if not why.strip():
            raise DataError(f"--waive {name}: say why with --why")


def waived(checks: list[Check], waive: dict[str, str]) -> list[Check]:
    """Checks with the waivers that apply. DataError as of :func:`check_waivers`, and for a check this model does not have."""
    check_waivers(waive)
    names = [c.name for c in checks if c.name not in audit.STRUCTURAL]
    for name in waive:
        if name not in names:
            raise DataError(f"--waive {name}: this model has no such check; it has {', '.join(names)}")
    return [
        msgspec.structs.replace(c, waived=True, reason=waive[c.name]) if c.name in waive and not c.passed else c
        for c in checks
    ]
