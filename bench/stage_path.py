"""The whole path as Python sees it: inline calls, and a worker thread behind a ring."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import alpha
from alpha.events import SIGNAL_DTYPE
from alpha.features import catalog
from bench.measure import Result, blocks, result
from bench.workloads import BLOCK, INSTRUMENTS, block, warm_up

N_BLOCKS, WARM_BLOCKS = 24, 2
N_HOPS = 512
_MODEL_RAN = {"MODEL", "BELOW_THRESHOLD", "COOLDOWN"}
Ticks = list[list[tuple[int, float, float, float, float, int]]]


def measure() -> list[Result]:
    """``inline_overhead``: a loop of on_quote calls, less the empty loop, less the native run of the same events.
    ``inline_with_model``: such a call with the demo model, whole, against its native run. ``worker``: push, decide,
    poll in bulk, per event. ``worker_hop``: one event pushed, its Signal awaited."""
    ticks: Ticks = [
        [
            (int(t), *(float(v) for v in row[:4]), int(r))
            for t, r, row in zip(e["ts_event_ns"], e["ts_recv_ns"], e["v"], strict=True)
        ]
        for e in map(block, range(N_BLOCKS + WARM_BLOCKS))
    ]
    return [*_inline(ticks), *_worker(ticks), _hop(ticks)]


def _features_only() -> alpha.Runtime:
    rt = alpha.Runtime.from_features(catalog.get("twenty"), instruments=INSTRUMENTS)
    rt.run(warm_up())
    return rt


def _with_model() -> alpha.Runtime:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", alpha.AlphaWarning)
        rt = alpha.Runtime.from_registry(None, "models:/demo/1", instruments=INSTRUMENTS)
    rt.run(warm_up())
    return rt


def _calls(rt: alpha.Runtime, ticks: Ticks) -> Callable[[int], None]:
    on_quote = rt.instrument("SIM0").on_quote

    def calls(i: int) -> None:
        for t, b, a, p, q, r in ticks[i]:
            on_quote(t, b, a, p, q, r)

    return calls


def _empty(ticks: Ticks) -> Callable[[int], None]:
    def empty(i: int) -> None:
        for _t, _b, _a, _p, _q, _r in ticks[i]:
            pass

    return empty


def _native(rt: alpha.Runtime) -> tuple[Callable[[int], None], np.ndarray[Any, Any]]:
    signals = np.zeros(BLOCK, SIGNAL_DTYPE)

    def run(i: int) -> None:
        rt._pipeline.run(block(i), signals)

    return run, signals


def _same_last(i: int, rt: alpha.Runtime, signals: np.ndarray[Any, Any]) -> None:
    if bytes(rt.latest("SIM0") or b"") != signals[-1].tobytes():
        raise AssertionError(f"block {i}: inline call and run end with different signals")


def _inline(ticks: Ticks) -> list[Result]:
    rt, same, model, model_too = _features_only(), _features_only(), _with_model(), _with_model()
    run, signals = _native(same)
    run_model, model_signals = _native(model_too)
    early = model.stats()["reasons"]

    def check(i: int) -> None:
        _same_last(i, rt, signals)
        _same_last(i, model, model_signals)

    arms = [_empty(ticks), _calls(rt, ticks), run, _calls(model, ticks), run_model]
    nothing, called, ran, called_model, ran_model = blocks(arms, N_BLOCKS, BLOCK, WARM_BLOCKS, check)
    # a model that never runs is fast
    decided = {k: n - early.get(k, 0) for k, n in model.stats()["reasons"].items()}
    if (n := sum(decided.get(k, 0) for k in _MODEL_RAN)) != (N_BLOCKS + WARM_BLOCKS) * BLOCK:
        raise AssertionError(f"the model ran for {n} events only: {decided}")
    if rt.stats()["reasons"] != same.stats()["reasons"]:
        raise AssertionError("inline calls and run count different reasons")
    return [
        result("inline_overhead", float(np.median(called - nothing - ran))),
        result("inline_call", float(np.median(called - nothing)), float(np.median(ran)), "native run, no model"),
        result(
            "inline_with_model",
            float(np.median(called_model - nothing)),
            float(np.median(ran_model)),
            "native run, demo model",
        ),
    ]


def _worker(ticks: Ticks) -> list[Result]:
    rt, behind, same = _features_only(), _features_only(), _features_only()
    run, signals = _native(same)
    got = np.zeros(BLOCK, SIGNAL_DTYPE)

    with behind.start(overrun="refuse") as worker:

        def through_worker(i: int) -> None:
            e, pushed, seen = block(i), 0, 0
            while seen < BLOCK:
                if pushed < BLOCK:
                    pushed += worker.push_many(e[pushed : pushed + 512])
                part = worker.poll_many(4096)
                got[seen : seen + len(part)] = part
                seen += len(part)

        def check(i: int) -> None:
            if got.tobytes() != signals.tobytes():
                raise AssertionError(f"block {i}: the worker gives other signals than run")

        arms = [_empty(ticks), _calls(rt, ticks), run, through_worker]
        nothing, called, _, threaded = blocks(arms, N_BLOCKS, BLOCK, WARM_BLOCKS, check)
    return [result("worker", float(np.median(threaded)), float(np.median(called - nothing)), "inline calls")]


def _hop(ticks: Ticks) -> Result:
    rt = _features_only()
    with rt.start(overrun="refuse") as worker:
        push, poll = worker.push_quote, worker.poll

        def hops(i: int) -> None:
            for t, b, a, p, q, r in ticks[i][:N_HOPS]:
                push(0, t, b, a, p, q, r)
                while poll() is None:
                    pass

        (times,) = blocks([hops], N_BLOCKS, N_HOPS, WARM_BLOCKS)
        if worker.processed != (N_BLOCKS + WARM_BLOCKS) * N_HOPS or worker.lost_signals:
            raise AssertionError(
                f"the worker processed {worker.processed} events and lost {worker.lost_signals} signals"
            )
    return result("worker_hop", float(np.median(times)))
