"""Session breaks, the time of day and other instruments, over the steps of a timeline. Floor 2.

Written from ``docs/numerics.md`` (rules 49 to 51) without the native code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.events import Kind, Status
from alpha.sessions import SessionTable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_DAY_NS = 86_400 * 10**9
_EIGHTH = float.fromhex("0x1.921fb54442d18p-1")  # of a turn, in radians
# sine and cosine: round((-1)^k/(2k + 1)!) and round((-1)^k/(2k)!), k = 1 .. 7; whole numbers divide with one rounding
_SINE = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(1, 8))
_COSINE = tuple((-1) ** k / math.factorial(2 * k) for k in range(1, 8))
# per eighth of a turn: whether it takes the cosine of the angle within, and with which sign
_SIN_OF = (np.array([0, 1, 1, 0, 0, 1, 1, 0], np.bool_), np.array([1.0, 1, 1, 1, -1, -1, -1, -1]))
_COS_OF = (np.array([1, 0, 0, 1, 1, 0, 0, 1], np.bool_), np.array([1.0, 1, -1, -1, -1, -1, 1, 1]))


def breaks(e: npt.NDArray[Any], t: Ints, table: SessionTable, by_close: bool) -> Bools:
    """Which events of an instrument are a session break (rule 49)."""
    k = table.index(t, by_close)
    found = np.diff(k, prepend=k[:1]) > 0
    code = e["v"][:, 0]
    return np.asarray(found | ((e["kind"] == Kind.STATUS) & ((code == Status.OPEN) | (code == Status.RESUME))))


def time_of_day(name: str, t: Ints, table: SessionTable | None, by_close: bool) -> Floats:
    """A source of the present time (rule 50) at times ``t`` [n]."""
    if name in ("sin_day", "cos_day"):
        return _turn(t, *(_SIN_OF if name == "sin_day" else _COS_OF))
    assert table is not None  # such sets need sessions
    if name == "is_rth":
        return table.is_open(t, by_close).astype(np.float64)
    k = table.index(t, by_close)
    at = np.maximum(k, 0)
    inside = (k >= 0) & (t <= table.closes[at])
    if name == "seconds_since_open":
        return np.where(inside, (t - table.opens[at]).astype(np.float64) / 1e9, np.nan)
    return np.where(inside, (table.closes[at] - t).astype(np.float64) / 6e10, np.nan)


def _turn(t: Ints, by_cosine: Bools, signs: Floats) -> Floats:
    r = t % _DAY_NS
    q = 8 * r // _DAY_NS
    u = 8 * r - q * _DAY_NS
    u = np.where(q % 2 == 1, _DAY_NS - u, u)
    x = (u.astype(np.float64) / float(_DAY_NS)) * _EIGHTH
    z = x * x
    sine = x + (x * z) * _horner(z, _SINE)
    cosine = 1.0 + z * _horner(z, _COSINE)
    return np.where(by_cosine[q], cosine, sine) * signs[q] + 0.0


def _horner(z: Floats, coefficients: tuple[float, ...]) -> Floats:
    p = np.full_like(z, coefficients[-1])
    for c in coefficients[-2::-1]:
        p = c + z * p
    return p


@dataclass(frozen=True, slots=True)
class Seen:
    """What others see of an expression on its instrument: one entry per step of that instrument's timeline."""

    instrument: int
    event_of: Ints  # [S] event of the step
    last: Ints  # [S] step of the newest update, -1 where none is to be seen
    value: Floats  # [S]
    ready: Bools  # [S]
    gap_from: Ints  # [S] first step since its last gap

    @classmethod
    def of(cls, line: Any, column: Any, cleared: bool) -> Seen:
        """``column`` of the timeline ``line``; ``cleared``: a session break of the instrument takes it away."""
        steps = np.arange(len(line.t))
        last = np.maximum.accumulate(np.where(column.update, steps, -1)) if len(steps) else steps
        if cleared:
            last = np.where(last >= line.break_from, last, -1)
        return cls(line.market.instrument, line.event_of, last, column.value, column.ready, line.gap_from)

    def at(self, line: Any, reader: int) -> tuple[Floats, Bools]:
        """Value and readiness at each step of the reading instrument's timeline, by arrival."""
        if reader == self.instrument:
            now = np.arange(len(line.t))
        else:  # an event for all reaches lower ids first
            side: Any = "right" if self.instrument < reader else "left"
            now = np.searchsorted(self.event_of, line.event_of, side=side) - 1
        if not len(self.last):
            return np.full(len(line.t), np.nan), np.zeros(len(line.t), np.bool_)
        last = np.where(now >= 0, self.last[now], -1)
        value = np.where(last >= 0, self.value[last], np.nan)
        return value, (last >= 0) & self.ready[last] & (last >= self.gap_from[now])
