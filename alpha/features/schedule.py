"""Which nodes run when, and in what order. Floor 2.

For each kind of event the program holds the instructions to run (everything downstream of that event's sources,
operands first) and the ones to *refresh* before a row is read: time windows and lags that this event did not touch,
whose value changes because time passed.
"""

from __future__ import annotations

from collections.abc import Iterable

from alpha.features import lanes
from alpha.features.feature_set import Trigger
from alpha.features.language import BarClock
from alpha.features.nodes import EVENTS, NAMES, OP, POINTWISE, TIMES, Nodes

_LATENCY = {
    **dict.fromkeys(("READ_STD", "READ_ZSCORE", "SKEW", "READ_MAD"), 3),
    **dict.fromkeys(("READ_VAR", "READ_COV", "READ_CORR", "READ_BETA", "READ_SLOPE", "READ_RSQUARE", "READ_RESID"), 3),
    **dict.fromkeys(("RSI", "EMA_HALF_LIFE", "VELOCITY_TIME", "LOGRET_COUNT", "LOGRET_TIME", "LOG", "EXP"), 2),
    **dict.fromkeys(("WINDOW_COUNT", "WINDOW_TIME", "RET_COUNT", "RET_TIME", "DIV"), 1),
}
# operations without a state of their own that has to see every update; LAG_TIME and its like only move on
_LOOKS = {
    *(name.upper() for name in (*POINTWISE, "where", "clip", *TIMES)),
    *("AGED", "OF"),
    *(name for name in OP if name.startswith(("READ_", "LAG_", "DIFF_", "RET_", "LOGRET_", "VELOCITY_"))),
}
IN_LANES = {name: OP[f"LANES_{name}"] for name in OP if f"LANES_{name}" in OP}
AGAIN = {OP[name.upper()] for name in (*POINTWISE, "where", "clip")}


def row_only(b: Nodes) -> set[int]:
    """What nothing that remembers depends on: it is evaluated when a row is read."""
    remembers = {i for i, node in enumerate(b.nodes) if NAMES[node.op] not in _LOOKS}
    return set(range(len(b.nodes))) - remembers - _ancestors(b, remembers)


def into_lanes(b: Nodes, row_only: set[int]) -> set[int]:
    """Turn row-only arithmetic into operations of lanes where that is possible; which nodes those are."""
    readers: dict[int, list[int]] = {}
    for i, node in enumerate(b.nodes):
        for operand in node.operands:
            readers.setdefault(operand, []).append(i)
    chosen = lanes.choose({i for i in row_only if NAMES[b.nodes[i].op] in IN_LANES}, readers)
    for i in chosen:
        b.nodes[i].op = IN_LANES[NAMES[b.nodes[i].op]]
    return chosen


def _ancestors(b: Nodes, start: Iterable[int]) -> set[int]:
    seen: set[int] = set()
    stack = list(start)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            if b.nodes[node].op != OP["OF"]:  # what it looks at is brought up to date where it happens
                stack.extend(b.nodes[node].operands)
    return seen


def scheduled(b: Nodes, chosen: set[int]) -> list[int]:
    """Operands before their readers, and operations of one kind behind one another as far as that allows: the
    processor then stays in the same code. Next is the kind of which nothing is still missing, else the one with the
    longest way to go."""
    inside = {i: {o for o in b.nodes[i].operands if o in chosen} for i in chosen}
    readers: dict[int, list[int]] = {i: [] for i in chosen}
    for i, needs in inside.items():
        for o in needs:
            readers[o].append(i)
    height: dict[int, int] = {}
    for i in sorted(chosen, reverse=True):
        height[i] = 1 + _LATENCY.get(NAMES[b.nodes[i].op], 0) + max((height[r] for r in readers[i]), default=0)
    left: dict[int, set[int]] = {}
    for i in chosen:
        left.setdefault(b.nodes[i].op, set()).add(i)
    waiting = {i: len(needs) for i, needs in inside.items()}
    out: list[int] = []
    while left:
        ready = {op: [i for i in nodes if not waiting[i]] for op, nodes in left.items()}
        op = max(
            (op for op in ready if ready[op]),
            key=lambda op: (len(ready[op]) == len(left[op]), max(height[i] for i in ready[op]), len(ready[op]), -op),
        )
        for i in sorted(ready[op], key=lambda i: (-height[i], i)):
            out.append(i)
            left[op].discard(i)
            for r in readers[i]:
                waiting[r] -= 1
        if not left[op]:
            del left[op]
    return out


def lists(b: Nodes, trigger: Trigger, row_only: set[int]) -> list[tuple[set[int], set[int]]]:
    """For each kind of event the nodes to bring up to date when it comes, and those that only a row asks for.

    What remembers must see every update; what only looks (arithmetic, readers of windows, lags) is evaluated when a
    row is read, unless something that remembers looks at it.
    """
    every = set(range(len(b.nodes)))
    needed = every - row_only
    timed = {i for i in every if b.nodes[i].timed}
    feed = trigger.bar is not None and trigger.bar.source == "feed"
    always = "bar" if feed else trigger.kind  # every such event makes a row
    makes_rows = {
        "every": {"none"},
        "bar": {"bar" if feed else "trade" if trigger.bar and isinstance(trigger.bar.interval, BarClock) else "close"},
        "last": set(EVENTS) - {"close", "input"},
    }.get(trigger.kind, {trigger.kind})
    lists = []
    for name in EVENTS:
        moved = {i for i in needed if name in b.nodes[i].groups}
        at_once = moved | (timed & _ancestors(b, moved))
        for_a_row = (timed | (every - needed)) - at_once if name in makes_rows else set()
        lists.append((at_once | for_a_row, set()) if name == always else (at_once, for_a_row))
    again = {i for i in needed if b.nodes[i].op in AGAIN and not b.nodes[i].timed}
    return [*lists, (again if b.session or b.inputs else set(), set())]
