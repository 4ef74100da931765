"""Prepared data for another process: arrays in a file that it reads by the same path, the rest beside its task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from alpha.distribution import File
from alpha_training.fitting import Prepared

FILE = "prepared.npz"


@dataclass(frozen=True)
class Handed:
    """``file`` holds the arrays of the rest, in which they are empty. The events stay where they are: who fits and
    judges looks at rows alone."""

    file: File
    rest: Prepared


def hand_over(data: Prepared, folder: Path) -> Handed:
    """Write the arrays into a run's folder, which the workers must see."""
    path = folder / FILE
    arrays = _arrays(data)
    with path.open("wb") as out:
        np.savez(out, allow_pickle=False, **arrays)
    return Handed(File.of(path), _with(data, {name: array[:0] for name, array in arrays.items()}))


def taken_over(handed: Handed) -> Prepared:
    """The data again, without its events."""
    return _with(handed.rest, _loaded(handed.file))


@lru_cache(maxsize=1)
def _loaded(file: File) -> dict[str, Any]:
    """Once a process: folds share them."""
    with np.load(file.path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


_SNAP = ("x", "ts_ns", "instrument_id", "row_index")
_LABELS = ("y", "forward", "end_ns", "known", "price", "spread")
_PARTS = ("train", "valid", "test")


def _arrays(data: Prepared) -> dict[str, Any]:
    found = {f"snap_{name}": getattr(data.snap, name) for name in _SNAP}
    found |= {f"labels_{name}": getattr(data.labels, name) for name in _LABELS}
    return found | {f"parts_{name}": getattr(data.parts, name) for name in _PARTS}


def _with(data: Prepared, arrays: dict[str, Any]) -> Prepared:
    source = replace(data.source, events=data.source.events[:0], planted=None)
    return replace(
        data,
        source=source,
        snap=replace(data.snap, **{name: arrays[f"snap_{name}"] for name in _SNAP}),
        labels=replace(data.labels, **{name: arrays[f"labels_{name}"] for name in _LABELS}),
        parts=replace(data.parts, **{name: arrays[f"parts_{name}"] for name in _PARTS}),
    )
