"""Sequential kernels of the batch twin, compiled by numba. Floor 2.

Written from ``docs/numerics.md`` without the native code: agreement between the two is evidence
only as long as neither was copied from the other.
"""

# mypy: disable-error-code="untyped-decorator,no-any-return"

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import carray, njit, types
from numba.core.cgutils import voidptr_t
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from alpha.features.coefficients import EXP2

_EXP2 = np.array(EXP2)
PARTS = 64  # 2098 bits of float64's range / 53 bits a part: 40 suffice
HUGE = 1e140  # n squares of larger values may not fit into float64
_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(inline: str = "never") -> Callable[[_F], _F]:
    """numba's njit as the kernels want it, typed: no fused or reordered arithmetic, no GIL, cached on disk.

    The cache looks at a kernel's own file only: after a change of a helper here, touch the files that use it.
    """

    def decorate(function: _F) -> _F:
        options = {"inline": inline, "nogil": True, "fastmath": False, "error_model": "numpy"}
        try:
            compiled: _F = njit(cache=True, **options)(function)
        except RuntimeError:  # neither this folder, NUMBA_CACHE_DIR nor the home can be written: compile each time
            compiled = njit(cache=False, **options)(function)
        return compiled

    return decorate


@compiled("always")
def two_sum(a: float, b: float) -> tuple[float, float]:
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


@intrinsic
def _multiply_add(_: Any, a: Any, b: Any, c: Any) -> Any:
    """a*b + c rounded once."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


@compiled("always")
def product_fused(a: float, b: float) -> tuple[float, float]:
    """a*b and its rounding error, where the processor has the instruction for it."""
    p = a * b
    return p, _multiply_add(a, b, -p)


@compiled("always")
def product_split(a: float, b: float) -> tuple[float, float]:
    """The same by halves (Dekker), for processors without."""
    p = a * b
    c = 134217729.0 * a
    a_hi = c - (c - a)
    a_lo = a - a_hi
    c = 134217729.0 * b
    b_hi = c - (c - b)
    b_lo = b - b_hi
    return p, ((a_hi * b_hi - p) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo


two_product = product_fused if "+fma," in get_host_cpu_features() else product_split


@intrinsic
def _memory(_: Any, address: Any) -> Any:
    """What begins at this address, an unsigned number."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], voidptr_t)

    return types.voidptr(types.uint64), generate


@compiled("always")
def floats_at(address: int, n: int) -> np.ndarray:
    """The ``n`` float64 that lie there; whoever calls keeps them alive."""
    return carray(_memory(address), n, np.float64)


@compiled("always")
def flags_at(address: int, n: int) -> np.ndarray:
    """The ``n`` bools that lie there."""
    return carray(_memory(address), n, np.bool_)


@compiled("always")
def add(hi: float, lo: float, y_hi: float, y_lo: float) -> tuple[float, float, float]:
    """(hi + lo) + (y_hi + y_lo) as a pair, and a bound of what the pair could not hold (0 = nothing lost)."""
    s, e = two_sum(hi, y_hi)
    t, f = two_sum(lo, y_lo)
    e, lost_1 = two_sum(e, t)
    s, e = two_sum(s, e)
    e, lost_2 = two_sum(e, f)
    s, e = two_sum(s, e)
    return s, e, abs(lost_1) + abs(lost_2)


@compiled("always")
def settled(hi: float, lo: float, lost: float) -> bool:
    """Whether everything within ``lost`` of hi + lo rounds to hi; False when not finite."""
    reach = lost + abs(lo) * 2.0**-50
    return hi + (lo + reach) == hi and hi + (lo - reach) == hi


@compiled()
def gather(sums: np.ndarray, k: int, sign: float, hi: float, lo: float) -> None:
    """Add sign*(hi + lo) to row k of ``sums``: high part, low part, bound of everything it ever lost."""
    s, e, lost = add(sums[k, 0], sums[k, 1], sign * hi, sign * lo)
    sums[k, 0], sums[k, 1] = s, e
    sums[k, 2] += lost


