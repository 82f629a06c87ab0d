"""What vouches for a snapshot, and the one function that decides it (torrents/SPEC.md, section 12).

    proven     the manifest's rows make the git tree that the commit names: that takes no trust in anybody
    signed     a trusted publisher names this torrent as this snapshot, in its index or by signatures in the torrent
    unvouched  neither: the bytes are the torrent's, and only the torrent's own claims say what they are

Correct hashes do not show who chose the hashes. So a snapshot is laid where other programs look for it only with an
`Admission`, which only a `Judgement` makes. The trusted publishers are an argument and are never stored here: a
publisher that is no longer trusted no longer vouches. What counts:

1. A proof counts for the commit, not for the repository: anybody can make a commit and claim any repository. So a proof
   alone never decides `refs/main`, though a person may.
2. A listing counts for the snapshot that it names, repository included, and for that infohash. Only the manifest says
   which files are LFS, and under which license they are. So a listing counts only with the manifest that it names, one
   that is proven, or one that the reader makes from the bytes.
3. Signatures in a torrent count by the publisher's own threshold, like those of its index, and only for the manifest
   that they sign: one stolen key of three makes no snapshot signed. They do not count for a snapshot that the publisher
   has withdrawn.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from p2pqwen.errors import VerificationError
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.manifest.shown import ShownManifest
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.values.digest import Sha256
from p2pqwen.values.snapshot_id import OriginName, SnapshotId

if TYPE_CHECKING:
    from p2pqwen.index.entry import Entry
    from p2pqwen.index.voice import Voice
    from p2pqwen.manifest.manifest import FileRow, Manifest
    from p2pqwen.signing.keys import PublicKey
    from p2pqwen.torrent.checked import CheckedTorrent
    from p2pqwen.torrent.signer import SignerResult

_ONLY_HERE = object()


class NotAdmittedError(VerificationError):
    """A snapshot may not be laid where other programs look for it, or may not replace what is there."""


class Standing(StrEnum):
    """What vouches for a snapshot; the words are the same wherever it is shown."""

    PROVEN = "proven"
    SIGNED = "signed"
    UNVOUCHED = "unvouched"

    @property
    def rank(self) -> int:
        """Its rank: a higher one is never replaced by a lower one."""
        return {Standing.PROVEN: 2, Standing.SIGNED: 1, Standing.UNVOUCHED: 0}[self]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a checked torrent shows by itself, without any trusted publisher.

    `snapshot` is what it is taken for; `manifest` is its manifest, None without one, and `provenance` what that
    proves. `signers` are its signatures, tried with the keys of trusted publishers.
    """

    snapshot: SnapshotId
    infohash: InfoHash
    manifest: ShownManifest | None
    provenance: Provenance
    signers: tuple[SignerResult, ...] = ()

    @classmethod
    def of(
        cls, torrent: CheckedTorrent, snapshot: SnapshotId, keyids: Container[Sha256], *, of_bytes: bool
    ) -> Evidence:
        """Return what a torrent that is taken for `snapshot` shows; `keyids`: the keys whose signatures count.

        `of_bytes`: its manifest was made here from the verified bytes.
        """
        manifest = torrent.manifest
        shown = None if manifest is None else ShownManifest(manifest.snapshot, manifest.digest, of_bytes)
        return cls(snapshot, torrent.infohash, shown, torrent.provenance, torrent.signers(keyids))

    @property
    def own_manifest(self) -> bool:
        """Tell whether the manifest is of the snapshot that the torrent is taken for."""
        return self.manifest is not None and self.manifest.snapshot == self.snapshot

    @property
    def proven(self) -> bool:
        """Tell whether the manifest's rows are the commit's."""
        return self.own_manifest and self.provenance is Provenance.PROVEN

    def is_of(self, entry: Entry) -> bool:
        """Tell whether an entry lists this: the bytes, and a manifest that is not a stranger's claim.

        The infohash covers only the bytes. So the manifest must be the listed one, or proven, or made here from the
        bytes, or missing.
        """
        if (entry.id, entry.infohash) != (self.snapshot, self.infohash):
            return False
        shown = self.manifest
        return shown is None or self.proven or shown.of_bytes or shown.digest == entry.manifest


@dataclass(frozen=True, slots=True)
class Vouching:
    """A publisher that vouches for a snapshot, and by what."""

    publisher: Sha256
    name: str
    by: Literal["index", "signature"]

    def to_json(self) -> dict[str, str]:
        """Return the row of `vouched_by`."""
        return {"publisher": str(self.publisher), "name": self.name, "by": self.by}


