"""The feature program on the named set of twenty features."""

from __future__ import annotations

import ctypes

import numpy as np

import alpha
from alpha.events import EVENT_DTYPE, SIGNAL_DTYPE, Kind
from alpha.features import catalog
from alpha.features.native import row_maker
from bench.measure import Result, blocks, result
from bench.native import library
from bench.workloads import BLOCK, INSTRUMENTS, block

N_BLOCKS = 40


def measure() -> list[Result]:
    """``features_twenty``: guard, features and readiness against a hand-fused loop of the same, checked equal over every block.
    Both are net of a block of which nothing is asked: CONTROL events, which the row maker skips, and no events.
    ``run_without_model``: ``rt.run`` of the same set, whole."""
    fs = catalog.get("twenty")
    lib = library("twenty")
    lib.twenty_reset()
    out, ready = np.zeros((BLOCK, 20), np.float32), np.zeros((BLOCK, 20), np.uint8)
    maker = row_maker(fs, INSTRUMENTS)
    rt = alpha.Runtime.from_features(fs, instruments=INSTRUMENTS)
    rt_into = alpha.Runtime.from_features(fs, instruments=INSTRUMENTS)
    signals = np.zeros(BLOCK, SIGNAL_DTYPE)
    compared = 0

    def hand(i: int) -> None:
        e = block(i)
        lib.twenty_run(
            ctypes.c_void_p(e.ctypes.data),
            ctypes.c_int64(BLOCK),
            ctypes.c_void_p(out.ctypes.data),
            ctypes.c_void_p(ready.ctypes.data),
        )

    rows = {}
    buffers = maker.buffers(BLOCK + 1)

    def ours(i: int) -> None:
        rows.update(maker.rows(block(i), buffers))

    def run(i: int) -> None:
        rt.run(block(i))

    def run_into(i: int) -> None:
        rt_into._pipeline.run(block(i), signals)

    idle = np.zeros(BLOCK, EVENT_DTYPE)
    idle["kind"] = Kind.CONTROL

    def ours_empty(i: int) -> None:
        block(i)
        rows.update(maker.rows(idle, buffers))

    def hand_empty(i: int) -> None:
        lib.twenty_run(
            ctypes.c_void_p(block(i).ctypes.data),
            ctypes.c_int64(0),
            ctypes.c_void_p(out.ctypes.data),
            ctypes.c_void_p(ready.ctypes.data),
        )

    def check(i: int) -> None:
        nonlocal compared
        warm = rows["ready"].all(axis=1)
        same = rows["values"][warm].view(np.int32) == out[warm].view(np.int32)
        if not same.all():
            raise AssertionError(f"block {i}: the hand-fused loop differs in {np.unique(np.argwhere(~same)[:, 1])}")
        if not np.array_equal(rows["ready"], ready.view(np.bool_)):
            raise AssertionError(f"block {i}: the hand-fused loop says otherwise what is ready")
        compared += int(same.size)

    # the arms of one block run in changing order, so the comparison waits for a pass of its own
    times = blocks([ours, ours_empty, hand, hand_empty, run, run_into], N_BLOCKS, BLOCK)
    reasons = rt.stats()["reasons"]
    if reasons.get("NO_MODEL", 0) < (N_BLOCKS + 1) * BLOCK or reasons != rt_into.stats()["reasons"]:
        raise AssertionError(f"run did not come to a decision on the events: {reasons}")
    lib.twenty_reset()
    maker = row_maker(fs, INSTRUMENTS)
    for i in range(N_BLOCKS):
        hand(i)
        ours(i)
        check(i)
    if compared < 2_000_000:
        raise AssertionError(f"only {compared} values were compared")
    mine, nothing, theirs, nothing_there, whole, into = times
    return [
        result(
            "features_twenty",
            float(np.median(mine - nothing)),
            float(np.median(theirs - nothing_there)),
            "hand-fused C loop, same bits",
        ),
        result("run_without_model", float(np.median(whole))),
        result("run_without_model_into", float(np.median(into))),
    ]
