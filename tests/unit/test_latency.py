"""The latency histogram: C fills it, Python reads percentiles from it; numpy on the same numbers is the judge."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from c_program import run_c

from alpha._core.pipeline import Pipeline
from alpha.events import EVENT_DTYPE, Kind
from alpha.features.compile import compile_program
from alpha.features.feature_set import FeatureSet
from alpha.latency import bin_upper_ns, percentiles

Counts = npt.NDArray[np.uint64]
Times = npt.NDArray[np.int64]

INT64_MAX = 2**63 - 1
BINS = 60 * 32
SHARES = {"p50": Fraction(1, 2), "p99": Fraction(99, 100), "p999": Fraction(999, 1000)}

# times in; the bin of each and the histogram out
_FILL = r"""
#include <stdio.h>
#include <stdlib.h>
#include "alpha_latency.h"
int main(void)
{
    alpha_latency *h = calloc(1, sizeof *h);
    int64_t ns;
    while (fread(&ns, sizeof ns, 1, stdin) == 1) {
        uint32_t bin = alpha_latency_bin(ns);
        fwrite(&bin, sizeof bin, 1, stdout);
        alpha_latency_add(h, ns);
    }
    fwrite(h, sizeof *h, 1, stdout);
    return 0;
}
"""


class Filled:
    """A histogram that C filled, and into which bin each value went."""

    def __init__(self, folder: Path, ns: npt.ArrayLike) -> None:
        given = np.asarray(ns, dtype=np.int64)
        out = run_c(folder, _FILL, data=given.tobytes())
        self.bins = np.frombuffer(out, np.uint32, len(given)).astype(np.int64)
        words = np.frombuffer(out, np.uint64, offset=4 * len(given))
        assert len(words) == BINS + 2
        self.counts: Counts = words[:BINS]
        self.n = int(words[BINS])
        self.max_ns = int(words[BINS + 1].astype(np.int64))


def python_counts(ns: Times) -> Counts:
    """The same without C: the first bin whose upper edge is not below the value."""
    edges = bin_upper_ns(1888)  # up to the largest int64
    counts = np.zeros(BINS, np.uint64)
    np.add.at(counts, np.searchsorted(edges, np.maximum(ns, 0)), np.uint64(1))
    return counts


def draws(seed: int, n: int) -> dict[str, Times]:
    rng = np.random.default_rng(seed)
    exponent = rng.uniform(0, 62, n)
    return {
        "small": rng.integers(0, 40, n),
        "lognormal": np.exp(rng.normal(np.log(2000.0), 0.8, n)).astype(np.int64),
        "bimodal": np.where(rng.random(n) < 0.985, rng.integers(700, 900, n), rng.integers(10**6, 10**7, n)),
        "any size": np.floor(2.0**exponent).astype(np.int64),
        "same": np.full(n, int(rng.integers(1, 10**9))),
    }


def rank(ns: Times, share: Fraction) -> int:
    """The value that this share of all does not exceed: numpy's 'inverted_cdf', without the rounding of 0.999*n."""
    at = -((-share * len(ns)) // 1) - 1
    return int(np.sort(ns)[int(at)])


def test_every_time_lies_in_the_bin_that_c_gave_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    edges = np.array([1 << k for k in range(63)], dtype=np.int64)
    steps = (edges[5:, None] // 32 * (32 + np.arange(32))).ravel()
    ns = np.concatenate([np.arange(5000), edges, edges - 1, steps, steps - 1, rng.integers(0, INT64_MAX, 5000)])
    bins = Filled(tmp_path, ns).bins
    upper = bin_upper_ns(1888)
    lower = np.concatenate([[0], upper[:-1] + 1])
    assert ((lower[bins] <= ns) & (ns <= upper[bins])).all()
    assert set(range(1888)) == set(bins.tolist())  # all bins were tried


def test_bins_are_under_3_2_percent_wide() -> None:
    upper = bin_upper_ns(1888).tolist()
    lower = [0] + [u + 1 for u in upper[:-1]]
    assert upper[:34] == list(range(34)) and upper[-1] == INT64_MAX
    assert all(a < b for a, b in pairwise(upper))
    # whole numbers: a float cannot tell the largest edges apart
    assert all(1000 * (u - low) < 32 * max(low, 1) for low, u in zip(lower, upper, strict=True))


@pytest.mark.parametrize("n", [1, 2, 99, 100, 101, 1000, 1001, 30_001])
def test_percentiles_are_numpys_within_the_width_of_a_bin(n: int) -> None:
    for name, ns in draws(n, n).items():
        got = percentiles(python_counts(ns), int(ns.max()))
        for key, share in SHARES.items():
            exact = rank(ns, share)
            if (share * n).denominator > 1:  # numpy's own rank is 1 too high where 0.999*n is whole but for rounding
                assert exact == np.percentile(ns, float(100 * share), method="inverted_cdf"), (name, key)
            assert exact <= got[key] <= exact + exact // 32, (name, key)
        assert got["max"] == ns.max()


def test_percentiles_of_what_c_counted(tmp_path: Path) -> None:
    for name, ns in draws(7, 20_000).items():
        h = Filled(tmp_path, ns)
        assert h.n == len(ns) == h.counts.sum() and h.max_ns == ns.max(), name
        assert np.array_equal(h.counts, python_counts(ns)), name
        got = percentiles(h.counts, h.max_ns)
        for key, share in SHARES.items():
            exact = rank(ns, share)
            assert exact <= got[key] <= exact + exact // 32, (name, key)


def test_below_32_ns_percentiles_are_exact() -> None:
    ns = np.random.default_rng(2).integers(0, 32, 5000)
    got = percentiles(python_counts(ns), int(ns.max()))
    assert [got[key] for key in SHARES] == [rank(ns, share) for share in SHARES.values()]


def test_ranks_at_the_edges_of_whole_counts() -> None:
    """With 1000 values the 999th is p999 and the 990th p99: the next one must not be taken."""
    for total in (1000, 10_000, 1_000_000):
        for key, share in SHARES.items():
            below = int(share * total)
            counts = np.zeros(BINS, np.uint64)
            counts[3], counts[20] = below, total - below
            assert percentiles(counts, 20)[key] == 3
            counts[3], counts[20] = below - 1, total - below + 1
            assert percentiles(counts, 20)[key] == 20


def test_percentiles_are_in_order_and_never_above_the_largest() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        ns = np.floor(2.0 ** rng.uniform(0, 40, int(rng.integers(1, 50)))).astype(np.int64)
        got = percentiles(python_counts(ns), int(ns.max()))
        assert ns.min() <= got["p50"] <= got["p99"] <= got["p999"] <= got["max"] == ns.max()


def test_nothing_measured() -> None:
    empty = {"p50": None, "p99": None, "p999": None, "max": None}
    assert percentiles(None, 0) == empty
    assert percentiles(np.zeros(BINS, np.uint64), 0) == empty
    assert len(bin_upper_ns(0)) == 0


def test_histograms_add_up() -> None:
    """Several workers: the sum of their counts is the histogram of all their times."""
    parts = list(draws(4, 3000).values())
    together = np.concatenate(parts)
    added = np.zeros(BINS, np.uint64)
    for part in parts:
        added += python_counts(part)
    assert np.array_equal(added, python_counts(together))
    largest = max(int(p.max()) for p in parts)
    assert percentiles(added, largest) == percentiles(python_counts(together), int(together.max()))


def test_extreme_times_are_counted_and_stay_inside(tmp_path: Path) -> None:
    """There is no bin of overflow: the largest int64 has a bin of its own range, and a clock that went back counts as 0."""
    h = Filled(tmp_path, [INT64_MAX, INT64_MAX - 1, 2**62, 0, -1, -(2**63)])
    assert h.bins.tolist() == [1887, 1887, 1856, 0, 0, 0]
    assert h.n == h.counts.sum() == 6 and h.max_ns == INT64_MAX
    got = percentiles(h.counts, h.max_ns)
    assert got == {"p50": 0, "p99": INT64_MAX, "p999": INT64_MAX, "max": INT64_MAX}
    back = Filled(tmp_path, [-5, -(2**63)])
    assert back.max_ns == 0
    assert percentiles(back.counts, back.max_ns) == {"p50": 0, "p99": 0, "p999": 0, "max": 0}


def test_counts_beyond_32_bits() -> None:
    """A year at a million events per second is about 2**45."""
    counts = np.zeros(BINS, np.uint64)
    counts[10], counts[100], counts[200] = 2**45, 2**44, 2**35
    upper = bin_upper_ns(BINS)
    got = percentiles(counts, INT64_MAX)
    assert (got["p50"], got["p99"], got["p999"]) == (10, upper[100], upper[100])
    counts[200] = 2**40
    assert percentiles(counts, INT64_MAX)["p99"] == upper[200]


def test_a_pipeline_counts_each_signal_once() -> None:
    p = Pipeline(
        compile_program(FeatureSet.from_dict({"features": {"m": "mid"}})),
        lots=[1.0],
        clock_offsets_ns=[0],
        guard={"clock": "recv", "crossed": "reject", "future_tolerance_ns": 10**10, "duplicates": "reject"},
        mean=[0.0],
        std=[1.0],
        clip=(-1000.0, 1000.0),
        gate={"output_kind": "value", "rule": "sign", "actions": [0], "threshold": 0.0, "cooldown_ns": 0},
    )
    events = np.zeros(50, EVENT_DTYPE)
    events["kind"], events["ts_event_ns"] = Kind.QUOTE, np.arange(1, 51)
    events["v"] = [1.0, 2.0, 1.0, 1.0, 0.0]
    assert p.latency_counts() == (None, 0)
    p.measure_latency()
    made = 0
    for part in (events[:20], events[20:]):
        made += len(p.run(part))
        counts, max_ns = p.latency_counts()
        assert counts is not None
        assert made > 0 and counts.sum() == made and counts.shape == (BINS,) and max_ns >= 0
        # the largest lies in the last bin that counted anything
        assert python_counts(np.array([max_ns]))[np.flatnonzero(counts)[-1]] == 1
    p.measure_latency()
    counts, max_ns = p.latency_counts()
    assert counts is not None and not counts.any() and max_ns == 0
    p.measure_latency(False)
    assert p.latency_counts() == (None, 0)
