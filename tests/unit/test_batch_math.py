"""Numbers of the batch twin: coefficients, log, exp2n, and sums that neither drift nor remember."""

from __future__ import annotations

import decimal
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import reference

from alpha.features import _batch_formulas as values
from alpha.features import _batch_kernels as kernels
from alpha.features import _batch_spread, coefficients

WIDE = decimal.Context(prec=60, Emin=-2000, Emax=2000)
LN2 = Decimal(2).ln(WIDE)


def _ulps(got: float, exact: Decimal) -> float:
    return float(abs(WIDE.subtract(Decimal(got), exact)) / Decimal(math.ulp(float(exact))))


def test_coefficients_are_their_formulas_rounded() -> None:
    powers = [WIDE.divide(WIDE.power(LN2, k), Decimal(math.factorial(k))) for k in range(14)]
    assert list(coefficients.EXP2) == [float(c) for c in powers]
    assert list(coefficients.LOG) == [float(Fraction(2, 2 * j + 1)) for j in range(1, 12)]
    assert float(WIDE.subtract(LN2, Decimal(coefficients.LN2_HI))) == coefficients.LN2_LO
    assert int(coefficients.LN2_HI * 2.0**33).bit_length() <= 33  # k*LN2_HI is exact for every exponent k
    assert math.sqrt(0.5) == coefficients.SQRT_HALF


def _positive(rng: np.random.Generator) -> np.ndarray:
    bits = rng.integers(1, 0x7FF0_0000_0000_0000, 3000)
    near = 1.0 + rng.normal(size=1000) * 10.0 ** rng.integers(-16, 0, 1000)
    edge = float.fromhex("0x1.6a09e667f3bcdp-1") * 2.0 ** rng.integers(-5, 6, 200)
    edges = np.concatenate([edge, np.nextafter(edge, 0), np.nextafter(edge, 9e9)])
    return np.concatenate([bits.view(np.float64), near[near > 0], edges, [5e-324, 2.0**-1022, 1.7e308, 1.0]])


def test_log_is_within_one_ulp_and_equals_the_oracle() -> None:
    x = _positive(np.random.default_rng(1))
    y = values.log(x)
    worst = max(_ulps(b, Decimal(a).ln(WIDE)) for a, b in zip(x.tolist(), y.tolist(), strict=True) if a != 1.0)
    assert worst < 1.0
    assert y.tolist() == [reference.log(a) for a in x.tolist()]


def test_log_at_its_edges() -> None:
    y = values.log(np.array([1.0, 0.0, -0.0, -1.0, math.inf, -math.inf, math.nan]))
    assert y[0] == 0.0 and y[4] == math.inf
    assert np.isnan(y[[1, 2, 3, 5, 6]]).all()


def test_exp2n_is_within_one_ulp_and_equals_the_oracle() -> None:
    rng = np.random.default_rng(2)
    t = np.concatenate([-rng.random(1500), -1022 * rng.random(1500), [0.0, -0.5, -1.5, -2.5, -1022.0, -1e-18]])
    y = [kernels.exp2n(float(v)) for v in t]
    assert max(_ulps(b, WIDE.exp(WIDE.multiply(LN2, Decimal(a)))) for a, b in zip(t.tolist(), y, strict=True)) < 1.0
    assert y == [reference.exp2n(float(v)) for v in t]
    assert kernels.exp2n(-1074.0) == 5e-324
    assert kernels.exp2n(-1101.0) == 0.0 and kernels.exp2n(-1e300) == 0.0
    assert all(kernels.exp2n(-float(k)) == 2.0**-k for k in range(1023))


