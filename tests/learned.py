"""Worlds to learn in: a registry with the shipped demo model in production, and audit logs of what it served."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy.typing as npt

import alpha
from alpha.audit import AuditLog
from alpha.data.simulate import SimulatedStream, simulate
from alpha.features import catalog
from alpha.features.feature_set import FeatureSet
from alpha.registry import load

DAY_NS = 86_400 * 10**9
URI = "models:/demo@production"
DEMO: FeatureSet = catalog.get("demo")


def registry(folder: Path, project_root: Path) -> Path:
    """A copy of the shipped registry."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(project_root / "registry.json", folder)
    shutil.copytree(project_root / "artifacts", folder / "artifacts")
    return folder / "registry.json"


def a_day_later(stream: SimulatedStream) -> npt.NDArray[Any]:
    """Its events behind everything that demo was trained on."""
    events = stream.events.copy()
    for name in ("ts_event_ns", "ts_recv_ns"):
        events[name] += DAY_NS
    return events


def served(
    file: Path,
    events: npt.NDArray[Any],
    folder: Path,
    act: Callable[[alpha.Runtime, npt.NDArray[Any]], None] | None = None,
    **more: Any,
) -> Path:
    """The log of demo over these events; ``act`` runs them instead of ``rt.run``."""
    table = simulate(1).instruments
    log = AuditLog(folder, policy="wait")
    with alpha.Runtime.from_registry(file, URI, instruments=table, audit=log, **more) as rt:
        if act is None:
            rt.run(events)
        else:
            act(rt, events)
    return folder


def production_of(file: Path) -> dict[str, str]:
    """sha256 of everything that must not change: production's line of the registry and every file of its artifact."""
    book = load(file)
    entry = book.resolve(URI)
    out = {"entry": hashlib.sha256(msgspec.json.encode(entry)).hexdigest()}
    for path in sorted(book.artifact_dir(entry).iterdir()):
        out[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return out
