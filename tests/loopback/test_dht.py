"""Our KRPC client in a DHT of real libtorrent nodes: each reads what the other wrote."""

from __future__ import annotations

import asyncio
import hashlib

import libtorrent as lt
import pytest

from p2pqwen.index.board import immutable_target
from p2pqwen.index.mutable_item import sign_item
from p2pqwen.swarm.dht import Dht
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.krpc_client import KrpcClient
from p2pqwen.swarm.session import Swarm
from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.torrent import bencode
from p2pqwen.values.digest import Sha1
from p2pqwen.values.network_choices import NetworkChoices
from tests.simulators.dht_node import simulated_dht
from tests.support.dht import LibtorrentNode, introduce, libtorrent_dht
from tests.support.publishing import key
from tests.support.swarm import pump_until
from tests.support.waiting import wait_until

SALT = b"p2pqwen"
VALUE = bencode.encode({b"ih": b"x" * 20, b"version": 3})


def item(sequence=1):
    return sign_item(key("dht"), SALT, sequence, VALUE)


def put(start, wanted, **options):
    async def run():
        async with Dht(start) as dht:
            return await dht.put(wanted, **options)

    return asyncio.run(run())


def get(start, address):
    async def run():
        async with Dht(start) as dht:
            return await dht.get(address)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def nodes():
    with libtorrent_dht(6) as running:
        yield running


# First: libtorrent waits a quarter of a minute for each of our clients that it has met and that is gone.
def test_we_find_who_announced_a_torrent_to_libtorrent(nodes):
    infohash = hashlib.sha1(b"a bundle").digest()
    nodes[2].session.dht_announce(lt.sha1_hash(infohash), 4321)

    async def run():
        async with Dht([nodes[0].endpoint]) as dht:
            return await dht.get_peers(Sha1(infohash))

    found = wait_until(lambda: asyncio.run(run()), 20, "the announced peer")
    assert found == [Endpoint(nodes[2].endpoint.host, 4321)]


def test_libtorrent_takes_our_item_and_gives_it_back(nodes):
    done = put([nodes[0].endpoint], item(1))
    assert (done.accepted, done.refusals) == (6, ())
    found = get([nodes[3].endpoint], item().address)
    assert found.item == item(1)
    assert found.holders == 6
    assert put([nodes[1].endpoint], item(4), cas=1).accepted == 6
    assert "301" in put([nodes[1].endpoint], item(6), cas=1).refusals[0]
    assert put([nodes[1].endpoint], item(2)).newer == item(4)


def test_libtorrent_finds_what_we_put(nodes):
    done = put([nodes[0].endpoint], sign_item(key("seen by libtorrent"), SALT, 7, VALUE))
    assert done.accepted == 6
    asker = nodes[5].session
    public = key("seen by libtorrent").public.raw
    asker.dht_get_mutable_item(public, SALT)
    found = wait_until(lambda: _item_alert(asker, public), 20, "an item in libtorrent")
    assert (found.seq, found.item) == (7, {b"ih": b"x" * 20, b"version": 3})


def test_immutable_items_come_and_go(nodes):
    """Ours are taken by libtorrent and found by it; one that is not what its target names is no item."""
    value = bencode.encode(b"r" * 996)
    target = immutable_target(value)

    async def run():
        async with Dht([nodes[0].endpoint]) as dht:
            put = await dht.put_immutable(value)
            return put, await dht.get_immutable(target), await dht.get_immutable(immutable_target(b"1:x"))

    assert asyncio.run(run()) == (6, value, None)
    asker = nodes[4].session
    asker.dht_get_immutable_item(lt.sha1_hash(target.raw))

    def found() -> bytes | None:
        return next(
            (one.item for one in asker.pop_alerts() if isinstance(one, lt.dht_immutable_item_alert)),
            None,
        )

    assert wait_until(found, 20, "an item in libtorrent") == b"r" * 996


def test_a_forged_immutable_item_is_passed_over():
    with simulated_dht(3) as forgers:
        for node in forgers:
            node.behaviour.spoil = lambda values: values.update({b"v": b"another"})

        async def run():
            async with Dht([forgers[0].endpoint]) as dht:
                return await dht.get_immutable(immutable_target(b"1:x"))

        assert asyncio.run(run()) is None


