"""The files that a page may ask for with ``<!-- files: … -->``: its name says how it is made."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parent.parent.parent
FEATURES = {  # of the README's my.toml
    "spread_bp": "1e4 * spread / mid",
    "trend": 'ret(mid, "5s")',
    "pressure": "ema(imbalance, span=20) - ema(imbalance, span=200)",
    "flow": 'trade_imbalance("10s")',
}


def make(name: str, folder: Path) -> None:
    """Make the file in the folder, once, also in a folder of it (data/day.parquet). KeyError for a name that GIVEN lacks."""
    path = folder / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        GIVEN[path.name](path)


def _simulated(path: Path) -> None:
    script = PROJECT / "examples" / "simulated_day.py"
    subprocess.run([sys.executable, str(script), str(path), "20000"], check=True, capture_output=True)


def _trades(path: Path) -> None:
    """Trades with names and a unit of their own; the last row has a negative price."""
    rows = [f"{1_700_000_000_000 + 250 * k},{100 + 0.01 * (k % 9):.2f},{1 + k % 4},{'buy' if k % 2 else 'sell'}" for k in range(200)]  # fmt: skip
    path.write_text("time,price,size,side\n" + "\n".join([*rows, "1700000050000,-1.00,1,buy"]) + "\n")


def _funding(path: Path) -> None:
    """A value every ten seconds, from before the simulated day on."""
    path.write_text("time,value\n" + "".join(f"2026-01-01T00:{k // 6:02d}:{10 * (k % 6):02d}Z,{1e-4 * (1 + k % 3)}\n" for k in range(60)))  # fmt: skip


def _features(path: Path) -> None:
    rows = [f"{name} = {json.dumps(text)}" for name, text in FEATURES.items()]
    path.write_text('trigger = "quote"\n[features]\n' + "\n".join(rows) + "\n")


def _model(path: Path) -> None:
    import onnx_models

    path.write_bytes(onnx_models.softmax(len(FEATURES)))


def _scaler(path: Path) -> None:
    n = len(FEATURES)
    path.write_text(json.dumps({"mean": [1.0] + [0.0] * (n - 1), "std": [1.0, 0.001, 0.5, 0.5], "clip": [-5, 5]}))


def _rows(path: Path) -> None:
    """Rows of the features, as a training run would have kept them."""
    import polars as pl

    rng = np.random.default_rng(1)
    scale = dict(zip(FEATURES, (1.0, 0.001, 0.5, 0.5), strict=True))
    pl.DataFrame({name: (rng.standard_normal(300) * s).astype(np.float32) for name, s in scale.items()}).write_parquet(
        path
    )


GIVEN: dict[str, Callable[[Path], None]] = {
    "SIM0.parquet": _simulated,
    "day.parquet": _simulated,
    "trades.csv": _trades,
    "funding.csv": _funding,
    "my.toml": _features,
    "momentum.onnx": _model,
    "s.json": _scaler,
    "rows.parquet": _rows,
}
