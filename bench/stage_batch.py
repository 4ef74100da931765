"""The batch twin on the twenty features, against polars, pandas and numba as one would write them; and where those
differ from the exact values."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import need
from alpha.features import batch, catalog
from alpha.features.native import native_rows
from bench.measure import Result, quietest, result
from bench.workloads import INSTRUMENTS, quotes

ROWS, PASSES = 240 * 1024, 8
_FIELDS = ("bid_px", "ask_px", "bid_qty", "ask_qty")


def _differences(names: list[str], exact: npt.NDArray[Any], rows: npt.NDArray[np.bool_], other: Any) -> str:
    """Which float32 values of ready rows differ, in percent of the rows: the worst features."""
    share = {
        name: 100.0 * np.mean(exact[rows, j].view(np.int32) != np.asarray(other[:, j], np.float32)[rows].view(np.int32))
        for j, name in enumerate(names)
    }
    worst = sorted((s, n) for n, s in share.items() if s > 0.0)[::-1]
    return ", ".join(f"{n} {s:.2g} %" for s, n in worst) or "none"


def measure() -> list[Result]:
    """``batch_twin``: ns a row with all 20 features, against plain polars on the same quotes, threads as each likes.
    ``batch_pandas``, ``batch_numba``: those two against polars too. Values that differ are named on stderr."""
    need("polars", "data")
    need("pandas", "data")
    import pandas as pd
    import polars as pl

    from bench.peers.columns import numba_twenty, pandas_twenty, polars_twenty

    fs, events = catalog.get("twenty"), quotes(ROWS)
    t = events["ts_recv_ns"].astype(np.int64)
    fields = {n: events["v"][:, k].copy() for k, n in enumerate(_FIELDS)}
    frame = pl.DataFrame({"t": t, **fields})
    table = pd.DataFrame(fields, index=pd.to_datetime(t))
    matrix = np.ascontiguousarray(events["v"][:, :4])
    names, last = list(fs.features), {}

    def arm(name: str, compute: Any) -> Any:
        def run(_: int) -> None:
            last[name] = compute()

        return lambda: run

    arms = {
        "twin": lambda: batch.compute(fs, events, INSTRUMENTS),
        "polars": lambda: polars_twenty(frame),
        "pandas": lambda: pandas_twenty(table),
        "numba": lambda: numba_twenty(t, matrix),
    }
    times = quietest([arm(name, compute) for name, compute in arms.items()], 1, ROWS, PASSES, warm=1)
    twin, polars, pandas, numba = (float(x[0]) for x in times)
    rows, native = last["twin"], native_rows(fs, events, INSTRUMENTS)
    ready = rows.ready
    if not np.array_equal(ready, native["ready"].all(axis=1)):
        raise AssertionError("the two twins are ready at different rows")
    for name, values in (
        ("the native twin", native["values"]),
        ("polars", last["polars"].to_numpy()),
        ("pandas", last["pandas"].to_numpy()),
        ("numba", last["numba"]),
    ):
        print(
            f"values other than the batch twin's, {name}: {_differences(names, rows.values, ready, values)}",
            file=sys.stderr,
        )
    return [
        result("batch_twin", twin, polars, "plain polars"),
        result("batch_pandas", pandas, polars, "plain polars"),
        result("batch_numba", numba, polars, "plain polars"),
    ]
