"""Two dask workers against one on the same tasks: the certificate of a snapshot, segment by segment.

Both clusters stay up and have done a task each before anything is timed; the rounds alternate. A task is one segment of
the set ``book`` and takes five seconds or more of a core of 2020; what it gives must be equal. By name only:
``alpha bench dist``, minutes long.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from alpha.distribution import Cluster, connected
from alpha.features import catalog
from alpha_training import recipe, snapshot
from alpha_training.spread import Reading, Spread
from bench.measure import Result, result

ROUNDS, TASKS, SEGMENT = 3, 4, 250_000
RECIPE = f"""
features = "book"
assumptions = ["a measurement"]
data = {{ simulate = {{ n_events = {TASKS * SEGMENT}, n_instruments = 2, levels = 5, seed = 5 }} }}
labels = {{ horizon = "1s" }}
models = [{{ id = "m", kind = "logistic" }}]
"""


def measure() -> list[Result]:
    """Seconds of all tasks by two workers, and the ratio to one worker: the median of the rounds."""
    os.environ["POLARS_MAX_THREADS"] = "1"  # inherited by the workers
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file = Path(folder) / "recipe.toml"
        file.write_text(RECIPE)
        made = recipe.load(file)
        source = snapshot.read(made, file.parent)
        reading = Reading.of(made, file.parent, source)
        spreads = []
        for n in (1, 2):
            cluster: Cluster = stack.enter_context(connected(f"local:{n}"))
            spreads.append(Spread(cluster, reading, catalog.get("book"), source))
        told: list[Any] = [None, None]
        times = np.empty((ROUNDS + 1, 2))
        for i in range(ROUNDS + 1):  # the first round reads the data and compiles
            for k in (i % 2, 1 - i % 2):
                start = time.perf_counter()
                told[k] = list(spreads[k].compared(0, SEGMENT))
                times[i, k] = time.perf_counter() - start
            if told[0] != told[1] or len(told[0]) != TASKS:
                raise AssertionError("two workers give another certificate than one")
            load = f"load {os.getloadavg()[0]:.1f}"
            print(f"one {times[i, 0]:.1f} s, two {times[i, 1]:.1f} s, {load}", file=sys.stderr)
    ratio = float(np.median(times[1:, 1] / times[1:, 0]))
    one, two = np.median(times[1:], axis=0)
    what = f"one worker ({one / TASKS:.1f} s a task)"
    return [result("dist_two_workers", float(two) / TASKS * 1e9, reference=what, ratio=ratio)]
