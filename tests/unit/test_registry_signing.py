"""Signatures: whoever can write the registry cannot make it trusted, and cannot put an older one back."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from registries import WHEN, publish

pytest.importorskip("cryptography", reason="needs the extra signing")

from alpha.errors import AlphaError, RegistryError
from alpha.registry import archive, keygen, load, load_trusted, promote, register, sign, verify


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A signed registry with one production version; the key is pinned in a folder elsewhere."""
    folder, keys = tmp_path / "r", tmp_path / "keys"
    folder.mkdir(), keys.mkdir()
    path = folder / "registry.json"
    register(path, publish(folder, 1), at=WHEN)
    register(path, publish(folder, 2), at=WHEN)
    promote(path, "models:/momentum/1", approver="Ada", at=WHEN)
    keygen(keys / "ada.key")
    monkeypatch.setenv("ALPHA_KEYS", str(keys))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    sign(path, keys / "ada.key")
    return path


def key(file: Path) -> Path:
    return file.parent.parent / "keys" / "ada.key"


def test_a_signed_registry_is_trusted_and_a_key_is_private(file: Path) -> None:
    assert load_trusted(file).document.signatures[0].key == "ada"
    assert verify(file) == (2, [])
    assert key(file).stat().st_mode & 0o077 == 0
    with pytest.raises(RegistryError, match="never overwritten"):
        keygen(key(file))


def test_without_pinned_keys_nothing_is_demanded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALPHA_KEYS")
    promote(file, "models:/momentum/2", approver="Ada")
    assert load_trusted(file).document.signatures == []


def test_a_change_takes_the_signatures_away(file: Path) -> None:
    promote(file, "models:/momentum/2", approver="Ada")
    with pytest.raises(RegistryError, match="carries no signature by a pinned key"):
        load_trusted(file)
    assert "carries no signature" in verify(file)[1][0]
    sign(file, key(file))
    assert load_trusted(file).resolve("models:/momentum@production").number == 2


def test_case_23_any_byte_flipped_in_the_registry_is_refused(file: Path) -> None:
    """Every flipped bit is refused, or says the same (white space, an escape): never another document."""
    good, trusted = file.read_bytes(), load_trusted(file).document
    rng = random.Random(23)
    refused = 0
    for at in range(0, len(good), 11):
        bad = bytearray(good)
        bad[at] ^= 1 << rng.randrange(8)
        file.write_bytes(bad)
        try:
            assert load_trusted(file).document == trusted, at
        except AlphaError:
            refused += 1
    assert refused > 0.8 * len(range(0, len(good), 11))


