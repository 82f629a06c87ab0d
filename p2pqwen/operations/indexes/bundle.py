"""Make the bundle of a published site, and fetch from a bundle in the swarm: the index first, then chosen torrents.

A bundle lends its content no trust: the rules of acceptance judge the index, and the index judges each torrent.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from p2pqwen.containment import each, first_of
from p2pqwen.errors import FormatError, NetworkError, VerificationError
from p2pqwen.events import Progress, Report, ignore
from p2pqwen.index.acceptance import Accepted, Position
from p2pqwen.index.bundle import (
    INDEX_PATH,
    build_bundle,
    bundle_deltas,
    bundle_layout,
    bundle_paths,
    check_bundle,
    delta_from,
    hash_bundle_file,
)
from p2pqwen.index.delta import DELTA_FOLDER, MAX_DELTA, Delta, delta_location, parse_delta
from p2pqwen.index.document import MAX_INDEX_SIZE, IndexDocument, read_index
from p2pqwen.index.entry import Entry, SkippedEntry, checked_row, torrent_location
from p2pqwen.index.plain_row import PlainRows
from p2pqwen.index.pointer import Pointer
from p2pqwen.library import durable
from p2pqwen.library.bundles import BundleStore, HeldBundle
from p2pqwen.library.index_rows.rows_builder import MAX_TRACKED
from p2pqwen.signing.keys import Message
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.peer_isolation import MAX_TRIED, TRIAL_SECONDS, PeerIsolation, TryOverError
from p2pqwen.swarm.progress import Phase
from p2pqwen.swarm.session import Swarm
from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.swarm.torrent import SwarmTorrent
from p2pqwen.swarm.writable import prove_writable
from p2pqwen.torrent.layout import Layout
from p2pqwen.torrent.limits import MAX_TORRENT_BYTES
from p2pqwen.torrent.metainfo import Metainfo, metainfo_from_info
from p2pqwen.values.digest import Sha256
from p2pqwen.values.plural import plural
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.strict_json import JsonObject

BUNDLE_SECONDS = 60.0
DELTA_SECONDS = 10.0
"""For a delta. Peers may hold all but the delta; the index is fetched then."""
MAX_TRACKERS = 8
_PUMP = 0.1
_SETTLE_SECONDS = 10.0
_SLOWEST = 32 * 1024
"""Bytes a second. After `_GRACE_SECONDS`, a slower peer is dropped."""
_GRACE_SECONDS = 10.0
_LEAST_TURN = 0.7
_KEEP_SECONDS = 3.0
_CONNECT_SECONDS = 2.0
_BLOCK = 16 * 1024


@dataclass(frozen=True, slots=True)
class BundleNetwork:
    """How to reach a bundle's swarm. `seconds` bounds each step: the metadata, the index, each batch of torrents.

    A batch gets one more second for each `_SLOWEST` bytes. The user or an accepted index named `peers` and `trackers`;
    strangers named the peers in `found`. `stopping` is polled throughout.
    """

    settings: SwarmSettings
    peers: tuple[Endpoint, ...] = ()
    trackers: tuple[str, ...] = ()
    found: tuple[Endpoint, ...] = ()
    seconds: float = BUNDLE_SECONDS
    stopping: Callable[[], bool] = lambda: False

    def with_found(self, peers: Iterable[Endpoint]) -> BundleNetwork:
        """Return a copy with more peers to connect to, subject to the address filter."""
        return replace(self, found=tuple(dict.fromkeys((*self.found, *peers))))


@dataclass(frozen=True, slots=True)
class BundleIndex:
    """An index from a bundle, not judged yet, and what is needed to fetch the rest later.

    `data` holds `file`, which is index.json or a delta. `led_to` is the index that the delta made from the one here.
    """

    data: bytes
    position: Position
    metainfo: Metainfo
    peers: tuple[Endpoint, ...]
    file: RepoPath = INDEX_PATH
    led_to: Sha256 | None = None

    @property
    def is_delta(self) -> bool:
        """Whether it came as a delta from a held index."""
        return self.file != INDEX_PATH


def make_bundle(store: BundleStore, accepted: Accepted, site: Path) -> tuple[HeldBundle, Metainfo]:
    """Make the bundle of a published site and keep it, so that it can be seeded; raises `DiskError`, `NotFoundError`.

    The same files, deltas included, always give the same infohash. Earlier bundles that hold the torrent of a snapshot
    withdrawn since are removed.
    """
    with durable.disk_errors(f"look at {site}"):
        sizes = {path: (site / path.text).stat().st_size for path in bundle_paths(accepted.document)}
    layout = _with_deltas(site, sizes, accepted.digest)
    hashes = {
        file.path: hash_bundle_file(_read(site, file.path), layout, number) for number, file in enumerate(layout.files)
    }
    metainfo = build_bundle(accepted.position, layout, hashes)
    with durable.lock(store.lock_path(accepted.publisher), wait=True):
        held = store.prepare(accepted.publisher, accepted.position, metainfo)
        store.share(held, metainfo)
        store.write(held, ((file.path, _read(site, file.path)) for file in layout.files))
        store.enter(held, metainfo)
        _drop_withdrawn(store, held, accepted.document)
    return held, metainfo


def _with_deltas(site: Path, sizes: Mapping[RepoPath, int], digest: Sha256) -> Layout:
    """Lay out these files of a site and the deltas that lead to its index."""
    folder = site / DELTA_FOLDER

    def read(path: Path) -> tuple[Delta, int]:
        data = durable.read(path, max_bytes=MAX_DELTA)
        delta = parse_delta(data)
        if site / delta_location(delta.base) != path:
            raise FormatError(f"{path.name} is the delta from another index", got=delta.base)
        return delta, len(data)

    there = sorted(path for path in folder.glob("*.json") if path.is_file()) if folder.is_dir() else []
    found = each(there, read, failed=lambda *_: None)  # leave out what is not a delta
    deltas = bundle_deltas(found, digest, sizes[INDEX_PATH])
    with contextlib.suppress(FormatError):  # an organisation may have the name of the deltas' folder
        return bundle_layout([*sizes.items(), *((path, (site / path.text).stat().st_size) for path in deltas)])
    return bundle_layout(sizes.items())


def _drop_withdrawn(store: BundleStore, held: HeldBundle, document: IndexDocument) -> None:
    gone = {RepoPath(torrent_location(one.id)) for one in document.withdrawn}
    earlier = [one for one in store.all(held.publisher) if one != held] if gone else []

    def drop(one: HeldBundle) -> None:
        if gone & {file.path for file in one.metainfo().files}:
            store.remove(one)

    each(earlier, drop, failed=lambda one, _: store.remove(one))  # a damaged one is of no use either


def fetch_index(
    store: BundleStore,
    publisher: Sha256,
    pointer: Pointer,
    network: BundleNetwork,
    report: Report = ignore,
    *,
    base: Sha256 | None = None,
) -> BundleIndex:
    """Fetch the index.json of the bundle that a pointer names; the caller judges it and then calls `keep_index`.

    If the bundle has a delta from the index `base` and peers provide it, the delta is returned instead.

    The claims of the pointer and the metadata are checked against the limits before anything is requested, and peers
    slower than `_SLOWEST` bytes a second are dropped. Nothing stays on disk, and this waits for no other fetch. Raises
    `NetworkError` when no peer provides it in time, `FormatError` for a torrent that is not a bundle of that index.
    """
    # The session ends before the folder is removed: its pending writes would recreate the files.
    with store.coming(publisher, pointer.position, pointer.infohash_v1) as held, _session(network, report) as swarm:
        metainfo, peers = _metadata(swarm, store, publisher, pointer, network)
        check_bundle(metainfo.parsed_info, pointer.position)
        first = replace(network, found=tuple(dict.fromkeys((*peers, *network.found))))

        def bring(file: RepoPath, within: BundleNetwork) -> BundleIndex:
            connected = _bring(swarm, store, metainfo, held, {file}, within, report)
            data = durable.read(held.path(file), max_bytes=MAX_INDEX_SIZE)
            met = tuple(dict.fromkeys((*connected, *peers)))
            return BundleIndex(data, pointer.position, metainfo, met, file)

        delta = None if base is None else delta_from(metainfo.parsed_info, base)
        if delta is not None:
            with contextlib.suppress(NetworkError):
                return bring(delta, replace(first, seconds=min(first.seconds, DELTA_SECONDS)))
        return bring(INDEX_PATH, first)


def keep_index(store: BundleStore, publisher: Sha256, brought: BundleIndex) -> HeldBundle | None:
    """Keep the bundle of an accepted index; return None if another process holds the publisher's lock for too long.

    The bundle is then left to that process or to the next attempt. Raises `DiskError`.
    """
    try:
        with _lock(store, publisher, BundleNetwork(SwarmSettings(), seconds=_KEEP_SECONDS)):
            held = store.prepare(publisher, brought.position, brought.metainfo)
            store.write(held, [(brought.file, brought.data)])
            store.enter(held, brought.metainfo)
    except NetworkError:
        return None
    return held


def fetch_torrents(
    store: BundleStore, held: HeldBundle, paths: Collection[RepoPath], network: BundleNetwork, report: Report = ignore
) -> tuple[Endpoint, ...]:
    """Fetch some files of a bundle whose index was accepted; return the peers that were connected.

    Raises `NetworkError` when the files do not arrive in time or another process keeps the bundle locked.
    """
    with _lock(store, held.publisher, network), _session(network, report) as swarm:
        metainfo = held.metainfo()
        store.share(held, metainfo)
        return _bring(swarm, store, metainfo, held, set(paths), network, report)


def trackers_of(document: IndexDocument | None) -> tuple[str, ...]:
    """Return the trackers that an index's magnets name: a bundle's peers announce there as well."""
    return trackers_of_entries(document.listing.tracked() if document is not None else ())


def trackers_of_entries(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Return the trackers that the magnets of these entries name."""
    found: dict[str, None] = {}

    def add(entry: Entry) -> bool | None:
        found.update(dict.fromkeys(entry.trackers))
        return True if len(found) >= MAX_TRACKERS else None

    # An entry whose trackers cannot be used is passed over.
    first_of(entries, add, failed=lambda *_: None)
    return tuple(found)[:MAX_TRACKERS]


