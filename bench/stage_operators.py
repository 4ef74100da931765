"""What each operator of the table costs: its example, less the same set without it. A new row of the table is measured
without a change here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.data.simulate import simulate
from alpha.errors import AlphaError
from alpha.events import Flag, Kind
from alpha.features.feature_set import FeatureSet
from alpha.features.language import Expr, parse, walk
from alpha.features.native import row_maker
from alpha.features.operators import OPERATORS
from alpha.instruments import Instruments
from bench.measure import Result, quietest, result

N_BLOCKS, WARM_BLOCKS, BLOCK, PASSES = 8, 2, 2048, 8
_KINDS = {"quote": Kind.QUOTE, "trade": Kind.TRADE}
_INSTRUMENTS = simulate(1000, seed=17).instruments


def _updates(root: Expr, events: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The events that update this expression, each asking for a row, over and over until there are enough."""
    chosen = np.zeros(len(events), np.bool_)
    for e in walk(root):
        if e.op in OPERATORS and OPERATORS[e.op].kind == "source":
            group = OPERATORS[e.op].group
            if group == "depth" and any(p.name == "level" for p in OPERATORS[e.op].params):
                chosen |= (events["kind"] == Kind.DEPTH) & (events["level"] == e.param("level"))
            elif group in _KINDS:
                chosen |= events["kind"] == _KINDS[group]
            else:
                chosen |= np.isin(events["kind"], list(_KINDS.values()))
    if not chosen.any():  # it takes events itself
        chosen = np.isin(events["kind"], list(_KINDS.values()))
    own = events[chosen]
    own["flags"] |= np.uint16(Flag.LAST)
    return np.ascontiguousarray(own[: (N_BLOCKS + WARM_BLOCKS) * BLOCK])


def _arm(features: dict[str, str], parts: list[npt.NDArray[Any]]) -> Callable[[], Callable[[int], Any]]:
    fs = FeatureSet.from_dict({"trigger": "last", "features": features})

    def fresh() -> Callable[[int], Any]:
        maker = row_maker(fs, Instruments([*_INSTRUMENTS, *Instruments.of(*fs.symbols)]))
        buffers = maker.buffers(BLOCK + 1)
        return lambda i: maker.rows(parts[i], buffers)

    return fresh


def _one(name: str, events: npt.NDArray[Any]) -> float:
    """ns an update of one operator with everything that it alone needs (history, window)."""
    root = parse(OPERATORS[name].example)
    found = [e for e in walk(root) if e.op == name]
    e = found[-1] if found else root  # an example may be a way of writing it
    own = _updates(root, events)
    parts = [own[at : at + BLOCK] for at in range(0, len(own) - BLOCK + 1, BLOCK)]
    if len(parts) < N_BLOCKS + WARM_BLOCKS:
        raise AlphaError(f"the simulation has {len(own)} events that update {root}: too few")
    operands = {f"x{k}": str(a) for k, a in enumerate(e.args)} or {"x": "1"}
    arms = [_arm(operands, parts), _arm({**operands, "y": str(e)}, parts)]
    without, having = quietest(arms, N_BLOCKS, BLOCK, PASSES, WARM_BLOCKS)
    return float(np.median(having - without))


def measure() -> list[Result]:
    """``op.NAME``: ns an update, net of its operands, of the row and of the guard."""
    events = simulate(int(12 * (N_BLOCKS + WARM_BLOCKS) * BLOCK), seed=17, levels=3).events
    results = []
    for name in OPERATORS:
        try:
            results.append(result(f"op.{name}", _one(name, events)))
        except AlphaError as error:
            print(f"operator {name} is not measured: {error}", file=sys.stderr)
    return results
