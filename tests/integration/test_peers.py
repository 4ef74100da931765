"""Every adapter of bench/peers computes what we compute, in tiny sizes. Where a library is not in this environment its
test is skipped with the reason; ``.venv-peers/bin/python -m pytest tests/integration/test_peers.py`` has all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.peer, pytest.mark.slow]

MODELS = [
    "ours, kernel.run from Python",
    "ONNX Runtime, C Run",
    "ONNX Runtime, Python IOBinding",
    "ONNX Runtime, Python run",
]
EXPECTED = {
    "logistic": [*MODELS, "OpenVINO", "TorchScript"],
    "mlp": [*MODELS, "OpenVINO", "TorchScript"],
    "lstm": [
        *(m for m in MODELS if not m.startswith("ours")),
        "ours, kernel.sequence from Python",
        "OpenVINO",
        "TorchScript",
    ],
    "trees": [
        *MODELS,
        "lleaves, C function",
        "lleaves, C function of floats",
        "tl2cgen, C function",
        "LightGBM, single-row fast C call",
        "LightGBM, Python predict",
    ],
    "stacks": [
        "ours through ONNX Runtime's C API",
        "ours, rt.run over an array",
        "features in C + IOBinding",
        "hand-written Python + IOBinding",
        "hand-written Python + run",
        "numba, features and MLP in one call",
        "numba, one call, state in three arrays",
        "river + IOBinding",
        "talipp + IOBinding",
        "NautilusTrader indicators + IOBinding",
        "hftbacktest's numba loop",
    ],
    "slow": ["pandas window of 1,000 + IOBinding", "flox-py indicators after 1,024 events + IOBinding"],
    "book": [
        "ours, with the updates before it",
        "features in C + IOBinding, with updates",
        "IOBinding, the model alone",
    ],
}


@pytest.fixture(scope="module")
def sections(project_root: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.side_by_side", "--smoke", "--json"]
    done = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["sections"]
    return found


@pytest.mark.parametrize(("section", "peer"), [(s, p) for s, peers in EXPECTED.items() for p in peers])
def test_the_peer_computes_the_same(sections: dict[str, Any], section: str, peer: str) -> None:
    """The run itself fails where scores are apart or more than a hundredth of the decisions differ."""
    measured = {f["name"]: f for f in sections[section]["figures"]}
    if peer not in measured:
        missing = sections[section]["missing"]
        pytest.skip(missing.get("everything") or missing[peer])
    figure = measured[peer]
    assert figure["compared"] >= 100
    assert figure["differing"] <= 0.01 * figure["compared"]
    assert figure["p50_ns"] <= figure["p99_ns"]


def test_what_takes_no_trees_is_named(sections: dict[str, Any]) -> None:
    if not sections["trees"]["figures"]:
        pytest.skip(sections["trees"]["missing"]["everything"])
    assert {"OpenVINO", "TorchScript"} <= sections["trees"]["missing"].keys()


def test_a_peer_that_differs_stops_the_run() -> None:
    from bench.peers.arms import Arm, side_by_side

    def arm(name: str, actions: list[int]) -> Arm:
        import numpy as np

        return Arm(name, lambda i: None, lambda i: np.ones(4, np.int64), lambda: actions, "", "Python", 4)

    def agree(a: list[int], b: list[int]) -> tuple[int, int, float]:
        return sum(x != y for x, y in zip(a, b, strict=True)), len(a), 0.0

    same = side_by_side([arm("ours", [0, 1, 0, 1]), arm("same", [0, 1, 0, 1])], 2, agree, 0.01)
    assert [(f.name, f.differing, f.compared) for f in same] == [("ours", 0, 28), ("same", 0, 28)]
    with pytest.raises(AssertionError, match="other decides 7 of 28 otherwise"):
        side_by_side([arm("ours", [0, 1, 0, 1]), arm("other", [0, 1, 0, 0])], 2, agree, 0.01)
