"""What a watched loop pays: inline calls without a server, with one that nobody asks, and while somebody scrapes.

    .venv/bin/python bench/watching.py            # also: --every 0.05 (scrapes a second apart or closer), --rounds

Each round measures all of them one after the other, so that a slow moment of the machine meets each alike; given are medians
over the rounds. ``waits``: how long single calls took beyond 50 µs, which a scrape adds by holding the interpreter.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
import urllib.request
import warnings
from contextlib import ExitStack
from typing import Any

import numpy as np

import alpha
from alpha.data.simulate import simulate
from alpha.errors import AlphaWarning
from alpha.events import Kind
from alpha.watch import look, serve
from alpha.watch import server as server_side
from alpha.watch.server import Application

N = 300_000


def loop(rt: Any, events: Any) -> Any:
    """ns that each inline quote took."""
    btc = rt.instrument("SIM0")
    clock, took = time.perf_counter_ns, np.empty(len(events), np.int64)
    quotes = [(int(e["ts_event_ns"]), *(float(x) for x in e["v"][:4])) for e in events]
    for k, q in enumerate(quotes):
        begin = clock()
        btc.on_quote(*q)
        took[k] = clock() - begin
    return took


def measure(events: Any, how: str, every_s: float) -> dict[str, float]:
    """One pass over the events: ``alone``, ``served`` or ``scraped``."""
    with ExitStack() as stack:
        rt = stack.enter_context(alpha.Runtime.from_registry(None, "models:/demo/1", instruments=["SIM0"]))
        answers = [0]
        if how != "alone":
            server = stack.enter_context(serve(rt, 0))
        if how == "scraped":
            done = threading.Event()

            def scrape() -> None:
                while not done.wait(every_s):
                    for path in ("metrics", "status.json"):
                        urllib.request.urlopen(server.url + path).read()
                        answers[0] += 1

            thread = threading.Thread(target=scrape)
            thread.start()
        took = loop(rt, events)
        if how == "scraped":
            done.set()
            thread.join()
    late = took[took > 50_000]
    return {
        "ns": float(np.median(took)),
        "mean_ns": float(took.mean()),
        "p999_ns": float(np.quantile(took, 0.999)),
        "waits": len(late),
        "max_us": float(took.max()) / 1e3,
        "answers": answers[0],
    }


def pieces(events: Any) -> dict[str, float]:
    """Processor time of one answer of each kind, and of its longest piece between two offers of the GIL, µs: what an inline
    loop may have to wait for. Medians of 50 answers."""
    with alpha.Runtime.from_registry(None, "models:/demo/1", instruments=["SIM0"]) as rt:
        rt.measure_latency()
        rt.run(events)
        looker = look.Looker(rt)
        app = Application(looker)
        marks: list[int] = []
        offer = look.offer_gil

        def marked() -> None:
            marks.append(time.thread_time_ns())
            offer()

        out: dict[str, float] = {}
        for path in ("/metrics", "/status.json"):
            totals, longest = [], []
            environ = {"REQUEST_METHOD": "GET", "HTTP_HOST": "127.0.0.1", "PATH_INFO": path}
            for _ in range(50):
                marks.clear()
                look.offer_gil = server_side.offer_gil = marked
                try:
                    marks.append(time.thread_time_ns())
                    app(environ, lambda code, headers: None)
                    marks.append(time.thread_time_ns())
                finally:
                    look.offer_gil = server_side.offer_gil = offer
                totals.append(marks[-1] - marks[0])
                longest.append(max(np.diff(marks)))
            out[f"{path} us"] = round(statistics.median(totals) / 1e3, 1)
            out[f"{path} longest piece us"] = round(float(statistics.median(longest)) / 1e3, 1)
        return out


def main() -> None:
    """Print a JSON object: per way the median over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=float, default=0.05, help="seconds between two scrapes of both documents")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("ignore", AlphaWarning)
    stream = simulate(2 * N, seed=5, levels=1)
    events = stream.events[stream.events["kind"] == Kind.QUOTE][:N]
    rounds: dict[str, list[dict[str, float]]] = {}
    for _ in range(args.rounds):
        for how in ("alone", "served", "scraped"):
            rounds.setdefault(how, []).append(measure(events, how, args.every))
    out: dict[str, dict[str, float]] = {
        how: {k: round(statistics.median(r[k] for r in each), 1) for k in each[0]} for how, each in rounds.items()
    }
    print(json.dumps({**out, "answer": pieces(events)}, indent=1))


if __name__ == "__main__":
    main()
