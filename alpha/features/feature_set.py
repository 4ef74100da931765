"""A FeatureSet: stream, trigger and ordered features, with one definition hash. Floor 2."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from alpha.errors import DefinitionError
from alpha.features.language import (
    BarClock,
    BarRef,
    Duration,
    Expr,
    canonical,
    duration,
    moves,
    parse,
    parse_bar,
    walk,
)
from alpha.features.macros import read_macros
from alpha.features.operators import BAR_VERSION, CLOCK_BARS, OPERATORS
from alpha.features.units import unit_of

MAX_FEATURES = 1024
_NAME = re.compile(r"[^\s\x00-\x1f\x7f]{1,64}")


@dataclass(frozen=True, slots=True)
class GuardSpec:
    """What the guard does before any feature sees an event.

    ``crossed``: reject bid > ask in a continuous session, or accept it flagged.
    ``future_tolerance``: largest accepted exchange time ahead of the receipt time after the
    instrument's clock offset; ``duplicates``: reject an event that repeats the last venue
    sequence number of its instrument and kind, or keep it. ``outlier``: a price more than so many times the last one, or
    less than that part of it, is rejected; the fifth in a row that agrees with the others is believed (None: any price is).
    """

    crossed: Literal["reject", "flag"] = "reject"
    future_tolerance: Duration = field(default_factory=lambda: Duration(10 * 10**9))
    duplicates: Literal["reject", "keep"] = "reject"
    outlier: float | None = None


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """How a stream is ordered and cut.

    ``clock``: recv (where present) or event. ``calendar``: a name of :mod:`alpha.sessions` such as ``XNYS``,
    ``24/7`` (days of UTC), or ``instrument`` (each instrument's own). ``session_break``: ``none`` (state runs
    through) or ``session`` (what :func:`alpha.features.language.resets` names starts again at each session's
    open and after a halt).
    """

    clock: Literal["recv", "event"] = "recv"
    calendar: str = "24/7"
    session_break: Literal["none", "session"] = "none"
    guard: GuardSpec = field(default_factory=GuardSpec)


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a row is made: ``quote``, ``trade``, ``last`` (events flagged LAST), a bar's close (of whatever clock), or
    ``every`` (multiples of a duration of stream time, rule 35)."""

    kind: Literal["quote", "trade", "last", "bar", "every"]
    bar: BarRef | None = None
    every: Duration | None = None

    @property
    def waits(self) -> bool:
        """Rows come because time passed: they rest on what was seen before, which may be old."""
        return self.kind == "every" or (
            self.bar is not None and self.bar.source != "feed" and not isinstance(self.bar.interval, BarClock)
        )

    def __str__(self) -> str:
        if self.kind == "bar":
            return str(self.bar)
        return f'every("{self.every}")' if self.kind == "every" else self.kind


def parse_trigger(text: str) -> Trigger:
    """Read ``quote``, ``trade``, ``last``, ``bar("1m", "trade")`` or ``every("100ms")``."""
    text = text.strip()
    if text in ("quote", "trade", "last"):
        return Trigger(text)  # type: ignore[arg-type]
    if text.startswith(("bar(", *(f"{name}(" for name in CLOCK_BARS))):
        return Trigger("bar", bar=parse_bar(text))
    if text.startswith("every(") and text.endswith(")"):
        return Trigger("every", every=duration(text[6:-1].strip().strip("\"'")))
    raise DefinitionError(
        f'unknown trigger {text!r}: use quote, trade, last, bar("1m", "trade"), tick_bar(100) or every("100ms")'
    )


