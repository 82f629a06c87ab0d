"""Seed the library: a node in the foreground that serves every complete snapshot and writes to none of them.

Nothing is announced before it is verified. A snapshot whose files look as they did when last verified is served at
once, and each piece is checked again when it is first requested; any other snapshot is read whole first. A damaged one
is reported, and its good pieces are served as a partial copy: they may be the last copies.

If repositories share a commit, their snapshots are one torrent, which a session holds only once. The first snapshot to
be loaded serves it for the others too, its twins.
"""

from __future__ import annotations

import enum
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from p2pqwen.containment import each, warn
from p2pqwen.errors import DiskError, P2pqwenError
from p2pqwen.events import Event, Happened, Notice, Report
from p2pqwen.library import durable
from p2pqwen.library.folders import AwaySnapshot
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.library.verified import VerifiedFiles
from p2pqwen.operations.engine import Clock, SeededTorrent, SeedEngine, WebServer
from p2pqwen.operations.node.bundle_seeds import BundleSeeds
from p2pqwen.operations.node.limits import share_upload
from p2pqwen.operations.node.publisher_sync import PublisherSync
from p2pqwen.operations.node.state import NodeAddress, NodeState, SnapshotState, write_state
from p2pqwen.operations.node.supervisor import Supervisor
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.progress import Phase, TorrentProgress
from p2pqwen.swarm.reach import Reach
from p2pqwen.swarm.session import Swarm
from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.derived import Derived
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.webseed.file_server import FileServer
from p2pqwen.webseed.offered_file import Offer

PUMP = 0.25  # seconds
LIBRARY_EVERY = 1.0  # seconds between looks for added and removed snapshots; more with hundreds of them
LOOKED_THROUGH = 250  # snapshots for each second between two looks at their folders
STATE_EVERY = 1.0
STATS_EVERY = 10.0
FEW = 200  # with fewer snapshots, the state is written with every event
LOADING = 0.2  # seconds at a time
DHT_NODES_EVERY = 2.0
SHARE_EVERY = 1.0
LOOKS_EVERY = 60.0  # seconds between looks at every file, without reading it; more with thousands of snapshots
LOOKING = 0.05  # seconds at a time
ANNOUNCED_AT_ONCE = 10  # snapshots in a turn after the network has changed, to spare trackers
MAX_CHECKING = 2  # snapshots read at once: more would only make the disk seek

_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to reach a session that listens everywhere


class SeedState(enum.StrEnum):
    """A snapshot's state in the node."""

    CHECKING = "checking"
    SEEDING = "seeding"
    DAMAGED = "damaged"  # some pieces are missing or wrong; the others are served


@dataclass(frozen=True, slots=True)
class Publishers:
    """What a node does for publishers: it seeds their bundles and keeps them in sync."""

    bundles: BundleSeeds
    sync: PublisherSync


@dataclass(frozen=True, slots=True)
class Services:
    """What runs beside a node.

    `supervisor` looks after limits, fetches and bit rot, `publishers` after indexes, bundles and DHT pointers.
    """

    supervisor: Supervisor | None = None
    publishers: Publishers | None = None


@dataclass(frozen=True, slots=True)
class _Twin:
    """A snapshot whose torrent another serves. `verified`: its files look as when verified; `look`: as when loaded."""

    held: HeldSnapshot
    verified: bool
    look: tuple[int, ...]
    web_before: int


@dataclass(slots=True, eq=False)
class _Seed:
    """One snapshot in the session.

    `files` are the wanted ones: all, or the chosen ones of a partial snapshot. `pieces` and `held_bytes` are theirs,
    counted once because every turn of the node needs them. `twins` are the other snapshots of the same torrent.
    """

    held: HeldSnapshot
    metainfo: Metainfo
    torrent: SeededTorrent
    state: SeedState
    web_before: int = 0  # bytes sent over HTTP before it was loaded
    damaged_look: tuple[int, ...] = ()
    twins: dict[SnapshotId, _Twin] = field(default_factory=dict)
    files: Sequence[RepoPath] = field(init=False)
    pieces: int = field(init=False)
    held_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        layout, wants = self.metainfo.layout, self.held.wants
        self.files = [file.path for file in layout.files if wants(file.path)]
        self.pieces = sum(len(layout.pieces(index)) for index, file in enumerate(layout.files) if wants(file.path))
        self.held_bytes = self.held.held_bytes(self.metainfo)

    @property
    def bad_pieces(self) -> int:
        """How many wanted pieces are missing or wrong; pieces of other files are never held."""
        return self.pieces - self.here

    @property
    def here(self) -> int:
        """How many pieces are here, found by counting the missing ones: far quicker for a nearly complete snapshot."""
        have = self.torrent.have
        return len(have) - have.count(0)

    @property
    def names(self) -> list[SnapshotId]:
        """The snapshots that it serves."""
        return [self.held.id, *self.twins]