@pytest.mark.parametrize("name", ["model.onnx", "metadata.json", "card.md"])
def test_case_23_any_byte_flipped_in_an_artifact_is_refused(file: Path, name: str) -> None:
    path = file.parent / "artifacts/momentum/v1" / name
    good = path.read_bytes()
    for at in range(0, len(good), max(1, len(good) // 40)):
        bad = bytearray(good)
        bad[at] ^= 0x10
        path.write_bytes(bad)
        assert verify(file)[1], at
        if name != "card.md":
            with pytest.raises(AlphaError):
                load_trusted(file).load_model("models:/momentum/1")
        with pytest.raises(RegistryError, match="nothing was signed"):
            sign(file, key(file))


def test_a_promotion_by_hand_is_refused(file: Path) -> None:
    raw = json.loads(file.read_text())
    for m in raw["models"]:
        m["status"] = "production" if m["version"] == 2 else "archived"
        m["approved_by"] = ["Ada"]
    file.write_text(json.dumps(raw))
    with pytest.raises(RegistryError, match="signature of ada does not fit"):
        load_trusted(file)


def test_what_was_altered_is_not_laundered_by_a_change_or_a_signature(file: Path) -> None:
    good = file.read_bytes()
    plain = json.loads(good)
    plain["models"][1]["owner"] = "Mallory"
    file.write_text(json.dumps(plain))
    for attempt in (
        lambda: promote(file, "models:/momentum/2", approver="Ada"),
        lambda: archive(file, "models:/momentum/2", by="Ada"),
        lambda: register(file, publish(file.parent, 3), at=WHEN),
        lambda: sign(file, key(file)),
    ):
        with pytest.raises(RegistryError, match="does not fit"):
            attempt()
    assert json.loads(file.read_bytes())["models"][1]["owner"] == "Mallory"  # untouched
    file.write_bytes(good)
    promote(file, "models:/momentum/2", approver="Ada")


def test_an_older_revision_is_not_built_upon(file: Path) -> None:
    load_trusted(file)
    old = file.read_bytes()
    promote(file, "models:/momentum/2", approver="Ada", at=WHEN)
    sign(file, key(file))
    load_trusted(file)
    file.write_bytes(old)
    assert any("older one was put back" in p for p in verify(file)[1])
    with pytest.raises(RegistryError, match="older one was put back"):
        promote(file, "models:/momentum/2", approver="Ada")
    with pytest.raises(RegistryError, match="older one was put back"):
        sign(file, key(file))


def test_signatures_taken_away_are_missed_where_it_was_never_seen(file: Path) -> None:
    plain = json.loads(file.read_bytes())
    plain["signatures"] = []
    plain["models"][1]["owner"] = "Mallory"
    file.write_text(json.dumps(plain))
    for state in (file.parent.parent / "state").rglob("*.json"):
        state.unlink()  # another machine
    for attempt in (
        lambda: promote(file, "models:/momentum/2", approver="Ada"),
        lambda: register(file, publish(file.parent, 3), at=WHEN),
    ):
        with pytest.raises(RegistryError, match="was not written on this machine; nothing was changed"):
            attempt()
    sign(file, key(file))  # who signs has looked at it
    promote(file, "models:/momentum/2", approver="Ada")


def test_what_was_written_here_may_be_changed_again_but_not_altered(file: Path) -> None:
    register(file, publish(file.parent, 3), at=WHEN)
    register(file, publish(file.parent, 4), at=WHEN)
    plain = json.loads(file.read_bytes())
    assert plain["signatures"] == []
    plain["models"][3]["owner"] = "Mallory"
    file.write_text(json.dumps(plain))
    for attempt in (lambda: promote(file, "models:/momentum/2", approver="Ada"), lambda: sign(file, key(file))):
        with pytest.raises(RegistryError, match="another document than the revision 5 seen before"):
            attempt()


def test_a_history_begins_with_a_registration(file: Path) -> None:
    plain = json.loads(file.read_bytes())
    for lines in (plain["history"][1:], []):
        file.write_text(json.dumps({**plain, "history": lines}))
        assert any("momentum v1 was never registered" in p for p in verify(file, signatures=False)[1])


def test_a_foreign_key_does_not_count(file: Path, tmp_path: Path) -> None:
    keygen(tmp_path / "eve.key")
    promote(file, "models:/momentum/2", approver="Eve")
    sign(file, tmp_path / "eve.key")
    with pytest.raises(RegistryError, match="no signature by a pinned key"):
        load_trusted(file)
    sign(file, tmp_path / "eve.key", name="ada")
    with pytest.raises(RegistryError, match="signature of ada does not fit"):
        load_trusted(file)


def test_case_24_a_validly_signed_older_registry_is_refused(file: Path) -> None:
    old = file.read_bytes()
    load_trusted(file)
    promote(file, "models:/momentum/2", approver="Ada")
    sign(file, key(file))
    load_trusted(file)
    file.write_bytes(old)
    with pytest.raises(RegistryError, match="revision 3, but revision 4 was seen before: an older one was put back"):
        load_trusted(file)


def test_case_24_another_document_under_the_same_revision_is_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = file.read_bytes()
    promote(file, "models:/momentum/2", approver="Ada", at=WHEN)
    sign(file, key(file))
    load_trusted(file)
    file.write_bytes(old)
    here = str(tmp_path / "state")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))  # a machine that has not seen revision 4
    promote(file, "models:/momentum/2", approver="Bo", at=WHEN)
    sign(file, key(file))
    monkeypatch.setenv("XDG_STATE_HOME", here)
    with pytest.raises(RegistryError, match="another document than the revision 4 seen before"):
        load_trusted(file)


def test_a_pinned_folder_without_keys_does_not_switch_the_check_off(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPHA_KEYS", str(tmp_path / "empty"))
    with pytest.raises(RegistryError, match=r"holds no NAME\.pub"):
        load_trusted(file)


def test_keys_may_stand_in_registry_toml(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = key(file).with_suffix(".pub").read_text().strip()
    monkeypatch.delenv("ALPHA_KEYS")
    file.with_name("registry.toml").write_text(f'[policy]\nstate = "seen.json"\n[keys]\nada = "{public}"\n')
    assert load_trusted(file).document.revision == 3
    assert json.loads(file.with_name("seen.json").read_text())["revision"] == 3


def test_a_file_that_is_no_key(file: Path, tmp_path: Path) -> None:
    (tmp_path / "x.key").write_text("no key")
    with pytest.raises(RegistryError, match="is no private key"):
        sign(file, tmp_path / "x.key")
    assert load(file).document.signatures[0].key == "ada"
