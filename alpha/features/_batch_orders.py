"""Extremes, ranks and quantiles of the batch twin, compiled by numba. Floor 2. Bounds of windows never decrease."""

from __future__ import annotations

import numpy as np

from alpha.features._batch_kernels import _compiled


@_compiled()
def extremes(x: np.ndarray, lo: np.ndarray, hi: np.ndarray, largest: bool) -> np.ndarray:
    """Index of the extreme of each window, the oldest of equals; -1 where the window is empty."""
    out = np.full(len(lo), -1, dtype=np.int64)
    waiting = np.zeros(len(x) + 1, dtype=np.int64)
    first = end = b = 0
    for i in range(len(lo)):
        while b < hi[i]:
            while end > first and (x[waiting[end - 1]] < x[b] if largest else x[waiting[end - 1]] > x[b]):
                end -= 1
            waiting[end] = b
            end += 1
            b += 1
        while first < end and waiting[first] < lo[i]:
            first += 1
        if first < end:
            out[i] = waiting[first]
    return out


@_compiled("always")
def _place(values: np.ndarray, n: int, v: float) -> int:
    """How many of values[:n], ascending, lie below v."""
    a = 0
    b = n
    while a < b:
        c = (a + b) // 2
        if values[c] < v:
            a = c + 1
        else:
            b = c
    return a


@_compiled()
def orders(x: np.ndarray, lo: np.ndarray, hi: np.ndarray, what: int, q: float) -> np.ndarray:
    """Of each window: 0 the rank of its newest value, 1 its quantile q, 2 its median; NaN where it is empty."""
    m = len(lo)
    out = np.full(m, np.nan)
    widest = 1
    for i in range(m):
        widest = max(widest, hi[i] - lo[i])
    values = np.empty(2 * widest + 2)
    n = a = b = 0
    for i in range(m):
        while b < hi[i]:
            if n > widest:  # room: drop what has left first
                while a < lo[i] and a < b:
                    at = _place(values, n, x[a])
                    values[at : n - 1] = values[at + 1 : n].copy()
                    n -= 1
                    a += 1
            at = _place(values, n, x[b])
            for j in range(n, at, -1):
                values[j] = values[j - 1]
            values[at] = x[b]
            n += 1
            b += 1
        while a < lo[i]:
            at = _place(values, n, x[a])
            for j in range(at, n - 1):
                values[j] = values[j + 1]
            n -= 1
            a += 1
        if n == 0:
            continue
        if what == 0:
            v = x[b - 1]
            less = _place(values, n, v)
            equal = 0
            while less + equal < n and values[less + equal] == v:
                equal += 1
            out[i] = (less + (equal + 1) / 2) / n
        elif what == 1:
            p = q * (n - 1)
            whole = np.floor(p)
            k = int(whole)
            low = values[k]
            out[i] = low + (values[min(k + 1, n - 1)] - low) * (p - whole)
        else:
            half = n // 2
            out[i] = values[half] if n % 2 else 0.5 * (values[half - 1] + values[half])
    return out
