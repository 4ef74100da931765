"""The other process of two_processes.py: what receives the market data and knows nothing of models."""

from __future__ import annotations

import os
import signal
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import alpha


def feed_handler(name: str, events: Any, kill_after: int) -> None:
    """Publish every event into the ring that lies in this memory. The ring refuses when it is full and this feed tries
    again; a live one would have the ring drop, which counts what was lost and tells the features.
    ``kill_after``: die behind that many events as nobody plans to, 0: never."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to both; the other one ends this one
    memory, done = SharedMemory(name), 0
    ring = alpha.Ring(memory=memory.buf, attach=True)
    while done < len(events):
        done += ring.push_many(events[done : min(done + 64, kill_after or len(events))])
        if done == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
    del ring  # it holds the memory
    memory.close()
