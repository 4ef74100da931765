"""What a promotion demands, who may do it, and what may never change: policy, waivers, rollback, history, schema."""

from __future__ import annotations

import json
import multiprocessing
import re
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import msgspec
import pytest
from registries import BAD, GOOD, WHEN, publish, statuses

from alpha.errors import RegistryError
from alpha.registry import archive, json_schema, load, promote, register, rollback, verify
from alpha.registry.schema import RegistryDocument, check_change
from alpha.registry.store import update


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A registry with three good candidates of one model."""
    path = tmp_path / "registry.json"
    for number in (1, 2, 3):
        register(path, publish(tmp_path, number), by="trainer", at=WHEN)
    return path


def policy(file: Path, text: str) -> None:
    file.with_name("registry.toml").write_text("[policy]\n" + text + "\n")


def test_the_published_schema_is_current(project_root: Path) -> None:
    published = json.loads((project_root / "docs" / "registry.schema.json").read_text())
    assert published == json_schema(), "write it again: alpha registry schema > docs/registry.schema.json"


def test_the_specifications_sample_loads_when_completed(project_root: Path, tmp_path: Path) -> None:
    """Comments stripped, the shortened hash completed, the root named: nothing else is added."""
    text = (project_root / "tests" / "fixtures" / "registry_sample.json").read_text()
    raw = json.loads(re.sub(r"//[^\n]*", "", text))
    raw["models"][0]["sha256"] = "a3f8" + "0" * 60
    (tmp_path / "ml").mkdir()
    file = tmp_path / "ml" / "registry.json"
    file.write_text(json.dumps({**raw, "root": ".."}))
    entry = load(file).resolve("models:/momentum_v1_001@production")
    assert (entry.number, entry.owner, entry.input_features[0]) == (1, "quant_team", "bid_ask_spread")


def test_a_promotion_needs_a_clean_commit(file: Path, tmp_path: Path) -> None:
    register(file, publish(tmp_path, 4, commit=""))
    with pytest.raises(RegistryError, match="v4 names no clean commit"):
        promote(file, "models:/momentum/4", approver="Ada")
    policy(file, 'definition_commit = "optional"')
    promote(file, "models:/momentum/4", approver="Ada")
    assert statuses(file)[4] == "production"


def test_a_promotion_hashes_the_artifact_again(file: Path, tmp_path: Path) -> None:
    (tmp_path / "artifacts/momentum/v1/card.md").write_text("# better")
    with pytest.raises(RegistryError, match=r"card.md was altered"):
        promote(file, "models:/momentum/1", approver="Ada")


def test_an_expired_version_cannot_be_promoted(file: Path, tmp_path: Path) -> None:
    entry = msgspec.structs.replace(publish(tmp_path, 4), valid_until="2026-02-01T00:00:00Z")
    register(file, entry)
    with pytest.raises(RegistryError, match="valid until 2026-02-01T00:00:00Z only, which is over"):
        promote(file, "models:/momentum/4", approver="Ada", at="2026-02-01T00:00:00Z")
    promote(file, "models:/momentum/4", approver="Ada", at="2026-01-31T23:59:59Z")


def test_a_waiver_has_a_reason_and_an_author(file: Path, tmp_path: Path) -> None:
    register(file, publish(tmp_path, 4, checks=[GOOD, BAD]))
    with pytest.raises(RegistryError, match="without a reason"):
        promote(file, "models:/momentum/4", approver="Ada", waive={"flips": " "})
    with pytest.raises(RegistryError, match="has no check 'flop'; it has: auc, flips"):
        promote(file, "models:/momentum/4", approver="Ada", waive={"flop": "x"})
    promote(file, "models:/momentum/4", approver="Ada", waive={"flips": "3 of 1e6 rows"})
    flips = load(file).resolve("models:/momentum/4").checks[1]
    assert (flips.passed, flips.waived, flips.reason) == (False, True, "3 of 1e6 rows (Ada)")


def test_two_persons_where_the_policy_says_so(file: Path) -> None:
    policy(file, "approvers = 2")
    promote(file, "models:/momentum/1", approver="Ada", at=WHEN)
    assert statuses(file)[1] == "candidate"
    with pytest.raises(RegistryError, match="waits for a second person; ada has approved it already"):
        promote(file, "models:/momentum/1", approver="ada ")
    promote(file, "models:/momentum/1", approver="Bo", at=WHEN)
    entry = load(file).resolve("models:/momentum@production")
    assert entry.approved_by == ["Ada", "Bo"]
    assert [h.action for h in load(file).document.history[-2:]] == ["approve", "promote"]
    assert verify(file)[1] == []


def test_an_approval_does_not_outlive_a_move(file: Path) -> None:
    policy(file, "approvers = 2")
    promote(file, "models:/momentum/1", approver="Ada")
    archive(file, "models:/momentum/1", by="Cy")
    promote(file, "models:/momentum/1", approver="Bo")
    assert statuses(file)[1] == "archived"  # Bo is the first again


def test_a_stricter_policy_objects_to_what_one_person_promoted(file: Path) -> None:
    promote(file, "models:/momentum/1", approver="Ada")
    policy(file, "approvers = 2")
    assert ["demands 2" in p for p in verify(file)[1]] == [True]


def test_rollback_brings_back_what_served_before(file: Path) -> None:
    with pytest.raises(RegistryError, match="has no production"):
        rollback(file, "momentum", approver="Ada")
    promote(file, "models:/momentum/2", approver="Ada")
    with pytest.raises(RegistryError, match="no earlier production version"):
        rollback(file, "momentum", approver="Ada")
    promote(file, "models:/momentum/3", approver="Ada")
    policy(file, "approvers = 1")
    rollback(file, "models:/momentum", approver="Bo")
    assert statuses(file) == {1: "candidate", 2: "production", 3: "archived"}
    rollback(file, "momentum", approver="Bo")
    assert statuses(file) == {1: "candidate", 2: "archived", 3: "production"}
    assert [h.action for h in load(file).document.history][-2:] == ["replace", "rollback"] or [
        h.action for h in load(file).document.history
    ][-2:] == ["rollback", "replace"]


def test_archive_once(file: Path) -> None:
    archive(file, "models:/momentum/1", by="Ada")
    with pytest.raises(RegistryError, match="archived already"):
        archive(file, "models:/momentum/1", by="Ada")
    assert statuses(file)[1] == "archived"


def _changed(doc: RegistryDocument, **of_first: Any) -> RegistryDocument:
    models = [msgspec.structs.replace(doc.models[0], **of_first), *doc.models[1:]]
    return msgspec.structs.replace(doc, models=models)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: msgspec.structs.replace(d, history=d.history[1:]), "append-only"),
        (
            lambda d: msgspec.structs.replace(
                d, history=[*d.history[:-1], msgspec.structs.replace(d.history[-1], by="Eve")]
            ),
            "append-only",
        ),
        (lambda d: msgspec.structs.replace(d, models=d.models[1:]), "v1 cannot be removed; archive it"),
        (lambda d: _changed(d, sha256="b" * 64), "sha256 of model momentum v1 cannot change"),
        (lambda d: _changed(d, created_at="2027-01-01T00:00:00Z"), "created_at of model momentum v1 cannot change"),
    ],
)
def test_an_unlawful_change_is_refused(file: Path, change: Any, message: str) -> None:
    before = file.read_bytes()
    with pytest.raises(RegistryError, match=message):
        update(file, change)
    assert file.read_bytes() == before


@pytest.mark.parametrize("before", ["candidate", "production", "archived"])
@pytest.mark.parametrize("after", ["candidate", "production", "archived"])
def test_only_legal_moves(file: Path, before: Any, after: Any) -> None:
    doc = load(file).document
    legal = {
        ("candidate", "production"),
        ("candidate", "archived"),
        ("production", "archived"),
        ("archived", "production"),
    }
    if before == after or (before, after) in legal:
        check_change(_changed(doc, status=before), _changed(doc, status=after), "registry")
    else:
        with pytest.raises(RegistryError, match=f"v1 is {before}; it cannot become {after}"):
            check_change(_changed(doc, status=before), _changed(doc, status=after), "registry")


def test_case_25_what_history_denies_is_reported(file: Path) -> None:
    raw = json.loads(file.read_text())
    raw["models"][0]["status"] = "production"
    raw["models"][0]["approved_by"] = ["nobody"]
    file.write_text(json.dumps(raw))
    assert verify(file)[1] == ["model momentum v1 is production, its history ends with candidate"]


def _promoter(path: Path, version: int, revision: int, barrier: Barrier, answers: Any) -> None:
    barrier.wait()
    try:
        promote(path, f"models:/momentum/{version}", approver=f"person {version}", expect_revision=revision)
        answers.put((version, ""))
    except RegistryError as exc:
        answers.put((version, str(exc)))


def test_case_26_two_promoters_one_wins_the_other_is_told(file: Path) -> None:
    """Both looked at the same revision; whoever comes second is refused, whatever the scheduler does."""
    spawn = multiprocessing.get_context("fork")
    for round_ in range(5):
        revision = load(file).document.revision
        versions = [v for v, s in statuses(file).items() if s != "production"][:2]
        barrier, answers = spawn.Barrier(2), spawn.Queue()
        people = [spawn.Process(target=_promoter, args=(file, v, revision, barrier, answers)) for v in versions]
        for p in people:
            p.start()
        said = dict(answers.get(timeout=60) for _ in people)
        for p in people:
            p.join()
        won = [v for v, text in said.items() if not text]
        lost = [text for text in said.values() if text]
        assert len(won) == 1 and len(lost) == 1, said
        assert f"at revision {revision + 1}, not {revision}: somebody else changed it" in lost[0], round_
        assert statuses(file)[won[0]] == "production"
        assert sum(s == "production" for s in statuses(file).values()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[policy]\napprovers = 3", "approvers"),
        ("[policy]\nsurprise = 1", "surprise"),
        ("[policy", "not valid TOML"),
        ('[keys]\nada = "AAAA"', "'ada' is no public key"),
    ],
)
def test_a_wrong_policy_is_one_clear_error(file: Path, text: str, message: str) -> None:
    file.with_name("registry.toml").write_text(text + "\n")
    with pytest.raises(RegistryError, match=message):
        verify(file)
