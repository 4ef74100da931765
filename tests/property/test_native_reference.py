"""The native twin against the oracle: random streams with and without faults, every operator, every trigger."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from agreement import agree
from reference import reference_rows
from streams import SHAPES, TRIGGERS, expression, operators_of, quotes, stream

from alpha._core.program import OPCODES
from alpha.features import parity
from alpha.features.compile import compile_program
from alpha.features.feature_set import FeatureSet
from alpha.features.native import native_rows
from alpha.features.operators import OPERATORS
from alpha.instruments import Instrument, Instruments

TABLE = Instruments.of(Instrument(symbol="A", lot_size=0.01), "B")
LOTS = (0.01, math.nan)
NATIVE = operators_of(compile_program)
NAMES = sorted(n for n in NATIVE if OPERATORS[n].kind != "source")
PER_SET = 4


def test_an_operator_is_left_out_only_if_it_has_no_opcode() -> None:
    missing = OPERATORS.keys() - NATIVE
    codes = {code.removeprefix("READ_") for code in OPCODES}
    assert not {n for n in missing if n.upper().replace(".", "_") in codes}, missing


def compare(fs: FeatureSet, events: np.ndarray) -> int:
    """Rows, times, readiness and float32 values of both; returns how many ready finite values there were."""
    accepted = parity.guard(fs, events, TABLE) == 0
    return agree(fs, reference_rows(fs, events, LOTS, accepted), native_rows(fs, events, TABLE))


@pytest.mark.parametrize("seed", range(45))
def test_random_streams_and_expressions_equal_the_oracle(seed: int) -> None:
    rng = np.random.default_rng(20_000 + seed)
    roots = [NAMES[(seed * PER_SET + i) % len(NAMES)] for i in range(PER_SET)]  # each operator on top in its turn
    features = {f"f{i}": expression(rng, 3, NATIVE, root) for i, root in enumerate(roots)}
    clock = ("recv", "event")[seed % 2]
    crossed = ("flag", "reject")[seed // 2 % 2]
    fs = FeatureSet.from_dict(
        {
            "features": features,
            "trigger": TRIGGERS[seed % len(TRIGGERS)],
            "stream": {"clock": clock, "guard": {"crossed": crossed}},
        }
    )
    compare(fs, stream(seed, n=250, faults=seed % 3 == 0))


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_streams_of_hardly_any_events_equal_the_oracle(n: int) -> None:
    for seed in range(12):
        rng = np.random.default_rng(30_000 + 100 * n + seed)
        features = {f"f{i}": expression(rng, 2, NATIVE) for i in range(6)}
        fs = FeatureSet.from_dict({"features": features, "trigger": "last"})
        compare(fs, stream(seed, n=n))


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
