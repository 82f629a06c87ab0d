"""BEP 44 through our client, against nodes that forget, lie and refuse."""

from __future__ import annotations

import asyncio

import pytest

from p2pqwen.index.mutable_item import sign_item
from p2pqwen.swarm.dht import Dht
from p2pqwen.swarm.krpc_client import KrpcClient, KrpcTimeouts
from tests.simulators.dht_node import LIFETIME, Clock, simulated_dht
from tests.support.publishing import key

QUICK = KrpcTimeouts((0.3, 0.3))
SALT = b"p2pqwen"


def item(sequence=1, value=b"5:index", name="dht"):
    return sign_item(key(name), SALT, sequence, value)


def do(nodes, *steps):
    """Run steps, each a function of a `Dht`, one after another; return their results."""

    async def run():
        async with Dht([nodes[0].endpoint], client=KrpcClient(timeouts=QUICK)) as dht:
            return [await step(dht) for step in steps]

    return asyncio.run(run())


def test_put_and_get():
    with simulated_dht() as nodes:
        missing, put, got = do(
            nodes,
            lambda dht: dht.get(item().address),
            lambda dht: dht.put(item()),
            lambda dht: dht.get(item().address),
        )
        assert (missing.item, missing.answered) == (None, 5)
        assert (put.accepted, put.answered, put.newer, put.refusals) == (5, 5, None, ())
        assert (got.item, got.holders) == (item(), 5)


def test_the_highest_sequence_number_wins():
    with simulated_dht() as nodes:
        do(nodes, lambda dht: dht.put(item(1)))
        lonely = nodes[3]
        lonely.items[item().address.target.raw].values |= {
            b"seq": 2, b"v": b"new", b"sig": item(2, b"3:new").signature,
        }  # fmt: skip
        (got,) = do(nodes, lambda dht: dht.get(item().address))
        assert got.item == item(2, b"3:new")
        assert got.holders == 1


def test_an_older_item_is_not_put_over_a_newer_one():
    with simulated_dht() as nodes:
        do(nodes, lambda dht: dht.put(item(5)))
        (put,) = do(nodes, lambda dht: dht.put(item(4)))
        assert put.newer == item(5)
        assert put.accepted == 0
        assert nodes[0].count("put") == 1


@pytest.mark.parametrize(
    "change",
    [
        {b"v": b"forged"},
        {b"seq": 9},
        {b"sig": bytes(64)},
        {b"sig": b"short"},
        {b"seq": b"1"},
        {b"v": bytes(1001)},
    ],
)
def test_forged_items_are_passed_over(change):
    with simulated_dht() as nodes:
        do(nodes, lambda dht: dht.put(item()))
        for liar in nodes[1:]:
            liar.behaviour.spoil = lambda values: values.update(change) if b"sig" in values else None
        (got,) = do(nodes, lambda dht: dht.get(item().address))
        assert (got.item, got.holders, got.answered) == (item(), 1, 5)


def test_an_item_under_another_key_is_passed_over():
    with simulated_dht() as nodes:
        do(nodes, lambda dht: dht.put(item()))
        theirs = item(9, b"5:their", name="thief")
        for liar in nodes[1:]:
            stolen = {b"k": theirs.address.public.raw, b"seq": 9, b"v": b"their", b"sig": theirs.signature}
            liar.behaviour.spoil = lambda values, stolen=stolen: values.update(stolen) if b"sig" in values else None
        (got,) = do(nodes, lambda dht: dht.get(item().address))
        assert got.item == item()


def test_a_router_that_knows_no_items_still_leads_to_nodes_that_do():
    with simulated_dht() as nodes:
        nodes[0].behaviour.refuse_get = True
        put, got = do(nodes, lambda dht: dht.put(item()), lambda dht: dht.get(item().address))
        assert put.accepted == 4
        assert (got.item, got.holders) == (item(), 4)


def test_compare_and_swap():
    with simulated_dht() as nodes:
        put, refused, swapped = do(
            nodes,
            lambda dht: dht.put(item(1)),
            lambda dht: dht.put(item(3), cas=2),
            lambda dht: dht.put(item(3), cas=1),
        )
        assert (put.accepted, refused.accepted, swapped.accepted) == (5, 0, 5)
        assert "301" in refused.refusals[0]


def test_without_a_token_nothing_is_put():
    with simulated_dht() as nodes:
        for node in nodes[1:]:
            node.behaviour.spoil = lambda values: values.pop(b"token", None)
        (put,) = do(nodes, lambda dht: dht.put(item()))
        assert put.accepted == 1
        assert [node.count("put") for node in nodes] == [1, 0, 0, 0, 0]


def test_an_item_outlives_its_owner_when_others_put_it_again():
    clock = Clock()
    with simulated_dht(clock=clock) as nodes:
        do(nodes, lambda dht: dht.put(item()))
        (seen,) = do(nodes, lambda dht: dht.get(item().address))  # a follower, who has no key
        clock.now = LIFETIME * 0.9
        do(nodes, lambda dht: dht.put(seen.item))
        clock.now = LIFETIME * 1.5
        (kept,) = do(nodes, lambda dht: dht.get(item().address))
        assert (kept.item, kept.holders) == (item(), 5)
        clock.now = LIFETIME * 2
        (gone,) = do(nodes, lambda dht: dht.get(item().address))
        assert gone.item is None
