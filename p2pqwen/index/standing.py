"""How far a snapshot can be believed, and the one function that decides it (torrents/SPEC.md, section 12).

    proven     the manifest's rows make the git tree that the commit names: it takes no trust in anybody
    signed     a trusted publisher names this torrent as this snapshot, in its index or by signatures in the torrent
    unvouched  neither: the bytes are the torrent's, and what the torrent says of itself is all there is

That bytes have the right hashes says nothing of who chose the hashes. So what speaks for a repository where other
programs look takes an `Admission`, and nothing but a `Judgement` makes one. Whom a home trusts is an argument and is
never remembered here: a publisher who is trusted no longer vouches no longer. What counts:

1. A proof counts for the commit, not for the repository: anybody can make a commit and say whose it is. So a proof
   alone never chooses what `refs/main` is, though a person may.
2. A listing counts for the snapshot that it names, repository included, and for that infohash. Which files are LFS, and
   under which license they are, the manifest says alone: so it counts for no manifest but the one it names, one that
   proves its rows, and one that a reader makes of the bytes.
3. Signatures in a torrent count by the publisher's own threshold, like those of its index, and only around the
   manifest they sign: one stolen key of three makes no snapshot signed. They count no more for what the publisher has
   withdrawn.
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
    """A snapshot may not be laid where other programs look for it, or not in place of what is there."""


class Standing(StrEnum):
    """How far a snapshot can be believed; the words are the same wherever it is shown."""

    PROVEN = "proven"
    SIGNED = "signed"
    UNVOUCHED = "unvouched"

    @property
    def rank(self) -> int:
        """How good it is: a higher one is never replaced by a lower one."""
        return {Standing.PROVEN: 2, Standing.SIGNED: 1, Standing.UNVOUCHED: 0}[self]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a torrent says of itself, checked, whoever is trusted.

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
        """Return what a torrent shows that is taken for `snapshot`; `keyids`: whose signatures are looked at.

        `of_bytes`: its manifest is what a reader makes of the verified bytes itself.
        """
        manifest = torrent.manifest
        shown = None if manifest is None else ShownManifest(manifest.snapshot, manifest.digest, of_bytes)
        return cls(snapshot, torrent.infohash, shown, torrent.provenance, torrent.signers(keyids))

    @property
    def own_manifest(self) -> bool:
        """Tell whether the manifest is of what the torrent is taken for."""
        return self.manifest is not None and self.manifest.snapshot == self.snapshot

    @property
    def proven(self) -> bool:
        """Tell whether the manifest's rows are the commit's."""
        return self.own_manifest and self.provenance is Provenance.PROVEN

    def is_of(self, entry: Entry) -> bool:
        """Tell whether an entry lists this: the bytes, and a manifest that is no word of a stranger.

        The infohash covers the bytes alone. So the manifest is the listed one, or proven, or what the bytes make, or
        there is none.
        """
        if (entry.id, entry.infohash) != (self.snapshot, self.infohash):
            return False
        shown = self.manifest
        return shown is None or self.proven or shown.of_bytes or shown.digest == entry.manifest


@dataclass(frozen=True, slots=True)
class Vouching:
    """One publisher who vouches for a snapshot, and by what."""

    publisher: Sha256
    name: str
    by: Literal["index", "signature"]

    def to_json(self) -> dict[str, str]:
        """Return the row of `vouched_by`."""
        return {"publisher": str(self.publisher), "name": self.name, "by": self.by}


@dataclass(frozen=True, slots=True)
class Admission:
    """The leave to lay a snapshot where other programs look for it; only `Judgement.admit` makes one.

    `replaces`: it may stand in place of other content for the same commit, which a proof alone can do. `mends`: a
    damaged copy may be replaced. `names_main`: somebody who is trusted says that the commit is of this repository.
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
        """What is admitted."""
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
        """The standing as people read it."""
        if self.standing is Standing.UNVOUCHED:
            return f"{self.standing}: no publisher you trust lists it, and no git commit proves it"
        if not self.vouched_by:
            return f"{self.standing}, the files are the git commit's"
        names = ", ".join(f"the {one.by} of {one.name}" for one in self.vouched_by)
        return f"{self.standing}, by {names}" if self.standing is Standing.SIGNED else f"{self.standing}; {names}"

    def admit(self, manifest: Manifest, *, trust_unverified: bool = False) -> Admission:
        """Let the files of `manifest` speak for the snapshot; `trust_unverified` is the user's own word for them.

        Raises `NotAdmittedError` for an unvouched one without that word, and for one that is not the Hub's.
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
    """Return every key that may sign for one of them."""
    return {keyid: key for voice in voices for keyid, key in voice.keys.items()}


def judge_torrent(
    torrent: CheckedTorrent, voices: Sequence[Voice], *, of_bytes: bool, snapshot: SnapshotId | None = None
) -> Judgement | None:
    """Return the standing of a torrent as `snapshot`, None: as what its manifest names.

    Signatures count that were tried (`CheckedTorrent.tried_with`); `of_bytes` is as in `Evidence.of`.
    None where nothing says whose snapshot it is.
    """
    taken_for = torrent.snapshot if snapshot is None else snapshot
    return (
        None
        if taken_for is None
        else judge(Evidence.of(torrent, taken_for, keys_of(voices), of_bytes=of_bytes), voices)
    )


def judge(evidence: Evidence, voices: Sequence[Voice]) -> Judgement:
    """Decide a snapshot's standing from what its torrent shows and whom this home trusts at this moment."""
    vouched_by: list[Vouching] = []
    for voice in voices:
        if voice.lists(evidence):
            vouched_by.append(Vouching(voice.publisher, voice.name, "index"))
        elif evidence.own_manifest and voice.signed(evidence.snapshot, evidence.signers):
            vouched_by.append(Vouching(voice.publisher, voice.name, "signature"))
    standing = Standing.PROVEN if evidence.proven else Standing.SIGNED if vouched_by else Standing.UNVOUCHED
    return Judgement(evidence.snapshot, standing, tuple(vouched_by), made_by=_ONLY_HERE)
