"""Get an info dictionary from peers, for a magnet or infohash that nobody else can explain."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from p2pqwen.errors import FormatError, NetworkError
from p2pqwen.events import Notice, Progress, Report
from p2pqwen.library import durable
from p2pqwen.library.home import Home
from p2pqwen.operations.fetch_download import PUMP
from p2pqwen.operations.fetch_plan import FetchPlan, check_infohash
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.session import Swarm
from p2pqwen.torrent.info import MAX_INFO_BYTES
from p2pqwen.torrent.metainfo import Metainfo, metainfo_from_info
from p2pqwen.values.digest import Sha1, Sha256

_SECONDS_OF_REPORT = 1.0


class NoMetadataError(NetworkError):
    """Nobody gave the torrent; it may still be rebuilt from its source."""


class KeptMetadata:
    """Info dictionaries that peers gave for fetches that are not done, so that the next try needs no peer for them.

    resume/<v1 or v2 infohash>.info, under both names; what is read is checked against the name again.
    """

    def __init__(self, home: Home) -> None:
        self._folder = home.resume

    def find(self, v1: Sha1 | None, v2: Sha256 | None) -> Metainfo | None:
        """Return the metadata kept for these infohashes, None if there is none that is good."""
        for key in (v2, v1):
            if key is not None and (path := self._path(key)).is_file():
                try:
                    metainfo = metainfo_from_info(durable.read(path, max_bytes=MAX_INFO_BYTES))
                    check_infohash(metainfo, v1, v2)
                except FormatError:
                    continue
                return metainfo
        return None

    def keep(self, metainfo: Metainfo) -> None:
        """Keep it; raises `DiskError`."""
        for key in (metainfo.infohash.v1, metainfo.infohash.v2):
            durable.write(self._path(key), metainfo.info)

    def forget(self, metainfo: Metainfo) -> None:
        """Remove what was kept; raises `DiskError`."""
        for key in (metainfo.infohash.v1, metainfo.infohash.v2):
            durable.remove(self._path(key))

    def _path(self, key: Sha1 | Sha256) -> Path:
        return self._folder / f"{key}.info"


def ask_peers(
    swarm: Swarm, plan: FetchPlan, peers: Sequence[Endpoint], *, folder: Path, timeout: float, report: Report
) -> tuple[Metainfo, list[Endpoint]]:
    """Return the metadata and the peers that were connected; raises `NoMetadataError` after `timeout` seconds.

    libtorrent has checked the bytes against the infohashes it was given; they are checked here once more.
    """
    trackers = [url for tier in plan.trackers for url in tier]
    torrent = swarm.add_magnet(plan.v1, plan.v2, folder, trackers=trackers)
    started = told = time.monotonic()
    try:
        for peer in peers:
            try:
                torrent.connect(peer)
            except NetworkError as error:
                report(Notice("warning", error.message))
        while torrent.metadata is None:
            swarm.pump(PUMP)
            if torrent.error is not None:
                raise torrent.error
            now = time.monotonic()
            if now - started >= timeout:
                raise NoMetadataError(
                    f"no peer gave the metadata of {plan.v2 or plan.v1} within {timeout:g} s",
                    got=f"{torrent.progress().peers} connected peers",
                    hint="name a peer with --peer HOST:PORT, or fetch by .torrent file",
                )
            if now - told >= _SECONDS_OF_REPORT:
                told = now
                report(Progress("metadata", 0, None, f"{torrent.progress().peers} peers"))
        connected = torrent.peers()
        metainfo = metainfo_from_info(torrent.metadata)
    finally:
        swarm.remove(torrent)
    check_infohash(metainfo, plan.v1, plan.v2)
    return metainfo, connected
