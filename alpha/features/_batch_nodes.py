"""The column of any expression node in the batch twin: which operator makes it how. Floor 2."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from alpha.errors import DefinitionError
from alpha.features import _batch_formulas as formulas
from alpha.features._batch_columns import Column, Columns
from alpha.features._batch_running import RUNNING
from alpha.features._batch_sessions import time_of_day
from alpha.features._batch_sources import bar, level, series, source, vpin
from alpha.features._batch_windows import WINDOWED
from alpha.features.language import Expr
from alpha.features.operators import OPERATORS

_STATEFUL: dict[str, Callable[[Columns, Expr], Column]] = {**WINDOWED, **RUNNING, "vpin": vpin}


def build_column(c: Columns, e: Expr) -> Column:
    steps = len(c.line.t)
    if e.op == "const":
        value = e.params[0]
        assert isinstance(value, float)
        return Column(np.full(steps, value), np.zeros(steps, np.bool_), np.ones(steps, np.bool_))
    if e.op == "bar":
        return bar(c, e)
    if e.op == "of":
        found, ready = c.seen[e].at(c.line, c.line.market.instrument)
        return Column(found, np.zeros(steps, np.bool_), ready)
    if e.op == "input":
        return series(c, e)
    if OPERATORS[e.op].group == "time":
        now = time_of_day(e.op, c.line.t, c.line.market.sessions, c.line.by_close)
        return Column(now, np.zeros(steps, np.bool_), np.ones(steps, np.bool_))
    if OPERATORS[e.op].kind == "source":
        return level(c, e) if e.params else source(c, e.op)
    if OPERATORS[e.op].kind == "pointwise":
        return _pointwise(c, e)
    if e.op not in _STATEFUL:
        raise DefinitionError(f"operator {e.op!r} has no implementation in the batch twin")
    return _STATEFUL[e.op](c, e)


def _pointwise(c: Columns, e: Expr) -> Column:
    operands = [c.of(a) for a in e.args]
    update, ready = operands[0].update, operands[0].ready
    for other in operands[1:]:
        if other.update is not update:
            update = c.always if c.always is other.update else update | other.update
        if other.ready is not ready:
            ready = other.ready if ready is c.always else ready if other.ready is c.always else ready & other.ready
    value = formulas.POINTWISE[e.op](*(o.value for o in operands), *e.params)
    return Column(value, update, ready)
