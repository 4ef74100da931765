"""Parts stand in time order and no label of an earlier part reaches into a later one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha.errors import DataError
from alpha_training.split import Parts, combinatorial, leaks, purged_k_fold, time_ordered, walk_forward

SECOND = 10**9


def cut(
    ts: np.ndarray, *, horizon: int = 5, embargo: int = 0, known: np.ndarray | None = None, **shares: float
) -> Parts:
    known = np.ones(len(ts), np.bool_) if known is None else known
    return time_ordered(ts, ts + horizon, known, **{"train": 0.6, "valid": 0.2, **shares}, embargo_ns=embargo)


def test_by_hand() -> None:
    parts = cut(np.arange(100, dtype=np.int64), horizon=5, embargo=2)
    # valid starts at 60, test at 80; a label of row t ends at t + 5, with the embargo at t + 7
    assert parts.train.tolist() == list(range(53))
    assert parts.valid.tolist() == list(range(60, 73))
    assert parts.test.tolist() == list(range(80, 100))


def test_equal_times_stay_together() -> None:
    ts = np.repeat(np.arange(20, dtype=np.int64), 7)
    parts = cut(ts, horizon=1)
    times = [set(ts[p].tolist()) for p in (parts.train, parts.valid, parts.test)]
    assert not (times[0] & times[1]) and not (times[1] & times[2])
    for part in (parts.train, parts.valid):
        assert all(np.count_nonzero(ts[part] == t) == 7 for t in set(ts[part].tolist()))


def test_rows_without_a_label_are_in_no_part() -> None:
    known = np.arange(100) % 3 != 0
    parts = cut(np.arange(100, dtype=np.int64), known=known)
    used = np.concatenate([parts.train, parts.valid, parts.test])
    assert known[used].all()
    assert len(np.unique(used)) == len(used)


@given(
    st.lists(st.integers(0, 300), min_size=60, max_size=300),
    st.integers(0, 12),
    st.integers(0, 12),
    st.floats(0.2, 0.7),
    st.floats(0.1, 0.25),
)
def test_nothing_leaks(times: list[int], horizon: int, embargo: int, train: float, valid: float) -> None:
    """Rows of several instruments arrive in any order; the guarantee is about times."""
    ts = np.array(times, dtype=np.int64)
    try:
        parts = cut(ts, horizon=horizon, embargo=embargo, train=train, valid=valid)
    except DataError:
        return  # so short a stream leaves a part empty: refused, not cut wrongly
    for earlier, later in ((parts.train, parts.valid), (parts.valid, parts.test)):
        assert (ts[earlier] + horizon + embargo).max() < ts[later].min()
    for part in (parts.train, parts.valid, parts.test):
        assert (np.diff(ts[part]) >= 0).all()


@pytest.mark.parametrize(("train", "valid"), [(0.0, 0.2), (0.8, 0.2), (0.9, 0.2), (0.5, 0.0), (-0.1, 0.2), (1.2, 0.1)])
def test_shares_leave_room(train: float, valid: float) -> None:
    with pytest.raises(DataError, match="leave room for a test part"):
        cut(np.arange(100, dtype=np.int64), train=train, valid=valid)


def test_too_little_data() -> None:
    with pytest.raises(DataError, match="only 9 labelled rows"):
        cut(np.arange(9, dtype=np.int64))
    with pytest.raises(DataError, match="the train part is empty"):
        cut(np.arange(100, dtype=np.int64), horizon=70)
    with pytest.raises(DataError, match="the train part is empty"):
        cut(np.zeros(50, dtype=np.int64))


# -- folds, and the finder of leaks


def stream(n: int = 400, horizon: int = 7, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times with repeats, label ends of varying length, and a few rows without a label."""
    rng = np.random.default_rng(seed)
    ts = np.cumsum(rng.integers(0, 4, n)).astype(np.int64)
    return ts, ts + rng.integers(1, horizon + 1, n), rng.random(n) > 0.05


def overlapping(ts: np.ndarray, end: np.ndarray, train: np.ndarray, test: np.ndarray, embargo: int) -> list[int]:
    """The obvious way: every pair."""
    return sorted(int(i) for i in train if any(i == j or (ts[i] <= end[j] + embargo and end[i] >= ts[j]) for j in test))


