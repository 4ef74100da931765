"""Arithmetic in lanes: the order keeps operands before their readers, and the bits are those of one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from alpha.events import EVENT_DTYPE, Flag, Kind
from alpha.features import catalog, lanes
from alpha.features.compile import compile_program
from alpha.features.feature_set import FeatureSet
from alpha.features.native import native_rows
from alpha.instruments import Instruments

ONE = Instruments.of("X")
EXPRESSIONS = {
    "add": "bid_px + ask_px",
    "sub": "ask_qty - bid_qty",
    "mul": "bid_px * ask_qty",
    "div": "bid_qty / ask_qty",
    "neg": "-bid_px",
    "abs": "abs(bid_qty - ask_qty)",
    "sign": "sign(bid_qty - ask_qty)",
    "log": "log(bid_qty)",
    "log_ratio": "log(bid_qty / ask_qty - 1)",
    "exp": "exp(imbalance)",
    "sqrt": "sqrt(bid_qty - ask_qty)",
    "least": "min(bid_qty, ask_qty)",
    "greatest": "max(bid_qty, ask_qty)",
    "gt": "bid_qty > ask_qty",
    "ge": "bid_qty >= ask_qty",
    "lt": "bid_qty < ask_qty",
    "le": "bid_qty <= ask_qty",
    "eq": "bid_qty == ask_qty",
    "ne": "bid_qty != ask_qty",
    "where": "where(bid_qty > ask_qty, bid_px, ask_px)",
    "clip": "clip(imbalance, -0.25, 0.5)",
    "trade": "px - mid",
    "after": "where(px > mid, 1e4*(px - mid)/mid, log(1 + qty)*imbalance)",
}


def _stream(seed: int, n: int = 3000) -> np.ndarray:
    """Quotes and trades with empty and tiny sizes, events without sizes, gaps."""
    rng = np.random.default_rng(seed)
    e = np.zeros(n, EVENT_DTYPE)
    e["kind"] = rng.choice([Kind.QUOTE, Kind.TRADE], n, p=[0.8, 0.2])
    e["ts_event_ns"] = e["ts_recv_ns"] = 10**18 + np.cumsum(rng.integers(0, 3 * 10**8, n))
    mid = np.round(100 + np.cumsum(rng.integers(-1, 2, n)) * 0.01, 2)
    size = rng.choice([0.0, 1.0, 2.0, 3.5, 5e-324, 1e-310, 1e300], (n, 2), p=[0.1, 0.3, 0.2, 0.2, 0.05, 0.05, 0.1])
    quote = e["kind"] == Kind.QUOTE
    e["v"][:, 0], e["v"][:, 1] = np.where(quote, mid, mid), np.where(quote, mid + 0.01, 1.0)
    e["v"][:, 2] = np.where(quote, size[:, 0], 0.0)
    e["v"][:, 3] = np.where(quote, size[:, 1], 0.0)
    e["flags"] = np.where(rng.random(n) < 0.02, Flag.GAP, 0) | np.where(rng.random(n) < 0.05, Flag.NO_QTY, 0)
    return e


def _rows(features: dict[str, str], events: np.ndarray) -> dict[str, np.ndarray]:
    return native_rows(FeatureSet.from_dict({"features": features}), events, ONE)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """The same bits; any NaN is one."""
    return bool(((a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))).all())


@pytest.mark.parametrize("seed", range(3))
def test_lanes_give_the_bits_of_the_plain_operations(seed: int) -> None:
    events = _stream(seed)
    together = _rows(EXPRESSIONS, events)
    for j, (name, e) in enumerate(EXPRESSIONS.items()):
        # what a window looks at stays out of the lanes: it is computed by itself, with a mark of its own
        alone = _rows({name: e, "keep": f"count({e}, 2)"}, events)
        assert _same(together["values"][:, j], alone["values"][:, 0]), name
        assert np.array_equal(together["ready"][:, j], alone["ready"][:, 0]), name
        assert 0 < together["ready"][:, j].sum() < len(events), name


@pytest.mark.parametrize("seed", range(2))
def test_windows_side_by_side_give_the_bits_of_single_ones(seed: int) -> None:
    sets = {}
    for n in (2, 3, 20, 64, 65, 100):
        for x in ("mid", "imbalance", "bid_qty"):
            sets |= {
                f"s{x}{n}": f"std({x}, {n}, ddof=1)",
                f"m{x}{n}": f"mean({x}, {n})",
                f"z{x}{n}": f"zscore({x}, {n})",
            }
            sets |= {f"t{x}{n}": f'std({x}, "{n}s")'}
    events = _stream(seed + 10)
    together = _rows(sets, events)
    for j, (name, e) in enumerate(sets.items()):
        alone = _rows({name: e}, events)
        assert _same(together["values"][:, j], alone["values"][:, 0]), name
        assert np.array_equal(together["ready"][:, j], alone["ready"][:, 0]), name


def test_the_order_keeps_operands_first_and_quads_alike() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        n = int(rng.integers(1, 60))
        names = {i: str(rng.choice(["ADD", "MUL", "DIV"])) for i in range(10, 10 + n)}
        operands = {i: [int(k) for k in rng.integers(0, i, 2)] for i in names}
        steps, quads = lanes.order(names, operands)
        done = set(range(10))
        assert [s.first for s in steps] == np.cumsum([0, *(s.quads for s in steps)])[:-1].tolist()
        for step in steps:
            for quad in quads[step.first : step.first + step.quads]:
                assert len(quad) == lanes.WIDTH
                assert {names[i] for i in quad} == {step.name}
                assert all(set(operands[i]) <= done for i in quad), "an operand comes later"
            done |= {i for quad in quads[step.first : step.first + step.quads] for i in quad}
        assert done == set(range(10 + n))


def test_what_a_plain_operation_reads_stays_out_of_the_lanes() -> None:
    assert lanes.choose({1, 2, 3, 4}, {1: [2], 2: [3, 9], 3: [], 4: []}) == {3, 4}
    assert lanes.choose(set(), {}) == set()


def test_book_runs_in_lanes() -> None:
    assert compile_program(catalog.get("book")).instructions < 130, "one instruction for each result is 262"
