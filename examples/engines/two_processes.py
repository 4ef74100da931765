"""A feed handler in a process of its own fills a ring in shared memory; the runtime's thread takes the events out.

    python examples/engines/two_processes.py [--kill-after N]        (the feed handler dies of SIGKILL behind its Nth event)

Empty: the ring is emptied, nobody is asked; both by the clock on the wall. Exit code 1 if any byte of any Signal differs
from rt.run's, or if the feed handler died.
"""

import multiprocessing
import signal
import sys
import time
from multiprocessing.shared_memory import SharedMemory
from typing import Any

from against import Replay, main
from feed_handler import feed_handler

import alpha

CAPACITY = 4096


def take(ring: alpha.Ring, replay: Replay, ask: bool, feed: Any) -> tuple[bytes, int, int]:
    with replay.runtime() as rt:  # it lives as long as this call: nothing may hold the memory when it is closed
        live, out, times = rt.start(ring=ring) if ask else None, [], []
        while feed.is_alive() or len(ring):  # a dead feed handler leaves what it had published
            if len(got := (live.poll_many if live else ring.pop_many)(CAPACITY)):
                out.append(got.tobytes())
                times.append(time.perf_counter_ns())
        if live:
            live.stop()  # what was published is decided
            out.append(live.poll_many().tobytes())
        spent = max(times, default=0) - min(times, default=0)
        return (b"".join(out), spent, live.processed) if live else (b"", spent, 0)


def run(replay: Replay, rt: alpha.Runtime | None) -> tuple[bytes, int]:
    memory = SharedMemory(create=True, size=alpha.ring_bytes(CAPACITY))
    ring = alpha.Ring(CAPACITY, overrun="refuse", memory=memory.buf)
    args = memory.name, replay.events, 0 if rt is None else replay.args.kill_after
    feed = multiprocessing.get_context("spawn").Process(target=feed_handler, args=args, daemon=True)
    try:
        feed.start()
        signals, spent, processed = take(ring, replay, rt is not None, feed)
        del ring
        memory.close()
    finally:
        if feed.is_alive():  # interrupted: it goes first
            feed.kill()
            feed.join()
        memory.unlink()  # the name is gone, whatever else happens
    if code := feed.exitcode:
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        replay.stopped(f"the feed handler {how}", processed)
    return signals, spent


if __name__ == "__main__":
    sys.exit(main(run, __doc__, "--kill-after"))
