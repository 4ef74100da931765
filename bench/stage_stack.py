"""Whole stacks, event to action, seen by Python (see :mod:`bench.peers.stack`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

import alpha
from bench.measure import Result, blocks, result
from bench.peers import stack
from bench.peers.stack_numba import one_call
from bench.workloads import quotes

N = 1024
N_BLOCKS = 30
_AMZN = "lobster/AMZN_20120621_L5.parquet"


def _quotes(n: int) -> list[tuple[int, float, float, float, float]]:
    """Real quotes where there are any, else simulated ones; as numbers, the way a feed handler passes them."""
    file = Path(os.environ.get("ALPHA_DATA", "../shared/data")) / _AMZN
    if file.is_file():
        events = alpha.open_events(file).read_all()
        events = events[events["kind"] == alpha.Kind.QUOTE]
        events = events[(events["v"][:, :2] > 0).all(axis=1)]
    else:
        events = quotes()
    if len(events) < n:
        raise AssertionError(f"{len(events)} quotes for {n}")
    times = events["ts_event_ns"][:n].tolist()
    return [(t, *v) for t, v in zip(times, events["v"][:n, :4].tolist(), strict=True)]


def measure() -> list[Result]:
    """Median ns an event of each stack, net of the loop around it, and ours against each of them."""
    rows = _quotes(N * (N_BLOCKS + 3))
    keep = {name: stack.ours(engine) for name, engine in (("ours", "plan"), ("ours, ONNX Runtime", "ort"))}
    made: dict[str, Any] = {
        **{name: on_quote for name, (_, on_quote) in keep.items()},
        "features in C + IOBinding": stack.native_features_and_binding(),
        "hand-written Python + IOBinding": stack.hand_written(),
        "numba, one call": one_call(),
        "nothing": lambda ts, bid, ask, bid_qty, ask_qty: 0,
    }
    for row in rows[:N]:
        for step in made.values():
            step(*row)
    actions: dict[str, list[int]] = {}
    differ = dict.fromkeys(made, 0)
    seen: set[int] = set()

    def arm(name: str) -> Any:
        step = made[name]

        def turn(i: int) -> None:
            actions[name] = [step(*row) for row in rows[N * (i + 1) : N * (i + 2)]]

        def ours(i: int) -> None:
            actions[name] = [step(*row).action for row in rows[N * (i + 1) : N * (i + 2)]]

        return ours if name in keep else turn

    def compare(i: int) -> None:
        seen.update(actions["ours"])
        for name in made:
            differ[name] += sum(a != b for a, b in zip(actions[name], actions["ours"], strict=True))

    times = dict(zip(made, blocks([arm(n) for n in made], N_BLOCKS, N, check=compare), strict=True))
    if seen != {-1, 0, 1}:
        raise AssertionError(f"the model decides only {seen}: nothing is compared")
    decided = N * (N_BLOCKS + 2)
    for name in made:
        if name != "nothing" and differ[name] > 1e-3 * decided:
            raise AssertionError(f"{name} takes {differ[name]} of {decided} decisions otherwise")
    idle = float(np.median(times.pop("nothing")))
    medians = {name: float(np.median(t)) - idle for name, t in times.items()}
    return [
        result("stack", medians["ours"], medians["ours, ONNX Runtime"], "the same through ONNX Runtime's C API"),
        *(
            result(f"stack_against_{key}", medians["ours"], medians[name], f"{name} ({differ[name]} flips)")
            for key, name in (
                ("binding", "features in C + IOBinding"),
                ("python", "hand-written Python + IOBinding"),
                ("numba", "numba, one call"),
            )
        ),
    ]
