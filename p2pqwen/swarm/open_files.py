"""How many files and sockets this process may have open, shared out before libtorrent takes them.

libtorrent asks nobody: at the limit a download ends with EMFILE, whose file is blamed for it.
"""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass

WANTED = 4096
"""Enough for every peer, file and web seed of a large node."""
FILES, CONNECTIONS = 256, 500  # a sharded model has up to 200 files


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """What a session may keep open: payload files, and connections to peers and web seeds."""

    files: int = FILES
    connections: int = CONNECTIONS


def _raise_limit() -> None:
    """Raise the soft limit to what this process needs, as far as the hard one allows; macOS begins with 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS caps it lower than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def share_out() -> OpenFiles:
    """Raise the limit and return what a session may have of it.

    A web seed takes two at libtorrent's end and the relay's, and one more to where it comes from; the rest is for
    databases, listening sockets and whatever else is open.
    """
    _raise_limit()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return OpenFiles()
    return OpenFiles(files=max(4, min(FILES, soft // 8)), connections=max(8, min(CONNECTIONS, soft // 4)))
