"""The comparison of the twins catches every wrong reading of the numerics that we could think of."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from agreement import as_arrays
from calendars import listings
from mutants import MUTANTS, STREAMS, Mutant
from programs import KNOWN
from reference import reference_rows

from alpha.features import batch, parity
from alpha.features.feature_set import FeatureSet
from alpha.features.native import native_rows
from alpha.instruments import Instruments

TABLES = {False: Instruments.of("A"), True: Instruments.of(*list(KNOWN)[:2])}


def _feature_set(m: Mutant) -> FeatureSet:
    return FeatureSet.from_dict({"features": {"x": m.expression}, "trigger": m.trigger, "stream": m.spec})


@cache
def _events(stream: str) -> np.ndarray:
    return STREAMS[stream]()


def _oracle(fs: FeatureSet, events: np.ndarray, table: Instruments) -> batch.Detail:
    """The oracle's rows as the batch twin would give them."""
    rows = reference_rows(fs, events, listings(fs, table), parity.guard(fs, events, table) == 0)
    values, ready, scale = as_arrays(rows, 1)
    return batch.Detail(
        rows=batch.Rows(np.array([r.index for r in rows], np.int64), values, ready.all(axis=1)),
        ready=ready,
        ts_ns=np.array([r.ts_ns for r in rows], np.int64),
        instrument_id=np.array([r.instrument for r in rows], np.uint32),
        scale=scale,
        exact=values.astype(np.float64),
    )


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[name]
    fs, events, table = _feature_set(mutant), _events(mutant.stream), TABLES[mutant.listed]
    native = native_rows(fs, events, table)
    sound = parity.compare(fs, native, _oracle(fs, events, table))
    assert sound["pass"] and sound["values"] > 50, sound
    for where, key, replacement in mutant.patches:
        if isinstance(where, dict):
            monkeypatch.setitem(where, key, replacement)
        else:
            monkeypatch.setattr(where, key, replacement)
    seen = events if mutant.events is None else mutant.events(events)
    caught = parity.compare(fs, native, _oracle(fs, seen, table))
    assert not caught["pass"], caught["features"]


def test_there_are_many_and_each_changes_one_thing() -> None:
    assert len(MUTANTS) >= 120
    assert all(bool(m.patches) != (m.events is not None) for m in MUTANTS.values())
    assert len({m.expression for m in MUTANTS.values()}) > 50
