"""A websocket feed, replayed on loopback, through alpha's asyncio adapter: messages in, Signals out.

    python examples/engines/asyncio_websocket.py        (needs: pip install websockets)

Empty: the messages are received and parsed, and nobody is asked. Exit code 1 if any byte of any Signal differs from rt.run's.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import numpy as np
from against import Replay, main
from websockets.asyncio.client import connect
from websockets.sync.server import ServerConnection, serve

import alpha
from alpha.integrations.aio import SignalStream


async def feed(port: int) -> AsyncIterator[Any]:
    """JSON keeps every bit of a float64: the shortest text that means it is written, the nearest float64 is read."""
    async with connect(f"ws://127.0.0.1:{port}", compression=None) as socket:
        async for message in socket:
            yield np.array(tuple(msgspec.json.decode(message)), alpha.EVENT_DTYPE)


async def decide(port: int, rt: alpha.Runtime) -> list[bytes]:
    out: list[Any] = []
    async with SignalStream(rt, feed(port), overrun="wait") as stream:
        async for signals in stream:
            out += [signals.tobytes()]  # here your strategy may await its order: the feed goes on meanwhile
    return out


async def nobody(port: int) -> list[bytes]:
    return [b"" async for _event in feed(port)]


def run(replay: Replay, rt: alpha.Runtime | None) -> tuple[bytes, int]:
    def venue(socket: ServerConnection) -> None:
        for *head, v in replay.events.tolist():
            socket.send(msgspec.json.encode([*head, v.tolist()]))

    with serve(venue, "127.0.0.1", 0, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port, start = server.socket.getsockname()[1], time.thread_time_ns()  # of this thread, without the venue's
        out = asyncio.run(nobody(port) if rt is None else decide(port, rt))
        return b"".join(out), time.thread_time_ns() - start


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