def test_88_one_node_does_not_fill_the_list_of_peers():
    crowd, honest = [Endpoint("127.0.9.1", 1000 + number) for number in range(150)], Endpoint("127.0.8.1", 7)
    infohash = Sha1(b"t" * 20)
    with simulated_dht(3) as some:
        some[0].swarms[infohash.raw] = (crowd, [])
        some[1].swarms[infohash.raw] = ([honest], [])

        async def run():
            async with Dht([one.endpoint for one in some]) as dht:
                return await dht.get_peers(infohash)

        found = asyncio.run(run())
    assert honest in found[:2]
    assert len(found) == 100


def test_we_find_what_libtorrent_put_and_put_it_again_without_its_key():
    """The publisher's nodes are switched off; a node that was never there holds the item after a follower's put."""
    with libtorrent_dht(5) as nodes:
        owner = key("owner by libtorrent")
        _libtorrent_put(nodes[0].session, owner)
        address = sign_item(owner, SALT, 0, b"i0e").address
        found = wait_until(lambda: get([nodes[2].endpoint], address).item, 20, "libtorrent's item")
        assert found.value == bencode.encode(VALUE)  # the binding puts a string
        newcomers = [LibtorrentNode(f"127.1.{number}.1") for number in range(3)]
        try:
            introduce(newcomers)
            start = [newcomers[0].endpoint]
            assert get(start, address).item is None
            assert put(start, found).accepted == 3
            kept = get([newcomers[2].endpoint], address)
            assert (kept.item, kept.holders) == (found, 3)
        finally:
            for node in newcomers:
                node.close()


def test_libtorrent_takes_our_announcement_and_gives_it_back():
    """In a DHT of its own, whose nodes wait for no client that has gone; a node that was slow takes the next one."""
    infohash = Sha1(hashlib.sha1(b"another bundle").digest())

    async def run(nodes):
        async with Dht([node.endpoint for node in nodes]) as dht:
            taken = await dht.announce(infohash, 4321)
            return taken, [one.port for one in await dht.get_peers(infohash)]

    with libtorrent_dht(6) as nodes:
        wait_until(lambda: asyncio.run(run(nodes)) == (6, [4321]), 30, "an announcement that all nodes have")


def test_ipv6_too():
    with libtorrent_dht(4, ipv6=True) as nodes:
        start = [node.endpoint for node in nodes]
        done = put(start, item())
        assert done.accepted >= 2
        assert get(start, item().address).item == item()


def _libtorrent_put(session, owner):
    """Have libtorrent sign and put: it wants the expanded private key."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    raw = owner._key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    expanded = bytearray(hashlib.sha512(raw).digest())
    expanded[0] &= 248
    expanded[31] = expanded[31] & 63 | 64
    session.dht_put_mutable_item(bytes(expanded), owner.public.raw, VALUE, SALT)


def _item_alert(session, public):
    for alert in session.pop_alerts():
        if isinstance(alert, lt.dht_mutable_item_alert) and bytes(alert.key) == public and alert.item is not None:
            return alert
    return None


def test_a_seed_answers_a_newcomer_who_asks_much():
    """In a DHT of a few, each gets all of somebody's queries; libtorrent's own limit bans them for five minutes."""
    asked = {b"info_hash": bytes(20)}
    settings = SwarmSettings(
        listen=Endpoint("127.0.0.1", 0), dht_bootstrap=(), choices=NetworkChoices(lsd=False, upnp=False, trackers=False)
    )

    async def ask(node):
        async with KrpcClient(rate=1000, burst=100) as client:
            await asyncio.gather(*(client.ask(node, "get_peers", asked) for _ in range(100)))
            return await client.ask(node, "get_peers", asked)

    with Swarm(settings) as swarm:
        assert len(asyncio.run(ask(swarm.listening[0])).sender) == 20


@pytest.mark.parametrize(("large", "seconds"), [(7, 60), (4, 900)])
def test_a_seed_announces_more_often_in_a_small_dht(nodes, monkeypatch, large, seconds):
    monkeypatch.setattr("p2pqwen.swarm.settings._LARGE_DHT", large)
    settings = SwarmSettings(
        listen=Endpoint("127.0.9.1", 0),
        dht_bootstrap=(str(nodes[0].endpoint),),
        choices=NetworkChoices(lsd=False, upnp=False, trackers=False),
    )
    with Swarm(settings) as swarm:
        pump_until(lambda: (swarm.reach.dht_nodes or 0) >= 5, swarm, what="the DHT is known")
        pump_until(
            lambda: swarm._session.get_settings()["dht_announce_interval"] == seconds, swarm, what=f"every {seconds} s"
        )
