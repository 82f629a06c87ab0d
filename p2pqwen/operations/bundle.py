"""Make the bundle of a published site, and fetch from a bundle in the swarm: the index first, then chosen torrents.

Nothing from a bundle is believed for having come in one: the index is judged by the rules of acceptance, a torrent by
the index.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from p2pqwen.errors import NetworkError, VerificationError
from p2pqwen.events import Progress, Report, ignore
from p2pqwen.index.acceptance import Accepted
from p2pqwen.index.bundle import (
    INDEX_PATH,
    build_bundle,
    bundle_layout,
    bundle_paths,
    check_bundle,
    hash_bundle_file,
)
from p2pqwen.index.document import MAX_INDEX_SIZE, IndexDocument
from p2pqwen.index.pointer import Pointer
from p2pqwen.library import durable
from p2pqwen.library.bundles import BundleStore, HeldBundle
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.progress import Phase
from p2pqwen.swarm.session import Swarm
from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.swarm.torrent import SwarmTorrent
from p2pqwen.swarm.writable import prove_writable
from p2pqwen.torrent.magnet import parse_magnet
from p2pqwen.torrent.metainfo import MAX_TORRENT_BYTES, Metainfo, metainfo_from_info
from p2pqwen.values.counted import counted
from p2pqwen.values.digest import Sha256
from p2pqwen.values.repo_path import RepoPath

BUNDLE_SECONDS = 60.0
MAX_TRACKERS = 8
_PUMP = 0.1
_SETTLE_SECONDS = 10.0
_SLOWEST = 32 * 1024


@dataclass(frozen=True, slots=True)
class BundleNetwork:
    """How to reach a bundle's swarm. `seconds` bounds each step: the metadata, the index, each batch of torrents.

    A batch has a second more for each `_SLOWEST` bytes. `peers` and `trackers` were named by the user or an accepted
    index; `found` are peers that strangers told us of. `stopping` is asked all the while.
    """

    settings: SwarmSettings
    peers: tuple[Endpoint, ...] = ()
    trackers: tuple[str, ...] = ()
    found: tuple[Endpoint, ...] = ()
    seconds: float = BUNDLE_SECONDS
    stopping: Callable[[], bool] = lambda: False

    def with_found(self, peers: Iterable[Endpoint]) -> BundleNetwork:
        """Return the same with more peers to connect to, as far as the address filter lets them by."""
        return replace(self, found=tuple(dict.fromkeys((*self.found, *peers))))


@dataclass(frozen=True, slots=True)
class BundleIndex:
    """An index that came from a bundle, not judged yet, and what is needed to fetch the rest later."""

    data: bytes
    held: HeldBundle
    metainfo: Metainfo
    peers: tuple[Endpoint, ...]


def make_bundle(store: BundleStore, accepted: Accepted, site: Path) -> tuple[HeldBundle, Metainfo]:
    """Make the bundle of a published site and keep it, so that it can be seeded; raises `DiskError`, `NotFoundError`.

    Anybody who does this with the same files gets the same infohash.
    """
    with durable.disk_errors(f"look at {site}"):
        sizes = [(path, (site / path.text).stat().st_size) for path in bundle_paths(accepted.document)]
    layout = bundle_layout(sizes)
    hashes = {
        file.path: hash_bundle_file(_read(site, file.path), layout, number) for number, file in enumerate(layout.files)
    }
    metainfo = build_bundle(accepted.position, layout, hashes)
    with durable.lock(store.lock_path(accepted.publisher), wait=True):
        held = store.prepare(accepted.publisher, accepted.position, metainfo)
        store.share(held, metainfo)
        for file in layout.files:
            store.write(held, file.path, _read(site, file.path))
        store.enter(held, metainfo)
    return held, metainfo


def fetch_index(
    store: BundleStore, publisher: Sha256, pointer: Pointer, network: BundleNetwork, report: Report = ignore
) -> BundleIndex:
    """Bring the index.json of the bundle that a pointer names; the caller judges it and then calls `store.enter`.

    Raises `NetworkError` when nobody gives it in time, `FormatError` for a torrent that is no bundle of that index.
    """
    with durable.lock(store.lock_path(publisher), wait=True), _session(network, report) as swarm:
        metainfo, peers = _metadata(swarm, store, publisher, pointer, network)
        check_bundle(metainfo.parsed_info, pointer.position)
        held = store.prepare(publisher, pointer.position, metainfo)
        connected = _bring(swarm, store, metainfo, held, {INDEX_PATH}, network.with_found(peers), report)
        data = durable.read(held.path(INDEX_PATH), max_bytes=MAX_INDEX_SIZE)
    return BundleIndex(data, held, metainfo, tuple(dict.fromkeys((*peers, *connected))))


def fetch_torrents(
    store: BundleStore, held: HeldBundle, paths: Collection[RepoPath], network: BundleNetwork, report: Report = ignore
) -> tuple[Endpoint, ...]:
    """Bring some files of a bundle whose index was accepted; return the peers that were there.

    Raises `NetworkError` when they do not come in time.
    """
    with durable.lock(store.lock_path(held.publisher), wait=True), _session(network, report) as swarm:
        metainfo = held.metainfo()
        store.share(held, metainfo)
        return _bring(swarm, store, metainfo, held, set(paths), network, report)


def read_torrent(held: HeldBundle, path: RepoPath) -> bytes | None:
    """Return a .torrent of a bundle as it is on disk, None where it is not there whole; the caller verifies it."""
    if path not in held.files_here(held.metainfo()):
        return None
    return durable.read(held.path(path), max_bytes=MAX_TORRENT_BYTES)


def trackers_of(document: IndexDocument | None) -> tuple[str, ...]:
    """Return the trackers that an index's magnets name: a bundle's peers announce there as well."""
    found: dict[str, None] = {}
    for entry in document.entries if document is not None else ():
        if "&tr=" in entry.magnet:
            found.update(dict.fromkeys(parse_magnet(entry.magnet).trackers))
        if len(found) >= MAX_TRACKERS:
            break
    return tuple(found)[:MAX_TRACKERS]


def _read(site: Path, path: RepoPath) -> bytes:
    limit = MAX_INDEX_SIZE if path == INDEX_PATH else MAX_TORRENT_BYTES
    return durable.read(site / path.text, max_bytes=limit)


def _session(network: BundleNetwork, report: Report) -> Swarm:
    return Swarm(network.settings.with_room_for(network.peers, urls=network.trackers), report=report)


def _metadata(
    swarm: Swarm, store: BundleStore, publisher: Sha256, pointer: Pointer, network: BundleNetwork
) -> tuple[Metainfo, tuple[Endpoint, ...]]:
    """Return the bundle's torrent, from here or from peers, and who was connected."""
    held = store.get(publisher, pointer.position)
    if held is not None and _names(pointer, metainfo := held.metainfo()):
        return metainfo, ()
    torrent = swarm.add_magnet(pointer.infohash_v1, pointer.infohash_v2, trackers=network.trackers, held=True)
    try:
        _start(torrent, network)
        _wait(swarm, torrent, network, lambda: torrent.metadata is not None, "the metadata of the bundle")
        metainfo = metainfo_from_info(torrent.metadata or b"")
        peers = tuple(torrent.peers())
    finally:
        swarm.remove(torrent)
    if not _names(pointer, metainfo):
        raise VerificationError("the bundle has another infohash than its pointer names", got=metainfo.infohash.v2)
    return metainfo, peers


