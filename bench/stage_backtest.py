"""A tick backtest: 20 features, an MLP 20-64-64-3 as a fused plan, a decision and its accounts for every quote.

The same quotes once through the native path alone and once through the whole backtest, in turn; what the second costs on
top is the desk's. Hooks are on signals only. Fills, final equity and signals are compared between the turns.
"""

from __future__ import annotations

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
from bench.peers import stack
from bench.workloads import BLOCK, INSTRUMENTS, quotes

PASSES = 5
CHUNK = 65_536
N = 120 * BLOCK


def _bundle() -> Bundle:
    return Bundle.from_model(load_artifact(stack.artifact()), name="stack/1", governed=False, engine="plan")


def _backtest(bundle: Bundle, events: Any) -> tuple[float, Any]:
    settings = Settings(costs=Costs.usual())
    test = Backtest(make("hybrid_ppo", {"strong": 0.9}), [Served(bundle)], INSTRUMENTS, ["SIM0"], settings)
    start = time.thread_time_ns()
    done = test.run(events[a : a + CHUNK] for a in range(0, len(events), CHUNK))
    spent = (time.thread_time_ns() - start) / len(events)
    equity = done.ledger.account.equity
    return spent, (done.signals_sha256, equity, done.ledger.counts["fills"], done.desk.counts["suggestions"])


def _native(bundle: Bundle, events: Any) -> tuple[float, str]:
    rt = alpha.Runtime(bundle, INSTRUMENTS)
    start = time.thread_time_ns()
    parts = [rt.run(events[a : a + CHUNK]) for a in range(0, len(events), CHUNK)]
    return (time.thread_time_ns() - start) / len(events), signals_sha256(parts)


def measure() -> list[Result]:
    """ns an event, the least of several passes."""
    bundle, events = _bundle(), quotes(N)
    whole, native, seen = [], [], set()
    for _ in range(PASSES):
        spent, sha = _native(bundle, events)
        native.append(spent)
        spent, outcome = _backtest(bundle, events)
        whole.append(spent)
        seen.add(outcome)
        if outcome[0] != sha:
            raise AssertionError("the backtest's signals are not those of the native path")
    if len(seen) != 1:
        raise AssertionError(f"{len(seen)} different outcomes of one backtest")
    _, _, fills, suggestions = next(iter(seen))
    if fills < 100:
        raise AssertionError(f"only {fills} fills in {len(events):,} events: nothing is traded")
    what = f"run() alone ({fills:,} fills, {suggestions:,} suggestions in {len(events):,} quotes)"
    return [
        result("backtest", float(np.min(whole))),
        result("backtest_over_run", float(np.min(whole)), float(np.min(native)), what),
    ]
