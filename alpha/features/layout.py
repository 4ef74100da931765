"""Where everything of an instrument lies in its block: slots of results, states, rings. Floor 2."""

from __future__ import annotations

from alpha._core import program as native
from alpha.errors import DefinitionError
from alpha.features.nodes import NAMES, NO_SLOT, OP, TIME_RING, Nodes, power_of_two


def number_slots(b: Nodes, features: list[int], in_lanes: set[int]) -> int:
    """Features first and in order, so that a row is read straight through (two equal features share a slot); behind
    them what enters the lanes: the marks of these slots tell whether a row is ready. How many they are."""
    order = list(dict.fromkeys(features))
    entering = sorted({o for i in in_lanes for o in b.nodes[i].operands} - in_lanes - set(order))
    order += [i for i in entering if b.nodes[i].op != OP["CONST"]]
    watched = len(order)
    done = set(order)
    order += [i for i, node in enumerate(b.nodes) if node.dst != NO_SLOT and i not in done]
    new = {b.nodes[i].dst: at for at, i in enumerate(order)}
    for i, node in enumerate(b.nodes):
        node.dst = new.get(node.dst, NO_SLOT)
        # operands stand before their readers: their slots are numbered already
        slots = [b.nodes[o].dst % NO_SLOT for o in node.operands]
        if i in in_lanes:
            node.a, node.b, node.mode, *_ = [*slots, slots[0], slots[0]]
            continue
        node.a, node.b, third, *_ = [*slots, 0, 0, 0]
        if node.op == OP["WHERE"]:
            node.mode = third
    b.bar_slots = [[new.get(s, NO_SLOT) for s in spec] for spec in b.bar_slots]
    return watched


def layout(b: Nodes, looks_out: bool) -> tuple[int, list[int], int]:
    """Give every state and ring its byte offset in the block: (size, offsets of the bar states, offset of what it
    knows of its surroundings or 0)."""
    sizes = native.STATE_BYTES
    offset = native.BLOCK_BYTES + b.slots * native.SLOT_BYTES

    def take(size: int) -> int:
        nonlocal offset
        offset = (offset + 15) // 16 * 16
        start = offset
        offset += size
        return start

    for node in b.nodes:
        size = sizes[NAMES[node.op]] + node.storage
        if size:
            node.state = take(size)
        if node.shares >= 0:
            node.state = b.nodes[node.shares].state
    bar_states = [take(native.BAR_BYTES) for _ in b.bars]
    present = take(native.PRESENT_BYTES) if looks_out else 0
    for node in b.nodes:  # readers and lags address the state and history they read
        if node.op in (OP["HISTORY"], OP["PAIRS"]):
            node.mode = max(power_of_two(node.n + 1), TIME_RING if node.ddof else 1)
            rings = (1 if node.op == OP["HISTORY"] else 2) + bool(node.ddof)
            node.history = take(node.mode * 8 * rings)
        for operand in node.operands:
            source = b.nodes[operand]
            if source.op in (OP["HISTORY"], OP["PAIRS"]):
                node.history = source.state
            elif source.dst == NO_SLOT and node.op != OP["CLOSE_LEAF"]:  # a window
                node.state = source.state
                node.history = source.history
    if offset >= 2**31:
        raise DefinitionError("the windows of this feature set need more than 2 GiB per instrument")
    return offset, bar_states, present
