"""Limits as data. Floor 5."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from alpha.errors import AlphaError


@dataclass(frozen=True)
class RiskLimits:
    """Every limit is inclusive; None means that there is none.

    ``order_qty``, ``order_notional``: of one order. ``position``: absolute quantity per instrument, pending orders
    included. ``orders_per_s``: approvals within any second. ``daily_loss``: equity below the day's first; from then on
    only orders that reduce risk pass. ``model_exposure``: gross notional per model id including pending orders; the key
    ``*`` is for every model that is not named. ``gross``, ``net``: notional of the whole account including pending.
    """

    order_qty: float | None = None
    order_notional: float | None = None
    position: float | None = None
    orders_per_s: int | None = None
    daily_loss: float | None = None
    model_exposure: Mapping[str, float] = field(default_factory=dict)
    gross: float | None = None
    net: float | None = None

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            named = value.items() if isinstance(value, Mapping) else [(f.name, value)]
            for name, limit in named:
                if limit is not None and not (math.isfinite(limit) and limit >= 0):
                    raise AlphaError(f"limit {f.name} ({name}) must be a number of 0 or more, not {limit!r}")

    @classmethod
    def load(cls, path: str | Path) -> RiskLimits:
        """Read a TOML file of these keys, ``model_exposure`` as a table of model ids. AlphaError names the file and what is
        wrong in it: an unknown key with the valid ones, a value that is no number of 0 or more."""
        try:
            told = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as exc:
            raise AlphaError(f"limits file {path} cannot be read: {(exc.strerror or str(exc)).lower()}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise AlphaError(f"limits file {path} is not valid TOML: {exc}") from None
        known = [f.name for f in fields(cls)]
        for name, value in told.items():
            if name not in known:
                raise AlphaError(f"limits file {path}: unknown key {name!r}; valid keys: {', '.join(known)}")
            _checked(path, name, value)
        try:
            return cls(**told)
        except AlphaError as exc:
            raise AlphaError(f"limits file {path}: {exc}") from None

    def described(self) -> dict[str, Any]:
        """The limits that are set, as plain values for a report."""
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        return {n: dict(v) if n == "model_exposure" else v for n, v in told.items() if v is not None and v != {}}

    def exposure_of(self, model: str) -> float | None:
        """``max_model_exposure`` of a model id."""
        return self.model_exposure.get(model, self.model_exposure.get("*"))


def _checked(path: str | Path, name: str, value: Any) -> None:
    """AlphaError unless a value of the file has the kind that its key wants."""
    table = name == "model_exposure"
    if table != isinstance(value, dict):
        wanted = 'a table of model ids, as in  model_exposure = { "*" = 50000.0 }' if table else "a number"
        raise AlphaError(f"limits file {path}: {name} must be {wanted}, not {value!r}")
    kinds = (int,) if name == "orders_per_s" else (int, float)
    for each, limit in value.items() if table else [(name, value)]:
        if isinstance(limit, bool) or not isinstance(limit, kinds):
            what = "a whole number" if kinds == (int,) else "a number"
            raise AlphaError(f"limits file {path}: {each} must be {what} of 0 or more, not {limit!r}")
