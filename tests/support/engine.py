"""A swarm engine in memory: it reads and writes real files and checks real hashes, under a simulated clock.

`MemoryEngine` implements `operations.engine`, both to seed and to download. Engines of one `MemoryNetwork` reach each
other by endpoint; `MemoryNetwork.peer` adds peers that are slow, partial or lying. `test_engine_contract.py` holds it
and the real session to the same assertions.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from p2pqwen.errors import P2pqwenError
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.progress import Phase, TorrentProgress
from p2pqwen.swarm.reach import Reach
from p2pqwen.swarm.resume_data import Resume
from p2pqwen.swarm.torrent import TorrentGoneError
from p2pqwen.swarm.urgency import Urgency
from p2pqwen.swarm.writable import WritableFiles
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.repo_path import RepoPath

if TYPE_CHECKING:
    from p2pqwen.operations.engine import Clock, DownloadEngine, SeedEngine

_SHA1 = 20
FAST = 1 << 30  # bytes a second


class VirtualClock:
    """A clock that advances when a caller sleeps; planned actions run when their time passes."""

    def __init__(self, start: float = 1000.0) -> None:
        self._start = self._now = start
        self._plans: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        return self._now

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._now - self._start

    def sleep(self, seconds: float, /) -> None:
        until = self._now + seconds
        while self._plans and self._plans[0][0] <= until:
            moment, _, action = heapq.heappop(self._plans)
            self._now = max(self._now, moment)
            action()
        self._now = max(self._now, until)

    def at(self, elapsed: float, action: Callable[[], object]) -> None:
        """Plan an action for a time, in seconds since the start."""
        heapq.heappush(self._plans, (self._start + elapsed, next(self._order), action))


@dataclass(eq=False)
class Giver:
    """A source of pieces: a peer or a web seed. `pieces` None: all; `wrong`: those that it gives with a bad byte.

    `stops_after`: the number of bytes after which it stays connected but gives nothing more.
    """

    read: Callable[[int], bytes | None]
    rate: int = FAST
    pieces: frozenset[int] | None = None
    wrong: frozenset[int] = frozenset()
    stops_after: int | None = None
    given: int = 0
    gave: set[int] = field(default_factory=set)

    def has(self, piece: int) -> bool:
        return self.pieces is None or piece in self.pieces

    def bytes_of(self, piece: int) -> bytes | None:
        data = self.read(piece)
        return data if data is None or piece not in self.wrong else bytes([data[0] ^ 1]) + data[1:]

    def rate_now(self) -> int:
        return 0 if self.stops_after is not None and self.given >= self.stops_after else self.rate


@dataclass
class MemoryNetwork:
    """The reachable sources and their shared clock. Peers are found by endpoint and infohash, web seeds by URL."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    web: dict[str, Giver] = field(default_factory=dict)
    _peers: dict[tuple[Endpoint, str], Giver] = field(default_factory=dict)
    _seeds: dict[Endpoint, MemoryEngine] = field(default_factory=dict)

    def peer(
        self, endpoint: Endpoint, metainfo: Metainfo, folder: Path, rate: int = FAST, **behaviour: object
    ) -> Giver:
        """Add a peer that gives the files of a snapshot's folder."""
        giver = Giver(lambda piece: _read_piece(metainfo, folder, piece), rate, **behaviour)  # type: ignore[arg-type]
        self._peers[endpoint, str(metainfo.infohash.v1)] = giver
        return giver

    def web_seed(self, url: str, metainfo: Metainfo, folder: Path, rate: int = FAST, **behaviour: object) -> Giver:
        """Add a web seed that does the same."""
        giver = Giver(lambda piece: _read_piece(metainfo, folder, piece), rate, **behaviour)  # type: ignore[arg-type]
        self.web[url] = giver
        return giver

    def remove(self, endpoint: Endpoint) -> None:
        """Remove a peer."""
        self._peers = {key: giver for key, giver in self._peers.items() if key[0] != endpoint}

    def join(self, engine: MemoryEngine) -> Endpoint:
        endpoint = Endpoint("127.0.0.1", 40_000 + len(self._seeds))
        self._seeds[endpoint] = engine
        return endpoint

    def giver(self, endpoint: Endpoint, metainfo: Metainfo) -> Giver | None:
        """Return the source at an endpoint for this torrent, or None."""
        if (engine := self._seeds.get(endpoint)) is not None:
            return engine.giver(metainfo)
        return self._peers.get((endpoint, str(metainfo.infohash.v1)))


