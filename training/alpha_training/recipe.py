"""Recipes: one TOML file is one reproducible model."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from alpha.errors import DataError


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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise DataError(f"recipe {file} is not valid TOML: {exc}") from None
    changes = [f"{k}={json.dumps(v)}" for k, v in raw.get("small", {}).items()] if small else []
    for text in [*changes, *(overrides or [])]:
        key, sep, value = text.partition("=")
        if not sep:
            raise DataError(f"--set takes section.key=value, not {text!r}")
        target = raw
        *folders, name = key.strip().split(".")
        for folder in folders:
            target = target.setdefault(folder, {})
            if not isinstance(target, dict):
                raise DataError(f"--set {key}: {folder!r} is no table of the recipe")
        try:
            target[name] = tomllib.loads(f"x = {value.strip()}")["x"]
        except tomllib.TOMLDecodeError:
            target[name] = value.strip()
    try:
        recipe = msgspec.convert(raw, Recipe)
    except msgspec.ValidationError as exc:
        raise DataError(f"recipe {file}: {exc}") from None
    if not recipe.models:
        raise DataError(f"recipe {file}: no [[models]]")
    if (recipe.data.simulate is None) == (not recipe.data.files):
        raise DataError(f"recipe {file}: data needs either simulate or files")
    return recipe