def seed(
    library: Library,
    home: Home,
    settings: SwarmSettings,
    *,
    web: FileServer | None = None,
    services: Services = Services(),
    control: AbstractContextManager[object] | None = None,
    report: Report,
    stopping: Callable[[], bool],
) -> None:
    """Serve the library until `stopping` returns True; with `web`, over HTTP too, as a web seed.

    `control` is open while the node runs, within its lock.
    Raises `LockHeldError` when another node of this home runs, `P2pqwenError` when it cannot listen.
    """
    alone = durable.lock(home.locks / "node.lock", hint="each home has one node, and `p2pqwen status` shows it")
    with alone, Swarm(settings, report=report) as swarm, web or nullcontext():
        durable.remove(home.node_state)  # left by a node that was killed
        try:
            SeedLoop(library, home, settings, swarm, web, services, report).run(stopping, control or nullcontext())
        finally:
            durable.remove(home.node_state)
    report(Happened("stopped", {"pid": os.getpid()}))


class SeedLoop:
    """The turns of a node's own thread, from the start to `stopping`. `swarm` belongs to it and is already running."""

    def __init__(
        self,
        library: Library,
        home: Home,
        settings: SwarmSettings,
        swarm: SeedEngine,
        web: WebServer | None,
        services: Services,
        report: Report,
        clock: Clock = time,
    ) -> None:
        self._library, self._home, self._settings = library, home, settings
        self._swarm, self._web, self._report = swarm, web, report
        self._clock = clock
        self._supervisor, self._publishers = services.supervisor, services.publishers
        self._verified = VerifiedFiles(home)
        self._seeds: dict[SnapshotId, _Seed] = {}
        self._served_by: dict[InfoHash, SnapshotId] = {}  # which of `_seeds`, if it still does
        self._left_out: dict[SnapshotId, tuple[int, ...]] = {}
        self._timers: dict[str, float] = {}
        self._announced_ports = 0
        self._held: set[SnapshotId] = set()
        self._slots: dict[SnapshotId, int] = {}
        self._all_held = False
        self._to_load: deque[HeldSnapshot] = deque()
        self._is_loaded = False
        self._to_look_at: deque[SnapshotId] = deque()
        self._to_announce: deque[SnapshotId] = deque()
        self._followed: list[HeldSnapshot] | None = None
        self._complete: dict[SnapshotId, HeldSnapshot] = {}
        self._away: list[AwaySnapshot] = []
        self._news: list[Event] = []
        self._upload, self._download = settings.choices.upload_limit, settings.choices.download_limit
        self._rows: Derived[_Moment, SnapshotState] = Derived()
        self._written: tuple[NodeAddress, Sequence[SnapshotState]] | None = None
        self._seen_rates = (0, 0)  # at which peers and HTTP last sent
        self._web_sent = (0, self._clock.monotonic())

    def run(self, stopping: Callable[[], bool], control: AbstractContextManager[object]) -> None:
        """Take turns until `stopping` returns True; `control` is open meanwhile."""
        if (proxy := self._settings.proxy) is not None:
            self._report(Happened("proxied", {"proxy": proxy.address, "pid": os.getpid()}))
        if self._web is not None:
            self._report(Happened("http", {"host": self._web.host, "port": self._web.port, "pid": os.getpid()}))
        with ExitStack() as stack:
            if self._publishers is not None:
                self._publishers.sync.start()
                stack.callback(self._publishers.sync.stop)
            self._run_kept(stopping, control)

    def _run_kept(self, stopping: Callable[[], bool], control: AbstractContextManager[object]) -> None:
        if self._supervisor is None:
            with control:
                self._loop(stopping)
            return
        self._supervisor.start(self)
        try:
            with control:
                try:
                    self._loop(stopping)
                finally:
                    self._supervisor.stop()  # save first what must be saved, before the rest ends
        finally:
            self._supervisor.stop()

    def _loop(self, stopping: Callable[[], bool]) -> None:
        while not stopping():
            if self._supervisor is not None:
                self._supervisor.tick()
            self._tell_where()
            if self._due("library", max(LIBRARY_EVERY, len(self._seeds) / LOOKED_THROUGH)):
                self._follow_library()
            more_to_load = self._load_some()
            self._tell_loaded()
            self._swarm.pump(0.0 if more_to_load else PUMP)
            if self._due("steps", len(self._seeds) / 1000):
                each(list(self._seeds.values()), self._step, failed=self._give_up)
            self._look_at_files()
            self._announce_some()
            self._look_after_publishers()
            if self._web is not None and self._upload and self._due("share", SHARE_EVERY):
                self._share_upload(self._web)
            if self._due("state", max(STATE_EVERY, len(self._seeds) / 50)) or (self._news and len(self._seeds) < FEW):
                self._write_state()
            self._tell_news()
            if self._due("stats", STATS_EVERY):
                self._tell_stats()

    def set_rates(self, *, upload: int, download: int) -> None:
        """Hold the node to these rates, 0 for no limit; peers and HTTP share the upload rate."""
        self._upload, self._download = upload, download
        self._apply_rates()

    def hold(self, snapshot: SnapshotId, *, paused: bool, upload_slots: int) -> None:
        """Pause this snapshot, or serve it to at most `upload_slots` peers at once (-1: no limit of its own)."""
        changed = paused != (snapshot in self._held)
        self._slots[snapshot] = upload_slots
        (self._held.add if paused else self._held.discard)(snapshot)
        if (one := self._seed_of(snapshot)) is not None:
            self._serve_or_hold(one)
            if changed and one.state is SeedState.SEEDING:
                self._tell_seeding(one, snapshot)

    def hold_all(self, *, paused: bool) -> None:
        """Pause everything, or serve all that is not paused otherwise."""
        if paused != self._all_held:
            self._all_held = paused
            each(list(self._seeds.values()), self._serve_or_hold, failed=self._give_up)
            if self._publishers is not None:
                self._publishers.bundles.hold_all(paused=paused)

    def read_again(self, snapshot: SnapshotId) -> None:
        """Distrust this snapshot's pieces and read them again: it is reloaded."""
        if (one := self._seeds.get(snapshot)) is not None:
            self._drop(one, "rotten")

    def let_go(self, snapshot: SnapshotId) -> None:
        """Take a snapshot out of the session; it comes back when the library shows it."""
        if (one := self._seeds.get(snapshot)) is not None:
            self._drop(one, "removed")
        elif (one := self._seed_of(snapshot)) is not None:
            self._drop_twin(one, snapshot, "removed")

    def library_changed(self) -> None:
        """Look at the library in this turn."""
        self._timers.pop("library", None)

    def announce_again(self) -> None:
        """Announce everything served to trackers and the DHT again, a few at a time: the node's address has changed."""
        self._to_announce = deque(self._seeds)
        if self._publishers is not None:
            self._publishers.sync.soon()

    def _announce_some(self) -> None:
        for _ in range(min(ANNOUNCED_AT_ONCE, len(self._to_announce))):
            one = self._seeds.get(self._to_announce.popleft())
            if one is not None and not one.torrent.progress().paused:
                each([one], lambda seed: seed.torrent.announce(), failed=self._give_up)

    def wake(self) -> None:
        """Take the next turn at once; from any thread."""
        self._swarm.wake()

    def rows(self) -> Sequence[SnapshotState]:
        """Return the state of every snapshot; the same object while nothing changes."""
        served = self._rows.look([_Moment.of(one, self._sent_over_http(one)) for one in self._seeds.values()], _row)
        twins = [
            _twin_row(one, twin, self._sent_for(twin)) for one in self._seeds.values() for twin in one.twins.values()
        ]
        left_out = [SnapshotState(id=snapshot, state="skipped") for snapshot in self._left_out]
        away = [SnapshotState(id=one.id, state="away", size=one.size) for one in self._away]
        return (*served, *twins, *left_out, *away) if twins or left_out or away else served

    @property
    def uploaded_besides(self) -> int:
        """Payload bytes sent of bundles, which are no snapshots."""
        return self._publishers.bundles.uploaded if self._publishers is not None else 0

    @property
    def loading(self) -> bool:
        """Whether snapshots that need no reading first still wait to be loaded."""
        return self._followed is None or bool(self._to_load)

    @property
    def listening(self) -> str:
        """Where it accepts peers."""
        return ", ".join(map(str, self._swarm.listening))

    def _look_after_publishers(self) -> None:
        if self._publishers is None:
            return
        news = self._publishers.bundles.tick(self._swarm)
        if any(isinstance(one, Happened) for one in news):
            self._publishers.sync.soon()
        self._news += news
        if self._due("dht nodes", DHT_NODES_EVERY):
            ours = [Endpoint(_HERE.get(one.host, one.host), one.port) for one in self._swarm.listening]
            port = ours[0].port if ours else None
            self._publishers.sync.know((*self._swarm.dht_nodes(), *ours), port)

    @property
    def reach(self) -> Reach:
        """What is known of how others reach it."""
        return self._swarm.reach

    def _share_upload(self, web: WebServer) -> None:
        (before, then), self._web_sent = self._web_sent, (web.bytes_sent, self._clock.monotonic())
        over_http = (self._web_sent[0] - before) / max(SHARE_EVERY, self._web_sent[1] - then)
        peers = sum(one.torrent.progress().upload_rate for one in self._seeds.values())
        if self._publishers is not None:
            peers += self._publishers.bundles.upload_rate
        self._seen_rates = (peers, round(over_http))
        self._apply_rates()

    def _apply_rates(self) -> None:
        if self._web is None:
            self._swarm.set_rates(upload=self._upload, download=self._download)
            return
        peers, over_http = self._seen_rates
        of_peers, of_web = share_upload(self._upload, peers=peers, web=over_http)
        self._swarm.set_rates(upload=of_peers, download=self._download)
        self._web.set_rate(of_web)

    def _sent_over_http(self, one: _Seed) -> int:
        return 0 if self._web is None else self._web.sent(one.held.id) - one.web_before

    def _sent_for(self, twin: _Twin) -> int:
        return 0 if self._web is None else self._web.sent(twin.held.id) - twin.web_before

    def _seed_of(self, snapshot: SnapshotId) -> _Seed | None:
        """Return what serves a snapshot: its own torrent, or that of a twin."""
        if (one := self._seeds.get(snapshot)) is not None:
            return one
        return next((one for one in self._seeds.values() if snapshot in one.twins), None)

    def _serve_or_hold(self, one: _Seed) -> None:
        """Serve or pause a judged snapshot, as the user's choices and limits require."""
        if one.state is SeedState.CHECKING:
            return
        served = [] if self._all_held else [name for name in one.names if name not in self._held]
        slots = [self._slots.get(name, -1) for name in served or one.names]
        one.torrent.set_upload_slots(-1 if -1 in slots else max(slots))
        if not served:
            one.torrent.pause()
        elif one.here:
            one.torrent.share(self._trackers(one))
        if self._web is None:
            return
        for name in one.names:
            if name not in served:
                self._web.withdraw(name)
            elif one.state is SeedState.SEEDING:
                self._web.offer(Offer.of(name, one.held.folder, one.metainfo, one.files))

    def _due(self, name: str, seconds: float) -> bool:
        now = self._clock.monotonic()
        if now < self._timers.get(name, 0.0):
            return False
        self._timers[name] = now + seconds
        return True

    def _tell_where(self) -> None:
        for endpoint in self._swarm.listening[self._announced_ports :]:
            self._report(Happened("listening", {"host": endpoint.host, "port": endpoint.port, "pid": os.getpid()}))
        self._announced_ports = len(self._swarm.listening)

    def _follow_library(self) -> None:
        held = self._library.all()
        self._away = self._library.away()
        if held != self._followed:
            self._followed = held
            self._library.remember(held)
            # Verified files are served: those chosen, if the snapshot is partial.
            self._complete = {one.id: one for one in held if one.state in {State.COMPLETE, State.PARTIAL}}
            why = {one.id: "changed" for one in held} | {one.id: "away" for one in self._away}
            each(
                [self._seeds[gone] for gone in self._seeds.keys() - self._complete.keys()],
                lambda one: self._drop(one, why.get(one.held.id, "removed")),
                failed=self._give_up,
            )
            for gone in self._left_out.keys() - self._complete.keys():
                del self._left_out[gone]
            other = [one for one in self._seeds.values() if _is_another(one.held, self._complete[one.held.id])]
            each(other, lambda one: self._drop(one, "changed"), failed=self._give_up)  # and loaded again below
        self._follow_twins()
        damaged = [one for one in self._seeds.values() if one.state is SeedState.DAMAGED]
        mended = [one for one in damaged if one.damaged_look != self._look(one.held)]
        each(mended, lambda one: self._drop(one, "mended"), failed=self._give_up)  # and loaded again below
        twins = [twin for one in self._seeds.values() for twin in one.twins]
        if len(self._seeds) + len(twins) < len(self._complete):
            missing = (self._complete[one] for one in self._complete.keys() - self._seeds.keys() - set(twins))
            left_out = self._left_out
            fresh = [one for one in missing if one.id not in left_out or left_out[one.id] != self._look(one)]
            self._to_load = deque(sorted(fresh, key=lambda one: one.id))

    def _follow_twins(self) -> None:
        """Drop twins that the library no longer has as they were; those that are still there are loaded again."""

        def follow(one: _Seed) -> None:
            for twin in list(one.twins.values()):
                now = self._complete.get(twin.held.id)
                if now is None:
                    self._drop_twin(one, twin.held.id, "removed")
                elif _is_another(twin.held, now) or twin.look != self._look(now):
                    del one.twins[twin.held.id]  # and loaded again below

        each([one for one in self._seeds.values() if one.twins], follow, failed=self._give_up)

    def _look_at_files(self) -> None:
        """Reload snapshots whose files have changed: they are read before they are served again."""
        if self._due("looks", max(LOOKS_EVERY, len(self._seeds) / 20)):
            self._to_look_at = deque(self._seeds)
        until = time.monotonic() + LOOKING
        while self._to_look_at and time.monotonic() < until:
            one = self._seeds.get(self._to_look_at.popleft())
            if one is None or one.state is not SeedState.SEEDING or not self._library.is_here(one.held):
                continue
            metainfo = one.metainfo
            if self._library.state(one.held, metainfo.infohash.v2, metainfo.layout.total_size) is State.CHANGED:
                self._drop(one, "changed")

    def _load_some(self) -> bool:
        """Load due snapshots for `LOADING` seconds, so that peers and commands go on; tell whether more are due."""
        if not self._to_load:
            return False
        checking = sum(one.state is SeedState.CHECKING for one in self._seeds.values())
        until = self._clock.monotonic() + LOADING
        while self._to_load and self._clock.monotonic() < until:
            held = self._to_load.popleft()
            if checking >= MAX_CHECKING and not self._verified.stamp(held.id):
                continue  # it would have to be read: the next look finds it again, and it delays no other
            loaded = each([held], self._load, failed=self._not_loaded)
            checking += any(one is not None and one.state is SeedState.CHECKING for one in loaded)
        return bool(self._to_load)

    def _tell_loaded(self) -> None:
        if self._web is not None and not self._is_loaded and not self.loading:
            self._web.offers_complete()
            self._is_loaded = True

    def _load(self, held: HeldSnapshot) -> _Seed | None:
        """Load a snapshot; return None if another one serves its torrent already."""
        metainfo = held.metainfo()
        files = [file.path for file in metainfo.files if held.wants(file.path)]
        trusted = self._verified.unchanged(held.id, metainfo.infohash.v2, held.folder, files)
        serves = self._seeds.get(self._served_by.get(metainfo.infohash, held.id))
        if serves is not None and set(serves.files) < set(files):
            self._drop(serves, "changed")  # it has fewer files: it becomes the twin with the next look
        elif serves is not None:
            self._load_twin(serves, held, files, verified=trusted)
            return None
        self._served_by[metainfo.infohash] = held.id
        chosen = None if held.selected is None else files
        torrent = self._swarm.add_seed(metainfo, held.folder.parent, files=chosen, trusted=trusted)
        before = 0 if self._web is None else self._web.sent(held.id)
        one = self._seeds[held.id] = _Seed(held, metainfo, torrent, SeedState.CHECKING, before)
        if trusted:
            self._share(one)
        else:
            self._happened("checking", held.id, size=metainfo.layout.total_size)
        return one

    def _load_twin(self, one: _Seed, held: HeldSnapshot, files: Sequence[RepoPath], *, verified: bool) -> None:
        before = 0 if self._web is None else self._web.sent(held.id)
        one.twins[held.id] = _Twin(held, verified, self._look(held), before)
        self._serve_or_hold(one)
        text = f"{held.id} is the same torrent as {one.held.id}, whose files serve both"
        if not set(files) <= set(one.files):
            text += f"; of {held.id} no others are served"
        self._news.append(Notice("info", text))
        if one.state is SeedState.SEEDING:
            self._tell_seeding(one, held.id)

    def _drop_twin(self, one: _Seed, snapshot: SnapshotId, event: str) -> None:
        del one.twins[snapshot]
        if self._web is not None:
            self._web.withdraw(snapshot)
        self._serve_or_hold(one)
        self._happened(event, snapshot)

    def _not_loaded(self, held: HeldSnapshot, error: P2pqwenError) -> None:
        if (one := self._seeds.pop(held.id, None)) is not None:
            one.torrent.leave()
        self._left_out[held.id] = self._look(held)
        self._news.append(Notice("warning", f"{held.id} is not seeded: {error.message}"))

    def _give_up(self, one: _Seed, error: P2pqwenError) -> None:
        """Stop seeding a snapshot for which a step failed; it is loaded again once it is mended."""
        each([one], lambda one: self._leave_out(one, error.message), failed=warn(self._report, lambda one: one.held.id))
        self._seeds.pop(one.held.id, None)

    def _step(self, one: _Seed) -> None:
        if one.torrent.error is not None and not self._library.is_here(one.held):
            self._drop(one, "away")  # its disk was pulled: it comes back as it was
        elif one.torrent.error is not None and self._is_moved(one.held):
            self._drop(one, "changed")  # it is loaded again from where it is
        elif one.torrent.error is not None:
            if self._supervisor is not None and isinstance(one.torrent.error, DiskError):
                self._supervisor.disk_failed(one.held, one.torrent.error)
            self._leave_out(one, one.torrent.error.message)
        elif one.state is SeedState.CHECKING:
            if one.torrent.checked:
                self._judge(one)
        elif one.state is SeedState.SEEDING and one.bad_pieces and not _is_checking(one):
            # A requested piece is not what was verified: libtorrent has read everything again, or is about to.
            one.torrent.sync_pieces()
            if one.bad_pieces:
                self._damaged(one)

    def _is_moved(self, held: HeldSnapshot) -> bool:
        now = self._library.get(held.id)
        return now is not None and now.folder != held.folder

    def _judge(self, one: _Seed) -> None:
        if one.bad_pieces:
            self._damaged(one)
            self._serve_or_hold(one)
            return
        try:
            self._verified.record(one.held.id, one.metainfo.infohash.v2, one.held.folder, one.files)
        except P2pqwenError as error:
            self._leave_out(one, error.message)  # an empty file, which is in no piece, is missing
            return
        self._share(one)

    def _share(self, one: _Seed) -> None:
        one.state = SeedState.SEEDING
        self._serve_or_hold(one)
        for name in one.names:
            self._tell_seeding(one, name)

    def _tell_seeding(self, one: _Seed, name: SnapshotId) -> None:
        event = "paused" if name in self._held else "seeding"
        hashes, size = one.metainfo.infohash, one.metainfo.layout.total_size
        standing = self._standing(name)
        part = {} if one.held.selected is None else {"held_bytes": one.held_bytes}
        of = {} if name == one.held.id else {"served_by": str(one.held.id)}
        self._happened(
            event, name, infohash_v1=str(hashes.v1), infohash_v2=str(hashes.v2), size=size, **part, **of, **standing
        )

    def _standing(self, snapshot: SnapshotId) -> dict[str, str]:
        """Return a snapshot's standing for an event, if it is known yet."""
        stood = None if self._supervisor is None else self._supervisor.watch.of([snapshot]).get(snapshot)
        return {} if stood is None else {"standing": str(stood.standing)}

    def _damaged(self, one: _Seed) -> None:
        one.state = SeedState.DAMAGED
        self._withdraw(one)  # HTTP cannot tell which pieces are good
        self._verified.forget(one.held.id)
        one.damaged_look = self._look(one.held)
        bad, pieces = one.bad_pieces, one.pieces
        self._happened("damaged", one.held.id, bad_pieces=bad, pieces=pieces)
        self._news.append(
            Notice(
                "warning",
                f"{one.held.id}: {bad} of {pieces} pieces are damaged; `p2pqwen verify {one.held.id} --repair`",
            )
        )

    def _trackers(self, one: _Seed) -> Sequence[Sequence[str]]:
        return one.metainfo.trackers if self._settings.choices.trackers else ()

    def _leave_out(self, one: _Seed, reason: str) -> None:
        self._verified.forget(one.held.id)
        self._left_out[one.held.id] = self._look(one.held)
        self._drop(one, "skipped", reason=reason)

    def _drop(self, one: _Seed, event: str, **facts: str | int) -> None:
        del self._seeds[one.held.id]
        one.torrent.leave()
        self._withdraw(one)
        self._happened(event, one.held.id, **facts)
        if one.twins:
            self.library_changed()  # one of them is loaded in its place

    def _withdraw(self, one: _Seed) -> None:
        if self._web is not None:
            for name in one.names:
                self._web.withdraw(name)

    def _happened(self, event: str, snapshot: SnapshotId, **facts: str | int) -> None:
        known = {"repo": str(snapshot.repo), "commit": str(snapshot.commit)}
        self._news.append(Happened(event, {**known, **facts}))

    def _tell_news(self) -> None:
        """Report what happened; `status` already shows it."""
        news, self._news = self._news, []
        for event in news:
            self._report(event)

    def _look(self, held: HeldSnapshot) -> tuple[int, ...]:
        """Return a value that changes when a snapshot that was left out is mended."""
        try:
            return held.torrent_path.stat().st_mtime_ns, self._verified.stamp(held.id)
        except OSError:
            return (0, 0)

    def _write_state(self) -> None:
        rows = self.rows() if self._supervisor is None else self._supervisor.shown(self.rows())
        address, before = NodeAddress(os.getpid(), self.listening), self._written
        if before is not None and before[0] == address and before[1] is rows:
            return  # the file is up to date
        write_state(self._home.node_state, NodeState(address, tuple(rows)))
        self._written = address, rows

    def _tell_stats(self) -> None:
        rows = [one.torrent.progress() for one in self._seeds.values()]
        twins = [twin for one in self._seeds.values() for twin in one.twins.values()]
        over_http = sum(map(self._sent_over_http, self._seeds.values())) + sum(map(self._sent_for, twins))
        self._report(
            Happened(
                "stats",
                {
                    "snapshots": len(rows) + len(twins),
                    "peers": sum(row.peers for row in rows),
                    "upload_rate": sum(row.upload_rate for row in rows),
                    "uploaded": sum(row.uploaded for row in rows) + over_http,
                },
            )
        )


