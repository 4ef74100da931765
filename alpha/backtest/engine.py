"""A strategy over a stream: native signals chunk by chunk, then the desk, event by event where something happens. Floor 7.

Signals depend on the stream only, so each chunk goes through the native path whole, exactly as live; positions, orders and
money come after. Nothing is kept that grows with the stream: the chunk, what is under way, and bounded summaries.
"""

from __future__ import annotations

import functools
import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha.audit.frames import Frame
from alpha.audit.write import AuditLog
from alpha.backtest.account import Account
from alpha.backtest.curve import Curve
from alpha.backtest.desk import Desk
from alpha.backtest.latency import Latency
from alpha.backtest.ledger import Ledger
from alpha.backtest.market import Chunk, Market
from alpha.backtest.outcomes import Outcomes
from alpha.backtest.record import Record
from alpha.backtest.serving import Served
from alpha.backtest.settings import FOREVER, Settings
from alpha.errors import AlphaError, DataError
from alpha.events import Kind, Reason
from alpha.instruments import Instruments
from alpha.strategies.base import Grade, Output, Strategy, StrategySignal

Array = npt.NDArray[Any]
MEASURED_EVENTS = 200_000  # of a run whose latency is measured: at least so many, in whole chunks
MARKET_HOOKS = (("on_quote", Kind.QUOTE), ("on_trade", Kind.TRADE), ("on_bar", Kind.BAR))


@dataclass(frozen=True)
class Finished:
    """What a run leaves behind; :func:`alpha.backtest.metrics.summarise` makes a summary of it."""

    strategy: Strategy
    served: Sequence[Served]
    settings: Settings
    symbols: tuple[str, ...]
    events: int
    decisions: int
    signals_sha256: str
    reasons: Counter[str]
    grades: Counter[str]
    market: Market
    desk: Desk
    ledger: Ledger
    curve: Curve
    outcomes: Outcomes
    latency: Latency
    runtime: dict[str, Any]
    in_sample: int
    state: bytes


