"""Attacks 86 to 89: strangers at the boards, a thief of the pointer's key, hostile mirrors and peers.

Where a test measures time, what it allows is several times our own limits, `Limits` and the patience of a step: the
machine may be busy. Before there were such limits, each of these took minutes, or did not end.
"""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace

import pytest

from p2pqwen.app import App
from p2pqwen.assembly import serving
from p2pqwen.config.load import load
from p2pqwen.errors import FormatError, NetworkError
from p2pqwen.events import Notice
from p2pqwen.index.acceptance import Position
from p2pqwen.index.document import MAX_INDEX_SIZE
from p2pqwen.library import durable
from p2pqwen.library.home import Home
from p2pqwen.library.pointer_store import PointerStore
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.operations.indexes import bundle
from p2pqwen.operations.indexes import update as update_module
from p2pqwen.operations.indexes.bundle import BundleNetwork, fetch_index
from p2pqwen.operations.indexes.update import LIMITS, Asked, update, update_all
from p2pqwen.operations.indexes.updated import SourceState
from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.values.network_choices import NetworkChoices
from tests.attacks.victim import NOW, SIGNERS, TRUSTED_VERSION, Victim
from tests.simulators.hostile_peers import LIARS, METADATA, SLUGGARDS
from tests.simulators.peer import Behaviour
from tests.support.command import CommandLine
from tests.support.hostile_boards import (
    MEGABYTE,
    NOBODY,
    SALT,
    Keeper,
    World,
    endless_bundle,
    hostile_world,
    pointer_to,
    strangers_boards,
)
from tests.support.mirror_server import Handler, MirrorServer, gives, hangs, mirror
from tests.support.publishing import make_document, make_entry, make_index
from tests.support.swarm import SWITCHED_OFF
from tests.support.waiting import wait_until

GENEROUS = 6
"""How many times as long as our limits say a test may take."""
AN_UPDATE = 20.0
"""Seconds in which an update from a healthy mirror ends, whatever others do."""
A_NEWCOMER = 30.0
END = Position(0, 2**53 - 1)
"""The last index there can be: what a liar claims to have."""
SLOW_BUT_NOT_TOO_SLOW = Behaviour(pause=0.1)
"""160 KB a second: no floor on the rate ends that."""


@pytest.fixture
def world(tmp_path):
    with hostile_world(tmp_path) as running:
        yield running


@pytest.fixture
def server():
    with mirror() as running:
        yield running


def trickles(handler: Handler) -> None:
    """Promise a large index and give it just as quickly as patience asks for."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(MAX_INDEX_SIZE))
    handler.end_headers()
    while not handler.server.stopping.wait(0.25):
        handler.wfile.write(bytes(MEGABYTE // 8))


def trust(home: Home, keeper: Keeper, *mirrors: str) -> TrustStore:
    store = TrustStore(home)
    store.pin(keeper.id, mirrors)
    return store


@pytest.mark.timeout(300)
def test_86_a_pointer_to_an_endless_bundle_holds_up_no_mirror(world: World, server: MirrorServer, tmp_path):
    """The thief of the pointer's key writes over it; all four boards lead there as well."""
    keeper, home = Keeper(world, "keeper"), Home(tmp_path / "home")
    first = keeper.issue()
    keeper.point(first)
    store = trust(home, keeper, server.url)
    store.store(first.accepted, first.data, now=NOW)
    endless = endless_bundle(END, MAX_INDEX_SIZE)
    thief = world.peer(endless, SLOW_BUT_NOT_TOO_SLOW)
    world.put(keeper.stolen(pointer_to(endless, END)))
    server.answers["/index.json"] = gives(keeper.issue().data)
    route, started = world.route(home), time.monotonic()
    done = update(store, store.get(keeper.id, now=NOW), now=NOW, route=route)
    assert time.monotonic() - started < GENEROUS * AN_UPDATE
    assert done.publisher.accepted.position == Position(0, 2)
    states = [one.state for one in done.sources]
    assert states == [SourceState.NEWER, SourceState.UNREACHABLE]
    assert "there is a valid index" in done.sources[1].detail
    assert thief.seen.handshakes  # it was asked, and left
    nothing_stays = lambda: not list((home.root / "bundles").rglob("*.json"))  # noqa: E731
    wait_until(nothing_stays, GENEROUS * AN_UPDATE, "the session to end and its files to go")