class MemoryTorrent:
    """A torrent of a `MemoryEngine`; it implements `operations.engine`."""

    def __init__(self, engine: MemoryEngine, metainfo: Metainfo, save_path: Path) -> None:
        self.engine, self.metainfo = engine, metainfo
        self.folder = save_path / metainfo.name
        count = metainfo.layout.piece_count
        self.have = bytearray(count)
        self.wanted = frozenset(range(count))
        self.files: Collection[RepoPath] | None = None
        self.error: P2pqwenError | None = None
        self.checked = self.finished = False
        self.failed_pieces = self.flushes = self.resume_answers = 0
        self.resume: bytes | None = None
        self.met: dict[Endpoint, None] = {}
        # For tests: what it was told to do.
        self.shared = self.started = self.trusted = self.seeds = False
        self.paused = True
        self.trackers: Sequence[Sequence[str]] = ()
        self.slots = -1
        self.announced = 0
        self.sequential = False
        self.urls: tuple[str, ...] = ()
        self.uploaded = 0
        self.flush_due = self.resume_due = self.recheck_due = False
        self.read = 0.0  # bytes checked
        self.unknown: Callable[[bytes], Iterable[int]] | None = None
        self.known: bytes | None = None
        self._told: dict[Endpoint, None] = {}
        self._links: dict[Endpoint, Giver] = {}
        self._banned: set[Endpoint | str] = set()
        self._credit: dict[Endpoint | str, float] = {}
        self._gave = {"peers": 0, "web": 0}
        self._rates = {"peers": 0, "web": 0}
        self._gone = False
        self._stepped = engine.network.clock.monotonic()

    # What both see

    def progress(self, *, fresh: bool = False) -> TorrentProgress:
        self._alive()
        sizes = {piece: _piece_size(self.metainfo, piece) for piece in self.wanted}
        total = sum(sizes.values())
        done = sum(size for piece, size in sizes.items() if self.have[piece])
        partial = round(sum(self._credit.values())) if self.started and not self.finished else 0
        people = self._links
        return TorrentProgress(
            phase=self._phase(),
            total=total,
            done=min(total, done + partial),
            checked=1.0 if self.checked else min(1.0, self.read / max(1, total)),
            peers=len(people),
            seeds=sum(all(map(giver.has, self.wanted)) for giver in people.values()),
            web_seeds=len(self._web()),
            known=len(self._told.keys() - people.keys()),
            download_rate=sum(self._rates.values()),
            peer_rate=self._rates["peers"],
            upload_rate=0,
            received=sum(self._gave.values()),
            received_from_peers=self._gave["peers"],
            received_from_web_seeds=self._gave["web"],
            uploaded=self.uploaded,
            failed=0,
            paused=self.paused,
        )

    def sync_pieces(self) -> None:
        self._alive()

    def leave(self) -> None:
        self._gone = True
        self.engine.torrents.pop(self, None)

    # A seed

    def release(self) -> bool:
        self.leave()
        return True

    def share(self, trackers: Sequence[Sequence[str]]) -> None:
        self._alive()
        self.trackers, self.shared, self.paused = trackers, True, False

    def pause(self) -> None:
        self._alive()
        self.paused = True

    def announce(self) -> None:
        self._alive()
        self.announced += 1

    def set_upload_slots(self, slots: int) -> None:
        self._alive()
        self.slots = slots

    # A download

    def connect(self, peer: Endpoint) -> None:
        self._alive()
        self._told[peer.resolve()] = None

    def start(self) -> None:
        self._alive()
        self.started, self.paused = True, False

    def in_order(self, *, wanted: bool) -> None:
        self._alive()
        self.sequential = wanted

    def want(self, pieces: Iterable[int], urgency: Urgency) -> None:
        self._alive()
        named = frozenset(pieces)
        self.wanted = self.wanted - named if urgency is Urgency.NEVER else self.wanted | named
        self.finished = self.finished and self.wanted <= {piece for piece, one in enumerate(self.have) if one}

    def set_web_seeds(self, urls: Sequence[str]) -> None:
        self._alive()
        self.urls = tuple(urls)

    def all_offered(self) -> bool:
        self._alive()
        people = self._links.values()
        return all(any(giver.has(piece) for giver in people) for piece in self._missing())

    def request_flush(self) -> None:
        self._alive()
        self.flush_due = True

    def request_resume(self) -> None:
        self._alive()
        self.resume_due = True

    # What happens while the engine is pumped

    def step(self, now: float) -> None:
        """Advance to `now` from the time of the last step."""
        seconds, self._stepped = now - self._stepped, now
        if self.error is not None:
            return
        if not self.checked or self.recheck_due:
            self._check(seconds)
        elif self.started and not self.finished:
            self._make_empty_files()
            self._receive(seconds)
        if self.checked and self.started:
            self.finished = all(self.have[piece] for piece in self.wanted)
            self._links = {} if self.finished else self._links  # seeds have nothing more to give each other
        if self.flush_due and not self.engine.disk_hangs:
            self.flush_due, self.flushes = False, self.flushes + 1
        if self.resume_due and not self.engine.disk_hangs:
            self.resume_due, self.resume_answers = False, self.resume_answers + 1
            self.resume = json.dumps(list(self.have)).encode()

    def give(self, piece: int) -> bytes | None:
        """Return a piece for a peer; a piece that was only trusted until now is checked first."""
        data = _read_piece(self.metainfo, self.folder, piece)
        if data is None or not _is_right(self.metainfo, piece, data):
            self.have[piece] = 0
            self.recheck_due = True
            return None
        self.uploaded += len(data)
        return data

    def _check(self, seconds: float) -> None:
        self.read += self.engine.reads * seconds
        if self.read < sum(_piece_size(self.metainfo, piece) for piece in self.wanted):
            return
        if self.known is None or self.recheck_due:
            for piece in self.wanted:
                data = _read_piece(self.metainfo, self.folder, piece)
                self.have[piece] = data is not None and _is_right(self.metainfo, piece, data)
        else:
            self.have[:] = self.known
            for piece in self.unknown(bytes(self.have)) if self.unknown is not None else ():
                self.have[piece] = 1
        self.checked, self.recheck_due = True, False

    def _receive(self, seconds: float) -> None:
        people, web = self._connected(), self._web()
        self._links = people
        self.met.update(dict.fromkeys(people))
        givers: list[tuple[Endpoint | str, Giver, str]] = [(one, giver, "peers") for one, giver in people.items()]
        givers += [(url, giver, "web") for url, giver in web.items()]
        missing = self._missing()
        rates = {name: giver.rate_now() if any(map(giver.has, missing)) else 0 for name, giver, _ in givers}
        limit = min(self.engine.download_limit or FAST, self.engine.download_rate or FAST)
        part = min(1.0, limit / max(1, sum(rates.values())))
        self._rates = {"peers": 0, "web": 0}
        for name, giver, kind in givers:
            self._rates[kind] += round(part * rates[name])
            self._credit[name] = self._credit.get(name, 0.0) + part * rates[name] * seconds
            if giver.stops_after is not None:
                self._credit[name] = min(self._credit[name], giver.stops_after - giver.given)
            self._take_from(name, giver, kind)
            if self.error is not None:
                return

    def _make_empty_files(self) -> None:
        for file in self.metainfo.layout.files:
            if not file.size and (self.files is None or file.path in self.files):
                (self.folder / file.path.text).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / file.path.text).touch()

    def _take_from(self, name: Endpoint | str, giver: Giver, kind: str) -> None:
        for piece in self._missing():
            size = _piece_size(self.metainfo, piece)
            if self._credit[name] < size:
                return
            if not giver.has(piece) or (data := giver.bytes_of(piece)) is None:
                continue
            self._credit[name] -= size
            giver.given += size
            giver.gave.add(piece)
            self._gave[kind] += size
            if _is_right(self.metainfo, piece, data):
                _write_piece(self.metainfo, self.folder, piece, data)
                self.have[piece] = 1
                continue
            self.failed_pieces += 1
            if self.engine.contradiction is not None:
                self.error = self.engine.contradiction
                return
            if self.engine.bans:
                self._banned.add(name)
                return
        self._credit[name] = 0.0  # it has nothing more that we need

    def _missing(self) -> list[int]:
        return [piece for piece in sorted(self.wanted) if not self.have[piece]]

    def _connected(self) -> dict[Endpoint, Giver]:
        told = [one for one in self._told if one not in self._banned and self.engine.admits(one)]
        found = {one: self.engine.network.giver(one, self.metainfo) for one in told}
        return {one: giver for one, giver in found.items() if giver is not None}

    def _web(self) -> dict[str, Giver]:
        web = self.engine.network.web
        return {url: web[url] for url in self.urls if url in web and url not in self._banned and self.started}

    def _phase(self) -> Phase:
        if not self.checked or self.recheck_due:
            return Phase.CHECKING
        finished = self.seeds or all(self.have[piece] for piece in self.wanted)
        return Phase.FINISHED if finished else Phase.DOWNLOADING

    def _alive(self) -> None:
        if self._gone:
            raise TorrentGoneError("the torrent has left the session")


