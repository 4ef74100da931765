"""registry.json: strict to read, atomic to write, and no path leads out of its root."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alpha.errors import RegistryError
from alpha.registry import schema, store
from alpha.registry.schema import Entry, RegistryDocument


def entry(**changes: Any) -> dict[str, Any]:
    """A valid entry as plain values."""
    value: dict[str, Any] = {
        "id": "momentum",
        "version": 1,
        "status": "candidate",
        "path": "artifacts/momentum/v1/model.onnx",
        "sha256": "a" * 64,
        "input_features": ["x"],
        "output_schema": ["up"],
        "created_at": "2026-01-11T12:00:00Z",
    }
    return value | changes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the registry of a test stands."""
    return tmp_path / "registry.json"


def write(file: Path, *models: dict[str, Any], **top: Any) -> store.Registry:
    file.write_text(json.dumps({"schema_version": 1, "models": list(models), **top}))
    return store.load(file)


def test_the_specifications_own_sample_is_read(tmp_path: Path) -> None:
    """ml/registry.json of the specification has only `models`, and paths from the project's root."""
    sample = entry(
        id="momentum_v1_001",
        status="production",
        path="ml/models/momentum_v1_001.onnx",
        owner="quant_team",
        training_data_snapshot="data/snapshots/20260110_full.parquet",
    )
    (tmp_path / "ml").mkdir()
    file = tmp_path / "ml" / "registry.json"
    file.write_text(json.dumps({"models": [sample], "root": ".."}))
    book = store.load(file)
    assert book.root == tmp_path.resolve()
    assert book.resolve("models:/momentum_v1_001@production").owner == "quant_team"


@pytest.mark.parametrize("uri", ["models:/momentum/2", "models:/momentum/v2", "models:/momentum@production"])
def test_uris_of_one_version(file: Path, uri: str) -> None:
    book = write(file, entry(), entry(version="v2", status="production"), entry(id="other"))
    assert book.resolve(uri).number == 2


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/nope/1", "has no model 'nope'; it has: momentum, other"),
        ("models:/momentum/7", r"has no version 7 in .*; it has: v1 \(candidate\), v2 \(archived\)"),
        ("models:/momentum@production", "has no production"),
        ("models:/momentum@live", "alias 'live' is unknown"),
        ("models:/momentum/0", "is not a positive number"),
        ("models:/momentum/" + "9" * 30, "is not a positive number"),
        ("models:/momentum/1\n", "is not understood"),
        ("models:/momentum", "is not understood"),
        ("momentum/1", "is not understood"),
        ("models:/../1", "has no model '..'"),
        ("", "is not understood"),
    ],
)
def test_an_uri_that_leads_nowhere_lists_what_exists(file: Path, uri: str, message: str) -> None:
    book = write(file, entry(), entry(version=2, status="archived"), entry(id="other"))
    with pytest.raises(RegistryError, match=message):
        book.resolve(uri)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([entry(), entry(version="v1")], "momentum v1 is listed twice"),
        ([entry(status="production"), entry(version=2, status="production")], "two production versions"),
        ([entry(status="live")], "Invalid enum value 'live'"),
        ([entry(version="one")], "version 'one'"),
        ([entry(version=0)], "version '0'"),
        ([entry(id="..")], "no dot in front"),
        ([entry(id="a/b")], "model id 'a/b'"),
        ([entry(id="naïve")], "ASCII"),
        ([entry(id="")], "model id ''"),
        ([entry(colour="red")], "unknown field `colour`"),
        ([{k: v for k, v in entry().items() if k != "sha256"}], "missing required field `sha256`"),
        ([entry(created_at="yesterday")], "created_at 'yesterday' is no time"),
        ([entry(created_at="2026-01-11T12:00:00")], "is no time"),
        ([entry(valid_until="soon")], "valid_until 'soon' is no time"),
        ([entry(checks=[{"name": "auc", "value": 1, "limit": "x", "passed": True}])], "Expected `float`"),
    ],
)
def test_a_wrong_document_is_refused(file: Path, models: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(RegistryError, match=message) as caught:
        write(file, *models)
    assert "\n" not in str(caught.value)


def test_wrong_top_level(file: Path) -> None:
    for top, message in (
        ({"schema_version": 9}, "schema_version 9"),
        ({"revision": -1}, "negative"),
        ({"x": 1}, "`x`"),
    ):
        with pytest.raises(RegistryError, match=message):
            write(file, **top)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"models": [], "models": []}', "'models' twice"),
        ('{"models": [{"checks": [{"value": NaN}]}]}', "contains NaN"),
        ('{"models": ' + "[" * 50 + "]" * 50 + "}", "nested 51 deep"),
        ("", "not valid JSON"),
        ("[]", "Expected `object`"),
    ],
)
def test_hostile_text(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(RegistryError, match=message):
        store.load(file)


def test_missing_registry_and_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="does not exist: make one with"):
        store.load(tmp_path / "none.json")
    with pytest.raises(RegistryError, match="cannot be read"):
        store.load(tmp_path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/etc/model.onnx", "must lie inside"),
        ("../model.onnx", "must lie inside"),
        ("a/../../model.onnx", "must lie inside"),
        ("", "must lie inside"),
        ("models/momentum.onnx", "must end in model.onnx"),
        ("a\0b/model.onnx", "cannot be a file"),
    ],
)
def test_a_path_stays_inside_the_root(file: Path, path: str, message: str) -> None:
    book = write(file, entry(path=path))
    with pytest.raises(RegistryError, match=message):
        book.artifact_dir(book.resolve("models:/momentum/1"))


