"""A model that was trained elsewhere comes in by the command line, and its signals are ONNX Runtime's, by hand."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx_models as made
import polars as pl
import pytest
from imports import ACTIONS, NAMES, bring, by_hand, check_signals, features, metadata_short, rows_of

import alpha
from alpha.cli.main import main
from alpha.data import open_events
from alpha.data.simulate import simulate
from alpha.instruments import Instruments
from alpha.models import metadata
from alpha.models.adopt import Scaler
from alpha.registry import load, promote, verify
from alpha.registry.lineage import definition_commit


def trained(x: Any, kind: str) -> tuple[bytes, str, str]:
    """(bytes, output, what it holds): a small fit on normalised rows, exported as people do."""
    import warnings

    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    y = (x[:, 1] > 0.4).astype(int) - (x[:, 1] < -0.4)
    estimator = {
        "logistic": LogisticRegression(),
        "forest": RandomForestClassifier(5, max_depth=5, random_state=1),
        "mlp": MLPClassifier((8,), max_iter=15, random_state=1),
    }[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(x, y)
        proto = to_onnx(estimator, x[:1], options={"zipmap": False}, target_opset={"": 18, "ai.onnx.ml": 3})
    return bytes(proto.SerializeToString()), "probabilities", "probabilities"


def come_in_and_run(
    place: Path, capsys: pytest.CaptureFixture[str], data: Path, events: Any, instruments: Instruments, kind: str
) -> None:
    fs = features()
    index, x = rows_of(fs, events, instruments)
    mean, std = x.mean(axis=0).astype(float), x.std(axis=0).astype(float)
    scaler = Scaler(mean.tolist(), std.tolist(), (-4.0, 4.0))
    model, output, holds = trained(scaler.apply(x), kind)
    (place / "mine.onnx").write_bytes(model)
    (place / "s.json").write_text(json.dumps({"mean": scaler.mean, "std": scaler.std, "clip": [-4.0, 4.0]}))
    pl.DataFrame({"ts": index, **{n: x[:, j] for j, n in enumerate(NAMES)}}).write_parquet(place / "sample.parquet")
    code, result, _ = bring(
        capsys, "mine.onnx", "--features", "f.toml", "--actions", ACTIONS, "--kind", holds, "--scaler", "s.json",
        "--sample", "sample.parquet", "--threshold", 0.5, "--owner", "me",
    )  # fmt: skip
    assert (code, result["model"], result["status"]) == (0, "mine/1", "candidate")
    assert all(c["passed"] for c in result["checks"]) and result["sample_rows"] == min(len(x), 20_000)
    assert [p["use"] for p in result["ports"]] == ["features", "labels", "the scores"]
    probes = np.load(place / "artifacts/mine/v1/probes.npy")
    assert probes.dtype == np.float32 and probes.shape[1] == 6 and len(probes) >= 500
    # what numerics says, in float64, then float32, then the clip: written out once more, not by the code under test
    z = np.clip(((x.astype(np.float64) - mean) / std).astype(np.float32), np.float32(-4), np.float32(4))
    assert probes[0].tobytes() == z[0].tobytes()
    theirs = by_hand(model, output, z)
    with alpha.Runtime.from_artifact(result["artifact"], instruments=instruments, engine="ort") as rt:
        assert not rt.bundle.governed and rt.bundle.name == "mine/1"
        check_signals(rt.run(events), index, theirs, 0.5)
    code = main(["run", "--model", "models:/mine/1", "--data", str(data), "--json"])
    ran = json.loads(capsys.readouterr().out)
    assert code == 0 and ran["governed"] and ran["model_sha256"] == result["model_sha256"]
    assert ran["reasons"]["MODEL"] > 0 and ran["lost"] == 0
    assert verify(place / "registry.json") == (1, [])
    (place / "registry.toml").write_text('[policy]\ndefinition_commit = "optional"\n')  # no repository here
    assert promote(place / "registry.json", "models:/mine/1", approver="you").resolve("models:/mine@production")


@pytest.mark.parametrize("kind", ["logistic", "mlp"])
def test_simulated_data(place: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    e = simulate(6_000, seed=5, levels=1).events
    v, quote = e["v"], e["kind"] == 1
    frame = pl.DataFrame(
        {
            "ts": e["ts_event_ns"],
            "kind": e["kind"],
            **{
                name: np.where(quote == is_quote, v[:, j], np.nan)
                for name, j, is_quote in (
                    ("bid", 0, True),
                    ("ask", 1, True),
                    ("bid_size", 2, True),
                    ("ask_size", 3, True),
                    ("last", 0, False),
                    ("last_size", 1, False),
                )
            },
            "side": np.where(quote, 0, v[:, 2]).astype(np.int8),
        }
    ).with_columns(pl.col("bid", "ask", "bid_size", "ask_size", "last", "last_size").fill_nan(None))
    frame.write_parquet(place / "ticks.parquet")
    source = open_events(place / "ticks.parquet")
    events = source.read_all()
    come_in_and_run(place, capsys, place / "ticks.parquet", events, source.instruments, kind)


@pytest.mark.real_data
def test_a_slice_of_a_real_day(place: Path, capsys: pytest.CaptureFixture[str], data_dir: Path) -> None:
    file = data_dir / "lobster" / "AMZN_20120621_L5.parquet"
    if not file.exists():
        pytest.skip(f"{file.name} is not in the data folder")
    source = open_events(file)
    events = source.read_all()[:8_000]
    come_in_and_run(place, capsys, file, events, source.instruments, "forest")


# -- what is said about the file, and what does not fit


@pytest.mark.parametrize("name", ["x.json", "x.metadata.json", "x_metadata.json", "metadata.json"])
def test_the_specifications_metadata_beside_the_file(
    place: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (place / name).write_text(json.dumps(metadata_short()))
    code, result, _ = bring(capsys, "x.onnx", "--features", "f.toml", "--kind", "probabilities")
    assert code == 0 and result["model"] == "HybridPPO/2" and result["metadata"] == name
    meta = metadata.decode((place / "artifacts/HybridPPO/v2/metadata.json").read_bytes())
    assert (meta.mean, meta.std, meta.clip) == ([0.5] * 6, [2.0] * 6, (-5.0, 5.0))
    assert meta.actions == ACTIONS.split(",") and meta.outputs[0].kind == "probabilities"
    assert (meta.opset, meta.ir_version) == (18, 10)


def test_metadata_of_a_folder_with_several_models_belongs_to_none(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "metadata.json").write_text(json.dumps(metadata_short()))
    (place / "y.onnx").write_bytes(made.softmax(6, seed=3))
    code, result, _ = bring(capsys, "x.onnx", "--features", "f.toml", "--kind", "probabilities", "--actions", ACTIONS)
    assert code == 0 and result["metadata"] is None and result["model"] == "x/1"


def test_our_own_metadata_says_everything(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, first, _ = bring(
        capsys, "x.onnx", "--features", "f.toml", "--kind", "probabilities", "--actions", ACTIONS, "--threshold", 0.4,
        "--tolerance", 5e-6,
    )  # fmt: skip
    assert code == 0
    full = str(Path(first["artifact"]) / "metadata.json")
    code, again, _ = bring(
        capsys, "x.onnx", "--features", "f.toml", "--metadata", full, "--id", "twin", "--version", "v3"
    )
    assert code == 0 and again["model"] == "twin/3"
    meta = metadata.decode((Path(again["artifact"]) / "metadata.json").read_bytes())
    assert (meta.decision.threshold, meta.outputs[0].name, meta.actions) == (0.4, "p", ACTIONS.split(","))
    assert meta.tolerance == 5e-6
    code, refused, _ = bring(capsys, "x.onnx", "--features", "f.toml", "--metadata", full, "--tolerance", 0)
    assert code == 2 and "tolerance 0 must be from 1e-06 to 0.0001" in refused["error"]
    (place / "y.onnx").write_bytes(made.softmax(6, seed=9))
    code, refused, _ = bring(capsys, "y.onnx", "--features", "f.toml", "--metadata", full, "--id", "other")
    assert code == 2 and "belongs to another file" in refused["error"]


def test_versions_count_up_and_a_given_one_must_be_free(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ["x.onnx", "--features", "f.toml", "--kind", "probabilities", "--actions", ACTIONS]
    assert [bring(capsys, *said)[1]["model"] for _ in range(2)] == ["x/1", "x/2"]
    code, result, _ = bring(capsys, *said, "--version", 2)
    assert code == 2 and "already exists" in result["error"]
    assert [e.number for e in load(place / "registry.json").document.models] == [1, 2]


def test_without_a_scaler_or_sample_it_is_said_and_cannot_be_promoted(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result, _ = bring(capsys, "x.onnx", "--features", "f.toml", "--kind", "probabilities", "--actions", ACTIONS)
    assert code == 0
    told = " ".join(result["notes"])
    assert "takes raw features" in told and "made-up rows" in told
    meta = metadata.decode((Path(result["artifact"]) / "metadata.json").read_bytes())
    assert (meta.mean, meta.std) == ([0.0] * 6, [1.0] * 6)
    assert meta.clip[1] > 1e38  # no float32 is cut
    with pytest.raises(alpha.AlphaError, match="sample_rows"):
        promote(place / "registry.json", "models:/x/1", approver="me")


def test_look_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result, _ = bring(capsys, "x.onnx", "--features", "f.toml", "--look")
    assert code == 0 and [p["name"] for p in result["ports"]] == ["x", "p"]
    assert main(["import", "x.onnx", "--features", "f.toml", "--look"]) == 0
    shown = capsys.readouterr().out
    assert "tensor(float)" in shown and "['N', 6]" in shown
    assert sorted(p.name for p in place.iterdir()) == ["f.toml", "x.onnx"]


def test_the_commit_of_the_features_is_recorded(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def imported() -> str:
        said = ["x.onnx", "--features", "f.toml", "--kind", "probabilities", "--actions", ACTIONS]
        code, result, _ = bring(capsys, *said)
        assert code == 0
        return str(result["definition_commit"])

    def git(*words: str) -> str:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        return subprocess.run(
            ["git", *who, *words], cwd=place, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    (place / ".gitignore").write_text("artifacts/\nregistry.json\n.registry*\n")
    assert imported() == ""  # a new file
    git("add", ".")
    git("commit", "-q", "-m", "features")
    assert imported() == git("rev-parse", "HEAD")
    (place / ".gitignore").write_text("*\n")
    git("rm", "-q", "--cached", "f.toml", "x.onnx")
    git("commit", "-q", "-m", "ignored", "--", ".gitignore", "f.toml", "x.onnx")
    (place / "deep").mkdir()
    assert definition_commit(place / "deep") == ""  # as the folder of an environment
