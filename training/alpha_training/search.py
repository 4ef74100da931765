"""A search over a model's parameters by optuna; every trial is kept in a SQLite study that a later run goes on with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from alpha.errors import DataError, need
from alpha_training.audit import Trials
from alpha_training.recipe import Model

Score = Callable[[Model], tuple[float, Any]]
"""Of a model with fixed parameters: (loss to be made small, net profit per interval)."""


def best(
    spec: Model, score: Score, seed: int, folder: Path, context: str, say: Callable[[str], None]
) -> tuple[Model, Trials]:
    """The model with the best parameters found, and what was tried. ``context``: what a study is bound to (definition, data,
    labels, split); trials of another context are never mixed in."""
    search = spec.search
    assert search is not None
    optuna = need("optuna", "train")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    key = hashlib.sha256(f"{context}{msgspec.json.encode(spec).decode()}".encode()).hexdigest()[:12]
    study = optuna.create_study(
        study_name=f"{spec.id}-{key}",
        storage=f"sqlite:///{folder / 'study.sqlite'}",
        sampler=optuna.samplers.TPESampler(seed=seed),
        load_if_exists=True,
    )
    check(spec)

    def objective(trial: Any) -> float:
        chosen = {name: _suggest(trial, name, how) for name, how in search.space.items()}
        loss, returns = score(msgspec.structs.replace(spec, params={**spec.params, **chosen}, search=None))
        trial.set_user_attr("returns", np.asarray(returns, np.float64).tolist())
        say(f"trial {trial.number + 1} of {search.trials}: loss {loss:.5f} with {chosen}")
        return loss

    done = len([t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE])
    if done < search.trials:
        study.optimize(objective, n_trials=search.trials - done)
    complete = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    shortest = min(len(t.user_attrs["returns"]) for t in complete)
    returns = np.array([t.user_attrs["returns"][:shortest] for t in complete])
    chosen = msgspec.structs.replace(spec, params={**spec.params, **study.best_params}, search=None)
    return chosen, Trials(returns, len(complete))


def check(spec: Model) -> None:
    """DataError for a space that is not understood."""
    if spec.search is None:
        return
    for name, how in spec.search.space.items():
        what = f"search.space.{name} of {spec.id}"
        if set(how) == {"choices"}:
            if not isinstance(how["choices"], list) or not how["choices"]:
                raise DataError(f"{what}: choices must be a list with at least one value")
        elif {"low", "high"} <= set(how) <= {"low", "high", "log"}:
            numbers = (how["low"], how["high"])
            if (
                not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in numbers)
                or not numbers[0] < numbers[1]
            ):
                raise DataError(f"{what}: low and high must be numbers, low below high")
        else:
            raise DataError(f"{what}: write {{ low = …, high = …, log = true }} or {{ choices = […] }}")


def _suggest(trial: Any, name: str, how: dict[str, Any]) -> Any:
    if "choices" in how:
        return trial.suggest_categorical(name, how["choices"])
    low, high, log = how["low"], how["high"], bool(how.get("log", False))
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=log)
    return trial.suggest_float(name, low, high, log=log)
