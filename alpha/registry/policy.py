"""Who may promote, whose signatures count, what was last seen: ``registry.toml`` and what stands outside. Floor 5.

``registry.toml`` beside registry.json; all of it is optional::

    [policy]
    approvers = 1                     # persons who must approve a promotion: 1 or 2
    definition_commit = "required"    # or "optional": promote without a clean commit of the definition
    state = "seen.json"               # where the last trusted revision is remembered
    inactive = ["archived"]           # statuses whose versions decide nothing; may also name "candidate"
    [keys]                            # pinned public keys; with any, an unsigned registry is refused
    ada = "base64 of 32 bytes"

Public keys are better pinned where whoever writes the registry cannot write: a folder of ``NAME.pub`` files named by
``$ALPHA_KEYS`` replaces the table.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from alpha.documents import convert, read_json, to_json, write_atomically
from alpha.errors import RegistryError

KEY_BYTES = 32


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table ``[policy]``. ``approvers``: how many persons; ``state``: file that remembers the last signed revision;
    ``inactive``: statuses whose versions decide nothing."""

    approvers: Literal[1, 2] = 1
    definition_commit: Literal["required", "optional"] = "required"
    state: str = ""
    inactive: tuple[Literal["candidate", "archived"], ...] = ("archived",)


class _Toml(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    policy: Policy = Policy()
    keys: dict[str, str] = {}


def _read(registry: Path) -> tuple[Path, _Toml]:
    file = registry.with_name("registry.toml")
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return file, _Toml()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise RegistryError(f"{file} is not valid TOML: {exc}") from None
    except OSError as exc:
        raise RegistryError(f"{file} cannot be read: {exc}") from None
    return file, convert(raw, _Toml, str(file), RegistryError)


def load_policy(registry: str | Path) -> Policy:
    """The policy of a registry; the default where there is no registry.toml."""
    return _read(Path(registry))[1].policy


def pinned_keys(registry: str | Path) -> dict[str, bytes]:
    """Name and 32 bytes of every pinned public key: of ``$ALPHA_KEYS``, else of registry.toml; empty: unsigned."""
    folder = os.environ.get("ALPHA_KEYS")
    if not folder:
        file, toml = _read(Path(registry))
        return {name: _key(text, f"{file}: key {name!r}") for name, text in toml.keys.items()}
    return keys_in(folder, f"$ALPHA_KEYS ({folder})")


def keys_in(folder: str | Path, what: str) -> dict[str, bytes]:
    """Name and 32 bytes of every ``NAME.pub`` in a folder; RegistryError if there is none."""
    try:
        texts = {f.stem: f.read_text(encoding="ascii") for f in sorted(Path(folder).glob("*.pub"))}
    except (OSError, UnicodeDecodeError) as exc:
        raise RegistryError(f"the keys in {what} cannot be read: {exc}") from None
    if not texts:  # a wrong path must not switch the check off
        raise RegistryError(f"{what} holds no NAME.pub: name the folder with the public keys")
    return {name: _key(text, f"{folder}/{name}.pub") for name, text in texts.items()}


def _key(text: str, what: str) -> bytes:
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != KEY_BYTES:
        raise RegistryError(
            f"{what} is no public key: it is base64 of {KEY_BYTES} bytes, as alpha registry keygen prints"
        )
    return raw


# -- the last revision that was trusted


class _Seen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    revision: int
    sha256: str


def state_file(registry: str | Path) -> Path:
    """Where the last trusted revision of this registry is remembered: ``[policy] state``, else ``$XDG_STATE_HOME``."""
    path = Path(registry).resolve()
    named = load_policy(path).state
    if named:
        return path.parent / named
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return home / "alpha" / f"registry-{hashlib.sha256(str(path).encode()).hexdigest()[:16]}.json"


def check_last_seen(registry: str | Path, revision: int, digest: str) -> bool:
    """Whether this revision is newer than the last one that was trusted here; RegistryError if it is older, or another
    document under the same number."""
    file = state_file(registry)
    try:
        seen = convert(read_json(file.read_bytes(), str(file), RegistryError), _Seen, str(file), RegistryError)
    except FileNotFoundError:
        seen = _Seen(-1, "")
    except OSError as exc:
        raise RegistryError(f"{file}, which remembers the last registry, cannot be read: {exc}") from None
    if revision < seen.revision:
        raise RegistryError(
            f"registry {registry} is revision {revision}, but revision {seen.revision} was seen before: an older one was put back"
        )
    if revision == seen.revision and digest != seen.sha256:
        raise RegistryError(f"registry {registry} is another document than the revision {revision} seen before")
    return revision > seen.revision


def remember(registry: str | Path, revision: int, digest: str) -> None:
    """From now on :func:`check_last_seen` refuses what is older; RegistryError if this one is."""
    if not check_last_seen(registry, revision, digest):
        return
    file = state_file(registry)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, to_json(_Seen(revision, digest)))
    except OSError as exc:
        raise RegistryError(f"{file}, which remembers the last registry, cannot be written: {exc}") from None