def _is_another(loaded: HeldSnapshot, now: HeldSnapshot) -> bool:
    """Tell whether a snapshot has other files now, or was moved to another folder of the library."""
    return (loaded.selected, loaded.folder) != (now.selected, now.folder)


def _is_checking(one: _Seed) -> bool:
    return one.torrent.progress(fresh=True).phase is Phase.CHECKING


class _Moment(NamedTuple):
    """A seed, and the parts of its row that change; the rest is fixed when it is loaded."""

    seed: _Seed
    state: SeedState
    now: TorrentProgress
    here: int  # pieces
    over_http: int  # bytes sent

    @classmethod
    def of(cls, one: _Seed, over_http: int) -> _Moment:
        return cls(one, one.state, one.torrent.progress(), one.here, over_http)


def _row(moment: _Moment) -> SnapshotState:
    one, state, now, here, over_http = moment
    if state is SeedState.CHECKING:
        progress = now.checked if now.phase is Phase.CHECKING else 1.0
    else:
        progress = here / max(1, one.pieces)
    return SnapshotState(
        id=one.held.id,
        state=state.value,
        progress=round(progress, 6),
        peers=now.peers,
        utp_peers=now.utp_peers,
        webrtc_peers=now.webrtc_peers,
        seeds=now.seeds,
        download_rate=now.download_rate,
        upload_rate=now.upload_rate,
        uploaded=now.uploaded + over_http,
        size=one.metainfo.layout.total_size,
        held_bytes=one.held_bytes,
    )


def _twin_row(one: _Seed, twin: _Twin, over_http: int) -> SnapshotState:
    """Return a twin's row: its peers are the swarm's; their traffic counts for the snapshot that serves it."""
    served = _row(_Moment.of(one, 0))
    return replace(
        served,
        id=twin.held.id,
        state=served.state if twin.verified else "changed",
        download_rate=0,
        upload_rate=0,
        uploaded=over_http,
        held_bytes=twin.held.held_bytes(one.metainfo),
    )
