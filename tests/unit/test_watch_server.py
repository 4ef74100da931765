"""The HTTP side of a watched runtime: what it answers, what it refuses, and what its metrics are called."""

from __future__ import annotations

import json
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from watched import ask, demo_with_limits, scraped, served, status

import alpha
from alpha.cli.top import fetch
from alpha.data import open_events
from alpha.data.simulate import simulate
from alpha.errors import AlphaError, AlphaWarning
from alpha.watch import Server, ops, serve
from alpha.watch.look import LATENCY_NS
from alpha.watch.server import Application

pytestmark = pytest.mark.filterwarnings("ignore:model demo:alpha.errors.AlphaWarning")
SIM = simulate(6_000, seed=17)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A runtime that has seen events."""
    with served(instruments=SIM.instruments) as rt, serve(rt, 0) as server:
        rt.measure_latency()
        rt.run(SIM.events)
        yield server


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[alpha.Runtime, Server]]:
    """A runtime of which every metric can be told: log, worker, PSI, registry."""
    folder = tmp_path_factory.mktemp("everything")
    registry = Path(__file__).parents[2] / "registry.json"
    with (
        alpha.Runtime.from_artifact(demo_with_limits(folder), instruments=SIM.instruments, audit=folder / "log") as rt,
        serve(rt, 0, registry=registry) as server,
    ):
        rt.measure_latency()
        broken = SIM.events.copy()
        broken["v"][100:120, 0] = -1.0
        with rt.start(overrun="refuse") as worker:
            at = 0
            while at < len(broken):
                at += worker.push_many(broken[at : at + 1000])
                worker.poll_many()
        (folder / "bad.csv").write_text("ts,bid_px,ask_px,bid_qty,ask_qty\n1800000000,1,2,3,4\n1800000001,x,2,3,4\n")
        rt.run(open_events(folder / "bad.csv", instrument="SIM0", ts_unit="s"))
        yield rt, server


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"])
@pytest.mark.parametrize("path", ["/", "/status.json", "/metrics", "/nothing"])
def test_nothing_but_get_and_head(server: Server, method: str, path: str) -> None:
    code, headers, _ = ask(server.port, path, method)
    assert code == 405 and headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/status.json", "/metrics"])
def test_what_is_there(server: Server, path: str) -> None:
    code, headers, body = ask(server.port, path)
    assert code == 200 and int(headers["Content-Length"]) == len(body) > 100
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
    assert not any(name.lower().startswith("access-control") for name in headers)
    code, headers, body = ask(server.port, path, "HEAD")
    assert code == 200 and body == b"" and int(headers["Content-Length"]) > 100


@pytest.mark.parametrize("path", ["/x", "/page.html", "/../look.py", "/%2e%2e/look.py", "/status.json/"])
def test_nothing_else_is_there(server: Server, path: str) -> None:
    assert ask(server.port, path)[0] == 404


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1:9464", 200),
        ("127.0.0.1", 200),
        ("localhost:1", 200),
        ("LOCALHOST", 200),
        ("[::1]:80", 200),
        ("10.1.2.3", 200),
        ("evil.example", 421),
        ("evil.example:9464", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("a:b:c", 421),
    ],
)
def test_a_name_that_nobody_declared_is_refused(server: Server, host: str, code: int) -> None:
    assert ask(server.port, "/status.json", Host=host)[0] == code


def test_a_declared_name_is_known(server: Server) -> None:
    told: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "HTTP_HOST": "Box.Example:9464", "PATH_INFO": "/"}
    Application(server.looker, ["box.example"])(environ, lambda code, headers: told.append(code))
    Application(server.looker)(environ, lambda code, headers: told.append(code))
    assert [code[:3] for code in told] == ["200", "421"]


def test_an_unknown_instrument_is_a_sentence(server: Server) -> None:
    code, headers, body = ask(server.port, "/status.json?instrument=%3Cscript%3E")
    assert code == 404 and headers["Content-Type"].startswith("text/plain") and b"is not watched" in body
    with pytest.raises(AlphaError, match="404: instrument 'NOBODY' is not watched; these are: SIM0"):
        fetch(server.url, "NOBODY")


def test_the_document_is_json_even_where_a_number_is_none(server: Server) -> None:
    told = status(server, "SIM0")
    assert told["schema"] == "alpha/watch/1" and told == json.loads(json.dumps(told, allow_nan=False))


def test_a_port_that_is_taken(server: Server) -> None:
    with served(instruments=["SIM0"]) as rt:
        with pytest.raises(
            AlphaError, match=rf"127.0.0.1:{server.port} cannot be watched from: address already in use"
        ):
            serve(rt, server.port)
        with pytest.raises(AlphaError, match="there is no port 99999 to watch at"):
            serve(rt, 99999)


def test_an_open_door_is_warned_of() -> None:
    with (
        served(instruments=["SIM0"]) as rt,
        pytest.warns(AlphaWarning, match="reachable from other machines"),
        serve(rt, 0, "0.0.0.0") as server,
    ):
        assert status(server)["mode"] == "inline"


def test_after_its_end_nobody_answers() -> None:
    with served(instruments=["SIM0"]) as rt:
        server = serve(rt, 0)
        server.close()
        server.close()
        with pytest.raises(AlphaError, match=r"no runtime answers at http.*start one with"):
            fetch(server.url)


def test_something_else_that_answers_is_not_believed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        import threading

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b'HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{"schema": "other"}')

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(AlphaError, match="is no watched runtime"):
            fetch(f"127.0.0.1:{other.getsockname()[1]}")
        thread.join()


# -- metrics


def test_metrics_are_the_counters(everything: tuple[alpha.Runtime, Server]) -> None:
    rt, server = everything
    got, stats = scraped(server), rt.stats()
    assert got["alpha_events_total", ()] == stats["events"] == len(SIM.events) + 1
    for action, n in stats["actions"].items():
        assert got["alpha_signals_total", (("action", action),)] == n
        assert got["alpha_model_decisions_total", (("action", action), ("model", "demo"))] == n
    for reason, n in stats["reasons"].items():
        assert got["alpha_signal_reasons_total", (("reason", reason),)] == n
    assert got["alpha_rejected_events_total", (("reason", "PRICE"),)] == stats["rejected_by"]["PRICE"] > 0
    for check, n in stats["unlike"].items():
        assert got["alpha_unlike_rows_total", (("check", check),)] == n
    seen = rt._pipeline.watched(0)
    both = (("instrument", "SIM0"), ("model", "demo"))
    assert got["alpha_psi", both] == seen["psi"] > 0 and got["alpha_distance", both] == seen["distance"]
    counts, largest = rt.latency_counts()
    assert counts is not None
    decided = stats["decisions"]
    assert got["alpha_decision_seconds_count", ()] == int(counts.sum()) == decided
    assert got["alpha_decision_seconds_bucket", (("le", "+Inf"),)] == decided
    buckets = [got["alpha_decision_seconds_bucket", (("le", repr(ns / 1e9)),)] for ns in LATENCY_NS]
    assert buckets == sorted(buckets) and buckets[-1] <= decided
    assert got["alpha_decision_max_seconds", ()] == largest / 1e9
    (info,) = [dict(labels) for name, labels in got if name == "alpha_model_info"]
    assert info["sha256"] == rt.model_sha256 and info["governed"] == "false"
    assert got["alpha_worker_running", ()] == 0 and got["alpha_ring_dropped_events_total", ()] == 0
    assert got["alpha_audit_healthy", ()] == 1


def test_kill_and_halt_are_seen_in_the_next_scrape(everything: tuple[alpha.Runtime, Server]) -> None:
    rt, server = everything
    assert scraped(server)["alpha_killed", ()] == 0
    rt.kill("a test")
    assert scraped(server)["alpha_killed", ()] == 1
    rt.revive()
    assert scraped(server)["alpha_killed", ()] == 0


def test_names_follow_the_conventions(everything: tuple[alpha.Runtime, Server]) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    _, _, body = ask(everything[1].port, "/metrics")
    text = body.decode()
    units = re.compile(r"_(ms|us|ns|milliseconds|microseconds|nanoseconds|minutes|percent)(_|$)")
    for family in text_string_to_metric_families(text):
        assert family.name.startswith("alpha_") and not units.search(family.name), family.name
        assert family.documentation and family.type in ("counter", "gauge", "histogram")
        counter = family.type == "counter"
        assert all(s.name.endswith("_total") == counter or family.type == "histogram" for s in family.samples)
        for s in family.samples:
            assert set(s.labels) <= {
                "model", "instrument", "reason", "action", "check", "status", "le",  # bounded
                "name", "sha256", "definition", "engine", "precision", "mode", "governed",  # of *_info, one a model
                "version", "isa", "python",
            }  # fmt: skip
    assert text.count("# TYPE") == len(set(re.findall(r"# TYPE (\S+)", text)))


def test_a_name_of_any_kind_is_escaped() -> None:
    odd = 'a"b\\c d<script>'
    with (
        alpha.Runtime.from_features(alpha.features.catalog.get("spec"), instruments=[odd]) as rt,
        serve(rt, 0) as server,
    ):
        rt.run(SIM.events[:500])
        assert ("alpha_last_action", (("instrument", odd),)) in scraped(server)
        assert status(server)["chosen"] == odd


def _named(expression: str) -> set[str]:
    return set(re.findall(r"\balpha_[a-z0-9_]+", expression))


def test_every_metric_of_dashboard_and_alerts_is_exported(
    everything: tuple[alpha.Runtime, Server], project_root: Path, tmp_path: Path
) -> None:
    exported = {name for name, _ in scraped(everything[1])}
    # what only a governed model has
    shutil.copytree(project_root / "artifacts/demo", tmp_path / "artifacts/demo")
    book = json.loads((project_root / "registry.json").read_text())
    book["models"] = [{**m, "valid_until": "2031-01-01T00:00:00Z"} for m in book["models"] if m["id"] == "demo"]
    (tmp_path / "registry.json").write_text(json.dumps(book))
    with (
        alpha.Runtime.from_registry(tmp_path / "registry.json", "models:/demo/1", instruments=["SIM0"]) as rt,
        serve(rt, 0, registry=tmp_path / "registry.json") as server,
    ):
        governed = scraped(server)
    assert governed["alpha_model_valid_until_timestamp_seconds", (("model", "demo"),)] == 1924992000
    assert governed["alpha_model_status", (("model", "demo"), ("status", "production"))] == 1
    exported |= {name for name, _ in governed}
    document = json.loads((project_root / "ops/grafana/alpha.json").read_text())
    asked: set[str] = set()
    for panel in document["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["targets"]
        for target in panel["targets"]:
            assert "$S" not in target["expr"]
            named = _named(target["expr"])
            assert named and named <= exported, (panel["title"], named - exported)
            asked |= named
    for variable in document["templating"]["list"]:
        assert _named(variable["query"]["query"]) <= exported
    for alert in ops.ALERTS:
        assert _named(alert.expression) <= exported, alert.name
        asked |= _named(alert.expression)
    assert len(asked) > 30
    # and the page of the documentation names all of them, and nothing else
    rows = [
        line for line in (project_root / "docs/watch.md").read_text().split("## Metrics")[1].splitlines() if "|" in line
    ]
    told = {
        f"alpha_{name}" for row in rows for name in re.findall(r"`([a-z_]+)(?:\{[a-z0-9_,]+\})?`", row.split("|")[1])
    }
    assert told == {re.sub(r"(?<=alpha_decision_seconds)_(bucket|count|sum)$", "", name) for name in exported}


def test_panels_do_not_lie_over_each_other(project_root: Path) -> None:
    taken = np.zeros((200, 24), dtype=bool)
    for panel in json.loads((project_root / "ops/grafana/alpha.json").read_text())["panels"]:
        p = panel["gridPos"]
        place = taken[p["y"] : p["y"] + p["h"], p["x"] : p["x"] + p["w"]]
        assert p["x"] + p["w"] <= 24 and not place.any(), panel["title"]
        place[:] = True


def test_the_files_are_what_the_package_prints(project_root: Path) -> None:
    assert (project_root / "ops/grafana/alpha.json").read_text() == ops.dashboard()
    assert (project_root / "ops/prometheus/alpha-alerts.yaml").read_text() == ops.alerts()


def test_alert_rules_are_lawful_yaml(project_root: Path) -> None:
    yaml: Any = pytest.importorskip("yaml")
    (group,) = yaml.safe_load((project_root / "ops/prometheus/alpha-alerts.yaml").read_text())["groups"]
    assert [r["alert"] for r in group["rules"]] == [a.name for a in ops.ALERTS]
    assert [r["expr"] for r in group["rules"]] == [a.expression for a in ops.ALERTS]


def test_the_page_works_without_the_client_library(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client.exposition", None)
    told: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "HTTP_HOST": "localhost", "PATH_INFO": "/metrics"}
    (body,) = Application(server.looker)(environ, lambda code, headers: told.append(code))
    assert told[0].startswith("501") and b"pip install 'alpha-runtime[ops]'" in body
