"""The files and links of a commit that a folder holds, without clutter, and their bytes as git has them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from p2pqwen.errors import FormatError
from p2pqwen.events import Notice, Report
from p2pqwen.library import durable
from p2pqwen.manifest.git_object import EXECUTABLE_MODE, FILE_MODE, blob_oid
from p2pqwen.operations.preserve.clutter import is_clutter
from p2pqwen.operations.preserve.held_check import HeldContent
from p2pqwen.values.digest import GitOid
from p2pqwen.values.plural import plural
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_place import parse_cache_folder

# What git and huggingface_hub keep beside the files; neither is part of a commit.
_NOT_PAYLOAD = (".git", ".cache/huggingface")
_MAX_TEXT = 16 << 20  # the Hub wants LFS for larger files
_SHOWN = 5

TreeRow = tuple[RepoPath, str, GitOid]
"""Path, mode (`100644`) and id of one file of a commit."""


@dataclass(frozen=True, slots=True)
class FolderCommit:
    """What git says of the commit: its object and the rows of its tree.

    A treeless clone (git-clone(1), `--filter=tree:0`) has only the object; its tree is then built from the files.
    """

    raw: bytes | None = None
    rows: Sequence[TreeRow] | None = None


@dataclass(frozen=True, slots=True)
class FolderFile:
    """Where a file's bytes are: in a file, or, for a symlink of the commit, in the link itself (`text`)."""

    size: int
    file: Path | None = None
    text: bytes = b""


def list_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield each file's path in the snapshot and where it is; links are not followed yet."""

    def failed(error: OSError) -> None:
        if not is_clutter(Path(error.filename).relative_to(folder).as_posix()):  # lost+found belongs to the system
            _raise(error)

    for parent, folders, files in os.walk(folder, onerror=failed):
        here = Path(parent)
        relative = here.relative_to(folder)
        folders[:] = sorted(name for name in folders if (relative / name).as_posix() not in _NOT_PAYLOAD)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in sorted([*files, *links]):
            if (relative / name).as_posix() not in _NOT_PAYLOAD:  # `.git` is a file in a worktree
                yield (relative / name).as_posix(), here / name


def payload(
    found: Mapping[str, Path], commit: FolderCommit, held: HeldContent | None, report: Report
) -> dict[RepoPath, Path]:
    """Return the files that belong to the commit: all but clutter, unless git has it."""
    known = {path.text for path, _, _ in commit.rows or ()}
    known |= set() if held is None else {row.path.text for row in held.manifest.files}
    clutter = dict.fromkeys(path for path in found if path not in known and is_clutter(path))
    if clutter:
        shown = ", ".join(map(repr, list(clutter)[:_SHOWN])) + (
            f" and {len(clutter) - _SHOWN} more" * (len(clutter) > _SHOWN)
        )
        level: Literal["info", "warning"] = "warning" if commit.rows is None else "info"
        report(Notice(level, f"left out, not part of a model: {shown}"))
    return {RepoPath(path): file for path, file in found.items() if path not in clutter}


def folder_file(path: Path, folder: Path, *, as_link: bool) -> FolderFile:
    """Return what git has for a path: a link's own text if the commit holds a link, else the content it leads to.

    In a clone with `core.symlinks=false` a link of the commit is a file that holds the text.
    """
    with durable.disk_errors(f"read {path}"):
        if as_link and path.is_symlink():
            text = os.fsencode(path.readlink())
            return FolderFile(len(text), text=text)
        found = path.lstat()
        if stat.S_ISREG(found.st_mode):  # as nearly all are: there is no link to follow
            return FolderFile(found.st_size, path)
        content = _content_of(path, folder)
        return FolderFile(content.stat().st_size, content)


def with_line_ends(
    sources: Mapping[RepoPath, FolderFile], rows: Sequence[TreeRow], report: Report
) -> dict[RepoPath, FolderFile]:
    """Undo `core.autocrlf` (git-config(1)): a text that git checked out with CRLF has LF in the commit."""
    oids = {path: oid for path, _, oid in rows}
    mended = {
        path: FolderFile(len(text), text=text)
        for path, source in sources.items()
        if path in oids and (text := _committed_text(source, oids[path])) is not None
    }
    if mended:
        report(
            Notice("info", f"{plural(len(mended), 'file')} had CRLF line endings from git: the commit's LF was used")
        )
    return {**sources, **mended}


def _committed_text(source: FolderFile, oid: GitOid) -> bytes | None:
    """Return a file's text with LF if that, and not the file as it is, is the blob of this id."""
    if source.file is None or not 0 < source.size <= _MAX_TEXT:
        return None
    data = durable.read(source.file, max_bytes=_MAX_TEXT)
    if b"\r\n" not in data or b"\0" in data or blob_oid(data) == oid:
        return None
    text = data.replace(b"\r\n", b"\n")
    return text if blob_oid(text) == oid else None


def git_mode(source: FolderFile, commit: FolderCommit) -> str:
    """Return a file's mode in git; the mode on disk counts only in a clone."""
    if commit.raw is None or source.file is None:
        return FILE_MODE
    with durable.disk_errors(f"read {source.file}"):
        return EXECUTABLE_MODE if source.file.stat().st_mode & stat.S_IXUSR else FILE_MODE


def _raise(error: OSError) -> None:
    with durable.disk_errors(f"list {error.filename}"):
        raise error


def _content_of(path: Path, folder: Path) -> Path:
    """Follow a link as far as is allowed: within the folder, or from a Hugging Face cache snapshot to its blobs."""
    with durable.disk_errors(f"read {path}"):
        target = path.resolve(strict=True)
        mode = target.stat().st_mode
    if path.is_symlink() and not any(target.is_relative_to(root) for root in _link_roots(folder)):
        raise FormatError(
            f"{path} is a link out of the folder", got=str(target), hint="replace the link with the file it points to"
        )
    if stat.S_ISDIR(mode):
        raise FormatError(f"{path} is a link to a folder", hint="put the folder itself there")
    if not stat.S_ISREG(mode):
        raise FormatError(f"{path} is not a regular file")
    return target


def _link_roots(folder: Path) -> tuple[Path, ...]:
    root = folder.resolve()
    if root.parent.name == "snapshots" and parse_cache_folder(root.parent.parent.name) is not None:
        # `models--org--name/snapshots/<commit>` links into its own blobs, or into blobs shared by the whole cache.
        return root, root.parent.parent / "blobs", root.parent.parent.parent / "blobs"
    return (root,)