def trackers_in(pieces: Iterable[bytes]) -> tuple[str, ...]:
    """Return the trackers that a previously accepted index file names; raises `FormatError`, `DiskError`."""
    sink = _TrackerSink()
    read_index(pieces, sink)
    return trackers_of_entries(sink.entries)


class _TrackerSink:
    """Keeps only the entries of an index whose magnets name trackers, up to `MAX_TRACKED`."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.size = 0

    def add(self, canonical: bytes, row: JsonObject | None) -> None:
        if row is not None and self._wants(canonical):
            found = checked_row(row)
            self.entries += [found] if isinstance(found, Entry) else []

    def add_plain(self, rows: PlainRows) -> None:
        if any(map(self._wants, rows.canonical)):
            for line, row in rows.rows():
                self.add(line, row)

    def _wants(self, canonical: bytes) -> bool:
        return b"&tr=" in canonical and len(self.entries) < MAX_TRACKED

    def message(self, before: bytes, after: bytes) -> AbstractContextManager[Message]:
        del before, after
        raise TypeError("nothing is judged here")

    def finish(self) -> tuple[Sequence[Entry], Sequence[SkippedEntry]]:
        return self.entries, ()


def _read(site: Path, path: RepoPath) -> bytes:
    limit = MAX_INDEX_SIZE if path == INDEX_PATH else max(MAX_TORRENT_BYTES, MAX_DELTA)
    return durable.read(site / path.text, max_bytes=limit)


def _session(network: BundleNetwork, report: Report) -> Swarm:
    return Swarm(network.settings.with_room_for(network.peers, urls=network.trackers), report=report)


@contextlib.contextmanager
def _lock(store: BundleStore, publisher: Sha256, network: BundleNetwork) -> Iterator[None]:
    """Hold the lock of a publisher's bundles; raises `NetworkError` when it is not free within `network.seconds`."""
    deadline = time.monotonic() + network.seconds
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(durable.lock(store.lock_path(publisher)))
                break
            except durable.LockHeldError as error:
                if network.stopping() or time.monotonic() > deadline:
                    raise NetworkError(error.message) from error
            time.sleep(_PUMP)
        yield


