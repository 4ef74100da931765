"""What a mutant is, the streams they are shown on, and those of the machine: windows in time, gaps, bars, sources."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import reference
from reference import Machine
from reference_math import NAN, divide, log
from reference_operators import LAGGED, POINTWISE
from streams import SHAPES, T0, quotes

from alpha.events import EVENT_DTYPE, Flag, Kind

Patch = tuple[Any, str, Any]  # a table or an object, the name in it, what stands there instead


@dataclass(frozen=True)
class Mutant:
    name: str
    expression: str
    patches: tuple[Patch, ...] = ()
    events: Callable[[np.ndarray], np.ndarray] | None = None  # or what it sees instead of the events
    stream: str = "grid"
    trigger: str = "last"
    spec: dict[str, str] = field(default_factory=dict)  # of the stream
    listed: bool = False  # two instruments of known sizes, not one unknown


def _grid() -> np.ndarray:
    """Quotes and trades on multiples of 100 ms, so that windows and bars end exactly on events; ties, two gaps."""
    rng = np.random.default_rng(2024)
    n = 500
    e = np.zeros(n, EVENT_DTYPE)
    e["ts_event_ns"] = T0 + 10**8 * np.cumsum(rng.choice([0, 1, 1, 2, 7], n))
    e["kind"] = rng.choice([Kind.QUOTE, Kind.TRADE], n, p=[0.6, 0.4])
    e["flags"] = Flag.LAST
    e["flags"][[170, 330]] |= np.uint16(Flag.GAP)
    mid = 100.0 + 0.01 * np.cumsum(rng.integers(-2, 3, n) * (rng.random(n) < 0.5))
    at = e["kind"] == Kind.QUOTE
    v = e["v"]
    v[at, 0], v[at, 1] = mid[at] - 0.01, mid[at] + 0.01
    v[at, 2:4] = rng.integers(0, 4, (int(at.sum()), 2))
    v[~at, 0], v[~at, 1] = mid[~at] + 0.01 * rng.integers(-1, 2, int((~at).sum())), rng.integers(1, 9, int((~at).sum()))
    v[~at, 2] = rng.choice([-1, 0, 0, 1], int((~at).sum()))
    return e


def _sizes(x: np.ndarray) -> np.ndarray:
    """Quotes whose sizes differ by x, a tenth of a second apart."""
    e = quotes(np.full(len(x), 100.0), np.full(len(x), 10**8))
    e["v"][:, 2], e["v"][:, 3] = np.maximum(x, 0.0), np.maximum(-x, 0.0)
    return e


def _rng() -> np.random.Generator:
    return np.random.default_rng(99)


STREAMS: dict[str, Callable[[], np.ndarray]] = {
    "grid": _grid,
    "near constant": lambda: _sizes(SHAPES["offset"](_rng(), 400)),
    "spikes": lambda: _sizes(SHAPES["spikes"](_rng(), 400)),
    "steps": lambda: _sizes(np.repeat(_rng().integers(1, 100, 60) / 10, _rng().integers(1, 12, 60))),
    "cancelling": lambda: _sizes(
        np.stack([np.full(130, 1e17), 0.1 * _rng().integers(1, 9, 130), np.full(130, -1e17)], 1).ravel()
    ),
    "big price": lambda: quotes(6e4 + 0.01 * np.cumsum(_rng().integers(-2, 3, 400)), np.full(400, 10**8)),
}

# Machines


def _inside(change: Callable[[list, int, int, Any], list]) -> tuple[Patch, ...]:
    return ((Machine, "inside", staticmethod(change)),)


_true_inside, _true_gap, _true_lagged, _true_needed = Machine.inside, Machine.gap, Machine.lagged, reference.needed
_true_samples, _true_flow = reference.samples, Machine.order_flow


def _gap_forgets(self: Machine) -> None:
    _true_gap(self)
    for node in self.nodes.values():
        node.history.clear()


def _gap_ignored(self: Machine) -> None:
    """Readiness goes on."""


def _sees_next(e: np.ndarray) -> np.ndarray:
    """Every event already carries what the next one of its kind says."""
    out = e.copy()
    for kind in (Kind.QUOTE, Kind.TRADE):
        at = np.flatnonzero(e["kind"] == kind)
        out["v"][at[:-1]] = e["v"][at[1:]]
    return out


def _sees_equal_times(e: np.ndarray) -> np.ndarray:
    """Every event carries what the last of its kind at the same time says."""
    out = e.copy()
    for kind in (Kind.QUOTE, Kind.TRADE):
        at = np.flatnonzero(e["kind"] == kind)
        last = np.searchsorted(e["ts_event_ns"][at], e["ts_event_ns"][at], "right") - 1
        out["v"][at] = e["v"][at[last]]
    return out


def _earlier(e: np.ndarray) -> np.ndarray:
    out = e.copy()
    out["ts_event_ns"] -= 1
    return out


def _more(extra: int) -> tuple[Patch, ...]:
    return ((reference, "needed", lambda op, p: max(1, _true_needed(op, p) + extra)),)


MACHINE = (
    Mutant("count window one short", "mean(mid, 7)", _inside(lambda h, t, w, n: _true_inside(h, t, w, n - 1))),
    Mutant("count window one long", "max(px, 7)", _inside(lambda h, t, w, n: _true_inside(h, t, w, n + 1))),
    Mutant(
        "time window holds its left edge",
        'mean(mid, "1s")',
        _inside(lambda h, t, w, n: [s for s in h if s[0] >= t - w]),
    ),
    Mutant(
        "time window loses its right edge",
        'sum(qty, "1s")',
        _inside(lambda h, t, w, n: [s for s in h if t - w < s[0] < t]),
    ),
    Mutant(
        "time window stands at the last update",
        'count(px, "1s")',
        _inside(lambda h, t, w, n: _true_inside(h, h[-1][0] if h else t, w, n)),
    ),
    Mutant("look-ahead by one", "mean(mid, 5)", events=_sees_next),
    Mutant("look-ahead among equal times", 'mean(mid, "1s")', events=_sees_equal_times),
    Mutant("lag one short", "lag(mid, 3)", ((Machine, "lagged", staticmethod(lambda h, t, w, n: h[-n][1])),)),
    Mutant(
        "lag by time excludes its edge",
        'diff(mid, "1s")',
        ((Machine, "lagged", staticmethod(lambda h, t, w, n: ([x for s, x in h if s < t - w] or [h[0][1]])[-1])),),
    ),
    Mutant("ready one update early", "std(mid, 20)", _more(-1)),
    Mutant("ready one update late", "rsi(mid, 14)", _more(1)),
    Mutant(
        "one sample is enough",
        'corr(mid, px, "300ms")',
        ((reference, "samples", lambda op, p: min(1, _true_samples(op, p))),),
    ),
    Mutant("gap keeps readiness", "mean(mid, 20)", ((Machine, "gap", _gap_ignored),)),
    Mutant("gap forgets windows", "cumsum(qty)", ((Machine, "gap", _gap_forgets),)),
    Mutant(
        "pairs wait for both",
        "corr(mid, px, 7)",
        ((Machine, "comes", staticmethod(lambda operands: all(o.passes for o in operands))),),
    ),
    Mutant(
        "pairs follow the first operand",
        "cov(mid, px, 7)",
        ((Machine, "comes", staticmethod(lambda operands: operands[0].passes)),),
    ),
    Mutant(
        "boundary event in the closing bar",
        'bar("1s", "trade").close',
        ((Machine, "is_over", lambda self, bar, interval, t: (bar.number + 1) * interval < t),),
    ),
    Mutant(
        "bars close one event late",
        'bar("1s", "mid").high',
        ((Machine, "is_over", lambda self, bar, interval, t: (bar.number + 1) * interval <= self.previous),),
    ),
    Mutant("an event on the boundary comes before its row", "mid", events=_earlier, trigger='every("1s")'),
)

# Pointwise, lags and sources


def _loose(f: Callable[..., Any]) -> Callable[..., float]:
    return lambda *v, **p: float(f(*v, **p))


def _log_difference(x: float, y: float, seconds: float) -> float:
    return log(x) - log(y)


def _flow_strict(self: Machine, name: str, bid: float, bid_qty: float, ask: float, ask_qty: float) -> dict[str, float]:
    before = self.books[name].before if name in self.books else None
    out = _true_flow(self, name, bid, bid_qty, ask, ask_qty)
    if before is not None:
        out[name] = (bid_qty if bid > before[0] else 0.0) - (before[1] if bid < before[0] else 0.0)
        out[name] -= (ask_qty if ask < before[2] else 0.0) - (before[3] if ask > before[2] else 0.0)
    return out


def _no_tick_rule(self: Machine, px: float, side: float) -> float:
    return side or (0.0 if math.isnan(self.mid) else float((px > self.mid) - (px < self.mid)))


def _no_mid(self: Machine, px: float, side: float) -> float:
    if px != self.last_px and not math.isnan(self.last_px):
        self.tick = 1.0 if px > self.last_px else -1.0
    self.last_px = px
    return side or self.tick


def _tick_stands_still(self: Machine, px: float, side: float) -> float:
    """The tick rule's state moves only with trades of unknown side."""
    return side if side != 0.0 else _true_sign(self, px, side)


