"""The façade a trading loop uses. Floor 6.

One Runtime serves one Bundle for a table of instruments. It belongs to one thread at a time: the
caller's (inline calls, ``run``) or a worker's (``start``), and all of them execute the same native
function. Whatever goes wrong while it serves is HOLD with a counted reason, never an exception.
"""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from alpha import recording, seating
from alpha._core.pipeline import Instrument as InstrumentHandle
from alpha._core.pipeline import Pipeline
from alpha._core.ring import Ring
from alpha._core.signal import Signal
from alpha._core.worker import Worker
from alpha.audit.write import AuditLog
from alpha.bundle import Bundle, governed, ungoverned
from alpha.data import EventSource, open_events
from alpha.data.inputs import input_events, series_number
from alpha.desk import Desk, Model
from alpha.errors import AlphaError, AlphaWarning, StateError
from alpha.events import ALL_INSTRUMENTS, EVENT_DTYPE, SIGNAL_DTYPE, Control, Flag, Kind, Status
from alpha.explanation import explained
from alpha.features.feature_set import FeatureSet
from alpha.group import Group, governed_group, seats_of, ungoverned_group
from alpha.instruments import Instrument, Instruments
from alpha.latency import percentiles
from alpha.registry.store import find
from alpha.reload import Serving, Watch
from alpha.risk.kill import KillLatch
from alpha.state import pack, unpack

Signals = npt.NDArray[Any]


