"""A twin's rows against the oracle's: equal rows, times, readiness and float32 values, ready or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from reference import Row

from alpha.features.feature_set import FeatureSet
from alpha.features.language import walk

# numerics.md leaves these the last bits of their float64, which a difference of two of them makes visible
UNPINNED = {"skew", "resid"}


def as_arrays(expected: Sequence[Row], features: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values in float32, readiness, scale; each [rows, features]."""
    shape = (len(expected), features)
    with np.errstate(over="ignore"):
        values = np.array([r.values for r in expected], np.float64).reshape(shape).astype(np.float32)
    ready = np.array([r.ready for r in expected], np.bool_).reshape(shape)
    return values, ready, np.array([r.scale for r in expected], np.float64).reshape(shape)


def agree(fs: FeatureSet, expected: Sequence[Row], rows: dict[str, np.ndarray]) -> int:
    """Fails with the first difference; how many ready finite values there were. ``rows`` as native_rows gives them."""
    text = {name: str(e) for name, e in fs.features.items()}
    assert rows["row_index"].tolist() == [r.index for r in expected], (str(fs.trigger), text)
    assert rows["ts_ns"].tolist() == [r.ts_ns for r in expected], (str(fs.trigger), text)
    assert rows["instrument_id"].tolist() == [r.instrument for r in expected], (str(fs.trigger), text)
    assert rows["values"].dtype == np.float32
    values, ready, scale = as_arrays(expected, len(text))
    for j, (name, e) in enumerate(fs.features.items()):
        wrong = np.flatnonzero(rows["ready"][:, j] != ready[:, j])
        assert not len(wrong), (str(fs.trigger), text[name], "ready", wrong[:5], ready[wrong[:5], j])
        got, want = rows["values"][:, j], values[:, j]
        same = (got == want) | (np.isnan(got) & np.isnan(want))
        if UNPINNED & {node.op for node in walk(e)}:
            with np.errstate(invalid="ignore"):
                same |= np.abs(got.astype(np.float64) - want) <= 2.0**-48 * scale[:, j]
        wrong = np.flatnonzero(~same)
        assert not len(wrong), (str(fs.trigger), text[name], wrong[:5], got[wrong[:5]], want[wrong[:5]])
    return int(np.isfinite(values[ready]).sum())
