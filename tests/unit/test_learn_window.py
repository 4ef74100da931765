"""Which rows update and which judge: time order, purging, nothing that production knew, and clear words for too little."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learned import DEMO

from alpha.data.simulate import simulate
from alpha.errors import DataError
from alpha.events import SIGNAL_DTYPE, Reason
from alpha_training.labels import Labelled
from alpha_training.learn import window as windows
from alpha_training.learn.rows import Rows, source_of, with_later
from alpha_training.learn.stream import Decided
from alpha_training.snapshot import Snapshot
from alpha_training.split import leaks

TABLE = simulate(1).instruments


def rows(ts: Any, end: Any, known: Any, reasons: Any = None) -> Rows:
    """Rows that hold nothing but their times; ``reasons`` of the logged decisions."""
    n = len(ts)
    z = np.zeros(n)
    snap = Snapshot(
        np.zeros((n, len(DEMO.names)), np.float32),
        np.asarray(ts, np.int64),
        np.zeros(n, np.uint32),
        np.arange(n),
        n,
        {"share": 1.0, "pass": True},
    )
    signals = np.zeros(n, SIGNAL_DTYPE)
    signals["reason"] = Reason.MODEL if reasons is None else reasons
    decided = Decided(np.arange(n), signals, snap.x, np.arange(n))
    labels = Labelled(np.arange(n) % 3, z, np.asarray(end, np.int64), np.asarray(known, bool), z + 100, z)
    source = source_of(simulate(10).events, TABLE, "", "")
    verdict = np.zeros(n, np.uint8)
    return Rows(snap, labels, np.zeros(n, np.int64), np.arange(n), decided, source, snap.ts_ns, verdict, Counter())


def plain(n: int = 3_000, horizon: int = 50) -> Rows:
    ts = np.arange(n) * 10
    return rows(ts, ts + horizon, ts + horizon <= ts[-1])


def cut(r: Rows, **more: Any) -> windows.Window:
    given: dict[str, Any] = {
        "window": None,
        "later": None,
        "judge_share": 0.3,
        "valid_share": 0.25,
        "trained_until_ns": -1,
        "only_new": True,
        "embargo_ns": 0,
    }
    return windows.cut(r, **(given | more))


@given(
    seed=st.integers(0, 10_000),
    horizon=st.integers(1, 400),
    embargo=st.integers(0, 100),
    trained=st.integers(-1, 8_000),
    window=st.one_of(st.none(), st.integers(600, 3_000), st.sampled_from(["9us", "20us"])),
    only_new=st.booleans(),
)
def test_no_outcome_of_an_earlier_part_reaches_into_a_later_one(
    seed: int, horizon: int, embargo: int, trained: int, window: Any, only_new: bool
) -> None:
    rng = np.random.default_rng(seed)
    ts = np.cumsum(rng.integers(0, 20, 3_000))
    end = ts + rng.integers(1, horizon + 1, len(ts))
    r = rows(ts, end, (end <= ts[-1]) & (rng.random(len(ts)) < 0.98))
    w = cut(r, window=window, trained_until_ns=trained, only_new=only_new, embargo_ns=embargo)
    p = w.parts
    for a, b in ((p.train, p.valid), (p.train, p.test), (p.valid, p.test)):
        assert len(leaks(ts, end, a, b, embargo)) == 0
        assert ts[a].max() < ts[b].min()
        assert (end[a] + embargo < ts[b].min()).all()
    used = np.concatenate([p.train, p.valid, p.test])
    assert r.labels.known[used].all()
    assert (ts[p.test] > trained).all()  # production never saw what judges it
    if only_new:
        assert (ts[used] > trained).all()
    assert (ts[used] >= w.begin_ns).all() and (ts[p.test] >= w.end_ns).all()
    if isinstance(window, int):
        assert len(p.train) + len(p.valid) <= window + int((ts == w.begin_ns).sum())
    elif window is not None:
        last = ts[r.labels.known & (ts < w.end_ns)].max()
        assert last - w.begin_ns < {"9us": 9_000, "20us": 20_000}[window]
    assert w.unrealised == int((~r.labels.known).sum())


def test_what_is_not_realised_at_the_end_is_counted_and_left_out() -> None:
    r = plain(horizon=95)
    w = cut(r)
    assert w.unrealised == 10
    assert w.parts.test.max() == 3_000 - 11
    assert w.purged == 2 * 9  # before each of the two cuts, those whose outcome reaches it
    assert w.stale == 0
    assert cut(r, trained_until_ns=9_990).stale == 1_000


def test_a_stream_of_its_own_judges_and_the_log_is_left_to_the_update() -> None:
    r = plain()
    later = rows(np.arange(20_000, 35_000, 10), np.arange(20_000, 35_000, 10) + 50, np.ones(1_500, bool))
    from alpha_training.learn.rows import Part

    part = Part(later.snap, later.labels, np.full(1_500, -1))
    logs: Any = type("Logs", (), {"instruments": TABLE})
    both, is_later = with_later(r, part, logs)
    assert both.counted["rows of --judge before the log's end (left out)"] == 1_000
    assert is_later.sum() == 500
    assert both.snap.instrument_id[is_later].min() == 1  # no position or window goes from the log into it
    w = cut(both, later=is_later)
    assert is_later[w.parts.test].all() and len(w.parts.test) == 500
    assert not is_later[np.concatenate([w.parts.train, w.parts.valid])].any()
    early = Part(r.snap, r.labels, np.full(3_000, -1))
    with pytest.raises(DataError, match=r"--judge: none of its rows comes after the audit log's end"):
        with_later(r, early, logs)


def test_too_little_is_refused_with_what_to_do() -> None:
    r = plain()
    for more, words in (
        ({"trained_until_ns": 10**9}, r"nothing new for this model: production was trained on all of its rows"),
        ({"window": 100}, r"too few outcomes: \d+ rows to update the model, at least 200"),
        ({"judge_share": 0.01}, r"too few outcomes: \d+ rows to judge it by, at least 100"),
        ({"valid_share": 0.005}, r"too few outcomes: \d+ rows to choose its threshold, at least 50"),
        ({"judge_share": 1.0}, r"--judge-share must be above 0 and below 1"),
        ({"trained_until_ns": 29_000}, r"too few outcomes"),
    ):
        with pytest.raises(DataError, match=words):
            cut(r, **more)
    ts = np.arange(500) * 10
    with pytest.raises(DataError, match="no outcome is known yet"):
        cut(rows(ts, ts + 10_000, np.zeros(500, bool)))


@pytest.mark.parametrize(("text", "what"), [("20000", 20_000), ("20,000", 20_000), ("500 rows", 500), ("5d", "5d")])
def test_a_window_is_rows_or_a_duration(text: str, what: int | str) -> None:
    assert windows.length_of(text) == what


@pytest.mark.parametrize("text", ["", "0", "-5", "five", "5 days", "1.5"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="neither a number of rows"):
        windows.length_of(text)


def test_what_happened_in_the_window_is_told() -> None:
    r = plain()
    w = cut(r)
    found, said = windows.cautions(r, w)
    assert said == [] and found["MODEL"] == len(w.parts.train) + len(w.parts.valid)
    reasons = np.full(3_000, int(Reason.MODEL))
    reasons[500:600], reasons[700:710] = Reason.KILLED, Reason.BREAKER
    reasons[2_900:] = Reason.HALTED  # in the judged part
    r = rows(r.snap.ts_ns, r.labels.end_ns, r.labels.known, reasons)
    r.verdict[100:121], r.verdict[2_990] = Reason.OUTLIER, Reason.CROSSED
    found, said = windows.cautions(r, w)
    assert found["rejected OUTLIER"] == 21 and "rejected CROSSED" not in found
    assert said[0].startswith("the guard rejected 1.001%") or "(OUTLIER 21)" in said[0]
    assert [s.split(" of ")[0] for s in said[1:]] == ["100", "10"]
    assert "killed" in said[1] and "breaker" in said[2] and len(said) == 3
