"""The ring: order, overrun policies, shared memory."""

from __future__ import annotations

import mmap
from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha._core.ring import Ring, ring_bytes
from alpha.errors import AlphaError
from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, Flag, Kind, Status


def events(first: int, n: int) -> np.ndarray:
    e = np.zeros(n, EVENT_DTYPE)
    e["kind"] = Kind.QUOTE
    e["ts_event_ns"] = np.arange(first, first + n)
    e["v"] = np.arange(first, first + n)[:, None] + np.arange(5)
    return e


@pytest.mark.parametrize("capacity", [0, 1, 3, 6, -4, 2.0, True, None, 1 << 33])
def test_capacity_must_be_a_power_of_two(capacity: object) -> None:
    with pytest.raises(AlphaError, match="power of two"):
        Ring(capacity)


def test_unknown_policy() -> None:
    with pytest.raises(AlphaError, match="'drop' or 'refuse'"):
        Ring(4, overrun="wait")


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=60))
def test_same_as_a_bounded_deque(steps: list[tuple[bool, int]]) -> None:
    ring, model, sent = Ring(8, overrun="refuse"), deque[int](), 0
    for push, n in steps:
        if push:
            took = ring.push_many(events(sent, n))
            assert took == min(n, 8 - len(model))
            model.extend(range(sent, sent + took))
            sent += took
        else:
            out = ring.pop_many(n)
            assert out["ts_event_ns"].tolist() == [model.popleft() for _ in range(min(n, len(model)))]
            assert np.array_equal(out["v"][:, 4], out["ts_event_ns"] + 4.0)
        assert len(ring) == len(model)
    assert ring.dropped == 0 and ring.published == sent


def test_a_drop_is_counted_and_announced_before_the_next_event() -> None:
    ring = Ring(4)
    assert ring.push_many(events(0, 7)) == 4 and ring.dropped == 3
    assert ring.pop_many(2)["ts_event_ns"].tolist() == [0, 1]
    assert ring.push(events(7, 1)[0])
    out = ring.pop_many(10)
    assert out["ts_event_ns"][[0, 1, 3]].tolist() == [2, 3, 7]
    lost = out[2]
    assert lost["kind"] == Kind.STATUS and lost["v"][0] == Status.LOST and lost["v"][1] == 3
    assert lost["flags"] & Flag.GAP and lost["instrument_id"] == ALL_INSTRUMENTS
    assert lost["ts_event_ns"] == 6  # time of the last event that was lost


def test_refuse_leaves_the_event_with_the_caller() -> None:
    ring = Ring(2, overrun="refuse")
    assert ring.push_many(events(0, 5)) == 2 and ring.dropped == 0
    assert not ring.push(events(2, 1)[0])
    ring.pop_many(1)
    assert ring.push(events(2, 1)[0])
    assert ring.pop_many(9)["ts_event_ns"].tolist() == [1, 2]


@pytest.mark.parametrize("kind", [0, 9, 200])
def test_an_event_that_would_look_like_a_free_slot_is_refused(kind: int) -> None:
    e = events(0, 1)
    e["kind"] = kind
    with pytest.raises(AlphaError, match="kind"):
        Ring(4).push_many(e)


def test_wrong_dtype() -> None:
    with pytest.raises(AlphaError, match="EVENT_DTYPE"):
        Ring(4).push_many(np.zeros(3))


def test_two_rings_over_the_same_memory_are_one() -> None:
    memory = mmap.mmap(-1, ring_bytes(16))
    producer = Ring(16, memory=memory)
    consumer = Ring(memory=memory, attach=True)
    producer.push_many(events(5, 3))
    assert consumer.capacity == 16 and consumer.pop_many(9)["ts_event_ns"].tolist() == [5, 6, 7]
    assert len(producer) == 0


def test_memory_that_holds_no_ring() -> None:
    memory = mmap.mmap(-1, ring_bytes(16))
    with pytest.raises(AlphaError, match="holds no ring"):
        Ring(memory=memory, attach=True)
    with pytest.raises(AlphaError, match="needs"):
        Ring(32, memory=memory)
    with pytest.raises(AlphaError, match="64-byte"):
        Ring(2, memory=memoryview(memory)[8:])
    Ring(16, memory=memory)
    with pytest.raises(AlphaError, match="capacity 16, not 8"):
        Ring(8, memory=memory, attach=True)


def test_attach_needs_memory() -> None:
    with pytest.raises(AlphaError, match="attach"):
        Ring(4, attach=True)


def test_a_damaged_header_leads_no_index_out_of_the_memory() -> None:
    """Another process may write anything into shared memory; ours must survive it."""
    memory = mmap.mmap(-1, ring_bytes(16))
    ring = Ring(16, memory=memory, overrun="refuse")
    ring.push_many(events(0, 5))
    words = np.frombuffer(memory, np.uint64)
    words[:24] = 2**63 + 12345  # capacity, policy, head and tail
    words[3] = 0  # the mark by which a debug build knows a second producer, and ends the program
    assert ring.capacity == 16 and 0 <= len(ring) <= 16
    ring.push_many(events(5, 40))
    assert len(ring.pop_many(100)) <= 32
    del words


def test_a_ring_is_true_even_when_empty() -> None:
    assert Ring(4) and len(Ring(4)) == 0
