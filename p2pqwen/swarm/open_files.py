"""How many files and sockets this process may have open, shared out before libtorrent takes them.

libtorrent asks nobody: at the limit a download ends with EMFILE, whose file is blamed for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2pqwen.portable.process import open_file_limit, raise_open_file_limit

WANTED = 4096
"""Enough for every peer, file and web seed of a large node."""
FILES, CONNECTIONS = 256, 500  # a sharded model has up to 200 files


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """What a session may keep open: payload files, and connections to peers and web seeds."""

    files: int = FILES
    connections: int = CONNECTIONS


def share_out() -> OpenFiles:
    """Raise the limit and return what a session may have of it.

    A web seed takes two at libtorrent's end and the relay's, and one more to where it comes from; the rest is for
    databases, listening sockets and whatever else is open.
    """
    raise_open_file_limit(WANTED)
    limit = open_file_limit()
    if limit is None:
        return OpenFiles()
    return OpenFiles(files=max(4, min(FILES, limit // 8)), connections=max(8, min(CONNECTIONS, limit // 4)))
