"""Random programs over random streams: both twins, value by value (numerics rule 31)."""

from __future__ import annotations

import numpy as np
import pytest
from expressions import ALL
from programs import KNOWN, program, table_for
from streams import stream

from alpha.events import Kind
from alpha.features import needs, parity
from alpha.features.feature_set import FeatureSet
from alpha.features.language import walk
from alpha.instruments import Instruments

TABLE = Instruments.of(*list(KNOWN)[:2])


@pytest.mark.parametrize("block", range(40))
def test_random_programs(block: int) -> None:
    values = 0
    for seed in range(block * 52, block * 52 + 52):
        rng = np.random.default_rng(seed)
        instruments = 2 + seed % 2
        fs = program(rng)
        events = stream(seed, instruments=instruments, faults=seed % 3 == 0)
        result = parity.check(fs, events, table_for(fs, rng, instruments))
        # a generated feature that never becomes ready is not compared; that it is equally unready is checked below
        assert result["rows"] == 0 or result["values"] == 0 or result["verdict"] != "FAIL", (
            seed,
            result["worst"],
            result["features"],
        )
        assert result["ready_mismatch"] == 0, (seed, result["features"])
        values += result["values"]
    assert values > 4_000


def test_the_programs_leave_nothing_out() -> None:
    used, triggers, calendars = set(), set(), set()
    for seed in range(40 * 52):
        fs = program(np.random.default_rng(seed))
        for node in (n for e in fs.features.values() for n in walk(e)):
            used |= {node.op}
            if node.op == "bar":
                used |= {str(node.params[0]).split("(")[0], f"bar.{node.params[2]}"}
        triggers.add(str(fs.trigger).split("(")[0])
        calendars.add((fs.stream.calendar, fs.stream.session_break))
    assert used >= ALL
    assert triggers == {"quote", "trade", "last", "bar", "every", "tick_bar", "volume_bar", "dollar_bar"}
    assert len(calendars) == 12


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


def test_what_was_never_compared_is_not_certified() -> None:
    fs = FeatureSet.from_dict({"features": {"m": "mid", "slow": "mean(mid, 9000000)", "deep": "bid_px(3)"}})
    events = stream(6)
    events = events[events["kind"] != Kind.DEPTH]
    result = parity.check(fs, events, TABLE)
    assert (result["verdict"], result["pass"]) == ("INCOMPLETE", False)
    assert result["not_compared"] == {
        "slow": "it was never ready with a finite value",
        "deep": "the data has no DEPTH events",
    }
    assert [f["pass"] for f in result["features"]] == [True, False, False]
    native, twin = _both(fs, events)
    native["values"].view(np.int32)[np.flatnonzero(native["ready"][:, 0])[3], 0] += 3
    worse = parity.covered(fs, parity.compare(fs, native, twin), needs.counted(fs, events))
    assert (worse["verdict"], worse["pass"], worse["worst"]["feature"]) == ("FAIL", False, "m")


def test_events_that_the_guard_rejects_compare_nothing() -> None:
    events = stream(6)[:50].copy()
    events["v"][:] = np.nan
    result = parity.check(FeatureSet.from_dict({"features": {"m": "mid"}}), events, TABLE)
    assert (result["pass"], result["rows"]) == (False, 0) and "no row" in result["worst"]
