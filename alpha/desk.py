"""Which models one runtime serves, and what becomes of what each says. Floor 6.

>>> desk = Desk(
...     models={"main": "models:/momentum@production", "next": Model("models:/momentum/4", "shadow")},
...     ensembles={"both": Ensemble({"main": 2.0, "next": 1.0}, mode="shadow")},
... )

The order counts: it numbers ``Signal.model_slot``, models first, then ensembles.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from alpha._core.seats import MAX_SEATS
from alpha.errors import AlphaError
from alpha.features.language import duration

Mode = Literal["live", "shadow"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``uri``: as of :meth:`alpha.Runtime.from_registry`. ``mode``: ``live``, or ``shadow``: computed, logged, never
    emitted. ``lazy``: HOLD with NO_MODEL until :meth:`alpha.Runtime.load` is called; its features are computed.
    ``precision``: of its weights, empty: the runtime's."""

    uri: str
    mode: Mode = "live"
    lazy: bool = False
    precision: Literal["", "float32", "bf16"] = ""


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of ``arms`` (name to weight) is emitted for a row, the others are shadows of it.

    Which one follows from ``salt`` and, by ``by``, the instrument's symbol, the piece of stream time of length
    ``every`` that the row falls into, or both: never from what was decided.
    """

    arms: dict[str, float]
    salt: str
    by: Literal["instrument", "time", "both"] = "instrument"
    every: str = ""

    @property
    def bucket_ns(self) -> int:
        """Length of a piece of time, 0 if time does not count."""
        return duration(self.every).ns if self.by != "instrument" else 0


class Ensemble(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One decision out of several models' probabilities of SELL, HOLD and BUY.

    ``members``: name to weight. ``combine``: ``mean`` (weighted), ``vote`` (each gives its weight to its likeliest
    action) or ``veto`` (the mean of the others; one of ``may_veto`` to which another action is likeliest makes it HOLD).
    Then one gate: ``threshold`` (inclusive) and ``cooldown``. ``on_fault``: what a member without an answer (not warm,
    killed, failed, …) does: ``hold`` the whole ensemble with that member's reason, or ``skip`` that member.
    """

    members: dict[str, float]
    combine: Literal["mean", "vote", "veto"] = "mean"
    threshold: float = 0.0
    cooldown: str = ""
    may_veto: list[str] = []
    on_fault: Literal["hold", "skip"] = "hold"
    mode: Mode = "live"

    @property
    def cooldown_ns(self) -> int:
        """Stream time after a BUY or SELL during which neither repeats."""
        return duration(self.cooldown).ns if self.cooldown else 0


