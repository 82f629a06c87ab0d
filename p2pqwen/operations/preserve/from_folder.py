"""Preserve a snapshot that is already in a folder: a clone, an `hf download` folder, a snapshot of the cache."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from p2pqwen.errors import NetworkError, NotFoundError, UsageError, VerificationError
from p2pqwen.events import Notice, Progress, Report, ignore
from p2pqwen.hub.git_attributes import lfs_paths
from p2pqwen.library import durable
from p2pqwen.library.folders import bytes_to_write
from p2pqwen.library.hashing import Digester, FileChangedError, FileDigests, hash_files
from p2pqwen.library.linking import place
from p2pqwen.library.snapshots import Library
from p2pqwen.manifest.git_object import LINK_MODE
from p2pqwen.manifest.lfs_pointer import pointer_oid
from p2pqwen.manifest.license import license_of_readme
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.operations.preserve.build import (
    ExpectedFile,
    Preserved,
    describe,
    install,
    make_manifest,
    make_torrent,
    pointer_texts,
    row_of,
)
from p2pqwen.operations.preserve.early_license import show_license
from p2pqwen.operations.preserve.folder_content import (
    FolderCommit,
    FolderFile,
    folder_file,
    git_mode,
    list_files,
    payload,
    with_line_ends,
)
from p2pqwen.operations.preserve.from_origin import describe_held, hinting_at_hard_links
from p2pqwen.operations.preserve.held_check import (
    HeldContent,
    complete_snapshot,
    differs_from,
    look_at_held,
    prove_held,
    require_same,
)
from p2pqwen.operations.preserve.second_copy import announce_second_copy
from p2pqwen.operations.verify.file_check import difference
from p2pqwen.operations.verify.made_of_bytes import MAX_README_SIZE
from p2pqwen.torrent.layout import Layout
from p2pqwen.values.digest import CommitId, GitOid
from p2pqwen.values.origin_site import OriginSite
from p2pqwen.values.repo_path import RepoPath, refuse_clashes
from p2pqwen.values.snapshot_id import SnapshotId

_ATTRIBUTES = RepoPath(".gitattributes")
MAX_ATTRIBUTES_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class GitSource:
    """The functions that read one commit from a folder or a URL; see hub/git_commit.py.

    `asked`: the user named the source. One that is merely there (`DIR/.git`) may lack the commit.
    """

    commit_object: Callable[[CommitId], bytes]
    tree_rows: Callable[[CommitId], Sequence[tuple[RepoPath, str, GitOid]]]
    small_blobs: Callable[[CommitId, Collection[GitOid]], Mapping[GitOid, bytes]]
    asked: bool = True


def preserve_folder(
    folder: Path,
    snapshot: SnapshotId,
    *,
    git: GitSource | None,
    library: Library,
    site: OriginSite,
    hard_links: bool = False,
    licenses: Sequence[str] = (),
    report: Report = ignore,
) -> Preserved:
    """Put the files of `folder` into the library as `snapshot`: reflinks if the file system has them, else copies.

    `hard_links`: second names instead of copies. Nothing is written through them, but their link counts rise.
    `licenses`: globs for the wanted licenses, empty for any.
    With `git`, every file is compared with the commit's tree, and the provenance is proven. Raises `UsageError`,
    `VerificationError` (a file differs from the commit's, is missing, extra, an LFS pointer, or changing),
    `FormatError` (a name or link that cannot be preserved), `NotFoundError`, `DiskError`.
    """
    if not folder.exists():
        raise UsageError(f"no folder {folder}")
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    if library.contains(folder):
        raise UsageError(f"{folder} is inside the library itself")
    found = dict(list_files(folder))
    if not found:
        raise NotFoundError(f"{folder} holds no files")
    with durable.lock(library.lock_path(snapshot)):
        commit = _commit(snapshot, git, report)
        held = complete_snapshot(library, snapshot)
        content = None if held is None else look_at_held(held, library, report=report)
        paths = payload(found, commit, content, report)
        refuse_clashes(paths)
        links = _links(paths, commit, content)
        sources = {path: folder_file(file, folder, as_link=path in links) for path, file in paths.items()}
        if commit.rows is not None:
            sources = with_line_ends(sources, commit.rows, report)
        expected = _expectations(snapshot, sources, commit, links)
        if content is not None:
            known = _check_held(content, folder, sources, expected, commit, report)
            if commit.raw is not None and known.provenance is not Provenance.PROVEN:
                known = _prove_held(known, library, commit, expected, report)
            return describe_held(known, report)
        _show_license(snapshot, sources, licenses, report)
        needed = bytes_to_write(((source.size, source.file) for source in sources.values()), hard_links=hard_links)
        with hinting_at_hard_links(applies=not hard_links):
            staged = library.stage(snapshot, needed, files=sources)
        try:
            with hinting_at_hard_links(applies=not hard_links):
                library.require_room(staged, needed(staged))
            rows = ((one.size, one.file) for one in sources.values() if one.file is not None)
            announce_second_copy(snapshot, rows, staged, hard_links=hard_links, report=report)
            _place_all(sources, staged, hard_links=hard_links)
            blobs = None if git is None or commit.rows is None else partial(git.small_blobs, snapshot.commit)
            return _build(snapshot, expected, staged, commit, library, site, blobs, report)
        except BaseException:
            library.discard_stage(snapshot)  # placing again costs nothing; half a snapshot is of no use
            raise


def _show_license(
    snapshot: SnapshotId, sources: Mapping[RepoPath, FolderFile], licenses: Sequence[str], report: Report
) -> None:
    readme = sources.get(RepoPath("README.md"))
    named = None
    if readme is not None and readme.size <= MAX_README_SIZE:
        with durable.disk_errors(f"read {readme.file}"):
            named = license_of_readme(readme.text if readme.file is None else readme.file.read_bytes())
    show_license(snapshot, named, sum(source.size for source in sources.values()), licenses, report)


def _check_held(
    content: HeldContent,
    folder: Path,
    sources: Mapping[RepoPath, FolderFile],
    expected: Mapping[RepoPath, ExpectedFile],
    commit: FolderCommit,
    report: Report,
) -> HeldContent:
    """Compare what is held with the commit's tree or, without git, with the folder's own bytes."""
    if commit.rows is not None:
        require_same(content, expected.values(), "git")
        return content
    sized = [replace(file, size=sources[path].size, lfs=None) for path, file in expected.items()]
    require_same(content, sized, str(folder))
    lfs = [row.path for row in content.manifest.files if row.lfs]
    layout = content.metainfo.layout
    files = {path for path, source in sources.items() if source.file is not None}
    on_bytes = _counter(content.manifest.total_size, report)
    digests = {
        **hash_files(folder, layout, only=files, lfs=lfs, on_bytes=on_bytes),
        **_link_digests(sources, layout, folder),
    }
    rows = {row.path: row for row in content.manifest.files}
    wrong = {
        file.path: found
        for index, file in enumerate(content.metainfo.files)
        if (found := difference(content.metainfo, index, rows[file.path], digests[file.path])) is not None
    }
    if wrong:
        raise differs_from(content, wrong, str(folder))
    return content


def _link_digests(sources: Mapping[RepoPath, FolderFile], layout: Layout, folder: Path) -> dict[RepoPath, FileDigests]:
    """Return the digests of links whose text is the content."""
    digests = {}
    for index, file in enumerate(layout.files):
        if (source := sources[file.path]).file is None:
            padded = layout.pad_after(index) > 0
            digester = Digester(source.size, piece_length=layout.piece_length, padded=padded, git_blob=True)
            digester.update(memoryview(source.text))
            digests[file.path] = digester.finish(folder / file.path.text)
    return digests


def _build(
    snapshot: SnapshotId,
    expected: Mapping[RepoPath, ExpectedFile],
    staged: Path,
    commit: FolderCommit,
    library: Library,
    site: OriginSite,
    blobs: Callable[[Collection[GitOid]], Mapping[GitOid, bytes]] | None,
    report: Report,
) -> Preserved:
    layout = Layout.of((path, (staged / path.text).stat().st_size) for path in expected)
    lfs = {path for path, file in expected.items() if file.lfs}
    digests = hash_files(staged, layout, lfs=lfs, on_bytes=_counter(layout.total_size, report))
    if blobs is not None:
        expected = _with_pointers(expected, digests, blobs, report)
    rows = [row_of(file, digests[path]) for path, file in expected.items()]
    manifest = _manifest(snapshot, rows, staged, commit, report)
    torrent = make_torrent(manifest, digests, layout, site)
    return describe(install(library, manifest, torrent, digests), manifest, torrent, report, unchanged=False)


def _manifest(
    snapshot: SnapshotId, rows: Sequence[FileRow], staged: Path, commit: FolderCommit, report: Report
) -> Manifest:
    try:
        return make_manifest(snapshot, rows, staged, commit_object=commit.raw, tree_rows=None)
    except VerificationError as error:
        if commit.rows is not None:
            raise  # git has said what every file must be
        report(Notice("warning", f"the commit object proves nothing: {error.message}"))
        return make_manifest(snapshot, rows, staged, commit_object=None, tree_rows=None)


def _prove_held(
    content: HeldContent,
    library: Library,
    commit: FolderCommit,
    expected: Mapping[RepoPath, ExpectedFile],
    report: Report,
) -> HeldContent:
    if commit.raw is None:
        return content
    rows = None if commit.rows is None else lambda: _tree_rows(expected)
    try:
        return prove_held(content, library, commit.raw, rows, report)
    except VerificationError as error:
        if commit.rows is not None:
            raise
        report(Notice("warning", f"the commit object proves nothing: {error.message}"))
        return content


def _with_pointers(
    expected: Mapping[RepoPath, ExpectedFile],
    digests: Mapping[RepoPath, FileDigests],
    blobs: Callable[[Collection[GitOid]], Mapping[GitOid, bytes]],
    report: Report,
) -> dict[RepoPath, ExpectedFile]:
    """Read from git the blobs that are neither a file's content nor its canonical LFS pointer."""
    odd = {
        file.git_oid
        for path, file in expected.items()
        if file.git_oid is not None and file.git_oid not in {digests[path].git_blob, _canonical(digests[path])}
    }
    texts: Mapping[GitOid, str] = {}
    try:
        texts = pointer_texts(blobs(odd)) if odd else {}
    except (NetworkError, NotFoundError) as error:  # the caller reports what differs, as far as it can tell
        report(Notice("warning", f"no LFS pointers from git: {error.message}"))
    return {
        path: file if file.git_oid is None else replace(file, pointer=texts.get(file.git_oid))
        for path, file in expected.items()
    }


def _canonical(digests: FileDigests) -> GitOid:
    return pointer_oid(digests.sha256, digests.size)


def _tree_rows(expected: Mapping[RepoPath, ExpectedFile]) -> list[tuple[RepoPath, str, GitOid]]:
    return [(path, file.mode, file.git_oid) for path, file in expected.items() if file.git_oid is not None]


def _counter(total: int, report: Report) -> Callable[[int], None]:
    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        report(Progress("hash", done, total))

    return on_bytes


def _commit(snapshot: SnapshotId, git: GitSource | None, report: Report) -> FolderCommit:
    if git is None:
        return FolderCommit()
    raw: bytes | None = None
    try:
        raw = git.commit_object(snapshot.commit)
        return FolderCommit(raw, git.tree_rows(snapshot.commit))
    except (NetworkError, NotFoundError) as error:
        if raw is None and git.asked and isinstance(error, NotFoundError):
            raise
        report(Notice("warning", f"{'no commit object' if raw is None else 'no tree from git'}: {error.message}"))
        return FolderCommit(raw)


def _links(paths: Mapping[RepoPath, Path], commit: FolderCommit, held: HeldContent | None) -> set[RepoPath]:
    """Return the commit's symlinks, according to git, the held snapshot, or a clone without trees."""
    if commit.rows is not None:
        return {path for path, mode, _ in commit.rows if mode == LINK_MODE}
    if held is not None:
        return {row.path for row in held.manifest.files if row.mode == LINK_MODE}
    return set() if commit.raw is None else {path for path, file in paths.items() if file.is_symlink()}


def _expectations(
    snapshot: SnapshotId, sources: Mapping[RepoPath, FolderFile], commit: FolderCommit, links: Collection[RepoPath]
) -> dict[RepoPath, ExpectedFile]:
    if commit.rows is not None:
        return _expected_of_tree(snapshot, sources, commit.rows)
    lfs = _lfs_by_attributes(sources)
    return {
        path: ExpectedFile(path, lfs=path in lfs, mode=LINK_MODE if path in links else git_mode(source, commit))
        for path, source in sources.items()
    }


def _expected_of_tree(
    snapshot: SnapshotId, sources: Mapping[RepoPath, FolderFile], rows: Sequence[tuple[RepoPath, str, GitOid]]
) -> dict[RepoPath, ExpectedFile]:
    expected = {path: ExpectedFile(path, git_oid=oid, mode=mode) for path, mode, oid in rows}
    for problem, paths in (("lacks", set(expected) - set(sources)), ("also holds", set(sources) - set(expected))):
        if paths:
            shown = ", ".join(path.text for path in sorted(paths)[:5])
            raise VerificationError(
                f"the folder is not commit {snapshot.commit}: it {problem} {shown}",
                expected=f"{len(expected)} files",
                got=f"{len(sources)} files",
            )
    return expected


def _lfs_by_attributes(sources: Mapping[RepoPath, FolderFile]) -> Collection[RepoPath]:
    attributes = sources.get(_ATTRIBUTES)
    if attributes is None or attributes.file is None:
        return frozenset()
    rules = durable.read(attributes.file, max_bytes=MAX_ATTRIBUTES_SIZE)
    return lfs_paths(rules, [path for path, source in sources.items() if source.size])


def _place_all(sources: Mapping[RepoPath, FolderFile], staged: Path, *, hard_links: bool) -> None:
    for path, source in sources.items():
        target = staged / path.text
        with durable.disk_errors(f"copy {path} into {staged}"):
            target.unlink(missing_ok=True)  # an interrupted try may have left another file
            if source.file is None:
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    file.write(source.text)
                continue
            before = source.file.stat()
            place(source.file, target, allow_hard_link=hard_links)
            after = source.file.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise FileChangedError(f"{source.file} changed while it was read", hint="let whatever writes to it finish")
