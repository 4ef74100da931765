"""Random programs over random streams: both twins, value by value (numerics rule 31)."""

from __future__ import annotations

import numpy as np
import pytest
from streams import TRIGGERS, expression, stream

from alpha.features import parity
from alpha.features.feature_set import FeatureSet
from alpha.instruments import Instrument, Instruments

TABLE = Instruments.of(Instrument(symbol="A", lot_size=0.01), "B")


@pytest.mark.parametrize("block", range(40))
def test_random_programs(block: int) -> None:
    values = 0
    for seed in range(block * 52, block * 52 + 52):
        rng = np.random.default_rng(seed)
        features = {f"f{i}": expression(rng) for i in range(4)}
        crossed = "flag" if seed % 2 else "reject"
        fs = FeatureSet.from_dict(
            {"features": features, "trigger": str(rng.choice(TRIGGERS)), "stream": {"guard": {"crossed": crossed}}}
        )
        result = parity.check(fs, stream(seed, faults=seed % 3 == 0), TABLE)
        assert result["rows"] == 0 or result["values"] == 0 or result["pass"], (
            seed,
            result["worst"],
            result["features"],
        )
        assert result["ready_mismatch"] == 0, (seed, result["features"])
        values += result["values"]
    assert values > 10_000


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_wrong_value_is_seen(shift: int) -> None:
    fs = FeatureSet.from_dict({"features": {"m": "mean(mid, 7)"}})
    events = stream(5)
    native, twin = _both(fs, events)
    assert parity.compare(fs, native, twin)["pass"]
    bits = native["values"].view(np.int32)
    at = np.flatnonzero(native["ready"][:, 0])[3]
    bits[at, 0] += shift * 3
    result = parity.compare(fs, native, twin)
    assert not result["pass"] and result["max_ulp"] == 3 and result["worst"]["feature"] == "m"


def test_a_shifted_row_and_a_wrong_readiness_are_seen() -> None:
    fs = FeatureSet.from_dict({"features": {"m": "mid"}})
    native, twin = _both(fs, stream(6))
    native["ready"][4, 0] ^= True
    result = parity.compare(fs, native, twin)
    assert not result["pass"] and result["ready_mismatch"] == 1
    native["row_index"][2] += 1
    assert "different rows" in str(parity.compare(fs, native, twin)["worst"])


def _both(fs: FeatureSet, events: np.ndarray) -> tuple[dict[str, np.ndarray], parity.batch.Detail]:
    from alpha.features.native import native_rows

    accepted = parity.guard(fs, events, TABLE) == 0
    twin = parity.batch.compute_detail(fs, events, TABLE, accepted, with_scale=True)
    return native_rows(fs, events, TABLE), twin
