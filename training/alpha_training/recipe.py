"""Recipes: one TOML file is one reproducible model."""

from __future__ import annotations

import datetime as dt
import math
import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from alpha.errors import DataError, DefinitionError
from alpha.features import catalog
from alpha.features.feature_set import FeatureSet
from alpha.features.language import duration
from alpha.models.limits import Distance, Limits, Ranges, Shift, problem
from alpha.models.metadata import MAX_TOLERANCE, TOLERANCE, is_model_id

MAX_BP = 10_000.0
"""The whole notional: more than that no fill can cost, and far more makes profits that no statistics can judge."""


class Data(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where events come from: ``simulate`` (arguments of the simulator) or ``files`` with reader options.

    ``start`` (inclusive) and ``end`` (exclusive) cut by stream time, e.g. 2022-01-01 or 2022-01-03T15:00:00Z; a time
    without a zone is UTC (a TOML date or time, without quotation marks, will do). ``max_events`` keeps the first ones of what is left.
    """

    simulate: dict[str, Any] | None = None
    files: list[str] = []
    instrument: str | None = None
    bar_stamp: str | None = None
    levels: int = 1
    start: str | None = None
    end: str | None = None
    max_events: int | None = None


class Labels(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is to be predicted from each row.

    ``kind``: ``return``, three classes of the forward return of ``price`` (an expression: mid, microprice, a bar's
    close) over ``horizon``; ``triple_barrier``, which of ``price * (1 + take*barrier)`` and
    ``price * (1 - stop*barrier)`` is touched first within it; ``next_bar_sign``, the sign of the next row's return;
    ``volatility``, the root of the summed squared log returns over it (for regressions only).
    ``horizon``: a duration of stream time, or a number of rows.
    HOLD inside the dead band ``half_spreads * spread/2 / price + fee_bp * 1e-4``: what it costs to act. ``barrier``: an
    expression for the barriers' width as a share of the price (default: the dead band).
    """

    kind: Literal["return", "triple_barrier", "next_bar_sign", "volatility"] = "return"
    price: str = "mid"
    spread: str | None = "spread"
    horizon: str | int = 1
    half_spreads: float = 1.0
    fee_bp: float = 0.0
    barrier: str | None = None
    take: float = 1.0
    stop: float = 1.0


class Split(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Shares of time, in order; at least one label horizon is left out between the parts.

    The model that is published is always cut by ``train`` and ``valid``; ``folds``, ``test_groups`` and ``window`` shape
    the cross-validation of a search and of ``alpha walkforward``. ``cv``: what a search scores by: the validation
    part, purged k-fold, or combinatorial purged folds.
    """

    train: float = 0.6
    valid: float = 0.2
    embargo: str = "0.001s"
    cv: Literal["valid", "purged_kfold", "combinatorial"] = "valid"
    folds: int = 5
    test_groups: int = 2
    window: Literal["expanding", "sliding"] = "expanding"


class Search(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An optuna search over ``space``: parameter -> ``{low, high, log}`` (whole numbers stay whole) or ``{choices}``."""

    trials: int = 20
    space: dict[str, dict[str, Any]]


Kind = Literal[
    "logistic",
    "ridge",
    "forest",
    "mlp",
    "xgboost",
    "lightgbm",
    "torch_mlp",
    "lstm",
    "lstm_window",
    "gru",
    "cnn",
    "deeplob",
    "ppo",
]


class Model(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is fitted: ``kind``, its library's ``params``, and for models over sequences the ``window`` in rows.

    ``class_weight``: "balanced" weighs classes by their rarity. ``calibrate``: fit a map from the model's probabilities to
    observed shares on the validation part and append it to the graph. ``tolerance``: how far the live plan's scores may be
    from ONNX Runtime's, times max(1, |score|); what is further apart is served by ONNX Runtime.
    """

    id: str
    kind: Kind
    params: dict[str, Any] = {}
    owner: str = ""
    window: int = 20
    class_weight: Literal["balanced"] | None = None
    calibrate: bool = False
    tolerance: float = TOLERANCE
    search: Search | None = None


class DecisionRule(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``act_share``: the threshold is set so that about this share of validation rows is BUY or SELL."""

    act_share: float = 0.2
    cooldown: str | None = None


class CostsOf(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What acting on a signal costs in the audit: ``fees`` (a TOML file of dated fees beside the recipe) or ``fee_bp`` and
    ``sell_bp`` of the notional; half of ``spread_share`` of the data's spread, or of ``spread_bp`` where it has none; the
    square-root law's ``impact`` with ``daily_volume`` and ``daily_volatility``."""

    fees: str | None = None
    fee_bp: float = 0.0
    sell_bp: float = 0.0
    spread_share: float = 1.0
    spread_bp: float = 0.0
    impact: float = 0.0
    daily_volume: float = 1e9
    daily_volatility: float = 0.0
    qty: float = 1.0


class Gates(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Limits of the audit's checks. ``max_psi`` and ``max_ks`` are each feature's, ``max_drift_share`` is the share of
    features that may exceed one. ``bucket``: the interval whose profits make one observation of the Sharpe ratio;
    empty: a thirtieth of the test part."""

    min_auc: float = 0.52
    max_shuffled_auc: float = 0.55
    max_export_diff: float = 1e-5
    max_log_loss_ratio: float = 1.0
    min_log_loss_t: float = 1.645
    min_net_sharpe: float = 0.0
    min_deflated_sharpe: float = 0.95
    max_pbo: float = 0.5
    max_calibration_error: float = 0.1
    min_stable_share: float = 0.5
    max_psi: float = 0.25
    max_ks: float = 0.25
    max_drift_share: float = 0.34
    min_class_share: float = 0.02
    max_latency_us: float = 1000.0
    max_model_mb: float = 64.0
    lookahead_cuts: int = 3
    bucket: str = ""


class LimitsOf(Limits, frozen=True, forbid_unknown_fields=True):
    """What the gate demands of a live row, see :class:`alpha.models.limits.Limits`. A recipe that says nothing gets rows
    counted that are unlike the training rows; none is held. ``distance.limit`` 0: the largest of a training row."""

    ranges: Ranges = Ranges("count")
    distance: Distance = Distance("count", 0.0)
    psi: Shift = Shift("count")


class Recipe(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A whole recipe. ``features``: a catalogued name or a TOML file beside the recipe. ``assumptions``: sentences that
    must hold for the model to be of use; they open its card. ``limits``: what the gate demands of a live row."""

    seed: int = 7
    data: Data
    features: str
    assumptions: list[str]
    labels: Labels
    split: Split = msgspec.field(default_factory=Split)
    models: list[Model]
    decision: DecisionRule = msgspec.field(default_factory=DecisionRule)
    costs: CostsOf = msgspec.field(default_factory=CostsOf)
    gates: Gates = msgspec.field(default_factory=Gates)
    limits: LimitsOf = LimitsOf()
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
        recipe = msgspec.convert(_spelled(raw), Recipe)
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
        if isinstance(target, list) and len(target) == 1 and folder == "models":
            target = target[0]  # of a single model the number goes without saying
        if not isinstance(target, dict):
            raise DataError(f"--set {key}: {folder!r} is no table of the recipe")
    target[name] = value


def _spelled(value: Any) -> Any:
    """Dates and times of TOML, which may stand without quotation marks, as the text a recipe has them as."""
    if isinstance(value, dict):
        return {k: _spelled(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_spelled(v) for v in value]
    return value.isoformat() if isinstance(value, dt.date) else value  # a datetime is a date


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
    if not 0 <= recipe.seed < 2**31:  # LightGBM takes no larger one
        raise DataError(f"{what}: seed must be from 0 to {2**31 - 1:,}, it is {recipe.seed}")
    if not 0.0 < recipe.decision.act_share <= 1.0:
        raise DataError(f"{what}: decision.act_share must be above 0 and at most 1, it is {recipe.decision.act_share}")
    split = recipe.split
    if not (0 < split.train < 1 and 0 < split.valid < 1 and split.train + split.valid < 1):
        raise DataError(
            f"{what}: split.train {split.train} and split.valid {split.valid} must be shares above 0 that leave room "
            "for a test part"
        )
    times = {"split.embargo": split.embargo}
    if isinstance(recipe.labels.horizon, str):
        times["labels.horizon"] = recipe.labels.horizon
    elif recipe.labels.horizon < 1:
        raise DataError(f"{what}: labels.horizon must be a duration or at least 1 row, it is {recipe.labels.horizon}")
    optional = {"decision.cooldown": recipe.decision.cooldown, "gates.bucket": recipe.gates.bucket}
    times |= {name: text for name, text in optional.items() if text}
    for name, text in times.items():
        try:
            duration(text)
        except DefinitionError as exc:
            raise DataError(f"{what}: {name}: {exc}") from None
    labels, costs = recipe.labels, recipe.costs
    for name, number, most in (
        ("labels.half_spreads", labels.half_spreads, 1e6),
        ("labels.fee_bp", labels.fee_bp, MAX_BP),
        ("costs.fee_bp", costs.fee_bp, MAX_BP),
        ("costs.spread_bp", costs.spread_bp, MAX_BP),
        ("costs.spread_share", costs.spread_share, 1e3),
        ("costs.impact", costs.impact, 1e3),
        ("costs.daily_volatility", costs.daily_volatility, 10.0),
    ):
        if not (math.isfinite(number) and number >= 0.0):
            raise DataError(f"{what}: {name} must be 0 or more, it is {number}")
        if number > most:
            raise DataError(f"{what}: {name} must be at most {most:,.0f}, it is {number}")
    if not abs(costs.sell_bp) <= MAX_BP:  # a negative one is a rebate
        raise DataError(f"{what}: costs.sell_bp must be from -{MAX_BP:,.0f} to {MAX_BP:,.0f}, it is {costs.sell_bp}")
    for name, number in (
        ("labels.take", labels.take),
        ("labels.stop", labels.stop),
        ("costs.daily_volume", costs.daily_volume),
        ("costs.qty", costs.qty),
    ):
        if not (math.isfinite(number) and number > 0.0):
            raise DataError(f"{what}: {name} must be above 0, it is {number}")
        if not 1e-18 <= number <= 1e18:
            raise DataError(f"{what}: {name} must be from 1e-18 to 1e18, it is {number}")
    if wrong := problem(recipe.limits):
        raise DataError(f"{what}: {wrong}")
    for name in recipe.gates.__struct_fields__:
        limit = getattr(recipe.gates, name)
        if isinstance(limit, float) and not math.isfinite(limit):
            raise DataError(f"{what}: gates.{name} must be finite, it is {limit}")
    if not [text for text in recipe.assumptions if text.strip()]:
        raise DataError(f"{what}: assumptions is empty: say under what circumstances the model may be used")
    if not 2 <= split.folds <= 50 or not 1 <= split.test_groups < split.folds:
        raise DataError(f"{what}: split.folds must be from 2 to 50 and split.test_groups below it")
    for model in recipe.models:
        if not TOLERANCE <= model.tolerance <= MAX_TOLERANCE:
            raise DataError(
                f"{what}: tolerance of {model.id} must be from {TOLERANCE:g} to {MAX_TOLERANCE:g}, it is {model.tolerance}"
            )
        if not 1 <= model.window <= 10_000:
            raise DataError(f"{what}: window of {model.id} must be from 1 to 10,000 rows, it is {model.window}")
        if model.search is not None and (model.search.trials < 1 or not model.search.space):
            raise DataError(f"{what}: search of {model.id} needs at least one trial and a space")
    for name, when in (("data.start", recipe.data.start), ("data.end", recipe.data.end)):
        if when is not None:
            time_ns(when, f"{what}: {name}")
    if recipe.data.max_events is not None and recipe.data.max_events < 1:
        raise DataError(f"{what}: data.max_events must be at least 1, it is {recipe.data.max_events}")


def time_ns(text: str, what: str) -> int:
    """A day or time in ISO 8601 as ns UTC; DataError names ``what``."""
    try:
        when = dt.datetime.fromisoformat(text)
    except ValueError:
        raise DataError(f"{what}: {text!r} is no time such as 2022-01-03 or 2022-01-03T14:30:00Z") from None
    when = when if when.tzinfo is not None else when.replace(tzinfo=dt.UTC)
    return int((when - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) / dt.timedelta(microseconds=1)) * 1000
