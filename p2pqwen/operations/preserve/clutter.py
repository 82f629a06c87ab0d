"""Files that operating systems and download programs leave in folders. Few commits hold any of them."""

from __future__ import annotations

import re
from fnmatch import translate

# Names of files and folders, at any depth.
_NAMES = (
    # macOS: Finder, AppleDouble companions, Spotlight, FSEvents, the trash, what its zip tool adds
    ".DS_Store", "._*", ".AppleDouble", ".Spotlight-V100", ".fseventsd", ".Trashes", "__MACOSX", "Icon\r",
    # Windows: Explorer, the recycle bin, NTFS
    "Thumbs.db", "ehthumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information",
    # Linux: Dolphin, the trash (freedesktop.org), NFS for deleted files that are open, ext4
    ".directory", ".Trash-*", ".nfs0*", "lost+found",
    # NAS: Synology, QNAP
    "@eaDir", "#recycle", "@Recycle", ".@__thumb",
    # downloads: ModelScope, aria2, qBittorrent, wget2
    ".msc", ".mdl", ".mv", "._____temp", "*.aria2", "*.!qB", "*.wget2",
)  # fmt: skip

_ANY = re.compile("|".join(map(translate, _NAMES)))


def is_clutter(path: str) -> bool:
    """Tell whether any part of a path, separated by `/`, has such a name."""
    return any(map(_ANY.match, path.split("/")))
