"""Find entries by words."""

from __future__ import annotations

from collections.abc import Iterable

from p2pqwen.index.entry import Entry


def search(entries: Iterable[Entry], words: Iterable[str]) -> list[Entry]:
    """Return the entries in which every word occurs: in the repository, the license, or as the start of a hash."""
    wanted = [word.casefold() for word in words]
    return [entry for entry in entries if all(_matches(entry, word) for word in wanted)]


def _matches(entry: Entry, word: str) -> bool:
    names = (str(entry.id.repo), entry.license or "")
    hashes = (str(entry.id.commit), str(entry.infohash.v1), str(entry.infohash.v2))
    return any(word in name.casefold() for name in names) or any(one.startswith(word) for one in hashes)
