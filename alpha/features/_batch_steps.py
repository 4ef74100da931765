"""Columns over steps in one pass each: what a source shows, what a stateful node takes in, where its results stand.
Floor 2. The same as array expressions over masks and sums of masks, without their intermediate arrays."""

# mypy: disable-error-code="untyped-decorator,no-any-return"

from __future__ import annotations

import numpy as np

from alpha.features._batch_kernels import compiled, flags_at, floats_at


@compiled()
def held(
    at: np.ndarray, values: np.ndarray, since: np.ndarray, gap_from: np.ndarray, break_from: np.ndarray, again: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(value, update, ready) at every step of something that takes ``values[k]`` at step ``at[k]`` and keeps it; ready
    from ``since[k]`` behind the last gap; ``again``: what came before the last break is gone."""
    steps = len(gap_from)
    value, update, ready = np.empty(steps), np.zeros(steps, np.bool_), np.empty(steps, np.bool_)
    k = -1
    for i in range(steps):
        if k + 1 < len(at) and at[k + 1] == i:
            k += 1
            update[i] = True
        if k < 0 or (again and at[k] < break_from[i]):
            value[i], ready[i] = np.nan, False
        else:
            value[i], ready[i] = values[k], since[k] >= gap_from[i]
    return value, update, ready


@compiled()
def taken(
    x: np.ndarray,
    y: np.ndarray,
    update_x: np.ndarray,
    update_y: np.ndarray,
    ready_x: np.ndarray,
    ready_y: np.ndarray,
    t: np.ndarray,
    since: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Finite updates: (steps, x, y, t of each; at every step: moved, how many so far, how many since ``since`` that
    were ready, the time of the first of those)."""
    steps = len(t)
    moved, seen = np.empty(steps, np.bool_), np.empty(steps, np.int64)
    gap_seen, gap_first = np.empty(steps, np.int64), np.empty(steps, np.int64)
    at, xs, ys, ts = np.empty(steps, np.int64), np.empty(steps), np.empty(steps), np.empty(steps, np.int64)
    n = count = 0
    first = begun = np.int64(0)
    for i in range(steps):
        if since[i] != begun:  # since[i] <= i: what stands before it no longer counts
            begun = since[i]
            count = 0
            first = np.int64(0)
            for j in range(begun, i):
                if moved[j] and ready_x[j] and ready_y[j]:
                    if count == 0:
                        first = t[j]
                    count += 1
        moved[i] = (update_x[i] or update_y[i]) and np.isfinite(x[i]) and np.isfinite(y[i])
        if moved[i]:
            at[n], xs[n], ys[n], ts[n] = i, x[i], y[i], t[i]
            n += 1
            if ready_x[i] and ready_y[i]:
                if count == 0:
                    first = t[i]
                count += 1
        seen[i], gap_seen[i], gap_first[i] = n, count, first
    return at[:n], xs[:n], ys[:n], ts[:n], moved, seen, gap_seen, gap_first


@compiled()
def counted(
    results: np.ndarray, seen: np.ndarray, base: np.ndarray, moved: np.ndarray, gap_seen: np.ndarray, needed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(value, update, ready) at every step from one result per update, warm after ``needed`` of them."""
    steps, one = len(seen), len(base) == 1
    value, update, ready = np.empty(steps), np.empty(steps, np.bool_), np.empty(steps, np.bool_)
    for i in range(steps):
        warm = seen[i] - base[0 if one else i] >= needed
        value[i] = results[seen[i] - 1] if warm and seen[i] > 0 else np.nan
        update[i] = moved[i] and warm
        ready[i] = gap_seen[i] >= needed
    return value, update, ready


@compiled()
def timed(
    results: np.ndarray,
    enough: np.ndarray,
    t: np.ndarray,
    times: np.ndarray,
    seen: np.ndarray,
    base: np.ndarray,
    moved: np.ndarray,
    gap_seen: np.ndarray,
    gap_first: np.ndarray,
    w: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same from one result per step, warm when ``w`` ns have passed since the first update (of ``times``) and
    ``enough`` says so; an empty ``enough`` is always so."""
    steps, one = len(t), len(base) == 1
    value, update, ready = np.empty(steps), np.empty(steps, np.bool_), np.empty(steps, np.bool_)
    for i in range(steps):
        first = base[0 if one else i]
        good = enough[i] if len(enough) else True
        warm = good and seen[i] > first and t[i] - w >= times[first]
        value[i] = results[i] if warm else np.nan
        update[i] = moved[i] and warm
        ready[i] = good and gap_seen[i] > 0 and t[i] - w >= gap_first[i]
    return value, update, ready


@compiled()
def until(times: np.ndarray, t: np.ndarray, w: int) -> np.ndarray:
    """How many of ``times`` are at or before each t - w; neither ever decreases."""
    out = np.empty(len(t), np.int64)
    k = 0
    for i in range(len(t)):
        while k < len(times) and times[k] <= t[i] - w:
            k += 1
        out[i] = k
    return out


@compiled()
def before(x: np.ndarray, times: np.ndarray, t: np.ndarray, w: int, base: np.ndarray) -> np.ndarray:
    """The newest of ``x`` (at ``times``) that is at or before each t - w, NaN where that lies before ``base``."""
    out, one = np.empty(len(t)), len(base) == 1
    k = -1
    for i in range(len(t)):
        while k + 1 < len(times) and times[k + 1] <= t[i] - w:
            k += 1
        out[i] = x[k] if k >= base[0 if one else i] else np.nan
    return out


@compiled()
def write(
    values: np.ndarray,
    readies: np.ndarray,
    steps: int,
    pick: np.ndarray,
    exact: np.ndarray,
    rounded: np.ndarray,
    flags: np.ndarray,
    whole: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Rows ``first`` to ``last``: the value of every feature at the steps ``pick``, rounded to float32, and as it is if
    ``exact`` has rows; whether all of ``readies`` are, and each of them if ``flags`` has rows.

    ``values``, ``readies``: addresses of one column of ``steps`` values each, so that none is copied first."""
    block = 128  # its part of the result stays in the first cache
    each = len(pick) == steps
    for a in range(first, last, block):
        b = min(a + block, last)
        for j in range(len(values)):
            column = floats_at(values[j], steps)
            if each:
                for i in range(a, b):
                    rounded[i, j] = np.float32(column[i])
            else:
                for i in range(a, b):
                    rounded[i, j] = np.float32(column[pick[i]])
            if len(exact):
                for i in range(a, b):
                    exact[i, j] = column[pick[i]]
        for j in range(len(readies)):
            ready = flags_at(readies[j], steps)
            for i in range(a, b):
                whole[i] &= ready[pick[i]]
            if len(flags):
                for i in range(a, b):
                    flags[i, j] = ready[pick[i]]
