from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

from alpha._core.checks import Checks
from alpha._core.log import Log
from alpha._core.model import ModelKernel
from alpha._core.program import Program
from alpha._core.signal import Signal
from alpha.sessions import SessionTable

OUTPUT_KINDS: dict[str, int]
RULES: dict[str, int]

@final
class Pipeline:
    program: Program
    busy: bool
    swaps: int
    seats: Any
    is_seat: bool
    closed: bool
    def __new__(
        cls,
        program: Program,
        *,
        lots: Sequence[float] | npt.NDArray[np.float64],
        clock_offsets_ns: Sequence[int] | npt.NDArray[np.int64],
        guard: Mapping[str, Any],
        mean: npt.ArrayLike,
        std: npt.ArrayLike,
        clip: tuple[float, float],
        gate: Mapping[str, Any],
        model: ModelKernel | None = ...,
        no_model: int = ...,
        model_hash: bytes = ...,
        definition_hash: bytes = ...,
        bundle_revision: int = ...,
        ticks: Sequence[float] | npt.NDArray[np.float64] | None = ...,
        sessions: Sequence[SessionTable] | None = ...,
        peers: Sequence[int] = ...,
        columns: Sequence[int] | None = ...,
        checks: Checks | None = ...,
        prepare: bool = ...,
    ) -> Pipeline: ...
    def measure_latency(self, on: bool = ...) -> None: ...
    def latency_counts(self) -> tuple[npt.NDArray[np.uint64] | None, int]: ...
    def run(self, events: npt.NDArray[Any], out: npt.NDArray[Any] | None = ...) -> npt.NDArray[Any]: ...
    def room_for(self, events: npt.NDArray[Any]) -> int: ...
    def on_event(self, event: npt.NDArray[Any] | np.void) -> Signal | None: ...
    def on_time(self, ts_ns: int) -> list[Signal]: ...
    def on_input(self, instrument_id: int, series: int, value: float, ts_ns: int) -> list[Signal]: ...
    def on_features(self, instrument_id: int, ts_ns: int, values: npt.ArrayLike) -> Signal | None: ...
    def signals(self) -> list[Signal]: ...
    def prepare(self) -> None: ...
    @property
    def prepared(self) -> int: ...
    def kill(self, on: bool = ...) -> None: ...
    def attach_log(self, log: Log | None) -> None: ...
    def offer(self, incoming: Pipeline, description: bytes, *, only_seats: bool = ...) -> None: ...
    @property
    def pending(self) -> bool: ...
    def settle(self) -> bool: ...
    def set_threshold(self, threshold: float, may_lower: bool = ...) -> None: ...
    @property
    def threshold(self) -> tuple[float, float]: ...
    @property
    def may_lower(self) -> bool: ...
    def follow(self, on: bool = ...) -> None: ...
    def reset_breaker(self) -> None: ...
    @property
    def breaker(self) -> tuple[int, int]: ...
    def watched(self, instrument_id: int) -> dict[str, Any]: ...
    def after_swap(self) -> tuple[npt.NDArray[np.int64], int]: ...
    def attach_latch(self, latch: Any, offsets: Sequence[Sequence[int]] | None) -> None: ...
    def latest(self, instrument_id: int) -> Signal | None: ...
    def features(
        self, instrument_id: int, out: npt.NDArray[np.float32] | None = ...
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], int] | None: ...
    def save(self) -> bytes: ...
    def restore(self, saved: bytes | bytearray | memoryview) -> None: ...
    @property
    def last_event(self) -> npt.NDArray[Any]: ...
    def close(self) -> None: ...
    def counters(self) -> dict[str, Any]: ...
    def instrument(self, symbol: str, instrument_id: int) -> Instrument: ...
    @property
    def killed(self) -> bool: ...
    @property
    def n_instruments(self) -> int: ...
    @property
    def has_model(self) -> bool: ...

@final
class Instrument:
    pipeline: Pipeline
    symbol: str
    id: int
    def on_quote(
        self,
        ts_ns: int,
        bid_px: float,
        ask_px: float,
        bid_qty: float,
        ask_qty: float,
        ts_recv_ns: int = ...,
        venue_seq: float = ...,
        flags: int = ...,
    ) -> Signal | None: ...
    def on_trade(
        self,
        ts_ns: int,
        px: float,
        qty: float,
        side: float = ...,
        ts_recv_ns: int = ...,
        venue_seq: float = ...,
        flags: int = ...,
    ) -> Signal | None: ...
    def on_bar(
        self,
        ts_ns: int,
        open: float,
        high: float,
        low: float,
        close: float,
        volume: float,
        ts_recv_ns: int = ...,
        flags: int = ...,
    ) -> Signal | None: ...
    def on_depth(
        self,
        ts_ns: int,
        level: int,
        bid_px: float,
        ask_px: float,
        bid_qty: float,
        ask_qty: float,
        ts_recv_ns: int = ...,
        flags: int = ...,
    ) -> Signal | None: ...
    @property
    def latest(self) -> Signal | None: ...
