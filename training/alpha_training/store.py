"""Snapshots on disk: Parquet by instrument and day, with what proves where the rows came from.

The native twin streams: memory does not grow with the file. The certificate compares both twins over the same events,
segment after segment, each begun cold; a stream shorter than a segment is compared as a whole. Partitions and segments
that are done are noted as they are finished, so that an interrupted run goes on: what is noted is not written or
compared again.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from alpha.documents import to_json, write_atomically
from alpha.errors import DataError, need
from alpha.events import Kind
from alpha.features import batch, needs, parity
from alpha.features.feature_set import FeatureSet
from alpha.features.native import Rows, native_rows, next_rows, row_maker
from alpha.instruments import Instruments

DAY_NS = 86_400 * 10**9
SEGMENT_EVENTS = 1_000_000
CHUNK_EVENTS = 131_072
MANIFEST = "manifest.json"
Events = npt.NDArray[Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Lineage:
    """Where the events come from. ``data_sha256`` and ``commit`` bind a snapshot to them."""

    data_sha256: str
    simulated: bool
    commit: str


class Workers(Protocol):
    """Who computes for :func:`build` in other processes, to the same bits."""

    def compared(self, first: int, size: int) -> Iterator[dict[str, Any]]:
        """The certificate of each segment of ``size`` events, from segment ``first`` on."""

    def rows(self) -> Iterator[Rows]:
        """The native rows of each CHUNK_EVENTS events."""


def build(
    fs: FeatureSet,
    events: Callable[[], Iterable[Events]],
    instruments: Instruments,
    lineage: Lineage,
    folder: Path,
    *,
    twin: str = "both",
    say: Say = lambda text: None,
    segment_events: int = SEGMENT_EVENTS,
    workers: Workers | None = None,
) -> dict[str, Any]:
    """Write the rows that are ready and finite below ``folder`` and return the manifest.

    ``events`` opens the stream, as chunks in order, and is called once for the rows and once for the certificate.
    ``twin``: what computes the rows; ``batch`` holds the whole stream in memory, ``both`` takes the native rows and the
    certificate; ``workers``: who computes the certificate and native rows, instead of this process. DataError if another
    snapshot lies there, or if the twins do not agree.
    """
    need("pyarrow.parquet", "train")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = _resumed(folder, _identity(fs, instruments, lineage, twin, segment_events), say)
    if manifest.get("complete"):
        return manifest
    if twin == "both" and "certificate" not in manifest:
        manifest["certificate"] = _certify(fs, events, instruments, folder, manifest, segment_events, say, workers)
    if twin == "batch":
        rows = _batch_rows(fs, events, instruments)
    else:
        rows = _native_rows(fs, events, instruments) if workers is None else workers.rows()
    _write(fs, rows, instruments, lineage, folder, manifest, say)
    manifest["complete"] = True
    _save(folder, manifest)
    return manifest


def load(folder: Path, fs: FeatureSet, instruments: Instruments) -> dict[str, npt.NDArray[Any]]:
    """The rows of a complete snapshot in the order of their events: ``x`` float32 [N, F], ``ts_ns``, ``instrument_id``,
    ``row_index``. DataError if a partition was altered or the definition is another."""
    manifest = _read(folder)
    if manifest is None or not manifest.get("complete"):
        raise DataError(f"snapshot {folder} is not complete: make it again with the same recipe to go on")
    if manifest["definition_hash"] != fs.definition_hash:
        raise DataError(
            f"snapshot {folder} was made with the definition {manifest['definition_hash'][:12]}…, not {fs.definition_hash[:12]}…"
        )
    pq = need("pyarrow.parquet", "train")
    tables = []
    for name, part in sorted(manifest["partitions"].items()):
        if _sha256(folder / name) != part["sha256"]:
            raise DataError(f"snapshot {folder / name} was altered: its sha256 is not the manifest's")
        table = pq.ParquetFile(folder / name).read()
        i = instruments.id(part["instrument"])
        tables.append(
            (
                np.column_stack([table[n].to_numpy() for n in fs.names]).astype(np.float32, copy=False),
                table["ts_ns"].to_numpy(),
                np.full(table.num_rows, i, np.uint32),
                table["event"].to_numpy(),
            )
        )
    if not tables:
        raise DataError("no row of the data is warm and finite: the data lacks what the features need, or is too short")
    x, ts, ids, index = (np.concatenate(c) for c in zip(*tables, strict=True))
    order = np.lexsort((ids, index))
    return {"x": x[order], "ts_ns": ts[order], "instrument_id": ids[order], "row_index": index[order]}


def digest(manifest: dict[str, Any]) -> str:
    """sha256 over the hashes of all partitions, in the order of their names."""
    parts = "".join(f"{n}:{p['sha256']}\n" for n, p in sorted(manifest["partitions"].items()))
    return hashlib.sha256(parts.encode()).hexdigest()


def _identity(fs: FeatureSet, instruments: Instruments, lineage: Lineage, twin: str, segment: int) -> dict[str, Any]:
    return {
        "definition": json.loads(fs.canonical()),
        "definition_hash": fs.definition_hash,
        "features": list(fs.names),
        "instruments": list(instruments.symbols),
        "data_sha256": lineage.data_sha256,
        "simulated": lineage.simulated,
        "git_commit": lineage.commit,
        "twin": twin,
        "segment_events": segment,
        "versions": parity.versions(),
    }


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise DataError(f"snapshot {folder / MANIFEST} cannot be read: {exc}") from None


def _resumed(folder: Path, identity: dict[str, Any], say: Say) -> dict[str, Any]:
    found = _read(folder)
    if found is None:
        return {**identity, "rows": 0, "all_rows": 0, "partitions": {}, "segments": []}
    for key, value in identity.items():
        if found.get(key) != value:
            raise DataError(f"snapshot {folder} is another one: its {key} differs; name another --run-dir")
    for name, part in list(found["partitions"].items()):
        if not (folder / name).is_file() or _sha256(folder / name) != part["sha256"]:
            del found["partitions"][name]
            found["complete"] = False
    done = len(found["partitions"])
    say(f"going on with the snapshot in {folder}: {done} partition{'' if done == 1 else 's'} there")
    return found


def _save(folder: Path, manifest: dict[str, Any]) -> None:
    write_atomically(folder / MANIFEST, to_json(manifest))


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def cut(chunks: Iterable[Events], size: int) -> Iterator[Events]:
    """The same events in pieces of ``size``, however they came."""
    held: list[Events] = []
    n = 0
    for chunk in chunks:
        while len(chunk):
            part, chunk = chunk[: size - n], chunk[size - n :]
            held.append(part)
            n += len(part)
            if n == size:
                yield np.concatenate(held)
                held, n = [], 0
    if held:
        yield np.concatenate(held)


def _certify(
    fs: FeatureSet,
    events: Callable[[], Iterable[Events]],
    instruments: Instruments,
    folder: Path,
    manifest: dict[str, Any],
    segment: int,
    say: Say,
    workers: Workers | None,
) -> dict[str, Any]:
    theirs = None if workers is None else workers.compared(len(manifest["segments"]), segment)
    kinds: Counter[Kind] = Counter()
    unsized: Counter[Kind] = Counter()
    series: set[str] = set()
    for k, part in enumerate(cut(events(), segment)):
        has = needs.counted(fs, part)
        kinds, unsized, series = kinds + has.kinds, unsized + has.unsized, series | has.inputs
        if k < len(manifest["segments"]):
            continue
        manifest["segments"].append(compared(fs, part, instruments) if theirs is None else next(theirs))
        say(f"certificate: {k * segment + len(part):,} events compared")
        _save(folder, manifest)
    if not manifest["segments"]:
        raise DataError("there are no events to make a snapshot of")
    # a feature must have been compared somewhere, not in each stretch
    return parity.covered(fs, merged(manifest["segments"]), needs.Counted(kinds, unsized, frozenset(series)))


def compared(fs: FeatureSet, events: Events, instruments: Instruments, threads: int | None = None) -> dict[str, Any]:
    """Both twins over a stretch of events, begun cold; ``threads`` of the batch twin."""
    accepted = parity.guard(fs, events, instruments) == 0
    twin = batch.compute_detail(fs, events, instruments, accepted, with_scale=True, threads=threads)
    return parity.compare(fs, native_rows(fs, events, instruments), twin)


def merged(segments: list[dict[str, Any]]) -> dict[str, Any]:
    """One certificate of several stretches: values add up, the worst counts; rule 31's share holds for each stretch."""
    if len(segments) == 1:
        return segments[0]
    values = sum(s["values"] for s in segments)
    seen = [s for s in segments if s["values"]]  # nothing is ready in a stretch shorter than the warm-up
    features = []
    # a stretch without a row tells of no feature
    for j, first in enumerate(next((s["features"] for s in segments if s["features"]), [])):
        own = [s["features"][j] for s in segments if s["features"]]
        n = sum(f["values"] for f in own)
        features.append(
            {
                "name": first["name"],
                "values": n,
                "mismatch_ppm": sum(f["mismatch_ppm"] * f["values"] for f in own) / n if n else 0.0,
                "max_ulp": max(f["max_ulp"] for f in own),
                "ready_mismatch": sum(f["ready_mismatch"] for f in own),
                "pass": all(f["pass"] for f in own),
            }
        )
    return {
        **segments[0],
        "values": values,
        "share": sum(s["share"] * s["values"] for s in segments) / values if values else 0.0,
        "max_ulp": max(s["max_ulp"] for s in segments),
        "ready_mismatch": sum(s["ready_mismatch"] for s in segments),
        "worst": next((s["worst"] for s in segments if s["worst"] and s["values"]), None),
        "rows": sum(s["rows"] for s in segments),
        "features": features,
        "segments": len(segments),
        "pass": bool(seen) and all(s["pass"] for s in seen) and all(s["ready_mismatch"] == 0 for s in segments),
    }


