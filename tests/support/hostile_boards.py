"""A publisher in a DHT of simulated nodes, and attackers that write its boards, sign its pointers, join its swarms."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from p2pqwen.index.acceptance import Accepted, Position, TrustedState, accept
from p2pqwen.index.board import BOARD_SLOTS, board_key, board_notice, board_salt
from p2pqwen.index.bundle import INDEX_PATH, build_bundle, bundle_layout, bundle_name, hash_bundle_file
from p2pqwen.index.document import INDEX_FILE, DhtPointer
from p2pqwen.index.entry import Entry
from p2pqwen.index.mutable_item import MAX_SEQUENCE, ItemAddress, MutableItem, sign_item
from p2pqwen.index.pointer import Pointer
from p2pqwen.library.bundles import BundleStore
from p2pqwen.library.home import Home
from p2pqwen.library.known_peers import KnownPeers
from p2pqwen.library.pointer_store import PointerStore
from p2pqwen.operations.indexes.bundle import BundleNetwork, make_bundle
from p2pqwen.operations.indexes.bundle_route import STEP_SECONDS, BundleRoute
from p2pqwen.operations.indexes.dht_access import DhtAccess
from p2pqwen.operations.indexes.pointer import put_pointer
from p2pqwen.swarm.dht import Dht
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.torrent.info import build_info
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.torrent.piece_hasher import FileHashes, PieceHasher
from p2pqwen.values.digest import Sha256
from p2pqwen.values.network_choices import NetworkChoices
from p2pqwen.values.repo_path import RepoPath
from tests.simulators.dht_node import DhtNodeSimulator, simulated_dht
from tests.simulators.peer import Behaviour, Content, PeerNetwork, PeerSimulator, addresses
from tests.support.models import noise
from tests.support.publishing import NOW, Publisher, Rules, chain, key, keyid, make_entry

SALT = b"p2pqwen"
NOBODY = Endpoint("127.0.0.1", 9)
"""Nothing listens there; but a user who names this machine may be led to peers on it."""
MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Blanks(Content):
    """A torrent whose single file is all blanks, of any length. (Zeros would be right in a sparse file.)"""

    def block(self, piece: int, begin: int, length: int) -> bytes:
        return b" " * length


@dataclass(frozen=True, slots=True)
class Issue:
    """A published index, its bundle and the pointer to it."""

    data: bytes
    accepted: Accepted
    content: Content
    pointer: Pointer


class Keeper:
    """A publisher with one name, whose index key also signs its pointer."""

    def __init__(self, world: World, name: str) -> None:
        self._world, self._name = world, name
        self._publisher = Publisher(chain(Rules(root=(f"{name} root",), index=(name,))))
        self.id = self._publisher.id
        self.roots = self._publisher.roots
        self.address = ItemAddress(key(name).public, SALT)

    def issue(self, entries: Sequence[Entry] = (make_entry(1),)) -> Issue:
        """Sign the next version and make its bundle."""
        data = self.sign(entries)
        accepted = accept(data, TrustedState(self.id), NOW)
        site = self._world.folder / "sites" / str(self.id) / str(accepted.position)
        files = {INDEX_FILE: data} | {entry.torrent: noise(300_000, entry.torrent) for entry in entries}
        for path, content in files.items():
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            (site / path).write_bytes(content)
        _, metainfo = make_bundle(BundleStore(Home(self._world.folder / "keepers" / self._name)), accepted, site)
        pointer = Pointer.to_bundle(metainfo.infohash, accepted.position, accepted.digest)
        return Issue(data, accepted, Content.of(metainfo, files), pointer)

    def sign(self, entries: Sequence[Entry]) -> bytes:
        """Sign the next version."""
        return self._publisher.publish(entries, (self._name,), dht=DhtPointer(keyid(self._name), SALT.decode()))

    def point(self, issue: Issue) -> MutableItem:
        """Put the pointer, and the boards."""
        store = PointerStore(Home(self._world.folder / "keepers" / self._name))
        self._world.do(lambda dht: put_pointer(dht, store, self.roots, key(self._name), SALT, issue.pointer))
        return store.items(self.id)[0]

    def stolen(self, pointer: Pointer, *, salt: bytes = SALT) -> MutableItem:
        """Return what a thief of the pointer's key signs, with the highest sequence number."""
        return sign_item(key(self._name), salt, MAX_SEQUENCE, pointer.encode())


