"""A tick backtest: 20 features, an MLP 20-64-64-3 as a fused plan, a decision and its accounts for every quote.

The same quotes once through the native path alone and once through the whole backtest, in turn, by the clock on the wall:
while the desk is at one chunk a second thread takes the next one through the native path. Each thread's processor time is
printed beside it, for hosts whose cores are not free. Hooks are on signals only. Fills, final equity and signals are
compared between the turns. Where it is installed (``./dev peers``, then ``.venv-peers/bin/python -m alpha bench
backtest``), NautilusTrader's engine gets the same quotes, asks for the same actions, and has to fill the same orders in
the same order.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

import alpha
from alpha.backtest.costs import Costs
from alpha.backtest.engine import Backtest
from alpha.backtest.serving import Served
from alpha.backtest.settings import Settings
from alpha.bundle import Bundle
from alpha.models.load import load_artifact
from alpha.runtime import signals_sha256
from alpha.strategies import make
from bench.measure import Result, result
from bench.peers import backtest_nautilus, stack
from bench.workloads import BLOCK, INSTRUMENTS, quotes

PASSES = 5
PEER_PASSES = 2
CHUNK = 65_536
N = 120 * BLOCK


def _bundle() -> Bundle:
    return Bundle.from_model(load_artifact(stack.artifact()), name="stack/1", governed=False, engine="plan")


def _backtest(bundle: Bundle, events: Any) -> tuple[float, float, float, Any]:
    """ns an event by the clock on the wall, of the desk's thread and of the native path's; and what came out."""
    settings = Settings(costs=Costs.usual())
    test = Backtest(make("hybrid_ppo", {"strong": 0.9}), [Served(bundle)], INSTRUMENTS, ["SIM0"], settings)
    start, busy, desk = time.perf_counter_ns(), time.process_time_ns(), time.thread_time_ns()
    done = test.run(events[a : a + CHUNK] for a in range(0, len(events), CHUNK))
    spent, busy, desk = time.perf_counter_ns() - start, time.process_time_ns() - busy, time.thread_time_ns() - desk
    sides = tuple(1 if f.qty > 0 else -1 for f in done.ledger.fills)
    n = len(events)
    return (
        spent / n,
        desk / n,
        (busy - desk) / n,
        (done.signals_sha256, done.ledger.account.equity, sides, done.desk.counts["suggestions"]),
    )


def _native(bundle: Bundle, events: Any) -> tuple[float, str]:
    rt = alpha.Runtime(bundle, INSTRUMENTS)
    start = time.perf_counter_ns()
    parts = [rt.run(events[a : a + CHUNK]) for a in range(0, len(events), CHUNK)]
    return (time.perf_counter_ns() - start) / len(events), signals_sha256(parts)


def measure() -> list[Result]:
    """ns an event, the least of several passes."""
    bundle, events = _bundle(), quotes(N)
    whole, desk, ahead, native, seen = [], [], [], [], set()
    for _ in range(PASSES):
        spent, sha = _native(bundle, events)
        native.append(spent)
        spent, own, other, outcome = _backtest(bundle, events)
        whole.append(spent)
        desk.append(own)
        ahead.append(other)
        seen.add(outcome)
        if outcome[0] != sha:
            raise AssertionError("the backtest's signals are not those of the native path")
    if len(seen) != 1:
        raise AssertionError(f"{len(seen)} different outcomes of one backtest")
    _, _, sides, suggestions = next(iter(seen))
    fills = len(sides)
    if fills < 100:
        raise AssertionError(f"only {fills} fills in {len(events):,} events: nothing is traded")
    what = f"run() alone ({fills:,} fills, {suggestions:,} suggestions in {len(events):,} quotes)"
    ours = float(np.min(whole))
    print(
        f"ours: {1e9 / ours:,.0f} events/s; run() alone {1e9 / float(np.min(native)):,.0f}; "
        f"processor time an event: {float(np.min(ahead)):,.0f} ns the native path's thread, "
        f"{float(np.min(desk)):,.0f} ns the desk's",
        file=sys.stderr,
    )
    return [
        result("backtest", ours),
        result("backtest_over_run", ours, float(np.min(native)), what),
        *_peers(ours, events, list(sides)),
    ]


def _peers(ours: float, events: Any, sides: list[int]) -> list[Result]:
    """NautilusTrader's engine, asking our runtime for actions, then features by hand and ONNX Runtime."""
    if backtest_nautilus.missing():
        print("nautilus_trader is not installed, its arm is skipped: ./dev peers", file=sys.stderr)
        return []
    out = []
    for name, what in (("inline", "our runtime inline"), ("by_hand", "features by hand, ONNX Runtime")):
        spent = []
        for _ in range(PEER_PASSES):
            if name == "inline":
                rt, on_quote = stack.ours("plan")
                ns, theirs = backtest_nautilus.run(events, lambda *row, ask=on_quote: ask(*row).action)
                rt.close()
            else:
                ns, theirs = backtest_nautilus.run(events, stack.hand_written())
            spent.append(ns)
            if name == "inline" and theirs != sides:  # by hand a decision may lie within rounding of the threshold
                raise AssertionError(f"NautilusTrader filled {len(theirs)} orders, we {len(sides)}, or others")
        least = float(np.min(spent))
        print(f"NautilusTrader, {what}: {1e9 / least:,.0f} events/s, {len(theirs):,} orders filled", file=sys.stderr)
        out.append(result(f"backtest_nautilus_{name}", ours, least, f"NautilusTrader's engine, {what}"))
    return out
