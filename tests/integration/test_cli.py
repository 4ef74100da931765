"""The command line as a user meets it: JSON keys, exit codes, one-sentence errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from alpha.cli.main import main
from alpha.data.simulate import simulate

RUN_KEYS = {
    "schema",
    "events",
    "decisions",
    "lost",
    "actions",
    "reasons",
    "latency_ns",
    "model",
    "model_sha256",
    "definition_hash",
    "signals_sha256",
}


@pytest.fixture(scope="module")
def ticks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small L1 Parquet file of simulated quotes and trades."""
    e = simulate(6_000, seed=3, levels=1).events
    quote = e["kind"] == 1
    v = e["v"]
    frame = pl.DataFrame(
        {
            "ts": e["ts_event_ns"],
            "kind": e["kind"],
            "bid": np.where(quote, v[:, 0], None).astype(float),
            "ask": np.where(quote, v[:, 1], None).astype(float),
            "bid_size": np.where(quote, v[:, 2], None).astype(float),
            "ask_size": np.where(quote, v[:, 3], None).astype(float),
            "last": np.where(quote, None, v[:, 0]).astype(float),
            "last_size": np.where(quote, None, v[:, 1]).astype(float),
            "side": np.where(quote, 0, v[:, 2]).astype(np.int8),
        }
    ).with_columns(pl.col("bid", "ask", "bid_size", "ask_size", "last", "last_size").fill_nan(None))
    path = tmp_path_factory.mktemp("ticks") / "ticks.parquet"
    frame.write_parquet(path)
    return path


@pytest.fixture
def registry(tmp_path: Path, project_root: Path) -> Path:
    """A copy of the committed registry that a test may break."""
    shutil.copy(project_root / "registry.json", tmp_path)
    shutil.copytree(project_root / "artifacts", tmp_path / "artifacts")
    return tmp_path / "registry.json"


def call(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, Any, str]:
    """(exit code, the JSON object or None, stderr)."""
    code = main([str(a) for a in args])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out.startswith("{") else None, err


def test_run_has_the_keys_scripts_rely_on(capsys: pytest.CaptureFixture[str], ticks: Path, registry: Path) -> None:
    code, result, _ = call(
        capsys, "run", "--model", "models:/demo@production", "--registry", registry, "--data", ticks, "--json"
    )
    assert code == 0 and set(result) >= RUN_KEYS
    assert result["events"] == 6_000 and result["lost"] == 0
    assert sum(result["actions"].values()) == sum(result["reasons"].values()) == result["decisions"] > 4_000
    assert result["reasons"]["MODEL"] > 0
    assert set(result["latency_ns"]) == {"p50", "p99", "p999", "max"}


def test_inline_and_worker_give_the_same_signals(
    capsys: pytest.CaptureFixture[str], ticks: Path, registry: Path
) -> None:
    hashes = set()
    for mode in ("inline", "worker", "inline"):
        _, result, _ = call(
            capsys,
            "run",
            "--model",
            "models:/demo/1",
            "--registry",
            registry,
            "--data",
            ticks,
            "--mode",
            mode,
            "--json",
        )
        assert result["lost"] == 0
        hashes.add(result["signals_sha256"])
    assert len(hashes) == 1


