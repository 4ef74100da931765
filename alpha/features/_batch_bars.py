"""Bars that the batch twin builds: by time, by trades, from the mid; and which instruments can have them. Floor 2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.errors import InstrumentError
from alpha.events import Flag, Kind
from alpha.features.feature_set import FeatureSet
from alpha.features.language import BarClock, BarRef, Duration, Expr
from alpha.instruments import Instruments
from alpha.sessions import SessionTable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
BarSpec = tuple[Duration | BarClock, str]
UNKNOWN_LOT = 1e-8
LIMIT = 2**62


@dataclass(frozen=True, slots=True)
class Market:
    """What is known about one instrument: its place in the table, sizes (NaN: unknown) and sessions (None: unused)."""

    instrument: int
    symbol: str
    lot: float
    tick: float
    sessions: SessionTable | None


@dataclass(frozen=True, slots=True)
class Trades:
    """Trades in whole lots and ticks: ``missing`` where a size is unknown or too large to count, ``cash`` lots*ticks."""

    lots: Ints
    cash: Ints | None  # None where the tick is not known
    missing: Bools


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars in order: of time with their exclusive ``end``, the others with the event that ``closed`` each.

    ``known``: of the fields that may be missing, in which bars they are not.
    """

    end: Ints | None
    closed: Ints
    fields: dict[str, Floats]
    known: dict[str, Bools]


def own_nodes(e: Expr) -> Iterator[Expr]:
    """Nodes that are computed on the reading instrument: without those inside of ``of``."""
    if e.op != "of":
        for a in e.args:
            yield from own_nodes(a)
    yield e


def nodes_on(fs: FeatureSet, symbol: str) -> Iterator[Expr]:
    """Every node that is computed on the instrument of this name."""
    for e in fs.features.values():
        for node in own_nodes(e):
            yield node
            if node.op == "of" and node.params[0] == symbol:
                yield from own_nodes(node.args[0])


def bar_specs(fs: FeatureSet, symbol: str) -> list[BarSpec]:
    """The bars to build on one instrument, each once."""
    specs: dict[BarSpec, None] = {}
    for node in nodes_on(fs, symbol):
        if node.op == "bar":
            interval, source, _ = node.params
            assert isinstance(interval, (Duration, BarClock)) and isinstance(source, str)
            specs[(interval, source)] = None
    if isinstance(fs.trigger.bar, BarRef):
        specs[(fs.trigger.bar.interval, fs.trigger.bar.source)] = None
    return [s for s in specs if s[1] != "feed"]


def check_sizes(fs: FeatureSet, instruments: Instruments | None, markets: list[Market]) -> None:
    """InstrumentError if an instrument lacks the lot or tick size that a bar or bucket of it is counted in."""
    for m in markets:
        wanted: list[tuple[str, bool, float]] = []  # text, needs the tick, size
        for interval, _ in bar_specs(fs, m.symbol):
            if isinstance(interval, BarClock) and interval.kind != "tick_bar":
                wanted.append((str(interval), interval.kind == "dollar_bar", interval.size))
        for node in nodes_on(fs, m.symbol):
            if node.op == "vpin":
                size = node.param("volume")
                assert isinstance(size, float)
                wanted.append((str(node), False, size))
        for text, needs_tick, size in wanted:
            for name, value in (("lot_size", m.lot), *([("tick_size", m.tick)] if needs_tick else [])):
                if not value > 0:
                    fix = "give instruments" if instruments is None else f"declare {name} for it"
                    raise InstrumentError(f"{text} is counted in whole lots: {name} of {m.symbol} is unknown; {fix}")
            units = whole_size(size, m.lot, m.tick if needs_tick else 1.0)
            if units is None:
                raise InstrumentError(f"{text} of {m.symbol} holds 2**62 lots or more: a smaller size or a larger lot")


def whole_size(size: float, lot: float, tick: float = 1.0) -> int | None:
    """rint(size/(tick*lot)), at least 1; None from 2**62 on."""
    with np.errstate(all="ignore"):
        units = float(np.rint(np.float64(size) / np.float64(tick * lot)))
    return max(1, int(units)) if units < LIMIT else None


