"""A torrent that was read and checked once, so that no other code has to do it again.

Bytes from anywhere become a `CheckedTorrent` at the edge, and only here. The checks, in order (SPEC sections 2 and 4):

1. parse the .torrent;
2. parse its manifest and compare the commit, paths and sizes with the torrent's;
3. require that the manifest is exactly its git commit, or has no commit object;
4. compare the statement of every signature with torrent and manifest. `tried_with` verifies the signatures themselves
   with the available keys, each once. The caller decides whose keys count, and passes them to `signers`.

`with_uncovered` replaces what no hash and no signature covers, such as web seeds and trackers. A method that replaces
more checks what it replaced.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import InitVar, dataclass, replace

from p2pqwen.errors import VerificationError
from p2pqwen.manifest.manifest import Manifest, parse_manifest  # noqa: TID251 - here they are read
from p2pqwen.manifest.proof import prove  # noqa: TID251 - and judged
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.signing.keys import PrivateKey, PublicKey
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.metainfo import Metainfo, parse_metainfo
from p2pqwen.torrent.metainfo_fields import MAX_TRACKERS, MAX_WEB_SEEDS
from p2pqwen.torrent.signature import TriedSignature, fits, is_made_by, make_signature
from p2pqwen.torrent.signature_entry import check_label
from p2pqwen.torrent.signer import SignerResult
from p2pqwen.torrent.snapshot_torrent import check_manifest
from p2pqwen.values.digest import Sha256
from p2pqwen.values.snapshot_id import SnapshotId

_ONLY_HERE = object()


@dataclass(frozen=True, slots=True)
class CheckedTorrent:
    """A torrent, its manifest (or None), what that proves, and its signatures.

    Only its methods and class methods make one; the constructor and `replace` raise `TypeError`.
    """

    metainfo: Metainfo
    manifest: Manifest | None
    provenance: Provenance
    signatures: tuple[TriedSignature, ...]
    made_by: InitVar[object] = None

    def __post_init__(self, made_by: object) -> None:
        if made_by is not _ONLY_HERE:
            raise TypeError("a checked torrent comes of `CheckedTorrent.read` or `CheckedTorrent.of`")

    @classmethod
    def read(cls, data: bytes) -> CheckedTorrent:
        """Parse and check a .torrent file; raises `FormatError`, and what `of` raises."""
        return cls.of(parse_metainfo(data))

    @classmethod
    def of(cls, metainfo: Metainfo) -> CheckedTorrent:
        """Check a parsed torrent.

        Raises `FormatError` for an invalid manifest, `VerificationError` if torrent and manifest differ or the manifest
        is not its commit's.
        """
        if metainfo.manifest is None:
            return _made(metainfo, None, Provenance.UNPROVEN)
        manifest = parse_manifest(metainfo.manifest)
        check_manifest(metainfo, manifest)
        return _made(metainfo, manifest, prove(manifest))

    @classmethod
    def around(cls, metainfo: Metainfo, manifest: Manifest) -> CheckedTorrent:
        """Embed a manifest that was made from the files here; raises `VerificationError` as `of` does."""
        check_manifest(metainfo, manifest)
        return _made(replace(metainfo, manifest=manifest.encode()), manifest, prove(manifest))

    @property
    def infohash(self) -> InfoHash:
        """The v1 and v2 infohash."""
        return self.metainfo.infohash

    @property
    def snapshot(self) -> SnapshotId | None:
        """The snapshot that the manifest names, None without a manifest."""
        return None if self.manifest is None else self.manifest.snapshot

    def tried_with(self, keys: Mapping[Sha256, PublicKey]) -> CheckedTorrent:
        """Return it after verifying, with these keys, the signatures that were not verified yet."""
        tried = tuple(self._tried(one, keys.get(one.keyid)) for one in self.signatures)
        return self if tried == self.signatures else self._with_signatures(tried)

    def signed(self, key: PrivateKey, label: str) -> CheckedTorrent:
        """Return it with one more signature, replacing any with the same label.

        Raises `VerificationError` for a torrent without a manifest, `FormatError` for an invalid label.
        """
        check_label(label)
        if self.manifest is None:
            raise VerificationError("a torrent without its manifest cannot be signed")
        signature = make_signature(self.metainfo, self.manifest, key)
        metainfo = replace(self.metainfo, signatures={**self.metainfo.signatures, label: signature})
        others = (one for one in self.signatures if one.label != label)
        tried = (*others, TriedSignature(label, signature.keyid, fits=True, made=True))
        return self._with_signatures(tuple(sorted(tried, key=lambda one: one.label)), metainfo)

    def signers(self, keyids: Container[Sha256]) -> tuple[SignerResult, ...]:
        """Return the state of every signature, sorted by label, for somebody who knows only these keys."""
        return tuple(one.known_to(keyids) for one in self.signatures)

    def with_uncovered(
        self,
        *,
        web_seeds: Sequence[str] | None = None,
        trackers: Sequence[tuple[str, ...]] | None = None,
        comment: str | None = None,
        created_by: str | None = None,
    ) -> CheckedTorrent:
        """Return it with new values of what neither the infohash nor a signature covers; None keeps the old value."""
        before = self.metainfo
        metainfo = replace(
            before,
            web_seeds=before.web_seeds if web_seeds is None else tuple(web_seeds),
            trackers=before.trackers if trackers is None else tuple(trackers),
            comment=before.comment if comment is None else comment,
            created_by=before.created_by if created_by is None else created_by,
        )
        return CheckedTorrent(metainfo, self.manifest, self.provenance, self.signatures, made_by=_ONLY_HERE)

    def with_layers(self, layers: Mapping[Sha256, bytes]) -> CheckedTorrent:
        """Return it with the piece layers that it needs and lacks; raises `FormatError` for a wrong one."""
        return self._with_signatures(self.signatures, self.metainfo.with_layers(layers))

    def with_covered_only(self) -> CheckedTorrent:
        """Return it without anything that neither a hash nor a signature covers, to rescue a damaged file."""
        metainfo = replace(self.metainfo, web_seeds=(), trackers=(), comment=None, created_by=None, extra={})
        return CheckedTorrent(metainfo, self.manifest, self.provenance, self.signatures, made_by=_ONLY_HERE)

    def without_manifest(self) -> CheckedTorrent:
        """Return it without its manifest and the signatures, which cover the manifest."""
        return _made(replace(self.metainfo, manifest=None, signatures={}), None, Provenance.UNPROVEN)

    def joined(self, other: CheckedTorrent) -> CheckedTorrent:
        """Return it with what only `other`, of the same infohash, has: see `join`."""
        if self.infohash != other.infohash:
            raise VerificationError("not the same torrent", expected=self.infohash.v2, got=other.infohash.v2)
        metainfo = join(self.metainfo, other.metainfo)
        tried = {one.label: one for one in (*other.signatures, *self.signatures)}
        return self._with_signatures(tuple(tried[label] for label in sorted(metainfo.signatures)), metainfo)

    def _with_signatures(self, tried: tuple[TriedSignature, ...], metainfo: Metainfo | None = None) -> CheckedTorrent:
        return CheckedTorrent(metainfo or self.metainfo, self.manifest, self.provenance, tried, made_by=_ONLY_HERE)

    def _tried(self, one: TriedSignature, key: PublicKey | None) -> TriedSignature:
        if not one.fits or one.made is not None or key is None or key.keyid != one.keyid:
            return one
        return replace(one, made=is_made_by(key, self.metainfo, self.metainfo.signatures[one.label]))


def _made(metainfo: Metainfo, manifest: Manifest | None, provenance: Provenance) -> CheckedTorrent:
    """Return a torrent whose manifest was checked, with signatures that are not verified yet."""
    signatures = tuple(
        TriedSignature(label, one.keyid, fits(metainfo, manifest, one))
        for label, one in sorted(metainfo.signatures.items())
    )
    return CheckedTorrent(metainfo, manifest, provenance, signatures, made_by=_ONLY_HERE)


def join(better: Metainfo, other: Metainfo) -> Metainfo:
    """Return the better torrent with what only the other has: web seeds, trackers, piece layers, signatures.

    Signatures are taken only if both have the same manifest.
    """
    web_seeds = tuple(dict.fromkeys((*better.web_seeds, *other.web_seeds)))[:MAX_WEB_SEEDS]
    named = {url for tier in better.trackers for url in tier}
    tiers = (tuple(url for url in tier if url not in named) for tier in other.trackers)
    trackers = (*better.trackers, *(tier for tier in tiers if tier))[:MAX_TRACKERS]
    same = better.manifest == other.manifest
    signatures = {**(other.signatures if same else {}), **better.signatures}
    whole = better.with_layers(other.piece_layers)
    return replace(whole, web_seeds=web_seeds, trackers=trackers, signatures=signatures)
