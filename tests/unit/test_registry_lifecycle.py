"""Candidate, production, archived: only legal moves, each in history, each for a reason on record."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from registries import BAD, GOOD, MODEL, WHEN, publish, statuses

from alpha.errors import RegistryError
from alpha.registry import load, promote, register, verify


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A registry with two good candidates of one model."""
    path = tmp_path / "registry.json"
    for number in (1, 2):
        register(path, publish(tmp_path, number), by="trainer", at=WHEN)
    return path


def test_registration_is_written_to_history(file: Path) -> None:
    doc = load(file).document
    assert statuses(file) == {1: "candidate", 2: "candidate"}
    assert doc.revision == 2
    assert [(h.revision, h.at, h.action, h.version, h.before, h.after, h.by) for h in doc.history] == [
        (1, WHEN, "register", 1, "", "candidate", "trainer"),
        (2, WHEN, "register", 2, "", "candidate", "trainer"),
    ]
    assert json.loads(file.read_text())["history"][0]["to"] == "candidate"  # the names in the file


def test_a_version_is_registered_once(file: Path, tmp_path: Path) -> None:
    taken = load(file).document.models[0]
    with pytest.raises(RegistryError, match="momentum v1 is already registered"):
        register(file, taken)
    with pytest.raises(RegistryError, match="starts as candidate, not production"):
        register(file, msgspec.structs.replace(taken, version=3, status="production"))
    assert load(file).document.revision == 2


def test_promotion_replaces_and_rollback_returns(file: Path) -> None:
    promote(file, "models:/momentum/1", approver="Ada", at=WHEN)
    assert statuses(file) == {1: "production", 2: "candidate"}
    promote(file, "models:/momentum/2", approver="Bo", at=WHEN)
    assert statuses(file) == {1: "archived", 2: "production"}
    promote(file, "models:/momentum/v1", approver="Cy", at=WHEN)  # rollback
    assert statuses(file) == {1: "production", 2: "archived"}
    doc = load(file).document
    assert [e.approved_by for e in doc.models] == [["Ada", "Cy"], ["Bo"]]
    moves = [(h.revision, h.version, h.before, h.after, h.by) for h in doc.history if h.action != "register"]
    assert sorted(moves) == [
        (3, 1, "candidate", "production", "Ada"),
        (4, 1, "production", "archived", "Bo"),
        (4, 2, "candidate", "production", "Bo"),
        (5, 1, "archived", "production", "Cy"),
        (5, 2, "production", "archived", "Cy"),
    ]


def test_what_already_serves_cannot_be_promoted(file: Path) -> None:
    promote(file, "models:/momentum/1", approver="Ada")
    for uri in ("models:/momentum/1", "models:/momentum@production"):
        with pytest.raises(RegistryError, match="is production; it cannot become production"):
            promote(file, uri, approver="Ada")
    assert load(file).document.revision == 3


def test_other_models_are_left_alone(file: Path, tmp_path: Path) -> None:
    register(file, publish(tmp_path, 1, model="other"), at=WHEN)
    promote(file, "models:/other/1", approver="Ada")
    promote(file, "models:/momentum/1", approver="Ada")
    assert {(e.id, e.number): e.status for e in load(file).document.models} == {
        ("momentum", 1): "production",
        ("momentum", 2): "candidate",
        ("other", 1): "production",
    }


def test_failed_or_absent_checks_stop_a_promotion(file: Path, tmp_path: Path) -> None:
    register(file, publish(tmp_path, 3, checks=[GOOD, BAD]))
    register(file, publish(tmp_path, 4, checks=[]))
    waived = msgspec.structs.replace(BAD, waived=True, reason="three of a million")
    register(file, publish(tmp_path, 5, checks=[GOOD, waived]))
    before = file.read_bytes()
    with pytest.raises(RegistryError, match="v3 failed its check flips: 3, limit 0"):
        promote(file, "models:/momentum/3", approver="Ada")
    with pytest.raises(RegistryError, match="v4 has no checks on record"):
        promote(file, "models:/momentum/4", approver="Ada")
    assert file.read_bytes() == before
    promote(file, "models:/momentum/5", approver="Ada")
    assert statuses(file)[5] == "production"


@pytest.mark.parametrize("approver", ["", "  "])
def test_a_person_answers_for_a_promotion(file: Path, approver: str) -> None:
    with pytest.raises(RegistryError, match="needs a person who approves"):
        promote(file, "models:/momentum/1", approver=approver)


def test_a_promotion_on_an_old_revision_is_refused(file: Path) -> None:
    with pytest.raises(RegistryError, match="at revision 2, not 1"):
        promote(file, "models:/momentum/1", approver="Ada", expect_revision=1)
    assert statuses(file)[1] == "candidate"


def test_verify_finds_what_was_altered(file: Path, tmp_path: Path) -> None:
    assert verify(file) == (2, [])
    first, second = (tmp_path / "artifacts" / "momentum" / v for v in ("v1", "v2"))
    (first / "card.md").write_text("# another card")
    assert verify(file)[1] == [p for p in verify(file)[1] if "card.md was altered" in p] != []
    (first / "model.onnx").write_bytes(MODEL[:-1] + b"L")
    (second / "metadata.json").unlink()
    count, problems = verify(file)
    assert count == 2
    assert len(problems) == 2
    assert "model.onnx was altered" in problems[0]
    assert "has no metadata.json" in problems[1]


def test_an_artifact_under_a_false_name_is_refused(file: Path, tmp_path: Path) -> None:
    """Entry 1 points at the artifact of version 2, hashes included."""
    doc = json.loads(file.read_text())
    doc["models"][0] |= {k: doc["models"][1][k] for k in ("path", "sha256", "metadata_sha256")}
    file.write_text(json.dumps(doc))
    assert verify(file)[1] == ["the artifact of momentum v1 says it is momentum v2"]


def test_input_features_of_the_entry_are_compared(file: Path) -> None:
    doc = json.loads(file.read_text())
    doc["models"][0]["input_features"].reverse()
    doc["models"][1]["feature_definition"] = {"commit": "", "hash": "0" * 64}
    file.write_text(json.dumps(doc))
    problems = verify(file)[1]
    assert "v1: input_features differ" in problems[0]
    assert "name different feature definitions" in problems[1]


def test_nothing_stops_verify(file: Path) -> None:
    """A path that no file can have is one problem among others."""
    doc = json.loads(file.read_text())
    doc["models"][0]["path"] = "x" * 5000 + "/model.onnx"
    doc["models"][1]["path"] = "a\0b/model.onnx"
    file.write_text(json.dumps(doc))
    assert len(verify(file)[1]) == 2
