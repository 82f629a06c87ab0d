#!/usr/bin/env python3
"""Measure a node's watch on the health of its swarms, as a share of one core.

    scripts/bench_health.py [SWARMS]       default: 1000

The watch runs as in a node, with its own store, over a DHT of 150 nodes in another process, but without its pauses. Its
CPU time is then divided by the time that it takes with them. Aim: 1,000 swarms with at most 5 % of a core, even if
every lookup queried the most nodes allowed. Exit 1 if it is missed. The reference is the same number of empty
datagrams, there and back, over asyncio.
"""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from p2pqwen.library.health_store import HealthStore  # noqa: E402 - the project's root must be found first
from p2pqwen.library.known_peers import KnownPeers  # noqa: E402
from p2pqwen.library.state_store import StateStore  # noqa: E402
from p2pqwen.operations.archive import health_watch  # noqa: E402
from p2pqwen.operations.archive.health_watch import HealthWatch  # noqa: E402
from p2pqwen.operations.archive.swarm_probe import Probes  # noqa: E402
from p2pqwen.operations.archive.watched import WatchedSwarm  # noqa: E402
from p2pqwen.operations.indexes.dht_access import DhtAccess  # noqa: E402
from p2pqwen.swarm.dht_lookup import MAX_QUERIES  # noqa: E402
from p2pqwen.swarm.endpoint import Endpoint  # noqa: E402
from p2pqwen.torrent.infohash import InfoHash  # noqa: E402
from p2pqwen.values.digest import CommitId, Sha1, Sha256  # noqa: E402
from p2pqwen.values.snapshot_id import RepoId, SnapshotId  # noqa: E402
from tests.simulators.dht_node import simulated_dht  # noqa: E402
from tests.support.waiting import wait_until  # noqa: E402

AIM = 0.05
NODES = 150


def hashes(number: int) -> InfoHash:
    return InfoHash(Sha1.parse(Sha256.of(b"%d" % number).raw[:20].hex()), Sha256.of(b"%d" % number))


def serve(swarms: int) -> None:
    """Run the DHT until stdin ends. Each node knows those near it and some others, as real ones do."""
    with simulated_dht(NODES) as nodes:
        for number in range(swarms):
            some = [Endpoint(f"10.{number % 250}.1.{host + 1}", 6881) for host in range(number % 12)]
            for node in nodes:
                node.swarms[hashes(number).v1.raw] = some, some[:1]
        print(" ".join(str(node.endpoint) for node in nodes[:4]), flush=True)
        sys.stdin.read()
        print(sum(len(node.asked) for node in nodes), flush=True)


def watched(number: int) -> WatchedSwarm:
    snapshot = SnapshotId(RepoId(f"Qwen/Model-{number}"), CommitId(number.to_bytes(20)))
    return WatchedSwarm(snapshot, hashes(number), 10**10, listed=True)


def ours(start: tuple[Endpoint, ...], swarms: int, folder: Path) -> tuple[float, int]:
    """Run the watch once over all swarms; return its CPU seconds and the rounds it took."""
    every = [watched(number) for number in range(swarms)]
    health_watch.QUERIES = 100_000.0
    with StateStore(folder / "state.sqlite") as store:
        watch = HealthWatch(
            swarms=lambda: every,
            rows=list,
            store=HealthStore(store),
            ways=Probes(DhtAccess(start, KnownPeers(folder / "peers.json"))),
            clock=lambda: datetime.now(UTC),
            every=0.001,
        )
        before = time.process_time()
        with watch:
            wait_until(lambda: len(watch._asked) == swarms, 3600, "a look at every swarm")  # noqa: SLF001
            used = time.process_time() - before
        seen = HealthStore(store).all()
    counts = [one.sightings[0].seeds for one in seen.values()]
    assert len(counts) == swarms, len(counts)
    assert abs(sum(filter(None, counts)) / swarms - 5.5) < 0.5
    return used, -(-swarms // health_watch.BATCH)


async def echoes(count: int) -> None:
    """Send `count` datagrams to an asyncio socket of this process and await each one's return, 8 at a time."""
    loop = asyncio.get_running_loop()
    waiting: dict[bytes, asyncio.Future[None]] = {}

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport):  # noqa: ANN001, ANN202 - asyncio's own types
            self.transport = transport

        def datagram_received(self, data, addr):  # noqa: ANN001, ANN202
            if data[:1] == b"q":
                self.transport.sendto(b"r" + data[1:], addr)
            else:
                waiting.pop(data[1:9]).set_result(None)

    server, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    client, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    where = server.get_extra_info("sockname")

    async def one(number: int) -> None:
        name = number.to_bytes(8)
        waiting[name] = answer = loop.create_future()
        client.sendto(b"q" + name + bytes(110), where)
        await answer

    for start in range(0, count, 8):
        await asyncio.gather(*map(one, range(start, min(start + 8, count))))
    server.close()
    client.close()


def reference(queries: int) -> float:
    """Return the CPU seconds for this number of datagrams there and back."""
    before = time.process_time()
    asyncio.run(echoes(queries))
    return time.process_time() - before


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(int(sys.argv[2]))
        return
    swarms = int(sys.argv[1]) if sys.argv[1:] else 1000
    with (
        tempfile.TemporaryDirectory() as name,
        subprocess.Popen(
            [sys.executable, __file__, "--serve", str(swarms)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as dht,
    ):
        assert dht.stdout is not None
        start = tuple(Endpoint.parse(text) for text in dht.stdout.readline().split())
        used, rounds = ours(start, swarms, Path(name))
        queries = int(dht.communicate()[0])
    echo = reference(queries)
    seconds = rounds * health_watch.EVERY
    worst = used / seconds * MAX_QUERIES * swarms / queries
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} CPUs, "
        f"Python {platform.python_version()}\n"
        f"{swarms} swarms, {queries} DHT queries: {used:.1f} s of CPU in {seconds / 60:.0f} minutes, "
        f"{100 * used / seconds:.2f} % of a core; {used / echo:.1f} x as many datagrams over asyncio alone\n"
        f"if every lookup took {MAX_QUERIES} queries, the most it may: {100 * worst:.2f} % of a core"
    )
    sys.exit(0 if worst <= AIM else 1)


if __name__ == "__main__":
    main()