def _bring(
    swarm: Swarm,
    store: BundleStore,
    metainfo: Metainfo,
    held: HeldBundle,
    files: Collection[RepoPath],
    network: BundleNetwork,
    report: Report,
) -> tuple[Endpoint, ...]:
    """Download some files of a bundle; what is right on disk already is not asked for again."""
    trackers = [network.trackers] if network.trackers else []
    had = store.separate(held, metainfo, files)
    if had.issuperset(files):
        return ()
    writable = prove_writable(metainfo, held.save_path, frozenset(files) - had)
    torrent = swarm.add_download(metainfo, writable, trackers=trackers, held=True)
    here = sum(file.size for file in metainfo.files if file.path in had)
    size = sum(file.size for file in metainfo.files if file.path in writable.files)
    try:
        _wait(swarm, torrent, network, lambda: torrent.checked, "a look at the bundle on disk")
        _start(torrent, network)

        def finished() -> bool:
            progress = torrent.progress()
            report(Progress("bundle", here + progress.done, here + progress.total))
            return progress.phase is Phase.FINISHED

        patient = replace(network, seconds=network.seconds + size / _SLOWEST)
        _wait(swarm, torrent, patient, finished, f"{metainfo.name} from peers")
        peers = tuple(torrent.met)
        before = torrent.flushes
        torrent.request_flush()
        settling = replace(network, seconds=_SETTLE_SECONDS)
        _wait(swarm, torrent, settling, lambda: torrent.flushes > before, "the disk to write the bundle")
    finally:
        swarm.release(torrent)  # before the lock goes: then its files may be shared
    return peers


def _start(torrent: SwarmTorrent, network: BundleNetwork) -> None:
    for peer in (*network.peers, *network.found):
        with contextlib.suppress(NetworkError):  # a name without an address
            torrent.connect(peer)
    torrent.start()


def _wait(swarm: Swarm, torrent: SwarmTorrent, network: BundleNetwork, done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + network.seconds
    while not done():
        if torrent.error is not None:
            raise torrent.error
        if network.stopping():
            raise NetworkError(f"stopped while waiting for {what}")
        if time.monotonic() > deadline:
            raise NetworkError(
                f"waited {network.seconds:g} s for {what}", got=counted(torrent.progress().peers, "peer")
            )
        swarm.pump(_PUMP)


def _names(pointer: Pointer, metainfo: Metainfo) -> bool:
    hashes = metainfo.infohash
    return hashes.v1 == pointer.infohash_v1 and pointer.infohash_v2 in {None, hashes.v2}