@pytest.mark.parametrize("embargo", [0, 5])
def test_leaks_against_every_pair(embargo: int) -> None:
    ts, end, _ = stream(150)
    rng = np.random.default_rng(3)
    for _ in range(20):
        rows = rng.permutation(150)
        train, test = rows[:60], rows[60 : 60 + int(rng.integers(1, 40))]
        assert leaks(ts, end, train, test, embargo).tolist() == overlapping(ts, end, train, test, embargo)


def test_a_planted_leak_is_found() -> None:
    ts, end, known = stream()
    parts = time_ordered(ts, end, known, train=0.6, valid=0.2, embargo_ns=3)
    assert leaks(ts, end, parts.train, parts.test, 3).tolist() == []
    late = parts.train[-1]
    stretched = end.copy()
    stretched[late] = ts[parts.test[0]]  # one label that reaches into the test part
    assert leaks(ts, stretched, parts.train, parts.test).tolist() == [late]
    twice = np.append(parts.train, parts.test[5])  # one row on both sides
    assert int(parts.test[5]) in leaks(ts, end, twice, parts.test).tolist()


@pytest.mark.parametrize("embargo", [0, 6])
def test_purged_folds_have_no_leak(embargo: int) -> None:
    ts, end, known = stream()
    folds = purged_k_fold(ts, end, known, folds=5, embargo_ns=embargo)
    assert len(folds) == 5
    tested = np.concatenate([f.test for f in folds])
    assert sorted(tested.tolist()) == np.flatnonzero(known).tolist()
    for f in folds:
        assert overlapping(ts, end, f.train, f.test, 0) == []
        after = f.train[ts[f.train] > ts[f.test].max()]
        assert not len(after) or ts[after].min() > end[f.test].max() + embargo
        assert known[f.train].all() and len(f.train) > 200
    plain = [np.setdiff1d(np.flatnonzero(known), f.test) for f in folds]
    assert any(len(overlapping(ts, end, p, f.test, 0)) for p, f in zip(plain, folds, strict=True))  # purging did matter


def test_combinatorial_folds_have_no_leak() -> None:
    ts, end, known = stream()
    folds = combinatorial(ts, end, known, folds=5, test_groups=2, embargo_ns=4)
    assert len(folds) == 10
    times = np.bincount(np.concatenate([f.test for f in folds]), minlength=len(ts))
    assert set(times[known]) == {4} and set(times[~known]) == {0}
    for f in folds:
        assert overlapping(ts, end, f.train, f.test, 0) == []


@pytest.mark.parametrize("window", ["expanding", "sliding"])
def test_walk_forward_learns_only_from_before(window: str) -> None:
    ts, end, known = stream()
    parts = walk_forward(ts, end, known, folds=4, train=0.4, valid=0.2, embargo_ns=2, window=window)
    assert len(parts) == 4
    for p in parts:
        assert end[p.train].max() + 2 < ts[p.valid].min() and end[p.valid].max() + 2 < ts[p.test].min()
    tested = np.concatenate([p.test for p in parts])
    assert len(np.unique(tested)) == len(tested) and (np.diff(ts[tested]) >= 0).all()
    assert len(tested) > 0.35 * known.sum()
    sizes = [len(p.train) for p in parts]
    if window == "expanding":
        assert sizes == sorted(sizes) and sizes[-1] > sizes[0]
    else:
        assert max(sizes) - min(sizes) <= 15


def test_folds_that_cannot_be_are_named() -> None:
    ts, end, known = stream(12)
    with pytest.raises(DataError, match=r"split.folds"):
        walk_forward(ts, end, known, folds=40, train=0.5, valid=0.2, embargo_ns=0)
    with pytest.raises(DataError, match=r"split.folds|train part of a fold"):
        purged_k_fold(ts, end, known, folds=40, embargo_ns=0)
    with pytest.raises(DataError, match="train part of a fold is empty"):
        purged_k_fold(ts, ts + 10_000, known, folds=3, embargo_ns=0)
