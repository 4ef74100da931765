"""A model whose operators have another version now: HOLD with DEFINITION_CHANGED until parity has passed again."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import alpha
from alpha.data.simulate import simulate
from alpha.errors import ModelError, RegistryError
from alpha.events import Reason
from alpha.features import parity
from alpha.features.operators import OPERATORS
from alpha.registry import load, promote, verify
from alpha.registry.revalidate import revalidate

STREAM = simulate(12_000, seed=3)
URI = "models:/demo@production"


@pytest.fixture
def file(tmp_path: Path, project_root: Path) -> Path:
    """A copy of the committed registry."""
    shutil.copy(project_root / "registry.json", tmp_path)
    shutil.copytree(project_root / "artifacts", tmp_path / "artifacts")
    return tmp_path / "registry.json"


@pytest.fixture
def newer_ema(monkeypatch: pytest.MonkeyPatch) -> None:
    """This build computes ema by its version 2."""
    monkeypatch.setitem(OPERATORS, "ema", dataclasses.replace(OPERATORS["ema"], version=2))


def reasons(file: Path) -> dict[str, int]:
    with alpha.Runtime.from_registry(file, URI, instruments=STREAM.instruments) as rt:
        rt.run(STREAM.events)
        counted: dict[str, int] = rt.stats()["reasons"]
        return counted


def test_a_changed_operator_is_hold_until_it_is_revalidated(
    file: Path, newer_ema: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with alpha.Runtime.from_registry(file, URI, instruments=STREAM.instruments) as rt:
        signals = rt.run(STREAM.events)
        assert "alpha registry revalidate models:/demo/1" in rt.why
    warm = signals[signals["reason"] != Reason.NOT_WARM]
    assert len(warm) > 1000 and (warm["reason"] == Reason.DEFINITION_CHANGED).all() and not signals["action"].any()
    assert "it was approved with" in verify(file)[1][0]
    with pytest.raises(RegistryError, match="it was approved with"):
        promote(file, "models:/demo_mlp/1", approver="Ada")

    result = revalidate(file, URI, STREAM.events, STREAM.instruments, by="Ada", data_sha256=["d"])
    assert result["pass"] and result["values"] > 50_000
    entry = load(file).resolve(URI)
    assert entry.feature_definition.hash == result["definition_hash"]
    assert load(file).document.history[-1].action == "revalidate"
    certificate = file.parent / "artifacts/demo/v1" / entry.feature_definition.parity
    assert json.loads(certificate.read_text())["data_sha256"] == ["d"]
    assert "DEFINITION_CHANGED" not in reasons(file) and reasons(file)["MODEL"] > 0
    assert verify(file)[1] == []

    certificate.write_text(certificate.read_text().replace('"d"', '"e"'))
    with pytest.raises(ModelError, match="was altered"):
        load(file).load_model(URI)
    certificate.unlink()
    with pytest.raises(ModelError, match="has no parity-"):
        load(file).load_model(URI)


def test_going_back_to_the_older_build_is_a_change_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setitem(OPERATORS, "ema", dataclasses.replace(OPERATORS["ema"], version=2))
        revalidate(file, URI, STREAM.events, STREAM.instruments, by="Ada")
    assert reasons(file)["DEFINITION_CHANGED"] > 1000


def test_twins_that_disagree_change_nothing(file: Path, newer_ema: None, monkeypatch: pytest.MonkeyPatch) -> None:
    real = parity.compare

    def wrong(fs, native, twin):  # type: ignore[no-untyped-def]
        native["values"][::7, 2] += np.float32(1e-3)
        return real(fs, native, twin)

    monkeypatch.setattr(parity, "compare", wrong)
    before = file.read_bytes()
    result = revalidate(file, URI, STREAM.events, STREAM.instruments, by="Ada")
    assert not result["pass"] and result["worst"]["feature"] == "imbalance_ema"
    assert file.read_bytes() == before and len(list((file.parent / "artifacts/demo/v1").iterdir())) == 5


def test_an_artifact_folder_alone_holds_too(file: Path, newer_ema: None) -> None:
    with alpha.Runtime.from_artifact(file.parent / "artifacts/demo/v1", instruments=STREAM.instruments) as rt:
        signals = rt.run(STREAM.events)
    assert (signals["reason"] == Reason.DEFINITION_CHANGED).sum() > 1000


def test_valid_until_is_decided_from_stream_time(file: Path) -> None:
    """Half of the stream lies after it; its last nanosecond still counts."""
    decided = STREAM.events["ts_recv_ns"]
    middle = np.datetime64(int(decided[len(decided) // 2]), "ns").astype("datetime64[us]")
    raw = json.loads(file.read_text())
    raw["models"][0]["valid_until"] = f"{middle}Z"
    file.write_text(json.dumps(raw))
    with alpha.Runtime.from_registry(file, URI, instruments=STREAM.instruments) as rt:
        signals = rt.run(STREAM.events)
    limit = int(middle.astype("datetime64[ns]").astype(np.int64))
    assert load(file).document.models[0].valid_until_ns == limit
    late = signals["ts_recv_ns"] > limit
    assert 1000 < late.sum() < len(signals) - 1000
    assert (signals["reason"][late] == Reason.MODEL_EXPIRED).all() and not signals["action"][late].any()
    assert not (signals["reason"][~late] == Reason.MODEL_EXPIRED).any() and signals["action"][~late].any()
