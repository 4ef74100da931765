"""The native twin against the oracle: random streams with and without faults, every operator, every trigger."""

from __future__ import annotations

import math

import numpy as np
import pytest
from reference import Row, reference_rows
from streams import TRIGGERS, expression, operators_of, stream

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
    """Rows, times, readiness and float32 values, ready or not; they must be equal, not merely close."""
    accepted = parity.guard(fs, events, TABLE) == 0
    native = native_rows(fs, events, TABLE)
    expected: list[Row] = reference_rows(fs, events, LOTS, accepted)
    text = {name: str(e) for name, e in fs.features.items()}
    assert native["row_index"].tolist() == [r.index for r in expected], text
    assert native["ts_ns"].tolist() == [r.ts_ns for r in expected], text
    assert native["instrument_id"].tolist() == [r.instrument for r in expected], text
    shape = (len(expected), len(text))
    ready = np.array([r.ready for r in expected], np.bool_).reshape(shape)
    with np.errstate(over="ignore"):
        values = np.array([r.values for r in expected], np.float64).reshape(shape).astype(np.float32)
    for j, name in enumerate(text):
        wrong = np.flatnonzero(native["ready"][:, j] != ready[:, j])
        assert not len(wrong), (str(fs.trigger), text[name], "ready", wrong[:5], ready[wrong[:5], j])
        got, want = native["values"][:, j], values[:, j]
        wrong = np.flatnonzero(~((got == want) | (np.isnan(got) & np.isnan(want))))
        assert not len(wrong), (str(fs.trigger), text[name], wrong[:5], got[wrong[:5]], want[wrong[:5]])
    return int(np.isfinite(values[ready]).sum())


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


def test_there_is_something_to_compare() -> None:
    fs = FeatureSet.from_dict(
        {"features": {f"f{i}": f"{op}(mid, 5)" for i, op in enumerate(("mean", "skew", "resid"))}}
    )
    assert compare(fs, stream(1, n=250)) > 100
