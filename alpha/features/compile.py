"""From a FeatureSet to the flat instructions of the native twin. Floor 2.

The tree becomes a graph with every common subexpression once (nodes.py), which is put into order (schedule.py), gets
its memory (layout.py) and is written as instructions here.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

import numpy as np

from alpha._core import program as native
from alpha.features import lanes
from alpha.features.feature_set import FeatureSet
from alpha.features.language import BarClock
from alpha.features.layout import layout, number_slots
from alpha.features.nodes import NAMES, OP, Node, Nodes
from alpha.features.schedule import AGAIN, IN_LANES, into_lanes, lists, row_only, scheduled

INSTR_DTYPE = np.dtype(
    [
        ("place", "<u8"),  # filled in by the kernels that will run it
        ("op", "<u2"),
        ("dst", "<u2"),
        ("a", "<u2"),
        ("b", "<u2"),
        ("state", "<u4"),
        ("history", "<u4"),
        ("n", "<i8"),
        ("k", "<f8"),
        ("ddof", "<u4"),
        ("mode", "<u4"),
    ]
)

_WIDE = {OP[name[:-5]]: (OP[name], int(name[-1])) for name in OP if name[:-1].endswith("_BY_")}
_STATELESS = AGAIN | set(IN_LANES.values())  # whatever a session break does, they keep nothing
_CLOCKS = {"time": 0, "tick_bar": 1, "volume_bar": 2, "dollar_bar": 3}
_TRIGGERS = {"quote": 0, "trade": 1, "last": 2, "every": 5}


def _lane_steps(b: Nodes, in_lanes: set[int]) -> tuple[list[Node], np.ndarray]:
    """The instructions that evaluate the lanes, and the slots of their quads: uint16 [quads, (a, b, c, dst), 4]."""
    steps, quads = lanes.order({i: NAMES[b.nodes[i].op] for i in in_lanes}, {i: b.nodes[i].operands for i in in_lanes})
    slots = [[[getattr(b.nodes[i], part) for i in quad] for part in ("a", "b", "mode", "dst")] for quad in quads]
    return [Node(OP[s.name], n=s.quads, history=s.first) for s in steps], np.array(slots, dtype=np.uint16)


def _widened(nodes: list[Node]) -> list[Node]:
    """The first of so many alike becomes the instruction that does them all."""
    out: list[Node] = []
    for op, same in groupby(nodes, key=lambda n: n.op):
        run = list(same)
        wide, width = _WIDE.get(op, (op, 1))
        for at in range(0, len(run) - width + 1, width):
            run[at] = replace(run[at], op=wide)
        out += run
    return out


def _records(b: Nodes, chosen: set[int], in_lanes: set[int], steps: list[Node]) -> np.ndarray:
    """The instructions of these nodes, closed by an END; empty if there is nothing to do."""
    passive = (OP["CONST"], OP["CLOSE_LEAF"])
    nodes = [b.nodes[i] for i in scheduled(b, chosen - in_lanes) if b.nodes[i].op not in passive]
    nodes = _widened(nodes)
    nodes += steps if chosen & in_lanes else []  # a row asks for all of them
    return np.array([n.record() for n in nodes and [*nodes, Node(OP["END"])]], dtype=INSTR_DTYPE)


def compile_program(fs: FeatureSet) -> native.Program:
    """The native program of a feature set; :class:`DefinitionError` if it cannot be one."""
    session = fs.stream.session_break == "session"
    b = Nodes(session, fs.symbols, fs.inputs)
    features = [b.expr(e) for e in fs.features.values()]
    trigger, trigger_bar = _TRIGGERS.get(fs.trigger.kind, -1), -1
    if fs.trigger.kind == "bar":
        assert fs.trigger.bar is not None
        if fs.trigger.bar.source == "feed":
            trigger = 3
        else:
            trigger = 6 if isinstance(fs.trigger.bar.interval, BarClock) else 4
            trigger_bar, _ = b.bar_spec(fs.trigger.bar)
    for_rows = row_only(b)
    in_lanes = into_lanes(b, for_rows)
    watched = number_slots(b, features, in_lanes)
    size, bar_states, present = layout(b, looks_out=fs.needs_sessions or bool(fs.symbols))
    steps, quads = _lane_steps(b, in_lanes)
    run, refresh = [], []
    for at_once, for_a_row in lists(b, fs.trigger, for_rows):
        run.append(_records(b, at_once, in_lanes, steps))
        refresh.append(_records(b, for_a_row, in_lanes, steps))
    every = fs.trigger.every
    return native.Program(
        run=run,
        refresh=refresh,
        all=np.array([n.record() for n in b.nodes], dtype=INSTR_DTYPE),
        quads=quads,
        resets=np.array([n.resets and n.op not in _STATELESS for n in b.nodes], np.uint8) if session else None,
        bars=[
            (_CLOCKS[kind], size, state, int(source == "mid"), slots)
            for ((kind, size, source), state, slots) in zip(b.bars, bar_states, b.bar_slots, strict=True)
        ],
        features=[b.nodes[i].dst for i in features],
        n_watched=watched,
        n_slots=b.slots,
        block_bytes=size,
        trigger=trigger,
        trigger_bar=trigger_bar,
        every_ns=every.ns if every else 0,
        present=present,
        by_close=fs.trigger.kind == "bar",
        n_peers=len(fs.symbols),
        needs_sessions=fs.needs_sessions,
    )
