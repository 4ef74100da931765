"""Another version takes over while the runtime serves: load, verify, judge, warm, swap. Floor 6.

Everything slow happens here, off the hot path; the swap itself is native, between two events (``alpha_swap.h``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from alpha import recording
from alpha._core.pipeline import Pipeline
from alpha.audit.write import AuditLog
from alpha.bundle import Bundle, governed
from alpha.desk import Desk, Model
from alpha.errors import AlphaError, ModelError, StateError
from alpha.group import Group, governed_group, loaded_now
from alpha.instruments import Instruments
from alpha.models.judge import probe_rows
from alpha.models.load import read_file
from alpha.risk.kill import KillLatch


def judge(bundle: Bundle) -> None:
    """Run the artifact's probes through the model: every output must be finite, and probabilities must add up.

    ModelError says what is wrong. A bundle without a model (no ONNX Runtime, changed definition) is not to be swapped in.
    """
    if bundle.model is None or bundle.metadata is None or bundle.loaded is None:
        raise ModelError(bundle.why or "there is no model to serve")
    probes = np.zeros((8, bundle.model.n_in), dtype=np.float32)
    folder = bundle.loaded.directory
    if (folder / "probes.npy").is_file():
        probes = probe_rows(read_file(folder, "probes.npy", 64 * 1024 * 1024), bundle.model.n_in)
        if not len(probes):
            raise ModelError(f"{folder / 'probes.npy'} holds no rows")
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
    return (a.model_sha256, a.name, a.valid_until_ns, a.no_model if a.model is None else None) == (
        b.model_sha256,
        b.name,
        b.valid_until_ns,
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


class Serving:
    """The Bundle that a pipeline serves, the one before it, and the one that is coming in. ``source``: registry and URI
    that :meth:`reload` takes up, None where a runtime does not reload."""

    def __init__(self, bundle: Bundle, pipeline: Pipeline, instruments: Instruments) -> None:
        self._bundle, self._pipeline, self._instruments = bundle, pipeline, instruments
        self._next: Bundle | None = None
        self._previous: Bundle | None = None
        self._why = ""
        self._lock = threading.Lock()
        self.latch: KillLatch | None = None
        self.source: tuple[str | Path | None, str | Desk] | None = None

    @property
    def bundle(self) -> Bundle:
        """What serves now."""
        if self._pipeline.settle() and self._next is not None:
            self._previous, self._bundle, self._next = self._bundle, self._next, None
        return self._bundle

    def reload(self, uri: str | None, audit: AuditLog | None, model: str | None = None) -> dict[str, Any]:
        """See :meth:`alpha.Runtime.reload`."""
        if self.source is None:
            raise StateError("this runtime does not reload: make it with from_registry(..., reload='explicit')")
        with self._lock:
            try:
                return self._offer(self._fresh(*self.source, uri, model), audit)
            except AlphaError as exc:
                self._why = str(exc)
                return {"status": "failed", "why": str(exc), "model": self.bundle.name}

    def _fresh(self, registry: str | Path | None, own: str | Desk, uri: str | None, model: str | None) -> Bundle:
        """What a reload would serve."""
        if not isinstance(own, Desk):
            if model is not None:
                raise StateError("this runtime serves one model: reload(uri) without model=")
            return governed(registry, uri or own)
        serving = self.bundle
        assert isinstance(serving, Group)
        desk, bundles, _ = serving.seated
        if model is None:
            if uri is not None:
                raise StateError(f"which of {', '.join(desk.models)} is to become {uri}? reload(uri, model=NAME)")
            return governed_group(registry, desk, serving=serving)
        now = desk.model(model)
        desk = Desk({**desk.models, model: Model(uri or now.uri, now.mode, now.lazy)}, desk.ensembles, desk.splits)
        lazy = now.lazy and bundles[model].deferred
        return Group.of(desk, {**bundles, model: governed(registry, uri or now.uri, deferred=lazy)}, serving)

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
        serving = self.bundle
        if self._pipeline.pending:
            waiting = self._next.name if self._next else "?"
            return {"status": "busy", "why": f"{waiting} is warming up", "model": serving.name}
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
        """Takeovers so far, what is warming up, and why the last reload failed."""
        pending = self._next.name if self._pipeline.pending and self._next else ""
        return {"swaps": self._pipeline.swaps, "pending": pending, "failed": self._why}


class Watch:
    """A thread that calls ``reload`` when the registry file has changed. It ends with :meth:`stop`."""

    def __init__(self, registry: Path, reload: Callable[[], dict[str, Any]], every_s: float) -> None:
        if not 0.01 <= every_s <= 3600:
            raise AlphaError(f"the registry can be looked at every 0.01 to 3600 s, not {every_s}")
        self._registry, self._reload, self._every_s = registry, reload, every_s
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
            now = self._look()
            if now != self._seen and self._reload()["status"] != "busy":
                self._seen = now

    def stop(self) -> None:
        """End the thread; may be called twice."""
        self._end.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
