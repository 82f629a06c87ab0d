"""Search the entries of an index.

An index may have 2 million entries, so callers query a `Listing` instead of reading them all. An accepted index is read
from the database beside its file (`library.index_rows`). A small index, or one in the making, is a tuple of entries,
which `listing_of` turns into a `Listing`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TypeAlias, overload

from p2pqwen.index.entry import Entry
from p2pqwen.index.upstream import Upstream
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.values.digest import CommitId, Sha1, Sha256
from p2pqwen.values.snapshot_id import RepoId, RepoKind, SnapshotId
from p2pqwen.values.utc_time import format_time

Sought: TypeAlias = RepoId | SnapshotId | InfoHash | Sha1 | Sha256
"""A search key: a `Sha1` is a v1 infohash, unless it is a `CommitId`."""

MAX_NEAR = 5000
"""The most names that are compared with an unknown one."""

COLUMNS_AT_ONCE = 2048


@dataclass(frozen=True, slots=True)
class Columns:
    """What a plan needs of entries, in parallel lists instead of an object per entry.

    `names` are the snapshots as text; `sizes` are in bytes.
    """

    names: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    licenses: list[str | None] = field(default_factory=list)
    upstream: list[Upstream] = field(default_factory=list)

    def extend(self, other: Columns) -> None:
        """Append the entries of `other`."""
        self.names.extend(other.names)
        self.sizes.extend(other.sizes)
        self.licenses.extend(other.licenses)
        self.upstream.extend(other.upstream)

    def only(self, places: Iterable[int]) -> Columns:
        """Return the entries at these places, in this order."""
        of = tuple(places)
        return Columns(
            [self.names[one] for one in of],
            [self.sizes[one] for one in of],
            [self.licenses[one] for one in of],
            [self.upstream[one] for one in of],
        )


def columns_of(entries: Iterable[Entry]) -> Columns:
    """Return entries as columns, in their order."""
    found = Columns()
    for one in entries:
        found.names.append(str(one.id))
        found.sizes.append(one.size)
        found.licenses.append(one.license)
        found.upstream.append(one.upstream)
    return found


@dataclass(frozen=True, slots=True)
class Claims:
    """What decides between several publishers that list one snapshot; the places are those of `Columns`.

    `added`: the time in RFC 3339, which sorts chronologically. `torrents`: equal if infohashes and manifest are
    (`claimed_torrent`).
    """

    added: list[str] = field(default_factory=list)
    torrents: list[str] = field(default_factory=list)


def claims_of(entries: Iterable[Entry]) -> Claims:
    """Return what entries claim, in their order."""
    found = Claims()
    for one in entries:
        found.added.append(format_time(one.added))
        found.torrents.append(claimed_torrent(str(one.infohash.v1), str(one.infohash.v2), str(one.manifest)))
    return found


def claimed_torrent(v1: str, v2: str, manifest: str) -> str:
    """Return a text that differs for different torrents or manifests, given their hex digits.

    It has enough digits of each that a collision cannot be found.
    """
    return v1[:32] + v2[:32] + manifest[:32]


class Listing(Sequence[Entry], ABC):
    """Entries in the order of the index. Methods raise `VerificationError`, and `DiskError` if they cannot be read."""

    @abstractmethod
    def find(self, sought: Sought) -> list[Entry]:
        """Return the entries of a repository, snapshot, commit or infohash."""

    @abstractmethod
    def having(self, words: Sequence[str]) -> Iterator[Entry]:
        """Yield the entries in which every word occurs: in repository or license, or as the start of a hash."""

    @abstractmethod
    def called(self, words: Sequence[str], kind: RepoKind, after: str = "") -> Iterator[Entry]:
        """Yield the entries of repositories of a kind whose names contain every word, ignoring case.

        They come in order; only repositories whose `text` sorts after `after`.
        """

    @abstractmethod
    def spelled(self, repo: RepoId) -> RepoId | None:
        """Return the first repository that has this name in any letter case, or None."""

    @abstractmethod
    def repos(self) -> Iterator[RepoId]:
        """Yield the distinct repositories, in order."""

    def columns(self) -> Iterator[Columns]:
        """Yield what a plan needs of the entries, in batches, in order."""
        entries = iter(self)
        while (some := columns_of(islice(entries, COLUMNS_AT_ONCE))).names:
            yield some

    def claims(self) -> Iterator[Claims]:
        """Yield what decides between these entries and those of other indexes, in the same batches as `columns`."""
        entries = iter(self)
        while (some := claims_of(islice(entries, COLUMNS_AT_ONCE))).added:
            yield some

    def tracked(self) -> Iterator[Entry]:
        """Yield entries whose magnets name trackers, at least the first ones."""
        return (one for one in self if one.trackers)

    def names(self, beginning: str) -> Iterator[SnapshotId]:
        """Yield the snapshots whose names begin with `beginning`, in order."""
        return (one.id for one in self if str(one.id).startswith(beginning))

    def near(self, repo: RepoId) -> list[RepoId]:
        """Return candidates for a mistyped name: all repositories of a short list, else those that share a part.

        Those have the same organisation, or the same name in another organisation, ignoring case.
        """
        few = list(islice(self.repos(), MAX_NEAR + 1))
        if len(few) <= MAX_NEAR:
            return few
        found: dict[RepoId, None] = {}
        for part in (f"{repo.org}/", f"/{repo.name}"):
            matching = (one.id.repo for one in self.having([part]))
            found.update(dict.fromkeys(islice(matching, MAX_NEAR)))
        return list(found)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return self is other or all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


class EntryList(Listing):
    """Entries in memory."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        return self._entries[index]

    def find(self, sought: Sought) -> list[Entry]:
        """Look through the entries once, and then know."""
        match sought:
            case InfoHash():
                return [one for one in self._by_v2.get(sought.v2, ()) if one.infohash == sought]
            case Sha256():
                return list(self._by_v2.get(sought, ()))
            case RepoId():
                return [one for one in self._entries if one.id.repo == sought]
            case SnapshotId():
                return [self._by_id[sought]] if sought in self._by_id else []
            case CommitId():
                return [one for one in self._entries if one.id.commit == sought]
            case Sha1():
                return [one for one in self._entries if one.infohash.v1 == sought]

    def having(self, words: Sequence[str]) -> Iterator[Entry]:
        """Look at every entry."""
        matches = word_filter(words)
        return (one for one in self._entries if matches(one))

    def called(self, words: Sequence[str], kind: RepoKind, after: str = "") -> Iterator[Entry]:
        """Look at every entry."""
        matches = name_filter(words, kind, after)
        return (one for one in self._entries if matches(one.id.repo))

    def spelled(self, repo: RepoId) -> RepoId | None:
        """Look through the entries once, and then know."""
        return self._by_folded_name.get(folded(repo))

    def repos(self) -> Iterator[RepoId]:
        """Yield them from the entries."""
        return iter(dict.fromkeys(one.id.repo for one in self._entries))

    @cached_property
    def _by_id(self) -> dict[SnapshotId, Entry]:
        return {one.id: one for one in self._entries}

    @cached_property
    def _by_folded_name(self) -> dict[str, RepoId]:
        return {folded(one.id.repo): one.id.repo for one in reversed(self._entries)}

    @cached_property
    def _by_v2(self) -> dict[Sha256, tuple[Entry, ...]]:
        found: dict[Sha256, tuple[Entry, ...]] = {}
        for one in self._entries:
            found[one.infohash.v2] = (*found.get(one.infohash.v2, ()), one)
        return found


def listing_of(entries: Sequence[Entry]) -> Listing:
    """Return entries as a listing."""
    return entries if isinstance(entries, Listing) else EntryList(entries)


def folded(repo: RepoId) -> str:
    """Return a repository's name in lower case, for comparison."""
    return str(repo).lower()


def name_filter(words: Iterable[str], kind: RepoKind, after: str) -> Callable[[RepoId], bool]:
    """Return a test for the repositories that `Listing.called` finds."""
    wanted = [word.lower() for word in words]
    return lambda repo: repo.kind is kind and repo.text > after and all(word in repo.text.lower() for word in wanted)


def word_filter(words: Iterable[str]) -> Callable[[Entry], bool]:
    """Return a test for entries in which every word occurs."""
    wanted = [word.casefold() for word in words]
    return lambda entry: all(_matches(entry, word) for word in wanted)


def _matches(entry: Entry, word: str) -> bool:
    names = (str(entry.id.repo), entry.license or "")
    if any(word in name.casefold() for name in names):
        return True
    hashes = (entry.id.commit, entry.infohash.v1, entry.infohash.v2)
    return any(str(one).startswith(word) for one in hashes)
