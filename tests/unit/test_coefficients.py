"""The coefficients of Python's twin against those of C, bit for bit, and the functions they make.

The two copies are written down twice on purpose: either test of one alone would pass on a common slip.
"""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from c_program import run_c

from alpha._core.program import available_isas, native_exp2n, native_log
from alpha.events import EVENT_DTYPE, Kind
from alpha.features import _batch_formulas as values
from alpha.features import _batch_kernels as kernels
from alpha.features import batch, coefficients, parity
from alpha.features.feature_set import FeatureSet
from alpha.features.native import native_rows
from alpha.instruments import Instruments

Floats = npt.NDArray[np.float64]

_TABLES = r"""
#include <stdio.h>
#include "alpha_math.h"
int main(void)
{
    const double rest[3] = {ALPHA_LN2_HI, ALPHA_LN2_LO, ALPHA_SQRT_HALF};
    fwrite(ALPHA_EXP2_C, 1, sizeof ALPHA_EXP2_C, stdout);
    fwrite(ALPHA_LOG_C, 1, sizeof ALPHA_LOG_C, stdout);
    fwrite(rest, 1, sizeof rest, stdout);
    return 0;
}
"""

# x -> log, exp2n of a number; dt, h -> the weight of an EMA by half-life, as kernels.c forms its argument
_FUNCTIONS = r"""
#include <stdio.h>
#include "alpha_math.h"
struct line { double x, t; int64_t dt; double h; };
int main(void)
{
    struct line in;
    while (fread(&in, sizeof in, 1, stdin) == 1) {
        const double out[3] = {alpha_log(in.x), alpha_exp2n(in.t), alpha_exp2n(-(double)in.dt / in.h)};
        fwrite(out, sizeof out, 1, stdout);
    }
    return 0;
}
"""

# every way the kernels are built, and one that optimises nothing
BUILDS = {"plain": ("-O0",), "portable": ("-O3", "-fno-math-errno", "-fno-trapping-math")}
if platform.machine().lower() in ("x86_64", "amd64"):
    for _isa in set(available_isas()) - {"portable"}:
        BUILDS[_isa] = (*BUILDS["portable"], f"-march=x86-64-{_isa}")
BUILDS = dict(sorted(BUILDS.items()))  # processes that run tests in parallel must name them alike


