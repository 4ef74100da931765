"""Equity over time in bounded memory: a grid that grows coarser, and every day exactly. Floor 7."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.backtest.market import Chunk
from alpha.sessions import SessionTable

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
MAX_POINTS = 8192
PARTIAL_NS = 6 * 60 * 10**9
COLUMNS = ("equity", "gross", "net", "mid")


@dataclass(frozen=True, slots=True)
class State:
    """From event ``start`` of the chunk on: ``cash`` and signed quantities by instrument."""

    start: int
    cash: float
    qty: dict[int, float]


@dataclass(slots=True)
class Day:
    """One session: ``index`` in its calendar, first and last price of the primary instrument and how many, equity at its
    first and after its last event."""

    index: int
    first_ns: int
    last_ns: int = 0
    equity_open: float = 0.0
    equity: float = 0.0
    prices: int = 0


@dataclass
class Curve:
    """``step_ns``: present grid. ``days``: in order. Drawdown is measured before anything is thinned."""

    calendar: SessionTable
    multipliers: Sequence[float]
    primary: int
    cash: float
    step_ns: int
    start_ns: int
    days: list[Day] = field(default_factory=list)
    drawdown: float = 0.0

    def __post_init__(self) -> None:
        self._ts: list[Ints] = []
        self._rows: list[Floats] = []
        self._count = 0
        self._peak = self.cash
        self._pending: tuple[int, Floats] | None = None  # the last event so far: its time and row
        self._exposure = 0  # in 2**-40, so that the sum does not depend on how the stream is cut
        self.exposure_points = 0
        self.invested_points = 0

    def add(self, chunk: Chunk, states: list[State]) -> None:
        """A chunk: ``states`` in order; the first holds from its first event."""
        begin = int(np.searchsorted(chunk.ts, self.start_ns))
        n = len(chunk.ts)
        if begin >= n:
            return
        ts = chunk.ts[begin:]
        bucket, day = ts // self.step_ns, chunk.day[begin:]
        turns = np.flatnonzero(np.diff(day)) + begin  # the last event of each day that ends here
        closing = np.union1d(np.flatnonzero(np.diff(bucket)) + begin, turns)
        opening = np.concatenate([[begin], turns + 1])
        wanted = np.union1d(np.union1d(closing, opening), [n - 1]).astype(np.int64)
        rows = self._rows_at(wanted, chunk, states)
        where = {int(p): k for k, p in enumerate(wanted.tolist())}
        if self._pending is not None and self._pending[0] // self.step_ns != int(bucket[0]):
            self._append(np.array([self._pending[0]]), self._pending[1][None])
        use = np.searchsorted(wanted, closing)
        self._append(chunk.ts[closing], rows[use])
        self._account_days(chunk, opening, rows, where, n)
        self._pending = int(chunk.ts[-1]), rows[where[n - 1]]

    def finish(self) -> None:
        """After the last chunk."""
        if self._pending is not None:
            self._append(np.array([self._pending[0]]), self._pending[1][None])
            self._pending = None

    def _account_days(self, chunk: Chunk, opening: Ints, rows: Floats, where: dict[int, int], n: int) -> None:
        """A day is one on which the primary instrument had a price; what its legs did on other days counts in the next."""
        p = chunk.prices.get(self.primary)
        ends = np.append(opening[1:], n)
        for a, b in zip(opening.tolist(), ends.tolist(), strict=True):
            index = int(chunk.day[a])
            first, behind = (0, 0) if p is None else (int(k) for k in p.at.searchsorted([a, b]))
            known = bool(self.days) and self.days[-1].index == index
            if not known and first == behind:
                continue
            if not known and p is not None:
                self.days.append(Day(index, int(p.ts[first]), equity_open=float(rows[where[a], 0])))
            today = self.days[-1]
            today.equity = float(rows[where[b - 1], 0])
            if p is not None and first < behind:
                today.last_ns, today.prices = int(p.ts[behind - 1]), today.prices + behind - first

    def _rows_at(self, at: Ints, chunk: Chunk, states: list[State]) -> Floats:
        segment = np.searchsorted([s.start for s in states], at, side="right") - 1
        equity = np.array([s.cash for s in states])[segment]
        gross, net = np.zeros(len(at)), np.zeros(len(at))
        held = sorted({i for s in states for i, q in s.qty.items() if q})
        mids = {i: chunk.mid_as_of(i, at) for i in {*held, self.primary}}
        for i in held:
            qty = np.array([s.qty.get(i, 0.0) for s in states])[segment]
            value = np.where(qty != 0.0, qty * mids[i] * self.multipliers[i], 0.0)
            equity += value
            gross += np.abs(value)
            net += value
        return np.stack([equity, gross, net, mids[self.primary]], axis=1)

    def _append(self, ts: Ints, rows: Floats) -> None:
        if not len(ts):
            return
        equity = rows[:, 0]
        peak = np.maximum.accumulate(np.concatenate([[self._peak], equity]))
        self._peak = float(peak[-1])
        self.drawdown = min(self.drawdown, float((equity / peak[1:] - 1.0).min()))
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(equity > 0.0, rows[:, 1] / equity, 0.0)
        self._exposure += int(np.rint(share * 2.0**40).astype(np.int64).sum())
        self.exposure_points += len(ts)
        self.invested_points += int(np.count_nonzero(rows[:, 1]))
        self._ts.append(ts)
        self._rows.append(rows)
        self._count += len(ts)
        while self._count > MAX_POINTS:
            self._thin()

    def _thin(self) -> None:
        self.step_ns *= 2
        ts, rows = np.concatenate(self._ts), np.concatenate(self._rows)
        keep = np.append(np.flatnonzero(np.diff(ts // self.step_ns)), len(ts) - 1)
        self._ts, self._rows, self._count = [ts[keep]], [rows[keep]], len(keep)

    def points(self) -> dict[str, Any]:
        """``ts`` int64 [n] and the float64 columns of COLUMNS."""
        ts = np.concatenate(self._ts) if self._ts else np.zeros(0, np.int64)
        rows = np.concatenate(self._rows) if self._rows else np.zeros((0, len(COLUMNS)))
        return {"ts": ts, **{name: rows[:, k].copy() for k, name in enumerate(COLUMNS)}}

    @property
    def exposure_sum(self) -> float:
        """Gross exposure as a share of equity, summed over ``exposure_points``."""
        return self._exposure * 2.0**-40

    # -- what of the data is missing

    @property
    def partial_days(self) -> int:
        """Days whose data begin more than six minutes after the open or end as much before the close."""
        out = 0
        for d in self.days:
            if d.index >= 0:
                late = d.first_ns > int(self.calendar.opens[d.index]) + PARTIAL_NS
                out += late or d.last_ns < int(self.calendar.closes[d.index]) - PARTIAL_NS
        return out

    @property
    def missing_days(self) -> int:
        """Sessions of the calendar between two days of the data."""
        return sum(b.index - a.index - 1 for a, b in zip(self.days, self.days[1:], strict=False))

    @property
    def profit_between_days(self) -> tuple[float, float]:
        """Money that moved while no event was seen: (between consecutive sessions, across missing ones)."""
        night = gap = 0.0
        for a, b in zip(self.days, self.days[1:], strict=False):
            if b.index - a.index == 1:
                night += b.equity_open - a.equity
            else:
                gap += b.equity_open - a.equity
        return night, gap
