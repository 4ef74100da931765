"""May this order be sent? Limits over everything held and everything pending. Floor 5.

Independent of models and signals: it knows orders, fills, cancels, prices, a clock that is given to it, and a kill latch.
An approved order counts as pending until it is filled or cancelled, so that orders in flight cannot exceed a limit
together. What reduces risk always passes: an order against the position, no larger than what is left of it after
pending orders of the same side, for the account and for each of its models.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from alpha.errors import AlphaError
from alpha.risk.kill import KillLatch
from alpha.risk.limits import RiskLimits
from alpha.risk.orders import Fill, Order
from alpha.risk.prices import PriceBook

DAY_NS = 86_400 * 10**9
SECOND_NS = 10**9
_SLACK = 1e-9  # relative: shares of an ensemble do not add up to the last bit


class BlockedReason(StrEnum):
    """Why an order must not be sent, in the order of checking."""

    DUPLICATE = "duplicate"
    KILLED = "killed"
    NO_PRICE = "no_price"
    DAILY_LOSS = "daily_loss"
    ORDER_QTY = "order_qty"
    ORDER_NOTIONAL = "order_notional"
    POSITION = "position"
    RATE = "orders_per_s"
    MODEL_EXPOSURE = "model_exposure"
    GROSS = "gross"
    NET = "net"


@dataclass(frozen=True, slots=True)
class Approved:
    """Send it; it counts as pending. ``reducing``: it lowers risk and no limit was asked."""

    order: Order
    reducing: bool

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Blocked:
    """Do not send it; nothing has changed. ``value`` would exceed ``limit``."""

    order: Order
    reason: BlockedReason
    value: float = 0.0
    limit: float = 0.0
    text: str = ""

    def __bool__(self) -> bool:
        return False


@dataclass(slots=True)
class _Pending:
    order: Order
    left: float


class RiskEngine:
    """``clock``: gives ns, the stream's or the wall's; ``multiplier``: notional per unit of price, per instrument
    (default 1); ``kill``: a latch that others may set; ``day_ns``: when a day begins, ns after midnight UTC."""

    def __init__(
        self,
        limits: RiskLimits,
        prices: PriceBook,
        clock: Callable[[], int],
        *,
        multiplier: Mapping[str, float] | None = None,
        kill: KillLatch | None = None,
        day_ns: int = 0,
    ) -> None:
        self.limits, self.prices, self.clock = limits, prices, clock
        self.kill = kill
        self._multiplier = dict(multiplier or {})
        self._day_ns = day_ns
        self._held: dict[tuple[str, str], float] = {}  # (model, instrument) -> signed quantity
        self._pending: dict[str, _Pending] = {}
        self._seen: set[str] = set()
        self._approvals: deque[int] = deque()
        self._cash = 0.0
        self._day: int | None = None
        self._day_equity = 0.0

    # -- what was done

    def check(self, order: Order) -> Approved | Blocked:
        """Approve and count as pending, or say what is in the way."""
        now = self.clock()
        self._roll(now)
        if order.order_id in self._seen:
            return Blocked(order, BlockedReason.DUPLICATE, text=f"order id {order.order_id} was used before")
        reducing = self.is_reducing(order)
        blocked = None if reducing else self._objection(order, now)
        if blocked is not None:
            return blocked
        self._seen.add(order.order_id)
        self._pending[order.order_id] = _Pending(order, order.qty)
        self._forget(now)
        self._approvals.append(now)
        return Approved(order, reducing)

    def on_fill(self, fill: Fill) -> None:
        """Book a fill. One beyond the order's quantity is booked too, because it happened; AlphaError for an order that
        was never approved."""
        pending = self._pending.get(fill.order_id)
        if pending is None:
            raise AlphaError(f"fill of order {fill.order_id!r}, which is not pending here")
        self._roll(self.clock())
        order = pending.order
        for model, share in order.models.items():
            key = (model, order.instrument)
            self._held[key] = self._held.get(key, 0.0) + order.side * fill.qty * share
        self._cash -= order.side * fill.qty * fill.px * self._mult(order.instrument) + fill.fee
        pending.left -= fill.qty
        if pending.left <= order.qty * _SLACK:
            del self._pending[fill.order_id]

    def on_cancel(self, order_id: str) -> None:
        """The rest of an order will not be filled (cancelled, rejected, expired). AlphaError if it is not pending."""
        if self._pending.pop(order_id, None) is None:
            raise AlphaError(f"cancel of order {order_id!r}, which is not pending here")

    # -- how things stand

    def position(self, instrument: str, model: str | None = None) -> float:
        """Signed quantity held, by one model or by all."""
        held = 0.0
        for (m, i), q in self._held.items():
            if i == instrument and (model is None or m == model):
                held += q
        return held

    def exposure(self, model: str | None = None) -> float:
        """Gross notional including pending orders, of one model or of the account, at the last prices."""
        return sum(max(abs(a), abs(b)) for a, b in self._ranges(model))

    def net(self) -> float:
        """Net notional of the account if all pending buys, or all pending sells, were filled; the larger."""
        ranges = list(self._ranges(None))
        return max(abs(sum(a for a, _ in ranges)), abs(sum(b for _, b in ranges)))

    def equity(self) -> float:
        """Cash from fills and fees plus what is held at the last prices; 0 at the start."""
        held = sum(q * self._value(i) for (_, i), q in self._held.items())
        return self._cash + held

    def is_reducing(self, order: Order) -> bool:
        """Whether it can only bring positions nearer to zero, whatever else is pending."""
        instrument, side = order.instrument, order.side
        for model, share in ((None, 1.0), *order.models.items()):
            held = self.position(instrument, model)
            if held * side >= 0:
                return False
            same_side = 0.0
            for p in self._pending.values():
                if p.order.instrument == instrument and p.order.side == side:
                    same_side += p.left * (1.0 if model is None else p.order.models.get(model, 0.0))
            if same_side + order.qty * share > abs(held) * (1 + _SLACK):
                return False
        return True

    # -- inside

    def _mult(self, instrument: str) -> float:
        return self._multiplier.get(instrument, 1.0)

    def _forget(self, now: int) -> None:
        """Approvals of a second ago count no longer."""
        approvals = self._approvals
        while approvals and now - approvals[0] >= SECOND_NS:
            approvals.popleft()

    def _value(self, instrument: str) -> float:
        return (self.prices.last(instrument) or 0.0) * self._mult(instrument)

    def _roll(self, now: int) -> None:
        day = (now - self._day_ns) // DAY_NS
        if day != self._day:
            self._day, self._day_equity = day, self.equity()

    def _ranges(self, model: str | None, extra: Order | None = None) -> Iterator[tuple[float, float]]:
        """Per instrument, notional if every pending buy were filled, and if every pending sell were."""
        orders = [(p.order, p.left) for p in self._pending.values()]
        if extra is not None:
            orders.append((extra, extra.qty))
        for instrument in {i for _, i in self._held} | {o.instrument for o, _ in orders}:
            at = self._value(instrument)
            up = down = self.position(instrument, model) * at
            for order, left in orders:
                if order.instrument == instrument:
                    px = max((order.px or 0.0) * self._mult(instrument), at)
                    notional = left * px * (1.0 if model is None else order.models.get(model, 0.0))
                    if order.side > 0:
                        up += notional
                    else:
                        down -= notional
            yield up, down

    def _objection(self, order: Order, now: int) -> Blocked | None:
        """The first limit that the order would exceed."""
        if self.kill is not None:
            for model in order.models:
                if self.kill.is_killed(model=model, instrument=order.instrument):
                    return Blocked(order, BlockedReason.KILLED, text=f"killed: {', '.join(self.kill.killed())}")
        px = self.prices.price(order.instrument, now)
        if px is None:
            return Blocked(order, BlockedReason.NO_PRICE, text=f"there is no fresh price of {order.instrument}")
        if self.limits.daily_loss is not None:
            loss = self._day_equity - self.equity()
            if loss >= self.limits.daily_loss:
                text = f"loss of the day: {loss:.10g}, limit {self.limits.daily_loss:.10g}"
                return Blocked(order, BlockedReason.DAILY_LOSS, loss, self.limits.daily_loss, text)
        for reason, value, limit, what in self._measures(order, px, now):
            if limit is not None and value > limit * (1 + _SLACK):
                return Blocked(order, reason, value, limit, f"{what}: {value:.10g} > {limit:.10g}")
        return None

    def _measures(self, order: Order, px: float, now: int) -> Iterator[tuple[BlockedReason, float, float | None, str]]:
        """(reason, value with this order, limit, what it is) in the order of checking; only what a limit asks is counted."""
        limits, instrument = self.limits, order.instrument
        yield BlockedReason.ORDER_QTY, order.qty, limits.order_qty, "quantity of the order"
        if limits.order_notional is not None:
            notional = order.qty * max(px, order.px or 0.0) * self._mult(instrument)
            yield BlockedReason.ORDER_NOTIONAL, notional, limits.order_notional, "notional of the order"
        if limits.position is not None:
            same_side = sum(
                p.left for p in self._pending.values() if (p.order.instrument, p.order.side) == (instrument, order.side)
            )
            position = abs(self.position(instrument) + order.side * (same_side + order.qty))
            yield BlockedReason.POSITION, position, limits.position, f"position in {instrument} with pending orders"
        if limits.orders_per_s is not None:
            self._forget(now)
            yield BlockedReason.RATE, len(self._approvals) + 1, limits.orders_per_s, "orders within a second"
        for model in order.models:
            limit = limits.exposure_of(model)
            if limit is not None:
                gross = sum(max(abs(a), abs(b)) for a, b in self._ranges(model, order))
                yield BlockedReason.MODEL_EXPOSURE, gross, limit, f"exposure of model {model}"
        if limits.gross is None and limits.net is None:
            return
        ranges = list(self._ranges(None, order))
        gross = sum(max(abs(a), abs(b)) for a, b in ranges)
        net = max(abs(sum(a for a, _ in ranges)), abs(sum(b for _, b in ranges)))
        yield BlockedReason.GROSS, gross, limits.gross, "gross exposure"
        yield BlockedReason.NET, net, limits.net, "net exposure"
