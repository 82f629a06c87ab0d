"""Turn files on disk, and what is expected of them, into a manifest, a torrent and a snapshot in the library.

Shared by `preserve` from an origin and from a folder: both put files into a staging folder, hash each once, and pass
the digests here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from p2pqwen import __version__
from p2pqwen.errors import VerificationError
from p2pqwen.events import Notice, Report
from p2pqwen.library.hashing import FileDigests
from p2pqwen.library.snapshots import HeldSnapshot, Library
from p2pqwen.library.verified import Verified
from p2pqwen.manifest.git_object import blob_oid
from p2pqwen.manifest.hazards import pickle_files
from p2pqwen.manifest.lfs_pointer import Pointer, parse_pointer, pointer_oid
from p2pqwen.manifest.license import Redistribution, redistribution
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.manifest.proof import prove  # noqa: TID251 - the manifest is made here
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.manifest.warnings import warnings_of
from p2pqwen.operations.verify.file_check import pointer_in_place
from p2pqwen.operations.verify.made_of_bytes import license_in
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.layout import Layout
from p2pqwen.torrent.magnet import Magnet
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.torrent.snapshot_torrent import build_metainfo
from p2pqwen.values.digest import GitOid, Sha256
from p2pqwen.values.origin_site import OriginSite
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId

# Fetches the (path, mode, oid) rows of the commit's tree; called only when the plain modes do not give its id.
TreeRows = Callable[[], Sequence[tuple[RepoPath, str, GitOid]]]


@dataclass(frozen=True, slots=True)
class ExpectedFile:
    """What a source says of a file before it is read; None if it does not say.

    `git_oid` is the id in the tree: of the content, or of the LFS pointer. `pointer` is that pointer's text if it may
    not be the canonical one. `sha256` is the content's if the file is not LFS.
    """

    path: RepoPath
    size: int | None = None
    git_oid: GitOid | None = None
    lfs_sha256: Sha256 | None = None
    lfs: bool | None = None
    mode: str = "100644"
    pointer: str | None = None
    sha256: Sha256 | None = None


@dataclass(frozen=True, slots=True)
class Preserved:
    """A snapshot in the library and the facts about it. `unchanged`: it was already there.

    `bytes_downloaded` did not come from this disk. `shown`: whether its own origin shows it (`Listing`).
    """

    held: HeldSnapshot
    manifest: Manifest
    torrent: CheckedTorrent
    redistribution: Redistribution
    hazards: tuple[RepoPath, ...]
    unchanged: bool = False
    bytes_downloaded: int = 0
    shown: bool | None = True

    @property
    def metainfo(self) -> Metainfo:
        """The torrent's metainfo."""
        return self.torrent.metainfo

    @property
    def provenance(self) -> Provenance:
        """What the manifest proves."""
        return self.torrent.provenance

    @property
    def magnet(self) -> Magnet:
        """The snapshot's magnet link, with its web seeds."""
        size = self.metainfo.layout.total_size
        return Magnet.of(self.metainfo.infohash, str(self.held.id), size, web_seeds=self.metainfo.web_seeds)


def row_of(expected: ExpectedFile, digests: FileDigests) -> FileRow:
    """Compare a file's digests with what its source said of it and return its manifest row.

    Raises `VerificationError` that names the file, expected and got, also for an LFS pointer in place of the content.
    """
    name = expected.path.text
    odd = _odd_pointer(expected, digests)
    pointer = pointer_oid(digests.sha256, digests.size) if odd is None else blob_oid(odd.encode())
    # If LFS was only guessed (.gitattributes), a pointer is a file that was never fetched.
    known = expected.lfs_sha256 == digests.sha256 or expected.git_oid == pointer
    if (wrong := pointer_in_place(digests, lfs=known)) is not None:
        raise VerificationError(
            f"{name} is an LFS pointer, not the file itself",
            expected=wrong.expected,
            got=wrong.got,
            hint="fetch the real content first, for instance with `git lfs pull`",
        )
    if expected.size not in {None, digests.size}:
        raise VerificationError(f"{name} has the wrong size", expected=expected.size, got=digests.size)
    for listed in (expected.lfs_sha256, expected.sha256):
        if listed not in {None, digests.sha256}:
            raise VerificationError(f"{name} has the wrong SHA-256", expected=listed, got=digests.sha256)
    lfs = expected.lfs if expected.lfs is not None else expected.git_oid == pointer
    git_oid = pointer if lfs else digests.git_blob
    if git_oid is None or expected.git_oid not in {None, git_oid}:
        raise VerificationError(f"{name} has the wrong git blob id", expected=expected.git_oid, got=git_oid)
    return FileRow(expected.path, digests.size, digests.sha256, git_oid, lfs, expected.mode, odd)


