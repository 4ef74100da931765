"""From what a strategy asks for to Bundles. Floor 7.

A ``conf_floor`` is the runtime's threshold in a backtest (:meth:`Served.runtime`), where it may also be lower than the one
that the model declares; the model stays what was registered, and the log's STATE says what was in force.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alpha.audit.write import AuditLog
from alpha.bundle import Bundle, governed
from alpha.errors import RegistryError
from alpha.features.feature_set import FeatureSet, parse_trigger
from alpha.features.language import parse
from alpha.instruments import Instruments
from alpha.registry import find, load_trusted
from alpha.runtime import Runtime
from alpha.strategies.base import ModelRequest, Output, Strategy


@dataclass(frozen=True)
class Served:
    """A Bundle with what ``map_output`` has to know of it. ``floor``: the threshold instead of the declared one."""

    bundle: Bundle
    floor: float | None = None

    @property
    def threshold(self) -> float | None:
        """The one that is in force; None without a model."""
        meta = self.bundle.metadata
        return self.floor if self.floor is not None or meta is None else meta.decision.threshold

    def runtime(self, instruments: Instruments, audit: AuditLog | None = None) -> Runtime:
        """A runtime as a backtest has it: from ``floor`` on it decides, wherever the model's own threshold lies."""
        return Runtime(self.bundle, instruments, audit=audit, threshold=self.floor, backtest=True)

    def output(self, signals: object) -> Output:
        """Its decisions for the strategy."""
        meta = self.bundle.metadata
        kind = "none" if meta is None else meta.outputs[0].kind
        codes = () if meta is None else tuple(meta.action_codes())
        return Output(signals, kind, codes, self.bundle.name)  # type: ignore[arg-type]

    @property
    def model_id(self) -> str:
        """For limits per model."""
        meta = self.bundle.metadata
        return self.bundle.name if meta is None else meta.model_id


def uri_of(registry: str | Path | None, model: str) -> str:
    """``models:/…`` as it is; an id: its production version, else its newest. RegistryError lists the known ids."""
    if model.startswith("models:"):
        return model
    entries = [e for e in load_trusted(find(registry)).document.models if e.id == model]
    if not entries:
        known = sorted({e.id for e in load_trusted(find(registry)).document.models})
        raise RegistryError(f"no model is called {model!r}; the registry has: {', '.join(known) or 'none'}")
    live = [e for e in entries if e.status == "production"]
    return f"models:/{model}/{max((live or entries), key=lambda e: e.number).number}"


def serve(registry: str | Path | None, request: ModelRequest) -> Served:
    """The Bundle of a request, an archived version's too; RegistryError or ModelError if registry or model cannot be
    trusted."""
    return Served(governed(registry, uri_of(registry, request.model), backtest=True), request.floor)


def serve_all(registry: str | Path | None, strategy: Strategy, bar: str | None) -> Sequence[Served]:
    """Every model a strategy asks for; one that asks for none is asked at each bar (``bar``), or at its rhythm."""
    requests = strategy.requests()
    if requests:
        return [serve(registry, r) for r in requests]
    trigger = parse_trigger(f'bar("{bar}", "feed")' if bar is not None else f'every("{strategy.rhythm}")')
    value = f'bar("{bar}", "feed").close' if bar is not None else "mid"
    why = f"strategy {strategy.name} decides without a model"
    return [Served(Bundle.from_features(FeatureSet("rhythm", {"price": parse(value)}, trigger), why))]
