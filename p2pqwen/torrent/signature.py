"""Sign a torrent, and check a signature: does it fit the torrent, and who made it (SPEC section 4)."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace

from p2pqwen.manifest.manifest import Manifest
from p2pqwen.signing.keys import PrivateKey, PublicKey
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.torrent.signature_entry import SIGNATURE_SIZE, TorrentSignature
from p2pqwen.torrent.signer import SignerResult
from p2pqwen.values.digest import Sha256

__all__ = [
    "TorrentSignature",
    "TriedSignature",
    "fits",
    "is_made_by",
    "make_signature",
]


@dataclass(frozen=True, slots=True)
class TriedSignature:
    """A signature and its checks. `fits`: its statement matches the torrent.

    `made`: its key made it; None while that key is not available.
    """

    label: str
    keyid: Sha256
    fits: bool
    made: bool | None = None

    def known_to(self, keyids: Container[Sha256]) -> SignerResult:
        """Return its state for somebody who knows only these keys."""
        if not self.fits:
            return SignerResult(self.label, self.keyid, "invalid")
        if self.made is None or self.keyid not in keyids:
            return SignerResult(self.label, self.keyid, "unknown key")
        return SignerResult(self.label, self.keyid, "valid" if self.made else "invalid")


def make_signature(metainfo: Metainfo, manifest: Manifest, key: PrivateKey) -> TorrentSignature:
    """Return a key's signature over a torrent and its manifest, which the caller has checked against each other.

    Use `CheckedTorrent.signed`, which does that.
    """
    unsigned = TorrentSignature(
        key.public.keyid, manifest.digest, manifest.snapshot.repo, manifest.snapshot.commit, bytes(SIGNATURE_SIZE)
    )
    return replace(unsigned, signature=key.sign(unsigned.signed_bytes(metainfo.info)))


def fits(metainfo: Metainfo, manifest: Manifest | None, signature: TorrentSignature) -> bool:
    """Tell whether a signature's statement matches the torrent; `manifest` is the embedded one, or None.

    Only `is_made_by` tells who made it.
    """
    if str(signature.commit) != metainfo.name:
        return False
    return manifest is None or (signature.manifest, signature.repo) == (manifest.digest, manifest.snapshot.repo)


def is_made_by(key: PublicKey, metainfo: Metainfo, signature: TorrentSignature) -> bool:
    """Tell whether this key signed this info dictionary and the signature's statement."""
    return key.verify(signature.signature, signature.signed_bytes(metainfo.info))
