"""Somebody scrapes without a pause while a runtime decides: every byte stays what it is without."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from watched import served, watchers

import alpha
from alpha.data.simulate import simulate
from alpha.features import catalog
from alpha.features.native import native_rows
from alpha.watch import serve

pytestmark = [pytest.mark.race, pytest.mark.filterwarnings("ignore:model demo:alpha.errors.AlphaWarning")]
SIM = simulate(30_000, seed=23, n_instruments=2)


def reference() -> tuple[bytes, bytes]:
    with served(instruments=SIM.instruments) as rt:
        return rt.run(SIM.events).tobytes(), rt.save_state()


@pytest.mark.parametrize("how", ["inline", "run", "worker"])
def test_a_watched_runtime_decides_the_same_bytes(how: str) -> None:
    signals, state = reference()
    with served(instruments=SIM.instruments) as rt, serve(rt, 0) as server:
        made: list[Any] = []
        with watchers(server) as answers:
            if how == "inline":
                handles = [rt.instrument(s) for s in SIM.instruments.symbols]
                for e in SIM.events:
                    v, who = e["v"], handles[int(e["instrument_id"])]
                    more = {"ts_recv_ns": int(e["ts_recv_ns"]), "flags": int(e["flags"])}
                    if e["kind"] == 1:
                        s = who.on_quote(int(e["ts_event_ns"]), *v[:4].tolist(), venue_seq=float(v[4]), **more)
                    elif e["kind"] == 2:
                        s = who.on_trade(int(e["ts_event_ns"]), *v[:3].tolist(), venue_seq=float(v[4]), **more)
                    else:
                        s = rt.on_event(e)
                    if s is not None:
                        made.append(bytes(s))
            elif how == "run":
                made = [rt.run(part).tobytes() for part in np.array_split(SIM.events, 60)]
            else:
                with rt.start(overrun="refuse") as worker:
                    at = 0
                    while at < len(SIM.events):
                        at += worker.push_many(SIM.events[at : at + 64])
                        made.append(worker.poll_many().tobytes())
                    worker.stop()
                    made.append(worker.poll_many().tobytes())
            while not all(answers):  # a fast stream may be over before anybody had an answer
                threading.Event().wait(0.001)
        assert b"".join(made) == signals
        assert rt.save_state() == state


def test_a_row_of_a_worker_is_never_a_mixture_of_two() -> None:
    """Every row that a look shows is one that the stream made, at its own time and with its own readiness. Long rows and
    long bursts, so that a reader who does not ask would read while they are written."""
    stream = simulate(120_000, seed=29, levels=5, n_instruments=1)
    fs = catalog.get("book")
    rows = native_rows(fs, stream.events, stream.instruments)
    mixed, seen, unanswered = [], set(), [0]
    with (
        alpha.Runtime.from_features(fs, instruments=stream.instruments) as rt,
        rt.start(overrun="refuse") as worker,
    ):
        done = threading.Event()

        def look() -> None:
            while not done.is_set():
                told = rt.look("SIM0", wait_s=1e-3)
                if told is None or told["features"] is None:
                    unanswered[0] += 1
                    continue
                k = told["rows"] - 1
                seen.add(k)
                same = (
                    told["features"].tobytes() == rows["values"][k].tobytes()
                    and np.array_equal(told["ready"], rows["ready"][k])
                    and told["row_ts_ns"] == rows["ts_ns"][k]
                )
                if not same:
                    mixed.append(k)

        threads = [threading.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        at = 0
        while at < len(stream.events):
            at += worker.push_many(stream.events[at : at + 8192])
            worker.poll_many()
        while len(rows["values"]) - 1 not in seen:  # the last one, once the worker waits
            threading.Event().wait(0.001)
        done.set()
        for thread in threads:
            thread.join()
    assert not mixed, f"{len(mixed)} of {len(seen)} rows, {unanswered[0]} looks without an answer"
