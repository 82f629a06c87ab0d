"""KRPC messages and the client: what is believed, what is not, and how hard it asks."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import FormatError, NetworkError
from p2pqwen.swarm import krpc
from p2pqwen.swarm.dht import MAX_START, Dht, resolve_all
from p2pqwen.swarm.dht_lookup import _MORE, ALPHA, MAX_PER_ADDRESS, MAX_QUERIES, K, Lookup
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.krpc import Contact, Fault, Reply, compact_node, compact_nodes, encode_query, parse_answer
from p2pqwen.swarm.krpc_client import KrpcClient, KrpcTimeouts, QueryRefusedError
from p2pqwen.torrent import bencode
from tests.simulators.dht_node import DhtNodeSimulator, simulated_dht

QUICK = KrpcTimeouts((0.3, 0.3))
ME = b"m" * 20


@pytest.fixture
def node():
    simulator = DhtNodeSimulator()
    yield simulator
    simulator.close()


def ask(node, method="ping", arguments=None, timeouts=QUICK):
    async def run():
        async with KrpcClient(timeouts=timeouts) as client:
            return await client.ask(node.endpoint, method, arguments or {}), client.queries

    return asyncio.run(run())


def test_a_query_says_what_it_is_and_that_we_answer_nobody():
    message = bencode.decode_dict(encode_query(b"tx", "get", ME, {b"target": b"t" * 20}), max_bytes=500)
    assert message[b"a"] == {b"id": ME, b"target": b"t" * 20}
    assert (message[b"q"], message[b"t"], message[b"y"], message[b"ro"]) == (b"get", b"tx", b"q", 1)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({b"t": b"1", b"y": b"r", b"r": {b"id": ME, b"x": 1}}, Reply(b"1", ME, {b"id": ME, b"x": 1})),
        ({b"t": b"1", b"y": b"e", b"e": [203, b"no"]}, Fault(b"1", 203, "no")),
        ({b"t": b"1", b"y": b"e", b"e": [203]}, Fault(b"1", 0, "")),
        ({b"t": b"1", b"y": b"e"}, Fault(b"1", 0, "")),
        ({b"t": b"1", b"y": b"q", b"q": b"ping"}, None),
        ({b"t": b"1"}, None),
    ],
)
def test_answers_are_read(message, expected):
    assert parse_answer(bencode.encode(message)) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"i1e",
        b"d1:y1:r1:t1:1e",  # keys out of order
        bencode.encode({b"y": b"r", b"r": {b"id": ME}}),
        bencode.encode({b"t": 1, b"y": b"r", b"r": {b"id": ME}}),
        bencode.encode({b"t": b"1", b"y": b"r"}),
        bencode.encode({b"t": b"1", b"y": b"r", b"r": {}}),
        bencode.encode({b"t": b"1", b"y": b"r", b"r": {b"id": b"short"}}),
        bencode.encode({b"t": b"1", b"y": b"r", b"r": {b"id": ME, b"x": bytes(krpc.MAX_DATAGRAM)}}),
        b"l" * 5000,
    ],
)
def test_what_is_no_answer_is_refused(data):
    with pytest.raises(FormatError):
        parse_answer(data)


@given(st.binary(max_size=300))
def test_no_datagram_makes_trouble(data):
    with contextlib.suppress(FormatError):
        parse_answer(data)


@pytest.mark.parametrize("host", ["127.0.0.1", "203.0.113.9", "::1", "2001:db8::1"])
def test_nodes_are_written_and_read(host):
    contact = Contact(ME, Endpoint(host, 6881))
    family = 6 if ":" in host else 4
    assert list(compact_nodes(compact_node(contact) * 2 + b"rest", family)) == [contact, contact]


def test_a_node_at_port_zero_is_none():
    assert list(compact_nodes(ME + bytes([1, 2, 3, 4, 0, 0]), 4)) == []


def test_a_reply_names_few_nodes():
    many = b"".join(compact_node(Contact(ME, Endpoint("1.2.3.4", port))) for port in range(1, 200))
    assert len(Reply(b"", ME, {b"nodes": many}).nodes(4)) == krpc.MAX_NODES
    assert Reply(b"", ME, {b"nodes": 1}).nodes(4) == []


def test_peers_are_read():
    rows = [bytes([10, 0, 0, 1, 1, 2]), bytes(15) + b"\x01\x1a\xe1", bytes(6), b"short", 7, bytes([1, 2, 3, 4, 0, 0])]
    assert Reply(b"", ME, {b"values": rows}).peers() == [Endpoint("10.0.0.1", 258), Endpoint("::1", 6881)]
    assert Reply(b"", ME, {b"values": b"x"}).peers() == []
    many = [bytes([10, 0, 0, 1]) + port.to_bytes(2) for port in range(1, 500)]
    assert len(Reply(b"", ME, {b"values": many}).peers()) == krpc.MAX_PEERS


def test_ping(node):
    reply, queries = ask(node)
    assert reply.sender == node.id
    assert queries == 1


def test_a_lost_query_is_asked_again(node):
    node.behaviour.lose = 1
    reply, queries = ask(node)
    assert reply.sender == node.id
    assert queries == 2


def test_an_error_is_told(node):
    node.behaviour.refuse_get = True
    with pytest.raises(QueryRefusedError, match="204") as caught:
        ask(node, "get", {b"target": bytes(20)})
    assert caught.value.code == krpc.METHOD_UNKNOWN


@pytest.mark.parametrize("behaviour", ["silent", "answer_from_elsewhere", "wrong_transaction"])
def test_what_did_not_come_from_there_is_no_answer(node, behaviour):
    setattr(node.behaviour, behaviour, True)
    with pytest.raises(NetworkError, match="does not answer"):
        ask(node)
    assert node.count("ping") == 2


def test_questions_keep_a_pace(node):
    async def run():
        async with KrpcClient(rate=50, burst=5) as client:
            started = time.monotonic()
            await asyncio.gather(*(client.ask(node.endpoint, "ping", {}) for _ in range(30)))
            return time.monotonic() - started

    assert asyncio.run(run()) > 0.4  # 25 of them at 50 a second; a lower bound cannot fail on a slow machine
    assert node.count("ping") == 30


def test_names_are_resolved_and_the_dead_left_out():
    wanted = [Endpoint("127.0.0.1", 1), Endpoint("localhost", 2), Endpoint("no-such-host.invalid", 3)]
    found = asyncio.run(resolve_all(wanted))
    assert Endpoint("127.0.0.1", 1) in found
    assert Endpoint("127.0.0.1", 2) in found
    assert {one.port for one in found} == {1, 2}


def find_nodes(start, target=b"t" * 20, seconds=10.0, timeouts=QUICK):
    async def run():
        async with Dht(start, seconds=seconds, client=KrpcClient(timeouts=timeouts)) as dht:
            return await dht.find_nodes(target), dht.good_nodes

    return asyncio.run(run())


def test_a_lookup_finds_everybody_it_is_led_to():
    with simulated_dht(8) as nodes:
        for at, node in enumerate(nodes):  # a chain: each knows the next few only
            node.known = [other.contact for other in nodes[at + 1 : at + 3]]
        found, good = find_nodes([nodes[0].endpoint])
        nearest = sorted(nodes, key=lambda node: krpc.distance(node.id, b"t" * 20))
        assert [one.id for one in found] == [node.id for node in nearest]
        assert {one.id for one in good} == {node.id for node in nodes}


def test_a_lookup_ends_with_the_closest():
    with simulated_dht(40) as nodes:
        found, good = find_nodes([nodes[0].endpoint])
        nearest = sorted(nodes, key=lambda node: krpc.distance(node.id, b"t" * 20))[:K]
        assert [one.id for one in found] == [node.id for node in nearest]
        assert len(good) < 20


def test_dead_nodes_do_not_hold_it_up():
    with simulated_dht(20) as nodes:
        nearest = sorted(nodes, key=lambda node: krpc.distance(node.id, b"t" * 20))
        for node in nearest[:K:2]:
            node.behaviour.silent = True
        found, _ = find_nodes([nearest[-1].endpoint])
        assert {one.id for one in found} >= {node.id for node in [*nearest[1:K:2], nearest[-1]]}


def test_remembered_nodes_are_enough():
    with simulated_dht(4) as nodes:
        found, _ = find_nodes([node.contact for node in nodes[:2]])
        assert len(found) == 4


def test_ipv6_has_a_dht_of_its_own():
    with simulated_dht(3, hosts=["::1"]) as six, simulated_dht(3) as four:
        found, _ = find_nodes([six[0].endpoint, four[0].endpoint])
        assert {one.endpoint for one in found} == {node.endpoint for node in (*six, *four)}


def test_nobody_to_ask():
    assert find_nodes([]) == ([], [])
    assert find_nodes([Endpoint("no-such-host.invalid", 1)]) == ([], [])


def lookup(replies, start, seconds=10.0):
    """Run a lookup over a network that is a function from an endpoint to (id, contacts)."""
    asked = []

    async def ask_node(endpoint):
        asked.append(endpoint)
        answer = replies(endpoint)
        if answer is None:
            raise NetworkError("silent")
        sender, contacts = answer
        return Reply(b"", sender, {b"nodes": b"".join(compact_node(one) for one in contacts)})

    found = asyncio.run(Lookup(bytes(20), 4, ask_node, start).run(seconds))
    return found, asked


@pytest.mark.parametrize("holders", [1, 2])
def test_two_that_have_it_end_a_lookup_and_one_may_lie(holders):
    nodes = [Endpoint(f"8.8.8.{number}", 1) for number in range(4)]

    async def ask_node(endpoint):
        number = nodes.index(endpoint)
        if number == 3:
            await asyncio.sleep(2 * _MORE if holders == 1 else 3600)  # heard where the lookup goes on
        values = [b"\x09\x09\x09\x09\x1a\xe1"] if number < holders else []
        return Reply(b"", bytes([number + 1] * 20), {b"values": values})

    looking = Lookup(bytes(20), 4, ask_node, nodes, is_found=lambda reply: bool(reply.peers()))
    assert len(asyncio.run(looking.run(60.0))) == (3 if holders == 2 else 4)


def test_a_network_that_never_ends_is_left():
    counter = iter(range(1, 10**9))

    def replies(endpoint):  # each answer leads to closer nodes, for ever
        far = 2**160 - next(counter)
        contacts = []
        for _ in range(8):
            number = next(counter)
            contacts.append(
                Contact(
                    (far // (number + 1) ** 4).to_bytes(20),
                    Endpoint(f"8.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1),
                )
            )
        return (far // next(counter) ** 3).to_bytes(20), contacts

    _, asked = lookup(replies, [Endpoint("8.8.8.8", 1)])
    assert ALPHA < len(asked) <= MAX_QUERIES


@pytest.mark.parametrize(
    ("source", "offered", "followed"),
    [
        ("8.8.8.8", "9.9.9.9", True),
        ("8.8.8.8", "127.0.0.1", False),
        ("8.8.8.8", "10.0.0.1", False),
        ("8.8.8.8", "169.254.169.254", False),
        ("8.8.8.8", "224.0.0.1", False),
        ("8.8.8.8", "0.0.0.0", False),
        ("10.0.0.1", "10.0.0.2", True),
        ("10.0.0.1", "127.0.0.1", False),
        ("10.0.0.1", "9.9.9.9", True),
        ("127.0.0.1", "127.0.0.2", True),
    ],
)
def test_nobody_is_led_into_a_network_more_private_than_the_leader(source, offered, followed):
    leader = Endpoint(source, 1)
    _, asked = lookup(lambda one: (ME, [Contact(ME, Endpoint(offered, 2))] if one == leader else []), [leader])
    assert (Endpoint(offered, 2) in asked) is followed


def test_one_address_is_not_many_nodes():
    leader = Endpoint("8.8.8.8", 1)
    crowd = [Contact(bytes([n]) * 20, Endpoint("9.9.9.9", n)) for n in range(1, 17)]
    _, asked = lookup(lambda one: (ME, crowd if one == leader else []), [leader])
    assert len(asked) == 1 + MAX_PER_ADDRESS


def test_our_own_shadow_is_not_asked():
    with simulated_dht(3) as nodes:
        client = KrpcClient(timeouts=QUICK)

        async def run():
            async with Dht([nodes[0].endpoint], client=client) as dht:
                nodes[0].behaviour.extra_nodes = [Contact(client.id, Endpoint("127.0.0.1", 1))]
                await dht.find_nodes(bytes(20))
                return client.queries

        assert asyncio.run(run()) == 3


def test_few_of_many_starts_are_asked():
    starts = [Endpoint("127.0.0.1", port) for port in range(1, 101)]

    async def run():
        async with Dht(starts, seconds=0.5, client=KrpcClient(timeouts=KrpcTimeouts((0.1,)))) as dht:
            await dht.find_nodes(bytes(20))
            return dht._client.queries

    assert asyncio.run(run()) == MAX_START
