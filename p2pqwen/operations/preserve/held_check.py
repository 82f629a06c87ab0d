"""Check that a held snapshot is what its source lists, before the user is told that there is nothing to do.

A snapshot may have come from anywhere: a magnet link that claims a repository and its commit, a folder. Its name
therefore says nothing about its files. The rows of its manifest are compared with what the source lists (names, sizes,
git blob ids, SHA-256 of LFS). The files must exist with their sizes, and must not be LFS pointers or known to be
damaged. They are read only if they changed since they were verified; `verify` finds silent rot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from p2pqwen.errors import P2pqwenError, VerificationError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.library import durable
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.operations.preserve.build import ExpectedFile, TreeRows, make_manifest
from p2pqwen.operations.verify.file_check import Difference, pointer_files
from p2pqwen.operations.verify.verify import verify_again
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId

SHOWN = 5

KnownDamage = Callable[[HeldSnapshot], Sequence[str]]
"""Returns the paths of a held snapshot's files that were found damaged and not mended."""

Differences = dict[RepoPath, Difference]


def nothing_known(_: HeldSnapshot) -> Sequence[str]:
    """Return no damage, because nothing has looked for it."""
    return ()


@dataclass(frozen=True, slots=True)
class HeldContent:
    """A complete held snapshot with its torrent and manifest."""

    held: HeldSnapshot
    torrent: CheckedTorrent
    manifest: Manifest

    @property
    def metainfo(self) -> Metainfo:
        """The torrent's metainfo."""
        return self.torrent.metainfo

    @property
    def provenance(self) -> Provenance:
        """What the manifest proves."""
        return self.torrent.provenance


def complete_snapshot(library: Library, snapshot: SnapshotId) -> HeldSnapshot | None:
    """Return the snapshot if it is complete in the library; raises `P2pqwenError` if it is there in part."""
    held = library.get(snapshot)
    if held is not None and held.state is not State.COMPLETE:
        raise P2pqwenError(
            f"{snapshot} is in the library but {held.state}",
            hint=f"finish it with `p2pqwen fetch {snapshot}` or drop it with `p2pqwen remove {snapshot}`",
        )
    return held


def look_at_held(
    held: HeldSnapshot, library: Library, known_damage: KnownDamage = nothing_known, report: Report = ignore
) -> HeldContent:
    """Read a held snapshot's torrent and look at its files; raises `VerificationError` that names what is wrong.

    This is cheap unless files changed since they were verified. Also raises `FormatError` for a torrent that cannot be
    read, and `DiskError`.
    """
    mend = f"mend it with `p2pqwen verify {held.id} --repair`"
    if (damage := held.torrent_damage()) is not None:
        expected, got = damage
        raise VerificationError(f"the torrent of {held.id} is damaged", expected=expected, got=got, hint=mend)
    torrent = held.torrent()
    if (manifest := torrent.manifest) is None:
        raise VerificationError(f"the torrent of {held.id} carries no manifest of it", hint=_drop(held.id))
    with durable.disk_errors(f"look at {held.folder}"):
        if wrong := dict(_on_disk(held, manifest)):
            raise _damaged(held.id, wrong, mend)
        if wrong := pointer_files(held.folder, manifest.files):
            raise _damaged(held.id, wrong, _drop(held.id))
    if bad := known_damage(held):
        raise VerificationError(f"{held.id} is held, but is damaged: {_names(bad)}", hint=mend)
    require_unchanged(held, torrent.metainfo, library, report)
    return HeldContent(held, torrent, manifest)


def require_unchanged(held: HeldSnapshot, metainfo: Metainfo, library: Library, report: Report = ignore) -> None:
    """Read a held snapshot again if its files do not look as they did when they were verified.

    Raises `VerificationError` that names the wrong files, `DiskError`.
    """
    if library.state(held, metainfo.infohash.v2, metainfo.layout.total_size) is not State.CHANGED:
        return
    if bad := verify_again(held, library, (), report).bad:
        raise VerificationError(
            f"{held.id} is held, but damaged: {_names([one.path for one in bad])}",
            expected=bad[0].expected,
            got=bad[0].got,
            hint=f"mend it with `p2pqwen verify {held.id} --repair`",
        )


