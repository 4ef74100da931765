"""Several models in one runtime say, each for itself, byte for byte what they say alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from seated import alone, comparable, inputs_for, quiet, random_models

import alpha
from alpha import Desk, Ensemble, Model
from alpha.audit import AuditLog
from alpha.events import SIGNAL_DTYPE
from alpha.replay import replay


@pytest.mark.parametrize("seed", range(12))
def test_each_model_as_if_it_were_alone(tmp_path: Path, seed: int) -> None:
    folders, sets, table, events = random_models(tmp_path, seed, count=2 + seed % 3)
    with quiet(), alpha.Runtime.from_artifact({n: str(p) for n, p in folders.items()}, instruments=table) as rt:
        union = rt.bundle.feature_set
        # pieces through the bulk path, the rest one by one through on_event
        cut = len(events) * 2 // 3
        parts = [rt.run(events[: cut // 2]), rt.run(events[cut // 2 : cut])]
        for i in range(cut, len(events)):
            if events["instrument_id"][i] >= len(table):
                parts.append(rt.run(events[i : i + 1]))
                continue
            first = rt.on_event(events[i : i + 1])
            made = rt.signals()
            assert (made[0] if made else None) == first
            parts.append(np.frombuffer(b"".join(map(bytes, made)), SIGNAL_DTYPE))
        together = np.concatenate(parts)
        stats = rt.stats()
    for slot, (name, folder) in enumerate(folders.items()):
        own = together[together["model_slot"] == slot]
        want = alone(folder, table, inputs_for(events, union, sets[name]))
        assert len(own) == len(want)
        assert comparable(own) == comparable(want), f"{name} of seed {seed}"
        told = stats["models"][name]
        assert told["decisions"] == told["emitted"] == len(want) and told["rows"] <= len(want)
    assert stats["decisions"] == len(together) and stats["events"] == len(events)


@pytest.mark.parametrize("seed", [5002, 5032, 5139, 5142, 1, 2])
def test_a_desk_that_is_killed_and_loaded_at_random_replays(tmp_path: Path, seed: int) -> None:
    """Kills of single models, by byte and by latch, while a lazy model that remembers runs silently."""
    rng = np.random.default_rng(seed)
    folders, _, table, events = random_models(tmp_path, seed, 3, kinds=("rows", "window", "step"))
    desk = Desk(
        {n: Model(str(p), lazy=n != "m0") for n, p in folders.items()},
        {"e": Ensemble(dict.fromkeys(folders, 1.0)), "f": Ensemble({"m2": 1.0, "m0": 2.0}, on_fault="skip")},
    )
    log = AuditLog(tmp_path / "log", policy="wait")
    with (
        quiet(),
        alpha.Runtime.from_artifact(desk, instruments=table, audit=log, kill_file=tmp_path / "kill") as rt,
    ):
        latch, at = alpha.KillLatch(tmp_path / "kill"), 0
        while at < len(events):
            n = int(rng.integers(1, 60))
            name = str(rng.choice(list(folders)))
            if rng.random() < 0.3:
                rt.kill("drill", model=name)
            elif rng.random() < 0.5:
                rt.revive(model=name)
            if rng.random() < 0.1:
                (latch.kill if rng.random() < 0.4 else latch.revive)(model=name)
            if at > 100:
                rt.load(name)
            rt.run(events[at : at + n])
            at += n
        assert rt.stats()["reload"]["swaps"] >= 1
    found = replay(tmp_path / "log")
    assert found.passed, found.shown
