"""The places that an index names for its readers: its mirrors, and the trackers and web seeds of its entries.

They stay until the publisher removes them: publishing by itself only adds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from p2pqwen.errors import NotFoundError, UsageError
from p2pqwen.index.document import MAX_MIRRORS, IndexDocument
from p2pqwen.values.repo_pattern import expand, pattern_of
from p2pqwen.values.snapshot_id import RepoKind, SnapshotId


@dataclass(frozen=True, slots=True)
class NamedPlaces:
    """What an index names. `web_seeds` and `trackers` are by entry; `shared_…` are those of every entry.

    A shared web seed is a pattern (`repo_pattern`), by the kind of the repositories that have it. A path seed among web
    seeds ends in `{path}`.
    """

    mirrors: tuple[str, ...] = ()
    web_seeds: Mapping[SnapshotId, tuple[str, ...]] = field(default_factory=dict)
    trackers: Mapping[SnapshotId, tuple[str, ...]] = field(default_factory=dict)
    shared_web_seeds: Mapping[RepoKind, tuple[str, ...]] = field(default_factory=dict)
    shared_trackers: tuple[str, ...] = ()

    @classmethod
    def of(cls, document: IndexDocument | None) -> NamedPlaces:
        """Return what an index names, nothing for None."""
        if document is None:
            return cls()
        entries = document.entries
        trackers = {entry.id: entry.trackers for entry in entries}
        patterns: dict[RepoKind, list[list[str]]] = {}
        for entry in entries:
            of_kind = patterns.setdefault(entry.id.repo.kind, [])
            of_kind.append([pattern_of(url, entry.id.repo) for url in entry.bases])
        return cls(
            document.mirrors,
            {entry.id: entry.bases for entry in entries},
            trackers,
            {kind: _in_all(rows) for kind, rows in patterns.items()},
            _in_all(list(trackers.values())),
        )

    def web_seeds_of(self, snapshot: SnapshotId) -> tuple[str, ...]:
        """Return the bases of a listed snapshot; for a new one, those that all others of its kind have, as patterns."""
        found = self.web_seeds.get(snapshot)
        return self.shared_web_seeds.get(snapshot.repo.kind, ()) if found is None else found

    def trackers_of(self, snapshot: SnapshotId) -> tuple[str, ...]:
        """Return the trackers of a listed snapshot; for a new one, those that all others have."""
        return self.trackers.get(snapshot, self.shared_trackers)

    def without(
        self, mirrors: Sequence[str] = (), web_seeds: Sequence[str] = (), trackers: Sequence[str] = ()
    ) -> NamedPlaces:
        """Return a copy without these; web seeds may hold `{repo}`. Raises `NotFoundError` for one not named."""
        gone_mirrors = {_plain(url) for url in mirrors}
        _require_named("mirror", gone_mirrors, map(_plain, self.mirrors))
        gone_trackers = set(trackers)
        _require_named("tracker", gone_trackers, (url for urls in self.trackers.values() for url in urls))
        named_seeds = {pattern_of(url, one.repo) for one, urls in self.web_seeds.items() for url in urls}
        _require_named(
            "web seed", set(web_seeds), {*named_seeds, *(url for urls in self.web_seeds.values() for url in urls)}
        )

        def keeps(snapshot: SnapshotId, urls: Iterable[str]) -> tuple[str, ...]:
            gone = {expand(url, snapshot.repo) for url in web_seeds}
            return tuple(url for url in urls if url not in gone)

        return NamedPlaces(
            tuple(url for url in self.mirrors if _plain(url) not in gone_mirrors),
            {one: keeps(one, urls) for one, urls in self.web_seeds.items()},
            {one: tuple(url for url in urls if url not in gone_trackers) for one, urls in self.trackers.items()},
            {
                kind: tuple(url for url in shared if url not in web_seeds)
                for kind, shared in self.shared_web_seeds.items()
            },
            tuple(url for url in self.shared_trackers if url not in gone_trackers),
        )

    def mirrors_with(self, added: Iterable[str]) -> tuple[str, ...]:
        """Return the mirrors and `added`, each once; raises `UsageError` for too many."""
        known = {_plain(url): url for url in self.mirrors}
        for url in added:
            known.setdefault(_plain(url), url)
        if len(known) > MAX_MIRRORS:
            hint = "--remove-mirror removes one"
            raise UsageError("too many mirrors", expected=f"at most {MAX_MIRRORS}", got=len(known), hint=hint)
        return tuple(known.values())


NOTHING_NAMED = NamedPlaces()


def _in_all(rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(url for url in rows[0] if all(url in row for row in rows)) if rows else ()


def _require_named(what: str, gone: set[str], named: Iterable[str]) -> None:
    known = list(dict.fromkeys(named))
    for url in sorted(gone.difference(known)):
        raise NotFoundError(f"cannot remove {url}: it is no {what} of the index", expected=_few(known) or f"a {what}")


def _few(urls: Sequence[str]) -> str:
    def words() -> Iterator[str]:
        yield from urls[:5]
        if len(urls) > 5:
            yield f"{len(urls) - 5} more"

    return ", ".join(words())


def _plain(url: str) -> str:
    """Return a mirror's address without what makes no difference: the index file's name and a trailing slash."""
    return url.removesuffix("index.json").rstrip("/")
