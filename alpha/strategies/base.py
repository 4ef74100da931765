"""What a strategy is: hooks, suggestions, and the map from a model's output to a graded action. Floor 7.

Signals depend on the event stream only, so a whole chunk of them can be made natively before a strategy sees the first.
``map_output`` grades such a chunk at once; hooks are called in the order of events, and a hook that a class does not
override costs nothing: no event is looked at for its sake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from alpha.errors import StrategyError
from alpha.events import Reason
from alpha.strategies.parameters import Parameter, accept_all

Array = npt.NDArray[Any]
Grades = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]


class Grade(IntEnum):
    """A graded action. The sign is the side; STRONG is more of the same."""

    STRONG_SELL = -2
    SELL = -1
    HOLD = 0
    BUY = 1
    STRONG_BUY = 2


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a strategy would like to be done: routed, sized and approved by others. HOLD suggests nothing.

    ``confidence`` 0 to 1. ``models``: model id to its share of the suggestion (empty: the strategy's own models).
    """

    symbol: str
    grade: Grade
    confidence: float = 1.0
    models: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StrategySignal:
    """One decision as ``on_signal`` sees it: already graded by ``map_output``. Times in ns; ``scores`` of the first model."""

    symbol: str
    ts_ns: int
    grade: Grade
    confidence: float
    value: float
    scores: tuple[float, ...]
    ref_px: float


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A model that a strategy wants to be served. ``model``: a URI ``models:/id/3``, or an id: its production version,
    else the newest. ``floor``: minimum confidence in place of the model's own threshold."""

    model: str
    floor: float | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """One model's decisions, SIGNAL_DTYPE [N]. ``kind``: probabilities, logits (which the native gate has made
    probabilities), value, or none; ``actions``: -1, 0, 1 of each score."""

    signals: Array
    kind: str
    actions: tuple[int, ...]
    model: str

    @property
    def decided(self) -> npt.NDArray[np.bool_]:
        """Where the model itself decided: no gate, guard or cold window stood in between."""
        return np.asarray(self.signals["reason"] == Reason.MODEL)

    def sides(self) -> tuple[Floats, Floats]:
        """(probability of up, of down), each [N]; StrategyError for a model that gives a value."""
        if self.kind not in ("probabilities", "logits"):
            raise StrategyError(f"model {self.model} gives a {self.kind}, no probabilities: use the strategy threshold")
        scores = self.signals["scores"]
        up, down = (
            scores[:, [k for k, a in enumerate(self.actions) if a == side]].sum(axis=1, dtype=np.float32)
            for side in (1, -1)
        )
        return up, down


class View(Protocol):
    """What a hook may look at: nothing of it is later than the event at hand."""

    @property
    def now_ns(self) -> int:
        """Stream time of the event at hand."""

    @property
    def equity(self) -> float:
        """Cash and positions at the last prices."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Instruments of the stream."""

    def position(self, symbol: str) -> float:
        """Signed quantity held."""

    def price(self, symbol: str) -> float | None:
        """The last price, None if there is none or it is too old."""


Answer = Suggestion | Iterable[Suggestion] | None
HOOKS = ("on_start", "on_quote", "on_trade", "on_bar", "on_signal", "on_stop")


class Strategy:
    """Subclass, declare ``parameters``, override ``map_output`` or hooks, and :func:`alpha.strategies.register` it.

    ``rhythm``: of a strategy that asks for no model, how often it is asked; rows then have no model's decision.
    ``every_signal``: ``on_signal`` sees HOLD too (default: graded BUY and SELL only).
    """

    name: ClassVar[str] = ""
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    every_signal: ClassVar[bool] = False
    rhythm: str = "1m"

    def __init__(self, **given: Any) -> None:
        self.params: dict[str, Any] = accept_all(self.name or type(self).__name__, self.parameters, given)

    @classmethod
    def overridden(cls) -> frozenset[str]:
        """Names of the hooks that this class implements."""
        return frozenset(h for h in HOOKS if getattr(cls, h) is not getattr(Strategy, h))

    # -- what it needs and how it grades

    def requests(self) -> Sequence[ModelRequest]:
        """The models to serve, in the order of ``map_output``'s outputs; none: rows come at ``rhythm``."""
        return ()

    def map_output(self, outputs: Sequence[Output]) -> tuple[Grades, Floats]:
        """(grades [N], confidence [N]) of the rows that all outputs share. Called once a chunk, in order."""
        n = len(outputs[0].signals)
        return np.zeros(n, np.int8), np.zeros(n, np.float32)

    # -- hooks; each may return suggestions

    def on_start(self, view: View) -> Answer:
        """Before the first event."""

    def on_quote(self, view: View, symbol: str, event: np.void) -> Answer:
        """After a quote that the guard accepted; ``event``: EVENT_DTYPE."""

    def on_trade(self, view: View, symbol: str, event: np.void) -> Answer:
        """After a trade that the guard accepted."""

    def on_bar(self, view: View, symbol: str, event: np.void) -> Answer:
        """After a bar has closed."""

    def on_signal(self, view: View, signal: StrategySignal) -> Answer:
        """A graded decision. Not overridden, its grade is the suggestion."""

    def on_stop(self, view: View) -> Answer:
        """After the last event; suggestions come too late."""

    def on_save(self) -> bytes:
        """What the strategy remembers, for :meth:`on_load` of an equal one."""
        return b""

    def on_load(self, blob: bytes) -> None:
        """Take up what :meth:`on_save` gave; StrategyError for anything else."""
        if blob:
            raise StrategyError(f"strategy {self.name} remembers nothing, so it cannot take up a state")


def graded(action: Array, strength: Array, strong: float) -> Grades:
    """BUY and SELL by sign of ``action``, STRONG where ``strength`` reaches ``strong``: never weaker for a stronger one."""
    side = np.sign(action).astype(np.int8)
    return np.asarray(side * np.where(strength >= np.float32(strong), np.int8(2), np.int8(1)), np.int8)