class World:
    """The nodes, the peers, and a folder for everybody's files."""

    def __init__(self, folder: Path, nodes: list[DhtNodeSimulator], network: PeerNetwork) -> None:
        self.folder, self.nodes, self.network = folder, nodes, network
        self._addresses = addresses(512)

    def do(self, step):
        async def run():
            async with Dht([self.nodes[0].endpoint]) as dht:
                return await step(dht)

        return asyncio.run(run())

    def put(self, item: MutableItem) -> None:
        assert self.do(lambda dht: dht.put(item)).accepted

    def put_boards(self, publisher: Sha256, values: Iterable[bytes]) -> None:
        """Write boards as an attacker would: with the highest sequence number, so that they cannot be overwritten."""
        for slot, value in zip(range(BOARD_SLOTS), values, strict=False):
            self.put(sign_item(board_key(publisher), board_salt(slot), MAX_SEQUENCE, value))

    def peer(self, content: Content, behaviour: Behaviour | None = None) -> PeerSimulator:
        """Start a peer of a bundle, which every node of the DHT names."""
        simulator = self.network.peer(content, behaviour, next(self._addresses))
        for node in self.nodes:
            seeds, _ = node.swarms.setdefault(content.metainfo.infohash.v1.raw, ([], []))
            seeds.append(simulator.endpoint)
        return simulator

    def route(self, home: Home, seconds: float = STEP_SECONDS) -> BundleRoute:
        """Return the route to bundles for a home on this machine."""
        known = KnownPeers(home.root / "peers.json")
        settings = SwarmSettings(
            dht_bootstrap=(str(self.nodes[0].endpoint),),
            loopback=True,
            choices=NetworkChoices(lsd=False, upnp=False, trackers=False),
        )
        return BundleRoute(
            BundleStore(home),
            PointerStore(home),
            known,
            BundleNetwork(settings, peers=(NOBODY,), seconds=seconds),
            DhtAccess((self.nodes[0].endpoint,), known),
        )


def bundle_of(position: Position, files: Mapping[str, bytes]) -> Content:
    """Return a bundle with exactly these files, whatever they are."""
    layout = bundle_layout((RepoPath(name), len(data)) for name, data in files.items())
    hashes = {
        file.path: hash_bundle_file(files[file.path.text], layout, number) for number, file in enumerate(layout.files)
    }
    return Content.of(build_bundle(position, layout, hashes), files)


def endless_bundle(position: Position, size: int) -> Blanks:
    """Return a bundle whose index.json is `size` blanks, with correct hashes."""
    layout = bundle_layout([(INDEX_PATH, size)])
    whole, rest = divmod(size, layout.piece_length)
    one, hasher = (PieceHasher(layout.piece_length, padded=False) for _ in range(2))
    one.update(b" " * layout.piece_length)
    blank = one.finish()  # all whole pieces are the same; hashing 4 GiB of them takes seconds
    hasher.add(FileHashes.of_pieces(blank.pieces * whole, blank.rows * whole, layout.piece_length))
    hasher.update(b" " * rest)
    hashes = hasher.finish()
    layers = {} if hashes.pieces_root is None else {hashes.pieces_root: hashes.piece_layer}
    metainfo = Metainfo(build_info(bundle_name(position), layout, {INDEX_PATH: hashes}), layers)
    return Blanks(metainfo, b"")


def pointer_to(content: Content, position: Position) -> Pointer:
    return Pointer.to_bundle(content.metainfo.infohash, position, Sha256.of(b"anything"))


def strangers_boards(keeper: Keeper) -> list[bytes]:
    """Return an attacker's 3 boards: own roots and key; true roots, own key; true roots and key, other salts."""
    stranger = ItemAddress(key("stranger").public, b"x")
    own = chain(Rules(root=("stranger",), index=("stranger",)))
    salts = [replace(keeper.address, salt=b"%d" % number) for number in range(4)]
    return [board_notice(*one).value for one in (([stranger], own), ([stranger], keeper.roots), (salts, keeper.roots))]


@contextmanager
def hostile_world(folder: Path) -> Iterator[World]:
    with simulated_dht(6) as nodes, PeerNetwork() as network:
        yield World(folder, nodes, network)
