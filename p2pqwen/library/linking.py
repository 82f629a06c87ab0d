"""Put a file's bytes at a second place for as little disk as the file system allows.

A reflink shares blocks until one side writes, so it is always tried first. A hard link is one inode with two names: a
write through one name changes the other, and so do its link count and change time. So one is made only if the caller
allows it. Callers do so if both names are ours (`operations.reuse.share`, the Hugging Face cache as a target), or if
the user asked for it.
"""

from __future__ import annotations

import enum
import errno
import os
import shutil
from pathlib import Path

from p2pqwen.library.durable import disk_errors
from p2pqwen.portable.files import can_clone, clone

_NO_HARD_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP})


class Placement(enum.StrEnum):
    """How the bytes got to the target."""

    REFLINK = "reflink"
    HARD_LINK = "hard link"
    COPY = "copy"


def place(source: Path, target: Path, *, allow_hard_link: bool = False) -> Placement:
    """Create `target` with the bytes of `source` (links followed): reflink, else hard link if allowed, else copy.

    The result is not durable: the caller syncs a whole folder before it marks the content as complete. Raises
    `DiskError`; an existing target is an error.
    """
    with disk_errors(f"place {target}"):
        if source.is_symlink():
            source = source.resolve(strict=True)
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
        if clone(source, target):
            return Placement.REFLINK
        if allow_hard_link and _hard_link(source, target):
            return Placement.HARD_LINK
        _copy(source, target)
        return Placement.COPY


def place_linked(source: Path, target: Path) -> Placement:
    """Do what `place` does, with a hard link if the file system has no reflinks; for names that are both ours."""
    return place(source, target, allow_hard_link=True)


def shares_blocks(source: Path, folder: Path) -> bool:
    """Tell whether a reflink of `source` can be made in `folder`, which may not exist yet; raises `DiskError`."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if source.stat().st_dev != existing.stat().st_dev:
        return False
    with disk_errors(f"write in {existing}"):
        return can_clone(source.resolve(strict=True), existing)


def _hard_link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINK:
            raise
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    with source.open("rb", buffering=0) as reader, target.open("xb", buffering=0) as writer:
        try:
            shutil.copyfileobj(reader, writer, 1 << 20)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
