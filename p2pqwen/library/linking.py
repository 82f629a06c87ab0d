"""Put a file's bytes at a second place for as little disk as the file system allows."""

from __future__ import annotations

import enum
import errno
import fcntl
import os
import shutil
from pathlib import Path

from p2pqwen.library.durable import disk_errors

_FICLONE = 0x40049409  # ioctl_ficlone(2): share extents, copy on write (btrfs, XFS, bcachefs)
_NO_REFLINK = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM})
_NO_HARD_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP})


class Placement(enum.StrEnum):
    """How the bytes came to stand at the target."""

    REFLINK = "reflink"
    HARD_LINK = "hard link"
    COPY = "copy"


def place(source: Path, target: Path, *, allow_hard_link: bool = True) -> Placement:
    """Create `target` with the bytes of `source` (links followed): reflink, else hard link, else copy.

    `allow_hard_link=False` is for a source that others may write to in place: a hard link would change with it.
    Raises `DiskError`; an existing target is an error.
    """
    with disk_errors(f"place {target}"):
        source = source.resolve(strict=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        if _reflink(source, target):
            return Placement.REFLINK
        if allow_hard_link and _hard_link(source, target):
            return Placement.HARD_LINK
        _copy(source, target)
        return Placement.COPY


def _reflink(source: Path, target: Path) -> bool:
    with source.open("rb") as reader, target.open("xb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        except OSError as error:
            target.unlink()
            if error.errno not in _NO_REFLINK:
                raise
            return False
    return True


def _hard_link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINK:
            raise
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    try:
        with source.open("rb") as reader, target.open("xb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
    except BaseException:
        target.unlink(missing_ok=True)
        raise