def test_86_the_index_of_a_bundle_may_not_be_larger_than_an_index(world: World, tmp_path):
    keeper, home = Keeper(world, "keeper"), Home(tmp_path / "home")
    keeper.point(keeper.issue())
    endless = endless_bundle(END, MAX_INDEX_SIZE + 1)
    thief = world.peer(endless)
    world.put(keeper.stolen(pointer_to(endless, END)))
    store = trust(home, keeper)
    done = update(store, store.get(keeper.id, now=NOW), now=NOW, route=world.route(home))
    assert [one.state for one in done.sources] == [SourceState.REFUSED]
    assert thief.seen.metadata_requests
    assert thief.seen.requests == 0  # not a byte of it was asked for


def test_86_who_gives_too_little_is_left(world: World, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "_GRACE_SECONDS", 1.0)
    keeper = Keeper(world, "keeper")
    endless = endless_bundle(END, MAX_INDEX_SIZE)
    dripping = world.peer(endless, Behaviour(pause=1.0))
    network = BundleNetwork(SwarmSettings(choices=SWITCHED_OFF), (dripping.endpoint,))
    store, started = world.route(Home(tmp_path / "home")).bundles, time.monotonic()
    with pytest.raises(NetworkError, match="bytes a second"):
        fetch_index(store, keeper.id, pointer_to(endless, END), network)
    assert time.monotonic() - started < GENEROUS * network.seconds  # and not for its size at that rate
    assert dripping.seen.requests


def test_86_a_pointer_leads_to_the_bundle_of_its_index_alone(world: World, tmp_path):
    endless = endless_bundle(END, MEGABYTE)
    peer = world.peer(endless)
    network = BundleNetwork(SwarmSettings(choices=SWITCHED_OFF), (peer.endpoint,))
    store = world.route(Home(tmp_path / "home")).bundles
    with pytest.raises(FormatError, match="of another index"):
        fetch_index(store, Keeper(world, "keeper").id, pointer_to(endless, Position(0, 7)), network)


def victim_of(tmp_path, server: MirrorServer, **answers) -> Victim:
    victim = Victim(tmp_path)
    (victim.store.folder(victim.publisher) / "sources.json").unlink()
    for name, answer in answers.items():
        server.answers[f"/{name}/index.json"] = answer
    victim.store.pin(victim.publisher, [f"{server.url}/{name}" for name in answers])
    return victim


def of(victim: Victim, version: int, number: int) -> bytes:
    """Another version that the publisher's keys signed."""
    return make_index(victim.roots, make_document(victim.roots, version, [make_entry(number)]), SIGNERS)


class InUse:
    """Tells when an index is in use, and lets a mirror wait for that."""

    def __init__(self) -> None:
        self.event, self.told = threading.Event(), []

    def __call__(self, event) -> None:
        if isinstance(event, Notice):
            self.told.append(event.text)
            if "is in use" in event.text:
                self.event.set()

    def then(self, data: bytes):
        def answer(handler: Handler) -> None:
            assert self.event.wait(60)
            gives(data)(handler)

        return answer


def states(done) -> dict[str, SourceState]:
    return {one.source.rpartition("/")[2]: one.state for one in done.sources}


def test_87_the_first_valid_index_is_used_at_once_and_a_later_one_replaces_it(server: MirrorServer, tmp_path):
    in_use, before = InUse(), Victim(tmp_path / "before")
    newest = of(before, TRUSTED_VERSION + 3, 7)
    victim = victim_of(tmp_path, server, quick=gives(before.next_file()), late=in_use.then(newest))
    held = victim.store.get(victim.publisher, now=NOW)
    done = update(victim.store, held, now=NOW, report=in_use, limits=replace(LIMITS, further=60))
    assert states(done) == {"quick": SourceState.BEHIND, "late": SourceState.NEWER}
    assert victim.version() == (0, TRUSTED_VERSION + 3)


def test_87_nobody_is_waited_for_once_there_is_a_valid_index(server: MirrorServer, tmp_path):
    quick = Victim(tmp_path / "quick").next_file()
    victim = victim_of(tmp_path, server, quick=gives(quick), slow=trickles, silent=hangs)
    started = time.monotonic()
    done = victim.update()
    assert time.monotonic() - started < GENEROUS * AN_UPDATE
    assert states(done) == {
        "quick": SourceState.NEWER,
        "slow": SourceState.UNREACHABLE,
        "silent": SourceState.UNREACHABLE,
    }