def _metadata(
    swarm: Swarm, store: BundleStore, publisher: Sha256, pointer: Pointer, network: BundleNetwork
) -> tuple[Metainfo, tuple[Endpoint, ...]]:
    """Return the bundle's torrent, from this home or from peers, and the peers that were connected.

    One lying peer among several can stall libtorrent (see `fetch_metadata`). If asking all peers yields nothing, each
    is asked alone, in turn.
    """
    held = store.get(publisher, pointer.position)
    if held is not None and _names(pointer, metainfo := held.metainfo()):
        return metainfo, ()
    deadline = time.monotonic() + network.seconds
    turns: list[Endpoint] = []
    only: Endpoint | None = None
    tried: dict[Endpoint, None] = {}
    share = 0.0
    try:
        while True:
            swarm.admit([] if only is None else [only], ())
            found, met = _ask_for_metadata(swarm, pointer, network, only, share, deadline)
            if found is not None:
                break
            if only is None:
                turns = _untried_first(met, tried)[:MAX_TRIED]
                share = max(_LEAST_TURN, min(TRIAL_SECONDS, network.seconds / 2 / max(1, len(turns))))
            only = turns.pop(0) if turns else None
            tried |= {} if only is None else {only: None}
    finally:
        swarm.admit((), ())
    if not _names(pointer, found):
        raise VerificationError("the bundle has another infohash than its pointer names", got=found.infohash.v2)
    return found, met


