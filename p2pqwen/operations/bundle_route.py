"""A publisher's index and torrents without any host: DHT pointer, then the bundle from peers.

Every step is bounded in time. What comes out is bytes: acceptance, and the index, decide what they are worth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from p2pqwen.errors import FormatError, NetworkError, NotFoundError, P2pqwenError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.index.acceptance import Accepted
from p2pqwen.index.bundle import wanted_files
from p2pqwen.index.document import parse_file
from p2pqwen.index.mutable_item import ItemAddress
from p2pqwen.index.pointer import Pointer
from p2pqwen.library.bundles import BundleStore, HeldBundle
from p2pqwen.library.known_peers import KnownPeers
from p2pqwen.library.pointer_store import PointerStore
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.operations.bundle import BundleIndex, BundleNetwork, fetch_index, fetch_torrents, read_torrent, trackers_of
from p2pqwen.operations.dht_access import DhtAccess
from p2pqwen.operations.pointer import FoundPointer, find_pointers, keep_pointers, pointer_address, read_pointer
from p2pqwen.swarm.dht import Dht
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.digest import Sha1, Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.strict_json import canonical

MAX_TRIES = 3
"""Pointers followed in one update: the boards may hold lies."""
STEP_SECONDS = 30.0
_LOOK_AGAIN = (2.0, 4.0, 6.0)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one pointer led to: an index file's bytes, or why there are none."""

    source: str
    data: bytes = b""
    error: P2pqwenError | None = None


