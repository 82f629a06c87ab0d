"""The commands that are struck: the state in which each begins, its arguments, and the required result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.command import CommandLine
from tests.support.faults.judge import Judge
from tests.support.faults.scenery import QUIET, REPO, Scenery

Words = Callable[[Scenery, CommandLine], tuple[str | Path, ...]]


@dataclass(frozen=True, slots=True)
class Work:
    """A command. `again` is the command that finishes it after a strike; `done` yields what is still wrong then."""

    template: str
    words: Words
    done: Callable[[Scenery, Judge], Iterator[str]]
    again: Words | None = None
    fetches: bool = False

    def repeated(self, scene: Scenery, user: CommandLine) -> tuple[str | Path, ...]:
        return (self.again or self.words)(scene, user)


def _fetch(peer: Callable[[Scenery], str], *, magnet: bool = False) -> Words:
    def words(scene: Scenery, user: CommandLine) -> tuple[str | Path, ...]:
        v2 = scene.new.metainfo.infohash.v2
        target = f"magnet:?xt=urn:btmh:1220{v2}&dn={scene.new.id}" if magnet else scene.new.torrent
        options = ("--peer", peer(scene), *QUIET, "--no-web-seeds", "--timeout", "30")
        # A magnet comes without proof, but this tests the whole way into the cache.
        return ("fetch", target, *options, *(["--trust-unverified"] if magnet else []))

    return words


def _has_new(scene: Scenery, judge: Judge) -> Iterator[str]:
    yield from judge.is_complete(scene.new)


def has_new_everywhere(scene: Scenery, judge: Judge) -> Iterator[str]:
    yield from judge.is_complete(scene.new)
    yield from judge.is_in_cache(scene.new)


def _has_version_2(scene: Scenery, judge: Judge) -> Iterator[str]:
    if judge.trusted != (0, 2):
        yield f"the trusted index is {judge.trusted}"


def _published_more(scene: Scenery, judge: Judge) -> Iterator[str]:
    if judge.published < (0, 2):
        yield f"the published index is {judge.published}"
    yield from judge.is_complete(scene.old)
    yield from judge.is_complete(scene.new)


def _preserve(scene: Scenery, user: CommandLine) -> tuple[str | Path, ...]:
    return "preserve", str(scene.new.id)


def _preserve_folder(scene: Scenery, user: CommandLine) -> tuple[str | Path, ...]:
    folder = scene.folder / "folders" / scene.new.commit
    return "preserve", "--from", folder, "--repo", REPO, "--commit", scene.new.commit


WORKS: Mapping[str, Work] = {
    "fetch": Work(
        "reader", _fetch(lambda scene: scene.slow), has_new_everywhere, _fetch(lambda scene: scene.fast), True
    ),
    "fetch by magnet": Work(
        "empty",
        _fetch(lambda scene: scene.slow, magnet=True),
        has_new_everywhere,
        _fetch(lambda scene: scene.fast, magnet=True),
        True,
    ),
    "go on fetching": Work(
        "half", _fetch(lambda scene: scene.slow), has_new_everywhere, _fetch(lambda scene: scene.fast), True
    ),
    "preserve": Work("empty", _preserve, _has_new),
    "preserve what is cached": Work("cached", _preserve, _has_new),
    "preserve a folder": Work("empty", _preserve_folder, _has_new),
    "materialise": Work("holder", _fetch(lambda scene: scene.fast), has_new_everywhere, fetches=True),
    "materialise over damage": Work("spoiled", _fetch(lambda scene: scene.fast), has_new_everywhere, fetches=True),
    "publish": Work("publisher", lambda scene, user: ("publish", "--out", user.home.parent / "site"), _published_more),
    "index update": Work("reader", lambda scene, user: ("index", "update", "--no-dht"), _has_version_2),
}