def pointer_texts(blobs: Mapping[GitOid, bytes]) -> dict[GitOid, str]:
    """Return blobs that may be LFS pointers as text for a manifest; those that are not UTF-8 are left out."""
    texts = {}
    for oid, data in blobs.items():
        with suppress(UnicodeDecodeError):
            texts[oid] = data.decode()
    return texts


def _odd_pointer(expected: ExpectedFile, digests: FileDigests) -> str | None:
    """Return the pointer's text if git holds another than the canonical one; raises `VerificationError`.

    A text that is not a pointer is a plain file's content, provided that it is the content's own blob.
    """
    text = expected.pointer
    if text is None or expected.git_oid in {digests.git_blob, pointer_oid(digests.sha256, digests.size)}:
        return None
    if (named := parse_pointer(text.encode())) is None:
        return None
    if named != Pointer(str(digests.sha256), digests.size):
        if digests.pointer is not None:
            return None  # a file that was never fetched, which is reported next
        raise VerificationError(
            f"{expected.path} is not what its LFS pointer names",
            expected=f"{named.size} bytes with SHA-256 {named.oid}",
            got=f"{digests.size} bytes with SHA-256 {digests.sha256}",
        )
    return text


def make_manifest(
    snapshot: SnapshotId,
    rows: Sequence[FileRow],
    staged: Path,
    *,
    commit_object: bytes | None,
    tree_rows: TreeRows | None,
) -> Manifest:
    """Return the manifest; with a commit object it is proven, or this raises `VerificationError`."""
    manifest = Manifest(
        snapshot=snapshot,
        commit_object=None,
        license=license_in(staged, rows),
        files=tuple(sorted(rows, key=lambda row: row.path.sort_key)),
    )
    if commit_object is None:
        return manifest
    proven = replace(manifest, commit_object=commit_object)
    try:
        prove(proven)
    except VerificationError:
        # The Hub's file list has no modes: an executable file gives another tree. Only git can tell.
        if tree_rows is None:
            raise
        proven = replace(proven, files=_with_modes(manifest.files, tree_rows()))
        prove(proven)
    return proven


def make_torrent(
    manifest: Manifest, digests: Mapping[RepoPath, FileDigests], layout: Layout, site: OriginSite
) -> CheckedTorrent:
    """Return the torrent of recipe 1 with the manifest inside and its origin as its web seed."""
    metainfo = build_metainfo(
        manifest,
        layout,
        {path: one.hashes for path, one in digests.items()},
        web_seeds=(site.web_seeds(manifest.snapshot.repo).whole,),
        created_by=f"p2pqwen/{__version__}",
    )
    return CheckedTorrent.around(metainfo, manifest)


def describe(
    held: HeldSnapshot, manifest: Manifest, torrent: CheckedTorrent, report: Report, *, unchanged: bool
) -> Preserved:
    """Sum up a preserved snapshot and warn of what its holder must know."""
    preserved = Preserved(
        held=held,
        manifest=manifest,
        torrent=torrent,
        redistribution=redistribution(manifest.license),
        hazards=pickle_files(row.path for row in manifest.files),
        unchanged=unchanged,
    )
    for text in warnings_of(manifest, torrent.provenance):
        report(Notice("warning", text))
    return preserved


def install(
    library: Library, manifest: Manifest, torrent: CheckedTorrent, digests: Mapping[RepoPath, FileDigests]
) -> HeldSnapshot:
    """Move the staged snapshot into the library with its torrent, and record how its files looked when read."""
    looks = {path: one.look for path, one in digests.items() if one.look is not None}
    return library.install(manifest.snapshot, torrent, Verified(torrent.infohash.v2, looks))


def _with_modes(files: Sequence[FileRow], rows: Sequence[tuple[RepoPath, str, GitOid]]) -> tuple[FileRow, ...]:
    modes = {path: mode for path, mode, _ in rows}
    missing = [row.path.text for row in files if row.path not in modes]
    if missing or len(modes) != len(files):
        extra = sorted(path.text for path in set(modes) - {row.path for row in files})
        raise VerificationError(
            "the files are not those of the commit's tree",
            expected=f"{len(modes)} files" + (f" with {extra[0]}" if extra else ""),
            got=f"{len(files)} files" + (f" with {missing[0]}" if missing else ""),
        )
    return tuple(replace(row, mode=modes[row.path]) for row in files)
