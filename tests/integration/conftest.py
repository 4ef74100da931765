"""A folder for tests of ``alpha import``."""

from __future__ import annotations

from pathlib import Path

import onnx_models as made
import pytest
from imports import TOML


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with features f.toml and a model x.onnx of six features and three classes."""
    (tmp_path / "f.toml").write_text(TOML)
    (tmp_path / "x.onnx").write_bytes(made.softmax(6))
    monkeypatch.chdir(tmp_path)
    return tmp_path
