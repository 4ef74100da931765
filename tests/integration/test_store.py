"""Snapshots on disk: what was computed comes back bit for bit, an interrupted run goes on, and memory does not grow."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alpha.data.simulate import simulate, simulate_blocks, simulated_instruments
from alpha.errors import DataError
from alpha.features import catalog, parity
from alpha.instruments import Instruments
from alpha_training import snapshot, store

FS = catalog.get("demo")
LINEAGE = store.Lineage("00" * 32, True, "")


@pytest.fixture(scope="module")
def stream() -> Any:
    made = simulate(24_000, seed=5, n_instruments=2)
    # half of it a day later, so that there are partitions
    made.events["ts_event_ns"][12_000:] += store.DAY_NS
    made.events["ts_recv_ns"][12_000:] += store.DAY_NS
    return made


def build(stream: Any, folder: Path, twin: str = "both", **named: Any) -> dict[str, Any]:
    return store.build(FS, lambda: [stream.events], stream.instruments, LINEAGE, folder, twin=twin, **named)


@pytest.mark.parametrize("twin", ["batch", "native", "both"])
def test_what_was_computed_comes_back(stream: Any, tmp_path: Path, twin: str) -> None:
    manifest = build(stream, tmp_path / "s", twin)
    rows = store.load(tmp_path / "s", FS, stream.instruments)
    source = snapshot.Source(stream.events, stream.instruments, "", True, None, "")
    whole = snapshot.make(FS, source)  # in memory, by the batch twin
    for name in ("ts_ns", "instrument_id", "row_index"):
        assert np.array_equal(rows[name], getattr(whole, name)), name
    assert int(parity.float32_ulps(rows["x"], whole.x).max()) <= 1
    assert (rows["x"].view(np.uint32) != whole.x.view(np.uint32)).mean() < 1e-5
    assert manifest["rows"] == len(whole.x) and manifest["all_rows"] == whole.all_rows
    names = set(manifest["partitions"])
    assert names == {f"instrument=SIM{i}/day=2026-01-0{d}.parquet" for i in (0, 1) for d in (1, 2)}
    assert ("certificate" in manifest) == (twin == "both")
    if twin == "both":
        direct = parity.check(FS, stream.events, stream.instruments)
        assert manifest["certificate"] == json.loads(json.dumps(direct))


def test_chunks_do_not_show(stream: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(stream, tmp_path / "a", "native")
    monkeypatch.setattr(store, "CHUNK_EVENTS", 1_000)
    build(stream, tmp_path / "b", "native")
    a, b = (store.load(tmp_path / n, FS, stream.instruments) for n in "ab")
    assert all(np.array_equal(a[k], b[k]) for k in a)
    again = store.build(
        FS, lambda: np.array_split(stream.events, 7), stream.instruments, LINEAGE, tmp_path / "c", twin="native"
    )
    monkeypatch.undo()
    assert again["rows"] == first["rows"]


def test_segments_add_up(stream: Any, tmp_path: Path) -> None:
    manifest = build(stream, tmp_path / "s", segment_events=7_000)
    certificate = manifest["certificate"]
    assert certificate["segments"] == 4 == len(manifest["segments"])
    assert certificate["pass"] is True and certificate["ready_mismatch"] == 0
    assert certificate["values"] == sum(s["values"] for s in manifest["segments"]) > 80_000
    broken = json.loads(json.dumps(manifest["segments"]))
    broken[2].update({"pass": False, "max_ulp": 9})
    assert store.merged(broken)["pass"] is False and store.merged(broken)["max_ulp"] == 9


class Stopped(Exception):  # noqa: N818
    """Somebody pulled the plug."""


def test_an_interrupted_snapshot_goes_on(stream: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle of the certificate and again between two partitions: what was done is not done again, and the
    end is the same to the byte."""
    straight = build(stream, tmp_path / "straight", segment_events=7_000)
    compared = store.compared
    calls: list[int] = []

    def counted(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise Stopped
        return compared(*args)

    monkeypatch.setattr(store, "compared", counted)
    folder = tmp_path / "stopped"
    with pytest.raises(Stopped):
        build(stream, folder, segment_events=7_000)
    with pytest.raises(DataError, match="is not complete"):
        store.load(folder, FS, stream.instruments)
    save = store._save

    def plug(where: Path, manifest: dict[str, Any]) -> None:
        save(where, manifest)
        if len(manifest["partitions"]) == 2:
            raise Stopped

    monkeypatch.setattr(store, "_save", plug)
    with pytest.raises(Stopped):
        build(stream, folder, segment_events=7_000)
    assert len(calls) == 5  # two, the one that stopped, and the two that were left
    monkeypatch.setattr(store, "_save", save)
    said: list[str] = []
    done = sorted(folder.rglob("*.parquet"))
    before = {p: p.stat().st_mtime_ns for p in done}
    manifest = build(stream, folder, segment_events=7_000, say=said.append)
    assert len(calls) == 5 and any("2 partitions there" in text for text in said)
    assert {p: p.stat().st_mtime_ns for p in done} == before
    assert manifest == straight
    assert not list(folder.rglob("*.part"))
    assert build(stream, folder, segment_events=7_000) == straight  # complete: nothing to do


def test_a_snapshot_is_bound_to_what_made_it(stream: Any, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    build(stream, folder, "native")
    with pytest.raises(DataError, match="is another one: its twin differs"):
        build(stream, folder, "both")
    with pytest.raises(DataError, match="is another one: its data_sha256 differs"):
        store.build(FS, list, stream.instruments, store.Lineage("11", True, ""), folder, twin="native")
    with pytest.raises(DataError, match="was made with the definition"):
        store.load(folder, catalog.get("spec"), stream.instruments)
    part = next(folder.rglob("*.parquet"))
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    with pytest.raises(DataError, match="was altered"):
        store.load(folder, FS, stream.instruments)
    repaired = build(stream, folder, "native")  # the altered partition is written anew
    assert repaired["complete"] and len(store.load(folder, FS, stream.instruments)["x"]) == repaired["rows"]


def test_symbols_that_are_no_file_names(tmp_path: Path) -> None:
    made = simulate(3_000, seed=2)
    store.build(FS, lambda: [made.events], Instruments.of("../A B/C"), LINEAGE, tmp_path / "s", twin="native")
    (part,) = (tmp_path / "s").rglob("*.parquet")
    assert part.parent.name == "instrument=..%2FA%20B%2FC" and part.parent.parent == tmp_path / "s"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the events, the same peak: with the native twin and with the certificate in segments."""
    monkeypatch.setattr(store, "CHUNK_EVENTS", 8_192)

    def peak(blocks: int, twin: str, folder: Path) -> int:
        def chunks() -> Iterator[Any]:
            for (events, _), _ in zip(simulate_blocks(3, levels=1), range(blocks), strict=False):
                yield events

        tracemalloc.start()
        try:
            store.build(FS, chunks, simulated_instruments(1), LINEAGE, folder, twin=twin, segment_events=16_384)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1, "both", tmp_path / "warm")
    for twin in ("native", "both"):
        short, long = peak(2, twin, tmp_path / f"{twin}2"), peak(8, twin, tmp_path / f"{twin}8")
        assert long < 1.3 * short, (twin, short, long)
