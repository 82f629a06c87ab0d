"""Which files of a torrent a user means by patterns."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from p2pqwen.errors import NotFoundError
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.repo_path import RepoPath


def choose_files(metainfo: Metainfo, globs: Sequence[str] | None) -> frozenset[RepoPath] | None:
    """Return the files that any of the globs matches, None for all; raises `NotFoundError` when none does."""
    if globs is None:
        return None
    chosen = frozenset(
        file.path for file in metainfo.files if any(fnmatch.fnmatchcase(file.path.text, glob) for glob in globs)
    )
    if not chosen:
        raise NotFoundError("no file of the snapshot matches --include", got=", ".join(globs))
    return chosen
