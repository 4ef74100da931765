"""Another version takes over while somebody looks."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from registries import WHEN
from test_gate_live import artifact
from watched import watchers

import alpha
from alpha.data.simulate import simulate
from alpha.registry import register
from alpha.watch import serve

SIM = simulate(12_000, seed=23, n_instruments=2)


@pytest.mark.race
def test_takeovers_between_other_features_are_never_shown_half(tmp_path: Path) -> None:
    """Two versions with other features, in turn: a look names each value by what it is, and changes no byte."""
    file = tmp_path / "registry.json"
    for number, more in ((1, {}), (2, {"d": "mid * 4.0", "e": "mid * 5.0"})):
        features = {"a": "mid", "b": "mid * 2.0", "c": "mid * 3.0", **more}
        register(file, artifact(tmp_path, number, {"features": features}), at=WHEN)

    def run(watched: bool) -> tuple[bytes, int]:
        parts: list[bytes] = []
        with ExitStack() as stack:
            rt = stack.enter_context(
                alpha.Runtime.from_registry(file, "models:/m/1", instruments=SIM.instruments, reload="explicit")
            )
            if watched:
                server = stack.enter_context(serve(rt, 0, registry=file))
                stack.enter_context(watchers(server, checked))
            for k, part in enumerate(np.array_split(SIM.events, 60)):
                rt.reload(f"models:/m/{1 + k % 2}")
                parts += [rt.run(half).tobytes() for half in np.array_split(part, 2)]
            return b"".join(parts), rt.stats()["reload"]["swaps"]

    shown = Counter[int]()

    def checked(body: bytes) -> None:
        if not body.startswith(b"{"):
            return
        told = json.loads(body)
        for f in told["features"].get("m", []):
            shown[len(told["features"]["m"])] += 1
            first = told["features"]["m"][0]["raw"]
            factor = 1 + "abcde".index(f["name"])
            if f["raw"] is not None and first is not None:
                assert f["raw"] == pytest.approx(first * factor, rel=1e-5), told["features"]

    signals, swaps = run(False)
    assert run(True) == (signals, swaps) and swaps > 30
    assert shown[3] and shown[5]
