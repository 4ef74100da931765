"""Another version takes over while the runtime serves: load, verify, judge, warm, swap. Floor 6.

Everything slow happens here, off the hot path; the swap itself is native, between two events (``alpha_swap.h``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from alpha import recording
from alpha._core.pipeline import Pipeline
from alpha.audit.write import AuditLog
from alpha.bundle import Bundle, governed
from alpha.errors import AlphaError, ModelError, StateError
from alpha.instruments import Instruments
from alpha.models.judge import probe_rows
from alpha.models.load import read_file
from alpha.registry import find, inactive_reason, load_policy, load_trusted


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
    return (a.model_sha256, a.name, a.valid_until_ns, a.inactive, a.no_model if a.model is None else None) == (
        b.model_sha256,
        b.name,
        b.valid_until_ns,
        b.inactive,
        b.no_model if b.model is None else None,
    ) and a.feature_set.definition_hash == b.feature_set.definition_hash


class Serving:
    """The Bundle that a pipeline serves, the one before it, and the one that is coming in. ``source``: registry and URI
    that :meth:`reload` takes up, None where a runtime does not reload."""

    def __init__(self, bundle: Bundle, pipeline: Pipeline, instruments: Instruments) -> None:
        self._bundle, self._pipeline, self._instruments = bundle, pipeline, instruments
        self._next: Bundle | None = None
        self._previous: Bundle | None = None
        self._why = ""
        self._broken: Bundle | None = None  # what the breaker rolled back
        self._lock = threading.Lock()
        self.source: tuple[str | Path | None, str] | None = None

    @property
    def bundle(self) -> Bundle:
        """What serves now."""
        if self._pipeline.settle() and self._next is not None:
            # what the breaker rolled back is not kept: it would be the next to come back
            self._previous = None if self._bundle is self._broken else self._bundle
            self._bundle, self._next = self._next, None
        return self._bundle

    def reload(self, uri: str | None, audit: AuditLog | None) -> dict[str, Any]:
        """See :meth:`alpha.Runtime.reload`."""
        if self.source is None:
            raise StateError("this runtime does not reload: make it with from_registry(..., reload='explicit')")
        registry, own = self.source
        with self._lock:
            try:
                bundle = governed(registry, uri or own)
                if self._broken is not None and same(bundle, self._broken):
                    raise ModelError(
                        f"the breaker rolled {bundle.name} back: promote another version, or reset_breaker() to allow it"
                    )
                return self._offer(bundle, audit)
            except AlphaError as exc:
                if uri is None and (gone := self._withdrawn(registry, own)) is not None:
                    return self._offer(gone, audit)
                self._why = str(exc)
                return {"status": "failed", "why": str(exc), "model": self.bundle.name}

    def _withdrawn(self, registry: str | Path | None, uri: str) -> Bundle | None:
        """What serves, marked inactive, if the registry can be trusted, has nothing for ``uri`` any more, and no longer lets
        this version decide. A version that merely cannot be loaded is no reason to stop the one that serves."""
        serving = self.bundle
        if not serving.governed:
            return None
        try:
            book = load_trusted(find(registry))
        except AlphaError:
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

    def rollback(self, audit: AuditLog | None) -> dict[str, Any]:
        """See :meth:`alpha.Runtime.rollback`."""
        with self._lock:
            serving = self.bundle
            if self._previous is None:
                return {"status": "failed", "why": "no version served before this one", "model": serving.name}
            return self._offer(self._previous, audit)

    def _offer(self, bundle: Bundle, audit: AuditLog | None) -> dict[str, Any]:
        serving = self.bundle
        if self._pipeline.pending:
            waiting = self._next.name if self._next else "?"
            return {"status": "busy", "why": f"{waiting} is warming up", "model": serving.name}
        if same(serving, bundle):
            return {"status": "unchanged", "why": "", "model": serving.name}
        judge(bundle)
        if audit is not None:
            recording.keep_incoming(audit, bundle)
        fresh = bundle.pipeline(self._instruments)
        self._next, self._why = bundle, ""
        self._pipeline.offer(fresh, recording.description(bundle)[1])
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
