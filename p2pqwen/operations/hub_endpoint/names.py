"""What a name means: from a repository and a revision to a snapshot.

Each request looks names up in the databases of the trusted indexes: no index is kept in memory, and only a search scans
one.

A full commit names itself, and so do 7 or more digits of a known one. `main` is

1. the newest commit that trusted publishers list, including this home's own publisher;
2. if none lists the repository, the held commit that `refs/main` of the Hugging Face cache names, which only the Hub's
   own clients, a listing or the user (`fetch --set-main`) set;
3. otherwise the newest held commit that the Hub itself has shown to this home.

A proof alone never decides what `main` is: anybody can make a commit and claim a repository for it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter

from p2pqwen.errors import FormatError, NotFoundError
from p2pqwen.hub_api.problem import repo_not_found, revision_not_found
from p2pqwen.index.entry import Entry
from p2pqwen.index.listing import name_filter
from p2pqwen.index.voice import Voice
from p2pqwen.server.hub_catalogue import HubMovedError, HubRefusedError
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import SHORTEST, RepoId, RepoKind, SnapshotId

MAIN = frozenset({"main", "HEAD", "refs/heads/main"})


@dataclass(frozen=True, slots=True)
class ListedRow:
    """An entry of a trusted index, and the name of its publisher."""

    entry: Entry
    publisher: str


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A search for repositories of a kind whose names contain these words, by this author ("": any).

    Words and author ignore case. `after` is the name after which the results continue.
    """

    kind: RepoKind
    words: tuple[str, ...] = ()
    author: str = ""
    after: str = ""

    @property
    def all_words(self) -> tuple[str, ...]:
        """The words that each matching name contains; other names may contain them too."""
        return (*self.words, f"{self.author}/") if self.author else self.words

    def asks_for(self, repo: RepoId) -> bool:
        """Tell whether a repository matches."""
        return name_filter(self.words, self.kind, self.after)(repo) and (
            not self.author or repo.org.lower() == self.author.lower()
        )


@dataclass(frozen=True, slots=True)
class Meant:
    """The snapshot that a name means, and the reason in words."""

    id: SnapshotId
    why: str


@dataclass(frozen=True, slots=True)
class MainWords:
    """Other sources for `main`: refs/main of the cache, and when the Hub last showed a snapshot."""

    cache_main: Callable[[RepoId], CommitId | None] = lambda _: None
    shown_at: Callable[[SnapshotId], datetime | None] = lambda _: None


class Names:
    """Resolves names; thread-safe. `held` returns the snapshots of a repository that may be served."""

    def __init__(
        self,
        voices: Callable[[], Sequence[Voice]],
        held: Callable[[RepoId], Sequence[SnapshotId]],
        words: MainWords,
    ) -> None:
        self._voices, self._held, self._words = voices, held, words

    def listed(self, repo: RepoId) -> list[ListedRow]:
        """Return what trusted indexes list of a repository, newest first; raises as `Listing.find` does."""
        rows = [ListedRow(entry, voice.name) for voice in self._voices() for entry in voice.listed.find(repo)]
        return sorted(rows, key=lambda one: _newest_first(one.entry))

    def search(self, query: ListQuery, held: Iterable[RepoId]) -> Iterator[tuple[RepoId, Entry | None]]:
        """Yield the repositories that match a query, in order, each with its newest listed entry.

        `held` may include others, which are skipped; unlisted repositories come with None.
        """
        asked = [one for one in sorted(set(held)) if query.asks_for(one)]
        found = [
            ((entry.id.repo, entry) for entry in voice.listed.called(query.all_words, query.kind, query.after))
            for voice in self._voices()
        ]
        merged = heapq.merge(((one, None) for one in asked), *found, key=_by_text)
        for repo, rows in groupby(merged, key=itemgetter(0)):
            if query.asks_for(repo):
                entries = [entry for _, entry in rows if entry is not None]
                yield repo, min(entries, key=_newest_first, default=None)

    def resolve(self, repo: RepoId, revision: str) -> Meant:
        """Return what a revision names.

        Raises `HubRefusedError` if it is unknown, `HubMovedError` if the name is known in another case.
        """
        listed, held = self.listed(repo), self._held(repo)
        known = {row.entry.id.commit for row in listed} | {one.commit for one in held}
        if not known:
            raise self._unknown(repo)
        if revision in MAIN:
            return self._main(repo, listed, held)
        commit = _commit(revision, known)
        if commit is None:
            raise HubRefusedError(revision_not_found(revision))
        return Meant(SnapshotId(repo, commit), "it was asked for by its commit")

    def main(self, repo: RepoId) -> Meant | None:
        """Return what `main` of a repository names, None if no source says.

        Raises `HubRefusedError` or `HubMovedError` for an unknown repository.
        """
        try:
            return self.resolve(repo, "main")
        except HubRefusedError as error:
            if error.problem.code == "RepoNotFound":
                raise
            return None

    def _unknown(self, repo: RepoId) -> NotFoundError:
        own = next((own for voice in self._voices() if (own := voice.listed.spelled(repo)) is not None), None)
        return HubRefusedError(repo_not_found(repo.text)) if own is None else HubMovedError(repo, own)

    def _main(self, repo: RepoId, listed: Sequence[ListedRow], held: Sequence[SnapshotId]) -> Meant:
        if listed:
            newest = listed[0]
            return Meant(newest.entry.id, f"the newest commit that {newest.publisher} lists")
        named = self._words.cache_main(repo)
        for one in held:
            if one.commit == named:
                return Meant(one, "refs/main of the Hugging Face cache names it")
        shown = [(at, one) for one in held if (at := self._words.shown_at(one)) is not None]
        if shown:
            return Meant(max(shown)[1], "the newest that the Hub has shown to this home")
        why = "no publisher you trust says which commit it is; ask for the commit itself"
        raise HubRefusedError(revision_not_found("main", why))


def _newest_first(entry: Entry) -> tuple[float, SnapshotId]:
    return -entry.added.timestamp(), entry.id


def _by_text(one: tuple[RepoId, Entry | None]) -> str:
    return one[0].text


def _commit(revision: str, known: Iterable[CommitId]) -> CommitId | None:
    try:
        whole = CommitId.parse(revision)
    except FormatError:
        if len(revision) < SHORTEST:
            return None
        matches = [one for one in known if str(one).startswith(revision)]
        return matches[0] if len(matches) == 1 else None
    return whole if whole in known else None
