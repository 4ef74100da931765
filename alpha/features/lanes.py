"""Arithmetic that only a row asks for, ordered so that four results of one kind are computed side by side. Floor 2.

A result may go into lanes if nothing that remembers depends on it and all its readers are in lanes too: then nobody
reads its mark, and its readiness is that of what enters the lanes (alpha_lanes.h).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

WIDTH = 4
_HEAVY = {"DIV": 4, "SQRT": 5, "LOG": 25, "EXP": 25}  # about how many additions one takes until its result is there


class Step(NamedTuple):
    """One instruction: ``quads`` quads of operation ``name``, beginning with quad ``first``."""

    name: str
    first: int
    quads: int


def choose(candidates: Set[int], readers: Mapping[int, Sequence[int]]) -> set[int]:
    """Those of ``candidates`` (row-only arithmetic) whose readers, as far as there are any, are all in lanes.

    Nodes are numbered so that operands come before their readers."""
    out: set[int] = set()
    for i in sorted(candidates, reverse=True):
        if all(r in out for r in readers.get(i, ())):
            out.add(i)
    return out


def order(names: Mapping[int, str], operands: Mapping[int, Sequence[int]]) -> tuple[list[Step], list[list[int]]]:
    """Steps over quads, and for each quad its four nodes (the last one repeated where there are fewer).

    ``names``: operation of each node in lanes; ``operands``: its operands, of which those not in ``names`` are there
    beforehand. Greedy: the operation that can fill most quads next, of equal ones that with the longest way to go.
    """
    inside = {i: [o for o in operands[i] if o in names] for i in names}
    readers: dict[int, list[int]] = {i: [] for i in names}
    for i, needs in inside.items():
        for o in set(needs):
            readers[o].append(i)
    height: dict[int, int] = {}
    for i in sorted(names, reverse=True):
        height[i] = _HEAVY.get(names[i], 1) + max((height[r] for r in readers[i]), default=0)
    waiting = {i: len(set(needs)) for i, needs in inside.items()}
    open_nodes: dict[str, list[int]] = {}
    for i in sorted(names):
        if not waiting[i]:
            open_nodes.setdefault(names[i], []).append(i)
    steps: list[Step] = []
    quads: list[list[int]] = []
    while open_nodes:
        name = max(open_nodes, key=lambda n: (len(open_nodes[n]) >= WIDTH, max(height[i] for i in open_nodes[n]), n))
        ready = sorted(open_nodes.pop(name), key=lambda i: (-height[i], i))
        take = len(ready) // WIDTH * WIDTH or len(ready)
        if ready[take:]:
            open_nodes[name] = ready[take:]
        chosen = ready[:take]
        first = len(quads)
        for at in range(0, take, WIDTH):
            quad = chosen[at : at + WIDTH]
            quads.append(quad + quad[-1:] * (WIDTH - len(quad)))
        steps.append(Step(name, first, len(quads) - first))
        for i in chosen:
            for r in readers[i]:
                waiting[r] -= 1
                if not waiting[r]:
                    open_nodes.setdefault(names[r], []).append(r)
    return steps, quads
