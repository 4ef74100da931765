"""Event to decision by every stack in turn: the twenty features and the MLP of :mod:`bench.peers.stack`, seen by Python.

All get the same real quotes in order (AMZN where ``ALPHA_DATA`` points at it, else simulated), after a warm-up in which
differing seeds of averages are forgotten. Two passes: one for what takes microseconds, one for what takes
milliseconds; ours and the hand-written stack are in both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import alpha
from alpha.events import EVENT_DTYPE, SIGNAL_DTYPE, Kind
from alpha.latency import bin_upper_ns
from bench.peers import stack, stack_indicators
from bench.peers.arms import Actions, Arm, Figure, Ns, python_loops, side_by_side, why_missing
from bench.peers.models import Missing
from bench.peers.stack_numba import one_call, one_call_packed
from bench.stage_stack import _quotes

ITEMS = 256  # quotes of a block
MOST = 0.01  # of the decisions may differ: rolling sums that are not exact, near the threshold
Quote = tuple[int, float, float, float, float]
Make = Callable[[], Callable[..., Any]]


def _arm(name: str, step: Callable[..., Any], quotes: list[Quote], warm: int, items: int) -> Arm:
    """One Python function per quote; blocks go on where the last ended."""
    for row in quotes[:warm]:
        step(*row)
    at = [warm]

    def inputs(_: int) -> list[Quote]:
        part = quotes[at[0] : at[0] + items]
        at[0] += items
        if len(part) < items:
            raise AssertionError(f"{name}: the quotes are used up")
        return part

    turn, clocked, got = python_loops(lambda row: step(*row), inputs)
    return Arm(name, turn, clocked, lambda: [getattr(a, "action", a) for a in got], "nothing", "Python", items)


def _counts(rt: alpha.Runtime) -> npt.NDArray[np.uint64]:
    counts, _ = rt.latency_counts()
    assert counts is not None
    return counts.copy()


def native_arm(name: str, quotes: list[Quote], warm: int, items: int) -> Arm:
    """Ours over an array of events: ``rt.run``'s way, all of it compiled."""
    rt, _ = stack.ours("plan")
    e = np.zeros(len(quotes), EVENT_DTYPE)
    e["kind"] = Kind.QUOTE
    e["ts_event_ns"] = e["ts_recv_ns"] = [q[0] for q in quotes]
    e["v"][:, :4] = [q[1:] for q in quotes]
    run: Callable[[Any], npt.NDArray[Any]] = rt._pipeline.run
    run(e[:warm])
    at, got = [warm], np.zeros(items, SIGNAL_DTYPE)

    def turn(_: int) -> None:
        run(e[at[0] : at[0] + items], got)
        at[0] += items

    def clocked(i: int) -> Ns:
        rt.measure_latency()
        before = _counts(rt)
        turn(i)
        after = _counts(rt)
        rt.measure_latency(False)
        return np.repeat(bin_upper_ns(len(after)), (after - before).astype(np.int64)).astype(np.int64)

    return Arm(name, turn, clocked, lambda: got["action"].tolist(), "", "C", items)


def _try(into: dict[str, Make], missing: Missing, name: str, module: str, make: Make) -> None:
    """Leaves a stack out, with the reason, where its library is not there."""
    try:
        __import__(module)
    except ImportError as absent:
        missing[name] = why_missing(absent)
    else:
        into[name] = make


def fast(n_blocks: int, warm: int, items: int = ITEMS) -> tuple[list[Figure], Missing]:
    """Everything that takes microseconds."""
    quotes = _quotes(warm + items * (n_blocks + 2 + n_blocks // 2 + 2 + 1))
    missing: Missing = {}
    made: dict[str, Make] = {
        "features in C + IOBinding": stack.native_features_and_binding,
        "hand-written Python + IOBinding": stack.hand_written,
        "hand-written Python + run": lambda: stack.with_run(stack.HandWritten().update),
    }
    _try(made, missing, "numba, features and MLP in one call", "numba", one_call)
    _try(made, missing, "numba, one call, state in three arrays", "numba", one_call_packed)
    for name, module, kind in (
        ("river + IOBinding", "river", stack_indicators.River),
        ("talipp + IOBinding", "talipp", stack_indicators.Talipp),
        ("NautilusTrader indicators + IOBinding", "nautilus_trader", stack_indicators.Nautilus),
    ):
        _try(made, missing, name, module, lambda kind=kind: stack.with_binding(kind().update))
    keep, on_quote = stack.ours("plan")
    keep_ort, through_ort = stack.ours("ort")
    arms = [
        _arm("ours, on_quote", on_quote, quotes, warm, items),
        _arm("ours through ONNX Runtime's C API", through_ort, quotes, warm, items),
        native_arm("ours, rt.run over an array", quotes, warm, items),
    ]
    arms += [_arm(name, make(), quotes, warm, items) for name, make in made.items()]
    try:
        from bench.peers import stack_hftbacktest

        arms.append(stack_hftbacktest.arm(quotes, warm, items))
    except ImportError as absent:
        missing["hftbacktest's numba loop"] = why_missing(absent)
    idle = _arm("nothing", lambda ts, bid, ask, bid_qty, ask_qty: 0, quotes, warm, items)
    idle.outputs, idle.idle = None, ""
    actions = Actions()
    figures = side_by_side([*arms, idle], n_blocks, actions, MOST)
    actions.demand_different()
    del keep, keep_ort
    return figures, missing


def slow(n_blocks: int, warm: int, items: int = 16) -> tuple[list[Figure], Missing]:
    """A pandas window per event, and flox-py's streaming indicators, which go over their history at every update."""
    quotes = _quotes(warm + items * (n_blocks + 2 + n_blocks // 2 + 2 + 1))
    missing: Missing = {}
    made: dict[str, Make] = {"hand-written Python + IOBinding": stack.hand_written}
    _try(made, missing, "pandas window of 1,000 + IOBinding", "pandas", stack.pandas_window)
    flox = f"flox-py indicators after {warm:,} events + IOBinding"
    _try(made, missing, flox, "lrvx", lambda: stack.with_binding(stack_indicators.Flox().update))
    keep, on_quote = stack.ours("plan")
    arms = [_arm("ours, on_quote", on_quote, quotes, warm, items)]
    arms += [_arm(name, make(), quotes, warm, items) for name, make in made.items()]
    idle = _arm("nothing", lambda ts, bid, ask, bid_qty, ask_qty: 0, quotes, warm, items)
    idle.outputs, idle.idle = None, ""
    figures = side_by_side([*arms, idle], n_blocks, Actions(), MOST)
    del keep
    return figures, missing
