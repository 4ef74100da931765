"""From what a strategy asks for to Bundles. Floor 7.

:func:`with_floor` is the one place where a backtest's ``conf_floor`` meets a model: it serves the same bytes with another
threshold in the metadata, under another metadata hash and marked ungoverned, so that log and replay say what decided.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from alpha.bundle import Bundle, governed
from alpha.errors import RegistryError
from alpha.features.feature_set import FeatureSet, parse_trigger
from alpha.features.language import parse
from alpha.models.load import LoadedModel
from alpha.models.metadata import encode
from alpha.registry import find, load_policy, load_trusted, objections
from alpha.strategies.base import ModelRequest, Output, Strategy


@dataclass(frozen=True)
class Served:
    """A Bundle with what ``map_output`` has to know of it. ``floor``: the threshold that was put in, if any."""

    bundle: Bundle
    floor: float | None = None

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


def with_floor(model: LoadedModel, floor: float) -> LoadedModel:
    """The same model, deciding from a confidence of ``floor`` on."""
    decision = msgspec.structs.replace(model.metadata.decision, threshold=floor)
    meta = msgspec.structs.replace(model.metadata, decision=decision)
    raw = encode(meta)
    return dataclasses.replace(
        model, metadata=meta, metadata_bytes=raw, metadata_sha256=hashlib.sha256(raw).hexdigest()
    )


def serve(registry: str | Path | None, request: ModelRequest) -> Served:
    """The Bundle of a request; RegistryError or ModelError if registry or model cannot be trusted."""
    uri = uri_of(registry, request.model)
    if request.floor is None:
        return Served(governed(registry, uri))
    book = load_trusted(find(registry))
    entry, model = book.load_model(uri)
    for objection in objections(entry, load_policy(book.path)):
        raise RegistryError(objection)
    bundle = Bundle.from_model(
        with_floor(model, request.floor),
        name=f"{entry.id}/{entry.number}",
        governed=False,
        revision=book.document.revision,
        valid_until_ns=entry.valid_until_ns,
    )
    return Served(bundle, request.floor)


def serve_all(registry: str | Path | None, strategy: Strategy, bar: str | None) -> Sequence[Served]:
    """Every model a strategy asks for; one that asks for none is asked at each bar (``bar``), or at its rhythm."""
    requests = strategy.requests()
    if requests:
        return [serve(registry, r) for r in requests]
    trigger = parse_trigger(f'bar("{bar}", "feed")' if bar is not None else f'every("{strategy.rhythm}")')
    value = f'bar("{bar}", "feed").close' if bar is not None else "mid"
    why = f"strategy {strategy.name} decides without a model"
    return [Served(Bundle.from_features(FeatureSet("rhythm", {"price": parse(value)}, trigger), why))]