def test_87_a_contradiction_that_comes_late_is_evidence_and_changes_nothing(server: MirrorServer, tmp_path):
    """One of the index that was just taken into use, and one of the index that it replaced."""
    in_use, before = InUse(), Victim(tmp_path / "before")
    other, older = of(before, TRUSTED_VERSION + 1, 8), of(before, TRUSTED_VERSION, 9)
    answers = {"quick": gives(before.next_file()), "other": in_use.then(other), "older": in_use.then(older)}
    victim = victim_of(tmp_path, server, **answers)
    held = victim.store.get(victim.publisher, now=NOW)
    done = update(victim.store, held, now=NOW, report=in_use, limits=replace(LIMITS, further=60))
    assert states(done) == {
        "quick": SourceState.NEWER,
        "other": SourceState.REFUSED,
        "older": SourceState.REFUSED,
    }
    assert victim.store.index_path(victim.publisher).read_bytes() == before.next_file()
    assert {other, before.next_file(), older, victim.good} <= victim.evidence()
    assert sum("evidence" in text for text in in_use.told) == 2


def test_87_a_dead_name_server_holds_up_nobody(server: MirrorServer, tmp_path, monkeypatch):
    quick = Victim(tmp_path / "quick").next_file()
    victim = victim_of(tmp_path, server, quick=gives(quick))
    victim.store.pin(victim.publisher, ["https://dead.example"])
    over, ask = threading.Event(), socket.getaddrinfo

    def getaddrinfo(host, *rest, **more):
        if host == "dead.example":
            over.wait(10 * GENEROUS * AN_UPDATE)
        return ask(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    started = time.monotonic()
    try:
        done = victim.update()
        assert time.monotonic() - started < GENEROUS * AN_UPDATE
    finally:
        over.set()
    assert done.changed


def test_87_mirrors_that_give_much_leave_room_for_one_that_gives_little(server: MirrorServer, tmp_path, monkeypatch):
    """Each of them might give as much as an index may have; the small one comes last."""
    monkeypatch.setattr(update_module, "MAX_TAKEN", 8 * MEGABYTE)
    quick, all_gone = Victim(tmp_path / "quick").next_file(), threading.Barrier(4)

    def floods(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(MAX_INDEX_SIZE))
        handler.end_headers()
        try:
            while not handler.server.stopping.is_set():
                handler.wfile.write(bytes(MEGABYTE))
        finally:
            all_gone.wait(60)

    def patient(handler: Handler) -> None:
        all_gone.wait(60)
        gives(quick)(handler)

    victim = victim_of(tmp_path, server, one=floods, two=floods, three=floods, patient=patient)
    done = victim.update()
    assert states(done).pop("patient") is SourceState.NEWER
    assert [one.detail for one in done.sources if "room" in one.detail]
    assert victim.version() == (0, TRUSTED_VERSION + 1)


def test_87_a_process_that_holds_the_bundles_holds_up_no_update(world: World, tmp_path):
    keeper, home = Keeper(world, "keeper"), Home(tmp_path / "home")
    issue = keeper.issue()
    keeper.point(issue)
    world.peer(issue.content)
    store, route = trust(home, keeper), world.route(home)
    with durable.lock(route.bundles.lock_path(keeper.id)):
        done = update(store, store.get(keeper.id, now=NOW), now=NOW, route=route)
    assert done.publisher.accepted.digest == issue.accepted.digest
    assert route.bundles.newest(keeper.id) is None  # it is left to that process
    later = world.route(home)
    later.complete(done.publisher, max_bytes=MEGABYTE)
    assert later.bundles.newest(keeper.id).infohash == issue.pointer.infohash_v1


HOSTILE_PEERS = {
    "never gives metadata": METADATA["never"],
    "metadata of its own": METADATA["wrong"],
    "metadata too large": METADATA["just within the limit"],
    "corrupt": LIARS["corrupt"],
    "zeros": LIARS["zeros"],
    "stalls": SLUGGARDS["stall"],
    "says nothing": SLUGGARDS["silent"],
    "leaves": SLUGGARDS["leave when asked"],
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("healthy", [True, False], ids=["88-one-mirror-of-three", "88-no-mirror"])
def test_a_newcomer_among_strangers(world: World, server: MirrorServer, tmp_path, healthy):
    """3 of 4 boards, 2 of 3 mirrors (or all) and 8 of 9 peers are hostile; the reader knows the publisher's id."""
    keeper = Keeper(world, "keeper")
    issue = keeper.issue()
    item = keeper.point(issue)
    world.put_boards(keeper.id, strangers_boards(keeper))
    hostile = {name: world.peer(issue.content, behaviour) for name, behaviour in HOSTILE_PEERS.items()}
    # Those that lie about metadata alone give good blocks, like the honest one.
    givers = [world.peer(issue.content), *(peer for name, peer in hostile.items() if "metadata" in name)]
    server.answers |= {"/silent/index.json": hangs, "/slow/index.json": trickles}
    server.answers["/good/index.json"] = gives(issue.data) if healthy else gives(b"", 404)
    user = CommandLine(tmp_path / "user", P2PQWEN_DHT_BOOTSTRAP=str(world.nodes[0].endpoint))
    trust(Home(user.home), keeper, *(f"{server.url}/{name}" for name in ("silent", "slow", "good")))
    started = time.monotonic()
    done = user.ok("index", "update", "--peer", str(NOBODY))
    assert time.monotonic() - started < GENEROUS * (AN_UPDATE if healthy else A_NEWCOMER)
    assert (done["version"], done["ok"]) == (1, True)
    good = {row["source"].rpartition("/")[2] for row in done["sources"] if row["state"] == "newer"}
    if healthy:
        assert "good" in good
    else:
        assert good == {f"dht:{issue.pointer.infohash_v1}"}
        assert any(peer.seen.blocks for peer in givers)
        kept = PointerStore(Home(user.home)).items(keeper.id)
        assert kept == [item]  # and from now on they keep the true pointer alive


def test_89_what_one_publishers_dht_does_stops_no_other(world: World, server: MirrorServer, tmp_path):
    class Broken:
        """A route that fails as nobody thought of."""

        unfinished: tuple[str, ...] = ()

        async def indexes(self, *_):
            raise RuntimeError("nobody thought of this")

        def settle(self, _):
            pass

    home = Home(tmp_path / "home")
    one, other = Keeper(world, "one"), Keeper(world, "other")
    issue = other.issue()
    server.answers["/index.json"] = gives(issue.data)
    store = trust(home, one)
    store.pin(other.id, [server.url])
    wanted = [Asked(store.get(one.id, now=NOW), Broken()), Asked(store.get(other.id, now=NOW))]
    failed, fine = update_all(store, wanted, now=NOW)
    assert [(row.source, row.state) for row in failed.sources] == [("dht", SourceState.UNREACHABLE)]
    assert "nobody thought of this" in failed.sources[0].detail
    assert fine.publisher.accepted.digest == issue.accepted.digest


@pytest.mark.timeout(300)
def test_89_a_bundle_without_end_keeps_no_others_pointer_from_being_put_again(world: World, tmp_path):
    """The node of a follower: one of its publishers has a bundle that never comes to an end."""
    user = CommandLine(tmp_path / "user", P2PQWEN_DHT_BOOTSTRAP=str(world.nodes[0].endpoint))
    home = Home(user.home)
    hostile, honest = Keeper(world, "hostile"), Keeper(world, "honest")
    pointers = PointerStore(home)
    for keeper in (hostile, honest):
        issue = keeper.issue()
        trust(home, keeper).store(issue.accepted, issue.data, now=NOW)
        pointers.keep(keeper.id, keeper.point(issue))
        if keeper is hostile:
            endless = endless_bundle(issue.accepted.position, MAX_INDEX_SIZE)
            peer = world.peer(endless, SLOW_BUT_NOT_TOO_SLOW)
            world.put(
                keeper.stolen(replace(pointer_to(endless, issue.accepted.position), digest=issue.accepted.digest))
            )
        else:
            world.peer(issue.content)
    for node in world.nodes:
        del node.items[honest.address.target.raw]  # forgotten: it is two hours later
    settings = SwarmSettings(loopback=True, choices=NetworkChoices(lsd=False, upnp=False, trackers=False))
    sync = serving.seeded_publishers(App(load(user.environment)), settings, lambda _: None).sync
    sync.first = 0.0
    sync.start()
    try:
        put_again = lambda: all(honest.address.target.raw in node.items for node in world.nodes)  # noqa: E731
        wait_until(put_again, GENEROUS * A_NEWCOMER, "the honest publisher's pointer to be put again")
        wait_until(lambda: peer.seen.requests, GENEROUS * A_NEWCOMER, "the endless bundle to be asked for")
    finally:
        sync.stop()
        wait_until(lambda: not sync.busy, GENEROUS * A_NEWCOMER, "the node's work to end")
    assert pointers.get(honest.id, honest.address) is not None
    assert honest.address.salt == SALT
