"""Where a log ends, as a small file beside it or elsewhere, signed if its writer has a key. Floor 5.

``head.json``: ``seq`` (frames so far), ``sha256`` (of the last block), ``closed`` and, signed, ``key`` (the public key's name)
and ``signature``: base64 of Ed25519 over the other three. A signature shows who wrote the head; that an older head was put
back together with a shorter log shows only against an anchor kept elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path

import msgspec

from alpha.documents import convert, read_json
from alpha.errors import DataError, need
from alpha.registry.signing import private_key

_CONTEXT = b"alpha audit head 1\n"


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``closed``: nothing may follow unless a later head says so."""

    seq: int
    sha256: str
    closed: bool = False
    key: str = ""
    signature: str = ""


class HeadSigner:
    """A private key that signs heads under the name of its file. RegistryError if there is no such key."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self._key = private_key(path)

    def sign(self, head: Head) -> Head:
        """The head with this key's signature."""
        value = base64.b64encode(self._key.sign(signed_bytes(head))).decode()
        return msgspec.structs.replace(head, key=self.name, signature=value)


def signed_bytes(head: Head) -> bytes:
    """What a signature covers."""
    plain = {"seq": head.seq, "sha256": head.sha256, "closed": head.closed}
    return _CONTEXT + json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def head_json(seq: int, chain: bytes, *, closed: bool, sign: HeadSigner | None = None) -> bytes:
    """The bytes of head.json."""
    head = Head(seq, chain.hex(), closed)
    if sign is None:
        return json.dumps({"seq": head.seq, "sha256": head.sha256, "closed": head.closed}).encode() + b"\n"
    return json.dumps(msgspec.to_builtins(sign.sign(head))).encode() + b"\n"


def read_head(file: Path) -> Head | None:
    """None without such a file; DataError for one that no writer of a log left."""
    try:
        raw = read_json(file.read_bytes(), str(file), DataError)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise DataError(f"anchor {file} cannot be read: {exc}") from None
    try:
        return convert(raw, Head, str(file), DataError)
    except DataError:
        raise DataError(f"anchor {file} is not what the writer of an audit log leaves") from None


def signature_problem(head: Head, keys: dict[str, bytes]) -> str:
    """What is wrong with a head's signature, empty if it is one of these public keys'."""
    if not head.signature:
        return "it carries no signature"
    if head.key not in keys:
        return f"it is signed by {head.key!r}, which is none of the pinned keys: {', '.join(sorted(keys))}"
    ed25519 = need("cryptography.hazmat.primitives.asymmetric.ed25519", "signing")
    invalid = need("cryptography.exceptions", "signing").InvalidSignature
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(keys[head.key]).verify(
            base64.b64decode(head.signature, validate=True), signed_bytes(head)
        )
    except (invalid, binascii.Error, ValueError):
        return f"the signature of {head.key} does not fit: it was changed after it was signed"
    return ""