@compiled()
def grow(parts: np.ndarray, n: int, v: float) -> int:
    """Add v exactly to a sum held as n parts that do not overlap (Shewchuk); the new number of parts."""
    kept = 0
    for k in range(n):
        v, e = two_sum(parts[k], v)
        if e != 0.0:
            parts[kept] = e
            kept += 1
    parts[kept] = v
    return kept + 1


@compiled()
def rounded(parts: np.ndarray, n: int) -> float:
    """The sum that n parts hold, rounded once."""
    if n == 0:
        return 0.0
    n -= 1
    s: float = parts[n]
    e = 0.0
    while n > 0:
        n -= 1
        s, e = two_sum(s, parts[n])
        if e != 0.0:
            break
    # halfway cases look at the sign of the next part
    if n > 0 and ((e < 0.0 and parts[n - 1] < 0.0) or (e > 0.0 and parts[n - 1] > 0.0)):
        twice = e * 2.0
        up = s + twice
        if up - s == twice:
            s = up
    return s


@compiled()
def exact_sum(x: np.ndarray, a: int, b: int) -> float:
    """Sum of x[a:b] rounded once, as math.fsum."""
    parts = np.zeros(PARTS)
    n = 0
    for j in range(a, b):
        n = grow(parts, n, x[j])
    return rounded(parts, n)


@compiled()
def rolling_sums(x: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per window [lo_i, hi_i) of ``x``: the sum rounded once, and 1 where all values of the window are equal.

    Bounds never decrease. The sum is double-double and carries a bound of everything it ever lost; where that could
    reach a result's last bits the window is summed anew, so that neither a long stream nor a value long gone shows.
    """
    m = len(lo)
    total = np.zeros(m)
    flat = np.zeros(m, dtype=np.uint8)
    a = b = 0
    s_hi = s_lo = s_lost = 0.0
    run_start = 0  # first index of the run of equal values that ends at b - 1
    for i in range(m):
        while b < hi[i]:
            if b == 0 or x[b] != x[b - 1]:
                run_start = b
            s_hi, s_lo, lost = add(s_hi, s_lo, x[b], 0.0)
            s_lost += lost
            b += 1
        while a < lo[i]:
            s_hi, s_lo, lost = add(s_hi, s_lo, -x[a], 0.0)
            s_lost += lost
            a += 1
        if a == b:
            s_hi = s_lo = s_lost = 0.0
            continue
        flat[i] = run_start <= a
        total[i] = s_hi
        if s_lost != 0.0 and not settled(s_hi, s_lo, s_lost):
            s_hi = s_lo = s_lost = 0.0
            for j in range(a, b):
                s_hi, s_lo, lost = add(s_hi, s_lo, x[j], 0.0)
                s_lost += lost
            total[i] = s_hi if s_lost == 0.0 or settled(s_hi, s_lo, s_lost) else exact_sum(x, a, b)
    return total, flat


@compiled()
def ema_span(x: np.ndarray, alpha: float) -> np.ndarray:
    """Rule 16: y0 = x0, y = y + alpha*(x - y)."""
    y = np.empty(len(x))
    value = 0.0
    for i in range(len(x)):
        value = x[i] if i == 0 else value + alpha * (x[i] - value)
        y[i] = value
    return y


@compiled()
def exp2n(t: float) -> float:
    """Rule 18: 2**t for t <= 0."""
    if t < -1100.0:
        return 0.0
    k = np.rint(t)
    f = t - k
    p = _EXP2[13]
    for j in range(12, -1, -1):
        p = _EXP2[j] + f * p
    return math.ldexp(p, int(k))


@compiled()
def ema_half_life(x: np.ndarray, t_ns: np.ndarray, h_ns: float) -> np.ndarray:
    """Rule 17: weights halve every h, equal timestamps count."""
    y = np.empty(len(x))
    value = 0.0
    weight = 1.0
    for i in range(len(x)):
        if i == 0:
            value = x[0]
        else:
            weight = 1.0 + exp2n(-float(t_ns[i] - t_ns[i - 1]) / h_ns) * weight
            value = value + (x[i] - value) / weight
        y[i] = value
    return y
