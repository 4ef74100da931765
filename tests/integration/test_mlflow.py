"""Runs and models in a real MLflow store (sqlite), and back: byte for byte, as a candidate, or not at all."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import msgspec
import onnx_models
import pytest
import registries
from registries import publish

from alpha.cli.main import main
from alpha.registry import Entry, load, promote, register, rollback, verify

pytest.importorskip("mlflow")
pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's dependencies deprecate each other
ROOT = Path(__file__).parents[2]
URI = "models:/momentum/1"


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with its tables, which take seconds to make; copied for each test."""
    from alpha_training.mlflow_store import opened

    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    with opened(f"sqlite:///{file}") as store:
        store._client.search_experiments()
    return file


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """momentum v1 and v2, candidates."""
    here = tmp_path / "here"
    for number in (1, 2):
        register(here / "registry.json", publish(here, number), by="ada", at=registries.WHEN)
    return here / "registry.json"


@pytest.fixture
def call(store: str, capsys: pytest.CaptureFixture[str]) -> Any:
    def called(*args: object, code: int = 0) -> dict[str, Any]:
        got = main(["mlflow", *map(str, args), "--store", store, "--json"])
        out, err = capsys.readouterr()
        assert got == code, err
        told: dict[str, Any] = json.loads(out)
        return told

    return called


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def entry_of(registry: Path, number: int = 1) -> Entry:
    return next(e for e in load(registry).document.models if e.number == number)


def test_a_model_comes_back_as_the_same_bytes_and_a_candidate(call: Any, registry: Path, tmp_path: Path) -> None:
    promote(registry, URI, approver="grace")
    told = call("register", "models:/momentum@production", "--registry", registry)
    assert told["aliases"] == ["production"] and told["status"] == "production" and told["version_there"] == "1"
    there = tmp_path / "there" / "registry.json"
    told = call("import", "models:/momentum@production", "--registry", there)
    assert told["status"] == "candidate" and told["status_there"] == "production"
    assert told["approved_there"] == ["grace"] and told["engine"] in ("plan", "ort")
    artifact = Path("artifacts") / "momentum" / "v1"
    assert tree(there.parent / artifact) == tree(registry.parent / artifact) and len(tree(there.parent / artifact)) == 3
    was, now = entry_of(registry), entry_of(there)
    assert now == msgspec.structs.replace(was, status="candidate", approved_by=[])
    assert was.status == "production" and was.approved_by == ["grace"] and now.checks == [registries.GOOD]
    assert verify(there) == (1, [])
    line = load(there).document.history[-1]
    assert line.after == "candidate" and "models:/momentum@production" in line.by
    error = call("import", "models:/momentum/1", "--registry", there, code=2)["error"]
    assert "momentum v1 is already registered" in error and "with the same bytes" in error
    promote(there, URI, approver="ada")  # by a person here, as any candidate


def test_a_real_models_card_probes_and_certificate_survive(call: Any, tmp_path: Path) -> None:
    there = tmp_path / "there" / "registry.json"
    call("register", "models:/demo_mlp/1", "--registry", ROOT / "registry.json")
    told = call("import", "models:/demo_mlp@candidate", "--registry", there)
    assert told["engine"] == "plan"
    got = tree(there.parent / "artifacts" / "demo_mlp" / "v1")
    kept = tree(ROOT / "artifacts" / "demo_mlp" / "v1")
    kept.pop("judged.json", None)  # a verdict is about a build
    assert got == kept and {"card.md", "probes.npy", "parity.json", "model.onnx", "metadata.json"} <= got.keys()


def test_aliases_follow_the_statuses_here(call: Any, registry: Path) -> None:
    for number in (1, 2):
        told = call("register", f"models:/momentum/{number}", "--registry", registry)
        assert told["aliases"] == ["candidate"]
    promote(registry, URI, approver="grace")
    promote(registry, "models:/momentum/2", approver="grace")  # archives the first
    assert call("register", "models:/momentum/1", "--registry", registry)["aliases"] == []
    told = call("register", "models:/momentum/2", "--registry", registry)
    assert told["aliases"] == ["production"] and told["version_there"] == "2"
    error = call("import", "models:/momentum@candidate", code=2)["error"]
    assert "candidate not found" in error
    rollback(registry, "momentum", approver="grace")
    assert call("register", "models:/momentum/1", "--registry", registry)["aliases"] == ["production"]