def require_same(content: HeldContent, expected: Iterable[ExpectedFile], source: str, *, may_drop: bool = True) -> None:
    """Raise `VerificationError`, which names the files, if a source lists other content for the snapshot.

    `may_drop`: the user chose the source, so its word may be a reason to drop an unproven snapshot.
    """
    wrong = compare_rows(content.manifest.files, expected)
    if wrong:
        raise differs_from(content, wrong, source, may_drop=may_drop)


def differs_from(content: HeldContent, wrong: Differences, source: str, *, may_drop: bool = True) -> VerificationError:
    """Return the error for a held snapshot that is not what a source says, with a way out."""
    snapshot = content.held.id
    hint: str | None = None
    if content.provenance is Provenance.PROVEN:
        hint = f"the held copy has the files of commit {snapshot.commit}: `p2pqwen verify {snapshot}` reads them again"
    elif may_drop:
        hint = f"the held copy is not proven to be that commit; {_drop(snapshot)}"
    first = wrong[min(wrong)]
    return VerificationError(
        f"{snapshot} is held, but {source} has other files under that name: {_names(_paths(wrong))}",
        expected=f"{first.what} {first.expected}",
        got=f"{first.what} {first.got}",
        hint=hint,
    )


def compare_rows(rows: Iterable[FileRow], expected: Iterable[ExpectedFile]) -> Differences:
    """Compare a manifest's rows with everything that a source lists; no file is read."""
    listed = {file.path: file for file in expected}
    held = {row.path: row for row in rows}
    wrong = {path: Difference("file", "in the list", "not held") for path in listed.keys() - held.keys()}
    wrong |= {path: Difference("file", "not in the list", "held") for path in held.keys() - listed.keys()}
    for path in listed.keys() & held.keys():
        if (difference := _compare(held[path], listed[path])) is not None:
            wrong[path] = difference
    return wrong


def prove_held(
    content: HeldContent, library: Library, commit_object: bytes, tree_rows: TreeRows | None, report: Report
) -> HeldContent:
    """Give an unproven held snapshot its commit object, which proves it.

    Its torrent is rewritten with the proven manifest, under the same infohash. Signatures over the unproven manifest
    are dropped, since a proof needs none. Raises `VerificationError` if the files are not that commit's, `DiskError`.
    """
    held = content.held
    rows = content.manifest.files
    manifest = make_manifest(held.id, rows, held.folder, commit_object=commit_object, tree_rows=tree_rows)
    torrent = CheckedTorrent.around(replace(content.metainfo, signatures={}), manifest)
    library.replace_torrent(held.id, torrent)
    report(Notice("info", f"{held.id} was unproven and is proven now: its files are those of the commit"))
    return HeldContent(held, torrent, manifest)


def _compare(row: FileRow, listed: ExpectedFile) -> Difference | None:
    told = (
        ("size", listed.size, row.size),
        ("LFS", None if listed.lfs is None else _yes(listed.lfs), _yes(row.lfs)),
        ("SHA-256", listed.lfs_sha256 or listed.sha256, row.sha256),
        ("git blob id", listed.git_oid, row.git_oid),
    )
    return next(
        (Difference(what, str(want), str(got)) for what, want, got in told if want is not None and want != got), None
    )


def _yes(value: bool) -> str:  # noqa: FBT001 - it is printed
    return "yes" if value else "no"


def _on_disk(held: HeldSnapshot, manifest: Manifest) -> Iterator[tuple[RepoPath, Difference]]:
    for row in manifest.files:
        path = held.folder / row.path.text
        if not path.is_file() or path.is_symlink():
            yield row.path, Difference("size", f"{row.size} bytes", "missing")
        elif (size := path.stat().st_size) != row.size:
            yield row.path, Difference("size", f"{row.size} bytes", f"{size} bytes")


def _damaged(snapshot: SnapshotId, wrong: Differences, hint: str) -> VerificationError:
    first = wrong[min(wrong)]
    return VerificationError(
        f"{snapshot} is held, but damaged: {_names(_paths(wrong))}", expected=first.expected, got=first.got, hint=hint
    )


def _drop(snapshot: SnapshotId) -> str:
    return f"drop it with `p2pqwen remove {snapshot}`, then preserve it again"


def _paths(wrong: Differences) -> list[str]:
    return [path.text for path in sorted(wrong)]


def _names(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(paths[:SHOWN]) + more
