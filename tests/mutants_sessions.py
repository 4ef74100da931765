"""Wrong readings of rules 49 to 52: breaks, time, other instruments, series; and the stream that shows them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import reference
from calendars import T0
from mutants_machine import Mutant, Patch
from reference import Machine, Node
from reference_math import NAN
from reference_sessions import TIMES, Session, opened, session_of

from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, Flag, Kind, Status
from alpha.features.language import Expr

TENTH = 10**8


def market() -> np.ndarray:
    """Two instruments on tenths of a second, so that sessions, bars and windows end exactly on events; the clock of the
    second is ahead. Halts, gaps, trades without and of huge sizes, inputs to one and to all."""
    rng = np.random.default_rng(4954)
    n = 900
    e = np.zeros(n, EVENT_DTYPE)
    e["instrument_id"] = rng.integers(0, 2, n)
    e["ts_event_ns"] = T0 - 3 * 10**9 + TENTH * np.cumsum(rng.choice([0, 1, 1, 2, 5], n))
    kinds = [Kind.QUOTE, Kind.TRADE, Kind.STATUS, Kind.TIMER, Kind.INPUT]
    e["kind"] = rng.choice(kinds, n, p=[0.41, 0.44, 0.02, 0.04, 0.09])
    e["flags"] = Flag.LAST
    e["flags"][[170, 330, 331, 560]] |= np.uint16(Flag.GAP)
    mid = 100.0 + 0.25 * np.cumsum(rng.integers(-2, 3, n) * (rng.random(n) < 0.5))
    v = e["v"]
    for kind in kinds:
        at = e["kind"] == kind
        k = int(at.sum())
        if kind == Kind.QUOTE:
            v[at, 0], v[at, 1] = mid[at] - 0.25, mid[at] + 0.25
            v[at, 2:4] = rng.integers(0, 4, (k, 2))
        elif kind == Kind.TRADE:
            v[at, 0], v[at, 1] = mid[at] + 0.25 * rng.integers(-1, 2, k), rng.integers(0, 300, k) / 100
            v[at, 1] *= rng.choice([1.0, 40.0], k, p=[0.95, 0.05])
            v[at, 2] = rng.choice([-1, 0, 0, 1], k)
            e["flags"][np.flatnonzero(at)[rng.random(k) < 0.05]] |= np.uint16(Flag.NO_QTY)
        elif kind == Kind.STATUS:
            v[at, 0] = rng.choice([Status.OPEN, Status.CLOSE, Status.HALT, Status.RESUME], k)
        elif kind == Kind.INPUT:
            v[at, 0], v[at, 1] = rng.integers(0, 3, k), np.round(rng.normal(size=k), 2)
            e["instrument_id"][np.flatnonzero(at)[rng.random(k) < 0.5]] = ALL_INSTRUMENTS
    ahead = e["instrument_id"] == 1
    e["ts_event_ns"][ahead] += 3 * TENTH
    return e


def on_market(
    name: str,
    expression: str,
    *patches: Patch,
    events: Callable[[np.ndarray], np.ndarray] | None = None,
    trigger: str = "last",
    calendar: str = "days",
    breaks: str = "session",
) -> Mutant:
    spec = {"calendar": calendar, "session_break": breaks}
    return Mutant(name, expression, patches, events, stream="market", trigger=trigger, spec=spec, listed=True)


# Breaks

_true_reset, _true_gap, _true_resets, _true_break = Machine.reset, Machine.gap, reference.resets, Machine.is_break
_true_show, _true_elsewhere = Machine.show, Machine.elsewhere


def _closed(self: Machine, t: int) -> int:
    return sum(s.close <= t for s in self.listing.sessions)


def _other_side(self: Machine, t: int) -> int:
    return opened(self.listing.sessions, t, not self.at_close)


def _codes(*codes: Status) -> Callable[..., bool]:
    """What if other codes were breaks?"""

    def is_break(self: Machine, kind: int, code: float, t: int) -> bool:
        return _true_break(self, kind if kind != Kind.STATUS else Kind.TIMER, code, t) or (
            kind == Kind.STATUS and code in codes
        )

    return is_break


def _one_late(self: Machine, kind: int, code: float, t: int) -> bool:
    """At the event after the one that it belongs to."""
    due, self.__dict__["due"] = self.__dict__.get("due", False), _true_break(self, kind, code, t)
    return bool(due)


def _whatever_is_wanted(self: Machine, kind: int, code: float, t: int) -> bool:
    return kind == Kind.STATUS and code in (Status.OPEN, Status.RESUME)


def _then(*steps: Callable[[Machine], None]) -> Callable[[Machine], None]:
    def reset(self: Machine) -> None:
        _true_reset(self)
        for step in steps:
            step(self)

    return reset


def _bars_again(self: Machine) -> None:
    self.open_bars = dict.fromkeys(self.open_bars)
    for bars in self.clock_bars.values():
        bars.bar, bars.total = None, 0


def _leaves_again(*ops: str) -> Callable[[Machine], None]:
    def forget(self: Machine) -> None:
        for e in self.nodes:
            if e.op in ops:
                self.nodes[e] = Node()

    return forget


def _keeping(*names: str) -> Callable[[Machine], None]:
    """A break that leaves these as they are."""

    def reset(self: Machine) -> None:
        kept = {name: dict(value) if isinstance(value := getattr(self, name), dict) else value for name in names}
        _true_reset(self)
        for name, value in kept.items():
            setattr(self, name, value)

    return reset


def _keeping_readiness(self: Machine) -> None:
    before = dict(self.nodes)
    _true_reset(self)
    for e, node in self.nodes.items():
        node.ready_times, node.ready = before[e].ready_times, before[e].ready


def _says(answer: Callable[[Expr], bool]) -> tuple[Patch, ...]:
    return ((reference, "resets", answer),)


def _by_operands(e: Expr) -> bool:
    """Whatever ``reset`` says."""
    return _true_resets(e) if not e.args else e.op != "of" and any(_by_operands(a) for a in e.args)


_BREAKS = (
    on_market("reset at the close", "first(mid)", (Machine, "opened", _closed)),
    on_market("opens at t are not counted", "first(mid)", (Machine, "opened", _other_side), calendar="touching"),
    on_market(
        "opens at t are counted where a bar triggers",
        'first(bar("100ms", "mid").close, reset="session")',
        (Machine, "opened", _other_side),
        trigger='bar("100ms", "mid")',
        calendar="touching",
    ),
    on_market("breaks ignored", "mean(mid, 20)", (Machine, "is_break", lambda self, kind, code, t: False)),
    on_market("breaks where none are wanted", "first(mid)", (Machine, "is_break", _whatever_is_wanted), breaks="none"),
    on_market("a resumption is no break", "first(px)", (Machine, "is_break", _codes())),
    on_market("a halt is a break", "first(px)", (Machine, "is_break", _codes(Status.OPEN, Status.RESUME, Status.HALT))),
    on_market("a break one event late", "first(px)", (Machine, "is_break", _one_late)),
    on_market("bars start again", 'bar("1s", "trade").open', (Machine, "reset", _then(_bars_again)), calendar="touching"),
    on_market("clock bars start again", "volume_bar(20).count", (Machine, "reset", _then(_bars_again)), calendar="touching"),
    on_market("leaves of bars start again", "tick_bar(7).high", (Machine, "reset", _then(_leaves_again("bar")))),
    on_market("inputs start again", 'input("b")', (Machine, "reset", _then(_leaves_again("input")))),
    on_market("the tick rule runs through", "trade_sign", (Machine, "reset", _keeping("tick", "last_px"))),
    on_market("the mid stays known", "trade_sign", (Machine, "reset", _keeping("mid"))),
    on_market("ofi compares across a break", "ofi", (Machine, "reset", _keeping("books"))),
    on_market("buckets run through", "vpin(1, 3)", (Machine, "reset", _keeping("buckets"))),
    on_market("readiness runs through", "mean(px, 7)", (Machine, "reset", _keeping_readiness)),
    on_market("reset is not asked: never", 'cumsum(qty, reset="never")', *_says(_by_operands)),
    on_market("reset is not asked: session", 'cumsum(tick_bar(2).count, reset="session")', *_says(_by_operands)),
    on_market("what looks at bars starts again", "cumsum(tick_bar(2).count)", *_says(lambda e: e.op == "cumsum" or _true_resets(e))),
)  # fmt: skip

# Time


def _since_midnight(sessions: Any, t: int, at_close: bool) -> float:
    return float(t % (86_400 * 10**9)) / 1e9


def _without_close(sessions: Any, t: int, at_close: bool) -> float:
    s = session_of(sessions, t, at_close)
    return float(t - s.open) / 1e9 if s else NAN


def _minutes_until_break(sessions: Any, t: int, at_close: bool) -> float:
    s = session_of(sessions, t, at_close)
    end = s.close if s is None or s.pause is None or t > s.pause[0] else s.pause[0]  # type: ignore[union-attr]
    return float(end - t) / 6e10 if s and t <= s.close else NAN


def _hours(inside: Callable[[Session, int], bool]) -> Callable[..., float]:
    def is_rth(sessions: Any, t: int, at_close: bool) -> float:
        s = session_of(sessions, t, at_close)
        return float(s is not None and inside(s, t))

    return is_rth


def _in_pause(s: Session, t: int) -> bool:
    return s.pause is not None and s.pause[0] <= t < s.pause[1]


def _time(op: str, name: str, f: Callable[..., float], **more: Any) -> Mutant:
    return on_market(name, f"{op} + 0*mid" if op != "is_rth" else op, (TIMES, op, f), **more)


_TIME = (
    _time("seconds_since_open", "seconds since midnight", _since_midnight),
    _time("seconds_since_open", "seconds go on behind the close", _without_close),
    _time("minutes_to_close", "minutes to the lunch break", _minutes_until_break),
    _time("is_rth", "the close is inside", _hours(lambda s, t: s.open <= t <= s.close and not _in_pause(s, t))),
    _time("is_rth", "the break is inside", _hours(lambda s, t: s.open <= t < s.close)),
    _time("is_rth", "the break's end is outside", _hours(lambda s, t: s.open <= t < s.close and not (s.pause is not None and s.pause[0] <= t <= s.pause[1]))),
    _time("is_rth", "a bar of the first minute is outside", lambda s, t, c: TRUE_RTH(s, t, False), trigger='bar("100ms", "mid")'),
    on_market("a bar at the open belongs to what opens", "seconds_since_open", (TIMES, "seconds_since_open", lambda s, t, c: TRUE_SECONDS(s, t, False)), trigger='bar("100ms", "mid")', calendar="touching"),
    on_market("the cosine for the sine", "sin_day", (TIMES, "sin_day", TIMES["cos_day"])),
)  # fmt: skip
TRUE_RTH, TRUE_SECONDS = TIMES["is_rth"], TIMES["seconds_since_open"]

# Other instruments


def _log(self: Machine, e: Expr) -> list[tuple[int, float, bool]]:
    log: list[tuple[int, float, bool]] = self.__dict__.setdefault("log", {}).setdefault(e, [])
    return log


def _logged(self: Machine, e: Expr, node: Node, t: int) -> None:
    _true_show(self, e, node, t)
    _log(self, e).append((t, node.value, node.ready))


def _by_time(self: Machine, symbol: str, e: Expr, t: int) -> tuple[float, bool]:
    earlier = [x for x in _log(self.peers[symbol], e) if x[0] <= t]
    return earlier[-1][1:] if earlier else (NAN, False)


def _before_this(self: Machine, symbol: str, e: Expr, t: int) -> tuple[float, bool]:
    """Of its own instrument, what was before the present event."""
    log = _log(self.peers[symbol], e)
    if symbol == self.listing.symbol and self.nodes[e].passes:
        return log[-2][1:] if len(log) > 1 else (NAN, False)
    return _true_elsewhere(self, symbol, e, t)


def _live(self: Machine, symbol: str, e: Expr, t: int) -> tuple[float, bool]:
    node = self.peers[symbol].nodes[e]
    return node.value, node.ready


def _ready_by_value(self: Machine, symbol: str, e: Expr, t: int) -> tuple[float, bool]:
    value, _ = _true_elsewhere(self, symbol, e, t)
    return value, math.isfinite(value)


def _passing(self: Machine, symbol: str, e: Expr, t: int) -> tuple[float, bool]:
    """What comes from elsewhere updates who reads it."""
    seen = self.__dict__.setdefault("seen", {})
    now = _true_elsewhere(self, symbol, e, t)
    self.nodes[Expr("of", (e,), (symbol,))].passes = seen.get(e) != now
    seen[e] = now
    return now


def _gap_of_both(self: Machine) -> None:
    """A gap of whoever it is reaches what the others show."""
    _true_gap(self)
    for peer in self.peers.values():
        for shown in peer.shown.values():
            shown.ready = False


def _gap_unseen(self: Machine) -> None:
    ready = {e: shown.ready for e, shown in self.shown.items()}
    _true_gap(self)
    for e, was in ready.items():
        self.shown[e].ready = was


_OTHERS = (
    on_market("of by timestamp", 'of("B", mid)', (Machine, "show", _logged), (Machine, "elsewhere", _by_time)),
    on_market("of without the present event", 'of("A", px)', (Machine, "show", _logged), (Machine, "elsewhere", _before_this)),
    on_market("of shows evictions", 'of("B", count(qty, "300ms"))', (Machine, "elsewhere", _live)),
    on_market("of is ready where it is finite", 'of("B", mean(mid, 7))', (Machine, "elsewhere", _ready_by_value)),
    on_market("of updates its readers", 'count(of("B", mid) + px, "1s")', (Machine, "elsewhere", _passing)),
    on_market("a gap over there is not seen", 'of("B", px)', (Machine, "gap", _gap_unseen)),
    on_market("a gap of the reader is seen", 'of("B", px)', (Machine, "gap", _gap_of_both)),
    on_market("a break over there is not seen", 'of("B", px)', (Machine, "reset", _keeping("shown"))),
)  # fmt: skip


# Series


def _gap_restarts_inputs(self: Machine) -> None:
    _true_gap(self)
    for e, node in self.nodes.items():
        node.ready = node.ready and e.op != "input"


def _other_places(e: np.ndarray) -> np.ndarray:
    out = e.copy()
    at = (e["kind"] == Kind.INPUT) & (e["v"][:, 0] < 2)
    out["v"][at, 0] = 1.0 - e["v"][at, 0]
    return out


def _to_the_first(e: np.ndarray) -> np.ndarray:
    out = e.copy()
    out["instrument_id"][(e["kind"] == Kind.INPUT) & (e["instrument_id"] == ALL_INSTRUMENTS)] = 0
    return out


_SERIES = (
    on_market("max_age inclusive", 'input("b", max_age="4s")', (Machine, "too_old", staticmethod(lambda age, limit: age >= limit))),
    on_market("max_age is not looked at", 'input("b", max_age="4s")', (Machine, "too_old", staticmethod(lambda age, limit: False))),
    on_market("inputs are unready after a gap", 'input("b")', (Machine, "gap", _gap_restarts_inputs)),
    on_market("series as they are written", 'input("b") - 2*input("a")', events=_other_places),
    on_market("an input to all is for the first", 'cumsum(input("b"))', events=_to_the_first),
)  # fmt: skip

SESSIONS = (*_BREAKS, *_TIME, *_OTHERS, *_SERIES)
