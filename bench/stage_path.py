"""The whole path as Python sees it: inline calls, and a worker thread behind a ring."""

from __future__ import annotations

import warnings

import numpy as np

import alpha
from alpha.events import SIGNAL_DTYPE
from alpha.features import catalog
from bench.measure import Result, blocks, result
from bench.workloads import BLOCK, INSTRUMENTS, block

N_BLOCKS = 24


def measure() -> list[Result]:
    """``inline_overhead``: a loop of on_quote calls, less the empty loop, less the native run of the same events.
    ``inline_with_model``: such a call with the demo model, whole. ``worker``: push, decide, poll, per event."""
    fs = catalog.get("twenty")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", alpha.AlphaWarning)
        inline = alpha.Runtime.from_features(fs, instruments=INSTRUMENTS)
        native = alpha.Runtime.from_features(fs, instruments=INSTRUMENTS)
        model = alpha.Runtime.from_registry(None, "models:/demo/1", instruments=INSTRUMENTS)
        behind = alpha.Runtime.from_features(fs, instruments=INSTRUMENTS)
    signals = np.zeros(BLOCK, SIGNAL_DTYPE)
    on_quote, on_model = inline.instrument("SIM0").on_quote, model.instrument("SIM0").on_quote
    ticks = []
    for i in range(N_BLOCKS + 2):
        e = block(i)
        ticks.append(
            [
                (int(t), *(float(v) for v in row[:4]), int(r))
                for t, r, row in zip(e["ts_event_ns"], e["ts_recv_ns"], e["v"], strict=True)
            ]
        )

    def empty(i: int) -> None:
        for _t, _b, _a, _p, _q, _r in ticks[i]:
            pass

    def calls(i: int) -> None:
        for t, b, a, p, q, r in ticks[i]:
            on_quote(t, b, a, p, q, r)

    def calls_model(i: int) -> None:
        for t, b, a, p, q, r in ticks[i]:
            on_model(t, b, a, p, q, r)

    def run(i: int) -> None:
        native._pipeline.run(block(i), signals)

    with behind.start(overrun="refuse") as worker:

        def through_worker(i: int) -> None:
            e, pushed, seen = block(i), 0, 0
            while seen < BLOCK:
                if pushed < BLOCK:
                    pushed += worker.push_many(e[pushed : pushed + 512])
                seen += len(worker.poll_many(4096))

        times = blocks([empty, calls, run, calls_model, through_worker], N_BLOCKS, BLOCK)
    nothing, called, ran, with_model, threaded = times
    return [
        result("inline_overhead", float(np.median(called - nothing - ran))),
        result("inline_call", float(np.median(called - nothing))),
        result("inline_with_model", float(np.median(with_model - nothing))),
        result("worker", float(np.median(threaded)), float(np.median(called - nothing)), "inline calls"),
    ]
