"""Rounding errors must not pile up: a hundred million events, then the windows against exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from alpha.events import EVENT_DTYPE
from alpha.features.feature_set import FeatureSet
from alpha.features.native import row_maker
from alpha.features.parity import float32_ulps
from alpha.instruments import Instruments

N = 500  # of the count windows
CHUNK = 1_000_000


def chunk(rng: np.random.Generator, number: int) -> np.ndarray:
    """Quotes around 1e5 with small moves, now and then a spike of a thousand times the price."""
    e = np.zeros(CHUNK, EVENT_DTYPE)
    e["kind"], e["flags"] = 1, 1
    e["ts_event_ns"] = 10**18 + (np.arange(CHUNK) + number * CHUNK) * 10**6
    mid = 1e5 + np.cumsum(rng.integers(-1, 2, CHUNK)) * 0.01 + rng.normal(0.0, 1e-3, CHUNK)
    mid *= np.where(rng.random(CHUNK) < 1e-5, 1e3, 1.0)
    v = e["v"]
    v[:, 0], v[:, 1] = mid, mid + 0.01
    v[:, 2:4] = rng.integers(1, 100, (CHUNK, 2))
    return e


def exact(x: list[Fraction], y: list[Fraction]) -> dict[str, float]:
    """The features below from their definitions, rounded at the end."""
    n = len(x)
    sx, sy, p = sum(x), sum(y), range(n)
    mean = sx / n
    m2, m3 = sum((v - mean) ** 2 for v in x), sum((v - mean) ** 3 for v in x)
    vx, vy = n * sum(v * v for v in x) - sx * sx, n * sum(v * v for v in y) - sy * sy
    co = n * sum(a * b for a, b in zip(x, y, strict=True)) - sx * sy
    sp, spp = sum(p), sum(q * q for q in p)
    return {
        "sum": float(sx),
        "mean": float(mean),
        "std": math.sqrt(m2 / n),
        "skew": float(m3 / n) / (float(m2 / n) * math.sqrt(m2 / n)),
        "corr": float(co) / math.sqrt(vx) / math.sqrt(vy),
        "beta": float(co / vy),
        "slope": float(Fraction(n * sum(q * v for q, v in zip(p, x, strict=True)) - sp * sx) / (n * spp - sp * sp)),
    }


@pytest.mark.slow
def test_a_hundred_million_events() -> None:
    features = {
        "bid": "bid_px",
        "qty": "bid_qty",
        **{name: f"{name}(bid_px, {N})" for name in ("sum", "mean", "std", "skew", "slope")},
        **{name: f"{name}(bid_px, bid_qty, {N})" for name in ("corr", "beta")},
        "timed_std": f'std(bid_px, "{N}ms")',
    }
    fs = FeatureSet.from_dict({"features": features})
    maker, rng = row_maker(fs, Instruments.of("A")), np.random.default_rng(1)
    out = maker.buffers(CHUNK + 1)
    worst: dict[str, int] = {}
    for number in range(100):
        events = chunk(rng, number)
        values = maker.rows(events, out)["values"]
        if number not in (0, 9, 49, 98, 99):
            continue
        for at in [*rng.integers(N, CHUNK, 12).tolist(), CHUNK - 1]:
            window = events["v"][at - N + 1 : at + 1]
            true = exact([Fraction(v) for v in window[:, 0].tolist()], [Fraction(v) for v in window[:, 2].tolist()])
            true["timed_std"] = true["std"]
            for name, value in true.items():
                got = values[at : at + 1, fs.names.index(name)]
                ulps = int(float32_ulps(got, np.array([value], np.float32))[0])
                worst[name] = max(worst.get(name, 0), ulps)
    assert max(worst.values()) <= 1, worst
