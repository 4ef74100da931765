"""Threads against each other: a feed, a worker, a poller, and others that only look or kill."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import alpha
from alpha._core.ring import Ring
from alpha.data.simulate import simulate
from alpha.events import EVENT_DTYPE, Kind
from alpha.features import catalog

pytestmark = pytest.mark.race


def test_ring_between_two_threads_keeps_every_event_in_order() -> None:
    n, ring, out = 400_000, Ring(1024, overrun="refuse"), []
    e = np.zeros(n, EVENT_DTYPE)
    e["kind"], e["ts_event_ns"] = Kind.TRADE, np.arange(n)
    e["v"] = np.random.default_rng(1).standard_normal((n, 5))

    def produce() -> None:
        at = 0
        while at < n:
            at += ring.push_many(e[at : at + 700])

    thread = threading.Thread(target=produce)
    thread.start()
    taken = 0
    while taken < n:
        part = ring.pop_many(500)
        taken += len(part)
        out.append(part)
    thread.join()
    assert np.concatenate(out).tobytes() == e.tobytes()


def test_latest_is_never_torn_while_a_worker_writes_it() -> None:
    events = simulate(200_000, seed=9, levels=1).events
    torn: list[str] = []
    seen = 0
    with alpha.Runtime.from_features(catalog.get("spec"), instruments=["SIM0"]) as rt:
        reference = {s["event_index"].item(): s.tobytes() for s in rt.run(events)}
    with (
        alpha.Runtime.from_features(catalog.get("spec"), instruments=["SIM0"]) as rt,
        rt.start(overrun="refuse") as worker,
    ):
        done = threading.Event()

        def look() -> None:
            nonlocal seen
            while not done.is_set():
                signal = rt.latest("SIM0")
                if signal is not None:
                    seen += 1
                    if bytes(signal) != reference[signal.event_index]:
                        torn.append(repr(signal))

        thread = threading.Thread(target=look)
        thread.start()
        at = 0
        while at < len(events):
            at += worker.push_many(events[at : at + 256])
            worker.poll_many()
        worker.stop()
        done.set()
        thread.join()
    assert not torn and seen > 0


def test_kill_from_another_thread_stops_every_action() -> None:
    stream = simulate(60_000, seed=4)
    at, parts = 0, []
    with (
        alpha.Runtime.from_registry(None, "models:/demo/1", instruments=stream.instruments) as rt,
        rt.start(overrun="refuse") as worker,
    ):
        while at < len(stream.events):
            at += worker.push_many(stream.events[at : at + 500])
            parts.append(worker.poll_many())
            while at > 30_000 and worker.backlog and not rt._pipeline.killed:
                parts.append(worker.poll_many())
            if at > 30_000 and not rt._pipeline.killed:
                thread = threading.Thread(target=rt.kill, args=("drill",))
                thread.start()
                thread.join()
        worker.stop()
        parts.append(worker.poll_many())
    signals = np.concatenate(parts)
    first = int(np.flatnonzero(signals["reason"] == alpha.Reason.KILLED)[0])
    assert (signals["reason"][first:] == alpha.Reason.KILLED).all() and not signals["action"][first:].any()
    assert signals["action"][:first].any()


def test_models_are_looked_at_killed_and_changed_beside_a_worker() -> None:
    """Readers of every model, kills and loads while the worker decides: nothing is torn, nothing is lost."""
    stream = simulate(40_000, seed=6, levels=1)
    desk = {
        "a": "models:/demo/1",
        "b": alpha.Model("models:/demo_mlp/1", "shadow"),
        "late": alpha.Model("models:/demo_mlp/1", lazy=True),
    }
    done, wrong, seen, parts = threading.Event(), [], 0, []
    with (
        alpha.Runtime.from_registry(None, desk, instruments=stream.instruments) as rt,
        rt.start(overrun="refuse") as worker,
    ):
        symbol = rt.instruments.symbols[0]

        def look() -> None:
            nonlocal seen
            while not done.is_set():
                for slot, name in enumerate(desk):
                    signal = rt.latest_of(symbol, name)
                    if signal is None:
                        continue
                    seen += 1
                    if signal.model_slot != slot or signal.shadow != (name == "b"):
                        wrong.append(repr(signal))
                rt.kill("drill", model="b")
                rt.revive(model="b")
                rt.stats()

        thread = threading.Thread(target=look)
        thread.start()
        at = 0
        while at < len(stream.events):
            at += worker.push_many(stream.events[at : at + 256])
            parts.append(worker.poll_many())
            if at >= 20_000 and not rt.stats()["reload"]["swaps"]:
                rt.load("late")
        worker.stop()
        done.set()
        thread.join()
        parts.append(worker.poll_many())
        stats = rt.stats()
    assert not wrong and seen > 0 and stats["reload"]["swaps"] == 1
    signals = np.concatenate(parts)
    assert stats["events"] == len(stream.events) and stats["decisions"] == len(signals)
    late = signals[signals["model_slot"] == 2]["reason"]
    loaded = int(np.flatnonzero(late == alpha.Reason.MODEL)[0])
    assert (late[:loaded] != alpha.Reason.MODEL).all() and not (late[loaded:] == alpha.Reason.NO_MODEL).any()
    assert not (signals["flags"] & np.uint32(alpha.SignalFlag.SHADOW)).any()
