"""Several Bundles over one stream that serve together. Floor 6. Immutable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np

from alpha._core.pipeline import Pipeline
from alpha._core.seats import EnsembleKernel, Seats
from alpha.bundle import Bundle, governed, ungoverned
from alpha.desk import Desk, Ensemble, Split
from alpha.engine import Engine
from alpha.errors import AlphaError, ModelError
from alpha.features.compile import compile_program
from alpha.features.native import surroundings
from alpha.features.union import Union, union_of
from alpha.instruments import Instruments
from alpha.risk.kill import KillLatch
from alpha.sessions import SessionTable

_ALL = 1 << 64


@dataclass(frozen=True)
class Group(Bundle):
    """What a pipeline of several models runs: its own fields are those of the union, ``bundles`` those of each model.

    A model without ``metadata`` could not be read at all: it looks at no features and is HOLD with NO_MODEL.
    """

    desk: Desk | None = None
    bundles: Mapping[str, Bundle] | None = None
    columns: Mapping[str, tuple[int, ...]] | None = None

    @classmethod
    def of(cls, desk: Desk, bundles: Mapping[str, Bundle], serving: Group | None = None) -> Group:
        """These models as the desk says; DefinitionError if they cannot share a stream, AlphaError if an ensemble's
        member gives no probabilities. Models of equal bytes share their session or plan. ``serving``: a group whose
        program and sessions are used where they are the same."""
        shared = _sharing(bundles, {} if serving is None else serving.seated[1])
        seen = {name: b.feature_set for name, b in shared.items() if b.metadata is not None}
        union = union_of(seen) if seen else Union(next(iter(shared.values())).feature_set, {})
        columns = {name: union.columns.get(name, ()) for name in desk.models}
        for name, ensemble in desk.ensembles.items():
            _check_members(name, ensemble, shared)
        same = serving is not None and serving.feature_set.definition_hash == union.feature_set.definition_hash
        return cls(
            union.feature_set,
            serving.program if serving is not None and same else compile_program(union.feature_set),
            model_sha256=hashlib.sha256(_identity(desk, shared)).hexdigest(),
            name=",".join(f"{name}={shared[name].name}" for name in desk.models),
            governed=all(b.governed for b in shared.values()),
            revision=max(b.revision for b in shared.values()),
            why="; ".join(f"{name}: {b.why}" for name, b in shared.items() if b.why),
            engine=Engine("several", f"of {len(shared)} models each has its own: see stats()['models']"),
            desk=desk,
            bundles=shared,
            columns=columns,
        )

    @property
    def seated(self) -> tuple[Desk, Mapping[str, Bundle], Mapping[str, tuple[int, ...]]]:
        """Desk, bundles and columns; ``of`` made them all."""
        assert self.desk is not None and self.bundles is not None and self.columns is not None
        return self.desk, self.bundles, self.columns

    def with_bundle(self, name: str, bundle: Bundle) -> Group:
        """The same desk with another model in one place."""
        desk, bundles, _ = self.seated
        return Group.of(desk, {**bundles, name: bundle}, self)

    def as_loaded_as(self, serving: Group) -> Group:
        """This group, with what the serving one has loaded of its lazy models."""
        desk, bundles, _ = self.seated
        theirs = serving.seated[1]
        loaded = {n: theirs[n] for n, b in bundles.items() if b.deferred and theirs[n].model_sha256 == b.model_sha256}
        return Group.of(desk, {**bundles, **loaded}, serving) if loaded else self

    def only_seats(self, fresh: Group) -> bool:
        """Whether a group can take over from this one at once, because features go on and no changed model remembers."""
        (desk, ours, _), (other, theirs, _) = self.seated, fresh.seated
        return (
            fresh.program is self.program
            and desk.names == other.names
            and all(_is_same(ours[n], theirs[n]) or not _remembers(theirs[n]) for n in ours)
        )

    def columns_of(self, name: str) -> tuple[int, ...]:
        """Where one model's features stand in the union's row; empty for one that could not be read."""
        return self.seated[2][name]

    def features_of(self, name: str) -> tuple[str, ...]:
        """What one place reads, in its order: a model's features, or ``member.ACTION`` of an ensemble's members."""
        desk, bundles, columns = self.seated
        if name in desk.ensembles:
            return tuple(f"{m}.{a}" for m in desk.ensembles[name].members for a in ("SELL", "HOLD", "BUY"))
        return bundles[name].feature_set.names if columns[name] else ()

    def pipeline(self, instruments: Instruments, **_: Any) -> Pipeline:
        """The lead with every model seated behind it."""
        desk, bundles, columns = self.seated
        lead = super().pipeline(instruments)
        seats: list[dict[str, Any]] = [
            {
                "pipeline": bundles[name].pipeline(instruments, program=self.program, columns=columns[name]),
                "columns": columns[name],
                "series": [self.feature_set.inputs.index(s) for s in bundles[name].feature_set.inputs],
                **_mode(desk, name),
            }
            for name in desk.models
        ]
        seats += [self._ensemble(name, e, instruments) for name, e in desk.ensembles.items()]
        Seats(lead, seats, [(_hashes(s, instruments), s.bucket_ns) for s in desk.splits])
        return lead

    def gate_sessions(self, instruments: Instruments) -> list[SessionTable | None] | None:
        """Of each instrument the sessions that any of the models asks for: they read one stream, so they name the same."""
        asked = [b.gate_sessions(instruments) for b in self.seated[1].values()]
        told = [tables for tables in asked if tables is not None]
        return [next((t for t in each if t is not None), None) for each in zip(*told, strict=True)] if told else None

    def _ensemble(self, name: str, ensemble: Ensemble, instruments: Instruments) -> dict[str, Any]:
        desk, _, _ = self.seated
        kernel = EnsembleKernel(
            ensemble.combine, list(ensemble.members.values()), [m in ensemble.may_veto for m in ensemble.members]
        )
        n = kernel.n_in
        pipeline = Pipeline(
            self.program,
            **surroundings(self.feature_set, instruments),
            columns=[0] * n,
            mean=np.zeros(n),
            std=np.ones(n),
            clip=(-np.inf, np.inf),
            gate={
                "output_kind": "probabilities",
                "rule": "argmax",
                "actions": [-1, 0, 1],
                "threshold": ensemble.threshold,
                "cooldown_ns": ensemble.cooldown_ns,
                "valid_until_ns": None,
            },
            model=kernel,
            model_hash=bytes.fromhex(self.ensemble_sha256(name))[:16],
            definition_hash=hashlib.sha256(self.feature_set.canonical().encode()).digest()[:16],
            bundle_revision=self.revision,
        )
        return {
            "pipeline": pipeline,
            "columns": [0] * n,
            "ensemble": kernel,
            "members": [desk.slot(m) for m in ensemble.members],
            "skips": ensemble.on_fault == "skip",
            **_mode(desk, name),
        }

    def attach_latch(self, lead: Pipeline, latch: KillLatch, symbols: Sequence[str]) -> None:
        """The lead heeds the bytes for all and for each instrument, every model its own as well; an ensemble's is its name's."""
        desk, bundles, _ = self.seated
        for slot, name in enumerate(desk.names):
            known = bundles[name].name if name in bundles else name
            data, offsets = latch.bytes_of(known, symbols)
            seats_of(lead).attach_latch(slot, data, offsets)
        lead.attach_latch(data, [(everyone, everyone, own) for everyone, _, own in offsets])

    def ensemble_sha256(self, name: str) -> str:
        """sha256 of how an ensemble combines and of its members' bytes, hex."""
        desk, bundles, _ = self.seated
        told = dict(desk.plain()["ensembles"])[name]
        members = [[m, bundles[m].model_sha256] for m in desk.ensembles[name].members]
        return hashlib.sha256(_json({"ensemble": told, "members": members})).hexdigest()


