"""Open library files for strangers: only offered ones, and never through a symbolic link."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from p2pqwen.portable.files import open_beneath
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class Offer:
    """A snapshot's files in `folder`: sizes in bytes, entity tags, and the lengths of its pad files."""

    snapshot: SnapshotId
    folder: Path
    sizes: Mapping[str, int] = field(repr=False)
    tags: Mapping[str, str] = field(repr=False)
    pads: frozenset[int] = field(repr=False)

    @classmethod
    def of(
        cls, snapshot: SnapshotId, folder: Path, metainfo: Metainfo, files: Collection[RepoPath] | None = None
    ) -> Offer:
        """Offer all files of a torrent, or only `files`."""
        layout = metainfo.layout
        offered = [file for file in metainfo.files if files is None or file.path in files]
        return cls(
            snapshot,
            folder,
            {file.path.text: file.size for file in offered},
            {file.path.text: str(file.pieces_root or "empty") for file in offered},
            frozenset(pad for index in range(len(layout.files)) if (pad := layout.pad_after(index))),
        )

    def pad(self, path: str) -> int | None:
        """Return the length of the torrent's pad file at this path, None if it is not one."""
        folder, _, length = path.partition("/")
        known = folder == ".pad" and length.isascii() and length.isdigit() and len(length) < 10
        return int(length) if known and int(length) in self.pads else None

    def open(self, path: str) -> int | None:
        """Return a descriptor of an offered file, None if the file there is a different one. The caller closes it.

        No link on the way is followed, so a link that someone put into the library leads nowhere.
        """
        expected = self.sizes.get(path)
        if expected is None:
            return None
        try:
            found = open_beneath(self.folder, RepoPath(path).parts)
        except OSError:
            return None
        state = os.fstat(found)
        if not stat.S_ISREG(state.st_mode) or state.st_size != expected:
            os.close(found)
            return None
        return found
