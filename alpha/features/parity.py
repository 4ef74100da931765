"""The certificate: native and batch twin over the same events, value by value (numerics rule 31). Floor 2."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib import metadata
from typing import Any

import numpy as np
import numpy.typing as npt

from alpha._core.guard import guard_events
from alpha._core.program import isa
from alpha.errors import DataError
from alpha.features import batch, needs
from alpha.features.feature_set import FeatureSet
from alpha.features.native import native_rows
from alpha.instruments import Instruments

PPM_LIMIT = 10e-6
SCALE_LIMIT = 2.0**-40


def float32_ulps(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """How many float32 values apart; 0 for equal bits and for +0 against -0."""

    def ordered(a: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        bits = np.ascontiguousarray(a, np.float32).view(np.int32).astype(np.int64)
        return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)

    return np.asarray(np.abs(ordered(x) - ordered(y)))


def versions() -> dict[str, str]:
    """What made a certificate: this package and the libraries that the batch twin computes with."""
    found = {"python": platform.python_version()}
    for name in ("alpha-runtime", "numpy", "numba"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def guard(
    fs: FeatureSet,
    events: npt.NDArray[Any],
    instruments: Instruments,
    memory: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.uint8]:
    """The guard's verdict per event: 0 or the number of a Reason; ``memory``, if given, goes on."""
    g = fs.stream.guard
    return guard_events(
        events,
        len(instruments),
        clock=fs.stream.clock,
        crossed=g.crossed,
        future_tolerance_ns=g.future_tolerance.ns,
        duplicates=g.duplicates,
        outlier=g.outlier,
        clock_offset_ns=instruments.clock_offsets_ns(),
        memory=memory,
    )


def check(
    fs: FeatureSet, events: npt.NDArray[Any] | Iterable[npt.NDArray[Any]], instruments: Instruments
) -> dict[str, Any]:
    """Compare the twins over a stream; the keys of the design's parity JSON and one record per feature.

    ``values``: ready finite values compared; ``share``: equal float32 bits / values; ``max_ulp``: largest distance
    without the cases that the operand scale excuses; ``ready_mismatch``: rows x features whose readiness
    differs; ``not_compared`` and ``verdict``: see :func:`covered`; ``worst``: feature, event and both values of the largest distance.
    """
    if not isinstance(events, np.ndarray):
        chunks = list(events)
        if not chunks:
            raise DataError("there are no events to compare")
        events = np.concatenate(chunks)
    accepted = guard(fs, events, instruments) == 0
    native = native_rows(fs, events, instruments)
    twin = batch.compute_detail(fs, events, instruments, accepted, with_scale=True)
    return covered(fs, compare(fs, native, twin), needs.counted(fs, events))


def covered(fs: FeatureSet, result: dict[str, Any], has: needs.Has) -> dict[str, Any]:
    """A comparison with its ``verdict``: what was never compared is not certified, whatever the reason.

    ``not_compared``: feature -> why there was no ready finite value of it in both twins; ``verdict``: PASS; FAIL if the
    twins disagree; INCOMPLETE if they agree wherever they could be compared, and some feature nowhere could. ``pass`` of
    the whole and of each feature is True for PASS alone.
    """
    lacks = needs.lacking(fs, has)
    agree = bool(result["features"]) and all(f["pass"] for f in result["features"])
    agree = agree and (result["pass"] or not result["values"])  # of several stretches also each by itself
    missing = {
        f["name"]: f"the data has no {lacks[f['name']]}"
        if f["name"] in lacks
        else "it was never ready with a finite value"
        for f in result["features"]
        if not f["values"]
    }
    worst = result["worst"]
    if agree and missing and result["values"]:
        worst = "; ".join(f"{name} was never compared: {why}" for name, why in missing.items())
    return {
        **result,
        "features": [{**f, "pass": f["pass"] and f["values"] > 0} for f in result["features"]],
        "not_compared": missing,
        "worst": worst,
        "verdict": "FAIL" if not agree else "INCOMPLETE" if missing else "PASS",
        "pass": agree and not missing,
    }


def compare(fs: FeatureSet, native: dict[str, npt.NDArray[Any]], twin: batch.Detail) -> dict[str, Any]:
    """Rule 31 over two sets of rows. It says nothing of what was never ready: see :func:`covered`."""
    same_rows = (
        len(native["row_index"]) == len(twin.rows.row_index)
        and np.array_equal(native["row_index"], twin.rows.row_index)
        and np.array_equal(native["ts_ns"], twin.ts_ns)
        and np.array_equal(native["instrument_id"], twin.instrument_id)
    )
    result: dict[str, Any] = {
        "values": 0,
        "share": 0.0,
        "max_ulp": 0,
        "ready_mismatch": 0,
        "worst": None,
        "definition_hash": fs.definition_hash,
        "rows": len(native["row_index"]),
        "isa": isa(),
        "versions": versions(),
        "features": [],
        "pass": False,
    }
    if not same_rows:
        result["worst"] = (
            f"the twins make different rows: {len(native['row_index'])} native, {len(twin.rows.row_index)} batch"
        )
        return result
    if not len(twin.ts_ns):
        result["worst"] = "nothing was compared: the events led to no row"
        return result
    assert twin.scale is not None
    matching = 0
    passed = True
    for j, name in enumerate(fs.names):
        x, y = native["values"][:, j], twin.rows.values[:, j]
        unready = int(np.count_nonzero(native["ready"][:, j] != twin.ready[:, j]))
        both = native["ready"][:, j] & twin.ready[:, j]
        finite = np.isfinite(x), np.isfinite(y)
        broken = int(np.count_nonzero(both & (finite[0] != finite[1])))
        use = both & finite[0] & finite[1]
        n = int(np.count_nonzero(use))
        with np.errstate(all="ignore"):
            ulps = np.where(use, float32_ulps(x, y), 0)
            excused = np.abs(x.astype(np.float64) - y.astype(np.float64)) <= SCALE_LIMIT * twin.scale[:, j]
        differ = int(np.count_nonzero(ulps))
        hard = np.where(excused & (ulps > 1), 0, ulps)
        worst = int(hard.max(initial=0))
        ok = unready == 0 and broken == 0 and worst <= 1 and differ <= PPM_LIMIT * n
        result["features"].append(
            {
                "name": name,
                "values": n,
                "mismatch_ppm": differ / n * 1e6 if n else 0.0,
                "max_ulp": worst,
                "ready_mismatch": unready,
                "pass": ok,
            }
        )
        if worst > result["max_ulp"] or broken:
            at = int(np.argmax(hard)) if worst else int(np.argmax(both & (finite[0] != finite[1])))
            result["worst"] = {
                "feature": name,
                "event": int(native["row_index"][at]),
                "native": float(x[at]),
                "batch": float(y[at]),
            }
        result["max_ulp"] = max(result["max_ulp"], worst)
        result["values"] += n
        result["ready_mismatch"] += unready
        matching += n - differ
        passed = passed and ok
    result["share"] = matching / result["values"] if result["values"] else 0.0
    result["pass"] = passed and result["values"] > 0
    if not result["values"]:
        result["worst"] = "nothing was compared: no feature was ever ready with a finite value on this data"
    return result