class MemoryEngine:
    """An engine in memory. Tests may set its reading speed, whether its disk hangs, and whether it bans liars."""

    def __init__(
        self,
        network: MemoryNetwork,
        *,
        looks_for_peers: bool = False,
        download_limit: int = 0,
        nodes: Sequence[Endpoint] = (),
    ) -> None:
        self.network = network
        self.looks_for_peers, self.download_limit = looks_for_peers, download_limit
        self.listening: list[Endpoint] = [network.join(self)]
        self.reach = Reach()
        self.torrents: dict[MemoryTorrent, None] = {}
        self.reads = FAST  # bytes a second
        self.adding = 0.0  # seconds to add a torrent
        self.disk_hangs = False
        self.bans = True
        self.contradiction: P2pqwenError | None = None  # the error with which a wrong piece stops a download
        self.refuses: dict[str, P2pqwenError] = {}  # the error of adding a torrent, by name
        self.upload_rate = self.download_rate = 0
        self.rates: list[tuple[int, int]] = []
        self.admitted: list[tuple[frozenset[str], frozenset[str]]] = []
        self.added: list[MemoryTorrent] = []
        self._only: frozenset[str] = frozenset()
        self._banned: frozenset[str] = frozenset()
        self._nodes = list(nodes)
        self._woken = False

    def pump(self, seconds: float) -> None:
        if self._woken:
            self._woken, seconds = False, 0.0
        self.network.clock.sleep(seconds)
        for torrent in list(self.torrents):
            torrent.step(self.network.clock.monotonic())

    def wake(self) -> None:
        self._woken = True

    def dht_nodes(self) -> list[Endpoint]:
        return self._nodes

    def set_rates(self, *, upload: int, download: int) -> None:
        self.upload_rate, self.download_rate = upload, download
        self.rates.append((upload, download))

    def admit(self, only: Collection[Endpoint], banned: Iterable[str]) -> None:
        self._only, self._banned = frozenset(one.host for one in only), frozenset(banned)
        self.admitted.append((self._only, self._banned))

    def admits(self, peer: Endpoint) -> bool:
        return peer.host not in self._banned and (not self._only or peer.host in self._only)

    def add_seed(
        self, metainfo: Metainfo, save_path: Path, *, files: Collection[RepoPath] | None = None, trusted: bool = False
    ) -> MemoryTorrent:
        torrent = self._add(metainfo, save_path)
        if files is not None:
            torrent.files, torrent.wanted = frozenset(files), frozenset(_pieces_of(metainfo, files))
        torrent.seeds, torrent.trusted = True, trusted
        if trusted:
            torrent.have[:] = bytes(piece in torrent.wanted for piece in range(len(torrent.have)))
            torrent.checked = True
        return torrent

    def add_download(
        self,
        metainfo: Metainfo,
        writable: WritableFiles,
        *,
        trackers: Sequence[Sequence[str]] = (),
        resume: Resume | None = None,
        held: bool = False,
    ) -> MemoryTorrent:
        torrent = self._add(metainfo, writable.save_path)
        torrent.trackers = trackers
        torrent.files, torrent.wanted = writable.files, frozenset(_pieces_of(metainfo, writable.files))
        if resume is not None:
            torrent.known, torrent.unknown = bytes(json.loads(resume.data)), resume.unknown
        torrent.started = not held
        return torrent

    def giver(self, metainfo: Metainfo) -> Giver | None:
        """Return what this engine serves of a torrent, or None."""
        for torrent in self.torrents:
            if torrent.metainfo.infohash == metainfo.infohash and torrent.shared and not torrent.paused:
                return Giver(torrent.give, self.upload_rate or FAST, frozenset(_ones(torrent.have)))
        return None

    def _add(self, metainfo: Metainfo, save_path: Path) -> MemoryTorrent:
        if (error := self.refuses.get(metainfo.name)) is not None:
            raise error
        self.network.clock.sleep(self.adding)
        if any(one.metainfo.infohash == metainfo.infohash for one in self.torrents):
            raise P2pqwenError("libtorrent refused the torrent", got="torrent already exists in session")
        torrent = MemoryTorrent(self, metainfo, save_path)
        self.torrents[torrent] = None
        self.added.append(torrent)
        return torrent


