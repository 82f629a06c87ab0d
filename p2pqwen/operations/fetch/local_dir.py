"""Lay files of a held snapshot into a user's folder, as plain files that any program may change.

Library files are never hard-linked: a file there is a reflink or a copy (`library.linking.place` without hard links),
and is complete before it gets its name. An existing file with the same content stays. One with other content is refused
before anything is written, or replaced if the caller says so.
"""

from __future__ import annotations

import filecmp
import secrets
from collections.abc import Collection
from pathlib import Path

from p2pqwen.errors import DiskError, UsageError
from p2pqwen.library.durable import disk_errors
from p2pqwen.library.linking import place
from p2pqwen.values.repo_path import RepoPath


def require_outside(target: Path, ours: Collection[Path], called: str = "--local-dir") -> None:
    """Raise `UsageError` for a folder inside one of ours, or around one: other programs may change what is there."""
    there = target.resolve()
    for folder in (one.resolve() for one in ours):
        if there.is_relative_to(folder) or folder.is_relative_to(there):
            raise UsageError(called, expected=f"a folder apart from {folder}", got=target)


def lay_files(source: Path, paths: Collection[RepoPath], target: Path, *, replace: bool = False) -> None:
    """Lay the files at these paths below `source` at the same paths below `target`.

    `replace`: replace a plain file with other content. Raises `DiskError` if anything else is in the way, or a folder
    there leads outside `target`.
    """
    with disk_errors(f"create {target}"):
        target.mkdir(parents=True, exist_ok=True)
    new = [path for path in paths if not _is_there(source / path.text, target, path, replace=replace)]
    for path in new:
        _lay(source / path.text, target / path.text)


def _is_there(source: Path, target: Path, path: RepoPath, *, replace: bool) -> bool:
    """Tell whether a file is already there; raises `DiskError` for anything in its place that must stay."""
    there = target / path.text
    with disk_errors(f"read {there}"):
        folder = next(one for one in there.parents if one.exists() or one.is_symlink())
        if not folder.resolve().is_relative_to(target.resolve()) or not folder.is_dir():
            raise DiskError(f"{folder} is in the way of {there}", expected="a folder, no link to elsewhere")
        if there.is_symlink() or (there.exists() and not there.is_file()):
            raise DiskError(f"{there} is in the way", expected="a plain file, or none")
        if not there.exists():
            return False
        if filecmp.cmp(source, there, shallow=False):
            return True
        if replace:
            return False
    hint = "it stays as it is: move it away, or name another --local-dir"
    raise DiskError(f"{there} differs from the snapshot's file", hint=hint)


def _lay(source: Path, there: Path) -> None:
    new = there.with_name(f".p2pqwen-{secrets.token_hex(8)}")
    with disk_errors(f"write {there}"):
        try:
            place(source, new)
            new.replace(there)
        finally:
            new.unlink(missing_ok=True)
