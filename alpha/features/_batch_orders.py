"""Extremes and order statistics of moving windows, for the batch twin. Floor 2.

Windows are [lo_i, hi_i) of the updates, and bounds never decrease. The whole series is known, so every
value has a fixed place among the distinct ones: a binary indexed tree over the places counts what the
window holds, and any rank or order statistic costs the logarithm of their number, whatever the window.
"""

# mypy: disable-error-code="untyped-decorator,no-any-return"

from __future__ import annotations

import numpy as np

from alpha.features._batch_kernels import compiled


@compiled()
def rolling_lowest(x: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """Index of the oldest smallest value of each window; -1 where it is empty."""
    out = np.empty(len(lo), dtype=np.int64)
    queue = np.empty(len(x), dtype=np.int64)  # candidates, oldest first, their values never falling
    head = tail = b = 0
    for i in range(len(lo)):
        while b < hi[i]:
            while tail > head and x[queue[tail - 1]] > x[b]:  # an equal one is older: it stays
                tail -= 1
            queue[tail] = b
            tail += 1
            b += 1
        while head < tail and queue[head] < lo[i]:
            head += 1
        out[i] = queue[head] if head < tail else -1
    return out


@compiled()
def _count(tree: np.ndarray, place: int, by: int) -> None:
    i = place + 1
    while i < len(tree):
        tree[i] += by
        i += i & -i


@compiled()
def _below(tree: np.ndarray, place: int) -> int:
    """How many values stand at places before this one."""
    total = 0
    i = place
    while i > 0:
        total += tree[i]
        i -= i & -i
    return total


@compiled()
def _nth(tree: np.ndarray, k: int) -> int:
    """Place of the k-th smallest value, k from 0."""
    step = 1
    while 2 * step < len(tree):
        step *= 2
    at = 0
    while step > 0:
        if at + step < len(tree) and tree[at + step] <= k:
            at += step
            k -= tree[at]
        step //= 2
    return at


@compiled()
def rolling_rank(places: np.ndarray, distinct: int, lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many values of each window are below, and how many equal to, the newest one (itself included)."""
    less = np.zeros(len(lo), dtype=np.int64)
    equal = np.zeros(len(lo), dtype=np.int64)
    tree = np.zeros(distinct + 1, dtype=np.int32)
    held = np.zeros(distinct, dtype=np.int32)
    a = b = 0
    for i in range(len(lo)):
        while b < hi[i]:
            _count(tree, places[b], 1)
            held[places[b]] += 1
            b += 1
        while a < lo[i]:
            _count(tree, places[a], -1)
            held[places[a]] -= 1
            a += 1
        if b > a:
            less[i] = _below(tree, places[b - 1])
            equal[i] = held[places[b - 1]]
    return less, equal


@compiled()
def rolling_nth(
    places: np.ndarray, distinct: int, lo: np.ndarray, hi: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the first_i-th and second_i-th smallest value of each window, -1 where it is empty."""
    one = np.full(len(lo), -1, dtype=np.int64)
    two = np.full(len(lo), -1, dtype=np.int64)
    tree = np.zeros(distinct + 1, dtype=np.int32)
    a = b = 0
    for i in range(len(lo)):
        while b < hi[i]:
            _count(tree, places[b], 1)
            b += 1
        while a < lo[i]:
            _count(tree, places[a], -1)
            a += 1
        if b > a:
            one[i] = _nth(tree, first[i])
            two[i] = one[i] if second[i] == first[i] else _nth(tree, second[i])
    return one, two
