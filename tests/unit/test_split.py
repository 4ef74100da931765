"""Parts stand in time order and no label of an earlier part reaches into a later one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha.errors import DataError
from alpha_training.split import Parts, time_ordered

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
