"""A simulated feed: one market message a line on standard output, as an exchange's gateway might send them.

Run it anywhere:  python simulated_feed.py [EVENTS [SEED [SPEED]]] | python live.py

SPEED 1 is the market's own pace, 60 is a minute in a second; without it messages come as fast as they are read.
"""

from __future__ import annotations

import json
import sys
import time

from alpha import Kind
from alpha.data.simulate import simulate


def main(n_events: int = 20_000, seed: int = 2, speed: float = 0.0) -> None:
    events = simulate(n_events, seed=seed, levels=1).events
    began_ns, began = int(events["ts_recv_ns"][0]), time.monotonic()
    for event in events:
        ts_ns, v = int(event["ts_recv_ns"]), event["v"].tolist()
        if event["kind"] == Kind.TRADE:
            message = {"type": "trade", "ts_ns": ts_ns, "px": v[0], "qty": v[1], "side": v[2]}
        else:
            message = {"type": "quote", "ts_ns": ts_ns, "bid": v[0], "ask": v[1], "bid_qty": v[2], "ask_qty": v[3]}
        if speed:
            time.sleep(max(0.0, (ts_ns - began_ns) / 1e9 / speed - (time.monotonic() - began)))
        print(json.dumps(message), flush=bool(speed))


if __name__ == "__main__":
    kinds = (int, int, float)
    try:
        main(*[kind(text.replace("_", "")) for kind, text in zip(kinds, sys.argv[1:], strict=False)])
    except BrokenPipeError:  # the reader has gone
        sys.stderr.close()
