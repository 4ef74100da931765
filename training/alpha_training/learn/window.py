"""Which rows update a model, which choose its threshold, which judge it: in time order, purged, and none that it knew."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alpha.errors import DataError, DefinitionError
from alpha.events import Reason
from alpha.features.language import duration
from alpha_training import split
from alpha_training.learn.rows import Rows
from alpha_training.split import Parts

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
LEAST = {"update": 200, "valid": 50, "judge": 100}
"""Rows with a realised outcome that each part needs: fewer say nothing about anything."""


@dataclass(frozen=True)
class Window:
    """``parts``: update, choose, judge (train, valid, test in the audit's words); ``begin_ns`` and ``end_ns`` of the rows
    that the update may use; ``unrealised``: rows whose outcome the stream's end does not show; ``purged``: rows whose
    outcome reaches into the next part; ``stale``: rows that production had been trained on and a head leaves out."""

    parts: Parts
    begin_ns: int
    end_ns: int
    unrealised: int
    purged: int
    stale: int


def length_of(text: str) -> int | str:
    """``--window``: a number of rows, or a duration. DataError for anything else."""
    digits = text.replace(",", "").replace("_", "").removesuffix("rows").strip()
    if digits.isdigit() and int(digits) > 0:
        return int(digits)
    try:
        duration(text)
    except DefinitionError:
        raise DataError(
            f"--window {text!r} is neither a number of rows such as 20000 nor a duration such as 5d"
        ) from None
    return text


def check_share(share: float) -> None:
    """``--judge-share``. DataError for a share that leaves nothing to learn from, or nothing to judge by."""
    if not 0.0 < share < 1.0:
        raise DataError(f"--judge-share must be above 0 and below 1, it is {share}")


def cut(
    rows: Rows,
    *,
    window: int | str | None,
    later: Bools | None,
    judge_share: float,
    valid_share: float,
    trained_until_ns: int,
    only_new: bool,
    embargo_ns: int,
) -> Window:
    """The parts. ``later``: rows of a stream of their own to judge on, else the last ``judge_share`` of the new rows of the
    log; ``trained_until_ns``: production knows what lies up to there; ``only_new``: the update begins behind that.

    DataError if there is nothing new, or too little of it.
    """
    check_share(judge_share)
    ts, end, known = rows.snap.ts_ns, rows.labels.end_ns, rows.labels.known
    new = np.flatnonzero(known & (ts > trained_until_ns))
    if not len(new):
        reach = "no outcome is known yet" if not known.any() else "production was trained on all of its rows"
        raise DataError(
            f"the audit log holds nothing new for this model: {reach}: let it serve longer, or name a later log"
        )
    own = new if later is None else new[~later[new]]
    if later is not None:
        test_from = int(ts[later].min())
    else:
        order = own[np.argsort(ts[own], kind="stable")]
        test_from = int(ts[order[min(int(len(order) * (1.0 - judge_share)), len(order) - 1)]])
    before = np.sort(ts[known & (ts < test_from)])
    if only_new:
        before = before[before > trained_until_ns]
    begin = _begin(before, window)
    used = before[before >= begin]
    if not len(used):
        raise _too_few("update", 0)
    valid_from = int(used[min(int(len(used) * (1.0 - valid_share)), len(used) - 1)])
    parts = split.at_times(
        ts, end, known, begin=begin, valid_from=valid_from, test_from=test_from, embargo_ns=embargo_ns
    )
    for name, part in zip(LEAST, (parts.train, parts.valid, parts.test), strict=True):
        if len(part) < LEAST[name]:
            raise _too_few(name, len(part))
    inside = known & (ts >= begin)
    kept = sum(len(p) for p in (parts.train, parts.valid, parts.test))
    return Window(
        parts,
        begin,
        test_from,
        int(np.count_nonzero(~known)),
        int(np.count_nonzero(inside)) - kept,
        int(np.count_nonzero(known & (ts <= trained_until_ns))) if only_new else 0,
    )


def _begin(before: Ints, window: int | str | None) -> int:
    """Time of the first row that may update."""
    if not len(before):
        return 0
    if window is None:
        return int(before[0])
    if isinstance(window, int):
        return int(before[max(len(before) - window, 0)])
    return max(int(before[-1]) - duration(window).ns + 1, int(before[0]))


def _too_few(name: str, n: int) -> DataError:
    does = {"update": "to update the model", "valid": "to choose its threshold", "judge": "to judge it by"}[name]
    return DataError(
        f"too few outcomes: {n:,} rows {does}, at least {LEAST[name]} are needed: let the model serve longer, make --window "
        "longer, change --judge-share, or take a shorter labels.horizon"
    )


def cautions(rows: Rows, window: Window) -> tuple[dict[str, int], list[str]]:
    """What lies in the update window that a person should know before promoting: (counts, sentences)."""
    inside = (rows.events_ns >= window.begin_ns) & (rows.events_ns < window.end_ns)
    verdicts = Counter(rows.verdict[inside].tolist())
    n = sum(verdicts.values())
    rejected = {Reason(k).name: v for k, v in verdicts.items() if k}
    used = rows.decision[np.concatenate([window.parts.train, window.parts.valid])]
    signals = rows.decided.signal[used[used >= 0]]
    reasons = Counter(Reason(int(r)).name for r in signals["reason"].tolist())
    out = []
    if sum(rejected.values()):
        share = sum(rejected.values()) / max(n, 1)
        names = ", ".join(f"{k} {v:,}" for k, v in sorted(rejected.items()))
        out.append(f"the guard rejected {share:.3%} of the window's {n:,} events ({names}): no row was made of them")
    for name, what in (
        ("KILLED", "while the model was killed"),
        ("HALTED", "while trading was halted"),
        ("BREAKER", "while the breaker was open"),
        ("OUT_OF_DISTRIBUTION", "while they were held for being unlike the training rows"),
    ):
        if reasons[name]:
            out.append(f"{reasons[name]:,} of {len(used):,} rows come from a time {what}: look at that time first")
    return {"events": n, **{f"rejected {k}": v for k, v in sorted(rejected.items())}, **dict(reasons)}, out
