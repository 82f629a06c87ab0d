"""Check for room before the work, not after 600 GB of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from p2pqwen.errors import DiskError
from p2pqwen.library.durable import disk_errors
from p2pqwen.portable import files
from p2pqwen.values.byte_size import format_size

# Kept free for torrents, resume data and the rest of the system.
RESERVE = 64 * 2**20


def require_free(folder: Path, size: int) -> None:
    """Raise `DiskError` if `size` bytes do not fit on the disk of `folder`."""
    free = free_space(folder)
    existing = _existing(folder)
    if size > 0 and size + RESERVE > free:
        raise DiskError(
            f"not enough room on the disk of {existing}",
            expected=f"{format_size(size + RESERVE)} free",
            got=format_size(free),
            hint="free some space, or point P2PQWEN_HOME at a larger disk",
        )


def free_space(folder: Path) -> int:
    """Return the free bytes of the disk on which `folder` is, or would be; raises `DiskError`."""
    existing = _existing(folder)
    with disk_errors(f"ask how much of {existing} is free"):
        return shutil.disk_usage(existing).free


def allocated(path: Path) -> int:
    """Return the bytes that a file takes on its disk, 0 if it does not exist; a growing file has holes."""
    try:
        return files.allocated(path)
    except OSError:
        return 0


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
