"""Numbers for the oracle: exact quotients, and the fixed algorithms of exp2n, exp and log. Plain Python."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

NAN = math.nan
INF = math.inf
SCALE = 1 << 1074  # every finite float64 times this is a whole number


def whole(x: float) -> int:
    """The float64 as a whole number of 1/SCALE."""
    above, below = x.as_integer_ratio()
    return above * (SCALE // below)


def rounded(above: int, below: int) -> float:
    """The quotient of two whole numbers, rounded once."""
    try:
        return above / below
    except OverflowError:
        return math.copysign(INF, above) * (1 if below > 0 else -1)


def divide(x: float, y: float) -> float:
    """Plain x / y; by zero it is NaN."""
    return NAN if y == 0.0 else x / y


def sqrt(x: float) -> float:
    return NAN if x < 0.0 else math.sqrt(x)


def _ln2_power(k: int) -> float:
    """ln2**k / k! rounded to float64; ln2 as a rational number good to 2**-300."""
    ln2 = sum(Fraction(1, j * 2**j) for j in range(1, 300))
    return float(ln2**k / math.factorial(k))


EXP2 = [_ln2_power(k) for k in range(14)]
EXP = [float(Fraction(1, math.factorial(j))) for j in range(14)]
LOG = [2.0 / (2 * j + 1) for j in range(1, 12)]
LOG2_E = float.fromhex("0x1.71547652b82fep+0")
LN2_HI = float.fromhex("0x1.62e42fee00000p-1")
LN2_LO = float.fromhex("0x1.a39ef35793c76p-33")
SQRT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")


def _horner(coefficients: list[float], x: float) -> float:
    p = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        p = c + x * p
    return p


def exp2n(t: float) -> float:
    """2**t for t <= 0 (rule 18)."""
    if t < -1100.0:
        return 0.0
    k = round(t)  # ties to even
    return math.ldexp(_horner(EXP2, t - k), k)


def exp(x: float) -> float:
    """e**x (numerics, Pointwise)."""
    if math.isnan(x):
        return x
    if x > 709.79:
        return INF
    if x < -745.2:
        return 0.0
    k = round(x * LOG2_E)
    r = (x - k * LN2_HI) - k * LN2_LO
    try:
        return math.ldexp(_horner(EXP, r), k)
    except OverflowError:
        return INF


def log(x: float) -> float:
    """The natural logarithm (rule 42)."""
    if math.isnan(x) or x <= 0.0:
        return NAN
    if math.isinf(x):
        return x
    bits = 0
    if x < 2.0**-1022:
        x, bits = x * 2.0**54, -54
    (raw,) = struct.unpack("<q", struct.pack("<d", x))
    k = (raw >> 52) - 1023
    m = x / 2.0**k  # in [1, 2)
    if m >= 2.0 * SQRT_HALF:
        m, k = m / 2.0, k + 1
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    r = z * _horner(LOG, z)
    h = (0.5 * f) * f
    k_ = float(k + bits)
    return k_ * LN2_HI - ((h - (s * (h + r) + k_ * LN2_LO)) - f)
