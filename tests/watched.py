"""Runtimes to look at, and what a client sees of them."""

from __future__ import annotations

import http.client
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import alpha
from alpha.data.simulate import simulate
from alpha.features import catalog
from alpha.features.native import native_rows
from alpha.models import metadata
from alpha.models.limits import Distance, Limits, Ranges, Shift, edges_of, shares_of
from alpha.watch import Server

PROJECT = Path(__file__).resolve().parent.parent
WINDOW = 64


def demo_with_limits(folder: Path) -> Path:
    """The demo model with ranges, distance and PSI counted, over its features on another simulated stream."""
    target = folder / "demo"
    shutil.copytree(PROJECT / "artifacts/demo/v1", target)
    meta = metadata.decode((target / "metadata.json").read_bytes())
    stream = simulate(20_000, seed=3)
    rows = native_rows(catalog.get("demo"), stream.events, stream.instruments)
    x = np.asarray(rows["values"][rows["ready"].all(axis=1)], np.float32)
    edges = edges_of(x)
    meta = msgspec.structs.replace(
        meta,
        limits=Limits(ranges=Ranges("count", 0.0), distance=Distance("count", 1.0), psi=Shift("count", 0.25, WINDOW)),
        reference=msgspec.structs.replace(
            meta.reference, edges=edges.tolist(), shares=shares_of(x, edges).tolist(), min=x.min(axis=0).tolist()
        ),
    )
    (target / "metadata.json").write_bytes(metadata.encode(meta))
    return target


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of one request; ``Host=...`` replaces the header."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def status(server: Any, instrument: str | None = None) -> dict[str, Any]:
    """The document, through HTTP."""
    code, _, body = ask(server.port, "/status.json" + ("" if instrument is None else f"?instrument={instrument}"))
    assert code == 200, body
    told: dict[str, Any] = json.loads(body)
    return told


def scraped(server: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of a scrape: (name, labels) to value."""
    from prometheus_client.parser import text_string_to_metric_families

    code, headers, body = ask(server.port, "/metrics")
    assert code == 200 and headers["Content-Type"].startswith("text/plain; version=")
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(body.decode())
        for s in family.samples
    }


def served(what: Any = "models:/demo/1", **more: Any) -> alpha.Runtime:
    """The committed registry's."""
    return alpha.Runtime.from_registry(PROJECT / "registry.json", what, **more)


@contextmanager
def watchers(server: Server, check: Callable[[bytes], None] = lambda body: None) -> Iterator[list[int]]:
    """Three clients that ask for everything in turn until the block ends; how many answers each kind had. ``check``: what
    every body must pass."""
    done, answers, wrong = threading.Event(), [0, 0, 0], []
    paths = ("/metrics", "/status.json?instrument=SIM1", "/status.json")

    def look(k: int) -> None:
        while not done.is_set():
            code, _, body = ask(server.port, paths[k])
            try:
                assert code == 200
                check(body)
            except AssertionError as exc:
                wrong.append((exc, body))
            answers[k] += 1

    threads = [threading.Thread(target=look, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not wrong and all(answers), (answers, wrong)
