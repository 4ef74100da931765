"""What the leaves of features need of a stream against what it has, and the sentences that say so. Floor 2."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from alpha.events import Flag, Kind
from alpha.features.feature_set import FeatureSet
from alpha.features.language import BarClock, Expr, walk
from alpha.features.operators import OPERATORS

_GROUPS = {"quote": Kind.QUOTE, "trade": Kind.TRADE, "bar": Kind.BAR, "depth": Kind.DEPTH}


class Has(Protocol):
    """What a stream has: events by kind, those of them without sizes, and names of external series."""

    @property
    def kinds(self) -> Mapping[Kind, int]:
        """Events by kind."""

    @property
    def unsized(self) -> Mapping[Kind, int]:
        """Events without sizes by kind."""

    @property
    def inputs(self) -> Container[str]:
        """External series."""


@dataclass(frozen=True)
class Counted:
    """What an array of events has (see :func:`counted`)."""

    kinds: Counter[Kind]
    unsized: Counter[Kind]
    inputs: frozenset[str]


def counted(fs: FeatureSet, events: npt.NDArray[Any]) -> Counted:
    """What these events have for this set; of its external series those that an INPUT event updates."""

    def by_kind(of: npt.NDArray[Any]) -> Counter[Kind]:
        values, counts = np.unique(of["kind"], return_counts=True)
        known = {int(k) for k in Kind}
        return Counter({Kind(k): n for k, n in zip(values.tolist(), counts.tolist(), strict=True) if k in known})

    of_series = events[events["kind"] == Kind.INPUT]["v"][:, 0]
    series = frozenset(name for k, name in enumerate(fs.inputs) if np.any(of_series == k))
    return Counted(by_kind(events), by_kind(events[events["flags"] & np.uint16(Flag.NO_QTY) != 0]), series)


def _needs(node: Expr) -> tuple[Kind, bool] | None:
    """(kind of event, whether with its size) that updates a leaf of an expression."""
    if node.op == "bar":
        clock, source, field = node.params
        kind = {"feed": Kind.BAR, "trade": Kind.TRADE, "mid": Kind.QUOTE}[str(source)]
        counts = isinstance(clock, BarClock) and clock.kind != "tick_bar"  # sizes close it
        return kind, counts or (field in ("volume", "vwap") and kind != Kind.QUOTE)
    op = OPERATORS.get(node.op)
    updated_by = None if op is None else _GROUPS.get(op.group)  # time passes with every event and lacks nothing
    return None if op is None or updated_by is None else (updated_by, op.needs_qty)


def lacking(fs: FeatureSet, has: Has) -> dict[str, str]:
    """Features that this stream can never make ready, and what it lacks for them."""
    out = {}
    for name, expression in fs.features.items():
        for node in walk(expression):
            if node.op == "input" and node.params[0] not in has.inputs:
                out[name] = f"values of the external series {node.params[0]!r} (--input {node.params[0]}=FILE)"
            need = _needs(node)
            if need is None:
                continue
            kind, sized = need
            if not has.kinds.get(kind, 0):
                out[name] = f"{kind.name} events"
            elif sized and has.kinds.get(kind, 0) == has.unsized.get(kind, 0):
                out.setdefault(name, f"sizes of {kind.name} events")
    return out


def sentence(fs: FeatureSet, has: Has) -> str:
    """Which features no length of this stream would make ready, and why; empty if there are none."""
    lacks = lacking(fs, has)
    missing = " and no ".join(dict.fromkeys(lacks.values()))
    names = ", ".join(n for n in fs.names if n in lacks)
    return f"{names} can never become ready, because the data has no {missing}" if lacks else ""


def no_row(fs: FeatureSet, has: Has, events: int) -> str:
    """Why no row was ever made."""
    trigger = fs.trigger
    when = f"the model decides at each {trigger}"
    kind = {"quote": Kind.QUOTE, "trade": Kind.TRADE}.get(trigger.kind)
    if trigger.bar is not None:
        kind = {"feed": Kind.BAR, "trade": Kind.TRADE, "mid": Kind.QUOTE}[trigger.bar.source]
    have = ", ".join(sorted(k.name for k in has.kinds)) or "no"
    if kind is not None and not has.kinds.get(kind, 0):
        return f"{when}, which needs {kind.name} events; the data has {have} events"
    return f"{when}, and {events:,} events of the data led to none: give more of it"