def seats_of(lead: Pipeline) -> Seats:
    """The seats behind a lead."""
    return cast(Seats, lead.seats)


def load_group(
    told: Desk | Mapping[str, Any],
    load: Callable[..., Bundle],
    *,
    precision: str = "float32",
    hold: bool = False,
    serving: Group | None = None,
) -> Group:
    """A group of what ``load(uri, deferred=…, precision=…)`` gives; ``precision``: of models that name none. ``hold``: a model that cannot be loaded is HOLD with NO_MODEL
    instead of an error; ``serving``: a model that serves there already stays loaded."""
    desk = Desk.of(told)
    bundles: dict[str, Bundle] = {}
    for name in desk.models:
        model = desk.model(name)
        now = None if serving is None else serving.seated[1].get(name)
        try:
            bundles[name] = load(
                model.uri,
                deferred=model.lazy and (now is None or now.deferred),
                precision=model.precision or precision,
            )
        except AlphaError as exc:
            if not hold:
                raise type(exc)(f"model {name!r}: {exc}") from None
            bundles[name] = Bundle.without_anything(str(exc))
    return Group.of(desk, bundles, serving)


def governed_group(
    registry: str | Path | None,
    told: Desk | Mapping[str, Any],
    engine: str = "auto",
    *,
    precision: str = "float32",
    hold: bool = False,
    serving: Group | None = None,
    backtest: bool = False,
) -> Group:
    """The desk's models from a registry, see :func:`alpha.bundle.governed`."""

    def load(uri: str, *, deferred: bool, precision: str) -> Bundle:
        return governed(registry, uri, engine, precision=precision, deferred=deferred, backtest=backtest)

    return load_group(told, load, precision=precision, hold=hold, serving=serving)


