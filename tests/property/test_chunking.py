"""How a stream is cut into pieces, and who else is in it, changes no bit of an instrument's rows."""

from __future__ import annotations

import numpy as np
import pytest
from streams import TRIGGERS, expression, stream

from alpha.events import ALL_INSTRUMENTS
from alpha.features.feature_set import FeatureSet
from alpha.features.native import native_rows, row_maker
from alpha.instruments import Instrument, Instruments

TABLE = Instruments.of(Instrument(symbol="A", lot_size=0.01), "B", "C")


def program(seed: int) -> FeatureSet:
    rng = np.random.default_rng(seed)
    return FeatureSet.from_dict(
        {"features": {f"f{i}": expression(rng) for i in range(5)}, "trigger": str(rng.choice(TRIGGERS))}
    )


@pytest.mark.parametrize("seed", range(40))
def test_any_chunking_gives_the_same_bits(seed: int) -> None:
    fs, events, rng = program(seed), stream(seed, n=700, instruments=3, faults=True), np.random.default_rng(seed)
    whole = native_rows(fs, events, TABLE)
    maker = row_maker(fs, TABLE)
    cuts = np.sort(rng.integers(0, 700, int(rng.integers(1, 40))))
    parts = [(at, maker.rows(part)) for at, part in zip([0, *cuts], np.split(events, cuts), strict=True)]
    for name, expected in whole.items():
        got = np.concatenate([p[name] + at if name == "row_index" else p[name] for at, p in parts])
        assert got.tobytes() == expected.tobytes(), name


@pytest.mark.parametrize("seed", range(40))
def test_other_instruments_change_nothing(seed: int) -> None:
    fs, events = program(seed), stream(seed, n=900, instruments=3)
    together = native_rows(fs, events, TABLE)
    for who in range(3):
        alone = native_rows(
            fs, events[(events["instrument_id"] == who) | (events["instrument_id"] == ALL_INSTRUMENTS)], TABLE
        )
        mine, same = together["instrument_id"] == who, alone["instrument_id"] == who
        assert together["values"][mine].tobytes() == alone["values"][same].tobytes()
        assert together["ready"][mine].tobytes() == alone["ready"][same].tobytes()
        assert np.array_equal(together["ts_ns"][mine], alone["ts_ns"][same])
