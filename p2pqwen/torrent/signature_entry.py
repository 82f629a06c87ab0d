"""One entry of a torrent's `signatures` dictionary: BEP 35's form, with Ed25519 in place of X.509 (SPEC section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from p2pqwen.errors import FormatError
from p2pqwen.torrent import bencode
from p2pqwen.torrent.bencode import Bencoded
from p2pqwen.values.digest import CommitId, Sha256
from p2pqwen.values.snapshot_id import RepoId

ALGORITHM = b"ed25519"
SIGNATURE_SIZE = 64
MAX_LABEL = 100
MAX_SIGNATURES = 100


@dataclass(frozen=True, slots=True)
class TorrentSignature:
    """A 64-byte signature and its statement: this info dictionary is that snapshot, described by that manifest."""

    keyid: Sha256
    manifest: Sha256
    repo: RepoId
    commit: CommitId
    signature: bytes

    def __post_init__(self) -> None:
        if len(self.signature) != SIGNATURE_SIZE:
            raise FormatError("torrent signature", expected=f"{SIGNATURE_SIZE} bytes", got=len(self.signature))

    @classmethod
    def of_document(cls, document: Bencoded) -> Self | None:
        """Read an entry, None for another kind (BEP 35's own). Raises `FormatError` for a malformed one of ours."""
        info = document.get(b"info") if isinstance(document, dict) else None
        if not isinstance(document, dict) or not isinstance(info, dict) or info.get(b"alg") != ALGORITHM:
            return None
        if unknown := (document.keys() - {b"info", b"signature"}) | (info.keys() - _INFO_KEYS):
            raise FormatError("torrent signature holds unsigned keys", got=repr(min(unknown)[:40]))
        return cls(
            Sha256(_bytes(info, b"keyid")),
            Sha256(_bytes(info, b"manifest")),
            RepoId.parse(_ascii(info, b"repo")),
            CommitId.parse(_ascii(info, b"commit")),
            _bytes(document, b"signature"),
        )

    def document(self) -> dict[bytes, Bencoded]:
        """Return the entry to bencode into the torrent."""
        return {b"info": self._info(), b"signature": self.signature}

    def signed_bytes(self, info: bytes) -> bytes:
        """Return the signed bytes: the torrent's bencoded info dictionary, then the bencoded `info` of this entry."""
        return info + bencode.encode(self._info())

    def _info(self) -> dict[bytes, Bencoded]:
        return {
            b"alg": ALGORITHM,
            b"commit": str(self.commit).encode(),
            b"keyid": self.keyid.raw,
            b"manifest": self.manifest.raw,
            b"repo": str(self.repo).encode(),
        }


_INFO_KEYS = {b"alg", b"commit", b"keyid", b"manifest", b"repo"}


def check_label(label: str) -> str:
    """Return a signer's label unchanged; raises `FormatError` unless it is short and printable."""
    if not 0 < len(label) <= MAX_LABEL or not label.isprintable():
        raise FormatError(
            "signer label", expected=f"1 to {MAX_LABEL} printable characters", got=repr(label[:MAX_LABEL])
        )
    return label


def _bytes(document: dict[bytes, Bencoded], key: bytes) -> bytes:
    value = document.get(key)
    if not isinstance(value, bytes):
        raise FormatError(f"torrent signature `{key.decode()}`", expected="a string", got=type(value).__name__)
    return value


def _ascii(document: dict[bytes, Bencoded], key: bytes) -> str:
    value = _bytes(document, key)
    if not value.isascii():
        raise FormatError(f"torrent signature `{key.decode()}` is not ASCII", got=repr(value[:80]))
    return value.decode()
