"""A real Prometheus scrapes a runtime, and every panel of the dashboard and every alert rule is asked of it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from watched import demo_with_limits

import alpha
from alpha.audit import AuditLog
from alpha.data.simulate import simulate
from alpha.watch import serve

pytest.importorskip("prometheus_client", reason="needs the extra ops")
pytestmark = pytest.mark.peer

OPS = Path(__file__).resolve().parents[2] / "ops"
# panels that say nothing of this runtime: it came from a folder, so no registry says what its status is
EMPTY = {"Status in the registry"}
CONFIG = """
global: {{scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms}}
rule_files: [{rules}]
scrape_configs: [{{job_name: alpha, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}]
"""


@pytest.fixture
def prometheus() -> str:
    found = shutil.which("prometheus")
    if found is None:
        pytest.skip("no Prometheus to be asked (Debian: apt install prometheus)")
    return found


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Any]:
    """A worker that is fed, limits counted, a log written, watched."""
    stream = simulate(40_000, seed=9)
    stream.events["v"][100::1_000, 0] = float("nan")  # the guard rejects these
    log = AuditLog(tmp_path / "log", policy="wait")
    folder = demo_with_limits(tmp_path)
    with alpha.Runtime.from_artifact(
        folder, instruments=stream.instruments, audit=log, kill_file=tmp_path / "kill"
    ) as rt:
        rt.measure_latency()
        worker = rt.start(overrun="refuse")
        with serve(rt, port=0) as server:
            yield worker, stream.events, server
        worker.stop()


def asked(port: int, path: str, **query: str) -> Any:
    """Prometheus' answer; None while it does not listen yet."""
    url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            told = json.load(answer)
    except urllib.error.HTTPError as exc:
        raise AssertionError(f"{query}: {exc.read().decode()}") from None
    except urllib.error.URLError:
        return None
    assert told["status"] == "success"
    return told["data"]


def panels() -> list[tuple[str, str]]:
    board = json.loads((OPS / "grafana" / "alpha.json").read_text())
    return [(p["title"], t["expr"]) for p in board["panels"] for t in p.get("targets", [])]


def test_every_panel_and_rule_is_answered(prometheus: str, live: Any, tmp_path: Path) -> None:
    worker, events, server = live
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    config = tmp_path / "prometheus.yml"
    config.write_text(CONFIG.format(rules=OPS / "prometheus" / "alpha-alerts.yaml", port=server.port))
    process = subprocess.Popen(
        [prometheus, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
         f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    pause, sent = threading.Event(), 0
    try:
        for _ in range(480):  # two minutes at most
            sent += worker.push_many(events[sent : sent + 500])
            worker.poll_many(2_000)
            seen = asked(port, "query", query='count_over_time(alpha_events_total{job="alpha"}[1m])')
            if seen and seen["result"] and float(seen["result"][0]["value"][1]) >= 8:
                break
            pause.wait(0.25)
        else:
            raise AssertionError(f"Prometheus saw {seen}")
        fill = {"$job": "alpha", "$instance": ".*", "$__rate_interval": "1m"}
        silent = set()
        for title, expression in panels():
            for name, value in fill.items():
                expression = expression.replace(name, value)
            assert "$" not in expression, expression
            if not asked(port, "query", query=expression)["result"]:
                silent.add(title)
        assert silent == EMPTY
        rules = [r for group in asked(port, "rules")["groups"] for r in group["rules"]]
        assert len(rules) >= 8
        assert [(r["name"], r["lastError"]) for r in rules if r.get("lastError")] == []
        assert all(r["health"] == "ok" for r in rules)
    finally:
        process.terminate()
        process.wait()
