"""What became of decisions: moves after them by horizon and latency, in bounded memory. Floor 7.

Of each decision that is kept, the mid is looked up as of its time plus several offsets, once the stream has passed them
all: known afterwards, by this module only. A move across a session's end is unknown, not overnight. When there are more
decisions than room, every second one is dropped, then every fourth, and so on: the same ones however the stream is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.backtest.market import Chunk
from alpha.sessions import SessionTable

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
MAX_DECISIONS = 20_000
TICK_STEPS = (0.0, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
BAR_STEPS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0)


@dataclass
class Outcomes:
    """``horizon_ns``: for hits, calibration and the information coefficient. ``latencies_ns``, ``window_ns``: the move from
    ``t + latency`` over the window shows what a late order still gets."""

    horizon_ns: int
    latencies_ns: tuple[int, ...]
    window_ns: int
    calendars: list[SessionTable]
    instruments: tuple[int, ...]
    seen: int = 0
    stride: int = 1
    _pending: list[dict[str, Any]] = field(default_factory=list)
    _done: list[dict[str, Any]] = field(default_factory=list)
    _paths: dict[int, tuple[Ints, Floats]] = field(default_factory=dict)

    @classmethod
    def over(
        cls, horizon_ns: int, bar_ns: int | None, calendars: list[SessionTable], instruments: tuple[int, ...]
    ) -> Outcomes:
        """The usual latencies: of bars whole bars, of ticks parts of a tenth of the horizon."""
        unit = horizon_ns // 10 if bar_ns is None else bar_ns * max(round(horizon_ns / 15 / bar_ns), 1)
        steps = TICK_STEPS if bar_ns is None else BAR_STEPS
        return cls(horizon_ns, tuple(int(s * unit) for s in steps), max(unit, 1), calendars, instruments)

    @property
    def offsets(self) -> Ints:
        """Of the looked-up mids, ns: the horizon, each latency, each latency's end."""
        starts = np.array(self.latencies_ns, np.int64)
        return np.concatenate([[self.horizon_ns], starts, starts + self.window_ns])

    def choose(self, rows: Ints) -> tuple[Ints, Ints]:
        """(numbers, rows) of those among the next decisions that are kept."""
        ordinal = np.arange(self.seen, self.seen + len(rows))
        self.seen += len(rows)
        while -(-self.seen // self.stride) > MAX_DECISIONS:
            self.stride *= 2
            for part in (self._done, self._pending):
                part[:] = [{n: c[d["ordinal"] % self.stride == 0] for n, c in d.items()} for d in part]
        keep = ordinal % self.stride == 0
        return ordinal[keep], rows[keep]

    def add(
        self,
        chunk: Chunk,
        ordinal: Ints,
        at: Ints,
        instrument: Ints,
        value: Floats,
        confidence: Floats,
        action: Ints,
        up: Floats,
    ) -> None:
        """Chosen decisions at positions ``at`` of the chunk, in order; all columns [N]. ``up``: probability of up, or NaN."""
        for i in self.instruments:
            p = chunk.prices.get(i)
            if p is not None:
                ts, path = self._paths.get(i, (np.zeros(0, np.int64), np.zeros(0)))
                self._paths[i] = np.concatenate([ts, p.ts]), np.concatenate([path, p.mid])
        if len(at):
            mid = np.full(len(at), np.nan)
            for i in np.unique(instrument).tolist():
                own = np.flatnonzero(instrument == i)
                mid[own] = chunk.mid_as_of(i, at[own])
            self._pending.append(
                {
                    "ordinal": ordinal,
                    "ts": chunk.ts[at],
                    "instrument": instrument,
                    "value": value,
                    "confidence": confidence,
                    "action": action,
                    "up": up,
                    "mid": mid,
                }
            )
        if len(chunk.ts):
            self._resolve(int(chunk.ts[-1]))

    def finish(self) -> dict[str, Any]:
        """All kept decisions: the columns of :meth:`add`, ``mid``, and ``mids`` [N, len(offsets)] (NaN where unknown)."""
        self._resolve(2**62)
        names = ("ordinal", "ts", "instrument", "value", "confidence", "action", "up", "mid", "mids")
        if not self._done:
            return {n: np.zeros((0, len(self.offsets))) if n == "mids" else np.zeros(0) for n in names}
        out = {n: np.concatenate([d[n] for d in self._done]) for n in names}
        keep = out["ordinal"] % self.stride == 0
        order = np.argsort(out["ordinal"][keep], kind="stable")
        return {n: c[keep][order] for n, c in out.items()}

    def _resolve(self, now_ns: int) -> None:
        """Look up what lies before ``now_ns`` in full; forget the path behind the oldest that still waits."""
        if self._pending:
            rows = {n: np.concatenate([d[n] for d in self._pending]) for n in self._pending[0]}
            ripe = rows["ts"] + int(self.offsets.max()) < now_ns
            if ripe.any():
                self._done.append(self._looked_up({n: c[ripe] for n, c in rows.items()}, final=now_ns >= 2**62))
            rest = {n: c[~ripe] for n, c in rows.items()}
            self._pending = [rest] if len(rest["ts"]) else []
        for i, (ts, mid) in self._paths.items():
            waiting = [d["ts"][d["instrument"] == i] for d in self._pending]
            oldest = min((int(w.min()) for w in waiting if len(w)), default=now_ns)
            cut = max(int(np.searchsorted(ts, oldest, side="right")) - 1, 0)
            if cut:
                self._paths[i] = ts[cut:], mid[cut:]

    def _looked_up(self, rows: dict[str, Any], final: bool) -> dict[str, Any]:
        offsets = self.offsets
        mids = np.full((len(rows["ts"]), len(offsets)), np.nan)
        for i in np.unique(rows["instrument"]).tolist():
            own = np.flatnonzero(rows["instrument"] == i)
            ts, mid = self._paths[i]
            if not len(ts):
                continue
            at = rows["ts"][own]
            different, which = np.unique(offsets, return_inverse=True)  # one latency's end is another's start
            found = np.empty((len(different), len(own)))
            for c, offset in enumerate(different.tolist()):  # column by column: keys in order are found faster
                k = ts.searchsorted(at + offset, side="right") - 1
                found[c] = np.where(k >= 0, mid[np.maximum(k, 0)], np.nan)
            found = found[which]
            wanted = at[:, None] + offsets[None]
            calendar = self.calendars[i]
            session = calendar.index(at, by_close=True)
            close = np.where(session >= 0, calendar.closes[np.maximum(session, 0)], -(2**62))
            unknown = wanted > close[:, None]
            if final:
                unknown |= wanted > ts[-1]
            mids[own] = np.where(unknown, np.nan, found.T)
        return {**rows, "mids": mids}
