"""Operands that update by different events: each operator sees the present value of each (rules 36 and 37)."""

from __future__ import annotations

import numpy as np
import pytest

from alpha.events import EVENT_DTYPE, Kind
from alpha.features import parity
from alpha.features.feature_set import FeatureSet
from alpha.features.native import native_rows
from alpha.instruments import Instruments

MINUTE = 60 * 10**9
TABLE = Instruments.of("BTC-PERP")


def market(n: int = 2_000) -> np.ndarray:
    rng = np.random.default_rng(11)
    e = np.zeros(n, EVENT_DTYPE)
    quote = rng.random(n) < 0.6
    e["kind"] = np.where(quote, Kind.QUOTE, Kind.TRADE)
    e["ts_event_ns"] = 1_700_000_000_000_000_000 + np.arange(n) * 7 * 10**9
    mid = 100.0 + np.cumsum(rng.integers(-2, 3, n)) * 0.25
    e["v"][quote, 0], e["v"][quote, 1] = (mid - 0.125)[quote], (mid + 0.125)[quote]
    e["v"][quote, 2:4] = 5.0
    e["v"][~quote, 0], e["v"][~quote, 1] = (mid + rng.integers(-1, 2, n) * 0.25)[~quote], 1.0
    e["flags"] = 1
    return e


def test_a_pair_is_taken_at_either_update_with_the_last_value_of_the_other() -> None:
    events = market()
    fs = FeatureSet.from_dict({"features": {"c": "corr(mid, px, 20)"}})
    native = native_rows(fs, events, TABLE)
    mid = px = np.nan
    pairs, expected = [], {}
    for i, e in enumerate(events):
        if e["kind"] == Kind.QUOTE:
            mid = 0.5 * (e["v"][0] + e["v"][1])
        else:
            px = e["v"][0]
        if np.isfinite(mid) and np.isfinite(px):
            pairs.append((mid, px))
        if len(pairs) >= 20:
            x, y = np.array(pairs[-20:]).T
            expected[i] = np.corrcoef(x, y)[0, 1] if np.ptp(x) > 0 and np.ptp(y) > 0 else 0.0
    ready = native["ready"][:, 0]
    at = native["row_index"][ready]
    assert len(at) > 1_000
    np.testing.assert_allclose(native["values"][ready, 0], [expected[int(i)] for i in at], atol=1e-6)


@pytest.mark.parametrize(
    "mixed",
    [
        'bar("1m", "trade").close - tick_bar(50).close',
        'corr(bar("1m", "trade").close, bar("5m", "trade").close, 6)',
    ],
)
def test_bars_of_different_clocks_mix_in_both_twins(mixed: str) -> None:
    result = parity.check(FeatureSet.from_dict({"features": {"x": mixed}}), market(), TABLE)
    assert result["verdict"] == "PASS" and result["values"] > 500
