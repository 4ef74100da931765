"""Ed25519 over a registry: keys, what is signed, by whom, and whether to trust it. Floor 5.

Signed is the canonical document: its JSON without ``signatures``, keys sorted, no spaces. It holds the sha256 of every
model and of every metadata.json, and each metadata.json that of every other file: one signature covers every artifact.
:func:`alpha.registry.sign` reads and hashes all of them first. Needs the extra ``signing``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from alpha.errors import RegistryError, need
from alpha.registry.policy import check_last_seen, pinned_keys, remember
from alpha.registry.schema import RegistryDocument
from alpha.registry.store import Registry, load, update

_CONTEXT = b"alpha registry 1\n"


def canonical(doc: RegistryDocument) -> bytes:
    """The bytes that are signed."""
    plain = msgspec.to_builtins(msgspec.structs.replace(doc, signatures=[]))
    return _CONTEXT + json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _ed25519() -> Any:
    return need("cryptography.hazmat.primitives.asymmetric.ed25519", "signing")


def keygen(path: str | Path) -> str:
    """Write a new private key (PEM, readable by its owner only) and ``<stem>.pub`` beside it; returns the public text."""
    file = Path(path)
    public = file.with_suffix(".pub")
    for taken in (file, public):
        if taken.exists():
            raise RegistryError(f"{taken} exists: a key is never overwritten, choose another name")
    serialization = need("cryptography.hazmat.primitives.serialization", "signing")
    key = _ed25519().Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    text = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(pem)
        public.write_text(text + "\n", encoding="ascii")
    except OSError as exc:
        raise RegistryError(f"key {file} cannot be written: {exc}") from None
    return text


def private_key(path: Path) -> Any:
    """The Ed25519 private key of a PEM file."""
    serialization = need("cryptography.hazmat.primitives.serialization", "signing")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as exc:
        raise RegistryError(f"key {path} cannot be read: {exc}") from None
    except (ValueError, TypeError) as exc:
        raise RegistryError(f"{path} is no private key as alpha registry keygen writes it: {exc}") from None
    if not isinstance(key, _ed25519().Ed25519PrivateKey):
        raise RegistryError(f"{path} is not an Ed25519 key")
    return key


def signers(doc: RegistryDocument, keys: dict[str, bytes], what: str) -> list[str]:
    """Names of the pinned keys that signed this document; RegistryError for a signature that does not fit it."""
    found: list[str] = []
    ed25519 = _ed25519()
    invalid = need("cryptography.exceptions", "signing").InvalidSignature
    for s in doc.signatures:
        if s.key not in keys:
            continue
        try:
            ed25519.Ed25519PublicKey.from_public_bytes(keys[s.key]).verify(
                base64.b64decode(s.value, validate=True), canonical(doc)
            )
        except (invalid, binascii.Error, ValueError):
            raise RegistryError(
                f"{what}: the signature of {s.key} does not fit: the registry was changed after it was signed"
            ) from None
        if s.key not in found:
            found.append(s.key)
    return found


def digest(doc: RegistryDocument) -> str:
    """sha256 of what is signed."""
    return hashlib.sha256(canonical(doc)).hexdigest()


def check_intact(path: str | Path, doc: RegistryDocument, *, unsigned: bool = False) -> None:
    """With pinned keys: RegistryError for a document that was changed after it was signed, that is older than the last
    one trusted here, or that nobody pinned signed. The last is allowed to what was written or seen signed on this machine
    (a change empties the signatures), and to whoever is about to sign (``unsigned``)."""
    keys = pinned_keys(path)
    if not keys or not (doc.models or doc.history):
        return
    signed = signers(doc, keys, str(path))
    if check_last_seen(path, doc.revision, digest(doc)) and not (signed or unsigned):
        raise RegistryError(f"{_unsigned(path, doc, keys)}, and was not written on this machine")
    if signed:
        remember(path, doc.revision, digest(doc))


def _unsigned(path: str | Path, doc: RegistryDocument, keys: dict[str, bytes]) -> str:
    others = ", ".join(sorted({s.key for s in doc.signatures}))
    return f"registry {path} carries no signature by a pinned key ({', '.join(sorted(keys))})" + (
        f", only by {others}" if others else ""
    )


def change(path: str | Path, move: Callable[[RegistryDocument], RegistryDocument], **more: Any) -> Registry:
    """:func:`alpha.registry.store.update` of a registry that is what was signed: a change would drop the signature that
    shows that it is not. With pinned keys what is written is remembered, so that it may be changed again unsigned, but by
    nobody else unseen."""

    def checked(doc: RegistryDocument) -> RegistryDocument:
        try:
            check_intact(path, doc)
        except RegistryError as exc:
            raise RegistryError(
                f"{exc}; nothing was changed: bring the signed registry back first, or look at it and sign it with  alpha registry sign"
            ) from None
        return move(doc)

    def written(doc: RegistryDocument) -> None:
        if pinned_keys(path):
            remember(path, doc.revision, digest(doc))

    return update(path, checked, written=written, **more)


def load_trusted(path: str | Path) -> Registry:
    """:func:`load` for serving. Without pinned keys that is all; with some, a signature by one of them is demanded and
    a revision older than the last one seen is refused."""
    book = load(path)
    keys = pinned_keys(path)
    if keys:
        if not signers(book.document, keys, str(path)):
            raise RegistryError(f"{_unsigned(path, book.document, keys)}: sign it with  alpha registry sign")
        remember(path, book.document.revision, digest(book.document))
    return book
