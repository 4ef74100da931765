"""Events in, Signals out, on an asyncio event loop. Floor 8.

>>> async with SignalStream(rt, feed) as stream:  # doctest: +SKIP
...     async for signals in stream:
...         for signal in signals[signals["action"] != alpha.Action.HOLD]:
...             await my_order(signal)

What the feed brings waits in a bounded ring; when the consumer asks for more, all that waits is decided in one native call
and handed over. Between an event that waits and its Signal nothing is awaited, and nothing that was decided waits: a kill
silences everything that was not handed over yet. Everything here belongs to the event loop's thread.

A coroutine that can decide as soon as it has an event needs none of this: ``rt.instrument(symbol).on_quote(...)`` does not
block and is the shortest way. This is for a feed that must go on while the strategy awaits something else.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha._core.ring import Ring
from alpha.errors import AlphaError, StateError
from alpha.events import SIGNAL_DTYPE, Action, Reason
from alpha.runtime import Runtime

_POLICIES = {"wait": "refuse", "drop": "drop"}  # ours -> the ring's
_NONE = np.zeros(0, SIGNAL_DTYPE)
_NONE.flags.writeable = False


class SignalStream:
    """An asynchronous iterator of SIGNAL_DTYPE arrays, none of them empty; their bytes are those of ``rt.run``.

    ``feeds``: asynchronous iterables of EVENT_DTYPE arrays or records with this runtime's ids. Each is read by a task of its
    own from ``async with`` on; when all have ended and what they brought is decided, the iteration ends. If one fails the
    others are cancelled, what they had brought is decided, and then the failure is raised to whoever iterates (or, if nobody
    does any more, by leaving ``async with``). Without feeds :meth:`push` or :meth:`put` events and :meth:`close` at the end.

    ``capacity``: events that may wait, a power of two. ``overrun``: what a full ring means. ``wait``: the feed waits for room
    and nothing is lost (a feed that is read over TCP then holds its sender back); ``drop``: the newest events are lost, are
    counted in ``dropped``, and the features are told by a STATUS LOST event that they are stale.
    ``batch``: the most events behind one array, unless the first of them make no Signal. ``max_age_ns``: Signals of events that
    waited longer than this come as HOLD, STALE and are counted in ``stale_signals``; 0: of any age, as they were decided.
    """

    def __init__(
        self,
        runtime: Runtime,
        *feeds: AsyncIterable[Any],
        capacity: int = 65_536,
        overrun: str = "wait",
        batch: int = 1024,
        max_age_ns: int = 0,
    ) -> None:
        if overrun not in _POLICIES:
            raise AlphaError(f"overrun policy {overrun!r} is unknown: use 'wait' or 'drop'")
        if batch < 1 or max_age_ns < 0:
            raise AlphaError(f"batch is at least 1 and max_age_ns 0 or more, not {batch} and {max_age_ns}")
        self.runtime = runtime
        self.batch, self.max_age_ns, self.overrun = batch, max_age_ns, overrun
        self.stale_signals = 0
        self.waits = 0
        """How often a feed had to wait for room."""
        self._ring = Ring(capacity, overrun=_POLICIES[overrun])
        self._pushed: deque[tuple[int, int]] = deque()  # where each push ended in the stream, and when it was
        self._feeds = feeds
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived, self._room = asyncio.Event(), asyncio.Event()
        self._closed = self._entered = self._asked = False
        self._error: BaseException | None = None

    # -- events in

    def push(self, events: npt.NDArray[Any] | np.void) -> int:
        """Publish an EVENT_DTYPE array or one record at once; how many got in. What did not is lost and counted under
        ``drop``, and still the caller's under ``wait``. StateError after :meth:`close`."""
        if self._closed:
            raise StateError("this stream of signals is closed: it takes no more events")
        before = self._ring.published
        done = self._ring.push_many(np.atleast_1d(events))
        if self.max_age_ns and self._ring.published != before:
            self._pushed.append((self._ring.published, time.monotonic_ns()))
        self._arrived.set()
        return done

    async def put(self, events: npt.NDArray[Any] | np.void) -> None:
        """Like :meth:`push`, but under ``wait`` all get in: it waits for room where there is none."""
        events = np.atleast_1d(events)
        done = self.push(events)
        while done < len(events) and self.overrun == "wait":
            self.waits += 1
            self._room.clear()
            await self._room.wait()
            done += self.push(events[done:])

    def close(self) -> None:
        """No more events: the feeds are cancelled, and the iteration ends behind the last Signal of what waits. May be called
        twice."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        self._arrived.set()
        self._room.set()  # whoever waits for room learns that there will be none

    async def _read(self, feed: AsyncIterable[Any]) -> None:
        try:
            async for events in feed:
                await self.put(events)
                if len(self._ring) >= self.batch:  # a feed that never has to wait lets the consumer run
                    await asyncio.sleep(0)
        finally:
            aclose = getattr(feed, "aclose", None)
            if aclose is not None:
                await aclose()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = StateError("a feed of this stream was cancelled") if task.cancelled() else task.exception()
        if error is not None and not self._closed:  # a closed stream cancels its feeds: nobody asks how they took it
            self._error = error
        if error is not None or not self._tasks:
            self.close()

    # -- Signals out

    def take(self) -> npt.NDArray[Any]:
        """Decide what waits, up to ``batch`` events or more where those make no Signal; empty if nothing makes one."""
        while waiting := len(self._ring):
            stale = self._overdue()
            events = self._ring.pop_many(stale or min(waiting, self.batch))
            self._room.set()
            signals = self.runtime.run(events)
            if stale:
                signals["action"], signals["reason"] = Action.HOLD, Reason.STALE
                self.stale_signals += len(signals)
            if len(signals):
                return signals
        return _NONE

    def _overdue(self) -> int:
        """How many of the next events, at most a batch, have waited too long."""
        if not self.max_age_ns:
            return 0
        taken, last = self._ring.published - len(self._ring), 0
        before = time.monotonic_ns() - self.max_age_ns
        while self._pushed and self._pushed[0][0] <= taken:
            self._pushed.popleft()
        for end, at in self._pushed:
            if at >= before or last - taken >= self.batch:
                break
            last = end
        return min(max(0, last - taken), self.batch)

    def __aiter__(self) -> SignalStream:
        return self

    async def __anext__(self) -> npt.NDArray[Any]:
        while True:
            signals = self.take()
            if len(signals):
                return signals
            if self._closed:
                self._raise()
                raise StopAsyncIteration
            if self._feeds and not self._entered:
                raise StateError("the feeds of this stream start with it: async with SignalStream(rt, feed) as stream")
            if self._asked:
                raise StateError("another task already waits for the next signals of this stream: give each its own")
            self._arrived.clear()
            self._asked = True
            try:
                await self._arrived.wait()
            finally:
                self._asked = False

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    @property
    def waiting(self) -> int:
        """Events that were published and are not decided yet."""
        return len(self._ring)

    @property
    def dropped(self) -> int:
        """Events lost because the ring was full."""
        return self._ring.dropped

    async def __aenter__(self) -> SignalStream:
        self._entered = True
        for feed in self._feeds:
            task = asyncio.get_running_loop().create_task(self._read(feed))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in [t for t in self._tasks if t.done()]:  # it has failed just now, and nobody was told yet
            self._ended(task)
        self.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if error is None:
            self._raise()
