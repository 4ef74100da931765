"""One side of ``./dev bench --against``: a process that serves one build and runs a block when it is told to.

Started by path, with the tree whose ``alpha`` it shall import; inputs come from a file that both sides read, so that
nothing but the build differs. Time is that of the thread, so that being preempted does not count. Protocol, line by line: ``name block`` in, ``ns instructions`` out (-1: not counted).
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BLOCK = 1024
TWENTY = {
    "spread": "1e4*spread/mid",
    "imb": "imbalance",
    "fast": "ema(imbalance, span=20)",
    "slow": "ema(imbalance, span=200)",
    "dev": "1e4*(microprice - mid)/mid",
    "ret1": "ret(mid, 1)",
    "ret20": "ret(mid, 20)",
    "ret5s": 'ret(mid, "5s")',
    "vel": 'velocity(mid, "1s")',
    "mean": "mean(mid, 50)",
    "std": "std(mid, 50)",
    "z50": "zscore(mid, 50)",
    "z5s": 'zscore(mid, "5s")',
    "std5s": 'std(spread, "5s")',
    "rsi": "rsi(mid, 14)",
    "min": "min(mid, 100)",
    "max": "max(mid, 100)",
    "skew": "skew(mid, 50)",
    "side": 'mean(side, "10s")',
    "vol": 'sum(qty, "10s")',
}
LEVELS = {
    **{f"i{k}": f"(bid_qty({k}) - ask_qty({k}))/(bid_qty({k}) + ask_qty({k}))" for k in range(1, 5)},
    **{f"o{k}": f'sum(ofi({k}), "1s")' for k in range(1, 5)},
    **{f"m{k}": f"ema(bid_qty({k}), span=50)" for k in range(1, 5)},
}


class Instructions:
    """User-space instructions of this thread by the kernel's counters; ``count`` is None where there are none."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        attributes = bytearray(128)
        # type hardware, size, config instructions, no sampling; disabled 0, exclude_kernel, exclude_hv
        struct.pack_into("<IIQQQQQ", attributes, 0, 0, 128, 1, 0, 0, 0, 1 << 5 | 1 << 6)
        buffer = (ctypes.c_char * 128).from_buffer(attributes)
        numbers = {"x86_64": 298, "aarch64": 241}
        number = numbers.get(os.uname().machine)
        self.fd = -1 if number is None else libc.syscall(number, buffer, 0, -1, -1, 0)

    def count(self) -> int | None:
        """Instructions so far."""
        return None if self.fd < 0 else int(struct.unpack("<Q", os.read(self.fd, 8))[0])


def _walk(events: Any, make: Callable[[], Any]) -> Callable[[int], Any]:
    """Through the events, so many at a time; from the beginning in a fresh runtime, for time must not go back."""
    state: dict[str, Any] = {"at": len(events), "rt": None}

    def run(n: int) -> Any:
        if state["at"] + n > len(events):
            state["rt"] = make()
            state["rt"].run(events[:BLOCK])
            state["at"] = BLOCK
        part = events[state["at"] : state["at"] + n]
        state["at"] += n
        return state["rt"].run(part)

    return run


def _features(alpha: Any, events: Any, features: dict[str, str]) -> Callable[[int], Any]:
    from alpha.features.feature_set import FeatureSet

    fs = FeatureSet.from_dict({"name": "against", "trigger": "quote", "features": features})
    return _walk(events, lambda: alpha.Runtime.from_features(fs, instruments=alpha.Instruments.of("SIM0")))


def _inline(alpha: Any, events: Any) -> Callable[[int], Any]:
    from alpha.features.feature_set import FeatureSet

    fs = FeatureSet.from_dict({"name": "against", "features": {"imb": "imbalance", "fast": "ema(imbalance, span=20)"}})
    rt = alpha.Runtime.from_features(fs, instruments=alpha.Instruments.of("SIM0"))
    on_quote = rt.instrument("SIM0").on_quote
    quotes = events["v"][events["kind"] == 1][: 2 * BLOCK, :4].tolist()
    last = 10**18

    def run(n: int) -> Any:
        nonlocal last
        for b, a, p, q in quotes[:n]:
            last += 1_000_000
            signal = on_quote(last, b, a, p, q)
        return signal

    return run


def _model(alpha: Any, events: Any, artifact: str) -> Callable[[int], Any]:
    return _walk(events, lambda: alpha.Runtime.from_artifact(artifact, instruments=["SIM0"]))


def main() -> None:
    """``against_block.py TREE EVENTS.npy LEVELS.npy ARTIFACT CPU``."""
    tree, events_file, levels_file, artifact, cpu = sys.argv[1:6]
    os.sched_setaffinity(0, {int(cpu)})
    sys.path[0] = tree
    sys.dont_write_bytecode = True
    import numpy as np

    import alpha

    assert Path(alpha.__file__).resolve().is_relative_to(Path(tree).resolve()), alpha.__file__
    events, levels = np.load(events_file), np.load(levels_file)
    makers: dict[str, Callable[[], Callable[[int], Any]]] = {
        "features": lambda: _features(alpha, events, TWENTY),
        "levels": lambda: _features(alpha, levels, LEVELS),
        "inline": lambda: _inline(alpha, events),
        "model": lambda: _model(alpha, events, artifact),
    }
    workloads: dict[str, Callable[[int], Any]] = {}
    missing: dict[str, str] = {}
    for name, make in makers.items():
        try:
            workloads[name] = make()
            workloads[name](BLOCK)
        except Exception as exc:  # what one revision cannot do yet is left out, and said
            missing[name] = f"{type(exc).__name__}: {exc}"
            workloads.pop(name, None)
    print(json.dumps({"workloads": list(workloads), "missing": missing}), flush=True)
    counter = Instructions()
    for line in sys.stdin:
        name, n = line.split()
        run, items = workloads[name], int(n)
        before, start = counter.count(), time.thread_time_ns()
        run(items)
        spent, after = time.thread_time_ns() - start, counter.count()
        print(spent, -1 if before is None or after is None else after - before, flush=True)


if __name__ == "__main__":
    main()
