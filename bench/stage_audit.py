"""What the audit log costs the hot path: the same events with and without it, at a paced 200,000 events a second."""

from __future__ import annotations

import shutil
import tempfile
import time

import numpy as np

import alpha
from alpha.audit import AuditLog
from alpha.events import SIGNAL_DTYPE
from alpha.features import catalog
from bench.measure import Result, result
from bench.workloads import BLOCK, INSTRUMENTS, block, warm_up

N_BLOCKS, WARM_BLOCKS = 54, 4
EVENT_NS = 5_000  # 200,000 a second
BURST = 64  # events that come together: a call of Python for each would be all that is measured


def measure() -> list[Result]:
    """``audit_decision``: ns per decision (each event makes one, of twenty features) that writing the EVENT and the
    DECISION record into the ring adds; the drain thread writes, hashes and syncs meanwhile. Events come in bursts of 64
    every 320 us; the median over all bursts, so that one in which the thread had to wait for its core does not count."""
    folder = tempfile.mkdtemp(prefix="alpha-bench-")
    log = AuditLog(folder, policy="block_signals", capacity=1 << 24)
    try:
        plain = alpha.Runtime.from_features(catalog.get("twenty"), instruments=INSTRUMENTS)
        logged = alpha.Runtime.from_features(catalog.get("twenty"), instruments=INSTRUMENTS, audit=log)
        arms = (plain, logged)
        signals = np.zeros(BLOCK + 1, SIGNAL_DTYPE)
        for rt in arms:
            rt.run(warm_up())
        spent = np.empty((2, N_BLOCKS, BLOCK // BURST))
        kept: list[bytes] = [b"", b""]
        for i in range(-WARM_BLOCKS, N_BLOCKS):
            events = block(i + WARM_BLOCKS)
            for k in range(2):
                a = (i + k) % 2
                for at in range(0, len(events), BURST):
                    start = time.perf_counter_ns()
                    arms[a]._pipeline.run(events[at : at + BURST], signals[at : at + BURST + 1])
                    if i >= 0:
                        spent[a, i, at // BURST] = (time.perf_counter_ns() - start) / BURST
                    while time.perf_counter_ns() - start < EVENT_NS * BURST:
                        pass  # the pace: a sleep would let the core go cold
                kept[a] = signals.tobytes()
            if kept[0] != kept[1]:
                raise AssertionError(f"block {i}: the log changes what is decided")
        stats = logged.stats()["audit"]
        if stats["blocked"] or stats["dropped"] or stats["failed"]:
            raise AssertionError(f"the log did not keep up: {stats}")
        plain.close()
        logged.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [result("audit_decision", float(np.median(spent[1] - spent[0])))]
