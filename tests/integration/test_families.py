"""Every model family from a recipe on real data to a registered candidate, and through the runtime on data it never saw.

Each runs its recipe's small variant. The two that need little stand in the default run, the rest are slow.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import alpha
from alpha.models import metadata
from alpha.registry import load, verify
from alpha_training import fit, recipe
from alpha_training.train import train

ROWS = ("logistic", "ridge", "forest", "mlp", "xgboost", "lightgbm", "torch_mlp", "hybrid_ppo")
SEQUENCES = ("lstm", "lstm_window", "gru", "cnn", "deeplob")
DEFAULT = ("ridge", "forest")
pytestmark = pytest.mark.real_data


@pytest.fixture
def recipes(project_root: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped recipes, their data where ALPHA_DATA points."""
    monkeypatch.setenv("ALPHA_DATA", str(data_dir.resolve()))
    return project_root / "training" / "recipes"


def test_every_family_has_a_recipe(project_root: Path) -> None:
    folder = project_root / "training" / "recipes"
    kinds = {m.kind for name in (*ROWS, *SEQUENCES) for m in recipe.load(folder / f"{name}.toml").models}
    assert kinds == set(fit.FAMILIES)


def unseen(name: str, data_dir: Path, folder: Path) -> tuple[list[Path], dict[str, object]]:
    """Data that the recipe's small variant has not touched: another day, another year, the end of the session."""
    if name not in ("lightgbm", "hybrid_ppo", *SEQUENCES):
        return [data_dir / "binance" / "spot_btcusdt_20240809_l1.parquet"], {"instrument": "BTCUSDT"}
    import polars as pl

    file = folder / "unseen.parquet"
    if name == "hybrid_ppo":
        pl.read_parquet(data_dir / "bars" / "QQQ_1m_2022_2023.parquet").tail(4_000).write_parquet(file)
        return [file], {"bar_stamp": "start", "instrument": "QQQ"}
    pl.read_parquet(data_dir / "lobster" / "AMZN_20120621_L5.parquet").tail(4_000).write_parquet(file)
    return [file], {"instrument": "AMZN", "levels": 5}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in DEFAULT else pytest.mark.slow) for n in (*ROWS, *SEQUENCES)]
)
def test_from_recipe_to_signals(name: str, recipes: Path, data_dir: Path, tmp_path: Path) -> None:
    registry = tmp_path / "registry.json"
    result = train(recipes / f"{name}.toml", registry, small=True, run_dir=tmp_path / "run")
    (made,) = result.models
    assert made.blocked == []
    assert verify(registry) == (1, [])
    entry = load(registry).document.models[0]
    assert entry.status == "candidate"
    checks = {c.name: c for c in entry.checks}
    assert checks["feature_parity_share"].passed and checks["export_decision_flips"].value == 0
    meta = metadata.decode((made.artifact / "metadata.json").read_bytes())
    family = fit.FAMILIES[recipe.load(recipes / f"{name}.toml").models[0].kind]
    if not family.scaled:
        assert set(meta.mean) == {0.0} and set(meta.std) == {1.0}
    card = (made.artifact / "card.md").read_text()
    assert "## Assumptions" in card and "## Importance" in card and "purging_leaks" in card
    assert {"recipe.json", "environment.json", "metrics.json"} <= {p.name for p in (tmp_path / "run").iterdir()}
    assert (
        json.loads((tmp_path / "run" / "environment.json").read_text())["seed"]
        == recipe.load(recipes / f"{name}.toml").seed
    )
    probes = np.load(made.artifact / "probes.npy", allow_pickle=False)
    n = len(meta.feature_names)
    if name in SEQUENCES:
        assert meta.input == ([1, n] if name == "lstm" else [1, probes.shape[1], n])
        assert [c.input for c in meta.carry] == (["h", "c"] if name == "lstm" else [])
        _serves_as_declared(made.artifact, meta, probes)
    else:
        assert meta.input == [1, n]
    files, options = unseen(name, data_dir, tmp_path)
    source = alpha.open_events(files, **options)  # type: ignore[arg-type]
    events = source.read_all()[:20_000]
    with alpha.Runtime.from_registry(registry, f"models:/{entry.id}/1", instruments=source.instruments) as rt:
        signals = rt.run(events)
        stats = rt.stats()
    asked = stats["reasons"].get("MODEL", 0) + stats["reasons"].get("BELOW_THRESHOLD", 0)
    assert asked > 500, stats["reasons"]
    assert set(np.unique(signals["action"])) <= {-1, 0, 1}
    assert np.isfinite(signals["confidence"]).all()


def _serves_as_declared(artifact: Path, meta: metadata.Metadata, probes: np.ndarray) -> None:
    """What the metadata declares is what the graph takes and gives; a carried state changes what comes next."""
    import onnxruntime

    session = onnxruntime.InferenceSession(artifact / "model.onnx", providers=["CPUExecutionProvider"])
    shapes = {i.name: tuple(i.shape) for i in session.get_inputs()}
    assert shapes == {"features": tuple(meta.input), **{c.input: c.shape for c in meta.carry}}
    state = {c.input: np.zeros(c.shape, np.float32) for c in meta.carry}
    first = session.run(None, {"features": probes[:1], **state})
    assert [o.name for o in session.get_outputs()] == [meta.outputs[0].name, *(c.output for c in meta.carry)]
    assert first[0].shape == (1, len(meta.actions)) and abs(float(first[0].sum()) - 1.0) < 1e-5
    if meta.carry:
        state = {c.input: v for c, v in zip(meta.carry, first[1:], strict=True)}
        second = session.run(None, {"features": probes[:1], **state})
        assert np.abs(second[0] - first[0]).max() > 1e-6