def _ones(have: Iterable[int]) -> Iterator[int]:
    return (piece for piece, here in enumerate(have) if here)


def _pieces_of(metainfo: Metainfo, files: Collection[RepoPath]) -> Iterator[int]:
    for index, file in enumerate(metainfo.layout.files):
        if file.path in files:
            yield from metainfo.layout.pieces(index)


def _place(metainfo: Metainfo, piece: int) -> tuple[str, int, int, int]:
    """Return a piece's file, its offset there, the number of its bytes, and of the padding that follows."""
    layout = metainfo.layout
    for index, file in enumerate(layout.files):
        pieces = layout.pieces(index)
        if piece in pieces:
            start = (piece - pieces[0]) * layout.piece_length
            size = min(layout.piece_length, file.size - start)
            return file.path.text, start, size, layout.piece_length - size if layout.pad_after(index) else 0
    raise AssertionError(f"no file holds piece {piece}")


def _piece_size(metainfo: Metainfo, piece: int) -> int:
    return _place(metainfo, piece)[2]


def _read_piece(metainfo: Metainfo, folder: Path, piece: int) -> bytes | None:
    name, start, size, _ = _place(metainfo, piece)
    path = folder / name
    if not path.is_file():
        return None
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(size)
    return data if len(data) == size else None


def _write_piece(metainfo: Metainfo, folder: Path, piece: int, data: bytes) -> None:
    name, start, _, _ = _place(metainfo, piece)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.seek(start)
        file.write(data)


def _is_right(metainfo: Metainfo, piece: int, data: bytes) -> bool:
    padding = bytes(_place(metainfo, piece)[3])
    digest = hashlib.sha1(data + padding, usedforsecurity=False).digest()
    return digest == metainfo.pieces[piece * _SHA1 : (piece + 1) * _SHA1]


if TYPE_CHECKING:  # mypy holds it to the Protocols
    _network = MemoryNetwork()
    _clock: Clock = _network.clock
    _seeds: SeedEngine = MemoryEngine(_network)
    _downloads: DownloadEngine = MemoryEngine(_network)