def test_another_model_under_the_same_version_is_refused(
    call: Any, registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("register", URI, "--registry", registry)
    assert call("register", URI, "--registry", registry)["version_there"] == "1"  # the same bytes are the same version
    monkeypatch.setattr(registries, "MODEL", onnx_models.softmax(seed=5))
    other = tmp_path / "other" / "registry.json"
    register(other, publish(other.parent, 1), by="eve")
    error = call("register", URI, "--registry", other, code=2)["error"]
    assert "has another momentum v1" in error and "delete it there" in error
    error = call("import", URI, "--registry", other, code=2)["error"]
    assert "already registered" in error and "with other bytes" in error


@pytest.mark.parametrize("name", ["model.onnx", "metadata.json", "card.md", "entry.json"])
def test_what_was_altered_there_does_not_come_in(call: Any, registry: Path, tmp_path: Path, name: str) -> None:
    call("register", URI, "--registry", registry)
    (file,) = (tmp_path / "mlartifacts").rglob(name)
    file.write_bytes(file.read_bytes().replace(b"a", b"b", 1))
    there = tmp_path / "there" / "registry.json"
    error = call("import", URI, "--registry", there, code=2)["error"]
    assert f"{name} was altered" in error
    assert not there.exists() and not (there.parent / "artifacts").exists()
    file.unlink()
    error = call("import", URI, "--registry", there, code=2)["error"]
    assert name in error and not there.exists()


def test_what_cannot_be_done_is_said(call: Any, registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "not found" in call("import", "models:/momentum@production", code=2)["error"]
    assert "models:/NAME@ALIAS" in call("import", "momentum", code=2)["error"]
    assert "no model 'other'" in call("register", "models:/other/1", "--registry", registry, code=2)["error"]
    call("register", URI, "--registry", registry)
    artifact = registry.parent / "artifacts" / "momentum" / "v2" / "card.md"
    artifact.write_text("another")
    assert "card.md was altered" in call("register", "models:/momentum/2", "--registry", registry, code=2)["error"]
    assert main(["mlflow", "log", "x", "--store", "file:///x", "--json"]) == 2
    assert "sqlite:///mlflow.db" in json.loads(capsys.readouterr().out)["error"]


def test_a_run_is_logged_with_its_figures_and_files(call: Any, store: str, tmp_path: Path) -> None:
    from alpha_training.mlflow_store import opened

    run = tmp_path / "runs" / "mine"
    (run / "snapshot").mkdir(parents=True)
    assert "is no finished run" in call("log", run, code=2)["error"]
    recipe = {"seed": 7, "data": {"simulate": {"n_events": 400}}, "models": [{"id": "m", "kind": "mlp"}]}
    checks = [{"name": "auc", "value": 0.6, "limit": 0.52, "passed": True, "waived": False}]
    metrics = {"m": {"metrics": {"test": {"auc": 0.61, "pbo": None}}, "checks": checks, "blocked": []}}
    (run / "recipe.json").write_text(json.dumps(recipe))
    (run / "metrics.json").write_text(json.dumps(metrics))
    (run / "m.png").write_bytes(b"picture")
    (run / "snapshot" / "manifest.json").write_text(json.dumps({"data_sha256": "ab", "git_commit": ""}))
    run_id = call("log", run, "--experiment", "tests")["run_id"]
    with opened(store) as there:
        made = there._client.get_run(run_id)
        assert made.data.metrics["m.metrics.test.auc"] == 0.61
        assert made.data.metrics["m.checks.auc.value"] == 0.6 and made.data.metrics["m.checks.auc.passed"] == 1.0
        assert made.data.params == {
            "seed": "7",
            "data.simulate.n_events": "400",
            "models.m.id": "m",
            "models.m.kind": "mlp",
        }
        assert made.data.tags["alpha.data_sha256"] == "ab" and "alpha.git_commit" not in made.data.tags
        files = {f.path for f in there._client.list_artifacts(run_id)}
        assert files == {"recipe.json", "metrics.json", "m.png", "snapshot"} and made.info.status == "FINISHED"
    registered = tmp_path / "r" / "registry.json"
    register(registered, publish(registered.parent, 1))
    told = call("register", URI, "--registry", registered, "--run", run_id)
    assert told["run_id"] == run_id
    assert call("register", URI, "--registry", registered, "--run", run_id)["version_there"] == "1"
    error = call("register", URI, "--registry", registered, "--run", "deadbeef", code=2)["error"]
    assert f"is registered there already, by run {run_id}" in error and "leave --run away" in error


def test_a_store_that_cannot_be_opened_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.db").write_text("no database " * 100)
    for where, words in (
        (tmp_path, "unable to open database file"),
        (tmp_path / "nowhere" / "mlflow.db", "unable to open database file"),
        (tmp_path / "text.db", "file is not a database"),
    ):
        assert main(["mlflow", "log", str(tmp_path), "--store", f"sqlite:///{where}"]) == 2
        err = capfd.readouterr().err
        assert f"--store sqlite:///{where}: the database cannot be opened: {words}: " in err and err.count("\n") == 1


def test_where_no_mlflow_server_answers_it_is_said_in_time(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own patience is 7 tries of 120 s; ours is for the first question only, and a user's is left alone."""
    from alpha_training import mlflow_address

    asked: list[str] = []

    class Other(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
            self.send_error(501)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    monkeypatch.setitem(mlflow_address._PATIENCE, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setitem(mlflow_address._PATIENCE, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with HTTPServer(("127.0.0.1", 0), Other) as other, socket.create_server(("127.0.0.1", 0)) as silent:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        for port, words in (
            (1, "nobody answers"),
            (silent.getsockname()[1], "nobody answers"),
            (other.server_port, "it answers 501"),
        ):
            assert main(["mlflow", "log", str(tmp_path), "--store", f"http://me:secret@127.0.0.1:{port}"]) == 2
            err = capfd.readouterr().err
            assert f"--store http://me:***@127.0.0.1:{port}: no MLflow server can be used there: {words}" in err
            assert err.count("\n") == 1
        assert asked == ["0"] and "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
        assert main(["mlflow", "log", str(tmp_path), "--store", f"http://127.0.0.1:{other.server_port}"]) == 2
        assert asked[1:] and set(asked[1:]) == {"1"} and os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
        other.shutdown()
