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
        print(f"{name}: {len(x):,} rows, bit for bit, steps {plan.steps_by_name}")
    else:
        off = np.abs(mine.astype(np.float64) - theirs) / np.maximum(1, np.abs(theirs))
        assert off.max() <= judge.TOLERANCE, f"{name}: {off.max():.2e}"
        print(f"{name}: {len(x):,} rows, within {off.max():.1e}, steps {plan.steps_by_name}")
    if fitted.carry:
        prepared = plan.kernel().sequence(x[:500], prepared=True)
        assert prepared[0].tobytes() == plan.kernel().sequence(x[:500])[0].tobytes()


@pytest.mark.parametrize("name", ["logistic", "logistic of two", "ridge", "sklearn MLP", "forest", "gradient boosting"])
def test_what_scikit_learn_exports(name: str) -> None:
    compare(name, families.SKLEARN[name](), 3000)


@pytest.fixture(scope="module")
def rows_file(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of every ready row of a day of AMZN's book, normalised and clipped: what the pipeline would feed."""
    from alpha.data import open_events
    from alpha.features import catalog
    from alpha.features.native import row_maker

    source = open_events(data_dir / "lobster" / "AMZN_20120621_L5.parquet")
    maker = row_maker(catalog.get("twenty"), source.instruments)
    chunks = [maker.rows(chunk) for chunk in source]
    x = np.concatenate([rows["values"][rows["ready"].all(axis=1)] for rows in chunks])
    x = x[np.isfinite(x).all(axis=1)]
    assert len(x) >= 150_000 and x.shape[1] == families.F
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    np.save(path, np.clip((x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9), -5, 5).astype(np.float32))
    return path


def real_rows(path: Path, window: int = 1) -> Any:
    """At least 100,000 inputs; of windows no more, for they cost ONNX Runtime much."""
    rows = np.load(path)
    return rows if window == 1 else rows[: 100_000 + window]


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", families.SKLEARN)
def test_scikit_learn_on_real_rows(name: str, rows_file: Path) -> None:
    compare(name, families.SKLEARN[name](), 100_000, real_rows(rows_file))


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", families.BOOST)
def test_boosted_trees_on_real_rows(name: str, rows_file: Path) -> None:
    pytest.importorskip("xgboost")
    pytest.importorskip("lightgbm")
    pytest.importorskip("onnxmltools")
    compare(name, families.BOOST[name](), 100_000, real_rows(rows_file))


@pytest.mark.slow
@pytest.mark.real_data
def test_boosted_trees_with_missing_values(rows_file: Path) -> None:
    pytest.importorskip("xgboost")
    fitted = families.xgboost(2, missing=True)
    compiled = compile_model(fitted.model, fitted.output)
    x = real_rows(rows_file)
    x[np.random.default_rng(1).random(x.shape) < 0.1] = np.nan
    mine = compiled.plan.kernel().run(x)
    assert mine.tobytes() == OrtModel(fitted.model, output=fitted.output).kernel().run(x).tobytes()


_TORCH = """
import sys, warnings
from pathlib import Path
sys.path[:0] = sys.argv[3:]
warnings.simplefilter("ignore")
import families
from integration.test_plan_families import compare, real_rows
name, path = sys.argv[1:3]
fitted = families.TORCH[name]()
compare(name, fitted, 100_000, real_rows(Path(path), 20 if name in families.WINDOWS else 1))
print("done")
"""


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", families.TORCH)
def test_what_torch_exports(name: str, project_root: Path, rows_file: Path) -> None:
    """In a process of its own: torch leaves threads and warnings behind."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    paths = [str(project_root), str(project_root / "tests")]
    done = subprocess.run(
        [sys.executable, "-c", _TORCH, name, str(rows_file), *paths],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stderr[-2000:]
