"""What was done: fills with their costs taken apart, and round trips. Floor 7."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

from alpha.backtest.account import Account, ExactSum

KEPT = 20_000  # fills and trades held in memory, for pictures; all of them are in fills.csv and the audit log


@dataclass(frozen=True, slots=True)
class FillRecord:
    """One fill. ``qty`` signed; ``decided_ns``, ``arrived_ns``, ``filled_ns``: decision, order at the market, the price
    it met; ``mid`` then and ``decision_mid``. Money: ``fee``, ``spread`` (from mid to the far side), ``impact``,
    ``delay`` (from the decision's mid to the fill's; negative: waiting was a gain)."""

    order: str
    symbol: str
    decided_index: int
    filled_index: int
    decided_ns: int
    arrived_ns: int
    filled_ns: int
    qty: float
    px: float
    mid: float
    decision_mid: float
    fee: float
    spread: float
    impact: float
    delay: float
    closing: bool


_NAMES = tuple(f.name for f in fields(FillRecord))
_row = attrgetter(*_NAMES)


@dataclass(frozen=True, slots=True)
class Trade:
    """A round trip: from flat to flat. ``profit`` after all costs."""

    symbol: str
    side: int
    opened_ns: int
    closed_ns: int
    entry_px: float
    exit_px: float
    profit: float


@dataclass(slots=True)
class _Open:
    side: int
    ts_ns: int
    px: float
    realised: float
    fees: float


class Ledger:
    """Books fills into an :class:`Account` and keeps what a report needs. ``fills_csv``: where every fill is written."""

    def __init__(self, account: Account, symbols: tuple[str, ...], fills_csv: Path | None = None) -> None:
        self.account = account
        self.symbols = symbols
        self.fills: list[FillRecord] = []
        self.trades: list[Trade] = []
        self.counts: Counter[str] = Counter()
        self.sums = {name: ExactSum() for name in ("spread", "impact", "delay", "won", "lost")}
        self._open: dict[int, _Open] = {}
        self._file = None if fills_csv is None else fills_csv.open("w", newline="", encoding="utf-8")
        self._writer = None if self._file is None else csv.writer(self._file)
        if self._writer is not None:
            self._writer.writerow(_NAMES)

    def book(self, instrument: int, fill: FillRecord) -> None:
        """A fill has happened."""
        held = self.account.declare(instrument)
        before, realised = held.qty, held.realised
        self.account.fill(instrument, fill.qty, fill.px, fill.fee)
        sums = self.sums
        sums["spread"].add(fill.spread)
        sums["impact"].add(fill.impact)
        sums["delay"].add(fill.delay)
        self.counts["fills"] += 1
        self._round_trip(instrument, fill, before, held.qty, realised, held.realised)
        if len(self.fills) < KEPT:
            self.fills.append(fill)
        if self._writer is not None:
            self._writer.writerow([f"{v:.17g}" if isinstance(v, float) else v for v in _row(fill)])

    def _round_trip(self, i: int, fill: FillRecord, before: float, after: float, was: float, now: float) -> None:
        if before == 0.0:
            self._open[i] = _Open(1 if after > 0 else -1, fill.filled_ns, fill.px, was, fill.fee)
            return
        opened = self._open[i]
        opened.fees += fill.fee
        if after != 0.0 and (after > 0.0) == (before > 0.0):
            return
        profit = now - opened.realised - opened.fees
        self.counts["trades"] += 1
        self.counts["won" if profit > 0.0 else "lost"] += 1
        self.sums["won" if profit > 0.0 else "lost"].add(profit)
        if len(self.trades) < KEPT:
            self.trades.append(
                Trade(self.symbols[i], opened.side, opened.ts_ns, fill.filled_ns, opened.px, fill.px, profit)
            )
        del self._open[i]
        if after != 0.0:
            self._open[i] = _Open(1 if after > 0 else -1, fill.filled_ns, fill.px, now, 0.0)

    def close(self) -> None:
        """No more fills."""
        if self._file is not None:
            self._file.close()
            self._file = self._writer = None

    def costs(self) -> dict[str, float]:
        """Money by kind of cost. ``delay`` is what the price did between decision and fill."""
        return {"fees": self.account.fees, **{n: self.sums[n].value for n in ("spread", "impact", "delay")}}

    def summary(self) -> dict[str, Any]:
        """Counts and sums of fills and round trips. Every close counts, also the unprofitable one."""
        won, lost = self.counts["won"], self.counts["lost"]
        trades = self.counts["trades"]
        loss = -self.sums["lost"].value
        return {
            "fills": self.counts["fills"],
            "trades": trades,
            "won": won,
            "lost": lost,
            "win_rate": won / trades if trades else None,
            "profit_factor": self.sums["won"].value / loss if loss > 0.0 else None,
            "mean_trade": (self.sums["won"].value - loss) / trades if trades else None,
            "open_positions": len(self._open),
        }
