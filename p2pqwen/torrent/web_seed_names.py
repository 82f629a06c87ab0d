"""File names that some clients do not escape when they ask a web seed (BEP 19) for a file.

Measured on 2026-11-29: Transmission 4.1 and webtorrent 3 put a path into the URL as it stands, or half escaped, so that
what follows a `#` never reaches the server. They get such a file from peers alone; p2pqwen, qBittorrent, Deluge and
aria2 escape what has a meaning in URLs.
"""

from __future__ import annotations

from collections.abc import Iterable

from p2pqwen.values.repo_path import RepoPath

CUT = frozenset("#%[]")


def cut_by_clients(paths: Iterable[RepoPath]) -> tuple[RepoPath, ...]:
    """Return the paths that some clients cannot ask a web seed for, in the order given."""
    return tuple(path for path in paths if not CUT.isdisjoint(path.text))
