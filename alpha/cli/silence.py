"""Why a stream led to no decision, or to none but NOT_WARM: what the features need against what the data has. Floor 8."""

from __future__ import annotations

from typing import Any

from alpha.features import needs
from alpha.features.feature_set import FeatureSet


def never_ready(fs: FeatureSet, source: Any) -> list[str]:
    """Features that no length of this source would make ready, in the model's order."""
    return [name for name in fs.names if name in needs.lacking(fs, source)]


def of_run(fs: FeatureSet, source: Any, stats: dict[str, Any]) -> str:
    """One sentence if a run decided nothing, or nothing but NOT_WARM; else empty."""
    if stats["decisions"] == 0:
        return f"there was no decision: {needs.no_row(fs, source, source.events_read)}"
    if stats["reasons"].get("NOT_WARM", 0) != stats["decisions"]:
        return ""
    lacking = of_data(fs, source)
    if not lacking:
        return "every decision was NOT_WARM: the data ends before all features are warm: give more of it"
    return f"every decision was NOT_WARM: {lacking}: use data that has them, or a model without these features"


def of_data(fs: FeatureSet, source: Any) -> str:
    """Which features no length of this source would make ready, and why; empty if there are none."""
    return needs.sentence(fs, source)


def of_instrument(fs: FeatureSet, source: Any, stats: dict[str, Any], symbol: str, events: int) -> str:
    """One sentence on why an instrument has no decision after ``events`` events of the source."""
    if stats["decisions"]:
        return f"none of the {events:,} events led to one for {symbol}, only for other instruments"
    return needs.no_row(fs, source, events)