def _native_rows(fs: FeatureSet, events: Callable[[], Iterable[Events]], instruments: Instruments) -> Iterator[Rows]:
    maker = row_maker(fs, instruments)
    before = 0
    for chunk in cut(events(), CHUNK_EVENTS):
        index, ts, who, values, ready = next_rows(maker, chunk)
        yield index + before, ts, who, values, ready  # the maker counts within the chunk
        before += len(chunk)


def _batch_rows(fs: FeatureSet, events: Callable[[], Iterable[Events]], instruments: Instruments) -> Iterator[Rows]:
    chunks = list(events())
    if chunks:
        whole = np.concatenate(chunks)
        detail = batch.compute_detail(fs, whole, instruments, parity.guard(fs, whole, instruments) == 0)
        yield detail.rows.row_index, detail.ts_ns, detail.instrument_id, detail.rows.values, detail.rows.ready


class _Statistics:
    """Count, extremes, mean and deviation of each feature, chunk by chunk (Chan's update)."""

    def __init__(self, n: int) -> None:
        self.n, self.mean, self.m2 = 0, np.zeros(n), np.zeros(n)
        self.low, self.high = np.full(n, np.inf), np.full(n, -np.inf)

    def add(self, x: npt.NDArray[np.float32]) -> None:
        if not len(x):
            return
        wide = x.astype(np.float64)
        n, mean = len(wide), wide.mean(axis=0)
        delta, total = mean - self.mean, self.n + n
        self.m2 += ((wide - mean) ** 2).sum(axis=0) + delta**2 * self.n * n / total
        self.mean += delta * n / total
        self.n = total
        self.low, self.high = np.minimum(self.low, wide.min(axis=0)), np.maximum(self.high, wide.max(axis=0))

    def table(self, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
        std = np.sqrt(self.m2 / max(self.n, 1))
        return {
            name: {"min": float(a), "max": float(b), "mean": float(m), "std": float(s)}
            for name, a, b, m, s in zip(names, self.low, self.high, self.mean, std, strict=True)
        }


def _write(
    fs: FeatureSet,
    rows: Iterator[Rows],
    instruments: Instruments,
    lineage: Lineage,
    folder: Path,
    manifest: dict[str, Any],
    say: Say,
) -> None:
    """Rows into partitions; a partition is closed when its instrument's next day begins."""
    pa, pq = need("pyarrow", "train"), need("pyarrow.parquet", "train")
    lineage_text = json.dumps(
        {
            "definition": fs.canonical(),
            "definition_hash": fs.definition_hash,
            "data_sha256": lineage.data_sha256,
            "simulated": lineage.simulated,
            "git_commit": lineage.commit,
        },
        sort_keys=True,
    )
    fields = [("ts_ns", pa.int64()), ("event", pa.int64()), *((n, pa.float32()) for n in fs.names)]
    schema = pa.schema(fields, metadata={"alpha": lineage_text})
    open_: dict[int, tuple[str, Any, int, list[int]]] = {}  # instrument -> name, writer, day, [rows]
    statistics = _Statistics(len(fs.names))
    total = kept = 0

    def close(i: int) -> None:
        name, writer, _, count = open_.pop(i)
        if writer is None:
            return
        writer.close()
        (folder / f"{name}.part").replace(folder / name)
        manifest["partitions"][name] = {
            "instrument": instruments.symbols[i],
            "rows": count[0],
            "sha256": _sha256(folder / name),
        }
        _save(folder, manifest)

    try:
        for index, ts, who, values, ready in rows:
            good = ready & np.isfinite(values).all(axis=1)
            total += len(good)
            kept += int(good.sum())
            statistics.add(values[good])
            day = ts // DAY_NS
            for i in np.unique(who[good]).tolist():
                mine = good & (who == i)
                for d in np.unique(day[mine]).tolist():
                    at = np.flatnonzero(mine & (day == d))
                    if i in open_ and open_[i][2] != d:
                        close(i)
                    if i not in open_:
                        name = _name(instruments.symbols[i], d)
                        there = name in manifest["partitions"]
                        (folder / name).parent.mkdir(parents=True, exist_ok=True)
                        writer = (
                            None if there else pq.ParquetWriter(folder / f"{name}.part", schema, compression="zstd")
                        )
                        open_[i] = (name, writer, d, [0])
                    _, writer, _, count = open_[i]
                    count[0] += len(at)
                    if writer is not None:
                        columns = [ts[at], index[at], *(values[at, j] for j in range(len(fs.names)))]
                        writer.write_table(pa.table([pa.array(c) for c in columns], schema=schema))
            say(f"snapshot: {kept:,} rows ready of {total:,}")
        for i in list(open_):
            close(i)
    finally:
        for _, writer, _, _ in open_.values():
            if writer is not None:
                writer.close()
    manifest["rows"], manifest["all_rows"] = kept, total
    manifest["statistics"] = statistics.table(fs.names) if kept else {}


def _name(symbol: str, day: int) -> str:
    date = dt.date(1970, 1, 1) + dt.timedelta(days=day)
    return f"instrument={urllib.parse.quote(symbol, safe='')}/day={date.isoformat()}.parquet"
