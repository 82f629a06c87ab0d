"""What a name means: from a repository and a revision to a snapshot.

A full commit is itself, and seven digits or more of one that is known are it. `main` is

1. the newest commit that trusted publishers list, this home's own publisher among them;
2. where none lists the repository: of the held commits the one that `refs/main` of the Hugging Face cache names, which
   only the Hub's own clients, a listing or the user (`fetch --set-main`) have set;
3. or else the newest that the Hub itself has shown to this home.

A proof alone never says what `main` is: anybody can make a commit and say whose it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from p2pqwen.errors import FormatError
from p2pqwen.hub_api.problem import repo_not_found, revision_not_found
from p2pqwen.index.entry import Entry
from p2pqwen.index.standing import Voice
from p2pqwen.server.hub_catalogue import HubRefusedError
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import SHORTEST, RepoId, SnapshotId

MAIN = frozenset({"main", "HEAD", "refs/heads/main"})


@dataclass(frozen=True, slots=True)
class ListedRow:
    """An entry of a trusted index, and the name of its publisher."""

    entry: Entry
    publisher: str


@dataclass(frozen=True, slots=True)
class Table:
    """What trusted indexes list, by repository and the newest first; `lower` has the names in lower case."""

    rows: Mapping[RepoId, tuple[ListedRow, ...]]
    lower: Mapping[str, RepoId] = field(repr=False)

    @classmethod
    def of(cls, voices: Iterable[Voice]) -> Table:
        """Gather what these publishers list."""
        rows: dict[RepoId, list[ListedRow]] = {}
        for voice in voices:
            for entry in voice.listed:
                rows.setdefault(entry.id.repo, []).append(ListedRow(entry, voice.name))
        sorted_rows = {
            repo: tuple(sorted(found, key=lambda one: (-one.entry.added.timestamp(), one.entry.id)))
            for repo, found in rows.items()
        }
        return cls(sorted_rows, {str(repo).lower(): repo for repo in sorted_rows})


@dataclass(frozen=True, slots=True)
class Meant:
    """The snapshot that a name means, and in words why."""

    id: SnapshotId
    why: str


@dataclass(frozen=True, slots=True)
class MainWords:
    """Who else says what `main` is: refs/main of the cache, and when the Hub last showed a snapshot."""

    cache_main: Callable[[RepoId], CommitId | None] = lambda _: None
    shown_at: Callable[[SnapshotId], datetime | None] = lambda _: None


class Names:
    """Resolves names; for several threads. `held` are the snapshots of a repository that may be served."""

    def __init__(
        self,
        voices: Callable[[], Sequence[Voice]],
        held: Callable[[RepoId], Sequence[SnapshotId]],
        words: MainWords,
    ) -> None:
        self._voices, self._held, self._words = voices, held, words
        self._table: tuple[Sequence[Voice], Table] | None = None

    @property
    def table(self) -> Table:
        """What is listed at this moment; gathered again only when an index has changed."""
        voices, known = self._voices(), self._table
        if known is None or known[0] is not voices:
            known = self._table = voices, Table.of(voices)
        return known[1]

    def resolve(self, repo: RepoId, revision: str) -> Meant:
        """Return what a revision names; raises `HubRefusedError` where nobody knows it."""
        listed, held = self.table.rows.get(repo, ()), self._held(repo)
        known = {row.entry.id.commit for row in listed} | {one.commit for one in held}
        if not known:
            raise HubRefusedError(repo_not_found(repo.text))
        if revision in MAIN:
            return self._main(repo, listed, held)
        commit = _commit(revision, known)
        if commit is None:
            raise HubRefusedError(revision_not_found(revision))
        return Meant(SnapshotId(repo, commit), "it was asked for by its commit")

    def main(self, repo: RepoId) -> Meant | None:
        """Return what `main` of a repository is, None where nobody says; raises `HubRefusedError` for no repository."""
        try:
            return self.resolve(repo, "main")
        except HubRefusedError as error:
            if error.problem.code == "RepoNotFound":
                raise
            return None

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


def _commit(revision: str, known: Iterable[CommitId]) -> CommitId | None:
    try:
        whole = CommitId.parse(revision)
    except FormatError:
        if len(revision) < SHORTEST:
            return None
        matches = [one for one in known if str(one).startswith(revision)]
        return matches[0] if len(matches) == 1 else None
    return whole if whole in known else None
