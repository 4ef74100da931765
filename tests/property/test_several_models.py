"""Several models in one runtime say, each for itself, byte for byte what they say alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from seated import alone, comparable, inputs_for, quiet, random_models

import alpha
from alpha.events import SIGNAL_DTYPE


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
