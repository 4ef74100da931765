"""The rows that judge a model are as trusted as the model: hashed when it is loaded, read without believing the file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import alpha
from alpha.engine import choose_engine
from alpha.errors import ModelError
from alpha.models import judge
from alpha.models.load import load_artifact
from alpha.registry.store import load

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "artifacts" / "demo_mlp" / "v1"
F = 10


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    shutil.copytree(DEMO, tmp_path / "v1")
    return tmp_path / "v1"


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def claims(shape: tuple[int, ...], more: bytes = b"") -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return out.getvalue() + more


def headed(text: bytes, version: int = 1) -> bytes:
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 if version == 1 else 4, "little") + text


def zipped() -> bytes:
    out = io.BytesIO()
    np.savez(out, a=np.zeros((3, F), np.float32))
    return out.getvalue()


def hashed(folder: Path) -> None:
    """The metadata say that these probes are the right ones: hostile ones by the one who wrote both."""
    meta = json.loads((folder / "metadata.json").read_bytes())
    meta["sha256"]["probes.npy"] = hashlib.sha256((folder / "probes.npy").read_bytes()).hexdigest()
    (folder / "metadata.json").write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: p.write_bytes(npy(np.zeros((1, F), np.float32))), "was altered: sha256"),
        (lambda p: p.write_bytes(p.read_bytes()[:-4]), "was altered: sha256"),
        (lambda p: p.unlink(), "has no probes.npy"),
        (lambda p: (p.unlink(), p.mkdir()), "has no probes.npy"),
    ],
    ids=["one row", "cut off", "missing", "a folder"],
)
def test_probes_that_are_not_the_hashed_ones_are_not_served(
    artifact: Path, tmp_path: Path, change: Callable[[Path], object], says: str
) -> None:
    shutil.copy(ROOT / "registry.json", tmp_path / "registry.json")
    shutil.copytree(ROOT / "artifacts", tmp_path / "artifacts")
    governed = tmp_path / "artifacts" / "demo_mlp" / "v1"
    for folder in (artifact, governed):
        change(folder / "probes.npy")
    with pytest.raises(ModelError, match=says) as exc:
        load_artifact(artifact)
    assert str(artifact) in str(exc.value) and "probes.npy" in str(exc.value) and "\n" not in str(exc.value)
    with pytest.raises(ModelError, match=says):
        load(tmp_path / "registry.json").load_model("models:/demo_mlp/1")
    for engine in ("auto", "ort"):  # ONNX Runtime is not judged by them, but they are part of what was approved
        with pytest.raises(ModelError, match=says):
            alpha.Runtime.from_artifact(artifact, instruments=["SIM0"], engine=engine)


def test_a_folder_whose_metadata_names_no_probes_needs_none(artifact: Path) -> None:
    meta = json.loads((artifact / "metadata.json").read_bytes())
    del meta["sha256"]["probes.npy"]
    (artifact / "metadata.json").write_text(json.dumps(meta))
    with_probes = choose_engine(load_artifact(artifact))
    (artifact / "probes.npy").unlink()
    without = choose_engine(load_artifact(artifact))
    assert with_probes.verdict is not None and without.verdict is not None
    assert with_probes.verdict.rows > without.verdict.rows > 100
    os.symlink(ROOT / "registry.json", artifact / "probes.npy")
    with pytest.raises(ModelError, match=r"probes\.npy is a link that leads outside"):
        load_artifact(artifact)


def test_the_judge_reads_the_bytes_that_were_hashed(artifact: Path) -> None:
    """Not the file once more, which may be another one by then."""
    loaded = load_artifact(artifact)
    rows = choose_engine(loaded).verdict.rows  # type: ignore[union-attr]
    (artifact / "probes.npy").write_bytes(b"gone")
    assert choose_engine(loaded).verdict.rows == rows  # type: ignore[union-attr]


HOSTILE = {
    "two columns": (npy(np.zeros((40, 2), np.float32)), r"rows of \[2\] values, but the model takes 10"),
    "five columns": (npy(np.zeros((40, 5), np.float32)), r"rows of \[5\] values"),
    "windows": (npy(np.zeros((40, 3, F), np.float32)), r"rows of \[3, 10\] values"),
    "no row": (npy(np.zeros((0, F), np.float32)), "holds no rows"),
    "no column": (npy(np.zeros((4, 0), np.float32)), r"rows of \[0\] values"),
    "one dimension": (npy(np.zeros(F, np.float32)), r"float32 rows \[R, 10\] are expected"),
    "float64": (npy(np.zeros((4, F))), "holds float64"),
    "big endian": (npy(np.zeros((4, F), ">f4")), "holds >f4"),
    "not finite": (npy(np.full((4, F), np.nan, np.float32)), "not finite"),
    "objects": (npy(np.array([[None] * F], object)), "holds object"),
    "48 GB": (claims((3 << 29, F), bytes(64)), "claims 64,424,509,440 bytes of rows, but holds 64"),
    "too many": (claims((1 << 60, 1 << 60, F)), "values"),
    "cut off": (npy(np.zeros((4, F), np.float32))[:-1], "claims 160 bytes of rows, but holds 159"),
    "too long": (npy(np.zeros((4, F), np.float32)) + b"x", "claims 160 bytes of rows, but holds 161"),
    "negative": (claims((-1, F), bytes(40)), "claims the shape"),
    "parentheses": (headed(b"((((" * 25), "cannot be read"),
    "nested": (headed(b"(" * 1000), "cannot be read"),
    "60 MB header": (headed(b"(" * 60_000_000, version=2), "its header is longer than 1024 bytes"),
    "no header": (b"\x93NUMPY\x01\x00", "cannot be read"),
    "version 9": (headed(b"{}", version=9), "cannot be read"),
    "not a dict": (headed(b"3\n"), "cannot be read"),
    "keys missing": (headed(b"{'descr': '<f4'}\n"), "cannot be read"),
    "no dtype": (headed(b"{'descr': '<q9', 'fortran_order': False, 'shape': (1, 10)}\n"), "cannot be read"),
    "nul": (headed(b"{'descr': '<f4\0', 'fortran_order': False, 'shape': (1, 10)}\n"), "cannot be read"),
    "unicode": (headed(b"\xff\xfe" * 8, version=3), "cannot be read"),
    "npz": (zipped(), "cannot be read"),
    "empty": (b"", "cannot be read"),
    "text": (b"nonsense", "cannot be read"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_probes_are_one_sentence(name: str, artifact: Path) -> None:
    data, says = HOSTILE[name]
    (artifact / "probes.npy").write_bytes(data)
    hashed(artifact)
    loaded = load_artifact(artifact)
    with pytest.raises(ModelError, match=says) as exc:
        choose_engine(loaded)
    text = str(exc.value)
    assert str(artifact) in text and "probes.npy" in text and "\n" not in text and len(text) < 400


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_header_is_an_error_or_the_same_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((7, F)).astype(np.float32)
    good = npy(rows)
    assert judge.probe_rows(good, F, F).tobytes() == rows.tobytes()
    refused = 0
    for _ in range(400):
        data = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(0, len(good) - rows.nbytes)] = rng.integers(0, 256)
        try:
            got = judge.probe_rows(bytes(data), F, F)
        except ModelError:
            refused += 1
        else:
            assert got.shape == rows.shape and got.dtype == np.float32
    assert refused > 100


def test_probes_of_windows_and_in_fortran_order() -> None:
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((6, 2)).astype(np.float32)
    assert np.array_equal(judge.probe_rows(npy(np.asfortranarray(rows)), 2, 2), rows)
    cut = judge.probe_rows(npy(rows), 6, 2)  # windows of three rows, one after the other
    assert np.array_equal(cut, [rows[i : i + 3].ravel() for i in range(4)])
    made = rng.standard_normal((5, 3, 2)).astype(np.float32)
    for array in (made, np.asfortranarray(made)):
        assert np.array_equal(judge.probe_rows(npy(array), 6, 2), made.reshape(5, 6))
    with pytest.raises(ModelError, match="do not make inputs of 16"):
        judge.probe_rows(npy(rows), 16, 2)
    with pytest.raises(ModelError, match=r"rows of \[1\] values"):
        judge.probe_rows(npy(rows[:, :1]), 6, 2)
