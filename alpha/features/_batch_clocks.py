"""Trades counted in whole lots and ticks, for the batch twin: what closes bars, what is in them, VPIN. Floor 2.

Written from ``docs/numerics.md`` (rules 53 and 54) without the native code. Everything is int64: what
enters is below 2**62, and what would reach 2**62 is flagged instead of added, so nothing wraps.
"""

# mypy: disable-error-code="untyped-decorator,no-any-return"

from __future__ import annotations

import numpy as np

from alpha.features._batch_kernels import compiled

LIMIT = 2**62
_CUT = 36  # |net| < 2**62 in two parts: sums of 2**24 upper ones stay below 2**53, of lower ones below 2**63
_LOW = 2**36 - 1


@compiled()
def products(lots: np.ndarray, ticks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """lots*ticks (both >= 0), and where that is 2**62 or more (0 there)."""
    out = np.zeros(len(lots), dtype=np.int64)
    over = np.zeros(len(lots), dtype=np.bool_)
    for i in range(len(lots)):
        if lots[i] > 0 and ticks[i] > (LIMIT - 1) // lots[i]:
            over[i] = True
        else:
            out[i] = lots[i] * ticks[i]
    return out, over


@compiled()
def closing(steps: np.ndarray, size: int) -> np.ndarray:
    """Which of these steps let the multiples of ``size`` in their running sum rise; only the rest of it is kept."""
    out = np.zeros(len(steps), dtype=np.bool_)
    rest = 0
    for i in range(len(steps)):
        rest += steps[i]
        if rest >= size:
            rest %= size
            out[i] = True
    return out


@compiled()
def bar_sums(values: np.ndarray, missing: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the values (each < 2**62) of every bar, bars beginning at ``start``; False where one is missing or the
    sum reaches 2**62."""
    total = np.zeros(len(start), dtype=np.int64)
    known = np.ones(len(start), dtype=np.bool_)
    for b in range(len(start)):
        stop = start[b + 1] if b + 1 < len(start) else len(values)
        s = 0
        for i in range(start[b], stop):
            if missing[i]:
                known[b] = False
                break
            s += values[i]
            if s >= LIMIT:
                known[b] = False
                break
        if known[b]:
            total[b] = s
    return total, known


@compiled()
def vpin(
    lots: np.ndarray, sign: np.ndarray, first: np.ndarray, bucket: int, n: int, whole: float
) -> tuple[np.ndarray, np.ndarray]:
    """Rule 54 per trade: the value where it filled a bucket and n are full (else NaN), and how many it filled (n at most).

    ``first``: everything starts again before this trade; ``whole``: float64(n*bucket).
    """
    out = np.full(len(lots), np.nan)
    filled = np.zeros(len(lots), dtype=np.int64)
    nets = np.zeros(n, dtype=np.int64)
    full = at = 0
    high = low = 0
    room = bucket
    net = 0
    for i in range(len(lots)):
        if first[i]:
            full = at = high = low = net = 0
            room = bucket
        left = lots[i]
        s = sign[i]
        if left < room:
            net += s * left
            room -= left
            continue
        left -= room
        more = left // bucket  # filled by this trade alone
        left -= more * bucket
        count = 1 + min(more, n)
        for k in range(count):
            if full == n:
                high -= nets[at] >> _CUT
                low -= nets[at] & _LOW
            else:
                full += 1
            nets[at] = abs(net + s * room) if k == 0 else abs(s) * bucket
            high += nets[at] >> _CUT
            low += nets[at] & _LOW
            at = at + 1 if at + 1 < n else 0
        net = s * left
        room = bucket - left
        filled[i] = min(count, n)
        if full == n:
            upper = high + (low >> _CUT)
            out[i] = (float(upper) * 2.0**_CUT + float(low & _LOW)) / whole
    return out, filled
