"""The native twin against the oracle: random streams with and without faults, every operator, every trigger."""

from __future__ import annotations

import re

import numpy as np
import pytest
from agreement import agree
from calendars import listings
from expressions import ALL
from programs import PARTLY, PROBE, program, table_for
from reference import reference_rows
from streams import SHAPES, operators_of, quotes, stream

from alpha.features import parity
from alpha.features.feature_set import FeatureSet
from alpha.features.native import native_rows
from alpha.features.operators import OPERATORS
from alpha.instruments import Instruments

NATIVE = operators_of(lambda fs: native_rows(fs, stream(0, n=0), PROBE))
NAMES = sorted(n for n in NATIVE & OPERATORS.keys() if OPERATORS[n].kind != "source")
PER_SET = 4


def test_no_operator_is_left_out() -> None:
    assert NATIVE == ALL


def compare(fs: FeatureSet, events: np.ndarray, table: Instruments = PARTLY) -> int:
    """Rows, times, readiness and float32 values of both; returns how many ready finite values there were."""
    accepted = parity.guard(fs, events, table) == 0
    return agree(fs, reference_rows(fs, events, listings(fs, table), accepted), native_rows(fs, events, table))


@pytest.mark.parametrize("seed", range(60))
def test_random_streams_and_expressions_equal_the_oracle(seed: int) -> None:
    rng = np.random.default_rng(20_000 + seed)
    roots = [NAMES[(seed * PER_SET + i) % len(NAMES)] for i in range(PER_SET)]  # each operator on top in its turn
    fs = program(rng, PER_SET, operators=NATIVE, roots=roots, clock=("recv", "event")[seed % 2])
    instruments = 2 + seed % 2
    compare(fs, stream(seed, n=250, instruments=instruments, faults=seed % 3 == 0), table_for(fs, rng, instruments))


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_streams_of_hardly_any_events_equal_the_oracle(n: int) -> None:
    for seed in range(12):
        rng = np.random.default_rng(30_000 + 100 * n + seed)
        fs = program(rng, 6, operators=NATIVE, trigger="last")
        compare(fs, stream(seed, n=n), table_for(fs, rng))


_ROLLING = (
    "mean",
    "std",
    "skew",
    "mad",
    "slope",
    "rsquare",
    "resid",
    "qlib.rsquare",
    "rank",
    "min",
    "argmax",
    "median",
)
_PAIRS = ("cov", "corr", "beta", "qlib.corr")
_OTHERS = (
    "cumsum(x)",
    "ewm_std(x, 20)",
    "wilder(x, 5)",
    "wilder_sum(x, 5)",
    "talib.rsi(x, 5)",
    'ema(x, span=5, seed="sma", skip=2)',
    "quantile(x, 20, 0.3)",
    "corr(x, bid_qty + ask_qty, 5)",
    "beta(mid, x, 20)",
)


@pytest.mark.parametrize("shape", SHAPES)
def test_hard_numbers_equal_exact_arithmetic(shape: str) -> None:
    """As sizes, because any number can be the difference of two sizes."""
    rng = np.random.default_rng(sum(map(ord, shape)))
    n = 250
    x = SHAPES[shape](rng, n)
    events = quotes(100 + 0.01 * np.cumsum(rng.integers(-2, 3, n)), rng.choice([0, 1, 10**8, 10**9], n))
    events["v"][:, 2], events["v"][:, 3] = np.maximum(x, 0.0), np.maximum(-x, 0.0)
    windows = ("3", "20", '"10s"')
    texts = [f"{op}(x, {w})" for op in _ROLLING for w in windows]
    texts += [f"{op}(x, mid, {w})" for op in _PAIRS for w in windows]
    features = {f"f{i}": re.sub(r"\bx\b", "(bid_qty - ask_qty)", t) for i, t in enumerate([*texts, *_OTHERS])}
    assert compare(FeatureSet.from_dict({"features": features, "trigger": "quote"}), events) > 5_000


def test_there_is_something_to_compare() -> None:
    fs = FeatureSet.from_dict(
        {"features": {f"f{i}": f"{op}(mid, 5)" for i, op in enumerate(("mean", "skew", "resid"))}}
    )
    assert compare(fs, stream(1, n=250)) > 100