class _Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plain form of a desk."""

    models: dict[str, str | Model]
    ensembles: dict[str, Ensemble] = {}
    splits: list[Split] = []


@dataclass(frozen=True)
class Desk:
    """``models``: name to URI or :class:`Model`; ``ensembles``: name to :class:`Ensemble`; ``splits``: who competes.

    AlphaError says what does not fit together. What only an ensemble reads is best a shadow: ``Model(uri, "shadow")``.
    """

    models: Mapping[str, str | Model]
    ensembles: Mapping[str, Ensemble] = field(default_factory=dict)
    splits: Sequence[Split] = ()

    def __post_init__(self) -> None:
        told = _Told(
            {name: m if isinstance(m, Model) else Model(m) for name, m in self.models.items()},
            dict(self.ensembles),
            list(self.splits),
        )
        try:  # whole numbers become floats, so that a desk and what a log tells of it are the same bytes
            told = msgspec.convert(msgspec.to_builtins(told), _Told)
        except msgspec.ValidationError as exc:
            raise AlphaError(f"this is no desk: {exc}") from None
        for name in ("models", "ensembles", "splits"):
            object.__setattr__(self, name, getattr(told, name))
        names = self.names
        if not self.models:
            raise AlphaError("a desk needs at least one model: Desk({'main': 'models:/momentum@production'})")
        if len(names) > MAX_SEATS:
            raise AlphaError(f"a desk has at most {MAX_SEATS} models and ensembles, not {len(names)}")
        for name in names:
            if not _NAME.fullmatch(name):
                raise AlphaError(f"{name!r} cannot name a model: 1 to 64 letters, digits and _ . -")
            if names.count(name) > 1:
                raise AlphaError(f"{name!r} names a model and an ensemble: choose two names")
        for name, ensemble in self.ensembles.items():
            self._check_ensemble(name, ensemble)
        self._check_splits()

    def _check_ensemble(self, name: str, ensemble: Ensemble) -> None:
        where = f"ensemble {name!r}"
        _check_weights(where, ensemble.members)
        for member in [*ensemble.members, *ensemble.may_veto]:
            if member not in self.models:
                raise AlphaError(f"{where}: {member!r} is none of the models ({', '.join(self.models)})")
        if not 0.0 <= ensemble.threshold <= 1.0:
            raise AlphaError(f"{where}: a threshold lies between 0 and 1, not at {ensemble.threshold}")
        if (ensemble.combine == "veto") != bool(ensemble.may_veto):
            raise AlphaError(f"{where}: may_veto and combine = 'veto' go together")
        if not set(ensemble.may_veto) < set(ensemble.members):
            raise AlphaError(f"{where}: may_veto names some of the members, not all of them")
        _ = ensemble.cooldown_ns

    def _check_splits(self) -> None:
        seen: dict[str, str] = {}
        for split in self.splits:
            where = f"split {split.salt!r}"
            _check_weights(where, split.arms)
            if len(split.arms) < 2:
                raise AlphaError(f"{where}: there is nothing to split between fewer than two arms")
            if (split.by == "instrument") != (split.every == ""):
                raise AlphaError(f"{where}: every = DURATION goes with by = 'time' or 'both'")
            _ = split.bucket_ns
            for arm in split.arms:
                if arm not in self.names:
                    raise AlphaError(f"{where}: {arm!r} is neither a model nor an ensemble ({', '.join(self.names)})")
                if arm in seen:
                    raise AlphaError(f"{arm!r} is an arm of two splits, {seen[arm]!r} and {split.salt!r}")
                if self.mode(arm) == "shadow":
                    raise AlphaError(f"{where}: {arm!r} is a shadow and would never be emitted: make it live")
                seen[arm] = split.salt

    @property
    def names(self) -> list[str]:
        """Of models and ensembles, in the order of model_slot."""
        return [*self.models, *self.ensembles]

    def checked(self, name: str) -> str:
        """A model's name; AlphaError for one that is none."""
        if name not in self.models:
            raise AlphaError(f"there is no model {name!r} here: there are {', '.join(self.models)}")
        return name

    def model(self, name: str) -> Model:
        """How a model was declared; AlphaError for a name that is none."""
        told = self.models[self.checked(name)]
        return told if isinstance(told, Model) else Model(told)

    def slot(self, name: str) -> int:
        """model_slot of a model or ensemble; AlphaError for a name that is neither."""
        if name not in self.names:
            raise AlphaError(f"there is no model {name!r} here: there are {', '.join(self.names)}")
        return self.names.index(name)

    def mode(self, name: str) -> Mode:
        """Declared mode of a model or ensemble."""
        return self.ensembles[name].mode if name in self.ensembles else self.model(name).mode

    def arm(self, name: str) -> tuple[int, Split] | None:
        """The split that a name is an arm of, with its number."""
        return next(((k, split) for k, split in enumerate(self.splits) if name in split.arms), None)

    def plain(self) -> dict[str, Any]:
        """Plain values from which :meth:`from_plain` makes an equal desk. Tables are lists of pairs: their order counts,
        and JSON with sorted keys would lose it."""
        plain = msgspec.to_builtins
        return {
            "models": [[name, plain(self.model(name))] for name in self.models],
            "ensembles": [
                [name, {**plain(e), "members": [[m, w] for m, w in e.members.items()]}]
                for name, e in self.ensembles.items()
            ],
            "splits": [{**plain(s), "arms": [[a, w] for a, w in s.arms.items()]} for s in self.splits],
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any], where: str) -> Desk:
        """The desk of :meth:`plain`; AlphaError if it is none."""
        try:
            return cls.from_dict(
                {
                    "models": dict(data["models"]),
                    "ensembles": {n: {**e, "members": dict(e["members"])} for n, e in data["ensembles"]},
                    "splits": [{**s, "arms": dict(s["arms"])} for s in data["splits"]],
                },
                where,
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise AlphaError(f"{where} cannot be read: {exc!r}") from None

    @classmethod
    def of(cls, told: Desk | Mapping[str, str | Model]) -> Desk:
        """A desk, or one of these models, all as they are declared."""
        return told if isinstance(told, Desk) else cls(told)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "desk") -> Desk:
        """Tables ``models``, ``ensembles`` and the list ``splits``, with the fields of their classes."""
        try:
            told = msgspec.convert(data, _Told)
        except msgspec.ValidationError as exc:
            raise AlphaError(f"{where}: {exc}") from None
        try:
            return cls(told.models, told.ensembles, told.splits)
        except AlphaError as exc:
            raise AlphaError(f"{where}: {exc}") from None

    @classmethod
    def from_toml(cls, path: str | Path) -> Desk:
        """Read a TOML file of :meth:`from_dict`'s form."""
        file = Path(path)
        try:
            data = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as exc:
            raise AlphaError(f"desk file {file} cannot be read: {(exc.strerror or str(exc)).lower()}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise AlphaError(f"desk file {file} is not valid TOML: {exc}") from None
        return cls.from_dict(data, str(file))


def _check_weights(where: str, weights: Mapping[str, float]) -> None:
    if not weights:
        raise AlphaError(f"{where} has no members")
    for name, weight in weights.items():
        if not 0.0 < weight < float("inf"):
            raise AlphaError(f"{where}: the weight of {name!r} must be above 0 and finite, not {weight}")
