"""Which addresses a session connects to when an untrusted peer sends them by PEX (BEP 11); run it in its own namespace.

    python -m tests.support.named_by_peers STRANGER EXPECTED [lan] [loopback]

STRANGER is `public` or `private`; `lan` and `loopback` are what the session may contact. The stranger names a service
of this machine and one in a private network, which count their callers. EXPECTED is `private`, `own`, both with a comma
between, or `none`: those are waited for, and then any others for a while. Prints both counts as JSON.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.session import Swarm
from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.swarm.writable import prove_writable
from p2pqwen.values.network_choices import NetworkChoices
from tests.simulators.hostile_peers import leading_to
from tests.simulators.peer import EXTENDED, Content, PeerNetwork
from tests.support.swarm import make_snapshot, pump_until

STRANGERS = {"public": "11.0.0.1", "private": "10.9.9.8"}
PRIVATE, OWN = "10.9.9.9", "127.0.0.1"
SERVICES = {"private": PRIVATE, "own": OWN}
DEADLINE = 60.0
A_WHILE = 3.0


def listen(host: str, calls: list[str]) -> Endpoint:
    """Count the callers at an address."""
    server = socket.create_server((host, 0))

    def accept() -> None:
        while True:
            connection, _ = server.accept()
            calls.append(host)
            connection.close()

    threading.Thread(target=accept, daemon=True).start()
    return Endpoint(*server.getsockname())


def main(stranger_is: str, expected: str, *allowed: str) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (*STRANGERS.values(), PRIVATE):
        subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)
    calls: list[str] = []
    named = [listen(PRIVATE, calls), listen(OWN, calls)]
    settings = SwarmSettings(
        lan=False,
        loopback="loopback" in allowed,
        named_lan="lan" in allowed,
        choices=NetworkChoices(dht=False, lsd=False, upnp=False),
    )
    with tempfile.TemporaryDirectory() as folder, PeerNetwork() as network, Swarm(settings) as swarm:
        snapshot = make_snapshot(Path(folder) / "seed")
        stranger = network.peer(
            Content.of(snapshot.metainfo, snapshot.files), leading_to(named), STRANGERS[stranger_is]
        )
        torrent = swarm.add_download(snapshot.metainfo, prove_writable(snapshot.metainfo, Path(folder) / "fetch"))
        torrent.connect(stranger.endpoint)
        pump_until(lambda: stranger.seen.received[EXTENDED], swarm, what="the stranger's names are known")
        awaited = {host for name, host in SERVICES.items() if name in expected.split(",")}
        for seconds, enough in ((DEADLINE, awaited), (A_WHILE, {PRIVATE, OWN})):
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and not enough <= set(calls):
                swarm.pump(0.05)
    print(json.dumps({name: calls.count(host) for name, host in SERVICES.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
