"""The model card: what a model assumes, what it saw, what it passed, what it looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alpha.models.metadata import Metadata
from alpha.registry import Check
from alpha_training import audit
from alpha_training.recipe import Recipe


def write(
    meta: Metadata,
    recipe: Recipe,
    data: str,
    checks: Sequence[Check],
    quality: Mapping[str, Mapping[str, float]],
    importance: Sequence[tuple[str, float]],
    facts: Mapping[str, Any],
    *,
    plots: bool,
) -> str:
    """Markdown. ``facts``: what else there is to know, one line each."""
    scores = ", ".join(meta.output_schema)
    labels = recipe.labels
    lines = [
        f"# {meta.model_id} v{meta.version}",
        "",
        f"Scores: {scores}. Acts at a confidence of {meta.decision.threshold:g} or more. Advisory only.",
        "",
        "## Assumptions",
        "",
        *(f"- {text}" for text in recipe.assumptions),
        "",
        "## Data",
        "",
        f"Data: {data}",
        f"Features ({len(meta.feature_names)}): {', '.join(meta.feature_names)}",
        f"Definition: {meta.definition_hash}",
        f"Label: {labels.kind} of `{labels.price}` over {labels.horizon if isinstance(labels.horizon, str) else f'{labels.horizon} rows'}",
        *(f"{name}: {value}" for name, value in facts.items()),
        "",
        "## Checks",
        "",
        "Structural checks keep a model out of the registry; the others stand in the way of promotion unless a person",
        "waives them. Statistical figures are of the test part, which no fit, search or threshold has seen. Skill is the log",
        "loss against the test part's own class prior, and the net Sharpe ratio: mean over deviation of the net profit per",
        "interval, costs included, not annualised.",
        "",
        "| check | value | limit | passed | kind |",
        "|---|---|---|---|---|",
        *(
            f"| {c.name} | {c.value:.6g} | {c.limit:g} | {_verdict(c)} | "
            f"{'structural' if c.name in audit.STRUCTURAL else 'statistical'} |"
            for c in checks
            if c.name != "latency_us"
        ),
        "",
        "The latency of this model on the machine that trained it stands in the registry and in the run's metrics.",
        "",
        *(f"- {c.name} is waived: {c.reason}" for c in checks if c.waived),
        "",
        "## Quality",
        "",
        "| metric | valid | test |",
        "|---|---|---|",
        *(
            f"| {name} | {quality['valid'].get(name, float('nan')):.4f} | {value:.4f} |"
            for name, value in quality["test"].items()
        ),
        "",
        "## Importance",
        "",
        "How much worse the loss on test rows gets when one feature's values are shuffled (mean of two).",
        "",
        "| feature | loss |",
        "|---|---|",
        *(f"| {name} | {value:+.5f} |" for name, value in importance[:20]),
        "",
        *(["![calibration, profit, importance and drift](plots.png)", ""] if plots else []),
    ]
    return "\n".join(lines)


def _verdict(check: Check) -> str:
    return "yes" if check.passed else "waived" if check.waived else "NO"
