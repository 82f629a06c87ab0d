"""Get an info dictionary and its piece layers from peers, for a magnet or infohash that no other source resolves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from p2pqwen.containment import each
from p2pqwen.errors import FormatError, NetworkError
from p2pqwen.events import Notice, Progress, Report
from p2pqwen.library import durable
from p2pqwen.library.home import Home
from p2pqwen.operations.fetch.download import PUMP
from p2pqwen.operations.fetch.plan import MagnetPlan, check_infohash
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.peer_isolation import MAX_TRIED, TRIAL_SECONDS
from p2pqwen.swarm.session import Swarm
from p2pqwen.swarm.torrent import SwarmTorrent
from p2pqwen.torrent.info import MAX_INFO_BYTES
from p2pqwen.torrent.metainfo import Metainfo, metainfo_from_info, parse_metainfo
from p2pqwen.values.digest import Sha1, Sha256
from p2pqwen.values.plural import plural

_SECONDS_OF_REPORT = 1.0
_LAYERS_LEAST = 4.0  # base of the time limit for piece layers, in seconds
_LAYERS_FILE = 0.25  # plus seconds for each file, which needs a separate request
_LAYERS_RATE = 50_000  # plus this rate in bytes a second: a malicious peer could stall for ever
_LAYERS_STEP = 1024  # bytes of traffic that count as progress
_LAYERS_EVERY = 0.2
_CONNECT = 1.0  # seconds to reconnect to a peer


class NoMetadataError(NetworkError):
    """No peer sent the torrent; it may still be rebuilt from its source."""


class KeptMetadata:
    """Info dictionaries from peers for unfinished fetches, so the next try needs no peer for them.

    Stored as resume/<infohash>.info under both infohashes, v1 and v2; checked against them on reading.
    """

    def __init__(self, home: Home) -> None:
        self._folder = home.resume

    def find(self, v1: Sha1 | None, v2: Sha256 | None) -> Metainfo | None:
        """Return the metadata kept for these infohashes, None if there is no valid one."""
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
    swarm: Swarm, plan: MagnetPlan, peers: Sequence[Endpoint], *, timeout: float, report: Report
) -> tuple[Metainfo, list[Endpoint]]:
    """Return the metadata and the peers that were connected; raises `NoMetadataError` after `timeout` seconds.

    libtorrent checks the bytes against the infohashes; they are checked here again. After wrong bytes, libtorrent asks
    no peer for a while. So if several peers are connected and none sends the right bytes, each is asked alone in turn.
    """
    asking = _Asking(swarm, plan, peers, time.monotonic() + timeout, report)
    turns: list[Endpoint] = []
    try:
        while True:
            only = turns.pop(0) if turns else None
            swarm.admit([] if only is None else [only], ())
            if (found := asking.ask(only)) is not None:
                break
            turns = turns or (asking.met if only is None else [])
    finally:
        swarm.admit((), ())
    metainfo, connected = found
    check_infohash(metainfo, plan.v1, plan.v2)
    return metainfo, connected


def ask_for_layers(
    swarm: Swarm,
    metainfo: Metainfo,
    peers: Sequence[Endpoint],
    *,
    trackers: Sequence[str] = (),
    timeout: float,
    report: Report,
) -> Metainfo:
    """Return the metadata with its piece layers, which allow each piece to be verified alone (BEP 52).

    libtorrent requests hashes only over connections made with the v2 infohash, so the torrent is added again under
    that. Returns `metainfo` unchanged if no peer sends all layers within a quarter of `timeout`: some speak only v1, or
    refuse. Anything that `report` raises ends it.
    """
    asking = _AskingForLayers(swarm, metainfo, trackers, timeout / 4, report)
    try:
        found = asking.ask(peers, connect=TRIAL_SECONDS)
        for peer in asking.met if len(asking.met) > 1 else ():
            if found is None and not asking.is_late:
                swarm.admit([peer], ())
                found = asking.ask([peer], connect=_CONNECT)
    finally:
        swarm.admit((), ())
    return metainfo if found is None else replace(metainfo, piece_layers=found.piece_layers)


class _AskingForLayers:
    """Asks for piece layers, try after try. `met`: the peers that were connected."""

    def __init__(
        self,
        swarm: Swarm,
        metainfo: Metainfo,
        trackers: Sequence[str],
        seconds: float,
        report: Report,
    ) -> None:
        self._swarm, self._metainfo, self._trackers = swarm, metainfo, trackers
        self._deadline, self._report, self._told = time.monotonic() + seconds, report, 0.0
        layout = metainfo.layout
        self._seconds = _LAYERS_LEAST + len(layout.files) * _LAYERS_FILE + layout.piece_count * 32 / _LAYERS_RATE
        self.met: list[Endpoint] = []

    @property
    def is_late(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._deadline

    def ask(self, peers: Sequence[Endpoint], *, connect: float) -> Metainfo | None:
        """Ask these peers; None if they send nothing for `TRIAL_SECONDS`, or none connects in `connect` seconds."""
        v2, trackers = self._metainfo.infohash.v2, self._trackers
        torrent = self._swarm.add_magnet(None, v2, trackers=trackers, held=True)
        started = asked = since = time.monotonic()
        traffic = 0
        try:
            each(peers, torrent.connect, failed=lambda *_: None)  # a name without an address
            torrent.start()
            while (
                (now := time.monotonic()) - started < self._seconds and now - since < TRIAL_SECONDS and not self.is_late
            ):
                self._swarm.pump(PUMP)
                self._tell(now, started)
                if torrent.error is not None or (now - started > connect and not torrent.peers()):
                    break
                if (came := torrent.traffic()) >= traffic + _LAYERS_STEP:
                    traffic, since = came, now
                if torrent.torrent_file is not None:
                    return self._checked(torrent.torrent_file)
                if torrent.metadata is not None and now - asked >= _LAYERS_EVERY:
                    asked = now
                    torrent.request_torrent_file()
            return None
        finally:
            self.met = self.met or list({peer.host: peer for peer in torrent.met}.values())[:MAX_TRIED]
            self._swarm.remove(torrent)

    def _tell(self, now: float, started: float) -> None:
        if now - self._told >= _SECONDS_OF_REPORT:
            self._told = now
            waited = round(now - started)
            self._report(Progress("metadata", waited, round(self._seconds), "waiting for piece layers", "s"))

    def _checked(self, data: bytes) -> Metainfo | None:
        try:
            found = parse_metainfo(data)
        except FormatError:
            return None
        return found if found.infohash == self._metainfo.infohash else None


class _Asking:
    """Asks for one info dictionary, try after try, until `deadline`. `met`: the peers that were connected."""

    def __init__(
        self, swarm: Swarm, plan: MagnetPlan, peers: Sequence[Endpoint], deadline: float, report: Report
    ) -> None:
        self._swarm, self._plan, self._peers = swarm, plan, peers
        self._deadline, self._report = deadline, report
        self._started = self._told = time.monotonic()
        self.met: list[Endpoint] = []

    def ask(self, only: Endpoint | None) -> tuple[Metainfo, list[Endpoint]] | None:
        """Ask all peers, or `only` one; None after `TRIAL_SECONDS` if several can be asked in turn."""
        plan = self._plan
        torrent = self._swarm.add_magnet(plan.v1, plan.v2, trackers=plan.leads.tracker_urls, held=True)
        ends = time.monotonic() + TRIAL_SECONDS
        try:
            self._connect(torrent, self._peers if only is None else [only])
            torrent.start()
            while torrent.metadata is None:
                self._swarm.pump(PUMP)
                if torrent.error is not None:
                    raise torrent.error
                if self._look(torrent) >= ends and (only is not None or len(torrent.met) > 1):
                    self.met = list(torrent.met) if only is None else self.met
                    return None
            return metainfo_from_info(torrent.metadata), torrent.peers()
        finally:
            self._swarm.remove(torrent)

    def _connect(self, torrent: SwarmTorrent, peers: Sequence[Endpoint]) -> None:
        each(peers, torrent.connect, failed=lambda _, error: self._report(Notice("warning", error.message)))

    def _look(self, torrent: SwarmTorrent) -> float:
        """Report progress and return the time; raises `NoMetadataError` after the deadline."""
        now = time.monotonic()
        if now >= self._deadline:
            raise NoMetadataError(
                f"no peer sent the metadata of {self._plan.v2 or self._plan.v1} within {now - self._started:.0f} s",
                got=plural(torrent.progress().peers, "connected peer"),
                hint="name a peer with --peer HOST:PORT, or fetch by .torrent file",
            )
        if now - self._told >= _SECONDS_OF_REPORT:
            self._told = now
            peers = plural(torrent.progress().peers, "peer")
            waited, longest = now - self._started, self._deadline - self._started
            # There is nothing to count but the time.
            self._report(
                Progress("metadata", round(waited), round(longest), f"waiting for a peer that has it, {peers}", "s")
            )
        return now
