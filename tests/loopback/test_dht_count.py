"""How many the DHT says there are: BEP 33 and without it, with liars, and against libtorrent's own nodes."""

from __future__ import annotations

import asyncio

import libtorrent as lt
import pytest

from p2pqwen.swarm.dht import Dht, SwarmCount
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.values.digest import Sha1
from tests.simulators.dht_node import simulated_dht
from tests.support.dht import libtorrent_dht
from tests.support.waiting import wait_until

TORRENT = Sha1(b"torrent of the swarm")


def count(start, torrent=TORRENT):
    async def run():
        async with Dht(start, seconds=10) as dht:
            return await dht.count(torrent)

    return asyncio.run(run())


def peers(first, number):
    return [Endpoint(f"127.1.{first}.{host}", 6881) for host in range(1, number + 1)]


@pytest.mark.parametrize(
    ("seeds", "others", "scrapes", "expected"),
    [(3, 2, True, (3, 5)), (12, 0, True, (12, 12)), (0, 4, True, (0, 4)), (3, 2, False, (None, 5))],
)
def test_a_swarm_is_counted(seeds, others, scrapes, expected):
    with simulated_dht(6) as nodes:
        for node in nodes:
            node.swarms[TORRENT.raw] = peers(1, seeds), peers(2, others)
            node.behaviour.scrapes = scrapes
        found = count([nodes[0].endpoint])
    assert (found.seeds, found.peers, found.answered) == (*expected, 6)


def test_nobody_announced():
    with simulated_dht(5) as nodes:
        assert count([nodes[0].endpoint]) == SwarmCount(5, None, 0)


@pytest.mark.parametrize("scrapes", [True, False])
def test_a_lone_liar_makes_no_copies(scrapes):
    def lie(values):
        if scrapes:
            values[b"BFsd"] = b"\xff" * 256
        values[b"values"] = [b"\x7f\x02" + bytes([number // 200, number % 200]) + b"\x1a\xe1" for number in range(180)]

    with simulated_dht(6) as nodes:
        for node in nodes:
            node.swarms[TORRENT.raw] = peers(1, 2), []
            node.behaviour.scrapes = scrapes
        nodes[3].behaviour.spoil = lie
        found = count([nodes[0].endpoint])
    assert (found.seeds, found.peers) == ((2, 2) if scrapes else (None, 2))


def test_libtorrent_answers_the_scrape():
    """Real nodes hold what real sessions announced, four of them as seeds."""
    with libtorrent_dht(6) as nodes:
        for number, node in enumerate(nodes):  # flag 1 says that it is a seed
            node.session.dht_announce(lt.sha1_hash(TORRENT.raw), 7000 + number, 1 if number < 4 else 0)

        def counted():
            found = count([nodes[0].endpoint])
            return found if found.peers >= 5 else None

        found = wait_until(counted, 60, "six announcements in the DHT")
    assert found.seeds in {3, 4}  # an estimate
    assert found.peers in {5, 6}