def test_a_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    (tmp_path / "outside" / "v1").mkdir(parents=True)
    inner.mkdir()
    (inner / "artifacts").symlink_to(tmp_path / "outside")
    book = write(inner / "registry.json", entry(path="artifacts/v1/model.onnx"))
    with pytest.raises(RegistryError, match="a link that leads outside"):
        book.artifact_dir(book.resolve("models:/momentum/1"))


def test_a_root_that_is_no_folder(file: Path) -> None:
    with pytest.raises(RegistryError, match=r"root .* is no folder"):
        _ = write(file, root="\0").root


def test_where_the_registry_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    near, named = tmp_path / "registry.json", tmp_path / "other.json"
    write(near)
    monkeypatch.chdir(deep)
    monkeypatch.delenv("ALPHA_REGISTRY", raising=False)
    assert store.find() == near
    monkeypatch.setenv("ALPHA_REGISTRY", str(named))
    assert store.find() == named
    assert store.find(tmp_path / "explicit.json") == tmp_path / "explicit.json"


def test_a_write_is_all_or_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the rename fails, the old registry is untouched and no temporary file stays behind."""
    write(file, entry(), revision=4)
    before = file.read_bytes()

    def fail(self: Path, target: Path) -> Path:
        raise OSError("disk on fire")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(RegistryError, match="cannot be written: disk on fire"):
        store.update(file, lambda doc: doc)
    assert file.read_bytes() == before
    assert sorted(p.name for p in file.parent.iterdir()) == [".registry.json.lock", "registry.json"]


def test_a_change_that_would_be_illegal_is_not_written(file: Path) -> None:
    """NaN is written as null by JSON: such a registry could never be read again."""
    write(file, entry())
    before = file.read_bytes()

    def poison(doc: RegistryDocument) -> RegistryDocument:
        bad = schema.Check(name="auc", value=float("nan"), limit=0.5, passed=True)
        return msgspec.structs.replace(doc, models=[msgspec.structs.replace(doc.models[0], checks=[bad])])

    with pytest.raises(RegistryError, match="check auc must have a finite value"):
        store.update(file, poison)
    assert file.read_bytes() == before
    assert store.load(file).document.models[0].checks == []


def test_compare_and_swap(file: Path) -> None:
    write(file, revision=4)
    assert store.update(file, lambda doc: doc, expect_revision=4).document.revision == 5
    with pytest.raises(RegistryError, match="at revision 5, not 4: somebody else changed it"):
        store.update(file, lambda doc: doc, expect_revision=4)
    assert store.load(file).document.revision == 5


def test_a_registry_that_cannot_be_written() -> None:
    with pytest.raises(RegistryError, match="cannot be written"):
        store.update(Path("/proc/nowhere/registry.json"), lambda doc: doc, create=True)


def test_a_missing_registry_is_made_only_on_request(file: Path) -> None:
    with pytest.raises(RegistryError, match="does not exist"):
        store.update(file, lambda doc: doc)
    assert store.update(file, lambda doc: doc, create=True).document.revision == 1


def _add(job: tuple[str, int]) -> None:
    path, number = job
    new = msgspec.convert(entry(version=number), Entry)
    store.update(Path(path), lambda doc: msgspec.structs.replace(doc, models=[*doc.models, new]), create=True)


@pytest.mark.race
def test_writers_in_several_processes_lose_nothing(file: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(_add, [(str(file), n) for n in range(1, 25)], chunksize=1)
    doc = store.load(file).document
    assert sorted(e.number for e in doc.models) == list(range(1, 25))
    assert doc.revision == 24
