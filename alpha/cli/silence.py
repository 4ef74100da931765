"""Why a stream led to no decision, or to none but NOT_WARM: what the features need against what the data has. Floor 8."""

from __future__ import annotations

from typing import Any

from alpha.events import Kind
from alpha.features.feature_set import FeatureSet
from alpha.features.language import BarClock, Expr, walk
from alpha.features.operators import OPERATORS

_GROUPS = {"quote": Kind.QUOTE, "trade": Kind.TRADE, "bar": Kind.BAR, "depth": Kind.DEPTH}


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


def _lacking(fs: FeatureSet, source: Any) -> dict[str, str]:
    """Features that this source can never make ready, and what it lacks for them."""
    out = {}
    for name, expression in fs.features.items():
        for node in walk(expression):
            if node.op == "input" and node.params[0] not in source.inputs:
                out[name] = f"values of the external series {node.params[0]!r} (--input {node.params[0]}=FILE)"
            need = _needs(node)
            if need is None:
                continue
            kind, sized = need
            if not source.kinds[kind]:
                out[name] = f"{kind.name} events"
            elif sized and source.kinds[kind] == source.unsized[kind]:
                out.setdefault(name, f"sizes of {kind.name} events")
    return out


def never_ready(fs: FeatureSet, source: Any) -> list[str]:
    """Features that no length of this source would make ready, in the model's order."""
    return [name for name in fs.names if name in _lacking(fs, source)]


def of_run(fs: FeatureSet, source: Any, stats: dict[str, Any]) -> str:
    """One sentence if a run decided nothing, or nothing but NOT_WARM; else empty."""
    if stats["decisions"] == 0:
        return f"there was no decision: {_no_row(fs, source, source.events_read)}"
    if stats["reasons"].get("NOT_WARM", 0) != stats["decisions"]:
        return ""
    lacking = of_data(fs, source)
    if not lacking:
        return "every decision was NOT_WARM: the data ends before all features are warm: give more of it"
    return f"every decision was NOT_WARM: {lacking}: use data that has them, or a model without these features"


def of_data(fs: FeatureSet, source: Any) -> str:
    """Which features no length of this source would make ready, and why; empty if there are none."""
    lacking = _lacking(fs, source)
    missing = " and no ".join(dict.fromkeys(lacking.values()))
    names = ", ".join(n for n in fs.names if n in lacking)
    return f"{names} can never become ready, because the data has no {missing}" if lacking else ""


def of_instrument(fs: FeatureSet, source: Any, stats: dict[str, Any], symbol: str, events: int) -> str:
    """One sentence on why an instrument has no decision after ``events`` events of the source."""
    if stats["decisions"]:
        return f"none of the {events:,} events led to one for {symbol}, only for other instruments"
    return _no_row(fs, source, events)


def _no_row(fs: FeatureSet, source: Any, events: int) -> str:
    """Why no row was ever made."""
    trigger = fs.trigger
    when = f"the model decides at each {trigger}"
    kind = {"quote": Kind.QUOTE, "trade": Kind.TRADE}.get(trigger.kind)
    if trigger.bar is not None:
        kind = {"feed": Kind.BAR, "trade": Kind.TRADE, "mid": Kind.QUOTE}[trigger.bar.source]
    have = ", ".join(sorted(k.name for k in source.kinds)) or "no"
    if kind is not None and not source.kinds[kind]:
        return f"{when}, which needs {kind.name} events; the data has {have} events"
    return f"{when}, and {events:,} events of the data led to none: give more of it"