def ungoverned_group(told: Desk | Mapping[str, Any], engine: str = "auto", *, precision: str = "float32") -> Group:
    """The desk's models from artifact folders, which stand where a registry's URIs would."""

    def load(uri: str, *, deferred: bool, precision: str) -> Bundle:
        return ungoverned(uri, engine, precision=precision, deferred=deferred)

    return load_group(told, load, precision=precision)


def loaded_now(bundle: Bundle) -> Bundle:
    """A deferred bundle with its engine."""
    if bundle.loaded is None or not bundle.deferred:
        raise ModelError(f"model {bundle.name} is loaded already")
    return Bundle.from_model(
        bundle.loaded,
        name=bundle.name,
        governed=bundle.governed,
        revision=bundle.revision,
        engine=bundle.wanted,
        precision=bundle.precision,
        valid_until_ns=bundle.valid_until_ns,
        inactive=bundle.inactive,
    )


def shares(split: Split) -> dict[str, tuple[int, int]]:
    """Per arm the first and last of the hashes, 0 to 2**64 - 1, for which it is emitted."""
    weights = {arm: Fraction(weight) for arm, weight in split.arms.items()}
    total, at, before = sum(weights.values()), Fraction(0), 0
    out: dict[str, tuple[int, int]] = {}
    for arm, weight in weights.items():
        at += weight
        end = round(at / total * _ALL)
        if end == before:
            raise AlphaError(f"split {split.salt!r}: the weight of {arm!r} is too small to ever be emitted")
        out[arm], before = (before, end - 1), end
    return out


def _mode(desk: Desk, name: str) -> dict[str, Any]:
    found = desk.arm(name)
    if found is None:
        return {"mode": desk.mode(name)}
    number, split = found
    first, last = shares(split)[name]
    return {"mode": "arm", "split": number, "from": first, "upto": last}


def _hashes(split: Split, instruments: Instruments) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """What salt and symbol, or the salt alone, say of each instrument."""
    texts = [f"{split.salt}\0{'' if split.by == 'time' else symbol}" for symbol in instruments.symbols]
    return np.array([int.from_bytes(hashlib.sha256(t.encode()).digest()[:8], "little") for t in texts], dtype=np.uint64)


def _is_same(a: Bundle, b: Bundle) -> bool:
    one, other = (x.loaded.metadata_sha256 if x.loaded is not None else "" for x in (a, b))
    return a is b or (a.model is b.model and one == other != "")


def _remembers(bundle: Bundle) -> bool:
    model = bundle.model
    return model is not None and (model.n_carry > 0 or model.n_in != len(bundle.feature_set.names))


def _sharing(bundles: Mapping[str, Bundle], serving: Mapping[str, Bundle]) -> dict[str, Bundle]:
    """Equal bytes under equal terms share one session or plan, which is immutable."""
    first: dict[tuple[str, ...], Bundle] = {}
    out = {}
    for name, b in [*((None, b) for b in serving.values()), *bundles.items()]:
        if b.model is not None and b.metadata is not None:
            read = b.metadata.outputs[0].name, repr(b.metadata.carry)
            one = first.setdefault((b.model_sha256, b.engine.name, b.precision, *read), b)
            if one.model is not b.model:
                b = replace(b, model=one.model, engine=one.engine)
        if name is None:
            continue
        out[name] = b
    return out


def _check_members(name: str, ensemble: Ensemble, bundles: Mapping[str, Bundle]) -> None:
    for member in ensemble.members:
        meta = bundles[member].metadata
        if meta is not None and meta.outputs[0].kind == "value":
            raise AlphaError(
                f"ensemble {name!r}: {member!r} gives a value, not probabilities of its actions; an ensemble cannot read it"
            )


def _identity(desk: Desk, bundles: Mapping[str, Bundle]) -> bytes:
    return _json({"desk": desk.plain(), "models": [[n, b.model_sha256, b.deferred] for n, b in bundles.items()]})


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