def canonical_text(definition: Mapping[str, Any]) -> str:
    """The one spelling of a definition's plain values: what is hashed."""
    return json.dumps(definition, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


@dataclass(frozen=True)
class FeatureSet:
    """Ordered named expressions over one kind of stream.

    The *definition hash* (sha256) covers the canonical text of all of it and the versions of
    every operator used. Feature order counts; the order of table keys does not. The name of the
    set is a label and is not hashed.
    """

    name: str
    features: Mapping[str, Expr]
    trigger: Trigger = Trigger("quote")
    stream: StreamSpec = field(default_factory=StreamSpec)

    def __post_init__(self) -> None:
        if not self.features:
            raise DefinitionError(f"feature set {self.name!r} has no features")
        if len(self.features) > MAX_FEATURES:
            raise DefinitionError(f"feature set {self.name!r} has {len(self.features)} features (limit {MAX_FEATURES})")
        for name, e in self.features.items():
            if not _NAME.fullmatch(name):
                raise DefinitionError(
                    f"feature name {name!r} is not allowed: 1 to 64 characters without spaces or line breaks"
                )
            try:
                unit_of(e)
                _check_moves(e)
            except DefinitionError as exc:
                raise DefinitionError(f"feature {name!r}: {exc}") from None
        self._check_feed()

    def _check_feed(self) -> None:
        """Bars of the feed come at one interval: an event does not say at which."""
        bars = [
            (f"feature {name!r}", f'bar("{n.params[0]}")')
            for name, e in self.features.items()
            for n in walk(e)
            if n.op == "bar" and n.params[1] == "feed"
        ]
        if self.trigger.bar is not None and self.trigger.bar.source == "feed":
            bars.insert(0, ("the trigger", f'bar("{self.trigger.bar.interval}")'))
        for where, bar in bars:
            if bar != bars[0][1]:
                raise DefinitionError(
                    f"{where} takes {bar} and {bars[0][0]} {bars[0][1]}, but bars of the feed come at one interval: "
                    f'build the others here, as {bar[:-1]}, "trade") does'
                )

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names in the order of the tensor's columns."""
        return tuple(self.features)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Other instruments that ``of`` names, in alphabetical order."""
        return tuple(sorted({str(n.params[0]) for e in self.features.values() for n in walk(e) if n.op == "of"}))

    @property
    def inputs(self) -> tuple[str, ...]:
        """External series that ``input`` names, in alphabetical order: an INPUT event's v[0] is the position here."""
        return tuple(sorted({str(n.params[0]) for e in self.features.values() for n in walk(e) if n.op == "input"}))

    @property
    def needs_sessions(self) -> bool:
        """Whether any value depends on the calendar."""
        used = {n.op for e in self.features.values() for n in walk(e)}
        return self.stream.session_break == "session" or bool(
            used & {"seconds_since_open", "minutes_to_close", "is_rth"}
        )

    def operator_versions(self) -> dict[str, int]:
        """Version of every operator these expressions use."""
        used = {node.op for e in self.features.values() for node in walk(e)}
        versions = {op: OPERATORS[op].version for op in used if op in OPERATORS}
        if "bar" in used or self.trigger.kind == "bar":
            versions["bar"] = BAR_VERSION
        return dict(sorted(versions.items()))

    def definition(self) -> dict[str, Any]:
        """The hashed content as plain JSON values."""
        g = self.stream.guard
        return {
            "stream": {
                "clock": self.stream.clock,
                "calendar": self.stream.calendar,
                "session_break": self.stream.session_break,
                "guard": {
                    "crossed": g.crossed,
                    "future_tolerance": str(g.future_tolerance),
                    "duplicates": g.duplicates,
                    **({} if g.outlier is None else {"outlier": g.outlier}),
                },
            },
            "trigger": str(self.trigger),
            "features": [[name, canonical(e)] for name, e in self.features.items()],
            "operators": self.operator_versions(),
        }

    def canonical(self) -> str:
        """The hashed text: JSON with sorted keys and no spaces, features as an ordered list."""
        return canonical_text(self.definition())

    @property
    def definition_hash(self) -> str:
        """sha256 of :meth:`canonical`, 64 hex digits."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], name: str = "features") -> FeatureSet:
        """Build from the TOML/JSON form: ``name``, ``trigger``, ``stream``, ``features`` (a table, or a
        list of [name, expression] pairs as :meth:`definition` writes it), ``macros`` (see
        :mod:`alpha.features.macros`)."""
        if not isinstance(data, Mapping):
            raise DefinitionError(f"a feature set is a table with features, not {type(data).__name__}")
        unknown = set(data) - {"name", "trigger", "stream", "features", "operators", "macros"}
        if unknown:
            raise DefinitionError(
                f"unknown key {min(unknown, key=str)!r} in a feature set: it has name, trigger, stream, features, macros"
            )
        macros = read_macros(data.get("macros", {}), str(data.get("name", name)))
        raw = data.get("features")
        pairs = list(raw.items()) if isinstance(raw, Mapping) else list(raw or [])
        features: dict[str, Expr] = {}
        for pair in pairs:
            if not (isinstance(pair, (list, tuple)) and len(pair) == 2 and all(isinstance(p, str) for p in pair)):
                raise DefinitionError(f"a feature is a name and an expression, not {pair!r}")
            key, text = pair
            if key in features:
                raise DefinitionError(f"feature {key!r} is defined twice")
            try:
                features[key] = parse(text, macros)
            except DefinitionError as exc:
                raise DefinitionError(f"feature {key!r}: {exc}") from None
        fs = cls(
            name=str(data.get("name", name)),
            features=features,
            trigger=parse_trigger(str(data.get("trigger", "quote"))),
            stream=_stream(data.get("stream", {})),
        )
        declared = data.get("operators")
        if declared is not None and dict(declared) != fs.operator_versions():
            raise DefinitionError(
                f"feature set {fs.name!r} was written for operator versions {dict(declared)}, "
                f"this build has {fs.operator_versions()}: its model must be validated again"
            )
        return fs

    @classmethod
    def from_toml(cls, path: str | Path) -> FeatureSet:
        """Read a TOML file; the file's stem is the default name."""
        file = Path(path)
        try:
            data = tomllib.loads(file.read_text(encoding="utf-8-sig"))  # some editors put a mark before the text
        except FileNotFoundError:
            raise DefinitionError(f"feature file {file} does not exist") from None
        except OSError as exc:
            raise DefinitionError(f"feature file {file} cannot be read: {exc.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise DefinitionError(f"feature file {file} is not valid TOML: {exc}") from None
        try:
            return cls.from_dict(data, name=file.stem)
        except DefinitionError as exc:
            raise DefinitionError(f"{file}: {exc}") from None


def _check_moves(e: Expr) -> None:
    """What remembers needs updates: time and other instruments give none of their own."""
    for node in walk(e):
        looked_at = [n for n in walk(node) if n.op == "of" or (n.op in OPERATORS and OPERATORS[n.op].group == "time")]
        if node.op in OPERATORS and OPERATORS[node.op].kind == "stateful" and looked_at and not moves(node):
            raise DefinitionError(
                f"{canonical(node)} never gets an update: {canonical(looked_at[0])} is only looked at; "
                "combine it with a quote, trade, bar or input of this instrument, or move the operator into of()"
            )


def _stream(data: object) -> StreamSpec:
    if not isinstance(data, Mapping):
        raise DefinitionError("stream must be a table: clock, calendar, session_break, guard")
    values = dict(data)
    guard_values = values.pop("guard", {})
    if not isinstance(guard_values, Mapping):
        raise DefinitionError("stream.guard must be a table: crossed, future_tolerance, duplicates")
    guard = dict(guard_values)
    _choices(values, "stream", {"clock": ("recv", "event"), "calendar": None, "session_break": ("none", "session")})
    _choices(
        guard,
        "stream.guard",
        {"crossed": ("reject", "flag"), "future_tolerance": None, "duplicates": ("reject", "keep"), "outlier": None},
    )
    if guard.get("outlier") is not None:
        try:
            guard["outlier"] = float(guard["outlier"])
        except (TypeError, ValueError):
            raise DefinitionError(f"stream.guard.outlier is a number, not {guard['outlier']!r}") from None
        if not 1.0 < guard["outlier"] < 1e9:
            raise DefinitionError(f"stream.guard.outlier is a factor above 1 and below 1e9, not {guard['outlier']}")
    if "future_tolerance" in guard:
        guard["future_tolerance"] = duration(str(guard["future_tolerance"]))
    return StreamSpec(guard=GuardSpec(**guard), **values)


def _choices(values: Mapping[str, Any], where: str, allowed: Mapping[str, tuple[str, ...] | None]) -> None:
    for key, value in values.items():
        if key not in allowed:
            raise DefinitionError(f"unknown key {where}.{key}: it has {', '.join(allowed)}")
        choices = allowed[key]
        if choices is not None and value not in choices:
            raise DefinitionError(f"{where}.{key} cannot be {value!r}: use one of {', '.join(choices)}")
