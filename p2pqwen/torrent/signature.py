"""Signing a torrent and checking who signed it (SPEC section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from p2pqwen.errors import VerificationError
from p2pqwen.manifest.manifest import Manifest, parse_manifest
from p2pqwen.signing.keys import PrivateKey, PublicKey
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.torrent.signature_entry import SIGNATURE_SIZE, TorrentSignature, check_label
from p2pqwen.torrent.snapshot_torrent import check_manifest
from p2pqwen.values.digest import Sha256

__all__ = ["SignatureState", "SignerResult", "TorrentSignature", "sign_torrent", "verify_torrent"]

SignatureState: TypeAlias = Literal["valid", "invalid", "unknown key"]


@dataclass(frozen=True, slots=True)
class SignerResult:
    """One signature of a torrent: the label is the signer's own claim, the key id is what counts."""

    label: str
    keyid: Sha256
    state: SignatureState


def sign_torrent(metainfo: Metainfo, key: PrivateKey, label: str) -> Metainfo:
    """Return the torrent with one signature more, in place of any under the same label.

    The torrent carries its manifest, and both speak of the same files; otherwise `VerificationError`.
    """
    check_label(label)
    if metainfo.manifest is None:
        raise VerificationError("a torrent without its manifest cannot be signed")
    manifest = parse_manifest(metainfo.manifest)
    check_manifest(metainfo, manifest)
    unsigned = TorrentSignature(
        key.public.keyid, manifest.digest, manifest.snapshot.repo, manifest.snapshot.commit, bytes(SIGNATURE_SIZE)
    )
    signature = replace(unsigned, signature=key.sign(unsigned.signed_bytes(metainfo.info)))
    return replace(metainfo, signatures={**metainfo.signatures, label: signature})


def verify_torrent(metainfo: Metainfo, public_keys: Mapping[Sha256, PublicKey]) -> list[SignerResult]:
    """Return the state of every signature, by label.

    Valid means: made by that key, for this info dictionary, this commit and, where one is embedded, this manifest.
    Raises `FormatError` for an embedded manifest that is none.
    """
    manifest = None if metainfo.manifest is None else parse_manifest(metainfo.manifest)
    return [
        SignerResult(label, signature.keyid, _state(metainfo, manifest, signature, public_keys.get(signature.keyid)))
        for label, signature in sorted(metainfo.signatures.items())
    ]


def _state(
    metainfo: Metainfo, manifest: Manifest | None, signature: TorrentSignature, key: PublicKey | None
) -> SignatureState:
    # 1. what the signature states fits the torrent it stands in
    if str(signature.commit) != metainfo.name:
        return "invalid"
    if manifest is not None and (signature.manifest, signature.repo) != (manifest.digest, manifest.snapshot.repo):
        return "invalid"
    # 2. we know the key, and it is the one named
    if key is None or key.keyid != signature.keyid:
        return "unknown key"
    # 3. the key made it
    return "valid" if key.verify(signature.signature, signature.signed_bytes(metainfo.info)) else "invalid"
