"""Complete a .torrent that another client saved, from a folder that has all its files.

Such a file may lack piece layers and the manifest. Both can be computed from the files, once these match the v2 root
that the torrent has for each. The manifest made this way is unproven, and its repository name is a claim.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from p2pqwen.containment import first_of
from p2pqwen.errors import NotFoundError, P2pqwenError, VerificationError, about
from p2pqwen.events import Notice, Report
from p2pqwen.library import durable
from p2pqwen.library.hashing import Digester, FileDigests, hash_files
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.operations.fetch.folder_match import FolderFiles
from p2pqwen.operations.fetch.wanted_files import layers_of, rebuild_manifest
from p2pqwen.operations.indexes.lookup import find_entries
from p2pqwen.operations.verify.file_check import difference
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.comment import claimed_snapshot, comment_of
from p2pqwen.torrent.limits import MAX_TORRENT_BYTES
from p2pqwen.torrent.metainfo import Metainfo, read_metainfo
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from p2pqwen.values.snapshot_place import cache_folder


def read_whole(
    path: Path,
    folders: Sequence[FolderFiles],
    hub_cache: Path | None,
    publishers: Sequence[TrustedPublisher],
    *,
    repo: RepoId | None,
    report: Report,
) -> CheckedTorrent:
    """Read a torrent that a user named, and compute what it lacks from files below `folders` or in the `hub_cache`.

    `repo` names its repository, if it has no manifest. Raises `FormatError`, `VerificationError` if its repository is
    unknown, `NotFoundError` if no folder has all its files, `DiskError`.
    """
    with about(path):
        metainfo = read_metainfo(durable.read(path, max_bytes=MAX_TORRENT_BYTES))
    if metainfo.manifest is not None and metainfo.has_all_layers:
        return CheckedTorrent.of(metainfo)
    snapshot = _whose(metainfo, publishers, repo)
    if metainfo.manifest is None and snapshot is None:
        raise VerificationError(
            f"{path} carries no manifest, so it does not say whose files it describes", hint="name it: --repo ORG/MODEL"
        )
    roots = [root for files in folders for root in files.roots_of(metainfo.layout)]
    if hub_cache is not None and snapshot is not None:
        roots += _in_cache(hub_cache, snapshot)

    def failed(root: Path, error: P2pqwenError) -> None:
        report(Notice("warning", f"{root}: {error.message}"))

    whole = first_of(roots, lambda root: _made_whole(metainfo, snapshot, root), failed=failed)
    if whole is None:
        lacking = "manifest" if metainfo.manifest is None else "piece layers"
        raise NotFoundError(
            f"{path} carries no {lacking}, and no folder here has all its files to make them of",
            hint=f"`p2pqwen fetch {path}` takes it, and brings what is missing",
        )
    return whole


def _whose(metainfo: Metainfo, publishers: Sequence[TrustedPublisher], repo: RepoId | None) -> SnapshotId | None:
    if repo is not None:
        return SnapshotId(repo, metainfo.commit)
    listed = find_entries(publishers, metainfo.infohash)
    return listed[0].entry.id if listed else claimed_snapshot(metainfo)


def _in_cache(hub_cache: Path, snapshot: SnapshotId) -> Iterable[Path]:
    folder = hub_cache / cache_folder(snapshot.repo) / "snapshots" / str(snapshot.commit)
    return [folder] if folder.is_dir() else []


def _made_whole(metainfo: Metainfo, snapshot: SnapshotId | None, root: Path) -> CheckedTorrent:
    """Return the torrent completed from the files below `root`; raises `VerificationError`, `DiskError`."""
    layout = metainfo.layout
    digests = dict(hash_files(root, layout, only={file.path for file in layout.files if file.size}))
    digests |= {file.path: _empty(root / file.path.text) for file in layout.files if not file.size}
    for index, file in enumerate(layout.files):
        if file.size and (problem := difference(metainfo, index, None, digests[file.path])) is not None:
            raise problem.error(file.path)
    whole = CheckedTorrent.of(metainfo.with_layers(layers_of(digests)))
    if snapshot is None or whole.manifest is not None:
        return whole
    named = whole.with_uncovered(comment=metainfo.comment or comment_of(snapshot))
    return CheckedTorrent.around(named.metainfo, rebuild_manifest(snapshot, metainfo, digests, root))


def _empty(path: Path) -> FileDigests:
    return Digester(0, piece_length=None, padded=False, git_blob=True).finish(path)
