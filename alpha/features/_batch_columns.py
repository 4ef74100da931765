"""Columns of the batch twin: every expression node over the steps of one timeline. Floor 2.

A column is a node's value at each step, whether it passes an update on, and whether it is ready. What each operator
makes of its operands stands in the modules above this one; here is what they share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from threading import RLock
from typing import Any, NamedTuple

import numpy as np

from alpha.features._batch_sessions import Seen
from alpha.features._batch_timeline import Bools, Floats, Ints, Timeline
from alpha.features.language import Expr, resets


class Kernels(NamedTuple):
    """The compiled modules; whoever computes loads them, because numba takes its time to."""

    moments: Any  # _batch_kernels
    spread: Any
    recursive: Any
    orders: Any
    sums: Any
    clocks: Any
    steps: Any


@dataclass(frozen=True, slots=True)
class Column:
    value: Floats
    update: Bools
    ready: Bools


@dataclass(frozen=True, slots=True)
class Updates:
    """The finite updates of a stateful node's operand, or samples of its two, and where each step stands."""

    x: Floats  # [m] values
    y: Floats  # [m] values of the second operand; x where there is one
    t: Ints  # [m] times
    moved: Bools  # [S] an update happened at this step
    seen: Ints  # [S] updates up to and including this step
    base: Ints  # [S] how many of them were before the last break, [1] (0) for what never starts again
    begun: Ints  # [m] for each update the first one since the last break, [1] (0) for what never starts again
    gap_seen: Ints  # [S] updates with ready operands since the last gap, or break
    gap_first: Ints  # [S] time of the first of those (undefined where gap_seen is 0)

    def runs(self) -> list[slice]:
        """The stretches of updates between breaks."""
        if len(self.begun) != len(self.x):
            return [slice(0, len(self.x))]
        edges = [*np.unique(self.begun).tolist(), len(self.x)]
        return [slice(a, b) for a, b in pairwise(edges)]

    def each(self, kernel: Callable[[slice], Floats]) -> Floats:
        """One result per update by a kernel that starts again at every break."""
        runs = self.runs()
        return kernel(runs[0]) if len(runs) == 1 else np.concatenate([np.zeros(0), *(kernel(r) for r in runs)])


class Columns:
    """Columns of expressions over one timeline; each distinct expression is evaluated once, by ``build``."""

    def __init__(
        self,
        line: Timeline,
        kernels: Kernels,
        seen: Mapping[Expr, Seen],
        build: Callable[[Columns, Expr], Column],
    ) -> None:
        self.line = line
        self.kernels = kernels
        self.build = build
        self.seen = seen  # what each of(...) looks at
        self.known: dict[Expr, Column] = {}
        self.updates_of: dict[tuple[tuple[Expr, ...], bool], Updates] = {}
        self.sums_of: dict[tuple[object, ...], Any] = {}
        self.events_of: dict[tuple[int, bool], tuple[Ints, Floats]] = {}
        self.locks: dict[object, RLock] = {}
        self.always = np.ones(len(line.t), np.bool_)  # by identity: so nobody needs to look
        self.later: dict[int, Bools] = {}  # from so many steps on
        self.numbers = np.arange(1, len(line.t) + 1)

    def once(self, known: dict[Any, Any], key: Any, build: Callable[[], Any]) -> Any:
        """``known[key]``, made by the first thread that asks; expressions have no circles, so nobody waits in one."""
        if key not in known:
            with self.locks.setdefault((id(known), key), RLock()):
                if key not in known:
                    known[key] = build()
        return known[key]

    def of(self, e: Expr) -> Column:
        column: Column = self.once(self.known, e, lambda: self.build(self, e))
        return column

    def held(self, at: Ints, values: Floats, since: Ints | None = None, again: bool = True) -> Column:
        """A column that takes ``values`` at steps ``at`` and keeps them; ``since``: the first step that each needs;
        ``again``: a session break takes them away."""
        since = at if since is None else since
        gone = again and self.line.breaks
        if len(at) == len(self.line.t) and since is at and not gone:  # it moves at every step
            return Column(values, self.always, self.always)
        return Column(*self.kernels.steps.held(at, values, since, self.line.gap_from, self.line.break_from, gone))

    def first_since_break(self, at: Ints) -> Bools:
        """Which of the updates at these steps have none before them since the last break."""
        return np.asarray(np.append(-1, at[:-1])[: len(at)] < self.line.break_from[at])

    def updates(self, e: Expr) -> Updates:
        """Finite updates of a stateful node's operand; of two, a sample wherever either passes an update and both
        are finite."""
        again = self.line.breaks and resets(e)
        key = e.args, again
        updates: Updates = self.once(self.updates_of, key, lambda: self._updates(e, again))
        return updates

    def _updates(self, e: Expr, again: bool) -> Updates:
        columns, line = [self.of(a) for a in e.args], self.line
        first, last = columns[0], columns[-1]
        since = np.maximum(line.gap_from, line.break_from) if again else line.gap_from
        each = all(c.update is self.always and c.ready is self.always for c in columns) and not since.any()
        if each and all(np.isfinite(c.value).all() for c in columns):  # one at every step
            n, zero = self.numbers, np.zeros(1, np.int64)
            begun = np.broadcast_to(line.t[:1], n.shape)
            return Updates(first.value, last.value, line.t, self.always, n, zero, zero, n, begun)
        at, x, y, t, moved, seen, gap_seen, gap_first = self.kernels.steps.taken(
            first.value, last.value, first.update, last.update, first.ready, last.ready, line.t, since
        )
        base = np.searchsorted(at, line.break_from, side="left") if again else np.zeros(1, np.int64)
        return Updates(x, y, t, moved, seen, base, base[at] if again else base, gap_seen, gap_first)

    def counted(self, u: Updates, results: Floats, needed: int) -> Column:
        """Results per update, warm after ``needed`` updates; the array is taken over."""
        if u.seen is self.numbers:  # one at every step
            after = self.once(self.later, needed, lambda: self.numbers >= needed)
            results[: needed - 1] = np.nan
            return Column(results, after, after)
        return Column(*self.kernels.steps.counted(results, u.seen, u.base, u.moved, u.gap_seen, needed))

    def timed(self, u: Updates, results: Floats, w: int, enough: Bools | None = None) -> Column:
        """Results per step, warm when ``w`` ns have passed since the first update and samples suffice."""
        enough = np.zeros(0, np.bool_) if enough is None else enough
        return Column(
            *self.kernels.steps.timed(
                results, enough, self.line.t, u.t, u.seen, u.base, u.moved, u.gap_seen, u.gap_first, w
            )
        )

    def shared(self, e: Expr, what: str, compute: Callable[[], Any]) -> Any:
        """Sums that several operators over the same window of the same operands read."""
        key = (what, e.args, e.param("window"), self.line.breaks and resets(e))
        return self.once(self.sums_of, key, compute)