def _ask_for_metadata(
    swarm: Swarm,
    pointer: Pointer,
    network: BundleNetwork,
    only: Endpoint | None,
    share: float,
    deadline: float,
) -> tuple[Metainfo | None, tuple[Endpoint, ...]]:
    """Ask all peers, or `only` one for `share` seconds.

    Return the metainfo, or None if peers were asked in vain, and the peers that were connected.
    """
    trackers = network.trackers if only is None else ()
    torrent = swarm.add_magnet(pointer.infohash_v1, pointer.infohash_v2, trackers=trackers, held=True)
    met_since: float | None = None
    started = time.monotonic()

    def over() -> bool:
        nonlocal met_since
        now = time.monotonic()
        if torrent.metadata is not None or (only is not None and now - started > share):
            return True
        if len(torrent.met) > 1 and met_since is None:
            met_since = now
        return only is None and met_since is not None and now - met_since > TRIAL_SECONDS

    try:
        _start(torrent, _resolved(network) if only is None else [only])
        _wait(swarm, torrent, network, over, "the metadata of the bundle", deadline)
        found = None if torrent.metadata is None else metainfo_from_info(torrent.metadata)
        return found, tuple(torrent.peers()) if found is not None else tuple(torrent.met)
    finally:
        swarm.remove(torrent)


def _bring(
    swarm: Swarm,
    store: BundleStore,
    metainfo: Metainfo,
    held: HeldBundle,
    files: Collection[RepoPath],
    network: BundleNetwork,
    report: Report,
) -> tuple[Endpoint, ...]:
    """Download some files of a bundle, except those that are already right on disk."""
    had = store.separate(held, metainfo, files)
    if had.issuperset(files):
        return ()
    return _Bringing(swarm, metainfo, held, frozenset(files), had, network, report).run()


