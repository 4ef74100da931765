"""Recipes: one TOML file is one reproducible model."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from alpha.errors import DataError, DefinitionError
from alpha.features import catalog
from alpha.features.feature_set import FeatureSet
from alpha.features.language import duration
from alpha.models.metadata import is_model_id


class Data(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where events come from: ``simulate`` (arguments of the simulator) or ``files`` with reader options."""

    simulate: dict[str, Any] | None = None
    files: list[str] = []
    instrument: str | None = None
    bar_stamp: str | None = None
    levels: int = 1


class Labels(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Three classes of the forward return of ``price`` over ``horizon`` of stream time.

    HOLD inside the dead band ``half_spreads * spread/2 / price + fee_bp * 1e-4``: what it costs to act.
    """

    price: str = "mid"
    spread: str | None = "spread"
    horizon: str
    half_spreads: float = 1.0
    fee_bp: float = 0.0


class Split(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Shares of time, in order; at least one label horizon is left out between the parts."""

    train: float = 0.6
    valid: float = 0.2
    embargo: str = "0.001s"


class Model(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is fitted: ``kind`` and its scikit-learn parameters."""

    id: str
    kind: Literal["logistic", "mlp"]
    params: dict[str, Any] = {}
    owner: str = ""


class DecisionRule(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``act_share``: the threshold is set so that about this share of validation rows is BUY or SELL."""

    act_share: float = 0.2
    cooldown: str | None = None


class Gates(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Limits of the checks that promotion requires."""

    min_auc: float = 0.52
    max_shuffled_auc: float = 0.55
    max_export_diff: float = 1e-5


class Recipe(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A whole recipe. ``features``: a catalogued name or a TOML file beside the recipe."""

    seed: int = 7
    data: Data
    features: str
    labels: Labels
    split: Split = msgspec.field(default_factory=Split)
    models: list[Model]
    decision: DecisionRule = msgspec.field(default_factory=DecisionRule)
    gates: Gates = msgspec.field(default_factory=Gates)
    small: dict[str, Any] = {}


def load(path: str | Path, overrides: list[str] | None = None, *, small: bool = False) -> Recipe:
    """Read a recipe; ``overrides`` are ``section.key=value`` with TOML values, ``small`` applies its [small] table.

    DataError names the unknown key or bad value.
    """
    file = Path(path)
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"recipe {file} does not exist") from None
    except OSError as exc:
        raise DataError(f"recipe {file} cannot be read: {(exc.strerror or str(exc)).lower()}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise DataError(f"recipe {file} is not valid TOML: {exc}") from None
    quick = raw.get("small", {})
    if not isinstance(quick, dict):
        raise DataError(f"recipe {file}: small must be a table of changes")
    if small:
        for key, new in quick.items():
            _assign(raw, key, new)
    for text in overrides or []:
        key, sep, value = text.partition("=")
        if not sep:
            raise DataError(f"--set takes section.key=value, not {text!r}")
        try:
            _assign(raw, key, tomllib.loads(f"x = {value.strip()}")["x"])
        except tomllib.TOMLDecodeError:
            _assign(raw, key, value.strip())
    try:
        recipe = msgspec.convert(raw, Recipe)
    except msgspec.ValidationError as exc:
        raise DataError(f"recipe {file}: {exc}") from None
    if not recipe.models:
        raise DataError(f"recipe {file}: no [[models]]")
    if (recipe.data.simulate is None) == (not recipe.data.files):
        raise DataError(f"recipe {file}: data needs either simulate or files")
    _check(recipe, f"recipe {file}")
    return recipe


def features_of(recipe: Recipe, path: Path) -> FeatureSet:
    """The recipe's feature set: a catalogued name, or a TOML file beside the recipe."""
    return catalog.find(path.parent / recipe.features if recipe.features.endswith(".toml") else recipe.features)


def _assign(raw: dict[str, Any], key: str, value: Any) -> None:
    target = raw
    *folders, name = key.strip().split(".")
    for folder in folders:
        target = target.setdefault(folder, {})
        if not isinstance(target, dict):
            raise DataError(f"--set {key}: {folder!r} is no table of the recipe")
    target[name] = value


def _check(recipe: Recipe, what: str) -> None:
    """What types cannot say; a model's id becomes a folder, so it must not be a path."""
    ids = [m.id for m in recipe.models]
    for name in ids:
        if not is_model_id(name):
            raise DataError(
                f"{what}: model id {name!r} may hold ASCII letters, digits, '_', '-' and '.' only, no dot in front"
            )
        if ids.count(name) > 1:
            raise DataError(f"{what}: two models are called {name!r}")
    if recipe.seed < 0:
        raise DataError(f"{what}: seed must not be negative, it is {recipe.seed}")
    if not 0.0 < recipe.decision.act_share <= 1.0:
        raise DataError(f"{what}: decision.act_share must be above 0 and at most 1, it is {recipe.decision.act_share}")
    split = recipe.split
    if not (0 < split.train < 1 and 0 < split.valid < 1 and split.train + split.valid < 1):
        raise DataError(
            f"{what}: split.train {split.train} and split.valid {split.valid} must be shares above 0 that leave room "
            "for a test part"
        )
    times = {"labels.horizon": recipe.labels.horizon, "split.embargo": split.embargo}
    for name, text in (times | {"decision.cooldown": recipe.decision.cooldown or "1s"}).items():
        try:
            duration(text)
        except DefinitionError as exc:
            raise DataError(f"{what}: {name}: {exc}") from None
    for name, number in (("half_spreads", recipe.labels.half_spreads), ("fee_bp", recipe.labels.fee_bp)):
        if not (math.isfinite(number) and number >= 0.0):
            raise DataError(f"{what}: labels.{name} must be 0 or more, it is {number}")
