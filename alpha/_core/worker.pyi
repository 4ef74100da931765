from types import TracebackType
from typing import Any, final

import numpy.typing as npt

from alpha._core.pipeline import Pipeline
from alpha._core.ring import Ring
from alpha._core.signal import Signal

@final
class Worker:
    pipeline: Pipeline
    ring: Ring
    running: bool
    def __new__(cls, pipeline: Pipeline, ring: Ring, *, cpu: int | None = ..., signals: int = ...) -> Worker: ...
    def __enter__(self) -> Worker: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
    def stop(self) -> None: ...
    def push_many(self, events: npt.NDArray[Any]) -> int: ...
    def push_quote(
        self,
        instrument_id: int,
        ts_ns: int,
        bid_px: float,
        ask_px: float,
        bid_qty: float,
        ask_qty: float,
        ts_recv_ns: int = ...,
        venue_seq: float = ...,
        flags: int = ...,
    ) -> bool: ...
    def push_trade(
        self,
        instrument_id: int,
        ts_ns: int,
        px: float,
        qty: float,
        side: float = ...,
        ts_recv_ns: int = ...,
        venue_seq: float = ...,
        flags: int = ...,
    ) -> bool: ...
    def poll(self, max_age_ns: int = ...) -> Signal | None: ...
    def poll_many(self, limit: int = ...) -> npt.NDArray[Any]: ...
    @property
    def processed(self) -> int: ...
    @property
    def backlog(self) -> int: ...
    @property
    def lost_signals(self) -> int: ...
    @property
    def stale_signals(self) -> int: ...
    @property
    def pinned(self) -> bool: ...
