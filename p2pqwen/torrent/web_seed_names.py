"""File names that some clients do not escape when they request a file from a web seed (BEP 19).

On 2026-11-29 and 30, Transmission 4.1 sent `#`, `%`, `[` and `]` unescaped. What follows a `#` never reaches the
server, and `a%20b` requests `a b`. A lone `%` and brackets make an invalid URL, which some servers refuse. webtorrent 3
does not escape `#`. Such clients get the file only from peers; p2pqwen escapes all four.
"""

from __future__ import annotations

from collections.abc import Iterable

from p2pqwen.values.repo_path import RepoPath

CUT = frozenset("#%[]")


def cut_by_clients(paths: Iterable[RepoPath]) -> tuple[RepoPath, ...]:
    """Return the paths that some clients cannot fetch from a web seed, in the order given."""
    return tuple(path for path in paths if not CUT.isdisjoint(path.text))
