"""Preserve a snapshot that already lies in a folder: a clone, an `hf download` folder, a snapshot of the cache."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from p2pqwen.errors import FormatError, NetworkError, NotFoundError, UsageError, VerificationError
from p2pqwen.events import Notice, Progress, Report, ignore
from p2pqwen.hub.git_attributes import lfs_paths
from p2pqwen.library import durable
from p2pqwen.library.folders import bytes_to_write
from p2pqwen.library.hashing import FileChangedError, hash_files
from p2pqwen.library.linking import place
from p2pqwen.library.snapshots import HeldSnapshot, Library
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.operations.file_check import difference
from p2pqwen.operations.held_check import (
    HeldContent,
    complete_snapshot,
    differs_from,
    look_at_held,
    prove_held,
    require_same,
)
from p2pqwen.operations.preserve import describe_held, hinting_at_hard_links
from p2pqwen.operations.snapshot_build import (
    ExpectedFile,
    Preserved,
    describe,
    install,
    make_manifest,
    make_metainfo,
    row_of,
)
from p2pqwen.torrent.layout import Layout
from p2pqwen.values.digest import CommitId, GitOid
from p2pqwen.values.repo_path import RepoPath, refuse_clashes
from p2pqwen.values.snapshot_id import SnapshotId

_ATTRIBUTES = RepoPath(".gitattributes")
MAX_ATTRIBUTES_SIZE = 1 << 20
# What git and huggingface_hub keep beside the files; neither is part of a commit.
_NOT_PAYLOAD = (".git", ".cache/huggingface")


@dataclass(frozen=True, slots=True)
class GitSource:
    """The functions that read one commit from a folder or a URL; see hub/git_commit.py.

    `asked`: the person named the source. One that is merely there (`DIR/.git`) may lack the commit.
    """

    commit_object: Callable[[CommitId], bytes]
    tree_rows: Callable[[CommitId], Sequence[tuple[RepoPath, str, GitOid]]]
    asked: bool = True


def preserve_folder(
    folder: Path,
    snapshot: SnapshotId,
    *,
    git: GitSource | None,
    library: Library,
    endpoint: str,
    hard_links: bool = False,
    report: Report = ignore,
) -> Preserved:
    """Bring the files of `folder` into the library as `snapshot`: reflinks where the file system has them, else copies.

    `hard_links`: second names instead of copies. Nothing is written through them, but their link counts rise.
    With `git`, every file is compared with the commit's tree, and the provenance is proven. Raises `UsageError`,
    `VerificationError` (a file is not the commit's, missing, too many, an LFS pointer, changing), `FormatError`
    (a name or link that cannot be preserved), `NotFoundError`, `DiskError`.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    if library.contains(folder):
        raise UsageError(f"{folder} is inside the library itself")
    sources = dict(_walk(folder))
    if not sources:
        raise NotFoundError(f"{folder} holds no files")
    refuse_clashes(sources)
    with durable.lock(library.lock_path(snapshot)):
        commit_object, expected = _expectations(snapshot, sources, git, report)
        if (held := complete_snapshot(library, snapshot)) is not None:
            known = _check_held(held, folder, expected, commit_object, library, report)
            if commit_object is not None and known.provenance is not Provenance.PROVEN:
                known = prove_held(known, library, commit_object, lambda: _tree_rows(expected), report)
            return describe_held(known, report)
        sizes = ((source.stat().st_size, source) for source in sources.values())
        needed = bytes_to_write(sizes, hard_links=hard_links)
        with hinting_at_hard_links(applies=not hard_links):
            staged = library.stage(snapshot, needed, files=sources)
        try:
            with hinting_at_hard_links(applies=not hard_links):
                library.require_room(staged, needed(staged))
            _place_all(sources, staged, hard_links=hard_links)
            return _build(snapshot, expected, staged, commit_object, library, endpoint, report)
        except BaseException:
            library.discard_stage(snapshot)  # placing again costs nothing; half a snapshot helps nobody
            raise


def _check_held(
    held: HeldSnapshot,
    folder: Path,
    expected: Mapping[RepoPath, ExpectedFile],
    commit_object: bytes | None,
    library: Library,
    report: Report,
) -> HeldContent:
    """Compare what is held with the commit's tree, or, where no git tells, with the folder's own bytes."""
    content = look_at_held(held, library, report=report)
    if commit_object is not None:
        require_same(content, expected.values(), "git")
        return content
    with durable.disk_errors("look at the folder's files"):
        sized = [replace(file, size=(folder / path.text).stat().st_size, lfs=None) for path, file in expected.items()]
    require_same(content, sized, str(folder))
    lfs = [row.path for row in content.manifest.files if row.lfs]
    digests = hash_files(
        folder, content.metainfo.layout, lfs=lfs, on_bytes=_counter(content.manifest.total_size, report)
    )
    rows = {row.path: row for row in content.manifest.files}
    wrong = {
        file.path: found
        for index, file in enumerate(content.metainfo.files)
        if (found := difference(content.metainfo, index, rows[file.path], digests[file.path])) is not None
    }
    if wrong:
        raise differs_from(content, wrong, str(folder))
    return content


def _build(
    snapshot: SnapshotId,
    expected: Mapping[RepoPath, ExpectedFile],
    staged: Path,
    commit_object: bytes | None,
    library: Library,
    endpoint: str,
    report: Report,
) -> Preserved:
    layout = Layout.of((path, (staged / path.text).stat().st_size) for path in expected)
    lfs = {path for path, file in expected.items() if file.lfs}
    digests = hash_files(staged, layout, lfs=lfs, on_bytes=_counter(layout.total_size, report))
    rows = [row_of(file, digests[path]) for path, file in expected.items()]
    manifest = make_manifest(snapshot, rows, staged, commit_object=commit_object, tree_rows=None)
    metainfo = make_metainfo(manifest, digests, layout, endpoint)
    return describe(install(library, manifest, metainfo, digests), manifest, metainfo, report, unchanged=False)


def _tree_rows(expected: Mapping[RepoPath, ExpectedFile]) -> list[tuple[RepoPath, str, GitOid]]:
    return [(path, file.mode, file.git_oid) for path, file in expected.items() if file.git_oid is not None]


def _counter(total: int, report: Report) -> Callable[[int], None]:
    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        report(Progress("hash", done, total))

    return on_bytes


def _expectations(
    snapshot: SnapshotId, sources: Mapping[RepoPath, Path], git: GitSource | None, report: Report
) -> tuple[bytes | None, dict[RepoPath, ExpectedFile]]:
    if git is not None:
        try:
            commit_object, rows = git.commit_object(snapshot.commit), git.tree_rows(snapshot.commit)
        except (NetworkError, NotFoundError) as error:
            if git.asked and isinstance(error, NotFoundError):
                raise
            report(Notice("warning", f"no commit object: {error.message}"))
        else:
            return commit_object, _expected_of_tree(snapshot, sources, rows)
    lfs = _lfs_by_attributes(sources)
    return None, {path: ExpectedFile(path, lfs=path in lfs) for path in sources}


def _expected_of_tree(
    snapshot: SnapshotId, sources: Mapping[RepoPath, Path], rows: Sequence[tuple[RepoPath, str, GitOid]]
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


def _lfs_by_attributes(sources: Mapping[RepoPath, Path]) -> Collection[RepoPath]:
    if _ATTRIBUTES not in sources:
        return frozenset()
    attributes = durable.read(sources[_ATTRIBUTES], max_bytes=MAX_ATTRIBUTES_SIZE)
    with durable.disk_errors("look at the folder's files"):
        return lfs_paths(attributes, [path for path, source in sources.items() if source.stat().st_size])


def _place_all(sources: Mapping[RepoPath, Path], staged: Path, *, hard_links: bool) -> None:
    for path, source in sources.items():
        target = staged / path.text
        with durable.disk_errors(f"bring {source} into {staged}"):
            target.unlink(missing_ok=True)  # an interrupted try may have left another file
            before = source.stat()
            place(source, target, allow_hard_link=hard_links)
            after = source.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise FileChangedError(f"{source} changed while it was read", hint="let whatever writes to it finish")


def _walk(folder: Path) -> Iterator[tuple[RepoPath, Path]]:
    """Yield each file's path in the snapshot and where its bytes are."""
    for parent, folders, files in os.walk(folder, onerror=_raise):
        here = Path(parent)
        relative = here.relative_to(folder)
        folders[:] = sorted(name for name in folders if (relative / name).as_posix() not in _NOT_PAYLOAD)
        for name in folders:
            if (here / name).is_symlink():
                raise FormatError(f"{here / name} is a link to a folder", hint="put the folder itself there")
        for name in sorted(files):
            if (relative / name).as_posix() not in _NOT_PAYLOAD:  # `.git` is a file in a worktree
                yield RepoPath((relative / name).as_posix()), _content_of(here / name, folder)


def _raise(error: OSError) -> None:
    with durable.disk_errors(f"list {error.filename}"):
        raise error


def _content_of(path: Path, folder: Path) -> Path:
    """Follow a link as far as we may: within the folder, or from a Hugging Face cache snapshot to its blobs."""
    with durable.disk_errors(f"read {path}"):
        target = path.resolve(strict=True)
        mode = target.stat().st_mode
    if path.is_symlink() and not any(target.is_relative_to(root) for root in _link_roots(folder)):
        raise FormatError(
            f"{path} is a link out of the folder", got=str(target), hint="replace the link by the file it points to"
        )
    if not stat.S_ISREG(mode):
        raise FormatError(f"{path} is not a regular file")
    return target


def _link_roots(folder: Path) -> tuple[Path, ...]:
    root = folder.resolve()
    if root.parent.name == "snapshots" and root.parent.parent.name.startswith("models--"):
        # `models--org--name/snapshots/<commit>` links into its own blobs, or into blobs shared by the whole cache.
        return root, root.parent.parent / "blobs", root.parent.parent.parent / "blobs"
    return (root,)
