"""Every reason of a Signal in words: what it means, what to do. Floor 1. ``docs/reasons.md`` is what :func:`page` returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from alpha.events import Reason

COMMAND = "alpha explain --reasons > docs/reasons.md"


class Told(NamedTuple):
    """``meaning``: what was found; ``remedy``: what a person does about it."""

    meaning: str
    remedy: str


REASONS: Mapping[Reason, Told] = {
    Reason.UNSET: Told("no decision was made", "counts as HOLD; a Signal that a pipeline made never has it"),
    Reason.MODEL: Told("the model decided", "nothing: the action is the model's, HOLD included"),
    Reason.KILLED: Told(
        "a kill is set: for all, for this model, or for this instrument",
        "`alpha kill --list`, then `alpha kill --revive`, of one model or instrument with its `--model ID` or `--symbol SYM`; inside the process `rt.revive()`",
    ),
    Reason.HALTED: Told(
        "the venue (STATUS) or a CONTROL event halted the instrument", "wait for RESUME or OPEN, or send CONTROL RESUME"
    ),
    Reason.OUT_OF_SESSION: Told(
        "the row's time lies outside of the regular sessions that the model or the instrument is bound to, or past the end "
        "of the session table",
        "wait for the open; past the table's end make it anew with `alpha sessions NAME`; or declare `sessions` as `any`",
    ),
    Reason.STALE: Told(
        "the data behind the row are older than declared, or events were lost and the features are not warm again",
        "look at the feed: `rt.explain` names the age; after a gap wait until the features are warm",
    ),
    Reason.NOT_WARM: Told(
        "a feature has not seen enough events, or the model's window is not full",
        "wait, or `rt.warm(history)`; `alpha explain` shows which feature",
    ),
    Reason.NON_FINITE_FEATURE: Told(
        "a feature is NaN or infinite on this data", "`alpha explain` shows which; look at its inputs and its formula"
    ),
    Reason.OUT_OF_DISTRIBUTION: Told(
        "the row, or the last rows together, are not like the training data: a range, the distance, or PSI is exceeded",
        "`rt.explain` shows which limit; look for a change of feed, units or market, then train anew or widen `limits`",
    ),
    Reason.MODEL_INACTIVE: Told(
        "the registry's policy lets no version of this status decide",
        "promote a version: `alpha registry promote`; `inactive` in registry.toml says which statuses are meant",
    ),
    Reason.MODEL_EXPIRED: Told("stream time is past the model's `valid_until`", "register and promote a newer version"),
    Reason.DEFINITION_CHANGED: Told(
        "a feature of the model means something else in this build", "`alpha registry revalidate MODEL --data FILE`"
    ),
    Reason.NO_MODEL: Told(
        "the runtime was started without a model that it could trust", "`rt.why` says what is missing"
    ),
    Reason.NO_ORT: Told(
        "ONNX Runtime is missing, and no stored verdict vouches for the plan",
        "install onnxruntime, or run `alpha validate MODEL --data FILE --store` where it is",
    ),
    Reason.MODEL_ERROR: Told(
        "the model's engine failed on this row", "`alpha validate MODEL --data FILE`; roll back if it goes on"
    ),
    Reason.NON_FINITE_OUTPUT: Told(
        "the model gave NaN or an infinity", "`alpha explain` shows the row; roll back, then repair the export"
    ),
    Reason.BELOW_THRESHOLD: Told(
        "the highest probability (or |value|) is below the threshold in force",
        "nothing: the model is not sure enough; `rt.stats()['threshold']` says which threshold is in force",
    ),
    Reason.COOLDOWN: Told("the last action is not long enough ago", "nothing: the model declares `cooldown_ns`"),
    Reason.DUPLICATE_BAR: Told(
        "the model has decided on a bar with this very time already",
        "look for a feed that sends bars twice; a corrected bar is not decided again",
    ),
    Reason.AUDIT_BLOCKED: Told("the audit log could not be written", "free the disk, then `rt.rotate_audit()`"),
    Reason.BREAKER: Told(
        "the model failed too often, or was too slow too often in a row, and is not listened to",
        "`rt.stats()['breaker']` says why; roll back or repair, then `rt.reset_breaker()`",
    ),
    Reason.NON_FINITE: Told(
        "the event holds NaN or an infinity", "repair the source; `alpha data FILE` counts such rows"
    ),
    Reason.PRICE: Told(
        "a price is zero or negative, a size negative, a bar's high below its low, or a side not -1, 0, 1",
        "repair the source; `alpha data FILE` counts such rows",
    ),
    Reason.CROSSED: Told(
        "bid above ask in a continuous session", 'flag AUCTION where that is lawful, or `crossed = "flag"` in the guard'
    ),
    Reason.BACKWARDS: Told("the event is earlier than one before it", "sort the source, or choose the other `clock`"),
    Reason.FUTURE: Told(
        "exchange time lies ahead of receipt time, or time leapt more than 30 days at once",
        "set `clock_offset_ns` of the instrument, or a larger `future_tolerance`",
    ),
    Reason.DUPLICATE: Told(
        "the venue's sequence number was seen before",
        'nothing; or `duplicates = "keep"` in the guard if numbers repeat',
    ),
    Reason.OUTLIER: Told(
        "the price is more than `outlier` times the last one, or less than that part of it",
        "look at the feed; the fifth such price in a row that agrees with the others is believed; `outlier` in the guard",
    ),
    Reason.INSTRUMENT: Told("the event names an instrument that is not served", "add it to the runtime's instruments"),
    Reason.KIND: Told(
        "the event's kind, level or code does not exist", "repair the source, or what writes CONTROL events"
    ),
}
"""In the order of the gate, then of the guard."""


def remedy(reason: Reason) -> str:
    """One sentence for a person."""
    return REASONS[reason].remedy


def page() -> str:
    """The whole page as Markdown."""
    lines = [
        "# Reasons",
        "",
        f"Made from the table in `alpha/reasons.py` by `{COMMAND}`; not written by hand.",
        "",
        "Every Signal has one reason. 2 to 20 stand in the order in which the gate asks; the first that applies is the one "
        "that is counted. 32 and up: the guard refused the event before any feature saw it. All but MODEL are HOLD.",
        "",
        "| number | reason | what it means | what to do |",
        "|---|---|---|---|",
    ]
    lines += [f"| {int(r)} | {r.name} | {_cell(t.meaning)} | {_cell(t.remedy)} |" for r, t in REASONS.items()]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
