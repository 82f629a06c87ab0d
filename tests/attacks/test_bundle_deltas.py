"""Attack 163: a bundle whose delta lies, given by a stranger who has the pointer's key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from p2pqwen.errors import NetworkError
from p2pqwen.index.acceptance import Accepted, TrustedState, accept
from p2pqwen.index.bundle import INDEX_PATH
from p2pqwen.index.delta import delta_location, make_delta
from p2pqwen.index.document import INDEX_FILE
from p2pqwen.index.pointer import Pointer
from p2pqwen.library.home import Home
from p2pqwen.library.index_rows.judging import rows_of
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.operations.indexes.update import update
from p2pqwen.operations.indexes.updated import SourceState, Updated
from p2pqwen.values.repo_path import RepoPath
from tests.simulators.peer import Content, PeerSimulator
from tests.support.hostile_boards import Keeper, World, bundle_of, hostile_world
from tests.support.models import noise
from tests.support.publishing import NOW, make_entry

ENTRIES = sorted((make_entry(number) for number in range(1, 9)), key=lambda one: one.id)
NEW = ENTRIES[3]
OLD = [one for one in ENTRIES if one != NEW]


@pytest.fixture
def world(tmp_path: Path):
    with hostile_world(tmp_path) as running:
        yield running


class Follower:
    """A home that accepted a publisher's first index, and what the publisher signed after it."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.keeper, self.home = world, Keeper(world, "keeper"), Home(folder)
        self.store = TrustStore(self.home)
        self.store.pin(self.keeper.id, [])
        self.before = self.judged(self.keeper.sign(OLD))
        self.store.store(self.before, self.signed, now=NOW)
        self.after = self.judged(self.keeper.sign(ENTRIES))
        self.place = delta_location(self.before.digest)
        self.route = world.route(self.home)

    def judged(self, data: bytes) -> Accepted:
        self.signed = data
        return accept(data, TrustedState(self.keeper.id), NOW)

    def delta(self, to: Accepted | None = None, **changes: Any) -> bytes:
        """The delta from what the follower has, with fields of it changed."""
        after = self.after if to is None else to
        made = make_delta(
            self.before.digest,
            rows_of(self.before),
            after.digest,
            rows_of(after),
            roots=[one.to_json() for one in after.roots],
            signed=after.header,
            signatures=after.signatures,
        )
        assert made is not None
        return json.dumps({**json.loads(made.encode()), **changes}).encode()

    def offer(self, files: dict[str, bytes]) -> PeerSimulator:
        """Point at a bundle of these files, which one peer has."""
        content = bundle_of(self.after.position, files)
        pointer = Pointer.to_bundle(content.metainfo.infohash, self.after.position, self.after.digest)
        self.world.put(self.keeper.stolen(pointer))
        return self.world.peer(content)

    def update(self) -> Updated:
        held = self.store.get(self.keeper.id, now=NOW)
        return update(self.store, held, now=NOW, route=self.route)

    @property
    def index(self) -> bytes:
        return self.store.index_path(self.keeper.id).read_bytes()

    def bundle_files(self) -> list[str]:
        return sorted(path.name for path in (self.home.root / "bundles").rglob("*") if path.is_file())


@pytest.fixture
def follower(world: World, tmp_path: Path) -> Follower:
    return Follower(world, tmp_path / "home")


def pieces(content: Content, *names: str) -> int:
    layout = content.metainfo.layout
    return sum(len(layout.pieces(number)) for number, file in enumerate(layout.files) if file.path.text in names)


def test_an_honest_delta_of_a_bundle_is_all_that_comes(follower: Follower):
    torrent = noise(300_000, NEW.torrent)
    peer = follower.offer({INDEX_FILE: follower.signed, follower.place: follower.delta(), NEW.torrent: torrent})
    done = follower.update()
    assert [one.state for one in done.sources] == [SourceState.NEWER]
    assert done.publisher.accepted is not None
    assert done.publisher.accepted.digest == follower.after.digest
    assert peer.seen.requests == pieces(peer.content, follower.place) == 1
    held = follower.route.bundles.newest(follower.keeper.id)
    assert held is not None
    assert held.files_here(held.metainfo()) == {RepoPath(follower.place)}
    assert follower.route.fetch_torrent(done.publisher, NEW.torrent) == torrent  # from that bundle, still without index
    assert not held.has_index
    follower.route.complete(done.publisher, max_bytes=1 << 20)
    assert held.files_here(held.metainfo()) == {RepoPath(follower.place), RepoPath(NEW.torrent), INDEX_PATH}
    assert held.path(INDEX_PATH).read_bytes() == follower.signed


LIES: dict[str, Callable[[Follower], bytes]] = {
    "163-from-another-index": lambda one: one.delta(**{"from": "0" * 64}),
    "163-truncated": lambda one: one.delta()[:-30],
    "163-a-row-less": lambda one: one.delta(changed=[]),
    "163-a-row-changed": lambda one: one.delta(changed=[{**NEW.to_json(), "license": "mit"}]),
    "163-unsigned": lambda one: one.delta(signatures=[]),
    "163-to-what-is-here": lambda one: one.delta(one.before),
    "163-a-second-history": lambda one: one.delta(
        accept(Keeper(one.world, "keeper").sign([NEW]), TrustedState(one.keeper.id), NOW)
    ),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_delta_of_a_bundle_that_lies_costs_the_way_to_the_index(follower: Follower, lie):
    peer = follower.offer({INDEX_FILE: follower.signed, follower.place: lie(follower)})
    done = follower.update()
    assert [one.state for one in done.sources] == [SourceState.NEWER]
    assert follower.index == follower.signed
    assert peer.seen.requests == pieces(peer.content, follower.place, INDEX_FILE)
    assert not list(follower.home.trust.glob("*/evidence/*"))


@pytest.mark.parametrize("lie", list(LIES.values())[:5], ids=list(LIES)[:5])
def test_a_delta_of_a_bundle_that_lies_beside_an_index_that_lies(follower: Follower, lie):
    before = follower.index
    follower.offer({INDEX_FILE: follower.signed.replace(b"apache", b"Apache"), follower.place: lie(follower)})
    (source,) = follower.update().sources
    assert (source.state, source.step) == (SourceState.REFUSED, 4)
    assert follower.index == before
    assert follower.bundle_files() == []


def test_163_an_index_that_lies_beside_a_right_delta_is_neither_kept_nor_passed_on(follower: Follower):
    follower.offer({INDEX_FILE: follower.signed.replace(b"apache", b"Apache"), follower.place: follower.delta()})
    done = follower.update()
    assert [one.state for one in done.sources] == [SourceState.NEWER]
    with pytest.raises(NetworkError, match="no peer has the bundle"):
        follower.route.complete(done.publisher, max_bytes=1 << 20)
    assert INDEX_FILE not in follower.bundle_files()


@pytest.mark.parametrize("many", [11, 1], ids=["163-too-many", "163-larger-than-the-index"])
def test_deltas_that_no_writer_puts_there_are_not_asked_for(follower: Follower, many):
    files = {delta_location(follower.after.digest.of(bytes([number]))): b"{}" for number in range(many - 1)}
    delta = follower.delta() if many > 1 else follower.delta() + b" " * len(follower.signed)
    peer = follower.offer({INDEX_FILE: follower.signed, follower.place: delta, **files})
    assert [one.state for one in follower.update().sources] == [SourceState.NEWER]
    assert follower.index == follower.signed
    assert peer.seen.requests == pieces(peer.content, INDEX_FILE)
