"""A publisher's index and torrents without a server: the DHT pointer, then the bundle from peers.

Pointers are followed concurrently, a few for each publisher. Every step is bounded in time and bytes. The results are
bytes that acceptance or the index still has to judge.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace

from p2pqwen.errors import FormatError, NetworkError, NotFoundError, P2pqwenError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.index.acceptance import Accepted
from p2pqwen.index.bundle import wanted_files
from p2pqwen.index.document import parse_file
from p2pqwen.index.mutable_item import ItemAddress
from p2pqwen.index.pointer import Pointer
from p2pqwen.library.bundles import BundleStore, HeldBundle
from p2pqwen.library.index_rows.judging import file_digest
from p2pqwen.library.known_peers import KnownPeers
from p2pqwen.library.pointer_store import PointerStore
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.loop_thread import run_now
from p2pqwen.operations.indexes.aside import Sessions, as_ours, run_aside
from p2pqwen.operations.indexes.bundle import (
    BundleIndex,
    BundleNetwork,
    fetch_index,
    fetch_torrents,
    keep_index,
    trackers_of,
)
from p2pqwen.operations.indexes.bundle_torrents import read_torrent
from p2pqwen.operations.indexes.dht_access import DhtAccess
from p2pqwen.operations.indexes.pointer import FoundPointer, find_pointers, keep_pointers, pointer_address, read_pointer
from p2pqwen.swarm.dht import Dht
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.digest import Sha1, Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.strict_json import canonical

MAX_FOLLOWED = 3
"""How many pointers of one batch of `find_pointers` are followed, best first; each needs its own session."""
STEP_SECONDS = 30.0
BRING_SECONDS = 120.0
"""For the bundle of an index that is already here, or for the index that a link leads to."""
_LOOK_AGAIN = (2.0, 4.0, 6.0)

JudgeDelta = Callable[[bytes], Awaitable[Accepted | None]]
"""Judges the index that a delta makes from the accepted one; None if the delta is of no use."""
Follow = Callable[[Dht, FoundPointer], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one pointer led to: an index file's bytes, the index that a delta made, or the error."""

    source: str
    data: bytes = b""
    accepted: Accepted | None = None
    error: P2pqwenError | None = None


