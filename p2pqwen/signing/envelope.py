"""Signatures over documents: DSSE pre-authentication encoding, and thresholds of distinct keys.

A signature covers `DSSEv1 <len type> <type> <len payload> <payload>` (secure-systems-lab/dsse 1.0.2), with the payload
in RFC 8785 form, so the type cannot be swapped and the file may be pretty-printed. The keyid in a signature is only a
hint at the key to try; the threshold counts distinct public keys with a valid signature. Broken, repeated and foreign
signatures are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from p2pqwen.errors import FormatError
from p2pqwen.signing.keys import Message, PrivateKey, PublicKey
from p2pqwen.values import base64_text
from p2pqwen.values.digest import Sha256
from p2pqwen.values.strict_json import JsonObject, JsonValue

MAX_SIGNATURES = 256


@dataclass(frozen=True, slots=True)
class ThresholdResult:
    """Which keys of a role signed a document: valid keyids, missing keyids, and why other signatures were ignored."""

    threshold: int
    signed_by: tuple[Sha256, ...]
    missing: tuple[Sha256, ...]
    ignored: tuple[str, ...]

    @property
    def met(self) -> bool:
        """Whether enough distinct keys signed."""
        return len(self.signed_by) >= self.threshold


def pae(document_type: str, payload: bytes) -> bytes:
    """Return the bytes that a signature of this document type covers."""
    return pae_before(document_type, len(payload)) + payload


def pae_before(document_type: str, size: int) -> bytes:
    """Return the bytes that precede a payload of `size` bytes in the message that a signature covers."""
    payload_type = f"application/vnd.p2pqwen.{document_type}+json".encode()
    return b"DSSEv1 %d %b %d " % (len(payload_type), payload_type, size)


def sign(document_type: str, payload: bytes, key: PrivateKey) -> JsonObject:
    """Return one row of an envelope's `signatures`."""
    return sign_message(pae(document_type, payload), key)


def sign_message(message: Message, key: PrivateKey) -> JsonObject:
    """Do what `sign` does, given the whole message that the signature covers."""
    return signature_row(key.public.keyid, key.sign(message))


def signature_row(keyid: Sha256, signature: bytes) -> JsonObject:
    """Return the row of an envelope's `signatures` for this key's signature."""
    return {"keyid": str(keyid), "sig": base64_text.encode(signature)}


def valid_signatures(
    document_type: str, payload: bytes, signatures: JsonValue, keys: Mapping[Sha256, PublicKey]
) -> dict[Sha256, bytes]:
    """Return the signature of each of `keys` that validly signed the payload; others are left out."""
    message = pae(document_type, payload)
    found: dict[Sha256, bytes] = {}
    for row in signatures[:MAX_SIGNATURES] if isinstance(signatures, list) else ():
        keyid, problem = _check(row, message, keys)
        if problem is None and isinstance(row, dict):
            found.setdefault(keyid, base64_text.decode(_text(row, "sig")))
    return found


def check_threshold(
    document_type: str, payload: bytes, signatures: JsonValue, keys: Mapping[Sha256, PublicKey], threshold: int
) -> ThresholdResult:
    """Count the keys of `keys` that validly signed the payload; raises `FormatError` if `signatures` is not a list."""
    return check_message(pae(document_type, payload), signatures, keys, threshold)


def check_message(
    message: Message, signatures: JsonValue, keys: Mapping[Sha256, PublicKey], threshold: int
) -> ThresholdResult:
    """Do what `check_threshold` does, given the whole message that the signatures cover."""
    if not isinstance(signatures, list) or len(signatures) > MAX_SIGNATURES:
        raise FormatError("signatures", expected=f"a list of at most {MAX_SIGNATURES}")
    valid: set[Sha256] = set()
    ignored = []
    for row in signatures:
        keyid, problem = _check(row, message, keys)
        if keyid in valid:
            ignored.append(f"{keyid} signed more than once")
        elif problem is None:
            valid.add(keyid)
        else:
            ignored.append(problem)
    return ThresholdResult(
        threshold=threshold,
        signed_by=tuple(keyid for keyid in keys if keyid in valid),
        missing=tuple(keyid for keyid in keys if keyid not in valid),
        ignored=tuple(ignored),
    )


def _check(row: JsonValue, message: Message, keys: Mapping[Sha256, PublicKey]) -> tuple[Sha256, str | None]:
    """Return the keyid that a row names, and why its signature does not count, or None if it does."""
    nobody = Sha256(bytes(32))
    if not isinstance(row, dict):
        return nobody, "a signature is not an object"
    try:
        keyid = Sha256.parse(_text(row, "keyid"))
        signature = base64_text.decode(_text(row, "sig"))
    except FormatError as error:
        return nobody, f"malformed signature: {error.message}"
    if keyid not in keys:
        return keyid, f"{keyid} has no part in this role"
    if not keys[keyid].verify(signature, message):
        return keyid, f"{keyid} did not make this signature"
    return keyid, None


def _text(row: JsonObject, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise FormatError(f"signature field {name!r}", expected="text", got=type(value).__name__)
    return value