def _windows(n: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    hi = np.arange(1, n + 1)
    return np.maximum(hi - w, 0), hi


def _exact(window: np.ndarray) -> tuple[float, float]:
    """Sum and variance."""
    x = [Fraction(float(v)) for v in window]
    total = sum(x, Fraction(0))
    return float(total), float((len(x) * sum(v * v for v in x) - total * total) / len(x) ** 2)


def _variance(x: np.ndarray, w: int) -> np.ndarray:
    zero = np.zeros(1, np.int64)
    return _batch_spread.rolling_dispersion(x, zero, zero, zero, zero, w, False, 0, False)[0]


LONG = {
    "prices": lambda rng, n: 1e5 + 1e-3 * rng.normal(size=n),
    "walk": lambda rng, n: 1e5 + np.cumsum(rng.normal(size=n)),
    "returns": lambda rng, n: 1e-4 * rng.normal(size=n),
    "trend": lambda rng, n: np.exp(np.arange(n) * 1e-4 + rng.normal(size=n) * 1e-6),
}


@pytest.mark.parametrize("shape", LONG)
@pytest.mark.parametrize("w", [5, 100, 1000])
def test_errors_do_not_grow_with_the_stream(shape: str, w: int) -> None:
    n = 200_000
    x = LONG[shape](np.random.default_rng(w), n)
    total, flat = kernels.rolling_sums(x, *_windows(n, w))
    variance = _variance(x, w)
    assert not flat[w:].any()
    for i in (*range(n - 8, n), *range(w, n, n // 8)):
        exact_total, exact_variance = _exact(x[max(i - w + 1, 0) : i + 1])
        assert total[i] == exact_total
        assert abs(variance[i] - exact_variance) <= math.ulp(exact_variance)


@pytest.mark.parametrize("huge", [1e12, 1e60, 1e139, 1e141, 1e155, 1e300])
def test_a_huge_value_leaves_no_trace(huge: float) -> None:
    rng = np.random.default_rng(3)
    x = 1e-6 * rng.normal(size=400)
    x[[100, 130, 131]] = huge, -huge, huge
    lo, hi = _windows(400, 20)
    (total, _), variance = kernels.rolling_sums(x, lo, hi), _variance(x, 20)
    for i in range(1, 400):
        window = x[lo[i] : hi[i]]
        assert total[i] == math.fsum(window), i
        if abs(window).max() < 1e140:
            exact = _exact(window)[1]
            assert abs(variance[i] - exact) <= math.ulp(exact), i
        else:
            assert not math.isfinite(variance[i]), i


def test_sums_beyond_float64_recover() -> None:
    x = np.array([1.0, 2.0, 1.5e308, 1.6e308, 1.0, 2.0, 4.0])
    (total, _), variance = kernels.rolling_sums(x, *_windows(7, 2)), _variance(x, 2)
    assert total[[0, 1, 5, 6]].tolist() == [1.0, 3.0, 3.0, 6.0]
    assert not math.isfinite(total[3])
    assert variance[[1, 5, 6]].tolist() == [0.25, 0.25, 1.0]


def test_flat_windows_are_flat_whatever_their_size() -> None:
    for value in (0.1, 1e300, -1e-300, 0.0):
        total, flat = kernels.rolling_sums(np.full(50, value), *_windows(50, 7))
        assert flat.all() and (_variance(np.full(50, value), 7) == 0.0).all()
        assert total[-1] == math.fsum([value] * 7)
    x = np.array([1.0, 1.0, 2.0, 2.0, 2.0, 1.0, 1.0])
    assert kernels.rolling_sums(x, *_windows(7, 2))[1].tolist() == [1, 1, 0, 1, 1, 0, 1]


def test_windows_by_time_that_empty_and_fill_again() -> None:
    """The same variance over whatever a window happens to hold, and how many that is."""
    rng = np.random.default_rng(8)
    times = np.cumsum(rng.choice([0, 1, 3, 40], 600))
    now = np.sort(np.concatenate([times, times[::3] + 11]))
    seen = np.searchsorted(times, now, side="right")
    x = 1e3 + np.round(rng.normal(size=600), 2)
    begun = np.where(now > times[300], 300, 0)  # a break
    root, size = _batch_spread.rolling_dispersion(x, times, now, seen, begun, 10, True, 0, True)
    assert (size == 0).any() and size.max() > 5
    for i in range(len(now)):
        window = x[max(int((times <= now[i] - 10).sum()), begun[i]) : seen[i]]
        assert size[i] == len(window)
        exact = math.sqrt(_exact(window)[1]) if len(window) else math.nan
        assert abs(root[i] - exact) <= math.ulp(exact) if len(window) else math.isnan(root[i])


def test_both_products_are_exact() -> None:
    """With and without the processor's fused multiplication."""
    rng = np.random.default_rng(6)
    for _ in range(300):
        a, b = (float(v) for v in rng.normal(size=2) * 10.0 ** rng.uniform(-100, 100, 2))
        for product in (kernels.product_fused, kernels.product_split):
            p, e = product(a, b)
            assert Fraction(p) + Fraction(e) == Fraction(a) * Fraction(b)


def test_exact_sum_is_fsum() -> None:
    rng = np.random.default_rng(4)
    for _ in range(300):
        n = int(rng.integers(0, 40))
        x = rng.choice([-1.0, 1.0], n) * 10.0 ** rng.uniform(-300, 300, n)
        x = np.concatenate([x, -x[: n // 2], rng.normal(size=n % 3), [1.0, 2.0**-53, 2.0**-120][: n % 4]])
        rng.shuffle(x)
        assert kernels.exact_sum(x, 0, len(x)) == math.fsum(x)