class Backtest:
    """One strategy, its models, one table of instruments. ``symbols``: those it decides on; ``audit``: a folder; ``bar_ns``:
    the length of a bar, where the data are bars; ``state``: what an equal strategy's run left; ``trades_price``: see Market.
    """

    def __init__(
        self,
        strategy: Strategy,
        served: Sequence[Served],
        instruments: Instruments,
        symbols: Sequence[str],
        settings: Settings,
        *,
        latency: Latency | None = None,
        audit: str | Path | None = None,
        fills_csv: Path | None = None,
        bar_ns: int | None = None,
        measure: bool = False,
        state: bytes = b"",
        trades_price: bool = True,
    ) -> None:
        if not symbols:
            raise DataError("a backtest needs at least one symbol")
        self.strategy, self.served, self.settings = strategy, served, settings
        self.instruments = instruments
        self._who = tuple(instruments.id(s) for s in symbols)
        self._traded = np.zeros(len(instruments), bool)
        self._traded[list(self._who)] = True
        primary = self._who[0]
        streams = {s.bundle.feature_set.stream.clock for s in served}
        if len(streams) > 1:
            raise DataError("the models of this strategy order events by different clocks: they cannot share a stream")
        logs = self._logs(audit)
        self._runtimes = [s.runtime(instruments, log) for s, log in zip(served, logs, strict=True)]
        self._measured = measure
        if measure:
            for rt in self._runtimes:
                rt.measure_latency()
        self._latency_seen: dict[str, float] | None = None
        self._audits = [log for log in logs if log is not None]
        self._record = Record(logs[0])
        self._market = Market(instruments, served[0].bundle.feature_set.stream, primary, trades=trades_price)
        self._latency = latency if latency is not None else settings.latency.build(settings.seed)
        self._ledger = Ledger(Account(settings.cash), instruments.symbols, fills_csv)
        share = 1.0 / len(served)
        models: dict[str, float] = {}
        for s in served:
            models[s.model_id] = models.get(s.model_id, 0.0) + share
        self._desk = Desk(
            instruments, self._who, models, settings, self._market, self._latency, self._ledger, self._record
        )
        horizon = settings.horizon_ns or (15 * bar_ns if bar_ns is not None else 10 * 10**9)
        self._outcomes = Outcomes.over(horizon, bar_ns, self._market.calendars, self._who)
        self._curve = Curve(
            self._market.calendars[primary],
            [i.multiplier for i in instruments],
            primary,
            settings.cash,
            bar_ns or 10**9,
            settings.start_ns,
        )
        self._hooks = strategy.overridden()
        self._digest = hashlib.sha256()
        self._reasons: Counter[str] = Counter()
        self._grades: Counter[str] = Counter()
        self._decisions = self._events = self._in_sample = 0
        self._day: int | None = None
        self._last_position = 0
        self._turns: deque[int] = deque()
        self._holes: set[int] = set()
        trained = [s.bundle.metadata.trained_on for s in served if s.bundle.metadata is not None]
        self._trained_until = max((t.end_ns for t in trained if set(t.symbols) & set(symbols)), default=0)
        if state:
            strategy.on_load(state)

    def _logs(self, audit: str | Path | None) -> list[AuditLog | None]:
        if audit is None:
            return [None] * len(self.served)
        folders = [Path(audit)] if len(self.served) == 1 else [Path(audit) / str(k) for k in range(len(self.served))]
        return [AuditLog(f, policy="wait") for f in folders]

    def run(self, chunks: Iterable[Array], progress: Callable[[int], None] | None = None) -> Finished:
        """Every chunk of EVENT_DTYPE with this table's ids, in order. AlphaError if a log fails on the way."""
        self._record.put(Frame.SNAPSHOT, self._desk.snapshot(None))
        if "on_start" in self._hooks:
            self.strategy.on_start(self._desk)
        for events, parts in self._ahead(chunks):
            if len(events):
                if not self._chunk(events, parts):
                    break
                if progress is not None:
                    progress(len(events))
        return self._finish()

    # -- a chunk

    def _ahead(self, chunks: Iterable[Array]) -> Iterator[tuple[Array, list[Array] | None]]:
        """Chunks with their Signals: the next one is read and goes through the native path, which does not hold the
        interpreter's lock, while the desk is at the present one. Not where orders are written between a log's events,
        where the stream may end before the data, or while the latency of that path is measured: those get None."""
        source = iter(chunks)
        waits = bool(self._audits) or self.settings.stop_ns != FOREVER
        while waits or self._measured:
            events = next(source, None)
            if events is None:
                return
            yield events, None
            if self._measured and not waits and self._events >= MEASURED_EVENTS:
                self._stop_measuring()

        def following() -> tuple[Array, list[Array]] | None:
            events = next(source, None)
            return None if events is None else (events, self._signals(events))

        with ThreadPoolExecutor(1, "alpha-backtest") as ahead:
            waiting = ahead.submit(following)
            while (found := waiting.result()) is not None:
                waiting = ahead.submit(following)
                yield found

    def _stop_measuring(self) -> None:
        """Enough is known of the path's latency: from here on the clock is not read."""
        self._latency_seen = self._runtimes[0].stats()["latency_ns"]
        for rt in self._runtimes:
            rt.measure_latency(False)
        self._measured = False

    def _signals(self, events: Array) -> list[Array]:
        """What each model says to a chunk."""
        return [rt._run(events) for rt in self._runtimes]

    def _chunk(self, events: Array, parts: list[Array] | None) -> bool:
        """False when the stream has reached its end by the settings."""
        chunk = self._market.read(events)
        keep = int(np.searchsorted(chunk.ts, self.settings.stop_ns))
        whole = keep == len(events)
        if not whole:
            chunk = chunk.first(keep)
            events = events[:keep]
        if not len(events):
            return False
        if parts is None:
            parts = self._signals(events)
        for part in parts:  # here, because the native path's thread is the longer one
            self._digest.update(part.view(np.uint8).data)
        self._events += len(events)
        self._decide(chunk, parts)
        self._curve.add(chunk, self._desk.states)
        return whole

    def _decide(self, chunk: Chunk, parts: list[Array]) -> None:
        outputs, at = self._rows(chunk, parts)
        signals = outputs[0].signals
        for reason, count in enumerate(np.bincount(signals["reason"])):
            if count:
                self._reasons[Reason(reason).name] += int(count)
        grades, confidence = self.strategy.map_output(outputs)
        if len(grades) != len(at) or len(confidence) != len(at):
            raise AlphaError(f"map_output of {self.strategy.name} gave {len(grades)} grades for {len(at)} rows")
        grades = np.asarray(grades, np.int8)
        outside = ~chunk.open[at] & (grades != 0)
        early = chunk.ts[at] < self.settings.start_ns
        if outside.any():
            self._reasons["outside_session"] += int(np.count_nonzero(outside))
        grades = np.where(outside | early, np.int8(0), grades)
        live = ~early
        self._decisions += int(np.count_nonzero(live))
        for g, count in enumerate(np.bincount(grades[live] + 2, minlength=5)):
            if count:
                self._grades[Grade(g - 2).name] += int(count)
        self._judge(chunk, outputs[0], at, grades, np.asarray(confidence), live)
        missing = False
        if self._day is not None and int(chunk.day[0]) != self._day:  # the day ended with the chunk before
            self._snapshot(self._last_position)
            missing = int(chunk.day[0]) > self._day + 1 and not self.settings.carry
        self._day, self._last_position = int(chunk.day[-1]), len(chunk.ts) - 1
        self._desk.begin(chunk)
        if missing:
            self._desk.cut(0)
        steps = np.diff(chunk.day)
        self._turns = deque(np.flatnonzero(steps).tolist())
        self._holes = set() if self.settings.carry else set(np.flatnonzero(steps > 1).tolist())
        if self._hooks - {"on_start", "on_stop"}:
            self._with_hooks(chunk, outputs[0], at, grades, confidence, live)
        else:
            self._graded_only(at, signals["instrument_id"], grades)
        self._advance(len(chunk.ts) - 1)

    def _rows(self, chunk: Chunk, parts: list[Array]) -> tuple[list[Output], Array]:
        """Decisions on the traded instruments that all models have, and their positions in the chunk."""
        if len(self.instruments) > len(self._who):
            parts = [p[self._traded[p["instrument_id"]]] for p in parts]
        if len(parts) > 1:
            keys = [(p["event_index"] << np.uint64(24)) | p["instrument_id"].astype(np.uint64) for p in parts]
            shared = functools.reduce(np.intersect1d, keys)
            parts = [p[np.isin(k, shared)] for p, k in zip(parts, keys, strict=True)]
        at = parts[0]["event_index"].astype(np.int64) - chunk.start
        return [s.output(p) for s, p in zip(self.served, parts, strict=True)], at

    def _judge(
        self, chunk: Chunk, out: Output, at: Array, grades: Array, confidence: Array, live: npt.NDArray[np.bool_]
    ) -> None:
        """Keep what has to be judged later: rows on which the model was asked, in session."""
        s = out.signals
        reason = s["reason"]
        asked = (reason == Reason.MODEL) | (reason == Reason.BELOW_THRESHOLD) | (grades != 0)
        rows = np.flatnonzero(asked & live & chunk.open[at])
        if self._trained_until:
            self._in_sample += int(np.count_nonzero(chunk.ts[at[rows]] < self._trained_until))
        ordinals, rows = self._outcomes.choose(rows)  # before anything is gathered of them
        up = np.full(len(rows), np.nan)
        if out.kind in ("probabilities", "logits"):
            columns = [k for k, a in enumerate(out.actions) if a > 0]
            up = s["scores"][rows][:, columns].sum(axis=1, dtype=np.float64)
        value = s["value"][rows] if out.kind != "none" else grades[rows]
        self._outcomes.add(
            chunk,
            ordinals,
            at[rows],
            s["instrument_id"][rows].astype(np.int64),
            value.astype(np.float64),
            confidence[rows].astype(np.float64),
            np.sign(grades[rows]).astype(np.int64),
            up,
        )

    # -- in order of events

    def _due(self) -> int:
        """Position from which on something happens without a signal: a fill, a cancellation, a day's end."""
        return min(self._desk.next_at, self._turns[0] + 1 if self._turns else 1 << 62)

    def _changes_only(self, at: Array, grades: Array) -> None:
        """One instrument: from a grade that is reached straight to the next other grade, or to what is due before."""
        acting = np.flatnonzero(grades)
        at, grades = at[acting], grades[acting]
        others = np.append(np.flatnonzero(np.diff(grades)) + 1, len(grades)).tolist()
        desk, reached, i = self._desk, self._desk.reached, self._who[0]
        due, k, turn = self._due(), 0, 0
        while k < len(grades):
            position, grade = int(at[k]), int(grades[k])
            if position >= due:
                self._advance(position)
                due = self._due()
            if reached[i] != grade:
                desk.suggest(position, i, grade)
                due = min(desk.next_at, due)
            if reached[i] != grade:  # under way, blocked or without a price: asked again at the next signal
                k += 1
                continue
            while others[turn] <= k:
                turn += 1
            behind = others[turn]
            k = behind if due > at[behind - 1] else max(k + 1, int(at.searchsorted(due)))

    def _graded_only(self, at: Array, instruments: Array, grades: Array) -> None:
        if len(self._who) == 1:
            self._changes_only(at, grades)
            return
        acting = np.flatnonzero(grades)
        desk, reached = self._desk, self._desk.reached
        due = self._due()
        for position, i, grade in zip(
            at[acting].tolist(), instruments[acting].tolist(), grades[acting].tolist(), strict=True
        ):
            if position >= due:
                self._advance(position)
                due = self._due()
            if reached[i] != grade:
                desk.suggest(position, i, grade)
                due = min(desk.next_at, due)

    def _with_hooks(
        self, chunk: Chunk, out: Output, at: Array, grades: Array, confidence: Array, live: npt.NDArray[np.bool_]
    ) -> None:
        """Market hooks first, then the signal of the same event."""
        kinds, ids = chunk.events["kind"], chunk.events["instrument_id"]
        of_interest = np.zeros(len(kinds), bool)
        calls: dict[int, Any] = {}
        for name, kind in MARKET_HOOKS:
            if name in self._hooks:
                of_interest |= kinds == kind
                calls[int(kind)] = getattr(self.strategy, name)
        known = ids < len(self.instruments)
        market = np.flatnonzero(of_interest & chunk.accepted & known)
        on_signal = self.strategy.on_signal if "on_signal" in self._hooks else None
        chosen = np.flatnonzero(live if on_signal is not None and self.strategy.every_signal else grades != 0)
        position = np.concatenate([market, at[chosen]])
        which = np.concatenate([np.full(len(market), -1, np.int64), chosen])
        order = np.lexsort((which >= 0, position))
        desk, symbols = self._desk, self.instruments.symbols
        s = out.signals
        for p, row in zip(position[order].tolist(), which[order].tolist(), strict=True):
            self._advance(p)
            desk.look(p)
            if row < 0:
                event = chunk.events[p]
                desk.take(calls[int(event["kind"])](desk, symbols[int(event["instrument_id"])], event), p)
            elif on_signal is not None:
                signal = StrategySignal(
                    symbols[int(s["instrument_id"][row])],
                    int(chunk.ts[p]),
                    Grade(int(grades[row])),
                    float(confidence[row]),
                    float(s["value"][row]),
                    tuple(s["scores"][row][: int(s["n_scores"][row])].tolist()),
                    float(s["ref_px"][row]),
                )
                desk.take(on_signal(desk, signal), p)
            elif desk.reached[int(s["instrument_id"][row])] != int(grades[row]):
                desk.suggest(p, int(s["instrument_id"][row]), int(grades[row]))

    def _advance(self, at: int) -> None:
        """Everything that is due up to an event: fills, and the books at each day's end."""
        while self._turns and self._turns[0] < at:
            turn = self._turns.popleft()
            self._desk.settle(turn)
            self._snapshot(turn)
            if turn in self._holes:
                self._desk.cut(turn + 1)
        self._desk.settle(at)

    def _snapshot(self, at: int | None) -> None:
        self._record.put(Frame.SNAPSHOT, self._desk.snapshot(at))

    def _finish(self) -> Finished:
        if "on_stop" in self._hooks:
            self.strategy.on_stop(self._desk)
        self._curve.finish()
        if self._events:
            self._snapshot(self._last_position)
        self._ledger.close()
        stats = self._runtimes[0].stats()
        if self._latency_seen is not None:
            stats["latency_ns"] = self._latency_seen
        if not self._events:
            raise DataError("no event lies between --from and --to, or the data is empty: nothing was traded")
        return Finished(
            self.strategy,
            self.served,
            self.settings,
            tuple(self.instruments.symbol(i) for i in self._who),
            self._events,
            self._decisions,
            self._digest.hexdigest(),
            self._reasons,
            self._grades,
            self._market,
            self._desk,
            self._ledger,
            self._curve,
            self._outcomes,
            self._latency,
            stats,
            self._in_sample,
            self.strategy.on_save(),
        )

    def finish_audit(self, metrics: dict[str, Any]) -> None:
        """Write the METRIC frame and end the logs; AlphaError if they could not be written."""
        self._record.put(Frame.METRIC, metrics)
        for rt in self._runtimes:
            rt.close()
        for log in self._audits:
            if log.log.failed:
                raise AlphaError(f"audit log {log.folder} could not be written: {log.stats()['failed']}")
