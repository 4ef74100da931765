"""Weights rounded to bfloat16: only where somebody asks for them, told by the runtime and kept by its log."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import desks
import numpy as np
import onnx_models
import polars as pl
import pytest

import alpha
from alpha.audit import AuditLog
from alpha.audit.frames import Frame
from alpha.audit.read import open_all
from alpha.cli.main import main
from alpha.data.simulate import simulate
from alpha.errors import AlphaError, ModelError
from alpha.events import Kind
from alpha.features.feature_set import FeatureSet, parse_trigger
from alpha.features.language import parse
from alpha.replay import replay

STREAM = simulate(3_000, seed=5, n_instruments=2)
MLP = "models:/demo_mlp/1"


@pytest.fixture(autouse=True)
def _untrained_instruments_are_fine() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", alpha.AlphaWarning)
        yield


@pytest.fixture
def file(tmp_path: Path, project_root: Path) -> Path:
    shutil.copy(project_root / "registry.json", tmp_path)
    shutil.copytree(project_root / "artifacts", tmp_path / "artifacts")
    return tmp_path / "registry.json"


def runtime(file: Path, what: Any = MLP, **more: Any) -> alpha.Runtime:
    return alpha.Runtime.from_registry(file, what, instruments=STREAM.instruments, **more)


def test_bf16_is_served_where_it_is_asked_for_and_never_otherwise(file: Path) -> None:
    exact, half = runtime(file), runtime(file, precision="bf16")
    folder = alpha.Runtime.from_artifact(
        file.parent / "artifacts" / "demo_mlp" / "v1", instruments=STREAM.instruments, precision="bf16"
    )
    a, b, c = (rt.run(STREAM.events)["scores"] for rt in (exact, half, folder))
    assert np.array_equal(b, c) and not np.array_equal(a, b)
    np.testing.assert_allclose(a, b, atol=0.02)
    assert exact.stats()["weights"] == {"precision": "float32", "asked": "float32"}
    told = half.stats()["weights"]
    assert told["precision"] == "bf16" and told["rows"] > 500
    assert 0 <= told["other_decisions"] <= 0.01 * told["rows"] and 1e-6 < told["worst"] < 0.1
    assert "--precision bf16" in told["judge_over_data"]
    assert half.explain(STREAM.instruments.symbols[0])["weights"] == told
    ort = runtime(file, engine="ort", precision="bf16")
    assert ort.stats()["weights"] == {"precision": "float32", "asked": "bf16"}
    with pytest.raises(ModelError, match="precision 'fp8' is unknown: use float32 or bf16"):
        runtime(file, precision="fp8")


def test_trees_have_nothing_to_round(tmp_path: Path) -> None:
    fs = FeatureSet("woods", {n: parse(f"{k} * mid") for k, n in enumerate("abcdef", 1)}, parse_trigger("quote"))
    desks.served(tmp_path, fs, onnx_models.zoo()["forest"], "probabilities", "probabilities", [600.0] * 6, [3.0] * 6)
    weights = {}
    for precision in ("float32", "bf16"):
        with alpha.Runtime.from_artifact(tmp_path, instruments=STREAM.instruments, precision=precision) as rt:
            assert rt.stats()["engine"] == "plan" and "bit for bit" in rt.stats()["engine_reason"]
            weights[precision] = rt.stats()["weights"]
    assert weights["float32"] == {"precision": "float32", "asked": "float32"}
    note = weights["bf16"].pop("note")
    assert weights["bf16"] == {"precision": "float32", "asked": "bf16"} and note.startswith("nothing to round")


def test_the_log_tells_the_precision_and_replays_with_it(file: Path, tmp_path: Path) -> None:
    with runtime(file, precision="bf16", audit=AuditLog(tmp_path / "log", policy="wait")) as rt:
        rt.run(STREAM.events)
    (log,) = open_all(tmp_path / "log")
    told = log.json(Frame.BUNDLE)
    assert told["precision"] == "bf16" and told["engine"] == "plan"
    found = replay(tmp_path / "log")
    assert found.passed and found.decisions > 1_000, found.shown


def test_a_reload_keeps_the_precision(file: Path, tmp_path: Path) -> None:
    with runtime(file, precision="bf16", reload="explicit", audit=AuditLog(tmp_path / "log", policy="wait")) as rt:
        rt.run(STREAM.events[:1_000])
        assert rt.reload()["status"] == "unchanged"
        assert rt.reload("models:/demo/1")["status"] == "offered"
        rt.run(STREAM.events[1_000:])
        assert rt.bundle.name == "demo/1" and rt.bundle.precision == "bf16"
        assert rt.rollback()["status"] == "offered"
    (log,) = open_all(tmp_path / "log")
    assert len(log.of_type(Frame.RELOAD)) == 2
    assert replay(tmp_path / "log").passed


def test_a_reload_and_a_late_load_keep_the_engine(file: Path) -> None:
    with runtime(file, engine="ort", reload="explicit") as rt:
        assert rt.reload("models:/demo/1")["status"] == "offered"
        rt.run(STREAM.events[:1_000])
        assert rt.bundle.name == "demo/1" and rt.stats()["engine"] == "ort"
    desk = alpha.Desk({"first": MLP, "lazy": alpha.Model(MLP, "shadow", lazy=True)})
    with runtime(file, desk, engine="ort", reload="explicit") as rt:
        assert rt.load("lazy")["status"] == "offered"
        rt.run(STREAM.events[:1_000])
        assert rt.reload("models:/demo/1", model="first")["status"] == "offered"
        rt.run(STREAM.events[1_000:])
        assert [m["engine"] for m in rt.stats()["models"].values()] == ["ort", "ort"]


def test_each_model_of_a_desk_may_have_its_own(file: Path, tmp_path: Path) -> None:
    desk = alpha.Desk(
        {"half": MLP, "exact": alpha.Model(MLP, precision="float32"), "lazy": alpha.Model(MLP, "shadow", lazy=True)}
    )
    with runtime(
        file, desk, precision="bf16", reload="explicit", audit=AuditLog(tmp_path / "log", policy="wait")
    ) as rt:
        signals = rt.run(STREAM.events[:2_000])
        assert rt.load("lazy")["status"] == "offered"
        rt.run(STREAM.events[2_000:])
        assert [m["weights"]["precision"] for m in rt.stats()["models"].values()] == ["bf16", "float32", "bf16"]
        assert rt.reload(MLP, model="exact")["status"] == "unchanged"
    half, exact = (signals["scores"][signals["model_slot"] == k] for k in (0, 1))
    assert np.array_equal(half, runtime(file, precision="bf16").run(STREAM.events[:2_000])["scores"])
    assert np.array_equal(exact, runtime(file).run(STREAM.events[:2_000])["scores"])
    assert replay(tmp_path / "log").passed
    with pytest.raises(AlphaError, match="precision"):
        alpha.Desk({"a": alpha.Model(MLP, precision="fp8")})  # type: ignore[arg-type]


def test_alpha_run_serves_it(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    e = simulate(3_000, seed=5, levels=1).events
    data, quote = tmp_path / "ticks.parquet", e["kind"] == Kind.QUOTE
    names = {"bid": (0, quote), "ask": (1, quote), "bid_size": (2, quote), "ask_size": (3, quote)}
    names |= {"last": (0, ~quote), "last_size": (1, ~quote)}
    columns = {n: np.where(of, e["v"][:, k], np.nan) for n, (k, of) in names.items()}
    side = np.where(quote, 0, e["v"][:, 2]).astype(np.int8)
    frame = pl.DataFrame({"ts": e["ts_event_ns"], "kind": e["kind"], **columns, "side": side})
    frame.fill_nan(None).write_parquet(data)
    shas = []
    for more in ([], ["--precision", "bf16"]):
        assert main(["run", "--model", MLP, "--registry", str(file), "--data", str(data), "--json", *more]) == 0
        told = json.loads(capsys.readouterr().out)
        shas.append(told["signals_sha256"])
        assert told["engine"] == "plan" and told["weights"]["precision"] == ("bf16" if more else "float32")
    assert shas[0] != shas[1]