class _Bringing:
    """A download of some files from one peer at a time (see `PeerIsolation`); a slow peer loses its turn."""

    def __init__(
        self,
        swarm: Swarm,
        metainfo: Metainfo,
        held: HeldBundle,
        files: frozenset[RepoPath],
        had: frozenset[RepoPath],
        network: BundleNetwork,
        report: Report,
    ) -> None:
        self._swarm, self._metainfo, self._held, self._files = swarm, metainfo, held, files - had
        self._network, self._report = network, report
        self._here = sum(file.size for file in metainfo.files if file.path in had)
        size = sum(file.size for file in metainfo.files if file.path in self._files)
        self._deadline = time.monotonic() + network.seconds + size / _SLOWEST
        self._known = _resolved(network)
        self._tried: dict[Endpoint, None] = {}
        self._met: dict[Endpoint, None] = {}
        self._isolation = PeerIsolation(network.seconds, singly=True)
        self._isolation.begin(self._known)

    def run(self) -> tuple[Endpoint, ...]:
        """Return the peers that were connected and sent nothing wrong."""
        trials = self._isolation
        try:
            while True:
                self._swarm.admit([] if trials.only is None else [trials.only], trials.banned)
                try:
                    self._try(trials.only)
                    break
                except TryOverError as over:
                    self._tried |= {} if trials.only is None else {trials.only: None}
                    others = _untried_first((*self._known, *self._met), self._tried)
                    trials.next(over, others, gained=not over.bad)
        finally:
            self._swarm.admit((), ())
        return tuple(peer for peer in self._met if peer.host not in trials.banned)

    def _try(self, only: Endpoint | None) -> None:
        """Make one try; raises `TryOverError` when the next peer has its turn, `NetworkError` when none is left."""
        swarm, network, name = self._swarm, self._network, self._metainfo.name
        trackers = [network.trackers] if network.trackers else []
        writable = prove_writable(self._metainfo, self._held.save_path, self._files)
        torrent = swarm.add_download(self._metainfo, writable, trackers=trackers, held=True)
        try:
            _wait(swarm, torrent, network, lambda: torrent.checked, "the bundle on disk to be checked")
            _start(torrent, self._known if only is None else [only])
            trial = _Trial(network.seconds if only is None else self._isolation.trial_seconds)
            _wait(swarm, torrent, network, lambda: self._is_done(torrent, trial), f"{name} from peers", self._deadline)
            before = torrent.flushes
            torrent.request_flush()
            settling = replace(network, seconds=_SETTLE_SECONDS)
            _wait(swarm, torrent, settling, lambda: torrent.flushes > before, "the bundle to be written to disk")
        finally:
            self._met.update(torrent.met)
            swarm.release(torrent)  # before the lock is released: then its files may be shared

    def _is_done(self, torrent: SwarmTorrent, trial: _Trial) -> bool:
        progress, only = torrent.progress(), self._isolation.only
        self._report(Progress("bundle", self._here + progress.done, self._here + progress.total))
        if progress.phase is Phase.FINISHED:
            return True
        gone = self._isolation.others_wait and trial.seconds > _CONNECT_SECONDS and not torrent.peers()
        idle, failed = gone or trial.is_idle(progress.received), torrent.failed_pieces > 0
        if self._isolation.is_over(idle=idle, failed=failed, pieces=0):
            raise TryOverError(bad=failed and only is not None)
        if idle:
            raise NetworkError(f"no peer sends {self._metainfo.name} at {_SLOWEST} bytes a second or more")
        return False


class _Trial:
    """Watches one try: it is idle after `timeout` seconds without a block, or when it is slower than `_SLOWEST`."""

    def __init__(self, timeout: float) -> None:
        self._timeout, self._figure = timeout, 0
        self._began = self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long the try has lasted."""
        return time.monotonic() - self._began

    def is_idle(self, received: int) -> bool:
        """Note the payload bytes received so far and tell whether the try is idle."""
        now = time.monotonic()
        if received // _BLOCK > self._figure // _BLOCK:
            self._figure, self._since = received, now
        elapsed = self.seconds - _GRACE_SECONDS
        return now - self._since > self._timeout or (elapsed > 0 and received < _SLOWEST * elapsed)


def _start(torrent: SwarmTorrent, peers: Iterable[Endpoint]) -> None:
    for peer in peers:
        torrent.connect(peer)
    torrent.start()


def _untried_first(peers: Iterable[Endpoint], tried: Mapping[Endpoint, None]) -> list[Endpoint]:
    """Put peers that had no turn yet first, so that a crowd cannot keep any of them from theirs."""
    return sorted(dict.fromkeys(peers), key=lambda peer: peer in tried)


def _resolved(network: BundleNetwork) -> list[Endpoint]:
    """Return the addresses of the peers; a name that does not resolve is left out."""
    found: dict[Endpoint, None] = {}
    for peer in (*network.peers, *network.found):
        with contextlib.suppress(NetworkError):
            found[network.settings.address_of(peer)] = None
    return list(found)


def _wait(
    swarm: Swarm,
    torrent: SwarmTorrent,
    network: BundleNetwork,
    done: Callable[[], bool],
    what: str,
    deadline: float | None = None,
) -> None:
    deadline = time.monotonic() + network.seconds if deadline is None else deadline
    while not done():
        if torrent.error is not None:
            raise torrent.error
        if network.stopping():
            raise NetworkError(f"stopped while waiting for {what}")
        if time.monotonic() > deadline:
            raise NetworkError(f"waited {network.seconds:g} s for {what}", got=plural(torrent.progress().peers, "peer"))
        swarm.pump(_PUMP)


def _names(pointer: Pointer, metainfo: Metainfo) -> bool:
    hashes = metainfo.infohash
    return hashes.v1 == pointer.infohash_v1 and pointer.infohash_v2 in {None, hashes.v2}