def counted_trades(v: Floats, flags: npt.NDArray[np.uint16], market: Market, kernels: Any, cash: bool = True) -> Trades:
    """Trades with values ``v`` [n, 5] in lots and, where ``cash`` is wanted, lots times ticks (rule 53)."""
    size = market.lot if market.lot > 0 else UNKNOWN_LOT
    with np.errstate(all="ignore"):
        lots = np.rint(v[:, 1] / size)
        missing = ((flags & Flag.NO_QTY) != 0) | ~(lots < LIMIT)
        whole = np.where(missing, 0.0, lots).astype(np.int64)
        if not (cash and market.tick > 0 and market.lot > 0):
            return Trades(whole, None, missing)
        ticks = np.rint(v[:, 0] / market.tick)
        products, over = kernels.products(whole, np.where(ticks < LIMIT, ticks, LIMIT).astype(np.int64))
    return Trades(np.where(over, 0, whole), products, missing | over)


def build_bars(e: npt.NDArray[Any], t: Ints, spec: BarSpec, market: Market, kernels: Any) -> Bars:
    """All bars of one kind over the events of an instrument at times ``t``; the last may not be closed yet."""
    interval, source = spec
    chosen = np.flatnonzero(e["kind"] == (Kind.QUOTE if source == "mid" else Kind.TRADE))
    v = e["v"][chosen]
    trades = counted_trades(v, e["flags"][chosen], market, kernels) if source == "trade" else None
    if isinstance(interval, Duration):
        bucket = t[chosen] // interval.ns
        start = np.flatnonzero(np.append(True, bucket[1:] != bucket[:-1])[: len(chosen)])
        end: Ints | None = (bucket[start] + 1) * interval.ns
    else:
        assert trades is not None
        closes = np.flatnonzero(kernels.closing(*_clock(interval, trades, market)))
        start = np.append(0, closes + 1)
        start, end = start[start < len(chosen)], None
    stop = np.append(start[1:], len(chosen))[: len(start)] - 1
    x = 0.5 * (v[:, 0] + v[:, 1]) if source == "mid" else v[:, 0]
    fields = {"open": x[start], "close": x[stop], "count": (stop - start + 1).astype(np.float64)}
    some = len(start) > 0
    fields["high"] = np.maximum.reduceat(x, start) if some else np.zeros(0)
    fields["low"] = np.minimum.reduceat(x, start) if some else np.zeros(0)
    sizes, known = _sizes(trades, start, market, kernels)
    fields |= sizes
    if end is not None:
        return Bars(end, chosen[stop], fields, known)
    n = len(closes)  # what comes after the last close is a bar that is being built
    return Bars(None, chosen[closes], {k: x[:n] for k, x in fields.items()}, {k: x[:n] for k, x in known.items()})


def _clock(clock: BarClock, trades: Trades, market: Market) -> tuple[Ints, int]:
    """What each trade adds to the clock, and how much closes a bar."""
    if clock.kind == "tick_bar":
        return np.ones(len(trades.lots), np.int64), int(clock.size)
    dollars = clock.kind == "dollar_bar"
    size = whole_size(clock.size, market.lot, market.tick if dollars else 1.0)
    steps = trades.cash if dollars else trades.lots
    assert size is not None and steps is not None  # check_sizes has seen to it
    return steps, size


def _sizes(
    trades: Trades | None, start: Ints, market: Market, kernels: Any
) -> tuple[dict[str, Floats], dict[str, Bools]]:
    """``volume`` and ``vwap`` of bars that begin at ``start``, and where they are known."""
    nothing, never = np.full(len(start), np.nan), np.zeros(len(start), np.bool_)
    volume, vwap, volume_known, vwap_known = nothing, nothing, never, never
    if trades is not None:
        size = market.lot if market.lot > 0 else UNKNOWN_LOT
        whole, volume_known = kernels.bar_sums(trades.lots, trades.missing, start)
        lots = whole.astype(np.float64)
        volume = np.where(volume_known, lots * size, np.nan)
        if trades.cash is not None and market.lot > 0:
            cash, counted = kernels.bar_sums(trades.cash, trades.missing, start)
            with np.errstate(all="ignore"):
                vwap = np.where(whole == 0, np.nan, cash.astype(np.float64) / lots * market.tick)
            vwap_known = volume_known & counted
    return {"volume": volume, "vwap": vwap}, {"volume": volume_known, "vwap": vwap_known}
