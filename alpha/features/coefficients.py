"""Coefficients of the transcendental functions of features, for the batch twin. Floor 2.

Numerics rules 18 and 42. The native twin keeps its own copy in ``_core/include/alpha_math.h``;
``tests/unit/test_batch_math.py`` derives this one from its formulas.
"""

from __future__ import annotations

import math

# 2**f = sum c_k f**k, c_k = round(ln2**k / k!)
EXP2 = tuple(
    float.fromhex(h)
    for h in (
        "0x1.0000000000000p+0",
        "0x1.62e42fefa39efp-1",
        "0x1.ebfbdff82c58fp-3",
        "0x1.c6b08d704a0c0p-5",
        "0x1.3b2ab6fba4e77p-7",
        "0x1.5d87fe78a6731p-10",
        "0x1.430912f86c787p-13",
        "0x1.ffcbfc588b0c7p-17",
        "0x1.62c0223a5c824p-20",
        "0x1.b5253d395e7c4p-24",
        "0x1.e4cf5158b8ecap-28",
        "0x1.e8cac7351bb25p-32",
        "0x1.c3bd650fc2986p-36",
        "0x1.816193166d0f9p-40",
    )
)

# log((1+s)/(1-s)) = 2s + s z (c_1 + z (c_2 + ...)), z = s*s, c_j = round(2/(2j+1)), j = 1..11
LOG = tuple(2.0 / (2 * j + 1) for j in range(1, 12))

# exp(r) = sum c_j r**j, c_j = round(1/j!), j = 0..13
EXP = tuple(1.0 / math.factorial(j) for j in range(14))
LOG2_E = float.fromhex("0x1.71547652b82fep+0")

LN2_HI = float.fromhex("0x1.62e42fee00000p-1")
LN2_LO = float.fromhex("0x1.a39ef35793c76p-33")
SQRT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")
