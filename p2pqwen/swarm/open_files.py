"""Divide the files and sockets that this process may have open, before libtorrent takes them.

libtorrent does not look at the limit: when it is reached, a download fails with EMFILE, and a file gets the blame.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2pqwen.portable.process import open_file_limit, raise_open_file_limit

WANTED = 4096
"""Enough for the peers, files and web seeds of a large node."""
FILES, CONNECTIONS = 256, 500  # a sharded model has up to 200 files


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """What a session may keep open: payload files, and connections to peers and web seeds."""

    files: int = FILES
    connections: int = CONNECTIONS


def share_out() -> OpenFiles:
    """Raise the process's limit and return the session's share.

    A web seed takes 2 sockets, at libtorrent's end and the relay's, and 1 more to its origin. The rest is for
    databases, listening sockets and everything else.
    """
    raise_open_file_limit(WANTED)
    limit = open_file_limit()
    if limit is None:
        return OpenFiles()
    return OpenFiles(files=max(4, min(FILES, limit // 8)), connections=max(8, min(CONNECTIONS, limit // 4)))