@dataclass(frozen=True, slots=True)
class Admission:
    """The permission to lay a snapshot where other programs look for it; only `Judgement.admit` makes one.

    `replaces`: it may replace other content for the same commit, which takes a proof. `mends`: it may replace a damaged
    copy. `names_main`: a trusted publisher, or the user, says that the commit is of this repository.
    """

    manifest: Manifest
    standing: Standing
    replaces: bool
    mends: bool
    names_main: bool
    made_by: InitVar[object] = None

    def __post_init__(self, made_by: object) -> None:
        if made_by is not _ONLY_HERE:
            raise TypeError("an admission comes of a judgement")

    @property
    def snapshot(self) -> SnapshotId:
        """The admitted snapshot."""
        return self.manifest.snapshot

    @property
    def rows(self) -> tuple[FileRow, ...]:
        """Its files."""
        return self.manifest.files


@dataclass(frozen=True, slots=True)
class Judgement:
    """A snapshot's standing and who vouches for it; only `judge` makes one."""

    snapshot: SnapshotId
    standing: Standing
    vouched_by: tuple[Vouching, ...]
    made_by: InitVar[object] = None

    def __post_init__(self, made_by: object) -> None:
        if made_by is not _ONLY_HERE:
            raise TypeError("a judgement comes of `judge`")

    @property
    def words(self) -> str:
        """The standing in words for people."""
        if self.standing is Standing.UNVOUCHED:
            return f"{self.standing}: no publisher you trust lists it, and no git commit proves it"
        if not self.vouched_by:
            return f"{self.standing}, the files are the git commit's"
        names = ", ".join(f"the {one.by} of {one.name}" for one in self.vouched_by)
        return f"{self.standing}, by {names}" if self.standing is Standing.SIGNED else f"{self.standing}; {names}"

    def admit(self, manifest: Manifest, *, trust_unverified: bool = False) -> Admission:
        """Admit the files of `manifest` as the snapshot; `trust_unverified`: the user vouches for them.

        Raises `NotAdmittedError` for an unvouched snapshot without that, and for one of another origin than the Hub.
        """
        if manifest.snapshot != self.snapshot:
            raise ValueError("the manifest is of another snapshot than was judged")
        if (origin := self.snapshot.repo.kind.origin) is not OriginName.HUB:
            raise NotAdmittedError(f"{self.snapshot} is of {origin}: other programs would take it for the Hub's")
        vouched = self.standing is not Standing.UNVOUCHED
        if not vouched and not trust_unverified:
            raise NotAdmittedError(
                f"{self.snapshot} is unvouched: no publisher you trust lists its torrent, and no git commit proves it",
                hint="`p2pqwen trust add` a publisher that lists it and fetch it again, or use --trust-unverified",
            )
        return Admission(
            manifest,
            self.standing,
            replaces=self.standing is Standing.PROVEN,
            mends=vouched,
            names_main=bool(self.vouched_by) or not vouched,
            made_by=_ONLY_HERE,
        )


def keys_of(voices: Iterable[Voice]) -> Mapping[Sha256, PublicKey]:
    """Return every key that may sign for one of these publishers."""
    return {keyid: key for voice in voices for keyid, key in voice.keys.items()}


def judge_torrent(
    torrent: CheckedTorrent, voices: Sequence[Voice], *, of_bytes: bool, snapshot: SnapshotId | None = None
) -> Judgement | None:
    """Return the standing of a torrent as `snapshot` (None: as the one that its manifest names).

    Only signatures that were tried count (`CheckedTorrent.tried_with`); `of_bytes` is as in `Evidence.of`. Returns None
    if nothing says which snapshot it is.
    """
    taken_for = torrent.snapshot if snapshot is None else snapshot
    return (
        None
        if taken_for is None
        else judge(Evidence.of(torrent, taken_for, keys_of(voices), of_bytes=of_bytes), voices)
    )


def judge(evidence: Evidence, voices: Sequence[Voice]) -> Judgement:
    """Decide a snapshot's standing from what its torrent shows and the publishers that this home trusts now."""
    vouched_by: list[Vouching] = []
    for voice in voices:
        if voice.lists(evidence):
            vouched_by.append(Vouching(voice.publisher, voice.name, "index"))
        elif evidence.own_manifest and voice.signed(evidence.snapshot, evidence.signers):
            vouched_by.append(Vouching(voice.publisher, voice.name, "signature"))
    standing = Standing.PROVEN if evidence.proven else Standing.SIGNED if vouched_by else Standing.UNVOUCHED
    return Judgement(evidence.snapshot, standing, tuple(vouched_by), made_by=_ONLY_HERE)
