"""Peers in turn: blocks of the same inputs interleaved in one process, then every call clocked by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.measure import blocks

Ns = npt.NDArray[np.int64]


@dataclass
class Arm:
    """One engine or stack. ``turn(i)`` goes over the inputs of block ``i``; ``clocked(i)`` does the same and gives the
    ns of each call; ``outputs()`` what the last of them left, None for an arm that computes nothing. ``idle``: the arm
    whose time is taken off. ``items``: calls in a block."""

    name: str
    turn: Callable[[int], Any]
    clocked: Callable[[int], Ns]
    outputs: Callable[[], Any] | None = None
    idle: str = ""
    where: str = "Python"
    items: int = 1


@dataclass
class Figure:
    """What was measured of one arm; ``ratio``: ours / this one, of the p50."""

    name: str
    where: str
    median_ns: float
    p50_ns: float
    p99_ns: float
    ratio: float
    differing: int
    compared: int
    largest_difference: float


Agree = Callable[[Any, Any], tuple[int, int, float]]
"""(ours, theirs) of one block -> decisions that differ, decisions compared, largest difference of scores."""


def why_missing(absent: ImportError) -> str:
    """One line for the table of what is not measured."""
    if isinstance(absent, ModuleNotFoundError):
        return f"{absent.name} is not installed here (./dev peers installs it)"
    return f"it cannot be loaded: {absent}"


class Actions:
    """An :data:`Agree` of lists of actions, which remembers what ours were."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def __call__(self, ours: list[int], theirs: list[int]) -> tuple[int, int, float]:
        self.seen.update(ours)
        return sum(a != b for a, b in zip(ours, theirs, strict=True)), len(ours), 0.0

    def demand_different(self) -> None:
        """AssertionError if only one action occurred."""
        if len(self.seen) < 2:
            raise AssertionError(f"the model decides only {self.seen}: nothing is compared")


def python_loops(
    call: Callable[..., Any], inputs: Callable[[int], Sequence[Any]]
) -> tuple[Callable[[int], Any], Callable[[int], Ns], list[Any]]:
    """``turn`` and ``clocked`` of a Python function of one input, and the list that holds what it returned."""
    got: list[Any] = []

    def turn(i: int) -> None:
        got[:] = [call(x) for x in inputs(i)]

    def clocked(i: int) -> Ns:
        clock, ns, out = time.perf_counter_ns, [], []
        for x in inputs(i):
            start = clock()
            y = call(x)
            ns.append(clock() - start)
            out.append(y)
        got[:] = out
        return np.array(ns, np.int64)

    return turn, clocked, got


def side_by_side(arms: Sequence[Arm], n_blocks: int, agree: Agree, most: float) -> list[Figure]:
    """The first arm is ours; its outputs are compared with everyone's after every block. AssertionError where more
    than the share ``most`` of the decisions differ. Medians of ``n_blocks`` blocks, less the idle arm's; p50 and p99 of
    single calls from half as many further blocks, less the idle arm's p50."""
    ours = arms[0]
    differ, compared = {a.name: 0 for a in arms}, {a.name: 0 for a in arms}
    off = {a.name: 0.0 for a in arms}
    ns: dict[str, list[Ns]] = {a.name: [] for a in arms}
    at = 0

    def check(_: int) -> None:
        assert ours.outputs is not None
        mine = ours.outputs()
        for arm in arms:
            if arm.outputs is None:
                continue
            d, c, o = agree(mine, arm.outputs())
            differ[arm.name] += d
            compared[arm.name] += c
            off[arm.name] = max(off[arm.name], o)

    def clock(arm: Arm) -> Callable[[int], None]:
        return lambda i: ns[arm.name].append(arm.clocked(i + at))

    times = blocks([a.turn for a in arms], n_blocks, 1, check=check)
    at = n_blocks + 2
    blocks([clock(a) for a in arms], n_blocks // 2, 1, check=check)
    for arm in arms:
        if differ[arm.name] > most * compared[arm.name]:
            raise AssertionError(
                f"{arm.name} decides {differ[arm.name]} of {compared[arm.name]} otherwise: it does not compute the same"
            )
    median = {a.name: float(np.median(t)) / a.items for a, t in zip(arms, times, strict=True)}
    calls = {name: np.concatenate(parts) for name, parts in ns.items()}
    half = {name: float(np.median(c)) for name, c in calls.items()}
    mine = half[ours.name] - half.get(ours.idle, 0.0)
    figures = []
    for arm in arms:
        if arm.outputs is None:
            continue
        net = median[arm.name] - median.get(arm.idle, 0.0)
        floor = half.get(arm.idle, 0.0)
        p50, p99 = (float(p) - floor for p in np.percentile(calls[arm.name], (50, 99)))
        figures.append(
            Figure(arm.name, arm.where, net, p50, p99, mine / p50, differ[arm.name], compared[arm.name], off[arm.name])
        )
    return figures


def as_dicts(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """For the result file."""
    return [asdict(f) for f in figures]
