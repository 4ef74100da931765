"""From suggestions to fills: route, size, approval, latency, the next price, the books. Floor 7.

An order is decided at an event, reaches the market a latency later, and is filled at the first price that could be traded
from then on: the next quote, across its spread; of bars the first open at or after the decision, where a latency shorter
than a bar is recorded but cannot be simulated. While an order is under way its family takes no further suggestion.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from alpha.audit.frames import Frame
from alpha.backtest.account import Account
from alpha.backtest.curve import State
from alpha.backtest.execution import Flying, ended, filled, meeting
from alpha.backtest.latency import Latency
from alpha.backtest.ledger import FillRecord, Ledger
from alpha.backtest.market import Chunk, Market
from alpha.backtest.record import Record
from alpha.backtest.settings import Settings
from alpha.errors import StrategyError
from alpha.instruments import Instruments
from alpha.risk import Blocked, Fill, Order, PriceBook, RiskEngine
from alpha.strategies.base import Grade, Suggestion
from alpha.strategies.router import Family, Router
from alpha.strategies.sizer import Sizer


class Desk:
    """One book of one strategy; also what its hooks may look at."""

    def __init__(
        self,
        instruments: Instruments,
        underlyings: Sequence[int],
        models: dict[str, float],
        settings: Settings,
        market: Market,
        latency: Latency,
        ledger: Ledger,
        record: Record,
    ) -> None:
        self._table, self._settings, self._market = instruments, settings, market
        self.symbols = instruments.symbols
        self._models, self._latency, self._ledger, self._record = models, latency, ledger, record
        self._account: Account = ledger.account
        self._prices = PriceBook(settings.max_age_ns)
        self._now = 0
        multipliers = {i.symbol: i.multiplier for i in instruments}
        for k, item in enumerate(instruments):
            self._account.declare(k, item.multiplier)
        self.risk = RiskEngine(settings.limits, self._prices, lambda: self._now, multiplier=multipliers)
        self.router = Router(self._has_price, short=settings.short)
        self.sizer = Sizer(settings.sizing)
        families = {i: Family.of(instruments[i]) for i in underlyings}
        if not settings.family:
            families = {i: Family(direct=instruments.symbol(i)) for i in underlyings}
        self._families = families
        self._legs = {
            i: {leg: instruments.id(leg) for leg in f.legs if leg in instruments} for i, f in families.items()
        }
        self._owner = {instruments.symbol(i): i for i in underlyings}
        self.reached: list[int | None] = [None] * len(instruments)
        self._flying: dict[int, list[Flying]] = {i: [] for i in underlyings}
        self._heap: list[tuple[int, int, str, Flying]] = []  # (position in the chunk, order's number, what, order)
        self._sequence = 0
        self.counts: Counter[str] = Counter()
        self.blocked: Counter[str] = Counter()
        self.states: list[State] = []
        self._chunk: Chunk | None = None
        self._at = 0

    # -- what hooks may look at

    @property
    def now_ns(self) -> int:
        """Stream time of the event at hand."""
        return self._now

    @property
    def equity(self) -> float:
        """Cash and positions at the last prices."""
        if self._chunk is not None:
            self._mark(self._chunk, self._at)
        return self._account.equity

    def position(self, symbol: str) -> float:
        """Signed quantity held."""
        return self._account.declare(self._table.id(symbol)).qty

    def price(self, symbol: str) -> float | None:
        """The last price, None if there is none or it is too old."""
        i = self._table.id(symbol)
        if self._chunk is not None:
            self._see(self._chunk, i, self._at)
        return self._prices.price(symbol, self._now)

    # -- a chunk

    def begin(self, chunk: Chunk) -> None:
        """The next chunk: what is under way may be filled in it."""
        self._chunk, self._at = chunk, 0
        self.states = [self._state(0)]
        self._heap = []
        for orders in self._flying.values():
            for f in orders:
                self._schedule(chunk, f)

    def settle(self, at: int) -> None:
        """Fill or cancel what meets its price up to this position."""
        while self._heap and self._heap[0][0] <= at:
            position, _, what, flying = heapq.heappop(self._heap)
            assert self._chunk is not None
            self._flying[flying.underlying].remove(flying)
            if what == "fill":
                self._fill(self._chunk, position, flying)
            else:
                self._now = max(self._now, int(self._chunk.ts[position]))
                self.risk.on_cancel(flying.order.order_id)
                self.counts["expired"] += 1
                self.reached[flying.underlying] = None

    @property
    def next_at(self) -> int:
        """Position at which something under way is filled or cancelled; beyond every chunk without any."""
        return self._heap[0][0] if self._heap else 1 << 62

    def look(self, at: int) -> None:
        """The event at hand, for hooks."""
        assert self._chunk is not None
        self._at, self._now = at, max(self._now, int(self._chunk.ts[at]))

    def take(self, answer: Suggestion | Iterable[Suggestion] | None, at: int) -> None:
        """What a hook returned."""
        if answer is None:
            return
        for s in (answer,) if isinstance(answer, Suggestion) else answer:
            if not isinstance(s, Suggestion):
                raise StrategyError(f"a hook returns suggestions or None, not {type(s).__name__}")
            if s.symbol not in self._owner:
                raise StrategyError(f"a hook suggests {s.symbol!r}, which is not traded: {', '.join(self._owner)}")
            i = self._owner[s.symbol]
            assert self._chunk is not None
            if s.grade != Grade.HOLD and int(s.grade) != self.reached[i]:
                if not self._chunk.open[at]:
                    self.counts["out_of_session"] += 1
                elif int(self._chunk.ts[at]) >= self._settings.start_ns:
                    self.suggest(at, i, int(s.grade), s.models or self._models)

    def suggest(self, at: int, i: int, grade: int, models: Any = None) -> None:
        """Bring the family of underlying ``i`` where a grade other than the reached one wants it."""
        if self._flying[i]:
            self.counts["in_flight"] += 1
            return
        chunk = self._chunk
        assert chunk is not None
        now = int(chunk.ts[at])
        self._at, self._now = at, max(self._now, now)
        self.counts["suggestions"] += 1
        legs = self._legs[i]
        for k in legs.values():
            self._see(chunk, k, at)
        route = self.router.route(self._families[i], Grade(grade))
        self._mark(chunk, at)
        wanted = -1 if route.leg is None else legs.get(route.leg, -1)
        orders: list[tuple[int, float, bool]] = []  # instrument, signed quantity, closing
        for k in legs.values():
            qty = self._account.declare(k).qty
            if qty and (k != wanted or qty * route.side < 0):
                orders.append((k, -qty, True))
        done = True
        if wanted >= 0 and self._account.declare(wanted).qty * route.side <= 0:
            qty = self._quantity(wanted, {k for k, _, _ in orders})
            done = qty > 0.0
            if done:
                orders.append((wanted, route.side * qty, False))
        latency = self._latency.draw() if orders else 0
        for k, qty, closing in orders:
            done = self._send(chunk, at, i, k, qty, closing, latency, models or self._models, grade, route.why) and done
        self.reached[i] = grade if done else None

    def _quantity(self, i: int, closing: set[int]) -> float:
        symbol = self.symbols[i]
        px = self._prices.price(symbol, self._now)
        if px is None:
            self.sizer.nothing["no_price"] += 1
            return 0.0
        item = self._table[i]
        others = sum(
            abs(h.qty * h.mark_px * h.multiplier)
            for k, h in self._account.holdings.items()
            if h.qty and k != i and k not in closing
        )
        return self.sizer.quantity(self._account.equity, others, px, multiplier=item.multiplier, lot=item.lot_size)

    def _send(
        self,
        chunk: Chunk,
        at: int,
        i: int,
        k: int,
        qty: float,
        closing: bool,
        latency: int,
        models: Any,
        grade: int,
        why: str,
    ) -> bool:
        self._sequence += 1
        order = Order(f"o{self._sequence}", self.symbols[k], 1 if qty > 0 else -1, abs(qty), models=models)
        verdict = self.risk.check(order)
        now = int(chunk.ts[at])
        if self._record.on:
            told = {
                "id": order.order_id,
                "event_index": chunk.start + at,
                "ts_ns": now,
                "symbol": order.instrument,
                "qty": qty,
                "grade": Grade(grade).name,
                "closing": closing,
                "models": dict(models),
                "latency_ns": latency,
                "fallback": why,
                "approved": bool(verdict),
            }
            if isinstance(verdict, Blocked):
                told |= {"reason": str(verdict.reason), "text": verdict.text}
            self._record.put(Frame.ORDER, told)
        if isinstance(verdict, Blocked):
            self.blocked[str(verdict.reason)] += 1
            return False
        self.counts["orders"] += 1
        seen = chunk.last_price(k, at)
        mid = float("nan") if seen is None else seen[1]
        flying = Flying(order, k, i, chunk.start + at, now, now + latency, mid, closing, self._sequence)
        self._flying[i].append(flying)
        self._schedule(chunk, flying)
        return True

    def cut(self, at: int) -> None:
        """The data lack sessions before the event at a position: end what is held at its last price, spread and fee paid.

        No decision and no trade, but the end of what was seen: neither gain nor loss of the missing time is booked.
        """
        chunk = self._chunk
        assert chunk is not None
        for k, held in list(self._account.holdings.items()):
            seen = chunk.last_price(k, at - 1)
            if not held.qty or seen is None:
                continue
            ts, mid = seen
            self._sequence += 1
            qty = -held.qty
            order = Order(f"cut{self._sequence}", self.symbols[k], 1 if qty > 0 else -1, abs(qty), models=self._models)
            self._record.put(
                Frame.ORDER, {"id": order.order_id, "event_index": chunk.start + at, "qty": qty, "cut": True}
            )
            self.risk.check(order)  # closing: always approved
            fill = ended(order, chunk.start + at, ts, mid, self._table[k], self._settings.costs)
            self._book(k, at, order, fill, mid)
            self.counts["cut"] += 1
        self.reached[:] = [None] * len(self.reached)

    # -- the market's answer

    def _schedule(self, chunk: Chunk, f: Flying) -> None:
        """Where in this chunk the order is filled or cancelled, if it is."""
        bar = self._table[f.instrument].bar_ns if self._market.is_bar(f.instrument) else 0
        met = meeting(chunk, f, bar, self._settings.wait_ns)
        if met is not None:
            heapq.heappush(self._heap, (met[0], f.sequence, met[1], f))

    def _fill(self, chunk: Chunk, at: int, f: Flying) -> None:
        i = f.instrument
        p = chunk.prices[i]
        k = p.behind(at) - 1
        fill, beyond = filled(chunk, p, k, f, self._table[i], self._settings.costs, self._market.without_quotes(i))
        self._now = max(self._now, fill.filled_ns)
        self.counts["beyond_displayed"] += int(beyond)
        self._book(i, at, f.order, fill, float(p.mid[k]))

    def _book(self, i: int, at: int, order: Order, fill: FillRecord, worth: float) -> None:
        """A fill in all books; ``worth``: what one unit is worth after the event."""
        self._prices.update(order.instrument, self._now, fill.mid)
        self.risk.on_fill(Fill(order.order_id, order.qty, fill.px, fill.fee))
        self._ledger.book(i, fill)
        self._account.mark(i, worth)
        self.states.append(self._state(at))
        if not self._record.on:
            return
        told = {
            "order": order.order_id,
            "event_index": fill.filled_index,
            "ts_ns": fill.filled_ns,
            "symbol": order.instrument,
            "qty": fill.qty,
            "px": fill.px,
            "fee": fill.fee,
        }
        self._record.put(Frame.FILL, told)

    # -- inside

    def _state(self, at: int) -> State:
        return State(at, self._account.cash, {k: h.qty for k, h in self._account.holdings.items() if h.qty})

    def _see(self, chunk: Chunk, i: int, at: int) -> None:
        seen = chunk.last_price(i, at)
        if seen is not None:
            self._prices.update(self.symbols[i], *seen)

    def _mark(self, chunk: Chunk, at: int) -> None:
        for k, held in self._account.holdings.items():
            if held.qty:
                seen = chunk.last_price(k, at)
                if seen is not None:
                    self._account.mark(k, seen[1])

    def _has_price(self, symbol: str) -> bool:
        return self._prices.price(symbol, self._now) is not None

    def snapshot(self, at: int | None) -> dict[str, Any]:
        """A SNAPSHOT frame: cash, quantities, marks and equity, after the event at a position (None: before the first)."""
        if self._chunk is not None and at is not None:
            self._mark(self._chunk, at)
        held = {self.symbols[k]: h for k, h in self._account.holdings.items() if h.qty}
        return {
            "event_index": -1 if at is None or self._chunk is None else self._chunk.start + at,
            "ts_ns": self._now if self._chunk is None or at is None else int(self._chunk.ts[at]),
            "cash": self._account.cash,
            "multipliers": {i.symbol: i.multiplier for i in self._table},
            "positions": {s: h.qty for s, h in held.items()},
            "marks": {s: h.mark_px for s, h in held.items()},
            "equity": self._account.equity,
            "fees": self._account.fees,
        }
