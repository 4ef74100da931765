"""A simulated market with a planted signal as a file, for trying things out: quotes and trades of one instrument.

Run it anywhere:  python simulated_day.py SIM0.parquet [EVENTS [SEED]]

The file's name becomes the symbol; a simulated one should begin with SIM, so that nobody takes it for a market.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alpha import Kind
from alpha.data.simulate import simulate


def write(path: Path, n_events: int, seed: int) -> None:
    """One row per event; what a row does not have is null. Times are whole nanoseconds since 1970, UTC."""
    events = simulate(n_events, seed=seed, levels=1).events
    v, quote = events["v"], events["kind"] == Kind.QUOTE
    columns = {
        "ts": pa.array(events["ts_event_ns"], pa.timestamp("ns", "UTC")),
        "ts_recv": pa.array(events["ts_recv_ns"], pa.timestamp("ns", "UTC")),
        "kind": np.where(quote, "quote", "trade"),
    }
    for k, name in enumerate(("bid_px", "ask_px", "bid_qty", "ask_qty")):
        columns[name] = pa.array(v[:, k], mask=~quote)
    for k, name in enumerate(("px", "qty", "side")):
        columns[name] = pa.array(v[:, k], mask=quote)
    pq.write_table(pa.table(columns), path)
    print(f"{path}: {len(events):,} simulated events, {int(quote.sum()):,} of them quotes")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    given = [int(text.replace("_", "")) for text in sys.argv[2:]]
    write(Path(sys.argv[1]), *[*given, *(200_000, 1)[len(given) :]])
