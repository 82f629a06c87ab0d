"""Where an origin's client downloads to: beside the destination folder, which holds only payload."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from p2pqwen.errors import DiskError
from p2pqwen.values.listing import ListedFile
from p2pqwen.values.snapshot_id import OriginName


def scratch_beside(folder: Path) -> Path:
    """Return the folder that holds the scratch folders of all downloads into `folder`."""
    return folder.with_name(f"{folder.name}.download")


def scratch_of(folder: Path, file: ListedFile, origin: OriginName) -> Path:
    """Return the scratch folder of one file, separate for each origin, since one may take over from another."""
    name = file.path.text if origin is OriginName.HUB else f"{origin}/{file.path.text}"
    return scratch_beside(folder) / hashlib.sha256(name.encode()).hexdigest()[:16]


def require_room(folder: Path, file: ListedFile) -> None:
    """Raise `DiskError` if the disk of a folder has no room for a file."""
    free = shutil.disk_usage(folder).free
    if free < file.size:
        raise DiskError(f"no room for {file.path}", expected=f"{file.size} bytes free", got=free)