@dataclass(slots=True)
class BundleRoute:
    """The way to publishers' bundles. `dht` None: only what is known already, and the peers of `network`."""

    bundles: BundleStore
    pointers: PointerStore
    known: KnownPeers
    network: BundleNetwork
    dht: DhtAccess | None
    report: Report = ignore
    _found: list[FoundPointer] = field(default_factory=list)
    _brought: list[BundleIndex] = field(default_factory=list)

    async def indexes(
        self, publisher: TrustedPublisher, own: Callable[[], bytes], is_good: Callable[[bytes], bool]
    ) -> list[Answer]:
        """Return the index files that the DHT's pointers lead to, up to the first that `is_good`; the newest first.

        A pointer that names the index accepted already is answered with `own`, that one, without asking anybody.
        """
        answers: list[Answer] = []
        if self.dht is None:
            return answers
        async with self.dht.open() as dht:
            self._found = await self._find(dht, publisher)
            for one in self._found[:MAX_TRIES]:
                answer = await self._follow(dht, publisher, one, own)
                if answer is not None:
                    answers.append(answer)
                    if answer.error is None and is_good(answer.data):
                        break
        return answers

    async def index_of(self, address: ItemAddress) -> tuple[Pointer, bytes]:
        """Return the pointer at an address and the index it leads to, for somebody who knows a key and nothing else.

        Raises `NotFoundError` when the DHT has no such pointer, `NetworkError` when no DHT node answers or nobody gives
        the bundle.
        """
        if self.dht is None:
            raise NotFoundError("a link of a key is looked up in the DHT, which is switched off")
        async with self.dht.open() as dht:
            found = await read_pointer(dht, address)
            if found is None and not dht.good_nodes:
                raise NetworkError(
                    "no DHT node answered", hint="with the publisher's id, `trust add ID --index FILE|URL` needs no DHT"
                )
            if found is None:
                raise NotFoundError(
                    "the DHT holds no pointer under this key", hint="is the publisher's node, or a follower's, running?"
                )
            self._found = [found]
            brought = await self._bring(dht, Sha256.of(address.public.raw + address.salt), found.pointer, ())
        return found.pointer, brought.data

    def settle(self, accepted: Accepted | None) -> None:
        """Keep what belongs to the index that is accepted now: its pointers and its bundle; drop everything else."""
        if accepted is not None:
            keep_pointers(self.pointers, accepted, self._found)
        for one in self._brought:
            if accepted is not None and _is_of(one, accepted):
                held = one.held
                if held.publisher != accepted.publisher:
                    held = self.bundles.adopt(held, accepted.publisher)
                self.bundles.enter(held, one.metainfo)
            elif not one.held.info_path.exists():
                self.bundles.remove(one.held)
        self._brought = []

    def followers(self, publishers: Iterable[Sha256]) -> list[Endpoint]:
        """Return who gave bundles of these publishers before; most of them seed what a bundle lists as well."""
        held = [one for publisher in publishers for one in self.bundles.all(publisher)]
        return [Endpoint(*address) for one in held for address in self.known.peers(one.infohash.raw)]

    def fetch_torrent(self, publisher: TrustedPublisher, location: str) -> bytes:
        """Return a .torrent of the accepted index from its bundle's swarm; raises `NetworkError`, `NotFoundError`."""
        held = self._held(publisher)
        path = RepoPath(location)
        metainfo = held.metainfo()
        if all(file.path != path for file in metainfo.files):
            raise NotFoundError(f"the bundle of {publisher.name} does not hold {location}")
        self._fetch_files(publisher, held, metainfo, [path])
        data = read_torrent(held, path)
        if data is None:
            raise NetworkError(f"{location} did not come whole")
        return data

    def complete(self, publisher: TrustedPublisher, *, max_bytes: int) -> HeldBundle:
        """Bring the whole bundle of the accepted index, so that it can be seeded.

        Raises `NetworkError` when nobody gives it, `P2pqwenError` when it is larger than `max_bytes`.
        """
        held = self._held(publisher)
        metainfo = held.metainfo()
        wanted = set(wanted_files(metainfo.parsed_info))
        missing = wanted - held.files_here(metainfo)
        if missing:
            size = sum(file.size for file in metainfo.files if file.path in wanted)
            if size > max_bytes:
                raise P2pqwenError("too large to be kept whole", expected=f"at most {max_bytes} bytes", got=size)
            self._fetch_files(publisher, held, metainfo, sorted(missing, key=lambda path: path.sort_key))
        return held

    def _fetch_files(
        self, publisher: TrustedPublisher, held: HeldBundle, metainfo: Metainfo, paths: Sequence[RepoPath]
    ) -> None:
        network = self._network(metainfo.infohash.v1, publisher, ())
        if self.dht is not None:
            network = network.with_found(asyncio.run(self._peers(metainfo.infohash.v1)))
        peers = fetch_torrents(self.bundles, held, paths, network, self.report)
        self._remember(metainfo.infohash.v1, peers)

    def _held(self, publisher: TrustedPublisher) -> HeldBundle:
        """Return the bundle of the accepted index, looking it up in the DHT where only the index is here."""
        accepted = publisher.accepted
        if accepted is None:
            raise NotFoundError(f"no index of publisher {publisher.publisher} was accepted yet")
        if (held := self.bundles.get(publisher.publisher, accepted.position)) is not None:
            return held
        asyncio.run(self._bring_accepted(publisher, accepted))
        if (held := self.bundles.get(publisher.publisher, accepted.position)) is not None:
            return held
        raise NetworkError(f"nobody has the bundle of index {accepted.position} of {publisher.name}")

    async def _bring_accepted(self, publisher: TrustedPublisher, accepted: Accepted) -> None:
        if self.dht is None:
            return
        async with self.dht.open() as dht:
            for one in await self._find(dht, publisher):
                if one.pointer.digest == accepted.digest:
                    await self._bring(dht, publisher.publisher, one.pointer, trackers_of(accepted.document))
                    self.settle(accepted)
                    return

    async def _find(self, dht: Dht, publisher: TrustedPublisher) -> list[FoundPointer]:
        document = publisher.document
        address = None if document is None else pointer_address(document.dht, publisher.state.roots)
        return await find_pointers(
            dht, publisher.publisher, self.pointers, roots=publisher.state.roots, address=address
        )

    async def _follow(
        self, dht: Dht, publisher: TrustedPublisher, one: FoundPointer, own: Callable[[], bytes]
    ) -> Answer | None:
        accepted, seen, pointer = publisher.accepted, publisher.state.seen, one.pointer
        source = f"dht:{pointer.infohash_v1}"
        if seen is not None and pointer.position < seen.position:
            self.report(Notice("info", f"the DHT points at index {pointer.position}, older than {seen.position}"))
            return None
        try:
            if accepted is not None and pointer.digest == accepted.digest:
                return Answer(source, own())
            brought = await self._bring(dht, publisher.publisher, pointer, trackers_of(publisher.document))
        except P2pqwenError as error:
            return Answer(source, error=error)
        return Answer(source, brought.data)

    async def _bring(self, dht: Dht, publisher: Sha256, pointer: Pointer, trackers: tuple[str, ...]) -> BundleIndex:
        found = await self._wait_for_peers(dht, pointer.infohash_v1)
        nodes = tuple(one.endpoint for one in dht.good_nodes)
        network = self._with_known(pointer.infohash_v1, trackers, found, nodes)
        brought = await asyncio.to_thread(fetch_index, self.bundles, publisher, pointer, network, self.report)
        self._remember(pointer.infohash_v1, brought.peers)
        self._brought.append(brought)
        return brought

    async def _wait_for_peers(self, dht: Dht, infohash: Sha1) -> list[Endpoint]:
        """Return who has a bundle; a pointer may be a moment older than its publisher's announcement in the DHT."""
        for pause in _LOOK_AGAIN:
            if (found := await dht.get_peers(infohash)) or self.network.peers or self.known.peers(infohash.raw):
                return found
            await asyncio.sleep(pause)
        return await dht.get_peers(infohash)

    async def _peers(self, infohash: Sha1) -> list[Endpoint]:
        if self.dht is None:
            return []
        async with self.dht.open() as dht:
            return await dht.get_peers(infohash)

    def _network(self, infohash: Sha1, publisher: TrustedPublisher, peers: Iterable[Endpoint]) -> BundleNetwork:
        return self._with_known(infohash, trackers_of(publisher.document), peers, ())

    def _with_known(
        self, infohash: Sha1, trackers: tuple[str, ...], peers: Iterable[Endpoint], nodes: tuple[Endpoint, ...]
    ) -> BundleNetwork:
        remembered = [Endpoint(*address) for address in self.known.peers(infohash.raw)]
        settings = replace(self.network.settings, dht_nodes=(*nodes, *self.network.settings.dht_nodes))
        joined = replace(self.network, settings=settings, trackers=(*self.network.trackers, *trackers))
        return joined.with_found((*peers, *remembered))

    def _remember(self, infohash: Sha1, peers: Iterable[Endpoint]) -> None:
        self.known.remember_peers(infohash.raw, [(one.host, one.port) for one in peers])


def local_torrent(bundles: BundleStore, publisher: TrustedPublisher, location: str) -> bytes | None:
    """Return a .torrent from a bundle that is here; the caller verifies it."""
    for held in bundles.all(publisher.publisher):
        try:
            data = read_torrent(held, RepoPath(location))
        except P2pqwenError:
            continue
        if data is not None:
            return data
    return None


def _is_of(brought: BundleIndex, accepted: Accepted) -> bool:
    """Tell whether a bundle carries the very index that was accepted, not only one of its position."""
    try:
        return Sha256.of(canonical(parse_file(brought.data).signed)) == accepted.digest
    except FormatError:
        return False
