"""Every family that people export: compiled, judged, and compared with ONNX Runtime on many rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import families
import numpy as np
import pytest

from alpha._core.ort import OrtModel
from alpha.models import judge
from alpha.models.compile import compile_model

_EXACT = {
    "forest",
    "deep forest",
    "forest of two",
    "forest regressor",
    "gradient boosting",
    "gradient boosting of three",
}


def compare(name: str, fitted: families.Fitted, n: int, real: Any = None) -> None:
    """The plan of a fitted model against ONNX Runtime on ``n`` rows, and on the judge's own."""
    compiled = compile_model(fitted.model, fitted.output, carry=fitted.carry)
    plan, ort = compiled.plan, OrtModel(fitted.model, output=fitted.output, carry=fitted.carry)
    rows = families.rows(n + 200, 3) if real is None else real
    x = np.concatenate([judge.windows(rows, plan.n_in), judge.hard_rows(compiled, (-5.0, 5.0))])
    mine, theirs = judge.scores(plan.kernel(), x), judge.scores(ort.kernel(), x)
    assert len(x) >= n and mine.shape == theirs.shape
    if name in _EXACT or name in families.BOOST:
        assert compiled.exact and mine.tobytes() == theirs.tobytes()
    else:
        off = np.abs(mine.astype(np.float64) - theirs) / np.maximum(1, np.abs(theirs))
        assert off.max() <= judge.TOLERANCE, f"{name}: {off.max():.2e}"
    if fitted.carry:
        prepared = plan.kernel().sequence(x[:500], prepared=True)
        assert prepared[0].tobytes() == plan.kernel().sequence(x[:500])[0].tobytes()


@pytest.mark.parametrize("name", ["logistic", "logistic of two", "ridge", "sklearn MLP", "forest", "gradient boosting"])
def test_what_scikit_learn_exports(name: str) -> None:
    compare(name, families.SKLEARN[name](), 3000)


@pytest.mark.slow
@pytest.mark.parametrize("name", families.SKLEARN)
def test_scikit_learn_on_many_rows(name: str) -> None:
    compare(name, families.SKLEARN[name](), 100_000)


@pytest.mark.slow
@pytest.mark.parametrize("name", families.BOOST)
def test_boosted_trees_on_many_rows(name: str) -> None:
    pytest.importorskip("xgboost")
    pytest.importorskip("lightgbm")
    pytest.importorskip("onnxmltools")
    compare(name, families.BOOST[name](), 100_000)


@pytest.mark.slow
def test_boosted_trees_with_missing_values() -> None:
    pytest.importorskip("xgboost")
    fitted = families.xgboost(2, missing=True)
    compiled = compile_model(fitted.model, fitted.output)
    x = families.rows(100_000, 3)
    x[np.random.default_rng(1).random(x.shape) < 0.1] = np.nan
    mine = compiled.plan.kernel().run(x)
    assert mine.tobytes() == OrtModel(fitted.model, output=fitted.output).kernel().run(x).tobytes()


_TORCH = """
import sys, warnings
sys.path[:0] = sys.argv[2:]
warnings.simplefilter("ignore")
import families
from integration.test_plan_families import compare
compare(sys.argv[1], families.TORCH[sys.argv[1]](), 100_000 if "window" not in sys.argv[1] else 20_000)
print("done")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", families.TORCH)
def test_what_torch_exports(name: str, project_root: Path) -> None:
    """In a process of its own: torch leaves threads and warnings behind."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    paths = [str(project_root), str(project_root / "tests")]
    done = subprocess.run(
        [sys.executable, "-c", _TORCH, name, *paths], capture_output=True, text=True, env=os.environ, check=False
    )
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.real_data
def test_families_on_features_of_real_events(data_dir: Path) -> None:
    """Rows of the book of a day, normalised: what the pipeline would feed."""
    from alpha.data import open_events
    from alpha.features import catalog
    from alpha.features.native import row_maker

    source = open_events(data_dir / "binance" / "spot_btcusdt_20240808_l1.parquet")
    fs = catalog.get("twenty")
    maker = row_maker(fs, source.instruments)
    parts = []
    for chunk in source:
        rows = maker.rows(chunk)
        parts.append(rows["values"][rows["ready"].all(axis=1)])
    x = np.concatenate(parts)
    x = x[np.isfinite(x).all(axis=1)]
    z = np.clip((x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9), -5, 5).astype(np.float32)
    z = np.ascontiguousarray(np.resize(z, (max(len(z), 100_000), z.shape[1])))
    for name in ("logistic", "sklearn MLP", "forest", "gradient boosting"):
        compare(name, families.SKLEARN[name](), 100_000, z)