@dataclass(slots=True)
class BundleRoute:
    """The way to publishers' bundles. With `dht` None, only known peers and those of `network` are used.

    `keeps_whole`: bundles are fetched whole later, so a delta would save nothing.
    """

    bundles: BundleStore
    pointers: PointerStore
    known: KnownPeers
    network: BundleNetwork
    dht: DhtAccess | None
    report: Report = ignore
    keeps_whole: bool = False
    _found: list[FoundPointer] = field(default_factory=list)
    _following: set[str] = field(default_factory=set)
    _brought: list[BundleIndex] = field(default_factory=list)

    async def indexes(
        self,
        publisher: TrustedPublisher,
        own: Callable[[], bytes],
        judge_delta: JudgeDelta,
        offer: Callable[[Answer], None],
        sessions: Sessions,
    ) -> None:
        """Offer what each pointer in the DHT leads to, as it arrives.

        A pointer to the index that is already accepted is answered with that index, from `own`, without any request.
        For a newer index the delta is tried first, then the whole file. After cancellation, `unfinished` names the
        pointers that were still being followed.
        """
        if self.dht is None:
            return
        seen = publisher.state.seen
        trackers, held = trackers_of(publisher.document), publisher.accepted
        base = None if held is None or self.keeps_whole else held.digest

        async def bring(dht: Dht, one: FoundPointer) -> Answer:
            brought = await self._bring(dht, publisher.publisher, one.pointer, trackers, sessions, base)
            if brought.is_delta:
                newer = await judge_delta(brought.data)
                # A delta to any other index, even the one here, would hide the index that the pointer names.
                if newer is not None and newer.digest == one.pointer.digest:
                    self._brought.append(replace(brought, led_to=newer.digest))
                    return Answer(_source(one), accepted=newer)
                brought = await self._bring(dht, publisher.publisher, one.pointer, trackers, sessions)
            return Answer(_source(one), brought.data)

        async def follow(dht: Dht, one: FoundPointer) -> None:
            pointer, source = one.pointer, _source(one)
            if seen is not None and pointer.position < seen.position:
                self.report(Notice("info", f"the DHT points at index {pointer.position}, older than {seen.position}"))
                return
            self._following.add(source)
            try:
                is_ours = held is not None and pointer.digest == held.digest
                answer = Answer(source, own()) if is_ours else await bring(dht, one)
            except Exception as error:  # noqa: BLE001 - it concerns this pointer alone
                answer = Answer(source, error=as_ours(error))
            self._following.discard(source)
            offer(answer)

        self._following.clear()
        async with self.dht.open() as dht:
            await self._follow_all(dht, publisher, follow)

    @property
    def unfinished(self) -> list[str]:
        """The pointers that were being followed when `indexes` was cancelled."""
        return sorted(self._following)

    async def index_of(self, address: ItemAddress) -> tuple[Pointer, bytes]:
        """Return the pointer at an address and the index it leads to, for a user who knows only a key.

        Raises `NotFoundError` when the DHT has no such pointer, `NetworkError` when no DHT node answers or no peer
        provides the bundle.
        """
        if self.dht is None:
            raise NotFoundError("a link of a key is looked up in the DHT, which is switched off")
        try:
            async with asyncio.timeout(BRING_SECONDS), self.dht.open() as dht:
                found = await read_pointer(dht, address)
                if found is None and not dht.good_nodes:
                    raise NetworkError(
                        "no DHT node answered",
                        hint="with the publisher's id, `trust add ID --index FILE|URL` needs no DHT",
                    )
                if found is None:
                    raise NotFoundError(
                        "the DHT holds no pointer under this key",
                        hint="is the publisher's node, or a follower's, running?",
                    )
                self._found = [found]
                folder = Sha256.of(address.public.raw + address.salt)  # the index will tell whose it is
                brought = await self._bring(dht, folder, found.pointer, (), Sessions())
        except TimeoutError as error:
            raise NetworkError("the link's index did not arrive", expected=f"within {BRING_SECONDS:.0f} s") from error
        return found.pointer, brought.data

    def settle(self, accepted: Accepted | None) -> None:
        """Keep the pointers and the bundle of the index that is accepted now; drop everything else."""
        brought, self._brought = self._brought, []
        if accepted is None:
            return
        keep_pointers(self.pointers, accepted, self._found)
        for one in brought:
            if _is_of(one, accepted) and keep_index(self.bundles, accepted.publisher, one) is None:
                self.report(Notice("info", f"the bundle of index {one.position} is in use by another process"))

    def followers(self, publishers: Iterable[Sha256]) -> list[Endpoint]:
        """Return the peers that provided these publishers' bundles before; most also seed what the bundles list."""
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
            raise NetworkError(f"{location} did not arrive complete")
        return data

    def complete(self, publisher: TrustedPublisher, *, max_bytes: int) -> HeldBundle:
        """Fetch the whole bundle of the accepted index, so that it can be seeded.

        Raises `NetworkError` when no peer provides it, `P2pqwenError` when it is larger than `max_bytes`.
        """
        held = self._held(publisher, with_index=True)
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
            network = network.with_found(run_now(self._peers(metainfo.infohash.v1)))
        peers = fetch_torrents(self.bundles, held, paths, network, self.report)
        self._remember(metainfo.infohash.v1, peers)

    def _held(self, publisher: TrustedPublisher, *, with_index: bool = False) -> HeldBundle:
        """Return the bundle of the accepted index, looking it up in the DHT if only the index is held.

        `with_index`: a bundle that provided only a delta, whose index.json was never fetched, does not suffice.
        """
        accepted = publisher.accepted
        if accepted is None:
            raise NotFoundError(f"no index of publisher {publisher.publisher} was accepted yet")

        def here() -> HeldBundle | None:
            held = self.bundles.get(publisher.publisher, accepted.position)
            return None if held is None or (with_index and not held.has_index) else held

        if (held := here()) is not None:
            return held
        run_now(self._bring_accepted(publisher, accepted))
        if (held := here()) is not None:
            return held
        raise NetworkError(f"no peer has the bundle of index {accepted.position} of {publisher.name}")

    async def _bring_accepted(self, publisher: TrustedPublisher, accepted: Accepted) -> None:
        """Fetch the bundle of the accepted index, by whichever pointer leads to it."""
        if self.dht is None:
            return
        trackers, sessions = trackers_of(accepted.document), Sessions(asyncio.Semaphore(MAX_FOLLOWED))
        here = asyncio.Event()

        async def follow(dht: Dht, one: FoundPointer) -> None:
            if one.pointer.digest == accepted.digest:
                try:
                    brought = await self._bring(dht, publisher.publisher, one.pointer, trackers, sessions)
                except P2pqwenError as error:
                    self.report(Notice("info", f"{_source(one)}: {error.message}"))
                    return
                if _is_of(brought, accepted):
                    here.set()

        async with self.dht.open() as dht:
            hunt = asyncio.create_task(self._follow_all(dht, publisher, follow))
            found = asyncio.create_task(here.wait())
            try:
                await asyncio.wait({hunt, found}, timeout=BRING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (hunt, found):
                    task.cancel()
                await asyncio.gather(hunt, found, return_exceptions=True)
        self.settle(accepted)

    async def _follow_all(self, dht: Dht, publisher: TrustedPublisher, follow: Follow) -> None:
        """Follow the best few of each batch of a publisher's pointers concurrently, as they are found."""
        document, roots = publisher.document, publisher.state.roots
        address = None if document is None else pointer_address(document.dht, roots)
        followed: set[Pointer] = set()
        tasks: list[asyncio.Task[None]] = []
        self._found = []
        try:
            batches = find_pointers(dht, publisher.publisher, self.pointers, roots=roots, address=address)
            async with contextlib.aclosing(batches):
                async for batch in batches:
                    self._found += batch
                    fresh = {one.pointer: one for one in reversed(batch) if one.pointer not in followed}
                    best = list(reversed(fresh.values()))[:MAX_FOLLOWED]
                    followed.update(one.pointer for one in best)
                    tasks += [asyncio.create_task(follow(dht, one)) for one in best]
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _bring(
        self,
        dht: Dht,
        publisher: Sha256,
        pointer: Pointer,
        trackers: tuple[str, ...],
        sessions: Sessions,
        base: Sha256 | None = None,
    ) -> BundleIndex:
        """Fetch a bundle's index, which `settle` may then keep, or a delta, which it may not."""
        found = await self._wait_for_peers(dht, pointer.infohash_v1)
        nodes = tuple(one.endpoint for one in dht.good_nodes)
        called_off = threading.Event()
        network = self._with_known(pointer.infohash_v1, trackers, found, nodes)
        network = replace(network, stopping=lambda: called_off.is_set() or self.network.stopping())

        def fetch() -> BundleIndex:
            return fetch_index(self.bundles, publisher, pointer, network, self.report, base=base)

        async with sessions:
            brought = await run_aside(fetch, stop=called_off.set)
        self._remember(pointer.infohash_v1, brought.peers)
        if not brought.is_delta:
            self._brought.append(brought)
        return brought

    async def _wait_for_peers(self, dht: Dht, infohash: Sha1) -> list[Endpoint]:
        """Return the peers of a bundle; its pointer may be in the DHT a moment before its publisher's announcement."""
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


def _source(found: FoundPointer) -> str:
    return f"dht:{found.pointer.infohash_v1}"


def _is_of(brought: BundleIndex, accepted: Accepted) -> bool:
    """Tell whether a bundle carries exactly the accepted index, not just one with the same position."""
    if brought.position != accepted.position:
        return False
    if brought.is_delta:
        return brought.led_to == accepted.digest
    if Sha256.of(brought.data) == file_digest(accepted):
        return True
    try:
        return Sha256.of(canonical(parse_file(brought.data).signed)) == accepted.digest
    except FormatError:
        return False
