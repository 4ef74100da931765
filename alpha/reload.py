"""Another version takes over while the runtime serves: load, verify, judge, warm, swap. Floor 6.

Everything slow happens here, off the hot path; the swap itself is native, between two events (``alpha_swap.h``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from alpha.bundle import Bundle
from alpha.errors import AlphaError, ModelError


def judge(bundle: Bundle) -> None:
    """Run the artifact's probes through the model: every output must be finite, and probabilities must add up.

    ModelError says what is wrong. A bundle without a model (no ONNX Runtime, changed definition) is not to be swapped in.
    """
    if bundle.model is None or bundle.metadata is None or bundle.loaded is None:
        raise ModelError(bundle.why or "there is no model to serve")
    probes = np.zeros((8, bundle.model.n_in), dtype=np.float32)
    file = bundle.loaded.directory / "probes.npy"
    if file.is_file():
        try:
            found = np.load(file, allow_pickle=False)
        except (OSError, ValueError) as exc:
            raise ModelError(f"{file} cannot be read: {exc}") from None
        if found.ndim != 2 or found.shape[1] != bundle.model.n_in or not len(found):
            raise ModelError(f"{file} has the shape {found.shape}, the model takes {bundle.model.n_in} features")
        probes = np.ascontiguousarray(found, dtype=np.float32)
    out = np.asarray(bundle.model.kernel().run(probes))
    if not np.isfinite(out).all():
        raise ModelError(f"model {bundle.name} gives outputs that are not finite on its own probes")
    if bundle.metadata.outputs[0].kind == "probabilities":
        worst = float(np.abs(out.sum(axis=1) - 1).max())
        if worst > 1e-3 or float(out.min()) < -1e-3:
            raise ModelError(f"model {bundle.name} calls its outputs probabilities; their sums are off by {worst:.3g}")


def same(a: Bundle, b: Bundle) -> bool:
    """Whether a reload would change nothing."""
    return (a.model_sha256, a.name, a.valid_until_ns, a.no_model if a.model is None else None) == (
        b.model_sha256,
        b.name,
        b.valid_until_ns,
        b.no_model if b.model is None else None,
    ) and a.feature_set.definition_hash == b.feature_set.definition_hash


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