class Runtime:
    """Made by :meth:`from_registry`, :meth:`from_artifact` or :meth:`from_features`; a context manager."""

    def __init__(
        self,
        bundle: Bundle,
        instruments: Instruments | Sequence[str | Instrument],
        *,
        audit: str | Path | AuditLog | None = None,
        kill_file: str | Path | None = None,
        threshold: float | None = None,
        backtest: bool = False,
    ) -> None:
        if instruments is None:
            raise AlphaError("a runtime needs its instruments: instruments=['BTCUSDT']")
        names = [instruments] if isinstance(instruments, (str, Instrument)) else instruments
        table = names if isinstance(names, Instruments) else Instruments.of(*names)
        if len(table) == 0:
            raise AlphaError("a runtime needs at least one instrument: instruments=['BTCUSDT']")
        self._watch: Watch | None = None
        self.instruments = table
        self._pipeline: Pipeline = bundle.pipeline(table)
        self._serving = Serving(bundle, self._pipeline, table)
        self._handles: dict[str, InstrumentHandle] = {}
        self._worker: Worker | None = None
        self._bad_rows: Counter[str] = Counter()
        self._kill_reason = ""
        self._kills = 0
        self._warn_untrained()
        if isinstance(bundle, Group):
            if threshold is not None:
                raise AlphaError("each of several models has a threshold of its own: set_threshold(VALUE, model=NAME)")
            if backtest:
                seats_of(self._pipeline).allow_lower()
        elif threshold is not None or backtest:
            if threshold is not None:
                self._check_threshold(threshold, self._pipeline.threshold[1], backtest)
            self._pipeline.set_threshold(math.nan if threshold is None else threshold, backtest)
        self._latch: KillLatch | None = None
        if kill_file is not None:
            self._latch = self._serving.latch = KillLatch(kill_file)
            if isinstance(bundle, Group):
                bundle.attach_latch(self._pipeline, self._latch, table.symbols)
            else:
                self._pipeline.attach_latch(*self._latch.bytes_of(bundle.name, table.symbols))
        self._audit: AuditLog | None = None
        if audit is not None:
            self._audit = audit if isinstance(audit, AuditLog) else AuditLog(audit)
            self.rotate_audit()

    @classmethod
    def from_registry(
        cls,
        registry: str | Path | None,
        uri: str | Desk | Mapping[str, str | Model],
        *,
        instruments: Instruments | Sequence[str | Instrument],
        missing: str = "raise",
        engine: str = "auto",
        precision: str = "float32",
        audit: str | Path | AuditLog | None = None,
        kill_file: str | Path | None = None,
        reload: str = "none",
        every_s: float = 1.0,
        threshold: float | None = None,
        backtest: bool = False,
    ) -> Runtime:
        """Serve a registered model, e.g. ``models:/momentum@production``, or several (a :class:`alpha.Desk`, or a mapping
        of names to URIs) that decide on the same events. ``registry=None``: found as by the command line.

        ``audit``: a folder, or an :class:`alpha.audit.AuditLog`, into which every event and decision is written.
        ``kill_file``: a latch that ``alpha kill`` sets from outside, see :mod:`alpha.risk.kill` (default: $ALPHA_KILL).
        ``reload``: ``none``; ``explicit``: :meth:`reload` takes up what the registry says now; ``poll``: a thread looks at
        the registry every ``every_s`` seconds and does it.

        ``threshold``: in force instead of the one that the model declares; live it may only be higher. ``backtest=True``
        says that nobody acts on the Signals: then it may be lower, and ``stats()["threshold"]`` says so, and a version that the
        registry has archived may decide.

        Every byte is hashed and compared before it is used. ``missing="hold"``: a registry or model that cannot
        be trusted does not stop the program; every decision is then HOLD with NO_MODEL, and ``runtime.why`` says why.
        ``engine``: auto, plan or ort; ``precision``: float32, or bf16 for a plan with weights rounded to bfloat16; a reload
        keeps both; see :meth:`Bundle.from_model`. ``stats()["weights"]`` says what serves and how its decisions compare.
        """
        if missing not in ("raise", "hold"):
            raise AlphaError(f"missing must be 'raise' or 'hold', not {missing!r}")
        if reload not in ("none", "explicit", "poll"):
            raise AlphaError(f"reload must be 'none', 'explicit' or 'poll', not {reload!r}")
        what = uri if isinstance(uri, str) else Desk.of(uri)
        try:
            if isinstance(what, Desk):
                bundle: Bundle = governed_group(
                    registry, what, engine, precision=precision, hold=missing == "hold", backtest=backtest
                )
            else:
                bundle = governed(registry, what, engine, precision=precision, backtest=backtest)
        except AlphaError as exc:
            if missing == "raise" or isinstance(what, Desk):
                raise
            bundle = Bundle.without_anything(str(exc))
        rt = cls(
            bundle,
            instruments,
            audit=audit,
            kill_file=kill_file or os.environ.get("ALPHA_KILL") or None,
            threshold=threshold,
            backtest=backtest,
        )
        if reload != "none":
            rt._serving.source = registry, what
            rt._serving.engine, rt._serving.precision = engine, precision
        if reload == "poll":
            rt._watch = Watch(find(registry), rt.reload, every_s, rt.tend)
        return rt

    @classmethod
    def from_artifact(
        cls,
        directory: str | Path | Desk | Mapping[str, str | Model],
        *,
        instruments: Instruments | Sequence[str | Instrument],
        engine: str = "auto",
        precision: str = "float32",
        audit: str | Path | AuditLog | None = None,
        kill_file: str | Path | None = None,
    ) -> Runtime:
        """Serve an artifact folder without a registry, or several as a desk; marked ungoverned. ``engine``: auto, plan or
        ort; ``precision``: float32 or bf16, as of :meth:`from_registry`."""
        bundle: Bundle
        if isinstance(directory, (str, Path)):
            bundle = ungoverned(directory, engine, precision=precision)
        else:
            bundle = ungoverned_group(directory, engine, precision=precision)
        return cls(bundle, instruments, audit=audit, kill_file=kill_file or os.environ.get("ALPHA_KILL") or None)

    @classmethod
    def from_features(
        cls,
        features: FeatureSet,
        *,
        instruments: Instruments | Sequence[str | Instrument],
        audit: str | Path | AuditLog | None = None,
    ) -> Runtime:
        """Features without a model: every warm row is HOLD with NO_MODEL; read rows with :meth:`feature_vector`."""
        return cls(Bundle.from_features(features), instruments, audit=audit)

    def _warn_untrained(self) -> None:
        serving = self.bundle
        for bundle in serving.seated[1].values() if isinstance(serving, Group) else (serving,):
            self._warn_of(bundle)

    def _warn_of(self, bundle: Bundle) -> None:
        meta = bundle.metadata
        if meta is None or not meta.trained_on.symbols:
            return
        strangers = [s for s in self.instruments.symbols if s not in meta.trained_on.symbols]
        if strangers:
            kind = "simulated data" if meta.trained_on.simulated else "other instruments"
            warnings.warn(
                f"model {bundle.name} was trained on {kind} ({', '.join(meta.trained_on.symbols[:5])}) "
                f"and now serves {', '.join(strangers[:5])}",
                AlphaWarning,
                stacklevel=5,
            )

    # -- one event at a time

    def instrument(self, symbol: str) -> InstrumentHandle:
        """The handle whose ``on_quote on_trade on_bar on_depth`` a loop calls; names resolve once.
        InstrumentError for an unknown symbol."""
        if symbol not in self._handles:
            self._handles[symbol] = self._pipeline.instrument(symbol, self.instruments.id(symbol))
        return self._handles[symbol]

    def on_quote(
        self, symbol: str, ts_ns: int, bid_px: float, ask_px: float, bid_qty: float, ask_qty: float, **more: Any
    ) -> Signal | None:
        """``instrument(symbol).on_quote(...)``; keep the handle where speed matters."""
        return self.instrument(symbol).on_quote(ts_ns, bid_px, ask_px, bid_qty, ask_qty, **more)

    def on_trade(self, symbol: str, ts_ns: int, px: float, qty: float, side: float = 0.0, **more: Any) -> Signal | None:
        """``instrument(symbol).on_trade(...)``."""
        return self.instrument(symbol).on_trade(ts_ns, px, qty, side, **more)

    def on_bar(
        self, symbol: str, ts_ns: int, open: float, high: float, low: float, close: float, volume: float, **more: Any
    ) -> Signal | None:
        """``instrument(symbol).on_bar(...)``; ``ts_ns`` is the bar's close."""
        return self.instrument(symbol).on_bar(ts_ns, open, high, low, close, volume, **more)

    def on_depth(
        self,
        symbol: str,
        ts_ns: int,
        level: int,
        bid_px: float,
        ask_px: float,
        bid_qty: float,
        ask_qty: float,
        **more: Any,
    ) -> Signal | None:
        """``instrument(symbol).on_depth(...)``."""
        return self.instrument(symbol).on_depth(ts_ns, level, bid_px, ask_px, bid_qty, ask_qty, **more)

    def on_event(self, event: npt.NDArray[Any] | np.void) -> Signal | None:
        """One EVENT_DTYPE record whose ids are this runtime's."""
        return self._pipeline.on_event(event)

    def on_time(self, ts_ns: int) -> list[Signal]:
        """Time passed without an event: closes bars, makes rows of ``every(d)``. Stream time, not the wall clock."""
        return self._pipeline.on_time(ts_ns)

    def set_input(self, name: str, value: float, ts_ns: int, symbol: str | None = None) -> list[Signal]:
        """An external series of ``input(name)`` has a new value, known at ``ts_ns``; for all instruments, or for one.

        Time passes with it, which may close bars and make rows of ``every(d)``: the Signals of these. DataError for a
        series that the features do not read. Beside a worker push :meth:`input_event` instead.
        """
        number = series_number(self.bundle.feature_set, name)
        instrument_id = ALL_INSTRUMENTS if symbol is None else self.instruments.id(symbol)
        return self._pipeline.on_input(instrument_id, number, value, ts_ns)

    def input_event(self, name: str, value: float, ts_ns: int, symbol: str | None = None) -> npt.NDArray[Any]:
        """What :meth:`set_input` sends, EVENT_DTYPE ``[1]``, for a worker's ring."""
        table = None if symbol is None else self.instruments
        return input_events(self.bundle.feature_set, {name: ([ts_ns], [value])}, symbol=symbol, instruments=table)

    def on_features(self, symbol: str, ts_ns: int, values: npt.ArrayLike) -> Signal | None:
        """Your own raw features (float32 [F], the model's order, of several ``feature_names``) through the same model and
        gate. Of several models: the first Signal that is emitted, see :meth:`signals`."""
        return self._pipeline.on_features(self.instruments.id(symbol), ts_ns, values)

    def prepare(self) -> None:
        """After acting on a Signal: compute now what the next step of a recurrent model needs of its state alone, where its
        metadata say ``prepare``. No bit of a decision depends on it, only how long the next one takes. Events that make no
        Signal do it by themselves, and so does a worker that waits for events. StateError while a worker runs."""
        self._pipeline.prepare()

    def signals(self) -> list[Signal]:
        """Every Signal of the last ``on_…`` call, of any handle: several where several models are emitted, of which
        ``on_quote`` and its like return the first."""
        return self._pipeline.signals()

    # -- whole streams

    def run(self, data: Any) -> Signals:
        """Process a stream; all Signals as one SIGNAL_DTYPE array.

        ``data``: an EVENT_DTYPE array or an iterable of them with this runtime's ids, or anything
        :func:`alpha.open_events` reads (a path, a DataFrame), or the EventSource it returned. If it fails on the
        way, the error carries the Signals made before it as its attribute ``signals``.
        """
        parts: list[Signals] = []
        try:
            parts.extend(self.stream(data))
        except AlphaError as exc:
            exc.signals = np.concatenate(parts) if parts else np.zeros(0, dtype=SIGNAL_DTYPE)
            raise
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=SIGNAL_DTYPE)

    def stream(self, data: Any) -> Iterator[Signals]:
        """Like :meth:`run`, chunk by chunk, in bounded memory."""
        if isinstance(data, np.ndarray):
            yield self._run(data)
            return
        if not isinstance(data, EventSource) and (isinstance(data, (str, Path)) or hasattr(data, "columns")):
            data = open_events(data, instrument=self.instruments.symbols[0] if len(self.instruments) == 1 else None)
        if isinstance(data, EventSource):
            yield from self._source(data)
            return
        if not isinstance(data, Iterable):
            raise AlphaError(f"cannot run over {type(data).__name__}: give events, a path or a DataFrame")
        for chunk in data:
            yield self._run(chunk)

    def _run(self, chunk: npt.NDArray[Any]) -> Signals:
        self.tend()
        if self._audit is not None and self._audit.full and not self._pipeline.pending:
            self.rotate_audit()
        return self._pipeline.run(chunk)

    def _source(self, source: EventSource) -> Iterator[Signals]:
        """Remap the source's instrument ids to this runtime's, at the door."""
        known: Instruments | None = None
        ids = np.zeros(0, dtype=np.uint32)
        for chunk in source:
            if source.instruments is not known:
                known = source.instruments
                ids = np.array([self.instruments.id(s) for s in known.symbols], dtype=np.uint32)
            if not np.array_equal(ids, np.arange(len(ids))):
                chunk = chunk.copy()
                own = chunk["instrument_id"] != ALL_INSTRUMENTS
                chunk["instrument_id"][own] = ids[chunk["instrument_id"][own]]
            yield self._run(chunk)
        self._bad_rows.update(source.bad_rows)

    # -- a thread of its own

    def start(
        self, cpu: int | None = None, *, capacity: int = 65_536, overrun: str = "drop", ring: Ring | None = None
    ) -> Worker:
        """Hand the pipeline to a pinned worker thread. ``ring``: one you made, e.g. in shared memory.

        Push events (or let another process push), poll Signals; ``stop()`` drains the ring and gives the
        pipeline back. Inline calls raise StateError meanwhile.
        """
        self._check_open()
        if self._worker is not None and self._worker.running:
            raise StateError("a worker already runs: stop it first")
        if ring is not None and not isinstance(ring, Ring):
            raise AlphaError(f"ring must be an alpha.Ring, not {type(ring).__name__}")
        self._worker = Worker(self._pipeline, Ring(capacity, overrun=overrun) if ring is None else ring, cpu=cpu)
        return self._worker

    # -- looking

    def latest(self, symbol: str) -> Signal | None:
        """The last Signal of an instrument, or None before any; of several that one event made, the first."""
        return self._pipeline.latest(self.instruments.id(symbol))

    def latest_of(self, symbol: str, model: str) -> Signal | None:
        """The last decision of one of several models, also of a shadow (``signal.shadow``: it was not emitted)."""
        group = seating.group_of(self.bundle)
        seats = seats_of(self._pipeline)
        return seats.latest(self._pipeline, group.seated[0].slot(model), self.instruments.id(symbol))

    def feature_vector(self, symbol: str, out: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.float32] | None:
        """Raw features of the last row, float32 [F] (into ``out`` if given); None before any row."""
        row = self._pipeline.features(self.instruments.id(symbol), out)
        return None if row is None else row[0]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What a row holds, in its order; of several models all that any of them reads."""
        return self.bundle.feature_set.names

    def explain(self, symbol: str, model: str | None = None) -> dict[str, Any]:
        """The last decision taken apart: each feature raw and normalised with its training range, scores, gates.

        ``model``: one of several, by default the one that was emitted last; ``models`` of the result: what each said;
        ``members`` of an ensemble's: each member's share.
        """
        serving = self.bundle
        if isinstance(serving, Group):
            return seating.explain(self._pipeline, serving, symbol, self.instruments.id(symbol), model)
        if model is not None:
            seating.group_of(serving)
        return explained(self.bundle, self._pipeline, symbol, self.instruments.id(symbol))

    def look(self, symbol: str, wait_s: float = 0.02) -> dict[str, Any] | None:
        """An instrument's last row, from any thread, also beside a worker or a thread in :meth:`run`, which no event waits for.

        ``features`` float32 [F] in the order of ``feature_names`` and ``ready`` bool [F], both None before any row;
        ``rows``, ``row_ts_ns``, ``halted``, ``killed``, ``gap``; ``seen``: what the checks of each model last saw. None if
        the owner found no moment to answer within ``wait_s``: a worker answers when it finds no event, ``run`` every 16,384
        events, inline calls between two of them.
        """
        return self._pipeline.look(self.instruments.id(symbol), int(wait_s * 1e9))

    def stats(self, *, tend: bool = True) -> dict[str, Any]:
        """Counters since start, by reason and action; latency in ns where it is measured; what the worker lost. Of several
        models these are of what was emitted, and ``models`` holds each one's own. From any thread. ``tend=False``: only
        look, without :meth:`tend`."""
        if tend:
            self.tend()
        serving = self.bundle
        counts, largest = self._pipeline.latency_counts()
        worker = self._worker
        return {
            **self._pipeline.counters(),
            "bad_rows": dict(self._bad_rows),  # of files and frames: rows that could not become events
            "latency_ns": dict(percentiles(counts, largest)),
            "lost": 0 if worker is None else worker.ring.dropped + worker.lost_signals,
            "worker": None
            if worker is None
            else {
                "running": worker.running,
                "processed": worker.processed,
                "backlog": worker.backlog,
                "capacity": worker.ring.capacity,
                "dropped": worker.ring.dropped,
                "lost_signals": worker.lost_signals,
                "stale_signals": worker.stale_signals,
                "pinned": worker.pinned,
            },
            "model": self.bundle.name,
            "governed": self.bundle.governed,
            "why": self.why,
            "killed": self._pipeline.killed,
            "kill_reason": self._kill_reason,
            "latch": [] if self._latch is None else self._latch.killed(),
            "closed": self._pipeline.closed,
            "threshold": seating.threshold(*self._pipeline.threshold),
            "breaker": seating.breaker(*self._pipeline.breaker),
            "inactive": self.bundle.inactive,
            "reload": self._serving.stats(),
            "audit": None if self._audit is None else self._audit.stats(),
            "isa": self.bundle.program.isa,
            "engine": self.bundle.engine.name,
            "engine_reason": self.bundle.engine.reason,
            "weights": self.bundle.weights,
            "prepared": self._pipeline.prepared,
            "models": seating.stats(self._pipeline, serving) if isinstance(serving, Group) else {},
        }

    def measure_latency(self, on: bool = True) -> None:
        """Measure each decision with the monotonic clock (adds about 40 ns); never influences one."""
        self._pipeline.measure_latency(on)

    def latency_counts(self) -> tuple[npt.NDArray[np.uint64] | None, int]:
        """(histogram counts, largest ns); see :mod:`alpha.latency`."""
        return self._pipeline.latency_counts()

    @property
    def why(self) -> str:
        """Why there is no model, empty if there is one."""
        return self.bundle.why

    @property
    def definition_hash(self) -> str:
        """sha256 of the feature definition, hex."""
        return self.bundle.feature_set.definition_hash

    @property
    def model_sha256(self) -> str:
        """sha256 of the model bytes that serve, hex; empty without a model."""
        return self.bundle.model_sha256

    # -- going on later

    def save_state(self) -> bytes:
        """Everything the stream has left behind: guard, features, gate, counters. Equal states give equal bytes.

        Bound to definition, model, instruments and build layout, with a checksum; see :mod:`alpha.state`.
        StateError while a worker runs.
        """
        return pack(self._binding(), self._pipeline.save())

    def load_state(self, blob: bytes) -> None:
        """Go on from :meth:`save_state` of an equal runtime as if it had never stopped. A kill stays as it is.

        StateError, and nothing changed, for bytes that are foreign, cut short, altered, or of another runtime.
        """
        if self._pipeline.pending:
            raise StateError("a new version is warming up: load a state when it serves")
        self._pipeline.restore(unpack(blob, self._binding()))
        if self._audit is not None:
            self.rotate_audit()  # what follows does not follow from what was logged

    def warm(self, events: Any) -> int:
        """Run history through the features and throw the Signals away; how many there were.

        Decisions of the past are not advice: :meth:`latest` shows none of them as an action.
        """
        killed, kills = self._pipeline.killed, self._kills
        self._pipeline.kill(True)
        try:
            return sum(len(part) for part in self.stream(events))
        finally:
            if not killed and self._kills == kills:  # nobody killed it meanwhile
                self._pipeline.kill(False)

    def resume(self, blob: bytes, history: npt.NDArray[Any] | None = None) -> int:
        """:meth:`load_state`, then replay what came since: the events of ``history`` after the one the state ended with.

        ``history``: EVENT_DTYPE with this runtime's ids. If it does not contain that event (or is None) the gap stays
        open: every feature restarts its warm-up. Returns how many events were replayed.
        """
        self.load_state(blob)
        last = self._pipeline.last_event
        if history is not None and len(history):
            seen = np.flatnonzero(
                np.ascontiguousarray(history).view(f"V{EVENT_DTYPE.itemsize}") == last.view(f"V{EVENT_DTYPE.itemsize}")
            )
            if len(seen):
                rest = history[int(seen[-1]) + 1 :]
                self.warm(rest)
                return len(rest)
        if last["kind"][0] != Kind.EMPTY:
            lost = last.copy()
            lost["kind"], lost["instrument_id"], lost["v"] = Kind.STATUS, ALL_INSTRUMENTS, 0.0
            lost["level"], lost["flags"], lost["v"][0, 0] = 0, Flag.GAP, Status.LOST
            self.warm(lost)
        return 0

    def _binding(self) -> dict[str, Any]:
        table = self.instruments
        limits = b"" if self.bundle.metadata is None else msgspec.json.encode(self.bundle.metadata.limits)
        lots, ticks, offsets = table.lots().tolist(), table.ticks().tolist(), table.clock_offsets_ns().tolist()
        return {
            "definition": self.definition_hash,
            "model": self.model_sha256,
            "instruments": [
                [symbol, repr(lot), repr(tick), offset]
                for symbol, lot, tick, offset in zip(table.symbols, lots, ticks, offsets, strict=True)
            ],
            "sessions": recording.sessions_of(self.bundle, table),
            "limits": hashlib.sha256(limits).hexdigest(),
            "layout": self.bundle.program.layout,
        }

    # -- another version while serving

    @property
    def bundle(self) -> Bundle:
        """What serves now."""
        return self._serving.bundle

    def reload(self, uri: str | None = None, model: str | None = None) -> dict[str, Any]:
        """Take up what the registry says now (or ``uri``): load, verify and judge it here, let it run silently until it is
        warm, then swap it in between two events. From any thread, also beside a worker. Of several models all are looked
        up anew, or only ``model``; they are swapped together.

        ``status``: ``offered`` (warming up, or taken over already), ``unchanged``, ``busy`` (one is still warming up), or
        ``failed``: the old one goes on, and ``why`` says what was wrong. StateError without ``reload="explicit"`` or ``"poll"``.
        """
        return self._serving.reload(uri, self._audit, model)

    def load(self, model: str) -> dict[str, Any]:
        """Load a lazy model of several: here, off the hot path, then it is swapped in as by :meth:`reload`, whose answers
        it gives. From any thread."""
        return self._serving.load(model, self._audit)

    def withdraw(self) -> dict[str, Any]:
        """Forget a version that is still warming up, before the next event: one whose features never become ready on this
        feed would wait for ever. From any thread; ``status``: ``withdrawn`` or ``unchanged``."""
        return self._serving.withdraw()

    def rollback(self) -> dict[str, Any]:
        """Swap the version that served before back in, warm and between two events; answers as :meth:`reload`."""
        return self._serving.rollback(self._audit)

    # -- breaker and threshold

    def tend(self) -> dict[str, Any] | None:
        """If the breaker has tripped and the version that served before is kept, swap that one in: the answer as
        :meth:`reload`'s, else None. ``run``, ``stats`` and the thread of ``reload="poll"`` do it by themselves."""
        return self._serving.tend(self._audit)

    def reset_breaker(self) -> None:
        """Listen to the model again from the next event on. From any thread, also beside a worker."""
        self._serving.forgive()
        self._pipeline.reset_breaker()

    def set_threshold(self, threshold: float | None, model: str | None = None) -> None:
        """From the next event on the threshold is this one instead of the declared; None: the declared one again.

        It goes through the stream as a CONTROL event, so it is logged and replayed in its place. ``model``: which of
        several. AlphaError if it is lower than the declared one (a backtest's may be), StateError while a worker runs: push
        :meth:`threshold_event` then.
        """
        self._pipeline.on_event(self.threshold_event(threshold, model))

    def threshold_event(self, threshold: float | None, model: str | None = None) -> npt.NDArray[Any]:
        """What :meth:`set_threshold` sends, EVENT_DTYPE ``[1]``, for a worker's ring."""
        serving, slot = self.bundle, 0
        if isinstance(serving, Group):
            if model is None:
                raise AlphaError(
                    f"the threshold of which of {', '.join(serving.seated[0].names)}? set_threshold(VALUE, model=NAME)"
                )
            slot = serving.seated[0].slot(model) + 1
            _, declared, may_lower = seats_of(self._pipeline).threshold(slot - 1)
        else:
            if model is not None:
                seating.group_of(serving)
            declared, may_lower = self._pipeline.threshold[1], self._pipeline.may_lower
        if threshold is not None:
            self._check_threshold(threshold, declared, may_lower)
        event = np.zeros(1, EVENT_DTYPE)
        event["kind"], event["instrument_id"] = Kind.CONTROL, ALL_INSTRUMENTS
        event["v"][0, :3] = Control.THRESHOLD, np.nan if threshold is None else threshold, slot
        return event

    @staticmethod
    def _check_threshold(threshold: float, declared: float, may_lower: bool) -> None:
        if not (math.isfinite(threshold) and 0 <= threshold <= 3e38):
            raise AlphaError(f"a threshold is a finite number, 0 or more, not {threshold}")
        if np.float32(threshold) < np.float32(declared) and not may_lower:
            raise AlphaError(
                f"the model declares the threshold {declared:.6g}: live it may be raised, not lowered to {threshold:.6g}; "
                "a backtest may (backtest=True)"
            )

    # -- the audit log

    def rotate_audit(self) -> None:
        """Begin the next file of the audit log: with a new HEADER, BUNDLE and STATE it can be replayed by itself.

        Also takes back AUDIT_BLOCKED. StateError without a log or while a worker runs; AlphaError if it cannot be written.
        """
        if self._audit is None:
            raise StateError("this runtime has no audit log: give it one with audit=FOLDER")
        if self._pipeline.pending:
            raise StateError("a new version is warming up: rotate when it serves")
        state = self.save_state()  # refuses while a worker runs
        recording.keep_model(self._audit, self.bundle)
        self._pipeline.attach_log(None)
        self._audit.begin(recording.header(self.bundle, self.instruments), recording.describe(self.bundle), state)
        self._pipeline.attach_log(self._audit.log)

    # -- control

    def kill(self, reason: str, model: str | None = None) -> None:
        """From the next decision on HOLD with KILLED, until :meth:`revive`. Works beside a running worker. ``model``: only
        this one of several."""
        if model is not None:
            seating.kill(self._pipeline, seating.group_of(self.bundle), model, True)
            return
        self._kills += 1
        self._pipeline.kill(True)
        self._kill_reason = reason

    def revive(self, model: str | None = None) -> None:
        """Take the kill back: the one of all, or of one of several models."""
        if model is not None:
            seating.kill(self._pipeline, seating.group_of(self.bundle), model, False)
            return
        self._pipeline.kill(False)
        self._kill_reason = ""

    def close(self) -> None:
        """Stop the worker; every call that would decide raises StateError from now on. May be called twice."""
        if self._watch is not None:
            self._watch.stop()
        if self._worker is not None:
            self._worker.stop()
        self._pipeline.close()
        if self._audit is not None:
            self._audit.finish(closed=True)

    def _check_open(self) -> None:
        if self._pipeline.closed:
            raise StateError("this runtime is closed")

    def __enter__(self) -> Runtime:
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        governed = "governed" if self.bundle.governed else "ungoverned"
        return f"Runtime({self.bundle.name}, {governed}, {len(self.instruments)} instruments)"


def signals_sha256(parts: Iterable[Signals]) -> str:
    """sha256 over the bytes of Signals in order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
