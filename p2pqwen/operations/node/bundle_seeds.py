"""The bundles a node seeds: the newest published sites of its own publisher and of those it follows.

As with snapshots, nothing is announced before it has been read and found right. A bundle that is held in part is served
in part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from p2pqwen.containment import each
from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Event, Happened, Notice
from p2pqwen.index.bundle import INDEX_PATH
from p2pqwen.library import durable
from p2pqwen.library.bundles import BundleStore, HeldBundle
from p2pqwen.operations.engine import Clock, SeededTorrent, SeedEngine
from p2pqwen.operations.indexes.bundle import trackers_in
from p2pqwen.swarm.progress import TorrentProgress
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.digest import Sha256
from p2pqwen.values.repo_path import RepoPath

LOOK_EVERY = 5.0
"""Seconds between looks for bundles that were added, grew or were removed."""


@dataclass(slots=True)
class _Seeded:
    metainfo: Metainfo
    here: frozenset[RepoPath]
    torrent: SeededTorrent | None  # None: libtorrent refused it
    shared: bool = False


class BundleSeeds:
    """The bundles in a node's session; used on the node's thread. `publishers` are those whose bundles are seeded."""

    def __init__(
        self,
        store: BundleStore,
        publishers: Callable[[], Collection[Sha256]],
        *,
        trackers: bool,
        clock: Clock = time,
    ) -> None:
        self._store, self._publishers, self._trackers = store, publishers, trackers
        self._clock = clock
        self._seeded: dict[HeldBundle, _Seeded] = {}
        self._next_look = 0.0
        self._paused = False
        self._uploaded_before = 0

    @property
    def uploaded(self) -> int:
        """Payload bytes sent since the start."""
        return self._uploaded_before + sum(one.uploaded for one in self._progress())

    @property
    def upload_rate(self) -> int:
        """Payload bytes sent a second."""
        return sum(one.upload_rate for one in self._progress())

    def tick(self, swarm: SeedEngine) -> list[Event]:
        """Do what is due; return what happened."""
        news: list[Event] = []
        if self._clock.monotonic() >= self._next_look:
            self._next_look = self._clock.monotonic() + LOOK_EVERY
            self._follow_store(swarm, news)
        each(list(self._seeded), lambda one: self._step(one, self._seeded[one], news), failed=_skip(news))
        return news

    def hold_all(self, *, paused: bool) -> None:
        """Pause all bundles, or serve them again."""
        self._paused = paused
        for held, one in self._seeded.items():
            if one.torrent is not None and one.shared:
                self._serve_or_hold(held, one.torrent)

    def _progress(self) -> Iterator[TorrentProgress]:
        return (one.torrent.progress() for one in self._seeded.values() if one.torrent is not None)

    def _follow_store(self, swarm: SeedEngine, news: list[Event]) -> None:
        there = {held for some in each(self._publishers(), self._store.all, failed=_skip(news)) for held in some}
        each(list(self._seeded), lambda one: self._follow(one, there), failed=_skip(news))
        each(there - self._seeded.keys(), lambda one: self._load(swarm, one, news), failed=_skip(news))

    def _follow(self, held: HeldBundle, there: Collection[HeldBundle]) -> None:
        if held not in there or held.files_here(self._seeded[held].metainfo) != self._seeded[held].here:
            self._drop(held)  # it is loaded again, with the new files

    def _load(self, swarm: SeedEngine, held: HeldBundle, news: list[Event]) -> None:
        try:
            metainfo = held.metainfo()
        except P2pqwenError:
            return  # just removed, or damaged: the next index brings another
        one = self._seeded[held] = _Seeded(metainfo, held.files_here(metainfo), None)
        try:
            one.torrent = swarm.add_seed(metainfo, held.save_path)
        except P2pqwenError as error:
            news.append(_skipped(held, error))

    def _step(self, held: HeldBundle, one: _Seeded, news: list[Event]) -> None:
        torrent = one.torrent
        if torrent is None or one.shared:
            return
        if torrent.error is not None:
            news.append(_skipped(held, torrent.error))
            torrent.leave()
            one.torrent = None
        elif torrent.checked and torrent.have.count(1):
            one.shared = True
            self._serve_or_hold(held, torrent)
            news.append(
                Happened(
                    "bundle",
                    {
                        "publisher": str(held.publisher),
                        "epoch": held.position.epoch,
                        "version": held.position.version,
                        "infohash_v1": str(held.infohash),
                        "files": len(one.here),
                    },
                )
            )

    def _serve_or_hold(self, held: HeldBundle, torrent: SeededTorrent) -> None:
        if self._paused:
            torrent.pause()
        else:
            torrent.share(_trackers(held) if self._trackers else ())

    def _drop(self, held: HeldBundle) -> None:
        torrent = self._seeded.pop(held).torrent
        if torrent is not None:
            self._uploaded_before += torrent.progress().uploaded
            torrent.leave()


def _trackers(held: HeldBundle) -> Sequence[Sequence[str]]:
    """Return the trackers that the bundle's own index names, which was accepted before the bundle was held."""
    try:
        return [[url] for url in trackers_in(durable.read_pieces(held.path(INDEX_PATH)))]
    except P2pqwenError:
        return ()


def _skip(news: list[Event]) -> Callable[[object, P2pqwenError], None]:
    return lambda one, error: news.append(
        _skipped(one, error) if isinstance(one, HeldBundle) else Notice("warning", f"bundles of {one}: {error.message}")
    )


def _skipped(held: HeldBundle, error: P2pqwenError) -> Notice:
    return Notice("warning", f"{held.folder.name} is not seeded: {error.message}")
