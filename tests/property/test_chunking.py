"""How a stream is cut into pieces, and who else is in it, changes no bit of an instrument's rows."""

from __future__ import annotations

import numpy as np
import pytest
from expressions import HERE
from programs import program, table_for
from streams import stream

from alpha.events import ALL_INSTRUMENTS
from alpha.features.native import native_rows, row_maker


@pytest.mark.parametrize("seed", range(40))
def test_any_chunking_gives_the_same_bits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fs, events = program(rng, 5, symbols=("A", "B", "C")), stream(seed, n=700, instruments=3, faults=True)
    table = table_for(fs, rng, 3)
    whole = native_rows(fs, events, table)
    maker = row_maker(fs, table)
    cuts = np.sort(rng.integers(0, 700, int(rng.integers(1, 40))))
    parts = [(at, maker.rows(part)) for at, part in zip([0, *cuts], np.split(events, cuts), strict=True)]
    for name, expected in whole.items():
        got = np.concatenate([p[name] + at if name == "row_index" else p[name] for at, p in parts])
        assert got.tobytes() == expected.tobytes(), name


@pytest.mark.parametrize("seed", range(40))
def test_other_instruments_change_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fs, events = program(rng, 5, operators=HERE), stream(seed, n=900, instruments=3)
    table = table_for(fs, rng, 3)
    together = native_rows(fs, events, table)
    for who in range(3):
        alone = native_rows(
            fs, events[(events["instrument_id"] == who) | (events["instrument_id"] == ALL_INSTRUMENTS)], table
        )
        mine, same = together["instrument_id"] == who, alone["instrument_id"] == who
        assert together["values"][mine].tobytes() == alone["values"][same].tobytes()
        assert together["ready"][mine].tobytes() == alone["ready"][same].tobytes()
        assert np.array_equal(together["ts_ns"][mine], alone["ts_ns"][same])
