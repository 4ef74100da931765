"""Another version takes over while the runtime serves: load, verify, judge, warm, swap. Floor 6.

Everything slow happens here, off the hot path; the swap itself is native, between two events (``alpha_swap.h``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from alpha import recording
from alpha._core.pipeline import Pipeline
from alpha.audit.write import AuditLog
from alpha.bundle import Bundle, governed
from alpha.desk import Desk
from alpha.errors import AlphaError, ModelError, StateError
from alpha.group import Group, governed_group, loaded_now
from alpha.instruments import Instruments
from alpha.models.judge import probe_rows
from alpha.registry import Registry, find, inactive_reason, load_policy, load_trusted
from alpha.risk.kill import KillLatch


def judge(bundle: Bundle) -> None:
    """Run the artifact's probes through the model: every output must be finite, and probabilities must add up.

    ModelError says what is wrong. A bundle without a model (no ONNX Runtime, changed definition) is not to be swapped in.
    """
    if bundle.model is None or bundle.metadata is None or bundle.loaded is None:
        raise ModelError(bundle.why or "there is no model to serve")
    probes = np.zeros((8, bundle.model.n_in), dtype=np.float32)
    if bundle.loaded.probes is not None:
        probes = probe_rows(bundle.loaded.probes, bundle.model.n_in, len(bundle.metadata.feature_names))
    out = np.asarray(bundle.model.kernel().run(probes))
    if not np.isfinite(out).all():
        raise ModelError(f"model {bundle.name} gives outputs that are not finite on its own probes")
    if bundle.metadata.outputs[0].kind == "probabilities":
        worst = float(np.abs(out.sum(axis=1) - 1).max())
        if worst > 1e-3 or float(out.min()) < -1e-3:
            raise ModelError(f"model {bundle.name} calls its outputs probabilities; their sums are off by {worst:.3g}")


def same(a: Bundle, b: Bundle) -> bool:
    """Whether a reload would change nothing."""
    if isinstance(a, Group) and isinstance(b, Group):
        (desk, ours, _), (other_desk, theirs, _) = a.seated, b.seated
        return desk == other_desk and all(
            same(ours[n], theirs[n]) and ours[n].deferred == theirs[n].deferred for n in ours
        )
    return (
        a.model_sha256,
        a.precision,
        a.name,
        a.valid_until_ns,
        a.inactive,
        a.no_model if a.model is None else None,
    ) == (
        b.model_sha256,
        b.precision,
        b.name,
        b.valid_until_ns,
        b.inactive,
        b.no_model if b.model is None else None,
    ) and a.feature_set.definition_hash == b.feature_set.definition_hash


def judge_changes(serving: Bundle, bundle: Bundle) -> None:
    """:func:`judge`; of several models each that does not serve already and is to be loaded."""
    if not isinstance(bundle, Group):
        judge(bundle)
        return
    before = serving.seated[1] if isinstance(serving, Group) else {}
    for name, one in bundle.seated[1].items():
        if not one.deferred and (name not in before or not same(before[name], one) or before[name].deferred):
            judge(one)


def _inactive(book: Registry, uri: str, serving: Bundle) -> Bundle | None:
    """What serves for ``uri``, marked inactive; None where the registry does not forbid it."""
    if not serving.governed:
        return None
    try:
        book.resolve(uri)
    except AlphaError:
        try:
            why = inactive_reason(book.resolve(f"models:/{serving.name}"), load_policy(book.path))
        except AlphaError:
            return None
        return replace(serving, inactive=why) if why and not serving.inactive else None
    return None


class Serving:
    """The Bundle that a pipeline serves, the one before it, and the one that is coming in. ``source``: registry and URI
    that :meth:`reload` takes up, None where a runtime does not reload; ``engine``, ``precision``: of what it takes up."""

    def __init__(self, bundle: Bundle, pipeline: Pipeline, instruments: Instruments) -> None:
        self._bundle, self._pipeline, self._instruments = bundle, pipeline, instruments
        self._next: Bundle | None = None
        self._previous: Bundle | None = None
        self._why = ""
        self._broken: Bundle | None = None  # what the breaker rolled back
        self._lock = threading.Lock()
        self._settling = threading.Lock()  # who notices a takeover also says whose it was, before anybody else looks
        self.latch: KillLatch | None = None
        self.source: tuple[str | Path | None, str | Desk] | None = None
        self.engine = "auto"
        self.precision = "float32"

    @property
    def bundle(self) -> Bundle:
        """What serves now."""
        with self._settling:
            if self._pipeline.settle() and self._next is not None:
                # what the breaker rolled back is not kept: it would be the next to come back
                self._previous = None if self._bundle is self._broken else self._bundle
                self._bundle, self._next = self._next, None
            return self._bundle

    def reload(self, uri: str | None, audit: AuditLog | None, model: str | None = None) -> dict[str, Any]:
        """See :meth:`alpha.Runtime.reload`."""
        if self.source is None:
            raise StateError("this runtime does not reload: make it with from_registry(..., reload='explicit')")
        with self._lock:
            try:
                bundle = self._fresh(*self.source, uri, model)
                if self._broken is not None and same(bundle, self._broken):
                    raise ModelError(
                        f"the breaker rolled {bundle.name} back: promote another version, or reset_breaker() to allow it"
                    )
                return self._offer(bundle, audit)
            except AlphaError as exc:
                if uri is None and model is None and (gone := self._withdrawn(*self.source)) is not None:
                    return self._offer(gone, audit)
                self._why = str(exc)
                return {"status": "failed", "why": str(exc), "model": self.bundle.name}

    def _fresh(self, registry: str | Path | None, own: str | Desk, uri: str | None, model: str | None) -> Bundle:
        """What a reload would serve."""
        if not isinstance(own, Desk):
            if model is not None:
                raise StateError("this runtime serves one model: reload(uri) without model=")
            return governed(registry, uri or own, self.engine, precision=self.precision)
        serving = self.bundle
        assert isinstance(serving, Group)
        desk, bundles, _ = serving.seated
        if model is None:
            if uri is not None:
                raise StateError(f"which of {', '.join(desk.models)} is to become {uri}? reload(uri, model=NAME)")
            return governed_group(registry, desk, self.engine, precision=self.precision, serving=serving)
        now = desk.model(model)
        changed = msgspec.structs.replace(now, uri=uri or now.uri)
        desk = Desk({**desk.models, model: changed}, desk.ensembles, desk.splits)
        precision = now.precision or self.precision
        lazy = now.lazy and bundles[model].deferred
        fresh = governed(registry, changed.uri, self.engine, precision=precision, deferred=lazy)
        return Group.of(desk, {**bundles, model: fresh}, serving)

    def load(self, model: str, audit: AuditLog | None) -> dict[str, Any]:
        """See :meth:`alpha.Runtime.load`."""
        with self._lock:
            serving = self.bundle
            if not isinstance(serving, Group):
                raise StateError("this runtime serves one model, which is loaded")
            desk, bundles, _ = serving.seated
            if not bundles[desk.checked(model)].deferred:
                return {"status": "unchanged", "why": "", "model": serving.name}
            try:
                return self._offer(serving.with_bundle(model, loaded_now(bundles[model])), audit)
            except AlphaError as exc:
                self._why = str(exc)
                return {"status": "failed", "why": str(exc), "model": serving.name}

    def _withdrawn(self, registry: str | Path | None, own: str | Desk) -> Bundle | None:
        """What serves, marked inactive, if the registry can be trusted, has nothing for its URI any more, and no longer lets
        this version decide; of several models those of which that is so. A version that merely cannot be loaded is no reason
        to stop the one that serves."""
        serving = self.bundle
        try:
            book = load_trusted(find(registry))
        except AlphaError:
            return None
        if isinstance(own, str):
            return _inactive(book, own, serving)
        assert isinstance(serving, Group)
        desk, bundles, _ = serving.seated
        gone = {name: _inactive(book, desk.model(name).uri, bundles[name]) for name in desk.models}
        if not any(gone.values()):
            return None
        return Group.of(desk, {name: gone[name] or bundles[name] for name in desk.models})

    def tend(self, audit: AuditLog | None) -> dict[str, Any] | None:
        """Where the breaker has tripped and the version before is kept: offer that one. None if there is nothing to do."""
        tripped, _ = self._pipeline.breaker
        if not tripped or self._pipeline.pending:
            return None
        with self._lock:
            broken = self.bundle
            if self._previous is None or not self._pipeline.breaker[0]:
                return None
            try:
                answer = self._offer(self._previous, audit)
            except AlphaError as exc:
                self._why, self._previous = str(exc), None
                return {"status": "failed", "why": str(exc), "model": broken.name}
            if answer["status"] == "offered":
                self._broken = broken
                self._why = f"the breaker rolled {broken.name} back to {answer['model']}"
                answer["why"] = self._why
            return answer

    def expect(self, bundle: Bundle) -> None:
        """What was offered to the pipeline by another way, as a replay does."""
        self._next = bundle

    def forgive(self) -> None:
        """What the breaker rolled back may be taken up again."""
        self._broken = None

    def withdraw(self) -> dict[str, Any]:
        """See :meth:`alpha.Runtime.withdraw`."""
        with self._lock:
            serving = self.bundle
            if not self._pipeline.withdraw():
                return {"status": "unchanged", "why": "nothing is warming up", "model": serving.name}
            return {"status": "withdrawn", "why": "", "model": serving.name}

    def rollback(self, audit: AuditLog | None) -> dict[str, Any]:
        """See :meth:`alpha.Runtime.rollback`."""
        with self._lock:
            serving = self.bundle
            if self._previous is None:
                return {"status": "failed", "why": "no version served before this one", "model": serving.name}
            before = self._previous
            if isinstance(before, Group) and isinstance(serving, Group):
                before = before.as_loaded_as(serving)
            return self._offer(before, audit)

    def _offer(self, bundle: Bundle, audit: AuditLog | None) -> dict[str, Any]:
        if self._pipeline.pending:
            waiting = self._next.name if self._next else "?"
            return {
                "status": "busy",
                "why": f"{waiting} is warming up; withdraw() takes it back",
                "model": self.bundle.name,
            }
        serving = self.bundle  # asked for after nothing is pending: a takeover in between is noticed
        if same(serving, bundle):
            return {"status": "unchanged", "why": "", "model": serving.name}
        judge_changes(serving, bundle)
        if audit is not None:
            recording.keep_incoming(audit, bundle)
        fresh = bundle.pipeline(self._instruments)
        if self.latch is not None and isinstance(bundle, Group):
            bundle.attach_latch(fresh, self.latch, self._instruments.symbols)
        self._next, self._why = bundle, ""
        alone = isinstance(serving, Group) and isinstance(bundle, Group) and serving.only_seats(bundle)
        self._pipeline.offer(fresh, recording.description(bundle)[1], only_seats=alone)
        return {"status": "offered", "why": "", "model": bundle.name}

    def stats(self) -> dict[str, Any]:
        """Takeovers so far, what is warming up, why the last reload failed, and what the first events after the last
        takeover took: ``events`` (at most 100), ``signals`` among them, ``p50_ns``, ``max_ns``."""
        pending = self._next.name if self._pipeline.pending and self._next else ""
        took, made = self._pipeline.after_swap()
        after = {
            "events": len(took),
            "signals": made,
            "p50_ns": int(np.median(took)) if len(took) else None,
            "max_ns": int(took.max()) if len(took) else None,
        }
        return {"swaps": self._pipeline.swaps, "pending": pending, "failed": self._why, "after_swap": after}


class Watch:
    """A thread that calls ``reload`` when the registry file has changed, and ``tend`` each time. It ends with :meth:`stop`."""

    def __init__(
        self,
        registry: Path,
        reload: Callable[[], dict[str, Any]],
        every_s: float,
        tend: Callable[[], object] = lambda: None,
    ) -> None:
        if not 0.01 <= every_s <= 3600:
            raise AlphaError(f"the registry can be looked at every 0.01 to 3600 s, not {every_s}")
        self._registry, self._reload, self._every_s, self._tend = registry, reload, every_s, tend
        self._seen = self._look()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alpha-reload", daemon=True)
        self._thread.start()

    def _look(self) -> tuple[int, int, int] | None:
        try:
            s = self._registry.stat()
        except OSError:
            return None
        return s.st_mtime_ns, s.st_ino, s.st_size

    def _run(self) -> None:
        while not self._end.wait(self._every_s):
            self._tend()
            now = self._look()
            if now != self._seen and self._reload()["status"] != "busy":
                self._seen = now

    def stop(self) -> None:
        """End the thread; may be called twice."""
        self._end.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
