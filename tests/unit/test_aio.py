"""The asyncio adapter: the very Signals of ``rt.run``, nothing lost unless it was declared, and every end is clean."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

import alpha
from alpha._core.ring import Ring
from alpha.data.simulate import simulate
from alpha.errors import AlphaError, StateError
from alpha.events import Action, Reason
from alpha.integrations import aio
from alpha.integrations.aio import SignalStream

EVENTS = simulate(4_000, seed=3, levels=1).events
TABLE = simulate(1).instruments


def runtime() -> alpha.Runtime:
    return alpha.Runtime.from_registry("registry.json", "models:/demo@production", instruments=TABLE)


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch, project_root: Any) -> None:
    monkeypatch.chdir(project_root)


@pytest.fixture(scope="module")
def expected(project_root: Any) -> np.ndarray:
    with alpha.Runtime.from_registry(
        project_root / "registry.json", "models:/demo@production", instruments=TABLE
    ) as rt:
        signals = rt.run(EVENTS)
    assert np.count_nonzero(signals["action"]) > 100
    return signals


async def cut(events: Any, sizes: list[int], suspend: bool = False) -> AsyncIterator[Any]:
    at = 0
    while at < len(events):
        for size in sizes:
            if suspend:
                await asyncio.sleep(0)
            yield events[at : at + size]
            at += size


async def collect(stream: SignalStream) -> np.ndarray:
    parts = [np.zeros(0, alpha.SIGNAL_DTYPE)]
    async with stream:
        parts += [signals async for signals in stream]
    assert all(map(len, parts[1:]))
    return np.concatenate(parts)


@pytest.mark.parametrize("suspend", [False, True])
@pytest.mark.parametrize(("capacity", "batch"), [(2, 1), (16, 1024), (4096, 7), (65_536, 1024)])
def test_the_signals_of_run(expected: np.ndarray, capacity: int, batch: int, suspend: bool) -> None:
    """Whatever the sizes of pieces, ring and batches are; pieces may be longer than the ring."""
    with runtime() as rt:
        stream = SignalStream(rt, cut(EVENTS, [1, 40, 3, 0, 500], suspend), capacity=capacity, batch=batch)
        assert asyncio.run(collect(stream)).tobytes() == expected.tobytes()
        assert stream.waiting == stream.dropped == stream.stale_signals == 0
        assert (stream.waits > 0) == (capacity < 500)


def test_records_and_two_feeds(expected: np.ndarray) -> None:
    async def one_by_one() -> AsyncIterator[Any]:
        for event in EVENTS[:500]:
            yield event

    async def nothing() -> AsyncIterator[Any]:
        await asyncio.sleep(0)
        return
        yield

    with runtime() as rt:
        got = asyncio.run(collect(SignalStream(rt, one_by_one(), nothing())))
        assert len(got) and got.tobytes() == expected[: len(got)].tobytes()


def test_without_feeds_events_are_pushed(expected: np.ndarray) -> None:
    async def work(rt: alpha.Runtime) -> bytes:
        async with SignalStream(rt) as stream:
            assert stream.push(EVENTS[:3000]) == 3000 and stream.waiting == 3000
            await stream.put(EVENTS[3000:])
            stream.close()
            stream.close()
            return b"".join([signals.tobytes() async for signals in stream])

    with runtime() as rt:
        assert asyncio.run(work(rt)) == expected.tobytes()


def test_what_is_dropped_is_counted_and_the_features_are_told() -> None:
    ring = Ring(256, overrun="drop")
    with runtime() as rt:
        stream, got, wanted = SignalStream(rt, capacity=256, overrun="drop"), b"", []
        for part in (EVENTS[:200], EVENTS[200:1000], EVENTS[1000:1100], EVENTS[1100:1150]):
            assert stream.push(part) == ring.push_many(part)
            if len(part) != 200:  # the second meets a ring that is not empty
                got += stream.take().tobytes()
                wanted.append(ring.pop_many(1024))
        assert stream.dropped == ring.dropped == 744
    lost = np.concatenate(wanted)
    assert np.count_nonzero(lost["kind"] == alpha.Kind.STATUS) == 1
    with runtime() as rt:
        assert got == rt.run(lost).tobytes() != b""


def test_push_never_waits_and_put_does() -> None:
    async def work(rt: alpha.Runtime) -> None:
        stream = SignalStream(rt, capacity=64)
        assert stream.push(EVENTS[:100]) == 64  # the rest is still the caller's
        writer = asyncio.create_task(stream.put(EVENTS[64:164]))
        await asyncio.sleep(0)
        assert not writer.done() and stream.waits == 1 and stream.waiting == 64
        made = len(stream.take())
        await asyncio.sleep(0)
        assert not writer.done() and stream.waiting == 64 and stream.waits == 2
        made += len(stream.take())
        await writer
        made += len(stream.take())
        assert stream.dropped == 0
        with runtime() as other:
            assert made == len(other.run(EVENTS[:164]))

    with runtime() as rt:
        asyncio.run(work(rt))


def test_nothing_is_awaited_while_events_wait(expected: np.ndarray) -> None:
    """The coroutine ends at its first step, without an event loop: there is nothing that it could have awaited."""
    with runtime() as rt:
        stream, got = SignalStream(rt), b""
        stream.push(EVENTS)
        while stream.waiting:
            with pytest.raises(StopIteration) as end:
                stream.__anext__().send(None)
            got += end.value.value.tobytes()
        assert got == expected.tobytes()


def test_a_feed_that_never_waits_lets_the_consumer_run(expected: np.ndarray) -> None:
    with runtime() as rt:
        stream = SignalStream(rt, cut(EVENTS, [1]), capacity=256, batch=64, overrun="drop")
        assert asyncio.run(collect(stream)).tobytes() == expected.tobytes() and stream.dropped == 0


class FeedBrokeError(Exception):
    pass


async def breaks(after: int, seen: list[str] | None = None) -> AsyncIterator[Any]:
    try:
        yield EVENTS[:after]
        await asyncio.sleep(0)
        raise FeedBrokeError("the venue hung up")
    finally:
        if seen is not None:
            seen.append("closed")


async def endless(seen: list[str]) -> AsyncIterator[Any]:
    try:
        while True:
            await asyncio.sleep(0)
            yield EVENTS[:0]
    finally:
        seen.append("closed")


def alone() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


def test_the_feeds_exception_comes_behind_what_it_brought(expected: np.ndarray) -> None:
    async def work(rt: alpha.Runtime) -> bytes:
        got, seen = b"", list[str]()
        with pytest.raises(FeedBrokeError, match="hung up"):
            async with SignalStream(rt, breaks(2000), endless(seen), batch=100) as stream:
                async for signals in stream:
                    got += signals.tobytes()
        assert seen == ["closed"] and alone()  # the other feed was ended too
        with pytest.raises(StateError, match="closed"):
            stream.push(EVENTS[:1])
        return got

    with runtime() as rt:
        got = asyncio.run(work(rt))
        with runtime() as other:
            assert got == other.run(EVENTS[:2000]).tobytes() != b""
        assert rt.run(EVENTS[2000:]).tobytes() == expected.tobytes()[len(got) :]  # and the runtime goes on


def test_a_feeds_exception_that_nobody_waited_for_is_raised_at_the_end() -> None:
    async def work(rt: alpha.Runtime) -> None:
        with pytest.raises(FeedBrokeError):
            async with SignalStream(rt, breaks(500)) as stream:
                async for _ in stream:
                    break
                for _ in range(3):
                    await asyncio.sleep(0)

    with runtime() as rt:
        asyncio.run(work(rt))


def test_the_consumers_exception_ends_the_feed() -> None:
    async def work(rt: alpha.Runtime) -> None:
        seen: list[str] = []
        with pytest.raises(ZeroDivisionError):
            async with SignalStream(rt, cut(EVENTS, [100]), endless(seen)) as stream:
                async for _ in stream:
                    raise ZeroDivisionError
        assert seen == ["closed"] and alone()

    with runtime() as rt:
        asyncio.run(work(rt))


@pytest.mark.parametrize("waits", ["for events", "for room"])
def test_cancellation_leaves_no_task(waits: str, recwarn: pytest.WarningsRecorder) -> None:
    async def consume(rt: alpha.Runtime, feed: Callable[[], AsyncIterator[Any]]) -> None:
        async with SignalStream(rt, feed(), capacity=64) as stream:
            if waits == "for room":
                await asyncio.Event().wait()
            async for _ in stream:
                pass

    async def work(rt: alpha.Runtime) -> None:
        seen: list[str] = []
        feed = (lambda: endless(seen)) if waits == "for events" else (lambda: breaks(1000, seen))
        task = asyncio.create_task(consume(rt, feed))
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == ["closed"] and alone()

    with runtime() as rt:
        asyncio.run(work(rt))
    gc.collect()
    assert not recwarn.list  # no task was destroyed while it waited, no exception was never retrieved


def test_a_feed_that_is_cancelled_from_outside_says_so() -> None:
    async def work(rt: alpha.Runtime) -> None:
        async with SignalStream(rt, endless([])) as stream:
            await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            with pytest.raises(StateError, match="cancelled"):
                await stream.__anext__()

    with runtime() as rt:
        asyncio.run(work(rt))


def test_whoever_waits_for_room_learns_that_there_will_be_none() -> None:
    async def work(rt: alpha.Runtime) -> None:
        stream = SignalStream(rt, capacity=64)
        writer = asyncio.create_task(stream.put(EVENTS[:100]))
        await asyncio.sleep(0)
        stream.close()
        with pytest.raises(StateError, match="closed"):
            await writer

    with runtime() as rt:
        asyncio.run(work(rt))


def test_signals_of_events_that_waited_too_long_are_stale(
    monkeypatch: pytest.MonkeyPatch, expected: np.ndarray
) -> None:
    now = 10**9
    monkeypatch.setattr(aio.time, "monotonic_ns", lambda: now)
    with runtime() as rt:
        stream, parts = SignalStream(rt, max_age_ns=1000, batch=300), []
        for first, at in ((0, 0), (1000, 400), (2000, 900), (3000, 1_001)):
            now = 10**9 + at
            assert stream.push(EVENTS[first : first + 1000]) == 1000
        now = 10**9 + 1_500  # the first two pushes are too old
        while stream.waiting:
            parts.append(stream.take())
    got = np.concatenate(parts)
    old = np.searchsorted(expected["event_index"], 2000 + expected["event_index"][0] - first_index())
    assert 0 < old < len(got) and np.count_nonzero(expected["action"][:old]) > 10
    assert (got["action"][:old] == Action.HOLD).all() and (got["reason"][:old] == Reason.STALE).all()
    assert got[old:].tobytes() == expected[old:].tobytes() and stream.stale_signals == old
    for name in set(got.dtype.names) - {"action", "reason"}:
        assert got[name].tobytes() == expected[name].tobytes()


def first_index() -> int:
    """event_index of the first Signal, counted from the first event."""
    quotes = np.flatnonzero(EVENTS["kind"] == alpha.Kind.QUOTE)
    return int(quotes[0])


def test_a_kill_silences_what_was_not_handed_over(expected: np.ndarray) -> None:
    async def work(rt: alpha.Runtime) -> np.ndarray:
        async with SignalStream(rt, cut(EVENTS, [4000]), batch=1000) as stream:
            parts = []
            async for signals in stream:
                parts.append(signals)
                rt.kill("drill")
        return np.concatenate(parts)

    with runtime() as rt:
        got = asyncio.run(work(rt))
    assert len(got) == len(expected)
    early = got["reason"] != Reason.KILLED
    n = int(np.argmin(early))
    assert 0 < n < 1000 and not early[n:].any() and not got["action"][n:].any()
    assert got[:n].tobytes() == expected[:n].tobytes()


def test_a_stream_that_is_closed_ends_its_feeds_and_is_no_failure(expected: np.ndarray) -> None:
    async def work(rt: alpha.Runtime) -> bytes:
        got, seen = b"", list[str]()
        async with SignalStream(rt, cut(EVENTS, [500], suspend=True), endless(seen), capacity=256) as stream:
            async for signals in stream:
                got += signals.tobytes()
                stream.close()
        assert seen == ["closed"] and alone()
        return got

    with runtime() as rt:
        got = asyncio.run(work(rt))
    assert len(got) < expected.nbytes and expected.tobytes().startswith(got)
    with runtime() as rt:
        assert got == rt.run(EVENTS[:256]).tobytes()  # what waited was decided


def test_misuse_is_told() -> None:
    async def work(rt: alpha.Runtime) -> None:
        with pytest.raises(StateError, match="async with"):
            await SignalStream(rt, cut(EVENTS, [100])).__anext__()
        stream = SignalStream(rt)
        first = asyncio.create_task(stream.__anext__())
        await asyncio.sleep(0)
        with pytest.raises(StateError, match="another task"):
            await stream.__anext__()
        stream.close()
        with pytest.raises(StopAsyncIteration):
            await first
        with pytest.raises(AlphaError, match="EVENT_DTYPE"):
            await collect(SignalStream(rt, cut(np.zeros(3), [3])))
        busy = SignalStream(rt, cut(EVENTS, [100]))
        with rt.start(), pytest.raises(StateError, match="worker"):
            await collect(busy)

    with runtime() as rt:
        for wrong in ({"overrun": "refuse"}, {"batch": 0}, {"max_age_ns": -1}, {"capacity": 100}):
            with pytest.raises(AlphaError):
                SignalStream(rt, **wrong)  # type: ignore[arg-type]
        asyncio.run(work(rt))