_true_sign = Machine.sign

SIMPLE = (
    Mutant(
        "sign of zero is one",
        "sign(mid - px)",
        ((POINTWISE, "sign", lambda x: NAN if math.isnan(x) else math.copysign(1.0, x)),),
    ),
    Mutant("x / 0 = 0", "imbalance / (bid_qty - 1.0)", ((POINTWISE, "div", lambda x, y: x / y if y else 0.0),)),
    Mutant("gt as ge", "px > mid", ((POINTWISE, "gt", _loose(lambda x, y: NAN if x != x or y != y else x >= y)),)),
    Mutant("eq of NaN is 0", "imbalance == 0.0", ((POINTWISE, "eq", _loose(lambda x, y: x == y)),)),
    Mutant(
        "where NaN chooses the second",
        "where(imbalance, px, mid)",
        ((POINTWISE, "where", lambda c, x, y: y if c != c or c == 0.0 else x),),
    ),
    Mutant(
        "where above zero only",
        "where(imbalance, px, mid)",
        ((POINTWISE, "where", lambda c, x, y: NAN if c != c else x if c > 0.0 else y),),
    ),
    Mutant(
        "clip gives lo for NaN",
        "clip(imbalance, -0.5, 0.5)",
        ((POINTWISE, "clip", lambda x, lo, hi: hi if x > hi else x if x > lo else lo),),
    ),
    Mutant("least ignores NaN", "least(imbalance, 0.25)", ((POINTWISE, "least", lambda x, y: x if x < y else y),)),
    Mutant("log x - log y", "logret(mid, 1)", ((LAGGED, "logret", _log_difference),), stream="big price"),
    Mutant("ret against the newest", "ret(mid, 5)", ((LAGGED, "ret", lambda x, y, s: 1.0 - divide(y, x)),)),
    Mutant("ofi strict", "ofi", ((Machine, "order_flow", _flow_strict),)),
    Mutant("trade_sign without the tick rule", "trade_sign", ((Machine, "sign", _no_tick_rule),)),
    Mutant("trade_sign without the mid", "trade_sign", ((Machine, "sign", _no_mid),)),
    Mutant("tick rule moves with unknown sides only", "cumsum(trade_sign)", ((Machine, "sign", _tick_stands_still),)),
)