def test_signals_file_holds_every_decision(
    capsys: pytest.CaptureFixture[str], ticks: Path, registry: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s.parquet"
    _, result, _ = call(
        capsys, "run", "--model", "models:/demo/1", "--registry", registry, "--data", ticks, "--signals", out, "--json"
    )
    frame = pl.read_parquet(out)
    assert len(frame) == result["decisions"]
    assert dict(frame["reason"].cast(pl.String).value_counts().iter_rows()) == result["reasons"]


def test_parity_passes_and_writes_its_certificate(
    capsys: pytest.CaptureFixture[str], ticks: Path, tmp_path: Path
) -> None:
    out = tmp_path / "parity.json"
    code, result, _ = call(capsys, "parity", "--features", "twenty", "--data", ticks, "--out", out, "--json")
    assert code == 0 and result["pass"] and result["share"] == 1.0 and result["ready_mismatch"] == 0
    assert {"values", "share", "max_ulp", "worst", "definition_hash", "data_sha256", "isa"} <= set(result)
    assert result["versions"]["numpy"] == np.__version__ and result["versions"]["alpha-runtime"]
    assert json.loads(out.read_text())["values"] == result["values"] > 50_000


@pytest.mark.parametrize("twin", ["batch", "native"])
def test_lookahead_finds_none_in_the_catalogue(capsys: pytest.CaptureFixture[str], ticks: Path, twin: str) -> None:
    code, result, _ = call(
        capsys, "lookahead", "--features", "twenty", "--data", ticks, "--cuts", 3, "--twin", twin, "--json"
    )
    assert code == 0 and result["pass"] and (result["cuts"], result["violations"]) == (3, 0)
    assert result["compared"] > 10_000 and result["twin"] == twin


def test_explain_names_the_failing_gate(capsys: pytest.CaptureFixture[str], ticks: Path, registry: Path) -> None:
    _, result, _ = call(capsys, "explain", "models:/demo@production", "--registry", registry, "--data", ticks, "--json")
    assert len(result["features"]) == 10 and {"raw", "normalised", "training_range"} <= set(result["features"][0])
    threshold = next(g for g in result["gates"] if g["gate"] == "threshold")
    assert threshold["passed"] == (threshold["value"] >= threshold["limit"])
    assert threshold["text"].split()[1] == (">=" if threshold["passed"] else "<")


def test_explain_takes_a_folder_and_without_data_names_the_engine(
    capsys: pytest.CaptureFixture[str], ticks: Path, registry: Path
) -> None:
    folder = next((registry.parent / "artifacts").glob("*/v1"))
    code, result, _ = call(capsys, "explain", folder, "--data", ticks, "--json")
    assert code == 0 and len(result["features"]) == 10 and result["engine"] == "plan"
    for what in ([folder], ["models:/demo/1", "--registry", registry]):
        code, result, _ = call(capsys, "explain", *what, "--json")
        assert code == 0 and result["engine"] == "plan" and "agrees with ONNX Runtime" in result["engine_reason"]
    assert main(["explain", str(folder)]) == 0
    assert "scores by plan: the plan agrees" in capsys.readouterr().out


def test_explain_before_warm_up(capsys: pytest.CaptureFixture[str], ticks: Path, registry: Path) -> None:
    _, result, _ = call(
        capsys, "explain", "models:/demo/1", "--registry", registry, "--data", ticks, "--events", 5, "--json"
    )
    assert result["reason"] == "NOT_WARM"
    assert any(g["gate"] == "warm features" and not g["passed"] for g in result["gates"])


@pytest.mark.parametrize(
    "verb",
    ["demo", "data", "features", "parity", "lookahead", "registry", "run", "explain", "bench", "doctor", "train"],
)
def test_every_verb_has_help(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert main([verb, "--help"]) == 0
    assert f"alpha {verb}" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from alpha.cli.main import main; main(['--help']); print([m for m in ('numpy', 'polars', 'rich') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("[]")


def test_features_show_and_list(capsys: pytest.CaptureFixture[str]) -> None:
    _, result, _ = call(capsys, "features", "demo", "--json")
    assert len(result["features"]) == 10 and len(result["definition_hash"]) == 64
    _, result, _ = call(capsys, "features", "--json")
    assert {"demo", "twenty", "spec"} <= {s["name"] for s in result["sets"]}
    assert main(["features", "--operators"]) == 0
    assert "velocity" in capsys.readouterr().out


def test_doctor_tells_about_the_library(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, result, _ = call(capsys, "doctor", "--json")
    assert code == 0 and result["onnxruntime"] and result["isa"] in result["isa_available"]
    monkeypatch.setenv("ALPHA_NO_ORT", "1")
    code, result, _ = call(capsys, "doctor", "--json")
    assert code == 1 and "ALPHA_NO_ORT" in result["onnxruntime_problem"]


def test_without_onnx_runtime_every_decision_is_hold(
    capsys: pytest.CaptureFixture[str], ticks: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPHA_NO_ORT", "1")
    code, result, _ = call(
        capsys, "run", "--model", "models:/demo/1", "--registry", registry, "--data", ticks, "--json"
    )
    assert code == 0 and result["actions"] == {"SELL": 0, "HOLD": result["decisions"], "BUY": 0}
    assert set(result["reasons"]) == {"NOT_WARM", "NO_ORT"}


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_altered_model_byte_is_refused(capsys: pytest.CaptureFixture[str], ticks: Path, registry: Path) -> None:
    _flip(registry.parent / "artifacts/demo/v1/model.onnx")
    code, _, err = call(capsys, "run", "--model", "models:/demo/1", "--registry", registry, "--data", ticks, "--json")
    assert code == 2 and "was altered" in err and err.count("\n") <= 2
    code, result, _ = call(capsys, "registry", "verify", "--registry", registry, "--json")
    assert code == 1 and result["models"] == 3 and len(result["problems"]) == 1


def test_altered_metadata_is_refused(capsys: pytest.CaptureFixture[str], ticks: Path, registry: Path) -> None:
    meta = registry.parent / "artifacts/demo/v1/metadata.json"
    text = meta.read_text()
    meta.write_text(text.replace('"threshold": 0.', '"threshold": 0.0', 1))
    assert meta.read_text() != text
    code, _, err = call(capsys, "run", "--model", "models:/demo/1", "--registry", registry, "--data", ticks)
    assert code == 2 and "metadata.json was altered" in err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run", "--model", "models:/demo/1", "--registry", "REG", "--data", "/nowhere.parquet"], "does not exist"),
        (["run", "--model", "models:/demo/1", "--registry", "/nowhere.json", "--data", "TICKS"], "does not exist"),
        (
            ["run", "--model", "models:/nothing@production", "--registry", "REG", "--data", "TICKS"],
            "it has: HybridPPO, demo, demo_mlp",
        ),
        (["run", "--model", "models:/demo/9", "--registry", "REG", "--data", "TICKS"], "no version 9"),
        (["run", "--model", "demo", "--registry", "REG", "--data", "TICKS"], "models:/ID@production"),
        (["parity", "--features", "nothing", "--data", "TICKS"], "no feature set is called"),
        (["explain", "models:/demo/1", "--registry", "REG", "--data", "TICKS", "--events", "0"], "at least 1"),
        (["registry", "promote", "models:/demo_mlp/1", "--registry", "REG", "--approver", " "], "approves"),
        (["run", "--model", "models:/demo/1", "--registry", "REG", "--data", "TICKS", "--column", "ts"], "NAME=YOURS"),
        (["train", "/nowhere.toml"], "does not exist"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(
    capsys: pytest.CaptureFixture[str], ticks: Path, registry: Path, args: list[str], words: str
) -> None:
    code, _, err = call(capsys, *[{"REG": registry, "TICKS": ticks}.get(a, a) for a in args])
    assert code == 2, err
    lines = [line for line in err.strip().splitlines() if line.startswith("alpha ")]
    assert len(lines) == 1 and words in lines[0]


def test_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing"]) == 2
    assert "unknown verb" in capsys.readouterr().err


def test_promote_archives_the_previous_version_and_writes_history(
    capsys: pytest.CaptureFixture[str], registry: Path
) -> None:
    code, result, _ = call(
        capsys, "registry", "promote", "models:/demo_mlp/1", "--registry", registry, "--approver", "ann", "--json"
    )
    assert code == 0 and result["status"] == "production" and result["approved_by"] == ["ann"]
    doc = json.loads(registry.read_text())
    assert doc["revision"] == result["revision"] and doc["history"][-1]["by"] == "ann"
    code, _, err = call(
        capsys, "registry", "promote", "models:/demo_mlp/1", "--registry", registry, "--approver", "ann"
    )
    assert code == 2 and "cannot become production" in err


def test_committed_registry_is_sound(capsys: pytest.CaptureFixture[str], project_root: Path) -> None:
    code, result, _ = call(capsys, "registry", "verify", "--registry", project_root / "registry.json", "--json")
    assert code == 0 and result == {"schema": "alpha/registry-verify/1", "models": 3, "problems": []}


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "rejected"),
    [
        ("lobster/AMZN_20120621_L5.parquet", 0),
        ("binance/spot_btcusdt_20240808.gz", 0),
        ("binance/usdm_btcusdt_20240808_l1.parquet", 0),
    ],
)
def test_real_streams(
    capsys: pytest.CaptureFixture[str], data_dir: Path, registry: Path, file: str, rejected: int
) -> None:
    code, result, err = call(
        capsys, "run", "--model", "models:/demo@production", "--registry", registry, "--data", data_dir / file, "--json"
    )
    assert code == 0 and result["lost"] == 0 and result["decisions"] > 20_000
    assert sum(result["rejected"].values()) <= rejected
    assert result["reasons"]["MODEL"] > 10_000
    assert "was trained on simulated data" in err