def _bits(x: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Bit patterns; every NaN counts as the same."""
    y = np.array(x, dtype=np.float64)
    y[np.isnan(y)] = np.nan
    return y.view(np.uint64)


def _points() -> Floats:
    """Arguments of log: all exponents, subnormals, both sides of 1 and of the cut at sqrt(1/2), and no numbers."""
    rng = np.random.default_rng(20)
    anywhere = rng.integers(1, 0x7FF0_0000_0000_0000, 4000).view(np.float64)
    powers = 2.0 ** np.arange(-1074, 1024, dtype=np.float64)
    cuts = coefficients.SQRT_HALF * 2.0 ** np.arange(-40, 41, dtype=np.float64)
    near = 1.0 + rng.choice([-1.0, 1.0], 2000) * 10.0 ** rng.uniform(-16, -0.5, 2000)
    # farthest from 1 the last coefficient moves the last bit of a few results, elsewhere of none
    far = coefficients.SQRT_HALF * np.concatenate([1.0 + 0.01 * rng.random(8000), 2.0 - 0.02 * rng.random(8000)])
    edges = np.concatenate([powers, cuts, [1.0]])
    odd = [0.0, -0.0, -1.0, -5e-324, np.inf, -np.inf, np.nan, 5e-324, 2.0**-1022, np.finfo(np.float64).max]
    return np.concatenate([anywhere, near, far, edges, np.nextafter(edges, 0.0), np.nextafter(edges, np.inf), odd])


def _exponents() -> Floats:
    """Arguments of exp2n: halves (where rint must round to even), results that are subnormal, and the cut at -1100."""
    rng = np.random.default_rng(21)
    halves = -np.arange(2300) / 2
    edges = np.concatenate([halves, [-1100.0, -1074.0, -1022.0]])
    fine = -(10.0 ** rng.uniform(-18, 3.1, 4000))
    subnormal = -rng.uniform(1020, 1102, 2000)
    beside = np.minimum(np.concatenate([np.nextafter(edges, -np.inf), np.nextafter(edges, 0.0)]), 0.0)
    return np.concatenate([edges, fine, subnormal, beside, [-0.0, -1e300, -np.inf]])


def _half_lives(n: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """(ns between updates, half-life): from 1 ns to years of both, equal times, times beyond 2**53."""
    rng = np.random.default_rng(22)
    dt = (10.0 ** rng.uniform(0, 17.5, n)).astype(np.int64) - 1
    h = np.floor(10.0 ** rng.uniform(0, 17.5, n))
    close = rng.random(n) < 0.7  # most pairs of any range are hopelessly old or new
    h[close] = np.maximum(np.floor(dt[close] / rng.uniform(1e-3, 1100, close.sum())), 1.0)
    return dt, h


def test_tables(tmp_path: Path) -> None:
    c = np.frombuffer(run_c(tmp_path, _TABLES))
    python = (*coefficients.EXP2, *coefficients.LOG)
    rest = (coefficients.LN2_HI, coefficients.LN2_LO, coefficients.SQRT_HALF)
    assert (len(coefficients.EXP2), len(coefficients.LOG)) == (14, 11)
    assert [x.hex() for x in c.tolist()] == [x.hex() for x in (*python, *rest)]


@pytest.mark.parametrize("build", BUILDS)
def test_functions_in_c(tmp_path: Path, build: str) -> None:
    x, t = _points(), _exponents()
    n = max(len(x), len(t))
    dt, h = _half_lives(n)
    lines = np.ones(n, [("x", "f8"), ("t", "f8"), ("dt", "i8"), ("h", "f8")])
    lines["x"][: len(x)], lines["t"][: len(t)], lines["dt"], lines["h"] = x, t, dt, h
    lines["t"][len(t) :] = 0.0
    out = np.frombuffer(run_c(tmp_path, _FUNCTIONS, options=BUILDS[build], data=lines.tobytes())).reshape(-1, 3)
    assert len(out) == n
    assert np.array_equal(_bits(out[:, 0]), _bits(values.log(lines["x"])))
    assert np.array_equal(_bits(out[:, 1]), _bits([kernels.exp2n(v) for v in lines["t"].tolist()]))
    weights = [kernels.exp2n(-float(d) / g) for d, g in zip(dt.tolist(), h.tolist(), strict=True)]
    assert np.array_equal(_bits(out[:, 2]), _bits(weights))
    inside = np.count_nonzero((out[:, 2] > 0.0) & (out[:, 2] < 1.0))
    assert inside > n // 2  # the weights are no mere zeros and ones


def test_functions_in_the_extension() -> None:
    x, t = _points(), _exponents()
    assert np.array_equal(_bits([native_log(v) for v in x.tolist()]), _bits(values.log(x)))
    assert np.array_equal(_bits([native_exp2n(v) for v in t.tolist()]), _bits([kernels.exp2n(v) for v in t.tolist()]))


def test_averages_by_span_and_half_life() -> None:
    """2/(span + 1) and the weights, each twin from its own parameters. Taken from what they average: rows are
    float32, which shows more bits of a difference than of the average itself."""
    spans = [1, 2, 3, 7, 19, 100, 365, 1000]
    lives = ["1ns", "333ns", "1us", "17ms", "1s", "90s", "10m"]
    features = {f"s{n}": f"mid - ema(mid, span={n})" for n in spans}
    features |= {f"h_{h}": f'mid - ema(mid, half_life="{h}")' for h in lives}
    fs = FeatureSet.from_dict({"features": features})
    rng = np.random.default_rng(23)
    events = np.zeros(6000, EVENT_DTYPE)
    events["kind"] = Kind.QUOTE
    steps = rng.choice([0, 1, 300, 10**6, 10**8, 10**9, 10**10], len(events)) * rng.integers(1, 4, len(events))
    events["ts_event_ns"] = 1_700_000_000 * 10**9 + np.cumsum(steps)
    mid = 100.0 + 0.01 * np.cumsum(rng.integers(-3, 4, len(events)))
    events["v"][:, 0], events["v"][:, 1], events["v"][:, 2:4] = mid - 0.01, mid + 0.01, 1.0
    table = Instruments.of("A")
    native, twin = (
        native_rows(fs, events, table),
        batch.compute(fs, events, table, parity.guard(fs, events, table) == 0),
    )
    ready = native["ready"]
    assert np.count_nonzero(ready, axis=0).min() > 500
    # what is different must differ: equal columns would hide a parameter that nobody reads
    assert len({native["values"][-1, j].tobytes() for j in range(len(spans) - 2)}) == len(spans) - 2
    assert native["values"][ready].tobytes() == twin.values[ready].tobytes()
